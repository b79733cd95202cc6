//! A file that is not there yet.
//!
//! Owns: [`Temporary`], a file under a temporary name in the directory of its final one, which it takes by a rename. Invariants: a name that
//! somebody else made is never opened; dropped before it was renamed, the file is removed.

use crate::attributes::FileAttributes;
use crate::directory::{LocalState, Root};
use crate::file_name::{RelativePath, beginning_of};
use rustix::fs::{AtFlags, FallocateFlags, Mode, OFlags, Timespec, Timestamps};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// What is kept of the final name, so that the temporary one is no longer than a name may be.
const KEPT_NAME_BYTES_MAX: usize = 200;
/// Attempts to find a name that nobody has.
const NAMES_TRIED_MAX: usize = 16;

/// A file on its way to its name.
#[derive(Debug)]
pub(crate) struct Temporary {
    directory: Arc<OwnedFd>,
    name: Vec<u8>,
    file: File,
    is_placed: bool,
}

impl Temporary {
    /// Makes an empty file beside `path`, and the directories that lead there.
    pub fn create(root: &Root, path: &RelativePath) -> io::Result<Self> {
        let (directory, name) = path.split();
        let directory = root.make(directory)?;
        let kept = kept_of(name);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        for _ in 0..NAMES_TRIED_MAX {
            let end = format!(".pail-{:08x}", rand::random::<u32>());
            let name = [b".", kept, end.as_bytes()].concat();
            match rustix::fs::openat(&*directory, &*name, flags, Mode::from_raw_mode(0o666)) {
                Ok(file) => return Ok(Self { directory, name, file: file.into(), is_placed: false }),
                Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    /// Takes room on the disk for `len` bytes, where the file system can.
    pub fn reserve(&self, len: u64) -> io::Result<()> {
        match rustix::fs::fallocate(&self.file, FallocateFlags::KEEP_SIZE, 0, len) {
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    pub fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    /// Gives it attributes and its final name, in place of whatever file or link has that. Returns its state as it is then.
    pub fn place(mut self, path: &RelativePath, attributes: &FileAttributes) -> io::Result<LocalState> {
        if let Some(mode) = attributes.mode {
            rustix::fs::fchmod(&self.file, Mode::from_raw_mode(mode))?;
        }
        let time = Timespec { tv_sec: attributes.mtime_secs, tv_nsec: attributes.mtime_nanos.into() };
        rustix::fs::futimens(&self.file, &Timestamps { last_access: time, last_modification: time })?;
        let state = LocalState::of(&rustix::fs::fstat(&self.file)?);
        let (_, name) = path.split();
        rustix::fs::renameat(&*self.directory, &*self.name, &*self.directory, name)?;
        self.is_placed = true;
        Ok(state)
    }
}

/// The first bytes of a name, which end where a character does.
fn kept_of(name: &[u8]) -> &[u8] {
    match std::str::from_utf8(name) {
        Ok(text) => beginning_of(text, KEPT_NAME_BYTES_MAX).as_bytes(),
        Err(_) => &name[..name.len().min(KEPT_NAME_BYTES_MAX)],
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.is_placed
            && let Err(error) = rustix::fs::unlinkat(&*self.directory, &*self.name, AtFlags::empty())
        {
            tracing::warn!(name = %self.name.escape_ascii(), %error, "a temporary file could not be removed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, symlink};
    use std::path::Path;

    fn names(dir: &Path) -> Vec<String> {
        let names = std::fs::read_dir(dir).unwrap().map(|it| it.unwrap().file_name().into_string().unwrap());
        names.collect()
    }

    #[test]
    fn a_file_is_there_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::create(dir.path()).unwrap();
        // As long as a name can be, and of letters of two bytes.
        let name = format!("n{}", "ü".repeat(127));
        let path = RelativePath::last_of(Path::new(&name)).unwrap();
        let attributes = FileAttributes { mode: Some(0o640), mtime_secs: 1_000_000, mtime_nanos: 7 };
        let temporary = Temporary::create(&root, &path).unwrap();
        temporary.write_at(b"half", 0).unwrap();
        assert_eq!(names(dir.path()).len(), 1);
        drop(temporary);
        assert_eq!(names(dir.path()), Vec::<String>::new());

        symlink("/dev/null", dir.path().join(&name)).unwrap();
        let temporary = Temporary::create(&root, &path).unwrap();
        temporary.write_at(b"whole", 0).unwrap();
        let state = temporary.place(&path, &attributes).unwrap();
        assert_eq!(state, LocalState { size: 5, mtime_ns: 1_000_000_000_000_007 });
        assert_eq!(names(dir.path()), std::slice::from_ref(&name));
        let found = std::fs::symlink_metadata(dir.path().join(&name)).unwrap();
        assert_eq!((found.is_file(), found.mode() & 0o777, found.mtime_nsec()), (true, 0o640, 7));
    }
}

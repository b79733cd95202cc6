//! A file that is not there yet.
//!
//! Owns: [`Temporary`], a file under a temporary name in the directory of its final one, which it takes by a rename. A small one has a name of its own and is removed when it
//! is dropped before that. One that is fetched in parts has a name that the next run finds again, derived from the object and its version, and a journal of its
//! parts: dropped, it stays, if there is something to go on with.
//!
//! Invariants: a name that somebody else made is never opened; a file in parts is one run's at a time, by a lock: another that wants it at the same time makes a file of its own, without a
//! journal.

use crate::attributes::FileAttributes;
use crate::buffers::BUFFER_BYTES;
use crate::comparison::file_md5;
use crate::directory::{LocalState, Root};
use crate::file_name::RelativePath;
use crate::orphan_files::{Opened, OrphanFiles, open_locked};
use crate::part_journal::{ObjectIdentity, PartJournal, Written};
use crate::sums::of_file_range;
use pail_store::Checksum;
use rustix::fs::{AtFlags, FallocateFlags, FileType, Mode, OFlags, Timespec, Timestamps};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Attempts to find a name that nobody has, or to open one that others move meanwhile.
const NAMES_TRIED_MAX: usize = 16;
/// What is written at a time. The kernel takes page cache in as large pieces as are written, and where memory is fragmented it moves pages to make room for those of 1 MiB: 4 GiB
/// by `dd` cost 3.1 to 5.3 s of system time in writes of 1 MiB, and 1.0 to 2.8 s in writes of 64 to 256 KiB (Linux 6.18, ext4, in random turns).
const WRITE_BYTES: usize = 128 << 10;
/// The unit of `st_blocks` in bytes (inode(7)).
const BLOCK_BYTES: u64 = 512;

/// A file on its way to its name.
#[derive(Debug)]
pub(crate) struct Temporary {
    directory: Arc<OwnedFd>,
    name: Vec<u8>,
    file: File,
    parts: Option<PartJournal>,
    is_placed: bool,
    is_useless: AtomicBool,
}

impl Temporary {
    /// Makes an empty file beside `path`, and the directories that lead there.
    pub fn create(root: &Root, path: &RelativePath, orphan_files: &OrphanFiles) -> io::Result<Self> {
        let (relative, final_name) = path.split();
        let directory = root.make(relative)?;
        orphan_files.clear_before_whole(relative, &directory);
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        for _ in 0..NAMES_TRIED_MAX {
            let name = orphan_files.name_of_whole(final_name);
            match rustix::fs::openat(&*directory, &*name, flags, Mode::from_raw_mode(0o600)) {
                Ok(file) => return Ok(Self::new(directory, name, file.into())),
                Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    /// The file in parts of `what`, with those that are there, beside `path`; or a new one of parts of `part_size`.
    pub fn resume(
        root: &Root,
        path: &RelativePath,
        orphan_files: &OrphanFiles,
        what: &ObjectIdentity,
        part_size: u64,
    ) -> io::Result<Self> {
        let (relative, final_name) = path.split();
        let directory = root.make(relative)?;
        let name = OrphanFiles::name_of_parts(final_name, &what.digits());
        orphan_files.clear_before_parts(relative, &directory, final_name, &name);
        for _ in 0..NAMES_TRIED_MAX {
            match open_locked(&directory, &name)? {
                Opened::Ours(file) => {
                    orphan_files.clear_stale(relative, &directory, &file);
                    let mut opened = Self::new(directory, name, file);
                    opened.parts = Some(PartJournal::open(&opened.file, what, part_size)?);
                    return Ok(opened);
                }
                Opened::Moved => {}
                Opened::NotOurs => break,
            }
        }
        Self::create(root, path, orphan_files)
    }

    fn new(directory: Arc<OwnedFd>, name: Vec<u8>, file: File) -> Self {
        Self { directory, name, file, parts: None, is_placed: false, is_useless: AtomicBool::new(false) }
    }

    /// Bytes on the disk of a file in parts that [`resume`](Self::resume) would go on with.
    pub fn held_bytes(root: &Root, path: &RelativePath, what: &ObjectIdentity) -> u64 {
        let (relative, final_name) = path.split();
        let name = OrphanFiles::name_of_parts(final_name, &what.digits());
        let stat = root
            .find(relative)
            .ok()
            .and_then(|directory| rustix::fs::statat(&*directory, &*name, AtFlags::SYMLINK_NOFOLLOW).ok());
        stat.and_then(|stat| u64::try_from(stat.st_blocks).ok()).unwrap_or(0).saturating_mul(BLOCK_BYTES)
    }

    /// The parts that are there, where they are noted.
    pub fn parts(&self) -> Option<&PartJournal> {
        self.parts.as_ref()
    }

    /// Keeps in mind that these bytes of a part are written, where that is done; `note`, for a later run even if this one is killed.
    pub fn mark(&self, index: usize, written: Written, note: bool) -> io::Result<()> {
        self.parts.as_ref().map_or(Ok(()), |parts| parts.mark(&self.file, index, written, note))
    }

    /// The checksum, of the kind of `kind`, of a range of what is written.
    pub fn sum_of(&self, kind: Checksum, range: Range<u64>) -> io::Result<Checksum> {
        of_file_range(&self.file, kind, range, &mut vec![0; BUFFER_BYTES])
    }

    /// Nobody will go on with it: dropped, it is removed.
    pub fn discard(&self) {
        self.is_useless.store(true, Relaxed);
    }

    /// Takes room on the disk for `len` bytes, where the file system can.
    pub fn reserve(&self, len: u64) -> io::Result<()> {
        match rustix::fs::fallocate(&self.file, FallocateFlags::KEEP_SIZE, 0, len) {
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    pub fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut offset = offset;
        for piece in bytes.chunks(WRITE_BYTES) {
            self.file.write_all_at(piece, offset)?;
            offset += piece.len() as u64;
        }
        Ok(())
    }

    /// The MD5 of its first `len` bytes.
    pub fn md5(&self, len: u64) -> io::Result<[u8; 16]> {
        file_md5(&self.file, len)
    }

    /// Gives it attributes and its final name, in place of whatever file or link has that. Returns its state as it is then.
    pub fn place(mut self, path: &RelativePath, attributes: &FileAttributes) -> io::Result<LocalState> {
        // From here on it has no journal: what fails now is not gone on with.
        self.discard();
        if let Some(parts) = &self.parts {
            parts.cut(&self.file)?;
        }
        match rustix::fs::fchmod(&self.file, Mode::from_raw_mode(attributes.mode)) {
            // File systems without modes.
            Err(error @ (Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS)) => {
                tracing::debug!(name = %self.name.escape_ascii(), %error, "the file keeps the mode that it has");
            }
            changed => changed?,
        }
        let time = Timespec { tv_sec: attributes.mtime_secs, tv_nsec: attributes.mtime_nanos.into() };
        rustix::fs::futimens(&self.file, &Timestamps { last_access: time, last_modification: time })?;
        let state = LocalState::of(&rustix::fs::fstat(&self.file)?);
        let (_, name) = path.split();
        self.check_place(name)?;
        rustix::fs::renameat(&*self.directory, &*self.name, &*self.directory, name)?;
        self.is_placed = true;
        // A rename changes the change time. What others have done to the file since then is no part of what is noted.
        let placed = rustix::fs::fstat(&self.file).ok().map(|stat| LocalState::of(&stat));
        let ctime_ns = placed.filter(|placed| placed.is_like(&state)).and_then(|placed| placed.ctime_ns);
        Ok(LocalState { ctime_ns, ..state })
    }

    /// Errors: what has the name is neither a file nor a link: a device, a pipe or a socket is not replaced.
    fn check_place(&self, name: &[u8]) -> io::Result<()> {
        match rustix::fs::statat(&*self.directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => match FileType::from_raw_mode(stat.st_mode) {
                // A rename onto a directory is refused by the kernel.
                FileType::RegularFile | FileType::Symlink | FileType::Directory => Ok(()),
                _ => Err(io::Error::other("a device, a pipe or a socket is in its place")),
            },
            Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn is_kept(&self) -> bool {
        !self.is_useless.load(Relaxed) && self.parts.as_ref().is_some_and(PartJournal::has_any)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if self.is_placed {
            return;
        }
        if self.is_kept() {
            if let Some(Err(error)) = self.parts.as_ref().map(|parts| parts.flush(&self.file)) {
                tracing::debug!(%error, "how far the parts under way are is not noted");
            }
        } else if let Err(error) = rustix::fs::unlinkat(&*self.directory, &*self.name, AtFlags::empty()) {
            tracing::warn!(name = %self.name.escape_ascii(), %error, "a temporary file could not be removed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orphan_files::RunId;
    use std::os::unix::fs::{MetadataExt, symlink};
    use std::path::Path;

    fn names(dir: &Path) -> Vec<String> {
        let names = std::fs::read_dir(dir).unwrap().map(|it| it.unwrap().file_name().into_string().unwrap());
        names.collect()
    }

    fn orphan_files() -> OrphanFiles {
        OrphanFiles::new(RunId::new(), Vec::new())
    }

    const PART: u64 = 5 << 20;
    const ATTRIBUTES: FileAttributes = FileAttributes { mode: 0o644, mtime_secs: 7, mtime_nanos: 0 };

    fn identity(etag: &str) -> ObjectIdentity {
        let object = pail_store::ObjectMeta {
            key: pail_store::RawKey::new("k").unwrap(),
            size: 2 * PART,
            version: pail_store::Version::from_etag(etag),
            last_modified: std::time::SystemTime::UNIX_EPOCH,
            attributes: None,
            checksum: None,
            md5: None,
        };
        ObjectIdentity::of("store", &object, b"file")
    }

    /// As a run leaves it that ended after one of two parts.
    fn interrupted(root: &Root, path: &RelativePath, etag: &str) {
        let temporary = Temporary::resume(root, path, &orphan_files(), &identity(etag), PART).unwrap();
        temporary.write_at(&[1; PART as usize], 0).unwrap();
        let sum = Checksum::crc64_of(&[1; PART as usize]);
        temporary.mark(0, Written { len: PART, sum }, true).unwrap();
    }

    fn parts_there(temporary: &Temporary) -> Option<usize> {
        Some(temporary.parts()?.written().iter().flatten().count())
    }

    #[test]
    fn a_file_in_parts_is_gone_on_with_by_one_at_a_time_and_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::create(dir.path()).unwrap();
        let path = RelativePath::last_of(Path::new("file")).unwrap();
        let resume =
            |etag: &str| Temporary::resume(&root, &path, &orphan_files(), &identity(etag), PART).unwrap();
        drop(resume("1"));
        assert_eq!(names(dir.path()), Vec::<String>::new(), "nothing to go on with");

        interrupted(&root, &path, "1");
        let first = resume("1");
        assert_eq!(parts_there(&first), Some(1));
        assert_eq!(parts_there(&resume("1")), None, "another run has it");
        first.place(&path, &ATTRIBUTES).unwrap();
        assert_eq!(names(dir.path()), ["file"]);
        assert_eq!(std::fs::metadata(dir.path().join("file")).unwrap().len(), 2 * PART);

        interrupted(&root, &path, "1");
        resume("1").discard();
        assert_eq!(names(dir.path()), ["file"]);
    }

    #[test]
    fn another_version_begins_anew_and_takes_the_old_one_s_place() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::create(dir.path()).unwrap();
        let path = RelativePath::last_of(Path::new("file")).unwrap();
        interrupted(&root, &path, "1");
        let held = Temporary::resume(&root, &path, &orphan_files(), &identity("1"), PART).unwrap();
        interrupted(&root, &path, "2");
        assert_eq!(names(dir.path()).len(), 2, "a run is at it");
        drop(held);
        interrupted(&root, &path, "3");
        assert_eq!(names(dir.path()).len(), 1);
        // Of the other file of the directory nothing is known yet.
        let other = RelativePath::last_of(Path::new("other")).unwrap();
        interrupted(&root, &other, "1");
        assert_eq!(names(dir.path()).len(), 2);
        let third = Temporary::resume(&root, &path, &orphan_files(), &identity("3"), PART).unwrap();
        assert_eq!(parts_there(&third), Some(1));
        let all = orphan_files();
        let again = Temporary::resume(&root, &other, &all, &identity("2"), PART).unwrap();
        assert_eq!(parts_there(&again), Some(0));
        drop((third, again));
        all.clear_at_end(&root);
        assert_eq!(names(dir.path()), Vec::<String>::new());
    }

    #[test]
    fn what_was_left_long_ago_is_removed_whatever_it_was_of() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::create(dir.path()).unwrap();
        let at = |name: &str| RelativePath::last_of(Path::new(name)).unwrap();
        for name in ["old", "held", "recent"] {
            interrupted(&root, &at(name), "1");
        }
        let week = std::time::Duration::from_secs(8 * 24 * 3600);
        let own = |name: &str| {
            let name = OrphanFiles::name_of_parts(name.as_bytes(), &identity("1").digits());
            dir.path().join(String::from_utf8(name).unwrap())
        };
        let held = Temporary::resume(&root, &at("held"), &orphan_files(), &identity("1"), PART).unwrap();
        std::fs::write(own("mine"), "not by a copy").unwrap();
        for name in ["old", "held", "mine"] {
            let file = File::options().write(true).open(own(name)).unwrap();
            file.set_modified(std::time::SystemTime::now() - week).unwrap();
        }
        drop(Temporary::resume(&root, &at("other"), &orphan_files(), &identity("1"), PART).unwrap());
        let left = ["old", "held", "recent", "mine"].map(|name| own(name).exists());
        assert_eq!(left, [false, true, true, true]);
        drop(held);
    }

    #[test]
    fn what_others_put_in_its_place_is_neither_written_nor_removed() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::create(dir.path()).unwrap();
        let path = RelativePath::last_of(Path::new("file")).unwrap();
        let name = String::from_utf8(OrphanFiles::name_of_parts(b"file", &identity("1").digits())).unwrap();
        let at = dir.path().join(&name);
        let victim = dir.path().join("victim");
        std::fs::write(&victim, "mine").unwrap();
        let resume = || {
            let all = orphan_files();
            let temporary = Temporary::resume(&root, &path, &all, &identity("1"), PART).unwrap();
            assert_eq!(parts_there(&temporary), None);
            temporary.write_at(b"bytes", 0).unwrap();
            drop(temporary);
            all.clear_at_end(&root);
            assert_eq!(std::fs::read(&victim).unwrap(), b"mine");
            assert_eq!(names(dir.path()).len(), 2);
        };
        symlink(&victim, &at).unwrap();
        resume();
        std::fs::remove_file(&at).unwrap();
        std::fs::hard_link(&victim, &at).unwrap();
        resume();
        std::fs::remove_file(&at).unwrap();
        std::fs::create_dir(&at).unwrap();
        resume();
        // A file of one's own that merely has such a name is no leftover of another version.
        let other = dir.path().join(format!(".file.pail-parts-{}", "0".repeat(16)));
        std::fs::write(&other, "mine, too").unwrap();
        let all = orphan_files();
        drop(Temporary::resume(&root, &path, &all, &identity("1"), PART).unwrap());
        all.clear_at_end(&root);
        assert_eq!(std::fs::read(&other).unwrap(), b"mine, too");
    }

    #[test]
    fn small_files_of_dead_runs_are_removed_and_those_of_live_ones_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::create(dir.path()).unwrap();
        let path = RelativePath::last_of(Path::new("file")).unwrap();
        let (dead, alive) = (RunId::new(), RunId::new());
        for run in [&dead, &alive] {
            let name = OrphanFiles::new(run.clone(), Vec::new()).name_of_whole(b"small");
            std::fs::write(dir.path().join(String::from_utf8(name).unwrap()), "x").unwrap();
        }
        let next = OrphanFiles::new(RunId::new(), vec![dead]);
        drop(Temporary::create(&root, &path, &next).unwrap());
        let left = names(dir.path());
        assert!(left.len() == 1 && left[0].contains(alive.as_str()), "{left:?}");
    }

    #[test]
    fn a_file_is_there_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::create(dir.path()).unwrap();
        // As long as a name can be, and of letters of two bytes.
        let name = format!("n{}", "ü".repeat(127));
        let path = RelativePath::last_of(Path::new(&name)).unwrap();
        let attributes = FileAttributes { mode: 0o640, mtime_secs: 1_000_000, mtime_nanos: 7 };
        let temporary = Temporary::create(&root, &path, &orphan_files()).unwrap();
        temporary.write_at(b"half", 0).unwrap();
        assert_eq!(names(dir.path()).len(), 1);
        drop(temporary);
        assert_eq!(names(dir.path()), Vec::<String>::new());

        symlink("/dev/null", dir.path().join(&name)).unwrap();
        let temporary = Temporary::create(&root, &path, &orphan_files()).unwrap();
        temporary.write_at(b"whole", 0).unwrap();
        let state = temporary.place(&path, &attributes).unwrap();
        assert_eq!((state.size, state.mtime_ns), (5, 1_000_000_000_000_007));
        assert_eq!(names(dir.path()), std::slice::from_ref(&name));
        let found = std::fs::symlink_metadata(dir.path().join(&name)).unwrap();
        assert_eq!(state.ctime_ns, Some(found.ctime() * 1_000_000_000 + found.ctime_nsec()));
        assert_eq!((found.is_file(), found.mode() & 0o777, found.mtime_nsec()), (true, 0o640, 7));

        let pipe = dir.path().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, Mode::from_raw_mode(0o600)).unwrap();
        let path = RelativePath::last_of(Path::new("pipe")).unwrap();
        let placed = Temporary::create(&root, &path, &orphan_files()).unwrap().place(&path, &attributes);
        assert!(placed.unwrap_err().to_string().contains("a pipe"));
        assert!(!std::fs::symlink_metadata(&pipe).unwrap().is_file());
    }
}

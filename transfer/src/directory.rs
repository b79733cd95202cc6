//! The directory that a run writes to.
//!
//! Owns: [`Root`], the target's descriptor, and the directories below it. Every one is opened from that descriptor by `openat2` with
//! `RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS` (openat2(2), Linux 5.6): the kernel refuses whatever would lead out of the target, also what is
//! put there between a check and a use. A symbolic link within the target is never followed, wherever it points. Files are then made in
//! their directory's descriptor by a single name.
//!
//! Descriptors of up to [`OPEN_DIRECTORIES_MAX`] directories are kept, for keys come in order and share theirs. All calls may wait for the disk.

use crate::file_name::{RelativePath, split};
use crate::obstacles::Obstacle;
use parking_lot::Mutex;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How many directories are kept open.
const OPEN_DIRECTORIES_MAX: usize = 256;
/// How often the kernel is asked again that could not tell whether a path stays beneath (a rename elsewhere raced with it).
const RACES_MAX: usize = 32;

/// Nanoseconds in a second.
const NANOS: i64 = 1_000_000_000;

/// A directory, and what is below it.
#[derive(Debug)]
pub(crate) struct Root {
    path: PathBuf,
    /// `None` of a directory that is not there, and is not to be made.
    fd: Option<Arc<OwnedFd>>,
    /// Guards the descriptors by relative path; a leaf, held for a lookup.
    open: Mutex<HashMap<Box<[u8]>, Arc<OwnedFd>>>,
}

/// What is known of a file that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LocalState {
    pub size: u64,
    /// Nanoseconds since 1970; as far as they reach (the year 2262).
    pub mtime_ns: i64,
    /// The change time, which no program sets: in the same unit, where it is known.
    pub ctime_ns: Option<i64>,
}

/// What has the place of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Occupant {
    Nothing,
    File(LocalState),
    Obstacle(Obstacle),
}

impl LocalState {
    pub fn of(stat: &Stat) -> Self {
        let ns = |secs: i64, nanos: i64| secs.saturating_mul(NANOS).saturating_add(nanos);
        Self {
            size: u64::try_from(stat.st_size).unwrap_or(0),
            mtime_ns: ns(stat.st_mtime, stat.st_mtime_nsec as i64),
            ctime_ns: Some(ns(stat.st_ctime, stat.st_ctime_nsec as i64)),
        }
    }

    /// Whether size and time are the same.
    pub fn is_like(&self, other: &Self) -> bool {
        (self.size, self.mtime_ns) == (other.size, other.mtime_ns)
    }

    /// Whether something was done to the file since the state that was noted, be it that only its mode or its number of names has changed.
    pub fn is_touched_since(&self, noted: &Self) -> bool {
        noted.ctime_ns.zip(self.ctime_ns).is_some_and(|(then, now)| then != now)
    }
}

impl Root {
    /// Opens a directory, made with its parents where it is missing. The path itself is the user's, so links in it are followed.
    pub fn create(path: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(path)?;
        Self::open(path)
    }

    /// Opens a directory for a look. One that is missing is taken for an empty one.
    pub fn look_at(path: &Path) -> io::Result<Self> {
        match Self::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Ok(Self { path: path.to_owned(), fd: None, open: Mutex::default() })
            }
            opened => opened,
        }
    }

    fn open(path: &Path) -> io::Result<Self> {
        let fd = rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self { path: path.to_owned(), fd: Some(Arc::new(fd)), open: Mutex::default() })
    }

    fn fd(&self) -> io::Result<&Arc<OwnedFd>> {
        self.fd.as_ref().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// The directory itself, to be read. Errors: it is not there.
    pub fn listable(&self) -> io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(&**self.fd()?, c".", flags, Mode::empty())?)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A directory below it, made where it is missing; the root for an empty path.
    pub fn make(&self, relative: &[u8]) -> io::Result<Arc<OwnedFd>> {
        match self.find(relative) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            found => return found,
        }
        let (parent, name) = split(relative);
        let parent = self.make(parent)?;
        match rustix::fs::mkdirat(&*parent, name, Mode::from_raw_mode(0o777)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        self.find(relative)
    }

    /// The same of one that must be there.
    pub fn find(&self, relative: &[u8]) -> io::Result<Arc<OwnedFd>> {
        if relative.is_empty() {
            return self.fd().cloned();
        }
        if let Some(fd) = self.open.lock().get(relative) {
            return Ok(fd.clone());
        }
        let fd = Arc::new(self.open_beneath(relative)?);
        let mut open = self.open.lock();
        if open.len() >= OPEN_DIRECTORIES_MAX {
            open.clear();
        }
        open.insert(relative.into(), fd.clone());
        Ok(fd)
    }

    /// The deepest directory on the way to `relative` that is there, and its path. Errors: the root is not there.
    pub fn find_deepest<'a>(&self, relative: &'a [u8]) -> io::Result<(&'a [u8], Arc<OwnedFd>)> {
        let mut above = relative;
        loop {
            match self.find(above) {
                Ok(found) => return Ok((above, found)),
                Err(error) if above.is_empty() => return Err(error),
                Err(_) => (above, _) = split(above),
            }
        }
    }

    fn open_beneath(&self, relative: &[u8]) -> io::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let mut races = 0;
        loop {
            match rustix::fs::openat2(&**self.fd()?, relative, flags, Mode::empty(), resolve) {
                Err(Errno::AGAIN | Errno::INTR) if races < RACES_MAX => races += 1,
                opened => return Ok(opened?),
            }
        }
    }

    /// What is at `path`. What a rename would replace that is no file counts as nothing, and so does what cannot be looked at.
    pub fn look(&self, path: &RelativePath) -> Occupant {
        let (directory, name) = path.split();
        let directory = match self.find(directory) {
            Ok(directory) => directory,
            Err(error) => return Obstacle::of(&error).map_or(Occupant::Nothing, Occupant::Obstacle),
        };
        let Ok(stat) = rustix::fs::statat(&*directory, name, AtFlags::SYMLINK_NOFOLLOW) else {
            return Occupant::Nothing;
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Occupant::File(LocalState::of(&stat)),
            FileType::Directory => Occupant::Obstacle(Obstacle::Directory),
            _ => Occupant::Nothing,
        }
    }

    /// Opens the regular file at `path` to read it.
    pub fn open_file(&self, path: &RelativePath) -> io::Result<File> {
        let (directory, name) = path.split();
        let directory = self.find(directory)?;
        // A pipe that is there by now must not be waited for.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(&*directory, name, flags, Mode::empty())?.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn directories_are_made_once_and_links_lead_nowhere() {
        let dir = tempfile::tempdir().unwrap();
        let (inside, outside) = (dir.path().join("in/side"), dir.path().join("outside"));
        std::fs::create_dir(&outside).unwrap();
        let root = Root::create(&inside).unwrap();
        root.make(b"a/b/c").unwrap();
        assert!(inside.join("a/b/c").is_dir());
        root.make(b"a/b/c").unwrap();

        symlink(&outside, inside.join("link")).unwrap();
        symlink("a", inside.join("relative")).unwrap();
        for path in ["link", "link/x", "relative/b", "..", "a/../../outside"] {
            assert!(root.find(path.as_bytes()).is_err(), "{path}");
        }
        assert!(root.make(b"link/x").is_err());
        assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
        std::fs::write(inside.join("a/file"), "123").unwrap();
        symlink("file", inside.join("a/alias")).unwrap();
        let state = |path: &str| match crate::file_name::named(path) {
            Ok(crate::file_name::Named::File(path)) => root.look(&path),
            other => panic!("{other:?}"),
        };
        assert!(matches!(state("a/file"), Occupant::File(state) if state.size == 3));
        assert_eq!([state("a/alias"), state("none/file")], [Occupant::Nothing; 2]);
        for (path, obstacle) in [
            ("relative/file", Obstacle::Link),
            ("a/b", Obstacle::Directory),
            ("a/file/below", Obstacle::File),
        ] {
            assert_eq!(state(path), Occupant::Obstacle(obstacle), "{path}");
        }
    }
}

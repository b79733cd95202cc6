//! Looking and removing below a directory, never outside of it.
//!
//! Owns: [`Beneath`]. Invariant: no symlink below its root is followed, whoever makes one meanwhile: directories are opened by the
//! kernel under `RESOLVE_BENEATH`, `RESOLVE_NO_SYMLINKS` and `RESOLVE_NO_XDEV` (what is mounted there is not the directory's), or, where it is older than 5.6, component by component.

use super::names::{Kind, Stamp};
use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::time::SystemTime;

const DIRECTORY: OFlags = OFlags::DIRECTORY.union(OFlags::RDONLY).union(OFlags::CLOEXEC);

/// A directory below which is looked and removed. Paths are relative, as those of `Names`.
#[derive(Debug)]
pub struct Beneath {
    root: OwnedFd,
    /// The directory that was looked into last, for names come in order.
    last: Option<(OsString, OwnedFd)>,
}

/// What became of a name that was to be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removal {
    /// It is no longer there.
    Removed,
    /// It was not there.
    Missing,
    /// It is a directory with something in it, or something else than what was to be removed.
    Kept,
}

/// The directory of a path and its name in it.
fn parted(path: &OsStr) -> (&OsStr, &OsStr) {
    let bytes = path.as_bytes();
    match bytes.iter().rposition(|byte| *byte == b'/') {
        Some(at) => (OsStr::from_bytes(&bytes[..at]), OsStr::from_bytes(&bytes[at + 1..])),
        None => (OsStr::new(""), path),
    }
}

impl Beneath {
    /// Opens the root, which may be a symlink to a directory.
    pub fn open(root: &Path) -> io::Result<Self> {
        Ok(Self { root: rustix::fs::open(root, DIRECTORY, Mode::empty())?, last: None })
    }

    fn open_below(&self, dir: &OsStr) -> Result<OwnedFd, Errno> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
        match rustix::fs::openat2(&self.root, dir, DIRECTORY, Mode::empty(), resolve) {
            Err(Errno::NOSYS | Errno::PERM) => {}
            other => return other,
        }
        let mut at = rustix::io::fcntl_dupfd_cloexec(&self.root, 0)?;
        for part in dir.as_bytes().split(|byte| *byte == b'/') {
            at = rustix::fs::openat(&at, part, DIRECTORY | OFlags::NOFOLLOW, Mode::empty())?;
        }
        Ok(at)
    }

    /// The directory at `dir`; the root where it is empty.
    pub fn directory(&mut self, dir: &OsStr) -> io::Result<BorrowedFd<'_>> {
        if dir.is_empty() {
            return Ok(self.root.as_fd());
        }
        if self.last.as_ref().is_none_or(|(path, _)| path != dir) {
            self.last = Some((dir.to_owned(), self.open_below(dir)?));
        }
        Ok(self.last.as_ref().map_or(self.root.as_fd(), |(_, fd)| fd.as_fd()))
    }

    /// What is at `path`; `None` where there is nothing, or no way to it but over a symlink.
    pub fn stamp(&mut self, path: &OsStr) -> io::Result<Option<Stamp>> {
        let (dir, name) = parted(path);
        let dir = match self.directory(dir) {
            Ok(dir) => dir,
            Err(err) if is_missing(&err) => return Ok(None),
            Err(err) => return Err(err),
        };
        let stat = match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        };
        let target = match rustix::fs::FileType::from_raw_mode(stat.st_mode) {
            rustix::fs::FileType::Symlink => {
                let target = rustix::fs::readlinkat(dir, name, Vec::new())?;
                Some(OsString::from_vec(target.into_bytes()))
            }
            _ => None,
        };
        Ok(Some(Stamp::new(&stat, target.as_deref())))
    }

    /// Whether what is at `path` was changed after a time, by its ctime, which nobody can set. `false` where nothing is.
    pub fn is_changed_after(&mut self, path: &OsStr, time: SystemTime) -> io::Result<bool> {
        let (dir, name) = parted(path);
        let dir = match self.directory(dir) {
            Ok(dir) => dir,
            Err(err) if is_missing(&err) => return Ok(false),
            Err(err) => return Err(err),
        };
        let stat = match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(false),
            Err(errno) => return Err(errno.into()),
        };
        let since_epoch = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let changed = (stat.st_ctime as u64, stat.st_ctime_nsec as u64);
        Ok(changed > (since_epoch.as_secs(), u64::from(since_epoch.subsec_nanos())))
    }

    /// Removes what is at `path`, if it is of that kind, and a directory only if it is empty. A directory that its owner may
    /// not write is made writable for it.
    pub fn remove(&mut self, path: &OsStr, kind: Kind) -> io::Result<Removal> {
        match self.stamp(path)? {
            None => return Ok(Removal::Missing),
            Some(stamp) if stamp.kind != Some(kind) => return Ok(Removal::Kept),
            Some(_) => {}
        }
        if kind == Kind::Directory {
            // Its descriptor would be of a directory without a name.
            self.last = None;
        }
        let (dir, name) = parted(path);
        let dir = self.directory(dir)?;
        let flags = if kind == Kind::Directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        let removed = match rustix::fs::unlinkat(dir, name, flags) {
            Err(Errno::ACCESS) => {
                let mode = Mode::from_raw_mode(rustix::fs::fstat(dir)?.st_mode);
                rustix::fs::fchmod(dir, mode | Mode::RWXU)?;
                let removed = rustix::fs::unlinkat(dir, name, flags);
                rustix::fs::fchmod(dir, mode)?;
                removed
            }
            other => other,
        };
        match removed {
            Ok(()) => Ok(Removal::Removed),
            Err(Errno::NOENT) => Ok(Removal::Missing),
            Err(Errno::NOTEMPTY | Errno::EXIST | Errno::BUSY) => Ok(Removal::Kept),
            Err(errno) => Err(errno.into()),
        }
    }
}

fn is_missing(err: &io::Error) -> bool {
    let errno = err.raw_os_error().map(Errno::from_raw_os_error);
    matches!(errno, Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_seen_or_removed_over_a_symlink() {
        let dir = tempfile::tempdir().unwrap();
        let (outside, root) = (dir.path().join("outside"), dir.path().join("root"));
        std::fs::create_dir_all(&outside).unwrap();
        std::fs::create_dir_all(root.join("real")).unwrap();
        std::fs::write(outside.join("file"), "x").unwrap();
        std::os::unix::fs::symlink(&outside, root.join("real/link")).unwrap();
        std::os::unix::fs::symlink("..", root.join("up")).unwrap();
        let mut beneath = Beneath::open(&root).unwrap();
        for path in ["real/link/file", "up/outside/file"] {
            assert_eq!(beneath.stamp(OsStr::new(path)).unwrap(), None);
            assert_eq!(beneath.remove(OsStr::new(path), Kind::File).unwrap(), Removal::Missing);
        }
        assert!(outside.join("file").exists());
        assert_eq!(beneath.remove(OsStr::new("real/link"), Kind::Directory).unwrap(), Removal::Kept);
        assert_eq!(beneath.remove(OsStr::new("real/link"), Kind::Symlink).unwrap(), Removal::Removed);
        assert_eq!(beneath.remove(OsStr::new("real"), Kind::Directory).unwrap(), Removal::Removed);
    }
}

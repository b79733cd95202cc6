//! Files that the source has not.
//!
//! Owns: [`ExtraFiles`], which removes them from the directory that a run wrote to, and the directories that became empty by that.
//!
//! Invariants: every directory is opened by its one name in the one above it, and never through a symbolic link, so that nothing outside the target is reached
//! whatever is put into it meanwhile; a link is removed itself. What is no file (pipes, sockets, devices), and what is on another file system,
//! such as a mount in the target, stays. So do temporary files of runs that may be under way, everything that the filters leave out, and what was made or changed since the run
//! began.

use crate::change::{Action, Reason};
use crate::directory::Root;
use crate::keep_set::KeepSet;
use crate::orphan_files::{OrphanFiles, is_temporary};
use crate::report::Removals;
use crate::{Changes, Error, Filters};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::OwnedFd;
use tokio_util::sync::CancellationToken;

/// How many directories deep it looks: each is an open descriptor.
const DEPTH_MAX: usize = 512;

/// One look for what is extra.
pub(crate) struct ExtraFiles<'a> {
    pub kept: &'a KeepSet,
    pub orphan_files: &'a OrphanFiles,
    pub filters: &'a Filters,
    /// What keys of the source begin with.
    pub prefix: &'a str,
    pub dry_run: Option<&'a Changes>,
    pub stop: &'a CancellationToken,
    /// What changed later is no leftover of an earlier state of the source; see [`TargetProbe::began`](crate::target_probe::TargetProbe::began).
    pub began: Option<(i64, i64)>,
    pub removals: Removals,
}

/// What becomes of a directory in which nothing was from the beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EmptyDirectory {
    Stays,
    Goes,
}

/// The walk's place in the tree.
pub(crate) struct Place {
    pub directory: OwnedFd,
    /// The file system that it stays on.
    pub device: u64,
    pub depth: usize,
}

impl Place {
    /// Where the walk begins. Errors: those of looking at it.
    pub fn at(directory: OwnedFd) -> io::Result<Self> {
        let device = rustix::fs::fstat(&directory)?.st_dev;
        Ok(Self { directory, device, depth: 0 })
    }

    /// A directory in it. Errors: why it is not entered; `None` where it is gone.
    pub fn below(&self, name: &CStr) -> Result<Self, Option<String>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(&self.directory, name, flags, Mode::empty());
        let opened = opened.and_then(|directory| Ok((rustix::fs::fstat(&directory)?.st_dev, directory)));
        match opened {
            Ok((device, _)) if device != self.device => {
                Err(Some("another file system is mounted there".to_owned()))
            }
            Ok(_) if self.depth >= DEPTH_MAX => Err(Some("too many directories are above it".to_owned())),
            Ok((device, directory)) => Ok(Self { directory, device, depth: self.depth + 1 }),
            Err(Errno::NOENT) => Err(None),
            Err(error) => Err(Some(error.to_string())),
        }
    }
}

impl ExtraFiles<'_> {
    /// Removes them. May wait for the disk. Errors: stopped; the target cannot be read.
    pub fn remove(&mut self, root: &Root) -> Result<Removals, Error> {
        match root.listable().and_then(Place::at) {
            Ok(place) => drop(self.visit(&place, &mut Vec::new(), EmptyDirectory::Stays)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => {
                return Err(Error::Local { doing: "read", path: root.path().to_owned(), source });
            }
        }
        Ok(std::mem::take(&mut self.removals))
    }

    /// Goes through a directory, whose path is empty or ends in `/`. Whether anything was removed below it.
    fn visit(&mut self, place: &Place, path: &mut Vec<u8>, empty: EmptyDirectory) -> Result<bool, Error> {
        let mut has_removed = false;
        let names = match names_in(&place.directory) {
            Ok(names) => names,
            Err(error) => {
                self.fail(path, &error.to_string());
                return Ok(false);
            }
        };
        for name in names {
            if self.stop.is_cancelled() {
                return Err(Error::Stopped);
            }
            let len = path.len();
            path.extend_from_slice(name.to_bytes());
            has_removed |= self.visit_name(place, &name, path, empty)?;
            path.truncate(len);
        }
        Ok(has_removed)
    }

    fn visit_name(
        &mut self,
        place: &Place,
        name: &CStr,
        path: &mut Vec<u8>,
        empty: EmptyDirectory,
    ) -> Result<bool, Error> {
        let stat = match rustix::fs::statat(&place.directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(false),
            Err(error) => {
                self.fail(path, &error.to_string());
                return Ok(false);
            }
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => self.enter(place, name, path, empty),
            FileType::RegularFile | FileType::Symlink => Ok(self.remove_file(place, name, path, &stat)),
            _ => Ok(false),
        }
    }

    /// Goes through a directory in `place`, and removes it where it became empty by that. Whether anything was removed.
    pub fn enter(
        &mut self,
        place: &Place,
        name: &CStr,
        path: &mut Vec<u8>,
        empty: EmptyDirectory,
    ) -> Result<bool, Error> {
        path.push(b'/');
        if self.filters.leave_out_all_below(path) {
            return Ok(false);
        }
        let below = match place.below(name) {
            Ok(below) => below,
            Err(why) => {
                why.iter().for_each(|why| self.fail(path, why));
                return Ok(false);
            }
        };
        let has_removed = self.visit(&below, path, empty)?;
        let is_kept = self.keeps_directory(path);
        path.pop();
        if (has_removed || empty == EmptyDirectory::Goes) && self.dry_run.is_none() && !is_kept {
            // Refused by the kernel where anything is in it.
            let _ = rustix::fs::unlinkat(&place.directory, name, AtFlags::REMOVEDIR);
        }
        Ok(has_removed)
    }

    /// Whether the source has a directory of this path, which ends in `/`, or something that was not understood.
    pub fn keeps_directory(&self, path: &[u8]) -> bool {
        self.kept.keeps(path) || self.kept.keeps(path.strip_suffix(b"/").unwrap_or(path))
    }

    /// Whether it was changed since the run began.
    pub fn is_newer(&self, stat: &Stat) -> bool {
        self.began.is_some_and(|began| (stat.st_ctime, stat.st_ctime_nsec as i64) > began)
    }

    pub fn remove_file(&mut self, place: &Place, name: &CStr, path: &[u8], stat: &Stat) -> bool {
        if self.kept.keeps(path) || !self.filters.take(path) {
            return false;
        }
        if is_temporary(name.to_bytes()) {
            if self.dry_run.is_none() {
                self.orphan_files.remove_if_dead(&place.directory, name.to_bytes());
            }
            return false;
        }
        if self.is_newer(stat) {
            tracing::info!(path = %path.escape_ascii(), "it is not in the source, and was changed since the run began: it stays");
            return false;
        }
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        if let Some(changes) = self.dry_run {
            let key = format!("{}{}", self.prefix, String::from_utf8_lossy(path));
            changes.tell(Action::Delete, key, size, Reason::Extra);
        } else {
            match rustix::fs::unlinkat(&place.directory, name, AtFlags::empty()) {
                Ok(()) => {}
                Err(Errno::NOENT) => return false,
                Err(error) => {
                    self.fail(path, &io::Error::from(error).to_string());
                    return false;
                }
            }
        }
        self.removals.deleted += 1;
        self.removals.deleted_bytes += size;
        true
    }

    fn fail(&mut self, path: &[u8], why: &str) {
        self.removals.failed.add(String::from_utf8_lossy(path), why);
    }
}

/// All names, before anything is removed: what a directory that changes goes on to list is not said.
pub(crate) fn names_in(directory: &OwnedFd) -> io::Result<Vec<CString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

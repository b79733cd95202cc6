//! Temporary files of runs that are dead.
//!
//! Owns: [`OrphanFiles`], the names of temporary files and what becomes of those that nobody will go on with. They are looked for in a directory when a run writes to it
//! for the first time, and only where there may be some: in the way of files in parts, and after a run of the same copy that did not come to its end.
//!
//! # What is removed
//! - Files that were not fetched in parts, whose name has the identity of a run that its log says is dead (`run_log`): a random number of 64 bits, noted before the first such file was made.
//! - Files in parts that are the user's own regular files, have a journal, and that no process has locked: those of other versions of an object that is fetched; and at the end of a run that has
//!   copied everything those that it had no use for: of the same copy, where it was of all below a prefix, and of whatever copy, where nobody has written to them for [`STALE_AFTER_S`].
//! - Where a sync deletes what is extra, all of these.
//!
//! So a file of anybody else is never removed, whatever its name is.
//!
//! Bound: the names in [`DIRECTORIES_MAX`] directories.

use crate::directory::Root;
use crate::file_name::beginning_of;
use crate::part_journal::{CopyId, copy_of};
use parking_lot::Mutex;
use rustix::fs::{AtFlags, Dir, FileType, FlockOperation, Mode, OFlags, Stat};
use rustix::io::Errno;
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

/// A file in parts to which nobody has written for so many seconds is of a copy that nobody makes again: a week. It is the file system's clock that tells, of both times.
const STALE_AFTER_S: i64 = 7 * 24 * 3600;
/// How many directories are known to have been looked through.
const DIRECTORIES_MAX: usize = 4096;
/// What is kept of the final name, so that the temporary one is no longer than a name may be.
const KEPT_NAME_BYTES_MAX: usize = 200;
/// The unit of `st_blocks` in bytes (inode(7)).
const BLOCK_BYTES: u64 = 512;
const WHOLE: &str = ".pail-";
const PARTS: &str = ".pail-parts-";
/// Hexadecimal digits of a run's identity, and of an object's in a name.
const DIGITS: usize = 16;

/// What tells a run from all others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RunId(String);

impl RunId {
    pub fn new() -> Self {
        Self(format!("{:016x}", rand::random::<u64>()))
    }

    /// `None` where it is none.
    pub fn parse(text: &str) -> Option<Self> {
        is_digits(text.as_bytes()).then(|| Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What dead runs have left, as far as this one has come across it.
#[derive(Debug)]
pub(crate) struct OrphanFiles {
    run: RunId,
    dead: Vec<RunId>,
    copy: CopyId,
    /// Guards the names of files in parts, by directory that was looked through; a leaf.
    seen: Mutex<HashMap<Box<[u8]>, Vec<FileName>>>,
}

/// The name of a file in its directory.
type FileName = Box<[u8]>;

impl OrphanFiles {
    /// Of a run, the dead ones of the same copy, and that copy.
    pub fn new(run: RunId, dead: Vec<RunId>, copy: CopyId) -> Self {
        Self { run, dead, copy, seen: Mutex::default() }
    }

    /// Which copy makes files in parts.
    pub fn copy(&self) -> CopyId {
        self.copy
    }

    /// A new name for a file that becomes `name`.
    pub fn name_of_whole(&self, name: &[u8]) -> Vec<u8> {
        let end = format!("{WHOLE}{}-{:08x}", self.run.as_str(), rand::random::<u32>());
        [b".", kept_of(name), end.as_bytes()].concat()
    }

    /// The name of the file in parts that becomes `name`.
    pub fn name_of_parts(name: &[u8], digits: &str) -> Vec<u8> {
        [&beginning_of_parts(name), digits.as_bytes()].concat()
    }

    /// Before the first file is made in a directory.
    pub fn clear_before_whole(&self, relative: &[u8], directory: &OwnedFd) {
        if !self.dead.is_empty() {
            self.look_through(relative, directory);
        }
    }

    /// Before the file in parts `own` is made, which becomes `name`: those of other versions are removed.
    pub fn clear_before_parts(&self, relative: &[u8], directory: &OwnedFd, name: &[u8], own: &[u8]) {
        self.look_through(relative, directory);
        let mut others = Vec::new();
        if let Some(names) = self.seen.lock().get_mut(relative) {
            others.extend(names.extract_if(.., |found| **found != *own && is_of(found, name)));
        }
        others.iter().for_each(|other| remove_where(directory, other, |_, _| true));
    }

    /// Bytes on the disk that are free, or the object's, once the file in parts `own` has become `name`.
    pub fn held_bytes(&self, relative: &[u8], directory: &OwnedFd, name: &[u8], own: &[u8]) -> u64 {
        self.look_through(relative, directory);
        let seen = self.seen.lock();
        let held = seen.get(relative).into_iter().flatten();
        let held = held.filter(|found| ***found == *own || is_of(found, name));
        let blocks = held.filter_map(|found| {
            let stat = rustix::fs::statat(directory, &**found, AtFlags::SYMLINK_NOFOLLOW).ok()?;
            u64::try_from(stat.st_blocks).ok()
        });
        blocks.fold(0, u64::saturating_add).saturating_mul(BLOCK_BYTES)
    }

    /// The run has copied everything: of what is still in the directories that it wrote to, what is old is of no use, and, where the run was of all below a prefix, what is of the same copy.
    pub fn clear_at_end(&self, root: &Root, is_all_below: bool) {
        for (relative, names) in std::mem::take(&mut *self.seen.lock()) {
            if names.is_empty() {
                continue;
            }
            let Ok(directory) = root.find(&relative) else { continue };
            // By when a file was made in it, which is the time of the same clock.
            let now_s = rustix::fs::fstat(&*directory).map_or(i64::MIN, |stat| stat.st_ctime);
            let is_useless = |file: &File, copy: Option<CopyId>| {
                let mtime_s = rustix::fs::fstat(file).map_or(i64::MAX, |stat| stat.st_mtime);
                (is_all_below && copy == Some(self.copy)) || mtime_s < now_s.saturating_sub(STALE_AFTER_S)
            };
            names.iter().for_each(|name| remove_where(&directory, name, is_useless));
        }
    }

    /// Whether a file of this name is a temporary one that nobody goes on with.
    pub fn is_dead(&self, directory: &OwnedFd, name: &[u8]) -> bool {
        match kind_of(name) {
            Some(Kind::Parts) => held_dead(directory, name).is_some(),
            Some(Kind::Whole(run)) => self.is_of_dead(run),
            None => false,
        }
    }

    /// Removes a temporary file that nobody goes on with.
    pub fn remove_if_dead(&self, directory: &OwnedFd, name: &[u8]) {
        match kind_of(name) {
            Some(Kind::Parts) => remove_where(directory, name, |_, _| true),
            Some(Kind::Whole(run)) if self.is_of_dead(run) => unlink(directory, name),
            _ => {}
        }
    }

    fn is_of_dead(&self, run: &[u8]) -> bool {
        self.dead.iter().any(|dead| dead.as_str().as_bytes() == run)
    }

    fn look_through(&self, relative: &[u8], directory: &OwnedFd) {
        {
            let mut seen = self.seen.lock();
            if seen.contains_key(relative) {
                return;
            }
            if seen.len() >= DIRECTORIES_MAX {
                seen.clear();
            }
            seen.insert(relative.into(), Vec::new());
        }
        match self.look_at_names(directory) {
            Ok(parts) => drop(self.seen.lock().insert(relative.into(), parts)),
            Err(error) => tracing::debug!(%error, "a directory cannot be looked through for temporary files"),
        }
    }

    /// Removes what has the name of a dead run, and gives the names of files in parts.
    fn look_at_names(&self, directory: &OwnedFd) -> io::Result<Vec<Box<[u8]>>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let readable = rustix::fs::openat(directory, ".", flags, Mode::empty())?;
        let mut parts = Vec::new();
        for entry in Dir::new(readable)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            match kind_of(name) {
                Some(Kind::Parts) => parts.push(name.into()),
                Some(Kind::Whole(run)) if self.is_of_dead(run) => unlink(directory, name),
                _ => {}
            }
        }
        Ok(parts)
    }
}

enum Kind<'a> {
    Parts,
    /// Of a run.
    Whole(&'a [u8]),
}

/// Whether a name is one of those that are made here.
pub(crate) fn is_temporary(name: &[u8]) -> bool {
    kind_of(name).is_some()
}

fn kind_of(name: &[u8]) -> Option<Kind<'_>> {
    let name = name.strip_prefix(b".")?;
    let split_at = |end: usize, separator: &str| {
        let (front, digits) = name.split_at_checked(name.len().checked_sub(end)?)?;
        front.ends_with(separator.as_bytes()).then_some(digits)
    };
    if split_at(DIGITS, PARTS).is_some_and(is_digits) {
        return Some(Kind::Parts);
    }
    let (run, rest) = split_at(DIGITS + 9, WHOLE)?.split_at_checked(DIGITS)?;
    let is_one = is_digits(run) && rest[0] == b'-' && rest[1..].iter().all(u8::is_ascii_hexdigit);
    is_one.then_some(Kind::Whole(run))
}

fn is_digits(text: &[u8]) -> bool {
    text.len() == DIGITS && text.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Whether the file in parts `found` becomes `name`, as far as it says: of a name that is cut off it cannot be told.
fn is_of(found: &[u8], name: &[u8]) -> bool {
    kept_of(name).len() == name.len() && found.starts_with(&beginning_of_parts(name))
}

fn beginning_of_parts(name: &[u8]) -> Vec<u8> {
    [b".", kept_of(name), PARTS.as_bytes()].concat()
}

/// The first bytes of a name, which end where a character does.
fn kept_of(name: &[u8]) -> &[u8] {
    match std::str::from_utf8(name) {
        Ok(text) => beginning_of(text, KEPT_NAME_BYTES_MAX).as_bytes(),
        Err(_) => &name[..name.len().min(KEPT_NAME_BYTES_MAX)],
    }
}

/// A file in parts that was opened.
#[derive(Debug)]
pub(crate) enum Opened {
    /// It is this process's own, and locked.
    Ours(File),
    /// It had the name no more when it was locked.
    Moved,
    /// Another run has it, or it is not what a run makes.
    NotOurs,
}

/// Opens the file of this name for reading and writing, made where it is missing, and locks it (flock(2)). What is there must be a regular file of this user's with no
/// other name: neither a link, nor what somebody else put there, is written to. Errors: those of making it.
pub(crate) fn open_locked(directory: &OwnedFd, name: &[u8]) -> io::Result<Opened> {
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let new = rustix::fs::openat(
        directory,
        name,
        flags | OFlags::CREATE | OFlags::EXCL,
        Mode::from_raw_mode(0o600),
    );
    let (file, is_new) = match new {
        Ok(file) => (File::from(file), true),
        Err(Errno::EXIST) => match rustix::fs::openat(directory, name, flags, Mode::empty()) {
            Ok(file) => (File::from(file), false),
            Err(Errno::NOENT) => return Ok(Opened::Moved),
            Err(_) => return Ok(Opened::NotOurs),
        },
        Err(error) => return Err(error.into()),
    };
    let stat = rustix::fs::fstat(&file)?;
    if !is_new && !is_own_file(&stat) {
        return Ok(Opened::NotOurs);
    }
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        // Another run has it, be it that it found this file just now: the name is that run's.
        Err(Errno::WOULDBLOCK) => return Ok(Opened::NotOurs),
        Err(error) => {
            tracing::debug!(%error, "files cannot be locked here");
            if is_new {
                unlink(directory, name);
            }
            return Ok(Opened::NotOurs);
        }
    }
    match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(named) if (named.st_dev, named.st_ino) == (stat.st_dev, stat.st_ino) => Ok(Opened::Ours(file)),
        _ => Ok(Opened::Moved),
    }
}

fn is_own_file(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
        && stat.st_uid == rustix::process::geteuid().as_raw()
        && stat.st_nlink == 1
}

/// A file in parts that no process has, locked, and of which copy it is; of an empty one nothing is known.
fn held_dead(directory: &OwnedFd, name: &[u8]) -> Option<(File, Option<CopyId>)> {
    // Most of them are in place by now, and none is to be made.
    rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
    let Ok(Opened::Ours(file)) = open_locked(directory, name) else { return None };
    let copy = copy_of(&file);
    let is_empty = file.metadata().is_ok_and(|metadata| metadata.len() == 0);
    (is_empty || copy.is_some()).then_some((file, copy))
}

/// Removes a file in parts that no process has, if that is what is meant.
fn remove_where(directory: &OwnedFd, name: &[u8], is_meant: impl Fn(&File, Option<CopyId>) -> bool) {
    if let Some((file, copy)) = held_dead(directory, name)
        && is_meant(&file, copy)
    {
        unlink(directory, name);
    }
}

fn unlink(directory: &OwnedFd, name: &[u8]) {
    tracing::debug!(file = %name.escape_ascii(), "removing what a dead run left");
    if let Err(error) = rustix::fs::unlinkat(directory, name, AtFlags::empty()) {
        tracing::debug!(%error, "a temporary file of a dead run stays");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_made_are_known_again_and_no_others() {
        let orphan_files = OrphanFiles::new(RunId::new(), Vec::new(), CopyId::of("a"));
        for name in ["a", "ü.bin", &"n".repeat(255), ".hidden", "x.pail-"] {
            let whole = orphan_files.name_of_whole(name.as_bytes());
            assert!(
                matches!(kind_of(&whole), Some(Kind::Whole(run)) if run == orphan_files.run.as_str().as_bytes())
            );
            let parts = OrphanFiles::name_of_parts(name.as_bytes(), "0123456789abcdef");
            assert!(matches!(kind_of(&parts), Some(Kind::Parts)));
            assert!(whole.len() <= 255 && parts.len() <= 255);
        }
        for other in [
            "",
            ".",
            ".x",
            ".x.pail-",
            ".x.pail-parts-",
            ".x.pail-parts-0123456789abcdeg",
            "x.pail-parts-0123456789abcdef",
            ".x.pail-parts-0123456789abcdef.bak",
            ".x.pail-0123456789abcdef",
            ".x.pail-0123456789abcdef-0123456",
            ".x.pail-0123456789abcdef+01234567",
            "ü",
        ] {
            assert!(!is_temporary(other.as_bytes()), "{other}");
        }
    }
}

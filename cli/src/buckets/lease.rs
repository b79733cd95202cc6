//! Which buckets the launches of this machine use.
//!
//! Owns: [`Lease`], which a launch holds on each bucket of its task, from before the bucket is created until the launch has ended, and
//! [`LastLease`], which nobody else has one beside.
//!
//! A lease is a lock (flock(2)) of a file in the state directory that is named after the bucket's identity: shared, until its holder makes it
//! exclusive, as the last one alone can. The kernel drops it when its holder ends, however that comes about, so that no lease outlives its
//! launch. Who wants one while the bucket is deleted waits, and finds it gone. What is to outlive a launch is a mark, a file beside that: for whom
//! the bucket is to stay leaves one, and so does a launch that was killed, whose job may be running.
//!
//! Invariants:
//! - A bucket is deleted at the end of a launch by the holder of its last lease alone, and of one without another's mark.
//! - Files are removed by the holder of the exclusive lock, but for a launch's own mark. Who has waited for the lock of a file that was removed takes
//!   that of the next one.

use crate::terminal;
use jiff::Timestamp;
use pail_control::Failure;
use pail_control::settings::{Directories, process_environment};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use sha2::{Digest, Sha256};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Result};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

const FOLDER: &str = "leases";

/// The use of a bucket by a launch.
#[derive(Debug)]
pub struct Lease {
    /// Has the lock.
    file: File,
    folder: PathBuf,
    /// The name of the lock's file, and what those of the bucket's marks begin with.
    name: String,
    /// The name of this launch's mark.
    mark: String,
}

/// The use of a bucket that nobody else uses, and nobody can begin to use.
#[derive(Debug)]
pub struct LastLease(Lease);

impl Lease {
    /// Takes one on the bucket of that identity, and waits where it is being deleted, which is told. Errors: the state directory cannot be
    /// written.
    pub async fn take(identity: &str, uri: &str) -> std::result::Result<Self, Failure> {
        let uid = rustix::process::geteuid().as_raw();
        let folder = Directories::from_environment(&process_environment, uid)?.state.join(FOLDER);
        let (identity, uri) = (identity.to_owned(), uri.to_owned());
        let taking = tokio::task::spawn_blocking(move || {
            let waits = || terminal::note(&format!("waiting for the deletion of {uri}, which is under way"));
            Self::take_in(&folder, &identity, waits)
                .map_err(|err| Failure::from_io(format!("cannot write in {}", folder.display()), &err))
        });
        taking.await.map_err(|err| Failure::other(err.to_string()))?
    }

    fn take_in(folder: &Path, identity: &str, waits: impl Fn()) -> Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let name = hex::encode(&Sha256::digest(identity)[..16]);
        loop {
            let mut options = OpenOptions::new();
            options.create(true).truncate(false).read(true).write(true).mode(0o600);
            let file = options.open(folder.join(&name))?;
            match flock(&file, FlockOperation::NonBlockingLockShared) {
                Err(Errno::WOULDBLOCK) => {
                    waits();
                    flock(&file, FlockOperation::LockShared)?;
                }
                locked => locked?,
            }
            if file.metadata()?.nlink() > 0 {
                let (pid, now) = (std::process::id(), Timestamp::now().as_nanosecond());
                let mark = format!("{name}.{pid}.{now}");
                return Ok(Self { file, folder: folder.to_owned(), name, mark });
            }
        }
    }

    /// Leaves a mark, for which the bucket stays until this launch ends in good order. Errors: it cannot be written.
    pub fn mark(&self) -> Result<()> {
        OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(self.mark_path())?;
        Ok(())
    }

    /// Ends it, with `stays` leaving the mark to those that still use the bucket; `None` where there are any. Errors: the lock or the mark cannot be
    /// dealt with.
    pub fn into_last(self, stays: bool) -> Result<Option<LastLease>> {
        if !stays {
            remove(&self.mark_path())?;
        }
        // The shared lock is dropped first, and is not taken again where the other is refused (flock(2)): of several that end at a time one
        // finds itself the last.
        match flock(&self.file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(LastLease(self))),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(err) => Err(err.into()),
        }
    }

    fn mark_path(&self) -> PathBuf {
        self.folder.join(&self.mark)
    }

    /// The marks of all launches.
    fn marks(&self) -> Result<Vec<PathBuf>> {
        let beginning = format!("{}.", self.name);
        let mut marks = Vec::new();
        for entry in std::fs::read_dir(&self.folder)? {
            let entry = entry?;
            if entry.file_name().to_str().is_some_and(|name| name.starts_with(&beginning)) {
                marks.push(entry.path());
            }
        }
        Ok(marks)
    }
}

impl LastLease {
    /// Whether the bucket is to stay, for a launch that ran beside this one, or for one of which nobody knows how it ended. Errors: the marks cannot
    /// be read.
    pub fn is_kept(&self) -> Result<bool> {
        Ok(!self.0.marks()?.is_empty())
    }
}

impl Drop for LastLease {
    /// What cannot be removed keeps nobody from a lease.
    fn drop(&mut self) {
        for mark in self.0.marks().unwrap_or_default() {
            let _ = remove(&mark);
        }
        let _ = remove(&self.0.folder.join(&self.0.name));
    }
}

fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(err) if err.kind() != ErrorKind::NotFound => Err(err),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(dir: &Path, identity: &str) -> Lease {
        Lease::take_in(dir, identity, || panic!("nobody waits")).unwrap()
    }

    #[test]
    fn the_last_of_several_is_told_so_and_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (first, second) = (take(dir.path(), "s3://a"), take(dir.path(), "s3://a"));
        for lease in [&first, &second] {
            lease.mark().unwrap();
        }
        assert!(first.into_last(false).unwrap().is_none());
        let other = take(dir.path(), "http://h s3://a").into_last(false).unwrap();
        assert!(other.is_some_and(|last| !last.is_kept().unwrap()));
        let last = second.into_last(false).unwrap().unwrap();
        assert!(!last.is_kept().unwrap());
        drop(last);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_bucket_is_kept_for_whom_it_is_to_stay_and_for_who_was_killed() {
        let dir = tempfile::tempdir().unwrap();
        for is_killed in [false, true] {
            let (last, other) = (take(dir.path(), "s3://a"), take(dir.path(), "s3://a"));
            other.mark().unwrap();
            match is_killed {
                true => drop(other),
                false => assert!(other.into_last(true).unwrap().is_none()),
            }
            assert!(last.into_last(false).unwrap().unwrap().is_kept().unwrap(), "{is_killed}");
            assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        }
        // One that has not begun its job when it fails has no say.
        let (last, failed) = (take(dir.path(), "s3://a"), take(dir.path(), "s3://a"));
        drop(failed);
        assert!(!last.into_last(false).unwrap().unwrap().is_kept().unwrap());
    }

    #[test]
    fn who_comes_while_the_bucket_is_deleted_waits_for_that_and_begins_anew() {
        let dir = tempfile::tempdir().unwrap();
        let last = take(dir.path(), "s3://a").into_last(false).unwrap().unwrap();
        let (waits, waiting) = std::sync::mpsc::channel();
        let at = dir.path().to_owned();
        let next = std::thread::spawn(move || Lease::take_in(&at, "s3://a", || waits.send(()).unwrap()));
        waiting.recv().unwrap();
        drop(last);
        let next = next.join().unwrap().unwrap();
        let beside = take(dir.path(), "s3://a");
        assert!(next.into_last(false).unwrap().is_none(), "both have a lock of the same file");
        drop(beside);
    }
}

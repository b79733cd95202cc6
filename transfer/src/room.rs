//! Whether a download fits on its disk.
//!
//! Owns: [`Room`], which refuses a run as soon as its listing shows more than the disk has room for, before the page that shows it is fetched. What the run replaces, and
//! what it goes on with, counts as room; what other programs write or free meanwhile does not, and is found out by writing.

use crate::change::Reason;
use crate::directory::{Occupant, Root};
use crate::orphan_files::OrphanFiles;
use crate::part_journal::ObjectIdentity;
use crate::plan::Step;
use crate::temporary::Temporary;
use crate::{Error, disk};
use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;

/// What a run needs of its disks, as far as that is known.
pub(crate) struct Room {
    root: Arc<Root>,
    orphan_files: Arc<OrphanFiles>,
    /// The store's, by which the files in parts of earlier runs are known.
    store: String,
    /// Larger objects are fetched in parts.
    part_size_bytes: u64,
    /// By device: other file systems may be mounted below the target.
    disks: HashMap<u64, Disk>,
    /// The directory that was asked for last, and its device: objects come in order.
    last: Option<(Box<[u8]>, u64)>,
}

/// One of the file systems.
struct Disk {
    /// A directory on it.
    path: PathBuf,
    /// At the beginning; `None` where the file system does not say.
    free_bytes: Option<u64>,
    needed_bytes: u64,
    /// Bytes on the disk that are needed no more once the run is over.
    freed_bytes: u64,
}

impl Room {
    /// Of objects of the store of this identity.
    pub fn new(root: Arc<Root>, orphan_files: Arc<OrphanFiles>, store: &str, part_size_bytes: u64) -> Self {
        let (store, disks) = (store.to_owned(), HashMap::new());
        Self { root, orphan_files, store, part_size_bytes, disks, last: None }
    }

    /// Adds what these steps fetch. May wait for the disk. Errors: `NoSpace`.
    pub fn take(&mut self, steps: &[Step]) -> Result<(), Error> {
        for step in steps {
            let Step::Fetch(object, path, reason) = step else { continue };
            let mut freed_bytes = 0;
            if *reason != Reason::New
                && let Occupant::File(local) = self.root.look(path)
            {
                freed_bytes += local.size;
            }
            if object.size > self.part_size_bytes {
                let what = ObjectIdentity::of(&self.store, object, path.as_bytes());
                freed_bytes += Temporary::held_bytes(&self.root, path, &self.orphan_files, &what);
            }
            let (directory, _) = path.split();
            let disk = self.disk_of(directory);
            disk.needed_bytes += object.size;
            disk.freed_bytes += freed_bytes;
        }
        for disk in self.disks.values() {
            let needed = disk.needed_bytes.saturating_sub(disk.freed_bytes);
            if let Some(free) = disk.free_bytes.filter(|free| *free < needed) {
                return Err(disk::full(
                    &disk.path,
                    format!("{needed} bytes or more are to be copied, and {free} were free"),
                ));
            }
        }
        Ok(())
    }

    /// The disk that a directory is on, or will be.
    fn disk_of(&mut self, directory: &[u8]) -> &mut Disk {
        let known = self.last.as_ref().filter(|(last, _)| **last == *directory).map(|(_, device)| *device);
        let found = if known.is_none() { self.root.find_deepest(directory).ok() } else { None };
        let device = known.unwrap_or_else(|| {
            let stat = found.as_ref().and_then(|(_, found)| rustix::fs::fstat(&**found).ok());
            stat.map_or(0, |stat| stat.st_dev)
        });
        self.last = Some((directory.into(), device));
        self.disks.entry(device).or_insert_with(|| Disk {
            path: self.root.path().join(OsStr::from_bytes(found.as_ref().map_or(b"", |(path, _)| path))),
            free_bytes: found.and_then(|(_, found)| free_bytes_of(&found)),
            needed_bytes: 0,
            freed_bytes: 0,
        })
    }
}

/// Bytes that may still be written to the file system that a file is on; `None` where that has no blocks to count, as ramfs and a tmpfs without a limit.
fn free_bytes_of(file: &OwnedFd) -> Option<u64> {
    let stat = rustix::fs::fstatvfs(file).ok().filter(|stat| stat.f_blocks > 0)?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}

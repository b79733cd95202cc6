//! Whether a download fits on its disk.
//!
//! Owns: [`Room`], which refuses a run as soon as its listing shows more than the disk has room for, before the page that shows it is fetched. What the run replaces, and
//! what it goes on with, counts as room; what other programs write or free meanwhile does not, and is found out by writing.

use crate::change::Reason;
use crate::directory::{Occupant, Root};
use crate::part_journal::ObjectIdentity;
use crate::plan::Step;
use crate::temporary::Temporary;
use crate::{Error, disk};
use std::sync::Arc;

/// What a run needs of its disk, as far as that is known.
pub(crate) struct Room {
    root: Arc<Root>,
    /// The store's, by which the files in parts of earlier runs are known.
    store: String,
    /// Larger objects are fetched in parts.
    part_size_bytes: u64,
    /// At the beginning; `None` where the file system does not say.
    free_bytes: Option<u64>,
    needed_bytes: u64,
    /// Bytes on the disk that are needed no more once the run is over.
    freed_bytes: u64,
}

impl Room {
    /// Looks how much is free.
    pub fn new(root: Arc<Root>, store: &str, part_size_bytes: u64) -> Self {
        let free_bytes = root.free_bytes().ok();
        Self { root, store: store.to_owned(), part_size_bytes, free_bytes, needed_bytes: 0, freed_bytes: 0 }
    }

    /// Adds what these steps fetch. May wait for the disk. Errors: `NoSpace`.
    pub fn take(&mut self, steps: &[Step]) -> Result<(), Error> {
        for step in steps {
            let Step::Fetch(object, path, reason) = step else { continue };
            self.needed_bytes += object.size;
            if *reason != Reason::New
                && let Occupant::File(local) = self.root.look(path)
            {
                self.freed_bytes += local.size;
            }
            if object.size > self.part_size_bytes {
                let what = ObjectIdentity::of(&self.store, object, path.as_bytes());
                self.freed_bytes += Temporary::held_bytes(&self.root, path, &what).min(object.size);
            }
        }
        let (needed, free) = (self.needed_bytes.saturating_sub(self.freed_bytes), self.free_bytes);
        match free.filter(|free| *free < needed) {
            Some(free) => Err(disk::full(
                self.root.path(),
                format!("{needed} bytes or more are to be copied, and {free} were free"),
            )),
            None => Ok(()),
        }
    }
}

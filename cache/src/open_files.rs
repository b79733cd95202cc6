//! How many files of replicas are open.
//!
//! Owns: [`OpenFiles`], the replicas whose files are open, by when they were opened. A node may hold many thousands of replicas (an inode
//! keeps its own), and a process may have 1,024 descriptors: the file opened longest ago is closed for the next, and is opened again
//! when it is read.
//!
//! Dirty replicas are not counted: each has one descriptor as long as it is held, and there are as many as files being written.
//!
//! Invariant: a file that somebody reads, writes or sums is not closed.

use crate::cache::Shared;
use crate::identity::Name;
use crate::replica::DiskSlot;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;

/// So many replicas have their files open, of up to three descriptors each.
const OPEN_COUNT_MAX: usize = 192;

/// The replicas whose files are open.
#[derive(Default)]
pub(crate) struct OpenFiles {
    /// Guards the names, each as often as its file was opened. A leaf.
    names: Mutex<VecDeque<Name>>,
}

impl OpenFiles {
    /// A file was opened. Closes others if they are too many. No replica's `disk` is waited for, so it may be held.
    pub fn opened(&self, shared: &Shared, name: Name) {
        let excess: Vec<Name> = {
            let mut names = self.names.lock();
            names.push_back(name);
            let count = names.len().saturating_sub(OPEN_COUNT_MAX);
            names.drain(..count).collect()
        };
        for name in excess {
            if shared.live(name).is_some_and(|replica| !close(&replica.disk)) {
                self.names.lock().push_back(name);
            }
        }
    }
}

/// Gives false if the file is in use.
fn close(disk: &Mutex<DiskSlot>) -> bool {
    let Some(mut slot) = disk.try_lock() else { return false };
    if let DiskSlot::Open(file) = &*slot {
        if Arc::strong_count(file) > 1 {
            return false;
        }
        *slot = DiskSlot::Unknown;
    }
    true
}

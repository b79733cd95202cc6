//! How much disk is used.
//!
//! Owns: [`Usage`]: the bytes of clean and of dirty replicas, the summary that is kept between runs, and the sum of a walk that
//! corrects it.
//!
//! # Why a summary and a walk
//! Adding up millions of files before the first mount would take minutes. So the figure of the last run is taken at its word, and a
//! thread goes through the directories behind the work, one at a time. A change in a directory that it has passed is
//! added to its sum; one in a directory ahead of it will be seen there; and none is made in the one that it is adding up.

use parking_lot::{Condvar, Mutex};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

/// How many directories hold the data files.
pub(crate) const LEAF_COUNT: u32 = 16 * 256;

#[derive(Debug, Default)]
struct Walk {
    /// Directories before it are in the sum.
    cursor: u32,
    sum_bytes: i64,
    /// None is to go on.
    is_stopped: bool,
    /// How many came to their end.
    #[cfg(test)]
    done_count: u32,
}

/// Bytes of disk in use.
#[derive(Debug, Default)]
pub(crate) struct Usage {
    clean_bytes: AtomicI64,
    dirty_bytes: AtomicI64,
    /// Guards the walk's sum. A leaf.
    walk: Mutex<Walk>,
    stopped: Condvar,
}

/// The directory of a leaf, below the root of the data files.
pub(crate) fn leaf_path(root: &Path, leaf: u32) -> PathBuf {
    root.join(format!("{:x}", leaf >> 8)).join(format!("{:02x}", leaf & 0xff))
}

impl Usage {
    /// Takes the last run's figure at its word.
    pub fn load(summary: &Path) -> Arc<Self> {
        let told = std::fs::read_to_string(summary).ok().and_then(|text| text.trim().parse().ok());
        let usage = Self::default();
        usage.clean_bytes.store(told.unwrap_or(0).max(0), Ordering::Relaxed);
        Arc::new(usage)
    }

    /// Keeps the figure for the next run. That it cannot be kept costs that run accuracy until its walk is done.
    pub fn save(&self, summary: &Path) {
        let _ = std::fs::write(summary, format!("{}\n", self.clean_bytes()));
    }

    /// Bytes of clean replicas.
    pub fn clean_bytes(&self) -> u64 {
        self.clean_bytes.load(Ordering::Relaxed).max(0).unsigned_abs()
    }

    /// Bytes of dirty replicas.
    pub fn dirty_bytes(&self) -> u64 {
        self.dirty_bytes.load(Ordering::Relaxed).max(0).unsigned_abs()
    }

    /// Clean replicas in this directory grew or shrank.
    pub fn add_clean(&self, leaf: u32, bytes: i64) {
        let mut walk = self.walk.lock();
        self.clean_bytes.fetch_add(bytes, Ordering::Relaxed);
        if leaf < walk.cursor {
            walk.sum_bytes += bytes;
        }
    }

    /// Dirty replicas grew or shrank.
    pub fn add_dirty(&self, bytes: i64) {
        self.dirty_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Whether all that is there was added up since the cache was opened.
    #[cfg(test)]
    pub fn is_walked(&self) -> bool {
        self.walk.lock().done_count > 0
    }

    /// Ends the walk early.
    pub fn stop(&self) {
        self.walk.lock().is_stopped = true;
        self.stopped.notify_all();
    }

    /// Waits for `period`; false where the walk is to end before that.
    pub fn pause(&self, period: Duration) -> bool {
        let until = Instant::now() + period;
        let mut walk = self.walk.lock();
        while !walk.is_stopped {
            if self.stopped.wait_until(&mut walk, until).timed_out() {
                return true;
            }
        }
        false
    }

    /// The walk has come to a directory that holds so much, and that nobody changes until this returns.
    pub fn pass_leaf(&self, leaf: u32, bytes: u64) {
        let mut walk = self.walk.lock();
        walk.sum_bytes += bytes as i64;
        walk.cursor = leaf + 1;
    }

    /// The walk has passed all directories: what it found is what is used.
    pub fn end_walk(&self) {
        let mut walk = self.walk.lock();
        self.clean_bytes.store(walk.sum_bytes, Ordering::Relaxed);
        (walk.cursor, walk.sum_bytes) = (0, 0);
        #[cfg(test)]
        {
            walk.done_count += 1;
        }
    }
}

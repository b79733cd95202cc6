//! How much disk is used.
//!
//! Owns: [`Usage`]: the bytes of clean and of dirty replicas, the summary that is kept between runs, and the walk that corrects it
//! and sweeps what belongs to nothing.
//!
//! # Why a summary and a walk
//! Adding up millions of files before the first mount would take minutes. So the figure of the last run is taken at its word, and a
//! thread goes through the directories behind the work, one at a time. A change in a directory that it has passed is
//! added to its sum; one in a directory ahead of it will be seen there.

use parking_lot::Mutex;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

/// How many directories hold the data files.
pub(crate) const LEAF_COUNT: u32 = 16 * 256;
/// Between one directory and the next, so that the walk disturbs nobody.
const PAUSE: Duration = Duration::from_millis(2);

#[derive(Debug, Default)]
struct Walk {
    /// Directories before it are in the sum.
    cursor: u32,
    sum_bytes: i64,
    done: bool,
}

/// Bytes of disk in use.
#[derive(Debug, Default)]
pub(crate) struct Usage {
    clean_bytes: AtomicI64,
    dirty_bytes: AtomicI64,
    /// Guards the walk's sum. A leaf.
    walk: Mutex<Walk>,
    stop: AtomicBool,
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
        if !walk.done && leaf < walk.cursor {
            walk.sum_bytes += bytes;
        }
    }

    /// Dirty replicas grew or shrank.
    pub fn add_dirty(&self, bytes: i64) {
        self.dirty_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Ends the walk early.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Adds up what is there, behind the work, after `sweep` of each directory. Gives false where it was ended early.
    pub fn walk(&self, root: &Path, summary: &Path, sweep: impl Fn(&Path)) -> bool {
        for leaf in 0..LEAF_COUNT {
            if self.stop.load(Ordering::Relaxed) {
                return false;
            }
            let path = leaf_path(root, leaf);
            sweep(&path);
            let bytes = leaf_bytes(&path);
            {
                let mut walk = self.walk.lock();
                walk.sum_bytes += bytes;
                walk.cursor = leaf + 1;
            }
            if bytes > 0 {
                std::thread::sleep(PAUSE);
            }
        }
        let mut walk = self.walk.lock();
        walk.done = true;
        self.clean_bytes.store(walk.sum_bytes, Ordering::Relaxed);
        drop(walk);
        self.save(summary);
        true
    }
}

fn leaf_bytes(leaf: &Path) -> i64 {
    let Ok(files) = std::fs::read_dir(leaf) else { return 0 };
    files
        .flatten()
        .filter_map(|file| file.metadata().ok())
        .map(|metadata| metadata.blocks() as i64 * 512)
        .sum()
}

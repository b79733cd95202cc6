//! How far a run is.
//!
//! Owns: [`Progress`], counters that the run adds to and anybody may read meanwhile, as often as it likes to show them, and [`Moved`], the bytes of one attempt.

use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// Counters of a run.
#[derive(Debug, Default)]
pub struct Progress {
    found: AtomicU64,
    found_bytes: AtomicU64,
    finished: AtomicU64,
    moved_bytes: AtomicU64,
    walked: AtomicBool,
}

/// The counters at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgressSnapshot {
    /// Objects found so far that are to be copied.
    pub found: u64,
    /// Their bytes.
    pub found_bytes: u64,
    /// Of these, those that are done, whatever they came to.
    pub finished: u64,
    /// Bytes that arrived, or that the store has.
    pub moved_bytes: u64,
    /// Everything was found: `found` and `found_bytes` grow no more.
    pub walked: bool,
}

impl Progress {
    /// The counters now.
    pub fn snapshot(&self) -> ProgressSnapshot {
        ProgressSnapshot {
            found: self.found.load(Relaxed),
            found_bytes: self.found_bytes.load(Relaxed),
            finished: self.finished.load(Relaxed),
            moved_bytes: self.moved_bytes.load(Relaxed),
            walked: self.walked.load(Relaxed),
        }
    }

    pub(crate) fn find(&self, bytes: u64) {
        self.found.fetch_add(1, Relaxed);
        self.found_bytes.fetch_add(bytes, Relaxed);
    }

    /// An object that was found has so many bytes more.
    pub(crate) fn find_bytes(&self, bytes: u64) {
        self.found_bytes.fetch_add(bytes, Relaxed);
    }

    pub(crate) fn finish_one(&self) {
        self.finished.fetch_add(1, Relaxed);
    }

    pub(crate) fn add_bytes(&self, bytes: u64) {
        self.moved_bytes.fetch_add(bytes, Relaxed);
    }

    /// Takes back what was counted of an object that starts over.
    pub(crate) fn take_back(&self, bytes: u64) {
        self.moved_bytes.fetch_sub(bytes, Relaxed);
    }

    pub(crate) fn walk_ended(&self) {
        self.walked.store(true, Relaxed);
    }
}

/// The bytes of one attempt at an object, which count in the run's progress unless it fails.
#[derive(Debug)]
pub(crate) struct Moved {
    progress: Arc<Progress>,
    bytes: AtomicU64,
}

impl Moved {
    /// None yet.
    pub fn of(progress: &Arc<Progress>) -> Arc<Self> {
        Arc::new(Self { progress: progress.clone(), bytes: AtomicU64::new(0) })
    }

    pub fn add(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Relaxed);
        self.progress.add_bytes(bytes);
    }

    /// The attempt has failed, or starts over.
    pub fn take_back(&self) {
        self.progress.take_back(self.bytes.swap(0, Relaxed));
    }
}

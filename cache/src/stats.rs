//! What the cache tells of itself.
//!
//! Owns: [`CacheStats`], one look at it, and [`Counters`], which count up while it runs.

use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicU64, Ordering};

/// One look at the cache. Counts are since it was opened.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheStats {
    /// Bytes of blocks in memory and under way.
    pub memory_used_bytes: u64,
    /// The budget of them.
    pub memory_limit_bytes: u64,
    /// Bytes of disk that clean replicas hold.
    pub disk_used_bytes: u64,
    /// The budget of clean and dirty replicas together; 0 where there is no disk tier.
    pub disk_limit_bytes: u64,
    /// Bytes of disk that dirty replicas hold.
    pub dirty_bytes: u64,
    /// Blocks that reads found in memory.
    pub memory_hits: u64,
    /// Blocks that reads found on disk.
    pub disk_hits: u64,
    /// Blocks that reads had to wait for.
    pub misses: u64,
    /// Bytes that were fetched.
    pub fetched_bytes: u64,
    /// Requests that fetched them.
    pub fetches: u64,
    /// Blocks that were not kept on disk: it could not keep up, was full, or failed.
    pub dropped_fills: u64,
    /// Bytes of disk that were freed for others.
    pub evicted_bytes: u64,
    /// Blocks on disk that were not what they should be, and were fetched again.
    pub checksum_failures: u64,
    /// Errors of the local disk.
    pub disk_errors: u64,
}

/// A count that goes up.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The counts of [`CacheStats`].
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub memory_hits: Counter,
    pub disk_hits: Counter,
    pub misses: Counter,
    pub fetched_bytes: Counter,
    pub fetches: Counter,
    pub dropped_fills: Counter,
    pub evicted_bytes: Counter,
    pub checksum_failures: Counter,
    pub disk_errors: Counter,
}

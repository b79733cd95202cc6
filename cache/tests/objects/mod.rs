//! The objects that tests read, where they come from, and a cache for them.

#![allow(dead_code, reason = "each test uses a part")]

use async_trait::async_trait;
use bytes::Bytes;
use pail_cache::{Cache, CacheConfig, Fetch, FetchError, ReplicaId, Supply};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

pub const MIB: u64 = 1 << 20;

/// The bytes of `range` of an object, which follow from its number and their offsets.
pub fn bytes_of(object: usize, range: Range<u64>) -> Vec<u8> {
    let byte = |offset: u64| {
        (offset.wrapping_add(object as u64 * 7919).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as u8
    };
    range.map(byte).collect()
}

/// Those of the first object.
pub fn bytes(range: Range<u64>) -> Vec<u8> {
    bytes_of(0, range)
}

/// Serves one object, with a fault now and then.
#[derive(Default)]
pub struct Source {
    pub object: usize,
    pub fetches: AtomicU64,
    /// What is wrong with the next answer: 0 nothing, 1 it is refused, 2 it breaks off with an error, 3 it ends early.
    pub fault: AtomicU8,
    /// How many answers something was wrong with.
    pub faults: AtomicU64,
}

impl Source {
    /// The first object's, also as what a replica takes.
    pub fn shared() -> (Arc<Self>, Arc<dyn Fetch>) {
        let source = Arc::new(Self::default());
        (source.clone(), source)
    }
}

#[async_trait]
impl Fetch for Source {
    async fn fetch(&self, range: Range<u64>) -> Result<Box<dyn Supply>, FetchError> {
        self.fetches.fetch_add(1, Ordering::SeqCst);
        tokio::task::yield_now().await;
        let fault = self.fault.swap(0, Ordering::SeqCst);
        self.faults.fetch_add(u64::from(fault > 0), Ordering::SeqCst);
        let broken = || -> FetchError { Arc::new(std::io::Error::other("broken")) };
        if fault == 1 {
            return Err(broken());
        }
        let all = bytes_of(self.object, range);
        let good = if fault > 0 { all.len() / 2 } else { all.len() };
        let error = (fault == 2).then(broken);
        Ok(Box::new(Answer { bytes: Bytes::copy_from_slice(&all[..good]), error }))
    }
}

/// Bytes, and the error that they break off with.
struct Answer {
    bytes: Bytes,
    error: Option<FetchError>,
}

#[async_trait]
impl Supply for Answer {
    async fn fill(&mut self, buffer: &mut [u8]) -> Result<usize, FetchError> {
        tokio::task::yield_now().await;
        match &self.error {
            Some(error) if self.bytes.len() < buffer.len() => Err(error.clone()),
            _ => self.bytes.fill(buffer).await,
        }
    }
}

/// A cache in directories of its own below `dir`.
pub fn open(dir: &Path, memory_bytes: u64, disk_bytes: u64) -> Arc<Cache> {
    let config =
        CacheConfig { clean_dir: dir.join("clean"), dirty_dir: dir.join("dirty"), memory_bytes, disk_bytes };
    Cache::open(config, tokio::runtime::Handle::current()).unwrap()
}

pub fn id(key: impl ToString) -> ReplicaId {
    ReplicaId { store: "s".into(), key: key.to_string().into(), version: "v".into() }
}

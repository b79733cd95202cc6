//! What small objects take in memory beside their bytes.
//!
//! Run: `cargo run --release -p pail-cache --example small_objects -- [objects] [bytes of each] [budget in MiB]`.
//! Reads so many objects, each once, without a disk tier, and compares what the process grew by with the budget. With a budget that
//! holds all of them, the growth for each block is what `BLOCK_OVERHEAD_BYTES` stands for.

#![allow(clippy::unwrap_used, reason = "a measurement")]

use async_trait::async_trait;
use bytes::Bytes;
use pail_cache::{Cache, CacheConfig, Fetch, FetchError, ReplicaId, Supply};
use std::ops::Range;
use std::sync::Arc;

const MIB: u64 = 1 << 20;

/// Zeros.
struct Source;

#[async_trait]
impl Fetch for Source {
    async fn fetch(&self, range: Range<u64>) -> Result<Box<dyn Supply>, FetchError> {
        Ok(Box::new(Bytes::from(vec![0; (range.end - range.start) as usize])))
    }
}

fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let mut args = std::env::args().skip(1).map(|arg| arg.parse::<u64>().unwrap());
    let count = args.next().unwrap_or(300_000);
    let size = args.next().unwrap_or(10);
    let memory_bytes = args.next().unwrap_or(64) * MIB;
    let dir = tempfile::tempdir().unwrap();
    let config = CacheConfig {
        clean_dir: dir.path().join("clean"),
        dirty_dir: dir.path().join("dirty"),
        memory_bytes,
        disk_bytes: 0,
    };
    let cache = Cache::open(config, tokio::runtime::Handle::current()).unwrap();
    let fetch: Arc<dyn Fetch> = Arc::new(Source);
    let before = resident_bytes();
    for number in 0..count {
        let id = ReplicaId { store: "s".into(), key: number.to_string().into(), version: "v".into() };
        cache.replica(id, size).read(0..size, &fetch).await.unwrap();
    }
    let grown = resident_bytes() - before;
    println!(
        "{count} objects of {size} bytes: {} MiB of a budget of {} MiB are counted, and the process grew by {} MiB, {} bytes an object",
        cache.stats().memory_used_bytes / MIB,
        memory_bytes / MIB,
        grown / MIB,
        grown / count
    );
}

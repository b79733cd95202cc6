//! The process stays near its memory budget, however much is read at once, and however small it is.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use async_trait::async_trait;
use pail_cache::{Cache, CacheConfig, Fetch, FetchError, ReplicaId, Supply};
use std::ops::Range;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

const MIB: u64 = 1 << 20;
const OBJECT_BYTES: u64 = 64 * MIB;
const CHILD: &str = "PAIL_TEST_RESIDENT_MEMORY";

/// An object of one byte, again and again.
struct Source;

#[async_trait]
impl Fetch for Source {
    async fn fetch(&self, range: Range<u64>) -> Result<Box<dyn Supply>, FetchError> {
        Ok(Box::new(Repeated(range.end - range.start)))
    }
}

/// So many bytes.
struct Repeated(u64);

#[async_trait]
impl Supply for Repeated {
    async fn fill(&mut self, buffer: &mut [u8]) -> Result<usize, FetchError> {
        tokio::task::yield_now().await;
        let count = buffer.len().min(self.0 as usize);
        buffer[..count].fill(0x5a);
        self.0 -= count as u64;
        Ok(count)
    }
}

fn peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// A peak is a process's: what is measured runs in one of its own.
fn measured(test: &str, measure: fn()) {
    if std::env::var_os(CHILD).is_some() {
        return measure();
    }
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", test, "--nocapture"]).env(CHILD, "1");
    // As the daemon sets it up: what glibc keeps for itself is not to be measured.
    child.envs([("MALLOC_MMAP_THRESHOLD_", "131072"), ("MALLOC_ARENA_MAX", "2")]);
    assert!(child.status().unwrap().success());
}

#[test]
fn sixty_four_files_read_at_once_fit_the_budget() {
    measured("sixty_four_files_read_at_once_fit_the_budget", read_at_once);
}

#[test]
fn what_is_kept_beside_small_objects_fits_the_budget() {
    measured("what_is_kept_beside_small_objects_fits_the_budget", read_small_objects);
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap()
}

fn open(dir: &Path, runtime: &tokio::runtime::Runtime, memory_bytes: u64, disk_bytes: u64) -> Arc<Cache> {
    let config =
        CacheConfig { clean_dir: dir.join("clean"), dirty_dir: dir.join("dirty"), memory_bytes, disk_bytes };
    Cache::open(config, runtime.handle().clone()).unwrap()
}

fn id(key: impl ToString) -> ReplicaId {
    ReplicaId { store: "s".into(), key: key.to_string().into(), version: "v".into() }
}

fn read_small_objects() {
    let runtime = runtime();
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path(), &runtime, 16 * MIB, 0);
    let fetch: Arc<dyn Fetch> = Arc::new(Source);
    let before = peak_bytes();
    runtime.block_on(async {
        for key in 0..300_000 {
            cache.replica(id(key), 10).read(0..10, &fetch).await.unwrap();
        }
    });
    let grown = peak_bytes() - before;
    println!("grown by {} MiB", grown / MIB);
    assert!(grown < 32 * MIB, "{grown} bytes more");
}

fn read_at_once() {
    let runtime = runtime();
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path(), &runtime, 256 * MIB, 128 * MIB);
    let fetch: Arc<dyn Fetch> = Arc::new(Source);
    runtime.block_on(async {
        let readers = (0..64).map(|reader| {
            let (replica, fetch) = (cache.replica(id(reader), OBJECT_BYTES), fetch.clone());
            tokio::spawn(async move {
                for start in (0..OBJECT_BYTES).step_by(MIB as usize) {
                    replica.prefetch(start..start + 16 * MIB, &fetch);
                    let bytes = replica.read(start..start + MIB, &fetch).await.unwrap();
                    assert!(bytes.len() == MIB as usize && bytes.iter().all(|byte| *byte == 0x5a));
                }
            })
        });
        for reader in futures::future::join_all(readers).await {
            reader.unwrap();
        }
    });
    let peak = peak_bytes();
    println!("peak {} MiB", peak / MIB);
    assert!(peak < 400_000_000, "{peak} bytes resident");
}

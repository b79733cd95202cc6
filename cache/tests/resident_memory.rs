//! The process stays near its memory budget, however much is read at once.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use pail_cache::{Cache, CacheConfig, Fetch, FetchError, ReplicaId};
use std::ops::Range;
use std::process::Command;
use std::sync::Arc;

const MIB: u64 = 1 << 20;
const OBJECT_BYTES: u64 = 64 * MIB;
const CHILD: &str = "PAIL_TEST_RESIDENT_MEMORY";

/// Pieces of fresh memory, as an HTTP client gives.
struct Source;

#[async_trait]
impl Fetch for Source {
    async fn fetch(
        &self,
        range: Range<u64>,
    ) -> Result<BoxStream<'static, Result<Bytes, FetchError>>, FetchError> {
        let mut left = range.end - range.start;
        let pieces = std::iter::from_fn(move || {
            let len = left.min(200 << 10);
            left -= len;
            (len > 0).then(|| Ok(vec![0x5a; len as usize].into()))
        });
        Ok(futures::stream::iter(pieces).boxed())
    }
}

fn peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// A peak is a process's: what is measured runs in one of its own.
#[test]
fn sixty_four_files_read_at_once_fit_the_budget() {
    if std::env::var_os(CHILD).is_some() {
        return read_at_once();
    }
    let child = Command::new(std::env::current_exe().unwrap()).arg("--nocapture").env(CHILD, "1").status();
    assert!(child.unwrap().success());
}

fn read_at_once() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let config = CacheConfig {
        clean_dir: dir.path().join("clean"),
        dirty_dir: dir.path().join("dirty"),
        memory_bytes: 256 * MIB,
        disk_bytes: 128 * MIB,
    };
    let cache = Cache::open(config, runtime.handle().clone()).unwrap();
    let fetch: Arc<dyn Fetch> = Arc::new(Source);
    runtime.block_on(async {
        let readers = (0..64).map(|reader| {
            let id = ReplicaId { store: "s".into(), key: reader.to_string().into(), version: "v".into() };
            let (replica, fetch) = (cache.replica(id, OBJECT_BYTES), fetch.clone());
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

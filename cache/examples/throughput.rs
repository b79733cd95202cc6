//! What the cache costs: CPU seconds for each GiB that is read, with a source that costs nothing.
//!
//! Run: `cargo run --release -p pail-cache --example throughput -- [MiB of the object] [directory on the disk to measure]`.
//! Figures are of the whole process, source and reader included, which only clone and drop references. What the kernel takes to
//! write the same bytes to a plain file comes first: no cache on that disk can cost less. That part depends on whether the kernel has
//! used pages at hand, so the second of two runs is the one to compare.
//!
//! On two virtual CPUs with ext4, 1 GiB: a plain file 0.51 CPU s/GiB; cold 0.18 from memory alone, 0.40 to 0.48 with all of it kept on
//! disk; again from disk 0.05; 1,200,000 reads/s of 4 KiB from memory, 70,000 from disk.

#![allow(clippy::unwrap_used, reason = "a measurement")]

use async_trait::async_trait;
use bytes::Bytes;
use pail_cache::{Cache, CacheConfig, Fetch, FetchError, Replica, ReplicaId, Supply};
use std::io::Write;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

const MIB: u64 = 1 << 20;
const MEMORY_BYTES: u64 = 256 * MIB;
/// How far a reader fetches ahead, in bytes.
const WINDOW_BYTES: u64 = 16 * MIB;

/// The same bytes again and again, by reference.
struct Source(Bytes);

#[async_trait]
impl Fetch for Source {
    async fn fetch(&self, range: Range<u64>) -> Result<Box<dyn Supply>, FetchError> {
        Ok(Box::new(Repeated { bytes: self.0.clone(), left: range.end - range.start }))
    }
}

struct Repeated {
    bytes: Bytes,
    left: u64,
}

#[async_trait]
impl Supply for Repeated {
    async fn fill(&mut self, buffer: &mut [u8]) -> Result<usize, FetchError> {
        let count = buffer.len().min(self.left as usize);
        for piece in buffer[..count].chunks_mut(self.bytes.len()) {
            piece.copy_from_slice(&self.bytes[..piece.len()]);
        }
        self.left -= count as u64;
        Ok(count)
    }
}

struct Cost {
    wall: Instant,
    cpu: Duration,
}

fn cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

impl Cost {
    fn start() -> Self {
        Self { wall: Instant::now(), cpu: cpu() }
    }

    fn tell(&self, what: &str, bytes: u64) {
        let gib = bytes as f64 / (1 << 30) as f64;
        let (wall, cpu) = (self.wall.elapsed().as_secs_f64(), (cpu() - self.cpu).as_secs_f64());
        println!("{what:34} {:6.3} CPU s/GiB {:7.2} GiB/s", cpu / gib, gib / wall);
    }
}

fn open(dir: &Path, disk_bytes: u64) -> Arc<Cache> {
    let config = CacheConfig {
        clean_dir: dir.join("clean"),
        dirty_dir: dir.join("dirty"),
        memory_bytes: MEMORY_BYTES,
        disk_bytes,
    };
    Cache::open(config, tokio::runtime::Handle::current()).unwrap()
}

fn replica(cache: &Arc<Cache>, size: u64) -> Arc<Replica> {
    let id = ReplicaId { store: "s".into(), key: "object".into(), version: "v".into() };
    cache.replica(id, size)
}

/// With `paced`, as slowly as the disk keeps up.
async fn read_all(replica: &Arc<Replica>, fetch: &Arc<dyn Fetch>, paced: Option<&Cache>) {
    let mut ahead = 0;
    for start in (0..replica.size()).step_by(MIB as usize) {
        if ahead < start + WINDOW_BYTES / 2 {
            ahead = replica.prefetch(start..start + WINDOW_BYTES, fetch);
        }
        replica.read(start..(start + MIB).min(replica.size()), fetch).await.unwrap();
        if let Some(cache) = paced.filter(|_| start % (WINDOW_BYTES / 2) == 0) {
            cache.drain().await;
        }
    }
}

async fn read_randomly(replica: &Arc<Replica>, fetch: &Arc<dyn Fetch>, what: &str, within: u64) {
    let count = 500_000;
    let started = Instant::now();
    for step in 0..count {
        let start = (0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(step) >> 20) % (within / 4096) * 4096;
        replica.read(start..start + 4096, fetch).await.unwrap();
    }
    println!("{what:34} {:9.0} reads/s", count as f64 / started.elapsed().as_secs_f64());
}

fn write_plainly(path: &Path, size: u64) {
    let mut file = std::fs::File::create(path).unwrap();
    let bytes = vec![0x5a; 2 * MIB as usize];
    for _ in 0..size / bytes.len() as u64 {
        file.write_all(&bytes).unwrap();
    }
}

#[tokio::main(worker_threads = 2)]
async fn main() {
    let mut args = std::env::args().skip(1);
    let size = args.next().map_or(1024, |text| text.parse().unwrap()) * MIB;
    let dir = match args.next() {
        Some(dir) => tempfile::tempdir_in(dir),
        None => tempfile::tempdir(),
    };
    let dir = dir.unwrap();
    let fetch: Arc<dyn Fetch> = Arc::new(Source(vec![0x5a; MIB as usize].into()));

    let cost = Cost::start();
    write_plainly(&dir.path().join("plain"), size);
    cost.tell("a plain file, written", size);
    std::fs::remove_file(dir.path().join("plain")).unwrap();

    let cache = open(dir.path(), 0);
    let cost = Cost::start();
    read_all(&replica(&cache, size), &fetch, None).await;
    cost.tell("cold, memory alone", size);
    drop(cache);

    let cache = open(dir.path(), 4 * size);
    let cost = Cost::start();
    read_all(&replica(&cache, size), &fetch, Some(&cache)).await;
    cache.drain().await;
    cost.tell("cold, kept on disk", size);
    println!("{:34} {:6} of {} blocks", "  of them not kept", cache.stats().dropped_fills, size >> 17);
    drop(cache);

    let cache = open(dir.path(), 4 * size);
    let replica = replica(&cache, size);
    read_all(&replica, &fetch, None).await;
    let cost = Cost::start();
    read_all(&replica, &fetch, None).await;
    cost.tell("from disk, in the page cache", size);
    read_randomly(&replica, &fetch, "4 KiB at random, from memory", MEMORY_BYTES / 2).await;
    read_randomly(&replica, &fetch, "4 KiB at random, from disk", size).await;
}

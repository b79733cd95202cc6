//! A model test of what is counted as used: after any interleaving of what makes, fills, moves, frees and removes files, once all is
//! quiet, the count is what the files on disk hold.

use crate::cache::{Cache, CacheConfig};
use crate::dirty::DirtyReplica;
use crate::evict;
use crate::fill;
use crate::identity::ReplicaId;
use crate::journal::Intent;
use crate::testing::some_intent;
use proptest::prelude::*;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

const MIB: u64 = 1 << 20;
/// Of one block, of a few, of as many as an attribute has room for, and too many for that.
const SIZES: [u64; 5] = [5_000, 300_000, 3 * MIB + 5, 8 * MIB, 17 * MIB + 1];
/// A file system may allot a page for its own bookkeeping when it writes a file out, after that was counted.
const LATE_PAGES_BYTES: u64 = 128 << 10;

#[derive(Debug, Clone)]
enum Step {
    /// Bytes of an object came: a share of 1,000 of its size.
    Fill(usize, u64),
    /// Whatever can go goes, so often in turn.
    Evict(usize),
    /// A written file becomes an object's.
    Publish(usize),
    /// A file is written, removed, written on and closed.
    Remove(usize),
    /// A written file is given up by its user, and then by who looks at what is left.
    Leave(usize),
    /// The disk fails while an object is filled.
    Fail(usize),
    /// The budget is held.
    Hold,
}

fn step() -> impl Strategy<Value = Step> {
    let object = 0..SIZES.len();
    prop_oneof![
        6 => (object.clone(), 1u64..1001).prop_map(|(object, share)| Step::Fill(object, share)),
        4 => (1usize..40).prop_map(Step::Evict),
        2 => object.clone().prop_map(Step::Publish),
        1 => object.clone().prop_map(Step::Remove),
        1 => object.clone().prop_map(Step::Leave),
        1 => object.prop_map(Step::Fail),
        1 => Just(Step::Hold),
    ]
}

fn id(object: usize) -> ReplicaId {
    ReplicaId { store: "s".into(), key: object.to_string().into(), version: "v".into() }
}

fn open(dir: &Path, disk_bytes: u64) -> Arc<Cache> {
    let config = CacheConfig {
        clean_dir: dir.join("clean"),
        dirty_dir: dir.join("dirty"),
        memory_bytes: 256 * MIB,
        disk_bytes,
    };
    Cache::open(config, tokio::runtime::Handle::current()).unwrap()
}

fn written(cache: &Arc<Cache>, object: usize) -> Arc<DirtyReplica> {
    let dirty = cache.create_dirty(Intent { key: object.to_string(), ..some_intent() }).unwrap();
    for start in (0..SIZES[object]).step_by(MIB as usize) {
        dirty.write_at(start, &vec![1; (SIZES[object] - start).min(MIB) as usize]).unwrap();
    }
    dirty
}

fn apply(cache: &Arc<Cache>, step: &Step) {
    let shared = cache.replica(id(0), SIZES[0]).shared().clone();
    let tier = shared.disk.as_deref().unwrap();
    match *step {
        Step::Fill(object, share) => {
            let len = (SIZES[object] * share / 1000).max(1);
            cache.replica(id(object), SIZES[object]).insert(0, vec![1; len as usize].into());
        }
        Step::Evict(times) => (0..times).for_each(|_| {
            evict::give_way(&shared, tier, 1);
            std::thread::sleep(Duration::from_micros(200));
        }),
        Step::Publish(object) => _ = cache.adopt(&written(cache, object), id(object)),
        Step::Remove(object) => {
            let dirty = written(cache, object);
            dirty.discard();
            dirty.write_at(SIZES[object], &[1; 100_000]).unwrap();
            dirty.truncate(SIZES[object] / 2).unwrap();
        }
        Step::Leave(object) => {
            let path = written(cache, object).path().to_owned();
            if object % 2 == 0 {
                cache.discard_orphan(&path).unwrap().unwrap();
            }
        }
        Step::Fail(object) => {
            let replica = cache.replica(id(object), SIZES[object]);
            let lock = tier.lock_name(replica.digest.name);
            fill::give_up(&shared, tier, &lock, &replica, 0, &std::io::Error::other("it fails"));
        }
        Step::Hold => evict::hold_budget(&shared, tier),
    }
}

/// What files below `dir` hold on disk.
fn held_bytes(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let held = |entry: std::fs::DirEntry| match entry.metadata().unwrap() {
        metadata if metadata.is_dir() => held_bytes(&entry.path()),
        // A record is a page that is not counted.
        _ if entry.path().extension().is_some_and(|extension| extension == "json") => 0,
        metadata => metadata.blocks() * 512,
    };
    entries.map(held).sum()
}

async fn check(dir: &Path, cache: &Arc<Cache>, steps: &[Step]) {
    cache.drain().await;
    let usage = cache.replica(id(0), SIZES[0]).shared().usage.clone();
    let until = Instant::now() + Duration::from_secs(30);
    while !usage.is_walked() && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let clean = (usage.clean_bytes(), held_bytes(&dir.join("clean/replicas")));
    let dirty = (usage.dirty_bytes(), held_bytes(&dir.join("dirty")));
    assert!(
        clean.0.abs_diff(clean.1) <= LATE_PAGES_BYTES,
        "clean: {} counted, {} held, after {steps:?}",
        clean.0,
        clean.1
    );
    assert!(
        dirty.0.abs_diff(dirty.1) <= LATE_PAGES_BYTES,
        "dirty: {} counted, {} held, after {steps:?}",
        dirty.0,
        dirty.1
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 0, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_counted_is_what_the_disk_holds(
        disk_bytes in prop::sample::select(vec![24 * MIB, 1024 * MIB]),
        rounds in prop::collection::vec((prop::collection::vec(step(), 1..6), any::<bool>()), 1..8),
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let dir = tempfile::tempdir().unwrap();
            let mut cache = open(dir.path(), disk_bytes);
            for (steps, reopens) in rounds {
                if reopens {
                    drop(cache);
                    // What changes while the walk passes is counted once.
                    cache = open(dir.path(), disk_bytes);
                }
                std::thread::scope(|scope| {
                    for step in &steps {
                        let cache = &cache;
                        scope.spawn(move || apply(cache, step));
                    }
                });
                check(dir.path(), &cache, &steps).await;
            }
        });
    }
}

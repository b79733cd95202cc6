//! Replicas against models, with random steps: never a wrong byte, and never a read that fails because of the cache.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod objects;

use async_trait::async_trait;
use bytes::Bytes;
use objects::{MIB, Source, bytes_of, id, open};
use pail_cache::{Base, Cache, DirtyReplica, Fetch, FetchError, Intent, ReplicaId, SegmentKind, Supply};
use proptest::prelude::*;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

/// Within a block, of a few blocks, and too many for an attribute.
const SIZES: [u64; 4] = [5, 300_000, 2 * MIB + 1, 9 * MIB + 4097];

#[derive(Debug, Clone)]
enum Step {
    /// Ranges of one object at once, as shares of 1,000 of its size.
    Read(usize, Vec<(u64, u64)>),
    Prefetch(usize, u64),
    Insert(usize, u64, u64),
    Fault(usize, u8),
    Drain,
    /// Which file of those there are, what is done to it, and where, in shares of 1,000.
    Damage(usize, u8, u64),
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let object = 0..SIZES.len();
    prop_oneof![
        6 => (object.clone(), prop::collection::vec((0u64..1000, 1u64..700), 1..4)).prop_map(|(o, r)| Step::Read(o, r)),
        1 => (object.clone(), 0u64..1000).prop_map(|(o, at)| Step::Prefetch(o, at)),
        1 => (object.clone(), 0u64..1000, 1u64..600).prop_map(|(o, at, len)| Step::Insert(o, at, len)),
        1 => (object, 1u8..4).prop_map(|(o, fault)| Step::Fault(o, fault)),
        2 => Just(Step::Drain),
        3 => (0usize..16, 0u8..7, 0u64..1000).prop_map(|(file, kind, at)| Step::Damage(file, kind, at)),
        1 => Just(Step::Reopen),
    ]
}

fn files_in(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            files.extend(files_in(&entry.path()));
        } else {
            files.push(entry.path());
        }
    }
    files.sort();
    files
}

fn damage(files: &[PathBuf], which: usize, kind: u8, share: u64) {
    if files.is_empty() {
        return;
    }
    let path = &files[which % files.len()];
    // It may have been evicted meanwhile.
    let Ok(file) = std::fs::OpenOptions::new().read(true).write(true).open(path) else { return };
    let len = file.metadata().unwrap().len();
    let at = len * share / 1000;
    match kind {
        0 => {
            let mut byte = [0];
            if file.read_at(&mut byte, at).unwrap() == 1 {
                file.write_all_at(&[byte[0] ^ 1], at).unwrap();
            }
        }
        1 => file.set_len(at).unwrap(),
        // It may have been evicted since it was opened.
        2 => _ = std::fs::remove_file(path),
        3 => file.write_all_at(&[0xa5; 5000], at).unwrap(),
        4 => file.set_len(len + 4096).unwrap(),
        5 => {
            let mut state = [0; 1024];
            if let Ok(len) = rustix::fs::fgetxattr(&file, "user.pail", &mut state[..]) {
                state[at as usize % len] ^= 0x10;
                rustix::fs::fsetxattr(&file, "user.pail", &state[..len], rustix::fs::XattrFlags::empty())
                    .unwrap();
            }
        }
        _ => drop(std::fs::rename(path, &files[(which + 1) % files.len()])),
    }
}

struct World {
    dir: tempfile::TempDir,
    disk_bytes: u64,
    cache: Option<Arc<Cache>>,
    sources: Vec<Arc<Source>>,
    seen_faults: Vec<u64>,
}

impl World {
    fn new(disk_bytes: u64) -> Self {
        let source = |object| Arc::new(Source { object, ..Source::default() });
        let sources: Vec<_> = (0..SIZES.len()).map(source).collect();
        let dir = tempfile::tempdir().unwrap();
        let mut world = Self { dir, disk_bytes, cache: None, sources, seen_faults: vec![0; SIZES.len()] };
        world.reopen();
        world
    }

    fn reopen(&mut self) {
        self.cache = None;
        self.cache = Some(open(self.dir.path(), 4 * MIB, self.disk_bytes));
    }

    async fn step(&mut self, step: Step) {
        let cache = self.cache.clone().unwrap();
        let replica = |object: usize| cache.replica(id(object), SIZES[object]);
        let fetch = |object: usize| -> Arc<dyn Fetch> { self.sources[object].clone() };
        match step {
            Step::Read(object, ranges) => {
                let ranges: Vec<_> = ranges.into_iter().map(|range| range_of(object, range)).collect();
                for _ in 0..4 {
                    let (replica, fetch) = (replica(object), fetch(object));
                    let reads = ranges.iter().map(|range| replica.read(range.clone(), &fetch));
                    let results = futures::future::join_all(reads).await;
                    for (range, result) in ranges.iter().zip(&results) {
                        if let Ok(read) = result {
                            assert!(*read == bytes_of(object, range.clone()), "{object} {range:?} is wrong");
                        }
                    }
                    if results.iter().all(Result::is_ok) {
                        return;
                    }
                    let faults = self.sources[object].faults.load(Ordering::SeqCst);
                    assert!(faults > self.seen_faults[object], "a read failed and its source had not");
                    self.seen_faults[object] = faults;
                }
                panic!("a read failed again and again");
            }
            Step::Prefetch(object, share) => {
                let range = SIZES[object] * share / 1000..SIZES[object];
                let end = replica(object).prefetch(range.clone(), &fetch(object));
                assert!((range.start..=range.end).contains(&end));
            }
            Step::Insert(object, share, len) => {
                let range = range_of(object, (share, len));
                replica(object).insert(range.start, bytes_of(object, range.clone()).into());
            }
            Step::Fault(object, fault) => self.sources[object].fault.store(fault, Ordering::SeqCst),
            Step::Drain => cache.drain().await,
            Step::Damage(which, kind, share) => {
                damage(&files_in(&self.dir.path().join("clean/replicas")), which, kind, share);
            }
            Step::Reopen => {
                drop(cache);
                self.reopen();
            }
        }
        let stats = self.cache.as_ref().unwrap().stats();
        assert!(stats.memory_used_bytes <= stats.memory_limit_bytes, "{stats:?}");
    }
}

fn range_of(object: usize, (start, len): (u64, u64)) -> Range<u64> {
    let start = SIZES[object] * start / 1000;
    start..(start + SIZES[object] * len / 1000 + 1).min(SIZES[object])
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, max_shrink_iters: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_damaged_cache_and_a_faulty_source_never_falsify_a_read(
        disk_bytes in prop::sample::select(vec![0, 3 * MIB, 256 * MIB]),
        steps in prop::collection::vec(step(), 1..40),
    ) {
        runtime().block_on(async {
            let mut world = World::new(disk_bytes);
            for step in steps {
                world.step(step).await;
            }
            for object in 0..SIZES.len() {
                world.step(Step::Read(object, vec![(0, 1000)])).await;
            }
        });
    }
}

#[derive(Debug, Clone)]
enum Change {
    Write(u64, u64, u8),
    Truncate(u64),
    FillBase(u64, u64),
    SetIntent,
    Sync,
}

fn change() -> impl Strategy<Value = Change> {
    let at = 0u64..400_000;
    prop_oneof![
        4 => (at.clone(), 0u64..200_000, any::<u8>()).prop_map(|(at, len, seed)| Change::Write(at, len, seed)),
        2 => at.clone().prop_map(Change::Truncate),
        2 => (at, 1u64..200_000).prop_map(|(at, len)| Change::FillBase(at, len)),
        1 => Just(Change::SetIntent),
        1 => Just(Change::Sync),
    ]
}

fn intent(base: &[u8]) -> Intent {
    let size = base.len() as u64;
    Intent {
        store: "s".into(),
        key: "k".into(),
        base: (size > 0).then(|| Base { version: "0".into(), size }),
        mount: "m".into(),
        created: SystemTime::UNIX_EPOCH,
    }
}

/// What a reader who has the base sees.
fn seen(dirty: &DirtyReplica, base: &[u8]) -> Vec<u8> {
    let mut seen = Vec::new();
    for segment in dirty.segments(0..u64::MAX) {
        assert_eq!(segment.range.start, seen.len() as u64);
        match segment.kind {
            SegmentKind::Local => seen.extend(dirty.read_local(segment.range).unwrap().unwrap()),
            SegmentKind::Base => {
                seen.extend(&base[segment.range.start as usize..segment.range.end as usize]);
            }
            SegmentKind::Zero => seen.resize(segment.range.end as usize, 0),
        }
    }
    seen
}

fn apply(dirty: &DirtyReplica, model: &mut Vec<u8>, base: &[u8], change: Change) {
    match change {
        Change::Write(at, len, seed) => {
            let data: Vec<u8> = (0..len).map(|offset| (offset as u8).wrapping_mul(31) ^ seed).collect();
            dirty.write_at(at, &data).unwrap();
            if len > 0 {
                model.resize(model.len().max((at + len) as usize), 0);
                model[at as usize..(at + len) as usize].copy_from_slice(&data);
            }
        }
        Change::Truncate(len) => {
            dirty.truncate(len).unwrap();
            model.resize(len as usize, 0);
        }
        Change::FillBase(at, len) => {
            let range = (at as usize).min(base.len())..((at + len) as usize).min(base.len());
            dirty.fill_base(range.start as u64, &base[range]).unwrap();
        }
        Change::SetIntent => dirty.set_intent(Intent { key: "renamed".into(), ..dirty.intent() }).unwrap(),
        Change::Sync => dirty.sync().unwrap(),
    }
}

/// Serves the bytes it is given.
struct Given(Vec<u8>);

#[async_trait]
impl Fetch for Given {
    async fn fetch(&self, range: Range<u64>) -> Result<Box<dyn Supply>, FetchError> {
        Ok(Box::new(Bytes::copy_from_slice(&self.0[range.start as usize..range.end as usize])))
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, max_shrink_iters: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_a_vector_of_bytes(
        base_len in prop_oneof![Just(0u64), 1u64..300_000],
        changes in prop::collection::vec(change(), 0..20),
        crashes in any::<bool>(),
    ) {
        runtime().block_on(async {
            let dir = tempfile::tempdir().unwrap();
            let cache = open(dir.path(), 4 * MIB, 256 * MIB);
            let base = bytes_of(9, 0..base_len);
            let dirty = cache.create_dirty(intent(&base)).unwrap();
            let mut model = base.clone();
            for change in changes {
                apply(&dirty, &mut model, &base, change);
                assert_eq!(dirty.len(), model.len() as u64);
                assert!(seen(&dirty, &base) == model);
            }
            if crashes {
                dirty.sync().unwrap();
                dirty.set_intent(Intent { key: "last".into(), ..dirty.intent() }).unwrap();
                drop((dirty, cache));
                recover(dir.path(), &base, &model);
            } else {
                let id = ReplicaId { store: "s".into(), key: "k".into(), version: "1".into() };
                let replica = cache.adopt(&dirty, id);
                let fetch: Arc<dyn Fetch> = Arc::new(Given(model.clone()));
                assert!(replica.read(0..model.len() as u64, &fetch).await.unwrap() == model);
                cache.drain().await;
                assert!(replica.read(0..model.len() as u64, &fetch).await.unwrap() == model);
                assert!(dirty.read_local(0..0).unwrap().is_none(), "the bytes are the replica's now");
                assert_eq!(cache.stats().checksum_failures, 0);
            }
        });
    }
}

/// What a process that starts after a crash makes of what it finds.
fn recover(dir: &Path, base: &[u8], model: &[u8]) {
    let cache = open(dir, 4 * MIB, 256 * MIB);
    let orphans = cache.orphans();
    if orphans.is_empty() {
        assert!(model == base, "only what was never changed is nobody's to keep");
        return;
    }
    assert_eq!(orphans.len(), 1);
    assert_eq!(orphans[0].intent.key, "last");
    assert_eq!(orphans[0].len, model.len() as u64);
    let data = std::fs::read(&orphans[0].data_path).unwrap();
    let mut found = vec![0; model.len()];
    let shown = (orphans[0].base_len as usize).min(model.len());
    found[..shown].copy_from_slice(&base[..shown]);
    for range in orphans[0].local.clone().unwrap() {
        found[range.start as usize..range.end as usize]
            .copy_from_slice(&data[range.start as usize..range.end as usize]);
    }
    assert!(found == model);
}

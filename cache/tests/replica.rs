//! What a reader of a replica notices: right bytes, one request for many readers, and no harm from a damaged disk.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod objects;

use objects::{MIB, Source, bytes, id, open};
use pail_cache::{Intent, ReadError, SegmentKind};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

fn intent(key: &str) -> Intent {
    Intent { store: "s".into(), key: key.into(), base: None, mount: "m".into(), created: SystemTime::now() }
}

fn data_files(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        if entry.path().is_dir() {
            files.extend(data_files(&entry.path()));
        } else if entry.file_name().len() == 32 {
            files.push(entry.path());
        }
    }
    files
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_readers_of_a_missing_range_cost_one_request() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path(), 64 * MIB, 0);
    let (source, fetch) = Source::shared();
    let replica = cache.replica(id("a"), 3 * MIB + 17);
    let reads = (0..32).map(|_| replica.read(5..MIB, &fetch));
    for read in futures::future::join_all(reads).await {
        assert!(read.unwrap() == bytes(5..MIB));
    }
    assert_eq!(source.fetches.load(Ordering::SeqCst), 1);
    assert!(replica.read(3 * MIB..3 * MIB + 17, &fetch).await.unwrap() == bytes(3 * MIB..3 * MIB + 17));
    let beyond = replica.read(0..3 * MIB + 18, &fetch).await;
    assert!(matches!(beyond, Err(ReadError::OutOfRange { .. })), "{beyond:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_progress_in_the_least_memory() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path(), 0, 256 * MIB);
    let (_, fetch) = Source::shared();
    let readers = (0..64u64).map(|reader| {
        let (replica, fetch, cache) = (cache.replica(id(reader), 4 * MIB + 1), fetch.clone(), cache.clone());
        tokio::spawn(async move {
            for at in (0..4 * MIB).step_by(MIB as usize - 1000) {
                let range = at..(at + MIB).min(replica.size());
                replica.prefetch(range.start..replica.size(), &fetch);
                assert!(replica.read(range.clone(), &fetch).await.unwrap() == bytes(range));
                let stats = cache.stats();
                assert!(stats.memory_used_bytes <= stats.memory_limit_bytes);
            }
        })
    });
    let all = futures::future::join_all(readers);
    for reader in tokio::time::timeout(std::time::Duration::from_secs(60), all).await.expect("no deadlock") {
        reader.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_no_known_version_is_neither_shared_nor_kept() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path(), 64 * MIB, 256 * MIB);
    let (source, fetch) = Source::shared();
    for opened in 1..=2 {
        let replica = cache.passing_replica(id("a"), MIB);
        for _ in 0..2 {
            assert!(replica.read(0..MIB, &fetch).await.unwrap() == bytes(0..MIB));
        }
        assert_eq!(source.fetches.load(Ordering::SeqCst), opened);
    }
    cache.drain().await;
    assert_eq!(data_files(&dir.path().join("clean/replicas")), Vec::<std::path::PathBuf>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_fetch_fails_its_readers_and_the_next_read_tries_again() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path(), 64 * MIB, 0);
    let (source, fetch) = Source::shared();
    let replica = cache.replica(id("a"), MIB);
    source.fault.store(1, Ordering::SeqCst);
    let failed = replica.read(0..100, &fetch).await;
    assert!(matches!(failed, Err(ReadError::Fetch(_))), "{failed:?}");
    assert!(replica.read(0..100, &fetch).await.unwrap() == bytes(0..100));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_fetches_nothing_and_damage_is_fetched_again() {
    for size in [100_000, 3 * MIB + 5, 20 * MIB + 7] {
        let dir = tempfile::tempdir().unwrap();
        let (source, fetch) = Source::shared();
        let cache = open(dir.path(), 64 * MIB, 256 * MIB);
        // As slowly as any disk keeps up.
        for start in (0..size).step_by(4 * MIB as usize) {
            cache.replica(id("a"), size).read(start..size.min(start + 4 * MIB), &fetch).await.unwrap();
            cache.drain().await;
        }
        assert_eq!(cache.stats().dropped_fills, 0);
        drop(cache);
        let before = source.fetches.load(Ordering::SeqCst);

        let cache = open(dir.path(), 64 * MIB, 256 * MIB);
        assert!(cache.replica(id("a"), size).read(0..size, &fetch).await.unwrap() == bytes(0..size));
        assert_eq!(source.fetches.load(Ordering::SeqCst), before, "{size}: nothing is fetched again");
        drop(cache);

        let files = data_files(&dir.path().join("clean"));
        assert_eq!(files.len(), 1);
        let mut damaged = std::fs::read(&files[0]).unwrap();
        damaged[size as usize / 2] ^= 1;
        std::fs::write(&files[0], damaged).unwrap();
        let cache = open(dir.path(), 64 * MIB, 256 * MIB);
        assert!(cache.replica(id("a"), size).read(0..size, &fetch).await.unwrap() == bytes(0..size));
        assert_eq!(source.fetches.load(Ordering::SeqCst), before + 1, "{size}: one hole, one request");
        assert_eq!(cache.stats().checksum_failures, 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_disk_budget_holds_and_evicted_disk_is_free() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path(), 64 * MIB, 8 * MIB);
    let (_, fetch) = Source::shared();
    for key in 0..10 {
        cache.replica(id(key), 2 * MIB).read(0..2 * MIB, &fetch).await.unwrap();
        cache.drain().await;
    }
    use std::os::unix::fs::MetadataExt;
    let files = data_files(&dir.path().join("clean"));
    let held: u64 = files.iter().map(|file| file.metadata().unwrap().blocks() * 512).sum();
    assert!((2 * MIB..=8 * MIB).contains(&held), "{held}");
    assert!(cache.stats().evicted_bytes > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_published_is_read_without_a_fetch_but_for_the_bases_part() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path(), 64 * MIB, 256 * MIB);
    let (source, fetch) = Source::shared();
    let base = pail_cache::Base { version: "0".into(), size: MIB };
    let intent = Intent { base: Some(base), ..intent("a") };
    let dirty = cache.create_dirty(intent).unwrap();
    dirty.write_at(512 << 10, &bytes(512 << 10..2 * MIB)).unwrap();
    let kinds: Vec<_> = dirty.segments(0..2 * MIB).iter().map(|segment| segment.kind).collect();
    assert_eq!(kinds, [SegmentKind::Base, SegmentKind::Local]);
    let replica = cache.adopt(&dirty, id("a"));
    assert!(replica.read(512 << 10..2 * MIB, &fetch).await.unwrap() == bytes(512 << 10..2 * MIB));
    assert_eq!(source.fetches.load(Ordering::SeqCst), 0);
    assert!(replica.read(0..2 * MIB, &fetch).await.unwrap() == bytes(0..2 * MIB));
    assert_eq!(source.fetches.load(Ordering::SeqCst), 1);
    assert!(dirty.write_at(0, b"x").is_err(), "published bytes are not changed any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_and_published_stays_within_the_disk_budget() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path(), 8 * MIB, 8 * MIB);
    let held: Vec<_> = (0..6)
        .map(|key| {
            let dirty = cache.create_dirty(intent(&key.to_string())).unwrap();
            dirty.write_at(0, &bytes(0..3 * MIB)).unwrap();
            cache.adopt(&dirty, id(key))
        })
        .collect();
    cache.drain().await;
    let used = cache.stats().disk_used_bytes;
    assert!(used <= 8 * MIB, "{used} bytes");
    let (_, fetch) = Source::shared();
    for replica in held {
        assert!(replica.read(0..3 * MIB, &fetch).await.unwrap() == bytes(0..3 * MIB));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_file_counts_until_its_last_user_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path(), 8 * MIB, 8 * MIB);
    let (_, fetch) = Source::shared();
    let dirty = cache.create_dirty(intent("removed")).unwrap();
    dirty.write_at(0, &bytes(0..3 * MIB)).unwrap();
    dirty.discard();
    dirty.write_at(3 * MIB, &bytes(3 * MIB..5 * MIB)).unwrap();
    let held = dirty.bytes_on_disk();
    assert!(held >= 5 * MIB && cache.stats().dirty_bytes >= 5 * MIB, "{:?}", cache.stats());
    // What is read meanwhile has the rest of the budget.
    for key in 0..3 {
        cache.replica(id(key), 2 * MIB).read(0..2 * MIB, &fetch).await.unwrap();
        cache.drain().await;
    }
    let kept: u64 = data_files(&dir.path().join("clean"))
        .iter()
        .map(|file| std::os::unix::fs::MetadataExt::blocks(&file.metadata().unwrap()) * 512)
        .sum();
    assert!(held + kept <= 8 * MIB, "{held} and {kept} bytes");
    drop(dirty);
    assert_eq!(cache.stats().dirty_bytes, 0);
}

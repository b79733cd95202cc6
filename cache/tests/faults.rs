//! What happens when the disk is full, a daemon dies, two want one directory, or many threads one file.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod objects;

use objects::{MIB, Source, bytes, id, open};
use pail_cache::{Base, Cache, CacheConfig, CacheError, DirtyReplica, Intent, SegmentKind};
use std::io::Write;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

/// The memory budget, in bytes.
const MEMORY_BYTES: u64 = 8 * MIB;
/// Says to a child process which directory it works in.
const CHILD: &str = "PAIL_TEST_CHILD_DIR";

fn config(clean: &Path, dirty: &Path, disk_bytes: u64) -> CacheConfig {
    CacheConfig { clean_dir: clean.into(), dirty_dir: dirty.into(), memory_bytes: MEMORY_BYTES, disk_bytes }
}

fn intent(key: &str, base_len: u64) -> Intent {
    let base = (base_len > 0).then(|| Base { version: "0".into(), size: base_len });
    Intent { store: "s".into(), key: key.into(), base, mount: "m".into(), created: SystemTime::UNIX_EPOCH }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// This test, in a process of its own.
fn child(program: &str, args: &[&str], test: &str, dir: &Path) -> std::io::Result<std::process::ExitStatus> {
    let exe = std::env::current_exe().unwrap();
    let mut command = if program.is_empty() { Command::new(&exe) } else { Command::new(program) };
    if !program.is_empty() {
        command.args(args).arg(&exe);
    }
    command.args(["--exact", test, "--nocapture"]).env(CHILD, dir).status()
}

/// Says why a test does nothing here, past the test harness, which shows only what failed.
fn skipped(why: &str) {
    // Nowhere to tell an error of standard error.
    let _ = writeln!(std::io::stderr(), "skipped: {why}");
}

#[test]
fn on_a_full_disk_reads_go_on_and_writes_say_so() {
    if let Some(dir) = std::env::var_os(CHILD) {
        return fill_the_disk(Path::new(&dir));
    }
    if !rustix::process::geteuid().is_root() {
        return skipped("mounting a small file system needs root");
    }
    let dir = tempfile::tempdir().unwrap();
    // A mount namespace of its own, which goes with the process.
    if !Command::new("unshare").args(["-m", "true"]).status().is_ok_and(|status| status.success()) {
        return skipped("no mount namespace can be made here");
    }
    let status = child("unshare", &["-m"], "on_a_full_disk_reads_go_on_and_writes_say_so", dir.path());
    assert!(status.unwrap().success());
}

fn fill_the_disk(dir: &Path) {
    let flags = rustix::mount::MountFlags::empty();
    rustix::mount::mount("tmpfs", dir, "tmpfs", flags, c"size=24m").unwrap();
    runtime().block_on(async {
        let cache = open(dir, MEMORY_BYTES, 1 << 30);
        let (_, fetch) = Source::shared();
        for key in 0..4 {
            let replica = cache.replica(id(key), 10 * MIB);
            for start in (0..10 * MIB).step_by(MIB as usize) {
                assert!(replica.read(start..start + MIB, &fetch).await.unwrap() == bytes(start..start + MIB));
            }
            cache.drain().await;
        }
        let stats = cache.stats();
        assert!(stats.dropped_fills > 0 && stats.disk_errors > 0, "the disk was full: {stats:?}");

        let dirty = cache.create_dirty(intent("k", 0)).unwrap();
        let mut written = 0;
        let error = loop {
            match dirty.write_at(written, &bytes(written..written + MIB)) {
                Ok(()) => written += MIB,
                Err(error) => break error,
            }
            assert!(written < 24 * MIB);
        };
        assert_eq!(error.raw_os_error(), Some(libc::ENOSPC));
        assert!(written > 20 * MIB, "what is cached gave way to what is written: {written}");
        assert_eq!(dirty.len(), written);
        assert_eq!(dirty.path().metadata().unwrap().len(), written, "the part that failed is gone");
        assert!(dirty.read_local(0..written).unwrap().unwrap() == bytes(0..written));
        let replica = cache.replica(id(0), 10 * MIB);
        assert!(replica.read(0..MIB, &fetch).await.unwrap() == bytes(0..MIB));

        // What failed left nothing behind: growing shows zeros.
        dirty.truncate(written + 2 * MIB).unwrap();
        let kinds: Vec<_> = dirty.segments(0..u64::MAX).iter().map(|segment| segment.kind).collect();
        assert_eq!(kinds, [SegmentKind::Local, SegmentKind::Zero]);
        assert!(dirty.read_local(written..written + 2 * MIB).unwrap().unwrap().iter().all(|byte| *byte == 0));

        dirty.truncate(MIB).unwrap();
        dirty.write_at(MIB, &bytes(MIB..2 * MIB)).expect("there is room again");
        dirty.sync().unwrap();
        assert!(dirty.read_local(0..2 * MIB).unwrap().unwrap() == bytes(0..2 * MIB));
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_another_daemon_uses_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path(), MEMORY_BYTES, MIB);
    for (clean, dirty, taken) in [("clean", "other", "clean"), ("other", "dirty", "dirty")] {
        let config = config(&dir.path().join(clean), &dir.path().join(dirty), MIB);
        let error = Cache::open(config, tokio::runtime::Handle::current()).err().unwrap();
        assert!(matches!(&error, CacheError::InUse { dir: told } if *told == dir.path().join(taken)));
        assert!(error.to_string().contains("another daemon uses"), "{error}");
    }
    drop(first);
    drop(open(dir.path(), MEMORY_BYTES, MIB));
}

#[test]
fn what_a_crash_left_is_found() {
    if let Some(dir) = std::env::var_os(CHILD) {
        let runtime = runtime();
        let _entered = runtime.enter();
        let cache = open(Path::new(&dir), MEMORY_BYTES, 4 * MIB);
        let dirty = cache.create_dirty(intent("synced", 3 * MIB)).unwrap();
        dirty.write_at(MIB, &bytes(MIB..4 * MIB)).unwrap();
        dirty.truncate(2 * MIB).unwrap();
        dirty.sync().unwrap();
        let other = cache.create_dirty(intent("not synced", 0)).unwrap();
        other.write_at(0, b"log").unwrap();
        type Change = fn(&Arc<DirtyReplica>) -> std::io::Result<()>;
        let changes: [(&str, Change); 4] = [
            ("published", |_| Ok(())),
            ("published and written", |dirty| dirty.write_at(0, b"new")),
            ("published and cut", |dirty| dirty.truncate(2)),
            ("published and published again", |dirty| {
                dirty.write_at(3, b"new")?;
                tokio::runtime::Handle::current().block_on(dirty.set_published());
                Ok(())
            }),
        ];
        let kept = changes.map(|(key, change)| {
            let dirty = cache.create_dirty(intent(key, 0)).unwrap();
            dirty.write_at(0, b"old").unwrap();
            runtime.block_on(dirty.set_published());
            change(&dirty).unwrap();
            dirty
        });
        assert_eq!(kept.len(), 4, "all of them are in use until the end");
        let unchanged = cache.create_dirty(intent("not changed", 2 * MIB)).unwrap();
        unchanged.fill_base(0, &bytes(0..MIB)).unwrap();
        std::process::abort();
    }
    let dir = tempfile::tempdir().unwrap();
    let status = child("", &[], "what_a_crash_left_is_found", dir.path()).unwrap();
    assert!(!status.success(), "it was to crash");

    runtime().block_on(async {
        let cache = open(dir.path(), MEMORY_BYTES, 4 * MIB);
        // Whatever else needs disk does not get theirs.
        let (_, fetch) = Source::shared();
        for key in 0..4 {
            cache.replica(id(key), 3 * MIB).read(0..3 * MIB, &fetch).await.unwrap();
            cache.drain().await;
        }
        let mut orphans = cache.orphans();
        orphans.sort_by_key(|orphan| orphan.intent.key.clone());
        let keys: Vec<_> = orphans.iter().map(|orphan| orphan.intent.key.as_str()).collect();
        assert_eq!(keys, ["not synced", "published and cut", "published and written", "synced"]);
        assert_eq!(std::fs::read(&orphans[1].data_path).unwrap(), b"ol");
        assert_eq!(std::fs::read(&orphans[2].data_path).unwrap(), b"new");
        let files = std::fs::read_dir(dir.path().join("dirty/dirty")).unwrap().count();
        assert_eq!(files, 2 * orphans.len(), "of what is in the bucket nothing is left");
        assert_eq!(orphans[0].intent, intent("not synced", 0));
        assert_eq!((orphans[0].len, orphans[0].local.clone()), (3, None));
        assert_eq!(std::fs::read(&orphans[0].data_path).unwrap(), b"log");
        let synced = &orphans[3];
        assert_eq!(synced.intent, intent("synced", 3 * MIB));
        assert_eq!((synced.len, synced.base_len), (2 * MIB, 2 * MIB));
        assert!(!synced.is_whole() && orphans[0].is_whole());
        let local = synced.local.as_ref().unwrap();
        assert_eq!((local.len(), local[0].clone()), (1, MIB..2 * MIB));
        let data = std::fs::read(&synced.data_path).unwrap();
        assert!(data[MIB as usize..] == bytes(MIB..2 * MIB));
        assert!(cache.stats().dirty_bytes >= MIB);

        // Nothing but what is named goes.
        assert!(cache.discard_orphan(&dir.path().join("dirty/lock")).unwrap().is_none());
        assert_eq!(cache.discard_orphan(&synced.data_path).unwrap().unwrap().intent, synced.intent);
        assert_eq!(cache.orphans().len(), 3);
        assert!(cache.stats().dirty_bytes < MIB);
    });
}

/// Bytes of disk that the files below a directory hold.
fn held_bytes(dir: &Path) -> u64 {
    let files = std::fs::read_dir(dir).unwrap().map(|file| file.unwrap());
    let held = |file: std::fs::DirEntry| match file.file_type().unwrap().is_dir() {
        true => held_bytes(&file.path()),
        // Removed meanwhile, it holds nothing.
        false => file.metadata().map_or(0, |metadata| metadata.blocks() * 512),
    };
    files.map(held).sum()
}

async fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let waiting = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), waiting)
        .await
        .unwrap_or_else(|_| panic!("in vain: {what}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cache_that_was_killed_or_given_less_keeps_to_its_budget_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let replicas = dir.path().join("clean/replicas");
    let cache = open(dir.path(), 64 * MIB, 64 * MIB);
    let (_, fetch) = Source::shared();
    for key in 0..12 {
        cache.replica(id(key), 2 * MIB).read(0..2 * MIB, &fetch).await.unwrap();
        cache.drain().await;
    }
    drop(cache);
    assert!(held_bytes(&replicas) >= 24 * MIB);
    let cache = open(dir.path(), 64 * MIB, 16 * MIB);
    wait_until("it holds less", || held_bytes(&replicas) <= 16 * MIB).await;
    drop(cache);
    // As after a kill: what was told last is not what is there.
    std::fs::write(dir.path().join("clean/usage"), "0\n").unwrap();
    let cache = open(dir.path(), 64 * MIB, 8 * MIB);
    wait_until("it holds less, though nobody told it", || held_bytes(&replicas) <= 8 * MIB).await;
    wait_until("it knows", || cache.stats().disk_used_bytes == held_bytes(&replicas)).await;
    assert!(held_bytes(&replicas) >= 4 * MIB, "no more goes than has to");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_belong_to_nothing_are_removed_and_unpublished_bytes_are_not() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path(), 64 * MIB, 64 * MIB);
    let (source, fetch) = Source::shared();
    for size in [MIB, 10 * MIB] {
        cache.replica(id(size), size).read(0..size, &fetch).await.unwrap();
        cache.drain().await;
    }
    drop(cache);
    let leaf = dir.path().join("clean/replicas/0/00");
    std::fs::create_dir_all(&leaf).unwrap();
    let name = |index: u32| format!("000{index:029x}");
    std::fs::write(leaf.join(name(1)), "data without a state").unwrap();
    std::fs::write(leaf.join(name(2) + ".map"), "a state without data").unwrap();
    let dirty = dir.path().join("dirty/dirty");
    std::fs::write(dirty.join("1.json"), "a record without data").unwrap();
    std::fs::write(dirty.join("2.json.new"), "half a record").unwrap();
    std::fs::write(dirty.join("3.data"), "written bytes without a record").unwrap();

    let cache = open(dir.path(), 64 * MIB, 64 * MIB);
    let left = |dir: &Path| -> Vec<_> {
        std::fs::read_dir(dir).unwrap().map(|file| file.unwrap().file_name()).collect()
    };
    wait_until("the clean ones are gone", || left(&leaf).is_empty()).await;
    assert_eq!(left(&dirty), ["3.data"]);
    let before = source.fetches.load(Ordering::SeqCst);
    for size in [MIB, 10 * MIB] {
        assert!(cache.replica(id(size), size).read(0..size, &fetch).await.unwrap() == bytes(0..size));
    }
    assert_eq!(source.fetches.load(Ordering::SeqCst), before, "what is whole stays");
}

/// Writers of a region each, one who cuts and grows the tail beyond them, and one who keeps bytes of the base.
#[test]
fn threads_that_share_a_file_see_their_own_bytes() {
    const WRITERS: u64 = 4;
    const REGION: u64 = 300_001;
    let runtime = runtime();
    let _entered = runtime.enter();
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path(), MEMORY_BYTES, 64 * MIB);
    let base = vec![0xbb; (WRITERS * REGION) as usize];
    let dirty = cache.create_dirty(intent("k", WRITERS * REGION)).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|threads| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let dirty = &dirty;
                threads
                    .spawn(move || write_region(dirty, writer * REGION..(writer + 1) * REGION, writer as u8))
            })
            .collect();
        threads.spawn(|| {
            // At least once, also where the writers are done before this thread has begun.
            loop {
                dirty.write_at(WRITERS * REGION, &[0xee; 100_000]).unwrap();
                dirty.truncate(WRITERS * REGION + 1000).unwrap();
                dirty.truncate(WRITERS * REGION + 200_000).unwrap();
                if done.load(Ordering::SeqCst) {
                    break;
                }
            }
        });
        threads.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                for start in (0..base.len()).step_by(50_000) {
                    let end = base.len().min(start + 50_000);
                    dirty.fill_base(start as u64, &base[start..end]).unwrap();
                }
            }
        });
        let results: Vec<_> = writers.into_iter().map(|writer| writer.join()).collect();
        done.store(true, Ordering::SeqCst);
        for result in results {
            result.unwrap();
        }
    });
    for writer in 0..WRITERS {
        let region = writer * REGION..(writer + 1) * REGION;
        let seen = dirty.read_local(region).unwrap().unwrap();
        assert!(seen.iter().all(|byte| *byte == writer as u8), "region {writer}");
    }
    let tail = dirty.read_local(WRITERS * REGION + 1000..WRITERS * REGION + 200_000).unwrap().unwrap();
    assert!(tail.iter().all(|byte| *byte == 0), "what was cut off is gone");
}

fn write_region(dirty: &DirtyReplica, region: Range<u64>, value: u8) {
    for start in region.clone().step_by(7_001) {
        let end = region.end.min(start + 7_001);
        dirty.write_at(start, &vec![value; (end - start) as usize]).unwrap();
        let segments = dirty.segments(start..end);
        assert!(segments.iter().all(|segment| segment.kind == SegmentKind::Local));
        assert!(dirty.read_local(start..end).unwrap().unwrap().iter().all(|byte| *byte == value));
    }
}

/// Cuts every file of a clean replica, as making room on a full disk does.
fn free_all(dir: &Path) {
    for file in std::fs::read_dir(dir).unwrap().map(|file| file.unwrap().path()) {
        match file.is_dir() {
            true => free_all(&file),
            false => std::fs::File::options().write(true).open(file).unwrap().set_len(0).unwrap(),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_gone_are_never_read_as_zeros() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path(), MEMORY_BYTES, 64 * MIB);
    let (_, fetch) = Source::shared();

    // Published, and its file freed for want of room.
    let dirty = cache.create_dirty(intent("k", 0)).unwrap();
    dirty.write_at(0, &bytes(0..MIB)).unwrap();
    let told = dirty.segments(0..MIB)[0].range.clone();
    let replica = cache.adopt(&dirty, id("k"));
    free_all(&dir.path().join("clean/replicas"));
    assert!(dirty.read_local(told).unwrap().is_none());
    assert!(replica.read(0..MIB, &fetch).await.unwrap() == bytes(0..MIB));

    // Cut here after it was looked at.
    let dirty = cache.create_dirty(intent("l", 0)).unwrap();
    dirty.write_at(0, &bytes(0..MIB)).unwrap();
    let told = dirty.segments(0..MIB)[0].range.clone();
    dirty.truncate(MIB / 2).unwrap();
    assert!(dirty.read_local(told).unwrap().is_none());
    assert!(dirty.read_local(0..MIB / 2).unwrap().unwrap() == bytes(0..MIB / 2));

    // Cut by somebody else.
    free_all(&dir.path().join("dirty/dirty"));
    dirty.read_local(0..MIB / 2).unwrap_err();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_published_on_another_file_system_is_copied() {
    let dir = tempfile::tempdir().unwrap();
    let shared_memory = tempfile::tempdir_in("/dev/shm");
    let Some(other) = shared_memory
        .ok()
        .filter(|other| other.path().metadata().unwrap().dev() != dir.path().metadata().unwrap().dev())
    else {
        return skipped("there is no other file system");
    };
    let config = config(dir.path(), other.path(), 64 * MIB);
    let cache = Cache::open(config, tokio::runtime::Handle::current()).unwrap();
    let (source, fetch) = Source::shared();
    for len in [1000, 10 * MIB + 3] {
        let dirty = cache.create_dirty(intent("k", 0)).unwrap();
        dirty.write_at(0, &bytes(0..len)).unwrap();
        let replica = cache.adopt(&dirty, id(len));
        cache.drain().await;
        assert!(replica.is_complete());
        assert!(replica.read(0..len, &fetch).await.unwrap() == bytes(0..len));
        assert!(dirty.read_local(0..len).unwrap().is_none(), "the bytes are the replica's now");
    }
    assert_eq!(source.fetches.load(Ordering::SeqCst), 0);
    let left = std::fs::read_dir(other.path().join("dirty")).unwrap().count();
    assert_eq!(left, 0, "nothing is left where it was written");
    assert_eq!(cache.stats().dirty_bytes, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_replicas_in_use_have_few_files_open() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path(), MEMORY_BYTES, 256 * MIB);
    let (source, fetch) = Source::shared();
    let replicas: Vec<_> = (0..600).map(|key| cache.replica(id(key), 50_000)).collect();
    for replica in &replicas {
        replica.read(0..50_000, &fetch).await.unwrap();
        if cache.stats().memory_used_bytes > MIB {
            // As slowly as any disk keeps up.
            cache.drain().await;
        }
    }
    tokio::time::timeout(Duration::from_secs(30), cache.drain()).await.expect("the disk keeps up");
    assert_eq!(cache.stats().dropped_fills, 0);
    for replica in &replicas {
        assert!(replica.read(0..50_000, &fetch).await.unwrap() == bytes(0..50_000));
    }
    assert_eq!(source.fetches.load(Ordering::SeqCst), 600, "what was closed was found again");
    let links = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    let open_count = links
        .filter(|link| std::fs::read_link(link.path()).is_ok_and(|path| path.starts_with(dir.path())))
        .count();
    assert!(open_count < 300, "{open_count} files are open");
}

//! The promises of SEMANTICS.md, each named by its tests, on the file system without FUSE.

// A test that cannot go on has failed.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use pail_mountd::fs::{FsOptions, RenameMode};
use pail_store::MemoryStore;
use pail_store::{Capabilities, ErrorKind, Store};
use pail_tests::files::{EXCLUSIVE, Files, READ, TRUNCATE, WRITE};
use std::sync::Arc;
use std::time::Duration;

fn errno<T: std::fmt::Debug>(result: Result<T, pail_mountd::fs::FsError>) -> i32 {
    result.expect_err("it must fail").errno()
}

/// Bytes that repeat with a long period, so that a block in the wrong place shows.
fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| ((i as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect()
}

fn no_ttl() -> FsOptions {
    FsOptions { metadata_ttl: Duration::ZERO, ..FsOptions::default() }
}

// SEMANTICS: names.1
#[tokio::test]
async fn what_was_listed_is_believed_for_the_ttl_and_asked_for_again_without_one() {
    let files = Files::new();
    files.put("a", "1").await;
    files.lookup("a").await.unwrap();
    assert_eq!(errno(files.lookup("b").await), libc::ENOENT);
    files.requests.take();
    files.put("b", "2").await;
    files.lookup("a").await.unwrap();
    assert_eq!(errno(files.lookup("b").await), libc::ENOENT, "missing names are remembered");
    assert!(files.requests.take().len() <= 1, "b was asked for once more at most");

    let eager = Files::with(no_ttl());
    assert_eq!(errno(eager.lookup("b").await), libc::ENOENT);
    eager.put("b", "2").await;
    eager.lookup("b").await.unwrap();
}

// SEMANTICS: names.2
#[tokio::test]
async fn what_this_mount_changed_is_seen_at_once() {
    let files = Files::new();
    assert_eq!(files.list("").await.unwrap(), Vec::<String>::new());
    files.write("new", b"x").await.unwrap();
    let open = files.open("unpublished", WRITE).await.unwrap();
    files.mkdir("dir").await.unwrap();
    assert_eq!(sorted(files.list("").await.unwrap()), ["dir/", "new", "unpublished"]);
    files.close(open).await.unwrap();
    files.unlink("new").await.unwrap();
    assert_eq!(errno(files.lookup("new").await), libc::ENOENT);
    assert_eq!(sorted(files.list("").await.unwrap()), ["dir/", "unpublished"]);
}

fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort();
    names
}

// SEMANTICS: names.3
#[tokio::test]
async fn one_listing_primes_the_lookups_of_a_tree() {
    let files = Files::new();
    for i in 0..50 {
        files.put(&format!("a/b/{i}"), "x").await;
    }
    files.lookup("a/b/7").await.unwrap();
    files.requests.take();
    for i in 0..50 {
        files.lookup(&format!("a/b/{i}")).await.unwrap();
    }
    assert_eq!(errno(files.lookup("a/b/none").await), libc::ENOENT);
    assert_eq!(files.requests.take(), Vec::<String>::new());
}

// SEMANTICS: names.4
#[tokio::test]
async fn a_long_directory_is_listed_whole_each_name_once() {
    let files = Files::new();
    let mut expected = Vec::new();
    for i in 0..2_345 {
        files.put(&format!("d/f{i:05}"), "x").await;
        expected.push(format!("f{i:05}"));
        if i % 100 == 0 {
            files.put(&format!("d/s{i:05}/x"), "x").await;
            expected.push(format!("s{i:05}/"));
        }
    }
    let dir = files.fs.opendir(files.lookup("d").await.unwrap().ino).unwrap();
    let first = files.fs.readdir(dir, 0).await.unwrap();
    let again = files.fs.readdir(dir, first[9].next_offset).await.unwrap();
    assert_eq!(again[0].name, first[10].name);
    let listed = files.list("d").await.unwrap();
    assert_eq!(listed.len(), expected.len());
    assert_eq!(sorted(listed), sorted(expected));
}

// SEMANTICS: names.5
#[tokio::test]
async fn keys_that_no_path_can_hold_are_hidden_counted_and_kept() {
    let files = Files::new();
    for key in ["a//b", "/top", "x", "x/y", "d/../e", "d/./f", "plain"] {
        files.put(key, "x").await;
    }
    assert_eq!(sorted(files.list("").await.unwrap()), ["a/", "d/", "plain", "x/"]);
    assert_eq!(files.list("a").await.unwrap(), Vec::<String>::new());
    assert!(files.fs.status().hidden_keys >= 2);
    assert_eq!(errno(files.rmdir("a").await), libc::ENOTEMPTY);
    assert!(files.get("a//b").await.is_some());
}

#[tokio::test]
async fn a_file_whose_directory_comes_pages_later_is_shown_as_the_directory_only() {
    let files = Files::new();
    files.put("x", "file").await;
    for i in 0..1_500 {
        files.put(&format!("x-{i:04}"), "x").await;
    }
    files.put("x/y", "in the directory").await;
    let names = files.list("").await.unwrap();
    assert_eq!(names.iter().filter(|name| *name == "x/" || *name == "x").collect::<Vec<_>>(), ["x/"]);
    assert_eq!(names.len(), 1_501);

    // Behind a thousand siblings, a directory is found by its name alone, too.
    let fresh = Files::over(files.bucket.clone(), FsOptions::default());
    fresh.bucket.delete(&pail_store::RawKey::new("x").unwrap(), pail_store::Condition::None).await.unwrap();
    assert_eq!(fresh.list("x").await.unwrap(), ["y"]);
}

// SEMANTICS: names.6
#[tokio::test]
async fn names_that_no_key_can_hold_are_refused() {
    use std::os::unix::ffi::OsStrExt;
    let files = Files::new();
    let bad = std::ffi::OsStr::from_bytes(b"\xff\xfe");
    assert_eq!(errno(files.fs.lookup(1, bad).await), libc::EILSEQ);
    assert_eq!(errno(files.open(&"n".repeat(256), WRITE).await), libc::ENAMETOOLONG);
    let deep = vec!["d".repeat(200); 4].join("/");
    for depth in 1..=4 {
        files.mkdir(&vec!["d".repeat(200); depth].join("/")).await.unwrap();
    }
    assert_eq!(errno(files.open(&format!("{deep}/{}", "f".repeat(250)), WRITE).await), libc::ENAMETOOLONG);
}

// SEMANTICS: reading.1
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_read_anywhere_at_once() {
    let files = Arc::new(Files::new());
    let bytes = Arc::new(pattern(5 << 20));
    files.put("f", bytes.to_vec()).await;
    let handle = files.open("f", READ).await.unwrap();
    let readers = (0..16usize).map(|reader| {
        let (files, bytes) = (files.clone(), bytes.clone());
        tokio::spawn(async move {
            for step in 0..50usize {
                let at = (reader * 7_919_333 + step * 1_299_721) % bytes.len();
                let got = files.fs.read(handle, at as u64, 70_001).await.unwrap();
                assert!(got[..] == bytes[at..(at + 70_001).min(bytes.len())], "at {at}");
            }
        })
    });
    for reader in readers {
        reader.await.unwrap();
    }
}

// SEMANTICS: reading.2, reading.3
#[tokio::test]
async fn versions_are_never_mixed() {
    let files = Files::with(no_ttl());
    let (old, new) = (pattern(600_000), vec![7; 600_000]);
    files.put("f", old.clone()).await;
    let handle = files.open("f", READ).await.unwrap();
    let first = files.fs.read(handle, 0, 100).await.unwrap();
    assert_eq!(&first[..], &old[..100]);
    files.put("f", new.clone()).await;
    match files.read_handle(handle).await {
        Ok(bytes) => assert_eq!(&bytes[..], &old[..]),
        Err(error) => assert_eq!(error.errno(), libc::ESTALE),
    }
    // The name leads to the new version, in another inode.
    assert_eq!(&files.read("f").await.unwrap()[..], &new[..]);
}

// SEMANTICS: reading.2
#[tokio::test]
async fn a_file_changed_before_its_first_byte_was_read_moves_to_the_new_version() {
    let files = Files::new();
    files.put("f", "old").await;
    let handle = files.open("f", READ).await.unwrap();
    files.put("f", "newer and longer").await;
    assert_eq!(&files.read_handle(handle).await.unwrap()[..], b"newer and longer");
    files.close(handle).await.unwrap();
}

// SEMANTICS: reading.4
#[tokio::test]
async fn readers_see_the_writers_bytes() {
    let files = Files::new();
    let bytes = pattern(300_000);
    files.put("f", bytes.clone()).await;
    let reader = files.open("f", READ).await.unwrap();
    let writer = files.open("f", WRITE).await.unwrap();
    files.fs.write(writer, 200_000, b"HERE").await.unwrap();
    assert_eq!(
        &files.fs.read(reader, 199_998, 8).await.unwrap()[..],
        [&bytes[199_998..200_000], b"HERE", &bytes[200_004..200_006]].concat()
    );
    files.close(writer).await.unwrap();
    assert_eq!(&files.fs.read(reader, 200_000, 4).await.unwrap()[..], b"HERE");
    let mut expected = bytes;
    expected[200_000..200_004].copy_from_slice(b"HERE");
    assert_eq!(files.get("f").await.unwrap(), expected);
    files.close(reader).await.unwrap();
}

/// Cuts every file of a cache's clean replicas, as making room on a full disk does.
fn free_all(dir: &std::path::Path) {
    for file in std::fs::read_dir(dir).unwrap().map(|file| file.unwrap().path()) {
        match file.is_dir() {
            true => free_all(&file),
            false => std::fs::File::options().write(true).open(file).unwrap().set_len(0).unwrap(),
        }
    }
}

// SEMANTICS: reading.4, reading.5
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_read_that_a_publish_and_an_eviction_overtake_gives_the_bytes() {
    let files = Arc::new(Files::new());
    let mut bytes = pattern(24 << 20);
    files.put("f", bytes.clone()).await;
    let writer = files.open("f", WRITE).await.unwrap();
    let reader = files.open("f", READ).await.unwrap();
    // The second of three parts is written, the others are to be copied by the server.
    bytes[8 << 20..16 << 20].fill(7);
    for at in (8 << 20..16 << 20).step_by(1 << 20) {
        files.fs.write(writer, at as u64, &bytes[at..at + (1 << 20)]).await.unwrap();
    }
    // The read waits for the bytes before what was written, while the file is published and its local bytes go.
    let held = files.requests.hold("get", "f");
    let start = (8 << 20) - 65_536;
    let read = tokio::spawn({
        let files = files.clone();
        async move { files.fs.read(reader, start as u64, 131_072).await }
    });
    held.reached().await;
    files.close(writer).await.unwrap();
    files.cache.drain().await;
    free_all(&files.dir().join("clean/replicas"));
    drop(held);
    assert!(read.await.unwrap().unwrap() == bytes[start..start + 131_072], "bytes were lost on the way");
    files.close(reader).await.unwrap();
}

// SEMANTICS: reading.5
#[tokio::test]
async fn what_was_read_or_written_once_is_not_asked_for_again() {
    let files = Files::new();
    files.put("read", pattern(500_000)).await;
    files.read("read").await.unwrap();
    files.write("written", &pattern(500_000)).await.unwrap();
    files.requests.take();
    files.read("read").await.unwrap();
    files.read("written").await.unwrap();
    assert_eq!(files.requests.take(), Vec::<String>::new());
}

// SEMANTICS: writing.1, writing.2
#[tokio::test]
async fn files_of_all_sizes_arrive_byte_for_byte() {
    let files = Files::new();
    let block = 128 * 1024;
    for size in [0, 1, block - 1, block, block + 1, (8 << 20) - 1, (8 << 20) + 1, (16 << 20) + 1, 40 << 20] {
        let bytes = pattern(size);
        files.write("f", &bytes).await.unwrap();
        assert!(files.get("f").await.unwrap() == bytes, "{size} bytes differ in the bucket");
        assert!(files.read("f").await.unwrap() == bytes, "{size} bytes differ when read");
    }
    assert_eq!(files.bucket.uploads_pending(), 0);
}

// SEMANTICS: writing.1
#[tokio::test]
async fn parts_of_large_objects_change_and_the_rest_stays() {
    let files = Files::new();
    let mut bytes = pattern(40 << 20);
    files.put("f", bytes.clone()).await;
    let handle = files.open("f", WRITE).await.unwrap();
    for (at, piece) in
        [(5usize, &b"near the start"[..]), (20 << 20, b"in the middle"), (40 << 20, b"and appended")]
    {
        files.fs.write(handle, at as u64, piece).await.unwrap();
        let end = (at + piece.len()).max(bytes.len());
        bytes.resize(end, 0);
        bytes[at..at + piece.len()].copy_from_slice(piece);
    }
    files.close(handle).await.unwrap();
    assert!(files.get("f").await.unwrap() == bytes);
    let copied = files.requests.take().iter().filter(|request| request.starts_with("copy_part")).count();
    assert!(copied >= 2, "parts that did not change are copied by the server, {copied} were");
}

// SEMANTICS: writing.1, writing.7
#[tokio::test]
async fn truncation_and_extension_leave_zeros() {
    let files = Files::new();
    files.put("f", pattern(1000)).await;
    files.truncate("f", 10).await.unwrap();
    files.truncate("f", 2000).await.unwrap();
    let expected = [&pattern(10)[..], &[0; 1990]].concat();
    assert_eq!(files.get("f").await.unwrap(), expected);
    assert_eq!(files.read("f").await.unwrap(), expected);
}

// SEMANTICS: writing.2
#[tokio::test]
async fn nothing_is_visible_before_close_and_fsync_publishes() {
    let files = Files::new();
    let handle = files.open("f", WRITE).await.unwrap();
    files.fs.write(handle, 0, &pattern(30 << 20)).await.unwrap();
    assert_eq!(files.get("f").await, None);
    files.fs.fsync(handle).await.unwrap();
    assert_eq!(files.get("f").await.unwrap().len(), 30 << 20);
    files.fs.write(handle, 3, b"abc").await.unwrap();
    files.close(handle).await.unwrap();
    assert_eq!(&files.get("f").await.unwrap()[3..6], b"abc");
}

// SEMANTICS: writing.3
#[tokio::test]
async fn a_failed_close_keeps_the_bytes_and_flush_publishes_them() {
    let files = Files::new();
    files.requests.fail("put", "f", ErrorKind::Denied, 1);
    assert_eq!(errno(files.write("f", b"precious").await), libc::EACCES);
    let status = files.fs.status();
    assert_eq!(status.unpublished.len(), 1);
    assert!(status.unpublished[0].error.as_deref().unwrap().contains("failed on demand"));
    assert_eq!(std::fs::read(&status.unpublished[0].local_path).unwrap(), b"precious");
    assert_eq!(&files.read("f").await.unwrap()[..], b"precious");
    let report = files.fs.flush("").await;
    assert_eq!((report.published, report.remaining.len()), (1, 0));
    assert_eq!(&files.get("f").await.unwrap()[..], b"precious");
}

// SEMANTICS: writing.3
#[tokio::test]
async fn what_a_daemon_left_unpublished_is_named_by_the_next() {
    let mut files = Files::new();
    files.requests.fail("put", "f", ErrorKind::Denied, 9);
    assert_eq!(errno(files.write("f", b"precious").await), libc::EACCES);
    files.restart();
    let left = files.fs.status().left_behind;
    assert_eq!((left.len(), left[0].path.as_str()), (1, "f"));
    assert_eq!(std::fs::read(&left[0].local_path).unwrap(), b"precious");
}

// SEMANTICS: writing.3
#[tokio::test]
async fn a_part_that_failed_is_sent_again_and_the_others_are_not() {
    let files = Files::new();
    let bytes = pattern(60 << 20);
    files.requests.fail("put_part", "f", ErrorKind::Exhausted, 1);
    files.requests.fail("complete_upload", "f", ErrorKind::Exhausted, 1);
    assert_eq!(errno(files.write("f", &bytes).await), libc::EIO);
    files.fs.flush("").await;
    assert_eq!(files.fs.flush("").await.remaining.len(), 0);
    assert!(files.get("f").await.unwrap() == bytes);
    assert_eq!(files.bucket.uploads_pending(), 0);
}

// SEMANTICS: writing.2
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn fsync_while_another_writes_publishes_whole_states() {
    let files = Arc::new(Files::new());
    let handle = files.open("f", WRITE).await.unwrap();
    let writer = {
        let files = files.clone();
        tokio::spawn(async move {
            for (at, piece) in pattern(100 << 20).chunks(1 << 20).enumerate() {
                files.fs.write(handle, (at << 20) as u64, piece).await.unwrap();
            }
        })
    };
    while !writer.is_finished() {
        files.fs.fsync(handle).await.unwrap();
        let seen = files.get("f").await.unwrap();
        assert!(seen == pattern(seen.len()), "{} bytes are not a state that the file was in", seen.len());
        tokio::task::yield_now().await;
    }
    writer.await.unwrap();
    files.close(handle).await.unwrap();
    assert!(files.get("f").await.unwrap() == pattern(100 << 20));
}

// SEMANTICS: writing.4
#[tokio::test]
async fn a_child_that_closes_an_inherited_descriptor_neither_waits_nor_publishes() {
    let files = Files::new();
    let handle = files.open("log", WRITE).await.unwrap();
    files.fs.write(handle, 0, b"from the child").await.unwrap();
    files.requests.take();
    let child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
    files.fs.flush_handle(handle, child.id()).await.unwrap();
    let mut child = child;
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(files.requests.take(), Vec::<String>::new());
    files.fs.release(handle).await;
    assert_eq!(&files.get("log").await.unwrap()[..], b"from the child");
}

// SEMANTICS: writing.5
#[tokio::test]
async fn a_part_changed_over_somebody_elses_change_is_refused_and_kept() {
    let files = Files::new();
    files.put("f", pattern(1000)).await;
    let handle = files.open("f", WRITE).await.unwrap();
    files.fs.write(handle, 0, b"mine").await.unwrap();
    files.put("f", "theirs").await;
    assert_eq!(errno(files.close(handle).await), libc::ESTALE);
    assert_eq!(&files.get("f").await.unwrap()[..], b"theirs");
    assert_eq!(files.fs.status().unpublished.len(), 1);

    // Replaced, and seen to be, before the first write.
    let files = Files::with(no_ttl());
    files.put("g", pattern(1000)).await;
    let handle = files.open("g", WRITE).await.unwrap();
    files.put("g", "theirs").await;
    assert_eq!(files.lookup("g").await.unwrap().size, 6);
    files.fs.write(handle, 0, b"mine").await.unwrap();
    assert_eq!(errno(files.close(handle).await), libc::ESTALE);
    let kept = files.fs.status().unpublished;
    assert_eq!(&std::fs::read(&kept[0].local_path).unwrap()[..4], b"mine");
    assert_eq!(&files.get("g").await.unwrap()[..], b"theirs");

    let files = Files::new();
    files.put("whole", "old").await;
    let handle = files.open("whole", TRUNCATE).await.unwrap();
    files.fs.write(handle, 0, b"mine").await.unwrap();
    files.put("whole", "theirs").await;
    files.close(handle).await.unwrap();
    assert_eq!(&files.get("whole").await.unwrap()[..], b"mine", "a truncated file wins by closing last");
}

// SEMANTICS: writing.6
#[tokio::test]
async fn exclusive_creation_fails_where_something_is() {
    let files = Files::new();
    files.put("there", "x").await;
    assert_eq!(errno(files.open("there", EXCLUSIVE).await), libc::EEXIST);
    let handle = files.open("raced", EXCLUSIVE).await.unwrap();
    files.fs.write(handle, 0, b"mine").await.unwrap();
    files.put("raced", "theirs").await;
    assert_eq!(errno(files.close(handle).await), libc::EEXIST);
    assert_eq!(&files.get("raced").await.unwrap()[..], b"theirs");
}

// SEMANTICS: writing.6
#[tokio::test]
async fn who_lost_the_race_for_a_name_sees_the_winners_file_and_keeps_the_bytes() {
    let files = Files::new();
    let handle = files.open("raced", EXCLUSIVE).await.unwrap();
    files.fs.write(handle, 0, b"mine").await.unwrap();
    files.put("raced", "theirs").await;
    assert_eq!(errno(files.fs.fsync(handle).await), libc::EEXIST);
    assert_eq!(&files.read("raced").await.unwrap()[..], b"theirs");
    assert_eq!(files.list("").await.unwrap(), ["raced"]);
    assert_eq!(&files.fs.read(handle, 0, 10).await.unwrap()[..], b"mine", "who has it open goes on");
    assert_eq!(errno(files.close(handle).await), libc::EEXIST);
    assert_eq!(files.fs.flush("").await.published, 0);
    let kept = files.fs.status().unpublished;
    assert_eq!((kept.len(), kept[0].path.as_str()), (1, "raced"));
    assert!(kept[0].error.as_deref().unwrap().contains("created by somebody else"), "{:?}", kept[0].error);
    assert_eq!(std::fs::read(&kept[0].local_path).unwrap(), b"mine");
    // The name is the winner's in every respect.
    files.write("raced", b"over theirs").await.unwrap();
    files.unlink("raced").await.unwrap();
    assert_eq!(files.get("raced").await, None);
}

// SEMANTICS: writing.6
#[tokio::test]
async fn conditions_hold_by_a_look_first_where_the_endpoint_has_none() {
    let plain = Capabilities { conditional_put: false, conditional_complete: false, ..capabilities().await };
    let bucket = Arc::new(MemoryStore::with_capabilities("test", plain));
    let files = Files::over(bucket, FsOptions::default());
    files.put("f", "12345").await;
    let handle = files.open("f", WRITE).await.unwrap();
    files.fs.write(handle, 0, b"mine").await.unwrap();
    files.put("f", "theirs").await;
    assert_eq!(errno(files.close(handle).await), libc::ESTALE);
}

async fn capabilities() -> Capabilities {
    MemoryStore::new("x").capabilities().await.unwrap()
}

// SEMANTICS: writing.8
#[tokio::test]
async fn a_file_is_at_most_as_large_as_an_object() {
    let files = Files::new();
    let handle = files.open("f", WRITE).await.unwrap();
    assert_eq!(errno(files.fs.write(handle, 5 << 40, b"x").await), libc::EFBIG);
    assert_eq!(errno(files.truncate("f", (5 << 40) + 1).await), libc::EFBIG);
    files.close(handle).await.unwrap();
}

// SEMANTICS: attributes.1, attributes.2
#[tokio::test]
async fn attributes_are_the_mounts_until_they_are_set() {
    use pail_mountd::fs::SetAttr;
    let options = FsOptions { uid: 7, gid: 8, file_mode: 0o640, dir_mode: 0o710, ..FsOptions::default() };
    let files = Files::with(options);
    files.put("d/f", vec![0; 1234]).await;
    let (dir, file) = (files.lookup("d").await.unwrap(), files.lookup("d/f").await.unwrap());
    assert_eq!((dir.mode, dir.uid, dir.gid), (0o710, 7, 8));
    assert_eq!((file.mode, file.uid, file.gid, file.size), (0o640, 7, 8, 1234));
    let mtime = std::time::UNIX_EPOCH + Duration::from_secs(1_000_000);
    let change = SetAttr { mode: Some(0o755), mtime: Some(mtime), ..SetAttr::default() };
    files.fs.setattr(file.ino, change).await.unwrap();
    let file = files.lookup("d/f").await.unwrap();
    assert_eq!((file.mode, file.mtime), (0o755, mtime));
}

// SEMANTICS: attributes.2
#[tokio::test]
async fn the_mode_given_at_creation_holds() {
    let files = Files::new();
    let create = |name: &'static str, mode| {
        files.fs.create(1, std::ffi::OsStr::new(name), Some(mode), EXCLUSIVE, std::process::id())
    };
    let (entry, opened) = create("tmp", 0o750).await.unwrap();
    assert_eq!(entry.attr.mode, 0o750);
    files.fs.write(opened.handle, 0, b"#!/bin/sh").await.unwrap();
    files.close(opened.handle).await.unwrap();
    files.rename("tmp", "script", RenameMode::Replace).await.unwrap();
    files.list("").await.unwrap();
    assert_eq!(files.lookup("script").await.unwrap().mode, 0o750);
    files.fs.mkdir(1, std::ffi::OsStr::new("dir"), Some(0o700)).await.unwrap();
    assert_eq!(files.lookup("dir").await.unwrap().mode, 0o700);

    // Somebody else's object is another file.
    files.put("script", "theirs").await;
    let other = Files::over(files.bucket.clone(), FsOptions::default());
    assert_eq!(other.lookup("script").await.unwrap().mode, 0o644);
}

// SEMANTICS: changing names.1
#[tokio::test]
async fn an_open_file_that_was_removed_or_replaced_needs_neither_bucket_nor_cache() {
    let files = Files::new();
    let bytes = pattern(3 << 20);
    for name in ["removed", "replaced", "changed"] {
        files.put(name, bytes.clone()).await;
    }
    let (removed, replaced) =
        (files.open("removed", READ).await.unwrap(), files.open("replaced", READ).await.unwrap());
    let changed = files.open("changed", WRITE).await.unwrap();
    files.fs.write(changed, 1 << 20, b"HERE").await.unwrap();
    files.unlink("removed").await.unwrap();
    files.unlink("changed").await.unwrap();
    files.write("new", b"new").await.unwrap();
    files.rename("new", "replaced", RenameMode::Replace).await.unwrap();
    files.cache.drain().await;
    free_all(&files.dir().join("clean/replicas"));
    // More than memory holds goes through it meanwhile.
    files.put("large", vec![1; 80 << 20]).await;
    files.read("large").await.unwrap();
    files.requests.take();
    assert!(files.read_handle(removed).await.unwrap() == bytes);
    assert!(files.read_handle(replaced).await.unwrap() == bytes);
    files.fs.write(changed, 0, b"AND").await.unwrap();
    let expected = [b"AND", &bytes[3..1 << 20], b"HERE", &bytes[(1 << 20) + 4..]].concat();
    assert!(files.read_handle(changed).await.unwrap() == expected);
    assert_eq!(files.requests.take(), Vec::<String>::new());
    let left = std::fs::read_dir(files.dir().join("dirty/dirty")).unwrap().count();
    assert_eq!(left, 0, "what has no name leaves nothing behind, whenever the daemon ends");
    for handle in [removed, replaced, changed] {
        files.close(handle).await.unwrap();
    }
    assert_eq!(files.get("removed").await, None);
    assert_eq!(files.get("changed").await, None);
}

// SEMANTICS: changing names.5
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_file_that_is_opened_while_it_is_removed_is_whole_or_not_there() {
    let files = Arc::new(Files::new());
    for (name, cached) in [("cached", true), ("not-cached", false)] {
        files.put(name, pattern(100_000)).await;
        let ino = files.lookup(name).await.unwrap().ino;
        if cached {
            files.read(name).await.unwrap();
        }
        let held = files.requests.hold("delete", name);
        let unlink = tokio::spawn({
            let files = files.clone();
            async move { files.unlink(name).await }
        });
        held.reached().await;
        let open = tokio::spawn({
            let files = files.clone();
            async move { files.fs.open(ino, READ, 0).await }
        });
        tokio::task::yield_now().await;
        drop(held);
        unlink.await.unwrap().unwrap();
        match open.await.unwrap() {
            Ok(opened) => {
                assert!(files.read_handle(opened.handle).await.unwrap() == pattern(100_000));
                files.close(opened.handle).await.unwrap();
            }
            Err(error) => assert_eq!((error.errno(), cached), (libc::ESTALE, false), "{name}"),
        }
    }
}

// SEMANTICS: changing names.1
#[tokio::test]
async fn an_unlinked_file_is_read_to_its_end() {
    let files = Files::new();
    let bytes = pattern(3 << 20);
    files.put("f", bytes.clone()).await;
    let handle = files.open("f", READ).await.unwrap();
    files.fs.read(handle, 0, 10).await.unwrap();
    files.unlink("f").await.unwrap();
    assert_eq!(files.get("f").await, None);
    assert!(files.read_handle(handle).await.unwrap() == bytes);
    files.close(handle).await.unwrap();
}

#[tokio::test]
async fn what_is_written_to_an_unlinked_file_never_appears() {
    let files = Files::new();
    let handle = files.open("f", WRITE).await.unwrap();
    files.fs.write(handle, 0, b"x").await.unwrap();
    files.unlink("f").await.unwrap();
    files.fs.write(handle, 1, b"y").await.unwrap();
    assert_eq!(&files.fs.read(handle, 0, 10).await.unwrap()[..], b"xy");
    files.close(handle).await.unwrap();
    assert_eq!(files.get("f").await, None);
    assert_eq!(files.fs.status().unpublished.len(), 0);
}

// SEMANTICS: changing names.2
#[tokio::test]
async fn directories_come_and_go_as_on_a_disk() {
    let files = Files::new();
    files.mkdir("d").await.unwrap();
    assert_eq!(files.get("d/").await.unwrap().len(), 0);
    assert_eq!(errno(files.mkdir("d").await), libc::EEXIST);
    files.write("d/f", b"x").await.unwrap();
    assert_eq!(errno(files.rmdir("d").await), libc::ENOTEMPTY);
    assert_eq!(errno(files.rmdir("d/f").await), libc::ENOTDIR);
    assert_eq!(errno(files.unlink("d").await), libc::EISDIR);
    files.unlink("d/f").await.unwrap();
    files.rmdir("d").await.unwrap();
    assert_eq!(errno(files.lookup("d").await), libc::ENOENT);
    assert_eq!(files.get("d/").await, None);
}

// SEMANTICS: changing names.2
#[tokio::test]
async fn a_directory_without_a_marker_outlives_its_last_file() {
    let files = Files::new();
    files.put("d/f", "x").await;
    files.list("d").await.unwrap();
    files.unlink("d/f").await.unwrap();
    let other = Files::over(files.bucket.clone(), FsOptions::default());
    assert_eq!(other.list("").await.unwrap(), ["d/"]);
}

// SEMANTICS: changing names.3
#[tokio::test]
async fn files_are_renamed_before_and_after_they_are_published() {
    let files = Files::new();
    let handle = files.open("tmp", WRITE).await.unwrap();
    files.fs.write(handle, 0, b"one").await.unwrap();
    files.requests.take();
    files.rename("tmp", "final", RenameMode::Replace).await.unwrap();
    files.close(handle).await.unwrap();
    assert!(
        !files.requests.take().iter().any(|request| request.starts_with("copy")),
        "only its name changed"
    );
    assert_eq!(&files.get("final").await.unwrap()[..], b"one");
    assert_eq!(files.get("tmp").await, None);

    files.write("tmp", b"two").await.unwrap();
    assert_eq!(errno(files.rename("tmp", "final", RenameMode::KeepTarget).await), libc::EEXIST);
    files.rename("tmp", "final", RenameMode::Replace).await.unwrap();
    assert_eq!(&files.get("final").await.unwrap()[..], b"two");
    assert_eq!(&files.read("final").await.unwrap()[..], b"two");
    assert_eq!((files.get("tmp").await, errno(files.lookup("tmp").await)), (None, libc::ENOENT));
}

// SEMANTICS: changing names.3
#[tokio::test]
async fn readers_go_on_over_a_rename_of_their_file_and_onto_it() {
    let files = Files::new();
    let (moved, replaced) = (pattern(3 << 20), vec![9; 3 << 20]);
    files.put("moved", moved.clone()).await;
    files.put("replaced", replaced.clone()).await;
    let (a, b) = (files.open("moved", READ).await.unwrap(), files.open("replaced", READ).await.unwrap());
    files.fs.read(a, 0, 10).await.unwrap();
    files.fs.read(b, 0, 10).await.unwrap();
    files.rename("moved", "replaced", RenameMode::Replace).await.unwrap();
    assert!(files.read_handle(a).await.unwrap() == moved);
    assert!(files.read_handle(b).await.unwrap() == replaced);
}

// SEMANTICS: changing names.3
#[tokio::test]
async fn a_changed_file_is_renamed_with_its_changes() {
    let files = Files::new();
    files.put("a", pattern(1000)).await;
    let handle = files.open("a", WRITE).await.unwrap();
    files.fs.write(handle, 0, b"NEW").await.unwrap();
    files.rename("a", "b", RenameMode::Replace).await.unwrap();
    files.fs.write(handle, 3, b"ER").await.unwrap();
    files.close(handle).await.unwrap();
    let expected = [b"NEWER", &pattern(1000)[5..]].concat();
    assert_eq!(files.get("b").await.unwrap(), expected);
    assert_eq!(files.get("a").await, None);
}

// SEMANTICS: changing names.4
#[tokio::test]
async fn a_directory_is_not_renamed_but_left_to_mv() {
    let files = Files::new();
    files.put("d/f", "x").await;
    assert_eq!(errno(files.rename("d", "e", RenameMode::Replace).await), libc::EXDEV);
}

// SEMANTICS: errors
#[tokio::test]
async fn a_read_only_mount_refuses_every_change() {
    let files = Files::with(FsOptions { read_only: true, ..FsOptions::default() });
    files.put("f", "x").await;
    files.put("d/g", "x").await;
    assert_eq!(errno(files.open("f", WRITE).await), libc::EROFS);
    assert_eq!(errno(files.open("new", WRITE).await), libc::EROFS);
    assert_eq!(errno(files.unlink("f").await), libc::EROFS);
    assert_eq!(errno(files.mkdir("e").await), libc::EROFS);
    assert_eq!(errno(files.rmdir("d").await), libc::EROFS);
    assert_eq!(errno(files.truncate("f", 0).await), libc::EROFS);
    assert_eq!(errno(files.rename("f", "h", RenameMode::Replace).await), libc::EROFS);
    assert_eq!(&files.read("f").await.unwrap()[..], b"x");
}

#[tokio::test]
async fn a_prefix_is_a_file_system_of_its_own() {
    let bucket = Arc::new(MemoryStore::new("test"));
    let files = Files::over(bucket, FsOptions { prefix: "runs/7/".into(), ..FsOptions::default() });
    files.put("other", "x").await;
    files.put("runs/7/in/log", "x").await;
    assert_eq!(files.list("").await.unwrap(), ["in/"]);
    files.write("out", b"y").await.unwrap();
    assert_eq!(&files.get("runs/7/out").await.unwrap()[..], b"y");
}

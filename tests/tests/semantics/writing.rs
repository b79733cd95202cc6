//! What becomes of written bytes.

use crate::{errno, pattern};
use pail_mountd::fs::{FsError, FsOptions};
use pail_store::ErrorKind;
use pail_tests::files::{Files, READ_TRUNCATED, TRUNCATE, WRITE, is_like_gcs};
use pail_tests::recorder::Held;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;

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
    assert!(
        is_like_gcs() || copied >= 2,
        "parts that did not change are copied by the server, {copied} were"
    );
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

// SEMANTICS: writing.7
#[tokio::test]
async fn a_truncation_after_a_close_is_published_also_before_the_kernel_has_let_go() {
    let files = Files::new();
    let handle = files.open("f", WRITE).await.unwrap();
    files.fs.write(handle, 0, &pattern(1000)).await.unwrap();
    // close(2) has returned; the kernel tells later that no descriptor is left.
    files.fs.flush_handle(handle, std::process::id()).await.unwrap();
    files.truncate("f", 10).await.unwrap();
    assert_eq!(files.get("f").await.unwrap(), pattern(10));
    // There was another descriptor after all.
    files.fs.write(handle, 10, b"more").await.unwrap();
    files.truncate("f", 12).await.unwrap();
    assert_eq!(files.get("f").await.unwrap(), pattern(10));
    files.close(handle).await.unwrap();
    assert_eq!(files.get("f").await.unwrap(), [&pattern(10)[..], b"mo"].concat());
    files.truncate("f", 3).await.unwrap();
    assert_eq!(files.get("f").await.unwrap(), pattern(3));
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
    let left = files.cache.orphans();
    assert_eq!((left.len(), left[0].intent.key.as_str()), (1, "f"));
    assert_eq!(std::fs::read(&left[0].data_path).unwrap(), b"precious");
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

// SEMANTICS: writing.8
#[tokio::test]
async fn a_file_is_at_most_as_large_as_an_object() {
    let files = Files::new();
    let handle = files.open("f", WRITE).await.unwrap();
    assert_eq!(errno(files.fs.write(handle, 5 << 40, b"x").await), libc::EFBIG);
    assert_eq!(errno(files.truncate("f", (5 << 40) + 1).await), libc::EFBIG);
    files.close(handle).await.unwrap();
}

// SEMANTICS: writing.1
#[tokio::test]
async fn making_room_cuts_off_nothing_that_is_written_meanwhile() {
    let files = Files::new();
    let handle = files.open("f", WRITE).await.unwrap();
    files.fs.write(handle, 0, b"short").await.unwrap();
    let held = files.requests.hold("put", "f");
    let fs = [files.fs.clone(), files.fs.clone(), files.fs.clone()];
    let [syncing, writing, allocating] = fs;
    let synced = tokio::spawn(async move { syncing.fsync(handle).await });
    held.reached().await;
    // Both wait for the publish, in this order.
    let written = tokio::spawn(async move { writing.write(handle, 0, b"longer than that").await });
    let allocated = tokio::spawn(async move { allocating.allocate(handle, 10).await });
    tokio::task::yield_now().await;
    drop(held);
    for done in [synced, written, allocated] {
        done.await.unwrap().unwrap();
    }
    files.close(handle).await.unwrap();
    assert_eq!(&files.get("f").await.unwrap()[..], b"longer than that");
}

// SEMANTICS: writing.3
#[tokio::test]
async fn an_upload_that_is_gone_in_the_store_is_begun_anew() {
    let files = Files::new();
    let handle = files.open("f", WRITE).await.unwrap();
    let bytes = pattern(40 << 20);
    for (number, piece) in bytes.chunks(1 << 20).enumerate() {
        files.fs.write(handle, (number as u64) << 20, piece).await.unwrap();
    }
    files.requests.fail("complete_upload", "f", ErrorKind::NotFound, 1);
    files.fs.fsync(handle).await.unwrap();
    files.close(handle).await.unwrap();
    assert!(files.get("f").await.unwrap() == bytes);
}

// SEMANTICS: writing.1
#[tokio::test]
async fn a_file_that_is_truncated_by_who_opens_it_for_reading_stays_so() {
    let files = Arc::new(Files::new());
    files.put("f", "old").await;
    let writer = files.open("f", WRITE).await.unwrap();
    files.fs.write(writer, 0, b"mine").await.unwrap();
    let ino = files.lookup("f").await.unwrap().ino;
    // The opening comes while the last writer is published, and what was written then becomes a clean file.
    let held = files.requests.hold("put", "f");
    let close = tokio::spawn({
        let files = files.clone();
        async move { files.close(writer).await }
    });
    held.reached().await;
    let open = tokio::spawn({
        let files = files.clone();
        async move { files.fs.open(ino, READ_TRUNCATED, 0).await }
    });
    tokio::task::yield_now().await;
    drop(held);
    close.await.unwrap().unwrap();
    let opened = open.await.unwrap().unwrap();
    assert_eq!(files.lookup("f").await.unwrap().size, 0);
    files.close(opened.handle).await.unwrap();
    assert_eq!(files.get("f").await.unwrap().len(), 0);
    assert_eq!(files.read("f").await.unwrap().len(), 0);
}

#[tokio::test]
async fn a_status_names_what_is_being_published_and_that_alone() {
    let files = Arc::new(Files::new());
    let publishing = |files: &Files| files.fs.status().publishing;
    let first = files.open("f", WRITE).await.unwrap();
    files.fs.write(first, 0, b"12345").await.unwrap();
    assert_eq!(publishing(&files), 0);
    let held = files.requests.hold("put", "f");
    let close = tokio::spawn({
        let files = files.clone();
        async move { files.close(first).await }
    });
    held.reached().await;
    let status = files.fs.status();
    assert_eq!((status.publishing, status.publishing_bytes.1), (1, 5));
    drop(held);
    close.await.unwrap().unwrap();
    assert_eq!(publishing(&files), 0);
}

// SEMANTICS: writing.1
#[tokio::test]
async fn a_large_file_that_is_cut_to_nothing_while_it_is_uploaded_is_empty() {
    let files = Files::new();
    files.write("warm", &pattern(20 << 20)).await.unwrap();
    files.put("f", "old").await;
    let handle = files.open("f", TRUNCATE).await.unwrap();
    for at in 0..24_u64 {
        files.fs.write(handle, at << 20, &pattern(1 << 20)).await.unwrap();
    }
    files.truncate("f", 0).await.unwrap();
    files.fs.fsync(handle).await.unwrap();
    assert_eq!(files.get("f").await.unwrap(), "");
    files.close(handle).await.unwrap();
    assert_eq!(files.bucket.uploads_pending(), 0);
    assert_eq!(files.fs.status().unpublished.len(), 0);
}

// SEMANTICS: writing.3
#[tokio::test]
async fn who_waits_for_a_publish_that_fails_does_not_try_it_again_one_after_the_other() {
    let files = Files::new();
    files.put("f", "old").await;
    let handle = files.open("f", WRITE).await.unwrap();
    files.fs.write(handle, 0, b"new").await.unwrap();
    files.put("f", "of somebody else").await;
    files.requests.take();
    let held = files.requests.hold("put", "f");
    let waiting = async {
        held.reached().await;
        let sync = || files.fs.fsync(handle);
        let (a, b, c, ()) = tokio::join!(sync(), sync(), sync(), async { drop(held) });
        [a, b, c]
    };
    let (first, later) = tokio::join!(files.fs.fsync(handle), waiting);
    for result in later.into_iter().chain([first]) {
        assert_eq!(errno(result), libc::ESTALE);
    }
    let puts = files.requests.take().iter().filter(|request| *request == "put f").count();
    assert_eq!(puts, 2, "one under way, and one for all who came meanwhile");
    assert_eq!(errno(files.close(handle).await), libc::ESTALE);
}

/// How long a call may take that waits for nothing, before the test fails instead of waiting for ever.
const PATIENCE: Duration = Duration::from_secs(60);

/// As many publishes as send at a time, whose answers are held back.
async fn all_slots_taken(files: &Arc<Files>) -> (Held, Vec<JoinHandle<Result<(), FsError>>>) {
    let held = files.requests.hold("put", "busy");
    let mut closes = Vec::new();
    for number in 0..32 {
        let files = files.clone();
        closes.push(tokio::spawn(async move { files.write(&format!("busy{number}"), b"x").await }));
        held.reached().await;
    }
    (held, closes)
}

#[tokio::test]
async fn a_writer_does_not_wait_while_a_publish_waits_for_other_files() {
    let files = Arc::new(Files::new());
    let (busy, closes) = all_slots_taken(&files).await;
    let handle = files.open("f", WRITE).await.unwrap();
    files.fs.write(handle, 0, b"first").await.unwrap();
    let sync = tokio::spawn({
        let files = files.clone();
        async move { files.fs.fsync(handle).await }
    });
    tokio::task::yield_now().await;
    let write = tokio::time::timeout(PATIENCE, files.fs.write(handle, 0, b"later")).await;
    write.expect("it waits for the other files").unwrap();
    assert!(!sync.is_finished() && files.get("f").await.is_none());
    drop(busy);
    sync.await.unwrap().unwrap();
    assert_eq!(files.get("f").await.as_deref(), Some(&b"later"[..]));
    for close in closes {
        close.await.unwrap().unwrap();
    }
}

// SEMANTICS: writing.1
#[tokio::test]
async fn a_file_that_is_cut_and_grows_again_while_it_is_uploaded_is_published() {
    let files = Arc::new(Files::new());
    let (busy, closes) = all_slots_taken(&files).await;
    let handle = files.open("f", WRITE).await.unwrap();
    files.fs.write(handle, 0, b"kept").await.unwrap();
    files.truncate("f", 40 << 20).await.unwrap();
    let held = files.requests.hold("put_part", "f");
    let sync = tokio::spawn({
        let files = files.clone();
        async move { files.fs.fsync(handle).await }
    });
    while !files.requests.take().contains(&"start_upload f".to_owned()) {
        tokio::task::yield_now().await;
    }
    files.truncate("f", 1 << 20).await.unwrap();
    drop(busy);
    // The parts found the file too short by now.
    held.reached().await;
    files.truncate("f", 50 << 20).await.unwrap();
    drop(held);
    sync.await.unwrap().unwrap();
    let mut expected = vec![0; 50 << 20];
    expected[..4].copy_from_slice(b"kept");
    assert!(files.get("f").await.unwrap() == expected);
    assert_eq!(files.bucket.uploads_pending(), 0);
    for close in closes {
        close.await.unwrap().unwrap();
    }
}

// SEMANTICS: writing.8
#[tokio::test]
async fn only_so_much_of_a_file_may_be_holes() {
    const KIB: u64 = 1 << 10;
    let files = Files::with(FsOptions { hole_bytes_max: 64 * KIB, ..FsOptions::default() });
    // What somebody wrote does not count, neither here nor elsewhere.
    let object = pattern(100 * KIB as usize);
    files.put("f", object.clone()).await;
    let handle = files.open("f", WRITE).await.unwrap();
    assert_eq!(errno(files.truncate("f", 164 * KIB + 1).await), libc::EFBIG);
    files.truncate("f", 164 * KIB).await.unwrap();
    files.fs.write(handle, 164 * KIB, &pattern(200 * KIB as usize)).await.unwrap();
    assert_eq!(errno(files.fs.write(handle, 364 * KIB + 1, b"x").await), libc::EFBIG);
    // A hole that was written is one no longer.
    files.fs.write(handle, 120 * KIB, &[7; KIB as usize]).await.unwrap();
    files.fs.write(handle, 365 * KIB, b"end").await.unwrap();
    assert_eq!(errno(files.fs.allocate(handle, 366 * KIB).await), libc::EFBIG);
    files.fs.allocate(handle, 365 * KIB).await.unwrap();
    files.close(handle).await.unwrap();
    let mut expected = object;
    expected.resize(164 * KIB as usize, 0);
    expected.extend(pattern(200 * KIB as usize));
    expected[120 * KIB as usize..121 * KIB as usize].fill(7);
    expected.resize(365 * KIB as usize, 0);
    expected.extend(b"end");
    assert!(files.get("f").await.unwrap() == expected);
    // What is cut off leaves a hole behind when the file grows again.
    files.truncate("f", 0).await.unwrap();
    assert_eq!(errno(files.truncate("f", 64 * KIB + 1).await), libc::EFBIG);
    files.truncate("f", 64 * KIB).await.unwrap();
}

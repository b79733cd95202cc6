//! What is sent where a store copies objects as a whole only.

use crate::{errno, pattern};
use pail_mountd::fs::FsOptions;
use pail_store::{Capabilities, MemoryStore, PartCopy};
use pail_tests::files::{Files, WRITE};
use std::sync::Arc;

fn composing() -> Files {
    let capabilities =
        Capabilities { part_copy: PartCopy::Whole, part_size_bytes_min: 1, ..Capabilities::full() };
    let bucket = MemoryStore::with_capabilities("test", capabilities).with_generations();
    Files::over(Arc::new(bucket), FsOptions::default())
}

async fn write_over(files: &Files, writes: &[(usize, &[u8])]) {
    let handle = files.open("f", WRITE).await.unwrap();
    for (at, bytes) in writes {
        for (number, piece) in bytes.chunks(1 << 20).enumerate() {
            files.fs.write(handle, (at + (number << 20)) as u64, piece).await.unwrap();
        }
    }
    files.close(handle).await.unwrap();
}

// SEMANTICS: writing.1
#[tokio::test]
async fn an_append_sends_what_is_appended() {
    for (size, appended) in [(3 << 20, 10), (16 << 20, 1), (40 << 20, 10), (20 << 20, 25 << 20)] {
        let files = composing();
        let mut expected = pattern(size);
        files.put("f", expected.clone()).await;
        for round in 0..2 {
            let tail = vec![round + 1; appended];
            write_over(&files, &[(expected.len(), &tail)]).await;
            expected.extend(&tail);
            assert_eq!(files.requests.take_bytes_sent(), appended as u64, "{appended} behind {size}");
            assert!(files.get("f").await.unwrap() == expected, "{appended} behind {size}");
            assert!(files.read("f").await.unwrap() == expected, "{appended} behind {size}");
        }
        assert_eq!(files.bucket.uploads_pending(), 0);
    }
}

// SEMANTICS: writing.1
#[tokio::test]
async fn what_is_no_append_is_sent_whole_and_arrives() {
    const SIZE: usize = 20 << 20;
    let files = composing();
    let mut expected = pattern(SIZE);
    files.put("f", expected.clone()).await;
    write_over(&files, &[(SIZE, b"tail"), (SIZE / 2, b"middle")]).await;
    expected.extend(b"tail");
    expected[SIZE / 2..SIZE / 2 + 6].copy_from_slice(b"middle");
    assert_eq!(files.requests.take_bytes_sent(), expected.len() as u64);
    assert!(files.get("f").await.unwrap() == expected);
    // Cut, and longer again.
    files.truncate("f", SIZE as u64 - 5).await.unwrap();
    files.truncate("f", SIZE as u64 + 5).await.unwrap();
    expected.truncate(SIZE - 5);
    expected.resize(SIZE + 5, 0);
    assert!(files.get("f").await.unwrap() == expected);
    assert_eq!(files.bucket.uploads_pending(), 0);
}

// SEMANTICS: writing.2
#[tokio::test]
async fn what_is_written_to_the_beginning_while_an_append_is_sent_arrives() {
    const SIZE: usize = 20 << 20;
    let files = Arc::new(composing());
    files.put("f", pattern(SIZE)).await;
    let handle = files.open("f", WRITE).await.unwrap();
    files.fs.write(handle, SIZE as u64, b"tail").await.unwrap();
    let held = files.requests.hold("copy_part", "f");
    let sync = tokio::spawn({
        let files = files.clone();
        async move { files.fs.fsync(handle).await }
    });
    held.reached().await;
    files.fs.write(handle, 0, b"head").await.unwrap();
    drop(held);
    sync.await.unwrap().unwrap();
    files.close(handle).await.unwrap();
    let mut expected = [&pattern(SIZE)[..], b"tail"].concat();
    expected[..4].copy_from_slice(b"head");
    assert!(files.get("f").await.unwrap() == expected);
    assert_eq!(files.bucket.uploads_pending(), 0);
}

// SEMANTICS: writing.5
#[tokio::test]
async fn an_append_to_what_somebody_else_replaced_is_refused() {
    let files = composing();
    files.put("f", pattern(20 << 20)).await;
    let handle = files.open("f", WRITE).await.unwrap();
    files.fs.write(handle, 20 << 20, b"tail").await.unwrap();
    files.put("f", "theirs").await;
    assert_eq!(errno(files.close(handle).await), libc::ESTALE);
    assert_eq!(&files.get("f").await.unwrap()[..], b"theirs");
}

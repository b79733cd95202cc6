//! Removing and moving what names lead to while it is uploaded.

use crate::{errno, pattern};
use pail_mountd::fs::RenameMode;
use pail_store::ErrorKind;
use pail_tests::files::{Files, READ, TRUNCATE, WRITE};
use pail_tests::recorder::Held;
use std::sync::Arc;
use std::time::Duration;

/// How long a call may take that waits for nothing, before the test fails instead of waiting for ever.
const PATIENCE: Duration = Duration::from_secs(60);

/// A file of 40 MiB whose writer has closed it, and whose parts do not arrive in the bucket; the close, and a handle for reading.
async fn uploading(
    files: &Arc<Files>,
) -> (Vec<u8>, Held, tokio::task::JoinHandle<Result<(), pail_mountd::fs::FsError>>, u64) {
    let bytes = pattern(40 << 20);
    let held = files.requests.hold("put_part", "f");
    let writer = files.open("f", TRUNCATE).await.unwrap();
    for (at, piece) in bytes.chunks(1 << 20).enumerate() {
        files.fs.write(writer, (at << 20) as u64, piece).await.unwrap();
    }
    let reader = files.open("f", READ).await.unwrap();
    let close = tokio::spawn({
        let files = files.clone();
        async move { files.close(writer).await }
    });
    held.reached().await;
    tokio::task::yield_now().await;
    (bytes, held, close, reader)
}

// SEMANTICS: changing names.1
#[tokio::test]
async fn a_file_that_is_removed_or_replaced_while_it_is_uploaded_is_not_uploaded() {
    let files = Arc::new(Files::new());
    for replaced in [false, true] {
        let (bytes, held, close, reader) = uploading(&files).await;
        if replaced {
            files.write("new", b"new").await.unwrap();
            let rename = files.rename("new", "f", RenameMode::Replace);
            tokio::time::timeout(PATIENCE, rename).await.expect("it waits for the upload").unwrap();
        } else {
            tokio::time::timeout(PATIENCE, files.unlink("f"))
                .await
                .expect("it waits for the upload")
                .unwrap();
        }
        tokio::time::timeout(PATIENCE, close).await.expect("it waits for the upload").unwrap().unwrap();
        drop(held);
        let left = files.get("f").await;
        assert_eq!(left.as_deref(), replaced.then_some(&b"new"[..]));
        assert_eq!(files.bucket.uploads_pending(), 0);
        assert_eq!(files.fs.status().unpublished.len(), 0);
        assert!(files.read_handle(reader).await.unwrap() == bytes, "who has it open goes on");
        files.close(reader).await.unwrap();
    }
}

// SEMANTICS: changing names.1
#[tokio::test]
async fn a_file_whose_removal_failed_is_uploaded_all_the_same() {
    let files = Arc::new(Files::new());
    files.put("f", "old").await;
    let (bytes, held, close, reader) = uploading(&files).await;
    files.requests.fail("delete", "f", ErrorKind::Denied, 1);
    let unlink = tokio::time::timeout(PATIENCE, files.unlink("f")).await.expect("it waits for the upload");
    assert_eq!(errno(unlink), libc::EACCES);
    drop(held);
    close.await.unwrap().unwrap();
    assert!(files.get("f").await.unwrap() == bytes);
    assert_eq!(files.bucket.uploads_pending(), 0);
    files.close(reader).await.unwrap();
}

// SEMANTICS: changing names.1
#[tokio::test]
async fn a_rename_that_waits_for_its_source_does_not_hold_off_the_target() {
    // Whichever of the two has the smaller inode number.
    for (from, to) in [("a", "b"), ("b", "a")] {
        let files = Arc::new(Files::new());
        let held = files.requests.hold("put", from);
        let source = tokio::spawn({
            let files = files.clone();
            async move { files.write(from, b"source").await }
        });
        held.reached().await;
        let target = files.open(to, WRITE).await.unwrap();
        files.fs.write(target, 0, b"target").await.unwrap();
        let rename = tokio::spawn({
            let files = files.clone();
            async move { files.rename(from, to, RenameMode::Replace).await }
        });
        tokio::task::yield_now().await;
        let close = tokio::time::timeout(PATIENCE, files.close(target)).await;
        close.expect("it waits for the source").unwrap();
        assert_eq!(files.get(to).await.as_deref(), Some(&b"target"[..]));
        drop(held);
        source.await.unwrap().unwrap();
        rename.await.unwrap().unwrap();
        assert_eq!(files.get(to).await.as_deref(), Some(&b"source"[..]));
    }
}

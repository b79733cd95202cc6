//! Renames in a store that moves objects in one step.

use crate::{errno, pattern};
use pail_mountd::fs::{FsOptions, RenameMode};
use pail_store::{Capabilities, MemoryStore};
use pail_tests::files::{Files, READ, TRUNCATE, WRITE};
use std::sync::Arc;

fn moving() -> Files {
    let capabilities = Capabilities { atomic_rename: true, ..Capabilities::full() };
    let bucket = MemoryStore::with_capabilities("test", capabilities).with_generations();
    Files::over(Arc::new(bucket), FsOptions::default())
}

fn changes(files: &Files) -> Vec<String> {
    let is_change = |request: &String| !request.starts_with("list") && !request.starts_with("attributes");
    files.requests.take().into_iter().filter(is_change).collect()
}

// SEMANTICS: changing names.3
#[tokio::test]
async fn a_store_that_moves_objects_is_asked_to_once() {
    let files = moving();
    files.put("theirs", pattern(20 << 20)).await;
    files.write("mine", b"mine").await.unwrap();
    files.write("replaced", b"replaced").await.unwrap();
    files.lookup("theirs").await.unwrap();
    files.requests.take();
    files.rename("theirs", "moved", RenameMode::KeepTarget).await.unwrap();
    assert_eq!(changes(&files), ["rename theirs"]);
    files.rename("mine", "replaced", RenameMode::Replace).await.unwrap();
    assert_eq!(changes(&files), ["rename mine"]);
    assert!(files.read("moved").await.unwrap() == pattern(20 << 20));
    assert_eq!(&files.read("replaced").await.unwrap()[..], b"mine");
    for name in ["theirs", "mine"] {
        assert_eq!(errno(files.lookup(name).await), libc::ENOENT);
        assert_eq!(files.get(name).await, None);
    }
    // As another program has made it since the name was looked for.
    assert_eq!(errno(files.lookup("raced").await), libc::ENOENT);
    files.put("raced", "theirs").await;
    assert_eq!(errno(files.rename("moved", "raced", RenameMode::KeepTarget).await), libc::EEXIST);
    assert_eq!(&files.get("raced").await.unwrap()[..], b"theirs");
    assert!(files.read("moved").await.unwrap() == pattern(20 << 20));
}

// SEMANTICS: changing names.3
#[tokio::test]
async fn who_has_a_file_open_goes_on_while_the_store_moves_it() {
    let files = Arc::new(moving());
    let bytes = pattern(48 << 20);
    files.put("f", bytes.clone()).await;
    let reader = files.open("f", READ).await.unwrap();
    let held = files.requests.hold("rename", "f");
    let renamed = tokio::spawn({
        let files = files.clone();
        async move { files.rename("f", "g", RenameMode::Replace).await }
    });
    held.reached().await;
    files.requests.take();
    // The object is under its new name, and nobody here knows it.
    let read = tokio::spawn({
        let files = files.clone();
        async move { files.fs.read(reader, 40 << 20, 1000).await }
    });
    while !files.requests.take().contains(&"get f".to_owned()) {
        tokio::task::yield_now().await;
    }
    drop(held);
    renamed.await.unwrap().unwrap();
    assert!(read.await.unwrap().unwrap()[..] == bytes[40 << 20..][..1000]);
    assert!(files.read_handle(reader).await.unwrap() == bytes);
    files.close(reader).await.unwrap();
    // And so does who writes to it.
    let writer = files.open("g", WRITE).await.unwrap();
    files.fs.write(writer, 0, b"head").await.unwrap();
    files.rename("g", "h", RenameMode::Replace).await.unwrap();
    files.fs.write(writer, 48 << 20, b"tail").await.unwrap();
    files.close(writer).await.unwrap();
    let mut expected = [&bytes[..], b"tail"].concat();
    expected[..4].copy_from_slice(b"head");
    assert!(files.get("h").await.unwrap() == expected);
    assert_eq!((files.get("f").await, files.get("g").await), (None, None));
}

// SEMANTICS: changing names.3
#[tokio::test]
async fn a_move_whose_answer_is_lost_has_succeeded_if_it_is_seen_to() {
    let files = moving();
    files.put("f", pattern(1000)).await;
    files.requests.lose_answer("rename", "f");
    files.rename("f", "g", RenameMode::Replace).await.unwrap();
    assert_eq!(files.read("g").await.unwrap(), pattern(1000));
    assert_eq!(errno(files.lookup("f").await), libc::ENOENT);
    let handle = files.open("new", TRUNCATE).await.unwrap();
    files.fs.write(handle, 0, b"mine").await.unwrap();
    files.fs.fsync(handle).await.unwrap();
    files.requests.lose_answer("rename", "new");
    files.rename("new", "newer", RenameMode::Replace).await.unwrap();
    files.fs.write(handle, 4, b" too").await.unwrap();
    files.close(handle).await.unwrap();
    assert_eq!(&files.get("newer").await.unwrap()[..], b"mine too");
    assert_eq!(files.get("new").await, None);
}

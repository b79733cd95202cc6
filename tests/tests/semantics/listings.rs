//! Files in buckets whose listings leave versions out, or hold what was not asked for.

use crate::{errno, no_ttl, pattern, sorted};
use pail_mountd::fs::{FsOptions, RenameMode, SetAttr};
use pail_store::{Listings, MemoryStore};
use pail_tests::files::{Files, READ, TRUNCATE, WRITE};
use std::sync::Arc;

/// A bucket whose listings tell no versions.
fn without_versions(options: FsOptions) -> Files {
    let listings = Listings { without_versions: true, ..Listings::default() };
    Files::over(Arc::new(MemoryStore::new("test").with_listings(listings)), options)
}

// SEMANTICS: names.1, reading.2
#[tokio::test]
async fn what_somebody_else_wrote_is_seen_also_where_listings_tell_no_versions() {
    let files = without_versions(no_ttl());
    let theirs = [&b"first"[..], b"longer than that", b"short", b"THIRD"];
    for bytes in theirs {
        files.put("f", bytes).await;
        assert_eq!(files.lookup("f").await.unwrap().size, bytes.len() as u64);
        // Also what is as long as it was, and was written within the same second.
        assert_eq!(&files.read("f").await.unwrap()[..], bytes);
    }
    let handle = files.open("f", READ).await.unwrap();
    files.put("f", "grown while it is open").await;
    assert_eq!(&files.read("f").await.unwrap()[..], b"grown while it is open");
    assert_eq!(&files.read_handle(handle).await.unwrap()[..], b"THIRD");
    files.put("f", "as long, while it is open").await;
    files.put("f", "as much, while it is OPEN").await;
    let other = files.open("f", READ).await.unwrap();
    files.put("f", "as long, but somebody has").await;
    assert_eq!(&files.read("f").await.unwrap()[..], b"as long, but somebody has");
    files.put("f", "AS LONG, BUT SOMEBODY HAS").await;
    files.rename("f", "g", RenameMode::Replace).await.unwrap();
    assert_eq!(&files.get("g").await.unwrap()[..], b"AS LONG, BUT SOMEBODY HAS");
    files.close(other).await.unwrap();
    files.close(handle).await.unwrap();
}

// SEMANTICS: reading.2
#[tokio::test]
async fn versions_are_not_mixed_where_listings_tell_none() {
    let files = without_versions(no_ttl());
    let (old, new) = (pattern(48 << 20), vec![7; 48 << 20]);
    files.put("f", old.clone()).await;
    files.lookup("f").await.unwrap();
    files.put("f", old.clone()).await;
    let handle = files.open("f", READ).await.unwrap();
    files.fs.read(handle, 0, 100).await.unwrap();
    files.put("f", new.clone()).await;
    let mut at = 0;
    while let Ok(bytes) = files.fs.read(handle, at as u64, 1 << 20).await {
        assert!(!bytes.is_empty(), "all of it was read, so that this test shows nothing");
        assert!(bytes[..] == old[at..at + bytes.len()], "versions are mixed at {at}");
        at += bytes.len();
    }
    assert_eq!(errno(files.fs.read(handle, at as u64, 1 << 20).await), libc::ESTALE);
    files.close(handle).await.unwrap();
    assert!(files.read("f").await.unwrap()[..] == new[..]);
}

// SEMANTICS: reading.5
#[tokio::test]
async fn what_is_cached_is_found_again_where_listings_tell_no_versions() {
    let files = without_versions(no_ttl());
    files.put("f", pattern(300_000)).await;
    for _ in 0..2 {
        assert_eq!(files.read("f").await.unwrap(), pattern(300_000));
    }
    let gets = files.requests.take().iter().filter(|request| *request == "get f").count();
    assert_eq!(gets, 1);
    let before = files.lookup("f").await.unwrap();
    let handle = files.open("f", READ).await.unwrap();
    assert_eq!(files.lookup("f").await.unwrap().ino, before.ino, "the same file, as far as listings tell");
    files.close(handle).await.unwrap();
}

// SEMANTICS: writing.1, writing.5, changing names.1, changing names.3
#[tokio::test]
async fn files_are_changed_where_listings_tell_no_versions() {
    for options in [no_ttl(), FsOptions::default()] {
        let files = without_versions(options);
        for size in [1000, 20 << 20] {
            let (f, g) = (format!("f{size}"), format!("g{size}"));
            let mut expected = pattern(size);
            files.put(&f, expected.clone()).await;
            let handle = files.open(&f, WRITE).await.unwrap();
            files.fs.write(handle, size as u64, b"appended").await.unwrap();
            files.close(handle).await.unwrap();
            expected.extend(b"appended");
            assert!(files.get(&f).await.unwrap() == expected, "{size} bytes");
            assert!(files.read(&f).await.unwrap() == expected, "{size} bytes");
            files.put(&g, "replaced").await;
            files.truncate(&g, 3).await.unwrap();
            assert_eq!(&files.get(&g).await.unwrap()[..], b"rep");
            files.rename(&f, &g, RenameMode::Replace).await.unwrap();
            assert!(files.read(&g).await.unwrap() == expected, "{size} bytes");
            assert_eq!(files.get(&f).await, None);
            files.unlink(&g).await.unwrap();
            assert_eq!(files.get(&g).await, None);
        }
        assert_eq!(files.fs.status().unpublished.len(), 0);
    }
}

// SEMANTICS: writing.5
#[tokio::test]
async fn a_conflict_is_one_where_listings_tell_no_versions() {
    let files = without_versions(no_ttl());
    files.put("f", "12345").await;
    files.lookup("f").await.unwrap();
    let handle = files.open("f", WRITE).await.unwrap();
    files.fs.write(handle, 0, b"mine").await.unwrap();
    files.put("f", "other").await;
    assert_eq!(errno(files.close(handle).await), libc::ESTALE);
    assert_eq!(&files.get("f").await.unwrap()[..], b"other");
    let handle = files.open("new", TRUNCATE).await.unwrap();
    files.fs.write(handle, 0, b"mine").await.unwrap();
    files.close(handle).await.unwrap();
    files.put("new", "THEIRS").await;
    // Renamed as what it is now, and nothing of it is left behind.
    files.rename("new", "moved", RenameMode::Replace).await.unwrap();
    assert_eq!((&files.get("moved").await.unwrap()[..], files.get("new").await), (&b"THEIRS"[..], None));
}

// SEMANTICS: changing names.3
#[tokio::test]
async fn what_others_put_where_an_unpublished_file_is_stays_where_listings_tell_no_versions() {
    let files = without_versions(FsOptions::default());
    files.put("b", "replaced").await;
    let handle = files.open("a", TRUNCATE).await.unwrap();
    files.fs.write(handle, 0, b"mine").await.unwrap();
    files.rename("a", "b", RenameMode::Replace).await.unwrap();
    files.put("b", "theirs").await;
    files.rename("b", "c", RenameMode::Replace).await.unwrap();
    files.close(handle).await.unwrap();
    assert_eq!(&files.get("b").await.unwrap()[..], b"theirs");
    assert_eq!(&files.get("c").await.unwrap()[..], b"mine");
}

// SEMANTICS: attributes.2
#[tokio::test]
async fn modes_stay_where_listings_tell_no_versions() {
    let files = without_versions(no_ttl());
    files.write("run.sh", b"#!/bin/sh").await.unwrap();
    let ino = files.lookup("run.sh").await.unwrap().ino;
    files.fs.setattr(ino, SetAttr { mode: Some(0o750), ..SetAttr::default() }).await.unwrap();
    files.write("run.sh", b"#!/bin/bash").await.unwrap();
    for _ in 0..2 {
        assert_eq!(files.lookup("run.sh").await.unwrap().mode, 0o750);
        assert_eq!(&files.read("run.sh").await.unwrap()[..], b"#!/bin/bash");
    }
}

// SEMANTICS: names.5
#[tokio::test]
async fn keys_that_were_not_asked_for_are_left_out() {
    let listings = Listings { fold_slashes: true, ..Listings::default() };
    let bucket = Arc::new(MemoryStore::new("test").with_listings(listings));
    let files = Files::over(bucket, FsOptions { prefix: "a//".into(), ..FsOptions::default() });
    for key in ["a/\u{e9}", "a/b/c", "a/x", "a//mine"] {
        files.put(key, key).await;
    }
    assert!(files.list("").await.unwrap().iter().all(|name| name == "mine"));
    for name in ["x", "b", "\u{e9}"] {
        assert_eq!(errno(files.lookup(name).await), libc::ENOENT, "{name}");
    }
    assert!(files.fs.status().operations["keys outside of the listed prefix"] > 0);
    // Nor do they stand in the way.
    files.mkdir("b").await.unwrap();
    files.write("b/f", b"1").await.unwrap();
    files.unlink("b/f").await.unwrap();
    files.rmdir("b").await.unwrap();
    assert_eq!(&files.get("a/b/c").await.unwrap()[..], b"a/b/c");
}

// SEMANTICS: changing names.2
#[tokio::test]
async fn a_marker_replaces_nothing_that_somebody_else_has_put_there() {
    let files = Files::new();
    assert_eq!(errno(files.lookup("d").await), libc::ENOENT);
    files.put("d/", "theirs").await;
    assert_eq!(errno(files.mkdir("d").await), libc::EEXIST);
    assert_eq!(&files.get("d/").await.unwrap()[..], b"theirs");

    files.put("e/f", "1").await;
    assert_eq!(files.list("e").await.unwrap(), ["f"]);
    files.put("e/", "theirs").await;
    files.unlink("e/f").await.unwrap();
    assert_eq!(&files.get("e/").await.unwrap()[..], b"theirs");
    assert_eq!(sorted(files.list("").await.unwrap()), ["d/", "e/"]);

    files.requests.take();
    files.mkdir("new").await.unwrap();
    let requests = files.requests.take();
    assert_eq!(requests.iter().filter(|request| !request.starts_with("list")).count(), 1, "{requests:?}");
}

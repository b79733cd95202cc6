//! Attributes, and what a mount as a whole refuses or shows.

use crate::errno;
use pail_mountd::fs::{Creator, FsOptions, RenameMode};
use pail_store::MemoryStore;
use pail_tests::files::{EXCLUSIVE, Files, WRITE};
use std::sync::Arc;
use std::time::Duration;

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
        files.fs.create(
            1,
            std::ffi::OsStr::new(name),
            Some(Creator { mode, owner: None }),
            EXCLUSIVE,
            std::process::id(),
        )
    };
    let (entry, opened) = create("tmp", 0o750).await.unwrap();
    assert_eq!(entry.attr.mode, 0o750);
    files.fs.write(opened.handle, 0, b"#!/bin/sh").await.unwrap();
    files.close(opened.handle).await.unwrap();
    files.rename("tmp", "script", RenameMode::Replace).await.unwrap();
    files.list("").await.unwrap();
    assert_eq!(files.lookup("script").await.unwrap().mode, 0o750);
    let creator = Creator { mode: 0o700, owner: Some((11, 12)) };
    files.fs.mkdir(1, std::ffi::OsStr::new("dir"), Some(creator)).await.unwrap();
    let dir = files.lookup("dir").await.unwrap();
    assert_eq!((dir.mode, dir.uid, dir.gid), (0o700, 11, 12));

    // Somebody else's object is another file.
    files.put("script", "theirs").await;
    let other = Files::over(files.bucket.clone(), FsOptions::default());
    assert_eq!(other.lookup("script").await.unwrap().mode, 0o644);
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

// SEMANTICS: attributes.1
#[tokio::test]
async fn a_directory_is_as_new_as_the_last_name_that_came_or_went() {
    let files = Files::new();
    for dir in ["older", "newer", "other"] {
        files.mkdir(dir).await.unwrap();
    }
    let (mut before, mut changed) = (files.lookup("older").await.unwrap().mtime, Vec::new());
    let mut note = async |what: &'static str, dir: &str| {
        let now = files.lookup(dir).await.unwrap().mtime;
        changed.push((what, now > before));
        before = now;
    };
    files.write("newer/f", b"x").await.unwrap();
    note("create", "newer").await;
    files.write("newer/g", b"x").await.unwrap();
    note("a second file", "newer").await;
    files.rename("newer/f", "other/f", RenameMode::Replace).await.unwrap();
    note("rename out of it", "newer").await;
    note("rename into it", "other").await;
    files.unlink("newer/g").await.unwrap();
    files.unlink("other/f").await.unwrap();
    note("unlink", "other").await;
    files.mkdir("other/d").await.unwrap();
    note("mkdir", "other").await;
    files.rmdir("other/d").await.unwrap();
    note("rmdir", "other").await;
    assert!(changed.iter().all(|(_, newer)| *newer), "{changed:?}");
}

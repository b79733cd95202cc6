//! What names lead to: lookups, listings, what no path can hold.

use crate::{errno, no_ttl, sorted};
use pail_mountd::fs::{FsOptions, Kind};
use pail_store::{Condition, RawKey, Store};
use pail_tests::files::{Files, WRITE};

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

/// `x` beside `x/y`, with so many names in between that they are on different pages of a listing.
async fn far_apart(files: &Files) {
    files.put("x", "file").await;
    for i in 0..1_500 {
        files.put(&format!("x-{i:04}"), "x").await;
    }
    files.put("x/y", "in the directory").await;
}

// SEMANTICS: names.5
#[tokio::test]
async fn a_file_whose_directory_comes_pages_later_is_looked_up_as_the_directory() {
    let files = Files::new();
    far_apart(&files).await;
    let x = files.lookup("x").await.unwrap();
    assert_eq!(x.kind, Kind::Dir);
    assert_eq!(files.list("x").await.unwrap(), ["y"]);
    assert_eq!(&files.read("x/y").await.unwrap()[..], b"in the directory");
    assert_eq!(errno(files.unlink("x").await), libc::EISDIR);

    // By what a listing has told so far, which does not say that there is no directory.
    let listing = Files::over(files.bucket.clone(), FsOptions::default());
    let dir = listing.fs.opendir(listing.lookup("").await.unwrap().ino).unwrap();
    assert!(!listing.fs.readdir(dir, 0).await.unwrap().is_empty());
    assert_eq!(listing.lookup("x").await.unwrap().kind, Kind::Dir);
    // As the mount's first listing is shown to the first lookups.
    let primed = Files::over(files.bucket.clone(), FsOptions::default());
    let page = primed.bucket.list(Default::default()).await.unwrap();
    primed.fs.prime(&page, std::time::Instant::now());
    assert_eq!(primed.lookup("x").await.unwrap().kind, Kind::Dir);

    // Where there is none, the file is found, and remembered.
    files.bucket.delete(&RawKey::new("x/y").unwrap(), Condition::None).await.unwrap();
    let alone = Files::over(files.bucket.clone(), FsOptions::default());
    assert_eq!(&alone.read("x").await.unwrap()[..], b"file");
    alone.requests.take();
    assert_eq!(alone.lookup("x").await.unwrap().kind, Kind::File);
    assert_eq!(alone.requests.take(), Vec::<String>::new());
}

// SEMANTICS: names.4, names.5
#[tokio::test]
async fn a_file_whose_directory_comes_pages_later_is_shown_as_the_directory_only() {
    let files = Files::new();
    far_apart(&files).await;
    let names = files.list("").await.unwrap();
    assert_eq!(names.iter().filter(|name| *name == "x/" || *name == "x").collect::<Vec<_>>(), ["x/"]);
    assert_eq!(names.len(), 1_501);

    // Behind a thousand siblings, a directory is found by its name alone, too.
    let fresh = Files::over(files.bucket.clone(), FsOptions::default());
    fresh.bucket.delete(&RawKey::new("x").unwrap(), Condition::None).await.unwrap();
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

//! Removing, making and moving what names lead to.

use crate::{errno, free_all, no_ttl, pattern};
use pail_mountd::fs::{FsOptions, ROOT, RenameMode};
use pail_store::ErrorKind;
use pail_tests::files::{Files, READ, TRUNCATE, WRITE, is_like_gcs, rename_request};
use std::ffi::OsStr;
use std::sync::Arc;
use std::time::Duration;

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
async fn what_lies_between_many_small_writes_is_fetched_in_few_requests() {
    let files = Files::new();
    let mut bytes = pattern(9 << 20);
    files.put("f", bytes.clone()).await;
    let handle = files.open("f", WRITE).await.unwrap();
    for at in (0..bytes.len() - 3).step_by(5_000) {
        files.fs.write(handle, at as u64, b"NEW").await.unwrap();
        bytes[at..at + 3].copy_from_slice(b"NEW");
    }
    files.requests.take();
    files.unlink("f").await.unwrap();
    let gets = files.requests.take().iter().filter(|request| request.starts_with("get ")).count();
    assert!((1..=4).contains(&gets), "{gets} requests");
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
    let requests = files.requests.take();
    assert!(!requests.iter().any(|request| request.starts_with(rename_request())), "only its name changed");
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

// SEMANTICS: changing names.3
#[tokio::test]
async fn what_an_unpublished_file_replaced_does_not_come_back() {
    let files = Files::new();
    files.put("x", pattern(100)).await;
    let handle = files.open("tmp", WRITE).await.unwrap();
    files.fs.write(handle, 0, b"new").await.unwrap();
    files.rename("tmp", "x", RenameMode::Replace).await.unwrap();
    files.rename("x", "y", RenameMode::Replace).await.unwrap();
    assert_eq!(errno(files.lookup("x").await), libc::ENOENT);
    files.close(handle).await.unwrap();
    assert_eq!(files.list("").await.unwrap(), ["y"]);
    assert_eq!(files.get("x").await, None);
    assert_eq!(&files.get("y").await.unwrap()[..], b"new");
}

// SEMANTICS: reading.2
#[tokio::test]
async fn pages_of_another_version_do_not_follow_a_rename() {
    let files = Files::with(FsOptions { metadata_ttl: Duration::ZERO, ..FsOptions::default() });
    files.put("f", b"old".to_vec()).await;
    files.read("f").await.unwrap();
    files.put("f", b"new".to_vec()).await;
    files.rename("f", "g", RenameMode::Replace).await.unwrap();
    let ino = files.lookup("g").await.unwrap().ino;
    let opened = files.fs.open(ino, READ, 0).await.unwrap();
    assert!(!opened.keep_cache, "the kernel may have pages of the version that was read");
    assert_eq!(&files.read_handle(opened.handle).await.unwrap()[..], b"new");
    files.close(opened.handle).await.unwrap();
}

// SEMANTICS: changing names.3
#[tokio::test]
async fn a_rename_that_cannot_remove_the_old_object_changes_nothing_for_who_uses_it() {
    let files = Files::new();
    files.put("c", pattern(100)).await;
    files.requests.fail(if is_like_gcs() { "rename" } else { "delete" }, "c", ErrorKind::Denied, 1);
    assert_eq!(errno(files.rename("c", "c2", RenameMode::Replace).await), libc::EACCES);
    files.write("c", b"new").await.unwrap();
    assert_eq!(&files.get("c").await.unwrap()[..], b"new");
    if is_like_gcs() {
        assert_eq!(files.get("c2").await, None, "what is one step is not done in part");
        return;
    }
    assert!(files.get("c2").await.unwrap() == pattern(100), "the copy is another file");
    assert!(files.read("c2").await.unwrap() == pattern(100));
}

// SEMANTICS: changing names.1
#[tokio::test]
async fn a_name_is_removed_whatever_version_its_object_has_by_then() {
    let files = Files::new();
    files.put("f", "known here").await;
    assert_eq!(&files.read("f").await.unwrap()[..], b"known here");
    files.put("f", "somebody's since").await;
    files.unlink("f").await.unwrap();
    assert_eq!(files.get("f").await, None);
}

// SEMANTICS: names.5
#[tokio::test]
async fn a_marker_that_holds_bytes_is_not_removed_with_its_directory() {
    let files = Files::new();
    files.put("d/", b"somebody's".to_vec()).await;
    assert_eq!(errno(files.rmdir("d").await), libc::ENOTEMPTY);
    assert_eq!(&files.get("d/").await.unwrap()[..], b"somebody's");
}

// SEMANTICS: changing names.2
#[tokio::test]
async fn bytes_that_come_into_a_marker_while_its_directory_is_removed_stay() {
    for theirs in ["somebody's", ""] {
        let files = Files::new();
        files.mkdir("d").await.unwrap();
        let held = files.requests.hold("list", "d/");
        let put = async {
            held.reached().await;
            files.put("d/", theirs).await;
            drop(held);
        };
        let (removed, ()) = tokio::join!(files.rmdir("d"), put);
        if theirs.is_empty() {
            removed.unwrap();
            assert_eq!(files.get("d/").await, None);
        } else {
            assert_eq!(errno(removed), libc::ENOTEMPTY);
            assert_eq!(&files.get("d/").await.unwrap()[..], theirs.as_bytes());
        }
    }
}

// SEMANTICS: writing.3, changing names.3
#[tokio::test]
async fn what_is_kept_of_a_file_that_was_written_while_it_was_renamed_has_its_new_name() {
    let mut files = Files::new();
    files.put("f", pattern(1000)).await;
    let held = files.requests.hold(rename_request(), "f");
    let handle = files.open("f", WRITE).await.unwrap();
    let rename = files.rename("f", "g", RenameMode::Replace);
    let write = async {
        held.reached().await;
        files.fs.write(handle, 0, b"new").await.unwrap();
        drop(held);
    };
    let (renamed, ()) = tokio::join!(rename, write);
    renamed.unwrap();
    files.restart();
    let left = files.cache.orphans();
    assert_eq!(left.iter().map(|orphan| orphan.intent.key.as_str()).collect::<Vec<_>>(), ["g"]);
}

// SEMANTICS: changing names.3
#[tokio::test]
async fn what_others_put_under_a_name_that_an_unpublished_file_had_stays() {
    for (replaces, is_renamed_again) in [(false, true), (false, false), (true, true), (true, false)] {
        let case = format!("replaces: {replaces}, renamed again: {is_renamed_again}");
        let files = Files::new();
        if replaces {
            files.put("b", "replaced").await;
        }
        let handle = files.open("a", TRUNCATE).await.unwrap();
        files.fs.write(handle, 0, b"mine").await.unwrap();
        files.rename("a", "b", RenameMode::Replace).await.unwrap();
        files.put("b", "theirs").await;
        match is_renamed_again {
            true => files.rename("b", "c", RenameMode::Replace).await.unwrap(),
            false => files.unlink("b").await.unwrap(),
        }
        files.close(handle).await.unwrap();
        assert_eq!(files.get("b").await.as_deref(), Some(&b"theirs"[..]), "{case}");
        assert_eq!(files.get("c").await.as_deref(), is_renamed_again.then_some(&b"mine"[..]), "{case}");
    }
}

// SEMANTICS: changing names.3
#[tokio::test]
async fn what_somebody_else_puts_under_the_old_name_of_a_file_that_is_renamed_stays() {
    // As it is, and with a change that is not published.
    for changed in [false, true] {
        // Who is told that the store has moved the file does not learn what came to the old name since.
        let options = if is_like_gcs() { no_ttl() } else { FsOptions::default() };
        let files = Arc::new(Files::with(options));
        files.put("a", "ours").await;
        let handle = files.open("a", if changed { WRITE } else { READ }).await.unwrap();
        if changed {
            files.fs.write(handle, 0, b"O").await.unwrap();
        }
        let held = files.requests.hold(rename_request(), "a");
        let rename = tokio::spawn({
            let files = files.clone();
            async move { files.rename("a", "b", RenameMode::Replace).await }
        });
        held.reached().await;
        files.put("a", "theirs, and longer").await;
        drop(held);
        rename.await.unwrap().unwrap();
        files.close(handle).await.unwrap();
        assert_eq!(files.get("a").await.as_deref(), Some(&b"theirs, and longer"[..]));
        assert_eq!(&files.read("a").await.unwrap()[..], b"theirs, and longer");
        assert_eq!(&files.read("b").await.unwrap()[..], if changed { b"Ours" } else { b"ours" });
    }
}

#[tokio::test]
async fn a_failed_mknod_leaves_no_file_behind() {
    let files = Files::new();
    files.requests.fail("put", "f", ErrorKind::Denied, 1);
    let made = files.fs.mknod(ROOT, OsStr::new("f"), None).await;
    assert_eq!(errno(made.map(drop)), libc::EACCES);
    assert_eq!(errno(files.lookup("f").await), libc::ENOENT);
    assert_eq!(files.list("").await.unwrap(), Vec::<String>::new());
    assert_eq!(files.fs.status().unpublished.len(), 0);
    let left = std::fs::read_dir(files.dir().join("dirty/dirty")).unwrap().count();
    assert_eq!(left, 0, "nothing of it is on the local disk");
    // The object was made, and only that was not heard.
    files.requests.lose_answer("put", "f");
    let made = files.fs.mknod(ROOT, OsStr::new("f"), None).await;
    assert_eq!(errno(made.map(drop)), libc::EIO);
    assert_eq!(files.get("f").await, None);
    files.fs.mknod(ROOT, OsStr::new("f"), None).await.unwrap();
    assert_eq!(files.get("f").await.as_deref(), Some(&b""[..]));
}

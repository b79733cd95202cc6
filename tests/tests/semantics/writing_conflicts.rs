//! What becomes of written bytes where others write the same objects, or where no answer tells what became of a write.

use crate::{capabilities, errno, no_ttl, pattern};
use pail_mountd::fs::FsOptions;
use pail_store::{Capabilities, Condition, MemoryStore, RawKey, Store};
use pail_tests::files::{EXCLUSIVE, Files, TRUNCATE, WRITE, is_like_gcs};
use std::sync::Arc;

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

// SEMANTICS: writing.5
#[tokio::test]
async fn removing_a_file_that_lost_a_conflict_leaves_the_other_writers_object() {
    let files = Files::new();
    files.put("f", pattern(100)).await;
    let handle = files.open("f", WRITE).await.unwrap();
    files.fs.write(handle, 0, b"mine").await.unwrap();
    files.put("f", b"theirs".to_vec()).await;
    assert_eq!(errno(files.close(handle).await), libc::ESTALE);
    files.unlink("f").await.unwrap();
    assert_eq!(&files.get("f").await.unwrap()[..], b"theirs");
    assert_eq!(files.fs.status().unpublished.len(), 0);
}

// SEMANTICS: writing.5
#[tokio::test]
async fn a_large_part_changed_over_an_object_that_is_gone_is_refused_and_kept() {
    for (size, deleted) in [(3 << 20, false), (3 << 20, true), (40 << 20, false), (40 << 20, true)] {
        let files = Files::new();
        files.put("f", pattern(size)).await;
        let handle = files.open("f", WRITE).await.unwrap();
        files.fs.write(handle, 1 << 20, b"mine").await.unwrap();
        match deleted {
            true => files.bucket.delete(&RawKey::new("f").unwrap(), Condition::None).await.unwrap(),
            false => files.put("f", "theirs").await,
        }
        assert_eq!(errno(files.close(handle).await), libc::ESTALE, "{size} bytes, deleted: {deleted}");
        assert_eq!(files.get("f").await.as_deref(), (!deleted).then_some(&b"theirs"[..]));
        let kept = files.fs.status().unpublished;
        assert_eq!(&std::fs::read(&kept[0].local_path).unwrap()[1 << 20..][..4], b"mine");
    }
}

// SEMANTICS: writing.3
#[tokio::test]
async fn a_publish_that_took_effect_unheard_is_not_taken_for_somebody_elses() {
    // The store in memory that is like Google's has no checksums, by which a composition would be recognised.
    let operations = [("put", 5), ("put", 3 << 20), ("complete_upload", 40 << 20)];
    for (operation, size) in operations.into_iter().take(if is_like_gcs() { 2 } else { 3 }) {
        for (is_new, is_written_on) in [(true, false), (true, true), (false, false), (false, true)] {
            let case = format!("{operation} of {size} bytes, new: {is_new}, written on: {is_written_on}");
            let files = Files::new();
            let mut bytes = pattern(size);
            if !is_new {
                files.put("f", vec![0; size]).await;
            }
            let handle = files.open("f", if is_new { EXCLUSIVE } else { WRITE }).await.unwrap();
            for (at, piece) in bytes.chunks(1 << 20).enumerate() {
                files.fs.write(handle, (at << 20) as u64, piece).await.unwrap();
            }
            files.requests.lose_answer(operation, "f");
            assert_eq!(errno(files.fs.fsync(handle).await), libc::EIO, "{case}");
            assert!(files.get("f").await.unwrap() == bytes, "{case}: it was carried out");
            if is_written_on {
                files.fs.write(handle, 0, b"NEW").await.unwrap();
                bytes[..3].copy_from_slice(b"NEW");
            }
            files.requests.take();
            files.close(handle).await.expect(&case);
            assert!(files.get("f").await.unwrap() == bytes, "{case}");
            let sent = files.requests.take().iter().any(|request| request.starts_with(operation));
            assert_eq!(sent, is_written_on, "{case}: what is there is not sent again");
            assert!(files.read("f").await.unwrap() == bytes, "{case}");
            assert_eq!(
                (files.bucket.uploads_pending(), files.fs.status().unpublished.len()),
                (0, 0),
                "{case}"
            );
        }
    }
}

// SEMANTICS: writing.5, writing.6
#[tokio::test]
async fn what_somebody_else_put_over_a_publish_that_took_effect_unheard_stays() {
    for is_new in [true, false] {
        let files = Files::new();
        if !is_new {
            files.put("f", "old..").await;
        }
        let handle = files.open("f", if is_new { EXCLUSIVE } else { WRITE }).await.unwrap();
        files.fs.write(handle, 0, b"mine.").await.unwrap();
        files.requests.lose_answer("put", "f");
        assert_eq!(errno(files.fs.fsync(handle).await), libc::EIO);
        files.put("f", "other").await;
        assert_eq!(errno(files.close(handle).await), if is_new { libc::EEXIST } else { libc::ESTALE });
        assert_eq!(&files.get("f").await.unwrap()[..], b"other");
        assert_eq!(std::fs::read(&files.fs.status().unpublished[0].local_path).unwrap(), b"mine.");
    }
}

// SEMANTICS: writing.3
#[tokio::test]
async fn a_file_that_was_wholly_written_is_told_to_be_whole_after_a_crash_too() {
    // So large that it is sent in parts, and what was not written of it is not fetched before that.
    const LEN: usize = 17 << 20;
    let mut files = Files::new();
    for name in ["part", "whole"] {
        files.put(name, pattern(LEN)).await;
        let handle = files.open(name, WRITE).await.unwrap();
        files.fs.write(handle, 0, &pattern(if name == "whole" { LEN } else { 999 })).await.unwrap();
        files.put(name, "theirs").await;
        assert_eq!(errno(files.close(handle).await), libc::ESTALE);
    }
    let told = |files: &Files| -> Vec<(String, bool)> {
        files.fs.status().unpublished.into_iter().map(|file| (file.path, file.whole)).collect()
    };
    assert_eq!(told(&files), [("part".to_owned(), false), ("whole".to_owned(), true)]);
    files.restart();
    let mut left: Vec<_> =
        files.cache.orphans().iter().map(|orphan| (orphan.intent.key.clone(), orphan.is_whole())).collect();
    left.sort();
    assert_eq!(left, [("part".to_owned(), false), ("whole".to_owned(), true)]);
}

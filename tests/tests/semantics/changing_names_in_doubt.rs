//! Removing and moving what names lead to, where the answer to a request was lost.

use crate::{errno, pattern};
use pail_mountd::fs::RenameMode;
use pail_store::ErrorKind;
use pail_tests::files::{EXCLUSIVE, Files, TRUNCATE, WRITE, is_like_gcs, rename_request};

// SEMANTICS: changing names.1, changing names.3
#[tokio::test]
async fn a_removed_or_renamed_file_does_not_come_back_whose_publish_took_effect_unheard() {
    // The store in memory that is like Google's has no checksums, by which a composition would be recognised.
    let operations = [("put", 5), ("complete_upload", 40 << 20)];
    for (operation, size) in operations.into_iter().take(if is_like_gcs() { 1 } else { 2 }) {
        for (flags, is_renamed) in
            [TRUNCATE, EXCLUSIVE, WRITE].into_iter().flat_map(|flags| [(flags, false), (flags, true)])
        {
            let case = format!("{operation}, {flags:?}, renamed: {is_renamed}");
            let files = Files::new();
            if !flags.truncate && !flags.exclusive {
                files.put("f", vec![0; size]).await;
            }
            let handle = files.open("f", flags).await.unwrap();
            for (at, piece) in pattern(size).chunks(1 << 20).enumerate() {
                files.fs.write(handle, (at << 20) as u64, piece).await.unwrap();
            }
            files.requests.lose_answer(operation, "f");
            assert_eq!(errno(files.close(handle).await), libc::EIO, "{case}");
            assert!(files.get("f").await.unwrap() == pattern(size), "{case}: it was carried out");
            match is_renamed {
                true => files.rename("f", "g", RenameMode::Replace).await.expect(&case),
                false => files.unlink("f").await.expect(&case),
            }
            files.fs.flush("").await;
            assert_eq!(files.get("f").await, None, "{case}");
            assert_eq!(files.get("g").await, is_renamed.then(|| pattern(size).into()), "{case}");
            assert_eq!(files.fs.status().unpublished.len(), 0, "{case}");
        }
    }
}

// SEMANTICS: changing names.1, changing names.3
#[tokio::test]
async fn a_removal_or_rename_is_done_whose_deletion_took_effect_unheard() {
    for is_written in [false, true] {
        let files = Files::new();
        for name in ["f", "g"] {
            files.put(name, pattern(1000)).await;
        }
        files.requests.lose_answer("delete", "f");
        files.unlink("f").await.unwrap();
        assert_eq!(errno(files.lookup("f").await), libc::ENOENT);

        let (handle, mut bytes) = (files.open("g", WRITE).await.unwrap(), pattern(1000));
        if is_written {
            files.fs.write(handle, 0, b"NEW").await.unwrap();
            bytes[..3].copy_from_slice(b"NEW");
        }
        files.requests.lose_answer(if is_like_gcs() { "rename" } else { "delete" }, "g");
        files.rename("g", "h", RenameMode::Replace).await.unwrap();
        files.close(handle).await.unwrap();
        assert_eq!(errno(files.lookup("g").await), libc::ENOENT);
        assert!(files.read("h").await.unwrap() == bytes, "written: {is_written}");
        assert!(files.get("h").await.unwrap() == bytes, "written: {is_written}");
        assert_eq!((files.get("f").await, files.get("g").await), (None, None));
        assert_eq!(files.fs.status().unpublished.len(), 0);
    }
}

// SEMANTICS: changing names.3
#[tokio::test]
async fn a_rename_is_done_whose_copy_took_effect_unheard() {
    let files = Files::new();
    files.put("first", pattern(10)).await;
    files.requests.lose_answer(rename_request(), "first");
    files.rename("first", "kept", RenameMode::KeepTarget).await.unwrap();
    assert_eq!((files.get("first").await, files.get("kept").await.unwrap().len()), (None, 10));

    files.put("new", pattern(1000)).await;
    files.put("ckpt", "what it replaces").await;
    files.requests.lose_answer(rename_request(), "new");
    files.rename("new", "ckpt", RenameMode::Replace).await.unwrap();
    assert_eq!(errno(files.lookup("new").await), libc::ENOENT);
    assert!(files.read("ckpt").await.unwrap() == pattern(1000));
    assert_eq!(files.get("new").await, None);
    assert!(files.get("ckpt").await.unwrap() == pattern(1000));

    // One that is not to be told from somebody else's fails, and shows what is there.
    files.put("other", pattern(2000)).await;
    assert_eq!(files.lookup("ckpt").await.unwrap().size, 1000);
    files.requests.lose_answer(rename_request(), "other");
    files.requests.fail("head", "ckpt", ErrorKind::Unreachable, 1);
    assert_eq!(errno(files.rename("other", "ckpt", RenameMode::Replace).await), libc::EIO);
    match is_like_gcs() {
        true => assert_eq!(errno(files.lookup("other").await), libc::ENOENT),
        false => assert!(files.read("other").await.unwrap() == pattern(2000)),
    }
    assert!(files.read("ckpt").await.unwrap() == files.get("ckpt").await.unwrap());
}

// SEMANTICS: changing names.1, changing names.3
#[tokio::test]
async fn what_a_replaced_file_made_unheard_does_not_come_back() {
    for is_renamed_again in [false, true] {
        let files = Files::new();
        let target = files.open("t", EXCLUSIVE).await.unwrap();
        files.fs.write(target, 0, b"target").await.unwrap();
        files.requests.lose_answer("put", "t");
        assert_eq!(errno(files.close(target).await), libc::EIO);
        let source = files.open("s", EXCLUSIVE).await.unwrap();
        files.fs.write(source, 0, b"source").await.unwrap();
        files.rename("s", "t", RenameMode::Replace).await.unwrap();
        match is_renamed_again {
            true => files.rename("t", "u", RenameMode::Replace).await.unwrap(),
            false => files.unlink("t").await.unwrap(),
        }
        files.close(source).await.unwrap();
        assert_eq!(files.get("t").await, None, "renamed again: {is_renamed_again}");
        assert_eq!(files.get("u").await.is_some(), is_renamed_again);
    }
}

// SEMANTICS: changing names.2
#[tokio::test]
async fn a_directory_is_removed_whose_deletion_took_effect_unheard() {
    let files = Files::new();
    files.mkdir("d").await.unwrap();
    files.requests.lose_answer("delete", "d/");
    files.rmdir("d").await.unwrap();
    assert_eq!(errno(files.lookup("d").await), libc::ENOENT);
}

// SEMANTICS: changing names.3
#[tokio::test]
async fn what_others_put_where_a_publish_was_not_heard_of_stays() {
    for (flags, is_renamed) in
        [TRUNCATE, EXCLUSIVE].into_iter().flat_map(|flags| [(flags, false), (flags, true)])
    {
        let case = format!("{flags:?}, renamed: {is_renamed}");
        let files = Files::new();
        let handle = files.open("f", flags).await.unwrap();
        files.fs.write(handle, 0, b"mine").await.unwrap();
        files.requests.lose_answer("put", "f");
        assert_eq!(errno(files.close(handle).await), libc::EIO, "{case}");
        files.put("f", "theirs").await;
        match is_renamed {
            true => files.rename("f", "g", RenameMode::Replace).await.expect(&case),
            false => files.unlink("f").await.expect(&case),
        }
        files.fs.flush("").await;
        assert_eq!(files.get("f").await.as_deref(), Some(&b"theirs"[..]), "{case}");
        assert_eq!(files.get("g").await.as_deref(), is_renamed.then_some(&b"mine"[..]), "{case}");
    }
}

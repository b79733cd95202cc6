//! What an edit keeps of an object beside its bytes.

use crate::pattern;
use pail_mountd::fs::{FsOptions, RenameMode};
use pail_store::{
    Attributes, Capabilities, Encryption, MemoryStore, NewObjects, Payload, PutOptions, RawKey, Store,
    Version,
};
use pail_tests::files::{EXCLUSIVE, Files, READ, TRUNCATE, WRITE};
use std::sync::Arc;

const KINDS_OF_EDITS: [&str; 7] =
    ["append", "overwrite", "cut", "cut to nothing", "rewrite", "replace", "replace while open"];

fn everything() -> Attributes {
    let text = |text: &str| Some(text.to_owned());
    let pairs = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
    Attributes {
        metadata: pairs(&[("owner", "me"), ("run", "7")]),
        content_type: text("text/x-mine"),
        content_encoding: text("identity"),
        content_language: text("de"),
        content_disposition: text("attachment"),
        cache_control: text("no-store"),
        storage_class: text("STANDARD_IA"),
        encryption: Some(Encryption { algorithm: "aws:kms".into(), key_id: text("key"), bucket_key: true }),
        tags: pairs(&[("team", "a"), ("keep", "yes")]),
        tag_count: 2,
        uneditable: None,
    }
}

async fn put(files: &Files, key: &str, bytes: Vec<u8>, attributes: Attributes) {
    let options = PutOptions { attributes, ..PutOptions::default() };
    files.bucket.put(&RawKey::new(key).unwrap(), Payload::Bytes(bytes.into()), options).await.unwrap();
}

async fn attributes(files: &Files, key: &str) -> Attributes {
    files.bucket.attributes(&RawKey::new(key).unwrap(), &Version::Unknown).await.unwrap()
}

async fn edit(files: &Files, kind: &str, size: usize) {
    match kind {
        "append" | "overwrite" => {
            let handle = files.open("f.txt", WRITE).await.unwrap();
            let at = if kind == "append" { size } else { size / 2 };
            files.fs.write(handle, at as u64, b"edited").await.unwrap();
            files.close(handle).await.unwrap();
        }
        "cut" => files.truncate("f.txt", size as u64 - 1).await.unwrap(),
        "cut to nothing" => files.truncate("f.txt", 0).await.unwrap(),
        "rewrite" => files.write("f.txt", &pattern(size)).await.unwrap(),
        "replace" => {
            files.read("f.txt").await.unwrap();
            let handle = files.open("sedA1", EXCLUSIVE).await.unwrap();
            for (number, piece) in pattern(size).chunks(1 << 20).enumerate() {
                files.fs.write(handle, (number as u64) << 20, piece).await.unwrap();
            }
            files.close(handle).await.unwrap();
            files.rename("sedA1", "f.txt", RenameMode::Replace).await.unwrap();
        }
        _ => {
            let handle = files.open("tmp", TRUNCATE).await.unwrap();
            files.fs.write(handle, 0, b"edited").await.unwrap();
            files.rename("tmp", "f.txt", RenameMode::Replace).await.unwrap();
            files.close(handle).await.unwrap();
        }
    }
}

// SEMANTICS: attributes.4
#[tokio::test]
async fn an_edit_keeps_what_the_object_carries() {
    for kind in KINDS_OF_EDITS {
        for size in [1000, 3 << 20, 40 << 20] {
            let files = Files::new();
            put(&files, "f.txt", vec![7; size], everything()).await;
            edit(&files, kind, size).await;
            assert_eq!(attributes(&files, "f.txt").await, everything(), "{kind}, {size} bytes");
            let bytes = files.get("f.txt").await.unwrap();
            assert!(bytes != vec![7; size], "{kind}, {size} bytes: it was edited");
            if matches!(kind, "rewrite" | "replace") {
                assert!(bytes == pattern(size), "{kind}, {size} bytes");
            }
            assert!(files.read("f.txt").await.unwrap() == bytes, "{kind}, {size} bytes");
            // And so does the next, and a rename.
            edit(&files, "append", bytes.len()).await;
            files.rename("f.txt", "g.html", RenameMode::Replace).await.unwrap();
            assert_eq!(attributes(&files, "g.html").await, everything(), "{kind}, {size} bytes");
            assert_eq!(files.bucket.uploads_pending(), 0);
        }
    }
}

// SEMANTICS: attributes.5
#[tokio::test]
async fn an_object_of_a_kind_that_no_write_makes_is_not_changed() {
    let of_kind = Attributes { uneditable: Some("an append blob"), ..Attributes::default() };
    let errno = |error: pail_mountd::fs::FsError| error.errno();
    for size in [0, 1000, 20 << 20] {
        let files = Files::new();
        put(&files, "log", vec![7; size], of_kind.clone()).await;
        files.write("new", b"new").await.unwrap();
        // Whoever reads it finds it as it is.
        assert!(files.read("log").await.unwrap() == vec![7; size]);
        assert_eq!(files.open("log", WRITE).await.map_err(errno), Err(libc::EOPNOTSUPP), "{size} bytes");
        assert_eq!(files.truncate("log", 5).await.map_err(errno), Err(libc::EOPNOTSUPP), "{size} bytes");
        assert_eq!(files.write("log", b"x").await.map_err(errno), Err(libc::EOPNOTSUPP), "{size} bytes");
        let replaced = files.rename("new", "log", RenameMode::Replace).await;
        assert_eq!(replaced.map_err(errno), Err(libc::EOPNOTSUPP), "{size} bytes");
        assert_eq!(attributes(&files, "log").await, of_kind);
        assert!(files.get("log").await.unwrap() == vec![7; size]);
        assert_eq!(files.bucket.uploads_pending(), 0);
        let handle = files.open("log", READ).await.unwrap();
        files.close(handle).await.unwrap();
        files.unlink("log").await.unwrap();
        files.write("log", b"anew").await.unwrap();
        assert_eq!(files.get("log").await.unwrap(), "anew");
        assert_eq!(attributes(&files, "log").await.uneditable, None);
    }
    // Without a look at it before.
    for size in [1000, 20 << 20] {
        let files = Files::new();
        put(&files, "log", vec![7; size], of_kind.clone()).await;
        assert_eq!(files.write("log", &pattern(size)).await.map_err(errno), Err(libc::EOPNOTSUPP));
        assert!(files.get("log").await.unwrap() == vec![7; size]);
        assert_eq!(files.bucket.uploads_pending(), 0);
    }
}

#[tokio::test]
async fn what_is_kept_costs_no_request_where_an_answer_has_told_it() {
    let carried = Attributes { content_type: Some("text/x-mine".into()), ..Attributes::default() };
    for (kind, first) in [("append", "get f.txt"), ("rewrite", "attributes f.txt")] {
        let files = Files::new();
        put(&files, "f.txt", vec![7; 1000], carried.clone()).await;
        files.list("").await.unwrap();
        files.lookup("f.txt").await.unwrap();
        files.requests.take();
        edit(&files, kind, 1000).await;
        assert_eq!(files.requests.take(), [first, "put f.txt"], "{kind}");
        // What this mount has written it knows.
        edit(&files, "rewrite", 1000).await;
        assert_eq!(files.requests.take(), ["put f.txt"]);
    }
    let files = Files::new();
    files.write("new.txt", b"new").await.unwrap();
    files.write("new.txt", b"newer").await.unwrap();
    let requests = files.requests.take();
    assert_eq!(requests.iter().filter(|request| !request.starts_with("list")).count(), 2, "{requests:?}");
}

#[tokio::test]
async fn a_new_file_has_the_type_of_the_name_that_it_ends_up_with() {
    let bucket = MemoryStore::new("test").with_new_objects(NewObjects::default());
    let files = Files::over(Arc::new(bucket), FsOptions::default());
    let type_of = async |key: &str| attributes(&files, key).await.content_type;
    for size in [1000, 20 << 20] {
        files.write(".page.html.Xy12", &pattern(size)).await.unwrap();
        files.rename(".page.html.Xy12", "page.html", RenameMode::Replace).await.unwrap();
        assert_eq!(type_of("page.html").await.as_deref(), Some("text/html"));
        assert!(files.read("page.html").await.unwrap() == pattern(size));
        assert_eq!(files.get(".page.html.Xy12").await, None);
        files.unlink("page.html").await.unwrap();
    }
    // One that carries something of its own keeps it.
    put(&files, "theirs.csv", pattern(10), Attributes::default()).await;
    files.rename("theirs.csv", "theirs.json", RenameMode::Replace).await.unwrap();
    assert_eq!(type_of("theirs.json").await.as_deref(), Some("text/csv"));
}

#[tokio::test]
async fn an_edit_keeps_the_rest_where_tags_may_not_be_read() {
    let files = Files::new();
    put(&files, "f.txt", pattern(1000), everything()).await;
    files.requests.fail("attributes", "f.txt", pail_store::ErrorKind::Denied, 1);
    edit(&files, "append", 1000).await;
    let expected = Attributes { tags: Default::default(), tag_count: 0, ..everything() };
    assert_eq!(attributes(&files, "f.txt").await, expected);
}

#[tokio::test]
async fn a_large_file_is_renamed_also_where_no_part_can_be_copied() {
    let capabilities = Capabilities { part_copy: pail_store::PartCopy::None, ..Capabilities::full() };
    let bucket = Arc::new(MemoryStore::with_capabilities("test", capabilities));
    let files = Files::over(bucket, FsOptions::default());
    put(&files, "f.txt", pattern(1000), everything()).await;
    files.write("tmp", &pattern(20 << 20)).await.unwrap();
    files.rename("tmp", "f.txt", RenameMode::Replace).await.unwrap();
    assert!(files.get("f.txt").await.unwrap() == pattern(20 << 20));
    assert_eq!(files.get("tmp").await, None);
}

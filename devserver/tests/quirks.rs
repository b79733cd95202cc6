//! Ways in which other servers differ, which a client must get along with.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod client;

use client::{Client, start};
use pail_devserver::{Fault, FaultAction, Quirks, Settings};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

fn with(quirks: Quirks) -> Settings {
    Settings { part_size_bytes_min: 1, quirks, ..Settings::default() }
}

/// Long enough for an answer that nothing holds up, on a loaded machine too.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long an answer is seen not to come.
const MOMENT: Duration = Duration::from_millis(300);

#[tokio::test]
async fn a_read_of_a_key_waits_for_the_answer_of_its_write() {
    let (server, client) = start(with(Quirks { lock_while_written: true, ..Quirks::default() })).await;
    client.put("/bucket/o", b"old").await;
    client.put("/bucket/other", b"other").await;
    server.set_public("bucket").unwrap();
    // The write's head, signed, and a part of its body.
    let put = client.head_of_put("/bucket/o", b"new bytes");
    let mut writing = TcpStream::connect(server.addr()).await.unwrap();
    writing.write_all(put.as_bytes()).await.unwrap();
    writing.write_all(b"new").await.unwrap();
    let begun = async {
        while server.counters().count("PutObject") < 3 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, begun).await.expect("the write is seen");
    let mut reads = Vec::new();
    for method in ["GET", "HEAD"] {
        let client = Client::new(&server.endpoint_url(), "test", Some("testtest"));
        reads.push(tokio::spawn(async move { client.ask(method, "/bucket/o", &[], b"").await }));
    }
    assert_eq!(client.get("/bucket/other").await.text(), "other", "another key is not locked");
    tokio::time::sleep(MOMENT).await;
    assert!(reads.iter().all(|read| !read.is_finished()), "the reads wait");
    writing.write_all(b" bytes").await.unwrap();
    let mut answer = [0; 15];
    writing.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200 OK");
    for read in reads {
        let read = tokio::time::timeout(PATIENCE, read).await.expect("the reads go on").unwrap();
        assert_eq!((read.status.as_u16(), read.header("content-length")), (200, Some("9")));
    }
    // A write that breaks off lets go of its key.
    let mut broken = TcpStream::connect(server.addr()).await.unwrap();
    broken.write_all(put.as_bytes()).await.unwrap();
    drop(broken);
    let read = tokio::time::timeout(PATIENCE, client.get("/bucket/o")).await.expect("the key is free");
    assert_eq!(read.text(), "new bytes");
    // A copy onto itself waits for nothing of its own.
    let copied = client.ask(
        "PUT",
        "/bucket/o",
        &[("x-amz-copy-source", "/bucket/o"), ("x-amz-metadata-directive", "REPLACE")],
        b"",
    );
    assert_eq!(tokio::time::timeout(PATIENCE, copied).await.expect("no deadlock").status, 200);
    // From its head to its answer: a slow one as well.
    server.inject(Fault::once(Some("DeleteObject"), FaultAction::Delay { ms: MOMENT.as_millis() as u64 }));
    let deleting = client.ask("DELETE", "/bucket/o", &[], b"");
    let reading = async {
        while server.counters().count("DeleteObject") == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        client.get("/bucket/o").await
    };
    let (deleted, read) = tokio::join!(deleting, reading);
    assert_eq!((deleted.status.as_u16(), read.status.as_u16()), (204, 404));
}

#[tokio::test]
async fn quirks_leave_out_what_other_servers_lack() {
    let (server, client) = start(with(Quirks { part_copy_is_upload: true, ..Quirks::default() })).await;
    client.put("/bucket/o", b"0123456789").await;
    let id = client.begin("/bucket/copy").await;
    let part = format!("/bucket/copy?partNumber=1&uploadId={id}");
    let source = [("x-amz-copy-source", "/bucket/o"), ("x-amz-copy-source-range", "bytes=0-4")];
    let copied = client.ask("PUT", &part, &source, b"").await;
    assert_eq!((copied.status.as_u16(), copied.text().as_str()), (200, ""));
    server.set_settings(with(Quirks { no_abort: true, no_head: true, ..Quirks::default() }));
    let upload = format!("/bucket/copy?uploadId={id}");
    assert_eq!(client.ask("DELETE", &upload, &[], b"").await.status, 405);
    assert_eq!(client.get(&upload).await.status, 200, "it is still there");
    assert_eq!(client.ask("HEAD", "/bucket/o", &[], b"").await.status, 405);
    server.set_settings(with(Quirks { no_multipart: true, failing_conditions: true, ..Quirks::default() }));
    assert_eq!(client.ask("POST", "/bucket/copy?uploads", &[], b"").await.status, 501);
    for condition in ["if-match", "if-none-match"] {
        assert_eq!(client.ask("PUT", "/bucket/o", &[(condition, "*")], b"x").await.status, 500);
    }
    assert!(!client.put("/bucket/o", b"x").await.is_empty(), "without a condition it is written");
}

#[tokio::test]
async fn listings_may_lack_etags() {
    let (server, client) = start(with(Quirks { no_list_etags: true, ..Quirks::default() })).await;
    let etag = client.put("/bucket/o", b"x").await;
    for query in ["list-type=2", "prefix="] {
        let listed = client.get(&format!("/bucket?{query}")).await;
        assert_eq!((listed.elements("Key"), listed.elements("ETag")), (vec!["o".to_owned()], vec![]));
        assert_eq!(listed.elements("Size"), ["1"]);
    }
    assert_eq!(client.ask("HEAD", "/bucket/o", &[], b"").await.etag(), etag);
    server.set_settings(Settings::default());
    assert_eq!(client.get("/bucket?list-type=2").await.elements("ETag").len(), 1);
}

#[tokio::test]
async fn a_prefix_may_be_folded_and_then_other_keys_are_listed() {
    let (_server, client) = start(with(Quirks { folds_slashes: true, ..Quirks::default() })).await;
    for key in ["a/x", "a//y", "a/b/z", "b/x"] {
        client.put(&format!("/bucket/{key}"), b"x").await;
    }
    let listed = client.get("/bucket?list-type=2&prefix=a%2F%2F&delimiter=%2F").await;
    assert_eq!(listed.elements("Prefix")[0], "a//", "it is said to be what was asked for");
    assert_eq!(listed.elements("Key"), ["a/x"]);
    assert_eq!(listed.elements("CommonPrefixes").len(), 2);
    assert_eq!(client.get("/bucket?prefix=a%2F%2F").await.elements("Key"), ["a//y", "a/b/z", "a/x"]);
    assert_eq!(client.get("/bucket/a//y").await.text(), "x", "keys are not folded");
}

#[tokio::test]
async fn etags_may_have_bytes_beyond_ascii_and_are_compared_all_the_same() {
    let (_server, client) = start(with(Quirks { etag_not_ascii: true, ..Quirks::default() })).await;
    let etag = client.put("/bucket/o", b"x").await;
    assert!(etag.starts_with("\"é") && etag.ends_with('"'), "{etag}");
    let listed = client.get("/bucket?list-type=2").await;
    assert_eq!(listed.element("ETag").unwrap().replace("&quot;", "\""), etag);
    let with_condition = |etag: String| {
        let client = &client;
        async move { client.ask("PUT", "/bucket/o", &[("if-match", &etag)], b"y").await }
    };
    assert_eq!(with_condition(etag.replace("é", "è")).await.status, 412);
    let changed = with_condition(etag.clone()).await;
    assert_eq!(changed.status, 200);
    assert_eq!(with_condition(etag).await.status, 412, "it was changed");
    let unchanged = client.ask("GET", "/bucket/o", &[("if-none-match", &changed.etag())], b"").await;
    assert_eq!((unchanged.status.as_u16(), unchanged.etag()), (304, changed.etag()));
    let id = client.begin("/bucket/parts").await;
    let document = client.upload("/bucket/parts", &id, &[b"a", b"b"]).await;
    let done = client.ask("POST", &format!("/bucket/parts?uploadId={id}"), &[], document.as_bytes()).await;
    assert_eq!(done.status, 200, "{}", done.text());
}

#[tokio::test]
async fn checksums_may_be_unknown_or_refused() {
    let (server, client) = start(with(Quirks { no_checksums: true, ..Quirks::default() })).await;
    let wrong = ("x-amz-checksum-crc32", "AAAAAA==");
    assert_eq!(client.ask("PUT", "/bucket/o", &[wrong], b"x").await.status, 200);
    let id = client.begin("/bucket/parts").await;
    let document = client.upload("/bucket/parts", &id, &[b"a"]).await;
    let complete = format!("/bucket/parts?uploadId={id}");
    let done = client.ask("POST", &complete, &[wrong], document.as_bytes()).await;
    assert_eq!((done.status.as_u16(), done.element("ChecksumType")), (200, None), "{}", done.text());
    for path in ["/bucket/o", "/bucket/parts"] {
        let stored = client.ask("HEAD", path, &[("x-amz-checksum-mode", "ENABLED")], b"").await;
        assert!(stored.headers.keys().all(|name| !name.as_str().starts_with("x-amz-checksum")), "{path}");
    }
    server.set_settings(with(Quirks { refuses_checksums: true, ..Quirks::default() }));
    let refused = client.ask("PUT", "/bucket/o", &[wrong], b"y").await;
    assert_eq!((refused.status.as_u16(), refused.code().as_str()), (501, "NotImplemented"));
    assert_eq!(client.ask("PUT", "/bucket/o", &[], b"y").await.status, 200);
}

#[test]
fn quirks_are_named_as_their_fields() {
    let quirks = Quirks::named(["r2", "no_list_etags"]).unwrap();
    assert_eq!(quirks, Quirks { r2: true, no_list_etags: true, ..Quirks::default() });
    let error = Quirks::named(["no_such"]).unwrap_err();
    assert!(error.contains("no_such") && error.contains("folds_slashes"), "{error}");
}

//! Uploads: in one request, in two parts, resumable.

use crate::client::Answer;
use crate::gcs_client::{Gcs, enc, generation, json, reason, start};
use pail_devserver::{Fault, FaultAction, Settings};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

const UNIT: usize = 256 * 1024;

fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|n| (n * 31 / 7) as u8).collect()
}

/// Starts an upload and returns the path and query to send to.
async fn begin(gcs: &Gcs, name: &str, query: &str, resource: &Value) -> String {
    let path = format!("/upload/storage/v1/b/bucket/o?uploadType=resumable&name={}{query}", enc(name));
    let answer = gcs.send("POST", &path, resource).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let location = answer.header("location").unwrap();
    let (_, rest) = location.strip_prefix("http://").unwrap().split_once('/').unwrap();
    format!("/{rest}")
}

async fn chunk(gcs: &Gcs, session: &str, range: &str, body: &[u8]) -> Answer {
    gcs.0.ask("PUT", session, &[("content-range", range)], body).await
}

#[tokio::test]
async fn a_resumable_upload_grows_by_chunks_and_tells_how_far_it_is() {
    let (server, gcs) = start(Settings::default()).await;
    let all = bytes(2 * UNIT + 1000);
    let total = all.len();
    let resource = json!({"contentType": "a/b", "metadata": {"k": "v"}});
    let session = begin(&gcs, "d//o", "&ifGenerationMatch=0", &resource).await;
    let asked = chunk(&gcs, &session, "bytes */*", b"").await;
    assert_eq!((asked.status.as_u16(), asked.header("range")), (308, None));
    let first = chunk(&gcs, &session, &format!("bytes 0-{}/*", UNIT - 1), &all[..UNIT]).await;
    assert_eq!((first.status.as_u16(), first.header("range")), (308, Some("bytes=0-262143")));
    let gap = chunk(&gcs, &session, &format!("bytes {}-{}/*", 2 * UNIT, 2 * UNIT + 9), &all[..10]).await;
    assert_eq!(reason(&gap), (400, "invalid".into()));
    // Chunks but the last are multiples of 256 KiB: what is beyond one is not kept. What was sent already is skipped.
    let overlapping = format!("bytes {}-{}/{total}", UNIT - 5, 2 * UNIT + 99);
    let odd = chunk(&gcs, &session, &overlapping, &all[UNIT - 5..2 * UNIT + 100]).await;
    assert_eq!(odd.header("range"), Some("bytes=0-524287"));
    assert_eq!(gcs.get("d//o").await.status, 404, "it is not there before it is whole");
    let last =
        chunk(&gcs, &session, &format!("bytes {}-{}/{total}", 2 * UNIT, total - 1), &all[2 * UNIT..]).await;
    assert_eq!(last.status, 200);
    let resource = json(&last);
    assert_eq!((&resource["size"], &resource["contentType"]), (&total.to_string().into(), &"a/b".into()));
    let media = gcs.media("d//o").await;
    assert_eq!(media.body, all);
    assert_eq!(json(&gcs.insert("same", "", &all).await)["crc32c"], resource["crc32c"]);
    let again = chunk(&gcs, &session, &format!("bytes */{total}"), b"").await;
    assert_eq!((again.status.as_u16(), json(&again)), (200, resource));
    assert_eq!(server.counters().count("objects.insert.chunk"), 4);
    assert_eq!(server.counters().count("objects.insert.status"), 2);
}

#[tokio::test]
async fn a_resumable_upload_may_come_at_once_and_be_empty() {
    let (_server, gcs) = start(Settings::default()).await;
    let session = begin(&gcs, "one", "", &json!({})).await;
    assert_eq!(gcs.0.ask("PUT", &session, &[], b"all of it").await.status, 200);
    assert_eq!(gcs.media("one").await.text(), "all of it");
    let session = begin(&gcs, "empty", "", &json!({})).await;
    assert_eq!(chunk(&gcs, &session, "bytes */0", b"").await.status, 200);
    assert_eq!(json(&gcs.get("empty").await)["size"], "0");
    // A name in the resource alone, and a length that is not kept to.
    let path = "/upload/storage/v1/b/bucket/o?uploadType=resumable";
    let headers = [("x-upload-content-length", "5"), ("x-upload-content-type", "a/b")];
    let answer = gcs.0.ask("POST", path, &headers, b"{\"name\": \"n\"}").await;
    let location = answer.header("location").unwrap().to_owned();
    let session = location.split_once("/upload").map(|(_, rest)| format!("/upload{rest}")).unwrap();
    assert_eq!(reason(&chunk(&gcs, &session, "bytes 0-5/6", b"123456").await), (400, "invalid".into()));
    assert_eq!(json(&chunk(&gcs, &session, "bytes 0-4/5", b"12345").await)["contentType"], "a/b");
    let nameless = gcs.0.ask("POST", path, &[], b"{}").await;
    assert_eq!(reason(&nameless), (400, "required".into()));
}

#[tokio::test]
async fn what_arrived_before_the_connection_broke_is_kept() {
    let (server, gcs) = start(Settings::default()).await;
    let all = bytes(4 * UNIT);
    let session = begin(&gcs, "o", "", &json!({})).await;
    let cut = FaultAction::CutRequest { after_bytes: 2 * UNIT as u64 + 100 };
    server.inject(Fault::once(Some("objects.insert.chunk"), cut));
    let range = format!("bytes 0-{}/{}", all.len() - 1, all.len());
    assert!(gcs.0.send("PUT", &session, &[("content-range", &range)], all.clone()).await.is_err());
    let asked = chunk(&gcs, &session, &format!("bytes */{}", all.len()), b"").await;
    assert_eq!((asked.status.as_u16(), asked.header("range")), (308, Some("bytes=0-524287")));
    let rest = format!("bytes {}-{}/{}", 2 * UNIT, all.len() - 1, all.len());
    let last = chunk(&gcs, &session, &rest, &all[2 * UNIT..]).await;
    assert_eq!(last.status, 200, "{}", last.text());
    assert_eq!(gcs.media("o").await.body, all);
    let whole = json(&gcs.insert("whole", "", &all).await);
    assert_eq!(json(&last)["crc32c"], whole["crc32c"], "of the bytes that were kept");
    // An answer that was lost is asked for again.
    let session = begin(&gcs, "lost", "&ifGenerationMatch=0", &json!({})).await;
    server.inject(Fault::once(Some("objects.insert.chunk"), FaultAction::ApplyThenDisconnect));
    assert!(gcs.0.send("PUT", &session, &[("content-range", "bytes 0-4/5")], "12345").await.is_err());
    let asked = chunk(&gcs, &session, "bytes */5", b"").await;
    assert_eq!(
        (asked.status.as_u16(), generation(&json(&asked))),
        (200, generation(&json(&gcs.get("lost").await)))
    );
}

#[tokio::test]
async fn a_request_that_hangs_does_not_hold_its_session() {
    let (server, gcs) = start(Settings::default()).await;
    let session = begin(&gcs, "o", "", &json!({})).await;
    let mut hanging = TcpStream::connect(server.addr()).await.unwrap();
    let all = bytes(4 * UNIT);
    let head = format!(
        "PUT {session} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\ncontent-range: bytes 0-{}/{}\r\n\r\n",
        all.len(),
        all.len() - 1,
        all.len()
    );
    hanging.write_all(head.as_bytes()).await.unwrap();
    hanging.write_all(&all[..UNIT + 5]).await.unwrap();
    let arrived = async {
        while server.counters().bytes_in < (UNIT + 5) as u64 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), arrived).await.expect("the bytes arrive");
    let asking = chunk(&gcs, &session, "bytes */*", b"");
    let asked =
        tokio::time::timeout(Duration::from_secs(60), asking).await.expect("the question is answered");
    assert_eq!((asked.status.as_u16(), asked.header("range")), (308, Some("bytes=0-262143")));
    let rest = format!("bytes {UNIT}-{}/{}", all.len() - 1, all.len());
    assert_eq!(chunk(&gcs, &session, &rest, &all[UNIT..]).await.status, 200);
    assert_eq!(gcs.media("o").await.body, all);
}

#[tokio::test]
async fn conditions_of_a_resumable_upload_hold_at_its_start_and_its_end() {
    let (_server, gcs) = start(Settings::default()).await;
    let path = "/upload/storage/v1/b/bucket/o?uploadType=resumable&name=o";
    let session = begin(&gcs, "o", "&ifGenerationMatch=0", &json!({})).await;
    let number = gcs.put("o", b"meanwhile").await;
    assert_eq!(reason(&gcs.0.ask("PUT", &session, &[], b"mine").await), (412, "conditionNotMet".into()));
    let refused = gcs.0.ask("POST", &format!("{path}&ifGenerationMatch=0"), &[], b"").await;
    assert_eq!(reason(&refused), (412, "conditionNotMet".into()));
    let session = begin(&gcs, "o", &format!("&ifGenerationMatch={number}"), &json!({})).await;
    assert_eq!(gcs.0.ask("PUT", &session, &[], b"mine").await.status, 200);
    assert_eq!(gcs.media("o").await.text(), "mine");
}

#[tokio::test]
async fn a_cancelled_upload_is_gone() {
    let (_server, gcs) = start(Settings::default()).await;
    let session = begin(&gcs, "o", "", &json!({})).await;
    chunk(&gcs, &session, "bytes 0-262143/*", &bytes(UNIT)).await;
    assert_eq!(gcs.0.ask("DELETE", &session, &[], b"").await.status.as_u16(), 499);
    assert_eq!(chunk(&gcs, &session, "bytes */*", b"").await.status, 404);
    assert_eq!(gcs.0.ask("DELETE", &session, &[], b"").await.status, 404);
    assert_eq!(gcs.get("o").await.status, 404);
}

#[tokio::test]
async fn damaged_bytes_are_refused_and_nothing_is_stored() {
    let (_server, gcs) = start(Settings::default()).await;
    let (crc32c, md5) = ("4waSgw==", "JfnnlDI7RTiF9RgfG2JNCw==");
    let path = "/upload/storage/v1/b/bucket/o?uploadType=media&name=o";
    let hash = format!("crc32c={crc32c},md5={md5}");
    for (body, status) in [(b"damaged".as_slice(), 400), (b"123456789", 200)] {
        for claim in [json!({"name": "o", "crc32c": crc32c}), json!({"name": "o", "md5Hash": md5})] {
            let answer = gcs.related("", &claim, body).await;
            assert_eq!(answer.status, status, "{claim}");
            let session = begin(&gcs, "o", "", &claim).await;
            assert_eq!(gcs.0.ask("PUT", &session, &[], body).await.status, status, "{claim}");
        }
        for header in [("x-goog-hash", hash.as_str()), ("content-md5", md5)] {
            assert_eq!(gcs.0.ask("POST", path, &[header], body).await.status, status, "{header:?}");
        }
        let session = begin(&gcs, "o", "", &json!({})).await;
        let answer = gcs.0.ask("PUT", &session, &[("x-goog-hash", &hash)], body).await;
        assert_eq!(answer.status, status);
        assert_eq!(gcs.get("o").await.status, if status == 200 { 200 } else { 404 });
    }
    assert_eq!(json(&gcs.get("o").await)["md5Hash"], md5, "a claim that was proved is kept");
}

#[tokio::test]
async fn the_two_parts_of_a_body_are_told_apart() {
    let (_server, gcs) = start(Settings::default()).await;
    for body in [&b""[..], b"\r\n", b"--xyz", b"x\r\n--xy\r\n", &bytes(3_000_000)] {
        let answer = gcs.related("", &json!({"name": "o"}), body).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(json(&answer)["contentType"], "image/png", "of the second part");
        assert_eq!(gcs.media("o").await.body, body);
    }
    let both =
        gcs.related("&name=by-query", &json!({"name": "by-resource", "contentType": "a/b"}), b"x").await;
    assert_eq!((&json(&both)["name"], &json(&both)["contentType"]), (&"by-query".into(), &"a/b".into()));
    assert_eq!(reason(&gcs.related("", &json!({}), b"x").await), (400, "required".into()));
    let path = "/upload/storage/v1/b/bucket/o?uploadType=multipart";
    for (content_type, body) in [
        ("multipart/related", "--xyz"),
        ("multipart/related; boundary=xyz", "--xyz\r\n\r\n{\"name\":\"p\"}\r\n--xyz\r\n\r\nno end"),
        ("multipart/related; boundary=xyz", "--xyz\r\n\r\nno json\r\n--xyz\r\n\r\nx\r\n--xyz--"),
    ] {
        let answer = gcs.0.ask("POST", path, &[("content-type", content_type)], body.as_bytes()).await;
        assert_eq!(answer.status, 400, "{body}");
    }
    assert_eq!(gcs.get("p").await.status, 404);
    let unknown = gcs.0.ask("POST", "/upload/storage/v1/b/bucket/o?uploadType=other&name=o", &[], b"x").await;
    assert_eq!(reason(&unknown), (400, "invalid".into()));
}

#[tokio::test]
async fn uploads_outlive_a_server_with_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let config =
        || pail_devserver::ServerConfig { folder: Some(folder.path().to_owned()), ..Default::default() };
    let server = pail_devserver::Server::start(config()).await.unwrap();
    server.create_bucket("bucket").await.unwrap();
    let gcs = Gcs(crate::client::Client::new(&server.endpoint_url(), "", None));
    let all = bytes(UNIT + 10);
    let session = begin(&gcs, "o", "", &json!({"storageClass": "COLDLINE", "metadata": {"Key": "v"}})).await;
    chunk(&gcs, &session, &format!("bytes 0-{}/*", UNIT - 1), &all[..UNIT]).await;
    chunk(&gcs, &session, &format!("bytes {UNIT}-{}/{}", UNIT + 9, all.len()), &all[UNIT..]).await;
    gcs.related("", &json!({"name": "related"}), &all).await;
    let (before, related) = (json(&gcs.get("o").await), json(&gcs.get("related").await));
    server.shutdown().await;
    let server = pail_devserver::Server::start(config()).await.unwrap();
    let gcs = Gcs(crate::client::Client::new(&server.endpoint_url(), "", None));
    let without_links = |mut resource: Value| {
        for link in ["selfLink", "mediaLink"] {
            resource[link].take();
        }
        resource
    };
    for (name, before) in [("o", before), ("related", related)] {
        assert_eq!(without_links(json(&gcs.get(name).await)), without_links(before));
        assert_eq!(gcs.media(name).await.body, all);
    }
    let newer = gcs.put("o", b"x").await;
    assert!(newer > generation(&json(&gcs.get("related").await)));
}

//! The bytes of objects, received and sent: whole, of one version, or an error.

use crate::{BUCKET, SECRET, error_of, key, noise, options, read, start, start_watchful, strike};
use bytes::Bytes;
use pail_devserver::FaultAction;
use pail_store::{ErrorKind, GetOptions, Payload, PayloadSource, PutOptions, StoreOptions};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

#[tokio::test]
async fn a_broken_body_is_resumed_where_it_broke() {
    let (server, store) = start_watchful().await;
    let bytes = noise(20 * 1024 * 1024);
    server.put_object(BUCKET, "o", bytes.clone()).await.unwrap();
    for action in [
        FaultAction::CutBody { after_bytes: 7_000_001 },
        FaultAction::TruncateBody { after_bytes: 3_000_003 },
        FaultAction::Stall { after_bytes: 5_000_005, for_ms: None },
        FaultAction::Stall { after_bytes: 0, for_ms: None },
    ] {
        strike(&server, "GetObject", action);
    }
    assert!(read(&*store, "o").await.unwrap() == bytes, "byte for byte");
    assert!(server.waiting_faults().is_empty());
    assert!(server.counters().bytes_out < 30 * 1024 * 1024, "what had arrived is not fetched again");

    strike(&server, "GetObject", FaultAction::CutBody { after_bytes: 1_000 });
    strike(&server, "GetObject", FaultAction::SlowDown);
    let range = Some(1_000_000..9_000_000);
    let got = store.get(&key("o"), GetOptions { range, if_version: None }).await.unwrap();
    assert!(got.bytes().await.unwrap() == bytes[1_000_000..9_000_000], "a range byte for byte");
}

#[tokio::test]
async fn a_body_is_not_resumed_from_another_version() {
    let (server, store) = start().await;
    server.put_object(BUCKET, "o", noise(4_000_000)).await.unwrap();
    strike(&server, "GetObject", FaultAction::CutBody { after_bytes: 1_000_000 });
    let mut body = store.get(&key("o"), GetOptions::default()).await.unwrap().body;
    body.fill(&mut [0; 1_000]).await.unwrap();
    server.put_object(BUCKET, "o", noise(4_000_001)).await.unwrap();
    let error = error_of(body.fill(&mut vec![0; 4_000_000])).await;
    assert_eq!(error.kind, ErrorKind::Precondition, "{error}");
}

#[tokio::test]
async fn a_dropped_body_gives_its_place_back() {
    let (server, _) = start().await;
    server.put_object(BUCKET, "o", noise(8_000_000)).await.unwrap();
    let one = StoreOptions { requests_in_flight_max: 1, ..options(&server.endpoint_url(), SECRET) };
    let store = pail_store::open(one).await.unwrap();
    let mut got = store.get(&key("o"), GetOptions::default()).await.unwrap();
    got.body.fill(&mut [0; 1_000]).await.unwrap();
    assert_eq!(store.counters().in_flight, 1);
    drop(got);
    tokio::time::timeout(Duration::from_secs(10), store.head(&key("o"))).await.expect("its place").unwrap();
    assert_eq!(store.counters().in_flight, 0);
}

#[tokio::test]
async fn an_empty_object_says_its_length() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let (mut head, mut buffer) = (Vec::new(), [0; 4096]);
        while !head.ends_with(b"\r\n\r\n") {
            let len = stream.read(&mut buffer).await.unwrap();
            assert!(len > 0, "the head is not whole");
            head.extend_from_slice(&buffer[..len]);
        }
        let answer = b"HTTP/1.1 200 OK\r\nETag: \"e\"\r\nContent-Length: 0\r\n\r\n";
        stream.write_all(answer).await.unwrap();
        String::from_utf8(head).unwrap().to_lowercase()
    });
    let store = pail_store::open(options(&endpoint, SECRET)).await.unwrap();
    store.put(&key("o"), Bytes::new().into(), PutOptions::default()).await.unwrap();
    let head = server.await.unwrap();
    assert!(head.contains("\r\ncontent-length: 0\r\n"), "{head}");
    assert!(!head.contains("transfer-encoding"), "{head}");
}

/// Readable up to a point.
struct Torn(u64);

#[async_trait::async_trait]
impl PayloadSource for Torn {
    async fn read(&self, range: Range<u64>) -> std::io::Result<Bytes> {
        match range.end <= self.0 {
            true => Ok(vec![7; (range.end - range.start) as usize].into()),
            false => Err(std::io::Error::other("the disk is gone")),
        }
    }
}

#[tokio::test]
async fn a_source_is_read_again_for_a_retry_and_its_error_is_its_own() {
    let (server, store) = start().await;
    let len = 3_000_000;
    let payload = |readable| Payload::Source { len, source: Arc::new(Torn(readable)) };
    strike(&server, "PutObject", FaultAction::CutRequest { after_bytes: 1_000_000 });
    store.put(&key("o"), payload(len), PutOptions::default()).await.unwrap();
    assert!(read(&*store, "o").await.unwrap() == vec![7; len as usize]);
    let error = error_of(store.put(&key("torn"), payload(2_000_000), PutOptions::default())).await;
    assert_eq!(error.kind, ErrorKind::Source);
    assert!(error.to_string().contains("the disk is gone"), "{error}");
    assert_eq!(store.head(&key("torn")).await.unwrap_err().kind, ErrorKind::NotFound);
}

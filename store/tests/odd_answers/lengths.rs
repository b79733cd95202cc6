//! Objects that come without a `Content-Length`, as some gateways send them: in chunks, or until the connection ends.

use crate::{Answer, Server, options, soon};
use bytes::Bytes;
use pail_store::{ErrorKind, GetOptions, RawKey, S3Store, Store, StoreOptions};
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const LEN: usize = 300_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    Chunked,
    UntilClose,
}

fn object() -> Bytes {
    (0..LEN).map(|index| (index % 251) as u8).collect()
}

/// The range that a request asks for.
fn asked(request: &str) -> Option<Range<usize>> {
    let value = request.lines().find_map(|line| line.strip_prefix("range: bytes="))?;
    let (first, last) = value.split_once('-')?;
    Some(first.parse().unwrap()..LEN.min(last.parse::<usize>().unwrap() + 1))
}

/// The answer to a request, of which at most `sent_max` bytes of the object are sent.
fn answer(request: &str, framing: Framing, sent_max: usize) -> Answer {
    if request.starts_with("head") {
        return Answer::kept(format!("HTTP/1.1 200 OK\r\nETag: \"e\"\r\nContent-Length: {LEN}\r\n\r\n"));
    }
    let (range, mut head) = match asked(request) {
        Some(range) => {
            let head = format!(
                "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {}-{}/{LEN}\r\n",
                range.start,
                range.end - 1
            );
            (range, head)
        }
        None => (0..LEN, "HTTP/1.1 200 OK\r\n".to_owned()),
    };
    head += "ETag: \"e\"\r\n";
    let sent = &object()[range.start..range.end.min(range.start + sent_max)];
    if framing == Framing::UntilClose {
        return Answer::last([head.as_bytes(), b"\r\n", sent].concat());
    }
    let mut bytes = format!("{head}Transfer-Encoding: chunked\r\n\r\n").into_bytes();
    for chunk in sent.chunks(7001) {
        bytes.extend([format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat());
    }
    bytes.extend_from_slice(b"0\r\n\r\n");
    Answer::kept(bytes)
}

async fn read(store: &S3Store, range: Option<Range<u64>>) -> Bytes {
    let got = store.get(&RawKey::new("o").unwrap(), GetOptions { range, if_version: None }).await.unwrap();
    assert_eq!(got.meta.size, LEN as u64);
    got.bytes().await.unwrap()
}

#[tokio::test]
async fn objects_and_ranges_are_read_whose_answers_have_no_length() {
    for framing in [Framing::Chunked, Framing::UntilClose] {
        let server = Server::start(move |request| answer(request, framing, LEN)).await;
        // With one place, nothing may wait for a second.
        let one = StoreOptions { requests_in_flight_max: 1, ..options(&server.endpoint_url) };
        let store = S3Store::open(one).await.unwrap();
        assert!(soon(read(&store, None)).await == object(), "{framing:?}");
        for range in [0..10_u64, 1000..290_000, 299_990..400_000] {
            let expected = object().slice(range.start as usize..LEN.min(range.end as usize));
            assert!(soon(read(&store, Some(range.clone()))).await == expected, "{framing:?}: {range:?}");
        }
        assert_eq!(store.counters().in_flight, 0);
    }
}

#[tokio::test]
async fn a_connection_on_which_chunks_ended_is_used_again() {
    let server = Server::start(|request| answer(request, Framing::Chunked, LEN)).await;
    let store = server.store().await;
    for _ in 0..3 {
        // Small, so that its end comes with it.
        assert_eq!(soon(read(&store, Some(5..15))).await, object().slice(5..15));
    }
    assert_eq!(*server.connections.lock(), 1);
}

#[tokio::test]
async fn a_body_that_ends_too_early_is_resumed_where_it_ended() {
    for framing in [Framing::Chunked, Framing::UntilClose] {
        let count = AtomicUsize::new(0);
        let server = Server::start(move |request| {
            let is_first = count.fetch_add(1, Ordering::SeqCst) == 0;
            answer(request, framing, if is_first { 100_000 } else { LEN })
        })
        .await;
        let store = server.store().await;
        assert!(soon(read(&store, Some(50..250_000))).await == object().slice(50..250_000), "{framing:?}");
        assert!(server.requests.lock()[1].contains("range: bytes=100050-249999"), "{framing:?}");
    }
}

#[tokio::test]
async fn a_body_that_never_comes_whole_is_an_error() {
    for framing in [Framing::Chunked, Framing::UntilClose] {
        let server = Server::start(move |request| answer(request, framing, 0)).await;
        let brief = StoreOptions { retry_deadline: Duration::from_secs(1), ..options(&server.endpoint_url) };
        let store = S3Store::open(brief).await.unwrap();
        let got = store.get(&RawKey::new("o").unwrap(), GetOptions::default()).await.unwrap();
        let error = soon(got.bytes()).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unreachable, "{framing:?}");
        assert!(error.to_string().contains("ended too early"), "{framing:?}: {error}");
    }
}

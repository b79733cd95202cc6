//! ETags with bytes beyond ASCII.

use super::{Answer, Server, options, soon};
use bytes::Bytes;
use pail_store::{
    CallerVariables, Condition, ErrorKind, GetOptions, PutOptions, RawKey, S3Store, Store, StoreOptions,
    Version,
};
use parking_lot::Mutex;
use std::sync::Arc;

/// As the tests' server sees bytes: a character for each.
const ETAG: &str = "\"caf\u{E9}\"";
/// The same text in UTF-8.
const OTHER: &str = "\"caf\u{C3}\u{A9}\"";

/// A server of one object, whose ETag has a byte that is no UTF-8, and which enforces `If-Match` byte for byte.
async fn start(has_other: Arc<Mutex<bool>>) -> Server {
    Server::start(move |request| {
        let etag = if *has_other.lock() { OTHER } else { ETAG };
        if if_match_of(request).is_some_and(|sent| sent != etag) || request.contains("if-none-match: *") {
            return Answer::kept("HTTP/1.1 412 Precondition Failed\r\ncontent-length: 0\r\n\r\n");
        }
        let body = if request.starts_with("get") { "abc" } else { "" };
        let length = if request.starts_with("get") || request.starts_with("head") { 3 } else { 0 };
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\netag: {etag}\r\n\r\n{body}");
        Answer::kept(answer.chars().map(|character| character as u8).collect::<Vec<_>>())
    })
    .await
}

fn if_match_of(request: &str) -> Option<&str> {
    request.lines().find_map(|line| line.strip_prefix("if-match: "))
}

async fn signed(server: &Server) -> Arc<S3Store> {
    let keys = [("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "testtest")];
    let environment = keys.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let options = StoreOptions {
        environment: Some(CallerVariables(environment)),
        anonymous: false,
        ..options(&server.endpoint_url)
    };
    S3Store::open(options).await.unwrap()
}

#[tokio::test]
async fn a_read_is_pinned_to_them_byte_for_byte() {
    let has_other = Arc::default();
    let server = start(Arc::clone(&has_other)).await;
    for store in [server.store().await, signed(&server).await] {
        *has_other.lock() = false;
        let key = RawKey::new("key").unwrap();
        let version = soon(store.head(&key)).await.unwrap().version;
        assert!(!version.is_unknown(), "an ETag that is there counts");
        let pinned = GetOptions { if_version: Some(version.clone()), ..GetOptions::default() };
        let read = soon(store.get(&key, pinned.clone())).await.unwrap();
        assert_eq!(read.meta.version, version);
        assert_eq!(read.bytes().await.unwrap(), "abc");
        assert_eq!(if_match_of(server.requests.lock().last().unwrap()), Some(ETAG));
        *has_other.lock() = true;
        let refused = soon(store.get(&key, pinned)).await.err().unwrap();
        assert_eq!(
            refused.kind,
            ErrorKind::Precondition,
            "the same text in UTF-8 is another ETag: {refused}"
        );
    }
}

#[tokio::test]
async fn a_write_on_condition_of_them_is_never_unconditional() {
    let has_other = Arc::default();
    let server = start(Arc::clone(&has_other)).await;
    for store in [server.store().await, signed(&server).await] {
        *has_other.lock() = false;
        let key = RawKey::new("key").unwrap();
        let version = soon(store.head(&key)).await.unwrap().version;
        *has_other.lock() = true;
        for stale in [version, Version::from_etag("new\nline")] {
            let condition = Condition::IfVersion(stale.clone());
            let options = PutOptions { condition, ..PutOptions::default() };
            let put = soon(store.put(&key, Bytes::from_static(b"new").into(), options)).await;
            let kind = put.expect_err("another version stands").kind;
            assert!(matches!(kind, ErrorKind::Precondition | ErrorKind::Unsupported), "{stale}: {kind:?}");
        }
    }
}

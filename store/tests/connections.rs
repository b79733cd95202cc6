//! Connections between requests, against a server that counts them.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use bytes::Bytes;
use pail_store::{CallerVariables, ErrorKind, GetOptions, PutOptions, RawKey, S3Store, Store, StoreOptions};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

const BODY_LEN: usize = 3_000_001;

/// What the server does with a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// Serves one request after the other.
    Keeps,
    /// Says `Connection: close`, and closes it.
    SaysThatItCloses,
    /// Closes it after an answer without a word.
    Closes,
    /// Answers before it has read what is uploaded, which it never does.
    RefusesEarly,
}

struct Server {
    endpoint_url: String,
    connections: Arc<AtomicUsize>,
}

impl Server {
    async fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint_url = format!("http://{}", listener.local_addr().unwrap());
        let connections = Arc::new(AtomicUsize::new(0));
        let count = connections.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                count.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(serve(stream, manner));
            }
        });
        Self { endpoint_url, connections }
    }

    async fn store(&self) -> Arc<S3Store> {
        let options = StoreOptions {
            endpoint_url: Some(self.endpoint_url.clone()),
            environment: Some(CallerVariables(Default::default())),
            head_timeout: Duration::from_secs(20),
            retry_deadline: Duration::from_secs(20),
            ..StoreOptions::s3("bucket")
        };
        S3Store::open(options).await.unwrap()
    }
}

fn body() -> Bytes {
    (0..BODY_LEN).map(|index| (index % 251) as u8).collect()
}

async fn serve(stream: TcpStream, manner: Manner) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if stream.read_line(&mut head).await? == 0 {
                return Ok(());
            }
        }
        if manner == Manner::RefusesEarly {
            stream.write_all(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n").await?;
            continue;
        }
        let close = if manner == Manner::SaysThatItCloses { "connection: close\r\n" } else { "" };
        let answer = format!("HTTP/1.1 200 OK\r\netag: \"e\"\r\ncontent-length: {BODY_LEN}\r\n{close}\r\n");
        let bytes: Vec<u8> = answer.bytes().chain(body()).collect();
        // The head in two pieces, the second with the body's first bytes.
        let (mut rest, mut len) = (&bytes[..], 20);
        while !rest.is_empty() {
            let piece;
            (piece, rest) = rest.split_at(len.min(rest.len()));
            stream.write_all(piece).await?;
            tokio::task::yield_now().await;
            len = len * 3 + 1;
        }
        if manner != Manner::Keeps {
            return stream.shutdown().await;
        }
    }
}

async fn read(store: &S3Store) {
    let got = store.get(&RawKey::new("o").unwrap(), GetOptions::default()).await.unwrap();
    assert!(got.bytes().await.unwrap() == body(), "byte for byte");
}

#[tokio::test]
async fn a_connection_is_used_again_when_both_sides_keep_it() {
    for (manner, connections) in [(Manner::Keeps, 1), (Manner::SaysThatItCloses, 3), (Manner::Closes, 3)] {
        let server = Server::start(manner).await;
        let store = server.store().await;
        for _ in 0..3 {
            read(&store).await;
        }
        assert_eq!(server.connections.load(Ordering::SeqCst), connections, "{manner:?}");
    }
}

#[tokio::test]
async fn what_was_not_read_to_its_end_is_closed() {
    let server = Server::start(Manner::Keeps).await;
    let store = server.store().await;
    let mut got = store.get(&RawKey::new("o").unwrap(), GetOptions::default()).await.unwrap();
    let mut some = [0; 1000];
    assert_eq!(got.body.fill(&mut some).await.unwrap(), some.len());
    assert!(body().starts_with(&some));
    drop(got);
    read(&store).await;
    assert_eq!(server.connections.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn an_upload_that_was_refused_before_its_end_leaves_no_bytes_to_the_next_request() {
    let server = Server::start(Manner::RefusesEarly).await;
    let store = server.store().await;
    let key = RawKey::new("o").unwrap();
    let large = Bytes::from(vec![7; 30_000_000]);
    for _ in 0..2 {
        let refused = store.put(&key, large.clone().into(), PutOptions::default()).await.unwrap_err();
        assert_eq!(refused.kind, ErrorKind::Denied, "{refused}");
    }
    assert_eq!(server.connections.load(Ordering::SeqCst), 2);
}

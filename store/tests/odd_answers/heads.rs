//! Heads of answers: unusual ones, and what is none.

use crate::{Answer, Server, options, soon};
use pail_store::{ErrorKind, ListRequest, RawKey, S3Store, Store};
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

const EMPTY_LISTING: &str = "HTTP/1.1 200 OK\r\nContent-Length: 21\r\n\r\n<ListBucketResult/>\r\n";

#[tokio::test]
async fn hundreds_of_headers_and_folded_ones_are_read() {
    let server = Server::start(|_| {
        let metadata: String = (0..600).map(|number| format!("x-amz-meta-m{number}: {number}\r\n")).collect();
        Answer::kept(format!(
            "HTTP/1.1 200 OK\r\nETag: \"e\"\r\nContent-Length: 7\r\nx-amz-meta-folded: one\r\n  two\r\n{metadata}\r\n"
        ))
    })
    .await;
    let head = soon(server.store().await.head(&RawKey::new("o").unwrap())).await.unwrap();
    let metadata = head.attributes.unwrap().metadata.clone();
    assert_eq!((head.size, metadata.len(), metadata["m599"].as_str()), (7, 601, "599"));
    assert_eq!(metadata["folded"], "one two");
}

#[tokio::test]
async fn what_does_not_speak_http_is_told_after_a_few_attempts() {
    for (answer, told) in [
        (&b"SSH-2.0-OpenSSH_9.6\r\n"[..], "begins with \"SSH-2.0-OpenSSH_9.6\\r\\n\""),
        (b"-ERR", "begins with \"-ERR\""),
        (b"\x15\x03\x01\x00\x02\x02\x28", "https://"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nsecret", "content-length"),
        (b"HTTP/1.1 200 OK\r\nwhat is this\r\n\r\n", "header"),
        (b"HTTP/1.1 2000 OK\r\n\r\n", "status"),
    ] {
        let server = Server::start(move |_| Answer::last(answer)).await;
        let error = soon(server.store().await.list(ListRequest::default())).await.unwrap_err();
        let text = error.to_string();
        assert_eq!((error.kind, error.attempts), (ErrorKind::Unreachable, 3), "{text}");
        let opening = format!("what answers at {} does not speak HTTP as it should", server.endpoint_url);
        assert!(text.contains(&opening) && text.contains(told) && !text.contains("secret"), "{text}");
    }
}

#[tokio::test]
async fn a_server_that_greets_is_told_too() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint_url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            stream.write_all(b"220 mail.example ESMTP\r\n").await.unwrap();
            open.push(stream);
        }
    });
    let store = S3Store::open(options(&endpoint_url)).await.unwrap();
    let error = soon(store.list(ListRequest::default())).await.unwrap_err();
    assert!(error.to_string().contains("begins with \"220 mail.example ESMTP"), "{error}");
}

#[tokio::test]
async fn an_answer_that_is_garbled_once_is_asked_for_again() {
    let is_garbled = AtomicBool::new(true);
    let server = Server::start(move |_| match is_garbled.swap(false, Ordering::SeqCst) {
        true => Answer::last("\0\0\0"),
        false => Answer::kept(EMPTY_LISTING),
    })
    .await;
    soon(server.store().await.list(ListRequest::default())).await.unwrap();
}

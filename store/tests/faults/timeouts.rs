//! How long a request is waited for.

use crate::{BUCKET, SECRET, error_of, impatient, key, noise, options, server_with, start};
use pail_devserver::{Fault, FaultAction, Settings};
use pail_store::{ErrorKind, GetOptions, ListRequest, StoreOptions};
use std::time::Duration;
use tokio::net::TcpListener;

#[tokio::test]
async fn a_reader_may_be_slower_than_every_timeout() {
    let server = server_with(Settings::default()).await;
    let bytes = noise(8 * 1024 * 1024);
    server.put_object(BUCKET, "o", bytes.clone()).await.unwrap();
    let options = StoreOptions {
        stall_timeout: Duration::from_secs(1),
        retry_deadline: Duration::from_secs(1),
        ..options(&server.endpoint_url(), SECRET)
    };
    let store = pail_store::open(options).await.unwrap();
    let mut body = store.get(&key("o"), GetOptions::default()).await.unwrap().body;
    let mut got = vec![0; bytes.len()];
    body.fill(&mut got[..100_000]).await.unwrap();
    // The reader's own work, beyond stall timeout and deadline.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    body.fill(&mut got[100_000..]).await.unwrap();
    assert!(got == bytes);
}

#[tokio::test]
async fn a_server_that_keeps_failing_exhausts_the_deadline() {
    let (server, _) = start().await;
    let store = pail_store::open(impatient(&server.endpoint_url())).await.unwrap();
    let fault = Fault { times: u32::MAX, ..Fault::once(None, FaultAction::InternalError) };
    server.inject(fault);
    let error = error_of(store.head(&key("o"))).await;
    assert_eq!((error.kind, error.status), (ErrorKind::Exhausted, Some(500)), "{error}");
    assert!(error.attempts > 1);
    assert_eq!(u64::from(error.attempts), server.counters().total(), "every attempt is counted");
}

#[tokio::test]
async fn an_endpoint_that_is_not_there_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    // Connections are taken by the kernel, and nobody answers.
    let brief = Duration::from_millis(300);
    let options = StoreOptions {
        connect_timeout: brief,
        head_timeout: brief,
        retry_deadline: Duration::from_secs(1),
        ..options(&endpoint, SECRET)
    };
    let store = pail_store::open(options).await.unwrap();
    let silent = error_of(store.list(ListRequest::default())).await;
    assert_eq!(silent.kind, ErrorKind::Unreachable, "{silent}");
    assert!(silent.to_string().contains(&endpoint), "{silent}");
    drop(listener);
    let refused = error_of(store.list(ListRequest::default())).await;
    assert_eq!(refused.kind, ErrorKind::Unreachable, "{refused}");
    let text = refused.to_string().to_lowercase();
    assert!(text.contains(&endpoint) && text.contains("refused"), "{text}");
}

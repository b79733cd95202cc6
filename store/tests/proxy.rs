//! Requests that go through an HTTP proxy.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use pail_devserver::{Server, ServerConfig};
use pail_store::{
    CallerVariables, ErrorKind, GetOptions, ListRequest, PutOptions, RawKey, S3Store, Store, StoreOptions,
};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;

const BUCKET: &str = "proxied";

async fn store(endpoint_url: &str, proxy_variable: &str, proxy: &str) -> Arc<S3Store> {
    let variables =
        [("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "testtest"), (proxy_variable, proxy)];
    let variables = variables.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    S3Store::open(StoreOptions {
        endpoint_url: Some(endpoint_url.to_owned()),
        environment: Some(CallerVariables(variables)),
        retry_deadline: Duration::ZERO,
        ..StoreOptions::s3(BUCKET)
    })
    .await
    .unwrap()
}

#[tokio::test]
async fn a_plain_endpoint_is_reached_through_the_proxy_that_is_named() {
    // A proxy is told the whole URL. The server takes that too, and so stands for one; the endpoint's name has no address.
    let server = Server::start(ServerConfig::default()).await.unwrap();
    server.create_bucket(BUCKET).await.unwrap();
    let proxy = server.endpoint_url().replace("http://", "http://user:pass@");
    let store = store("http://store.invalid", "HTTP_PROXY", &proxy).await;
    let key = RawKey::new("a//b ü").unwrap();
    store.put(&key, bytes::Bytes::from_static(b"through").into(), PutOptions::default()).await.unwrap();
    let got = store.get(&key, GetOptions::default()).await.unwrap();
    assert_eq!(got.meta.size, 7);
    server.shutdown().await;
}

#[tokio::test]
async fn a_tls_endpoint_is_asked_for_by_connect_and_a_refusal_is_told() {
    let proxy = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = proxy.local_addr().unwrap();
    let asked = tokio::spawn(async move {
        let (stream, _) = proxy.accept().await.unwrap();
        let mut stream = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            stream.read_line(&mut head).await.unwrap();
        }
        stream.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n").await.unwrap();
        head
    });
    let proxy_url = format!("http://user:pass@{address}");
    let store = store("https://store.invalid:8443", "https_proxy", &proxy_url).await;
    let error = store.list(ListRequest::default()).await.unwrap_err();
    let head = asked.await.unwrap().to_lowercase();
    assert!(head.starts_with("connect store.invalid:8443 http/1.1\r\n"), "{head}");
    assert!(head.contains("proxy-authorization: basic"), "{head}");
    assert_eq!(error.kind, ErrorKind::Unreachable);
    let told = error.to_string();
    assert!(told.contains(&format!("through the proxy http://{address}")), "{told}");
    assert!(told.contains("authorization required") && !told.contains("pass"), "{told}");
}

#[tokio::test]
async fn certificates_of_the_caller_s_bundle_must_be_there() {
    let variables = CallerVariables([("AWS_CA_BUNDLE".to_owned(), "/is/not/there.pem".to_owned())].into());
    let options = StoreOptions {
        endpoint_url: Some("https://store.invalid".to_owned()),
        environment: Some(variables),
        ..StoreOptions::s3(BUCKET)
    };
    let error = S3Store::open(options).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Configuration);
    assert!(error.message.contains("AWS_CA_BUNDLE /is/not/there.pem"), "{error}");
}

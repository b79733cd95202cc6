//! What an endpoint enforces, asked once.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use pail_devserver::{Quirks, Server, ServerConfig, Settings};
use pail_store::{CallerVariables, S3Store, Store, StoreOptions};
use std::path::Path;
use std::sync::Arc;

const BUCKETS: [&str; 2] = ["first", "second"];

async fn start() -> Server {
    let server = Server::start(ServerConfig::default()).await.unwrap();
    for bucket in BUCKETS {
        server.create_bucket(bucket).await.unwrap();
    }
    server
}

/// An endpoint whose name has no address: the server stands for the proxy on the way to it. By its port no test shares the endpoint with
/// another test of this process.
fn far_endpoint(server: &Server) -> String {
    server.endpoint_url().replace("127.0.0.1", "store.invalid")
}

async fn far(server: &Server, bucket: &str, cache: &Path) -> Arc<S3Store> {
    open(bucket, &far_endpoint(server), server, cache).await
}

async fn open(bucket: &str, endpoint: &str, server: &Server, cache: &Path) -> Arc<S3Store> {
    let variables = [
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "testtest"),
        ("HTTP_PROXY", &*server.endpoint_url()),
        ("XDG_CACHE_HOME", cache.to_str().unwrap()),
    ];
    let environment = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let options = StoreOptions {
        endpoint_url: Some(endpoint.to_owned()),
        environment: Some(CallerVariables(environment)),
        ..StoreOptions::s3(bucket)
    };
    S3Store::open(options).await.unwrap()
}

/// How many requests it takes to know what `store` can do.
async fn asked(server: &Server, store: &S3Store) -> u64 {
    server.reset_counters();
    assert!(store.capabilities().await.unwrap().conditional_put);
    server.counters().total()
}

#[tokio::test]
async fn all_buckets_of_an_endpoint_share_its_answer() {
    let (server, cache) = (start().await, tempfile::tempdir().unwrap());
    let [first, second] = BUCKETS.map(|bucket| open_near(bucket, &server, cache.path()));
    let (first, second) = (first.await, second.await);
    assert!(asked(&server, &first).await > 0);
    assert_eq!(asked(&server, &second).await, 0);
    assert!(!cache.path().join("pail").exists(), "a loopback address is another server's tomorrow");
}

async fn open_near(bucket: &str, server: &Server, cache: &Path) -> Arc<S3Store> {
    open(bucket, &server.endpoint_url(), server, cache).await
}

#[tokio::test]
async fn an_answer_outlives_the_process() {
    let (server, cache) = (start().await, tempfile::tempdir().unwrap());
    let file = cache.path().join("pail/endpoints.json");
    assert!(asked(&server, &*far(&server, BUCKETS[0], cache.path()).await).await > 0);
    // The store is gone, and with it what this process knows.
    assert_eq!(asked(&server, &*far(&server, BUCKETS[1], cache.path()).await).await, 0);
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains(&far_endpoint(&server)) && !text.contains("test"), "{text}");
    std::fs::write(&file, &text[..text.len() / 2]).unwrap();
    assert!(asked(&server, &*far(&server, BUCKETS[1], cache.path()).await).await > 0, "asked over");
    assert_eq!(asked(&server, &*far(&server, BUCKETS[0], cache.path()).await).await, 0, "and kept");
}

#[tokio::test]
async fn what_one_bucket_refuses_says_nothing_of_another() {
    let (server, cache) = (start().await, tempfile::tempdir().unwrap());
    let settings = Settings { foreign_buckets: vec![BUCKETS[0].to_owned()], ..Settings::default() };
    server.set_settings(settings);
    let refused = far(&server, BUCKETS[0], cache.path()).await;
    assert!(!refused.capabilities().await.unwrap().conditional_put);
    let other = far(&server, BUCKETS[1], cache.path()).await;
    assert!(asked(&server, &other).await > 0);
    let quirks = Quirks { ignore_write_conditions: true, ..Quirks::default() };
    server.set_settings(Settings { quirks, ..Settings::default() });
    assert!(other.capabilities().await.unwrap().conditional_put, "as it was");
}

//! The store against a server that fails, on demand.
//!
//! Owns: what a caller sees of broken connections, failing servers and lost answers: mostly nothing, else the truth. One file
//! for each of what fails.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod bodies;
mod bulk_deletions;
mod deadline;
mod lost_answers;
mod refusals;
mod retries;
mod timeouts;

use bytes::Bytes;
use pail_devserver::{Fault, FaultAction, Server, ServerConfig, Settings};
use pail_store::{CallerVariables, Condition, Error, GetOptions, PutOptions, RawKey, Store, StoreOptions};
use std::sync::Arc;
use std::time::Duration;

const BUCKET: &str = "bucket";
const SECRET: &str = "testtest";

/// Every wait is ample, for a loaded machine too.
fn options(endpoint: &str, secret: &str) -> StoreOptions {
    let keys = [("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", secret)];
    StoreOptions {
        endpoint_url: Some(endpoint.to_owned()),
        environment: Some(CallerVariables(keys.map(|(n, v)| (n.to_owned(), v.to_owned())).into())),
        connect_timeout: Duration::from_secs(20),
        head_timeout: Duration::from_secs(20),
        stall_timeout: Duration::from_secs(20),
        retry_deadline: Duration::from_secs(20),
        ..StoreOptions::s3(BUCKET)
    }
}

/// Gives up soon, after more than one attempt.
fn impatient(endpoint: &str) -> StoreOptions {
    StoreOptions { retry_deadline: Duration::from_secs(3), ..options(endpoint, SECRET) }
}

async fn server_with(settings: Settings) -> Server {
    let server = Server::start(ServerConfig { settings, ..ServerConfig::default() }).await.unwrap();
    server.create_bucket(BUCKET).await.unwrap();
    server
}

async fn start() -> (Server, Arc<dyn Store>) {
    let server = server_with(Settings::default()).await;
    let store = pail_store::open(options(&server.endpoint_url(), SECRET)).await.unwrap();
    (server, store)
}

/// As `start`, with a store that soon takes an answer for stalled. A slow one that it takes for stalled is only asked for once more.
async fn start_watchful() -> (Server, Arc<dyn Store>) {
    let server = server_with(Settings::default()).await;
    let options =
        StoreOptions { stall_timeout: Duration::from_millis(200), ..options(&server.endpoint_url(), SECRET) };
    let store = pail_store::open(options).await.unwrap();
    (server, store)
}

fn key(name: &str) -> RawKey {
    RawKey::new(name).unwrap()
}

fn noise(len: usize) -> Bytes {
    (0..len as u64).map(|index| (index.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect()
}

fn on(condition: Condition) -> PutOptions {
    PutOptions { condition, ..PutOptions::default() }
}

async fn read(store: &dyn Store, name: &str) -> Result<Bytes, Error> {
    store.get(&key(name), GetOptions::default()).await?.bytes().await
}

/// The error of what must fail, and must not take for ever.
async fn error_of<T>(call: impl Future<Output = Result<T, Error>>) -> Error {
    match tokio::time::timeout(Duration::from_secs(30), call).await {
        Ok(outcome) => outcome.err().expect("it cannot succeed"),
        Err(_) => panic!("no outcome long after the deadline"),
    }
}

fn strike(server: &Server, operation: &str, action: FaultAction) {
    server.inject(Fault::once(Some(operation), action));
}

//! The conformance suite against everything that it can be run against here.
//!
//! Owns: the runs. The memory store and the dev server always; any other endpoint on demand (`scripts/conformance`), as
//! `PAIL_CONFORMANCE_ENDPOINT`, with `PAIL_CONFORMANCE_ACCESS_KEY` and `PAIL_CONFORMANCE_SECRET_KEY`, `PAIL_CONFORMANCE_BUCKET`
//! (created if absent), `PAIL_CONFORMANCE_STORE` (`s3`, or `azure` for an emulator of it) and `PAIL_CONFORMANCE_SERVER`, by which its known
//! deviations are found.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use bytes::Bytes;
use pail_devserver::{Quirks, Server, ServerConfig, Settings};
use pail_store::{
    BucketUri, CallerVariables, Capabilities, Condition, GetOptions, MemoryStore, PartCopy, PutOptions,
    RawKey, S3Store, Store, StoreKind, StoreOptions, conformance,
};
use std::sync::Arc;

async fn open(endpoint: &str, bucket: &str, access_key: &str, secret_key: &str) -> Arc<S3Store> {
    let keys = [("AWS_ACCESS_KEY_ID", access_key), ("AWS_SECRET_ACCESS_KEY", secret_key)];
    let environment = keys.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let options = StoreOptions {
        endpoint_url: Some(endpoint.to_owned()),
        environment: Some(CallerVariables(environment)),
        ..StoreOptions::s3(bucket)
    };
    S3Store::open(options).await.unwrap()
}

/// A container of Azure's emulator, with the key that every emulator has.
async fn open_azure(endpoint: &str, bucket: &str) -> Arc<dyn Store> {
    let bucket = BucketUri {
        kind: StoreKind::Azure,
        scope: Some("devstoreaccount1".to_owned()),
        bucket: bucket.to_owned(),
        prefix: String::new(),
    };
    let environment = [("AZURE_STORAGE_USE_EMULATOR".to_owned(), "true".to_owned())].into();
    let options = StoreOptions {
        endpoint_url: Some(endpoint.to_owned()),
        environment: Some(CallerVariables(environment)),
        ..StoreOptions::new(bucket)
    };
    pail_store::open(options).await.unwrap()
}

async fn assert_conforms(store: &dyn Store, deviations: &[&str]) {
    let failed = conformance::run(store, deviations).await;
    assert!(failed.is_empty(), "{store:?}:\n{}", failed.join("\n"));
}

async fn devserver(quirks: Quirks) -> (Server, Arc<S3Store>) {
    let settings = Settings { quirks, ..Settings::default() };
    let server = Server::start(ServerConfig { settings, ..ServerConfig::default() }).await.unwrap();
    let store = open(&server.endpoint_url(), "conformance", "test", "testtest").await;
    store.create_bucket().await.unwrap();
    (server, store)
}

#[tokio::test]
async fn memory_conforms() {
    assert_conforms(&MemoryStore::new("conformance"), &[]).await;
}

#[tokio::test]
async fn memory_conforms_with_generations_and_a_rename_of_its_own() {
    let capabilities = Capabilities { atomic_rename: true, ..Capabilities::full() };
    let store = MemoryStore::with_capabilities("conformance", capabilities).with_generations();
    assert_conforms(&store, &[]).await;
}

#[tokio::test]
async fn devserver_conforms() {
    let (server, store) = devserver(Quirks::default()).await;
    let capabilities = store.capabilities().await.unwrap();
    assert!(
        capabilities.conditional_put
            && capabilities.conditional_complete
            && capabilities.part_copy == PartCopy::Ranges
    );
    assert_conforms(&*store, &[]).await;
    server.shutdown().await;
}

#[tokio::test]
async fn a_server_that_ignores_conditions_is_found_out_and_conforms() {
    let (server, store) = devserver(Quirks { ignore_write_conditions: true, ..Quirks::default() }).await;
    let capabilities = store.capabilities().await.unwrap();
    assert!(!capabilities.conditional_put && !capabilities.conditional_complete);
    assert_conforms(&*store, &[]).await;
    server.shutdown().await;
}

#[tokio::test]
async fn a_server_with_the_quirks_of_ceph_conforms() {
    let quirks = Quirks {
        ignore_complete_conditions: true,
        ignore_delete_conditions: true,
        unquoted_if_match: true,
        no_complete_etag: true,
        no_part_copy: true,
        ..Quirks::default()
    };
    let (server, store) = devserver(quirks).await;
    let capabilities = store.capabilities().await.unwrap();
    assert!(
        capabilities.conditional_put
            && !capabilities.conditional_complete
            && capabilities.part_copy == PartCopy::None
    );
    assert_conforms(&*store, &[]).await;
    server.shutdown().await;
}

/// The dev server as one provider, and a store of that provider's dialect.
async fn dialect(uri: &str, quirks: Quirks, variables: &[(&str, &str)]) -> (Server, Arc<S3Store>) {
    let settings = Settings { quirks, ..Settings::default() };
    let server = Server::start(ServerConfig { settings, ..ServerConfig::default() }).await.unwrap();
    let iam = ("IBM_AUTH_ENDPOINT", &*server.endpoint_url());
    let variables = variables.iter().copied().chain([iam]);
    let environment = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let options = StoreOptions {
        endpoint_url: Some(server.endpoint_url()),
        environment: Some(CallerVariables(environment)),
        ..StoreOptions::new(uri.parse().unwrap())
    };
    let store = S3Store::open(options).await.unwrap();
    store.create_bucket().await.unwrap();
    (server, store)
}

async fn as_r2() -> (Server, Arc<S3Store>) {
    let keys = [("R2_ACCESS_KEY_ID", "test"), ("R2_SECRET_ACCESS_KEY", "testtest")];
    dialect("r2://conformance", Quirks { r2: true, ..Quirks::default() }, &keys).await
}

const IBM_HMAC: [(&str, &str); 2] =
    [("IBM_COS_ACCESS_KEY_ID", "test"), ("IBM_COS_SECRET_ACCESS_KEY", "testtest")];
const IBM_TOKEN: [(&str, &str); 2] =
    [("IBM_API_KEY_ID", "testtest"), ("IBM_SERVICE_INSTANCE_ID", "crn:v1:instance")];

async fn as_ibm(variables: &[(&str, &str)]) -> (Server, Arc<S3Store>) {
    dialect("cos://eu-de/conformance", Quirks { ibm: true, ..Quirks::default() }, variables).await
}

#[tokio::test]
async fn r2_conforms() {
    let (server, store) = as_r2().await;
    let capabilities = store.capabilities().await.unwrap();
    assert!(capabilities.equal_parts && capabilities.conditional_put, "known, not asked");
    assert_conforms(&*store, &[]).await;
    server.shutdown().await;
}

#[tokio::test]
async fn ibm_conforms_by_keys_and_by_token() {
    for variables in [IBM_HMAC, IBM_TOKEN] {
        let (server, store) = as_ibm(&variables).await;
        assert!(store.capabilities().await.unwrap().conditional_put, "known, not asked");
        assert_conforms(&*store, &[]).await;
        server.shutdown().await;
    }
}

#[tokio::test]
async fn a_small_file_takes_one_request_to_read_and_two_at_most_to_write() {
    for (server, store) in [as_r2().await, as_ibm(&IBM_HMAC).await, as_ibm(&IBM_TOKEN).await] {
        let key = RawKey::new("small").unwrap();
        let put = |condition| {
            let options = PutOptions { condition, ..PutOptions::default() };
            store.put(&key, Bytes::from(vec![7; 1000]).into(), options)
        };
        server.reset_counters();
        let version = put(Condition::IfAbsent).await.unwrap();
        let version = put(Condition::IfVersion(version)).await.unwrap();
        assert!(server.counters().total() <= 2 * 2, "{store:?} {:?}", server.counters());
        server.reset_counters();
        let options = GetOptions { if_version: Some(version), ..GetOptions::default() };
        assert_eq!(store.get(&key, options).await.unwrap().bytes().await.unwrap().len(), 1000);
        assert_eq!(server.counters().total(), 1, "{store:?} {:?}", server.counters());
        server.shutdown().await;
    }
}

#[tokio::test]
#[ignore = "needs PAIL_CONFORMANCE_ENDPOINT; scripts/conformance runs it"]
async fn the_endpoint_of_the_environment_conforms() {
    let variable = |name: &str| std::env::var(format!("PAIL_CONFORMANCE_{name}"));
    let endpoint = variable("ENDPOINT").expect("PAIL_CONFORMANCE_ENDPOINT is the URL of the server");
    let or = |name: &str, default: &str| variable(name).unwrap_or_else(|_| default.to_owned());
    if or("STORE", "s3") == "azure" {
        let store = open_azure(&endpoint, &or("BUCKET", "pail-conformance")).await;
        store.create_bucket().await.unwrap();
        assert_conforms(&*store, &conformance::known_deviations(&or("SERVER", ""))).await;
        return;
    }
    let (access_key, secret_key) = (or("ACCESS_KEY", "test"), or("SECRET_KEY", "testtest"));
    let store = open(&endpoint, &or("BUCKET", "pail-conformance"), &access_key, &secret_key).await;
    store.create_bucket().await.unwrap();
    println!("{:?}", store.enforcement().await.unwrap());
    assert_conforms(&*store, &conformance::known_deviations(&or("SERVER", ""))).await;
}

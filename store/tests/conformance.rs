//! The conformance suite against everything that it can be run against here.
//!
//! Owns: the runs. The memory store and the development server, in each of its modes, always; any other endpoint on demand
//! (`scripts/conformance`), as `PAIL_CONFORMANCE_URI`, whose bucket is created if it is absent, with the variables of this process for the
//! endpoint and the credentials, and `PAIL_CONFORMANCE_SERVER`, by which its known deviations are found.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use bytes::Bytes;
use pail_devserver::{Quirks, Server, ServerConfig, Settings};
use pail_store::{
    CallerVariables, Capabilities, Condition, ConditionedChange, GetOptions, MemoryStore, PartCopy,
    PutOptions, RawKey, Store, StoreOptions, conformance,
};
use std::sync::Arc;

const AS_S3: &str = "s3://conformance";
const AS_GCS: &str = "gs://conformance";
const AS_R2: &str = "r2://conformance";
const AS_IBM: &str = "cos://eu-de/conformance";

type Variables = &'static [(&'static str, &'static str)];

const KEYS: Variables = &[("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "testtest")];
const KEYS_OF_R2: Variables = &[("R2_ACCESS_KEY_ID", "test"), ("R2_SECRET_ACCESS_KEY", "testtest")];
const KEYS_OF_IBM: Variables =
    &[("IBM_COS_ACCESS_KEY_ID", "test"), ("IBM_COS_SECRET_ACCESS_KEY", "testtest")];
const TOKEN_OF_IBM: Variables =
    &[("IBM_API_KEY_ID", "testtest"), ("IBM_SERVICE_INSTANCE_ID", "crn:v1:instance")];
const PROJECT_OF_GCS: Variables = &[("GOOGLE_CLOUD_PROJECT", "conformance")];

async fn assert_conforms(store: &dyn Store, deviations: &[&str]) {
    let failed = conformance::run(store, deviations).await;
    assert!(failed.is_empty(), "{store:?}:\n{}", failed.join("\n"));
}

/// A development server, and the store of a new bucket there.
async fn devserver(uri: &str, variables: Variables, quirks: Quirks) -> (Server, Arc<dyn Store>) {
    let settings = Settings { quirks, ..Settings::default() };
    let server = Server::start(ServerConfig { settings, ..ServerConfig::default() }).await.unwrap();
    let endpoint = server.endpoint_url();
    let places = [
        "AWS_ENDPOINT_URL",
        "R2_ENDPOINT_URL",
        "IBM_COS_ENDPOINT",
        "IBM_AUTH_ENDPOINT",
        "STORAGE_EMULATOR_HOST",
    ];
    let variables = places.iter().map(|name| (*name, &*endpoint)).chain(variables.iter().copied());
    let environment = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let options = StoreOptions {
        environment: Some(CallerVariables(environment)),
        ..StoreOptions::new(uri.parse().unwrap())
    };
    let store = pail_store::open(options).await.unwrap();
    store.create_bucket().await.unwrap();
    (server, store)
}

/// Runs the suite against a development server; what it was found to be able to do.
async fn assert_mode_conforms(mode: &str, uri: &str, variables: Variables, quirks: Quirks) -> Capabilities {
    let (server, store) = devserver(uri, variables, quirks).await;
    let capabilities = store.capabilities().await.unwrap();
    assert_conforms(&*store, &conformance::known_deviations(mode)).await;
    server.shutdown().await;
    capabilities
}

async fn assert_quirk_conforms(name: &str) -> Capabilities {
    assert_mode_conforms(name, AS_S3, KEYS, Quirks::named([name]).unwrap()).await
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
    let capabilities = assert_mode_conforms("devserver", AS_S3, KEYS, Quirks::default()).await;
    assert!(
        capabilities.conditional_put
            && capabilities.conditional_complete
            && capabilities.part_copy == PartCopy::Ranges
    );
}

#[tokio::test]
async fn gcs_conforms() {
    let capabilities = assert_mode_conforms("gcs", AS_GCS, PROJECT_OF_GCS, Quirks::default()).await;
    assert!(capabilities.atomic_rename && capabilities.part_copy == PartCopy::Whole);
}

#[tokio::test]
async fn an_emulator_of_gcs_that_ignores_most_conditions_is_found_out_and_conforms() {
    let quirks = Quirks::named(["insert_conditions_alone"]).unwrap();
    let capabilities = assert_mode_conforms("gcs", AS_GCS, PROJECT_OF_GCS, quirks).await;
    assert!(
        capabilities.conditional_put && !capabilities.conditional_complete && !capabilities.atomic_rename
    );
    let ignored = [ConditionedChange::LargeWrites, ConditionedChange::Deletions];
    assert_eq!(capabilities.ignored_conditions, ignored);
}

#[tokio::test]
async fn r2_conforms() {
    let capabilities = assert_mode_conforms("r2", AS_R2, KEYS_OF_R2, Quirks::named(["r2"]).unwrap()).await;
    assert!(capabilities.equal_parts && capabilities.conditional_put, "known, not asked");
}

#[tokio::test]
async fn ibm_conforms_by_keys_and_by_token() {
    for variables in [KEYS_OF_IBM, TOKEN_OF_IBM] {
        let quirks = Quirks::named(["ibm"]).unwrap();
        let capabilities = assert_mode_conforms("ibm", AS_IBM, variables, quirks).await;
        assert!(capabilities.conditional_put, "known, not asked");
    }
}

#[tokio::test]
async fn a_server_that_ignores_conditions_is_found_out_and_conforms() {
    let capabilities = assert_quirk_conforms("ignore_write_conditions").await;
    assert!(!capabilities.conditional_put && !capabilities.conditional_complete);
}

#[tokio::test]
async fn a_server_with_the_quirks_of_ceph_conforms() {
    let quirks = Quirks {
        ignore_complete_conditions: true,
        ignore_delete_conditions: true,
        unquoted_if_match: true,
        no_complete_etag: true,
        no_part_copy: true,
        no_checksums: true,
        ..Quirks::default()
    };
    let capabilities = assert_mode_conforms("ceph", AS_S3, KEYS, quirks).await;
    assert!(
        capabilities.conditional_put
            && !capabilities.conditional_complete
            && capabilities.part_copy == PartCopy::None
    );
}

#[tokio::test]
async fn a_server_whose_listings_have_no_etags_conforms() {
    assert_quirk_conforms("no_list_etags").await;
}

#[tokio::test]
async fn a_server_that_folds_slashes_in_prefixes_conforms() {
    assert_quirk_conforms("folds_slashes").await;
}

#[tokio::test]
async fn a_server_with_etags_beyond_ascii_conforms() {
    assert_quirk_conforms("etag_not_ascii").await;
}

#[tokio::test]
async fn a_server_that_refuses_checksums_conforms() {
    assert_quirk_conforms("refuses_checksums").await;
}

#[tokio::test]
async fn a_small_file_takes_one_request_to_read_and_two_at_most_to_write() {
    let named = |name| Quirks::named([name]).unwrap();
    for (uri, variables, quirks) in [
        (AS_S3, KEYS, Quirks::default()),
        (AS_GCS, PROJECT_OF_GCS, Quirks::default()),
        (AS_R2, KEYS_OF_R2, named("r2")),
        (AS_IBM, KEYS_OF_IBM, named("ibm")),
        (AS_IBM, TOKEN_OF_IBM, named("ibm")),
    ] {
        let (server, store) = devserver(uri, variables, quirks).await;
        // A mount asks what it can do once, before the first write.
        store.capabilities().await.unwrap();
        let key = RawKey::new("small").unwrap();
        let put = |condition| {
            let options = PutOptions { condition, ..PutOptions::default() };
            store.put(&key, Bytes::from(vec![7; 1000]).into(), options)
        };
        server.reset_counters();
        let version = put(Condition::IfAbsent).await.unwrap();
        assert!(server.counters().total() <= 2, "{store:?} {:?}", server.counters());
        server.reset_counters();
        let version = put(Condition::IfVersion(version)).await.unwrap();
        assert!(server.counters().total() <= 2, "{store:?} {:?}", server.counters());
        server.reset_counters();
        let options = GetOptions { if_version: Some(version), ..GetOptions::default() };
        assert_eq!(store.get(&key, options).await.unwrap().bytes().await.unwrap().len(), 1000);
        assert_eq!(server.counters().total(), 1, "{store:?} {:?}", server.counters());
        server.shutdown().await;
    }
}

#[tokio::test]
#[ignore = "needs PAIL_CONFORMANCE_URI; scripts/conformance runs it"]
async fn the_endpoint_of_the_environment_conforms() {
    let uri = std::env::var("PAIL_CONFORMANCE_URI").expect("PAIL_CONFORMANCE_URI is a bucket of the server");
    let server = std::env::var("PAIL_CONFORMANCE_SERVER").unwrap_or_default();
    let store = pail_store::open(StoreOptions::new(uri.parse().unwrap())).await.unwrap();
    store.create_bucket().await.unwrap();
    println!("{:?}", store.capabilities().await.unwrap());
    assert_conforms(&*store, &conformance::known_deviations(&server)).await;
}

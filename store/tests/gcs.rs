//! Google Cloud Storage, against servers that speak its JSON API.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use bytes::Bytes;
use pail_devserver::{Fault, FaultAction, GcsSettings, Server, ServerConfig, Settings};
use pail_store::{
    Attributes, BucketUri, CallerVariables, Condition, ErrorKind, GcsStore, GetOptions, ListRequest, Payload,
    PayloadSource, PutOptions, RawKey, Store, StoreKind, StoreOptions, Version, conformance,
};
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::Arc;

const KEY: &str = include_str!("keys/service_account.pem");

fn options(endpoint: &str, bucket: &str, variables: &[(&str, &str)]) -> StoreOptions {
    let environment = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let bucket =
        BucketUri { kind: StoreKind::Gcs, scope: None, bucket: bucket.to_owned(), prefix: String::new() };
    StoreOptions {
        endpoint_url: Some(endpoint.to_owned()),
        environment: Some(CallerVariables(environment.collect())),
        ..StoreOptions::new(bucket)
    }
}

async fn open(endpoint: &str, bucket: &str) -> Arc<GcsStore> {
    GcsStore::open(options(endpoint, bucket, &[])).await.unwrap()
}

async fn assert_conforms(store: &dyn Store, deviations: &[&str]) {
    let failed = conformance::run(store, deviations).await;
    assert!(failed.is_empty(), "{store:?}:\n{}", failed.join("\n"));
}

async fn server(gcs: GcsSettings) -> Server {
    let settings = Settings { gcs, ..Settings::default() };
    let server = Server::start(ServerConfig { settings, ..ServerConfig::default() }).await.unwrap();
    server.create_bucket("bucket").await.unwrap();
    server
}

/// A server that takes the tokens alone that it gave out.
async fn guarded() -> Server {
    server(GcsSettings { tokens: Some(BTreeSet::new()), ..GcsSettings::default() }).await
}

fn key(key: &str) -> RawKey {
    RawKey::new(key).unwrap()
}

async fn put(store: &dyn Store, name: &str, bytes: impl Into<Bytes>) -> Version {
    store.put(&key(name), Payload::Bytes(bytes.into()), PutOptions::default()).await.unwrap()
}

async fn read(store: &dyn Store, name: &str) -> Bytes {
    store.get(&key(name), GetOptions::default()).await.unwrap().bytes().await.unwrap()
}

fn pattern(len: usize) -> Bytes {
    (0..len).map(|index| (index % 251) as u8).collect()
}

fn on(condition: Condition) -> PutOptions {
    PutOptions { condition, ..PutOptions::default() }
}

/// The JSON of a user who logged in, whose tokens `server` gives out.
fn user(server: &Server) -> String {
    let token_uri = format!("{}/token", server.endpoint_url());
    json!({"type": "authorized_user", "client_id": "id", "client_secret": "hunter2",
        "refresh_token": "hunter3", "token_uri": token_uri})
    .to_string()
}

async fn open_as(server: &Server, variables: &[(&str, &str)]) -> Arc<GcsStore> {
    GcsStore::open(options(&server.endpoint_url(), "bucket", variables)).await.unwrap()
}

#[tokio::test]
async fn the_development_server_conforms() {
    let server = server(GcsSettings::default()).await;
    let store = open(&server.endpoint_url(), "conformance").await;
    store.create_bucket().await.unwrap();
    assert!(store.capabilities().await.unwrap().atomic_rename);
    assert_conforms(&*store, &conformance::known_deviations("gcs")).await;
    server.shutdown().await;
}

#[tokio::test]
async fn a_small_file_is_one_request_each_way() {
    let server = server(GcsSettings::default()).await;
    let store = open_as(&server, &[]).await;
    put(&*store, "a", "bytes").await;
    assert_eq!(server.counters().total(), 1);
    assert_eq!(read(&*store, "a").await, "bytes");
    assert_eq!(server.counters().total(), 2);
    server.shutdown().await;
}

#[tokio::test]
async fn an_emulator_is_found_by_its_variable_with_a_scheme_or_without() {
    let server = server(GcsSettings::default()).await;
    let url = server.endpoint_url();
    for host in [url.as_str(), url.strip_prefix("http://").unwrap()] {
        let variables = [("STORAGE_EMULATOR_HOST", host), ("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere")];
        let options = StoreOptions { endpoint_url: None, ..options("", "bucket", &variables) };
        let (lent, _) = pail_store::lend(&options).await.unwrap();
        assert_eq!(lent.0.get("STORAGE_EMULATOR_HOST").map(String::as_str), Some(host));
        let store = GcsStore::open(options).await.unwrap();
        assert_eq!((store.uri(), store.identity()), ("gs://bucket", format!("{url} gs://bucket").as_str()));
        store.look_up_bucket().await.unwrap();
    }
    server.shutdown().await;
}

#[tokio::test]
async fn copies_and_moves_keep_all_that_an_object_carries() {
    let server = server(GcsSettings { rewrite_bytes_per_call_max: 1 << 20, ..GcsSettings::default() }).await;
    let store = open_as(&server, &[]).await;
    let attributes = Attributes {
        metadata: [("note".to_owned(), "ä b".to_owned())].into(),
        content_type: Some("text/x-mine".to_owned()),
        content_encoding: Some("x-mine".to_owned()),
        content_language: Some("de".to_owned()),
        content_disposition: Some("attachment".to_owned()),
        cache_control: Some("no-cache".to_owned()),
        storage_class: Some("NEARLINE".to_owned()),
        ..Attributes::default()
    };
    let bytes = pattern(3 << 20);
    let options = PutOptions { attributes: attributes.clone(), ..PutOptions::default() };
    let version = store.put(&key("a.json"), bytes.clone().into(), options).await.unwrap();
    assert_eq!(store.attributes(&key("a.json"), &version).await.unwrap(), attributes);
    // Asked once, before anything is copied.
    store.capabilities().await.unwrap();
    server.reset_counters();
    let copied = store.copy(&key("a.json"), &version, &key("b"), Condition::IfAbsent).await.unwrap();
    assert!(server.counters().count("objects.rewrite") >= 3, "several calls");
    assert_eq!(store.attributes(&key("b"), &copied).await.unwrap(), attributes);
    let moved = store.rename(&key("b"), &copied, &key("c"), Condition::IfAbsent).await.unwrap();
    assert_eq!(store.attributes(&key("c"), &moved).await.unwrap(), attributes);
    assert_eq!(read(&*store, "c").await, bytes);
    put(&*store, "by-name.json", "{}").await;
    let by_name = store.head(&key("by-name.json")).await.unwrap().attributes.unwrap();
    assert_eq!(by_name.content_type.as_deref(), Some("application/json"));
    server.shutdown().await;
}

#[tokio::test]
async fn an_append_sends_what_is_new_alone() {
    let server = server(GcsSettings::default()).await;
    let store = open_as(&server, &[]).await;
    let base = put(&*store, "log", pattern(8 << 20)).await;
    store.capabilities().await.unwrap();
    server.reset_counters();
    let options = on(Condition::IfVersion(base.clone()));
    let upload = store.start_upload(&key("log"), &options).await.unwrap();
    let old = store.copy_part(&upload, 1, &key("log"), &base, 0..8 << 20).await.unwrap();
    let new = store.put_part(&upload, 2, Bytes::from_static(b"more").into()).await.unwrap();
    store.complete_upload(&upload, &[old, new], &options).await.unwrap();
    let counters = server.counters();
    assert!(counters.bytes_in + counters.bytes_out < 64 << 10, "{counters:?}");
    assert_eq!(read(&*store, "log").await, [&pattern(8 << 20)[..], b"more"].concat());
    server.shutdown().await;
}

#[tokio::test]
async fn parts_go_with_the_composition_that_takes_them() {
    let server = server(GcsSettings::default()).await;
    let store = open_as(&server, &[]).await;
    let upload = store.start_upload(&key("a"), &PutOptions::default()).await.unwrap();
    let mut parts = Vec::new();
    for number in 1..=25 {
        parts.push(store.put_part(&upload, number, pattern(1000).into()).await.unwrap());
    }
    server.reset_counters();
    store.complete_upload(&upload, &parts, &PutOptions::default()).await.unwrap();
    let counters = server.counters();
    assert_eq!((counters.count("objects.compose"), counters.count("objects.delete")), (1, 0));
    assert!(store.open_uploads(&key("a")).await.unwrap().is_empty());
    assert_eq!(read(&*store, "a").await.len(), 25_000);
    server.shutdown().await;
}

/// A file that is read while it is sent.
struct File(Bytes);

#[async_trait::async_trait]
impl PayloadSource for File {
    async fn read(&self, range: std::ops::Range<u64>) -> std::io::Result<Bytes> {
        Ok(self.0.slice(range.start as usize..range.end as usize))
    }
}

#[tokio::test]
async fn a_file_of_any_length_is_sent_in_one_request() {
    let server = server(GcsSettings::default()).await;
    let store = open_as(&server, &[]).await;
    let bytes = pattern(20 << 20);
    for (cut, requests) in [(None, 1), (Some(FaultAction::CutRequest { after_bytes: 5 << 20 }), 2)] {
        server.reset_counters();
        if let Some(action) = cut {
            server.inject(Fault::once(Some("objects.insert"), action));
        }
        let payload = Payload::Source { len: bytes.len() as u64, source: Arc::new(File(bytes.clone())) };
        store.put(&key("a"), payload, PutOptions::default()).await.unwrap();
        assert_eq!(server.counters().count("objects.insert"), requests);
        assert_eq!(read(&*store, "a").await, bytes);
    }
    server.shutdown().await;
}

#[tokio::test]
async fn parts_are_nobody_s_objects_and_hold_no_bucket() {
    let server = server(GcsSettings::default()).await;
    let store = open_as(&server, &[]).await;
    let upload = store.start_upload(&key("a"), &PutOptions::default()).await.unwrap();
    store.put_part(&upload, 1, Bytes::from_static(b"x").into()).await.unwrap();
    let listed = store.list(ListRequest::default()).await.unwrap();
    assert!(listed.objects.is_empty());
    let folded = store.list(ListRequest { delimiter: true, ..ListRequest::default() }).await.unwrap();
    assert!(folded.prefixes.is_empty());
    let refused = store.put(&key("d/.pail-uploads/x"), Bytes::new().into(), PutOptions::default()).await;
    assert_eq!(refused.unwrap_err().kind, ErrorKind::Unsupported);
    put(&*store, "b", "").await;
    assert_eq!(store.delete_bucket().await.unwrap_err().kind, ErrorKind::NotEmpty);
    assert_eq!(store.open_uploads(&key("a")).await.unwrap().len(), 1, "what is in use is kept");
    store.delete(&key("b"), Condition::None).await.unwrap();
    store.delete_bucket().await.unwrap();
    assert_eq!(store.look_up_bucket().await.unwrap_err().kind, ErrorKind::NoSuchBucket);
    store.delete_bucket().await.unwrap();
    server.shutdown().await;
}

#[tokio::test]
async fn pages_full_of_hidden_parts_hide_no_object() {
    let server = server(GcsSettings::default()).await;
    let store = open_as(&server, &[]).await;
    for number in 0..1_001 {
        let hidden = format!("d/.pail-uploads/{}-{:016x}-/{number:05}", "0a".repeat(16), 7);
        server.put_object("bucket", &hidden, Bytes::new()).await.unwrap();
    }
    server.put_object("bucket", "d/file", Bytes::from_static(b"here")).await.unwrap();
    for delimiter in [false, true] {
        let request = ListRequest { prefix: "d/".to_owned(), delimiter, ..ListRequest::default() };
        let page = store.list(request).await.unwrap();
        assert_eq!(page.objects.len(), 1, "{delimiter}: the first page");
    }
    store.delete(&key("d/file"), Condition::None).await.unwrap();
    store.delete_bucket().await.unwrap();
    server.shutdown().await;
}

#[tokio::test]
async fn a_pinned_version_that_is_gone_is_no_missing_object() {
    let server = server(GcsSettings::default()).await;
    let store = open_as(&server, &[]).await;
    let version = put(&*store, "a", "old").await;
    store.delete(&key("a"), Condition::None).await.unwrap();
    let pinned = || GetOptions { if_version: Some(version.clone()), range: None };
    assert_eq!(store.get(&key("a"), pinned()).await.err().unwrap().kind, ErrorKind::Precondition);
    let copied = store.copy(&key("a"), &version, &key("b"), Condition::None).await;
    assert_eq!(copied.unwrap_err().kind, ErrorKind::Precondition);
    server.shutdown().await;
}

#[tokio::test]
async fn faults_on_the_way_are_mended() {
    let server = server(GcsSettings::default()).await;
    let store = open_as(&server, &[]).await;
    let bytes = pattern(3 << 20);
    for action in [
        FaultAction::SlowDown,
        FaultAction::InternalError,
        FaultAction::Disconnect,
        FaultAction::CutRequest { after_bytes: 100_000 },
    ] {
        server.inject(Fault::once(Some("objects.insert"), action));
        put(&*store, "a", bytes.clone()).await;
        assert!(server.waiting_faults().is_empty());
    }
    for action in [
        FaultAction::InternalError,
        FaultAction::CutBody { after_bytes: 1_000_000 },
        FaultAction::TruncateBody { after_bytes: 2_000_000 },
    ] {
        server.inject(Fault::once(Some("objects.get"), action));
        assert_eq!(read(&*store, "a").await, bytes);
        assert!(server.waiting_faults().is_empty());
    }
    server.shutdown().await;
}

#[tokio::test]
async fn writes_whose_answer_was_lost_are_recognised() {
    let server = server(GcsSettings::default()).await;
    let store = pail_store::open(options(&server.endpoint_url(), "bucket", &[])).await.unwrap();
    store.capabilities().await.unwrap();
    let lost = |operation| server.inject(Fault::once(Some(operation), FaultAction::ApplyThenDisconnect));
    lost("objects.insert");
    let absent = on(Condition::IfAbsent);
    let version = store.put(&key("a"), Bytes::from_static(b"a").into(), absent).await.unwrap();
    assert_eq!(store.head(&key("a")).await.unwrap().version, version);
    let options = on(Condition::IfVersion(version.clone()));
    let upload = store.start_upload(&key("a"), &options).await.unwrap();
    let old = store.copy_part(&upload, 1, &key("a"), &version, 0..1).await.unwrap();
    let new = store.put_part(&upload, 2, Bytes::from_static(b"b").into()).await.unwrap();
    lost("objects.compose");
    let version = store.complete_upload(&upload, &[old, new], &options).await.unwrap();
    assert_eq!(read(&*store, "a").await, "ab");
    let absent = on(Condition::IfAbsent);
    let upload = store.start_upload(&key("parts"), &absent).await.unwrap();
    let part = store.put_part(&upload, 1, Bytes::from_static(b"part").into()).await.unwrap();
    lost("objects.compose");
    store.complete_upload(&upload, &[part], &absent).await.unwrap();
    assert_eq!(read(&*store, "parts").await, "part");
    assert!(store.open_uploads(&key("parts")).await.unwrap().is_empty(), "no part is left hidden");
    lost("objects.rewrite");
    store.copy(&key("a"), &version, &key("b"), Condition::IfAbsent).await.unwrap();
    lost("objects.move");
    store.rename(&key("a"), &version, &key("c"), Condition::IfAbsent).await.unwrap();
    assert_eq!(read(&*store, "c").await, "ab");
    lost("objects.delete");
    store.delete(&key("c"), Condition::None).await.unwrap();
    assert!(server.waiting_faults().is_empty());
    server.shutdown().await;
}

#[tokio::test]
async fn one_token_serves_many_requests_until_it_is_refused() {
    let server = guarded().await;
    let json = user(&server);
    let store = open_as(&server, &[("GOOGLE_CREDENTIALS", &json)]).await;
    let puts = (0..50).map(|index| {
        let store = store.clone();
        async move { put(&*store, &format!("{index}"), "x").await }
    });
    futures::future::join_all(puts).await;
    assert_eq!(server.counters().count("oauth.token"), 1, "one lookup for all who wait");
    server.expire_gcs_tokens();
    let reads = (0..50).map(|index| {
        let store = store.clone();
        async move { read(&*store, &format!("{index}")).await }
    });
    futures::future::join_all(reads).await;
    assert_eq!(server.counters().count("oauth.token"), 2, "and one more for all who were refused");
    server.shutdown().await;
}

#[tokio::test]
async fn short_lived_tokens_are_not_asked_for_with_every_request() {
    let server =
        server(GcsSettings { tokens: Some(BTreeSet::new()), token_lifetime_s: 60, ..GcsSettings::default() })
            .await;
    let json = user(&server);
    let store = open_as(&server, &[("GOOGLE_CREDENTIALS", &json)]).await;
    for index in 0..20 {
        put(&*store, &format!("{index}"), "x").await;
    }
    assert_eq!(server.counters().count("oauth.token"), 1);
    server.shutdown().await;
}

#[tokio::test]
async fn a_token_that_is_replaced_while_a_long_read_goes_on_breaks_nothing() {
    let server = guarded().await;
    let json = user(&server);
    let store = open_as(&server, &[("GOOGLE_CREDENTIALS", &json)]).await;
    let bytes = pattern(8 << 20);
    put(&*store, "a", bytes.clone()).await;
    server.inject(Fault::once(Some("objects.get"), FaultAction::CutBody { after_bytes: 1_000_000 }));
    let got = store.get(&key("a"), GetOptions::default()).await.unwrap();
    server.expire_gcs_tokens();
    assert_eq!(got.bytes().await.unwrap(), bytes);
    assert_eq!(server.counters().count("oauth.token"), 2);
    server.shutdown().await;
}

#[tokio::test]
async fn refusals_name_the_credentials_and_show_none() {
    let server = guarded().await;
    let store = open_as(&server, &[]).await;
    let refused = store.head(&key("a")).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Denied);
    assert!(refused.to_string().contains("GOOGLE_APPLICATION_CREDENTIALS is not set"), "{refused}");
    let store = open_as(&server, &[("GOOGLE_OAUTH_ACCESS_TOKEN", "hunter4")]).await;
    let refused = store.head(&key("a")).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Denied);
    assert!(refused.to_string().contains("the access token of GOOGLE_OAUTH_ACCESS_TOKEN"), "{refused}");
    assert!(!format!("{refused:?} {store:?}").contains("hunter"), "{refused:?}");
    server.set_settings(Settings {
        gcs: GcsSettings { identities: Some(BTreeSet::new()), ..server.settings().gcs },
        ..server.settings()
    });
    let json = user(&server);
    let store = open_as(&server, &[("GOOGLE_CREDENTIALS", &json)]).await;
    let refused = store.head(&key("a")).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Credentials);
    let told = refused.to_string();
    assert!(
        told.contains("a user's login from GOOGLE_CREDENTIALS") && told.contains("invalid_grant"),
        "{told}"
    );
    assert!(!format!("{refused:?}").contains("hunter"), "{refused:?}");
    let half = r#"{"type":"authorized_user","client_id":"id","client_secret":"hunter2"}"#;
    let half =
        GcsStore::open(options(&server.endpoint_url(), "bucket", &[("GOOGLE_CREDENTIALS", half)])).await;
    let refused = half.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Credentials);
    assert!(refused.message.contains("GOOGLE_CREDENTIALS: it has no refresh_token"), "{refused}");
    server.shutdown().await;
}

#[tokio::test]
async fn every_kind_of_credentials_gets_a_token() {
    let server = guarded().await;
    let url = server.endpoint_url();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("subject"), r#"{"token":"subject"}"#).unwrap();
    let account = json!({"type": "service_account", "client_email": "a@p.iam.gserviceaccount.com",
        "private_key": KEY, "private_key_id": "k", "token_uri": format!("{url}/token"), "project_id": "p"});
    let acting =
        format!("{url}/v1/projects/-/serviceAccounts/b@p.iam.gserviceaccount.com:generateAccessToken");
    let federated = json!({"type": "external_account", "audience": "//iam.googleapis.com/x",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt", "token_url": format!("{url}/v1/token"),
        "service_account_impersonation_url": acting,
        "credential_source": {"file": folder.path().join("subject"),
            "format": {"type": "json", "subject_token_field_name": "token"}}});
    let impersonated = json!({"type": "impersonated_service_account", "source_credentials": account,
        "service_account_impersonation_url": acting});
    std::fs::write(folder.path().join("application_default_credentials.json"), user(&server)).unwrap();
    let host = url.strip_prefix("http://").unwrap();
    let gcloud = folder.path().to_str().unwrap();
    for (variable, value, operation) in [
        ("GOOGLE_CREDENTIALS", account.to_string().as_str(), "oauth.token"),
        ("GOOGLE_CREDENTIALS", &federated.to_string(), "sts.token"),
        ("GOOGLE_CREDENTIALS", &impersonated.to_string(), "iamcredentials.generateAccessToken"),
        ("CLOUDSDK_CONFIG", gcloud, "oauth.token"),
        ("GCE_METADATA_HOST", host, "metadata.token"),
    ] {
        server.reset_counters();
        let options = options(&url, "bucket", &[(variable, value)]);
        let store = GcsStore::open(options.clone()).await.unwrap();
        put(&*store, "a", "x").await;
        assert_eq!(server.counters().count(operation), 1, "{variable} {value}");
        let (lent, _) = pail_store::lend(&options).await.unwrap();
        let lent = StoreOptions { environment: Some(lent), ..options };
        assert_eq!(read(&*GcsStore::open(lent).await.unwrap(), "a").await, "x", "as another machine");
    }
    let project = open_as(&server, &[("GCE_METADATA_HOST", host)]).await;
    project.create_bucket().await.unwrap();
    server.shutdown().await;
}

#[tokio::test]
async fn who_pays_is_named_or_told_of() {
    let gcs = GcsSettings { requester_pays: ["bucket".to_owned()].into(), ..GcsSettings::default() };
    let server = server(gcs).await;
    let store = open_as(&server, &[("GOOGLE_CLOUD_PROJECT", "p")]).await;
    let refused = store.list(ListRequest::default()).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Denied);
    assert!(refused.message.contains("requester pays"), "{refused}");
    let paying = |variables| StoreOptions {
        requester_pays: true,
        ..options(&server.endpoint_url(), "bucket", variables)
    };
    let store = GcsStore::open(paying(&[("GOOGLE_CLOUD_PROJECT", "p")])).await.unwrap();
    put(&*store, "a", "x").await;
    assert_eq!(read(&*store, "a").await, "x");
    assert!(server.requests().iter().skip(1).all(|request| request.query.contains_key("userProject")));
    let unknown = GcsStore::open(paying(&[])).await.unwrap_err();
    assert_eq!(unknown.kind, ErrorKind::Configuration);
    server.shutdown().await;
}

#[tokio::test]
async fn buckets_are_created_looked_up_and_not_taken_from_others() {
    let server = server(GcsSettings::default()).await;
    let settings = Settings { foreign_buckets: vec!["theirs".to_owned()], ..server.settings() };
    server.set_settings(settings);
    let variables = [("GOOGLE_CLOUD_PROJECT", "p")];
    let store = |bucket: &str| GcsStore::open(options(&server.endpoint_url(), bucket, &variables));
    let mine = store("mine").await.unwrap();
    assert_eq!(mine.look_up_bucket().await.unwrap_err().kind, ErrorKind::NoSuchBucket);
    mine.create_bucket().await.unwrap();
    mine.look_up_bucket().await.unwrap();
    mine.create_bucket().await.unwrap();
    mine.delete_bucket().await.unwrap();
    let theirs = store("theirs").await.unwrap();
    assert_eq!(theirs.look_up_bucket().await.unwrap_err().kind, ErrorKind::Denied);
    let taken = theirs.create_bucket().await.unwrap_err().kind;
    assert!(matches!(taken, ErrorKind::BucketTaken | ErrorKind::Denied), "{taken:?}");
    server.shutdown().await;
}

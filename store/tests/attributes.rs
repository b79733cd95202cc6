//! What objects carry beside their bytes, against the development server.
//!
//! Owns: that it comes, stays and goes with every kind of write, and what new objects are given.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use bytes::Bytes;
use pail_devserver::{Quirks, Server, ServerConfig, Settings};
use pail_store::{
    Attributes, CallerVariables, Checksum, Condition, Encryption, ErrorKind, GetOptions, NewObjects,
    PutOptions, RawKey, Store, StoreOptions, Version,
};
use std::sync::Arc;

const BUCKET: &str = "bucket";
const KEY_ID: &str = "arn:aws:kms:us-east-1:111122223333:key/mine";

fn key(name: &str) -> RawKey {
    RawKey::new(name).unwrap()
}

async fn start(quirks: Quirks) -> Server {
    let settings = Settings { quirks, part_size_bytes_min: 1, ..Settings::default() };
    let server = Server::start(ServerConfig { settings, ..ServerConfig::default() }).await.unwrap();
    server.create_bucket(BUCKET).await.unwrap();
    server
}

async fn open(
    server: &Server,
    variables: &[(&str, &str)],
    change: impl FnOnce(StoreOptions) -> StoreOptions,
) -> Arc<dyn Store> {
    let keys = [("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "testtest")];
    let all = keys.iter().chain(variables).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let options = StoreOptions {
        endpoint_url: Some(server.endpoint_url()),
        environment: Some(CallerVariables(all.collect())),
        ..StoreOptions::s3(BUCKET)
    };
    pail_store::open(change(options)).await.unwrap()
}

async fn plain(server: &Server) -> Arc<dyn Store> {
    open(server, &[], |options| options).await
}

fn everything() -> Attributes {
    let text = |value: &str| Some(value.to_owned());
    Attributes {
        metadata: [("color".to_owned(), "blue".to_owned()), ("note".to_owned(), "a b=c;d".to_owned())].into(),
        content_type: text("text/x-mine"),
        content_encoding: text("gzip"),
        content_language: text("de"),
        content_disposition: text("attachment; filename=\"a.txt\""),
        cache_control: text("max-age=60"),
        storage_class: text("STANDARD_IA"),
        encryption: Some(Encryption {
            algorithm: "aws:kms".to_owned(),
            key_id: text(KEY_ID),
            bucket_key: true,
        }),
        tags: [("team".to_owned(), "a b/c+d".to_owned()), ("tier".to_owned(), String::new())].into(),
        tag_count: 2,
        uneditable: None,
    }
}

fn with(attributes: Attributes) -> PutOptions {
    PutOptions { attributes, ..PutOptions::default() }
}

async fn put(store: &dyn Store, name: &str, attributes: Attributes) -> Version {
    store.put(&key(name), Bytes::from_static(b"bytes").into(), with(attributes)).await.unwrap()
}

#[tokio::test]
async fn all_that_an_object_carries_survives_every_kind_of_write() {
    let server = start(Quirks::default()).await;
    let store = plain(&server).await;
    let version = put(&*store, "put", everything()).await;
    assert_eq!(store.attributes(&key("put"), &version).await.unwrap(), everything());
    let head = store.head(&key("put")).await.unwrap().attributes.unwrap();
    assert_eq!(*head, Attributes { tags: Default::default(), ..everything() }, "HEAD counts tags");

    let version = store.copy(&key("put"), &version, &key("copied"), Condition::None).await.unwrap();
    assert_eq!(store.attributes(&key("copied"), &version).await.unwrap(), everything());

    let upload = store.start_upload(&key("parts"), &with(everything())).await.unwrap();
    let mut parts = Vec::new();
    for number in 1..=2 {
        parts.push(store.put_part(&upload, number, Bytes::from_static(b"part").into()).await.unwrap());
    }
    let version = store.complete_upload(&upload, &parts, &with(everything())).await.unwrap();
    assert_eq!(store.attributes(&key("parts"), &version).await.unwrap(), everything());
    server.shutdown().await;
}

#[tokio::test]
async fn attributes_are_those_of_the_version_that_is_asked_for() {
    let server = start(Quirks::default()).await;
    let store = plain(&server).await;
    let old = put(&*store, "key", everything()).await;
    store.put(&key("key"), Bytes::from_static(b"new").into(), PutOptions::default()).await.unwrap();
    assert_eq!(store.attributes(&key("key"), &old).await.unwrap_err().kind, ErrorKind::Precondition);
    server.reset_counters();
    store.attributes(&key("key"), &Version::Unknown).await.unwrap();
    assert_eq!(server.requests().len(), 1, "an object without tags takes one request");
    server.shutdown().await;
}

#[tokio::test]
async fn new_objects_get_what_is_configured_and_edits_keep_what_was() {
    let server = start(Quirks::default()).await;
    let plain = plain(&server).await;
    let old = put(&*plain, "old.json", Attributes::default()).await;
    let new_objects = NewObjects {
        content_type_by_name: true,
        storage_class: Some("GLACIER_IR".to_owned()),
        encryption: Some(Encryption {
            algorithm: "aws:kms".to_owned(),
            key_id: Some(KEY_ID.to_owned()),
            bucket_key: false,
        }),
    };
    let store = open(&server, &[], |options| StoreOptions { new_objects, ..options }).await;
    put(&*store, "new.safetensors", Attributes::default()).await;
    let new = store.head(&key("new.safetensors")).await.unwrap().attributes.unwrap();
    assert_eq!(new.content_type.as_deref(), Some("application/octet-stream"));
    assert_eq!(new.storage_class.as_deref(), Some("GLACIER_IR"));
    assert_eq!(new.encryption.as_ref().unwrap().key_id.as_deref(), Some(KEY_ID));

    let kept = store.attributes(&key("old.json"), &old).await.unwrap();
    assert_eq!(kept.content_type.as_deref(), Some("application/json"));
    put(&*store, "old.json", kept).await;
    let edited = store.head(&key("old.json")).await.unwrap().attributes.unwrap();
    assert_eq!(edited.storage_class, None, "the standard class is kept too");
    assert_eq!(edited.encryption.as_ref().unwrap().algorithm, "AES256");
    server.shutdown().await;
}

#[tokio::test]
async fn types_by_name_can_be_switched_off() {
    let server = start(Quirks::default()).await;
    let new_objects = NewObjects { content_type_by_name: false, ..NewObjects::default() };
    let store = open(&server, &[], |options| StoreOptions { new_objects, ..options }).await;
    put(&*store, "a.json", Attributes::default()).await;
    let found = store.head(&key("a.json")).await.unwrap().attributes.unwrap();
    assert_eq!(found.content_type.as_deref(), Some("binary/octet-stream"));
    server.shutdown().await;
}

#[tokio::test]
async fn what_no_header_can_hold_is_refused_and_named() {
    let server = start(Quirks::default()).await;
    let store = plain(&server).await;
    let attributes = Attributes { cache_control: Some("no\nstore".to_owned()), ..Attributes::default() };
    let refused = store.put(&key("key"), Bytes::new().into(), with(attributes)).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Unsupported);
    assert!(refused.to_string().contains("cache control"), "{refused}");
    server.shutdown().await;
}

#[tokio::test]
async fn a_customer_s_key_goes_with_every_request_for_an_object() {
    let server = start(Quirks::default()).await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("key");
    std::fs::write(&file, b"0123456789abcdefghijklmnopqrstuv").unwrap();
    let variables = [("AWS_SSE_C_KEY_FILE", file.to_str().unwrap())];
    let store = open(&server, &variables, |options| options).await;
    let version = put(&*store, "key", Attributes::default()).await;
    assert_eq!(store.head(&key("key")).await.unwrap().version, version);
    let copied = store.copy(&key("key"), &version, &key("copy"), Condition::None).await.unwrap();
    let upload = store.start_upload(&key("parts"), &PutOptions::default()).await.unwrap();
    let part = store.put_part(&upload, 1, Bytes::from_static(b"one").into()).await.unwrap();
    let from = (&key("copy"), &copied);
    let second = store.copy_part(&upload, 2, from.0, from.1, 0..5).await.unwrap();
    store.complete_upload(&upload, &[part, second], &PutOptions::default()).await.unwrap();
    let read = store.get(&key("parts"), GetOptions::default()).await.unwrap();
    assert_eq!(read.bytes().await.unwrap(), "onebytes");

    let without = plain(&server).await;
    for name in ["key", "copy", "parts"] {
        assert!(
            without.get(&key(name), GetOptions::default()).await.is_err(),
            "{name} is not readable without the key"
        );
    }
    server.shutdown().await;
}

#[tokio::test]
async fn a_customer_s_key_that_cannot_be_used_is_refused_before_anything_is_sent() {
    let server = start(Quirks::default()).await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("key");
    std::fs::write(&file, "a secret that is too short").unwrap();
    for (endpoint, content, told) in [
        (server.endpoint_url(), "a secret that is too short", "32 bytes"),
        ("http://s3.example".to_owned(), "0123456789abcdefghijklmnopqrstuv", "no TLS"),
    ] {
        std::fs::write(&file, content).unwrap();
        let variables = [("AWS_SSE_C_KEY_FILE".to_owned(), file.to_str().unwrap().to_owned())];
        let options = StoreOptions {
            endpoint_url: Some(endpoint),
            environment: Some(CallerVariables(variables.into())),
            ..StoreOptions::s3(BUCKET)
        };
        let refused = pail_store::open(options).await.expect_err("it cannot be opened").to_string();
        assert!(refused.contains(told) && !refused.contains(content), "{refused}");
    }
    assert!(server.requests().is_empty());
    server.shutdown().await;
}

#[tokio::test]
async fn uploads_are_checked_by_crc64_where_the_endpoint_knows_it() {
    let server = start(Quirks::default()).await;
    let store = plain(&server).await;
    store.capabilities().await.unwrap();
    put(&*store, "put", Attributes::default()).await;
    let read = store.get(&key("put"), GetOptions::default()).await.unwrap();
    assert_eq!(read.meta.checksum, Some(Checksum::crc64_of(b"bytes")));
    assert_eq!(read.bytes().await.unwrap(), "bytes");

    let upload = store.start_upload(&key("parts"), &PutOptions::default()).await.unwrap();
    let mut parts = Vec::new();
    for (number, bytes) in [(1, "first "), (2, "second")] {
        parts.push(
            store.put_part(&upload, number, Bytes::from_static(bytes.as_bytes()).into()).await.unwrap(),
        );
    }
    assert_eq!(parts[0].checksum, Some(Checksum::crc64_of(b"first ")));
    // Parts that are not what was sent: the whole's checksum tells, and nothing takes effect.
    let mut wrong = parts.clone();
    wrong[0].checksum = Some(Checksum::crc64_of(b"other "));
    let refused = store.complete_upload(&upload, &wrong, &PutOptions::default()).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Corrupt, "{refused}");
    assert_eq!(store.head(&key("parts")).await.unwrap_err().kind, ErrorKind::NotFound);
    store.complete_upload(&upload, &parts, &PutOptions::default()).await.unwrap();
    let read = store.get(&key("parts"), GetOptions::default()).await.unwrap();
    assert_eq!(read.meta.checksum, Some(Checksum::crc64_of(b"first second")));
    assert_eq!(read.bytes().await.unwrap(), "first second");
    server.shutdown().await;
}

#[tokio::test]
async fn servers_without_checksums_take_writes_all_the_same() {
    for quirks in [
        Quirks { refuses_checksums: true, ..Quirks::default() },
        Quirks { no_checksums: true, ..Quirks::default() },
    ] {
        let server = start(quirks.clone()).await;
        let store = plain(&server).await;
        put(&*store, "first", Attributes::default()).await;
        server.reset_counters();
        put(&*store, "second", Attributes::default()).await;
        assert_eq!(server.requests().len(), 1, "{quirks:?}: what was refused once is not sent again");
        let read = store.get(&key("second"), GetOptions::default()).await.unwrap();
        if quirks.no_checksums {
            assert_eq!(read.meta.checksum, None);
        }
        assert_eq!(read.bytes().await.unwrap(), "bytes");
        server.shutdown().await;
    }
}

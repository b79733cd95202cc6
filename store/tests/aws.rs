//! What is Amazon's alone, against the development server.
//!
//! Owns: regions, requester pays, archived objects, directory buckets and their sessions, and what is said of buckets that cannot be used.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use bytes::Bytes;
use pail_devserver::{BucketSettings, Server, ServerConfig, Settings};
use pail_store::{
    Attributes, CallerVariables, Condition, ErrorKind, GetOptions, ListRequest, PutOptions, RawKey, Store,
    StoreOptions, Version,
};
use std::sync::Arc;
use std::time::{Duration, Instant};

const BUCKET: &str = "bucket";
const DIRECTORY: &str = "data--use1-az4--x-s3";

fn key(name: &str) -> RawKey {
    RawKey::new(name).unwrap()
}

async fn start(settings: Settings) -> Server {
    let settings = Settings { part_size_bytes_min: 1, ..settings };
    let server = Server::start(ServerConfig { settings, ..ServerConfig::default() }).await.unwrap();
    for bucket in [BUCKET, DIRECTORY] {
        server.create_bucket(bucket).await.unwrap();
    }
    server
}

fn options(server: &Server, bucket: &str) -> StoreOptions {
    let keys = [("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "testtest")];
    StoreOptions {
        endpoint_url: Some(server.endpoint_url()),
        environment: Some(CallerVariables(keys.map(|(n, v)| (n.to_owned(), v.to_owned())).into())),
        ..StoreOptions::s3(bucket)
    }
}

async fn open(server: &Server, bucket: &str) -> Arc<dyn Store> {
    pail_store::open(options(server, bucket)).await.unwrap()
}

async fn put(store: &dyn Store, name: &str) -> Version {
    store.put(&key(name), Bytes::from_static(b"bytes").into(), PutOptions::default()).await.unwrap()
}

fn requests(server: &Server, operation: &str) -> usize {
    server.requests().iter().filter(|request| request.operation == operation).count()
}

#[tokio::test]
async fn a_region_is_found_by_the_first_head_too() {
    let server = start(Settings::default()).await;
    put(&*open(&server, BUCKET).await, "key").await;
    let there = BucketSettings { region: Some("eu-north-1".to_owned()), ..BucketSettings::default() };
    server.set_bucket(BUCKET, there).unwrap();
    let store = open(&server, BUCKET).await;
    assert_eq!(store.head(&key("key")).await.unwrap().size, 5);
    store.look_up_bucket().await.unwrap();
    put(&*store, "other").await;
    server.shutdown().await;
}

#[tokio::test]
async fn whoever_asks_pays_only_where_they_say_so() {
    let server = start(Settings::default()).await;
    let paid = BucketSettings { requester_pays: true, ..BucketSettings::default() };
    server.set_bucket(BUCKET, paid).unwrap();
    let refused = open(&server, BUCKET).await.head(&key("key")).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Denied);
    let store =
        pail_store::open(StoreOptions { requester_pays: true, ..options(&server, BUCKET) }).await.unwrap();
    put(&*store, "key").await;
    assert_eq!(store.get(&key("key"), GetOptions::default()).await.unwrap().bytes().await.unwrap(), "bytes");
    server.shutdown().await;
}

#[tokio::test]
async fn an_archived_object_is_told_with_its_class_and_how_it_is_restored() {
    let server = start(Settings::default()).await;
    let store = open(&server, BUCKET).await;
    let attributes = Attributes { storage_class: Some("DEEP_ARCHIVE".to_owned()), ..Attributes::default() };
    let options = PutOptions { attributes, ..PutOptions::default() };
    let version = store.put(&key("old"), Bytes::from_static(b"bytes").into(), options).await.unwrap();
    let read = store.get(&key("old"), GetOptions::default()).await.err().expect("it is archived");
    let copied = store.copy(&key("old"), &version, &key("new"), Condition::None).await.unwrap_err();
    for refused in [read, copied] {
        assert_eq!(refused.kind, ErrorKind::Archived, "{refused}");
        let told = refused.to_string();
        assert!(told.contains("DEEP_ARCHIVE") && told.contains("restore-object"), "{told}");
    }
    server.shutdown().await;
}

#[tokio::test]
async fn what_is_wrong_with_a_bucket_is_said_plainly() {
    let settings = Settings { foreign_buckets: vec!["theirs".to_owned()], ..Settings::default() };
    let server = start(settings).await;
    let absent = open(&server, "absent").await.look_up_bucket().await.unwrap_err();
    assert_eq!(absent.kind, ErrorKind::NoSuchBucket, "{absent}");
    let theirs = open(&server, "theirs").await;
    let denied = theirs.look_up_bucket().await.unwrap_err();
    assert_eq!(denied.kind, ErrorKind::Denied);
    assert!(
        denied.to_string().contains("somebody else's") && denied.to_string().contains("access key"),
        "{denied}"
    );
    assert_eq!(theirs.create_bucket().await.unwrap_err().kind, ErrorKind::BucketTaken);
    let ours = open(&server, BUCKET).await;
    put(&*ours, "key").await;
    assert_eq!(ours.delete_bucket().await.unwrap_err().kind, ErrorKind::NotEmpty);
    ours.delete(&key("key"), Condition::None).await.unwrap();
    ours.delete_bucket().await.unwrap();
    ours.delete_bucket().await.expect("one that is gone is no error");
    server.shutdown().await;
}

async fn listed(store: &dyn Store, request: ListRequest) -> Vec<String> {
    let (mut request, mut all) = (request, Vec::new());
    loop {
        let page = store.list(request.clone()).await.unwrap();
        let objects = page.objects.iter().map(|object| object.key.as_str().to_owned());
        let mut names: Vec<_> = objects.chain(page.prefixes).collect();
        names.sort();
        all.extend(names);
        match page.next {
            Some(token) => request.token = Some(token),
            None => return all,
        }
    }
}

#[tokio::test]
async fn a_directory_bucket_is_used_in_one_session_and_lists_in_order() {
    let server = start(Settings { list_page_max: 2, ..Settings::default() }).await;
    let store = open(&server, DIRECTORY).await;
    store.look_up_bucket().await.unwrap();
    let names = ["b", "dir/name/x", "dir/a", "dir/nap", "dir/name-2", "a", "dir/name", "zz/y", "dir/other/z"];
    for name in names {
        put(&*store, name).await;
    }
    let mut all = names.map(str::to_owned);
    all.sort();
    assert_eq!(listed(&*store, ListRequest::default()).await, all);
    let of = |prefix: &str, delimiter: bool, max_keys| ListRequest {
        prefix: prefix.to_owned(),
        delimiter,
        max_keys,
        ..ListRequest::default()
    };
    assert_eq!(
        listed(&*store, of("dir/", true, Some(2))).await,
        ["dir/a", "dir/name", "dir/name-2", "dir/name/", "dir/nap", "dir/other/"]
    );
    assert_eq!(listed(&*store, of("dir/name", false, None)).await, ["dir/name", "dir/name-2", "dir/name/x"]);
    assert_eq!(listed(&*store, of("dir/name", true, None)).await, ["dir/name", "dir/name-2", "dir/name/"]);

    let head = store.head(&key("b")).await.unwrap();
    store.copy(&key("b"), &head.version, &key("copy"), Condition::None).await.unwrap();
    let upload = store.start_upload(&key("dir/parts"), &PutOptions::default()).await.unwrap();
    let part = store.put_part(&upload, 1, Bytes::from_static(b"part").into()).await.unwrap();
    let open = store.open_uploads(&key("dir/parts")).await.unwrap();
    assert_eq!(open.len(), 1);
    store.complete_upload(&upload, &[part], &PutOptions::default()).await.unwrap();
    assert_eq!(
        store.get(&key("dir/parts"), GetOptions::default()).await.unwrap().bytes().await.unwrap(),
        "part"
    );
    assert_eq!(requests(&server, "CreateSession"), 1);
    server.shutdown().await;
}

#[tokio::test]
async fn a_session_is_renewed_before_it_ends() {
    let server = start(Settings { session_lifetime_s: 2, ..Settings::default() }).await;
    let store = open(&server, DIRECTORY).await;
    let began = Instant::now();
    while requests(&server, "CreateSession") < 3 {
        put(&*store, "key").await;
        assert!(began.elapsed() < Duration::from_secs(60), "no session was renewed");
    }
    server.shutdown().await;
}

#[tokio::test]
async fn a_session_that_is_refused_is_told_with_whose_keys_it_was() {
    let server = start(Settings::default()).await;
    let mut wrong = options(&server, DIRECTORY);
    wrong.environment.as_mut().unwrap().0.insert("AWS_SECRET_ACCESS_KEY".to_owned(), "wrongwrong".to_owned());
    let store = pail_store::open(wrong).await.unwrap();
    let refused = store.head(&key("key")).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Credentials);
    let told = refused.to_string();
    assert!(
        told.contains("session") && told.contains("SignatureDoesNotMatch") && !told.contains("wrongwrong"),
        "{told}"
    );
    server.shutdown().await;
}

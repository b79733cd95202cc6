//! What AWS S3 has and few others: regions, requester pays, directory buckets with sessions.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on is to fail")]

mod client;

use client::{Client, start};
use pail_devserver::{BucketSettings, Settings};
use std::collections::BTreeSet;

const REGION: &str = "x-amz-bucket-region";

#[tokio::test]
async fn a_bucket_of_another_region_is_told_of_and_found_with_its_own() {
    let (server, client) = start(Settings::default()).await;
    let document = b"<CreateBucketConfiguration><LocationConstraint>eu-west-1</LocationConstraint></CreateBucketConfiguration>";
    assert_eq!(client.ask("PUT", "/there", &[], document).await.status, 200);
    for (method, path) in [("GET", "/there/o"), ("PUT", "/there/o"), ("GET", "/there?list-type=2")] {
        let sent_on = client.ask(method, path, &[], b"").await;
        assert_eq!((sent_on.status.as_u16(), sent_on.header(REGION)), (301, Some("eu-west-1")), "{path}");
        assert_eq!(sent_on.code(), "PermanentRedirect");
        assert_eq!(sent_on.element("Endpoint").as_deref(), Some("there.s3.eu-west-1.amazonaws.com"));
    }
    let head = client.ask("HEAD", "/there", &[], b"").await;
    assert_eq!((head.status.as_u16(), head.header(REGION)), (301, Some("eu-west-1")));
    let anyone = Client::new(&server.endpoint_url(), "", None);
    let head = anyone.ask("HEAD", "/there", &[], b"").await;
    assert_eq!((head.status.as_u16(), head.header(REGION)), (403, Some("eu-west-1")));
    let location = client.get("/there?location").await;
    assert!(location.text().ends_with(">eu-west-1</LocationConstraint>"), "{}", location.text());

    let by_host = Client::new(&server.endpoint_url(), "test", Some("testtest"));
    let by_host = by_host.with_header("host", "there.localhost");
    let wrong = by_host.get("/o").await;
    assert_eq!((wrong.status.as_u16(), wrong.code().as_str()), (400, "AuthorizationHeaderMalformed"));
    assert_eq!(wrong.element("Region").as_deref(), Some("eu-west-1"));

    let there = Client::new(&server.endpoint_url(), "test", Some("testtest")).in_region("eu-west-1");
    there.put("/there/o", b"x").await;
    assert_eq!(there.get("/there/o").await.text(), "x");
    assert_eq!(there.ask("HEAD", "/there", &[], b"").await.header(REGION), Some("eu-west-1"));
    let plain = client.ask("HEAD", "/bucket", &[], b"").await;
    assert_eq!((plain.status.as_u16(), plain.header(REGION)), (200, Some("us-east-1")));
    let listed = client.get("/").await;
    assert_eq!(
        (listed.elements("Name"), listed.elements("BucketRegion")),
        (vec!["bucket".to_owned(), "there".to_owned()], vec!["eu-west-1".to_owned()])
    );
}

#[tokio::test]
async fn where_the_requester_pays_it_must_say_so() {
    let (server, client) = start(Settings::default()).await;
    server.create_bucket("free").await.unwrap();
    client.put("/bucket/o", b"x").await;
    let settings = BucketSettings { requester_pays: true, public: true, ..BucketSettings::default() };
    server.set_bucket("bucket", settings).unwrap();
    let payer = ("x-amz-request-payer", "requester");
    for (method, path) in [("GET", "/bucket/o"), ("HEAD", "/bucket/o"), ("GET", "/bucket?list-type=2")] {
        assert_eq!(client.ask(method, path, &[], b"").await.status, 403, "{method} {path}");
        let paid = client.ask(method, path, &[payer], b"").await;
        assert_eq!((paid.status.as_u16(), paid.header("x-amz-request-charged")), (200, Some("requester")));
    }
    assert_eq!(client.ask("PUT", "/bucket/new", &[], b"y").await.code(), "AccessDenied");
    assert_eq!(client.ask("PUT", "/bucket/new", &[payer], b"y").await.status, 200);
    let source = ("x-amz-copy-source", "/bucket/o");
    assert_eq!(client.ask("PUT", "/free/o", &[source], b"").await.code(), "AccessDenied");
    assert_eq!(client.ask("PUT", "/free/o", &[source, payer], b"").await.status, 200);
}

/// A client of a new session of a directory bucket.
async fn session(endpoint: &str, owner: &Client, bucket: &str) -> Client {
    let answer = owner.get(&format!("/{bucket}?session")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let key = answer.element("AccessKeyId").unwrap();
    let secret = answer.element("SecretAccessKey").unwrap();
    assert!(answer.element("Expiration").unwrap().ends_with('Z'));
    let token = answer.element("SessionToken").unwrap();
    Client::new(endpoint, &key, Some(&secret)).with_header("x-amz-s3session-token", &token)
}

#[tokio::test]
async fn a_directory_bucket_is_used_in_sessions() {
    let (server, owner) = start(Settings { part_size_bytes_min: 1, ..Settings::default() }).await;
    for name in ["data--use1-az4--x-s3", "other--use1-az4--x-s3"] {
        server.create_bucket(name).await.unwrap();
    }
    let url = server.endpoint_url();
    let path = |key: &str| format!("/data--use1-az4--x-s3/{key}");
    assert_eq!(owner.ask("PUT", &path("o"), &[], b"x").await.code(), "AccessDenied");
    let client = session(&url, &owner, "data--use1-az4--x-s3").await;
    client.put(&path("o"), b"x").await;
    let stored = client.get(&path("o")).await;
    assert_eq!(
        (stored.text().as_str(), stored.header("x-amz-storage-class")),
        ("x", Some("EXPRESS_ONEZONE"))
    );
    let elsewhere = client.ask("PUT", "/other--use1-az4--x-s3/o", &[], b"x").await;
    assert_eq!(elsewhere.code(), "AccessDenied", "the session is of one bucket");
    assert_eq!(client.get("/bucket/o").await.code(), "AccessDenied");
    assert_eq!(owner.get("/bucket?session").await.code(), "InvalidRequest");
    assert_eq!(client.ask("PUT", &path("t"), &[("x-amz-tagging", "a=1")], b"x").await.status, 501);
    let id = client.begin(&path("gaps")).await;
    let document = client.upload(&path("gaps"), &id, &[b"a", b"b"]).await;
    let gaps = document.replacen("<Part><PartNumber>1<", "<Gap><PartNumber>1<", 1);
    let complete = path(&format!("gaps?uploadId={id}"));
    assert_eq!(client.ask("POST", &complete, &[], gaps.as_bytes()).await.status, 400);
    assert_eq!(client.ask("POST", &complete, &[], document.as_bytes()).await.status, 200);
    assert_eq!(server.counters().count("CreateSession"), 2);
    assert_eq!(owner.get("/").await.elements("Name"), ["bucket"], "directory buckets are listed elsewhere");
    let gone = session(&url, &owner, "data--use1-az4--x-s3").await;
    server.set_settings(Settings { session_lifetime_s: 0, ..Settings::default() });
    let expired = session(&url, &owner, "data--use1-az4--x-s3").await;
    assert_eq!(gone.get(&path("o")).await.status, 200, "a session lives as long as it was opened for");
    let refused = expired.get(&path("o")).await;
    assert_eq!((refused.status.as_u16(), refused.code().as_str()), (400, "ExpiredToken"));
}

#[tokio::test]
async fn a_directory_bucket_is_listed_in_no_order_and_by_whole_names() {
    let (server, owner) = start(Settings::default()).await;
    server.create_bucket("data--use1-az4--x-s3").await.unwrap();
    let client = session(&server.endpoint_url(), &owner, "data--use1-az4--x-s3").await;
    let keys: BTreeSet<String> = (0..50).map(|n| format!("d/{n:02}")).collect();
    for key in &keys {
        client.put(&format!("/data--use1-az4--x-s3/{key}"), b"x").await;
    }
    client.put("/data--use1-az4--x-s3/d/sub/x", b"x").await;
    let list = "/data--use1-az4--x-s3?list-type=2&delimiter=%2F&prefix=d%2F&max-keys=7";
    let mut listed = Vec::new();
    let mut prefixes = Vec::new();
    let mut token = String::new();
    loop {
        let page = client.get(&format!("{list}{token}")).await;
        listed.extend(page.elements("Key"));
        prefixes.extend(page.elements("CommonPrefixes"));
        match page.element("NextContinuationToken") {
            Some(next) => token = format!("&continuation-token={next}"),
            None => break,
        }
    }
    assert!(!listed.is_sorted(), "{listed:?}");
    assert_eq!((listed.len(), prefixes.len()), (50, 1));
    assert_eq!(listed.into_iter().collect::<BTreeSet<_>>(), keys);
    for query in ["list-type=2&prefix=d", "list-type=2&delimiter=-", "list-type=2&start-after=d"] {
        let refused = client.get(&format!("/data--use1-az4--x-s3?{query}")).await;
        assert_eq!((refused.status.as_u16(), refused.code().as_str()), (400, "InvalidRequest"), "{query}");
    }
    assert_eq!(client.get("/data--use1-az4--x-s3?prefix=").await.status, 501);
}

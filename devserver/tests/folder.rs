//! A server on a folder keeps what it was given.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on is to fail")]

mod client;

use client::Client;
use pail_devserver::{BucketSettings, Server, ServerConfig, Settings};
use std::path::Path;

async fn serve(folder: &Path) -> (Server, Client) {
    let settings = Settings { part_size_bytes_min: 1, ..Default::default() };
    let config = ServerConfig { folder: Some(folder.to_owned()), settings, ..Default::default() };
    let server = Server::start(config).await.unwrap();
    let client = Client::new(&server.endpoint_url(), "test", Some("testtest"));
    (server, client)
}

fn data_files(folder: &Path) -> usize {
    std::fs::read_dir(folder.join("data")).unwrap().count()
}

#[tokio::test]
async fn objects_outlive_the_server_with_their_keys_bytes_and_headers() {
    let folder = tempfile::tempdir().unwrap();
    let (server, client) = serve(folder.path()).await;
    server.create_bucket("bucket").await.unwrap();
    server.set_public("bucket").unwrap();
    let keys = ["a//b", "../x", "./y", "a%0Ab", "%2541", "d", "d/"];
    for key in keys {
        client.ask("PUT", &format!("/bucket/{key}"), &[("x-amz-meta-k", "v")], key.as_bytes()).await;
    }
    client.put("/bucket/empty", b"").await;
    let id = client.begin("/bucket/parts").await;
    let document = client.upload("/bucket/parts", &id, &[b"hello ", b"world"]).await;
    client.ask("POST", &format!("/bucket/parts?uploadId={id}"), &[], document.as_bytes()).await;
    client.ask("PUT", "/bucket/copy", &[("x-amz-copy-source", "/bucket/parts")], b"").await;
    client.ask("DELETE", "/bucket/parts", &[], b"").await;
    let before = client.get("/bucket?list-type=2").await.text();
    server.shutdown().await;

    let (server, client) = serve(folder.path()).await;
    assert_eq!(client.get("/bucket?list-type=2").await.text(), before);
    for key in keys {
        let answer = client.get(&format!("/bucket/{key}")).await;
        assert_eq!((answer.text().as_str(), answer.header("x-amz-meta-k")), (key, Some("v")));
    }
    assert_eq!(client.get("/bucket/copy").await.text(), "hello world");
    let range = client.ask("GET", "/bucket/copy", &[("range", "bytes=4-7")], b"").await;
    assert_eq!(range.text(), "o wo");
    let anyone = Client::new(&server.endpoint_url(), "", None);
    assert_eq!(anyone.get("/bucket/d").await.text(), "d");
}

#[tokio::test]
async fn what_was_set_of_objects_and_buckets_outlives_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let (server, client) = serve(folder.path()).await;
    server.create_bucket("bucket").await.unwrap();
    let settings = BucketSettings { kms_key_id: Some("k".into()), ..BucketSettings::default() };
    server.set_bucket("bucket", settings.clone()).unwrap();
    let headers =
        [("x-amz-storage-class", "GLACIER"), ("x-amz-tagging", "a=1"), ("cache-control", "no-cache")];
    client.ask("PUT", "/bucket/o", &headers, b"123456789").await;
    client.ask("POST", "/bucket/o?restore", &[], b"<RestoreRequest><Days>1</Days></RestoreRequest>").await;
    let read = [("x-amz-checksum-mode", "ENABLED")];
    let shown = |headers: &http::HeaderMap| {
        let mut headers = headers.clone();
        headers.remove("x-amz-request-id");
        headers.remove("date");
        headers
    };
    let before = shown(&client.ask("HEAD", "/bucket/o", &read, b"").await.headers);
    assert!(["x-amz-restore", "x-amz-checksum-crc64nvme"].iter().all(|name| before.contains_key(*name)));
    server.shutdown().await;
    let (server, client) = serve(folder.path()).await;
    assert_eq!(shown(&client.ask("HEAD", "/bucket/o", &read, b"").await.headers), before);
    assert_eq!(client.get("/bucket/o?tagging").await.elements("Key"), ["a"]);
    client.put("/bucket/p", b"x").await;
    let stored = client.ask("HEAD", "/bucket/p", &[], b"").await;
    assert_eq!(stored.header("x-amz-server-side-encryption"), Some("aws:kms"));
    server.set_bucket("absent", settings).unwrap_err();
}

#[tokio::test]
async fn bytes_that_no_object_names_leave_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let (server, client) = serve(folder.path()).await;
    server.create_bucket("bucket").await.unwrap();
    client.put("/bucket/o", b"first").await;
    client.put("/bucket/o", b"second").await;
    assert_eq!(data_files(folder.path()), 1);
    client.ask("PUT", "/bucket/copy", &[("x-amz-copy-source", "/bucket/o")], b"").await;
    client.ask("DELETE", "/bucket/o", &[], b"").await;
    assert_eq!(client.get("/bucket/copy").await.text(), "second");
    let id = client.begin("/bucket/aborted").await;
    client.upload("/bucket/aborted", &id, &[b"part"]).await;
    assert_eq!(data_files(folder.path()), 2);
    client.ask("DELETE", &format!("/bucket/aborted?uploadId={id}"), &[], b"").await;
    assert_eq!(data_files(folder.path()), 1);
    let id = client.begin("/bucket/forgotten").await;
    client.upload("/bucket/forgotten", &id, &[b"part"]).await;
    drop(client);
    server.shutdown().await;

    let (_server, client) = serve(folder.path()).await;
    assert_eq!(data_files(folder.path()), 1);
    client.ask("DELETE", "/bucket/copy", &[], b"").await;
    assert_eq!(data_files(folder.path()), 0);
}

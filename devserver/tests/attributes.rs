//! What is stored with an object beside its bytes, and what becomes of it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on is to fail")]

mod client;

use client::{Answer, Client, start};
use pail_devserver::{BucketSettings, Settings};

/// Headers of an upload that say all that can be said, and come back as they are.
const ALL: [(&str, &str); 9] = [
    ("content-type", "text/x-pail"),
    ("content-encoding", "gzip"),
    ("content-language", "de"),
    ("content-disposition", "attachment"),
    ("cache-control", "no-cache"),
    ("expires", "Thu, 01 Dec 2033 16:00:00 GMT"),
    ("x-amz-meta-colour", "blue"),
    ("x-amz-storage-class", "STANDARD_IA"),
    ("x-amz-website-redirect-location", "/other"),
];

fn shows(answer: &Answer, headers: &[(&str, &str)]) {
    for (name, value) in headers {
        assert_eq!(answer.header(name), Some(*value), "{name}");
    }
}

async fn head(client: &Client, path: &str) -> Answer {
    client.ask("HEAD", path, &[], b"").await
}

async fn copy(client: &Client, from: &str, to: &str, headers: &[(&str, &str)]) -> Answer {
    let headers: Vec<_> = headers.iter().copied().chain([("x-amz-copy-source", from)]).collect();
    client.ask("PUT", to, &headers, b"").await
}

#[tokio::test]
async fn attributes_of_uploads_of_both_kinds_are_given_back() {
    let (_server, client) = start(Settings { part_size_bytes_min: 1, ..Settings::default() }).await;
    let tags = [("x-amz-tagging", "a=1&b=x%20y")];
    let headers: Vec<_> = ALL.into_iter().chain(tags).collect();
    assert_eq!(client.ask("PUT", "/bucket/put", &headers, b"x").await.status, 200);
    let begun = client.ask("POST", "/bucket/parts?uploads", &headers, b"").await;
    let id = begun.element("UploadId").unwrap();
    let document = client.upload("/bucket/parts", &id, &[b"y"]).await;
    client.ask("POST", &format!("/bucket/parts?uploadId={id}"), &[], document.as_bytes()).await;
    for path in ["/bucket/put", "/bucket/parts"] {
        for answer in [client.get(path).await, head(&client, path).await] {
            shows(&answer, &ALL);
            shows(&answer, &[("x-amz-tagging-count", "2"), ("x-amz-server-side-encryption", "AES256")]);
        }
        let tagging = client.get(&format!("{path}?tagging")).await;
        assert_eq!(
            (tagging.elements("Key"), tagging.elements("Value")),
            (vec!["a".to_owned(), "b".to_owned()], vec!["1".to_owned(), "x y".to_owned()])
        );
    }
    let listed = client.get("/bucket?list-type=2").await;
    assert_eq!(listed.elements("StorageClass"), ["STANDARD_IA", "STANDARD_IA"]);
    client.put("/bucket/plain", b"x").await;
    let plain = head(&client, "/bucket/plain").await;
    shows(&plain, &[("content-type", "binary/octet-stream")]);
    assert_eq!((plain.header("x-amz-storage-class"), plain.header("x-amz-tagging-count")), (None, None));
    let wrong = client.ask("PUT", "/bucket/o", &[("x-amz-storage-class", "COLDER")], b"x").await;
    assert_eq!((wrong.status.as_u16(), wrong.code().as_str()), (400, "InvalidStorageClass"));
}

#[tokio::test]
async fn a_copy_keeps_what_s3_keeps() {
    let (_server, client) = start(Settings::default()).await;
    let kms = [
        ("x-amz-server-side-encryption", "aws:kms"),
        ("x-amz-server-side-encryption-aws-kms-key-id", "1234"),
        ("x-amz-server-side-encryption-bucket-key-enabled", "true"),
    ];
    let headers: Vec<_> = ALL.into_iter().chain(kms).chain([("x-amz-tagging", "a=1")]).collect();
    client.ask("PUT", "/bucket/o", &headers, b"x").await;
    let key = "arn:aws:kms:us-east-1:111122223333:key/1234";
    shows(&head(&client, "/bucket/o").await, &[("x-amz-server-side-encryption-aws-kms-key-id", key), kms[2]]);

    assert_eq!(copy(&client, "/bucket/o", "/bucket/kept", &[]).await.status, 200);
    let kept = head(&client, "/bucket/kept").await;
    shows(&kept, &ALL[..7]);
    shows(&kept, &[("x-amz-tagging-count", "1"), ("x-amz-server-side-encryption", "AES256")]);
    assert_eq!(kept.header("x-amz-storage-class"), None, "the class is the request's");
    assert_eq!(kept.header("x-amz-website-redirect-location"), None, "so is the redirect");

    let replace = [
        ("x-amz-metadata-directive", "REPLACE"),
        ("x-amz-tagging-directive", "REPLACE"),
        ("x-amz-storage-class", "ONEZONE_IA"),
        ("x-amz-meta-shape", "round"),
    ];
    copy(&client, "/bucket/o", "/bucket/replaced", &replace).await;
    let replaced = head(&client, "/bucket/replaced").await;
    shows(&replaced, &[replace[2], replace[3], ("content-type", "binary/octet-stream")]);
    for name in ["x-amz-meta-colour", "cache-control", "x-amz-tagging-count"] {
        assert_eq!(replaced.header(name), None, "{name}");
    }

    let onto_itself = copy(&client, "/bucket/o", "/bucket/o", &[]).await;
    assert_eq!((onto_itself.status.as_u16(), onto_itself.code().as_str()), (400, "InvalidRequest"));
    assert_eq!(copy(&client, "/bucket/o", "/bucket/o", &[replace[2]]).await.status, 200);
    let moved = head(&client, "/bucket/o").await;
    shows(&moved, &[replace[2], ALL[6]]);
    let wrong = copy(&client, "/bucket/o", "/bucket/x", &[("x-amz-metadata-directive", "MERGE")]).await;
    assert_eq!(wrong.code(), "InvalidArgument");
}

#[tokio::test]
async fn a_bucket_of_its_own_key_encrypts_what_asks_for_nothing() {
    let (server, client) = start(Settings::default()).await;
    client.put("/bucket/before", b"x").await;
    let settings = BucketSettings { kms_key_id: Some("k".into()), ..BucketSettings::default() };
    server.set_bucket("bucket", settings).unwrap();
    client.put("/bucket/after", b"x").await;
    copy(&client, "/bucket/before", "/bucket/copy", &[]).await;
    for (path, sse) in
        [("/bucket/before", "AES256"), ("/bucket/after", "aws:kms"), ("/bucket/copy", "aws:kms")]
    {
        shows(&head(&client, path).await, &[("x-amz-server-side-encryption", sse)]);
    }
    for (headers, code) in [
        (vec![("x-amz-server-side-encryption", "rot13")], "InvalidArgument"),
        (vec![("x-amz-server-side-encryption-aws-kms-key-id", "k")], "InvalidArgument"),
    ] {
        assert_eq!(client.ask("PUT", "/bucket/o", &headers, b"x").await.code(), code);
    }
}

/// A key of 32 bytes, and its MD5.
const KEY: [(&str, &str); 3] = [
    ("x-amz-server-side-encryption-customer-algorithm", "AES256"),
    ("x-amz-server-side-encryption-customer-key", "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="),
    ("x-amz-server-side-encryption-customer-key-md5", "KYvwGXoFFJ42a2u2GDWhwQ=="),
];

/// Another key.
const OTHER: [(&str, &str); 3] = [
    KEY[0],
    ("x-amz-server-side-encryption-customer-key", "YWJjZGVmZ2hpamFiY2RlZmdoaWphYmNkZWZnaGlqYWI="),
    ("x-amz-server-side-encryption-customer-key-md5", "d3au2fAgbQA8d3AQql7uvg=="),
];

#[tokio::test]
async fn a_key_that_the_customer_keeps_must_be_given_again() {
    let (_server, client) = start(Settings { part_size_bytes_min: 1, ..Settings::default() }).await;
    let put = client.ask("PUT", "/bucket/o", &KEY, b"x").await;
    assert_eq!(put.status, 200, "{}", put.text());
    shows(&put, &[KEY[0], KEY[2]]);
    assert_eq!(put.header(KEY[1].0), None);
    for method in ["GET", "HEAD"] {
        assert_eq!(client.ask(method, "/bucket/o", &[], b"").await.status, 400, "{method}");
        assert_eq!(client.ask(method, "/bucket/o", &OTHER, b"").await.status, 403, "{method}");
        shows(&client.ask(method, "/bucket/o", &KEY, b"").await, &[KEY[0], KEY[2]]);
    }
    assert_eq!(client.get("/bucket/o").await.code(), "InvalidRequest");
    let mismatched = [KEY[0], KEY[1], OTHER[2]];
    assert_eq!(client.ask("PUT", "/bucket/o", &mismatched, b"x").await.code(), "InvalidArgument");
    client.put("/bucket/plain", b"x").await;
    assert_eq!(client.ask("GET", "/bucket/plain", &KEY, b"").await.code(), "InvalidRequest");

    assert_eq!(copy(&client, "/bucket/o", "/bucket/copy", &[]).await.code(), "InvalidRequest");
    let source: Vec<(String, &str)> =
        KEY.iter().map(|(name, value)| (name.replace("x-amz-", "x-amz-copy-source-"), *value)).collect();
    let source: Vec<_> = source.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    assert_eq!(copy(&client, "/bucket/o", "/bucket/copy", &source).await.status, 200);
    shows(&head(&client, "/bucket/copy").await, &[("x-amz-server-side-encryption", "AES256")]);

    let begun = client.ask("POST", "/bucket/parts?uploads", &KEY, b"").await;
    let part = format!("/bucket/parts?partNumber=1&uploadId={}", begun.element("UploadId").unwrap());
    assert_eq!(client.ask("PUT", &part, &[], b"x").await.code(), "InvalidRequest");
    assert_eq!(client.ask("PUT", &part, &KEY, b"x").await.status, 200);
}

#[tokio::test]
async fn tags_are_replaced_and_removed_and_the_object_stays() {
    let (_server, client) = start(Settings::default()).await;
    let etag = client.put("/bucket/o", b"x").await;
    let document = |pairs: &[(&str, &str)]| {
        let tag = |(key, value): &(&str, &str)| format!("<Tag><Key>{key}</Key><Value>{value}</Value></Tag>");
        format!("<Tagging><TagSet>{}</TagSet></Tagging>", pairs.iter().map(tag).collect::<String>())
    };
    let put = |pairs: Vec<(&'static str, &'static str)>| {
        let client = &client;
        async move { client.ask("PUT", "/bucket/o?tagging", &[], document(&pairs).as_bytes()).await }
    };
    assert_eq!(put(vec![("k", "v"), ("l", "")]).await.status, 200);
    let tagged = head(&client, "/bucket/o").await;
    shows(&tagged, &[("x-amz-tagging-count", "2"), ("etag", &etag)]);
    assert_eq!(put(vec![("k", "v"), ("k", "w")]).await.code(), "InvalidTag");
    assert_eq!(put(vec![("k", "v"); 11]).await.code(), "BadRequest");
    assert_eq!(client.get("/bucket/o?tagging").await.elements("Value"), ["v", ""]);
    assert_eq!(client.ask("DELETE", "/bucket/o?tagging", &[], b"").await.status, 204);
    assert!(client.get("/bucket/o?tagging").await.elements("Key").is_empty());
    assert_eq!(client.get("/bucket/o").await.text(), "x");
    assert_eq!(client.get("/bucket/absent?tagging").await.code(), "NoSuchKey");
}

#[tokio::test]
async fn archived_objects_are_seen_but_not_read_until_they_are_restored() {
    let (server, client) = start(Settings::default()).await;
    for class in ["GLACIER", "DEEP_ARCHIVE"] {
        client.ask("PUT", "/bucket/o", &[("x-amz-storage-class", class)], b"cold").await;
        shows(&head(&client, "/bucket/o").await, &[("x-amz-storage-class", class), ("content-length", "4")]);
        let read = client.get("/bucket/o").await;
        assert_eq!((read.status.as_u16(), read.code().as_str()), (403, "InvalidObjectState"));
        assert_eq!(read.element("StorageClass").as_deref(), Some(class));
        assert_eq!(copy(&client, "/bucket/o", "/bucket/copy", &[]).await.code(), "InvalidObjectState");
        let days = b"<RestoreRequest><Days>2</Days></RestoreRequest>";
        assert_eq!(client.ask("POST", "/bucket/o?restore", &[], days).await.status, 202);
        assert_eq!(client.ask("POST", "/bucket/o?restore", &[], days).await.status, 200);
        let restored = client.get("/bucket/o").await;
        assert_eq!(restored.text(), "cold");
        let until = restored.header("x-amz-restore").unwrap();
        assert!(until.starts_with("ongoing-request=\"false\", expiry-date=\""), "{until}");
        shows(&restored, &[("x-amz-storage-class", class)]);
    }
    client.ask("PUT", "/bucket/instant", &[("x-amz-storage-class", "GLACIER_IR")], b"x").await;
    assert_eq!(client.get("/bucket/instant").await.text(), "x");
    assert_eq!(server.counters().count("RestoreObject"), 4);
}

//! What a client of the S3 API sees.

mod client;

use client::{Client, start};
use pail_devserver::Settings;

/// Keys that a path cannot hold or that somebody might normalise, and how a client encodes them.
const ODD_KEYS: [(&str, &str); 12] = [
    ("a//b", "a//b"),
    ("/a", "/a"),
    ("./x", "./x"),
    ("../x", "../x"),
    ("x/../y", "x/../y"),
    ("%41", "%2541"),
    ("a\nb", "a%0Ab"),
    ("tab\t", "tab%09"),
    ("a+b", "a%2Bb"),
    ("d", "d"),
    ("d/", "d/"),
    ("é🪣", "%C3%A9%F0%9F%AA%A3"),
];

#[tokio::test]
async fn every_raw_key_is_an_object_of_its_own() {
    let (server, client) = start(Settings::default()).await;
    let longest = "k".repeat(1024);
    let mut keys = ODD_KEYS.to_vec();
    keys.push((&longest, &longest));
    for (key, encoded) in &keys {
        client.put(&format!("/bucket/{encoded}"), key.as_bytes()).await;
    }
    for (key, encoded) in &keys {
        assert_eq!(client.get(&format!("/bucket/{encoded}")).await.text(), *key);
    }
    let listed = client.get("/bucket?list-type=2&encoding-type=url").await;
    let mut expected: Vec<&str> = keys.iter().map(|(_, encoded)| *encoded).collect();
    expected.sort_by_key(|encoded| keys.iter().find(|(_, e)| e == encoded).unwrap().0.as_bytes());
    assert_eq!(listed.elements("Key"), expected);
    for (_, encoded) in &keys {
        assert_eq!(client.ask("DELETE", &format!("/bucket/{encoded}"), &[], b"").await.status, 204);
    }
    assert_eq!(client.get("/bucket?list-type=2").await.element("KeyCount").unwrap(), "0");
    let too_long = client.ask("PUT", &format!("/bucket/{longest}k"), &[], b"").await;
    assert_eq!((too_long.status.as_u16(), too_long.code().as_str()), (400, "KeyTooLongError"));
    server.shutdown().await;
}

#[tokio::test]
async fn a_wrong_secret_an_unknown_key_and_no_signature_are_refused() {
    let (server, owner) = start(Settings::default()).await;
    owner.put("/bucket/o", b"x").await;
    let url = server.endpoint_url();
    for (client, code) in [
        (Client::new(&url, "test", Some("wrong")), "SignatureDoesNotMatch"),
        (Client::new(&url, "nobody", Some("testtest")), "InvalidAccessKeyId"),
        (Client::new(&url, "", None), "AccessDenied"),
    ] {
        let answer = client.get("/bucket/o").await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (403, code));
    }
}

#[tokio::test]
async fn a_public_bucket_is_read_and_listed_but_not_written_without_a_signature() {
    let (server, owner) = start(Settings::default()).await;
    owner.put("/bucket/o", b"x").await;
    server.set_public("bucket").unwrap();
    let anyone = Client::new(&server.endpoint_url(), "", None);
    assert_eq!(anyone.get("/bucket/o").await.text(), "x");
    assert_eq!(anyone.get("/bucket?list-type=2").await.elements("Key"), ["o"]);
    assert_eq!(anyone.ask("PUT", "/bucket/o", &[], b"y").await.code(), "AccessDenied");
    assert_eq!(anyone.ask("DELETE", "/bucket/o", &[], b"").await.code(), "AccessDenied");
}

#[tokio::test]
async fn conditional_writes_hold_or_fail_as_on_s3() {
    let (_server, client) = start(Settings::default()).await;
    let put = |header: &'static str, value: String, body: &'static [u8]| {
        let client = &client;
        async move { client.ask("PUT", "/bucket/o", &[(header, &value)], body).await }
    };
    assert_eq!(put("if-match", "\"x\"".into(), b"0").await.code(), "NoSuchKey");
    let first = put("if-none-match", "*".into(), b"1").await.etag();
    assert_eq!(put("if-none-match", "*".into(), b"2").await.status, 412);
    let second = put("if-match", first.clone(), b"2").await.etag();
    assert_ne!(first, second);
    assert_eq!(put("if-match", first.clone(), b"3").await.code(), "PreconditionFailed");
    let bare = second.trim_matches('"').to_owned();
    assert_eq!(put("if-match", bare, b"2").await.status, 200);
    assert_eq!(client.ask("GET", "/bucket/o", &[("if-none-match", &second)], b"").await.status, 304);
    assert_eq!(client.ask("GET", "/bucket/o", &[("if-match", &first)], b"").await.status, 412);
    assert_eq!(client.ask("DELETE", "/bucket/o", &[("if-match", &first)], b"").await.status, 412);
    assert_eq!(client.ask("DELETE", "/bucket/o", &[("if-match", &second)], b"").await.status, 204);
    assert_eq!(client.ask("DELETE", "/bucket/o", &[("if-match", &second)], b"").await.code(), "NoSuchKey");
    assert_eq!(client.ask("DELETE", "/bucket/o", &[], b"").await.status, 204);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_writers_on_one_condition_one_wins() {
    let (_server, client) = start(Settings::default()).await;
    for round in 0..20 {
        let path = format!("/bucket/o{round}");
        let writers = (0..16u8).map(|n| {
            let (client, path) = (&client, &path);
            async move { client.ask("PUT", path, &[("if-none-match", "*")], &[n]).await.status.as_u16() }
        });
        let statuses = futures::future::join_all(writers).await;
        assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
        assert_eq!(statuses.iter().filter(|status| **status == 412).count(), 15, "{statuses:?}");
    }
}

#[tokio::test]
async fn an_upload_in_parts_becomes_one_object() {
    let (_server, client) = start(Settings { part_size_bytes_min: 4, ..Default::default() }).await;
    let id = client.begin("/bucket/o").await;
    let document = client.upload("/bucket/o", &id, &[b"hello", b" wor", b"ld"]).await;
    assert_eq!(client.get("/bucket/o").await.status, 404);
    let complete = format!("/bucket/o?uploadId={id}");
    let refused = client.ask("POST", &complete, &[("if-match", "\"x\"")], document.as_bytes()).await;
    assert_eq!(refused.code(), "NoSuchKey");
    let done = client.ask("POST", &complete, &[("if-none-match", "*")], document.as_bytes()).await;
    assert_eq!(done.status, 200, "{}", done.text());
    let whole = client.get("/bucket/o").await;
    assert_eq!(whole.text(), "hello world");
    assert!(whole.etag().ends_with("-3\""));
    assert_eq!(done.element("ETag").unwrap().replace("&quot;", "\""), whole.etag());
    let range = client.ask("GET", "/bucket/o", &[("range", "bytes=3-9")], b"").await;
    assert_eq!((range.status.as_u16(), range.text().as_str()), (206, "lo worl"));
    assert_eq!(range.header("content-range"), Some("bytes 3-9/11"));
    assert_eq!(client.ask("POST", &complete, &[], document.as_bytes()).await.code(), "NoSuchUpload");
}

#[tokio::test]
async fn wrong_completions_are_refused_and_the_upload_stays() {
    let (_server, client) = start(Settings::default()).await;
    let id = client.begin("/bucket/o").await;
    let document = client.upload("/bucket/o", &id, &[b"a", b"b"]).await;
    let part = |number: u32, etag: &str| {
        format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>")
    };
    let all = |parts: String| format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>");
    for (document, code) in [
        (document.clone(), "EntityTooSmall"),
        (all(part(2, "x") + &part(1, "x")), "InvalidPartOrder"),
        (all(part(1, "x")), "InvalidPart"),
        (all(String::new()), "MalformedXML"),
        ("<nonsense".to_owned(), "MalformedXML"),
    ] {
        let answer = client.ask("POST", &format!("/bucket/o?uploadId={id}"), &[], document.as_bytes()).await;
        assert_eq!(answer.code(), code);
    }
    let parts = client.get(&format!("/bucket/o?uploadId={id}")).await;
    assert_eq!(parts.elements("PartNumber"), ["1", "2"]);
    assert_eq!(client.get("/bucket?uploads").await.elements("UploadId"), std::slice::from_ref(&id));
    assert_eq!(client.ask("DELETE", &format!("/bucket/o?uploadId={id}"), &[], b"").await.status, 204);
    assert!(client.get("/bucket?uploads").await.elements("UploadId").is_empty());
}

#[tokio::test]
async fn copies_share_bytes_and_honour_conditions_on_the_source() {
    let (_server, client) = start(Settings { part_size_bytes_min: 1, ..Default::default() }).await;
    let etag = client.put("/bucket/from%20here", b"0123456789").await;
    let source = ("x-amz-copy-source", "/bucket/from%20here");
    let copied = client.ask("PUT", "/bucket/to", &[source], b"").await;
    assert_eq!(copied.element("ETag").unwrap().replace("&quot;", "\""), etag);
    assert_eq!(client.get("/bucket/to").await.text(), "0123456789");
    let id = client.begin("/bucket/part").await;
    let path = format!("/bucket/part?partNumber=1&uploadId={id}");
    let range = ("x-amz-copy-source-range", "bytes=2-5");
    let stale =
        client.ask("PUT", &path, &[source, range, ("x-amz-copy-source-if-match", "\"x\"")], b"").await;
    assert_eq!(stale.status, 412);
    let part = client.ask("PUT", &path, &[source, range, ("x-amz-copy-source-if-match", &etag)], b"").await;
    let document = format!(
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{}</ETag></Part></CompleteMultipartUpload>",
        part.element("ETag").unwrap()
    );
    client.ask("POST", &format!("/bucket/part?uploadId={id}"), &[], document.as_bytes()).await;
    assert_eq!(client.get("/bucket/part").await.text(), "2345");
    let beyond = client.ask("PUT", &path, &[source, ("x-amz-copy-source-range", "bytes=2-50")], b"").await;
    assert_ne!(beyond.status, 200);
}

#[tokio::test]
async fn damaged_bodies_are_refused_and_nothing_is_stored() {
    let (_server, client) = start(Settings::default()).await;
    for (name, value, code) in [
        ("x-amz-checksum-crc32", "AAAAAA==", "BadDigest"),
        ("x-amz-checksum-crc32c", "AAAAAA==", "BadDigest"),
        ("x-amz-checksum-crc64nvme", "AAAAAAAAAAA=", "BadDigest"),
        ("content-md5", "1B2M2Y8AsgTpgAmY7PhCfg==", "BadDigest"),
        ("content-md5", "nonsense", "InvalidDigest"),
        (
            "x-amz-content-sha256",
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "XAmzContentSHA256Mismatch",
        ),
    ] {
        let answer = client.ask("PUT", "/bucket/o", &[(name, value)], b"hello").await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (400, code), "{name}");
    }
    assert_eq!(client.get("/bucket/o").await.code(), "NoSuchKey");
}

#[tokio::test]
async fn chunked_uploads_with_a_trailer_are_decoded_and_verified() {
    let (_server, client) = start(Settings::default()).await;
    let send = |crc: &'static str| {
        let client = &client;
        async move {
            let headers = [
                ("x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER"),
                ("content-encoding", "aws-chunked"),
                ("x-amz-decoded-content-length", "9"),
                ("x-amz-trailer", "x-amz-checksum-crc32"),
            ];
            let body = format!("4\r\n1234\r\n5\r\n56789\r\n0\r\nx-amz-checksum-crc32:{crc}\r\n\r\n");
            client.ask("PUT", "/bucket/o", &headers, body.as_bytes()).await
        }
    };
    assert_eq!(send("AAAAAA==").await.code(), "BadDigest");
    assert_eq!(send("y/Q5Jg==").await.status, 200);
    let stored = client.ask("GET", "/bucket/o", &[("x-amz-checksum-mode", "ENABLED")], b"").await;
    assert_eq!(stored.text(), "123456789");
    assert_eq!(stored.header("content-encoding"), None);
    assert_eq!(stored.header("x-amz-checksum-crc32"), Some("y/Q5Jg=="));
}

#[tokio::test]
async fn buckets_are_made_once_and_removed_when_empty() {
    let settings = Settings { foreign_buckets: vec!["theirs".into()], ..Default::default() };
    let (_server, client) = start(settings).await;
    assert_eq!(client.ask("PUT", "/bucket", &[], b"").await.code(), "BucketAlreadyOwnedByYou");
    assert_eq!(client.ask("PUT", "/theirs", &[], b"").await.code(), "BucketAlreadyExists");
    assert_eq!(client.ask("HEAD", "/theirs", &[], b"").await.status, 403);
    assert_eq!(client.ask("PUT", "/No_Bucket", &[], b"").await.code(), "InvalidBucketName");
    assert_eq!(client.ask("HEAD", "/absent", &[], b"").await.status, 404);
    client.put("/bucket/o", b"x").await;
    assert_eq!(client.ask("DELETE", "/bucket", &[], b"").await.code(), "BucketNotEmpty");
    client.ask("DELETE", "/bucket/o", &[], b"").await;
    assert_eq!(client.ask("DELETE", "/bucket", &[], b"").await.status, 204);
    assert_eq!(client.get("/bucket?list-type=2").await.code(), "NoSuchBucket");
}

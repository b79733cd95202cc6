//! Checksums that uploads bring, and those that objects have.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on is to fail")]

mod client;

use client::{Answer, Client, start};
use pail_devserver::Settings;

/// Of "123456789": the check values of the catalogue of parametrised CRC algorithms, and the hashes.
const OF_DIGITS: [(&str, &str); 5] = [
    ("x-amz-checksum-crc32", "y/Q5Jg=="),
    ("x-amz-checksum-crc32c", "4waSgw=="),
    ("x-amz-checksum-crc64nvme", "rosUhgp5mIg="),
    ("x-amz-checksum-sha1", "98O8HYCOBHMq32eZZczDTKeuNEE="),
    ("x-amz-checksum-sha256", "FeKw08M4keuw8e9gnsQZQgwg4yDOlMZfvIwzEkSOsiU="),
];

/// By algorithm: of "1234", of "56789", and of these two values, one behind the other.
const OF_PARTS: [(&str, &str, &str, &str); 4] = [
    ("CRC32", "m+Pgow==", "Ex2gcA==", "rBMwBw==-2"),
    ("CRC32C", "9jr07g==", "g7Vl2A==", "wClZWQ==-2"),
    (
        "SHA1",
        "cRDtpNCeBiql5KOQsKVyrA0sAiA=",
        "8iMdKHHmkKKZVwT3ope9e8ZL5yA=",
        "ZPMlzVAPwgmwAy0Yd3tZeXQx43E=-2",
    ),
    (
        "SHA256",
        "A6xnQhbz4Vx2HuGl4lXwZ5U2I8iziLRFnhP5eNfIRvQ=",
        "92BDp07DO2rvuyiQUPr3qo1IIJVHc5fj5jNFEl1J9Sc=",
        "bnRBBTileCDVQlLT/6fZJGrqcf3O3X6G8kD8V7zZqxQ=-2",
    ),
];

async fn head(client: &Client, path: &str) -> Answer {
    client.ask("HEAD", path, &[("x-amz-checksum-mode", "ENABLED")], b"").await
}

#[tokio::test]
async fn each_checksum_is_verified_in_the_head_and_in_a_trailer_and_given_back() {
    let (_server, client) = start(Settings::default()).await;
    for (name, value) in OF_DIGITS {
        let put = client.ask("PUT", "/bucket/o", &[(name, value)], b"123456789").await;
        assert_eq!((put.status.as_u16(), put.header(name)), (200, Some(value)), "{}", put.text());
        let wrong = client.ask("PUT", "/bucket/o", &[(name, value)], b"123456780").await;
        assert_eq!((wrong.status.as_u16(), wrong.code().as_str()), (400, "BadDigest"), "{name}");
        let malformed = client.ask("PUT", "/bucket/o", &[(name, "AAA")], b"123456789").await;
        assert_eq!(malformed.code(), "InvalidRequest", "{name}");
        for answer in [
            client.ask("GET", "/bucket/o", &[("x-amz-checksum-mode", "ENABLED")], b"").await,
            head(&client, "/bucket/o").await,
        ] {
            assert_eq!(answer.header(name), Some(value));
            assert_eq!(answer.header("x-amz-checksum-type"), Some("FULL_OBJECT"));
        }
        let range = [("x-amz-checksum-mode", "ENABLED"), ("range", "bytes=0-3")];
        assert_eq!(client.ask("GET", "/bucket/o", &range, b"").await.header(name), None);
        assert_eq!(client.get("/bucket/o").await.header(name), None, "it was not asked for");
        let framed = |value: &str| format!("9\r\n123456789\r\n0\r\n{name}:{value}\r\n\r\n");
        let headers = [
            ("x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER"),
            ("x-amz-decoded-content-length", "9"),
            ("x-amz-trailer", name),
        ];
        assert_eq!(client.ask("PUT", "/bucket/t", &headers, framed(value).as_bytes()).await.status, 200);
        assert_eq!(head(&client, "/bucket/t").await.header(name), Some(value));
        let damaged = client.ask("PUT", "/bucket/t", &headers, framed("AAAA").as_bytes()).await;
        assert_eq!(damaged.code(), "BadDigest", "{name}");
    }
    let two = client.ask("PUT", "/bucket/o", &OF_DIGITS[..2], b"123456789").await;
    assert_eq!(two.code(), "InvalidRequest");
    let promised = client.ask("PUT", "/bucket/o", &[("x-amz-sdk-checksum-algorithm", "CRC32")], b"x").await;
    assert_eq!(promised.code(), "InvalidRequest");
}

#[tokio::test]
async fn what_comes_without_a_checksum_has_crc64nvme_and_a_copy_has_its_source_s() {
    let (server, client) = start(Settings::default()).await;
    client.put("/bucket/o", b"123456789").await;
    server.put_object("bucket", "placed", (&b"123456789"[..]).into()).await.unwrap();
    for path in ["/bucket/o", "/bucket/placed"] {
        let answer = head(&client, path).await;
        assert_eq!(answer.header(OF_DIGITS[2].0), Some(OF_DIGITS[2].1), "{path}");
    }
    client.ask("PUT", "/bucket/o", &OF_DIGITS[4..], b"123456789").await;
    let copied = client.ask("PUT", "/bucket/copy", &[("x-amz-copy-source", "/bucket/o")], b"").await;
    assert_eq!(copied.element("ChecksumSHA256").as_deref(), Some(OF_DIGITS[4].1));
    assert_eq!(head(&client, "/bucket/copy").await.header(OF_DIGITS[4].0), Some(OF_DIGITS[4].1));
    let other = [("x-amz-copy-source", "/bucket/o"), ("x-amz-checksum-algorithm", "CRC32C")];
    client.ask("PUT", "/bucket/copy", &other, b"").await;
    assert_eq!(head(&client, "/bucket/copy").await.header(OF_DIGITS[1].0), Some(OF_DIGITS[1].1));
}

/// Begins an upload with these headers and uploads "1234" and "56789"; where an algorithm is named, each with its checksum.
async fn upload(client: &Client, headers: &[(&str, &str)], with: Option<&str>) -> (String, String) {
    let begun = client.ask("POST", "/bucket/parts?uploads", headers, b"").await;
    let id = begun.element("UploadId").unwrap();
    let of_parts = OF_PARTS.into_iter().find(|(name, ..)| Some(*name) == with);
    let mut document = String::from("<CompleteMultipartUpload>");
    for (number, part) in [(1, "1234"), (2, "56789")] {
        let checksum = of_parts.map(|(name, first, second, _)| (name, [first, second][number - 1]));
        let header = checksum.map(|(name, value)| (format!("x-amz-checksum-{name}").to_lowercase(), value));
        let headers: Vec<_> = header.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        let path = format!("/bucket/parts?partNumber={number}&uploadId={id}");
        let answer = client.ask("PUT", &path, &headers, part.as_bytes()).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        document += &format!("<Part><PartNumber>{number}</PartNumber><ETag>{}</ETag>", answer.etag());
        if let Some((name, value)) = checksum {
            document += &format!("<Checksum{name}>{value}</Checksum{name}>");
        }
        document += "</Part>";
    }
    (id, document + "</CompleteMultipartUpload>")
}

async fn complete(client: &Client, id: &str, document: &str, headers: &[(&str, &str)]) -> Answer {
    client.ask("POST", &format!("/bucket/parts?uploadId={id}"), headers, document.as_bytes()).await
}

fn small_parts() -> Settings {
    Settings { part_size_bytes_min: 1, ..Settings::default() }
}

#[tokio::test]
async fn an_upload_in_parts_has_the_full_checksum_of_its_bytes() {
    let (_server, client) = start(small_parts()).await;
    let full = ("x-amz-checksum-type", "FULL_OBJECT");
    for (name, (header, value)) in [("CRC32", OF_DIGITS[0]), ("CRC32C", OF_DIGITS[1])] {
        let (id, document) = upload(&client, &[("x-amz-checksum-algorithm", name), full], Some(name)).await;
        let wrong = complete(&client, &id, &document, &[(header, "AAAAAA==")]).await;
        assert_eq!((wrong.status.as_u16(), wrong.code().as_str()), (400, "BadDigest"));
        let done = complete(&client, &id, &document, &[(header, value), full]).await;
        assert_eq!(done.element(&format!("Checksum{name}")).as_deref(), Some(value), "{}", done.text());
        let stored = head(&client, "/bucket/parts").await;
        assert_eq!((stored.header(header), stored.header(full.0)), (Some(value), Some(full.1)));
    }
    let (header, value) = OF_DIGITS[2];
    for headers in [vec![], vec![("x-amz-checksum-algorithm", "CRC64NVME")]] {
        let (id, document) = upload(&client, &headers, None).await;
        let done = complete(&client, &id, &document, &[]).await;
        assert_eq!(done.element("ChecksumCRC64NVME").as_deref(), Some(value));
        assert_eq!(done.element("ChecksumType").as_deref(), Some("FULL_OBJECT"));
        assert_eq!(head(&client, "/bucket/parts").await.header(header), Some(value));
    }
}

#[tokio::test]
async fn an_upload_in_parts_has_a_checksum_of_its_parts_checksums() {
    let (_server, client) = start(small_parts()).await;
    for (name, _, _, composite) in OF_PARTS {
        let asked = [("x-amz-checksum-algorithm", name)];
        let begun = client.ask("POST", "/bucket/parts?uploads", &asked, b"").await;
        assert_eq!(begun.header("x-amz-checksum-type"), Some("COMPOSITE"));
        let (id, document) = upload(&client, &asked, Some(name)).await;
        let bare = document.split(&format!("<Checksum{name}>")).next().unwrap().to_owned();
        let bare = bare + "</Part></CompleteMultipartUpload>";
        assert_eq!(complete(&client, &id, &bare, &[]).await.code(), "InvalidRequest", "{name}");
        let done = complete(&client, &id, &document, &[]).await;
        assert_eq!(done.element(&format!("Checksum{name}")).as_deref(), Some(composite), "{}", done.text());
        let stored = head(&client, "/bucket/parts").await;
        let header = format!("x-amz-checksum-{name}").to_lowercase();
        assert_eq!(stored.header(&header), Some(composite));
        assert_eq!(stored.header("x-amz-checksum-type"), Some("COMPOSITE"));
        let copied = client.ask("PUT", "/bucket/copy", &[("x-amz-copy-source", "/bucket/parts")], b"").await;
        let (_, full) = OF_DIGITS.into_iter().find(|(known, _)| *known == header).unwrap();
        assert_eq!(copied.element(&format!("Checksum{name}")).as_deref(), Some(full));
    }
}

#[tokio::test]
async fn parts_and_uploads_whose_checksums_do_not_agree_are_refused() {
    let (_server, client) = start(small_parts()).await;
    for headers in [
        &[("x-amz-checksum-algorithm", "CRC64NVME"), ("x-amz-checksum-type", "COMPOSITE")][..],
        &[("x-amz-checksum-algorithm", "SHA256"), ("x-amz-checksum-type", "FULL_OBJECT")],
        &[("x-amz-checksum-algorithm", "MD4")],
        &[("x-amz-checksum-type", "FULL_OBJECT")],
    ] {
        let begun = client.ask("POST", "/bucket/parts?uploads", headers, b"").await;
        assert_eq!((begun.status.as_u16(), begun.code().as_str()), (400, "InvalidRequest"), "{headers:?}");
    }
    let crc32 = ("x-amz-checksum-crc32", OF_PARTS[0].1);
    for (asked, sent, message) in [
        (None, Some(crc32), "expected checksum Type: null, actual checksum Type: crc32"),
        (Some("SHA256"), Some(crc32), "expected checksum Type: sha256, actual checksum Type: crc32"),
        (Some("SHA256"), None, "expected checksum Type: sha256, actual checksum Type: null"),
    ] {
        let headers: Vec<_> = asked.iter().map(|name| ("x-amz-checksum-algorithm", *name)).collect();
        let begun = client.ask("POST", "/bucket/parts?uploads", &headers, b"").await;
        let path = format!("/bucket/parts?partNumber=1&uploadId={}", begun.element("UploadId").unwrap());
        let headers: Vec<_> = sent.into_iter().collect();
        let part = client.ask("PUT", &path, &headers, b"1234").await;
        assert_eq!(part.code(), "InvalidRequest");
        assert!(part.text().contains(message), "{}", part.text());
    }
}

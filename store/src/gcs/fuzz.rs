//! Fuzzing of what Google Cloud Storage sends.

use super::{failure, listing, resource};
use crate::contract::RawKey;
use crate::fuzz::fuzz;
use crate::http::request::ApiRequest;
use http::{HeaderMap, HeaderValue, Method, StatusCode};

const LISTINGS: &[&str] = &[
    r#"{"kind":"storage#objects","nextPageToken":"token","prefixes":["a/d/"],"items":[{"name":"a/b","size":"5","generation":"1700000000000000",
    "updated":"2025-01-02T03:04:05.678Z","crc32c":"mnG7TA==","etag":"CAE=","contentType":"text/plain","metadata":{"mtime":"1"},
    "storageClass":"STANDARD","kmsKeyName":"projects/p/locations/l/keyRings/r/cryptoKeys/k/cryptoKeyVersions/1","cacheControl":"no-cache"},
    {"name":"a/ä\n\u0001","size":0,"generation":"2"}]}"#,
    r#"{"items":[{"name":"a/x","size":"1","generation":"1","timeCreated":"2025-01-02T03:04:05Z"}]}"#,
    "{}",
];

const ERRORS: &[&str] = &[
    r#"{"error":{"code":404,"message":"No such object: b/k","errors":[{"message":"No such object: b/k","domain":"global","reason":"notFound"}]}}"#,
    r#"{"error":{"code":400,"message":"Bucket is a requester pays bucket but no user project provided.","errors":[{"reason":"required"}]}}"#,
    r#"{"error":{"code":429,"message":"rate","errors":[{"reason":"rateLimitExceeded","message":"r"}]}}"#,
    r#"{"error":"invalid_grant","error_description":"Bad Request"}"#,
    "No such object",
    "<html><title>Error 502</title></html>",
];

#[test]
fn fuzzed_listings_are_read_or_refused() {
    fuzz(LISTINGS, |input| {
        let Ok(listed) = serde_json::from_slice::<listing::Listed>(input) else { return false };
        for object in &listed.items {
            let key = RawKey::new("k").unwrap();
            let _ = (object.meta(&key), object.version(), object.written(), object.checksum());
            let _ = (object.kms_key().map(str::len), object.copied());
            resource::resource_of(
                &object.meta(&key).attributes.map(|shared| (*shared).clone()).unwrap_or_default(),
            );
        }
        let page = listing::page_of(listed, "a/", Some("a/b"), true);
        assert!(page.objects.iter().all(|object| object.key.as_str().starts_with("a/")));
        true
    });
}

#[test]
fn fuzzed_errors_are_told() {
    let key = RawKey::new("k").unwrap();
    fuzz(ERRORS, move |input| {
        let mut headers = HeaderMap::new();
        if let Ok(value) = HeaderValue::from_bytes(&input[..input.len().min(40)]) {
            headers.insert(http::header::RETRY_AFTER, value);
        }
        let status =
            StatusCode::from_u16(400 + u16::from(input.last().copied().unwrap_or_default()) % 200).unwrap();
        for request in [
            ApiRequest::on("objects.get", Method::GET, &key),
            ApiRequest::new("buckets.insert", Method::POST),
        ] {
            for is_signed in [false, true] {
                let told = failure::failure_in(&request, status, &headers, input, is_signed);
                assert!(told.is_some(), "a status that is none of success is a failure");
            }
        }
        // Any body is said something of: those are counted that are of one kind.
        input.starts_with(b"{") || input.starts_with(b"<") || input.starts_with(b"No")
    });
}

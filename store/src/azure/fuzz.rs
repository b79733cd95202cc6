//! Fuzzing of what Azure sends.

use super::{failure, listing, xml};
use crate::contract::{ListRequest, RawKey};
use crate::fuzz::fuzz;
use crate::http::request::ApiRequest;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use std::time::SystemTime;

const LISTINGS: &[&str] = &[
    "\u{feff}<?xml version=\"1.0\" encoding=\"utf-8\"?><EnumerationResults ServiceEndpoint=\"https://a.blob.core.windows.net/\" ContainerName=\"c\">\
     <Prefix>a/</Prefix><Blobs><Blob><Name>a/b &amp; c</Name><Properties><Last-Modified>Thu, 02 Jan 2025 03:04:05 GMT</Last-Modified>\
     <Etag>0x8DBFDE4D5F1C2A0</Etag><Content-Length>5</Content-Length><ResourceType>file</ResourceType></Properties></Blob>\
     <Blob><Name Encoded=\"true\">a/%EF%BF%BE</Name><Properties><Content-Length>0</Content-Length></Properties></Blob>\
     <BlobPrefix><Name>a/d/</Name></BlobPrefix></Blobs><NextMarker>marker</NextMarker></EnumerationResults>",
    "<EnumerationResults><Blobs/><NextMarker/></EnumerationResults>",
];

const OTHERS: &[&str] = &[
    "<?xml version=\"1.0\" encoding=\"utf-8\"?><Error><Code>BlobNotFound</Code><Message>The specified blob does not exist.\n\
     RequestId:1\nTime:2025-01-02T03:04:05Z</Message></Error>",
    "<Error><Code>AuthenticationFailed</Code><Message>m</Message><AuthenticationErrorDetail>d</AuthenticationErrorDetail></Error>",
    "<Tags><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tags>",
    "<BlockList><CommittedBlocks><Block><Name>AAAA</Name><Size>5</Size></Block></CommittedBlocks></BlockList>",
];

#[test]
fn fuzzed_listings_are_read_or_refused() {
    fuzz(LISTINGS, |input| {
        let Ok(listed) = xml::listing(input) else { return false };
        let request = ListRequest { prefix: "a/".to_owned(), delimiter: true, ..ListRequest::default() };
        let page = listing::page_of(listed, &request, Some("a/b"));
        assert!(page.objects.iter().all(|object| object.key.as_str().starts_with("a/")));
        true
    });
}

#[test]
fn fuzzed_errors_tags_and_blocks_are_told() {
    let key = RawKey::new("k").unwrap();
    fuzz(OTHERS, move |input| {
        let mut headers = HeaderMap::new();
        for name in ["x-ms-error-code", "date", "retry-after"] {
            if let Ok(value) = HeaderValue::from_bytes(&input[..input.len().min(40)]) {
                headers.insert(name, value);
            }
        }
        let status =
            StatusCode::from_u16(400 + u16::from(input.last().copied().unwrap_or_default()) % 200).unwrap();
        for request in
            [ApiRequest::on("GetBlob", Method::GET, &key), ApiRequest::new("CreateContainer", Method::PUT)]
        {
            for headers in [&headers, &HeaderMap::new()] {
                let told = failure::failure_in(&request, status, headers, input, SystemTime::now());
                assert!(told.is_some(), "a status that is none of success is a failure");
            }
        }
        let tags = xml::tags(input).is_ok_and(|tags| !tags.is_empty());
        let blocks = xml::blocks(input).is_ok_and(|blocks| !blocks.committed.is_empty());
        tags || blocks || !xml::error(input).code.is_empty()
    });
}

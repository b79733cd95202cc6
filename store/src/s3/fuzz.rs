//! Fuzzing of what servers of S3 send, and of IBM's files of credentials.

use super::{failure, ibm_files, listing, xml};
use crate::contract::RawKey;
use crate::fuzz::fuzz;
use crate::http::request::ApiRequest;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use std::time::SystemTime;

const LISTINGS: &[&str] = &[
    "<?xml version=\"1.0\" encoding=\"UTF-8\"?><ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>bucket</Name>\
     <Prefix>a/</Prefix><KeyCount>2</KeyCount><MaxKeys>1000</MaxKeys><EncodingType>url</EncodingType><IsTruncated>true</IsTruncated>\
     <NextContinuationToken>token</NextContinuationToken><Contents><Key>a/b+c%2Bd</Key><LastModified>2025-01-02T03:04:05.678Z</LastModified>\
     <ETag>&quot;9b2cf535f27731c974343645a3985328&quot;</ETag><Size>5</Size><StorageClass>STANDARD</StorageClass></Contents>\
     <Contents><Key>a/%C3%A4</Key><LastModified>2025-01-02T03:04:05Z</LastModified><ETag>\"x-2\"</ETag><Size>0</Size></Contents>\
     <CommonPrefixes><Prefix>a/d/</Prefix></CommonPrefixes></ListBucketResult>",
    "<ListBucketResult><Contents><Key>a/x</Key><Size>1</Size></Contents></ListBucketResult>",
    "<ListBucketResult/>",
];

const OTHERS: &[&str] = &[
    "<ListMultipartUploadsResult><EncodingType>url</EncodingType><Upload><Key>a%20b</Key><UploadId>id</UploadId>\
     <Initiated>2025-01-02T03:04:05.000Z</Initiated></Upload></ListMultipartUploadsResult>",
    "<ListPartsResult><Part><PartNumber>1</PartNumber><ETag>\"x\"</ETag><Size>5</Size></Part></ListPartsResult>",
    "<CopyObjectResult><LastModified>2025-01-02T03:04:05.000Z</LastModified><ETag>\"x\"</ETag></CopyObjectResult>",
    "<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>",
    "<InitiateMultipartUploadResult><Bucket>b</Bucket><Key>k</Key><UploadId>id</UploadId></InitiateMultipartUploadResult>",
];

const ERRORS: &[&str] = &[
    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>NoSuchKey</Code><Message>The specified key does not exist.</Message>\
     <Key>k</Key><RequestId>1</RequestId></Error>",
    "<Error><Code>AuthorizationHeaderMalformed</Code><Message>the region is wrong</Message><Region>eu-west-1</Region></Error>",
    "<Error><Code>InvalidObjectState</Code><StorageClass>GLACIER</StorageClass><AccessTier>ARCHIVE_ACCESS</AccessTier></Error>",
    "<Error><Code>RequestTimeTooSkewed</Code><Message>x</Message></Error>",
    "<Error><httpCode>403</httpCode><Code>AccessDenied</Code><Message>IBM</Message></Error>",
    "<Error><Code>SlowDown</Code></Error>",
];

const ACCOUNTS: &[&str] = &[
    "access_key_id: abc\nsecret_access_key: \"d:e f\"\niam_api_key: key\nresource_instance_id: crn:v1:bluemix:public::\n",
    "{\"apikey\": \"k\", \"cos_hmac_keys\": {\"access_key_id\": \"a\", \"secret_access_key\": \"s\"}, \"endpoints\": \"https://x\"}",
    "# nothing\n---\niam_api_key: &a |\n  key\nother: [*a, {b: c}]\n",
];

#[test]
fn fuzzed_listings_are_read_or_refused() {
    fuzz(LISTINGS, |input| {
        let Ok(listed) = xml::parse::<xml::ListAnswer>(input) else { return false };
        let mut page = listing::page_of(listed);
        listing::keep_within(&mut page, "a/");
        assert!(page.objects.iter().all(|object| object.key.as_str().starts_with("a/")));
        true
    });
}

#[test]
fn fuzzed_answers_of_uploads_copies_and_tags_are_read_or_refused() {
    fuzz(OTHERS, |input| {
        let uploads = xml::parse::<xml::UploadsAnswer>(input).map(|answer| {
            for upload in answer.upload {
                let _ = (listing::decoded(&upload.key), listing::time_of(&upload.initiated));
            }
        });
        let parts = xml::parse::<xml::PartsAnswer>(input).is_ok();
        let etag = xml::parse::<xml::EtagAnswer>(input).is_ok();
        let tags = xml::parse::<xml::TaggingAnswer>(input).is_ok();
        let started = xml::parse::<xml::UploadAnswer>(input).is_ok();
        uploads.is_ok() || parts || etag || tags || started
    });
}

#[test]
fn fuzzed_errors_are_told() {
    let key = RawKey::new("k").unwrap();
    fuzz(ERRORS, move |input| {
        let mut headers = HeaderMap::new();
        for name in [http::header::DATE, http::header::RETRY_AFTER] {
            if let Ok(value) = HeaderValue::from_bytes(&input[..input.len().min(40)]) {
                headers.insert(name, value);
            }
        }
        let status =
            StatusCode::from_u16(400 + u16::from(input.last().copied().unwrap_or_default()) % 200).unwrap();
        for request in [
            ApiRequest::on("GetObject", Method::GET, &key),
            ApiRequest::on("CopyObject", Method::PUT, &key).long_running(),
            ApiRequest::new("CreateBucket", Method::PUT),
        ] {
            let read = |status| failure::failure_in(&request, status, &headers, input, SystemTime::now());
            read(StatusCode::OK);
            assert!(read(status).is_some(), "a status that is none of success is a failure");
        }
        xml::error_in(input).is_some()
    });
}

#[test]
fn fuzzed_files_of_ibm_s_credentials_are_read_or_refused() {
    fuzz(ACCOUNTS, |input| ibm_files::fuzz(&String::from_utf8_lossy(input)));
}

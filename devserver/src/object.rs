//! One version of an object.
//!
//! Owns: [`Object`]: content, ETag and the headers stored with it. Immutable; a write replaces it as a whole.

use crate::checksum::Checksum;
use crate::content::Content;
use crate::error::S3Error;
use crate::folder::Sidecar;
use crate::gcs::GcsAttributes;
use crate::reply::Reply;
use http::header::{ACCEPT_RANGES, CONTENT_TYPE, ETAG, LAST_MODIFIED};
use http::{HeaderMap, HeaderName};
use jiff::{Timestamp, tz::TimeZone};

/// Headers that are stored with an object and given back with it, beside `x-amz-meta-*`.
const STORED_HEADERS: [&str; 7] = [
    "content-type",
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "expires",
    "x-amz-website-redirect-location",
];

/// User metadata takes at most this many bytes, names and values together.
const METADATA_LEN_BYTES_MAX: usize = 2048;

/// What the names of user metadata begin with, among the headers of an object.
pub(crate) const METADATA_PREFIX: &str = "x-amz-meta-";

/// One version of an object.
#[derive(Debug)]
pub(crate) struct Object {
    pub(crate) content: Content,
    /// Without quotes.
    pub(crate) etag: String,
    /// Whole seconds, as far as HTTP can say.
    pub(crate) modified: Timestamp,
    /// Lower-case names, but for the keys of metadata that came through the GCS API.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) checksum: Option<Checksum>,
    /// The lengths of the parts it was uploaded in; empty if it was none.
    pub(crate) part_lens: Vec<u64>,
    /// Its generation, and what else GCS knows of it.
    pub(crate) gcs: GcsAttributes,
    /// Where it is recorded in the folder, if the server has one and the object is in a bucket.
    pub(crate) sidecar: Option<Sidecar>,
}

impl Object {
    pub(crate) fn new(content: Content, etag: String, headers: Vec<(String, String)>) -> Self {
        let modified = now();
        Self {
            content,
            etag,
            modified,
            headers,
            checksum: None,
            part_lens: Vec::new(),
            gcs: GcsAttributes::default(),
            sidecar: None,
        }
    }

    pub(crate) fn quoted_etag(&self) -> String {
        format!("\"{}\"", self.etag)
    }

    /// Sets the headers of GET and HEAD, but for those of ranges.
    pub(crate) fn describe(&self, reply: &mut Reply, with_checksum: bool) {
        reply.set(ETAG, &self.quoted_etag());
        reply.set(LAST_MODIFIED, &http_date(self.modified));
        reply.set(ACCEPT_RANGES, "bytes");
        reply.set(CONTENT_TYPE, "binary/octet-stream");
        for (name, value) in &self.headers {
            if let Ok(name) = HeaderName::try_from(name.as_str()) {
                reply.set(name, value);
            }
        }
        if with_checksum {
            self.describe_checksum(reply);
        }
    }

    pub(crate) fn describe_checksum(&self, reply: &mut Reply) {
        if let Some(checksum) = &self.checksum
            && let Ok(name) = HeaderName::try_from(checksum.header.as_str())
        {
            reply.set(name, &checksum.value);
            reply.set(HeaderName::from_static("x-amz-checksum-type"), "FULL_OBJECT");
        }
    }
}

/// The headers of an upload that are stored with it. Errors: `MetadataTooLarge`.
pub(crate) fn stored_headers(headers: &HeaderMap) -> Result<Vec<(String, String)>, S3Error> {
    let mut stored = Vec::new();
    let mut metadata_len = 0;
    for name in headers.keys() {
        let is_metadata = name.as_str().starts_with(METADATA_PREFIX);
        if !is_metadata && !STORED_HEADERS.contains(&name.as_str()) {
            continue;
        }
        let values: Vec<_> =
            headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
        let mut value = values.join(",");
        if is_metadata {
            metadata_len += name.as_str().len() - METADATA_PREFIX.len() + value.len();
        }
        if name.as_str() == "content-encoding" {
            // The framing of the upload is not part of the object.
            let kept: Vec<&str> =
                value.split(',').map(str::trim).filter(|coding| *coding != "aws-chunked").collect();
            value = kept.join(",");
            if value.is_empty() {
                continue;
            }
        }
        stored.push((name.as_str().to_owned(), value));
    }
    if metadata_len > METADATA_LEN_BYTES_MAX {
        return Err(S3Error::new(
            400,
            "MetadataTooLarge",
            "Your metadata headers exceed the maximum allowed metadata size",
        ));
    }
    Ok(stored)
}

/// The present, in whole seconds.
pub(crate) fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}

/// As in `Last-Modified`.
pub(crate) fn http_date(time: Timestamp) -> String {
    TimeZone::UTC.to_datetime(time).strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

/// As in listings.
pub(crate) fn iso_date(time: Timestamp) -> String {
    TimeZone::UTC.to_datetime(time).strftime("%Y-%m-%dT%H:%M:%S.000Z").to_string()
}

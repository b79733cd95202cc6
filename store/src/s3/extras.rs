//! Headers that go with every request of an operation.
//!
//! Owns: [`Extras`]: who pays for the request, the customer's key, and that a read of a whole object asks for its checksum.

use super::customer_key::CustomerKey;
use crate::http::request::ApiRequest;
use http::{HeaderMap, HeaderName, HeaderValue, header};

/// What a store's requests have beside what they are for.
#[derive(Debug, Default)]
pub(super) struct Extras {
    /// Whoever asks pays (Amazon S3 User Guide, "Using Requester Pays buckets").
    pub requester_pays: bool,
    pub customer_key: Option<CustomerKey>,
    /// Writes are sent without a checksum, by the caller's wish.
    pub sums_no_writes: bool,
    /// Reads ask for no checksum, by the caller's wish.
    pub checks_no_reads: bool,
}

impl Extras {
    pub fn add(&self, request: &ApiRequest<'_>, headers: &mut HeaderMap) {
        if self.requester_pays {
            const PAYER: HeaderName = HeaderName::from_static("x-amz-request-payer");
            headers.insert(PAYER, const { HeaderValue::from_static("requester") });
        }
        // A range has no checksum. With HEAD, whoever may not decrypt would be refused for asking.
        if request.operation == "GetObject" && !self.checks_no_reads && !headers.contains_key(header::RANGE) {
            const MODE: HeaderName = HeaderName::from_static("x-amz-checksum-mode");
            headers.insert(MODE, const { HeaderValue::from_static("ENABLED") });
        }
        if let Some(key) = &self.customer_key {
            add_customer_key(key, request.operation, headers);
        }
    }
}

fn add_customer_key(key: &CustomerKey, operation: &str, headers: &mut HeaderMap) {
    match operation {
        "HeadObject"
        | "GetObject"
        | "PutObject"
        | "CreateMultipartUpload"
        | "UploadPart"
        | "CompleteMultipartUpload"
        | "ListParts" => key.add(headers),
        "CopyObject" | "UploadPartCopy" => {
            key.add(headers);
            key.add_for_source(headers);
        }
        _ => {}
    }
}

//! Metadata as it stands in an answer's headers.
//!
//! Owns: the way from them to [`ObjectMeta`].

use super::Pipeline;
use super::attributes::attributes_in;
use super::checksums::checksum_in;
use super::etag::version_in;
use crate::contract::{ErrorKind, ObjectMeta, Result};
use crate::http::request::ApiRequest;
use http::HeaderMap;
use std::sync::Arc;
use std::time::SystemTime;

/// The metadata in an answer to HEAD. Errors: `Corrupt`, when there is no length.
pub(super) fn meta_of(
    pipeline: &Pipeline,
    request: &ApiRequest<'_>,
    headers: &HeaderMap,
) -> Result<ObjectMeta> {
    meta_of_size(pipeline, request, headers, text(headers, "content-length").and_then(|len| len.parse().ok()))
}

/// The metadata in an answer about an object of `size`. Errors: `Corrupt`, when that is unknown.
pub(super) fn meta_of_size(
    pipeline: &Pipeline,
    request: &ApiRequest<'_>,
    headers: &HeaderMap,
    size: Option<u64>,
) -> Result<ObjectMeta> {
    let (Some(key), Some(size)) = (request.key, size) else {
        let message = "the answer does not say the object's length".to_owned();
        return Err(pipeline.error(request.operation, request.key, ErrorKind::Corrupt, message));
    };
    let written = text(headers, "last-modified").and_then(|date| httpdate::parse_http_date(date).ok());
    Ok(ObjectMeta {
        key: key.clone(),
        size,
        version: version_in(headers),
        last_modified: written.unwrap_or(SystemTime::UNIX_EPOCH),
        attributes: Some(Arc::new(attributes_in(headers))),
        checksum: checksum_in(headers),
        md5: None,
    })
}

pub(super) fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

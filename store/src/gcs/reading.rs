//! Objects' metadata and bytes.
//!
//! # User metadata
//! The JSON API sends it with an object's resource, and not with its bytes: a [`GetResult`](crate::GetResult) has no attributes.
//!
//! # Encodings
//! What is stored with `Content-Encoding: gzip` is decompressed on its way to whoever does not say that it takes gzip (Cloud Storage
//! documentation, "Transcoding of gzip-compressed files"); the bytes wanted here are those that are stored.

use super::Pipeline;
use super::resource::{FIELDS, ObjectResource};
use super::service::GcsService;
use crate::contract::{Checksum, Error, ErrorKind, ObjectMeta, RawKey, Result, Version};
use crate::http::deadline::Waiting;
use crate::http::pipeline::{Answer, OpenBody};
use crate::http::reading::{Readable, changed, served};
use crate::http::request::ApiRequest;
use crate::http::served::length_in;
use async_trait::async_trait;
use http::{HeaderMap, Method};
use std::ops::Range;
use std::sync::Arc;
use std::time::SystemTime;

const OPERATION: &str = "GetObject";

#[async_trait]
impl Readable for GcsService {
    const OPERATION: &'static str = OPERATION;

    async fn head(pipeline: &Pipeline, key: &RawKey) -> Result<ObjectMeta> {
        Ok(resource(pipeline, key).await?.meta(key))
    }

    async fn open(
        pipeline: &Pipeline,
        key: &RawKey,
        range: Option<Range<u64>>,
        version: Option<&Version>,
        waiting: &Arc<Waiting>,
    ) -> Result<(ObjectMeta, Range<u64>, OpenBody)> {
        let mut request = ApiRequest::on(OPERATION, Method::GET, key)
            .path(pipeline.service.endpoint.object_path(key.as_str()))
            .query("alt", "media")
            .header("accept-encoding", "gzip");
        if let Some(range) = &range {
            request = request.header("range", &format!("bytes={}-{}", range.start, range.end - 1));
        }
        match version {
            Some(Version::Generation(generation)) => {
                request = request.query("ifGenerationMatch", generation.to_string());
            }
            // Of another kind of store.
            Some(_) => return Err(changed(pipeline, key)),
            None => {}
        }
        let Answer { headers, body, .. } = match pipeline.open(&request, waiting).await {
            // Deleted: it is the version that is gone.
            Err(error) if error.kind == ErrorKind::NotFound && version.is_some() => {
                let message = "the object is gone".to_owned();
                return Err(Error { kind: ErrorKind::Precondition, message, ..error });
            }
            opened => opened?,
        };
        let current = number_in(&headers, "x-goog-generation").map_or(Version::Unknown, Version::Generation);
        // Some emulators ignore the condition.
        if version.is_some_and(|version| current != *version) {
            return Err(changed(pipeline, key));
        }
        let length = length_in(&headers).or_else(|| number_in(&headers, "x-goog-stored-content-length"));
        let served = served(pipeline, key, &headers, length, range.as_ref())?;
        let written = text(&headers, "last-modified").and_then(|date| httpdate::parse_http_date(date).ok());
        let meta = ObjectMeta {
            key: key.clone(),
            size: served.size,
            version: current,
            last_modified: written.unwrap_or(SystemTime::UNIX_EPOCH),
            attributes: None,
            checksum: checksum_in(&headers),
            md5: None,
        };
        Ok((meta, served.range, body))
    }
}

/// An object's resource, with [`FIELDS`].
pub(super) async fn resource(pipeline: &Pipeline, key: &RawKey) -> Result<ObjectResource> {
    let request = ApiRequest::on("HeadObject", Method::GET, key)
        .path(pipeline.service.endpoint.object_path(key.as_str()))
        .query("fields", FIELDS);
    let answer = pipeline.send(&request).await?;
    serde_json::from_slice(&answer.body)
        .map_err(|cause| pipeline.error(request.operation, Some(key), ErrorKind::Corrupt, cause.to_string()))
}

/// The CRC32C of the whole object, in `x-goog-hash: crc32c=…,md5=…`, which may come as two headers.
fn checksum_in(headers: &HeaderMap) -> Option<Checksum> {
    let values = headers.get_all("x-goog-hash").iter().filter_map(|value| value.to_str().ok());
    let mut hashes = values.flat_map(|value| value.split(','));
    let crc32c = hashes.find_map(|hash| hash.trim().strip_prefix("crc32c="))?;
    Checksum::crc32c_from_base64(crc32c)
}

fn number_in(headers: &HeaderMap, name: &str) -> Option<u64> {
    text(headers, name)?.trim().parse().ok()
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_found_in_one_header_or_two() {
        let mut headers = HeaderMap::new();
        headers.append("x-goog-hash", "md5=abc".parse().unwrap());
        assert_eq!(checksum_in(&headers), None);
        headers.append("x-goog-hash", "crc32c=4waSgw==".parse().unwrap());
        assert_eq!(checksum_in(&headers), Some(Checksum::Crc32c(0xe306_9283)));
        let mut headers = HeaderMap::new();
        headers.append("x-goog-hash", "crc32c=4waSgw==, md5=abc".parse().unwrap());
        assert_eq!(checksum_in(&headers), Some(Checksum::Crc32c(0xe306_9283)));
    }
}

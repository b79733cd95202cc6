//! GetObject.

use super::Pipeline;
use super::checksums::checksum_in;
use super::etag::{quoted, version_in};
use super::meta::{meta_of, meta_of_size};
use super::service::S3Service;
use crate::contract::{Checksum, ObjectMeta, RawKey, Result, Version};
use crate::http::counters::InFlight;
use crate::http::deadline::Waiting;
use crate::http::pipeline::{Answer, OpenBody};
use crate::http::reading::{Readable, changed, served};
use crate::http::request::ApiRequest;
use crate::http::served::length_in;
use async_trait::async_trait;
use http::{Method, header};
use std::ops::Range;
use std::sync::Arc;

const OPERATION: &str = "GetObject";

#[async_trait]
impl Readable for S3Service {
    const OPERATION: &'static str = OPERATION;

    async fn head(pipeline: &Pipeline, key: &RawKey) -> Result<ObjectMeta> {
        let request = ApiRequest::on("HeadObject", Method::HEAD, key);
        meta_of(pipeline, &request, &pipeline.send(&request).await?.headers)
    }

    async fn open(
        pipeline: &Pipeline,
        key: &RawKey,
        range: Option<Range<u64>>,
        version: Option<&Version>,
        waiting: &Arc<Waiting>,
    ) -> Result<(ObjectMeta, Range<u64>, OpenBody)> {
        let mut request = ApiRequest::on(OPERATION, Method::GET, key);
        if let Some(range) = &range {
            request = request.header("range", &format!("bytes={}-{}", range.start, range.end - 1));
        }
        if let Some(version) = version {
            request = request.header_bytes("if-match", &quoted(version));
        }
        let Answer { headers, body, .. } = pipeline.open(&request, waiting).await?;
        let current = version_in(&headers);
        // Some servers ignore If-Match.
        if version.is_some_and(|version| current != *version) {
            return Err(changed(pipeline, key));
        }
        let mut length = length_in(&headers);
        if length.is_none() && !headers.contains_key(header::CONTENT_RANGE) {
            length = Some(length_by_head(pipeline, key, &current, &body.in_flight, waiting).await?);
        }
        let served = served(pipeline, key, &headers, length, range.as_ref())?;
        let meta = meta_of_size(pipeline, &request, &headers, Some(served.size))?;
        Ok((meta, served.range, body))
    }
}

/// The checksum of a version, which HEAD tells where it is asked for it: where the object is encrypted by a key of the caller's, that takes the
/// permission to decrypt (Amazon S3 API Reference, HeadObject, `x-amz-checksum-mode`).
pub(super) async fn checksum(
    pipeline: &Pipeline,
    key: &RawKey,
    version: &Version,
) -> Result<Option<Checksum>> {
    if !pipeline.service.checks_reads() {
        return Ok(None);
    }
    let request = ApiRequest::on("HeadObject", Method::HEAD, key).header("x-amz-checksum-mode", "ENABLED");
    let headers = pipeline.send(&request).await?.headers;
    Ok(checksum_in(&headers).filter(|_| version_in(&headers).is(version)))
}

/// The length of an object whose bytes are on their way, and have the `place`, but do not say how many they are. Their end could tell, or
/// that of the connection, but for one that comes too early.
async fn length_by_head(
    pipeline: &Pipeline,
    key: &RawKey,
    version: &Version,
    place: &InFlight,
    waiting: &Arc<Waiting>,
) -> Result<u64> {
    let request = ApiRequest::on("HeadObject", Method::HEAD, key);
    let meta = meta_of(pipeline, &request, &pipeline.send_beside(place, &request, waiting).await?.headers)?;
    if meta.version == *version { Ok(meta.size) } else { Err(changed(pipeline, key)) }
}

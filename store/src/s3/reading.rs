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

/// The MD5 that an ETag is: of an object that was written in one request, and is not encrypted by a key of KMS (Amazon S3 API Reference, "Object"),
/// which only an answer that has attributes tells.
pub(super) fn md5(meta: &ObjectMeta) -> Option<[u8; 16]> {
    let attributes = meta.attributes.as_ref()?;
    let is_by_kms = attributes.encryption.as_ref().is_some_and(|by| by.algorithm != "AES256");
    if is_by_kms { None } else { hex::decode(meta.version.etag()?).ok()?.try_into().ok() }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::{Attributes, Encryption};

    #[test]
    fn an_etag_is_an_md5_where_nothing_says_otherwise() {
        let by = |algorithm: &str| {
            let encryption = Encryption { algorithm: algorithm.into(), key_id: None, bucket_key: false };
            Some(Arc::new(Attributes { encryption: Some(encryption), ..Attributes::default() }))
        };
        let of = |etag: &str, attributes| {
            md5(&ObjectMeta {
                key: RawKey::new("k").unwrap(),
                size: 1,
                version: Version::from_etag(etag),
                last_modified: std::time::SystemTime::UNIX_EPOCH,
                attributes,
                checksum: None,
                md5: None,
            })
        };
        let etag = "0cc175b9c0f1b6a831c399e269772661";
        let plain = || Some(Arc::new(Attributes::default()));
        assert_eq!(of(etag, plain()).map(hex::encode).as_deref(), Some(etag));
        assert!(of(etag, by("AES256")).is_some());
        for algorithm in ["aws:kms", "aws:kms:dsse"] {
            assert_eq!(of(etag, by(algorithm)), None, "{algorithm}");
        }
        assert_eq!(of(etag, None), None, "a listing does not tell how an object is encrypted");
        for other in ["0cc175b9c0f1b6a831c399e269772661-2", "0x8DEADBEEF", ""] {
            assert_eq!(of(other, plain()), None, "{other}");
        }
    }
}

//! Writes: objects, copies, deletions, multipart uploads, and their conditions.
//!
//! Owns: [`Writer`], the pipeline with what the endpoint is known to enforce.
//!
//! # Conditions
//! Where the endpoint enforces a condition it is sent with the write. Elsewhere a HEAD compares just before an
//! unconditional write, which another writer can race; [`Capabilities`](crate::Capabilities) says which it is. The same
//! goes for the version of a copy's source, with one more HEAD after the copy, by which it is known what was copied.
//!
//! # A write that may have happened already
//! A refusal after an attempt whose answer was lost is told with `maybe_applied`; `wrappers::lost_answers` finds out.
//!
//! # Checksums
//! PutObject of bytes in memory carries their CRC32C: servers that know it refuse what was damaged on the way, others
//! ignore it. Parts carry none: the algorithm would have to be named when the upload begins, and then every part needs its
//! checksum before its first byte, which one that is read while it is sent does not have.

use super::Pipeline;
use super::endpoint::encoded_copy_source;
use super::meta::{add_options, quoted, version_in};
use super::probe::Enforcement;
use super::service::S3Service;
use super::xml;
use crate::contract::{
    Condition, Error, ErrorKind, ObjectMeta, Part, Payload, PutOptions, RawKey, Result, Upload, Version,
};
use crate::http::reading::Readable;
use crate::http::request::ApiRequest;
use base64::Engine;
use bytes::Bytes;
use http::Method;
use std::ops::Range;
use std::sync::Arc;

/// Writes through one pipeline under one endpoint's rules.
pub(super) struct Writer<'a> {
    pub pipeline: &'a Arc<Pipeline>,
    pub enforcement: Enforcement,
}

impl Writer<'_> {
    pub async fn head(&self, key: &RawKey) -> Result<ObjectMeta> {
        S3Service::head(self.pipeline, key).await
    }

    pub async fn put(&self, key: &RawKey, payload: Payload, options: &PutOptions) -> Result<Version> {
        let mut request = ApiRequest::on("PutObject", Method::PUT, key).payload(payload.clone());
        add_options(self.pipeline, &mut request, options)?;
        if let Payload::Bytes(bytes) = &payload {
            request = request.header("x-amz-checksum-crc32c", &crc32c(bytes));
        }
        let request = self.conditioned(request, &options.condition, self.enforcement.put).await?;
        let version = match self.pipeline.send(&request).await {
            Ok(answer) => version_in(&answer.headers),
            Err(error) if options.condition == Condition::None => return Err(error),
            Err(error) => return Err(on_absent_is_precondition(error)),
        };
        self.or_by_head(key, version).await
    }

    pub async fn delete(&self, key: &RawKey, condition: &Condition) -> Result<()> {
        let request = ApiRequest::on("DeleteObject", Method::DELETE, key);
        let request = match self.conditioned(request, condition, self.enforcement.delete).await {
            Ok(request) => request,
            Err(error) if error.kind == ErrorKind::Precondition && self.is_absent(key).await? => {
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        match self.pipeline.send(&request).await {
            Err(error) if error.kind == ErrorKind::NotFound => Ok(()),
            Err(error) if error.kind == ErrorKind::Precondition && self.is_absent(key).await? => Ok(()),
            outcome => outcome.map(|_| ()),
        }
    }

    async fn is_absent(&self, key: &RawKey) -> Result<bool> {
        match self.head(key).await {
            Ok(_) => Ok(false),
            Err(error) if error.kind == ErrorKind::NotFound => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// CopyObject, for sources up to what one request can copy. The condition on the destination is always checked by a HEAD.
    pub async fn copy(
        &self,
        from: &RawKey,
        version: &Version,
        to: &RawKey,
        condition: &Condition,
    ) -> Result<Version> {
        self.check_by_head("CopyObject", to, condition).await?;
        let request = ApiRequest::on("CopyObject", Method::PUT, to);
        let copied = self.send_copy(request, from, version).await?;
        self.or_by_head(to, copied).await
    }

    /// Sends a request whose body is (a part of) `version` of another object; gives the ETag of what was made. Where the endpoint does
    /// not enforce the condition on the source, that is looked at before and after.
    async fn send_copy<'k>(
        &self,
        request: ApiRequest<'k>,
        from: &RawKey,
        version: &Version,
    ) -> Result<Version> {
        self.check_source(request.operation, from, version).await?;
        let request = self.with_source(request.long_running(), from, version);
        let sent = self.pipeline.send(&request).await;
        let answer = sent.map_err(|error| of_source(error, from))?;
        let copied: xml::EtagAnswer = self.parsed(&request, &answer.body)?;
        self.check_source(request.operation, from, version).await?;
        Ok(Version::from_etag(&copied.etag))
    }

    fn with_source<'k>(&self, request: ApiRequest<'k>, from: &RawKey, version: &Version) -> ApiRequest<'k> {
        let request = request.header("x-amz-copy-source", &encoded_copy_source(&self.pipeline.bucket, from));
        match version.is_unknown() {
            true => request,
            false => request.header("x-amz-copy-source-if-match", &quoted(version)),
        }
    }

    pub async fn start_upload(&self, key: &RawKey, options: &PutOptions) -> Result<Upload> {
        let mut request = ApiRequest::on("CreateMultipartUpload", Method::POST, key).query("uploads", "");
        add_options(self.pipeline, &mut request, options)?;
        let answer = self.pipeline.send(&request).await?;
        let begun: xml::UploadAnswer = self.parsed(&request, &answer.body)?;
        Ok(Upload { key: key.clone(), id: begun.upload_id })
    }

    pub async fn put_part(&self, upload: &Upload, number: u32, payload: Payload) -> Result<Part> {
        let size = payload.len();
        let request = part_request("UploadPart", upload, number).payload(payload);
        let answer = self.pipeline.send(&request).await?;
        self.part(upload, "UploadPart", number, size, version_in(&answer.headers))
    }

    pub async fn copy_part(
        &self,
        upload: &Upload,
        number: u32,
        from: &RawKey,
        version: &Version,
        range: Range<u64>,
    ) -> Result<Part> {
        if range.is_empty() {
            let message = "a part cannot be copied from an empty range".to_owned();
            return Err(self.pipeline.error("UploadPartCopy", Some(from), ErrorKind::Unsupported, message));
        }
        let bytes = format!("bytes={}-{}", range.start, range.end - 1);
        let request =
            part_request("UploadPartCopy", upload, number).header("x-amz-copy-source-range", &bytes);
        let copied = self.send_copy(request, from, version).await?;
        self.part(upload, "UploadPartCopy", number, range.end - range.start, copied)
    }

    fn part(
        &self,
        upload: &Upload,
        operation: &'static str,
        number: u32,
        size: u64,
        etag: Version,
    ) -> Result<Part> {
        if etag.is_unknown() {
            let message = format!("the answer has no ETag, without which part {number} cannot be named");
            return Err(self.pipeline.error(operation, Some(&upload.key), ErrorKind::Corrupt, message));
        }
        Ok(Part { number, etag: etag.to_text().into_owned(), size, checksum: None })
    }

    pub async fn complete_upload(
        &self,
        upload: &Upload,
        parts: &[Part],
        condition: &Condition,
    ) -> Result<Version> {
        const OPERATION: &str = "CompleteMultipartUpload";
        let named = parts.iter().map(|part| xml::CompletePart {
            number: part.number,
            etag: format!("\"{}\"", part.etag),
            checksum_crc32c: None,
        });
        let document = xml::write(&xml::CompleteDocument { parts: named.collect() })
            .map_err(|cause| self.pipeline.error(OPERATION, Some(&upload.key), ErrorKind::Other, cause))?;
        let request = ApiRequest::on(OPERATION, Method::POST, &upload.key)
            .query("uploadId", upload.id.as_str())
            .payload(Bytes::from(document).into())
            .long_running();
        let request = self.conditioned(request, condition, self.enforcement.complete).await?;
        let version = match self.pipeline.send(&request).await {
            Ok(answer) => Version::from_etag(&self.parsed::<xml::EtagAnswer>(&request, &answer.body)?.etag),
            Err(error) => return Err(on_absent_upload_stays(error)),
        };
        // Ceph RGW completes with an empty ETag.
        self.or_by_head(&upload.key, version).await
    }

    pub async fn abort_upload(&self, upload: &Upload) -> Result<()> {
        let request = ApiRequest::on("AbortMultipartUpload", Method::DELETE, &upload.key)
            .query("uploadId", upload.id.as_str());
        match self.pipeline.send(&request).await {
            Err(error) if error.kind == ErrorKind::NotFound => Ok(()),
            outcome => outcome.map(|_| ()),
        }
    }

    /// Puts the condition into the request where the endpoint enforces it there, and checks it here where not.
    async fn conditioned<'k>(
        &self,
        request: ApiRequest<'k>,
        condition: &Condition,
        is_enforced: bool,
    ) -> Result<ApiRequest<'k>> {
        let Some(key) = request.key else { return Ok(request) };
        match condition {
            Condition::None => Ok(request),
            Condition::IfAbsent if is_enforced => Ok(request.header("if-none-match", "*")),
            Condition::IfVersion(version) if is_enforced && !version.is_unknown() => {
                let etag = if self.enforcement.unquoted_if_match {
                    version.to_text().into_owned()
                } else {
                    quoted(version)
                };
                Ok(request.header("if-match", &etag))
            }
            _ => self.check_by_head(request.operation, key, condition).await.map(|()| request),
        }
    }

    async fn check_by_head(
        &self,
        operation: &'static str,
        key: &RawKey,
        condition: &Condition,
    ) -> Result<()> {
        if *condition == Condition::None {
            return Ok(());
        }
        let current = match self.head(key).await {
            Ok(meta) => Some(meta.version),
            Err(error) if error.kind == ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let holds = match condition {
            Condition::None => true,
            Condition::IfAbsent => current.is_none(),
            Condition::IfVersion(wanted) => !wanted.is_unknown() && current.as_ref() == Some(wanted),
        };
        let message = match current {
            Some(_) => "the object has another version now",
            None => "the object is gone",
        };
        match holds {
            true => Ok(()),
            false => {
                Err(self.pipeline.error(operation, Some(key), ErrorKind::Precondition, message.to_owned()))
            }
        }
    }

    /// Whether the source of a copy still has `version`, where the endpoint does not look.
    async fn check_source(&self, operation: &'static str, from: &RawKey, version: &Version) -> Result<()> {
        if self.enforcement.copy_source || version.is_unknown() {
            return Ok(());
        }
        let current = self.head(from).await.map_err(|error| of_source(error, from))?;
        if current.version == *version {
            return Ok(());
        }
        let message = "the object has another version now".to_owned();
        Err(self.pipeline.error(operation, Some(from), ErrorKind::Precondition, message))
    }

    async fn or_by_head(&self, key: &RawKey, version: Version) -> Result<Version> {
        if !version.is_unknown() {
            return Ok(version);
        }
        self.head(key).await.map(|meta| meta.version).map_err(|error| Error { maybe_applied: true, ..error })
    }

    /// Reads the answer of a write that has taken effect.
    fn parsed<T: serde::de::DeserializeOwned>(&self, request: &ApiRequest<'_>, body: &[u8]) -> Result<T> {
        xml::parse(body).map_err(|cause| Error {
            maybe_applied: true,
            ..self.pipeline.error(request.operation, request.key, ErrorKind::Corrupt, cause)
        })
    }
}

/// AWS answers If-Match on an object that is gone with 404.
fn on_absent_is_precondition(mut error: Error) -> Error {
    if error.kind == ErrorKind::NotFound {
        error.kind = ErrorKind::Precondition;
        error.message = "the object is gone".to_owned();
    }
    error
}

/// The same on a completion, where another 404 says that the upload is gone.
fn on_absent_upload_stays(error: Error) -> Error {
    if error.code.as_deref() == Some("NoSuchKey") { on_absent_is_precondition(error) } else { error }
}

fn part_request<'a>(operation: &'static str, upload: &'a Upload, number: u32) -> ApiRequest<'a> {
    ApiRequest::on(operation, Method::PUT, &upload.key)
        .query("partNumber", number.to_string())
        .query("uploadId", upload.id.as_str())
}

/// Names the source in an error that is about it.
fn of_source(mut error: Error, from: &RawKey) -> Error {
    if matches!(error.kind, ErrorKind::NotFound | ErrorKind::Precondition) {
        error.message = format!("{} (copied from {from})", error.message);
    }
    error
}

/// The CRC32C of `bytes` as the API writes it.
fn crc32c(bytes: &[u8]) -> String {
    let checksum = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, bytes) as u32;
    base64::engine::general_purpose::STANDARD.encode(checksum.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_written_as_the_api_wants_them() {
        assert_eq!(crc32c(b"123456789"), "4waSgw==");
    }
}

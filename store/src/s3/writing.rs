//! Writes: objects, copies, deletions, multipart uploads, and their conditions.
//!
//! Owns: [`Writer`], the pipeline with what the endpoint is known to enforce.
//!
//! # Conditions
//! Where the endpoint enforces a condition it is sent with the write. Elsewhere a HEAD compares just before an
//! unconditional write, which another writer can race; [`Capabilities`](crate::Capabilities) says which it is.
//!
//! # A write that may have happened already
//! When an attempt's answer is lost, the next attempt of a conditional write meets what the first one wrote, and is refused.
//! So a refusal after such an attempt is checked before it is believed: if the object now holds exactly the bytes that
//! were to be written, the write took effect. (Another writer of the same bytes at the same moment cannot be told from
//! ourselves.)

use super::endpoint::encoded_copy_source;
use super::meta::{add_options, meta_of, quoted, version_in};
use super::pipeline::{Failed, Pipeline};
use super::probe::Enforcement;
use super::reading;
use super::request::S3Request;
use super::xml;
use crate::{
    Condition, Error, ErrorKind, GetOptions, ObjectMeta, Part, Payload, PutOptions, RawKey, Result, Upload,
    Version,
};
use bytes::Bytes;
use futures::StreamExt;
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
        let request = S3Request::on("HeadObject", Method::HEAD, key);
        meta_of(self.pipeline, &request, &self.pipeline.send(&request).await?.headers)
    }

    pub async fn put(&self, key: &RawKey, payload: Payload, options: &PutOptions) -> Result<Version> {
        let mut request = S3Request::on("PutObject", Method::PUT, key).payload(payload.clone());
        add_options(self.pipeline, &mut request, options)?;
        let request = self.conditioned(request, &options.condition, self.enforcement.put).await?;
        let version = match self.pipeline.send(&request).await {
            Ok(answer) => version_in(&answer.headers),
            Err(failed) if options.condition == Condition::None => return Err(failed.error),
            Err(failed) => self.own_earlier_put(key, &payload, failed).await?,
        };
        self.or_by_head(key, version).await
    }

    pub async fn delete(&self, key: &RawKey, condition: &Condition) -> Result<()> {
        let request = S3Request::on("DeleteObject", Method::DELETE, key);
        let request = match self.conditioned(request, condition, self.enforcement.delete).await {
            Ok(request) => request,
            Err(error) if error.kind == ErrorKind::Precondition && self.is_absent(key).await? => {
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        match self.pipeline.send(&request).await.map_err(Error::from) {
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
        let request =
            self.with_source(S3Request::on("CopyObject", Method::PUT, to).long_running(), from, version);
        let answer = self
            .pipeline
            .send(&request)
            .await
            .map_err(Error::from)
            .map_err(|error| of_source(error, from))?;
        let copied: xml::EtagAnswer = self.parsed(&request, &answer.body)?;
        self.or_by_head(to, Version::from_etag(&copied.etag)).await
    }

    fn with_source<'k>(&self, request: S3Request<'k>, from: &RawKey, version: &Version) -> S3Request<'k> {
        let request = request.header("x-amz-copy-source", &encoded_copy_source(&self.pipeline.bucket, from));
        match version.is_unknown() {
            true => request,
            false => request.header("x-amz-copy-source-if-match", &quoted(version)),
        }
    }

    pub async fn start_upload(&self, key: &RawKey, options: &PutOptions) -> Result<Upload> {
        let mut request = S3Request::on("CreateMultipartUpload", Method::POST, key).query("uploads", "");
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
        let request = self
            .with_source(part_request("UploadPartCopy", upload, number).long_running(), from, version)
            .header("x-amz-copy-source-range", &format!("bytes={}-{}", range.start, range.end - 1));
        let answer = self
            .pipeline
            .send(&request)
            .await
            .map_err(Error::from)
            .map_err(|error| of_source(error, from))?;
        let copied: xml::EtagAnswer = self.parsed(&request, &answer.body)?;
        self.part(upload, "UploadPartCopy", number, range.end - range.start, Version::from_etag(&copied.etag))
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
        Ok(Part { number, etag: etag.to_string(), size, checksum: None })
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
            checksum_crc32c: part.checksum.clone(),
        });
        let document = xml::write(&xml::CompleteDocument { parts: named.collect() })
            .map_err(|cause| self.pipeline.error(OPERATION, Some(&upload.key), ErrorKind::Other, cause))?;
        let request = S3Request::on(OPERATION, Method::POST, &upload.key)
            .query("uploadId", upload.id.as_str())
            .payload(Bytes::from(document).into())
            .long_running();
        let request = self.conditioned(request, condition, self.enforcement.complete).await?;
        let version = match self.pipeline.send(&request).await {
            Ok(answer) => Version::from_etag(&self.parsed::<xml::EtagAnswer>(&request, &answer.body)?.etag),
            Err(failed) => self.own_earlier_completion(&upload.key, parts, condition, failed).await?,
        };
        // Ceph RGW completes with an empty ETag.
        self.or_by_head(&upload.key, version).await
    }

    pub async fn abort_upload(&self, upload: &Upload) -> Result<()> {
        let request = S3Request::on("AbortMultipartUpload", Method::DELETE, &upload.key)
            .query("uploadId", upload.id.as_str());
        match self.pipeline.send(&request).await.map_err(Error::from) {
            Err(error) if error.kind == ErrorKind::NotFound => Ok(()),
            outcome => outcome.map(|_| ()),
        }
    }

    /// Puts the condition into the request where the endpoint enforces it there, and checks it here where not.
    async fn conditioned<'k>(
        &self,
        request: S3Request<'k>,
        condition: &Condition,
        is_enforced: bool,
    ) -> Result<S3Request<'k>> {
        let Some(key) = request.key else { return Ok(request) };
        match condition {
            Condition::None => Ok(request),
            Condition::IfAbsent if is_enforced => Ok(request.header("if-none-match", "*")),
            Condition::IfVersion(version) if is_enforced && !version.is_unknown() => {
                let etag =
                    if self.enforcement.unquoted_if_match { version.to_string() } else { quoted(version) };
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

    /// A refused PUT after an attempt whose outcome is unknown: the version, if the object holds our bytes.
    async fn own_earlier_put(&self, key: &RawKey, payload: &Payload, failed: Failed) -> Result<Version> {
        let Failed { error, history } = failed.on_absent_is_precondition();
        if error.kind != ErrorKind::Precondition || !history.maybe_applied {
            return Err(error);
        }
        let Ok(current) = reading::get(self.pipeline, key, GetOptions::default()).await else {
            return Err(error);
        };
        if current.meta.size != payload.len() {
            return Err(error);
        }
        let version = current.meta.version.clone();
        let (mut body, mut offset) = (current.body, 0);
        while let Some(frame) = body.next().await {
            let Ok(frame) = frame else { return Err(error) };
            if !is_part_of(payload, offset, &frame).await {
                return Err(error);
            }
            offset += frame.len() as u64;
        }
        Ok(version)
    }

    /// The same of a completion. Its bytes are the parts', which are gone: the size, and an ETag of as many parts, tell.
    async fn own_earlier_completion(
        &self,
        key: &RawKey,
        parts: &[Part],
        condition: &Condition,
        failed: Failed,
    ) -> Result<Version> {
        let Failed { error, history } = failed.on_absent_upload_stays();
        let is_candidate =
            matches!(error.kind, ErrorKind::Precondition | ErrorKind::NotFound) && history.maybe_applied;
        if !is_candidate {
            return Err(error);
        }
        let Ok(current) = self.head(key).await else { return Err(error) };
        let is_base = *condition == Condition::IfVersion(current.version.clone());
        let has_size = current.size == parts.iter().map(|part| part.size).sum::<u64>();
        let has_count = match current.version.as_str().rsplit_once('-') {
            Some((_, count)) => count == parts.len().to_string(),
            None => true,
        };
        if has_size && has_count && !is_base { Ok(current.version) } else { Err(error) }
    }

    async fn or_by_head(&self, key: &RawKey, version: Version) -> Result<Version> {
        if version.is_unknown() { Ok(self.head(key).await?.version) } else { Ok(version) }
    }

    fn parsed<T: serde::de::DeserializeOwned>(&self, request: &S3Request<'_>, body: &[u8]) -> Result<T> {
        xml::parse(body)
            .map_err(|cause| self.pipeline.error(request.operation, request.key, ErrorKind::Corrupt, cause))
    }
}

impl Failed {
    /// AWS answers If-Match on an object that is gone with 404.
    fn on_absent_is_precondition(mut self) -> Self {
        if self.error.kind == ErrorKind::NotFound {
            self.error.kind = ErrorKind::Precondition;
            self.error.message = "the object is gone".to_owned();
        }
        self
    }

    /// The same on a completion, where another 404 says that the upload is gone.
    fn on_absent_upload_stays(self) -> Self {
        if self.error.code.as_deref() == Some("NoSuchKey") { self.on_absent_is_precondition() } else { self }
    }
}

fn part_request<'a>(operation: &'static str, upload: &'a Upload, number: u32) -> S3Request<'a> {
    S3Request::on(operation, Method::PUT, &upload.key)
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

/// Whether `frame` is what the payload has at `offset`.
async fn is_part_of(payload: &Payload, offset: u64, frame: &Bytes) -> bool {
    const READ_SIZE_BYTES: usize = 1024 * 1024;
    let end = offset + frame.len() as u64;
    match payload {
        Payload::Bytes(bytes) => bytes.get(offset as usize..end as usize) == Some(frame.as_ref()),
        Payload::Source { source, .. } => {
            for (index, piece) in frame.chunks(READ_SIZE_BYTES).enumerate() {
                let start = offset + (index * READ_SIZE_BYTES) as u64;
                let ours = source.read(start..start + piece.len() as u64).await;
                if !ours.is_ok_and(|ours| ours == piece) {
                    return false;
                }
            }
            true
        }
    }
}

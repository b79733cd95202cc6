//! Multipart uploads.
//!
//! Owns: their operations.
//!
//! # Checksums
//! A part's is made while it is sent, and compared with what the server got: nothing is read twice, and no part waits for its checksum. The
//! upload names no algorithm, since every part would then have to bring its checksum before its first byte. The completion carries the
//! checksum of the whole, made of the parts', where all have one.

use super::attributes::add_attributes;
use super::checksums::{CRC64NVME, check_sent};
use super::etag::version_in;
use super::probe::Enforcement;
use super::writing::{Writer, on_absent_upload_stays};
use super::xml;
use crate::contract::{
    Checksum, Condition, ErrorKind, Part, Payload, PutOptions, RawKey, Result, Upload, Version,
};
use crate::http::request::ApiRequest;
use bytes::Bytes;
use http::Method;
use std::ops::Range;

/// How often a part is sent that arrives damaged.
const PART_SENT_MAX: u32 = 3;

impl Writer<'_> {
    pub async fn start_upload(&self, key: &RawKey, options: &PutOptions) -> Result<Upload> {
        let mut request = ApiRequest::on("CreateMultipartUpload", Method::POST, key).query("uploads", "");
        add_attributes(self.pipeline, &mut request, key, &options.attributes)?;
        let answer = self.pipeline.send(&request).await?;
        let begun: xml::UploadAnswer = self.parsed(&request, &answer.body)?;
        Ok(Upload { key: key.clone(), id: begun.upload_id })
    }

    pub async fn put_part(&self, upload: &Upload, number: u32, payload: Payload) -> Result<Part> {
        const OPERATION: &str = "UploadPart";
        let size = payload.len();
        let request = part_request(OPERATION, upload, number).payload(payload);
        let request = request.summed(self.enforcement.crc64nvme);
        let mut sent = 0;
        let (answer, checksum) = loop {
            sent += 1;
            let answer = self.pipeline.send(&request).await?;
            match check_sent(self.pipeline, OPERATION, &upload.key, &answer) {
                Ok(checksum) => break (answer, checksum),
                Err(error) if sent < PART_SENT_MAX => tracing::warn!(%error, number, "sending a part again"),
                Err(error) => return Err(error),
            }
        };
        self.part(upload, OPERATION, number, size, version_in(&answer.headers), checksum)
    }

    pub async fn copy_part(
        &self,
        upload: &Upload,
        number: u32,
        from: &RawKey,
        version: &Version,
        range: Range<u64>,
    ) -> Result<Part> {
        const OPERATION: &str = "UploadPartCopy";
        if range.is_empty() {
            let message = "a part cannot be copied from an empty range".to_owned();
            return Err(self.pipeline.error(OPERATION, Some(from), ErrorKind::Unsupported, message));
        }
        self.check_source(OPERATION, from, version).await?;
        let bytes = format!("bytes={}-{}", range.start, range.end - 1);
        let request = part_request(OPERATION, upload, number).header("x-amz-copy-source-range", &bytes);
        let copied = self.send_copy(request, from, version).await?;
        let checksum = copied.checksum_crc64nvme.as_deref().and_then(Checksum::crc64_from_base64);
        let etag = Version::from_etag(&copied.etag);
        self.part(upload, OPERATION, number, range.end - range.start, etag, checksum)
    }

    pub(super) fn part(
        &self,
        upload: &Upload,
        operation: &'static str,
        number: u32,
        size: u64,
        etag: Version,
        checksum: Option<Checksum>,
    ) -> Result<Part> {
        let Some(etag) = etag.etag() else {
            let message = format!("the answer has no ETag, without which part {number} cannot be named");
            return Err(self.pipeline.error(operation, Some(&upload.key), ErrorKind::Corrupt, message));
        };
        Ok(Part { number, etag: etag.to_owned(), size, checksum })
    }

    pub async fn complete_upload(
        &self,
        upload: &Upload,
        parts: &[Part],
        condition: &Condition,
    ) -> Result<Version> {
        const OPERATION: &str = "CompleteMultipartUpload";
        let named = parts
            .iter()
            .map(|part| xml::CompletePart { number: part.number, etag: format!("\"{}\"", part.etag) });
        let document = xml::write(&xml::CompleteDocument { parts: named.collect() })
            .map_err(|cause| self.pipeline.error(OPERATION, Some(&upload.key), ErrorKind::Other, cause))?;
        let request = ApiRequest::on(OPERATION, Method::POST, &upload.key)
            .query("uploadId", upload.id.as_str())
            .payload(Bytes::from(document).into())
            .long_running();
        let Enforcement { complete, complete_unproven, .. } = self.enforcement;
        if complete_unproven {
            self.check_by_head(OPERATION, &upload.key, condition).await?;
        }
        let request = self.conditioned(request, condition, complete || complete_unproven).await?;
        let whole = Checksum::of_parts(parts).filter(|_| self.enforcement.crc64nvme);
        let checksum = whole
            .filter(|whole| matches!(whole, Checksum::Crc64Nvme(_)))
            .map(|whole| (CRC64NVME, whole.to_base64()));
        let version = match self.send_with_checksum(request.clone(), checksum).await {
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
}

pub(super) fn part_request<'a>(operation: &'static str, upload: &'a Upload, number: u32) -> ApiRequest<'a> {
    ApiRequest::on(operation, Method::PUT, &upload.key)
        .query("partNumber", number.to_string())
        .query("uploadId", upload.id.as_str())
}

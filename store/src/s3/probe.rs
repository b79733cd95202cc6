//! What an endpoint enforces.
//!
//! Owns: [`Enforcement`], which conditions may be left to the endpoint, and the probe that finds out. The big providers
//! are known (`dialect`). Others are asked, since some answer 200 to a condition that they ignore: a few writes to one small object
//! of a random name, which is deleted again.
//!
//! Invariants: what a question does not show is not there: an odd answer, or a failure, is one. Conditions are then checked by a HEAD. Only
//! where the endpoint cannot be reached, or does not know the credentials, nothing is known; no write fails for that. Where nothing may be
//! deleted, nothing is written: the object would stay.

use super::Pipeline;
use super::bulk_deletion::Told;
use super::checksums::header_of;
use super::etag::{quoted, unquoted, version_in};
use super::writing::Writer;
use crate::contract::{
    Capabilities, Condition, ConditionedChange, ErrorKind, PartCopy, Payload, PutOptions, RawKey, Result,
    Version,
};
use crate::http::deadline::{CallLimit, limited_call};
use crate::http::probe::Questions;
use crate::http::remembered::Answer;
use crate::http::request::ApiRequest;
use bytes::Bytes;
use http::Method;
use std::sync::Arc;
use std::time::Duration;

/// How long the endpoint may fail, or be silent, in all of a probe: writes wait for it.
const QUESTION_LIMIT: CallLimit =
    CallLimit { deadline: Duration::from_secs(10), attempt: Duration::from_secs(10) };

const QUESTIONS: Questions = Questions {
    is_of_credentials: |error| {
        matches!(
            error.code.as_deref(),
            Some(
                "InvalidAccessKeyId"
                    | "SignatureDoesNotMatch"
                    | "ExpiredToken"
                    | "InvalidToken"
                    | "RequestTimeTooSkewed"
            )
        )
    },
};

/// What the endpoint enforces by itself, and how it wants to be asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct Enforcement {
    /// Conditions on PutObject.
    pub put: bool,
    /// Conditions on CompleteMultipartUpload.
    pub complete: bool,
    /// Conditions on CompleteMultipartUpload are documented, and not known to be enforced: they are sent, and checked by a HEAD as well.
    pub complete_unproven: bool,
    /// Conditions on what a copy replaces, in headers of Cloudflare's own.
    pub cloudflare_copy: bool,
    /// Conditions on DeleteObject.
    pub delete: bool,
    /// The ETag of each object in DeleteObjects.
    pub bulk_delete: bool,
    /// `If-Match` on writes must come without quotes (Ceph RGW).
    pub unquoted_if_match: bool,
    /// UploadPartCopy works.
    pub part_copy: bool,
    /// The version of a copy's source.
    pub copy_source: bool,
    /// All parts but the last must have one size.
    pub equal_parts: bool,
    /// CRC64NVME is known: writes may carry it, and are answered with it.
    pub crc64nvme: bool,
    /// The endpoint was not asked, so that what is not claimed may be there.
    pub is_assumed: bool,
}

impl Enforcement {
    /// As the store's callers see it.
    pub(super) fn capabilities(self) -> Capabilities {
        let changes = [
            (ConditionedChange::Writes, self.put),
            // What is documented, and sent, is not known to be ignored.
            (ConditionedChange::LargeWrites, self.complete || self.complete_unproven),
            (ConditionedChange::Deletions, self.delete),
        ];
        let ignored = changes.into_iter().filter(|(_, is_enforced)| !is_enforced && !self.is_assumed);
        Capabilities {
            conditional_put: self.put,
            conditional_complete: self.complete,
            ignored_conditions: ignored.map(|(change, _)| change).collect(),
            is_assumed: self.is_assumed,
            part_copy: if self.part_copy { PartCopy::Ranges } else { PartCopy::None },
            equal_parts: self.equal_parts,
            ..Capabilities::full()
        }
    }
}

/// What a probe comes to.
type Probed = Answer<Enforcement>;

/// Nothing is known, since nothing could be asked here.
fn not_asked() -> Probed {
    Answer { value: Enforcement { is_assumed: true, ..Enforcement::default() }, is_of_endpoint: false }
}

/// Asks the endpoint. Errors: it could not be reached, has no time, or does not know the credentials: what it enforces is not known, and may be
/// asked again.
pub(super) async fn probe(pipeline: &Arc<Pipeline>) -> Result<Probed> {
    limited_call(QUESTION_LIMIT, probe_within_call(pipeline)).await
}

async fn probe_within_call(pipeline: &Arc<Pipeline>) -> Result<Probed> {
    let name = format!("{}.pail-probe-{:016x}", pipeline.options.probe_prefix, rand::random::<u64>());
    let key = RawKey::new(name).map_err(|e| {
        pipeline.error("PutObject", None, ErrorKind::Unsupported, format!("the probe's prefix: {e}"))
    })?;
    let writer = Writer { pipeline, enforcement: Enforcement::default() };
    // Of nothing, as yet: who may not delete is refused that too.
    if let Err(error) = writer.delete(&key, &Condition::None).await {
        if QUESTIONS.tells_nothing(&error) {
            return Err(error);
        }
        tracing::info!(%error, "the endpoint is not asked what it enforces, since what that writes could not be deleted");
        return Ok(not_asked());
    }
    let found = ask(pipeline, &key).await;
    match writer.delete(&key, &Condition::None).await {
        // Nor do questions that were not answered then.
        Err(error) if QUESTIONS.tells_nothing(&error) => return found.and(Err(error)),
        Err(error) => tracing::warn!(%error, "the object of the probe could not be deleted"),
        Ok(()) => {}
    }
    tracing::debug!(bucket = pipeline.bucket, ?found, "probed the endpoint");
    found
}

async fn ask(pipeline: &Arc<Pipeline>, key: &RawKey) -> Result<Probed> {
    let payload = Bytes::from_static(b"pail probe");
    let writer = Writer { pipeline, enforcement: Enforcement::default() };
    let (version, crc64nvme) = match put_summed(&writer, key, &payload).await {
        Ok(written) => written,
        Err(error) if QUESTIONS.tells_nothing(&error) => return Err(error),
        Err(error) => {
            tracing::info!(%error, "the endpoint is not asked what it enforces, since the object for that cannot be written");
            return Ok(not_asked());
        }
    };
    let put = |name: &'static str, value: Vec<u8>| {
        let request = ApiRequest::on("PutObject", Method::PUT, key).payload(payload.clone().into());
        is_enforced(pipeline, request.header_bytes(name, &value))
    };
    let mut found = Enforcement::default();
    if put("if-none-match", b"*".to_vec()).await? && put("if-match", quoted(&bogus_version())).await? {
        let version = writer.head(key).await.map_or(version, |meta| meta.version);
        let takes_quoted = takes(pipeline, key, &payload, quoted(&version)).await?;
        let version = writer.head(key).await.map_or(version, |meta| meta.version);
        found.unquoted_if_match = !takes_quoted && takes(pipeline, key, &payload, unquoted(&version)).await?;
        found.put = takes_quoted || found.unquoted_if_match;
    }
    let multipart = ask_multipart(pipeline, key, payload.len() as u64, found.put).await?;
    found.delete = enforces_deletions(pipeline, key, found).await?;
    found.bulk_delete = found.delete && enforces_bulk_deletions(pipeline, key, &payload, found).await?;
    let enforcement = Enforcement {
        crc64nvme,
        part_copy: multipart.part_copy,
        copy_source: multipart.copy_source,
        complete: multipart.complete,
        ..found
    };
    Ok(Answer { value: enforcement, is_of_endpoint: true })
}

/// Writes the object with its CRC64NVME, where the endpoint takes one; its version, and whether the endpoint knows what that is: it says what it
/// got.
async fn put_summed(writer: &Writer<'_>, key: &RawKey, payload: &Bytes) -> Result<(Version, bool)> {
    let request = ApiRequest::on("PutObject", Method::PUT, key).payload(payload.clone().into());
    let (name, value) = header_of(payload, true);
    let answer = writer.send_with_checksum(request, Some((name, value.clone()))).await?;
    let is_known = answer.headers.get(name).is_some_and(|told| told.as_bytes() == value.as_bytes());
    Ok((writer.or_by_head(key, version_in(&answer.headers)).await?, is_known))
}

/// Whether a deletion on condition of another version is refused, and one on condition of what stands carried out.
async fn enforces_deletions(pipeline: &Arc<Pipeline>, key: &RawKey, found: Enforcement) -> Result<bool> {
    let writer = Writer { pipeline, enforcement: Enforcement { delete: true, ..found } };
    if !QUESTIONS.is_precondition(writer.delete(key, &Condition::IfVersion(bogus_version())).await)? {
        return Ok(false);
    }
    let Some(meta) = QUESTIONS.told(writer.head(key).await)? else { return Ok(false) };
    Ok(QUESTIONS.told(writer.delete(key, &Condition::IfVersion(meta.version)).await)?.is_some())
}

/// The same in DeleteObjects, of the object, which is made again.
async fn enforces_bulk_deletions(
    pipeline: &Arc<Pipeline>,
    key: &RawKey,
    payload: &Bytes,
    found: Enforcement,
) -> Result<bool> {
    let request = ApiRequest::on("PutObject", Method::PUT, key).payload(payload.clone().into());
    if QUESTIONS.told(pipeline.send(&request).await)?.is_none() {
        return Ok(false);
    }
    let writer = Writer { pipeline, enforcement: Enforcement { bulk_delete: true, ..found } };
    let Some(meta) = QUESTIONS.told(writer.head(key).await)? else { return Ok(false) };
    for (version, holds) in [(bogus_version(), false), (meta.version, true)] {
        let Some(target) = writer.target(key, &Condition::IfVersion(version)) else { return Ok(false) };
        let asked = writer.ask_to_delete(&[&target]).await;
        let Some(told) = QUESTIONS.told(asked)? else { return Ok(false) };
        let is_as_it_should = match told.into_iter().next() {
            Some(Told::Deleted) => holds,
            Some(Told::Refused { error, .. }) => !holds && error.kind == ErrorKind::Precondition,
            Some(Told::Nothing) | None => false,
        };
        if !is_as_it_should {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A version that no object has.
fn bogus_version() -> Version {
    Version::from_etag("00000000000000000000000000000000")
}

/// One upload of one part, copied where that works; whether its completion enforces conditions is asked only where `asks_complete`.
async fn ask_multipart(
    pipeline: &Arc<Pipeline>,
    key: &RawKey,
    len: u64,
    asks_complete: bool,
) -> Result<Enforcement> {
    let asking = Enforcement { complete: true, copy_source: true, ..Enforcement::default() };
    let writer = Writer { pipeline, enforcement: asking };
    let Some(upload) = QUESTIONS.told(writer.start_upload(key, &PutOptions::default()).await)? else {
        return Ok(Enforcement::default());
    };
    let found = async {
        let copied = QUESTIONS.told(writer.copy_part(&upload, 1, key, &Version::Unknown, 0..len).await)?;
        let part_copy = copied.is_some();
        let copy_source = part_copy
            && QUESTIONS
                .is_precondition(writer.copy_part(&upload, 2, key, &bogus_version(), 0..len).await)?;
        let payload = Payload::Bytes(Bytes::from_static(b"pail probe"));
        let part = match copied {
            None if asks_complete => QUESTIONS.told(writer.put_part(&upload, 1, payload).await)?,
            copied => copied,
        };
        let mut complete = asks_complete && part.is_some();
        // moto enforces If-None-Match here, and ignores If-Match. A completion ends the upload: nothing is asked after it.
        for condition in [Condition::IfVersion(bogus_version()), Condition::IfAbsent] {
            if complete && let Some(part) = &part {
                let parts = std::slice::from_ref(part);
                complete =
                    QUESTIONS.is_precondition(writer.complete_upload(&upload, parts, &condition).await)?;
            }
        }
        Ok(Enforcement { part_copy, copy_source, complete, ..Enforcement::default() })
    }
    .await;
    if let Err(error) = writer.abort_upload(&upload).await {
        tracing::warn!(%error, upload = upload.id, "the probe's upload could not be aborted; its part, of a few bytes, stays until it is");
    }
    found
}

/// Whether the endpoint enforces the condition in `request`, which does not hold. Errors: those that tell nothing.
async fn is_enforced(pipeline: &Arc<Pipeline>, request: ApiRequest<'_>) -> Result<bool> {
    QUESTIONS.is_precondition(pipeline.send(&request).await)
}

/// Whether the endpoint takes a write on condition of the version that stands, in these words. Errors: those that tell nothing.
async fn takes(pipeline: &Arc<Pipeline>, key: &RawKey, payload: &Bytes, version: Vec<u8>) -> Result<bool> {
    let request = ApiRequest::on("PutObject", Method::PUT, key).payload(payload.clone().into());
    let sent = pipeline.send(&request.header_bytes("if-match", &version)).await;
    Ok(QUESTIONS.told(sent)?.is_some())
}

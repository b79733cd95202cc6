//! What an endpoint enforces.
//!
//! Owns: [`Enforcement`], which conditions may be left to the endpoint, and the probe that finds out. The big providers
//! are known. Others are asked, since some answer 200 to a condition that they ignore: a few writes to one small object
//! of a random name, which is deleted again.
//!
//! Invariants: what could not be found out counts as not enforced, and is then checked by a HEAD. Where nothing may be deleted, nothing
//! is written: the object would stay.

use super::deadline::limited;
use super::endpoint::Endpoint;
use super::meta::quoted;
use super::pipeline::Pipeline;
use super::request::S3Request;
use super::writing::Writer;
use crate::{Capabilities, Condition, Error, ErrorKind, Payload, PutOptions, RawKey, Result, Version};
use bytes::Bytes;
use http::Method;
use std::sync::Arc;
use std::time::Duration;

/// How long the endpoint may fail, or be silent, in all of a probe: writes wait for it.
const QUESTION_TIME_MAX: Duration = Duration::from_secs(10);

/// What the endpoint enforces by itself, and how it wants to be asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct Enforcement {
    /// Conditions on PutObject.
    pub put: bool,
    /// Conditions on CompleteMultipartUpload.
    pub complete: bool,
    /// Conditions on DeleteObject.
    pub delete: bool,
    /// `If-Match` on writes must come without quotes (Ceph RGW).
    pub unquoted_if_match: bool,
    /// UploadPartCopy works.
    pub part_copy: bool,
    /// The version of a copy's source.
    pub copy_source: bool,
    /// All parts but the last must have one size.
    pub equal_parts: bool,
}

impl Enforcement {
    /// What is documented of the big providers; `None` for an endpoint that must be asked.
    pub(super) fn known(endpoint: &Endpoint) -> Option<Self> {
        let host = endpoint.authority.split(':').next().unwrap_or_default();
        let is_of = |domain: &str| host == domain || host.ends_with(&format!(".{domain}"));
        let writes =
            Self { put: true, complete: true, part_copy: true, copy_source: true, ..Self::default() };
        if endpoint.is_aws() {
            Some(Self { delete: true, ..writes })
        } else if is_of("r2.cloudflarestorage.com") {
            Some(Self { complete: false, equal_parts: true, ..writes })
        } else if is_of("storage.googleapis.com") {
            // The XML API takes generations, not ETags, as conditions of writes.
            Some(Self::default())
        } else if is_of("cloud-object-storage.appdomain.cloud") {
            Some(Self { complete: false, ..writes })
        } else {
            None
        }
    }

    /// As the store's callers see it.
    pub(super) fn capabilities(self) -> Capabilities {
        Capabilities {
            conditional_put: self.put,
            conditional_complete: self.complete,
            part_copy: self.part_copy,
            equal_parts: self.equal_parts,
            ..Capabilities::full()
        }
    }
}

/// Asks the endpoint. Errors: the object of the probe cannot be written at all.
pub(super) async fn probe(pipeline: &Arc<Pipeline>) -> Result<Enforcement> {
    limited(QUESTION_TIME_MAX, probe_within_call(pipeline)).await
}

async fn probe_within_call(pipeline: &Arc<Pipeline>) -> Result<Enforcement> {
    let name = format!("{}.pail-probe-{:016x}", pipeline.options.probe_prefix, rand::random::<u64>());
    let key = RawKey::new(name).map_err(|e| {
        pipeline.error("PutObject", None, ErrorKind::Unsupported, format!("the probe's prefix: {e}"))
    })?;
    let writer = Writer { pipeline, enforcement: Enforcement::default() };
    // Of nothing, as yet: who may not delete is refused that too.
    match writer.delete(&key, &Condition::None).await {
        Ok(()) => {}
        Err(error) if is_refusal(&error) => {
            tracing::info!(%error, "the endpoint is not asked what it enforces, since what that writes could not be deleted");
            return Ok(Enforcement::default());
        }
        Err(error) => return Err(error),
    }
    let found = ask(pipeline, &key).await;
    if let Err(error) = writer.delete(&key, &Condition::None).await {
        tracing::warn!(%error, "the object of the probe could not be deleted");
    }
    tracing::debug!(bucket = pipeline.bucket, ?found, "probed the endpoint");
    found
}

async fn ask(pipeline: &Arc<Pipeline>, key: &RawKey) -> Result<Enforcement> {
    let payload = Bytes::from_static(b"pail probe");
    let writer = Writer { pipeline, enforcement: Enforcement::default() };
    let version = writer.put(key, payload.clone().into(), &PutOptions::default()).await?;
    let put = |name: &'static str, value: String| {
        let request = S3Request::on("PutObject", Method::PUT, key).payload(payload.clone().into());
        refused(pipeline, request.header(name, &value))
    };
    let mut found = Enforcement::default();
    let refuses_present = put("if-none-match", "*".to_owned()).await?;
    let refuses_other = put("if-match", quoted(&bogus_version())).await?;
    if refuses_present && refuses_other {
        let version = writer.head(key).await.map_or(version, |meta| meta.version);
        let refuses_quoted = put("if-match", quoted(&version)).await?;
        let version = writer.head(key).await.map_or(version, |meta| meta.version);
        found.unquoted_if_match = refuses_quoted && !put("if-match", version.to_string()).await?;
        found.put = !refuses_quoted || found.unquoted_if_match;
    }
    let multipart = ask_multipart(pipeline, key, payload.len() as u64).await?;
    Ok(Enforcement {
        part_copy: multipart.part_copy,
        copy_source: multipart.copy_source,
        complete: multipart.complete && found.put,
        ..found
    })
}

/// A version that no object has.
fn bogus_version() -> Version {
    Version::from_etag("00000000000000000000000000000000")
}

/// One upload of one part, copied where that works.
async fn ask_multipart(pipeline: &Arc<Pipeline>, key: &RawKey, len: u64) -> Result<Enforcement> {
    let asking = Enforcement { complete: true, copy_source: true, ..Enforcement::default() };
    let writer = Writer { pipeline, enforcement: asking };
    let upload = match writer.start_upload(key, &PutOptions::default()).await {
        Ok(upload) => upload,
        Err(error) if is_refusal(&error) => return Ok(Enforcement::default()),
        Err(error) => return Err(error),
    };
    let found = async {
        let (part, part_copy) = match writer.copy_part(&upload, 1, key, &Version::unknown(), 0..len).await {
            Ok(part) => (part, true),
            Err(error) if is_refusal(&error) => {
                let payload = Payload::Bytes(Bytes::from_static(b"pail probe"));
                (writer.put_part(&upload, 1, payload).await?, false)
            }
            Err(error) => return Err(error),
        };
        let copy_source = part_copy
            && match writer.copy_part(&upload, 2, key, &bogus_version(), 0..len).await {
                Ok(_) => false,
                Err(error) if error.kind == ErrorKind::Precondition => true,
                Err(error) if is_refusal(&error) => false,
                Err(error) => return Err(error),
            };
        // moto enforces If-None-Match here, and ignores If-Match. A completion ends the upload: nothing is asked after it.
        let mut complete = true;
        for condition in [Condition::IfVersion(bogus_version()), Condition::IfAbsent] {
            if !complete {
                break;
            }
            let completed = writer.complete_upload(&upload, std::slice::from_ref(&part), &condition).await;
            complete = completed.is_err_and(|error| error.kind == ErrorKind::Precondition);
        }
        Ok(Enforcement { part_copy, copy_source, complete, ..Enforcement::default() })
    }
    .await;
    writer.abort_upload(&upload).await?;
    found
}

/// Whether the endpoint enforces the condition in `request`. Errors: it failed for another reason.
async fn refused(pipeline: &Arc<Pipeline>, request: S3Request<'_>) -> Result<bool> {
    match pipeline.send(&request).await.map_err(Error::from) {
        Ok(_) => Ok(false),
        Err(error) if error.kind == ErrorKind::Precondition => Ok(true),
        // It does not know the header, and says so: nothing was written, and nothing is enforced.
        Err(error) if is_refusal(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

fn is_refusal(error: &Error) -> bool {
    matches!(error.kind, ErrorKind::Unsupported | ErrorKind::NotFound | ErrorKind::Denied)
}

//! Writes: objects and deletions, and their conditions.
//!
//! Owns: [`Writer`], the pipeline with what the endpoint is known to enforce. Its copies are in [`copying`](super::copying), its multipart
//! uploads in [`uploads`](super::uploads); with which checksums they are sent, [`checksums`](super::checksums) says.
//!
//! # Conditions
//! Where the endpoint enforces a condition it is sent with the write. Elsewhere a HEAD compares just before an
//! unconditional write, which another writer can race; [`Capabilities`](crate::Capabilities) says which it is. The same
//! goes for the version of a copy's source, with one more HEAD after the copy, by which it is known what was copied.
//!
//! # A write that may have happened already
//! A refusal after an attempt whose answer was lost is told with `maybe_applied`; `wrappers::lost_answers` finds out.

use super::Pipeline;
use super::attributes::add_attributes;
use super::checksums::{check_sent, header_of, is_about_checksum};
use super::etag::{quoted, unquoted, version_in};
use super::probe::Enforcement;
use super::service::S3Service;
use super::xml;
use crate::contract::{
    Condition, Error, ErrorKind, ObjectMeta, Payload, PutOptions, RawKey, Result, Version,
};
use crate::http::pipeline::Answer;
use crate::http::reading::Readable;
use crate::http::request::ApiRequest;
use http::Method;
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
        add_attributes(self.pipeline, &mut request, key, &options.attributes)?;
        let request = self.conditioned(request, &options.condition, self.enforcement.put).await?;
        let checksum = payload.in_memory().map(|bytes| header_of(bytes, self.enforcement.crc64nvme));
        let version =
            match self.send_with_checksum(request.summed(self.enforcement.crc64nvme), checksum).await {
                Ok(answer) => {
                    let version = version_in(&answer.headers);
                    if let Err(damaged) = check_sent(self.pipeline, "PutObject", key, &answer) {
                        return Err(self.removed(key, version, damaged).await);
                    }
                    version
                }
                Err(error) if options.condition == Condition::None => return Err(error),
                Err(error) => return Err(on_absent_is_precondition(error)),
            };
        self.or_by_head(key, version).await
    }

    /// An object that arrived damaged is taken away again: nobody is to read it, and the next attempt is not to meet it.
    async fn removed(&self, key: &RawKey, version: Version, damaged: Error) -> Error {
        let removed = match version.is_unknown() {
            true => false,
            // Boxed, since a delete may look by the same requests.
            false => Box::pin(self.delete(key, &Condition::IfVersion(version))).await.is_ok(),
        };
        Error { maybe_applied: !removed, ..damaged }
    }

    /// Sends a write with that header. An endpoint that refuses it gets the write without, and from then on all of them.
    pub async fn send_with_checksum(
        &self,
        request: ApiRequest<'_>,
        checksum: Option<(&'static str, String)>,
    ) -> Result<Answer> {
        let checksum = checksum.filter(|_| self.pipeline.service.sends_checksums());
        let Some((name, value)) = checksum else { return self.pipeline.send(&request).await };
        let refused = match self.pipeline.send(&request.clone().header(name, &value)).await {
            Err(error) if is_about_checksum(&error) => error,
            sent => return sent,
        };
        match self.pipeline.send(&request).await {
            Ok(answer) => {
                tracing::info!(error = %refused, "the endpoint takes no checksums; writes are sent without");
                self.pipeline.service.send_no_checksums();
                Ok(answer)
            }
            Err(mut failed) => {
                failed.maybe_applied |= refused.maybe_applied;
                Err(failed)
            }
        }
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

    pub async fn is_absent(&self, key: &RawKey) -> Result<bool> {
        match self.head(key).await {
            Ok(_) => Ok(false),
            Err(error) if error.kind == ErrorKind::NotFound => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Puts the condition into the request where the endpoint enforces it there, and checks it here where not.
    pub async fn conditioned<'k>(
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
                let etag = match self.enforcement.unquoted_if_match {
                    true => unquoted(version),
                    false => quoted(version),
                };
                Ok(request.header_bytes("if-match", &etag))
            }
            _ => self.check_by_head(request.operation, key, condition).await.map(|()| request),
        }
    }

    pub async fn check_by_head(
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

    pub async fn or_by_head(&self, key: &RawKey, version: Version) -> Result<Version> {
        if !version.is_unknown() {
            return Ok(version);
        }
        self.head(key).await.map(|meta| meta.version).map_err(|error| Error { maybe_applied: true, ..error })
    }

    /// Reads the answer of a write that has taken effect.
    pub fn parsed<T: serde::de::DeserializeOwned>(&self, request: &ApiRequest<'_>, body: &[u8]) -> Result<T> {
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
pub(super) fn on_absent_upload_stays(error: Error) -> Error {
    if error.code.as_deref() == Some("NoSuchKey") { on_absent_is_precondition(error) } else { error }
}

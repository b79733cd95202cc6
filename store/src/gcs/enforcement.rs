//! Which conditions an endpoint of the JSON API enforces.
//!
//! Owns: [`Enforcement`], and the probe that finds out. The service enforces all of them (Cloud Storage documentation, "Request
//! preconditions"); another server may enforce some: fake-gcs-server has those of inserts alone, and answers 200 to the others. Such a server
//! is asked by a few requests about one small object of a random name, which is deleted again.
//!
//! Invariants: what a question does not show is not there, and is then checked by a look at the object just before the change. Only where the
//! endpoint cannot be reached, or does not know the credentials, nothing is known. Where nothing may be deleted, nothing is written.

use super::Pipeline;
use super::resource::ObjectResource;
use super::writing::Writer;
use crate::contract::{
    Attributes, Capabilities, Condition, ConditionedChange, ErrorKind, PartCopy, Payload, RawKey, Result,
};
use crate::http::deadline::{CallLimit, limited_call};
use crate::http::probe::Questions;
use crate::http::remembered::Answer;
use crate::http::request::ApiRequest;
use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// The largest object, in bytes (Cloud Storage documentation, "Quotas and limits").
const OBJECT_SIZE_BYTES_MAX: u64 = 5 * 1024 * 1024 * 1024 * 1024;
/// The most parts of an upload, which are composed in layers: as many as elsewhere.
const PART_COUNT_MAX: u32 = 10_000;
/// How long the endpoint may fail, or be silent, in all of a probe: writes wait for it.
const QUESTION_LIMIT: CallLimit =
    CallLimit { deadline: Duration::from_secs(10), attempt: Duration::from_secs(10) };
/// A generation that no object has.
pub(super) const BOGUS_GENERATION: &str = "1";

const QUESTIONS: Questions = Questions { is_of_credentials: |error| error.status == Some(401) };

/// What the endpoint enforces by itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub(crate) struct Enforcement {
    /// Conditions on new objects.
    pub insert: bool,
    /// Conditions on what a composition makes.
    pub compose: bool,
    /// Conditions on what a rewrite replaces, and on its source.
    pub rewrite: bool,
    /// Conditions on deletions.
    pub delete: bool,
    /// Objects are moved, under conditions.
    pub moves: bool,
    /// The endpoint was not asked, so that what is not claimed may be there.
    pub is_assumed: bool,
}

impl Enforcement {
    /// All of it, as at Google's.
    pub const FULL: Self =
        Self { insert: true, compose: true, rewrite: true, delete: true, moves: true, is_assumed: false };

    /// As the store's callers see it.
    pub fn capabilities(self) -> Capabilities {
        let changes = [
            (ConditionedChange::Writes, self.insert),
            (ConditionedChange::LargeWrites, self.compose),
            (ConditionedChange::Deletions, self.delete),
        ];
        let ignored = changes.into_iter().filter(|(_, is_enforced)| !is_enforced && !self.is_assumed);
        Capabilities {
            conditional_put: self.insert,
            conditional_complete: self.compose,
            ignored_conditions: ignored.map(|(change, _)| change).collect(),
            is_assumed: self.is_assumed,
            part_copy: PartCopy::Whole,
            atomic_rename: self.moves,
            equal_parts: false,
            part_size_bytes_min: 1,
            part_size_bytes_max: OBJECT_SIZE_BYTES_MAX,
            part_count_max: PART_COUNT_MAX,
            put_size_bytes_max: OBJECT_SIZE_BYTES_MAX,
        }
    }
}

/// Asks the endpoint. Errors: it could not be reached, has no time, or does not know the credentials: what it enforces is not known, and may be
/// asked again.
pub(super) async fn probe(pipeline: &Arc<Pipeline>) -> Result<Answer<Enforcement>> {
    limited_call(QUESTION_LIMIT, probe_within_call(pipeline)).await
}

async fn probe_within_call(pipeline: &Arc<Pipeline>) -> Result<Answer<Enforcement>> {
    let not_asked =
        Answer { value: Enforcement { is_assumed: true, ..Enforcement::default() }, is_of_endpoint: false };
    let name = format!("{}.pail-probe-{:016x}", pipeline.options.probe_prefix, rand::random::<u64>());
    let key = RawKey::new(name).map_err(|e| {
        pipeline.error("PutObject", None, ErrorKind::Unsupported, format!("the probe's prefix: {e}"))
    })?;
    let probe = Probe { writer: Writer { pipeline, enforcement: Enforcement::default() }, key: &key };
    // Of nothing, as yet: who may not delete is refused that too.
    if let Err(error) = probe.writer.delete(&key, &Condition::None).await {
        if QUESTIONS.tells_nothing(&error) {
            return Err(error);
        }
        tracing::info!(%error, "the endpoint is not asked what it enforces, since what that writes could not be deleted");
        return Ok(not_asked);
    }
    let found = match probe.insert(&Condition::None).await {
        Ok(_) => probe.ask().await,
        Err(error) if QUESTIONS.tells_nothing(&error) => Err(error),
        Err(error) => {
            tracing::info!(%error, "the endpoint is not asked what it enforces, since the object for that cannot be written");
            return Ok(not_asked);
        }
    };
    match probe.writer.delete(&key, &Condition::None).await {
        // Nor do questions that were not answered then.
        Err(error) if QUESTIONS.tells_nothing(&error) => return found.and(Err(error)),
        Err(error) => tracing::warn!(%error, "the object of the probe could not be deleted"),
        Ok(()) => {}
    }
    tracing::debug!(bucket = pipeline.bucket, ?found, "probed the endpoint");
    Ok(Answer { value: found?, is_of_endpoint: true })
}

/// The questions about one object that stands.
struct Probe<'a> {
    writer: Writer<'a>,
    key: &'a RawKey,
}

impl Probe<'_> {
    async fn insert(&self, condition: &Condition) -> Result<ObjectResource> {
        let request = ApiRequest::on("PutObject", Method::POST, self.key);
        let payload = Payload::Bytes(Bytes::from_static(b"pail probe"));
        self.writer.insert(request, self.key.as_str(), payload, &Attributes::default(), condition).await
    }

    async fn ask(&self) -> Result<Enforcement> {
        let endpoint = &self.writer.pipeline.service.endpoint;
        let name = self.key.as_str();
        let posted = |operation, path: String, body: Value| {
            ApiRequest::new(operation, Method::POST)
                .path(path)
                .header("content-type", "application/json")
                .payload(Bytes::from(body.to_string()).into())
        };
        let insert = QUESTIONS.is_precondition(self.insert(&Condition::IfAbsent).await)?;
        let compose = posted(
            "CompleteMultipartUpload",
            format!("{}/compose", endpoint.object_path(name)),
            json!({"sourceObjects": [{"name": name}], "destination": {}}),
        );
        let compose = self.is_refused(compose.query("ifGenerationMatch", "0")).await?;
        // Onto itself.
        let rewrite = || posted("CopyObject", endpoint.rewrite_path(name, name), json!({}));
        let rewrite = self.is_refused(rewrite().query("ifGenerationMatch", "0")).await?
            && self.is_refused(rewrite().query("ifSourceGenerationMatch", BOGUS_GENERATION)).await?;
        Ok(Enforcement {
            insert,
            compose,
            rewrite,
            moves: self.moves_under_conditions().await?,
            // Last, since it leaves nothing to ask about where it is not refused.
            delete: self
                .is_refused(
                    ApiRequest::new("DeleteObject", Method::DELETE)
                        .path(endpoint.object_path(name))
                        .query("ifGenerationMatch", BOGUS_GENERATION),
                )
                .await?,
            is_assumed: false,
        })
    }

    async fn moves_under_conditions(&self) -> Result<bool> {
        let to = RawKey::new(format!("{}-moved", self.key.as_str()));
        let Ok(to) = to else { return Ok(false) };
        let path = self.writer.pipeline.service.endpoint.move_path(self.key.as_str(), to.as_str());
        let request = ApiRequest::new("RenameObject", Method::POST)
            .path(path)
            .query("ifSourceGenerationMatch", BOGUS_GENERATION);
        match self.writer.pipeline.send(&request).await {
            Ok(_) => {
                // It moved it all the same. What is asked next is about an object that stands.
                QUESTIONS.told(self.writer.delete(&to, &Condition::None).await)?;
                QUESTIONS.told(self.insert(&Condition::None).await)?;
                Ok(false)
            }
            refused => QUESTIONS.is_precondition(refused),
        }
    }

    /// Whether the endpoint enforces the condition in `request`, which does not hold. Errors: those that tell nothing.
    async fn is_refused(&self, request: ApiRequest<'_>) -> Result<bool> {
        QUESTIONS.is_precondition(self.writer.pipeline.send(&request).await)
    }
}

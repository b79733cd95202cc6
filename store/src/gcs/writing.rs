//! Writes: objects, deletions, copies, moves, and their conditions.
//!
//! Owns: [`Writer`]. Every condition is a generation that the service compares with the object's at the moment of the change (Cloud Storage
//! documentation, "Request preconditions"), 0 where none is to be there; nothing is compared here.
//!
//! A new object and its attributes travel in one request; bytes in memory with their CRC32C, by which the service refuses what was damaged.

use super::Pipeline;
use super::endpoint::EndpointKind;
use super::reading::resource;
use super::related::Related;
use super::resource::{FACTS, ObjectResource, kms_key_of, resource_of};
use crate::contract::{
    Attributes, Checksum, Condition, Error, ErrorKind, Payload, PutOptions, RawKey, Result, Version,
};
use crate::http::pipeline::Answer;
use crate::http::request::ApiRequest;
use http::Method;
use serde::Deserialize;
use serde_json::Value;
use std::sync::Arc;

/// Writes through one pipeline.
pub(super) struct Writer<'a> {
    pub pipeline: &'a Arc<Pipeline>,
}

/// The answer to one step of a rewrite.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Rewritten {
    done: bool,
    rewrite_token: Option<String>,
    resource: Option<ObjectResource>,
}

impl Writer<'_> {
    pub async fn put(&self, key: &RawKey, payload: Payload, options: &PutOptions) -> Result<Version> {
        let request = ApiRequest::on("PutObject", Method::POST, key);
        let attributes = self.pipeline.options.new_objects.applied(key, &options.attributes);
        let made = self.insert(request, key.as_str(), payload, &attributes, &options.condition).await?;
        Ok(made.version())
    }

    /// Makes the object `name`. Errors name the request's key.
    pub async fn insert(
        &self,
        request: ApiRequest<'_>,
        name: &str,
        payload: Payload,
        attributes: &Attributes,
        condition: &Condition,
    ) -> Result<ObjectResource> {
        let mut resource = resource_of(attributes);
        resource.insert("name".to_owned(), name.into());
        if let Payload::Bytes(bytes) = &payload {
            resource.insert("crc32c".to_owned(), Checksum::crc32c_of(bytes).to_base64().into());
        }
        let (related, content_type) = Related::of(&Value::Object(resource), payload);
        let request = request
            .path(self.pipeline.service.endpoint.upload_path())
            .query("uploadType", "multipart")
            .query("name", name)
            .query("fields", FACTS)
            .header("content-type", &content_type)
            .payload(related.body());
        let request = with_kms_key(request, "kmsKeyName", kms_key_of(attributes));
        let request = self.conditioned(request, condition)?;
        let answer = self.pipeline.send(&request).await?;
        let made = self.written(&request, &answer)?;
        match made.checksum().and_then(|checksum| related.sent(checksum)) {
            Some(false) => Err(self.damaged(&request, name, &made).await),
            Some(true) | None => Ok(made),
        }
    }

    /// What the service has is not what was sent: it is removed again.
    async fn damaged(&self, request: &ApiRequest<'_>, name: &str, made: &ObjectResource) -> Error {
        let mut removal = ApiRequest::new("DeleteObject", Method::DELETE)
            .path(self.pipeline.service.endpoint.object_path(name));
        if let Some(generation) = made.generation {
            removal = removal.query("ifGenerationMatch", generation.to_string());
        }
        let removed = self.pipeline.send(&removal).await;
        let message =
            "the bytes were damaged on their way: their checksum at the service is another".to_owned();
        let error = self.pipeline.error(request.operation, request.key, ErrorKind::Corrupt, message);
        Error { maybe_applied: removed.is_err(), ..error }
    }

    pub async fn delete(&self, key: &RawKey, condition: &Condition) -> Result<()> {
        let request = ApiRequest::on("DeleteObject", Method::DELETE, key)
            .path(self.pipeline.service.endpoint.object_path(key.as_str()));
        let request = self.conditioned(request, condition)?;
        match self.pipeline.send(&request).await {
            Err(error) if error.kind == ErrorKind::NotFound => Ok(()),
            Err(error) if error.kind == ErrorKind::Precondition && self.is_absent(key).await? => Ok(()),
            outcome => outcome.map(|_| ()),
        }
    }

    async fn is_absent(&self, key: &RawKey) -> Result<bool> {
        match resource(self.pipeline, key).await {
            Ok(_) => Ok(false),
            Err(error) if error.kind == ErrorKind::NotFound => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Copies by as many rewrites as it takes. The source's attributes are named: what a request leaves out is the bucket's own choice.
    pub async fn copy(
        &self,
        from: &RawKey,
        version: &Version,
        to: &RawKey,
        condition: &Condition,
    ) -> Result<Version> {
        let source = resource(self.pipeline, from).await.map_err(|error| of_source(error, from, version))?;
        if !version.is_unknown() && source.version() != *version {
            return Err(self.changed("CopyObject", from));
        }
        let body = bytes::Bytes::from(Value::Object(source.copied()).to_string());
        let mut token: Option<String> = None;
        loop {
            let request = ApiRequest::on("CopyObject", Method::POST, to)
                .path(self.pipeline.service.endpoint.rewrite_path(from.as_str(), to.as_str()))
                .query("fields", format!("done,rewriteToken,resource({FACTS})"))
                .header("content-type", "application/json")
                .payload(body.clone().into())
                .long_running();
            let request = with_kms_key(request, "destinationKmsKeyName", source.kms_key());
            let mut request = self.conditioned(request, condition)?;
            if let Version::Generation(generation) = source.version() {
                request = request.query("ifSourceGenerationMatch", generation.to_string());
            }
            if let Some(token) = &token {
                request = request.query("rewriteToken", token.as_str());
            }
            let sent = self.pipeline.send(&request).await;
            let answer = sent.map_err(|error| of_source(error, from, version))?;
            let rewritten: Rewritten = self.parsed(&request, &answer.body)?;
            match (rewritten.done, rewritten.resource, rewritten.rewrite_token) {
                (true, Some(made), _) => return self.known(&request, made).map(|made| made.version()),
                (false, _, Some(next)) => token = Some(next),
                _ => {
                    let message = "the answer to a rewrite says neither that it is done nor how it goes on";
                    return Err(self.corrupt(&request, message.to_owned()));
                }
            }
        }
    }

    /// Moves in one step. Errors: `Unsupported`, where the endpoint does not know how.
    pub async fn rename(
        &self,
        from: &RawKey,
        version: &Version,
        to: &RawKey,
        condition: &Condition,
    ) -> Result<Version> {
        let request = ApiRequest::on("RenameObject", Method::POST, to)
            .path(self.pipeline.service.endpoint.move_path(from.as_str(), to.as_str()))
            .query("fields", FACTS);
        let mut request = self.conditioned(request, condition)?;
        match version {
            Version::Generation(generation) => {
                request = request.query("ifSourceGenerationMatch", generation.to_string());
            }
            Version::Unknown => {}
            Version::Etag(_) => return Err(self.changed("RenameObject", from)),
        }
        let sent = self.pipeline.send(&request).await;
        let answer = sent.map_err(|error| of_source(error, from, version))?;
        Ok(self.written(&request, &answer)?.version())
    }

    /// Whether the endpoint moves objects: Google's does; another is asked to move what is not there, and says that it is not, or that it
    /// knows no such request. Errors: it cannot be asked.
    pub async fn can_rename(&self) -> Result<bool> {
        if self.pipeline.service.endpoint.kind() == EndpointKind::Google {
            return Ok(true);
        }
        let names = ["from", "to"].map(|end| {
            let random = rand::random::<u64>();
            format!("{}.pail-probe-{random:016x}-{end}", self.pipeline.options.probe_prefix)
        });
        let path = self.pipeline.service.endpoint.move_path(&names[0], &names[1]);
        let request =
            ApiRequest::new("RenameObject", Method::POST).path(path).query("ifSourceGenerationMatch", "1");
        match self.pipeline.send(&request).await {
            Ok(_) => Ok(true),
            // The API's own error names its reason; that of a router which knows no such path does not.
            Err(error) if error.status == Some(404) => Ok(error.code.is_some()),
            Err(error) if error.kind == ErrorKind::Precondition => Ok(true),
            Err(error) if error.status.is_some() && error.kind != ErrorKind::Exhausted => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Puts the condition into the request.
    pub fn conditioned<'k>(&self, request: ApiRequest<'k>, condition: &Condition) -> Result<ApiRequest<'k>> {
        match condition {
            Condition::None => Ok(request),
            Condition::IfAbsent => Ok(request.query("ifGenerationMatch", "0")),
            Condition::IfVersion(Version::Generation(generation)) => {
                Ok(request.query("ifGenerationMatch", generation.to_string()))
            }
            // It is not known what is to stand there, or it is of another kind of store.
            Condition::IfVersion(Version::Unknown | Version::Etag(_)) => {
                let message = "which version is to be there is not known".to_owned();
                Err(self.pipeline.error(request.operation, request.key, ErrorKind::Precondition, message))
            }
        }
    }

    /// The error of an object that is another now.
    pub fn changed(&self, operation: &'static str, key: &RawKey) -> Error {
        let message = "the object has another version now".to_owned();
        self.pipeline.error(operation, Some(key), ErrorKind::Precondition, message)
    }

    /// What a write that has taken effect made.
    pub fn written(&self, request: &ApiRequest<'_>, answer: &Answer) -> Result<ObjectResource> {
        let made = self.parsed(request, &answer.body)?;
        self.known(request, made)
    }

    fn known(&self, request: &ApiRequest<'_>, made: ObjectResource) -> Result<ObjectResource> {
        match made.generation {
            Some(_) => Ok(made),
            None => Err(self.corrupt(request, "the answer to a write names no generation".to_owned())),
        }
    }

    fn parsed<T: serde::de::DeserializeOwned>(&self, request: &ApiRequest<'_>, body: &[u8]) -> Result<T> {
        serde_json::from_slice(body).map_err(|cause| self.corrupt(request, cause.to_string()))
    }

    /// The answer to a write that has taken effect cannot be read.
    fn corrupt(&self, request: &ApiRequest<'_>, message: String) -> Error {
        let error = self.pipeline.error(request.operation, request.key, ErrorKind::Corrupt, message);
        Error { maybe_applied: true, ..error }
    }
}

pub(super) fn with_kms_key<'k>(
    request: ApiRequest<'k>,
    parameter: &'static str,
    key: Option<&str>,
) -> ApiRequest<'k> {
    match key {
        Some(key) => request.query(parameter, key),
        None => request,
    }
}

/// An error of a request whose bytes come from `from`: names it, and takes the lack of a `version` that was asked for as that of the version.
pub(super) fn of_source(mut error: Error, from: &RawKey, version: &Version) -> Error {
    if error.kind == ErrorKind::NotFound && !version.is_unknown() {
        error.kind = ErrorKind::Precondition;
        error.message = "the object is gone".to_owned();
    }
    if matches!(error.kind, ErrorKind::NotFound | ErrorKind::Precondition) {
        error.message = format!("{} (copied from {from})", error.message);
    }
    error
}

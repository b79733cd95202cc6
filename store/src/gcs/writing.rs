//! Writes: objects, deletions, copies, moves, and their conditions.
//!
//! Owns: [`Writer`]. Every condition is a generation that the service compares with the object's at the moment of the change (Cloud Storage
//! documentation, "Request preconditions"), 0 where none is to be there. Where the endpoint does not ([`Enforcement`]), it is compared here just
//! before an unconditional change, which another writer can race; [`Capabilities`](crate::Capabilities) says so.
//!
//! A new object and its attributes travel in one request; bytes in memory with their CRC32C, by which the service refuses what was damaged.

use super::Pipeline;
use super::enforcement::Enforcement;
use super::reading::resource;
use super::related::Related;
use super::resource::{FACTS, ObjectResource, kms_key_of, resource_of};
use crate::contract::{
    Attributes, Checksum, Condition, Error, ErrorKind, ObjectMeta, Payload, PutOptions, RawKey, Result,
    Store, Version,
};
use crate::http::pipeline::Answer;
use crate::http::request::ApiRequest;
use http::Method;
use serde::Deserialize;
use serde_json::Value;
use std::sync::Arc;

/// Writes through one pipeline under one endpoint's rules.
pub(super) struct Writer<'a> {
    pub pipeline: &'a Arc<Pipeline>,
    pub enforcement: Enforcement,
}

/// The answer to one step of a rewrite.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Rewritten {
    done: bool,
    rewrite_token: Option<String>,
    resource: Option<ObjectResource>,
}

/// What a rewrite is of.
struct Rewrite<'a> {
    path: String,
    /// The resource of what is made, as JSON; empty takes the source's.
    resource: bytes::Bytes,
    kms_key: Option<&'a str>,
    from: &'a RawKey,
    version: &'a Version,
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
        if let Some(bytes) = payload.in_memory() {
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
        let request = self.conditioned(request, name, condition, self.enforcement.insert).await?;
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
        let request = match self.conditioned(request, key.as_str(), condition, self.enforcement.delete).await
        {
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
        let rewrite = Rewrite {
            path: self.pipeline.service.endpoint.rewrite_path(from.as_str(), to.as_str()),
            resource: Value::Object(source.copied()).to_string().into(),
            kms_key: source.kms_key(),
            from,
            version: &source.version(),
        };
        let made = self.rewrite(&rewrite, to, condition).await?;
        self.check_copied_from(from, &source).await?;
        Ok(made.version())
    }

    /// Copies an object of another bucket. A rewrite without a resource takes the source's attributes along, but for the storage class, which
    /// is the bucket's then (Cloud Storage documentation, "Objects: rewrite").
    pub async fn copy_from(
        &self,
        source: &dyn Store,
        bucket: &str,
        object: &ObjectMeta,
        to: &RawKey,
        condition: &Condition,
    ) -> Result<Version> {
        let (from, version) = (&object.key, &object.version);
        let new_objects = &self.pipeline.options.new_objects;
        let resource = match new_objects.storage_class.is_some() {
            true => {
                let mut attributes = source.attributes(from, version).await?;
                (attributes.storage_class, attributes.encryption) = (None, None);
                Value::Object(resource_of(&new_objects.applied(to, &attributes))).to_string()
            }
            false => String::new(),
        };
        let none = Attributes::default();
        let applied = new_objects.applied(to, &none);
        let rewrite = Rewrite {
            path: self.pipeline.service.endpoint.rewrite_path_from(bucket, from.as_str(), to.as_str()),
            resource: resource.into(),
            kms_key: kms_key_of(&applied),
            from,
            version,
        };
        let made = self.rewrite(&rewrite, to, condition).await?;
        if !self.enforcement.rewrite && !version.is_unknown() {
            let now = source.head(from).await.map_err(|error| of_source(error, from, version))?;
            if now.version != *version {
                return Err(Error { maybe_applied: true, ..self.changed("CopyObject", from) });
            }
        }
        Ok(made.version())
    }

    async fn rewrite(
        &self,
        rewrite: &Rewrite<'_>,
        to: &RawKey,
        condition: &Condition,
    ) -> Result<ObjectResource> {
        let Rewrite { path, resource, kms_key, from, version } = rewrite;
        let mut token: Option<String> = None;
        loop {
            let request = ApiRequest::on("CopyObject", Method::POST, to)
                .path(path.clone())
                .query("fields", format!("done,rewriteToken,resource({FACTS})"))
                .payload(resource.clone().into())
                .long_running();
            let request = match resource.is_empty() {
                true => request,
                false => request.header("content-type", "application/json"),
            };
            let request = with_kms_key(request, "destinationKmsKeyName", *kms_key);
            let mut request =
                self.conditioned(request, to.as_str(), condition, self.enforcement.rewrite).await?;
            if let Version::Generation(generation) = version {
                request = request.query("ifSourceGenerationMatch", generation.to_string());
            }
            if let Some(token) = &token {
                request = request.query("rewriteToken", token.as_str());
            }
            let sent = self.pipeline.send(&request).await;
            let answer = sent.map_err(|error| of_source(error, from, version))?;
            let rewritten: Rewritten = self.parsed(&request, &answer.body)?;
            match (rewritten.done, rewritten.resource, rewritten.rewrite_token) {
                (true, Some(made), _) => return self.known(&request, made),
                (false, _, Some(next)) => token = Some(next),
                _ => {
                    let message = "the answer to a rewrite says neither that it is done nor how it goes on";
                    return Err(self.corrupt(&request, message.to_owned()));
                }
            }
        }
    }

    /// Where the endpoint compares nothing, the source may have become another just before the copy. Errors: it has, and the copy may be of that.
    async fn check_copied_from(&self, from: &RawKey, source: &ObjectResource) -> Result<()> {
        if self.enforcement.rewrite {
            return Ok(());
        }
        match resource(self.pipeline, from).await {
            Ok(now) if now.generation == source.generation => Ok(()),
            Ok(_) => Err(Error { maybe_applied: true, ..self.changed("CopyObject", from) }),
            Err(error) => Err(Error { maybe_applied: true, ..of_source(error, from, &source.version()) }),
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
        let mut request = self.conditioned(request, to.as_str(), condition, self.enforcement.moves).await?;
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

    /// Puts the condition on the object `name` into the request where the endpoint enforces it there, and checks it here where not.
    pub async fn conditioned<'k>(
        &self,
        request: ApiRequest<'k>,
        name: &str,
        condition: &Condition,
        is_enforced: bool,
    ) -> Result<ApiRequest<'k>> {
        let generation = match condition {
            Condition::None => return Ok(request),
            Condition::IfAbsent => 0,
            Condition::IfVersion(Version::Generation(generation)) => *generation,
            // It is not known what is to stand there, or it is of another kind of store.
            Condition::IfVersion(Version::Unknown | Version::Etag(_)) => {
                let message = "which version is to be there is not known".to_owned();
                return Err(self.pipeline.error(
                    request.operation,
                    request.key,
                    ErrorKind::Precondition,
                    message,
                ));
            }
        };
        if !is_enforced {
            self.check_generation(&request, name, generation).await?;
        }
        // A condition that is ignored does no harm, and one that was not found to be enforced may be.
        Ok(request.query("ifGenerationMatch", generation.to_string()))
    }

    /// Errors: `Precondition`, where the object `name` has not that generation, which is 0 where none is to be there.
    async fn check_generation(&self, request: &ApiRequest<'_>, name: &str, generation: u64) -> Result<()> {
        let Ok(key) = RawKey::new(name) else { return Ok(()) };
        let stands = match resource(self.pipeline, &key).await {
            Ok(object) => object.generation.unwrap_or_default(),
            Err(error) if error.kind == ErrorKind::NotFound => 0,
            Err(error) => return Err(error),
        };
        let message = match stands {
            _ if stands == generation => return Ok(()),
            0 => "the object is gone",
            _ => "the object has another version now",
        };
        Err(self.pipeline.error(request.operation, request.key, ErrorKind::Precondition, message.to_owned()))
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

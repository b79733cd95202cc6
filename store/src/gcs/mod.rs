//! Buckets of Google Cloud Storage.
//!
//! Owns: [`GcsStore`], which puts the parts together. Every operation is a request of the JSON API that goes through the one pipeline
//! (`http`), addressed and authorized by [`service`]; versions are generations.
//!
//! # Why the JSON API, and no client library
//! It names every object in one encoded path segment, so that `a//b`, `../x` and `d/` beside `d` reach the service as they are; it has a
//! generation's precondition on every change, and compositions, rewrites and moves, of which the XML API lacks some. A library would bring a
//! second pool, second retries and a second TLS stack (see [`credentials`] for the same of its tokens).

mod credentials;
mod endpoint;
mod enforcement;
mod failure;
mod listing;
mod open;
mod permissions;
mod reading;
mod related;
mod resource;
mod service;
mod uploads;
mod writing;

pub use open::lend;

use crate::contract::*;
use crate::http::deadline::within_call;
use crate::http::reading::{self as bodies, Readable};
use crate::http::remembered::{Answer, Asker, Endpoints, Memory};
use crate::http::request::ApiRequest;
use async_trait::async_trait;
use bytes::Bytes;
use endpoint::EndpointKind;
use enforcement::Enforcement;
use http::Method;
use serde_json::json;
use service::GcsService;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;
use uploads::Uploads;
use writing::Writer;

/// The way to a bucket of Google Cloud Storage.
type Pipeline = crate::http::pipeline::Pipeline<GcsService>;

/// What the endpoints of this process's buckets were found to enforce.
static ENDPOINTS: LazyLock<Endpoints<Enforcement>> = LazyLock::new(Endpoints::default);

/// A bucket of Google Cloud Storage.
pub struct GcsStore {
    pipeline: Arc<Pipeline>,
    uri: String,
    identity: String,
    /// What the endpoint enforces.
    memory: Memory<Enforcement>,
    /// It was asked to move an object, and said that it does not: buckets differ in it.
    refused_rename: AtomicBool,
}

impl GcsStore {
    /// Prepares a store; nothing is sent to the endpoint yet. Errors: `Configuration` (an endpoint that cannot be), `Credentials` (they were
    /// found, and cannot be loaded).
    pub async fn open(options: StoreOptions) -> Result<Arc<Self>> {
        open::open(options).await
    }

    fn writer(&self, enforcement: Enforcement) -> Writer<'_> {
        Writer { pipeline: &self.pipeline, enforcement }
    }

    /// The writer that goes by what is known of the endpoint already.
    fn known_writer(&self) -> Writer<'_> {
        self.writer(self.memory.known().unwrap_or_default())
    }

    /// The writer that knows what the endpoint enforces. Where it could not be asked, nothing is left to it.
    async fn probed_writer(&self) -> Writer<'_> {
        self.writer(self.memory.answer(self).await.unwrap_or_default())
    }

    async fn writer_for(&self, condition: &Condition) -> Writer<'_> {
        match condition {
            Condition::None => self.known_writer(),
            _ => self.probed_writer().await,
        }
    }

    fn uploads(&self) -> Uploads<'_> {
        Uploads { writer: self.known_writer() }
    }

    fn capabilities_of(&self, enforcement: Enforcement) -> Capabilities {
        let capabilities = enforcement.capabilities();
        let atomic_rename = capabilities.atomic_rename && !self.refused_rename.load(Ordering::Relaxed);
        Capabilities { atomic_rename, ..capabilities }
    }

    /// Errors: `Unsupported`, for a key that parts of uploads are kept under.
    fn check_is_ours(&self, operation: &'static str, key: &RawKey) -> Result<()> {
        match uploads::is_reserved(key.as_str()) {
            false => Ok(()),
            true => {
                let message = format!("{}/ is kept for the parts of uploads", uploads::HIDDEN);
                Err(self.pipeline.error(operation, Some(key), ErrorKind::Unsupported, message))
            }
        }
    }

    /// The resource of a bucket that is to be made.
    fn new_bucket(&self) -> serde_json::Value {
        let options = &self.pipeline.options;
        let mut bucket = json!({
            "name": self.pipeline.bucket,
            "iamConfiguration": {"uniformBucketLevelAccess": {"enabled": true}},
        });
        if let Some(region) = &options.region {
            bucket["location"] = region.as_str().into();
        }
        if let Some(class) = &options.new_objects.storage_class {
            bucket["storageClass"] = class.as_str().into();
        }
        bucket
    }

    async fn send_delete_bucket(&self) -> Result<()> {
        let request = ApiRequest::new("DeleteBucket", Method::DELETE)
            .path(self.pipeline.service.endpoint.bucket_path());
        match self.pipeline.send(&request).await {
            Err(error) if error.kind == ErrorKind::NoSuchBucket => Ok(()),
            // fake-gcs-server says so of a bucket that has objects.
            Err(error) if error.kind == ErrorKind::Precondition => Err(Error {
                kind: ErrorKind::NotEmpty,
                message: "the bucket has objects".to_owned(),
                ..error
            }),
            deleted => deleted.map(|_| ()),
        }
    }

    /// Frees parts of uploads that nobody completed, where the bucket has nothing else. Whether it has nothing else.
    async fn free_hidden(&self) -> Result<bool> {
        let page = listing::list(&self.pipeline, ListRequest::default()).await?;
        if !page.objects.is_empty() {
            return Ok(false);
        }
        self.uploads().free("").await?;
        Ok(true)
    }
}

impl std::fmt::Debug for GcsStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "GcsStore({})", self.identity)
    }
}

#[async_trait]
impl Asker for GcsStore {
    type Value = Enforcement;

    /// What an endpoint enforces, it enforces for all: none is known whose answer goes by the caller.
    async fn id(&self) -> String {
        String::new()
    }

    fn server(&self) -> Option<String> {
        None
    }

    async fn ask(&self) -> Result<Answer<Enforcement>> {
        let probed = enforcement::probe(&self.pipeline).await?;
        let ignored = probed.value.capabilities().ignored_conditions;
        if !ignored.is_empty() {
            let endpoint = self.pipeline.service.endpoint.url();
            tracing::warn!(
                endpoint,
                ?ignored,
                "this endpoint ignores conditions: each is checked just before its change, which another client's may overtake"
            );
        }
        Ok(probed)
    }

    fn asked_in_vain(&self, ago: Duration) -> Error {
        let message = format!("it could not be asked what it enforces {} s ago", ago.as_secs());
        self.pipeline.error("PutObject", None, ErrorKind::Unreachable, message)
    }
}

#[async_trait]
impl Store for GcsStore {
    fn uri(&self) -> &str {
        &self.uri
    }

    fn identity(&self) -> &str {
        &self.identity
    }

    fn counters(&self) -> CounterSnapshot {
        self.pipeline.counters.snapshot()
    }

    async fn capabilities(&self) -> Result<Capabilities> {
        Ok(self.capabilities_of(self.memory.answer(self).await?))
    }

    fn known_capabilities(&self) -> Option<Capabilities> {
        self.memory.remembered(None).map(|enforcement| self.capabilities_of(enforcement))
    }

    async fn create_bucket(&self) -> Result<()> {
        const OPERATION: &str = "CreateBucket";
        let project = self.pipeline.service.credentials.project().await;
        let is_google = self.pipeline.service.endpoint.kind() == EndpointKind::Google;
        let Some(project) = project.or_else(|| (!is_google).then(|| "pail".to_owned())) else {
            let message = "the credentials name no project in which a bucket could be created; set \
                           GOOGLE_CLOUD_PROJECT";
            return Err(self.pipeline.error(OPERATION, None, ErrorKind::Configuration, message.to_owned()));
        };
        let request = ApiRequest::new(OPERATION, Method::POST)
            .path("/storage/v1/b")
            .query("project", project)
            .query("fields", "name")
            .header("content-type", "application/json")
            .payload(Bytes::from(self.new_bucket().to_string()).into());
        match self.pipeline.send(&request).await {
            // The service says so of a bucket that the same project has.
            Err(error)
                if error.kind == ErrorKind::BucketTaken && error.message.contains("already own it") =>
            {
                Ok(())
            }
            // An emulator has one owner.
            Err(error) if error.kind == ErrorKind::BucketTaken && !is_google => self.look_up_bucket().await,
            created => created.map(|_| ()),
        }
    }

    /// By a listing: to ask for the bucket itself takes a right that those who may use its objects often lack.
    async fn look_up_bucket(&self) -> Result<()> {
        let request = ApiRequest::new("HeadBucket", Method::GET)
            .path(format!("{}/o", self.pipeline.service.endpoint.bucket_path()))
            .query("maxResults", "1")
            .query("fields", "nextPageToken");
        self.pipeline.send(&request).await?;
        Ok(())
    }

    async fn may_write(&self) -> Result<Option<bool>> {
        permissions::may_write(&self.pipeline, &self.memory).await
    }

    async fn delete_bucket(&self) -> Result<()> {
        match self.send_delete_bucket().await {
            Err(error) if error.kind == ErrorKind::NotEmpty && self.free_hidden().await? => {
                self.send_delete_bucket().await
            }
            deleted => deleted,
        }
    }

    async fn head(&self, key: &RawKey) -> Result<ObjectMeta> {
        GcsService::head(&self.pipeline, key).await
    }

    async fn get(&self, key: &RawKey, options: GetOptions) -> Result<GetResult> {
        bodies::get(&self.pipeline, key, options).await
    }

    async fn put(&self, key: &RawKey, payload: Payload, options: PutOptions) -> Result<Version> {
        self.check_is_ours("PutObject", key)?;
        within_call(async { self.writer_for(&options.condition).await.put(key, payload, &options).await })
            .await
    }

    async fn delete(&self, key: &RawKey, condition: Condition) -> Result<()> {
        within_call(async { self.writer_for(&condition).await.delete(key, &condition).await }).await
    }

    async fn rename(
        &self,
        from: &RawKey,
        version: &Version,
        to: &RawKey,
        condition: Condition,
    ) -> Result<Version> {
        const OPERATION: &str = "RenameObject";
        self.check_is_ours(OPERATION, to)?;
        within_call(async {
            let enforcement = self.memory.answer(self).await?;
            if !self.capabilities_of(enforcement).atomic_rename {
                let message = "the endpoint moves no objects".to_owned();
                return Err(self.pipeline.error(OPERATION, Some(from), ErrorKind::Unsupported, message));
            }
            let renamed = self.writer(enforcement).rename(from, version, to, &condition).await;
            // A 400 may as well be of a name that no object can have.
            let is_refusal = |error: &Error| {
                matches!(error.status, Some(405 | 501)) || error.message.contains("hierarchical namespace")
            };
            if renamed.as_ref().is_err_and(is_refusal) {
                self.refused_rename.store(true, Ordering::Relaxed);
            }
            renamed
        })
        .await
    }

    async fn copy(
        &self,
        from: &RawKey,
        version: &Version,
        to: &RawKey,
        condition: Condition,
    ) -> Result<Version> {
        self.check_is_ours("CopyObject", to)?;
        within_call(async { self.probed_writer().await.copy(from, version, to, &condition).await }).await
    }

    async fn copy_from(
        &self,
        source: &dyn Store,
        object: &ObjectMeta,
        to: &RawKey,
        condition: Condition,
    ) -> Result<Version> {
        self.check_is_ours("CopyObject", to)?;
        let Some(bucket) = bucket_beside(&self.identity, &self.pipeline.bucket, source.identity()) else {
            let message = format!("{} is at another endpoint", source.uri());
            return Err(self.pipeline.error("CopyObject", Some(to), ErrorKind::Unsupported, message));
        };
        within_call(async {
            self.probed_writer().await.copy_from(source, bucket, object, to, &condition).await
        })
        .await
    }

    async fn list(&self, request: ListRequest) -> Result<ListPage> {
        listing::list(&self.pipeline, request).await
    }

    async fn start_upload(&self, key: &RawKey, options: &PutOptions) -> Result<Upload> {
        self.check_is_ours("CreateMultipartUpload", key)?;
        Ok(self.uploads().start(key, options))
    }

    async fn put_part(&self, upload: &Upload, number: u32, payload: Payload) -> Result<Part> {
        self.uploads().put_part(upload, number, payload).await
    }

    async fn copy_part(
        &self,
        _upload: &Upload,
        number: u32,
        from: &RawKey,
        version: &Version,
        range: Range<u64>,
    ) -> Result<Part> {
        within_call(async { self.uploads().copy_part(number, from, version, range).await }).await
    }

    async fn complete_upload(
        &self,
        upload: &Upload,
        parts: &[Part],
        options: &PutOptions,
    ) -> Result<Version> {
        within_call(async {
            let writer = self.writer_for(&options.condition).await;
            Uploads { writer }.complete(upload, parts, options).await
        })
        .await
    }

    async fn abort_upload(&self, upload: &Upload) -> Result<()> {
        within_call(async { self.uploads().abort(upload).await }).await
    }

    async fn open_uploads(&self, key: &RawKey) -> Result<Vec<OpenUpload>> {
        within_call(async { self.uploads().open(key).await }).await
    }

    async fn has_parts(&self, upload: &Upload) -> Result<bool> {
        self.uploads().has_parts(upload).await
    }
}

#[cfg(test)]
mod fuzz;

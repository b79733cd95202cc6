//! Buckets of the S3 family: AWS, R2, IBM COS, Ceph, MinIO, Pail's own dev server and the like.
//!
//! Owns: [`S3Store`], which puts the parts together: options are resolved to an [`endpoint`] and [`credentials`], every operation is a
//! request that goes through the one pipeline (`http`), authorized by [`service`], and [`probe`] knows what may be left to the endpoint.

mod attributes;
mod authorization;
mod aws_files;
mod aws_place;
mod bulk_deletion;
mod checksums;
mod container;
mod copying;
mod copying_across;
mod credential_client;
mod credentials;
mod customer_key;
mod dialect;
mod directory_listing;
mod endpoint;
mod etag;
mod express;
mod extras;
mod failure;
mod iam;
mod ibm_files;
mod listing;
mod meta;
mod open;
mod open_copy;
mod open_uploads;
mod probe;
mod profile;
mod reading;
mod service;
mod sign;
mod sources;
mod uploads;
mod writing;
mod xml;

pub use endpoint::check_endpoint_url;
pub use open::lend;
pub use probe::Enforcement;

use crate::contract::*;
use crate::http::deadline::within_call;
use crate::http::reading::{self as bodies, Readable};
use crate::http::remembered::{Answer, Asker, Endpoints, Memory};
use crate::http::request::ApiRequest;
use crate::http::service::Service;
use async_trait::async_trait;
use copying_across::Neighbour;
use dialect::Creation;
use http::Method;
use service::S3Service;
use std::ops::Range;
use std::sync::{Arc, LazyLock};
use std::time::Duration;
use writing::Writer;

/// The way to a bucket of the S3 family.
type Pipeline = crate::http::pipeline::Pipeline<S3Service>;

/// What the endpoints of this process's buckets were found to enforce.
static ENDPOINTS: LazyLock<Endpoints<Enforcement>> = LazyLock::new(Endpoints::default);

/// A bucket of the S3 family.
pub struct S3Store {
    pipeline: Arc<Pipeline>,
    uri: String,
    identity: String,
    /// What the endpoint enforces.
    memory: Memory<Enforcement>,
    /// What the making of the bucket takes.
    creation: Creation,
}

impl S3Store {
    /// Prepares a store; nothing is sent to the endpoint yet. Errors: `Configuration` (an endpoint that cannot be), `Credentials` (they were found, and cannot be loaded).
    pub async fn open(options: StoreOptions) -> Result<Arc<Self>> {
        open::open(options).await
    }

    /// What the endpoint enforces; probes it at the first call, and again some time after it could not be asked. Errors: it could not.
    pub async fn enforcement(&self) -> Result<Enforcement> {
        self.memory.answer(self).await
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
        self.writer(self.enforcement().await.unwrap_or_default())
    }

    async fn writer_for(&self, condition: &Condition) -> Writer<'_> {
        match condition {
            Condition::None => self.known_writer(),
            _ => self.probed_writer().await,
        }
    }

    /// The writer for a copy of `version`.
    async fn copier_of(&self, version: &Version) -> Writer<'_> {
        match version.is_unknown() {
            true => self.writer_for(&Condition::None).await,
            false => self.probed_writer().await,
        }
    }

    /// Creates the bucket, at a location that is named or at the server's own.
    async fn send_create(&self, location: Option<&String>) -> Result<()> {
        let mut request = ApiRequest::new("CreateBucket", Method::PUT);
        for (name, value) in &self.creation.headers {
            request = request.header(name, value);
        }
        let document = match (self.pipeline.service.endpoint().zone(), location) {
            (Some(zone), _) => Some(xml::write(&xml::CreateDirectoryDocument::of_zone(zone))),
            (None, Some(location)) => {
                Some(xml::write(&xml::CreateBucketDocument { location: location.clone() }))
            }
            (None, None) => None,
        };
        if let Some(document) = document {
            let document = document
                .map_err(|cause| self.pipeline.error(request.operation, None, ErrorKind::Other, cause))?;
            request = request.payload(bytes::Bytes::from(document).into());
        }
        self.pipeline.send(&request).await?;
        Ok(())
    }
}

/// Whether CreateBucket was refused for the region that it named, or that it did not name.
fn is_about_location(error: &Error) -> bool {
    matches!(error.code.as_deref(), Some("IllegalLocationConstraintException" | "InvalidLocationConstraint"))
}

impl std::fmt::Debug for S3Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "S3Store({})", self.identity)
    }
}

#[async_trait]
impl Asker for S3Store {
    type Value = Enforcement;

    async fn id(&self) -> String {
        // Where the credentials cannot be had, the next request will say so.
        let id = self.pipeline.service.authorization().await;
        id.map_or_else(|_| String::new(), |id| id.id().to_owned())
    }

    fn server(&self) -> Option<String> {
        self.pipeline.service.server()
    }

    async fn ask(&self) -> Result<Answer<Enforcement>> {
        let probed = probe::probe(&self.pipeline).await?;
        if probed.is_of_endpoint && !probed.value.put {
            let endpoint = self.pipeline.service.url();
            tracing::warn!(
                endpoint,
                "this endpoint ignores the conditions of writes: each is checked just before its write, which another client's may overtake"
            );
        }
        Ok(probed)
    }

    fn asked_in_vain(&self, ago: Duration) -> Error {
        let message = format!("it could not be asked what it enforces {} s ago", ago.as_secs());
        self.pipeline.error("PutObject", None, ErrorKind::Unreachable, message)
    }
}

impl S3Store {
    /// An object as the source of a copy to `to`. Errors: `Unsupported`, where it is at another endpoint.
    fn neighbour<'a>(
        &'a self,
        operation: &'static str,
        store: &'a dyn Store,
        object: &'a ObjectMeta,
        to: &RawKey,
    ) -> Result<Neighbour<'a>> {
        let Some(bucket) = bucket_beside(&self.identity, &self.pipeline.bucket, store.identity()) else {
            let message = format!("{} is at another endpoint", store.uri());
            return Err(self.pipeline.error(operation, Some(to), ErrorKind::Unsupported, message));
        };
        Ok(Neighbour { store, bucket, object })
    }
}

#[async_trait]
impl Store for S3Store {
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
        Ok(self.enforcement().await?.capabilities())
    }

    fn known_capabilities(&self) -> Option<Capabilities> {
        let known = self.memory.remembered(self.pipeline.service.server().as_deref());
        known.map(Enforcement::capabilities)
    }

    async fn create_bucket(&self) -> Result<()> {
        let Creation { location, second_location, .. } = &self.creation;
        if let Some(missing) = self.creation.missing_with_token
            && self.pipeline.service.is_by_token().await
        {
            return Err(self.pipeline.error(
                "CreateBucket",
                None,
                ErrorKind::Configuration,
                missing.to_owned(),
            ));
        }
        let created = match self.send_create(location.as_ref()).await {
            Err(error) if second_location.is_some() && is_about_location(&error) => {
                self.send_create(second_location.as_ref()).await
            }
            created => created,
        };
        match created {
            Err(error) if error.code.as_deref() == Some("BucketAlreadyOwnedByYou") => Ok(()),
            Err(error) if is_about_location(&error) => {
                let region = &self.pipeline.service.endpoint().region;
                let asked = second_location.as_ref().or(location.as_ref()).unwrap_or(region);
                let message = format!("{}; the region {asked} is not the server's", error.message);
                Err(Error { message, ..error })
            }
            created => created,
        }
    }

    async fn look_up_bucket(&self) -> Result<()> {
        match self.pipeline.send(&ApiRequest::new("HeadBucket", Method::HEAD)).await {
            // A HEAD's refusal says no more than that.
            Err(error) if error.kind == ErrorKind::Denied => {
                let told =
                    "the bucket is there, and it is somebody else's, or these credentials may not use it";
                Err(Error { message: format!("{told}: {}", error.message), ..error })
            }
            looked => looked.map(drop),
        }
    }

    /// By one part of an upload that does not exist: who may not write is refused before that is looked for.
    async fn may_write(&self) -> Result<Option<bool>> {
        const NAME: &str = ".pail-probe";
        let Ok(key) = RawKey::new(format!("{}{NAME}", self.pipeline.options.probe_prefix)) else {
            return Ok(None);
        };
        let upload = Upload { key, id: "pail-probe".to_owned() };
        let payload = Payload::Bytes(bytes::Bytes::from_static(b"pail probe"));
        match self.known_writer().put_part(&upload, 1, payload).await {
            Err(error) if error.kind == ErrorKind::Denied => Ok(Some(false)),
            Err(error) if error.kind == ErrorKind::Unreachable => Err(error),
            Err(error) if error.kind != ErrorKind::NotFound => Ok(None),
            _ => Ok(Some(true)),
        }
    }

    async fn delete_bucket(&self) -> Result<()> {
        match self.pipeline.send(&ApiRequest::new("DeleteBucket", Method::DELETE)).await {
            Err(error) if error.kind == ErrorKind::NoSuchBucket => Ok(()),
            deleted => deleted.map(|_| ()),
        }
    }

    async fn head(&self, key: &RawKey) -> Result<ObjectMeta> {
        S3Service::head(&self.pipeline, key).await
    }

    async fn attributes(&self, key: &RawKey, version: &Version) -> Result<Attributes> {
        copying::attributes(&self.pipeline, key, version).await
    }

    fn md5(&self, meta: &ObjectMeta) -> Option<[u8; 16]> {
        if self.pipeline.service.makes_md5s() { reading::md5(meta) } else { None }
    }

    async fn checksum(&self, key: &RawKey, version: &Version) -> Result<Option<Checksum>> {
        reading::checksum(&self.pipeline, key, version).await
    }

    async fn get(&self, key: &RawKey, options: GetOptions) -> Result<GetResult> {
        bodies::get(&self.pipeline, key, options).await
    }

    async fn put(&self, key: &RawKey, payload: Payload, mut options: PutOptions) -> Result<Version> {
        self.pipeline.service.dialect.restrict(&mut options.attributes);
        within_call(async { self.writer_for(&options.condition).await.put(key, payload, &options).await })
            .await
    }

    async fn delete(&self, key: &RawKey, condition: Condition) -> Result<()> {
        within_call(async { self.writer_for(&condition).await.delete(key, &condition).await }).await
    }

    fn bulk_deletion(&self) -> Option<BulkDeletion> {
        let is_conditional = self.memory.known().unwrap_or_default().bulk_delete;
        let is_there = self.pipeline.service.bulk_deletions.may_be_there();
        is_there.then_some(BulkDeletion { keys_max: bulk_deletion::KEYS_MAX, is_conditional })
    }

    async fn delete_many(&self, objects: &[(RawKey, Condition)]) -> Result<Vec<Result<()>>> {
        let is_conditional = objects.iter().any(|(_, condition)| *condition != Condition::None);
        within_call(async {
            let writer = if is_conditional { self.probed_writer().await } else { self.known_writer() };
            writer.delete_many(objects).await
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
        within_call(async { self.copier_of(version).await.copy(from, version, to, &condition).await }).await
    }

    async fn copy_from(
        &self,
        source: &dyn Store,
        object: &ObjectMeta,
        to: &RawKey,
        condition: Condition,
    ) -> Result<Version> {
        let from = self.neighbour("CopyObject", source, object, to)?;
        within_call(async { self.copier_of(&object.version).await.copy_from(&from, to, &condition).await })
            .await
    }

    fn copy_size_bytes_max(&self) -> u64 {
        Capabilities::full().put_size_bytes_max
    }

    async fn list(&self, request: ListRequest) -> Result<ListPage> {
        match self.pipeline.service.endpoint().is_directory {
            true => directory_listing::list(&self.pipeline, request).await,
            false => listing::list(&self.pipeline, request).await,
        }
    }

    async fn start_upload(&self, key: &RawKey, options: &PutOptions) -> Result<Upload> {
        let mut options = options.clone();
        self.pipeline.service.dialect.restrict(&mut options.attributes);
        self.writer(Enforcement::default()).start_upload(key, &options).await
    }

    async fn put_part(&self, upload: &Upload, number: u32, payload: Payload) -> Result<Part> {
        self.known_writer().put_part(upload, number, payload).await
    }

    async fn copy_part(
        &self,
        upload: &Upload,
        number: u32,
        from: &RawKey,
        version: &Version,
        range: Range<u64>,
    ) -> Result<Part> {
        within_call(async {
            self.copier_of(version).await.copy_part(upload, number, from, version, range).await
        })
        .await
    }

    async fn copy_part_from(
        &self,
        source: &dyn Store,
        object: &ObjectMeta,
        upload: &Upload,
        number: u32,
        range: Range<u64>,
    ) -> Result<Part> {
        let from = self.neighbour("UploadPartCopy", source, object, &upload.key)?;
        within_call(async {
            self.copier_of(&object.version).await.copy_part_from(&from, upload, number, range).await
        })
        .await
    }

    async fn complete_upload(
        &self,
        upload: &Upload,
        parts: &[Part],
        options: &PutOptions,
    ) -> Result<Version> {
        let condition = &options.condition;
        within_call(async {
            self.writer_for(condition).await.complete_upload(upload, parts, condition).await
        })
        .await
    }

    async fn abort_upload(&self, upload: &Upload) -> Result<()> {
        self.writer(Enforcement::default()).abort_upload(upload).await
    }

    async fn open_uploads(&self, key: &RawKey) -> Result<Vec<OpenUpload>> {
        open_uploads::open_uploads(&self.pipeline, key).await
    }

    async fn has_parts(&self, upload: &Upload) -> Result<bool> {
        open_uploads::has_parts(&self.pipeline, upload).await
    }
}

#[cfg(test)]
mod fuzz;

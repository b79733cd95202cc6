//! Buckets of the S3 family: AWS, R2, IBM COS, Ceph, MinIO, Pail's own dev server and the like.
//!
//! Owns: [`S3Store`], which puts the parts together: options are resolved to an [`endpoint`] and [`credentials`], every operation is a
//! request that goes through the one pipeline (`http`), authorized by [`service`], and [`probe`] knows what may be left to the endpoint.

mod attributes;
mod authorization;
mod aws_files;
mod aws_place;
mod checksums;
mod container;
mod copying;
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
mod open_uploads;
mod probe;
mod profile;
mod reading;
mod remembered;
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
use crate::http::request::ApiRequest;
use crate::http::service::Service;
use async_trait::async_trait;
use dialect::Creation;
use http::Method;
use parking_lot::Mutex;
use remembered::{AnswerFile, Kept, SharedAnswer};
use service::S3Service;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::OnceCell;
use writing::Writer;

/// The way to a bucket of the S3 family.
type Pipeline = crate::http::pipeline::Pipeline<S3Service>;

/// An endpoint that could not be asked what it enforces is left alone for so long.
const PROBED_AGAIN_AFTER: Duration = Duration::from_secs(60);

/// A bucket of the S3 family.
pub struct S3Store {
    pipeline: Arc<Pipeline>,
    uri: String,
    identity: String,
    /// Filled once, by the first who asks; others wait for it.
    enforcement: OnceCell<Enforcement>,
    /// What the endpoint answers, shared with others who ask it; filled by the first who asks here.
    answer: OnceCell<Arc<SharedAnswer>>,
    /// Where answers outlive the process; `None` where they may not.
    answers: Option<AnswerFile>,
    /// What it had of this endpoint when the store was opened.
    kept: Option<Kept>,
    /// What the making of the bucket takes.
    creation: Creation,
    /// When the endpoint could not be asked for that. A leaf.
    asked_in_vain: Mutex<Option<Instant>>,
}

impl S3Store {
    /// Prepares a store; nothing is sent to the endpoint yet. Errors: `Configuration` (an endpoint that cannot be), `Credentials` (they were found, and cannot be loaded).
    pub async fn open(options: StoreOptions) -> Result<Arc<Self>> {
        open::open(options).await
    }

    /// What the endpoint enforces; probes it at the first call, and again some time after it could not be asked. Errors: it could not.
    pub async fn enforcement(&self) -> Result<Enforcement> {
        self.enforcement.get_or_try_init(|| self.probe()).await.copied()
    }

    /// Asks the endpoint, unless another bucket's store has, or an earlier process.
    async fn probe(&self) -> Result<Enforcement> {
        // Who waited for another's probe does not begin one of its own behind it.
        let asked_at = *self.asked_in_vain.lock();
        if let Some(at) = asked_at.filter(|at| at.elapsed() < PROBED_AGAIN_AFTER) {
            let message = format!("it could not be asked what it enforces {} s ago", at.elapsed().as_secs());
            return Err(self.pipeline.error("PutObject", None, ErrorKind::Unreachable, message));
        }
        // Held across the questions, so that they are asked once; none of their requests takes it.
        let mut answer = self.shared_answer().await.lock().await;
        if let Some(known) = *answer {
            return Ok(known);
        }
        let server = self.pipeline.service.server();
        if let Some(known) = self.kept.as_ref().and_then(|kept| kept.answer_of(server.as_deref())) {
            return Ok(*answer.insert(known));
        }
        let probed = probe::probe(&self.pipeline).await.inspect_err(|error| {
            tracing::warn!(%error, "the endpoint could not be asked what it enforces; conditions are checked by HEAD");
            *self.asked_in_vain.lock() = Some(Instant::now());
        })?;
        if probed.is_of_endpoint {
            *answer = Some(probed.enforcement);
            self.keep_answer(probed.enforcement).await;
            if !probed.enforcement.put {
                let endpoint = self.pipeline.service.url();
                tracing::warn!(
                    endpoint,
                    "this endpoint ignores the conditions of writes: each is checked just before its write, which another client's may overtake"
                );
            }
        }
        Ok(probed.enforcement)
    }

    /// What another store was answered, whoever asked, or an earlier process, if the endpoint still calls itself as it did.
    fn remembered(&self) -> Option<Enforcement> {
        let shared = remembered::answer_of(&self.pipeline.service.url());
        shared.or_else(|| self.kept.as_ref()?.answer_of(self.pipeline.service.server().as_deref()))
    }

    /// The answer that this endpoint gives to whom this store's credentials are.
    async fn shared_answer(&self) -> &Arc<SharedAnswer> {
        let found = self.answer.get_or_init(|| async {
            // Where the credentials cannot be had, the next request will say so.
            let id = self.pipeline.service.authorization().await;
            let id = id.map_or_else(|_| String::new(), |id| id.id().to_owned());
            remembered::shared(self.pipeline.service.url(), id)
        });
        found.await
    }

    async fn keep_answer(&self, enforcement: Enforcement) {
        let Some(file) = self.answers.clone() else { return };
        let url = self.pipeline.service.url();
        let server = self.pipeline.service.server();
        let write = move || {
            if let Err(error) = file.write(&url, server, enforcement) {
                tracing::debug!(%error, path = %file.path.display(), "what the endpoint enforces cannot be kept");
            }
        };
        let _ = tokio::task::spawn_blocking(write).await;
    }

    fn writer(&self, enforcement: Enforcement) -> Writer<'_> {
        Writer { pipeline: &self.pipeline, enforcement }
    }

    /// The writer that goes by what is known of the endpoint already.
    fn known_writer(&self) -> Writer<'_> {
        self.writer(self.enforcement.get().copied().unwrap_or_default())
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
        let known = self.enforcement.get().copied().or_else(|| self.remembered());
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

    async fn copy(
        &self,
        from: &RawKey,
        version: &Version,
        to: &RawKey,
        condition: Condition,
    ) -> Result<Version> {
        within_call(async { self.copier_of(version).await.copy(from, version, to, &condition).await }).await
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

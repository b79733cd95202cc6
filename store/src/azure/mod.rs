//! Azure Blob Storage.
//!
//! Owns: [`Azure`], a [`Backend`] of the `object_store` library: its Azure client makes and reads the requests for objects, its providers the
//! credentials. They go out through this crate's one pipeline ([`connector`]). What the client cannot do as the contract wants it are requests
//! of our own over the same pipeline: listings, containers, conditional deletes, copies that check their source, and what a completed upload
//! carries; and uploads ([`blocks`]).

mod authorization;
mod blocks;
mod cli;
mod connector;
mod credentials;
mod endpoint;
mod failure;
mod keys;
mod listing;
mod md5;
mod open;
mod service;
mod tokens;
mod xml;

use crate::adapter::meta::{library_attributes, library_tags, version_of};
use crate::adapter::{Backend, Intent, ObjectStoreAdapter, library};
use crate::contract::*;
use crate::http::header_case::written_as;
use crate::http::request::ApiRequest;
use async_trait::async_trait;
use blocks::Blocks;
use http::{Extensions, HeaderMap, Method};
use object_store::ObjectStore;
use object_store::azure::{AzureCredential, MicrosoftAzure};
use object_store::multipart::MultipartStore;
use object_store::path::Path;
use service::AzureService;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

type Pipeline = crate::http::pipeline::Pipeline<AzureService>;

/// A container of Azure Blob Storage.
pub type AzureStore = ObjectStoreAdapter<Azure>;

const MIB: u64 = 1024 * 1024;
/// What stands for every key in the library's requests, which are addressed by the call.
const PLACEHOLDER: &str = "object";
/// What headers of user metadata begin with.
const METADATA: &str = "x-ms-meta-";
/// A copy whose progress does not change for so long is given up.
const COPY_STUCK_MAX: Duration = Duration::from_secs(600);
const COPY_LOOKED_AT_EVERY_MAX: Duration = Duration::from_secs(5);

/// A container, and the ways to it.
pub struct Azure {
    uri: String,
    identity: String,
    pipeline: Arc<Pipeline>,
    library: MicrosoftAzure,
    blocks: Blocks,
}

/// Prepares the store of a container; nothing is sent yet. Errors: `Configuration` (no account, an endpoint that cannot be), `Credentials` (they
/// are half there, or unusable).
pub(crate) async fn open(options: StoreOptions) -> Result<Arc<AzureStore>> {
    open::open(options).await
}

pub(crate) use open::{endpoint_in_connection_string, lend};

impl std::fmt::Debug for Azure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Azure({})", self.identity)
    }
}

/// An ETag as HTTP wants it.
fn quoted(version: &Version) -> Option<String> {
    version.etag().map(|etag| format!("\"{etag}\""))
}

/// What has headers of user metadata written in the case of `names`, which Azure keeps.
async fn metadata_case(names: impl IntoIterator<Item = &String>) -> Extensions {
    let is_cased = |name: &&String| name.bytes().any(|byte| byte.is_ascii_uppercase());
    let names: Vec<String> =
        names.into_iter().filter(is_cased).map(|name| format!("{METADATA}{name}")).collect();
    if names.is_empty() { Extensions::new() } else { written_as(&names).await }
}

impl Azure {
    fn new(uri: String, identity: String, pipeline: Arc<Pipeline>, library: MicrosoftAzure) -> Self {
        Self { uri, identity, blocks: Blocks::new(pipeline.clone()), pipeline, library }
    }

    fn error(
        &self,
        operation: &'static str,
        key: &RawKey,
        kind: ErrorKind,
        message: impl Into<String>,
    ) -> Error {
        self.pipeline.error(operation, Some(key), kind, message.into())
    }

    /// The headers of a condition. Errors: `Precondition`, where the version is not known.
    fn conditions(
        pipeline: &Pipeline,
        operation: &'static str,
        key: &RawKey,
        condition: &Condition,
    ) -> Result<Option<(&'static str, String)>> {
        Ok(match condition {
            Condition::None => None,
            Condition::IfAbsent => Some(("if-none-match", "*".to_owned())),
            Condition::IfVersion(version) => Some((
                "if-match",
                quoted(version).ok_or_else(|| {
                    let message = "the version that is to be replaced is not known";
                    pipeline.error(operation, Some(key), ErrorKind::Precondition, message.to_owned())
                })?,
            )),
        })
    }

    fn container(method: Method, operation: &'static str) -> ApiRequest<'static> {
        ApiRequest::new(operation, method).query("restype", "container")
    }

    /// A copy's source, with what lets the server read it: a SAS token is for one URL alone.
    async fn source_url(&self, from: &RawKey) -> Result<String> {
        let service = &self.pipeline.service;
        let url = service.endpoint.object_url(Some(from));
        let credential = service.credentials.get().await;
        let credential =
            credential.map_err(|cause| self.error("CopyObject", from, ErrorKind::Credentials, cause))?;
        Ok(match credential.as_deref() {
            Some(AzureCredential::SASToken(pairs)) => {
                let encode = |text: &str| {
                    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC)
                        .to_string()
                };
                let pairs = pairs.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value)));
                format!("{url}?{}", pairs.collect::<Vec<_>>().join("&"))
            }
            _ => url,
        })
    }

    /// Waits for a copy that the server goes on with behind its answer. Returns the version of what was made.
    async fn copied(&self, to: &RawKey, mut headers: HeaderMap) -> Result<Version> {
        const OPERATION: &str = "CopyObject";
        let text = |headers: &HeaderMap, name: &str| {
            headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
        };
        let id = text(&headers, "x-ms-copy-id");
        let mut progress = (text(&headers, "x-ms-copy-progress"), Instant::now());
        let mut delay = Duration::from_millis(100);
        loop {
            match text(&headers, "x-ms-copy-status").as_str() {
                _ if text(&headers, "x-ms-copy-id") != id => {
                    let message = "another copy to the same name began meanwhile";
                    return Err(self.error(OPERATION, to, ErrorKind::Precondition, message));
                }
                "pending" => {}
                "failed" | "aborted" => {
                    let why = text(&headers, "x-ms-copy-status-description");
                    let message = format!("the server could not finish the copy: {why}");
                    return Err(self.error(OPERATION, to, ErrorKind::Other, message));
                }
                _ => return Ok(version_of(Some(&text(&headers, "etag")))),
            }
            if progress.1.elapsed() > COPY_STUCK_MAX {
                let message = format!("the copy stands still at {} bytes", progress.0);
                return Err(self.error(OPERATION, to, ErrorKind::Unreachable, message));
            }
            tokio::time::sleep(delay).await;
            delay = (delay * 2).min(COPY_LOOKED_AT_EVERY_MAX);
            headers = self.pipeline.send(&ApiRequest::on("HeadObject", Method::HEAD, to)).await?.headers;
            let now = text(&headers, "x-ms-copy-progress");
            if now != progress.0 {
                progress = (now, Instant::now());
            }
        }
    }
}

#[async_trait]
impl Backend for Azure {
    fn uri(&self) -> &str {
        &self.uri
    }

    fn identity(&self) -> &str {
        &self.identity
    }

    fn bucket(&self) -> &str {
        &self.pipeline.bucket
    }

    /// Azure, "Scalability and performance targets for Blob storage": blocks of 4,000 MiB, blobs of 5,000 MiB in one request.
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            part_copy: PartCopy::None,
            part_size_bytes_min: 1,
            part_size_bytes_max: 4000 * MIB,
            put_size_bytes_max: 5000 * MIB,
            ..Capabilities::full()
        }
    }

    fn objects(&self) -> &dyn ObjectStore {
        &self.library
    }

    fn uploads(&self) -> &dyn MultipartStore {
        &self.library
    }

    fn counters(&self) -> CounterSnapshot {
        self.pipeline.counters.snapshot()
    }

    fn path(&self, key: &RawKey, intent: Intent) -> std::result::Result<Path, String> {
        match keys::unusable(key, intent == Intent::Change) {
            Some(why) => Err(why),
            None => Ok(Path::from(PLACEHOLDER)),
        }
    }

    fn new_objects(&self) -> NewObjects {
        self.pipeline.options.new_objects.clone()
    }

    fn reads_payloads(&self) -> bool {
        true
    }

    fn retry_deadline(&self) -> Duration {
        self.pipeline.options.retry_deadline
    }

    /// The tier, if it is not the account's default, how many tags there are, and whether it is a block blob, as all are that are made here.
    fn add_attributes(&self, headers: &HeaderMap, attributes: &mut Attributes) {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let is_inferred =
            text("x-ms-access-tier-inferred").is_some_and(|value| value.eq_ignore_ascii_case("true"));
        attributes.storage_class = text("x-ms-access-tier").filter(|_| !is_inferred).map(str::to_owned);
        attributes.tag_count =
            text("x-ms-tag-count").and_then(|count| count.parse().ok()).unwrap_or_default();
        attributes.uneditable = match text("x-ms-blob-type") {
            Some("AppendBlob") => Some("an append blob"),
            Some("PageBlob") => Some("a page blob"),
            _ => None,
        };
    }

    fn md5(&self, headers: &HeaderMap) -> Option<[u8; 16]> {
        md5::of_answer(headers)
    }

    async fn tags(&self, key: &RawKey) -> Result<BTreeMap<String, String>> {
        const OPERATION: &str = "GetObjectTagging";
        let answer =
            self.pipeline.send(&ApiRequest::on(OPERATION, Method::GET, key).query("comp", "tags")).await?;
        xml::tags(&answer.body).map_err(|why| self.error(OPERATION, key, ErrorKind::Corrupt, why))
    }

    async fn create_bucket(&self) -> Result<()> {
        match self.pipeline.send(&Self::container(Method::PUT, "CreateBucket")).await {
            // In an account all is its owner's.
            Err(error) if error.kind == ErrorKind::BucketTaken => Ok(()),
            created => created.map(drop),
        }
    }

    async fn look_up_bucket(&self) -> Result<()> {
        match self.pipeline.send(&Self::container(Method::HEAD, "HeadBucket")).await {
            // A SAS token of a container may list it, and not ask for its properties.
            Err(error) if error.kind == ErrorKind::Denied => {
                let listed = self.list(&ListRequest { max_keys: Some(1), ..ListRequest::default() }).await;
                listed.map(drop).map_err(|_| error)
            }
            found => found.map(drop),
        }
    }

    /// Azure deletes a container with all that is in it; so it is looked into first.
    async fn delete_bucket(&self) -> Result<()> {
        const OPERATION: &str = "DeleteBucket";
        match listing::holds_any(&self.pipeline).await {
            Ok(false) => {}
            Ok(true) => {
                let message = "the container has blobs".to_owned();
                return Err(self.pipeline.error(OPERATION, None, ErrorKind::NotEmpty, message));
            }
            Err(error) if error.kind == ErrorKind::NoSuchBucket => return Ok(()),
            Err(error) => return Err(error),
        }
        match self.pipeline.send(&Self::container(Method::DELETE, OPERATION)).await {
            Err(error) if error.kind == ErrorKind::NoSuchBucket => Ok(()),
            deleted => deleted.map(drop),
        }
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage> {
        listing::list(&self.pipeline, request).await
    }

    async fn delete(&self, key: &RawKey, _path: &Path, condition: &Condition) -> Result<()> {
        const OPERATION: &str = "DeleteObject";
        let mut request = ApiRequest::on(OPERATION, Method::DELETE, key);
        if let Some((name, value)) = Self::conditions(&self.pipeline, OPERATION, key, condition)? {
            request = request.header(name, &value);
        }
        self.pipeline.send(&request).await?;
        Ok(())
    }

    /// Azure, "Copy Blob": within an account it is done, or at least begun, when it is answered.
    async fn copy(
        &self,
        (from, from_path): (&RawKey, &Path),
        version: &Version,
        (to, _): (&RawKey, &Path),
        condition: &Condition,
    ) -> Result<Version> {
        const OPERATION: &str = "CopyObject";
        // Its tier the copy would not get by itself.
        let source = library::head(self, from, from_path).await?;
        if !version.is_unknown() && source.version != *version {
            return Err(self.error(
                OPERATION,
                from,
                ErrorKind::Precondition,
                "the object has another version now",
            ));
        }
        let mut request = ApiRequest::on(OPERATION, Method::PUT, to)
            .header("x-ms-copy-source", &self.source_url(from).await?)
            .long_running();
        if let Some(etag) = quoted(&source.version) {
            request = request.header("x-ms-source-if-match", &etag);
        }
        if let Some(tier) =
            source.attributes.as_ref().and_then(|attributes| attributes.storage_class.as_ref())
        {
            request = request.header("x-ms-access-tier", tier);
        }
        // Nor its tags.
        if source.attributes.as_ref().is_some_and(|attributes| attributes.tag_count > 0) {
            let tags = Attributes { tags: self.tags(from).await?, ..Attributes::default() };
            request = request.header("x-ms-tags", library_tags(&tags).encoded());
        }
        if let Some((name, value)) = Self::conditions(&self.pipeline, OPERATION, to, condition)? {
            request = request.header(name, &value);
        }
        let answer = self.pipeline.send(&request).await?;
        self.copied(to, answer.headers).await
    }

    async fn start_upload(&self, key: &RawKey, _path: &Path, options: &PutOptions) -> Result<String> {
        library_attributes(&options.attributes)
            .map_err(|why| self.error("CreateMultipartUpload", key, ErrorKind::Unsupported, why))?;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Ok(format!("{:x}-{:016x}", now.as_secs(), rand::random::<u64>()))
    }

    async fn put_part(&self, upload: &Upload, _path: &Path, number: u32, payload: Payload) -> Result<Part> {
        self.blocks.put(upload, number, payload).await
    }

    async fn find_made_of(&self, key: &RawKey, parts: &[Part]) -> Result<Found> {
        self.blocks.find_made_of(key, parts).await
    }

    /// The library sends neither the condition nor the attributes here.
    async fn complete_upload(
        &self,
        upload: &Upload,
        _path: &Path,
        parts: &[Part],
        options: &PutOptions,
    ) -> Result<Version> {
        self.blocks.commit(upload, parts, options).await
    }
}

#[cfg(test)]
mod fuzz;

//! What a store that the `object_store` library knows has to say of itself.
//!
//! Owns: [`Backend`]: four lines for a store that the library serves well, and a method of one's own for whatever it does not.

use super::{library, listing, path};
use crate::contract::*;
use async_trait::async_trait;
use http::{HeaderMap, HeaderValue};
use object_store::path::Path;
use object_store::{ObjectStore, multipart::MultipartStore};
use std::collections::BTreeMap;

/// What is to be done with a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Intent {
    /// To look at what has it.
    Read,
    /// To make, replace or remove what has it.
    Change,
}

/// A store of the library, and where it differs from others. It lists in key order.
#[async_trait]
pub trait Backend: std::fmt::Debug + Send + Sync + 'static {
    /// See [`Store::uri`].
    fn uri(&self) -> &str;

    /// See [`Store::identity`].
    fn identity(&self) -> &str;

    /// The bucket, for errors.
    fn bucket(&self) -> &str;

    /// What it can do. Conditions that it does not take are checked by a HEAD.
    fn capabilities(&self) -> Capabilities;

    /// The library's client.
    fn objects(&self) -> &dyn ObjectStore;

    /// The same for uploads in parts.
    fn uploads(&self) -> &dyn MultipartStore;

    /// See [`Store::counters`].
    fn counters(&self) -> CounterSnapshot {
        CounterSnapshot::default()
    }

    /// The library's name for a key. Errors: why there is none.
    fn path(&self, key: &RawKey, _intent: Intent) -> std::result::Result<Path, String> {
        path::exact_path(key.as_str())
    }

    /// An ETag as the library wants it in conditions, in quotes; `None` where it cannot be one of a header.
    fn etag(&self, version: &Version) -> Option<String> {
        let quoted = version.etag().map(|etag| format!("\"{etag}\""));
        quoted.filter(|etag| HeaderValue::from_str(etag).is_ok())
    }

    /// What objects get that had no attributes before.
    fn new_objects(&self) -> NewObjects {
        NewObjects { content_type_by_name: false, ..NewObjects::default() }
    }

    /// Whether it takes payloads from the call, and so reads them while they are sent; else they are read before.
    fn reads_payloads(&self) -> bool {
        false
    }

    /// How long a broken body is tried again, with no byte of it coming.
    fn retry_deadline(&self) -> std::time::Duration {
        std::time::Duration::from_secs(60)
    }

    /// Adds what the library leaves out of an answer.
    fn add_attributes(&self, _headers: &HeaderMap, _attributes: &mut Attributes) {}

    /// The MD5 of the whole object, where the head of an answer about it tells one.
    fn md5(&self, _headers: &HeaderMap) -> Option<[u8; 16]> {
        None
    }

    /// The names and values of an object's tags.
    async fn tags(&self, _key: &RawKey) -> Result<BTreeMap<String, String>> {
        Ok(BTreeMap::new())
    }

    /// See [`Store::create_bucket`].
    async fn create_bucket(&self) -> Result<()> {
        Ok(())
    }

    /// See [`Store::look_up_bucket`].
    async fn look_up_bucket(&self) -> Result<()> {
        self.list(&ListRequest { max_keys: Some(1), ..ListRequest::default() }).await.map(drop)
    }

    /// See [`Store::delete_bucket`].
    async fn delete_bucket(&self) -> Result<()> {
        Err(library::unsupported(self.bucket(), "DeleteBucket", None, "this store cannot delete its buckets"))
    }

    /// See [`Store::list`].
    async fn list(&self, request: &ListRequest) -> Result<ListPage> {
        listing::list(self.objects(), self.bucket(), request).await
    }

    /// Deletes what has `key`, if the condition holds. Errors: `NotFound`, `Precondition`.
    async fn delete(&self, key: &RawKey, path: &Path, condition: &Condition) -> Result<()> {
        library::delete(self, key, path, condition).await
    }

    /// See [`Store::copy`].
    async fn copy(
        &self,
        from: (&RawKey, &Path),
        version: &Version,
        to: (&RawKey, &Path),
        condition: &Condition,
    ) -> Result<Version> {
        library::copy(self, from, version, to, condition).await
    }

    /// Begins an upload. Returns the store's name for it.
    async fn start_upload(&self, key: &RawKey, path: &Path, options: &PutOptions) -> Result<String> {
        library::start_upload(self, key, path, options).await
    }

    /// See [`Store::put_part`].
    async fn put_part(&self, upload: &Upload, path: &Path, number: u32, payload: Payload) -> Result<Part> {
        library::put_part(self, upload, path, number, payload).await
    }

    /// See [`Store::find_made_of`].
    async fn find_made_of(&self, _key: &RawKey, _parts: &[Part]) -> Result<Found> {
        Ok(Found::Untold)
    }

    /// See [`Store::complete_upload`].
    async fn complete_upload(
        &self,
        upload: &Upload,
        path: &Path,
        parts: &[Part],
        options: &PutOptions,
    ) -> Result<Version> {
        library::complete_upload(self, upload, path, parts, options).await
    }
}

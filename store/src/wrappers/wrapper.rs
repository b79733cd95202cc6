//! Stores in front of other stores.
//!
//! Owns: [`Wrapper`], which says what a store in front of another does otherwise, and the one place where every operation is forwarded.
//!
//! Invariant: a wrapper forwards every method of [`Store`], those with a default included: the lint below refuses one that is forgotten.

use crate::contract::*;
use async_trait::async_trait;
use std::fmt::Debug;
use std::ops::Range;

/// One operation that passes through a wrapper.
pub struct Operation<'a> {
    /// In the S3 API's own word, such as `PutObject`, where it has one.
    pub name: &'static str,
    /// The key, where it has one; of a rename the source, of a copy the destination.
    pub key: Option<&'a RawKey>,
    /// The bytes of content that are sent with it.
    pub sent_bytes: u64,
}

impl<'a> Operation<'a> {
    fn new(name: &'static str) -> Self {
        Self { name, key: None, sent_bytes: 0 }
    }

    pub fn on(name: &'static str, key: &'a RawKey) -> Self {
        Self { name, key: Some(key), sent_bytes: 0 }
    }

    fn sending(self, payload: &Payload) -> Self {
        Self { sent_bytes: payload.len(), ..self }
    }
}

/// A store in front of another. What it does not say otherwise is the other's.
///
/// [`Wrapper::around`] is about every operation alike; the hooks after it are about one, and what overrides one of them decides by itself
/// whether [`Wrapper::around`] is still gone through.
pub trait Wrapper: Debug + Send + Sync + 'static {
    /// The store behind it.
    type Inner: Store + ?Sized;

    /// The store behind it.
    fn inner(&self) -> &Self::Inner;

    /// What was sent and received.
    fn counted(&self) -> CounterSnapshot {
        self.inner().counters()
    }

    /// Carries out one operation of the store behind, whatever it is: `work`, which has not begun.
    fn around<T: Send>(
        &self,
        _operation: Operation<'_>,
        work: impl Future<Output = Result<T>> + Send,
    ) -> impl Future<Output = Result<T>> + Send {
        work
    }

    /// [`Store::get`], whose answer's body outlives the operation.
    fn on_get(&self, key: &RawKey, options: GetOptions) -> impl Future<Output = Result<GetResult>> + Send {
        async move { self.around(Operation::on("GetObject", key), self.inner().get(key, options)).await }
    }

    /// [`Store::put`].
    fn on_put(
        &self,
        key: &RawKey,
        payload: Payload,
        options: PutOptions,
    ) -> impl Future<Output = Result<Version>> + Send {
        async move {
            let operation = Operation::on("PutObject", key).sending(&payload);
            self.around(operation, self.inner().put(key, payload, options)).await
        }
    }

    /// [`Store::put_part`].
    fn on_put_part(
        &self,
        upload: &Upload,
        number: u32,
        payload: Payload,
    ) -> impl Future<Output = Result<Part>> + Send {
        async move {
            let operation = Operation::on("UploadPart", &upload.key).sending(&payload);
            self.around(operation, self.inner().put_part(upload, number, payload)).await
        }
    }

    /// [`Store::delete`].
    fn on_delete(&self, key: &RawKey, condition: Condition) -> impl Future<Output = Result<()>> + Send {
        async move { self.around(Operation::on("DeleteObject", key), self.inner().delete(key, condition)).await }
    }

    /// [`Store::rename`].
    fn on_rename(
        &self,
        from: &RawKey,
        version: &Version,
        to: &RawKey,
        condition: Condition,
    ) -> impl Future<Output = Result<Version>> + Send {
        async move {
            self.around(Operation::on("rename", from), self.inner().rename(from, version, to, condition))
                .await
        }
    }

    /// [`Store::copy`].
    fn on_copy(
        &self,
        from: &RawKey,
        version: &Version,
        to: &RawKey,
        condition: Condition,
    ) -> impl Future<Output = Result<Version>> + Send {
        async move {
            self.around(Operation::on("CopyObject", to), self.inner().copy(from, version, to, condition))
                .await
        }
    }

    /// [`Store::complete_upload`].
    fn on_complete_upload(
        &self,
        upload: &Upload,
        parts: &[Part],
        options: &PutOptions,
    ) -> impl Future<Output = Result<Version>> + Send {
        async move {
            let completing = self.inner().complete_upload(upload, parts, options);
            self.around(Operation::on("CompleteMultipartUpload", &upload.key), completing).await
        }
    }
}

// A default of the trait in place of a forwarded call would be the wrapper's own answer.
#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<W: Wrapper> Store for W {
    fn uri(&self) -> &str {
        self.inner().uri()
    }

    fn identity(&self) -> &str {
        self.inner().identity()
    }

    fn counters(&self) -> CounterSnapshot {
        self.counted()
    }

    fn known_capabilities(&self) -> Option<Capabilities> {
        self.inner().known_capabilities()
    }

    async fn capabilities(&self) -> Result<Capabilities> {
        self.around(Operation::new("capabilities"), self.inner().capabilities()).await
    }

    async fn create_bucket(&self) -> Result<()> {
        self.around(Operation::new("CreateBucket"), self.inner().create_bucket()).await
    }

    async fn look_up_bucket(&self) -> Result<()> {
        self.around(Operation::new("HeadBucket"), self.inner().look_up_bucket()).await
    }

    async fn may_write(&self) -> Result<Option<bool>> {
        self.around(Operation::new("HeadBucket"), self.inner().may_write()).await
    }

    async fn delete_bucket(&self) -> Result<()> {
        self.around(Operation::new("DeleteBucket"), self.inner().delete_bucket()).await
    }

    async fn head(&self, key: &RawKey) -> Result<ObjectMeta> {
        self.around(Operation::on("HeadObject", key), self.inner().head(key)).await
    }

    fn md5(&self, meta: &ObjectMeta) -> Option<[u8; 16]> {
        self.inner().md5(meta)
    }

    async fn checksum(&self, key: &RawKey, version: &Version) -> Result<Option<Checksum>> {
        self.around(Operation::on("HeadObject", key), self.inner().checksum(key, version)).await
    }

    async fn attributes(&self, key: &RawKey, version: &Version) -> Result<Attributes> {
        self.around(Operation::on("HeadObject", key), self.inner().attributes(key, version)).await
    }

    async fn get(&self, key: &RawKey, options: GetOptions) -> Result<GetResult> {
        self.on_get(key, options).await
    }

    async fn put(&self, key: &RawKey, payload: Payload, options: PutOptions) -> Result<Version> {
        self.on_put(key, payload, options).await
    }

    async fn delete(&self, key: &RawKey, condition: Condition) -> Result<()> {
        self.on_delete(key, condition).await
    }

    fn bulk_deletion(&self) -> Option<BulkDeletion> {
        self.inner().bulk_deletion()
    }

    async fn delete_many(&self, objects: &[(RawKey, Condition)]) -> Result<Vec<Result<()>>> {
        self.around(Operation::new("DeleteObjects"), self.inner().delete_many(objects)).await
    }

    async fn rename(
        &self,
        from: &RawKey,
        version: &Version,
        to: &RawKey,
        condition: Condition,
    ) -> Result<Version> {
        self.on_rename(from, version, to, condition).await
    }

    async fn copy(
        &self,
        from: &RawKey,
        version: &Version,
        to: &RawKey,
        condition: Condition,
    ) -> Result<Version> {
        self.on_copy(from, version, to, condition).await
    }

    async fn copy_from(
        &self,
        source: &dyn Store,
        object: &ObjectMeta,
        to: &RawKey,
        condition: Condition,
    ) -> Result<Version> {
        let copying = self.inner().copy_from(source, object, to, condition);
        self.around(Operation::on("CopyObject", to), copying).await
    }

    fn copy_size_bytes_max(&self) -> u64 {
        self.inner().copy_size_bytes_max()
    }

    async fn list(&self, request: ListRequest) -> Result<ListPage> {
        self.around(Operation::new("ListObjectsV2"), self.inner().list(request)).await
    }

    async fn start_upload(&self, key: &RawKey, options: &PutOptions) -> Result<Upload> {
        let starting = self.inner().start_upload(key, options);
        self.around(Operation::on("CreateMultipartUpload", key), starting).await
    }

    async fn put_part(&self, upload: &Upload, number: u32, payload: Payload) -> Result<Part> {
        self.on_put_part(upload, number, payload).await
    }

    async fn copy_part(
        &self,
        upload: &Upload,
        number: u32,
        from: &RawKey,
        version: &Version,
        range: Range<u64>,
    ) -> Result<Part> {
        let copying = self.inner().copy_part(upload, number, from, version, range);
        self.around(Operation::on("UploadPartCopy", &upload.key), copying).await
    }

    async fn copy_part_from(
        &self,
        source: &dyn Store,
        object: &ObjectMeta,
        upload: &Upload,
        number: u32,
        range: Range<u64>,
    ) -> Result<Part> {
        let copying = self.inner().copy_part_from(source, object, upload, number, range);
        self.around(Operation::on("UploadPartCopy", &upload.key), copying).await
    }

    async fn complete_upload(
        &self,
        upload: &Upload,
        parts: &[Part],
        options: &PutOptions,
    ) -> Result<Version> {
        self.on_complete_upload(upload, parts, options).await
    }

    async fn find_made_of(&self, key: &RawKey, parts: &[Part]) -> Result<Found> {
        self.around(Operation::on("ListParts", key), self.inner().find_made_of(key, parts)).await
    }

    async fn abort_upload(&self, upload: &Upload) -> Result<()> {
        let aborting = self.inner().abort_upload(upload);
        self.around(Operation::on("AbortMultipartUpload", &upload.key), aborting).await
    }

    async fn open_uploads(&self, key: &RawKey) -> Result<Vec<OpenUpload>> {
        self.around(Operation::on("ListMultipartUploads", key), self.inner().open_uploads(key)).await
    }

    async fn has_parts(&self, upload: &Upload) -> Result<bool> {
        self.around(Operation::on("ListParts", &upload.key), self.inner().has_parts(upload)).await
    }
}

//! Stores of the `object_store` library behind this crate's trait.
//!
//! Owns: [`ObjectStoreAdapter`], which is [`Store`] over any [`Backend`]. A backend says which client of the library it has, and overrides what
//! the library cannot do as the contract wants it.
//!
//! Invariants:
//! - A key that a backend cannot name is refused with the reason; no key is ever taken for another.
//! - The library retries nothing of its own: it would send what was authorized once, and knows no deadline of ours.

mod backend;
pub(crate) mod call;
pub(crate) mod failure;
pub(crate) mod library;
mod listing;
pub(crate) mod meta;
mod path;
mod reading;

pub use backend::{Backend, Intent};
pub use path::exact_path;

use crate::contract::*;
use async_trait::async_trait;
use call::Call;
use failure::error;
use meta::{library_attributes, library_tags, version_of};
use object_store::path::Path;
use object_store::{PutMode, UpdateVersion};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

/// How many uploads that ended are remembered, so that nothing is made of them any more.
const ENDED_UPLOADS_MAX: usize = 4096;
/// What to do about an object that cannot be changed.
pub(crate) const MAKE_ROOM: &str = "delete or rename it first, or write under another name";

/// A store of the library.
pub struct ObjectStoreAdapter<B> {
    backend: Arc<B>,
    /// Uploads that were completed or aborted here: some stores know of neither. The oldest are forgotten. A leaf.
    ended: Mutex<VecDeque<Upload>>,
}

impl<B: Backend> ObjectStoreAdapter<B> {
    /// Over `backend`.
    pub fn new(backend: B) -> Self {
        Self { backend: Arc::new(backend), ended: Mutex::default() }
    }

    fn error(
        &self,
        operation: &'static str,
        key: &RawKey,
        kind: ErrorKind,
        message: impl Into<String>,
    ) -> Error {
        error(self.backend.bucket(), operation, Some(key), kind, message)
    }

    /// The options with what new objects get.
    fn completed(&self, key: &RawKey, options: &PutOptions) -> PutOptions {
        let attributes = self.backend.new_objects().applied(key, &options.attributes).into_owned();
        PutOptions { condition: options.condition.clone(), attributes }
    }

    fn path(&self, operation: &'static str, key: &RawKey, intent: Intent) -> Result<Path> {
        self.backend.path(key, intent).map_err(|why| self.error(operation, key, ErrorKind::Unsupported, why))
    }

    async fn run<T>(&self, call: Call, work: impl Future<Output = object_store::Result<T>>) -> Result<T> {
        Ok(library::run(self.backend.bucket(), call, work).await?.0)
    }

    /// Refuses to make an object of another kind of what is there.
    fn check_editable(&self, operation: &'static str, key: &RawKey, attributes: &Attributes) -> Result<()> {
        let Some(kind) = attributes.uneditable else { return Ok(()) };
        let message =
            format!("it is {kind}, which can be read, renamed and deleted here, not changed; {MAKE_ROOM}");
        Err(self.error(operation, key, ErrorKind::Uneditable, message))
    }

    fn end(&self, upload: &Upload) {
        let mut ended = self.ended.lock();
        if ended.len() == ENDED_UPLOADS_MAX {
            ended.pop_front();
        }
        ended.push_back(upload.clone());
    }

    fn check_open(&self, operation: &'static str, upload: &Upload) -> Result<()> {
        match self.ended.lock().contains(upload) {
            true => Err(self.error(operation, &upload.key, ErrorKind::NotFound, "no such upload")),
            false => Ok(()),
        }
    }
}

impl<B: Backend> std::fmt::Debug for ObjectStoreAdapter<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ObjectStoreAdapter({})", self.backend.identity())
    }
}

#[async_trait]
impl<B: Backend> Store for ObjectStoreAdapter<B> {
    fn uri(&self) -> &str {
        self.backend.uri()
    }

    fn identity(&self) -> &str {
        self.backend.identity()
    }

    fn counters(&self) -> CounterSnapshot {
        self.backend.counters()
    }

    fn known_capabilities(&self) -> Option<Capabilities> {
        Some(self.backend.capabilities())
    }

    async fn capabilities(&self) -> Result<Capabilities> {
        Ok(self.backend.capabilities())
    }

    async fn create_bucket(&self) -> Result<()> {
        self.backend.create_bucket().await
    }

    async fn look_up_bucket(&self) -> Result<()> {
        self.backend.look_up_bucket().await
    }

    async fn delete_bucket(&self) -> Result<()> {
        self.backend.delete_bucket().await
    }

    async fn head(&self, key: &RawKey) -> Result<ObjectMeta> {
        library::head(&*self.backend, key, &self.path("HeadObject", key, Intent::Read)?).await
    }

    /// The library tells none.
    async fn checksum(&self, _key: &RawKey, _version: &Version) -> Result<Option<Checksum>> {
        Ok(None)
    }

    async fn attributes(&self, key: &RawKey, version: &Version) -> Result<Attributes> {
        let meta = self.head(key).await?;
        if !version.is_unknown() && meta.version != *version {
            let message = "the object has another version now";
            return Err(self.error("HeadObject", key, ErrorKind::Precondition, message));
        }
        let mut attributes = meta.attributes.as_deref().cloned().unwrap_or_default();
        if attributes.tag_count > 0 {
            attributes.tags = self.backend.tags(key).await?;
        }
        Ok(attributes)
    }

    async fn get(&self, key: &RawKey, options: GetOptions) -> Result<GetResult> {
        reading::get(&self.backend, key, &self.path("GetObject", key, Intent::Read)?, options).await
    }

    async fn put(&self, key: &RawKey, payload: Payload, options: PutOptions) -> Result<Version> {
        const OPERATION: &str = "PutObject";
        let path = self.path(OPERATION, key, Intent::Change)?;
        self.check_editable(OPERATION, key, &options.attributes)?;
        let options = self.completed(key, &options);
        let attributes = library_attributes(&options.attributes)
            .map_err(|why| self.error(OPERATION, key, ErrorKind::Unsupported, why))?;
        let mode = match &options.condition {
            condition if !self.backend.capabilities().conditional_put => {
                library::check(&*self.backend, OPERATION, (key, &path), condition).await?;
                PutMode::Overwrite
            }
            Condition::None => PutMode::Overwrite,
            Condition::IfAbsent => PutMode::Create,
            Condition::IfVersion(version) => match self.backend.etag(version) {
                Some(etag) => PutMode::Update(UpdateVersion { e_tag: Some(etag), version: None }),
                None => {
                    let message = "the version that is to be replaced is not known";
                    return Err(self.error(OPERATION, key, ErrorKind::Precondition, message));
                }
            },
        };
        let mut call = Call::new(OPERATION, key);
        call.metadata_names = options.attributes.metadata.keys().cloned().collect();
        let payload = library::payload_of(&*self.backend, &mut call, payload).await?;
        let tags = library_tags(&options.attributes);
        let library_options = object_store::PutOptions { mode, attributes, tags, ..Default::default() };
        match self.run(call, self.backend.objects().put_opts(&path, payload, library_options)).await {
            Ok(put) => Ok(version_of(put.e_tag.as_deref())),
            Err(failed) if failed.kind == ErrorKind::NotFound && options.condition != Condition::None => {
                Err(Error {
                    kind: ErrorKind::Precondition,
                    message: "the object is gone".to_owned(),
                    ..failed
                })
            }
            Err(failed) => Err(failed),
        }
    }

    async fn delete(&self, key: &RawKey, condition: Condition) -> Result<()> {
        let path = self.path("DeleteObject", key, Intent::Change)?;
        match self.backend.delete(key, &path, &condition).await {
            Err(error) if error.kind == ErrorKind::NotFound => Ok(()),
            Err(error) if error.kind == ErrorKind::Precondition => {
                match library::head(&*self.backend, key, &path).await {
                    Err(absent) if absent.kind == ErrorKind::NotFound => Ok(()),
                    _ => Err(error),
                }
            }
            outcome => outcome,
        }
    }

    async fn copy(
        &self,
        from: &RawKey,
        version: &Version,
        to: &RawKey,
        condition: Condition,
    ) -> Result<Version> {
        let from_path = self.path("CopyObject", from, Intent::Read)?;
        let to_path = self.path("CopyObject", to, Intent::Change)?;
        self.backend.copy((from, &from_path), version, (to, &to_path), &condition).await
    }

    async fn list(&self, request: ListRequest) -> Result<ListPage> {
        self.backend.list(&request).await
    }

    async fn start_upload(&self, key: &RawKey, options: &PutOptions) -> Result<Upload> {
        const OPERATION: &str = "CreateMultipartUpload";
        let path = self.path(OPERATION, key, Intent::Change)?;
        self.check_editable(OPERATION, key, &options.attributes)?;
        let id = self.backend.start_upload(key, &path, &self.completed(key, options)).await?;
        Ok(Upload { key: key.clone(), id })
    }

    async fn put_part(&self, upload: &Upload, number: u32, payload: Payload) -> Result<Part> {
        const OPERATION: &str = "UploadPart";
        self.check_open(OPERATION, upload)?;
        let path = self.path(OPERATION, &upload.key, Intent::Change)?;
        self.backend.put_part(upload, &path, number, payload).await
    }

    async fn copy_part(
        &self,
        _upload: &Upload,
        _number: u32,
        from: &RawKey,
        _version: &Version,
        _range: Range<u64>,
    ) -> Result<Part> {
        let message = "this store makes no parts of other objects";
        Err(self.error("UploadPartCopy", from, ErrorKind::Unsupported, message))
    }

    async fn complete_upload(
        &self,
        upload: &Upload,
        parts: &[Part],
        options: &PutOptions,
    ) -> Result<Version> {
        const OPERATION: &str = "CompleteMultipartUpload";
        self.check_open(OPERATION, upload)?;
        let path = self.path(OPERATION, &upload.key, Intent::Change)?;
        self.check_editable(OPERATION, &upload.key, &options.attributes)?;
        let options = self.completed(&upload.key, options);
        let version = self.backend.complete_upload(upload, &path, parts, &options).await?;
        self.end(upload);
        match version.is_unknown() {
            true => Ok(library::head(&*self.backend, &upload.key, &path).await?.version),
            false => Ok(version),
        }
    }

    async fn find_made_of(&self, key: &RawKey, parts: &[Part]) -> Result<Found> {
        self.path("ListParts", key, Intent::Read)?;
        self.backend.find_made_of(key, parts).await
    }

    async fn abort_upload(&self, upload: &Upload) -> Result<()> {
        const OPERATION: &str = "AbortMultipartUpload";
        if self.check_open(OPERATION, upload).is_err() {
            return Ok(());
        }
        let path = self.path(OPERATION, &upload.key, Intent::Change)?;
        let aborting = self.backend.uploads().abort_multipart(&path, &upload.id);
        match self.run(Call::new(OPERATION, &upload.key), aborting).await {
            Err(error) if error.kind != ErrorKind::NotFound => return Err(error),
            _ => self.end(upload),
        }
        Ok(())
    }

    async fn open_uploads(&self, key: &RawKey) -> Result<Vec<OpenUpload>> {
        Err(self.error(
            "ListMultipartUploads",
            key,
            ErrorKind::Unsupported,
            "this store does not list uploads",
        ))
    }

    async fn has_parts(&self, upload: &Upload) -> Result<bool> {
        self.check_open("ListParts", upload)?;
        let message = "this store does not list uploads";
        Err(self.error("ListParts", &upload.key, ErrorKind::Unsupported, message))
    }
}

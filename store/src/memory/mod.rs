//! A bucket in this process's memory.
//!
//! Owns: [`MemoryStore`], the second implementation of [`Store`]: the whole contract, without a network. Tests of the
//! layers above run on it, and the conformance suite holds it to what S3 servers do.
//!
//! Invariants:
//! - Every operation is atomic: the one lock is taken once, after the payload has been read, and never across an await.
//! - Every write makes a version that never was before, also where the bytes are the same.

mod listing;

pub use listing::Listings;

use crate::contract::*;
use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::SystemTime;

const SOURCE_READ_BYTES: u64 = 1024 * 1024;
/// As many as of S3.
const DELETE_LEN_MAX: usize = 1000;

/// A bucket in memory. Clones share it. Conditions are atomic and every capability is there, unless
/// [`MemoryStore::with_capabilities`] says otherwise.
#[derive(Clone)]
pub struct MemoryStore {
    bucket: Arc<str>,
    uri: Arc<str>,
    capabilities: Capabilities,
    listings: Listings,
    new_objects: Option<NewObjects>,
    /// Guards the bucket's content; a leaf, held for the length of one operation.
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    objects: BTreeMap<RawKey, Object>,
    uploads: BTreeMap<String, PendingUpload>,
    versions_made: u64,
    uploads_begun: u64,
    has_generations: bool,
}

#[derive(Clone)]
struct Object {
    bytes: Bytes,
    version: Version,
    last_modified: SystemTime,
    attributes: Arc<Attributes>,
}

struct PendingUpload {
    initiated: std::time::SystemTime,
    key: RawKey,
    attributes: Arc<Attributes>,
    parts: BTreeMap<u32, (String, Bytes)>,
}

impl MemoryStore {
    /// An empty bucket of that name.
    pub fn new(bucket: &str) -> Self {
        Self::with_capabilities(bucket, Capabilities::full())
    }

    /// An empty bucket that holds writers to `capabilities`: the part sizes and counts are enforced. Conditions
    /// stay atomic, as an emulated check that nobody races is.
    pub fn with_capabilities(bucket: &str, capabilities: Capabilities) -> Self {
        Self {
            bucket: bucket.into(),
            uri: format!("memory://{bucket}").into(),
            capabilities,
            listings: Listings::default(),
            new_objects: None,
            state: Arc::default(),
        }
    }

    /// The same bucket, whose listings tell what such a server's do.
    pub fn with_listings(self, listings: Listings) -> Self {
        Self { listings, ..self }
    }

    /// The same bucket, whose new objects get this where nothing is said; else they get nothing.
    pub fn with_new_objects(self, new_objects: NewObjects) -> Self {
        Self { new_objects: Some(new_objects), ..self }
    }

    /// What an object of that key is written with.
    fn attributes_of(&self, key: &RawKey, given: &Attributes) -> Arc<Attributes> {
        let applied =
            self.new_objects.as_ref().map(|new_objects| new_objects.applied(key, given).into_owned());
        let attributes = applied.unwrap_or_else(|| given.clone());
        let tag_count = u32::try_from(attributes.tags.len()).unwrap_or(u32::MAX);
        Arc::new(Attributes { tag_count, ..attributes })
    }

    /// The same bucket, which must be empty, and whose versions are generations.
    pub fn with_generations(self) -> Self {
        self.state.lock().has_generations = true;
        self
    }

    /// Uploads that were begun and neither completed nor aborted.
    pub fn uploads_pending(&self) -> usize {
        self.state.lock().uploads.len()
    }

    fn error(&self, kind: ErrorKind, operation: &'static str, key: Option<&RawKey>, message: &str) -> Error {
        Error::new(kind, operation, self.bucket.to_string(), key, message)
    }

    async fn read_payload(&self, operation: &'static str, key: &RawKey, payload: Payload) -> Result<Bytes> {
        let (len, source) = match payload {
            Payload::Bytes(bytes) => return Ok(bytes),
            Payload::Source { len, source } => (len, source),
        };
        let mut all = Vec::new();
        let mut offset = 0;
        while offset < len {
            let end = len.min(offset + SOURCE_READ_BYTES);
            let piece = source.read(offset..end).await.map_err(|e| {
                self.error(
                    ErrorKind::Source,
                    operation,
                    Some(key),
                    &format!("cannot read what is to be uploaded: {e}"),
                )
            })?;
            if piece.len() as u64 != end - offset {
                return Err(self.error(
                    ErrorKind::Source,
                    operation,
                    Some(key),
                    "what is to be uploaded is shorter than it was",
                ));
            }
            all.extend_from_slice(&piece);
            offset = end;
        }
        Ok(all.into())
    }

    fn found<'a>(&self, state: &'a State, operation: &'static str, key: &RawKey) -> Result<&'a Object> {
        state
            .objects
            .get(key)
            .ok_or_else(|| self.error(ErrorKind::NotFound, operation, Some(key), "no such object"))
    }

    /// The object `key`, if it has `version`; an unknown version asks for nothing.
    fn pinned<'a>(
        &self,
        state: &'a State,
        operation: &'static str,
        key: &RawKey,
        version: &Version,
    ) -> Result<&'a Object> {
        let object = self.found(state, operation, key)?;
        if !version.is_unknown() && object.version != *version {
            return Err(self.error(
                ErrorKind::Precondition,
                operation,
                Some(key),
                "the object has another version now",
            ));
        }
        Ok(object)
    }

    fn check(
        &self,
        state: &State,
        operation: &'static str,
        key: &RawKey,
        condition: &Condition,
    ) -> Result<()> {
        let current = state.objects.get(key).map(|object| &object.version);
        match (condition, current) {
            (Condition::IfAbsent, Some(_)) => {
                Err(self.error(ErrorKind::Precondition, operation, Some(key), "an object of that key exists"))
            }
            (Condition::IfVersion(wanted), current) if current != Some(wanted) => Err(self.error(
                ErrorKind::Precondition,
                operation,
                Some(key),
                "the object has another version now",
            )),
            _ => Ok(()),
        }
    }

    fn pending<'a>(
        &self,
        state: &'a mut State,
        operation: &'static str,
        upload: &Upload,
    ) -> Result<&'a mut PendingUpload> {
        match state.uploads.get_mut(&upload.id) {
            Some(pending) if pending.key == upload.key => Ok(pending),
            _ => Err(self.error(ErrorKind::NotFound, operation, Some(&upload.key), "no such upload")),
        }
    }

    fn add_part(&self, operation: &'static str, upload: &Upload, number: u32, bytes: Bytes) -> Result<Part> {
        if !(1..=self.capabilities.part_count_max).contains(&number) {
            return Err(self.error(
                ErrorKind::Unsupported,
                operation,
                Some(&upload.key),
                "no such part number",
            ));
        }
        let mut state = self.state.lock();
        let etag = state.next_version().to_string();
        let size = bytes.len() as u64;
        self.pending(&mut state, operation, upload)?.parts.insert(number, (etag.clone(), bytes));
        Ok(Part { number, etag, size, checksum: None })
    }

    /// The parts' bytes in order, after the checks that a server makes.
    fn joined(&self, pending: &PendingUpload, parts: &[Part]) -> Result<Bytes> {
        let refuse = |message| {
            Err(self.error(ErrorKind::Unsupported, "CompleteMultipartUpload", Some(&pending.key), message))
        };
        if parts.is_empty() || !parts.is_sorted_by(|a, b| a.number < b.number) {
            return refuse("the parts are not in ascending order, or there are none");
        }
        let mut all = Vec::new();
        for (index, part) in parts.iter().enumerate() {
            let Some((etag, bytes)) = pending.parts.get(&part.number) else {
                return refuse("a part is named that was not uploaded");
            };
            if *etag != part.etag {
                return refuse("a part is named that was replaced by another");
            }
            let is_last = index + 1 == parts.len();
            if !is_last && (bytes.len() as u64) < self.capabilities.part_size_bytes_min {
                return refuse("a part that is not the last is smaller than the smallest allowed");
            }
            if self.capabilities.equal_parts && !is_last && bytes.len() as u64 != parts[0].size {
                return refuse("parts that are not the last differ in size");
            }
            all.extend_from_slice(bytes);
        }
        Ok(all.into())
    }
}

impl State {
    fn next_version(&mut self) -> Version {
        self.versions_made += 1;
        if self.has_generations {
            return Version::Generation(self.versions_made);
        }
        Version::from_etag(&format!("{:032x}", self.versions_made))
    }

    fn insert(
        &mut self,
        key: &RawKey,
        bytes: Bytes,
        version: Version,
        attributes: Arc<Attributes>,
    ) -> Version {
        let object = Object { bytes, version: version.clone(), last_modified: SystemTime::now(), attributes };
        self.objects.insert(key.clone(), object);
        version
    }
}

impl Object {
    fn meta(&self, key: &RawKey, with_attributes: bool) -> ObjectMeta {
        ObjectMeta {
            key: key.clone(),
            size: self.bytes.len() as u64,
            version: self.version.clone(),
            last_modified: self.last_modified,
            // An answer's head counts the tags, and does not name them.
            attributes: with_attributes.then(|| match self.attributes.tags.is_empty() {
                true => self.attributes.clone(),
                false => Arc::new(Attributes { tags: BTreeMap::new(), ..(*self.attributes).clone() }),
            }),
            checksum: None,
            md5: None,
        }
    }
}

impl std::fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MemoryStore({})", self.uri)
    }
}

#[async_trait]
impl Store for MemoryStore {
    fn uri(&self) -> &str {
        &self.uri
    }

    fn identity(&self) -> &str {
        &self.uri
    }

    async fn capabilities(&self) -> Result<Capabilities> {
        Ok(self.capabilities.clone())
    }

    fn known_capabilities(&self) -> Option<Capabilities> {
        Some(self.capabilities.clone())
    }

    async fn create_bucket(&self) -> Result<()> {
        Ok(())
    }

    async fn look_up_bucket(&self) -> Result<()> {
        Ok(())
    }

    async fn delete_bucket(&self) -> Result<()> {
        if self.state.lock().objects.is_empty() {
            return Ok(());
        }
        Err(self.error(ErrorKind::NotEmpty, "DeleteBucket", None, "the bucket has objects"))
    }

    async fn head(&self, key: &RawKey) -> Result<ObjectMeta> {
        Ok(self.found(&self.state.lock(), "HeadObject", key)?.meta(key, true))
    }

    async fn attributes(&self, key: &RawKey, version: &Version) -> Result<Attributes> {
        Ok((*self.pinned(&self.state.lock(), "HeadObject", key, version)?.attributes).clone())
    }

    async fn get(&self, key: &RawKey, options: GetOptions) -> Result<GetResult> {
        let object = {
            let state = self.state.lock();
            let version = options.if_version.unwrap_or_default();
            self.pinned(&state, "GetObject", key, &version)?.clone()
        };
        let size = object.bytes.len() as u64;
        let range = match options.range {
            None => 0..size,
            Some(range) if range.start >= size => {
                return Err(self.error(
                    ErrorKind::RangeNotSatisfiable,
                    "GetObject",
                    Some(key),
                    "the range starts beyond the object's end",
                ));
            }
            Some(range) => range.start..range.end.clamp(range.start, size),
        };
        let wanted = object.bytes.slice(range.start as usize..range.end as usize);
        Ok(GetResult { meta: object.meta(key, true), range, body: Box::new(wanted) })
    }

    async fn put(&self, key: &RawKey, payload: Payload, options: PutOptions) -> Result<Version> {
        let bytes = self.read_payload("PutObject", key, payload).await?;
        let mut state = self.state.lock();
        self.check(&state, "PutObject", key, &options.condition)?;
        let version = state.next_version();
        Ok(state.insert(key, bytes, version, self.attributes_of(key, &options.attributes)))
    }

    async fn delete(&self, key: &RawKey, condition: Condition) -> Result<()> {
        let mut state = self.state.lock();
        if state.objects.contains_key(key) {
            self.check(&state, "DeleteObject", key, &condition)?;
        }
        state.objects.remove(key);
        Ok(())
    }

    fn bulk_deletion(&self) -> Option<BulkDeletion> {
        Some(BulkDeletion { keys_max: DELETE_LEN_MAX, is_conditional: true })
    }

    async fn delete_many(&self, objects: &[(RawKey, Condition)]) -> Result<Vec<Result<()>>> {
        let mut outcomes = Vec::with_capacity(objects.len());
        for (key, condition) in objects {
            outcomes.push(self.delete(key, condition.clone()).await);
        }
        Ok(outcomes)
    }

    async fn rename(
        &self,
        from: &RawKey,
        version: &Version,
        to: &RawKey,
        condition: Condition,
    ) -> Result<Version> {
        if !self.capabilities.atomic_rename {
            return Err(self.error(ErrorKind::Unsupported, "rename", Some(from), "this store has no rename"));
        }
        let mut state = self.state.lock();
        let source = self.pinned(&state, "rename", from, version)?.clone();
        self.check(&state, "rename", to, &condition)?;
        let version = state.next_version();
        state.objects.remove(from);
        Ok(state.insert(to, source.bytes, version, source.attributes))
    }

    async fn copy(
        &self,
        from: &RawKey,
        version: &Version,
        to: &RawKey,
        condition: Condition,
    ) -> Result<Version> {
        let mut state = self.state.lock();
        let source = self.pinned(&state, "CopyObject", from, version)?.clone();
        self.check(&state, "CopyObject", to, &condition)?;
        let version = state.next_version();
        Ok(state.insert(to, source.bytes, version, source.attributes))
    }

    async fn list(&self, request: ListRequest) -> Result<ListPage> {
        Ok(listing::page(&self.state.lock().objects, &self.listings, &request))
    }

    async fn start_upload(&self, key: &RawKey, options: &PutOptions) -> Result<Upload> {
        let mut state = self.state.lock();
        state.uploads_begun += 1;
        let id = format!("upload-{}", state.uploads_begun);
        let pending = PendingUpload {
            initiated: std::time::SystemTime::now(),
            key: key.clone(),
            attributes: self.attributes_of(key, &options.attributes),
            parts: BTreeMap::new(),
        };
        state.uploads.insert(id.clone(), pending);
        Ok(Upload { key: key.clone(), id })
    }

    async fn put_part(&self, upload: &Upload, number: u32, payload: Payload) -> Result<Part> {
        let bytes = self.read_payload("UploadPart", &upload.key, payload).await?;
        self.add_part("UploadPart", upload, number, bytes)
    }

    async fn copy_part(
        &self,
        upload: &Upload,
        number: u32,
        from: &RawKey,
        version: &Version,
        range: Range<u64>,
    ) -> Result<Part> {
        let bytes = {
            let state = self.state.lock();
            let source = self.pinned(&state, "UploadPartCopy", from, version)?;
            let len = source.bytes.len() as u64;
            let refused = match self.capabilities.part_copy {
                PartCopy::None => Some("no part can be copied"),
                PartCopy::Whole if range != (0..len) => Some("only an object as a whole can be copied"),
                _ if range.is_empty() || range.end > len => Some("the range is not within the source"),
                PartCopy::Whole | PartCopy::Ranges => None,
            };
            if let Some(refused) = refused {
                return Err(self.error(ErrorKind::Unsupported, "UploadPartCopy", Some(from), refused));
            }
            source.bytes.slice(range.start as usize..range.end as usize)
        };
        self.add_part("UploadPartCopy", upload, number, bytes)
    }

    async fn complete_upload(
        &self,
        upload: &Upload,
        parts: &[Part],
        options: &PutOptions,
    ) -> Result<Version> {
        let mut state = self.state.lock();
        let pending = self.pending(&mut state, "CompleteMultipartUpload", upload)?;
        let bytes = self.joined(pending, parts)?;
        let attributes = pending.attributes.clone();
        self.check(&state, "CompleteMultipartUpload", &upload.key, &options.condition)?;
        state.uploads.remove(&upload.id);
        // The parts' were never before, and so neither was theirs.
        let of_parts = Version::of_parts(parts).filter(|_| !state.has_generations);
        let version = of_parts.unwrap_or_else(|| state.next_version());
        Ok(state.insert(&upload.key, bytes, version, attributes))
    }

    async fn abort_upload(&self, upload: &Upload) -> Result<()> {
        self.state.lock().uploads.remove(&upload.id);
        Ok(())
    }

    async fn open_uploads(&self, key: &RawKey) -> Result<Vec<OpenUpload>> {
        let state = self.state.lock();
        let of_key = state.uploads.iter().filter(|(_, pending)| pending.key == *key);
        let open = of_key.map(|(id, pending)| OpenUpload {
            upload: Upload { key: key.clone(), id: id.clone() },
            initiated: pending.initiated,
        });
        Ok(open.collect())
    }

    async fn has_parts(&self, upload: &Upload) -> Result<bool> {
        match self.state.lock().uploads.get(&upload.id) {
            Some(pending) => Ok(!pending.parts.is_empty()),
            None => Err(self.error(ErrorKind::NotFound, "ListParts", Some(&upload.key), "no such upload")),
        }
    }
}

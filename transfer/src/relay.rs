//! One object, from a store to another through this process.
//!
//! Owns: [`Relay`]. An object of up to one part is read into memory and sent in one request; a larger one in parts at the same time, each read from the
//! source while it is sent, so that a part costs a piece of it and no file, and goes on where an earlier run ended (`part_uploads`). Every read asks for the version that the plan saw, so bytes
//! of two versions never meet in one object. What was read, by earlier runs too, is compared with the checksum that the source has of it before the object is made, or with an ETag that is an MD5
//! where it passed in one request.
//!
//! What the object carries goes with it, but for storage class and encryption: those words are of one store, and keys of one account.

use crate::Progress;
use crate::connections::{Connection, Connections};
use crate::copy_error::CopyError;
use crate::fetch::OTHER_MD5;
use crate::memory::Memory;
use crate::part_sizes::part_size;
use crate::part_uploads::{Failure, MadeOfParts, ObjectInParts, PartSource, PartUploads};
use crate::progress::Moved;
use crate::server_copy::ServerCopy;
use crate::upload_journal::SourceIdentity;
use crate::work::Work;
use async_trait::async_trait;
use bytes::Bytes;
use md5::{Digest, Md5};
use pail_store::{
    Attributes, Checksum, ErrorKind, GetOptions, ObjectBody, ObjectMeta, Part, Payload, PayloadSource,
    PutOptions, RawKey, Store, Upload, Version,
};
use parking_lot::Mutex;
use std::io;
use std::mem::discriminant;
use std::ops::Range;
use std::sync::Arc;

const SHORT: &str = "the store sent less than the object has";
const DAMAGED: &str = "its bytes were damaged on their way: the checksum of what arrived is not the one that the source has of it";

/// What all relays of a run share.
pub(crate) struct Relay {
    pub source: Arc<dyn Store>,
    pub target: Arc<dyn Store>,
    /// One permit for each object or part under way.
    pub connections: Connections,
    /// Of objects that are sent in one request.
    pub memory: Memory,
    pub part_size_bytes: u64,
    /// Larger objects the target copies by itself in parts.
    pub server_copy_bytes_max: u64,
    pub verifies_by_md5: bool,
    pub progress: Arc<Progress>,
    /// To the target.
    pub uploads: Arc<PartUploads>,
    pub work: Work,
}

/// An object that passed through.
pub(crate) struct Relayed {
    pub version: Version,
    /// Its bytes are those that the source has, by its checksum.
    pub is_verified: bool,
    /// So many of its bytes the target had from an earlier run.
    pub resumed_bytes: u64,
}

impl Relay {
    /// Copies the version of `object` that it names. Errors: `Changed`, where that is not there any more; `Corrupt`.
    pub async fn copy(self: &Arc<Self>, object: &ObjectMeta, to: &RawKey) -> Result<Relayed, CopyError> {
        let moved = Moved::of(&self.progress);
        let made = match object.size <= self.part_size_bytes {
            true => self.copy_small(object, to, &moved).await,
            false => self.copy_parts(object, to, &moved).await,
        };
        if made.is_err() {
            moved.take_back();
        }
        made
    }

    async fn copy_small(
        &self,
        object: &ObjectMeta,
        to: &RawKey,
        moved: &Moved,
    ) -> Result<Relayed, CopyError> {
        let _connection = self.connection().await?;
        let _memory = self.memory.take(object.size).await.ok_or_else(over)?;
        let options = GetOptions { range: None, if_version: Some(object.version.clone()) };
        let got =
            self.source.get(&object.key, options).await.map_err(|error| self.of_source(object, error))?;
        if got.meta.size != object.size {
            return Err(CopyError::Changed);
        }
        let meta = got.meta.clone();
        let bytes = got.bytes().await.map_err(|error| self.of_source(object, error))?;
        if bytes.len() as u64 != object.size {
            return Err(CopyError::Item(SHORT.to_owned()));
        }
        let is_verified = meta.checksum.is_some() || self.is_verified_by_md5(&meta, &bytes).await?;
        let told = meta.attributes;
        let options = PutOptions { attributes: self.attributes(object, told).await?, ..Default::default() };
        let put = self.target.put(to, Payload::Bytes(bytes), options).await;
        let version = put.map_err(|error| self.of_target(to, error))?;
        moved.add(object.size);
        Ok(Relayed { version, is_verified, resumed_bytes: 0 })
    }

    /// False where the source has no MD5. Errors: it has another one.
    async fn is_verified_by_md5(&self, meta: &ObjectMeta, bytes: &Bytes) -> Result<bool, CopyError> {
        let Some(md5) = self.source.md5(meta).filter(|_| self.verifies_by_md5) else { return Ok(false) };
        let bytes = bytes.clone();
        match self.work.blocking(move || Md5::digest(&bytes).as_slice() == md5).await? {
            true => Ok(true),
            false => Err(CopyError::Corrupt(OTHER_MD5.to_owned())),
        }
    }

    async fn copy_parts(
        &self,
        object: &ObjectMeta,
        to: &RawKey,
        moved: &Arc<Moved>,
    ) -> Result<Relayed, CopyError> {
        let connection = self.connection().await?;
        let found = self.source.head(&object.key).await.map_err(|error| self.of_source(object, error))?;
        if found.version != object.version || found.size != object.size {
            return Err(CopyError::Changed);
        }
        let attributes = self.attributes(object, found.attributes.clone()).await?;
        drop(connection);
        let object = ObjectInParts {
            key: to.clone(),
            len: found.size,
            // A version that cannot be asked for is read in one go.
            part_size: match found.version.is_unknown() {
                true => found.size,
                false => part_size(found.size, self.part_size_bytes),
            },
            identity: identity_of(&*self.source, &found),
            attributes,
            source: Arc::new(PassingObject { store: self.source.clone(), object: found }),
        };
        let made = self.uploads.make(&object, moved).await?;
        let (version, is_verified, resumed_bytes) = (made.version, made.is_verified, made.resumed_bytes);
        Ok(Relayed { version, is_verified, resumed_bytes })
    }

    /// Has the target copy an object in parts of this size. Errors: as of [`copy`](Self::copy); a refusal, which `source` then has.
    pub async fn copy_on_server(
        &self,
        object: &ObjectMeta,
        to: &RawKey,
        wanted_part_size: u64,
        source: Arc<ServerCopy>,
    ) -> Result<MadeOfParts, CopyError> {
        let moved = Moved::of(&self.progress);
        let parts = ObjectInParts {
            key: to.clone(),
            len: object.size,
            part_size: part_size(object.size, wanted_part_size),
            identity: identity_of(&*self.source, object),
            attributes: self.attributes(object, None).await?,
            source,
        };
        let made = self.uploads.make(&parts, &moved).await;
        made.inspect_err(|_| moved.take_back())
    }

    /// What the new object is to carry, `told` by the answer that had the bytes.
    async fn attributes(
        &self,
        object: &ObjectMeta,
        told: Option<Arc<Attributes>>,
    ) -> Result<Attributes, CopyError> {
        let told = told.or_else(|| object.attributes.clone());
        let has_all = told.as_ref().is_some_and(|told| told.tag_count == 0);
        let attributes = match told {
            Some(told) if has_all => (*told).clone(),
            _ => {
                let asked = self.source.attributes(&object.key, &object.version).await;
                asked.map_err(|error| self.of_source(object, error))?
            }
        };
        // What cannot be edited in its place can be written anew elsewhere.
        Ok(Attributes { storage_class: None, encryption: None, uneditable: None, ..attributes })
    }

    fn of_source(&self, object: &ObjectMeta, error: pail_store::Error) -> CopyError {
        of_source(&*self.source, object, error)
    }

    fn of_target(&self, to: &RawKey, error: pail_store::Error) -> CopyError {
        CopyError::of_store(&format!("write {}/{to}", self.target.uri()), error)
    }

    /// The right to send or to have copied one object or part.
    pub async fn connection(&self) -> Result<Connection, CopyError> {
        self.connections.take().await.ok_or_else(over)
    }
}

fn over() -> CopyError {
    CopyError::Item("the run is over".to_owned())
}

fn of_source(source: &dyn Store, object: &ObjectMeta, error: pail_store::Error) -> CopyError {
    CopyError::of_store(&format!("read {}/{}", source.uri(), object.key), error)
}

/// `None` of a version that cannot be told from others.
fn identity_of(store: &dyn Store, object: &ObjectMeta) -> Option<SourceIdentity> {
    (!object.version.is_unknown()).then(|| SourceIdentity::Object {
        store: store.identity().to_owned(),
        key: object.key.as_str().to_owned(),
        version: object.version.to_text().into_owned(),
        size: object.size,
    })
}

/// An object that passes through in parts.
struct PassingObject {
    store: Arc<dyn Store>,
    object: ObjectMeta,
}

#[async_trait]
impl PartSource for PassingObject {
    async fn send(
        &self,
        target: &dyn Store,
        upload: &Upload,
        number: u32,
        range: Range<u64>,
        moved: &Arc<Moved>,
    ) -> Result<Part, Failure> {
        let len = range.end - range.start;
        let source = Arc::new(RemotePart::new(self.store.clone(), self.object.clone(), range));
        let sent = target.put_part(upload, number, Payload::Source { len, source: source.clone() }).await;
        let part = sent.map_err(|error| match (error.kind, source.failure.lock().take()) {
            (ErrorKind::Source, Some(cause)) => of_source(&*self.store, &self.object, cause).into(),
            (ErrorKind::Source, None) => CopyError::Item(error.message).into(),
            _ => Failure::of_store(target, upload, error),
        })?;
        moved.add(len);
        Ok(part)
    }

    /// By the parts' checksums, where the target tells those of all, and the source one of the same kind.
    async fn check(&self, parts: &[Part]) -> Result<bool, CopyError> {
        let ObjectMeta { key, version, checksum, .. } = &self.object;
        let stored = match checksum {
            Some(checksum) => Some(*checksum),
            // Who may read and not look copies all the same.
            None => self.store.checksum(key, version).await.ok().flatten(),
        };
        match agrees(stored, parts) {
            Some(false) => Err(CopyError::Corrupt(DAMAGED.to_owned())),
            agrees => Ok(agrees.is_some()),
        }
    }
}

/// Whether the parts' checksums are of the same bytes as the source's; `None` where they are of two kinds, or one is missing.
fn agrees(source: Option<Checksum>, parts: &[Part]) -> Option<bool> {
    let (source, sent) = (source?, Checksum::of_parts(parts)?);
    (discriminant(&source) == discriminant(&sent)).then_some(source == sent)
}

/// A range of an object that is read while it is sent.
struct RemotePart {
    store: Arc<dyn Store>,
    object: ObjectMeta,
    range: Range<u64>,
    /// The body that goes on where the last read ended. Guards the order of reads, which come one by one.
    reading: tokio::sync::Mutex<Option<Reading>>,
    /// Why a read failed, which the upload's own error does not hold. Guards that alone; a leaf.
    failure: Mutex<Option<pail_store::Error>>,
}

struct Reading {
    /// Of the part.
    offset: u64,
    body: Box<dyn ObjectBody>,
}

impl RemotePart {
    fn new(store: Arc<dyn Store>, object: ObjectMeta, range: Range<u64>) -> Self {
        Self { store, object, range, reading: Default::default(), failure: Mutex::default() }
    }

    /// Opens what is left of the part from `offset` on.
    async fn open(&self, offset: u64) -> pail_store::Result<Reading> {
        let range = self.range.start + offset..self.range.end;
        let if_version = Some(self.object.version.clone());
        let options = GetOptions { range: Some(range.clone()), if_version };
        let got = self.store.get(&self.object.key, options).await?;
        if got.meta.size != self.object.size || got.range != range {
            let (uri, key) = (self.store.uri(), Some(&self.object.key));
            let message = "the object has another length now";
            return Err(pail_store::Error::new(ErrorKind::Precondition, "GetObject", uri, key, message));
        }
        Ok(Reading { offset, body: got.body })
    }

    async fn read_from(&self, range: &Range<u64>) -> pail_store::Result<Bytes> {
        let mut held = self.reading.lock().await;
        // A retry begins anew.
        let mut reading = match held.take().filter(|reading| reading.offset == range.start) {
            Some(reading) => reading,
            None => self.open(range.start).await?,
        };
        let mut bytes = vec![0; (range.end - range.start) as usize];
        let count = reading.body.fill(&mut bytes).await?;
        bytes.truncate(count);
        reading.offset += count as u64;
        if reading.offset < self.range.end - self.range.start {
            *held = Some(reading);
        }
        Ok(bytes.into())
    }
}

#[async_trait]
impl PayloadSource for RemotePart {
    async fn read(&self, range: Range<u64>) -> io::Result<Bytes> {
        self.read_from(&range).await.map_err(|error| {
            let told = io::Error::other(error.to_string());
            *self.failure.lock() = Some(error);
            told
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_checksums_of_one_kind_tell_of_damage() {
        let part = |checksum| Part { number: 1, etag: "e".to_owned(), size: 2, checksum };
        let crc = Checksum::crc64_of(b"ab");
        assert_eq!(agrees(Some(crc), &[part(Some(crc))]), Some(true));
        assert_eq!(agrees(Some(Checksum::crc64_of(b"aB")), &[part(Some(crc))]), Some(false));
        assert_eq!(agrees(Some(Checksum::crc32c_of(b"aB")), &[part(Some(crc))]), None);
        assert_eq!(agrees(Some(crc), &[part(None)]), None);
        assert_eq!(agrees(None, &[part(Some(crc))]), None);
    }
}

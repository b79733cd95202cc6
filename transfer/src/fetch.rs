//! One object, to one file.
//!
//! Owns: [`Fetcher`]. An object of up to one buffer is fetched in one request and put in place in one go; a larger one in parts (`fetch_parts`). Every request asks for the version that the plan saw. Where the object has another one by then, all of it starts over with
//! that, once: bytes of two versions never meet in one file. What arrives otherwise
//! than the store has it never gets the file's name: it is fetched over, once, and then told.
//!
//! Bounds: a request has a connection's permit and one buffer; both are the run's. Of files in parts [`OPENINGS_MAX`] are opened, and read as far as they are there, at the same time.

use crate::Progress;
use crate::attributes::FileAttributes;
use crate::buffers::{BUFFER_BYTES, Buffer, Buffers};
use crate::connections::{Connection, Connections};
use crate::copy_error::{CopyError, StartOver, StartOvers};
use crate::directory::{LocalState, Root};
use crate::orphan_files::OrphanFiles;
use crate::part_writer::PieceSize;
use crate::temporary::{FilePlace, Temporary};
use crate::work::Work;
use md5::{Digest, Md5};
use pail_store::{Attributes, GetOptions, GetResult, ObjectMeta, RawKey, Store, Version};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use tokio::sync::Semaphore;

/// How many files in parts are opened at the same time.
pub(crate) const OPENINGS_MAX: usize = 16;
pub(crate) const OTHER_MD5: &str = "what arrived is not what is stored: its MD5 is not the one that the store tells, as its ETag or on Azure as Content-MD5 (--no-etag-check, if those are not its MD5)";
pub(super) const SHORT: &str = "the store sent less than the object has";

/// What all fetches of a run share.
pub(crate) struct Fetcher {
    pub store: Arc<dyn Store>,
    pub root: Arc<Root>,
    pub orphan_files: Arc<OrphanFiles>,
    pub buffers: Arc<Buffers>,
    pub connections: Connections,
    pub part_size_bytes: u64,
    /// Of files in parts that are opened at the same time: what is there of them is read.
    pub openings: Semaphore,
    pub piece_size: PieceSize,
    pub umask: u32,
    pub verifies_by_md5: bool,
    pub progress: Arc<Progress>,
    pub work: Work,
}

/// A file that is in place.
#[derive(Debug)]
pub(crate) struct Fetched {
    pub version: Version,
    pub placed: Placed,
}

/// What became of the bytes of a file that is in place.
#[derive(Debug)]
pub(crate) struct Placed {
    pub local: LocalState,
    /// They are those that the store has, by its checksum.
    pub is_verified: bool,
    /// So many of them were there from an earlier run.
    pub resumed_bytes: u64,
}

/// One version on its way to a file.
pub(crate) struct Attempt<'a> {
    pub object: &'a ObjectMeta,
    pub place: &'a FilePlace,
    /// Bytes that the progress counts of it.
    pub moved: Arc<AtomicU64>,
}

impl Fetcher {
    /// Copies `object`, as a listing has it, to its place.
    pub async fn fetch(
        self: &Arc<Self>,
        object: ObjectMeta,
        place: &FilePlace,
    ) -> Result<Fetched, CopyError> {
        let object = match object.version.is_unknown() {
            true => ObjectMeta { last_modified: object.last_modified, ..self.head(&object.key).await? },
            false => object,
        };
        let (mut object, mut start_overs) = (object, StartOvers::default());
        loop {
            let error = match self.attempt(&object, place).await {
                Err(error) => error,
                done => return done,
            };
            if start_overs.after(&object.key, error)? == StartOver::Current {
                object = self.head(&object.key).await?;
            }
        }
    }

    pub(super) async fn head(&self, key: &RawKey) -> Result<ObjectMeta, CopyError> {
        let found = self.store.head(key).await;
        found.map_err(|error| CopyError::of_store(&format!("look at {key}"), error))
    }

    async fn attempt(self: &Arc<Self>, object: &ObjectMeta, place: &FilePlace) -> Result<Fetched, CopyError> {
        let attempt = Attempt { object, place, moved: Arc::default() };
        let placed = match object.size <= BUFFER_BYTES as u64 {
            true => self.fetch_small(&attempt).await,
            false => self.fetch_parts(&attempt).await,
        };
        if placed.is_err() {
            self.progress.take_back(attempt.moved.load(Relaxed));
        }
        Ok(Fetched { version: object.version.clone(), placed: placed? })
    }

    /// In one request, one buffer and one piece of work for the disk.
    async fn fetch_small(self: &Arc<Self>, attempt: &Attempt<'_>) -> Result<Placed, CopyError> {
        let len = attempt.object.size as usize;
        let connection = self.connection().await?;
        let mut buffer = self.buffer(len).await?;
        let got = self.open(attempt.object, None).await?;
        let (meta, mut body) = (got.meta, got.body);
        let is_checked = is_checked_by_store(&meta);
        let md5 = if is_checked { None } else { self.md5(&meta) };
        let filled = body.fill(buffer.part(len)).await;
        let filled = filled.map_err(|error| self.of_key(attempt.object, error))?;
        if filled != len {
            return Err(CopyError::Item(SHORT.to_owned()));
        }
        drop((body, connection));
        self.count(&attempt.moved, len);
        let attributes = self.attributes(attempt.object, meta.attributes);
        let (root, place, orphan_files) =
            (self.root.clone(), attempt.place.clone(), self.orphan_files.clone());
        let write = move || {
            if md5.is_some_and(|md5| Md5::digest(buffer.part(len)).as_slice() != md5) {
                return Ok(None);
            }
            let temporary = Temporary::create(&root, &place, &orphan_files)?;
            temporary.write_at(buffer.part(len), 0)?;
            temporary.place(&root, &place, &attributes).map(Some)
        };
        let placed = self.on_disk(write).await?;
        let local = placed.ok_or_else(|| CopyError::Corrupt(OTHER_MD5.to_owned()))?;
        Ok(Placed { local, is_verified: is_checked || md5.is_some(), resumed_bytes: 0 })
    }

    /// The MD5 that the bytes of an object must have, as far as that is known and looked at.
    pub(super) fn md5(&self, meta: &ObjectMeta) -> Option<[u8; 16]> {
        if self.verifies_by_md5 { self.store.md5(meta) } else { None }
    }

    /// Opens what is wanted of the version that is wanted. Errors: `Changed`, also where the object's length is not what it was.
    pub(super) async fn open(
        &self,
        object: &ObjectMeta,
        range: Option<Range<u64>>,
    ) -> Result<GetResult, CopyError> {
        let wanted = range.clone().unwrap_or(0..object.size);
        let options = GetOptions { range, if_version: Some(object.version.clone()) };
        let got = self.store.get(&object.key, options).await.map_err(|error| self.of_key(object, error))?;
        match got.meta.size == object.size && got.range == wanted {
            true => Ok(got),
            false => Err(CopyError::Changed),
        }
    }

    /// Of the version whose bytes came, or as they were listed with it; the time is the listing's, which is finer than that of an answer's head.
    pub(super) fn attributes(
        &self,
        object: &ObjectMeta,
        attributes: Option<Arc<Attributes>>,
    ) -> FileAttributes {
        let attributes = attributes.or_else(|| object.attributes.clone());
        FileAttributes::of_object(&ObjectMeta { attributes, ..object.clone() }, self.umask)
    }

    pub(super) fn of_key(&self, object: &ObjectMeta, error: pail_store::Error) -> CopyError {
        CopyError::of_store(&format!("read {}/{}", self.store.uri(), object.key), error)
    }

    pub(super) fn count(&self, moved: &AtomicU64, len: usize) {
        moved.fetch_add(len as u64, Relaxed);
        self.progress.add_bytes(len as u64);
    }

    pub(super) async fn on_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
    ) -> Result<T, CopyError> {
        self.work.blocking(work).await?.map_err(|error| CopyError::of_target(self.root.path(), &error))
    }

    pub(super) async fn connection(&self) -> Result<Connection, CopyError> {
        self.connections.take().await.ok_or_else(|| CopyError::Item("the run is over".to_owned()))
    }

    pub(super) async fn buffer(&self, len: usize) -> Result<Buffer, CopyError> {
        self.buffers.take(len).await.ok_or_else(|| CopyError::Item("the run is over".to_owned()))
    }
}

/// Whether the store compares what is read of a whole object with this checksum of it (`pail_store`'s `http/reading.rs`): an answer that is short of it is an error then.
pub(super) fn is_checked_by_store(meta: &ObjectMeta) -> bool {
    meta.checksum.is_some()
}

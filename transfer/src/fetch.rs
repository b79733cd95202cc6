//! One object, to one file.
//!
//! Owns: [`Fetcher`]. An object of up to one buffer is fetched in one request and put in place in one go; a larger one in parts at the same time, each
//! written at its offset as it arrives. Every request asks for the version that the plan saw. Where the object has another one by then, all of it starts over with
//! that, once: bytes of two versions never meet in one file.
//!
//! Bounds: a request has a connection's permit and one buffer; both are the run's.

use crate::Progress;
use crate::attributes::FileAttributes;
use crate::buffers::{BUFFER_BYTES, Buffer, Buffers};
use crate::directory::{LocalState, Root};
use crate::file_name::RelativePath;
use crate::part_sizes::parts;
use crate::temporary::Temporary;
use crate::trouble::Trouble;
use crate::work::{Work, lost};
use pail_store::{Attributes, GetOptions, GetResult, ObjectMeta, RawKey, Store, Version};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

const CHANGED_TWICE: &str = "it was replaced while it was copied, and again when that started over";
const SHORT: &str = "the store sent less than the object has";

/// What all fetches of a run share.
pub(crate) struct Fetcher {
    pub store: Arc<dyn Store>,
    pub root: Arc<Root>,
    pub buffers: Arc<Buffers>,
    pub connections: Arc<Semaphore>,
    pub part_size_bytes: u64,
    pub umask: u32,
    pub progress: Arc<Progress>,
    pub work: Work,
}

/// A file that is in place.
#[derive(Debug)]
pub(crate) struct Fetched {
    pub version: Version,
    pub local: LocalState,
}

/// One version on its way to a file.
struct Attempt<'a> {
    object: &'a ObjectMeta,
    path: &'a RelativePath,
    /// Bytes that the progress counts of it.
    moved: Arc<AtomicU64>,
}

impl Fetcher {
    /// Copies `object`, as a listing has it, to `path`.
    pub async fn fetch(
        self: &Arc<Self>,
        object: ObjectMeta,
        path: &RelativePath,
    ) -> Result<Fetched, Trouble> {
        let object = match object.version.is_unknown() {
            true => ObjectMeta { last_modified: object.last_modified, ..self.head(&object.key).await? },
            false => object,
        };
        match self.attempt(&object, path).await {
            Err(Trouble::Changed) => {}
            done => return done,
        }
        tracing::debug!(key = %object.key, "replaced while it was copied; starting over");
        let newer = self.head(&object.key).await?;
        match self.attempt(&newer, path).await {
            Err(Trouble::Changed) => Err(Trouble::Alone(CHANGED_TWICE.to_owned())),
            done => done,
        }
    }

    async fn head(&self, key: &RawKey) -> Result<ObjectMeta, Trouble> {
        let found = self.store.head(key).await;
        found.map_err(|error| Trouble::of_store(&format!("look at {key}"), error))
    }

    async fn attempt(self: &Arc<Self>, object: &ObjectMeta, path: &RelativePath) -> Result<Fetched, Trouble> {
        let attempt = Attempt { object, path, moved: Arc::default() };
        let placed = match object.size <= BUFFER_BYTES as u64 {
            true => self.fetch_small(&attempt).await,
            false => self.fetch_parts(&attempt).await,
        };
        if placed.is_err() {
            self.progress.take_back(attempt.moved.load(Relaxed));
        }
        Ok(Fetched { version: object.version.clone(), local: placed? })
    }

    /// In one request, one buffer and one piece of work for the disk.
    async fn fetch_small(self: &Arc<Self>, attempt: &Attempt<'_>) -> Result<LocalState, Trouble> {
        let len = attempt.object.size as usize;
        let connection = self.connection().await?;
        let mut buffer = self.buffer().await?;
        let got = self.open(attempt.object, None).await?;
        let (meta, mut body) = (got.meta, got.body);
        let filled = body.fill(buffer.part(len)).await;
        let filled = filled.map_err(|error| self.of_key(attempt.object, error))?;
        if filled != len {
            return Err(Trouble::Alone(SHORT.to_owned()));
        }
        drop((body, connection));
        self.count(&attempt.moved, len);
        let attributes = self.attributes(attempt.object, meta.attributes);
        let (root, path) = (self.root.clone(), attempt.path.clone());
        let place = move || {
            let temporary = Temporary::create(&root, &path)?;
            temporary.write_at(buffer.part(len), 0)?;
            temporary.place(&path, &attributes)
        };
        self.on_disk(place).await
    }

    /// In parts at the same time, but for a version that cannot be asked for.
    async fn fetch_parts(self: &Arc<Self>, attempt: &Attempt<'_>) -> Result<LocalState, Trouble> {
        let object = attempt.object;
        let (root, path, len) = (self.root.clone(), attempt.path.clone(), object.size);
        let create = move || {
            let temporary = Temporary::create(&root, &path)?;
            temporary.reserve(len)?;
            Ok(temporary)
        };
        let temporary = Arc::new(self.on_disk(create).await?);
        let part_size = if object.version.is_unknown() { object.size } else { self.part_size_bytes };
        let mut tasks = JoinSet::new();
        let fetched = self.spawn_parts(attempt, &temporary, part_size, &mut tasks).await;
        if fetched.is_err() {
            tasks.shutdown().await;
        }
        let attributes = self.attributes(object, fetched?);
        let path = attempt.path.clone();
        // Every part is written, and so nobody else has the file any more.
        let temporary =
            Arc::into_inner(temporary).ok_or_else(|| Trouble::Alone("a part of it was lost".to_owned()))?;
        self.on_disk(move || temporary.place(&path, &attributes)).await
    }

    /// Fetches all parts; gives the object's attributes.
    async fn spawn_parts(
        self: &Arc<Self>,
        attempt: &Attempt<'_>,
        temporary: &Arc<Temporary>,
        part_size: u64,
        tasks: &mut JoinSet<Result<Option<Arc<Attributes>>, Trouble>>,
    ) -> Result<Option<Arc<Attributes>>, Trouble> {
        let mut attributes = None;
        for range in parts(attempt.object.size, part_size) {
            let connection = self.connection().await?;
            while let Some(done) = tasks.try_join_next() {
                attributes = done.map_err(|error| Trouble::Fatal(lost(&error)))??;
            }
            let (fetcher, object) = (self.clone(), attempt.object.clone());
            let (temporary, moved) = (temporary.clone(), attempt.moved.clone());
            tasks.spawn(self.work.tracked(async move {
                fetcher.fetch_part(&object, range, temporary, moved, connection).await
            }));
        }
        while let Some(done) = tasks.join_next().await {
            attributes = done.map_err(|error| Trouble::Fatal(lost(&error)))??;
        }
        Ok(attributes)
    }

    async fn fetch_part(
        &self,
        object: &ObjectMeta,
        range: Range<u64>,
        temporary: Arc<Temporary>,
        moved: Arc<AtomicU64>,
        _connection: OwnedSemaphorePermit,
    ) -> Result<Option<Arc<Attributes>>, Trouble> {
        let mut buffer = self.buffer().await?;
        let mut got = self.open(object, Some(range.clone())).await?;
        let mut offset = range.start;
        while offset < range.end {
            let len = usize::try_from(range.end - offset).unwrap_or(usize::MAX).min(BUFFER_BYTES);
            let filled = got.body.fill(buffer.part(len)).await.map_err(|error| self.of_key(object, error))?;
            if filled != len {
                return Err(Trouble::Alone(SHORT.to_owned()));
            }
            let file = temporary.clone();
            buffer = self.on_disk(move || file.write_at(buffer.part(len), offset).map(|()| buffer)).await?;
            self.count(&moved, len);
            offset += len as u64;
        }
        Ok(got.meta.attributes)
    }

    /// Opens what is wanted of the version that is wanted. Errors: `Changed`, also where the object's length is not what it was.
    async fn open(&self, object: &ObjectMeta, range: Option<Range<u64>>) -> Result<GetResult, Trouble> {
        let wanted = range.clone().unwrap_or(0..object.size);
        let options = GetOptions { range, if_version: Some(object.version.clone()) };
        let got = self.store.get(&object.key, options).await.map_err(|error| self.of_key(object, error))?;
        match got.meta.size == object.size && got.range == wanted {
            true => Ok(got),
            false => Err(Trouble::Changed),
        }
    }

    /// Of the version whose bytes came; the time is the listing's, which is finer than that of an answer's head.
    fn attributes(&self, object: &ObjectMeta, attributes: Option<Arc<Attributes>>) -> FileAttributes {
        FileAttributes::of_object(&ObjectMeta { attributes, ..object.clone() }, self.umask)
    }

    fn of_key(&self, object: &ObjectMeta, error: pail_store::Error) -> Trouble {
        Trouble::of_store(&format!("read {}/{}", self.store.uri(), object.key), error)
    }

    fn count(&self, moved: &AtomicU64, len: usize) {
        moved.fetch_add(len as u64, Relaxed);
        self.progress.add_bytes(len as u64);
    }

    async fn on_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
    ) -> Result<T, Trouble> {
        self.work.blocking(work).await?.map_err(|error| Trouble::of_target(self.root.path(), &error))
    }

    async fn connection(&self) -> Result<OwnedSemaphorePermit, Trouble> {
        let permit = self.connections.clone().acquire_owned().await;
        permit.map_err(|_| Trouble::Alone("the run is over".to_owned()))
    }

    async fn buffer(&self) -> Result<Buffer, Trouble> {
        self.buffers.take().await.ok_or_else(|| Trouble::Alone("the run is over".to_owned()))
    }
}

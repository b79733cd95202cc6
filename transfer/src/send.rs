//! One file, to one object.
//!
//! Owns: [`Sender`]. A file of up to one part is read into memory, looked at again, and then sent in one request; a larger one in parts at the same time, and looked
//! at again before the one request that makes the object of them. So a file that changes while it is read never becomes an object that is half one and half the
//! other: it is read once more, and then told.
//!
//! Uploads in parts that come to nothing are aborted; those whose task was given up are listed as orphans, for the run to abort at its end.

use crate::Progress;
use crate::directory::LocalState;
use crate::local_file::{FilePart, OpenFile};
use crate::local_walk::LocalFile;
use crate::part_sizes::{part_size, parts};
use crate::trouble::Trouble;
use crate::work::{Work, lost};
use pail_store::{Attributes, ErrorKind, Part, Payload, PutOptions, RawKey, Store, Upload, Version};
use parking_lot::Mutex;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

const CHANGED_TWICE: &str = "it changed while it was sent, and again when that started over";
/// The unit in which memory is counted: a permit of a semaphore is this many bytes.
const MEMORY_UNIT_BYTES: u64 = 1024;
/// How long a file that changed is left to itself before it is read again: who writes it may be about to finish.
const CHANGED_PAUSE: Duration = Duration::from_millis(200);
/// How long the end of a run waits for uploads to be aborted.
const ABORT_TIMEOUT: Duration = Duration::from_secs(10);

/// What all sendings of a run share.
pub(crate) struct Sender {
    store: Arc<dyn Store>,
    connections: Arc<Semaphore>,
    memory: Arc<Semaphore>,
    part_size_bytes: u64,
    progress: Arc<Progress>,
    work: Work,
    /// Guards the uploads that nobody will complete; a leaf.
    orphans: Arc<Mutex<Vec<Upload>>>,
}

/// An object that was made.
#[derive(Debug)]
pub(crate) struct Sent {
    pub version: Version,
    pub local: LocalState,
}

/// An upload under way. Dropped before it has ended, it is an orphan.
struct OpenUpload {
    upload: Upload,
    orphans: Arc<Mutex<Vec<Upload>>>,
    has_ended: bool,
}

impl Drop for OpenUpload {
    fn drop(&mut self) {
        if !self.has_ended {
            self.orphans.lock().push(self.upload.clone());
        }
    }
}

impl Sender {
    /// With so many connections, and so many bytes of files in memory, one part at least.
    pub fn new(
        store: Arc<dyn Store>,
        connections: usize,
        memory_bytes: u64,
        part_size_bytes: u64,
        progress: Arc<Progress>,
        work: Work,
    ) -> Self {
        let units = memory_bytes.max(part_size_bytes).div_ceil(MEMORY_UNIT_BYTES);
        let units =
            usize::try_from(units).unwrap_or(usize::MAX).min(u32::MAX as usize).min(Semaphore::MAX_PERMITS);
        Self {
            store,
            connections: Arc::new(Semaphore::new(connections.clamp(1, Semaphore::MAX_PERMITS))),
            memory: Arc::new(Semaphore::new(units)),
            part_size_bytes,
            progress,
            work,
            orphans: Arc::default(),
        }
    }

    /// Sends a file, in whatever state it is now.
    pub async fn send(self: &Arc<Self>, file: &LocalFile) -> Result<Sent, Trouble> {
        match self.attempt(file).await {
            Err(Trouble::Changed) => {}
            done => return done,
        }
        tracing::debug!(path = %file.path.display(), "changed while it was sent; starting over");
        tokio::time::sleep(CHANGED_PAUSE).await;
        match self.attempt(file).await {
            Err(Trouble::Changed) => Err(Trouble::Alone(CHANGED_TWICE.to_owned())),
            done => done,
        }
    }

    /// Aborts what tasks that were given up have left open.
    pub async fn abort_orphans(&self) {
        let orphans = std::mem::take(&mut *self.orphans.lock());
        let aborting = async {
            for upload in &orphans {
                self.abort(upload).await;
            }
        };
        if tokio::time::timeout(ABORT_TIMEOUT, aborting).await.is_err() {
            tracing::warn!("uploads in parts stay open in the bucket: they could not be aborted in time");
        }
    }

    async fn attempt(self: &Arc<Self>, file: &LocalFile) -> Result<Sent, Trouble> {
        let path = file.path.clone();
        let open = Arc::new(self.on_disk(move || OpenFile::open(&path)).await?);
        let moved = Arc::new(AtomicU64::new(0));
        let sent = match open.state().size <= self.part_size_bytes {
            true => self.put(&file.key, &open, &moved).await,
            false => self.put_parts(&file.key, &open, &moved).await,
        };
        if sent.is_err() {
            self.progress.take_back(moved.load(Relaxed));
        }
        Ok(Sent { version: sent?, local: open.state() })
    }

    async fn put(&self, key: &RawKey, file: &Arc<OpenFile>, moved: &AtomicU64) -> Result<Version, Trouble> {
        let len = file.state().size;
        let _connection = self.connection().await?;
        let units = u32::try_from(len.div_ceil(MEMORY_UNIT_BYTES)).unwrap_or(u32::MAX);
        let _memory = self.memory.acquire_many(units).await.map_err(|_| over())?;
        let reading = file.clone();
        let read = move || Ok((reading.read_all()?, reading.is_unchanged()?));
        let (bytes, is_unchanged) = self.on_disk(read).await?;
        if !is_unchanged || bytes.len() as u64 != len {
            return Err(Trouble::Changed);
        }
        let options = options_for(file);
        let payload = Payload::Bytes(bytes.into());
        let put = self.store.put(key, payload, options).await;
        let version = put.map_err(|error| self.of_key(key, error))?;
        self.count(moved, len);
        Ok(version)
    }

    async fn put_parts(
        self: &Arc<Self>,
        key: &RawKey,
        file: &Arc<OpenFile>,
        moved: &Arc<AtomicU64>,
    ) -> Result<Version, Trouble> {
        let options = options_for(file);
        let upload = {
            let _connection = self.connection().await?;
            self.store.start_upload(key, &options).await.map_err(|error| self.of_key(key, error))?
        };
        let mut open = OpenUpload { upload, orphans: self.orphans.clone(), has_ended: false };
        let mut tasks = JoinSet::new();
        let done = self.send_parts(&open.upload, &options, file, moved, &mut tasks).await;
        if done.is_err() {
            tasks.shutdown().await;
            self.abort(&open.upload).await;
        }
        open.has_ended = true;
        done
    }

    /// Sends all parts, and makes the object of them if the file is still as it was.
    async fn send_parts(
        self: &Arc<Self>,
        upload: &Upload,
        options: &PutOptions,
        file: &Arc<OpenFile>,
        moved: &Arc<AtomicU64>,
        tasks: &mut JoinSet<Result<Part, Trouble>>,
    ) -> Result<Version, Trouble> {
        let len = file.state().size;
        let mut sent = Vec::new();
        for (number, range) in (1..).zip(parts(len, part_size(len, self.part_size_bytes))) {
            let connection = self.connection().await?;
            while let Some(done) = tasks.try_join_next() {
                sent.push(done.map_err(|error| Trouble::Fatal(lost(&error)))??);
            }
            let (sender, upload) = (self.clone(), upload.clone());
            let (file, moved) = (file.clone(), moved.clone());
            tasks.spawn(self.work.tracked(async move {
                sender.send_part(&upload, number, range, file, &moved, connection).await
            }));
        }
        while let Some(done) = tasks.join_next().await {
            sent.push(done.map_err(|error| Trouble::Fatal(lost(&error)))??);
        }
        sent.sort_by_key(|part| part.number);
        let reading = file.clone();
        if !self.on_disk(move || reading.is_unchanged()).await? {
            return Err(Trouble::Changed);
        }
        let completed = self.store.complete_upload(upload, &sent, options).await;
        completed.map_err(|error| self.of_key(&upload.key, error))
    }

    async fn send_part(
        &self,
        upload: &Upload,
        number: u32,
        range: Range<u64>,
        file: Arc<OpenFile>,
        moved: &AtomicU64,
        _connection: OwnedSemaphorePermit,
    ) -> Result<Part, Trouble> {
        let len = range.end - range.start;
        let source = Arc::new(FilePart::new(file, range.start, self.work.clone()));
        let payload = Payload::Source { len, source: source.clone() };
        let sent = self.store.put_part(upload, number, payload).await;
        let part = sent.map_err(|error| match error.kind {
            ErrorKind::Source if source.is_cut() => Trouble::Changed,
            ErrorKind::Source => Trouble::Alone(error.message),
            _ => self.of_key(&upload.key, error),
        })?;
        self.count(moved, len);
        Ok(part)
    }

    async fn abort(&self, upload: &Upload) {
        if let Err(error) = self.store.abort_upload(upload).await {
            tracing::warn!(key = %upload.key, %error, "an upload in parts stays open in the bucket");
        }
    }

    fn of_key(&self, key: &RawKey, error: pail_store::Error) -> Trouble {
        Trouble::of_store(&format!("write {}/{key}", self.store.uri()), error)
    }

    fn count(&self, moved: &AtomicU64, len: u64) {
        moved.fetch_add(len, Relaxed);
        self.progress.add_bytes(len);
    }

    /// A file that cannot be read concerns itself alone.
    async fn on_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> Result<T, Trouble> {
        self.work.blocking(work).await?.map_err(|error| Trouble::Alone(error.to_string()))
    }

    async fn connection(&self) -> Result<OwnedSemaphorePermit, Trouble> {
        self.connections.clone().acquire_owned().await.map_err(|_| over())
    }
}

fn over() -> Trouble {
    Trouble::Alone("the run is over".to_owned())
}

/// What a file becomes: its time and mode are the object's user metadata.
fn options_for(file: &OpenFile) -> PutOptions {
    let attributes = Attributes { metadata: file.metadata(), ..Attributes::default() };
    PutOptions { attributes, ..PutOptions::default() }
}

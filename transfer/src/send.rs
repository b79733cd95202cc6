//! One file, to one object.
//!
//! Owns: [`Sender`]. A file of up to one part is read into memory, looked at again, and then sent in one request; a larger one in parts at the same time, and looked
//! at again before the one request that makes the object of them. So a file that changes while it is read never becomes an object that is half one and half the
//! other: it is read once more, and then told.
//!
//! Uploads in parts go on where an earlier run ended, if the file is what it was (`part_uploads`).

use crate::connections::{Connection, Connections};
use crate::copy_error::CopyError;
use crate::directory::LocalState;
use crate::local_file::{FilePart, OpenFile};
use crate::local_walk::LocalFile;
use crate::memory::Memory;
use crate::orphan_uploads::OrphanUploads;
use crate::part_sizes::part_size;
use crate::part_uploads::{Failure, ObjectInParts, PartSource, PartUploads};
use crate::progress::Moved;
use crate::upload_journal::UploadJournals;
use crate::work::Work;
use crate::{Options, Progress};
use async_trait::async_trait;
use pail_store::{Attributes, ErrorKind, Part, Payload, PutOptions, RawKey, Store, Upload, Version};
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

const CHANGED_TWICE: &str = "it changed while it was sent, and again when that started over";
/// How long a file that changed is left to itself before it is read again: who writes it may be about to finish.
const CHANGED_PAUSE: Duration = Duration::from_millis(200);

/// What all sendings of a run share.
pub(crate) struct Sender {
    store: Arc<dyn Store>,
    connections: Connections,
    memory: Memory,
    part_size_bytes: u64,
    progress: Arc<Progress>,
    work: Work,
    uploads: Arc<PartUploads>,
}

/// An object that was made.
#[derive(Debug)]
pub(crate) struct Sent {
    pub version: Version,
    pub local: LocalState,
    /// So many of its bytes the store had from an earlier run.
    pub resumed_bytes: u64,
}

impl Sender {
    /// Within the bounds of `options`, but with memory for one part at least.
    pub fn new(
        store: Arc<dyn Store>,
        options: &Options,
        journals: UploadJournals,
        progress: Arc<Progress>,
        work: Work,
    ) -> Self {
        let part_size_bytes = options.part_size_bytes();
        let connections = Connections::new(vec![store.clone()], progress.clone(), options.connections());
        let uploads = PartUploads {
            store: store.clone(),
            connections: connections.clone(),
            journals: Arc::new(journals),
            new_objects: options.new_objects.clone(),
            orphans: OrphanUploads::new(store.clone()),
            work: work.clone(),
        };
        Self {
            uploads: Arc::new(uploads),
            store,
            connections,
            memory: Memory::new(options.memory_bytes, part_size_bytes),
            part_size_bytes,
            progress,
            work,
        }
    }

    /// Sends a file, in whatever state it is now.
    pub async fn send(self: &Arc<Self>, file: &LocalFile) -> Result<Sent, CopyError> {
        match self.attempt(file).await {
            Err(CopyError::Changed) => {}
            done => return done,
        }
        tracing::debug!(path = %file.path.display(), "changed while it was sent; starting over");
        tokio::time::sleep(CHANGED_PAUSE).await;
        match self.attempt(file).await {
            Err(CopyError::Changed) => Err(CopyError::Item(CHANGED_TWICE.to_owned())),
            done => done,
        }
    }

    /// Aborts what tasks that were given up have left open.
    pub async fn abort_orphans(&self) {
        self.uploads.orphans.abort_all().await;
    }

    /// The run has sent all that it was to send: aborts what earlier ones have left open and nobody went on with.
    pub async fn abort_dead(&self) {
        self.uploads.abort_dead().await;
    }

    async fn attempt(self: &Arc<Self>, file: &LocalFile) -> Result<Sent, CopyError> {
        let path = file.path.clone();
        let open = Arc::new(self.on_disk(move || OpenFile::open(&path)).await?);
        let moved = Moved::of(&self.progress);
        let sent = match open.state().size <= self.part_size_bytes {
            true => self.put(&file.key, &open, &moved).await.map(|version| (version, 0)),
            false => self.put_parts(&file.key, &open, &moved).await,
        };
        if sent.is_err() {
            moved.take_back();
        }
        let (version, resumed_bytes) = sent?;
        Ok(Sent { version, local: open.state(), resumed_bytes })
    }

    async fn put(&self, key: &RawKey, file: &Arc<OpenFile>, moved: &Moved) -> Result<Version, CopyError> {
        let len = file.state().size;
        let _connection = self.connection().await?;
        let _memory = self.memory.take(len).await.ok_or_else(over)?;
        let reading = file.clone();
        let read = move || Ok((reading.read_all()?, reading.is_unchanged()?));
        let (bytes, is_unchanged) = self.on_disk(read).await?;
        if !is_unchanged || bytes.len() as u64 != len {
            return Err(CopyError::Changed);
        }
        let options = options_for(file);
        let payload = Payload::Bytes(bytes.into());
        let put = self.store.put(key, payload, options).await;
        let version = put.map_err(|error| self.of_key(key, error))?;
        moved.add(len);
        Ok(version)
    }

    async fn put_parts(
        &self,
        key: &RawKey,
        file: &Arc<OpenFile>,
        moved: &Arc<Moved>,
    ) -> Result<(Version, u64), CopyError> {
        let len = file.state().size;
        let object = ObjectInParts {
            key: key.clone(),
            len,
            part_size: part_size(len, self.part_size_bytes),
            identity: Some(file.identity()),
            attributes: options_for(file).attributes,
            source: Arc::new(FileInParts { file: file.clone(), work: self.work.clone() }),
        };
        let made = self.uploads.make(&object, moved).await?;
        Ok((made.version, made.resumed_bytes))
    }

    fn of_key(&self, key: &RawKey, error: pail_store::Error) -> CopyError {
        CopyError::of_store(&format!("write {}/{key}", self.store.uri()), error)
    }

    async fn on_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> Result<T, CopyError> {
        on_disk(&self.work, work).await
    }

    async fn connection(&self) -> Result<Connection, CopyError> {
        self.connections.take().await.ok_or_else(over)
    }
}

/// A file that is sent in parts, if it stays as it is.
struct FileInParts {
    file: Arc<OpenFile>,
    work: Work,
}

#[async_trait]
impl PartSource for FileInParts {
    async fn send(
        &self,
        store: &dyn Store,
        upload: &Upload,
        number: u32,
        range: Range<u64>,
        moved: &Arc<Moved>,
    ) -> Result<Part, Failure> {
        let len = range.end - range.start;
        let source =
            Arc::new(FilePart::new(self.file.clone(), range.start, self.work.clone(), moved.clone()));
        let sent = store.put_part(upload, number, Payload::Source { len, source: source.clone() }).await;
        sent.map_err(|error| match error.kind {
            ErrorKind::Source if source.is_cut() => CopyError::Changed.into(),
            ErrorKind::Source => CopyError::Item(error.message).into(),
            _ => Failure::of_store(store, upload, error),
        })
    }

    async fn check(&self, _parts: &[Part]) -> Result<bool, CopyError> {
        let file = self.file.clone();
        match on_disk(&self.work, move || file.is_unchanged()).await? {
            // The store has compared each part's checksum, where it can; the file has none.
            true => Ok(false),
            false => Err(CopyError::Changed),
        }
    }
}

/// A file that cannot be read concerns itself alone.
async fn on_disk<T: Send + 'static>(
    work: &Work,
    reading: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, CopyError> {
    work.blocking(reading).await?.map_err(|error| CopyError::Item(error.to_string()))
}

fn over() -> CopyError {
    CopyError::Item("the run is over".to_owned())
}

/// What a file becomes: its time and mode are the object's user metadata.
fn options_for(file: &OpenFile) -> PutOptions {
    let attributes = Attributes { metadata: file.metadata(), ..Attributes::default() };
    PutOptions { attributes, ..PutOptions::default() }
}

//! One file, to one object.
//!
//! Owns: [`Sender`]. A file of up to one part is read into memory, looked at again, and then sent in one request; a larger one in parts at the same time, and looked
//! at again before the one request that makes the object of them. So a file that changes while it is read never becomes an object that is half one and half the
//! other: it is read once more, and then told.
//!
//! Uploads in parts that come to nothing are aborted; those whose task was given up are listed as orphans, for the run to abort at its end: an upload that stays open costs the
//! bucket's owner money. What a run that was stopped or killed, or that no longer reached the store, has left of them has a journal: the next run goes on with it, or aborts it.

use crate::Progress;
use crate::connections::{Connection, Connections};
use crate::directory::LocalState;
use crate::local_file::{FilePart, OpenFile};
use crate::local_walk::LocalFile;
use crate::orphans::{OpenUpload, Orphans};
use crate::part_sizes::{part_size, parts};
use crate::trouble::Trouble;
use crate::upload_journal::{Interrupted, UploadJournals};
use crate::work::{Work, lost};
use pail_store::{Attributes, ErrorKind, Part, Payload, PutOptions, RawKey, Store, Upload, Version};
use std::collections::HashSet;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

const CHANGED_TWICE: &str = "it changed while it was sent, and again when that started over";
/// The unit in which memory is counted: a permit of a semaphore is this many bytes.
pub(crate) const MEMORY_UNIT_BYTES: u64 = 1024;
/// How long a file that changed is left to itself before it is read again: who writes it may be about to finish.
const CHANGED_PAUSE: Duration = Duration::from_millis(200);

/// What all sendings of a run share.
pub(crate) struct Sender {
    store: Arc<dyn Store>,
    connections: Connections,
    memory: Arc<Semaphore>,
    part_size_bytes: u64,
    progress: Arc<Progress>,
    work: Work,
    journals: Arc<UploadJournals>,
    /// What the store gives new objects: an upload that began with something else is not gone on with.
    new_objects: String,
    orphans: Orphans,
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
    /// With so many connections, and so many bytes of files in memory, one part at least.
    pub fn new(
        store: Arc<dyn Store>,
        connections: usize,
        memory_bytes: u64,
        part_size_bytes: u64,
        progress: Arc<Progress>,
        work: Work,
        (journals, new_objects): (UploadJournals, String),
    ) -> Self {
        let units = memory_bytes.max(part_size_bytes).div_ceil(MEMORY_UNIT_BYTES);
        let units =
            usize::try_from(units).unwrap_or(usize::MAX).min(u32::MAX as usize).min(Semaphore::MAX_PERMITS);
        let connections = Connections::new(vec![store.clone()], progress.clone(), connections);
        Self {
            orphans: Orphans::new(store.clone()),
            store,
            connections,
            memory: Arc::new(Semaphore::new(units)),
            part_size_bytes,
            progress,
            work,
            journals: Arc::new(journals),
            new_objects,
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
        self.orphans.abort_all().await;
    }

    /// The run has sent all that it was to send: aborts what earlier ones have left open and nobody went on with.
    pub async fn abort_dead(&self) {
        let journals = self.journals.clone();
        let Ok(dead) = self.work.blocking(move || journals.dead()).await else { return };
        for (journal, found) in &dead {
            match found {
                Some(found) => self.orphans.abort(&found.upload, Some(journal)).await,
                None => journal.end(),
            }
        }
        drop(dead);
        let journals = self.journals.clone();
        let _ = self.work.blocking(move || journals.tidy()).await;
    }

    async fn attempt(self: &Arc<Self>, file: &LocalFile) -> Result<Sent, Trouble> {
        let path = file.path.clone();
        let open = Arc::new(self.on_disk(move || OpenFile::open(&path)).await?);
        let moved = Arc::new(AtomicU64::new(0));
        let sent = match open.state().size <= self.part_size_bytes {
            true => self.put(&file.key, &open, &moved).await.map(|version| (version, 0)),
            false => self.put_parts(&file.key, &open, &moved).await,
        };
        if sent.is_err() {
            self.progress.take_back(moved.load(Relaxed));
        }
        let (version, resumed_bytes) = sent?;
        Ok(Sent { version, local: open.state(), resumed_bytes })
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
    ) -> Result<(Version, u64), Trouble> {
        let options = options_for(file);
        let (open, there) = self.open_upload(key, file, &options).await?;
        let resumed_bytes = there.iter().map(|part| part.size).sum();
        self.count(moved, resumed_bytes);
        let mut tasks = JoinSet::new();
        let done = self.send_parts(&open, there, &options, file, moved, &mut tasks).await;
        if done.is_err() {
            tasks.shutdown().await;
        }
        match &done {
            Ok(_) => open.complete(),
            Err(trouble) if open.journal.is_some() && trouble.is_resumable() => open.leave(),
            Err(_) => open.abort().await,
        }
        Ok((done?, resumed_bytes))
    }

    /// An upload that a killed run has begun of the same file, with the parts that the store has of it, or a new one.
    async fn open_upload(
        &self,
        key: &RawKey,
        file: &OpenFile,
        options: &PutOptions,
    ) -> Result<(OpenUpload, Vec<Part>), Trouble> {
        let (journals, of_key) = (self.journals.clone(), key.clone());
        let opened = self.on_disk(move || Ok(journals.open(&of_key))).await?;
        let (journal, found) =
            opened.map_or((None, None), |(journal, found)| (Some(Arc::new(journal)), found));
        let part_size = part_size(file.state().size, self.part_size_bytes);
        let _connection = self.connection().await?;
        if let Some(found) = found {
            if self.is_resumable(key, &found, file, part_size).await? {
                tracing::debug!(%key, parts = found.parts.len(), "going on with the upload of an earlier run");
                return Ok((self.orphans.hold(found.upload, journal), found.parts));
            }
            self.orphans.abort(&found.upload, None).await;
        }
        let open = self.orphans.start(&self.work, key, options, journal).await;
        let mut open = open.map_err(|error| self.of_key(key, error))?;
        if let Some(journal) = open.journal.clone() {
            let (upload, source) = (open.upload.clone(), file.identity());
            let new_objects = self.new_objects.clone();
            let begin = move || journal.begin(&upload, &source, part_size, &new_objects);
            // A state directory that is full costs what a later run could go on with.
            if let Err(error) = self.work.blocking(begin).await? {
                tracing::warn!(%key, %error, "an upload has no journal: if it is interrupted, it starts over");
                open.journal = None;
            }
        }
        Ok((open, Vec::new()))
    }

    /// Whether the upload is of the file as it is now, cut alike, to become an object of the same kind, and the store still has it. Errors: the store's.
    async fn is_resumable(
        &self,
        key: &RawKey,
        found: &Interrupted,
        file: &OpenFile,
        part_size: u64,
    ) -> Result<bool, Trouble> {
        let ranges: Vec<_> = parts(file.state().size, part_size).collect();
        let fits = |part: &Part| {
            let range = (part.number as usize).checked_sub(1).and_then(|index| ranges.get(index));
            range.is_some_and(|range| range.end - range.start == part.size)
        };
        let is_same = found.source == file.identity()
            && found.part_size == part_size
            && found.new_objects == self.new_objects
            && found.parts.iter().all(fits)
            && !found.parts.is_empty();
        if !is_same {
            return Ok(false);
        }
        match self.store.has_parts(&found.upload).await {
            // Who may not ask may complete it; where it is gone, that will tell.
            Err(error) if error.kind == ErrorKind::Denied => Ok(true),
            Err(error) if error.kind == ErrorKind::NotFound => Ok(false),
            has_parts => has_parts.map_err(|error| self.of_key(key, error)),
        }
    }

    /// Sends the parts that the store has not, and makes the object of all if the file is still as it was.
    async fn send_parts(
        self: &Arc<Self>,
        open: &OpenUpload,
        there: Vec<Part>,
        options: &PutOptions,
        file: &Arc<OpenFile>,
        moved: &Arc<AtomicU64>,
        tasks: &mut JoinSet<Result<Part, Trouble>>,
    ) -> Result<Version, Trouble> {
        let OpenUpload { upload, journal, .. } = open;
        let len = file.state().size;
        let numbers: HashSet<u32> = there.iter().map(|part| part.number).collect();
        let mut sent = there;
        for (number, range) in (1..).zip(parts(len, part_size(len, self.part_size_bytes))) {
            if numbers.contains(&number) {
                continue;
            }
            let connection = self.connection().await?;
            while let Some(done) = tasks.try_join_next() {
                sent.push(done.map_err(|error| Trouble::Fatal(lost(&error)))??);
            }
            let (sender, upload, journal) = (self.clone(), upload.clone(), journal.clone());
            let (file, moved) = (file.clone(), moved.clone());
            tasks.spawn(self.work.tracked(async move {
                let part = sender.send_part(&upload, number, range, file, &moved, connection).await?;
                if let Some(journal) = journal {
                    let noted = part.clone();
                    if let Err(error) = sender.work.blocking(move || journal.note(&noted)).await? {
                        tracing::debug!(%error, number, "a part is not noted");
                    }
                }
                Ok(part)
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
        moved: &Arc<AtomicU64>,
        _connection: Connection,
    ) -> Result<Part, Trouble> {
        let len = range.end - range.start;
        let (progress, moved) = (self.progress.clone(), moved.clone());
        let count = move |bytes| {
            moved.fetch_add(bytes, Relaxed);
            progress.add_bytes(bytes);
        };
        let source = Arc::new(FilePart::new(file, range.start, self.work.clone(), Box::new(count)));
        let payload = Payload::Source { len, source: source.clone() };
        let sent = self.store.put_part(upload, number, payload).await;
        sent.map_err(|error| match error.kind {
            ErrorKind::Source if source.is_cut() => Trouble::Changed,
            ErrorKind::Source => Trouble::Alone(error.message),
            _ => self.of_key(&upload.key, error),
        })
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

    async fn connection(&self) -> Result<Connection, Trouble> {
        self.connections.take().await.ok_or_else(over)
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

//! Opening, creating and closing files.
//!
//! Owns: `open`, `create`, `flush`, `fsync`, `release`, and how clean content becomes dirty.
//!
//! # Whose close publishes
//! The kernel says "flush" at every close of a descriptor, also of one that a child inherited or a shell duplicated. Those of
//! another process than the opener's neither wait nor publish. Nor does the opener's while nothing was written yet and it still
//! holds another descriptor of the file: that is a shell setting up a redirection. What the last close leaves is published on
//! release.

use super::BucketFs;
use super::attr::{Creator, Entry};
use super::dirty::{Base, DirtyFile};
use super::error::{FsError, FsResult, Posix};
use super::handle::{Handle, holds_descriptor, process_of};
use super::inode::{Content, FileState, Inode, Kind};
use super::name;
use super::namespace::Known;
use super::object_stat::{Carried, ObjectStat};
use super::prefetch::Prefetcher;
use crate::disk_work::{DiskCall, on_disk};
use pail_cache::{Base as IntentBase, DirtyReplica, Intent};
use std::ffi::OsStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

/// How long the look at a process's descriptors may take before the answer is no.
const DESCRIPTORS_TIMEOUT: Duration = Duration::from_millis(200);

/// Whether `process` has another descriptor of the file at `path`.
///
/// # Why with a timeout
/// A process that closes the file because it is in execve holds the kernel's lock that a look at its descriptors waits for, and it
/// waits for our answer meanwhile. Such a close sets up nothing.
async fn holds_another(process: u32, path: String) -> bool {
    let look = tokio::task::spawn_blocking(move || holds_descriptor(process, &path));
    matches!(tokio::time::timeout(DESCRIPTORS_TIMEOUT, look).await, Ok(Ok(true)))
}

/// Refuses to change an object that a publish would make one of another kind, where the store has told what kind it is. Errors:
/// [`FsError::Uneditable`].
fn check_editable(inode: &Inode) -> FsResult<()> {
    let Some(file) = inode.file() else { return Ok(()) };
    match &file.lock().content {
        Content::Clean { stat: ObjectStat { carried: Carried::Told(told), .. }, .. } => {
            told.uneditable.map_or(Ok(()), |kind| Err(FsError::Uneditable(kind)))
        }
        _ => Ok(()),
    }
}

/// How often `create` follows a file that other clients replace meanwhile.
const CREATE_ATTEMPTS: usize = 8;

/// A handle that nobody was told of yet: given up, the opening gives it back.
struct Opening<'a> {
    fs: &'a Arc<BucketFs>,
    handle: u64,
    is_done: bool,
}

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        if !self.is_done {
            let (fs, handle) = (self.fs.clone(), self.handle);
            self.fs.runtime.spawn(async move { fs.release(handle).await });
        }
    }
}

/// How a file is opened.
#[derive(Debug, Clone, Copy, Default)]
pub struct OpenFlags {
    /// For writing.
    pub write: bool,
    /// `O_TRUNC`.
    pub truncate: bool,
    /// `O_EXCL`.
    pub exclusive: bool,
}

impl OpenFlags {
    /// Whether the file may become another by it: an opening for reading truncates, too, where it is told to.
    fn changes(self) -> bool {
        self.write || self.truncate
    }
}

/// An open file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opened {
    /// The handle's number.
    pub handle: u64,
    /// What the kernel has cached of the file still holds.
    pub keep_cache: bool,
}

impl BucketFs {
    /// Opens a file; its present version is pinned from here on. `thread` is the caller's, 0 where unknown. Cancel safe. Errors: EISDIR, EROFS,
    /// the local disk's, the store's; ESTALE when it was removed meanwhile and is not cached, and when another version than the
    /// caller was told of stands: the name is to be looked up anew.
    pub async fn open(self: &Arc<Self>, ino: u64, flags: OpenFlags, thread: u32) -> FsResult<Opened> {
        self.open_inode(self.inode(ino)?, flags, thread, false).await
    }

    /// As `open`. With `is_told` the answer tells the length.
    async fn open_inode(
        self: &Arc<Self>,
        inode: Arc<Inode>,
        flags: OpenFlags,
        thread: u32,
        is_told: bool,
    ) -> FsResult<Opened> {
        self.counters.count("open");
        if flags.changes() {
            self.check_writable()?;
        }
        let file = inode.file().ok_or(Posix::IsDir)?;
        // Counted first: what has a writer stays dirty until the writer is gone.
        let going = {
            let mut state = file.lock();
            state.opens += 1;
            state.writers += u32::from(flags.changes());
            state.going
        };
        let mut opening = Opening {
            fs: self,
            handle: self.handles.add(self.handle(inode.clone(), flags, thread)),
            is_done: false,
        };
        if going {
            drop(inode.changing.lock().await);
        }
        let keep_cache = self.open_content(opening.handle, flags, is_told).await;
        opening.is_done = true;
        if keep_cache.is_err() {
            // In a task of its own: given up, it goes on. Awaited: who looks the name up anew finds that nobody has this open.
            let (fs, handle) = (self.clone(), opening.handle);
            let _ = self.runtime.spawn(async move { fs.release(handle).await }).await;
        }
        Ok(Opened { handle: opening.handle, keep_cache: keep_cache? })
    }

    /// Whether what the kernel has cached of the file still holds.
    async fn open_content(&self, handle: u64, flags: OpenFlags, is_told: bool) -> FsResult<bool> {
        let handle = self.handles.get(handle).ok_or(Posix::BadHandle)?;
        let inode = &handle.inode;
        if inode.is_superseded() {
            // The name leads to another by now, of which the kernel has not heard yet.
            return Err(FsError::Moved);
        }
        if flags.changes() {
            check_editable(inode)?;
        }
        if flags.truncate {
            self.dirty(inode).await?.truncate(0).await?;
        } else if inode.is_unlinked() {
            // Found by its name just before that was removed. Told that it is stale, the kernel looks the name up anew.
            let kept = self.make_local(inode).await;
            kept.map_err(|error| FsError::Stale(format!("{} was removed: {error}", inode.path())))?;
        } else {
            let was_asked = self.learn_version(inode).await?;
            self.pin(inode)?;
            self.revalidate(&handle, was_asked).await?;
            if flags.changes() {
                check_editable(inode)?;
            }
        }
        let kernel = inode.file().ok_or(Posix::IsDir)?.lock().kernel;
        if kernel.has_stale_length && !flags.truncate && !is_told {
            return Err(FsError::Moved);
        }
        Ok(!kernel.has_stale_pages)
    }

    fn handle(&self, inode: Arc<Inode>, flags: OpenFlags, thread: u32) -> Handle {
        // Only a writer's process matters, and looking it up is not free.
        let changes = flags.changes();
        let opener = if changes { process_of(thread) } else { 0 };
        Handle {
            inode,
            writable: flags.write,
            changes,
            opener,
            is_closing: AtomicBool::new(false),
            prefetcher: Prefetcher::default(),
        }
    }

    /// Has a clean file hold on to the replica of its version.
    pub(super) fn pin(&self, inode: &Inode) -> FsResult<()> {
        let mut state = inode.file().ok_or(Posix::IsDir)?.lock();
        if let Content::Clean { stat, replica: replica @ None } = &mut state.content {
            *replica = Some(self.replica(&self.key_of(inode)?, stat));
        }
        Ok(())
    }

    /// Makes a file and opens it. Without a creator a new one is shown with the mount's owner and mode. Errors: EEXIST with
    /// `O_EXCL`, EROFS, ENAMETOOLONG, the local disk's.
    pub async fn create(
        self: &Arc<Self>,
        parent: u64,
        name: &OsStr,
        creator: Option<Creator>,
        flags: OpenFlags,
        thread: u32,
    ) -> FsResult<(Entry, Opened)> {
        self.counters.count("create");
        let parent = self.writable_directory(parent)?;
        let name = name::parse(name)?;
        let mut moves = 0;
        loop {
            let inode = self.find_or_add(&parent, name, creator, flags).await?;
            let opened = self.open_inode(inode.clone(), flags, thread, true).await;
            match opened {
                Ok(opened) => return Ok((self.entry(&inode, self.options.metadata_ttl), opened)),
                Err(error) => {
                    self.inodes.forget(inode.ino, 1);
                    // Removed, or replaced by another client, between being found and being opened: what is under the name now is
                    // looked for.
                    moves += usize::from(matches!(error, FsError::Moved));
                    let was_removed = matches!(error, FsError::Stale(_)) && inode.is_unlinked();
                    if !(was_removed || matches!(error, FsError::Moved) && moves < CREATE_ATTEMPTS) {
                        return Err(error);
                    }
                }
            }
        }
    }

    /// The file of a name, made if there is none, with one more reference of the kernel.
    async fn find_or_add(
        &self,
        parent: &Arc<Inode>,
        name: &str,
        creator: Option<Creator>,
        flags: OpenFlags,
    ) -> FsResult<Arc<Inode>> {
        let asked = Instant::now();
        let dir = self.dir_prefix(parent);
        name::key(&dir, name)?;
        let existing = match self.inodes.introduce_found(|_| self.written_here(parent, name)) {
            Some(inode) => Some(inode),
            None => {
                let (mut known, mut as_of) = self.resolve(&dir, name).await?;
                // Who neither truncates nor insists on being the first wants what is there, such as a log that another client has
                // begun since this name was looked for.
                let wants_present = !flags.truncate && !flags.exclusive;
                if known == Known::Absent && wants_present && as_of < asked {
                    (known, as_of) = self.ask_for_name(&dir, name).await?;
                }
                self.introduce(parent, name, known, as_of)
            }
        };
        let exclusive = flags.exclusive;
        match existing {
            Some(inode) if exclusive || inode.kind == Kind::Dir => {
                let error = if exclusive { Posix::Exists } else { Posix::IsDir };
                self.inodes.forget(inode.ino, 1);
                Err(error.into())
            }
            Some(inode) => Ok(inode),
            None => self.add_new(parent, name, creator, exclusive).await,
        }
    }

    /// A new file that nobody has published, with one reference of the kernel.
    pub(super) async fn add_new(
        &self,
        parent: &Arc<Inode>,
        name: &str,
        creator: Option<Creator>,
        exclusive: bool,
    ) -> FsResult<Arc<Inode>> {
        let key = name::key(&self.dir_prefix(parent), name)?;
        let replica = self.create_dirty(self.intent(key.as_str(), None)).await?;
        let dirty = DirtyFile::new(self.store.clone(), replica, exclusive);
        let content = Content::Dirty(Arc::new(dirty));
        let inode = self.inodes.introduce(|table| table.add_file(parent, name, content, Instant::now()));
        self.set_creator(&inode, creator);
        self.touch_directory(parent);
        Ok(inode)
    }

    async fn create_dirty(&self, intent: Intent) -> FsResult<Arc<DirtyReplica>> {
        let cache = self.cache.clone();
        Ok(on_disk(DiskCall::Write, move || cache.create_dirty(intent)).await?)
    }

    pub(super) fn intent(&self, key: &str, base: Option<&Base>) -> Intent {
        Intent {
            store: self.store.identity().to_owned(),
            key: key.to_owned(),
            base: base
                .map(|base| IntentBase { version: base.stat.version.to_string(), size: base.stat.size }),
            mount: self.options.mount_name.clone(),
            created: SystemTime::now(),
        }
    }

    /// The dirty content of a file that is about to be changed. Errors: the local disk's.
    pub(super) async fn dirty(&self, inode: &Arc<Inode>) -> FsResult<Arc<DirtyFile>> {
        check_editable(inode)?;
        inode.attributes.lock().mtime = None;
        self.dirty_over(inode).await
    }

    /// The dirty content of a file; a clean one becomes the base of a new dirty one. Errors: the local disk's.
    pub(super) async fn dirty_over(&self, inode: &Arc<Inode>) -> FsResult<Arc<DirtyFile>> {
        let file = inode.file().ok_or(Posix::IsDir)?;
        loop {
            let (stat, replica) = match &file.lock().content {
                Content::Dirty(dirty) => return Ok(dirty.clone()),
                Content::Clean { stat, replica } => (stat.clone(), replica.clone()),
            };
            let key = self.key_of(inode)?;
            let replica = replica.unwrap_or_else(|| self.replica(&key, &stat));
            let base = Base { key, stat, replica };
            // Nobody who only looks at the file waits for the disk.
            let local = self.create_dirty(self.intent(base.key.as_str(), Some(&base))).await?;
            let dirty = DirtyFile::over(self.store.clone(), local, base.clone());
            let begun = self.begin_change(inode, &mut file.lock(), dirty, &base)?;
            if let Some(dirty) = begun {
                if inode.is_unlinked() {
                    dirty.replica.discard_behind();
                }
                return Ok(dirty);
            }
        }
    }

    /// Makes `dirty` the content of a file, unless that is no longer what `dirty` is based on.
    fn begin_change(
        &self,
        inode: &Inode,
        state: &mut FileState,
        dirty: DirtyFile,
        base: &Base,
    ) -> FsResult<Option<Arc<DirtyFile>>> {
        let is_base = match &state.content {
            Content::Clean { stat, .. } => stat.is_same(&base.stat) && self.key_of(inode)? == base.key,
            Content::Dirty(_) => false,
        };
        Ok(is_base.then(|| {
            let dirty = Arc::new(dirty);
            state.content = Content::Dirty(dirty.clone());
            dirty
        }))
    }

    /// A descriptor was closed. Errors: those of publishing.
    pub async fn flush_handle(&self, handle: u64, thread: u32) -> FsResult<()> {
        self.counters.count("flush");
        let handle = self.handles.get(handle).ok_or(Posix::BadHandle)?;
        if !handle.changes {
            return Ok(());
        }
        let process = process_of(thread);
        let is_opener = handle.opener == 0 || process == 0 || process == handle.opener;
        if !is_opener {
            return Ok(());
        }
        handle.set_closing(true);
        let Some(dirty) = self.unpublished(&handle.inode) else { return Ok(()) };
        if dirty.len() == 0 && holds_another(process, self.shown_path(&handle.inode)).await {
            return Ok(());
        }
        self.publish(&handle.inode, &dirty).await
    }

    /// A program wants its bytes to be safe. Errors: those of publishing.
    pub async fn fsync(&self, handle: u64) -> FsResult<()> {
        self.counters.count("fsync");
        let handle = self.handles.get(handle).ok_or(Posix::BadHandle)?;
        match self.unpublished(&handle.inode) {
            Some(dirty) => self.publish(&handle.inode, &dirty).await,
            None => Ok(()),
        }
    }

    /// The dirty content that the bucket lacks, if there is any.
    pub(super) fn unpublished(&self, inode: &Inode) -> Option<Arc<DirtyFile>> {
        match &inode.file()?.lock().content {
            Content::Dirty(dirty) if dirty.needs_publishing() => Some(dirty.clone()),
            _ => None,
        }
    }

    /// The last descriptor of a handle is gone.
    pub async fn release(&self, handle: u64) {
        self.counters.count("release");
        let Some(handle) = self.handles.remove(handle) else { return };
        if handle.prefetcher.is_streaming() {
            self.streams.fetch_sub(1, Ordering::Relaxed);
        }
        let inode = &handle.inode;
        let Some(file) = inode.file() else { return };
        let (last_writer, dirty) = {
            let mut state = file.lock();
            state.opens -= 1;
            state.writers -= u32::from(handle.changes);
            state.closing -= u32::from(handle.is_closing.swap(false, Ordering::Relaxed));
            let dirty = match &state.content {
                Content::Dirty(dirty) => Some(dirty.clone()),
                Content::Clean { .. } => None,
            };
            (state.writers == 0, dirty)
        };
        if let Some(dirty) = dirty
            && last_writer
        {
            self.after_last_writer(inode, &dirty).await;
        }
        self.inodes.release(inode);
    }

    pub(super) async fn after_last_writer(&self, inode: &Arc<Inode>, dirty: &Arc<DirtyFile>) {
        if inode.is_unlinked() {
            let unused = inode.file().is_some_and(|file| file.lock().opens == 0);
            if unused {
                self.discard(inode, dirty).await;
            }
            return;
        }
        if dirty.needs_publishing()
            && !dirty.has_failed()
            && let Err(error) = self.publish(inode, dirty).await
        {
            // Nobody is left to be told; `pail status` shows it.
            self.note_error("release", &inode.path(), &error);
        }
        self.settle(inode, dirty).await;
    }

    /// Throws away what was written to a file that has no name any more.
    pub(super) async fn discard(&self, inode: &Inode, dirty: &DirtyFile) {
        let _one = inode.changing.lock().await;
        self.abort_upload(dirty).await;
        dirty.replica.discard_waiting().await;
    }
}

//! The cache of a daemon: its tiers, its budgets, its threads, and the replicas that are in use.
//!
//! Owns: [`Cache`], what is shared by its replicas ([`Shared`]), and how the two kinds of replica are made and turn into one another.
//!
//! Invariant: there is at most one [`Replica`] of an identity at a time, so that readers of one version meet.

use crate::adopt;
use crate::dirty::DirtyReplica;
use crate::disk_tier::{DiskTier, make_dir};
use crate::fill::{self, FillQueue};
use crate::identity::{Digest, Name, ReplicaId};
use crate::journal::{self, Intent, Orphan};
use crate::memory::MemoryTier;
use crate::open_files::OpenFiles;
use crate::replica::{DiskSlot, Replica};
use crate::reply::ReplyPool;
use crate::state;
use crate::stats::{CacheStats, Counters};
use crate::sweep;
use crate::uploads::{self, LeftUpload, NotedUpload, UPLOADS, UploadJournal, UploadNote};
use crate::usage::Usage;
use crate::worker::{self, Worker};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::Instant;

/// Where dirty replicas are within their directory.
const DIRTY: &str = "dirty";

/// Where a cache is and how large it may be.
#[derive(Debug, Clone)]
pub struct CacheConfig {
    /// For clean replicas, e.g. `$XDG_CACHE_HOME/pail`. Made if it is missing.
    pub clean_dir: PathBuf,
    /// For dirty replicas, e.g. `$XDG_STATE_HOME/pail`; on the same file system if that can be.
    pub dirty_dir: PathBuf,
    /// The budget of the memory tier in bytes; raised to 4 MiB.
    pub memory_bytes: u64,
    /// The budget of the disk tier in bytes; with 0 there is none.
    pub disk_bytes: u64,
}

/// Why a cache or a dirty replica cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// Another process has the directory.
    #[error("another daemon uses {}; stop it, or give this one another directory", dir.display())]
    InUse {
        /// The directory.
        dir: PathBuf,
    },
    /// The local disk's word.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was being done.
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

impl CacheError {
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}

/// What the replicas of a cache share.
pub(crate) struct Shared {
    pub memory: Arc<MemoryTier>,
    pub disk: Option<Arc<DiskTier>>,
    pub fills: Arc<FillQueue>,
    pub open_files: OpenFiles,
    pub replies: Arc<ReplyPool>,
    pub counters: Counters,
    pub runtime: tokio::runtime::Handle,
    pub usage: Arc<Usage>,
    /// Writes to the journal that nobody is to wait for.
    pub journal: Worker,
    /// Has published files become clean ones.
    pub keeper: Worker,
    /// Multipart uploads that are open in a bucket.
    pub uploads: UploadJournal,
    /// Dirty replicas on disk that nobody uses. Guards the list; a leaf.
    pub left: Mutex<Vec<Orphan>>,
    started: Instant,
    /// Guards which replicas are in use. A leaf: no replica is dropped under it.
    live: Mutex<Live>,
}

#[derive(Default)]
struct Live {
    replicas: HashMap<Name, Weak<Replica>>,
    /// At this many, those that nobody uses any more are forgotten.
    purge_at: usize,
}

impl Shared {
    /// Milliseconds since the cache was opened.
    pub fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    /// The replica of that name, if somebody uses it.
    pub fn live(&self, name: Name) -> Option<Arc<Replica>> {
        self.live.lock().replicas.get(&name).and_then(Weak::upgrade)
    }
}

/// All replicas of a daemon.
pub struct Cache {
    shared: Arc<Shared>,
    dirty_root: PathBuf,
    summary: PathBuf,
    workers: Vec<JoinHandle<()>>,
    threads: Vec<JoinHandle<()>>,
    /// Held as long as the cache is open.
    _locks: Vec<File>,
}

impl Cache {
    /// Opens the cache in its directories, which are made if they are missing. Fetches run on `runtime`. Nothing of what is there is
    /// read but the journal of dirty replicas. Errors: another process has it open; the local disk's.
    pub fn open(config: CacheConfig, runtime: tokio::runtime::Handle) -> Result<Arc<Self>, CacheError> {
        let (clean_root, dirty_root) = (config.clean_dir.join("replicas"), config.dirty_dir.join(DIRTY));
        let clean_lock = prepare(&config.clean_dir, &clean_root)?;
        let attributes = state::has_attributes(&clean_lock);
        let mut locks = vec![clean_lock];
        if config.dirty_dir == config.clean_dir {
            make_dir(&dirty_root).map_err(CacheError::io("create", &dirty_root))?;
        } else {
            locks.push(prepare(&config.dirty_dir, &dirty_root)?);
        }
        let summary = config.clean_dir.join("usage");
        let usage = Usage::load(&summary);
        let orphans = journal::sift(&dirty_root).map_err(CacheError::io("read", &dirty_root))?;
        let uploads_root = config.dirty_dir.join(UPLOADS);
        let uploads = make_dir(&uploads_root).and_then(|()| UploadJournal::open(uploads_root.clone()));
        let uploads = uploads.map_err(CacheError::io("read", &uploads_root))?;
        usage.add_dirty(orphans.iter().map(|orphan| orphan.bytes_on_disk as i64).sum());
        let memory = MemoryTier::new(config.memory_bytes);
        let ((journal, notes), (keeper, hand_overs)) = (Worker::new(), Worker::new());
        let tier = (config.disk_bytes > 0).then(|| {
            Arc::new(DiskTier::new(clean_root.clone(), config.disk_bytes, attributes, usage.clone()))
        });
        let shared = Arc::new(Shared {
            fills: FillQueue::new(memory.limit_bytes()),
            memory,
            disk: tier.clone(),
            open_files: OpenFiles::default(),
            replies: Arc::default(),
            counters: Counters::default(),
            runtime,
            usage,
            journal,
            keeper,
            uploads,
            left: Mutex::new(orphans),
            started: Instant::now(),
            live: Mutex::default(),
        });
        let workers = vec![
            spawn("cache-journal", move || worker::run(notes))?,
            spawn("cache-keep", move || worker::run(hand_overs))?,
        ];
        let mut threads = Vec::new();
        if let Some(tier) = tier {
            let (writer, walker, kept_in) = (shared.clone(), shared.clone(), summary.clone());
            let (filled, walked) = (tier.clone(), tier);
            threads.push(spawn("cache-fill", move || fill::run(&writer, &filled))?);
            threads.push(spawn("cache-usage", move || sweep::run(&walker, &walked, &kept_in))?);
        }
        Ok(Arc::new(Self { shared, dirty_root, summary, workers, threads, _locks: locks }))
    }

    /// The budget of the memory tier in bytes.
    pub fn memory_bytes(&self) -> u64 {
        self.shared.memory.limit_bytes()
    }

    /// The replica of a version of an object of `size` bytes. What an earlier reader or process left of it is found when it is
    /// first read.
    pub fn replica(self: &Arc<Self>, id: ReplicaId, size: u64) -> Arc<Replica> {
        let digest = Digest::of(&id, size);
        let mut live = self.shared.live.lock();
        if let Some(replica) = live.replicas.get(&digest.name).and_then(Weak::upgrade) {
            return replica;
        }
        if live.replicas.len() >= live.purge_at {
            live.replicas.retain(|_, replica| replica.strong_count() > 0);
            live.purge_at = (2 * live.replicas.len()).max(1024);
        }
        let replica = Arc::new(Replica::new(id, size, digest, self.shared.clone()));
        live.replicas.insert(digest.name, Arc::downgrade(&replica));
        replica
    }

    /// A replica that nobody else meets and that has no place on disk: of what cannot be told from other versions of the same object. The
    /// version that `id` names says nothing.
    pub fn passing_replica(self: &Arc<Self>, id: ReplicaId, size: u64) -> Arc<Replica> {
        let id = ReplicaId { version: format!("passing {:032x}", rand::random::<u128>()).into(), ..id };
        let digest = Digest::of(&id, size);
        let replica = Replica::new(id, size, digest, self.shared.clone());
        *replica.disk.lock() = DiskSlot::Off;
        Arc::new(replica)
    }

    /// A new dirty replica, empty, or as long as its base. Errors: the local disk's.
    pub fn create_dirty(self: &Arc<Self>, intent: Intent) -> Result<Arc<DirtyReplica>, CacheError> {
        DirtyReplica::create(&self.dirty_root, intent, self.shared.clone()).map(Arc::new)
    }

    /// What was published becomes the clean replica of its version; blocks of which a part is still the base's are missing. From here
    /// on `dirty` is neither read nor written: the bytes are the replica's. The disk is not waited for: a rename, or a copy where that
    /// cannot be, gives the file its place behind the work. Where it cannot be taken over, its bytes will be fetched.
    pub fn adopt(self: &Arc<Self>, dirty: &Arc<DirtyReplica>, id: ReplicaId) -> Arc<Replica> {
        let replica = self.replica(id, dirty.len());
        adopt::take_over(&self.shared, dirty, &replica);
        replica
    }

    /// Waits until what was adopted has its place, as far as is needed for more to be adopted; for no disk that hangs.
    pub async fn room_to_adopt(&self) {
        self.shared.keeper.room().await;
    }

    /// Dirty replicas that an earlier process left, or that were given up here without being published. They stay until somebody
    /// removes them.
    pub fn orphans(&self) -> Vec<Orphan> {
        let mut left = self.shared.left.lock();
        left.retain(|orphan| {
            let is_there = orphan.data_path.exists();
            if !is_there {
                self.shared.usage.add_dirty(-(orphan.bytes_on_disk as i64));
            }
            is_there
        });
        left.clone()
    }

    /// Notes that an upload to `key` of `store` is about to begin.
    pub async fn note_upload(&self, store: &str, key: &str) -> NotedUpload {
        NotedUpload::begin(&self.shared, store, key).await
    }

    /// Uploads to `store` that an earlier process left open, or that could not be ended here. Who takes them ends them, or
    /// [gives them back](Self::leave_upload).
    pub fn take_left_uploads(&self, store: &str) -> Vec<LeftUpload> {
        self.shared.uploads.take_left(store)
    }

    /// The same of one key, without taking them.
    pub fn left_uploads_of(&self, store: &str, key: &str) -> Vec<UploadNote> {
        self.shared.uploads.of(store, key)
    }

    /// Takes back an upload that could not be ended.
    pub fn leave_upload(&self, upload: LeftUpload) {
        self.shared.uploads.leave(upload);
    }

    /// The process ends: removes the dirty replicas that are in the bucket as they are, also those that are still in use, instead of
    /// leaving that to the next one. Errors: the local disk's.
    pub fn sweep_published(&self) -> io::Result<()> {
        journal::sift(&self.dirty_root).map(drop)
    }

    /// Removes one of [`Cache::orphans`] from disk; `None` where `data_path` is none of theirs. Errors: the local disk's; it then stays.
    pub fn discard_orphan(&self, data_path: &Path) -> io::Result<Option<Orphan>> {
        let index = |left: &[Orphan]| left.iter().position(|orphan| orphan.data_path == data_path);
        let named = {
            let left = self.shared.left.lock();
            index(&left).map(|index| left[index].clone())
        };
        let Some(orphan) = named else { return Ok(None) };
        // Who asks what is left does not wait for a disk that hangs.
        orphan.discard()?;
        let mut left = self.shared.left.lock();
        if let Some(index) = index(&left) {
            left.swap_remove(index);
            self.shared.usage.add_dirty(-(orphan.bytes_on_disk as i64));
        }
        Ok(Some(orphan))
    }

    /// One look at the cache.
    pub fn stats(&self) -> CacheStats {
        let Shared { memory, disk, counters, usage, .. } = &*self.shared;
        CacheStats {
            memory_used_bytes: memory.used_bytes(),
            memory_limit_bytes: memory.limit_bytes(),
            disk_used_bytes: usage.clean_bytes(),
            disk_limit_bytes: disk.as_ref().map_or(0, |tier| tier.limit_bytes),
            dirty_bytes: usage.dirty_bytes(),
            memory_hits: counters.memory_hits.get(),
            disk_hits: counters.disk_hits.get(),
            misses: counters.misses.get(),
            fetched_bytes: counters.fetched_bytes.get(),
            fetches: counters.fetches.get(),
            dropped_fills: counters.dropped_fills.get(),
            evicted_bytes: counters.evicted_bytes.get(),
            checksum_failures: counters.checksum_failures.get(),
            disk_errors: counters.disk_errors.get(),
        }
    }

    /// Waits until all that was read is on disk, or dropped.
    pub async fn drain(&self) {
        self.shared.journal.drain().await;
        self.shared.keeper.drain().await;
        self.shared.fills.drain().await;
        if self.shared.disk.is_some() {
            self.shared.usage.save(&self.summary);
        }
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        self.shared.journal.close();
        self.shared.keeper.close();
        self.shared.usage.stop();
        join(std::mem::take(&mut self.workers));
        // What the workers handed on is done, too.
        self.shared.fills.close();
        join(std::mem::take(&mut self.threads));
        if self.shared.disk.is_some() {
            self.shared.usage.save(&self.summary);
        }
    }
}

/// As [`Cache::orphans`], of a `dirty_dir` that no cache has open: those in use look the same. Changes nothing. Errors: the local disk's.
pub fn orphans(dirty_dir: &Path) -> io::Result<Vec<Orphan>> {
    journal::orphans(&dirty_dir.join(DIRTY))
}

/// Notes of uploads in a `dirty_dir` that no cache has open. Errors: the local disk's.
pub fn left_uploads(dirty_dir: &Path) -> io::Result<Vec<LeftUpload>> {
    uploads::read(&dirty_dir.join(UPLOADS))
}

/// Keeps every cache out of `dirty_dir` while the file is open. Errors: another process has it; the local disk's.
pub fn lock_dirty(dirty_dir: &Path) -> Result<File, CacheError> {
    prepare(dirty_dir, &dirty_dir.join(DIRTY))
}

fn join(threads: Vec<JoinHandle<()>>) {
    for thread in threads {
        if thread.join().is_err() {
            tracing::error!("a thread of the cache panicked");
        }
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, CacheError> {
    let spawned = std::thread::Builder::new().name(name.to_owned()).spawn(work);
    spawned.map_err(CacheError::io("start thread", Path::new(name)))
}

/// Makes the directories and takes the lock in `dir`.
fn prepare(dir: &Path, root: &Path) -> Result<File, CacheError> {
    make_dir(root).map_err(CacheError::io("create", root))?;
    let path = dir.join("lock");
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let lock = options.open(&path).map_err(CacheError::io("open", &path))?;
    match rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(lock),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(CacheError::InUse { dir: dir.to_owned() }),
        Err(errno) => Err(CacheError::io("lock", &path)(errno.into())),
    }
}

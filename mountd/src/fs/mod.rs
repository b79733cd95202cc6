//! The file system proper: every operation, without FUSE.
//!
//! Owns: [`BucketFs`], one bucket (or a prefix of it) as a file system. Each operation is an async method that answers in this
//! crate's own types; the adapter above decodes, calls and replies. What is cached answers without awaiting anything.
//!
//! Where things are: `lookup` finds names, `open`, `revalidate` and `io` serve open files, `publish` and `sending` put them into the bucket, `change`
//! makes and removes names, `rename` moves them, `readdir` lists, `conflict` says how to end a write conflict. What they share: `inode`
//! (who is who), `namespace` (what the bucket was last seen to hold), `dirty` (what was written here), `handle` (what is open).
//!
//! Invariants:
//! - No lock of this module is held across a request to the store, but for the async ones that say so:
//!   `Inode::changing`, `DirtyFile::gate` and `DirHandle::cursor`.
//! - What this mount wrote is what it shows, whatever a listing asked for earlier says.

mod attr;
mod change;
mod conflict;
mod dirty;
mod dirty_source;
mod error;
mod fetch;
mod handle;
mod hidden;
mod holes;
mod in_doubt;
mod inode;
mod io;
mod kept;
mod known_dir;
mod last_errors;
mod listing;
mod lookup;
mod name;
mod namespace;
mod object_stat;
mod open;
mod options;
mod pace;
mod part_plan;
mod prefetch;
mod publish;
mod readdir;
mod remake;
mod rename;
mod revalidate;
mod sending;
mod stale;
mod status;
mod sum;
mod upload;
mod wait_group;
mod whole;

pub use attr::{Attr, Creator, Entry};
pub use change::SetAttr;
pub use conflict::Discarded;
pub use error::{FsError, FsResult, Posix};
pub use inode::{Kind, ROOT};
pub use open::{OpenFlags, Opened};
pub use options::FsOptions;
pub use readdir::DirEntry;
pub use rename::RenameMode;
pub use stale::{Stale, StaleReceiver};
pub use status::FlushReport;

use handle::HandleTable;
use inode::{Inode, InodeTable};
use kept::SharedAttributes;
use last_errors::LastErrors;
use namespace::{Known, Namespace};
use object_stat::ObjectStat;
use pail_cache::{Cache, Replica, ReplicaId};
use pail_store::{Capabilities, RawKey, Store};
use parking_lot::Mutex;
use stale::StaleSender;
use status::Counters;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64};
use std::time::{Instant, SystemTime};
use tokio::sync::{OnceCell, Semaphore};
use wait_group::{WaitGroup, WaitGuard};

/// Requests that send file content at the same time, in one mount.
const UPLOADS_IN_FLIGHT: usize = 32;

/// Calls of one mount that go on although their callers were killed.
const LEFT_CALLS_MAX: usize = 256;

/// A call that goes on although its caller was killed.
pub struct LeftCall(#[expect(dead_code, reason = "it counts until it is dropped")] WaitGuard);

/// One bucket (or a prefix of it) as a file system.
pub struct BucketFs {
    store: Arc<dyn Store>,
    cache: Arc<Cache>,
    options: FsOptions,
    runtime: tokio::runtime::Handle,
    inodes: InodeTable,
    handles: HandleTable,
    /// Guards the listing cache. Never held across an await; after all locks of `inode`.
    namespace: Mutex<Namespace>,
    /// What the endpoint can do, asked for when a write first needs to know.
    capabilities: OnceCell<Capabilities>,
    /// Somebody is asking.
    asks_capabilities: AtomicBool,
    /// One permit for each request that sends file content.
    upload_slots: Semaphore,
    /// One permit, for a request that sends what the local disk has no room for.
    without_disk: Semaphore,
    counters: Counters,
    attributes: SharedAttributes,
    last_errors: LastErrors,
    /// Calls that go on although their callers were killed.
    left_calls: WaitGroup,
    /// Handles that read in order: they share the memory for reading ahead.
    streams: AtomicI64,
    /// How long the store takes to answer: how far ahead they are to be.
    pace: Arc<pace::FetchPace>,
    mounted_at: SystemTime,
    /// What the kernel should ask for again. The adapter sends it on, from a thread of its own.
    stale: StaleSender,
    stale_out: Mutex<Option<StaleReceiver>>,
}

impl BucketFs {
    /// Makes the file system of `options.prefix` in `store`. No request is sent. Must be called within a runtime, on
    /// which it fetches and sends.
    pub fn new(store: Arc<dyn Store>, cache: Arc<Cache>, options: FsOptions) -> Arc<Self> {
        let (stale, out) = stale::channel();
        Arc::new(Self {
            store,
            cache,
            options,
            runtime: tokio::runtime::Handle::current(),
            inodes: InodeTable::default(),
            handles: HandleTable::default(),
            namespace: Mutex::default(),
            capabilities: OnceCell::new(),
            asks_capabilities: AtomicBool::new(false),
            upload_slots: Semaphore::new(UPLOADS_IN_FLIGHT),
            without_disk: Semaphore::new(1),
            counters: Counters::default(),
            attributes: SharedAttributes::default(),
            last_errors: LastErrors::default(),
            left_calls: WaitGroup::default(),
            streams: AtomicI64::new(0),
            pace: Arc::default(),
            mounted_at: SystemTime::now(),
            stale,
            stale_out: Mutex::new(Some(out)),
        })
    }

    /// The options in force.
    pub fn options(&self) -> &FsOptions {
        &self.options
    }

    /// What the kernel should ask for again; taken once, by the adapter.
    pub fn take_stale(&self) -> Option<StaleReceiver> {
        self.stale_out.lock().take()
    }

    /// Has the kernel ask again.
    pub fn tell_stale(&self, stale: Stale) {
        self.stale.tell(stale);
    }

    /// A call is to go on although its caller was killed, for as long as what this gives is held; `None` where there are too many of
    /// them already.
    pub fn leave_call(&self) -> Option<LeftCall> {
        self.left_calls.join_below(LEFT_CALLS_MAX).map(LeftCall)
    }

    /// How many calls go on although their callers were killed.
    pub fn left_calls(&self) -> usize {
        self.left_calls.count()
    }

    /// Resolves once there is no such call.
    pub async fn left_calls_done(&self) {
        self.left_calls.wait_zero().await;
    }

    /// What the endpoint can do. The first call may probe it.
    async fn capabilities(&self) -> FsResult<&Capabilities> {
        Ok(self.capabilities.get_or_try_init(|| self.store.capabilities()).await?)
    }

    /// What the endpoint is known to be able to do, for `pail status`; `None` where nobody has had to ask yet.
    pub fn known_of_endpoint(&self) -> Option<&Capabilities> {
        self.capabilities.get()
    }

    fn check_writable(&self) -> FsResult<()> {
        if self.options.read_only { Err(Posix::ReadOnly.into()) } else { Ok(()) }
    }

    /// The inode of a number. Errors: ESTALE when there is none (any more).
    fn inode(&self, ino: u64) -> FsResult<Arc<Inode>> {
        self.inodes.get(ino).ok_or_else(|| FsError::Stale(format!("inode {ino} is not there any more")))
    }

    /// The directory of a number. Errors: ENOTDIR; ENOENT when it was removed.
    fn directory(&self, ino: u64) -> FsResult<Arc<Inode>> {
        let inode = self.inode(ino)?;
        match inode.kind {
            Kind::File => Err(Posix::NotDir.into()),
            Kind::Dir if inode.is_unlinked() => Err(Posix::NotFound.into()),
            Kind::Dir => Ok(inode),
        }
    }

    /// The key prefix of a directory.
    fn dir_prefix(&self, dir: &Inode) -> String {
        let path = dir.path();
        let prefix = &self.options.prefix;
        if path.is_empty() { prefix.clone() } else { format!("{prefix}{path}/") }
    }

    /// The key prefix of the directory that holds an inode, and its name there.
    fn dir_and_name(&self, inode: &Inode) -> FsResult<(String, Arc<str>)> {
        let place = inode.place();
        let parent = place.parent.ok_or(Posix::Invalid)?;
        Ok((self.dir_prefix(&parent), place.name))
    }

    /// Where programs see a file; without a mount point only its path below it.
    fn shown_path(&self, inode: &Inode) -> String {
        format!("{}/{}", self.options.mount_name.trim_end_matches('/'), inode.path())
    }

    /// The key of a file.
    fn key_of(&self, inode: &Inode) -> FsResult<RawKey> {
        let (dir, name) = self.dir_and_name(inode)?;
        name::key(&dir, &name)
    }

    fn replica_id(&self, key: &RawKey, version: &pail_store::Version) -> ReplicaId {
        ReplicaId {
            store: self.store.identity().into(),
            key: key.as_str().into(),
            version: version.to_text().into(),
        }
    }

    /// The local replica of a version. What has no known version shares nothing, and is not kept.
    fn replica(&self, key: &RawKey, stat: &ObjectStat) -> Arc<Replica> {
        let id = self.replica_id(key, &stat.version);
        match stat.version.is_unknown() {
            true => self.cache.passing_replica(id, stat.size),
            false => self.cache.replica(id, stat.size),
        }
    }

    /// Remembers what a change made here left under a name.
    fn remember_name(&self, dir: &str, name: &str, known: Known) {
        self.namespace.lock().put(dir, name, known, Instant::now());
    }

    /// The oldest moment at which a request may have been sent for its word to be taken now.
    fn oldest(&self) -> Option<Instant> {
        let ttl = self.options.metadata_ttl;
        if ttl.is_zero() { None } else { Instant::now().checked_sub(ttl) }
    }
}

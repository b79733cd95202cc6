//! A file that was written here: its local bytes, what they are based on, and how far publishing them has come.
//!
//! Owns: [`DirtyFile`], reads and writes of it. How it is sent is `publish`'s.
//!
//! Invariants:
//! - Every change has a generation, counted up. What a publish sent is named by the generation it began at, so that a change
//!   made meanwhile is never taken for published.
//! - Writers hold `gate` shared for one write; the last round of a publish holds it alone, so that what becomes a version is
//!   one state of the file and not a mixture.
//! - Bytes that were not written here come from the base version or, beyond it, are zeros.

use super::error::{FsError, FsResult};
use super::fetch::ObjectFetch;
use super::namespace::Facts;
use super::upload::UploadState;
use bytes::{Bytes, BytesMut};
use pail_cache::{DirtyReplica, Replica, SegmentKind};
use pail_store::{Condition, RawKey, Store};
use parking_lot::Mutex;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::SystemTime;

/// How often a read begins anew because the file was cut under it.
const READ_ATTEMPTS: usize = 4;

/// The object version whose bytes stand where nothing was written.
#[derive(Clone)]
pub struct Base {
    /// Where it is now; a rename moves it.
    pub key: RawKey,
    /// Its size and version.
    pub facts: Facts,
    /// Its local replica.
    pub replica: Arc<Replica>,
}

/// A written file.
pub struct DirtyFile {
    /// The local bytes.
    pub replica: Arc<DirtyReplica>,
    store: Arc<dyn Store>,
    /// Guards what the unwritten bytes are. Never held across an await.
    base: Mutex<Option<Base>>,
    /// Counts changes; 0 is the state right after creation.
    generation: AtomicU64,
    /// One more than the generation that is in the bucket; 0 while there is none.
    published: AtomicU64,
    /// The version that the last publish made. Guards one value.
    published_facts: Mutex<Option<Facts>>,
    /// One more than the generation whose publish failed last; it is not tried again unasked.
    failed: AtomicU64,
    /// Whether the bucket has an object of this name, of whatever content.
    pub in_bucket: AtomicBool,
    /// The first publish must find no object of that key (`O_EXCL`).
    pub must_be_absent: AtomicBool,
    /// When it was last changed. Guards one value.
    mtime: Mutex<SystemTime>,
    /// Why the last publish failed. Guards one value.
    pub error: Mutex<Option<String>>,
    /// Shared by writers, alone for the last round of a publish.
    pub gate: tokio::sync::RwLock<()>,
    /// The upload under way. Guards its parts; never held across an await.
    pub upload: Mutex<UploadState>,
}

impl DirtyFile {
    /// A file over `base`, whose bytes the bucket then has already, or a new one. `in_bucket` says whether the bucket has an object
    /// of its name.
    pub fn new(
        store: Arc<dyn Store>,
        replica: Arc<DirtyReplica>,
        base: Option<Base>,
        in_bucket: bool,
    ) -> Self {
        Self {
            replica,
            store,
            published: AtomicU64::new(u64::from(base.is_some())),
            published_facts: Mutex::new(base.as_ref().map(|base| base.facts.clone())),
            base: Mutex::new(base),
            generation: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            in_bucket: AtomicBool::new(in_bucket),
            must_be_absent: AtomicBool::new(false),
            mtime: Mutex::new(SystemTime::now()),
            error: Mutex::new(None),
            gate: tokio::sync::RwLock::new(()),
            upload: Mutex::new(UploadState::default()),
        }
    }

    /// The length in bytes.
    pub fn len(&self) -> u64 {
        self.replica.len()
    }

    /// When it was last changed.
    pub fn mtime(&self) -> SystemTime {
        *self.mtime.lock()
    }

    /// The state that a publish beginning now would send.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Whether the bucket lacks the present state.
    pub fn needs_publishing(&self) -> bool {
        self.published.load(Ordering::Acquire) != self.generation() + 1
    }

    /// The state of `generation` is in the bucket, as `base`.
    pub fn set_published(&self, generation: u64, base: Base) {
        *self.published_facts.lock() = Some(base.facts.clone());
        if let Some(old) = &mut *self.base.lock() {
            *old = base;
        }
        self.in_bucket.store(true, Ordering::Release);
        self.published.store(generation + 1, Ordering::Release);
        self.must_be_absent.store(false, Ordering::Release);
        *self.error.lock() = None;
    }

    /// The present state could not be published, for this reason.
    pub fn set_failed(&self, generation: u64, error: String) {
        self.failed.store(generation + 1, Ordering::Release);
        *self.error.lock() = Some(error);
    }

    /// Whether publishing the present state was tried, and failed.
    pub fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire) == self.generation() + 1
    }

    /// The version that the last publish made, or that the file was opened from.
    pub fn published_facts(&self) -> Option<Facts> {
        self.published_facts.lock().clone()
    }

    /// What the unwritten bytes are.
    pub fn base(&self) -> Option<Base> {
        self.base.lock().clone()
    }

    /// What is in the bucket was moved to another key by a rename.
    pub fn rebase(&self, moved: Base) {
        *self.published_facts.lock() = Some(moved.facts.clone());
        if let Some(old) = &mut *self.base.lock() {
            *old = moved;
        }
    }

    /// On what condition a publish takes effect (SEMANTICS.md, "Overwriting").
    pub fn condition(&self) -> Condition {
        match &*self.base.lock() {
            Some(base) => Condition::IfVersion(base.facts.version.clone()),
            None if self.must_be_absent.load(Ordering::Acquire) => Condition::IfAbsent,
            None => Condition::None,
        }
    }

    /// Writes `data` at `offset`. Errors: the local disk's.
    pub async fn write(&self, offset: u64, data: &[u8]) -> FsResult<()> {
        let _open = self.gate.read().await;
        self.write_within_gate(offset, data)
    }

    /// As `write`; `None` where a publish holds writers off.
    pub fn try_write(&self, offset: u64, data: &[u8]) -> Option<FsResult<()>> {
        let _open = self.gate.try_read().ok()?;
        Some(self.write_within_gate(offset, data))
    }

    fn write_within_gate(&self, offset: u64, data: &[u8]) -> FsResult<()> {
        self.replica.write_at(offset, data)?;
        self.changed(offset..offset + data.len() as u64);
        Ok(())
    }

    /// Cuts or extends with zeros to `len`. Errors: the local disk's.
    pub async fn truncate(&self, len: u64) -> FsResult<()> {
        let _open = self.gate.read().await;
        let old = self.len();
        self.replica.truncate(len)?;
        if len == 0 {
            // Nothing of the base is left: from here on the file is a new one, and the last close wins.
            *self.base.lock() = None;
        }
        self.changed(len.min(old)..u64::MAX);
        Ok(())
    }

    fn changed(&self, range: Range<u64>) {
        self.generation.fetch_add(1, Ordering::AcqRel);
        *self.mtime.lock() = SystemTime::now();
        self.upload.lock().touch(range);
    }

    /// The bytes of `range`, cut to the file's length. Errors: [`FsError::Moved`] where the file became a clean replica meanwhile; the
    /// local disk's; those of fetching the base.
    pub async fn read(&self, range: Range<u64>) -> FsResult<Bytes> {
        // Cut short while it was read: it is looked at anew.
        for _ in 0..READ_ATTEMPTS {
            if let Some(bytes) = self.try_read(range.start..range.end.min(self.len())).await? {
                return Ok(bytes);
            }
        }
        Err(FsError::Moved)
    }

    async fn try_read(&self, range: Range<u64>) -> FsResult<Option<Bytes>> {
        let segments = self.replica.segments(range.clone());
        if let [one] = &segments[..]
            && one.kind == SegmentKind::Local
        {
            return Ok(self.replica.read_local(one.range.clone())?);
        }
        let mut bytes = BytesMut::with_capacity(range.end.saturating_sub(range.start) as usize);
        for segment in segments {
            let len = (segment.range.end - segment.range.start) as usize;
            match segment.kind {
                SegmentKind::Local => match self.replica.read_local(segment.range)? {
                    Some(piece) => bytes.extend_from_slice(&piece),
                    None => return Ok(None),
                },
                SegmentKind::Zero => bytes.resize(bytes.len() + len, 0),
                SegmentKind::Base => match self.base() {
                    Some(base) => bytes.extend_from_slice(&self.read_base(&base, segment.range).await?),
                    // Truncated to nothing since the segments were taken.
                    None => return Ok(None),
                },
            }
        }
        Ok(Some(bytes.freeze()))
    }

    async fn read_base(&self, base: &Base, range: Range<u64>) -> FsResult<Bytes> {
        let fetch = ObjectFetch::of(self.store.clone(), base.key.clone(), base.facts.version.clone());
        Ok(base.replica.read(range, &fetch).await?)
    }

    /// Whether all of `range` still is what the base has, so that a server-side copy of it will do.
    pub fn is_untouched(&self, range: Range<u64>) -> bool {
        self.replica.segments(range).iter().all(|segment| segment.kind == SegmentKind::Base)
    }
}

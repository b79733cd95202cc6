//! A file that was written here: its local bytes, what they are based on, and how far publishing them has come.
//!
//! Owns: [`DirtyFile`], reads and writes of it. How it is sent is `sending`'s.
//!
//! Invariants:
//! - Every change has a generation, counted up. What a publish sent is named by the generation it began at, so that a change
//!   made meanwhile is never taken for published.
//! - Writers hold `gate` shared for one write; the last round of a publish holds it alone, so that what becomes a version is
//!   one state of the file and not a mixture.
//! - Bytes that were not written here come from the base version or, beyond it, are zeros.
//!
//! # Why removers are counted
//! A publish holds `Inode::changing` across its requests, for hours where the file is large. Who removes the file, or renames another
//! over it, wants none of that sent: it joins `removers` before it waits for the lock. The publish then gives up what it can without
//! leaving anything in the bucket, lets go, and does not begin again before the remover is done. Where that did not remove the
//! file after all, it is published as if nothing had been.

mod reading;

use super::error::{FsError, FsResult, Posix};
use super::in_doubt::InDoubt;
use super::kept::Kept;
use super::object_stat::ObjectStat;
use super::upload::UploadState;
use super::wait_group::WaitGroup;
use crate::disk_work::{DiskCall, on_disk};
use bytes::Bytes;
use pail_cache::{DirtyReplica, Intent, Replica};
use pail_store::{Condition, RawKey, Store, Version};
use parking_lot::{MappedMutexGuard, Mutex, MutexGuard};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Instant, SystemTime};

/// How often a read begins anew because the file was cut under it.
const READ_ATTEMPTS: usize = 4;

/// The object version whose bytes stand where nothing was written.
#[derive(Clone)]
pub struct Base {
    /// Where it is now; a rename moves it.
    pub key: RawKey,
    /// Its size and version.
    pub stat: ObjectStat,
    /// Its local replica.
    pub replica: Arc<Replica>,
}

impl Base {
    /// Whether it is the same version at the same place.
    fn is_same_object(&self, other: &Self) -> bool {
        self.key == other.key && self.stat.is_same(&other.stat)
    }
}

/// One attempt to publish a file.
struct FailedAttempt {
    began: Instant,
    generation: u64,
    error: FsError,
}

/// How far publishing a file has come.
struct Progress {
    /// What the unwritten bytes are.
    base: Option<Base>,
    /// Counts changes; 0 is the state right after creation.
    generation: u64,
    /// Counts truncations.
    cuts: u64,
    /// The generation that is in the bucket.
    published: Option<u64>,
    /// The version that the last publish made, or that the file was opened from.
    stat: Option<ObjectStat>,
    /// The generation whose publish failed last; it is not tried again unasked.
    failed: Option<u64>,
    /// Why it failed.
    error: Option<String>,
    /// The attempt that failed last.
    failed_attempt: Option<FailedAttempt>,
    /// What the bucket has under the name that a rename gave it before it was published.
    replaced: Option<ObjectStat>,
    /// What was sent last, if nothing was heard of it.
    in_doubt: Option<InDoubt>,
    /// The first publish must find no object of that key (`O_EXCL`).
    must_be_absent: bool,
    /// What the next version is to carry beside its bytes.
    kept: Kept,
    /// When it was last changed.
    mtime: SystemTime,
    /// The upload under way.
    upload: UploadState,
}

/// A written file.
pub struct DirtyFile {
    /// The local bytes.
    pub replica: Arc<DirtyReplica>,
    store: Arc<dyn Store>,
    /// Guards what publishing knows, as one. Last in the lock order; never held across an await.
    progress: Mutex<Progress>,
    /// Shared by writers, alone for the last round of a publish.
    pub gate: tokio::sync::RwLock<()>,
    /// Who waits to remove it: a publish lets them go first.
    pub removers: WaitGroup,
    /// Requests under way that replace the version it is based on, until that is known here.
    pub completing: WaitGroup,
    is_publishing: AtomicBool,
}

/// A publish under way, for `pail status`.
pub struct Publishing<'a>(&'a AtomicBool);

impl Drop for Publishing<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

impl DirtyFile {
    /// A file over `base`, whose bytes the bucket then has already.
    pub fn over(store: Arc<dyn Store>, replica: Arc<DirtyReplica>, base: Base) -> Self {
        let progress = Progress {
            generation: 0,
            cuts: 0,
            published: Some(0),
            stat: Some(base.stat.clone()),
            failed: None,
            error: None,
            failed_attempt: None,
            in_doubt: None,
            replaced: None,
            must_be_absent: false,
            kept: Kept::of(&base.key, &base.stat),
            mtime: base.stat.mtime,
            upload: UploadState::default(),
            base: Some(base),
        };
        Self::with(store, replica, progress)
    }

    /// A new file. With `must_be_absent` its first publish must find no object of its key.
    pub fn new(store: Arc<dyn Store>, replica: Arc<DirtyReplica>, must_be_absent: bool) -> Self {
        let progress = Progress {
            base: None,
            generation: 0,
            cuts: 0,
            published: None,
            stat: None,
            failed: None,
            error: None,
            failed_attempt: None,
            in_doubt: None,
            replaced: None,
            must_be_absent,
            kept: Kept::Fresh,
            mtime: SystemTime::now(),
            upload: UploadState::default(),
        };
        Self::with(store, replica, progress)
    }

    fn with(store: Arc<dyn Store>, replica: Arc<DirtyReplica>, progress: Progress) -> Self {
        let gate = tokio::sync::RwLock::new(());
        Self {
            replica,
            store,
            progress: Mutex::new(progress),
            gate,
            removers: WaitGroup::default(),
            completing: WaitGroup::default(),
            is_publishing: AtomicBool::new(false),
        }
    }

    /// The length in bytes.
    pub fn len(&self) -> u64 {
        self.replica.len()
    }

    /// When it was last changed.
    pub fn mtime(&self) -> SystemTime {
        self.progress.lock().mtime
    }

    /// The state that a publish beginning now would send.
    pub fn generation(&self) -> u64 {
        self.progress.lock().generation
    }

    /// How often it was truncated.
    pub fn cuts(&self) -> u64 {
        self.progress.lock().cuts
    }

    /// Whether the bucket lacks the present state.
    pub fn needs_publishing(&self) -> bool {
        let progress = self.progress.lock();
        progress.published != Some(progress.generation)
    }

    /// The upload under way. Locks all of what publishing knows, so nothing else of this file is to be asked meanwhile.
    pub fn upload(&self) -> MappedMutexGuard<'_, UploadState> {
        MutexGuard::map(self.progress.lock(), |progress| &mut progress.upload)
    }

    /// A publish begins, of which there is one at a time.
    pub fn begin_publishing(&self) -> Publishing<'_> {
        self.is_publishing.store(true, Ordering::Relaxed);
        Publishing(&self.is_publishing)
    }

    /// Whether a publish is under way.
    pub fn is_publishing(&self) -> bool {
        self.is_publishing.load(Ordering::Relaxed)
    }

    /// The state of `generation` is in the bucket, as `base`.
    pub fn set_published(&self, generation: u64, base: Base) {
        let progress = &mut *self.progress.lock();
        progress.kept = Kept::of(&base.key, &base.stat);
        progress.stat = Some(base.stat.clone());
        if let Some(old) = &mut progress.base {
            *old = base;
        }
        progress.published = Some(generation);
        (progress.must_be_absent, progress.error) = (false, None);
        (progress.in_doubt, progress.replaced) = (None, None);
    }

    /// The state of `generation` could not be published, for this reason.
    pub fn set_failed(&self, generation: u64, error: String) {
        let mut progress = self.progress.lock();
        (progress.failed, progress.error) = (Some(generation), Some(error));
        drop(progress);
        self.replica.record_local();
    }

    /// An attempt that began then, with the state of `generation`, failed.
    pub fn set_attempt_failed(&self, began: Instant, generation: u64, error: FsError) {
        self.progress.lock().failed_attempt = Some(FailedAttempt { began, generation, error });
    }

    /// How an attempt with the present state failed that began at `asked` or later: who waited for it meanwhile has the same answer.
    pub fn failed_since(&self, asked: Instant) -> Option<FsError> {
        let progress = self.progress.lock();
        let attempt = progress.failed_attempt.as_ref()?;
        (attempt.began >= asked && attempt.generation == progress.generation).then(|| attempt.error.clone())
    }

    /// Whether publishing the present state was tried, and failed.
    pub fn has_failed(&self) -> bool {
        let progress = self.progress.lock();
        progress.failed == Some(progress.generation)
    }

    /// Whether the last publish failed because of what somebody else made of the object.
    pub fn is_in_conflict(&self) -> bool {
        let progress = self.progress.lock();
        let attempt = progress.error.as_ref().and(progress.failed_attempt.as_ref());
        matches!(
            attempt.map(|attempt| &attempt.error),
            Some(FsError::Stale(_) | FsError::Posix(Posix::Exists))
        )
    }

    /// Why the last publish failed, if it did.
    pub fn error(&self) -> Option<String> {
        self.progress.lock().error.clone()
    }

    /// The object that goes with the file's name, and on what condition; `None` where there is none but perhaps somebody else's.
    pub fn delete_condition(&self) -> Option<Condition> {
        let progress = self.progress.lock();
        let version = match (&progress.replaced, &progress.stat) {
            (Some(replaced), _) => replaced.version.clone(),
            (None, None) => return None,
            // Somebody else may have replaced it: what they wrote is not what this program sees and removes.
            (None, Some(stat)) if progress.failed == Some(progress.generation) => stat.version.clone(),
            (None, Some(_)) => return Some(Condition::None),
        };
        // Where listings tell no versions.
        Some(if version.is_unknown() { Condition::None } else { Condition::IfVersion(version) })
    }

    /// The version in the bucket that has this file's name and that it takes the place of.
    pub fn remote_version(&self) -> Option<Version> {
        self.remote_stat().map(|stat| stat.version)
    }

    /// What is known of that version.
    pub fn remote_stat(&self) -> Option<ObjectStat> {
        let progress = self.progress.lock();
        progress.replaced.clone().or_else(|| progress.stat.clone())
    }

    /// What was sent last and may be in the bucket, though nothing was heard of it.
    pub fn in_doubt(&self) -> Option<InDoubt> {
        self.progress.lock().in_doubt.clone()
    }

    /// A publish failed, or was given up, after a request that may have made this of it; `None`: that made nothing.
    pub fn set_in_doubt(&self, in_doubt: Option<InDoubt>) {
        self.progress.lock().in_doubt = in_doubt;
    }

    /// It was given the name `key` before anything of it was published. The bucket has `replaced` under it until that is, of which it is
    /// then an edit.
    pub fn set_renamed(&self, must_be_absent: bool, key: &RawKey, replaced: Option<ObjectStat>) {
        let mut progress = self.progress.lock();
        progress.kept = replaced.as_ref().map_or(Kept::Fresh, |replaced| Kept::of(key, replaced));
        (progress.replaced, progress.must_be_absent, progress.in_doubt) = (replaced, must_be_absent, None);
    }

    /// What the next version is to carry beside its bytes.
    pub fn kept(&self) -> Kept {
        self.progress.lock().kept.clone()
    }

    /// What `asked` was to be found out: the next version is to carry `found`.
    pub fn set_kept(&self, asked: &Kept, found: Kept) {
        let mut progress = self.progress.lock();
        if progress.kept == *asked {
            progress.kept = found;
        }
    }

    /// The version that the last publish made, or that the file was opened from.
    pub fn published_stat(&self) -> Option<ObjectStat> {
        self.progress.lock().stat.clone()
    }

    /// What the unwritten bytes are.
    pub fn base(&self) -> Option<Base> {
        self.progress.lock().base.clone()
    }

    /// What is in the bucket was moved to another key by a rename.
    pub fn rebase(&self, moved: Base) {
        let mut progress = self.progress.lock();
        progress.in_doubt = None;
        progress.kept = Kept::of(&moved.key, &moved.stat);
        progress.stat = Some(moved.stat.clone());
        if let Some(old) = &mut progress.base {
            *old = moved;
        }
    }

    /// On what condition a publish takes effect (SEMANTICS.md, "writing").
    pub fn condition(&self) -> Condition {
        let progress = self.progress.lock();
        match &progress.base {
            // A store that tells no versions at all can check none.
            Some(base) if base.stat.version.is_unknown() => Condition::None,
            Some(base) => Condition::IfVersion(base.stat.version.clone()),
            None if progress.must_be_absent => Condition::IfAbsent,
            None => Condition::None,
        }
    }

    /// Writes `data` at `offset`. Errors: the local disk's.
    pub async fn write(&self, offset: u64, data: &[u8]) -> FsResult<()> {
        let _open = self.gate.read().await;
        let (replica, data) = (self.replica.clone(), Bytes::copy_from_slice(data));
        let range = offset..offset + data.len() as u64;
        on_disk(DiskCall::Write, move || replica.write_at(offset, &data)).await?;
        self.changed(range);
        Ok(())
    }

    /// As `write`; `None` where a publish holds writers off.
    pub fn try_write(&self, offset: u64, data: &[u8]) -> Option<FsResult<()>> {
        let _open = self.gate.try_read().ok()?;
        let written = self.replica.write_at(offset, data);
        Some(written.map(|()| self.changed(offset..offset + data.len() as u64)).map_err(FsError::from))
    }

    /// Cuts or extends with zeros to `len`. Errors: the local disk's.
    pub async fn truncate(&self, len: u64) -> FsResult<()> {
        let _open = self.gate.read().await;
        let (old, replica) = (self.len(), self.replica.clone());
        on_disk(DiskCall::Write, move || replica.truncate(len)).await?;
        if len == 0 {
            // Nothing of the base is left: from here on the file is a new one, and the last close wins.
            self.progress.lock().base = None;
        }
        self.changed(len.min(old)..u64::MAX);
        Ok(())
    }

    /// Extends with zeros to `len`, unless it is as long by the time that nobody else is changing it. Errors: the local disk's.
    pub async fn extend(&self, len: u64) -> FsResult<()> {
        let _open = self.gate.read().await;
        let replica = self.replica.clone();
        if let Some(before) = on_disk(DiskCall::Write, move || replica.extend(len)).await? {
            self.changed(before..u64::MAX);
        }
        Ok(())
    }

    /// A change of `range`; an end of `u64::MAX` is a truncation to its start.
    fn changed(&self, range: Range<u64>) {
        let mut progress = self.progress.lock();
        progress.generation += 1;
        progress.cuts += u64::from(range.end == u64::MAX);
        progress.mtime = SystemTime::now();
        progress.upload.touch(range);
    }

    /// Records what is to become of it now. Errors: the local disk's; the old record then stands.
    pub(super) async fn set_intent(&self, intent: Intent) -> FsResult<()> {
        let replica = self.replica.clone();
        Ok(on_disk(DiskCall::Write, move || replica.set_intent(intent)).await?)
    }
}

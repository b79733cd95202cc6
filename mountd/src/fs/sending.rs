//! How a written file travels to the bucket.
//!
//! Owns: the order of things. Small files go in one request. Large ones go in parts, begun while the file is still being
//! written; a part that a later write touched is sent again. What is sent in the first round may be overtaken by writers; the
//! last round holds them off, so that what is completed is one state of the file.
//!
//! Invariants:
//! - Nothing is visible in the bucket before the one request that makes the whole file so.
//! - What a request sends is on this machine before it begins: a store may lock a key while it is written, and a body that waited for a read
//!   of the key would wait for itself.

use super::BucketFs;
use super::dirty::{Base, DirtyFile};
use super::dirty_source::DirtySource;
use super::error::{FsError, FsResult, Posix};
use super::in_doubt::InDoubt;
use super::inode::Inode;
use super::part_plan::PartPlan;
use super::sum::sum_of;
use super::upload::{ActiveUpload, SINGLE_PUT_BYTES_MAX};
use super::wait_group::WaitGuard;
use super::whole::WITHOUT_DISK_BYTES_MAX;
use bytes::{Bytes, BytesMut};
use futures::{StreamExt, TryStreamExt};
use pail_store::{
    Capabilities, Condition, ErrorKind, Fingerprint, Part, PartCopy, Payload, PutOptions, RawKey, Upload,
    Version,
};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::SemaphorePermit;

/// Files up to this length are read into memory before they are sent, so that the store can add a checksum.
const IN_MEMORY_BYTES_MAX: u64 = 1 << 20;
/// New files up to this length are sent without knowing what the endpoint can do. Above it the answer is asked for early
/// enough to have it when the first part is due.
const UNASKED_BYTES_MAX: u64 = 1 << 20;
/// Parts of one file that are sent at the same time.
const PARTS_IN_FLIGHT: usize = 8;

/// How often the last round looks for parts that are still missing.
const LAST_ROUNDS: usize = 3;

/// A part on its way. Dropped, also where the sending was given up in the middle, it tells how that ended.
struct Sending<'a> {
    dirty: &'a DirtyFile,
    active: &'a Arc<ActiveUpload>,
    number: u32,
    sent: Option<Part>,
}

impl Drop for Sending<'_> {
    fn drop(&mut self) {
        self.dirty.upload().set_sent(self.active, self.number, self.sent.take());
    }
}

/// What was made by sending: the state it sent, and the version that became of it.
pub(super) struct Published {
    pub generation: u64,
    pub len: u64,
    pub version: Version,
    /// Who reads what the file is based on waits for that to be known, where a request made the version just now.
    pub completing: Option<WaitGuard>,
}

/// Whether the object may be of the request that failed so. A refused condition says that somebody else's is there, which a removal
/// must not take for ours.
fn may_have_made_it(error: &pail_store::Error) -> bool {
    error.maybe_applied && error.kind != ErrorKind::Precondition
}

/// Whether the upload is to begin with the earlier version, and that was written to since.
fn has_lost_base(dirty: &DirtyFile, active: &ActiveUpload) -> bool {
    active.plan.base_bytes().is_some_and(|planned| dirty.untouched_base_bytes() != Some(planned))
}

impl BucketFs {
    async fn put_whole(&self, dirty: &Arc<DirtyFile>, key: &RawKey) -> FsResult<Published> {
        let attributes = self.attributes_to_keep(dirty).await?;
        // Before writers are held off, who need not wait for other files.
        let slot = self.upload_slots.acquire();
        let _slot = dirty.removers.cancel_on_any(async { Ok(slot.await) }).await?;
        let is_hydrated = self.hydrate(dirty, 0..u64::MAX).await?;
        let _alone = dirty.gate.write().await;
        let (generation, len) = (dirty.generation(), dirty.len());
        let source = DirtySource::of(dirty, 0..len);
        let mut _without_disk = None;
        let payload = if !is_hydrated {
            let (bytes, permit) = self.without_disk(dirty, 0..len).await?;
            _without_disk = Some(permit);
            Payload::Bytes(bytes)
        } else if len <= IN_MEMORY_BYTES_MAX {
            Payload::Bytes(source.read_piece(0..len).await?)
        } else {
            source.payload()
        };
        let options = PutOptions { condition: dirty.condition(), attributes };
        // Never dropped, for it might take effect afterwards: a remover has the source fail.
        let completing = Some(dirty.completing.join());
        let sent = self.store.put(key, payload.clone(), options).await;
        let version = sent.map_err(|error| {
            let may_be_there = may_have_made_it(&error);
            let error = source.cause(error);
            let is_given_up = matches!(error, FsError::Posix(Posix::Interrupted));
            let sum = match &payload {
                Payload::Bytes(bytes) => Some(sum_of(bytes)),
                // What was never read to its end was not sent.
                Payload::Source { .. } => source.sum_of_all(len),
            };
            if (may_be_there || is_given_up)
                && let Some(sum) = sum
            {
                let fingerprint = Fingerprint::of_bytes(len, sum);
                dirty.set_in_doubt(Some(InDoubt { generation, len, fingerprint, is_of_parts: false }));
            }
            error
        })?;
        dirty.replica.set_published().await;
        Ok(Published { generation, len, version, completing })
    }

    /// Fetches what `range` of the file still has of its base; false where the local disk is too full for that. Errors: EINTR where
    /// the file is to be removed; those of fetching.
    async fn hydrate(&self, dirty: &DirtyFile, range: Range<u64>) -> FsResult<bool> {
        match dirty.removers.cancel_on_any(dirty.hydrate(range)).await {
            Err(error) if error.is_disk_full() => Ok(false),
            fetched => fetched.map(|()| true),
        }
    }

    /// The bytes of one request that the local disk has no room for, and the right to hold them, which one request has at a time. Errors:
    /// ENOSPC where they are too many for memory; as of `hydrate`.
    async fn without_disk(
        &self,
        dirty: &DirtyFile,
        range: Range<u64>,
    ) -> FsResult<(Bytes, SemaphorePermit<'_>)> {
        let len = range.end - range.start;
        if len > WITHOUT_DISK_BYTES_MAX {
            return Err(std::io::Error::from_raw_os_error(libc::ENOSPC).into());
        }
        let read = async {
            let permit = self.without_disk.acquire().await.map_err(std::io::Error::other)?;
            let mut bytes = BytesMut::with_capacity(len as usize);
            while (bytes.len() as u64) < len {
                let start = range.start + bytes.len() as u64;
                let piece = dirty.read_with_base(start..range.end.min(start + IN_MEMORY_BYTES_MAX)).await;
                let piece = piece.map_err(FsError::of_base)?;
                if piece.is_empty() {
                    let cut = "the file was truncated meanwhile";
                    return Err(std::io::Error::new(std::io::ErrorKind::UnexpectedEof, cut).into());
                }
                bytes.extend_from_slice(&piece);
            }
            Ok((bytes.freeze(), permit))
        };
        dirty.removers.cancel_on_any(read).await
    }

    /// Sends the file's present state as the object of `key`. Errors: the store's, the local disk's; the parts sent are kept.
    pub(super) async fn send(&self, dirty: &Arc<DirtyFile>, key: &RawKey) -> FsResult<Published> {
        // An upload that was begun goes on, unless the file has become empty: no object is made of no parts.
        let in_parts = dirty.len() > SINGLE_PUT_BYTES_MAX
            || dirty.upload().active().is_some()
            || self.appends_to_whole(dirty).await;
        if in_parts && let Some(published) = self.put_parts(dirty, key).await? {
            return Ok(published);
        }
        self.put_whole(dirty, key).await
    }

    /// `None` where the file is empty, and the upload given up.
    async fn put_parts(&self, dirty: &Arc<DirtyFile>, key: &RawKey) -> FsResult<Option<Published>> {
        if dirty.len() == 0 {
            self.abort_upload(dirty).await;
            return Ok(None);
        }
        let active = self.active_upload(dirty, key).await?;
        self.wait_for_early(dirty).await;
        let upload = self.start_upload(dirty, &active).await?;
        let (begun_len, begun_cuts) = (dirty.len(), dirty.cuts());
        if let Err(error) = self.send_missing(dirty, &active, &upload, begun_len).await
            && dirty.cuts() == begun_cuts
            && !has_lost_base(dirty, &active)
        {
            return Err(error);
        }
        // What was cut off while it was sent is no error; the last round sends what is there now.
        let alone = dirty.gate.write().await;
        if has_lost_base(dirty, &active) {
            drop(alone);
            self.abort_upload(dirty).await;
            // Once: what was written to stays so.
            return Box::pin(self.put_parts(dirty, key)).await;
        }
        let (generation, len) = (dirty.generation(), dirty.len());
        if len == 0 {
            self.abort_upload(dirty).await;
            return Ok(None);
        }
        let mut parts = None;
        for _ in 0..LAST_ROUNDS {
            // The last writes may have begun parts behind them.
            self.wait_for_early(dirty).await;
            self.send_missing(dirty, &active, &upload, len).await?;
            parts = dirty.upload().parts(len);
            if parts.is_some() {
                break;
            }
        }
        let parts = parts.ok_or_else(|| {
            std::io::Error::other("a part was lost while it was sent; close or flush again")
        })?;
        if dirty.removers.any() {
            return Err(Posix::Interrupted.into());
        }
        let completing = Some(dirty.completing.join());
        let attributes = active.attributes.get().cloned().unwrap_or_default();
        let options = PutOptions { condition: dirty.condition(), attributes };
        let completed = self.store.complete_upload(&upload, &parts, &options).await;
        match &completed {
            Ok(_) => {
                dirty.upload().reset();
                active.ended();
                dirty.replica.set_published().await;
            }
            Err(error) if may_have_made_it(error) => {
                let fingerprint = Fingerprint::of_parts(&parts);
                dirty.set_in_doubt(Some(InDoubt { generation, len, fingerprint, is_of_parts: true }));
            }
            Err(_) => {}
        }
        Ok(Some(Published { generation, len, version: completed?, completing }))
    }

    async fn wait_for_early(&self, dirty: &DirtyFile) {
        let early = dirty.upload().take_tasks();
        for task in early {
            // A part that failed early is sent again by the publish, and its error is then told.
            let _ = task.await;
        }
    }

    /// The upload to go on with, or a new one where the file was renamed or outgrew the plan.
    async fn active_upload(&self, dirty: &DirtyFile, key: &RawKey) -> FsResult<Arc<ActiveUpload>> {
        let capabilities = self.capabilities_for(dirty).await;
        let (equal_parts, part_count_max) = (capabilities.equal_parts, capabilities.part_count_max);
        let len = dirty.len();
        let active = dirty.upload().active();
        if let Some(active) = active {
            if active.key == *key && active.plan.fits(len, part_count_max) && !has_lost_base(dirty, &active) {
                return Ok(active);
            }
            self.abort_upload(dirty).await;
        }
        let untouched = dirty.untouched_base_bytes().filter(|_| capabilities.part_copy == PartCopy::Whole);
        let plan = match untouched {
            Some(base_bytes) => PartPlan::behind(base_bytes, len, part_count_max),
            None => PartPlan::new(len, equal_parts, part_count_max),
        };
        if !plan.fits(len, part_count_max) {
            return Err(Posix::TooLarge.into());
        }
        Ok(dirty.upload().begin(key.clone(), plan))
    }

    /// Whether the file is its earlier version and more, so that the store needs only the more, and can be told so: of what is small all is
    /// sent, which is one request.
    async fn appends_to_whole(&self, dirty: &DirtyFile) -> bool {
        let appends = dirty
            .untouched_base_bytes()
            .is_some_and(|bytes| bytes > IN_MEMORY_BYTES_MAX && bytes < dirty.len());
        appends && self.capabilities_for(dirty).await.part_copy == PartCopy::Whole
    }

    /// Changed files up to this length, in bytes, are sent whole.
    pub(super) fn sent_whole_bytes_max(&self) -> u64 {
        match self.capabilities.get().map(|capabilities| capabilities.part_copy) {
            Some(PartCopy::Whole) => IN_MEMORY_BYTES_MAX,
            _ => SINGLE_PUT_BYTES_MAX,
        }
    }

    /// What the endpoint can do, as far as sending this file needs to know: where parts of it may be copied, that is waited for.
    async fn capabilities_for(&self, dirty: &DirtyFile) -> Capabilities {
        if dirty.base().is_some()
            && let Err(error) = self.capabilities().await
        {
            tracing::debug!(mount = %self.options.mount_name, error = %error,
                "what the endpoint can do is not known; no part is copied");
        }
        self.known_capabilities()
    }

    /// What is known of what the endpoint can do; what serves everywhere, where it is not.
    fn known_capabilities(&self) -> Capabilities {
        let least = || Capabilities { part_copy: PartCopy::None, equal_parts: true, ..Capabilities::full() };
        self.capabilities.get().cloned().unwrap_or_else(least)
    }

    async fn start_upload(&self, dirty: &DirtyFile, active: &ActiveUpload) -> FsResult<Upload> {
        let begin = || async {
            let attributes = self.attributes_to_keep(dirty).await?;
            let options = PutOptions {
                attributes: active.attributes.get_or_init(|| attributes).clone(),
                ..PutOptions::default()
            };
            // Noted before it is asked for, so that who comes after a killed daemon knows of it.
            let note = self.cache.note_upload(self.store.identity(), active.key.as_str()).await;
            let started = self.store.start_upload(&active.key, &options).await;
            match &started {
                Ok(upload) => {
                    note.begun(&upload.id).await;
                    // An upload begins once.
                    let _ = active.note.set(note);
                }
                Err(error) if !error.maybe_applied => note.ended(),
                // Dropped, the note is left for who ends what may have begun.
                Err(_) => {}
            }
            Ok::<_, FsError>(started?)
        };
        Ok(active.upload.get_or_try_init(begin).await?.clone())
    }

    /// Gives up the upload under way, and the parts it has in the store.
    pub(super) async fn abort_upload(&self, dirty: &DirtyFile) {
        let (tasks, active) = {
            let mut state = dirty.upload();
            (state.take_tasks(), state.reset())
        };
        let Some(active) = active else { return };
        active.given_up.cancel();
        for task in tasks {
            // One that begins the upload does so first: dropped, it could leave one that nobody knows of.
            let _ = task.await;
        }
        let Some(upload) = active.upload.get() else { return };
        match self.store.abort_upload(upload).await {
            Ok(()) => active.ended(),
            Err(error) => {
                tracing::warn!(mount = %self.options.mount_name, key = %upload.key, error = %error,
                    "an upload could not be aborted; its parts cost storage until the next mount of the bucket aborts it");
            }
        }
    }

    /// Gives up the uploads of files that no publish is sending now: the file system is about to end, and who comes after it begins anew.
    pub async fn abort_idle_uploads(&self) {
        let aborts = self.inodes.all().into_iter().map(|inode| async move {
            let Some(dirty) = self.unpublished(&inode) else { return };
            if let Ok(_one) = inode.changing.try_lock() {
                self.abort_upload(&dirty).await;
            }
        });
        futures::future::join_all(aborts).await;
    }

    async fn send_missing(
        &self,
        dirty: &Arc<DirtyFile>,
        active: &Arc<ActiveUpload>,
        upload: &Upload,
        len: u64,
    ) -> FsResult<()> {
        let missing = dirty.upload().missing(len);
        futures::stream::iter(missing)
            .map(|(number, range)| self.send_part(dirty, active, upload, number, range))
            .buffer_unordered(PARTS_IN_FLIGHT)
            .try_collect()
            .await
    }

    async fn send_part(
        &self,
        dirty: &Arc<DirtyFile>,
        active: &Arc<ActiveUpload>,
        upload: &Upload,
        number: u32,
        range: Range<u64>,
    ) -> FsResult<()> {
        debug_assert_eq!(active.plan.range(number).start, range.start);
        tokio::select! {
            biased;
            () = active.given_up.cancelled() => Err(Posix::Interrupted.into()),
            // Dropped, a part leaves nothing that aborting the upload does not remove.
            done = dirty.removers.cancel_on_any(self.send_part_to_end(dirty, active, upload, number, range)) => done,
        }
    }

    async fn send_part_to_end(
        &self,
        dirty: &Arc<DirtyFile>,
        active: &Arc<ActiveUpload>,
        upload: &Upload,
        number: u32,
        range: Range<u64>,
    ) -> FsResult<()> {
        let _slot = self.upload_slots.acquire().await;
        let len = range.end - range.start;
        if !dirty.upload().set_sending(active, number, len) {
            return Ok(());
        }
        let mut sending = Sending { dirty, active, number, sent: None };
        let part = match self.copy_source(dirty, &range) {
            Some(base) => self.store.copy_part(upload, number, &base.key, &base.stat.version, range).await?,
            None if number == 1 && active.plan.base_bytes().is_some() => {
                // As a part of its own it may be larger than one can be. The publish begins anew.
                return Err(std::io::Error::other(
                    "the earlier version was written to while it was to be copied",
                )
                .into());
            }
            None if self.hydrate(dirty, range.clone()).await? => {
                let source = DirtySource::of(dirty, range);
                let sent = self.store.put_part(upload, number, source.payload()).await;
                sent.map_err(|error| source.cause(error))?
            }
            None => {
                let (bytes, _without_disk) = self.without_disk(dirty, range).await?;
                self.store.put_part(upload, number, Payload::Bytes(bytes)).await?
            }
        };
        sending.sent = Some(part);
        Ok(())
    }

    /// The base to copy a part from, where the part is unchanged and the store can.
    fn copy_source(&self, dirty: &DirtyFile, range: &Range<u64>) -> Option<Base> {
        let capabilities = self.capabilities.get()?;
        let base = dirty.base()?;
        let is_possible = match capabilities.part_copy {
            PartCopy::None => false,
            PartCopy::Whole => *range == (0..base.stat.size),
            PartCopy::Ranges => range.end - range.start >= capabilities.part_size_bytes_min,
        };
        (is_possible && dirty.is_untouched(range.clone())).then_some(base)
    }

    /// Asks in the background what the endpoint can do, so that a publish which needs to know need not wait. One request that
    /// replaces whatever is there needs nothing, and where the endpoint must be probed, that is many times what a small file costs.
    pub(super) fn learn_capabilities(self: &Arc<Self>, dirty: &DirtyFile) {
        if self.capabilities.get().is_some() || self.asks_capabilities.load(Ordering::Acquire) {
            return;
        }
        if dirty.len() <= UNASKED_BYTES_MAX && matches!(dirty.condition(), Condition::None) {
            return;
        }
        if !self.asks_capabilities.swap(true, Ordering::AcqRel) {
            let fs = self.clone();
            self.runtime.spawn(async move {
                // The publish asks again, and tells.
                let _ = fs.capabilities().await;
                fs.asks_capabilities.store(false, Ordering::Release);
            });
        }
    }

    /// Begins sending the parts that the writer has left behind. Called after every write; returns at once.
    pub(super) fn send_early(self: &Arc<Self>, inode: &Arc<Inode>, dirty: &Arc<DirtyFile>) {
        if !dirty.upload().wants_parts() || inode.is_unlinked() {
            return;
        }
        if self.capabilities.get().is_none() && self.asks_capabilities.load(Ordering::Acquire) {
            // An answer that comes soon makes a better plan.
            return;
        }
        let capabilities = self.known_capabilities();
        let Ok(key) = self.key_of(inode) else { return };
        let mut upload = dirty.upload();
        if !upload.wants_parts() {
            // Removed since it was looked at.
            return;
        }
        if upload.active().is_none() {
            upload.begin(key, PartPlan::new(0, capabilities.equal_parts, capabilities.part_count_max));
        }
        let Some(active) = upload.active() else { return };
        while let Some(number) = upload.next_early() {
            if number > capabilities.part_count_max {
                return;
            }
            let (fs, dirty, active) = (self.clone(), dirty.clone(), active.clone());
            upload.add_task(self.runtime.spawn(async move {
                let range = active.plan.range(number);
                let sent = match fs.start_upload(&dirty, &active).await {
                    Ok(upload) => fs.send_part(&dirty, &active, &upload, number, range).await,
                    Err(error) => Err(error),
                };
                if let Err(error) = sent {
                    tracing::debug!(key = %active.key, number, error = %error, "an early part failed; it is sent again at close");
                }
            }));
        }
    }
}

//! Reading and writing open files.
//!
//! Owns: `read` and `write`. What a read does whose version is gone is `revalidate`'s.

use super::BucketFs;
use super::dirty::DirtyFile;
use super::error::{FsError, FsResult, Posix};
use super::fetch::ObjectFetch;
use super::handle::Handle;
use super::inode::{Content, Inode};
use super::object_stat::ObjectStat;
use bytes::Bytes;
use futures::FutureExt;
use pail_cache::Replica;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The largest object of the S3 family, in bytes.
pub(super) const OBJECT_SIZE_BYTES_MAX: u64 = 5 << 40;

/// How often a read begins anew because the content moved on.
const READ_ATTEMPTS: usize = 4;

impl BucketFs {
    /// Up to `len` bytes at `offset`; fewer only at the end of the file. Errors: EBADF, ESTALE when the version that was
    /// opened is gone and bytes of it were given out already, the store's.
    pub async fn read(&self, handle: u64, offset: u64, len: u32) -> FsResult<Bytes> {
        let handle = self.handles.get(handle).ok_or(Posix::BadHandle)?;
        let range = offset..offset.saturating_add(u64::from(len));
        let file = handle.inode.file().ok_or(Posix::IsDir)?;
        // The content may become another while it is read: by a write, a publish, or a rename.
        for _ in 0..READ_ATTEMPTS {
            let content = file.lock().content.clone();
            match self.read_content(&handle, &content, range.clone()).await {
                Err(error) if error.is_version_gone() => {
                    self.check_gone(&handle.inode, &content, error).await?;
                }
                Ok(bytes) if self.note_read(&handle.inode, &content) => return Ok(bytes),
                Ok(_) => {}
                Err(error) => return Err(error),
            }
        }
        Err(FsError::Stale(format!("{} changes faster than it can be read", handle.inode.path())))
    }

    async fn read_content(&self, handle: &Handle, content: &Content, range: Range<u64>) -> FsResult<Bytes> {
        let (stat, replica) = match content {
            Content::Dirty(dirty) => return dirty.read(range).await,
            Content::Clean { stat, replica } => (stat, replica.as_ref().ok_or(Posix::BadHandle)?),
        };
        let range = range.start.min(stat.size)..range.end.min(stat.size);
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        self.read_replica(handle, stat, replica, range).await
    }

    /// Bytes of `content` are about to be given out. False where another version has taken its place meanwhile, of which bytes may have
    /// been given out already. That somebody reads says that the open has dropped what the kernel had of an earlier version.
    fn note_read(&self, inode: &Inode, content: &Content) -> bool {
        let Content::Clean { stat: read, .. } = content else { return true };
        let Some(file) = inode.file() else { return false };
        let mut state = file.lock();
        let same = match &state.content {
            Content::Clean { stat: now, .. } => now.is_same(read) || inode.is_unlinked(),
            Content::Dirty(_) => return true,
        };
        state.kernel.has_stale_pages &= !same;
        same
    }

    async fn read_replica(
        &self,
        handle: &Handle,
        stat: &ObjectStat,
        replica: &Arc<Replica>,
        range: Range<u64>,
    ) -> FsResult<Bytes> {
        let key = self.key_of(&handle.inode)?;
        let fetch = ObjectFetch::paced(self.store.clone(), key, stat, self.pace.clone(), None);
        // Ahead first: the read's own bytes are then part of one large request.
        let advice = handle.prefetcher.advise(range.clone(), stat.size, self.window_bytes_max());
        if advice.streams != 0 {
            self.streams.fetch_add(i64::from(advice.streams), Ordering::Relaxed);
        }
        if !advice.fetch.is_empty() {
            handle.prefetcher.accepted(replica.prefetch(advice.fetch, &fetch));
        }
        let bytes = replica.read(range.clone(), &fetch).await?;
        if handle.prefetcher.is_streaming() {
            replica.pass(range);
        }
        Ok(bytes)
    }

    /// What one stream may be ahead, in bytes: as the store's pace asks for, and at most its share of half the memory budget.
    fn window_bytes_max(&self) -> u64 {
        let streams = self.streams.load(Ordering::Relaxed).max(1).unsigned_abs();
        (self.cache.memory_bytes() / 2 / streams).min(self.pace.window_bytes())
    }

    /// Writes `data` at `offset`. Errors: EBADF, EFBIG as of `setattr`, the local disk's (ENOSPC).
    pub async fn write(self: &Arc<Self>, handle: u64, offset: u64, data: &[u8]) -> FsResult<()> {
        let (handle, dirty) = self.writing(handle, offset, data.len()).await?;
        dirty.write(offset, data).await?;
        self.learn_capabilities(&dirty);
        self.send_early(&handle.inode, &dirty);
        Ok(())
    }

    /// As `write`; `None` where it would have to wait, because a publish holds writers off or the caller must not block.
    pub fn try_write(self: &Arc<Self>, handle: u64, offset: u64, data: &[u8]) -> Option<FsResult<()>> {
        let (handle, dirty) = match self.writing(handle, offset, data.len()).now_or_never()? {
            Ok(writing) => writing,
            Err(error) => return Some(Err(error)),
        };
        let done = dirty.try_write(offset, data)?;
        self.learn_capabilities(&dirty);
        self.send_early(&handle.inode, &dirty);
        Some(done)
    }

    async fn writing(&self, handle: u64, offset: u64, len: usize) -> FsResult<(Arc<Handle>, Arc<DirtyFile>)> {
        let handle = self.handles.get(handle).filter(|handle| handle.writable).ok_or(Posix::BadHandle)?;
        if offset.saturating_add(len as u64) > OBJECT_SIZE_BYTES_MAX {
            return Err(Posix::TooLarge.into());
        }
        self.check_holes(&handle.inode, offset)?;
        handle.set_closing(false);
        let dirty = self.dirty(&handle.inode).await?;
        Ok((handle, dirty))
    }
}

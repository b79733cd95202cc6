//! Reads of a file that was written here.
//!
//! Owns: how its bytes are put together of what is here, of what the base has, and of zeros.

use super::{Base, DirtyFile, READ_ATTEMPTS};
use crate::disk_work::{DiskCall, on_disk};
use crate::fs::error::{FsError, FsResult};
use crate::fs::fetch::ObjectFetch;
use bytes::{Bytes, BytesMut};
use pail_cache::{Fetch, Segment, SegmentKind};
use std::ops::Range;
use std::sync::Arc;

impl DirtyFile {
    /// The bytes of `range`, cut to the file's length. Errors: [`FsError::Moved`] where the file became a clean replica meanwhile; the
    /// local disk's; those of fetching the base.
    pub async fn read(&self, range: Range<u64>) -> FsResult<Bytes> {
        loop {
            let before = self.base();
            match self.read_with_base(range.clone()).await {
                Err(error) if error.is_version_gone() => {
                    // It may be gone because of a publish, of which nobody knows before its answer is there.
                    self.completing.wait_zero().await;
                    match (before, self.base()) {
                        (Some(before), Some(now)) if before.is_same_object(&now) => return Err(error),
                        (None, None) => return Err(error),
                        // Published, renamed, or cut to nothing: the bytes are the same in what it is based on now.
                        _ => {}
                    }
                }
                read => return read,
            }
        }
    }

    /// As `read`, for who publishes: with the base gone there is nothing to wait for.
    pub async fn read_with_base(&self, range: Range<u64>) -> FsResult<Bytes> {
        // Cut short while it was read: it is looked at anew.
        for _ in 0..READ_ATTEMPTS {
            if let Some(bytes) = self.try_read(range.start..range.end.min(self.len())).await? {
                return Ok(bytes);
            }
        }
        Err(FsError::Moved)
    }

    /// The bytes of `range`, cut to the file's length, all of which are here: while they are sent, the store may let nobody read the base.
    /// Errors: some are not; as of `read`.
    pub async fn read_hydrated(&self, range: Range<u64>) -> FsResult<Bytes> {
        for _ in 0..READ_ATTEMPTS {
            let range = range.start..range.end.min(self.len());
            if let Some(bytes) = self.try_read_hydrated(self.replica.segments(range)).await? {
                return Ok(bytes);
            }
        }
        Err(FsError::Moved)
    }

    async fn try_read_hydrated(&self, segments: Vec<Segment>) -> FsResult<Option<Bytes>> {
        if let [one] = &segments[..]
            && one.kind == SegmentKind::Local
        {
            return self.read_local(one.range.clone()).await;
        }
        let mut bytes = BytesMut::new();
        for Segment { range, kind } in segments {
            match kind {
                SegmentKind::Local => match self.read_local(range).await? {
                    Some(piece) => bytes.extend_from_slice(&piece),
                    None => return Ok(None),
                },
                SegmentKind::Zero => bytes.resize(bytes.len() + (range.end - range.start) as usize, 0),
                SegmentKind::Base => {
                    debug_assert!(false, "{range:?} was not fetched before it is sent");
                    let words = "bytes of the earlier version were not fetched before the request";
                    return Err(std::io::Error::other(words).into());
                }
            }
        }
        Ok(Some(bytes.freeze()))
    }

    async fn try_read(&self, range: Range<u64>) -> FsResult<Option<Bytes>> {
        // Before the segments: what is the base's of them later was so then, and a later base may be shorter.
        let base = self.base();
        let segments = self.replica.segments(range.clone());
        if let [one] = &segments[..]
            && one.kind == SegmentKind::Local
        {
            return self.read_local(one.range.clone()).await;
        }
        let mut bytes = BytesMut::with_capacity(range.end.saturating_sub(range.start) as usize);
        for segment in segments {
            let len = (segment.range.end - segment.range.start) as usize;
            match segment.kind {
                SegmentKind::Local => match self.read_local(segment.range).await? {
                    Some(piece) => bytes.extend_from_slice(&piece),
                    None => return Ok(None),
                },
                SegmentKind::Zero => bytes.resize(bytes.len() + len, 0),
                SegmentKind::Base => match &base {
                    Some(base) => bytes.extend_from_slice(&self.read_base(base, segment.range).await?),
                    // Truncated to nothing since the segments were taken.
                    None => return Ok(None),
                },
            }
        }
        Ok(Some(bytes.freeze()))
    }

    async fn read_local(&self, range: Range<u64>) -> FsResult<Option<Bytes>> {
        if let Some(bytes) = self.replica.read_local_now(range.clone()) {
            return Ok(Some(bytes));
        }
        let replica = self.replica.clone();
        Ok(on_disk(DiskCall::Read, move || replica.read_local(range)).await?)
    }

    /// Keeps bytes of the base that were fetched. Errors: the local disk's.
    pub(in crate::fs) async fn fill_base(&self, offset: u64, bytes: Bytes) -> FsResult<()> {
        let replica = self.replica.clone();
        Ok(on_disk(DiskCall::Write, move || replica.fill_base(offset, &bytes)).await?)
    }

    async fn read_base(&self, base: &Base, range: Range<u64>) -> FsResult<Bytes> {
        Ok(base.replica.read(range, &self.fetch_of(base)).await?)
    }

    /// How bytes of the base are fetched.
    pub(in crate::fs) fn fetch_of(&self, base: &Base) -> Arc<dyn Fetch> {
        ObjectFetch::of(self.store.clone(), base.key.clone(), &base.stat)
    }

    /// How many bytes at its beginning are those of the base, where that is all of the base.
    pub fn untouched_base_bytes(&self) -> Option<u64> {
        let base_bytes = self.base()?.stat.size;
        (base_bytes > 0 && base_bytes <= self.len() && self.is_untouched(0..base_bytes)).then_some(base_bytes)
    }

    /// Whether all of `range` still is what the base has, so that a server-side copy of it will do.
    pub fn is_untouched(&self, range: Range<u64>) -> bool {
        self.replica.segments(range).iter().all(|segment| segment.kind == SegmentKind::Base)
    }
}

//! Hydration: fetching what a written file still has of the version it is a change of.
//!
//! Owns: [`DirtyFile::fetch_base`], for where that version may go, and [`DirtyFile::hydrate`], for where it is to be sent again.

use super::dirty::DirtyFile;
use super::error::{FsError, FsResult};
use crate::disk_work::{DiskCall, on_disk};
use pail_cache::{BLOCK_SIZE_BYTES, Segment, SegmentKind};
use std::ops::Range;

/// What is kept of a base at a time, and how far ahead of that it is asked for.
const FETCH_BYTES: u64 = 1 << 20;
const FETCH_AHEAD_BYTES: u64 = 8 << 20;

/// What one request may send from memory where the local disk has no room for what it lacks.
pub const WITHOUT_DISK_BYTES_MAX: u64 = 64 << 20;

/// What is left free of a large local disk when a base is fetched.
const RESERVE_BYTES_MAX: u64 = 1 << 30;

impl DirtyFile {
    /// Fetches what the file still has of its base, so that it stands by itself, if that is at most `bytes_max` and leaves the
    /// local disk its reserve. Errors: the store's; the local disk's, ENOSPC where it is more.
    pub async fn fetch_base(&self, bytes_max: u64) -> FsResult<()> {
        self.fetch_base_within(0..u64::MAX, Some(bytes_max)).await
    }

    /// Fetches what `range` still has of the base: nothing of it is the base's afterwards, whatever is written or cut meanwhile. Errors:
    /// ESTALE where the base is gone; the store's; the local disk's; ENOSPC also where its reserve would go, and the range can be sent
    /// from memory.
    pub async fn hydrate(&self, range: Range<u64>) -> FsResult<()> {
        let fits_memory = range.end.min(self.len()).saturating_sub(range.start) <= WITHOUT_DISK_BYTES_MAX;
        let bytes_max = fits_memory.then_some(u64::MAX);
        self.fetch_base_within(range, bytes_max).await.map_err(FsError::of_base)
    }

    /// With a bound, what is missing of the range is fetched only if it is at most that and leaves the local disk its reserve.
    async fn fetch_base_within(&self, range: Range<u64>, bytes_max: Option<u64>) -> FsResult<()> {
        // Looked at once: what is the base's becomes local or is cut off, and never more.
        let ranges = base_ranges(&self.replica.segments(range));
        let mut missing_bytes: u64 = ranges.iter().map(|range| range.end - range.start).sum();
        let mut ahead = pieces_of(&ranges, FETCH_AHEAD_BYTES).peekable();
        for piece in pieces_of(&ranges, FETCH_BYTES) {
            let Some(base) = self.base() else { return Ok(()) };
            // Anew for each piece: others fill the disk meanwhile.
            if let Some(bytes_max) = bytes_max
                && missing_bytes > bytes_max.min(self.room_bytes().await)
            {
                return Err(std::io::Error::from_raw_os_error(libc::ENOSPC).into());
            }
            missing_bytes -= piece.end - piece.start;
            let left = base_ranges(&self.replica.segments(piece));
            let (Some(first), Some(last)) = (left.first(), left.last()) else { continue };
            let piece = first.start..last.end;
            let fetch = self.fetch_of(&base);
            while let Some(next) = ahead.next_if(|next| next.start < piece.start + FETCH_AHEAD_BYTES) {
                base.replica.prefetch(next, &fetch);
            }
            let bytes = base.replica.read(piece.clone(), &fetch).await?;
            self.fill_base(piece.start, bytes).await?;
        }
        Ok(())
    }

    /// What the local disk has free beyond a tenth of it, or beyond `RESERVE_BYTES_MAX`; all, where that cannot be told.
    async fn room_bytes(&self) -> u64 {
        let replica = self.replica.clone();
        let looked = on_disk(DiskCall::Read, move || {
            replica.path().parent().and_then(|dir| rustix::fs::statvfs(dir).ok())
        });
        let Some(disk) = looked.await else {
            return u64::MAX;
        };
        let (free, size) =
            (disk.f_bavail.saturating_mul(disk.f_frsize), disk.f_blocks.saturating_mul(disk.f_frsize));
        free.saturating_sub(RESERVE_BYTES_MAX.min(size / 10))
    }
}

/// What is the base's of these segments, in order: in one range where what lies between is no more than a block, which costs less than
/// another request.
fn base_ranges(segments: &[Segment]) -> Vec<Range<u64>> {
    let mut ranges: Vec<Range<u64>> = Vec::new();
    for Segment { range, .. } in segments.iter().filter(|segment| segment.kind == SegmentKind::Base) {
        match ranges.last_mut() {
            Some(last) if range.start - last.end <= BLOCK_SIZE_BYTES => last.end = range.end,
            _ => ranges.push(range.clone()),
        }
    }
    ranges
}

/// These ranges in pieces of at most `len` bytes.
fn pieces_of(ranges: &[Range<u64>], len: u64) -> impl Iterator<Item = Range<u64>> {
    ranges.iter().flat_map(move |range| {
        let end = range.end;
        range.clone().step_by(len as usize).map(move |start| start..end.min(start + len))
    })
}

//! A dirty replica: what was written here and is not in the bucket yet.
//!
//! Owns: [`DirtyReplica`], a sparse file of the bytes that were written, and which those are, to the byte.
//!
//! Invariants:
//! - A range is local once its bytes are in the file, so that whoever is told it is local reads them.
//! - Bytes of the base that are kept here never replace written ones, and bytes of the base beyond the smallest length that the
//!   file ever had are gone: growing again shows zeros.
//! - Nothing but its owner's [`DirtyReplica::discard`] or its being published removes it.
//! - While the record says that it is published, it is: that word is taken back before a byte is changed.
//!
//! Lock order: `shape`, then `record`, then `reading`, then `extent`; `shape` and `record` also come before a clean replica's `disk`.

mod recording;

use crate::cache::{CacheError, Shared};
use crate::evict;
use crate::journal::{self, Intent, Published, Record};
use crate::ranges::RangeSet;
use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use std::fs::{File, OpenOptions};
use std::io::{self, IoSliceMut};
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

/// After so many bytes written, what a file holds is asked of the file system.
const RECOUNT_BYTES: i64 = 64 << 20;
/// What a record takes on disk.
const RECORD_BYTES: u64 = 4096;

/// What the bytes of a [`Segment`] are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SegmentKind {
    /// Written here, or kept of the base.
    Local,
    /// Those of the base version.
    Base,
    /// Zeros.
    Zero,
}

/// A range of a dirty replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Its bytes.
    pub range: Range<u64>,
    /// What they are.
    pub kind: SegmentKind,
}

/// Whether the file is still the replica's to change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Open,
    /// Published: the file is a clean replica's.
    Given,
    /// Removed from disk: a file without a name, which goes with its last user, and counts until then.
    Discarded,
}

struct Extent {
    len: u64,
    local: RangeSet,
    /// Before it, what is not local is the base's.
    base_len: u64,
    /// A write failed, and what it left outside of the ranges is not cleared away yet.
    has_debris: bool,
}

/// What was written here and is not in the bucket yet.
pub struct DirtyReplica {
    data: Arc<File>,
    path: PathBuf,
    /// Held shared while bytes are written, alone by whatever changes which bytes there are otherwise.
    shape: RwLock<Stage>,
    /// Held shared while bytes are read, alone while they are cut off. Giving the file away waits for no read, which a disk may hold
    /// up. After `shape`; who reads takes that only when this is free again.
    reading: RwLock<()>,
    /// Guards length and ranges. A leaf.
    extent: Mutex<Extent>,
    /// What is on record, and guards it on disk: also its removal. Before `extent`.
    record: Mutex<Record>,
    /// The record may say that it is published, also on disk. Changed under `record`.
    may_be_published: AtomicBool,
    shared: Arc<Shared>,
    /// What it added to the usage.
    counted_bytes: AtomicI64,
}

/// A published file, and which of its bytes it holds.
pub(crate) struct Given {
    pub data: Arc<File>,
    pub local: Vec<Range<u64>>,
}

#[allow(clippy::len_without_is_empty, reason = "nobody asks")]
impl DirtyReplica {
    pub(crate) fn create(root: &Path, intent: Intent, shared: Arc<Shared>) -> Result<Self, CacheError> {
        let path = root.join(format!("{:032x}.data", rand::random::<u128>()));
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(0o600);
        let data = options.open(&path).map_err(CacheError::io("create", &path))?;
        let len = intent.base.as_ref().map_or(0, |base| base.size);
        let is_change = intent.base.is_some();
        let made = data.set_len(len).and_then(|()| {
            // Until it is changed, all of it is in the bucket.
            let published = is_change.then(|| Published::of(&data.metadata()?)).transpose()?;
            let record = Record { intent, local: None, base_len: len, published };
            journal::write_record(&path, &record, false).map(|()| record)
        });
        let record = made.map_err(|error| {
            journal::remove_record(&path);
            let _ = std::fs::remove_file(&path);
            CacheError::io("write", &path)(error)
        })?;
        Ok(Self {
            data: Arc::new(data),
            path,
            shape: RwLock::new(Stage::Open),
            reading: RwLock::new(()),
            extent: Mutex::new(Extent { len, local: RangeSet::default(), base_len: len, has_debris: false }),
            record: Mutex::new(record),
            may_be_published: AtomicBool::new(is_change),
            shared,
            counted_bytes: AtomicI64::new(0),
        })
    }

    /// Its length in bytes.
    pub fn len(&self) -> u64 {
        self.extent.lock().len
    }

    /// Writes `data` at `offset`. Errors: the local disk's (ENOSPC, EFBIG); it was published (ESTALE). On error any part of
    /// the range that was local may have been written; the rest is as it was.
    pub fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        if data.is_empty() {
            return Ok(());
        }
        let end =
            offset.checked_add(data.len() as u64).ok_or_else(|| io::Error::from_raw_os_error(libc::EFBIG))?;
        let stage = self.shape.read();
        check_open(*stage)?;
        self.clear_published(*stage)?;
        if let Err(error) = self.write_data(offset, data) {
            self.extent.lock().has_debris = true;
            drop(stage);
            self.clear_debris(offset..end);
            return Err(error);
        }
        let mut extent = self.extent.lock();
        extent.len = extent.len.max(end);
        extent.local.insert(offset..end);
        drop(extent);
        self.count(data.len() as i64);
        Ok(())
    }

    /// Writes to the file. Where the disk is full, clean replicas go first.
    fn write_data(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        loop {
            match self.data.write_all_at(data, offset) {
                Err(error)
                    if error.kind() == io::ErrorKind::StorageFull && self.make_room(data.len() as u64) => {}
                written => return written,
            }
        }
    }

    /// Gives whether anything was freed.
    fn make_room(&self, bytes: u64) -> bool {
        let Some(tier) = &self.shared.disk else { return false };
        let device = |metadata: io::Result<std::fs::Metadata>| metadata.map(|metadata| metadata.dev()).ok();
        device(self.data.metadata()) == device(std::fs::metadata(&tier.root))
            && evict::give_way(&self.shared, tier, bytes)
    }

    /// A failed write left bytes where zeros are to be, or beyond the end.
    fn clear_debris(&self, range: Range<u64>) {
        let stage = self.shape.write();
        if *stage == Stage::Given {
            return;
        }
        let zeros = self.segments(range).into_iter().filter(|segment| segment.kind == SegmentKind::Zero);
        let punched = zeros.map(|Segment { range, .. }| {
            let flags = rustix::fs::FallocateFlags::PUNCH_HOLE | rustix::fs::FallocateFlags::KEEP_SIZE;
            Ok(rustix::fs::fallocate(&self.data, flags, range.start, range.end - range.start)?)
        });
        let punched: io::Result<()> = punched.collect();
        let mut extent = self.extent.lock();
        let cleared = punched.and_then(|()| self.data.set_len(extent.len));
        // With debris left it can be published, but its file is not taken over.
        extent.has_debris = cleared.is_err();
        drop(extent);
        self.recount();
    }

    /// Cuts it, or extends it with zeros, to `len` bytes. Errors: as of [`DirtyReplica::write_at`].
    pub fn truncate(&self, len: u64) -> io::Result<()> {
        self.set_len(*self.shape.write(), len)
    }

    /// Extends it with zeros to `len` bytes, unless it is as long already; the length that it had then. Errors: as of
    /// [`DirtyReplica::write_at`].
    pub fn extend(&self, len: u64) -> io::Result<Option<u64>> {
        let stage = self.shape.write();
        let before = self.len();
        if before >= len {
            return Ok(None);
        }
        self.set_len(*stage, len).map(|()| Some(before))
    }

    /// For who holds `shape` alone.
    fn set_len(&self, stage: Stage, len: u64) -> io::Result<()> {
        check_open(stage)?;
        self.clear_published(stage)?;
        let mut record = self.record.lock();
        let mut next = record.clone();
        for range in next.local.iter_mut().flatten() {
            *range = range.start.min(len)..range.end.min(len);
        }
        if len < next.base_len {
            // Recorded before it is done: whoever recovers it must not show what was cut off of the base. What was cut off
            // otherwise is gone from the file.
            next.base_len = len;
            self.write_record(stage, &next, next.local.is_some())?;
        }
        *record = next;
        drop(record);
        let _reading_none = self.reading.write();
        self.data.set_len(len)?;
        let mut extent = self.extent.lock();
        extent.len = len;
        extent.local.truncate(len);
        extent.base_len = extent.base_len.min(len);
        drop(extent);
        self.recount();
        Ok(())
    }

    /// What the bytes of `range` are, cut to its length.
    pub fn segments(&self, range: Range<u64>) -> Vec<Segment> {
        let extent = self.extent.lock();
        let range = range.start.min(extent.len)..range.end.min(extent.len);
        let mut segments = Vec::new();
        for (piece, is_local) in extent.local.pieces(range) {
            if is_local {
                segments.push(Segment { range: piece, kind: SegmentKind::Local });
                continue;
            }
            let border = extent.base_len.clamp(piece.start, piece.end);
            for (range, kind) in
                [(piece.start..border, SegmentKind::Base), (border..piece.end, SegmentKind::Zero)]
            {
                if !range.is_empty() {
                    segments.push(Segment { range, kind });
                }
            }
        }
        segments
    }

    /// Bytes that are local; `None` when they are so no longer: the file was cut, or published and given away, since they were said
    /// to be. The caller then looks anew. Errors: the local disk's; the file is shorter than what was written to it.
    ///
    /// # Why not of a file that was given away
    /// It is a clean replica's, which may free it under a reader at any moment; what is read then has to be checked block by
    /// block, as only the replica can.
    pub fn read_local(&self, range: Range<u64>) -> io::Result<Option<Bytes>> {
        let mut bytes = vec![0; (range.end.saturating_sub(range.start)) as usize];
        let read = {
            let _uncut = self.reading.read();
            if range.end > self.len() {
                return Ok(None);
            }
            self.data.read_exact_at(&mut bytes, range.start)
        };
        if *self.shape.read() == Stage::Given {
            return Ok(None);
        }
        // It was neither cut nor given away: where bytes are missing, somebody else has cut the file.
        read.map(|()| Some(bytes.into()))
    }

    /// As [`DirtyReplica::read_local`], of bytes that the kernel has in memory and that nobody is changing: it never blocks. `None` where
    /// that cannot be told.
    pub fn read_local_now(&self, range: Range<u64>) -> Option<Bytes> {
        let uncut = self.reading.try_read()?;
        if range.end > self.len() {
            return None;
        }
        let mut bytes = vec![0; (range.end.saturating_sub(range.start)) as usize];
        let (mut filled, flags) = (0, rustix::io::ReadWriteFlags::NOWAIT);
        while filled < bytes.len() {
            let at = range.start + filled as u64;
            match rustix::io::preadv2(&*self.data, &mut [IoSliceMut::new(&mut bytes[filled..])], at, flags) {
                Ok(0) | Err(_) => return None,
                Ok(read) => filled += read,
            }
        }
        drop(uncut);
        (*self.shape.try_read()? != Stage::Given).then(|| bytes.into())
    }

    /// Keeps bytes that were fetched from the base, where it is not written and they still show. Errors: as of
    /// [`DirtyReplica::write_at`].
    pub fn fill_base(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        // Alone: a write of the same bytes between looking and writing would be lost.
        let stage = self.shape.write();
        check_open(*stage)?;
        let range = offset..offset.saturating_add(data.len() as u64);
        let (mut filled, mut written) = (0, Ok(()));
        for segment in self.segments(range).into_iter().filter(|segment| segment.kind == SegmentKind::Base) {
            let piece = &data[(segment.range.start - offset) as usize..(segment.range.end - offset) as usize];
            written = self.write_data(segment.range.start, piece);
            if written.is_err() {
                break;
            }
            filled += piece.len();
            self.extent.lock().local.insert(segment.range);
        }
        self.count(filled as i64);
        let mut record = self.record.lock();
        if record.published.is_some() && (filled > 0 || written.is_err()) {
            // The same bytes, in a file that was changed later.
            record.published = Some(Published::of(&self.data.metadata()?)?);
            self.write_record(*stage, &record, record.local.is_some())?;
        }
        written
    }

    /// Bytes of zeros that nobody wrote, were it extended to `len` bytes.
    pub fn hole_bytes(&self, len: u64) -> u64 {
        let extent = self.extent.lock();
        let pieces = extent.local.pieces(extent.base_len..len.max(extent.base_len));
        pieces.into_iter().filter(|(_, is_local)| !is_local).map(|(hole, _)| hole.end - hole.start).sum()
    }

    /// Whether its file has all of its bytes; the others are only in the version it is a change of.
    pub fn is_whole(&self) -> bool {
        let extent = self.extent.lock();
        extent.local.pieces(0..extent.base_len).into_iter().all(|(_, is_local)| is_local)
    }

    /// Gives the file away, as it is now; `None` when that was done before. It is neither read nor written from here on; on disk it
    /// is where it was until it [leaves](Self::leave_journal). Errors: it is no longer `len` bytes long, so somebody wrote meanwhile;
    /// it then stays as it is.
    pub(crate) fn give_up(&self, len: u64) -> io::Result<Option<Given>> {
        let mut stage = self.shape.write();
        if *stage != Stage::Open {
            return Ok(None);
        }
        let extent = self.extent.lock();
        if extent.len != len {
            return Err(io::Error::other("it was written after it was published"));
        }
        if extent.has_debris {
            return Err(io::Error::other("a failed write left bytes in it"));
        }
        let mut local = extent.local.clone();
        // Zeros are as local as what was written: the file has them as holes.
        local.insert(extent.base_len..extent.len);
        *stage = Stage::Given;
        Ok(Some(Given { data: self.data.clone(), local: local.iter().collect() }))
    }

    /// The file of its bytes.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes of disk that it holds.
    pub fn bytes_on_disk(&self) -> u64 {
        self.data.metadata().map_or(0, |metadata| metadata.blocks() * 512)
    }

    /// Nothing of it is on disk as a dirty replica's any more.
    fn uncount(&self) {
        self.set_counted(0);
    }

    fn count(&self, bytes: i64) {
        let before = self.counted_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.shared.usage.add_dirty(bytes);
        if before / RECOUNT_BYTES != (before + bytes) / RECOUNT_BYTES {
            self.recount();
        }
    }

    /// After cutting, and now and then, what it holds is asked of the file system: overwritten bytes were counted twice.
    fn recount(&self) {
        self.set_counted(self.bytes_on_disk() as i64);
    }

    fn set_counted(&self, bytes: i64) {
        let before = self.counted_bytes.swap(bytes, Ordering::Relaxed);
        self.shared.usage.add_dirty(bytes - before);
    }
}

impl Drop for DirtyReplica {
    fn drop(&mut self) {
        if *self.shape.get_mut() == Stage::Open && self.record.get_mut().published.is_some() {
            *self.shape.get_mut() = Stage::Discarded;
            let path = std::mem::take(&mut self.path);
            self.shared.journal.push_removal(move || journal::remove(&path));
        }
        if *self.shape.get_mut() != Stage::Open {
            // A file without a name goes now.
            self.uncount();
            return;
        }
        // What is left on disk goes on being counted, and is told of.
        if let Ok(data) = self.data.metadata() {
            let left = self.record.get_mut().clone().left(std::mem::take(&mut self.path), &data);
            self.set_counted(left.bytes_on_disk as i64);
            self.shared.left.lock().push(left);
        }
    }
}

fn check_open(stage: Stage) -> io::Result<()> {
    if stage == Stage::Given { Err(io::Error::from_raw_os_error(libc::ESTALE)) } else { Ok(()) }
}

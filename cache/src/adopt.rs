//! How a dirty replica's file becomes a clean replica's.
//!
//! Owns: [`take_over`], by renaming where both are on one file system, and [`CopyIn`], which the filling thread does where they are not.
//!
//! Invariant: what was published is in the bucket, so a file that cannot be taken over is removed, and its bytes are fetched again.

use crate::block::{BLOCK_SIZE_BYTES, block_count, bytes_of, checksum};
use crate::cache::Shared;
use crate::dirty::DirtyReplica;
use crate::disk::Through;
use crate::disk_tier::{DiskTier, leaf_of};
use crate::evict;
use crate::replica::{DiskSlot, Replica};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// Blocks that are copied at a time: 1 MiB.
const COPY_BLOCK_COUNT: u64 = 8;

/// Makes the file of `dirty` that of `replica`. Errors: somebody wrote to `dirty` since; the local disk's.
pub(crate) fn take_over(
    shared: &Arc<Shared>,
    dirty: &DirtyReplica,
    replica: &Arc<Replica>,
) -> io::Result<()> {
    let Some(tier) = &shared.disk else {
        dirty.discard();
        return Ok(());
    };
    let size = replica.size();
    // Before the slot: a write to `dirty` that finds the disk full takes slots to make room.
    let given = match dirty.give_up(size) {
        Ok(Some(given)) => given,
        Ok(None) => return Ok(()),
        Err(error) => {
            dirty.discard();
            return Err(error);
        }
    };
    let mut slot = replica.disk.lock();
    if let DiskSlot::Open(old) = &*slot {
        // Who still reads the file that is replaced must find nothing in it, rather than the holes of a file that was cut.
        old.free();
    }
    let present: Vec<_> = given.local.iter().map(|range| whole_blocks(range, size)).collect();
    let copied = given.data.try_clone();
    match tier.install(&given.path, given.data, replica.digest, size, &present) {
        Ok(file) => {
            let file = Arc::new(file);
            *slot = DiskSlot::Open(file.clone());
            drop(slot);
            shared.open_files.opened(shared, replica.digest.name);
            shared.fills.push_sum(replica.digest.name, file);
            Ok(())
        }
        Err(error) => {
            if !matches!(*slot, DiskSlot::Off) {
                *slot = DiskSlot::Absent;
            }
            drop(slot);
            let _ = std::fs::remove_file(&given.path);
            if error.kind() != io::ErrorKind::CrossesDevices {
                return Err(error);
            }
            shared.fills.push_copy(CopyIn { replica: replica.clone(), source: copied?, present });
            Ok(())
        }
    }
}

/// The blocks that are wholly within `range` of an object of `size` bytes.
fn whole_blocks(range: &Range<u64>, size: u64) -> Range<u64> {
    let end = if range.end >= size { block_count(size) } else { range.end / BLOCK_SIZE_BYTES };
    range.start.div_ceil(BLOCK_SIZE_BYTES).min(end)..end
}

/// A file on another file system, which has no name any more, and its blocks that are to be kept.
pub(crate) struct CopyIn {
    replica: Arc<Replica>,
    source: File,
    present: Vec<Range<u64>>,
}

impl CopyIn {
    /// Copies them. Does nothing where the replica came to have a file by other ways. Errors: the local disk's; what was copied stays.
    pub fn run(self, shared: &Shared, tier: &DiskTier) -> io::Result<()> {
        let (replica, size) = (&self.replica, self.replica.size());
        let bytes = |blocks: &Range<u64>| bytes_of(blocks, size).end - bytes_of(blocks, size).start;
        if !evict::make_room(shared, tier, self.present.iter().map(bytes).sum()) {
            return Ok(());
        }
        let file = {
            let mut slot = replica.disk.lock();
            if !matches!(*slot, DiskSlot::Unknown | DiskSlot::Absent) {
                return Ok(());
            }
            let file = Arc::new(tier.create(replica.digest, size)?);
            *slot = DiskSlot::Open(file.clone());
            file
        };
        shared.open_files.opened(shared, replica.digest.name);
        let copied = file.set_full_length().and_then(|()| {
            let mut buffer = Vec::new();
            for run in &self.present {
                for first in run.clone().step_by(COPY_BLOCK_COUNT as usize) {
                    let blocks = first..run.end.min(first + COPY_BLOCK_COUNT);
                    buffer.resize(bytes(&blocks) as usize, 0);
                    self.source.read_exact_at(&mut buffer, bytes_of(&blocks, size).start)?;
                    let parts: Vec<&[u8]> = buffer.chunks(BLOCK_SIZE_BYTES as usize).collect();
                    let sums = parts.iter().map(|part| checksum(part));
                    file.write_blocks(first, &parts, sums, Through::PageCache)?;
                }
            }
            Ok(())
        });
        tier.usage.add_clean(leaf_of(replica.digest.name), file.allocated_bytes() as i64);
        copied
    }
}

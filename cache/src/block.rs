//! Blocks: the unit of presence, of checksums and of memory.
//!
//! Owns the geometry (an object is cut into blocks of [`BLOCK_SIZE_BYTES`], the last one short), the checksum, [`Slab`], the memory of
//! blocks that came together, and [`Block`], one of them. Invariant: the bytes of a slab are counted against the memory budget
//! until the last holder of one of its blocks lets go.

use crate::buffer::BlockBuffer;
use bytes::Bytes;
use std::ops::Range;
use std::sync::{Arc, OnceLock, Weak};
use tokio::sync::OwnedSemaphorePermit;

/// The size of every block of an object but its last, in bytes.
pub const BLOCK_SIZE_BYTES: u64 = 128 * 1024;

/// What a short block takes beside its bytes, in bytes: its slab, its places in the lists, and what the allocator adds. With a million
/// objects of 1 byte in memory (`examples/small_objects.rs`) that is 300, and more once some have made way for others. Of a whole
/// block it is a quarter of a percent, and not counted.
const BLOCK_OVERHEAD_BYTES: u64 = 384;

/// Blocks in one slab at most: 2 MiB, a huge page of most processors, and two of the kernel's largest reads.
pub(crate) const SLAB_BLOCK_COUNT: u64 = 16;

/// How many blocks an object of `size` bytes has.
pub(crate) fn block_count(size: u64) -> u64 {
    size.div_ceil(BLOCK_SIZE_BYTES)
}

/// The blocks that `range` touches.
pub(crate) fn blocks_of(range: &Range<u64>) -> Range<u64> {
    if range.is_empty() {
        return 0..0;
    }
    range.start / BLOCK_SIZE_BYTES..range.end.div_ceil(BLOCK_SIZE_BYTES)
}

/// The bytes of `blocks` in an object of `size` bytes.
pub(crate) fn bytes_of(blocks: &Range<u64>, size: u64) -> Range<u64> {
    (blocks.start * BLOCK_SIZE_BYTES).min(size)..(blocks.end * BLOCK_SIZE_BYTES).min(size)
}

/// The length of one block of an object of `size` bytes.
pub(crate) fn block_len(block: u64, size: u64) -> usize {
    let bytes = bytes_of(&(block..block + 1), size);
    (bytes.end - bytes.start) as usize
}

/// What `len` bytes of blocks that lie on end are charged with: with a short one among them, as of a small object, also what is kept
/// beside its bytes.
pub(crate) fn charge_of(len: u64) -> u64 {
    if len.is_multiple_of(BLOCK_SIZE_BYTES) { len } else { len + BLOCK_OVERHEAD_BYTES }
}

/// CRC32C (RFC 3720, appendix B.4).
pub(crate) fn checksum(bytes: &[u8]) -> u32 {
    crc_fast::crc32_iscsi(bytes)
}

/// The bytes of blocks that lie on end and came together, in one buffer: a read of several of them is a view, without a copy.
pub(crate) struct Slab {
    bytes: BlockBuffer,
    blocks: Range<u64>,
    /// Its share of the memory budget: all of it, until the last of its blocks is gone. After `bytes`, which are given back before.
    _permit: OwnedSemaphorePermit,
}

impl Slab {
    /// The blocks from number `first` on. `permit` is for what they are charged with.
    pub fn new(bytes: BlockBuffer, first: u64, permit: OwnedSemaphorePermit) -> Self {
        debug_assert_eq!(permit.num_permits() as u64, charge_of(bytes.len() as u64));
        let blocks = first..first + block_count(bytes.len() as u64);
        Self { bytes, blocks, _permit: permit }
    }

    /// Each of its blocks, with its number.
    pub fn blocks(self: Arc<Self>) -> impl Iterator<Item = (u64, Arc<Block>)> {
        self.blocks.clone().map(move |number| {
            let block = Block { slab: self.clone(), number, checksum: OnceLock::new() };
            (number, Arc::new(block))
        })
    }
}

/// One block in memory.
pub(crate) struct Block {
    slab: Arc<Slab>,
    number: u64,
    /// The checksum, once somebody asked for it.
    checksum: OnceLock<u32>,
}

impl Block {
    pub fn bytes(&self) -> &[u8] {
        let start = ((self.number - self.slab.blocks.start) * BLOCK_SIZE_BYTES) as usize;
        &self.slab.bytes[start..self.slab.bytes.len().min(start + BLOCK_SIZE_BYTES as usize)]
    }

    /// Its share of what its slab is charged with.
    pub fn charge(&self) -> u64 {
        charge_of(self.bytes().len() as u64)
    }

    /// What it shares its memory with: gone once that is free.
    pub fn memory(&self) -> Weak<Slab> {
        Arc::downgrade(&self.slab)
    }

    /// The blocks that share its memory, itself among them: it is free when all of them are gone.
    pub fn siblings(&self) -> Range<u64> {
        self.slab.blocks.clone()
    }

    /// The bytes of `range` of the object without a copy, where they are all in one buffer with this block.
    pub fn view(&self, range: &Range<u64>) -> Option<Bytes> {
        let base = self.slab.blocks.start * BLOCK_SIZE_BYTES;
        let (start, end) = (range.start.checked_sub(base)? as usize, range.end.checked_sub(base)? as usize);
        (end <= self.slab.bytes.len()).then(|| Bytes::from_owner(Whole(self.slab.clone())).slice(start..end))
    }

    /// CRC32C of the bytes. Taken while they are in the processor's cache it costs half.
    pub fn checksum(&self) -> u32 {
        *self.checksum.get_or_init(|| checksum(self.bytes()))
    }
}

/// A buffer that a reply is a view of.
struct Whole(Arc<Slab>);

impl AsRef<[u8]> for Whole {
    fn as_ref(&self) -> &[u8] {
        &self.0.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_block_is_short() {
        let size = 2 * BLOCK_SIZE_BYTES + 5;
        assert_eq!(block_count(size), 3);
        assert_eq!(block_len(1, size), BLOCK_SIZE_BYTES as usize);
        assert_eq!(block_len(2, size), 5);
        assert_eq!(blocks_of(&(BLOCK_SIZE_BYTES - 1..BLOCK_SIZE_BYTES + 1)), 0..2);
        assert_eq!(blocks_of(&(5..5)), 0..0);
        assert_eq!(block_count(0), 0);
    }

    #[test]
    fn the_checksum_is_crc32c() {
        assert_eq!(checksum(b"123456789"), 0xe306_9283);
    }
}

//! Blocks: the unit of presence, of checksums and of memory.
//!
//! Owns the geometry (an object is cut into blocks of [`BLOCK_SIZE_BYTES`], the last one short), the checksum, and [`Block`], one
//! block's bytes in memory. Invariant: the bytes of a block in memory are counted against the memory budget until its last
//! holder lets go of them.

use crate::buffer::{BlockBuffer, BufferPool};
use std::ops::Range;
use std::sync::{Arc, OnceLock};
use tokio::sync::OwnedSemaphorePermit;

/// The size of every block of an object but its last, in bytes.
pub const BLOCK_SIZE_BYTES: u64 = 128 * 1024;

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

/// CRC32C (RFC 3720, appendix B.4).
pub(crate) fn checksum(bytes: &[u8]) -> u32 {
    crc_fast::crc32_iscsi(bytes)
}

/// The bytes of one block in memory.
pub(crate) struct Block {
    bytes: BlockBuffer,
    /// The checksum, once somebody asked for it.
    checksum: OnceLock<u32>,
    pool: Arc<BufferPool>,
    /// Its share of the memory budget.
    _permit: OwnedSemaphorePermit,
}

impl Block {
    /// `permit` is for as many bytes as there are.
    pub fn new(bytes: BlockBuffer, pool: Arc<BufferPool>, permit: OwnedSemaphorePermit) -> Self {
        debug_assert_eq!(permit.num_permits(), bytes.len());
        Self { bytes, checksum: OnceLock::new(), pool, _permit: permit }
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// CRC32C of the bytes. Taken while they are in the processor's cache it costs half.
    pub fn checksum(&self) -> u32 {
        *self.checksum.get_or_init(|| checksum(&self.bytes))
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        self.pool.give(std::mem::replace(&mut self.bytes, BufferPool::none()));
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

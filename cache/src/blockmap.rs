//! Which blocks of a replica are on disk, and their checksums.
//!
//! Owns: [`BlockMap`], read from its file a chunk of 1,024 blocks (128 MiB of data) at a time, so that a replica of terabytes costs
//! the memory of what was touched. It is a cache of what the state file says, changed together with it.

use std::collections::HashMap;
use std::ops::Range;

/// Blocks in one chunk.
pub(crate) const CHUNK_BLOCK_COUNT: u64 = 1024;

/// What is known of one block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Entry {
    /// Not on disk.
    #[default]
    Absent,
    /// On disk, written here, and its checksum not yet taken.
    Unsummed,
    /// On disk, with this CRC32C.
    Present(u32),
}

impl Entry {
    /// As in the state file: absent is zero, so that holes of a sparse file say absent.
    pub fn encode(self) -> [u8; 8] {
        match self {
            Self::Absent | Self::Unsummed => [0; 8],
            Self::Present(crc) => ((1 << 32) | u64::from(crc)).to_le_bytes(),
        }
    }

    /// Anything that was not encoded here is absent.
    pub fn decode(bytes: [u8; 8]) -> Self {
        let word = u64::from_le_bytes(bytes);
        if word >> 32 == 1 { Self::Present(word as u32) } else { Self::Absent }
    }
}

/// Entries by block, where they are known.
#[derive(Debug, Default)]
pub(crate) struct BlockMap {
    chunks: HashMap<u64, Vec<Entry>>,
    block_count: u64,
}

impl BlockMap {
    /// Of an object of so many blocks, none of them known.
    pub fn new(block_count: u64) -> Self {
        Self { chunks: HashMap::new(), block_count }
    }

    pub fn block_count(&self) -> u64 {
        self.block_count
    }

    /// The blocks of a chunk.
    pub fn chunk_blocks(&self, chunk: u64) -> Range<u64> {
        (chunk * CHUNK_BLOCK_COUNT).min(self.block_count)
            ..((chunk + 1) * CHUNK_BLOCK_COUNT).min(self.block_count)
    }

    pub fn is_known(&self, block: u64) -> bool {
        self.chunks.contains_key(&(block / CHUNK_BLOCK_COUNT))
    }

    /// Learns the chunk of `block` from its encoded entries; what is missing at the end is absent.
    pub fn learn(&mut self, block: u64, encoded: &[u8]) {
        let chunk = block / CHUNK_BLOCK_COUNT;
        let blocks = self.chunk_blocks(chunk);
        let mut entries = vec![Entry::Absent; (blocks.end - blocks.start) as usize];
        for (entry, bytes) in entries.iter_mut().zip(encoded.as_chunks::<8>().0) {
            *entry = Entry::decode(*bytes);
        }
        self.chunks.insert(chunk, entries);
    }

    /// What is known of a block; absent where its chunk was not learnt.
    pub fn get(&self, block: u64) -> Entry {
        let chunk = self.chunks.get(&(block / CHUNK_BLOCK_COUNT));
        chunk.and_then(|chunk| chunk.get((block % CHUNK_BLOCK_COUNT) as usize)).copied().unwrap_or_default()
    }

    /// Sets what is known of a block of a chunk that was learnt.
    pub fn set(&mut self, block: u64, entry: Entry) {
        let chunk = self.chunks.get_mut(&(block / CHUNK_BLOCK_COUNT));
        if let Some(slot) = chunk.and_then(|chunk| chunk.get_mut((block % CHUNK_BLOCK_COUNT) as usize)) {
            *slot = entry;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_survive_encoding_and_garbage_is_absent() {
        assert_eq!(Entry::decode(Entry::Present(0).encode()), Entry::Present(0));
        assert_eq!(Entry::decode(Entry::Present(u32::MAX).encode()), Entry::Present(u32::MAX));
        assert_eq!(Entry::decode([0; 8]), Entry::Absent);
        assert_eq!(Entry::decode([0xff; 8]), Entry::Absent);
        assert_eq!(Entry::decode(Entry::Unsummed.encode()), Entry::Absent);
    }

    #[test]
    fn a_chunk_cut_short_is_absent_at_its_end() {
        let mut map = BlockMap::new(CHUNK_BLOCK_COUNT + 3);
        map.learn(CHUNK_BLOCK_COUNT, &[Entry::Present(7).encode(), [0; 8]].concat()[..12]);
        assert!(map.is_known(CHUNK_BLOCK_COUNT) && !map.is_known(0));
        assert_eq!(map.get(CHUNK_BLOCK_COUNT), Entry::Present(7));
        assert_eq!(map.get(CHUNK_BLOCK_COUNT + 2), Entry::Absent);
        map.set(CHUNK_BLOCK_COUNT + 2, Entry::Present(9));
        assert_eq!(map.get(CHUNK_BLOCK_COUNT + 2), Entry::Present(9));
    }
}

//! What is read and written: incompressible bytes, and how many.
//!
//! Owns: [`Corpus`] (contents) and [`Sizes`] (amounts). An object's contents follow from its number alone, so that they can
//! be checked without a second copy.

use bytes::Bytes;
use rand::{Rng, SeedableRng, rngs::StdRng};
use xxhash_rust::xxh3::Xxh3;

/// Contents are handed out in blocks of this size.
pub const BLOCK_BYTES: usize = 1 << 20;

const POOL_BLOCKS: usize = 61;

/// Random blocks, of which every object is put together in its own order.
pub struct Corpus {
    pool: Bytes,
}

impl Corpus {
    pub fn new() -> Self {
        let mut pool = vec![0; POOL_BLOCKS * BLOCK_BYTES];
        StdRng::seed_from_u64(1).fill_bytes(&mut pool);
        Self { pool: pool.into() }
    }

    /// The blocks of object `number`, the last one cut to size.
    pub fn blocks(&self, number: u64, len_bytes: u64) -> impl Iterator<Item = Bytes> {
        let count = len_bytes.div_ceil(BLOCK_BYTES as u64);
        (0..count).map(move |block| {
            let start = ((number * 7 + block * 3) as usize % POOL_BLOCKS) * BLOCK_BYTES;
            let len = (len_bytes - block * BLOCK_BYTES as u64).min(BLOCK_BYTES as u64) as usize;
            self.pool.slice(start..start + len)
        })
    }

    /// The checksum of object `number`.
    pub fn checksum(&self, number: u64, len_bytes: u64) -> u64 {
        let mut hash = Xxh3::new();
        self.blocks(number, len_bytes).for_each(|block| hash.update(&block));
        hash.digest()
    }
}

/// How much each job reads and writes.
pub struct Sizes {
    pub big_bytes: u64,
    pub written_bytes: u64,
    pub random_bytes: u64,
    pub random_reads: usize,
    pub read_files: usize,
    pub created_files: usize,
    pub listed_files: usize,
    pub crowd_files: usize,
    pub crowd_bytes: u64,
}

impl Sizes {
    pub fn full() -> Self {
        Self {
            big_bytes: 1 << 30,
            written_bytes: 2 << 30,
            random_bytes: 256 << 20,
            random_reads: 32_768,
            read_files: 500,
            created_files: 1000,
            listed_files: 5000,
            crowd_files: 64,
            crowd_bytes: 64 << 20,
        }
    }

    pub fn quick() -> Self {
        let full = Self::full();
        Self {
            big_bytes: full.big_bytes / 8,
            written_bytes: full.written_bytes / 8,
            random_bytes: full.random_bytes / 8,
            random_reads: full.random_reads / 8,
            read_files: full.read_files / 8,
            created_files: full.created_files / 8,
            listed_files: full.listed_files / 8,
            crowd_files: full.crowd_files,
            crowd_bytes: full.crowd_bytes / 8,
        }
    }
}

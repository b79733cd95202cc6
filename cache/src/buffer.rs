//! Buffers that are used again, so that the process stays as large as its budget and no larger.
//!
//! Owns: [`BufferPool`], which keeps the buffers of whole blocks and slabs ([`BlockBuffer`]).
//!
//! Invariant: buffers in use and idle ones together are no more than the memory budget: idle ones are freed for those that are made.
//!
//! # Why
//! A malloc of 128 KiB or more maps and unmaps pages each time, and freed ones of that size in many threads' arenas are not given
//! back for long. Buffers that were written before also need no zeroing, which saves `unsafe`, and their pages are the process's
//! already: on a virtual machine the first touch of a page costs ten times what copying it does. So the buffer that was given back last
//! is used first.

use crate::block::{BLOCK_SIZE_BYTES, SLAB_BLOCK_COUNT, charge_of};
use memmap2::{Advice, MmapMut};
use parking_lot::Mutex;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

/// Memory of a buffer.
enum Memory {
    /// Of a small object, of which there may be millions.
    Small(Vec<u8>),
    /// Of whole blocks: pages of its own.
    Pages(MmapMut),
}

impl Memory {
    /// Zeros.
    fn new(len: usize) -> Self {
        if len < BLOCK_BYTES {
            return Self::Small(vec![0; len]);
        }
        match MmapMut::map_anon(len) {
            Ok(pages) => {
                // Only faster: a system without huge pages says no.
                let _ = pages.advise(Advice::HugePage);
                Self::Pages(pages)
            }
            // The allocator knows what to do when there is none left.
            Err(_) => Self::Small(vec![0; len]),
        }
    }
}

impl Deref for Memory {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Small(bytes) => bytes,
            Self::Pages(pages) => pages,
        }
    }
}

/// The bytes of blocks that lie on end; back in its pool when it is dropped. Those of whole blocks begin at a page, which is what disks want of
/// memory that they read themselves (open(2), O_DIRECT).
pub(crate) struct BlockBuffer {
    memory: Memory,
    pool: Arc<BufferPool>,
}

impl Deref for BlockBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.memory
    }
}

impl DerefMut for BlockBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        match &mut self.memory {
            Memory::Small(bytes) => bytes,
            Memory::Pages(pages) => pages,
        }
    }
}

impl Drop for BlockBuffer {
    fn drop(&mut self) {
        self.pool.give(std::mem::replace(&mut self.memory, Memory::Small(Vec::new())));
    }
}

/// The bytes of a whole block, and of a whole slab.
const BLOCK_BYTES: usize = BLOCK_SIZE_BYTES as usize;
const SLAB_BYTES: usize = BLOCK_BYTES * SLAB_BLOCK_COUNT as usize;

#[derive(Default)]
struct Idle {
    blocks: Vec<Memory>,
    slabs: Vec<Memory>,
    bytes: usize,
    /// What all buffers, idle and in use, are charged with.
    held_bytes: usize,
}

impl Idle {
    /// The list of buffers of that length, if they are kept.
    fn list(&mut self, len: usize) -> Option<&mut Vec<Memory>> {
        match len {
            BLOCK_BYTES => Some(&mut self.blocks),
            SLAB_BYTES => Some(&mut self.slabs),
            _ => None,
        }
    }

    /// Frees idle buffers until all that are held are within `bytes_max`, or none is idle.
    fn trim(&mut self, bytes_max: usize) {
        while self.held_bytes > bytes_max
            && let Some(buffer) = self.blocks.pop().or_else(|| self.slabs.pop())
        {
            self.bytes -= buffer.len();
            self.held_bytes -= buffer.len();
        }
    }
}

/// The buffers of a memory tier, of which idle ones of a block or a slab are kept.
pub(crate) struct BufferPool {
    /// Guards the lists; a leaf in the lock order.
    idle: Mutex<Idle>,
    idle_bytes_max: usize,
    held_bytes_max: usize,
}

impl BufferPool {
    /// Keeps at most a quarter of `held_bytes_max` idle, and no more than that with what is in use, which the caller bounds.
    pub fn new(held_bytes_max: u64) -> Arc<Self> {
        let held_bytes_max = held_bytes_max as usize;
        Arc::new(Self { idle: Mutex::default(), idle_bytes_max: held_bytes_max / 4, held_bytes_max })
    }

    /// A buffer of exactly `len` bytes, of any content.
    pub fn take(self: &Arc<Self>, len: usize) -> BlockBuffer {
        {
            let mut idle = self.idle.lock();
            if let Some(memory) = idle.list(len).and_then(Vec::pop) {
                idle.bytes -= len;
                return BlockBuffer { memory, pool: self.clone() };
            }
            idle.held_bytes += charge_of(len as u64) as usize;
            idle.trim(self.held_bytes_max);
        }
        BlockBuffer { memory: Memory::new(len), pool: self.clone() }
    }

    /// Takes a buffer back.
    fn give(&self, buffer: Memory) {
        let len = buffer.len();
        let mut idle = self.idle.lock();
        if idle.bytes + len <= self.idle_bytes_max
            && let Some(list) = idle.list(len)
        {
            list.push(buffer);
            idle.bytes += len;
        } else {
            idle.held_bytes -= charge_of(len as u64) as usize;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_buffers_are_freed_for_those_in_use() {
        const BUDGET: u64 = 4 * SLAB_BYTES as u64;
        let pool = BufferPool::new(BUDGET);
        let slabs: Vec<_> = (0..4).map(|_| pool.take(SLAB_BYTES)).collect();
        drop(slabs);
        assert_eq!(pool.idle.lock().bytes, SLAB_BYTES, "a quarter");
        let again = pool.take(SLAB_BYTES);
        assert_eq!(pool.idle.lock().bytes, 0);
        drop(again);
        // Others take all of the budget.
        let small_count = BUDGET / charge_of(1000);
        let small: Vec<_> = (0..small_count).map(|_| pool.take(1000)).collect();
        assert_eq!(pool.idle.lock().bytes, 0);
        assert!(pool.idle.lock().held_bytes as u64 <= BUDGET);
        drop(small);
        assert_eq!(pool.idle.lock().held_bytes, 0);
    }
}

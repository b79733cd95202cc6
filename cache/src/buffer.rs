//! Buffers that are used again, so that the process stays as large as its budget and no larger.
//!
//! Owns: [`BufferPool`], which keeps the buffers of whole blocks and slabs, and [`ReplyPool`], which keeps those that replies are assembled
//! in. Both hold a bounded number of idle buffers.
//!
//! # Why
//! A malloc of 128 KiB or more maps and unmaps pages each time, and freed ones of that size in many threads' arenas are not given
//! back for long. Buffers that were written before also need no zeroing, which saves `unsafe`, and their pages are the process's
//! already: on a virtual machine the first touch of a page costs ten times what copying it does. So the buffer that was given back last
//! is used first.

use crate::block::{BLOCK_SIZE_BYTES, SLAB_BLOCK_COUNT};
use aligned_vec::{AVec, RuntimeAlign};
use bytes::Bytes;
use parking_lot::Mutex;
use std::sync::Arc;

/// The alignment of a whole block in memory, in bytes: what disks want of memory that they read themselves (open(2), O_DIRECT).
const ALIGNMENT_BYTES: usize = 4096;

/// The bytes of blocks that lie on end. Those of a whole one begin at a multiple of [`ALIGNMENT_BYTES`]; a small object's, of which there may
/// be millions, anywhere.
pub(crate) type BlockBuffer = AVec<u8, RuntimeAlign>;

/// The bytes of a whole block, and of a whole slab.
const BLOCK_BYTES: usize = BLOCK_SIZE_BYTES as usize;
const SLAB_BYTES: usize = BLOCK_BYTES * SLAB_BLOCK_COUNT as usize;

#[derive(Default)]
struct Idle {
    blocks: Vec<BlockBuffer>,
    slabs: Vec<BlockBuffer>,
    bytes: usize,
}

impl Idle {
    /// The list of buffers of that length, if they are kept.
    fn list(&mut self, len: usize) -> Option<&mut Vec<BlockBuffer>> {
        match len {
            BLOCK_BYTES => Some(&mut self.blocks),
            SLAB_BYTES => Some(&mut self.slabs),
            _ => None,
        }
    }
}

/// Idle buffers of a block or a slab each.
pub(crate) struct BufferPool {
    /// Guards the lists; a leaf in the lock order.
    idle: Mutex<Idle>,
    idle_bytes_max: usize,
}

impl BufferPool {
    /// Keeps at most `idle_bytes_max` bytes of idle buffers.
    pub fn new(idle_bytes_max: u64) -> Arc<Self> {
        Arc::new(Self { idle: Mutex::default(), idle_bytes_max: idle_bytes_max as usize })
    }

    /// A buffer of exactly `len` bytes, of any content.
    pub fn take(&self, len: usize) -> BlockBuffer {
        {
            let mut idle = self.idle.lock();
            if let Some(buffer) = idle.list(len).and_then(Vec::pop) {
                idle.bytes -= len;
                return buffer;
            }
        }
        let alignment = if len >= BLOCK_BYTES { ALIGNMENT_BYTES } else { 1 };
        let mut buffer = BlockBuffer::with_capacity(alignment, len);
        buffer.resize(len, 0);
        buffer
    }

    /// No buffer yet.
    pub fn none() -> BlockBuffer {
        BlockBuffer::new(1)
    }

    /// Takes a buffer back.
    pub fn give(&self, buffer: BlockBuffer) {
        let len = buffer.len();
        let mut idle = self.idle.lock();
        if idle.bytes + len <= self.idle_bytes_max
            && let Some(list) = idle.list(len)
        {
            list.push(buffer);
            idle.bytes += len;
        }
    }
}

/// The largest reply that is assembled in a kept buffer, in bytes.
const REPLY_BYTES_MAX: usize = 1 << 20;
/// Below this an allocation is cheap.
const REPLY_BYTES_MIN: usize = 64 << 10;
/// How many idle reply buffers are kept.
const REPLY_IDLE_COUNT_MAX: usize = 16;

/// Idle buffers of [`REPLY_BYTES_MAX`] each.
#[derive(Default)]
pub(crate) struct ReplyPool {
    /// Guards the list; a leaf in the lock order.
    idle: Mutex<Vec<Vec<u8>>>,
}

/// The bytes of one reply while it is assembled, and after.
pub(crate) struct Reply {
    bytes: Vec<u8>,
    len: usize,
    pool: Option<Arc<ReplyPool>>,
}

impl ReplyPool {
    /// Room for a reply of `len` bytes, of any content.
    pub fn take(self: &Arc<Self>, len: usize) -> Reply {
        if !(REPLY_BYTES_MIN..=REPLY_BYTES_MAX).contains(&len) {
            return Reply { bytes: vec![0; len], len, pool: None };
        }
        let bytes = self.idle.lock().pop().unwrap_or_else(|| vec![0; REPLY_BYTES_MAX]);
        Reply { bytes, len, pool: Some(self.clone()) }
    }
}

impl Reply {
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.len]
    }

    pub fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Reply {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if let Some(pool) = self.pool.take() {
            let mut idle = pool.idle.lock();
            if idle.len() < REPLY_IDLE_COUNT_MAX {
                idle.push(std::mem::take(&mut self.bytes));
            }
        }
    }
}

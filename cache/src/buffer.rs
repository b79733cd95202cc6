//! Buffers that are used again, so that the process stays as large as its budget and no larger.
//!
//! Owns: [`BufferPool`], which keeps the buffers of whole blocks, and [`ReplyPool`], which keeps those that replies are assembled
//! in. Both hold a bounded number of idle buffers.
//!
//! # Why
//! A malloc of 128 KiB or more maps and unmaps pages each time, and freed ones of that size in many threads' arenas are not given
//! back for long. Buffers that were written before also need no zeroing, which saves `unsafe`.

use crate::block::BLOCK_SIZE_BYTES;
use bytes::Bytes;
use parking_lot::Mutex;
use std::sync::Arc;

/// Idle buffers of one block each.
pub(crate) struct BufferPool {
    /// Guards the list; a leaf in the lock order.
    idle: Mutex<Vec<Box<[u8]>>>,
    idle_count_max: usize,
}

impl BufferPool {
    /// Keeps at most `idle_bytes_max` bytes of idle buffers.
    pub fn new(idle_bytes_max: u64) -> Arc<Self> {
        Arc::new(Self {
            idle: Mutex::new(Vec::new()),
            idle_count_max: (idle_bytes_max / BLOCK_SIZE_BYTES) as usize,
        })
    }

    /// A buffer of exactly `len` bytes, of any content.
    pub fn take(&self, len: usize) -> Box<[u8]> {
        if len == BLOCK_SIZE_BYTES as usize
            && let Some(buffer) = self.idle.lock().pop()
        {
            return buffer;
        }
        vec![0; len].into_boxed_slice()
    }

    /// Takes a buffer back.
    pub fn give(&self, buffer: Box<[u8]>) {
        if buffer.len() == BLOCK_SIZE_BYTES as usize {
            let mut idle = self.idle.lock();
            if idle.len() < self.idle_count_max {
                idle.push(buffer);
            }
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

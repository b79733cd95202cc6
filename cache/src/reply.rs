//! Buffers that replies of several blocks are assembled in, and that are used again: `buffer` says why.
//!
//! Owns: [`ReplyPool`], [`Reply`].

use bytes::Bytes;
use parking_lot::Mutex;
use std::sync::Arc;

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

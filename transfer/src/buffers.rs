//! The bytes of objects that are in memory.
//!
//! Owns: [`Buffers`], within the bounds of [`Memory`], and [`Buffer`], one of them, which goes back when it is dropped. Large ones are used again, since the first touch of fresh memory costs more than copying to it;
//! small ones the allocator has at hand.

use crate::memory::Memory;
use parking_lot::Mutex;
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;

/// The size of a large buffer: what is written to the disk at a time.
pub(crate) const BUFFER_BYTES: usize = 1 << 20;
/// Up to this size a buffer is small.
const SMALL_BYTES: usize = 64 << 10;
/// So many large buffers that nobody has are kept.
const FREE_MAX: usize = 64;

/// The buffers of a run.
#[derive(Debug)]
pub(crate) struct Buffers {
    memory: Memory,
    /// Guards the large buffers that nobody has; a leaf.
    free: Mutex<Vec<Vec<u8>>>,
}

/// Up to [`BUFFER_BYTES`].
#[derive(Debug)]
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    owner: Arc<Buffers>,
    _room: OwnedSemaphorePermit,
}

impl Buffers {
    /// Of so many bytes in all, but one large buffer at least.
    pub fn new(memory_bytes: u64) -> Arc<Self> {
        Arc::new(Self { memory: Memory::new(memory_bytes, BUFFER_BYTES as u64), free: Mutex::default() })
    }

    /// A buffer of at least `len` bytes, up to [`BUFFER_BYTES`], once there is room for it. `None` never happens while the buffers are there: nobody closes them.
    pub async fn take(self: &Arc<Self>, len: usize) -> Option<Buffer> {
        let is_small = len <= SMALL_BYTES;
        let taken = if is_small { len } else { BUFFER_BYTES };
        let room = self.memory.take(taken as u64).await?;
        let used = if is_small { None } else { self.free.lock().pop() };
        let bytes = used.unwrap_or_else(|| vec![0; taken]);
        Some(Buffer { bytes, owner: self.clone(), _room: room })
    }
}

impl Buffer {
    /// The first `len` bytes.
    pub fn part(&mut self, len: usize) -> &mut [u8] {
        &mut self.bytes[..len]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut free = self.owner.free.lock();
        if self.bytes.len() == BUFFER_BYTES && free.len() < FREE_MAX {
            free.push(std::mem::take(&mut self.bytes));
        }
    }
}

//! The bytes of objects that are in memory.
//!
//! Owns: [`Buffers`], a fixed number of buffers that are used again, and [`Buffer`], which goes back when it is dropped. They are the
//! bound of a download's memory: who wants one waits until one is free. Used again, since the first touch of fresh memory costs more than copying to it.

use parking_lot::Mutex;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The size of a buffer: what is written to the disk at a time.
pub(crate) const BUFFER_BYTES: usize = 1 << 20;

/// A bounded number of buffers.
#[derive(Debug)]
pub(crate) struct Buffers {
    places: Arc<Semaphore>,
    /// Guards the buffers that nobody has; a leaf.
    free: Mutex<Vec<Vec<u8>>>,
}

/// One buffer, of [`BUFFER_BYTES`].
#[derive(Debug)]
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    owner: Arc<Buffers>,
    _place: OwnedSemaphorePermit,
}

impl Buffers {
    /// As many as fit into `memory_bytes`, but one at least.
    pub fn new(memory_bytes: u64) -> Arc<Self> {
        let count = usize::try_from(memory_bytes).unwrap_or(usize::MAX) / BUFFER_BYTES;
        let places = Arc::new(Semaphore::new(count.clamp(1, Semaphore::MAX_PERMITS)));
        Arc::new(Self { places, free: Mutex::default() })
    }

    /// A buffer, once there is one. `None` never happens while the buffers are there: nobody closes them.
    pub async fn take(self: &Arc<Self>) -> Option<Buffer> {
        let place = self.places.clone().acquire_owned().await.ok()?;
        let bytes = self.free.lock().pop().unwrap_or_else(|| vec![0; BUFFER_BYTES]);
        Some(Buffer { bytes, owner: self.clone(), _place: place })
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
        self.owner.free.lock().push(std::mem::take(&mut self.bytes));
    }
}

//! How many bytes of objects are in memory.
//!
//! Owns: [`Memory`], the bound that a run's objects share: who wants room waits until there is some.

use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The unit in which room is counted, in bytes.
const UNIT_BYTES: u64 = 4 << 10;

/// A bounded number of bytes. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Memory(Arc<Semaphore>);

impl Memory {
    /// Of so many bytes in all, or as many as are taken at a time, `most`.
    pub fn new(bytes: u64, most: u64) -> Self {
        let units = usize::try_from(units_of(bytes.max(most))).unwrap_or(usize::MAX);
        Self(Arc::new(Semaphore::new(units.min(Semaphore::MAX_PERMITS))))
    }

    /// Room for `len` bytes, until it is dropped. `None` never happens while a run is under way: nobody closes it.
    pub async fn take(&self, len: u64) -> Option<OwnedSemaphorePermit> {
        self.0.clone().acquire_many_owned(units_of(len)).await.ok()
    }
}

fn units_of(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX)
}

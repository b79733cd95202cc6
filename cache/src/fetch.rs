//! Getting what is missing.
//!
//! Owns: [`Fetch`], how a reader of a replica obtains bytes; [`ReadError`]; and [`Run`], one request for blocks that lie on end,
//! which become readable as they arrive: the first MiB block by block, the rest in slabs.
//!
//! Invariant: every slot of a run ends, also when the fetch fails, panics or is dropped with its runtime.
//!
//! # Why a supply fills buffers of ours
//! An HTTP client's chunks are pieces of buffers of 100 to 400 KB, of any alignment: kept, they would hold more memory than is
//! counted, and to copy them was a quarter of what a cold read cost.

use crate::block::{SLAB_BLOCK_COUNT, bytes_of};
use crate::memory::Reservation;
use crate::replica::Replica;
use async_trait::async_trait;
use bytes::{Buf, Bytes};
use std::ops::Range;
use std::sync::Arc;

/// How many blocks of a run that somebody waits for come one by one, for it may be just these: 1 MiB.
const SINGLE_BLOCK_COUNT: u64 = 8;

/// Why bytes could not be fetched; shared by all who waited for them.
pub type FetchError = Arc<dyn std::error::Error + Send + Sync>;

/// Where a replica's missing bytes come from.
#[async_trait]
pub trait Fetch: Send + Sync + 'static {
    /// The bytes of `range`, exactly and in order. Errors: whatever the source says; it reaches the reader as [`ReadError::Fetch`].
    async fn fetch(&self, range: Range<u64>) -> Result<Box<dyn Supply>, FetchError>;
}

/// Bytes on their way.
#[async_trait]
pub trait Supply: Send {
    /// Fills `buffer` with the next bytes. Returns how many came, which is less than `buffer` holds only when there are no more. Errors:
    /// the source's. Dropped halfway, it has lost the bytes that came.
    async fn fill(&mut self, buffer: &mut [u8]) -> Result<usize, FetchError>;
}

/// Bytes in memory.
#[async_trait]
impl Supply for Bytes {
    async fn fill(&mut self, buffer: &mut [u8]) -> Result<usize, FetchError> {
        let count = self.len().min(buffer.len());
        self.copy_to_slice(&mut buffer[..count]);
        Ok(count)
    }
}

/// Why bytes of a replica could not be read.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReadError {
    /// They are not here, and could not be fetched.
    #[error("{0}")]
    Fetch(FetchError),
    /// The answer ended early.
    #[error("the store sent {got} of the {wanted} bytes asked for at offset {offset} of {key}")]
    Short {
        /// The object.
        key: Arc<str>,
        /// Where the bytes begin.
        offset: u64,
        /// How many were asked for.
        wanted: u64,
        /// How many came.
        got: u64,
    },
    /// The range is not within the object.
    #[error("bytes {}..{} are beyond the {size} bytes of {key}", range.start, range.end)]
    OutOfRange {
        /// The object.
        key: Arc<str>,
        /// What was asked for.
        range: Range<u64>,
        /// How large the object is, in bytes.
        size: u64,
    },
    /// The fetch came to no end: it panicked, or the daemon is stopping.
    #[error("fetching {key} was abandoned")]
    Abandoned {
        /// The object.
        key: Arc<str>,
    },
}

/// One request for blocks that lie on end.
pub(crate) struct Run {
    replica: Arc<Replica>,
    /// The blocks that have not come yet.
    blocks: Range<u64>,
}

impl Run {
    /// Of blocks whose slots are in the replica's flights.
    pub fn new(replica: Arc<Replica>, blocks: Range<u64>) -> Self {
        Self { replica, blocks }
    }

    /// Bytes that the blocks take in memory.
    pub fn len(&self) -> u64 {
        len_of(&self.blocks, self.replica.size()) as u64
    }

    /// Fetches them, into memory that was reserved before or that is waited for.
    pub async fn go(mut self, fetch: Arc<dyn Fetch>, reserved: Option<Reservation>) {
        let reservation = match reserved {
            Some(reservation) => reservation,
            None => self.replica.shared().memory.reserve(self.len()).await,
        };
        if let Err(error) = self.receive(fetch, reservation).await {
            self.fail(error);
        }
    }

    async fn receive(
        &mut self,
        fetch: Arc<dyn Fetch>,
        mut reservation: Reservation,
    ) -> Result<(), ReadError> {
        let (size, ahead) = (self.replica.size(), reservation.is_ahead());
        let range = bytes_of(&self.blocks, size);
        let counters = &self.replica.shared().counters;
        counters.fetches.add(1);
        let mut supply = fetch.fetch(range.clone()).await.map_err(ReadError::Fetch)?;
        let singly = if ahead { 0 } else { self.blocks.start + SINGLE_BLOCK_COUNT };
        let mut got = 0;
        while !self.blocks.is_empty() {
            let group = group_of(singly, &self.blocks);
            let mut buffer = reservation.buffer(len_of(&group, size));
            let count = supply.fill(&mut buffer).await.map_err(ReadError::Fetch)?;
            counters.fetched_bytes.add(count as u64);
            got += count as u64;
            if count < buffer.len() {
                let (key, wanted) = (self.replica.id().key.clone(), range.end - range.start);
                return Err(ReadError::Short { key, offset: range.start, wanted, got });
            }
            self.blocks.start = group.end;
            let blocks: Vec<_> = reservation.fill(buffer, group.start).collect();
            self.replica.arrived(&blocks, ahead);
        }
        Ok(())
    }

    fn fail(&mut self, error: ReadError) {
        self.replica.failed(std::mem::take(&mut self.blocks), &error);
    }
}

/// The next blocks to come together: one by one before number `singly`, then in slabs.
fn group_of(singly: u64, rest: &Range<u64>) -> Range<u64> {
    let slab_end = (rest.start / SLAB_BLOCK_COUNT + 1) * SLAB_BLOCK_COUNT;
    let end = if rest.start < singly { rest.start + 1 } else { slab_end };
    rest.start..end.min(rest.end)
}

fn len_of(blocks: &Range<u64>, size: u64) -> usize {
    let bytes = bytes_of(blocks, size);
    (bytes.end - bytes.start) as usize
}

impl Drop for Run {
    fn drop(&mut self) {
        if !self.blocks.is_empty() {
            self.fail(ReadError::Abandoned { key: self.replica.id().key.clone() });
        }
    }
}

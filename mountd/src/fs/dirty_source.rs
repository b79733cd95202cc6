//! What a request sends of a written file.
//!
//! Owns: [`DirtySource`], a piece of a file as a payload, which takes the sum of what is read of it, and ends when the file is to be removed.

use super::dirty::DirtyFile;
use super::error::{FsError, FsResult, Posix};
use super::sum::Sum;
use async_trait::async_trait;
use bytes::Bytes;
use pail_store::{ErrorKind, Payload, PayloadSource};
use parking_lot::Mutex;
use std::ops::Range;
use std::sync::Arc;

/// A piece of a dirty file as a payload.
pub(super) struct DirtySource {
    dirty: Arc<DirtyFile>,
    range: Range<u64>,
    /// Why it could not be read: a store tells only that it could not.
    failure: Mutex<Option<FsError>>,
    /// Guards the sum of what was read; a leaf.
    sum: Mutex<Sum>,
}

impl DirtySource {
    /// These bytes of a file.
    pub fn of(dirty: &Arc<DirtyFile>, range: Range<u64>) -> Arc<Self> {
        Arc::new(Self { dirty: dirty.clone(), range, failure: Mutex::default(), sum: Mutex::default() })
    }

    /// To be sent.
    pub fn payload(self: &Arc<Self>) -> Payload {
        Payload::Source { len: self.range.end - self.range.start, source: self.clone() }
    }

    /// The sum of all `len` bytes; `None` where they were not all read.
    pub fn sum_of_all(&self, len: u64) -> Option<u64> {
        self.sum.lock().of_all(len)
    }

    /// Why sending it failed.
    pub fn cause(&self, error: pail_store::Error) -> FsError {
        let failure = (error.kind == ErrorKind::Source).then(|| self.failure.lock().take()).flatten();
        failure.unwrap_or_else(|| error.into())
    }

    /// Some of the bytes. Errors: EINTR where the file is to be removed; it was truncated; the local disk's.
    pub async fn read_piece(&self, range: Range<u64>) -> FsResult<Bytes> {
        if self.dirty.removers.any() {
            return Err(Posix::Interrupted.into());
        }
        let bytes = self.dirty.read_hydrated(range.clone()).await?;
        if bytes.len() as u64 != range.end - range.start {
            let cut = "the file was truncated meanwhile";
            return Err(std::io::Error::new(std::io::ErrorKind::UnexpectedEof, cut).into());
        }
        Ok(bytes)
    }
}

#[async_trait]
impl PayloadSource for DirtySource {
    async fn read(&self, range: Range<u64>) -> std::io::Result<Bytes> {
        let range = self.range.start + range.start..self.range.start + range.end;
        let start = range.start - self.range.start;
        let read: std::io::Result<Bytes> = self.read_piece(range).await.map_err(|error| {
            let words = std::io::Error::other(error.to_string());
            *self.failure.lock() = Some(error);
            words
        });
        let bytes = read?;
        self.sum.lock().add(start, &bytes);
        Ok(bytes)
    }
}

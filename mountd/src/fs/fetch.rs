//! How a replica gets the bytes that it lacks.
//!
//! Owns: [`ObjectFetch`], which joins the cache's demand to the store's supply: one version of one object.

use super::error::SharedStoreError;
use super::pace::FetchPace;
use async_trait::async_trait;
use pail_cache::{Fetch, FetchError, Supply};
use pail_store::{GetOptions, ObjectBody, PartOfCall, RawKey, Store, Version};
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

/// Reads ranges of one version of an object, and fails when another version took its place.
pub struct ObjectFetch {
    store: Arc<dyn Store>,
    key: RawKey,
    version: Version,
    pace: Option<Arc<FetchPace>>,
    /// The cache fetches in a task of its own, which is a part of the call that asks for it.
    call: PartOfCall,
}

impl ObjectFetch {
    /// The supply of `version` of `key`.
    pub fn of(store: Arc<dyn Store>, key: RawKey, version: Version) -> Arc<dyn Fetch> {
        Arc::new(Self { store, key, version, pace: None, call: PartOfCall::current() })
    }

    /// The same, and `pace` learns how long its requests take.
    pub fn paced(
        store: Arc<dyn Store>,
        key: RawKey,
        version: Version,
        pace: Arc<FetchPace>,
    ) -> Arc<dyn Fetch> {
        Arc::new(Self { store, key, version, pace: Some(pace), call: PartOfCall::current() })
    }
}

fn shared(error: pail_store::Error) -> FetchError {
    Arc::new(SharedStoreError(Arc::new(error)))
}

#[async_trait]
impl Fetch for ObjectFetch {
    async fn fetch(&self, range: Range<u64>) -> Result<Box<dyn Supply>, FetchError> {
        let (began, bytes) = (Instant::now(), range.end - range.start);
        let options = GetOptions { range: Some(range), if_version: Some(self.version.clone()) };
        let answer = self.call.run(self.store.get(&self.key, options)).await;
        let body = answer.map_err(shared)?.body;
        Ok(Box::new(Timed { body, began, bytes, left: bytes, pace: self.pace.clone() }))
    }
}

/// A body, and how long it takes.
struct Timed {
    body: Box<dyn ObjectBody>,
    began: Instant,
    bytes: u64,
    left: u64,
    pace: Option<Arc<FetchPace>>,
}

#[async_trait]
impl Supply for Timed {
    async fn fill(&mut self, buffer: &mut [u8]) -> Result<usize, FetchError> {
        let count = self.body.fill(buffer).await.map_err(shared)?;
        self.left = self.left.saturating_sub(count as u64);
        if self.left == 0
            && let Some(pace) = self.pace.take()
        {
            pace.note(self.bytes, self.began.elapsed());
        }
        Ok(count)
    }
}

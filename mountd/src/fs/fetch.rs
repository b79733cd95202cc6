//! How a replica gets the bytes that it lacks.
//!
//! Owns: [`ObjectFetch`], which joins the cache's demand to the store's supply: one version of one object.

use super::error::SharedStoreError;
use super::object_stat::ObjectStat;
use super::pace::FetchPace;
use async_trait::async_trait;
use pail_cache::{Fetch, FetchError, Supply};
use pail_store::{Attributes, ErrorKind, GetOptions, GetResult, ObjectBody, PartOfCall, RawKey, Store};
use std::ops::Range;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

/// What an answer told that the object carries beside its bytes.
pub type Told = Arc<OnceLock<Arc<Attributes>>>;

/// Reads ranges of one version of an object, and fails when another version took its place: where the version is unknown, when it has
/// another length or time.
pub struct ObjectFetch {
    store: Arc<dyn Store>,
    key: RawKey,
    stat: ObjectStat,
    pace: Option<Arc<FetchPace>>,
    told: Option<Told>,
    /// The cache fetches in a task of its own, which is a part of the call that asks for it.
    call: PartOfCall,
}

impl ObjectFetch {
    /// The supply of that version of `key`.
    pub fn of(store: Arc<dyn Store>, key: RawKey, stat: &ObjectStat) -> Arc<dyn Fetch> {
        let (stat, call) = (stat.clone(), PartOfCall::current());
        Arc::new(Self { store, key, stat, pace: None, told: None, call })
    }

    /// The same; `pace` learns how long its requests take, and `told` what the object carries.
    pub fn paced(
        store: Arc<dyn Store>,
        key: RawKey,
        stat: &ObjectStat,
        pace: Arc<FetchPace>,
        told: Option<Told>,
    ) -> Arc<dyn Fetch> {
        let (stat, call) = (stat.clone(), PartOfCall::current());
        Arc::new(Self { store, key, stat, pace: Some(pace), told, call })
    }

    async fn get(&self, range: Range<u64>) -> pail_store::Result<GetResult> {
        let if_version = Some(self.stat.version.clone()).filter(|version| !version.is_unknown());
        // All of it is asked for as a whole: the store then compares it with the checksum that it has.
        let range = Some(range).filter(|range| *range != (0..self.stat.size) || if_version.is_none());
        let got = self.store.get(&self.key, GetOptions { range, if_version }).await?;
        if self.stat.version.is_unknown() && !self.stat.looks_same(&ObjectStat::from(&got.meta)) {
            let message = "the object has another length or time than when it was opened";
            return Err(pail_store::Error::new(
                ErrorKind::Precondition,
                "GetObject",
                self.store.uri(),
                Some(&self.key),
                message,
            ));
        }
        Ok(got)
    }
}

fn shared(error: pail_store::Error) -> FetchError {
    Arc::new(SharedStoreError(Arc::new(error)))
}

#[async_trait]
impl Fetch for ObjectFetch {
    async fn fetch(&self, range: Range<u64>) -> Result<Box<dyn Supply>, FetchError> {
        let (began, bytes) = (Instant::now(), range.end - range.start);
        let GetResult { meta, body, .. } = self.call.run(self.get(range)).await.map_err(shared)?;
        if let (Some(attributes), Some(told)) = (meta.attributes, &self.told) {
            // Every answer tells the same.
            let _ = told.set(attributes);
        }
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

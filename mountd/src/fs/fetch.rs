//! How a replica gets the bytes that it lacks.
//!
//! Owns: [`ObjectFetch`], which joins the cache's demand to the store's supply: one version of one object.

use super::error::SharedStoreError;
use super::pace::FetchPace;
use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use pail_cache::{Fetch, FetchError};
use pail_store::{GetOptions, RawKey, Store, Version};
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

/// Reads ranges of one version of an object, and fails when another version took its place.
pub struct ObjectFetch {
    store: Arc<dyn Store>,
    key: RawKey,
    version: Version,
    pace: Option<Arc<FetchPace>>,
}

impl ObjectFetch {
    /// The supply of `version` of `key`.
    pub fn of(store: Arc<dyn Store>, key: RawKey, version: Version) -> Arc<dyn Fetch> {
        Arc::new(Self { store, key, version, pace: None })
    }

    /// The same, and `pace` learns how long its requests take.
    pub fn paced(
        store: Arc<dyn Store>,
        key: RawKey,
        version: Version,
        pace: Arc<FetchPace>,
    ) -> Arc<dyn Fetch> {
        Arc::new(Self { store, key, version, pace: Some(pace) })
    }
}

fn shared(error: pail_store::Error) -> FetchError {
    Arc::new(SharedStoreError(Arc::new(error)))
}

#[async_trait]
impl Fetch for ObjectFetch {
    async fn fetch(
        &self,
        range: Range<u64>,
    ) -> Result<BoxStream<'static, Result<Bytes, FetchError>>, FetchError> {
        let (began, mut left) = (Instant::now(), range.end - range.start);
        let asked = left;
        let options = GetOptions { range: Some(range), if_version: Some(self.version.clone()) };
        let got = self.store.get(&self.key, options).await.map_err(shared)?;
        let pace = self.pace.clone();
        let body = got.body.map(move |piece| {
            left = left.saturating_sub(piece.as_ref().map_or(0, |bytes| bytes.len() as u64));
            if let (0, Some(pace)) = (left, &pace) {
                pace.note(asked, began.elapsed());
            }
            piece.map_err(shared)
        });
        Ok(body.boxed())
    }
}

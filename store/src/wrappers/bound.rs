//! A bound on requests in flight, for any store.
//!
//! Owns: [`Bounded`], for stores that do not go out through the pipeline of `http`, which has a bound of its own.
//!
//! Invariants:
//! - At most so many operations are open at a time; a body counts as one until it was read to its end or dropped.
//! - Whoever waits for a place waits no longer than the deadline while nothing of the store moves, and is told so.

use super::counted_body::CountedBody;
use crate::contract::*;
use crate::http::deadline::{Movement, Waiting};
use async_trait::async_trait;
use std::ops::Range;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A store of which at most so many operations are open at a time.
#[derive(Debug)]
pub struct Bounded<S> {
    inner: S,
    places: Arc<Semaphore>,
    places_max: usize,
    movement: Arc<Movement>,
    deadline: Duration,
}

impl<S: Store> Bounded<S> {
    /// At most `requests_in_flight_max` at a time; others wait, up to `deadline` while nothing moves.
    pub fn new(inner: S, requests_in_flight_max: usize, deadline: Duration) -> Self {
        let places_max = requests_in_flight_max.clamp(1, Semaphore::MAX_PERMITS);
        let places = Arc::new(Semaphore::new(places_max));
        Self { inner, places, places_max, movement: Movement::new(), deadline }
    }

    async fn place(&self, operation: &'static str, key: Option<&RawKey>) -> Result<OwnedSemaphorePermit> {
        let waiting = Waiting::begin(&self.movement, self.deadline);
        let mut acquired = pin!(self.places.clone().acquire_owned());
        loop {
            let (began, until) = (Instant::now(), waiting.deadline());
            let acquired = tokio::time::timeout_at(until.into(), &mut acquired).await;
            waiting.was_queued(began);
            match acquired {
                Ok(Ok(place)) => return Ok(place),
                Ok(Err(_)) => unreachable!("the semaphore is never closed"),
                Err(_) if !waiting.left().is_zero() => {}
                Err(_) => {
                    return Err(Error {
                        kind: ErrorKind::Unreachable,
                        operation,
                        bucket: self.inner.uri().to_owned(),
                        key: key.cloned(),
                        status: None,
                        code: None,
                        message: format!(
                            "none of the {} requests in flight moves, and no more may be",
                            self.places_max
                        ),
                        attempts: 1,
                        maybe_applied: false,
                    });
                }
            }
        }
    }

    async fn placed<T>(
        &self,
        operation: &'static str,
        key: Option<&RawKey>,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let _place = self.place(operation, key).await?;
        let outcome = work.await;
        self.movement.moved();
        outcome
    }
}

#[async_trait]
impl<S: Store> Store for Bounded<S> {
    fn uri(&self) -> &str {
        self.inner.uri()
    }

    fn identity(&self) -> &str {
        self.inner.identity()
    }

    fn counters(&self) -> CounterSnapshot {
        self.inner.counters()
    }

    fn known_capabilities(&self) -> Option<Capabilities> {
        self.inner.known_capabilities()
    }

    async fn capabilities(&self) -> Result<Capabilities> {
        self.placed("PutObject", None, self.inner.capabilities()).await
    }

    async fn create_bucket(&self) -> Result<()> {
        self.placed("CreateBucket", None, self.inner.create_bucket()).await
    }

    async fn look_up_bucket(&self) -> Result<()> {
        self.placed("HeadBucket", None, self.inner.look_up_bucket()).await
    }

    async fn delete_bucket(&self) -> Result<()> {
        self.placed("DeleteBucket", None, self.inner.delete_bucket()).await
    }

    async fn head(&self, key: &RawKey) -> Result<ObjectMeta> {
        self.placed("HeadObject", Some(key), self.inner.head(key)).await
    }

    async fn attributes(&self, key: &RawKey, version: &Version) -> Result<Attributes> {
        self.placed("HeadObject", Some(key), self.inner.attributes(key, version)).await
    }

    async fn get(&self, key: &RawKey, options: GetOptions) -> Result<GetResult> {
        let place = self.place("GetObject", Some(key)).await?;
        let got = self.inner.get(key, options).await;
        self.movement.moved();
        let movement = self.movement.clone();
        Ok(CountedBody::over(got?, place, move |_| movement.moved()))
    }

    async fn put(&self, key: &RawKey, payload: Payload, options: PutOptions) -> Result<Version> {
        self.placed("PutObject", Some(key), self.inner.put(key, payload, options)).await
    }

    async fn delete(&self, key: &RawKey, condition: Condition) -> Result<()> {
        self.placed("DeleteObject", Some(key), self.inner.delete(key, condition)).await
    }

    async fn rename(
        &self,
        from: &RawKey,
        version: &Version,
        to: &RawKey,
        condition: Condition,
    ) -> Result<Version> {
        self.placed("rename", Some(from), self.inner.rename(from, version, to, condition)).await
    }

    async fn copy(
        &self,
        from: &RawKey,
        version: &Version,
        to: &RawKey,
        condition: Condition,
    ) -> Result<Version> {
        self.placed("CopyObject", Some(to), self.inner.copy(from, version, to, condition)).await
    }

    async fn list(&self, request: ListRequest) -> Result<ListPage> {
        self.placed("ListObjectsV2", None, self.inner.list(request)).await
    }

    async fn start_upload(&self, key: &RawKey, options: &PutOptions) -> Result<Upload> {
        self.placed("CreateMultipartUpload", Some(key), self.inner.start_upload(key, options)).await
    }

    async fn put_part(&self, upload: &Upload, number: u32, payload: Payload) -> Result<Part> {
        self.placed("UploadPart", Some(&upload.key), self.inner.put_part(upload, number, payload)).await
    }

    async fn copy_part(
        &self,
        upload: &Upload,
        number: u32,
        from: &RawKey,
        version: &Version,
        range: Range<u64>,
    ) -> Result<Part> {
        let copying = self.inner.copy_part(upload, number, from, version, range);
        self.placed("UploadPartCopy", Some(&upload.key), copying).await
    }

    async fn complete_upload(
        &self,
        upload: &Upload,
        parts: &[Part],
        options: &PutOptions,
    ) -> Result<Version> {
        let completing = self.inner.complete_upload(upload, parts, options);
        self.placed("CompleteMultipartUpload", Some(&upload.key), completing).await
    }

    async fn abort_upload(&self, upload: &Upload) -> Result<()> {
        self.placed("AbortMultipartUpload", Some(&upload.key), self.inner.abort_upload(upload)).await
    }

    async fn open_uploads(&self, key: &RawKey) -> Result<Vec<OpenUpload>> {
        self.placed("ListMultipartUploads", Some(key), self.inner.open_uploads(key)).await
    }

    async fn has_parts(&self, upload: &Upload) -> Result<bool> {
        self.placed("ListParts", Some(&upload.key), self.inner.has_parts(upload)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::MemoryStore;
    use bytes::Bytes;

    async fn store(requests_in_flight_max: usize, deadline: Duration) -> (Bounded<MemoryStore>, RawKey) {
        let store = Bounded::new(MemoryStore::new("b"), requests_in_flight_max, deadline);
        let key = RawKey::new("k").unwrap();
        store.put(&key, Bytes::from_static(b"0123456789").into(), PutOptions::default()).await.unwrap();
        (store, key)
    }

    #[tokio::test]
    async fn a_body_holds_its_place_until_it_is_read_or_dropped() {
        let (store, key) = store(2, Duration::from_secs(3600)).await;
        let mut read = store.get(&key, GetOptions::default()).await.unwrap();
        let dropped = store.get(&key, GetOptions::default()).await.unwrap();
        assert_eq!(store.places.available_permits(), 0);
        let head = store.head(&key);
        let mut head = pin!(head);
        assert!(futures::poll!(&mut head).is_pending(), "there is no place");
        drop(dropped);
        head.await.unwrap();
        let mut buffer = [0; 10];
        assert_eq!(read.body.fill(&mut buffer).await.unwrap(), 10);
        assert_eq!(store.places.available_permits(), 2, "free before the reader lets go");
    }

    #[tokio::test]
    async fn who_waits_in_vain_is_told() {
        let (store, key) = store(1, Duration::ZERO).await;
        let _held = store.get(&key, GetOptions::default()).await.unwrap();
        let refused = store.head(&key).await.unwrap_err();
        assert_eq!(refused.kind, ErrorKind::Unreachable);
        assert!(refused.to_string().contains("none of the 1 requests in flight moves"), "{refused}");
    }
}

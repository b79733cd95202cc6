//! A bound on requests in flight, for any store.
//!
//! Owns: [`Bounded`], for stores that do not go out through the pipeline of `http`, which has a bound of its own.
//!
//! Invariants:
//! - At most so many operations are open at a time; a body counts as one until it was read to its end or dropped.
//! - Whoever waits for a place waits no longer than the deadline while nothing of the store moves, and is told so.

use super::counted_body::CountedBody;
use super::wrapper::{Operation, Wrapper};
use crate::contract::*;
use crate::http::deadline::{Movement, Waiting};
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
                    let places_max = self.places_max;
                    let message =
                        format!("none of the {places_max} requests in flight moves, and no more may be");
                    let bucket = self.inner.uri();
                    return Err(Error::new(ErrorKind::Unreachable, operation, bucket, key, message));
                }
            }
        }
    }
}

impl<S: Store> Wrapper for Bounded<S> {
    type Inner = S;

    fn inner(&self) -> &S {
        &self.inner
    }

    async fn around<T: Send>(
        &self,
        operation: Operation<'_>,
        work: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        let _place = self.place(operation.name, operation.key).await?;
        let outcome = work.await;
        self.movement.moved();
        outcome
    }

    async fn on_get(&self, key: &RawKey, options: GetOptions) -> Result<GetResult> {
        let place = self.place("GetObject", Some(key)).await?;
        let got = self.inner.get(key, options).await;
        self.movement.moved();
        let movement = self.movement.clone();
        Ok(CountedBody::over(got?, place, move |_| movement.moved()))
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

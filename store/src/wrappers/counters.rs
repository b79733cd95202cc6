//! Counters for any store.
//!
//! Owns: [`Counted`], for stores that do not go out through the pipeline of `http`, which counts each attempt. Here an operation counts as one
//! request, however often what is below tries it.

use super::counted_body::CountedBody;
use super::wrapper::{Operation, Wrapper};
use crate::contract::*;
use crate::http::counters::RequestCounters;
use std::sync::Arc;

/// A store whose operations are counted.
#[derive(Debug)]
pub struct Counted<S> {
    inner: S,
    counters: Arc<RequestCounters>,
}

impl<S: Store> Counted<S> {
    /// From zero.
    pub fn new(inner: S) -> Self {
        Self { inner, counters: Arc::default() }
    }
}

impl<S: Store> Wrapper for Counted<S> {
    type Inner = S;

    fn inner(&self) -> &S {
        &self.inner
    }

    fn counted(&self) -> CounterSnapshot {
        self.counters.snapshot()
    }

    async fn around<T: Send>(
        &self,
        operation: Operation<'_>,
        work: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        self.counters.count_request(operation.name);
        let _open = self.counters.opened();
        let outcome = work.await;
        match &outcome {
            Ok(_) => self.counters.count_sent(operation.sent_bytes),
            Err(error) => self.counters.count_error(error.kind),
        }
        outcome
    }

    async fn on_get(&self, key: &RawKey, options: GetOptions) -> Result<GetResult> {
        let got = self.around(Operation::on("GetObject", key), self.inner.get(key, options)).await?;
        let open = self.counters.opened();
        let counters = self.counters.clone();
        Ok(CountedBody::over(got, open, move |passed| match passed {
            Ok(bytes) => counters.count_received(bytes),
            Err(error) => counters.count_error(error.kind),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::MemoryStore;
    use bytes::Bytes;

    #[tokio::test]
    async fn what_is_asked_sent_and_received_is_counted() {
        let store = Counted::new(MemoryStore::new("b"));
        let key = RawKey::new("k").unwrap();
        store.put(&key, Bytes::from_static(b"0123456789").into(), PutOptions::default()).await.unwrap();
        let refused = PutOptions { condition: Condition::IfAbsent, ..PutOptions::default() };
        store.put(&key, Bytes::from_static(b"xx").into(), refused).await.unwrap_err();
        let got = store.get(&key, GetOptions { range: Some(2..6), if_version: None }).await.unwrap();
        assert_eq!(store.counters().in_flight, 1, "a body is open");
        got.bytes().await.unwrap();
        let counted = store.counters();
        assert_eq!((counted.requests["PutObject"], counted.requests["GetObject"]), (2, 1));
        assert_eq!((counted.bytes_sent, counted.bytes_received, counted.in_flight), (10, 4, 0));
        assert_eq!(counted.errors, [("precondition".to_owned(), 1)].into());
    }
}

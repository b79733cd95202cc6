//! Counters for any store.
//!
//! Owns: [`Counted`], for stores that do not go out through the pipeline of `http`, which counts each attempt. Here an operation counts as one
//! request, however often what is below tries it.

use super::counted_body::CountedBody;
use crate::contract::*;
use crate::http::counters::RequestCounters;
use async_trait::async_trait;
use std::ops::Range;
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

    async fn counted<T>(&self, operation: &'static str, work: impl Future<Output = Result<T>>) -> Result<T> {
        self.counters.count_request(operation);
        let _open = self.counters.opened();
        let outcome = work.await;
        if let Err(error) = &outcome {
            self.counters.count_error(error.kind);
        }
        outcome
    }

    async fn sent<T>(
        &self,
        operation: &'static str,
        len: u64,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let outcome = self.counted(operation, work).await;
        if outcome.is_ok() {
            self.counters.count_sent(len);
        }
        outcome
    }
}

#[async_trait]
impl<S: Store> Store for Counted<S> {
    fn uri(&self) -> &str {
        self.inner.uri()
    }

    fn identity(&self) -> &str {
        self.inner.identity()
    }

    fn counters(&self) -> CounterSnapshot {
        self.counters.snapshot()
    }

    fn known_capabilities(&self) -> Option<Capabilities> {
        self.inner.known_capabilities()
    }

    async fn capabilities(&self) -> Result<Capabilities> {
        self.inner.capabilities().await
    }

    async fn create_bucket(&self) -> Result<()> {
        self.counted("CreateBucket", self.inner.create_bucket()).await
    }

    async fn look_up_bucket(&self) -> Result<()> {
        self.counted("HeadBucket", self.inner.look_up_bucket()).await
    }

    async fn delete_bucket(&self) -> Result<()> {
        self.counted("DeleteBucket", self.inner.delete_bucket()).await
    }

    async fn head(&self, key: &RawKey) -> Result<ObjectMeta> {
        self.counted("HeadObject", self.inner.head(key)).await
    }

    async fn attributes(&self, key: &RawKey, version: &Version) -> Result<Attributes> {
        self.counted("HeadObject", self.inner.attributes(key, version)).await
    }

    async fn get(&self, key: &RawKey, options: GetOptions) -> Result<GetResult> {
        let got = self.counted("GetObject", self.inner.get(key, options)).await?;
        let open = self.counters.opened();
        let counters = self.counters.clone();
        Ok(CountedBody::over(got, open, move |passed| match passed {
            Ok(bytes) => counters.count_received(bytes),
            Err(error) => counters.count_error(error.kind),
        }))
    }

    async fn put(&self, key: &RawKey, payload: Payload, options: PutOptions) -> Result<Version> {
        let len = payload.len();
        self.sent("PutObject", len, self.inner.put(key, payload, options)).await
    }

    async fn delete(&self, key: &RawKey, condition: Condition) -> Result<()> {
        self.counted("DeleteObject", self.inner.delete(key, condition)).await
    }

    async fn rename(
        &self,
        from: &RawKey,
        version: &Version,
        to: &RawKey,
        condition: Condition,
    ) -> Result<Version> {
        self.counted("rename", self.inner.rename(from, version, to, condition)).await
    }

    async fn copy(
        &self,
        from: &RawKey,
        version: &Version,
        to: &RawKey,
        condition: Condition,
    ) -> Result<Version> {
        self.counted("CopyObject", self.inner.copy(from, version, to, condition)).await
    }

    async fn list(&self, request: ListRequest) -> Result<ListPage> {
        self.counted("ListObjectsV2", self.inner.list(request)).await
    }

    async fn start_upload(&self, key: &RawKey, options: &PutOptions) -> Result<Upload> {
        self.counted("CreateMultipartUpload", self.inner.start_upload(key, options)).await
    }

    async fn put_part(&self, upload: &Upload, number: u32, payload: Payload) -> Result<Part> {
        let len = payload.len();
        self.sent("UploadPart", len, self.inner.put_part(upload, number, payload)).await
    }

    async fn copy_part(
        &self,
        upload: &Upload,
        number: u32,
        from: &RawKey,
        version: &Version,
        range: Range<u64>,
    ) -> Result<Part> {
        self.counted("UploadPartCopy", self.inner.copy_part(upload, number, from, version, range)).await
    }

    async fn complete_upload(
        &self,
        upload: &Upload,
        parts: &[Part],
        options: &PutOptions,
    ) -> Result<Version> {
        self.counted("CompleteMultipartUpload", self.inner.complete_upload(upload, parts, options)).await
    }

    async fn abort_upload(&self, upload: &Upload) -> Result<()> {
        self.counted("AbortMultipartUpload", self.inner.abort_upload(upload)).await
    }

    async fn open_uploads(&self, key: &RawKey) -> Result<Vec<OpenUpload>> {
        self.counted("ListMultipartUploads", self.inner.open_uploads(key)).await
    }

    async fn has_parts(&self, upload: &Upload) -> Result<bool> {
        self.counted("ListParts", self.inner.has_parts(upload)).await
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

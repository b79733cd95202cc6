//! A bound on the bytes of objects that go over the network in a second.
//!
//! Owns: [`RateLimit`], which all connections share, also those of two stores, and [`RateLimited`], which holds back reads and sent bytes of any store by it.
//! What the server copies by itself passes no limit.
//!
//! # How
//! Whoever is about to move bytes reserves the time that these take at the rate, behind all that was reserved before, and waits until its begins. So the mean
//! is exact, and the order is that of asking. Pieces are small, that many connections share evenly and none stands still for long.

use super::wrapper::Wrapper;
use crate::contract::*;
use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// What is read from a connection at a time.
const PIECE_SIZE_BYTES: usize = 64 * 1024;
/// What is sent as it is, once its time has come; larger payloads are sent piece by piece.
const SENT_AT_ONCE_BYTES_MAX: u64 = 256 * 1024;
/// Time that was not used, and may be made up for.
const BURST: Duration = Duration::from_millis(100);

/// So many bytes in a second.
#[derive(Debug)]
pub struct RateLimit {
    bytes_per_s: u64,
    /// When everything that was reserved has been moved. Guards itself alone; a leaf.
    reserved_until: Mutex<Instant>,
}

impl RateLimit {
    /// At least one byte in a second.
    pub fn new(bytes_per_s: u64) -> Arc<Self> {
        Arc::new(Self { bytes_per_s: bytes_per_s.max(1), reserved_until: Mutex::new(Instant::now()) })
    }

    /// Waits until `bytes` may be moved.
    pub async fn pass(&self, bytes: u64) {
        let begins = {
            let mut reserved_until = self.reserved_until.lock();
            let now = Instant::now();
            let begins = (*reserved_until).max(now.checked_sub(BURST).unwrap_or(now));
            *reserved_until = begins + Duration::from_secs_f64(bytes as f64 / self.bytes_per_s as f64);
            begins
        };
        tokio::time::sleep_until(begins).await;
    }
}

/// A store whose objects' bytes come and go at a limited rate.
#[derive(Debug)]
pub struct RateLimited {
    inner: Arc<dyn Store>,
    limit: Arc<RateLimit>,
}

impl RateLimited {
    /// `inner` under `limit`.
    pub fn over(inner: Arc<dyn Store>, limit: Arc<RateLimit>) -> Arc<dyn Store> {
        Arc::new(Self { inner, limit })
    }

    async fn paced(&self, payload: Payload) -> Payload {
        let len = payload.len();
        if matches!(payload, Payload::Bytes(_)) && len <= SENT_AT_ONCE_BYTES_MAX {
            self.limit.pass(len).await;
            return payload;
        }
        Payload::Source { len, source: Arc::new(PacedSource { payload, limit: self.limit.clone() }) }
    }
}

impl Wrapper for RateLimited {
    type Inner = dyn Store;

    fn inner(&self) -> &dyn Store {
        &*self.inner
    }

    async fn on_get(&self, key: &RawKey, options: GetOptions) -> Result<GetResult> {
        let got = self.inner.get(key, options).await?;
        let body = Box::new(PacedBody { inner: got.body, limit: self.limit.clone() });
        Ok(GetResult { body, ..got })
    }

    async fn on_put(&self, key: &RawKey, payload: Payload, options: PutOptions) -> Result<Version> {
        let payload = self.paced(payload).await;
        self.inner.put(key, payload, options).await
    }

    async fn on_put_part(&self, upload: &Upload, number: u32, payload: Payload) -> Result<Part> {
        let payload = self.paced(payload).await;
        self.inner.put_part(upload, number, payload).await
    }
}

struct PacedBody {
    inner: Box<dyn ObjectBody>,
    limit: Arc<RateLimit>,
}

#[async_trait]
impl ObjectBody for PacedBody {
    async fn fill(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            let end = buffer.len().min(filled + PIECE_SIZE_BYTES);
            self.limit.pass((end - filled) as u64).await;
            let count = self.inner.fill(&mut buffer[filled..end]).await?;
            filled += count;
            if filled < end {
                break;
            }
        }
        Ok(filled)
    }
}

struct PacedSource {
    payload: Payload,
    limit: Arc<RateLimit>,
}

#[async_trait]
impl PayloadSource for PacedSource {
    async fn read(&self, range: Range<u64>) -> io::Result<Bytes> {
        self.limit.pass(range.end - range.start).await;
        match &self.payload {
            Payload::Bytes(bytes) => Ok(bytes.slice(range.start as usize..range.end as usize)),
            Payload::Source { source, .. } => source.read(range).await,
        }
    }

    fn in_memory(&self) -> Option<&Bytes> {
        self.payload.in_memory()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::MemoryStore;

    #[tokio::test]
    async fn what_goes_and_comes_takes_the_time_of_its_bytes() {
        let limit = RateLimit::new(2_000_000);
        let memory: Arc<dyn Store> = Arc::new(MemoryStore::new("b"));
        let stores = [(); 4].map(|()| RateLimited::over(memory.clone(), limit.clone()));
        let bytes: Bytes = (0..100_000u32).map(|index| index as u8).collect();
        let started = Instant::now();
        let round = |index: usize| {
            let (store, bytes) = (stores[index].clone(), bytes.clone());
            async move {
                let key = RawKey::new(format!("k{index}")).unwrap();
                store.put(&key, bytes.clone().into(), PutOptions::default()).await.unwrap();
                let got = store.get(&key, GetOptions::default()).await.unwrap();
                assert!(got.bytes().await.unwrap() == bytes);
            }
        };
        futures::future::join_all((0..4).map(round)).await;
        // 0.4 s, less what may be made up for and what is last, which moves when its time begins.
        assert!(started.elapsed() > Duration::from_millis(250), "{:?}", started.elapsed());
    }

    #[tokio::test]
    async fn time_that_was_not_used_is_not_saved_up() {
        let limit = RateLimit::new(100_000);
        *limit.reserved_until.lock() = Instant::now().checked_sub(Duration::from_secs(3600)).unwrap();
        let started = Instant::now();
        for _ in 0..10 {
            limit.pass(5000).await;
        }
        assert!(started.elapsed() > Duration::from_millis(300), "{:?}", started.elapsed());
    }
}

//! What the store did, in numbers.
//!
//! Owns: [`RequestCounters`], which only grow while the process lives (save `in_flight`).

use crate::contract::{CounterSnapshot, ErrorKind};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::OwnedSemaphorePermit;

/// The operations that are counted, by the S3 API's words. The last one is for any other.
const OPERATIONS: [&str; 15] = [
    "HeadBucket",
    "CreateBucket",
    "HeadObject",
    "GetObject",
    "PutObject",
    "DeleteObject",
    "CopyObject",
    "ListObjectsV2",
    "CreateMultipartUpload",
    "UploadPart",
    "UploadPartCopy",
    "CompleteMultipartUpload",
    "AbortMultipartUpload",
    "GetBucketLocation",
    "Other",
];

/// Counters of one store; every attempt counts as a request.
#[derive(Debug, Default)]
pub(crate) struct RequestCounters {
    requests: [AtomicU64; OPERATIONS.len()],
    bytes_received: AtomicU64,
    bytes_sent: AtomicU64,
    retries: AtomicU64,
    in_flight: AtomicU64,
    /// Failed attempts by kind. Guards the map alone, and is asked for only where something failed.
    errors: Mutex<BTreeMap<&'static str, u64>>,
    /// Guards both together; as `errors`.
    trouble: Mutex<Trouble>,
}

/// Requests that failed and are tried again, and what the last of them failed with.
#[derive(Debug, Default)]
struct Trouble {
    requests: u64,
    cause: Option<String>,
}

impl RequestCounters {
    pub fn count_request(&self, operation: &'static str) {
        let index = OPERATIONS.iter().position(|name| *name == operation).unwrap_or(OPERATIONS.len() - 1);
        self.requests[index].fetch_add(1, Ordering::Relaxed);
    }

    pub fn count_error(&self, kind: ErrorKind) {
        *self.errors.lock().entry(kind.name()).or_default() += 1;
    }

    pub fn count_retry(&self) {
        self.retries.fetch_add(1, Ordering::Relaxed);
    }

    pub fn count_received(&self, bytes: u64) {
        self.bytes_received.fetch_add(bytes, Ordering::Relaxed);
    }

    pub fn count_sent(&self, bytes: u64) {
        self.bytes_sent.fetch_add(bytes, Ordering::Relaxed);
    }

    /// One more operation is open, until what is returned is dropped.
    pub fn opened(self: &Arc<Self>) -> Opened {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        Opened(self.clone())
    }

    pub fn snapshot(&self) -> CounterSnapshot {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (retrying, retrying_cause) = {
            let trouble = self.trouble.lock();
            (trouble.requests, trouble.cause.clone())
        };
        CounterSnapshot {
            requests: OPERATIONS
                .iter()
                .map(|name| (*name).to_owned())
                .zip(self.requests.iter().map(load))
                .filter(|(_, n)| *n > 0)
                .collect(),
            errors: self.errors.lock().iter().map(|(kind, n)| ((*kind).to_owned(), *n)).collect(),
            bytes_received: load(&self.bytes_received),
            bytes_sent: load(&self.bytes_sent),
            retries: load(&self.retries),
            in_flight: load(&self.in_flight),
            retrying,
            retrying_cause,
        }
    }
}

/// A request that failed and is tried again, until it is dropped.
#[derive(Debug)]
pub(crate) struct Retrying(Arc<RequestCounters>);

impl Retrying {
    pub fn new(counters: Arc<RequestCounters>) -> Self {
        counters.trouble.lock().requests += 1;
        Self(counters)
    }

    /// Why it failed last.
    pub fn because(&self, cause: String) {
        self.0.trouble.lock().cause = Some(cause);
    }
}

impl Drop for Retrying {
    fn drop(&mut self) {
        let mut trouble = self.0.trouble.lock();
        trouble.requests -= 1;
        if trouble.requests == 0 {
            trouble.cause = None;
        }
    }
}

/// An operation that is open.
#[derive(Debug)]
pub(crate) struct Opened(Arc<RequestCounters>);

impl Drop for Opened {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The right to one open request. Kept until the answer is read to its end or dropped.
#[derive(Debug)]
pub(crate) struct InFlight {
    _permit: OwnedSemaphorePermit,
    _opened: Opened,
}

impl InFlight {
    pub fn new(permit: OwnedSemaphorePermit, counters: Arc<RequestCounters>) -> Self {
        Self { _permit: permit, _opened: counters.opened() }
    }
}

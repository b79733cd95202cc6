//! What the server was asked.
//!
//! Owns: [`Counters`] and the log of requests ([`RequestRecord`]), for tests that count requests and for benchmarks.
//! A request is counted when its head has arrived, whatever becomes of it; requests to `/_pail/` are not counted.

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How many requests the log holds; older ones are dropped.
pub const REQUEST_LOG_LEN_MAX: usize = 10_000;

/// What the server was asked since it started, or since the counters were reset.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Requests by operation, named as in the API Reference (`GetObject`). Operations never asked for are absent.
    pub requests: BTreeMap<String, u64>,
    /// Bytes of request bodies received, without the framing of chunked uploads.
    pub bytes_in: u64,
    /// Bytes of answers' bodies handed to the connection.
    pub bytes_out: u64,
    /// Requests being answered now.
    pub open: u64,
    /// The most requests that were being answered at one time.
    pub peak_open: u64,
    /// The highest [`round`](RequestRecord::round) of a request.
    pub rounds: u64,
}

impl Counters {
    /// Requests of one operation, such as `GetObject`.
    pub fn count(&self, operation: &str) -> u64 {
        self.requests.get(operation).copied().unwrap_or(0)
    }

    /// Requests of all operations.
    pub fn total(&self) -> u64 {
        self.requests.values().sum()
    }
}

/// One request, in the order of arrival.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestRecord {
    /// The operation's name in the API, such as `GetObject`.
    pub operation: String,
    /// The bucket, empty for requests to the service.
    pub bucket: String,
    /// The key, empty for requests to a bucket.
    pub key: String,
    /// The Range header (or `x-amz-copy-source-range`), such as `bytes=0-99`.
    pub range: Option<String>,
    /// The query parameters but for those of a presigned URL, decoded.
    pub query: BTreeMap<String, String>,
    /// The round trip it belongs to, from 1: one more than the highest of those whose answers had begun when it arrived. Requests
    /// that are asked together are of one round. A client that waits for one answer before it asks the next thing waits for
    /// no more than this many, and for as many unless some of them had nothing to do with each other.
    pub round: u64,
}

/// Whether bytes came or went.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Counted {
    Received,
    Sent,
}

/// The server's own side of the counters.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Guards requests by operation and the log. A leaf: nothing else is locked while it is held.
    log: Mutex<Log>,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    open: AtomicU64,
    peak_open: AtomicU64,
}

#[derive(Debug, Default)]
struct Log {
    by_operation: BTreeMap<&'static str, u64>,
    records: VecDeque<RequestRecord>,
    /// The highest round that a request was of.
    rounds: u64,
    /// The highest round of which an answer has begun.
    answered: u64,
}

impl Tally {
    /// Counts a request, which is open until the guard is dropped.
    pub(crate) fn begin(self: &Arc<Self>, operation: &'static str, mut record: RequestRecord) -> OpenRequest {
        let round = {
            let mut log = self.log.lock();
            let round = log.answered + 1;
            record.round = round;
            log.rounds = log.rounds.max(round);
            *log.by_operation.entry(operation).or_default() += 1;
            if log.records.len() == REQUEST_LOG_LEN_MAX {
                log.records.pop_front();
            }
            log.records.push_back(record);
            round
        };
        let open = self.open.fetch_add(1, Ordering::Relaxed) + 1;
        self.peak_open.fetch_max(open, Ordering::Relaxed);
        OpenRequest(Some(Counting { tally: self.clone(), round }))
    }

    /// A guard for a request that is not counted.
    pub(crate) fn uncounted() -> OpenRequest {
        OpenRequest(None)
    }

    pub(crate) fn snapshot(&self) -> Counters {
        let (requests, rounds) = {
            let log = self.log.lock();
            let requests = log.by_operation.iter().map(|(name, count)| ((*name).to_owned(), *count));
            (requests.collect(), log.rounds)
        };
        Counters {
            requests,
            bytes_in: self.bytes_in.load(Ordering::Relaxed),
            bytes_out: self.bytes_out.load(Ordering::Relaxed),
            open: self.open.load(Ordering::Relaxed),
            peak_open: self.peak_open.load(Ordering::Relaxed),
            rounds,
        }
    }

    pub(crate) fn records(&self) -> Vec<RequestRecord> {
        self.log.lock().records.iter().cloned().collect()
    }

    /// Starts again from zero, log included. Requests that are open stay counted as open, and keep their round.
    pub(crate) fn reset(&self) {
        *self.log.lock() = Log::default();
        self.bytes_in.store(0, Ordering::Relaxed);
        self.bytes_out.store(0, Ordering::Relaxed);
        self.peak_open.store(self.open.load(Ordering::Relaxed), Ordering::Relaxed);
    }
}

/// A request that is being answered.
#[derive(Debug)]
pub(crate) struct OpenRequest(Option<Counting>);

#[derive(Debug)]
struct Counting {
    tally: Arc<Tally>,
    round: u64,
}

impl OpenRequest {
    pub(crate) fn count(&self, what: Counted, bytes: u64) {
        if let Some(Counting { tally, .. }) = &self.0 {
            match what {
                Counted::Received => tally.bytes_in.fetch_add(bytes, Ordering::Relaxed),
                Counted::Sent => tally.bytes_out.fetch_add(bytes, Ordering::Relaxed),
            };
        }
    }

    /// The key of the request has become known: the log has it in the newest record of its operation and bucket that has none.
    pub(crate) fn set_key(&self, operation: &str, bucket: &str, key: &str) {
        if let Some(Counting { tally, .. }) = &self.0 {
            let mut log = tally.log.lock();
            let is_it = |record: &&mut RequestRecord| {
                record.key.is_empty() && record.operation == operation && record.bucket == bucket
            };
            if let Some(record) = log.records.iter_mut().rev().find(is_it) {
                record.key = key.to_owned();
            }
        }
    }

    /// The answer begins: what arrives from now on may have waited for it.
    pub(crate) fn answered(&self) {
        if let Some(Counting { tally, round }) = &self.0 {
            let mut log = tally.log.lock();
            log.answered = log.answered.max(*round);
        }
    }
}

/// A connection that is cut is an answer, too.
impl Drop for OpenRequest {
    fn drop(&mut self) {
        self.answered();
        if let Some(Counting { tally, .. }) = &self.0 {
            tally.open.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

//! What a store did, in numbers.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A copy of a store's counters, for metrics.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CounterSnapshot {
    /// Requests sent by operation, retries included.
    pub requests: BTreeMap<String, u64>,
    /// Requests that failed, and bodies that broke off, by [`ErrorKind::name`](crate::ErrorKind::name). `not_found` and `precondition` are
    /// answers that were mostly asked for.
    pub errors: BTreeMap<String, u64>,
    /// Bytes of objects that arrived.
    pub bytes_received: u64,
    /// Bytes of objects that were sent.
    pub bytes_sent: u64,
    /// Requests that were sent again, and bodies that were resumed.
    pub retries: u64,
    /// Requests that are open now.
    pub in_flight: u64,
    /// Requests that failed and are being tried again now.
    #[serde(default)]
    pub retrying: u64,
    /// Why the last of those failed: operation, object, cause.
    #[serde(default)]
    pub retrying_cause: Option<String>,
}

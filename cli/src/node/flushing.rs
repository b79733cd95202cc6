//! The barrier at the end of a job.
//!
//! Owns: [`flush_all`], which waits until what was written to some mounts is in their buckets.

use crate::daemon;
use pail_control::types::{DrainProgress, DrainReport, FlushRequest};
use pail_control::{Failure, FailureKind};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Flushes the mounts one after the other, within `timeout` for all of them. What remains, and what failed, is in the report: it is not success that nobody can say
/// whether everything is in the bucket. What an earlier run left behind has been told by that one.
pub async fn flush_all(
    mounts: &[PathBuf],
    timeout: Duration,
    on_progress: &mut (dyn FnMut(DrainProgress) + Send),
) -> DrainReport {
    let mut all = DrainReport::default();
    let deadline = Instant::now() + timeout;
    for mount in mounts {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
        let request = FlushRequest { path: Some(mount.clone()), timeout_ms };
        let flushed = match daemon::running().await {
            Ok((client, _)) => client.flush(&request, on_progress).await,
            Err(failure) => Err(failure),
        };
        match flushed {
            Ok(report) => {
                all.published += report.published;
                all.remaining.extend(report.remaining);
                all.failures.extend(report.failures);
            }
            Err(failure) => all.failures.push(Failure { kind: FailureKind::Partial, ..failure }),
        }
    }
    all
}

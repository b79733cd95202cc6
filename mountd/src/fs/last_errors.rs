//! The last errors that programs were given, for `pail status`.
//!
//! Owns: the list of [`LastError`], and their line in the log.
//!
//! # Why a later success only marks an error, and only of the same name
//! That others can be read says nothing of an object that cannot, such as an archived one. Nor does a call that the cache answered say
//! anything of the bucket: only those that had to wait count, and writes, which always are the local disk's work.

use super::BucketFs;
use super::error::FsError;
use jiff::Timestamp;
use pail_control::types::LastError;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Errors remembered.
const LAST_ERRORS_MAX: usize = 20;
/// How long an error is told of: what is older says little of the bucket as it is now.
const TOLD_FOR: Duration = Duration::from_secs(3600);

/// The last errors of a mount, newest last, each with when it was by a clock that nobody sets.
#[derive(Debug, Default)]
pub(super) struct LastErrors {
    /// Guards the list only.
    list: Mutex<VecDeque<(Instant, LastError)>>,
    /// Whether there is one that is not marked, which every write asks. Changed while the list is locked.
    are_unmarked: AtomicBool,
}

impl LastErrors {
    /// Those that are still told of.
    pub fn recent(&self, now: Instant) -> Vec<LastError> {
        let list = self.list.lock();
        let is_recent = |noted: &Instant| now.saturating_duration_since(*noted) < TOLD_FOR;
        list.iter().filter(|(noted, _)| is_recent(noted)).map(|(_, error)| error.clone()).collect()
    }

    fn note(&self, operation: &str, path: &str, cause: String) {
        let mut list = self.list.lock();
        if list.len() == LAST_ERRORS_MAX {
            list.pop_front();
        }
        let error = LastError {
            time: Timestamp::now(),
            operation: operation.to_owned(),
            path: path.to_owned(),
            cause,
            succeeded_since: false,
        };
        list.push_back((Instant::now(), error));
        self.are_unmarked.store(true, Ordering::Relaxed);
    }

    fn mark(&self, operation: &str, path: impl FnOnce() -> String) {
        if !self.are_unmarked.load(Ordering::Relaxed) {
            return;
        }
        let path = path();
        let mut list = self.list.lock();
        for (_, error) in list.iter_mut().filter(|(_, e)| e.operation == operation && e.path == path) {
            error.succeeded_since = true;
        }
        if list.iter().all(|(_, error)| error.succeeded_since) {
            self.are_unmarked.store(false, Ordering::Relaxed);
        }
    }
}

impl BucketFs {
    /// Logs an error that a program is given, once, and remembers it.
    pub fn note_error(&self, operation: &str, path: &str, error: &FsError) {
        if !error.is_fault() {
            return;
        }
        tracing::error!(mount = %self.options.mount_name, operation, path = %path.escape_debug(), error = %error, "failed");
        self.last_errors.note(operation, path, error.to_string());
    }

    /// A call that says something of the bucket, or of the local disk, succeeded; `path` is what it was about, where that is asked for.
    pub fn note_success(&self, operation: &str, path: impl FnOnce() -> String) {
        self.last_errors.mark(operation, path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_told_for_an_hour() {
        let errors = LastErrors::default();
        errors.note("read", "f", "why".into());
        let told = |after: Duration| errors.recent(Instant::now() + after).len();
        assert_eq!(
            (told(Duration::ZERO), told(TOLD_FOR - Duration::from_secs(60)), told(TOLD_FOR)),
            (1, 1, 0)
        );
    }

    #[test]
    fn a_success_is_of_one_operation_on_one_name() {
        let errors = LastErrors::default();
        for (operation, path) in [("read", "f"), ("read", "g"), ("unlink", "f")] {
            errors.note(operation, path, "why".into());
        }
        errors.mark("read", || "f".to_owned());
        let marked: Vec<bool> = errors.recent(Instant::now()).iter().map(|e| e.succeeded_since).collect();
        assert_eq!(marked, [true, false, false]);
    }
}

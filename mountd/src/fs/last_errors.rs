//! The last errors that programs were given, for `pail status`.
//!
//! Owns: [`LastError`], the list of them, and their line in the log.
//!
//! # Why a later success only marks an error
//! That others can be read says nothing of an object that cannot, such as an archived one. Nor does a call that the cache answered say
//! anything of the bucket: only those that had to wait count, and writes, which always are the local disk's work.

use super::BucketFs;
use super::error::FsError;
use jiff::Timestamp;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};

/// Errors remembered.
const LAST_ERRORS_MAX: usize = 20;

/// An error that a program was given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastError {
    /// When.
    pub time: Timestamp,
    /// What the program asked for.
    pub operation: String,
    /// Path within the mount; empty for the mount itself.
    pub path: String,
    /// Why it failed, in one line.
    pub cause: String,
    /// Another call of this operation succeeded since, and not from the cache.
    pub succeeded_since: bool,
}

/// The last errors of a mount, newest last.
#[derive(Debug, Default)]
pub(super) struct LastErrors {
    /// Guards the list only.
    list: Mutex<VecDeque<LastError>>,
    /// Whether there is one that is not marked, which every write asks. Changed while the list is locked.
    are_unmarked: AtomicBool,
}

impl LastErrors {
    pub fn all(&self) -> Vec<LastError> {
        self.list.lock().iter().cloned().collect()
    }
}

impl BucketFs {
    /// Logs an error that a program is given, once, and remembers it.
    pub fn note_error(&self, operation: &str, path: &str, error: &FsError) {
        if !error.is_fault() {
            return;
        }
        tracing::error!(mount = %self.options.mount_name, operation, path = %path.escape_debug(), error = %error, "failed");
        let mut list = self.last_errors.list.lock();
        if list.len() == LAST_ERRORS_MAX {
            list.pop_front();
        }
        list.push_back(LastError {
            time: Timestamp::now(),
            operation: operation.to_owned(),
            path: path.to_owned(),
            cause: error.to_string(),
            succeeded_since: false,
        });
        self.last_errors.are_unmarked.store(true, Ordering::Relaxed);
    }

    /// A call that says something of the bucket, or of the local disk, succeeded.
    pub fn note_success(&self, operation: &str) {
        if !self.last_errors.are_unmarked.load(Ordering::Relaxed) {
            return;
        }
        let mut list = self.last_errors.list.lock();
        for error in list.iter_mut().filter(|error| error.operation == operation) {
            error.succeeded_since = true;
        }
        if list.iter().all(|error| error.succeeded_since) {
            self.last_errors.are_unmarked.store(false, Ordering::Relaxed);
        }
    }
}

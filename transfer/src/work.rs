//! The tasks of a run, and the work of theirs that may wait for a disk.
//!
//! Owns: [`Work`], which knows when the last of them is gone. A task that is aborted ends a little later, and what it does on a thread later still;
//! a run is over when nothing of it is left, so that its temporary files are gone when it returns.

use crate::Error;
use crate::copy_error::CopyError;
use pail_store::{Capabilities, Store};
use std::future::Future;
use std::sync::Arc;
use tokio::task::JoinError;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Counts what runs.
#[derive(Debug, Clone, Default)]
pub(crate) struct Work {
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Work {
    /// Of a run that `stop` ends.
    pub fn new(stop: CancellationToken) -> Self {
        Self { tracker: TaskTracker::new(), stop }
    }

    /// Cancelled when the run is to end: what takes long on a thread looks at it.
    pub fn stop(&self) -> &CancellationToken {
        &self.stop
    }

    /// A future that counts until it is dropped.
    pub fn tracked<F: Future>(&self, future: F) -> impl Future<Output = F::Output> + use<F> {
        self.tracker.track_future(future)
    }

    /// Runs what may wait for a disk on a thread that may.
    pub async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, CopyError> {
        let token = self.tracker.token();
        // The token goes last, also where nobody waits for the result any more.
        let done = tokio::task::spawn_blocking(move || (work(), token)).await;
        done.map(|(result, _)| result).map_err(|error| CopyError::Fatal(lost(&error)))
    }

    /// The same where nobody waits for the result.
    pub fn detached(&self, work: impl FnOnce() + Send + 'static) {
        let token = self.tracker.token();
        drop(tokio::task::spawn_blocking(move || {
            work();
            drop(token);
        }));
    }

    /// Asks what a store can do, in a task of its own: a probe that was cut off would leave its objects.
    pub async fn capabilities(&self, store: &Arc<dyn Store>) -> Option<Capabilities> {
        let store = store.clone();
        let asking = tokio::spawn(self.tracked(async move { store.capabilities().await.ok() }));
        asking.await.ok().flatten()
    }

    /// Waits until nothing runs any more.
    pub async fn ended(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }
}

/// The error of a task that did not come to its end.
pub(crate) fn lost(error: &JoinError) -> Error {
    Error::Worker(error.to_string())
}

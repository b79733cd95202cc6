//! The file system proper: every operation, without FUSE.

mod options;
mod status;

pub use options::FsOptions;
pub use status::{FlushReport, FsStatus, Unpublished};

use pail_cache::Cache;
use pail_store::Store;
use std::sync::Arc;

/// One bucket (or a prefix of it) as a file system.
pub struct BucketFs {
    options: FsOptions,
}

impl BucketFs {
    /// Makes the file system of `options.prefix` in `store`. No request is sent.
    pub fn new(store: Arc<dyn Store>, cache: Arc<Cache>, options: FsOptions) -> Arc<Self> {
        let _ = (store, cache);
        Arc::new(Self { options })
    }

    /// Lists the root once: the first check of bucket and credentials, and it primes the first lookups.
    pub async fn prime(&self) -> Result<(), pail_store::Error> {
        Ok(())
    }

    /// Publishes what is dirty under `path` (relative to the mount; empty for all), also in files that are still open,
    /// and waits for what is being published.
    pub async fn flush(&self, path: &str) -> FlushReport {
        let _ = path;
        FlushReport::default()
    }

    /// What is dirty, what failed, and counters.
    pub fn status(&self) -> FsStatus {
        FsStatus::default()
    }

    /// The options in force.
    pub fn options(&self) -> &FsOptions {
        &self.options
    }
}

//! What unit tests of several modules need.

use crate::{Cache, CacheConfig, Fetch, FetchError, Intent, ReplicaId, Supply};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

/// A fetch for what is here already.
pub(crate) struct Nothing;

#[async_trait::async_trait]
impl Fetch for Nothing {
    async fn fetch(&self, range: Range<u64>) -> Result<Box<dyn Supply>, FetchError> {
        Err(Arc::new(std::io::Error::other(format!("{range:?} was fetched"))))
    }
}

/// A cache of 64 MiB each of memory and disk below `dir`.
pub(crate) fn cache_in(dir: &Path) -> Arc<Cache> {
    let config = CacheConfig {
        clean_dir: dir.join("clean"),
        dirty_dir: dir.join("dirty"),
        memory_bytes: 64 << 20,
        disk_bytes: 64 << 20,
    };
    Cache::open(config, tokio::runtime::Handle::current()).unwrap()
}

/// A version of an object.
pub(crate) fn some_id() -> ReplicaId {
    ReplicaId { store: "s".into(), key: "k".into(), version: "v".into() }
}

/// What is to become of a new file.
pub(crate) fn some_intent() -> Intent {
    let created = SystemTime::now();
    Intent { store: "s".into(), key: "k".into(), base: None, mount: "m".into(), created }
}

//! How a run may go about it.
//!
//! Owns: [`Options`], the bounds of one run: connections, memory, sizes of parts; where its manifest is kept; and what a run is about: which files, by what they
//! are compared, whether what is extra goes.

use crate::{Changes, Comparison, Filters};
use pail_store::{RateLimit, RateLimited, Store};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// The least size of a part that every store takes, but for the last: 5 MiB.
pub(crate) const PART_BYTES_MIN: u64 = 5 << 20;

/// How long a part of an object takes at most at a limited rate: what is under way when a run is interrupted is sent again.
const PART_TIME_MAX_S: u64 = 10;

/// The bounds of one run. [`Options::default`] suits a node with a fast link.
#[derive(Debug, Clone)]
pub struct Options {
    /// Requests for objects' bytes at the same time, at most; at least 1. A run begins with 64 and follows what the store answers (see `connections`).
    pub connections: usize,
    /// Objects larger than this are sent and fetched in parts of this size, in bytes, at the same time. Raised to 5 MiB, which stores ask
    /// for, and beyond where an upload would have more than 10,000 parts.
    pub part_bytes: u64,
    /// Bytes of objects in memory at the same time, in all. Raised to one part.
    pub memory_bytes: u64,
    /// Objects larger than this a store that copies by itself is asked to copy in parts, at the same time, which a later run goes on with; lowered to what it copies in
    /// one request. In bytes.
    pub server_copy_bytes_max: u64,
    /// Bytes of objects in a second over all connections; `None` is no limit. What passes through between two buckets counts once, and what a server copies by itself does not.
    pub rate_bytes_per_s: Option<u64>,
    /// In whatever words, how the store was told to make new objects (class, encryption, content type): an upload in parts that began otherwise is not gone on with.
    pub new_objects: String,
    /// Whether what the store has no checksum of is verified by an MD5: an ETag that looks like one, or what Azure keeps as Content-MD5.
    pub verifies_by_md5: bool,
    /// Whether an upload follows symbolic links; it leaves them out otherwise.
    pub follows_links: bool,
    /// The directory in which manifests are kept; `None` keeps none: then a download compares contents, and an upload sends
    /// everything. Made where it is missing, closed to others.
    pub state_dir: Option<PathBuf>,
    /// Which manifest it is, where source and target do not tell: for an upload of a list of files, which may be another list the next time.
    pub scope: Option<String>,
    /// Which of what is below a prefix or a directory is meant; an object or a file that is named alone is not asked for.
    pub filters: Filters,
    /// By what it is decided that a file is as it was.
    pub comparison: Comparison,
    /// After everything was copied, deletes what the target has below its directory or prefix and the source has not: nothing that the filters leave out,
    /// nor what the source has under a name that could not be copied. Of an upload, only with one directory as its source.
    pub delete: bool,
    /// Changes nothing, and tells here what would be changed; the report counts that.
    pub dry_run: Option<Changes>,
    /// Cancelled, it ends the run in good order, with what the next one can go on with, and then it returns [`Error::Stopped`](crate::Error::Stopped).
    pub stop: CancellationToken,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            connections: 256,
            part_bytes: 8 << 20,
            memory_bytes: 128 << 20,
            server_copy_bytes_max: u64::MAX,
            rate_bytes_per_s: None,
            new_objects: String::new(),
            verifies_by_md5: true,
            follows_links: true,
            state_dir: None,
            scope: None,
            filters: Filters::default(),
            comparison: Comparison::default(),
            delete: false,
            dry_run: None,
            stop: CancellationToken::new(),
        }
    }
}

impl Options {
    /// Requests at the same time: fewer where each would have so small a share of the rate that no part would be done in [`PART_TIME_MAX_S`].
    pub(crate) fn connections(&self) -> usize {
        let share = self.part_size_bytes() / PART_TIME_MAX_S;
        let shares = self.rate_bytes_per_s.map(|rate| usize::try_from(rate / share));
        let most = shares.map_or(usize::MAX, |shares| shares.unwrap_or(usize::MAX));
        self.connections.min(most).clamp(1, Semaphore::MAX_PERMITS)
    }

    /// The store under the limit of this run.
    pub(crate) fn limited(&self, store: Arc<dyn Store>) -> Arc<dyn Store> {
        match self.rate_bytes_per_s {
            Some(rate) => RateLimited::over(store, RateLimit::new(rate)),
            None => store,
        }
    }

    /// The size of a part that is used.
    pub(crate) fn part_size_bytes(&self) -> u64 {
        self.part_bytes.max(PART_BYTES_MIN)
    }
}

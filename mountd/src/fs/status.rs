//! What a mount says of itself: the rows of `pail status` and `pail flush`.
//!
//! Owns: the counters behind the status, `status` and `flush`.

use super::BucketFs;
use super::inode::{Content, FileState, Inode};
use futures::StreamExt;
use pail_control::types::{FsStatus, Unpublished};
use pail_store::ConditionedChange;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Files that one flush publishes at the same time.
const FLUSHES_IN_FLIGHT: usize = 16;

/// What a flush did.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct FlushReport {
    /// Files published by this call.
    pub published: u64,
    /// What is still not in the bucket.
    pub remaining: Vec<Unpublished>,
}

/// What is counted while the mount lives.
#[derive(Default)]
pub(super) struct Counters {
    pub published: AtomicU64,
    /// Keys in listings that were not asked for.
    pub left_out: AtomicU64,
    /// Guards the map only.
    operations: Mutex<BTreeMap<&'static str, u64>>,
}

impl Counters {
    pub fn count(&self, operation: &'static str) {
        *self.operations.lock().entry(operation).or_default() += 1;
    }
}

impl BucketFs {
    /// The path of an inode, for a log line.
    pub fn path_of(&self, ino: u64) -> String {
        self.inodes.get(ino).map(|inode| inode.path()).unwrap_or_default()
    }

    pub(super) fn unpublished_row(&self, inode: &Inode) -> Option<Unpublished> {
        let state = inode.file()?.lock();
        let Content::Dirty(dirty) = &state.content else { return None };
        if !dirty.needs_publishing() || inode.is_unlinked() {
            return None;
        }
        Some(Unpublished {
            path: inode.path(),
            size_bytes: dirty.len(),
            open: state.writers > 0,
            error: dirty.error(),
            local_path: dirty.replica.path().display().to_string(),
            whole: dirty.replica.is_whole(),
            conflict: self.ways_out(inode, dirty),
        })
    }

    /// The files below `path` that the bucket lacks, and what is to be said of them, in the order of their paths.
    fn unpublished_below(&self, path: &str) -> Vec<(Arc<Inode>, Unpublished)> {
        let path = path.trim_matches('/');
        let below = |row: &Unpublished| {
            path.is_empty()
                || row.path == path
                || row.path.strip_prefix(path).is_some_and(|rest| rest.starts_with('/'))
        };
        let rows = self.inodes.all().into_iter().filter_map(|inode| {
            let row = self.unpublished_row(&inode).filter(below)?;
            Some((inode, row))
        });
        let mut rows: Vec<_> = rows.collect();
        rows.sort_by(|(_, a), (_, b)| a.path.cmp(&b.path));
        rows
    }

    fn unpublished_rows(&self, path: &str) -> Vec<Unpublished> {
        self.unpublished_below(path).into_iter().map(|(_, row)| row).collect()
    }

    /// What is dirty, what failed, and counters.
    pub fn status(&self) -> FsStatus {
        let ignored =
            self.store.known_capabilities().map(|known| known.ignored_conditions).unwrap_or_default();
        let mut status = FsStatus {
            unpublished: self.unpublished_rows(""),
            hidden_keys: self.namespace.lock().hidden_keys(),
            open_files: self.handles.open_files(),
            inodes: self.inodes.len() as u64,
            operations: self.counters.operations.lock().iter().map(|(k, v)| (k.to_string(), *v)).collect(),
            last_errors: self.last_errors.recent(Instant::now()),
            conditions_ignored: ignored.contains(&ConditionedChange::Writes),
            ignored_conditions: ignored,
            ..FsStatus::default()
        };
        let left_out = self.counters.left_out.load(Ordering::Relaxed);
        if left_out > 0 {
            status.operations.insert("keys outside of the listed prefix".to_owned(), left_out);
        }
        for inode in self.inodes.all() {
            if let Some(dirty) = self.unpublished(&inode).filter(|dirty| dirty.is_publishing()) {
                status.publishing += 1;
                status.publishing_bytes.0 += dirty.upload().sent_bytes();
                status.publishing_bytes.1 += dirty.len();
            }
        }
        status
    }

    /// The mount point is gone. The local copies of files whose bytes are in the bucket are not left behind for a later daemon to find;
    /// what programs still have open they may write on, and is theirs until they close it.
    pub async fn discard_published(&self) {
        for inode in self.inodes.all() {
            let Some(file) = inode.file() else { continue };
            let published = match &*file.lock() {
                FileState { opens: 0, content: Content::Dirty(dirty), .. } if !dirty.needs_publishing() => {
                    dirty.clone()
                }
                _ => continue,
            };
            published.replica.discard_waiting().await;
        }
    }

    /// Publishes what is dirty under `path` (relative to the mount; empty for all), also in files that are still open,
    /// and waits for what is being published.
    pub async fn flush(self: &Arc<Self>, path: &str) -> FlushReport {
        let published = futures::stream::iter(self.unpublished_below(path))
            .map(|(inode, _)| {
                let fs = self.clone();
                // A task of its own: whoever gives up waiting must not cut off a request that the store may have carried out.
                self.runtime.spawn(async move {
                    let Some(dirty) = fs.unpublished(&inode) else { return 0 };
                    let done = fs.publish(&inode, &dirty).await;
                    fs.settle(&inode, &dirty).await;
                    fs.inodes.release(&inode);
                    u64::from(done.is_ok())
                })
            })
            .buffer_unordered(FLUSHES_IN_FLIGHT)
            .fold(0, |sum, one| async move { sum + one.unwrap_or(0) })
            .await;
        FlushReport { published, remaining: self.unpublished_rows(path) }
    }
}

//! Replicas of objects, in memory and on local disk.
//!
//! A [`Replica`] is one version of one object, as far as it is here: blocks of 128 KiB in memory, and in one sparse local file.
//! A [`DirtyReplica`] is what was written here and is not in the bucket yet; published, it becomes the replica of the new version.
//! A [`Cache`] holds all of a daemon's, under one budget for memory and one for disk.
//!
//! Knows nothing of stores, files, inodes or FUSE: whoever reads brings a [`Fetch`] for what is not here.
//!
//! Invariants: every block that comes from disk has passed its checksum; a fault of the local disk may slow a read, and neither
//! fails nor falsifies it; everything is bounded, and at its bounds slows down.

mod adopt;
mod block;
mod blockmap;
mod buffer;
mod cache;
mod dirty;
mod disk;
mod disk_tier;
mod evict;
mod fetch;
mod fill;
mod flight;
mod identity;
mod journal;
mod memory;
mod open_files;
mod ranges;
mod replica;
mod reply;
mod state;
mod stats;
mod sweep;
#[cfg(test)]
mod testing;
mod uploads;
mod usage;
#[cfg(test)]
mod usage_model;
mod worker;

pub use block::BLOCK_SIZE_BYTES;
pub use cache::{Cache, CacheConfig, CacheError, left_uploads, lock_dirty, orphans};
pub use dirty::{DirtyReplica, Segment, SegmentKind};
pub use fetch::{Fetch, FetchError, ReadError, Supply};
pub use identity::ReplicaId;
pub use journal::{Base, Intent, Orphan};
pub use replica::{Presence, Replica};
pub use stats::CacheStats;
pub use uploads::{LeftUpload, NotedUpload, UploadNote};

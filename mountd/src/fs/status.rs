//! What a mount says of itself: the rows of `pail status` and `pail flush`.

use serde::{Deserialize, Serialize};

/// A file whose bytes are not in the bucket yet.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Unpublished {
    /// Path within the mount.
    pub path: String,
    /// Its length in bytes.
    pub size_bytes: u64,
    /// Whether a program has it open for writing.
    pub open: bool,
    /// Why the last attempt to publish it failed, if one did.
    pub error: Option<String>,
    /// Where its bytes are on this node's disk.
    pub local_path: String,
}

/// What a flush did.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct FlushReport {
    /// Files published by this call.
    pub published: u64,
    /// What is still not in the bucket.
    pub remaining: Vec<Unpublished>,
}

/// The state of one mount.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct FsStatus {
    /// Files with bytes that are not in the bucket yet.
    pub unpublished: Vec<Unpublished>,
    /// Files being published now.
    pub publishing: u64,
    /// Bytes sent so far by publishes that are under way, and their total.
    pub publishing_bytes: (u64, u64),
    /// Keys that no path can show, seen in listings.
    pub hidden_keys: u64,
    /// Open file handles.
    pub open_files: u64,
    /// Inodes the kernel knows.
    pub inodes: u64,
    /// File-system operations by name, and how often each was called.
    pub operations: std::collections::BTreeMap<String, u64>,
    /// The last errors that programs were given, newest last: one line each.
    pub last_errors: Vec<String>,
}

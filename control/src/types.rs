//! What the command and the daemon say to each other, as JSON.
//!
//! Owns: requests, answers and events of the control API, version 1. Fields may be added; none changes its meaning.

use crate::quantity::{Period, Permissions};
use crate::settings::{Directories, Limits};
use crate::{BucketSettings, CallerEnvironment, Failure};
use jiff::Timestamp;
use pail_store::{ConditionedChange, CounterSnapshot};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// A mount as it was asked for, every default filled in: two equal ones are the same mount. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountSpec {
    /// The URI of a bucket, or of a prefix in one.
    pub source: String,
    /// Absolute path of the directory to mount at.
    pub mount_point: PathBuf,
    /// The endpoint; `None` leaves it to the profile, or to the store's own.
    pub endpoint_url: Option<String>,
    /// The region; `None` leaves it to the profile.
    pub region: Option<String>,
    /// The profile of the AWS configuration files.
    pub profile: Option<String>,
    /// Refuse every change.
    pub read_only: bool,
    /// How long a listing's or HEAD's word is taken.
    pub metadata_ttl: Period,
    /// Owner shown.
    pub uid: u32,
    /// Group shown.
    pub gid: u32,
    /// Permission bits shown for files.
    pub file_mode: Permissions,
    /// Permission bits shown for directories.
    pub dir_mode: Permissions,
    /// Permission bits of files that are made through the mount; `None` leaves them to who makes one.
    #[serde(default)]
    pub new_file_mode: Option<Permissions>,
    /// Permission bits of directories that are made through the mount; `None` leaves them to who makes one.
    #[serde(default)]
    pub new_dir_mode: Option<Permissions>,
    /// Let other users in.
    pub allow_other: bool,
    /// How the bucket is asked, and what new objects get.
    #[serde(default)]
    pub settings: BucketSettings,
}

impl MountSpec {
    /// How long a listing's or HEAD's word is taken where nothing else is asked for: longer of a read-only mount, which is mostly of a
    /// dataset that nobody changes.
    pub fn default_ttl(read_only: bool) -> Period {
        Period(Duration::from_secs(if read_only { 60 } else { 5 }))
    }
}

/// `POST /v1/mounts`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct MountRequest {
    /// What to mount.
    pub spec: MountSpec,
    /// Create the bucket where it is missing.
    pub create_bucket: bool,
    /// Where the caller's credentials come from.
    pub environment: CallerEnvironment,
    /// Budgets and directories that the caller asks for.
    pub limits: Limits,
}

/// What a mount hides: it got into its directory while nothing was mounted there. It is on the local disk, and not in the bucket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beneath {
    /// The first names, at most 5.
    pub names: Vec<String>,
    /// How many names there are, counted up to 10,000.
    pub count: u64,
}

/// What `POST /v1/mounts` did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountOutcome {
    /// The mount, its mount point resolved.
    pub spec: MountSpec,
    /// The same mount was there before; nothing was done.
    pub already_mounted: bool,
    /// The mount point was created; it is removed again on unmounting when it is empty then.
    pub created_directory: bool,
    /// The bucket was created.
    pub created_bucket: bool,
    /// A dead mount was found at the place, which the new one took.
    pub recovered: bool,
    /// What the mount hides.
    #[serde(default)]
    pub beneath: Option<Beneath>,
    /// The source has a prefix, and nothing was below it.
    #[serde(default)]
    pub empty_prefix: bool,
    /// The mount is not read-only, and its credentials were refused a write.
    #[serde(default)]
    pub writes_refused: bool,
    /// The mount is not read-only, and its endpoint is known to ignore the conditions of writes.
    #[serde(default)]
    pub conditions_ignored: bool,
    /// The mount is not read-only, and these are the changes whose conditions its endpoint ignores.
    #[serde(default)]
    pub ignored_conditions: Vec<ConditionedChange>,
    /// The mount is not read-only, and its endpoint was not asked which conditions it enforces, since these credentials may not write and delete
    /// what that takes.
    #[serde(default)]
    pub conditions_unknown: bool,
}

/// `DELETE /v1/mounts`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct UnmountRequest {
    /// The mount; `None` for all.
    pub mount_point: Option<PathBuf>,
    /// How long to wait for what is not in the bucket yet, in milliseconds.
    pub timeout_ms: u64,
    /// Unmount even when something remains or the mount is busy: what remains stays in the journal.
    pub force: bool,
}

/// `POST /v1/flush`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FlushRequest {
    /// A mount point or any path under one; `None` for all mounts.
    pub path: Option<PathBuf>,
    /// How long to wait, in milliseconds.
    pub timeout_ms: u64,
}

/// Commands for a shell that end a write conflict, each in its own way. Who made the other version is "theirs".
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaysOut {
    /// Leaves the bucket as it is, and gives up what was written here.
    pub keep_theirs: String,
    /// Puts what was written here in the place of theirs; `None` where not all of its bytes are to be had.
    pub keep_ours: Option<String>,
    /// Puts what was written here beside theirs; `None` where not all of its bytes are to be had.
    pub keep_both: Option<String>,
}

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
    /// Whether all of its bytes are there. Otherwise those that were not written are only in the object's earlier version.
    pub whole: bool,
    /// How to end the write conflict that keeps it from being published, where one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conflict: Option<WaysOut>,
}

/// A file that is not in the bucket yet, and the mount it is in.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Remaining {
    /// The mount.
    pub mount_point: PathBuf,
    /// The file.
    #[serde(flatten)]
    pub file: Unpublished,
}

/// A file that was written through a mount that is gone, and is not in the bucket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftBehind {
    /// Where that mount was.
    pub mount_point: PathBuf,
    /// What the file was to become: its URI, such as `s3://bucket/key`.
    pub object: String,
    /// Its key.
    pub key: String,
    /// The endpoint of its bucket; `None` for the store's own.
    pub endpoint_url: Option<String>,
    /// Its length in bytes.
    pub size_bytes: u64,
    /// Where its bytes are on this node's disk.
    pub local_path: PathBuf,
    /// Whether all of its bytes are there. Otherwise those that were not written are only in the object's earlier version.
    pub whole: bool,
    /// A program still has it open, by a mount that was given up by force: its close may publish it yet.
    pub in_use: bool,
}

/// `DELETE /v1/left-behind`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DiscardRequest {
    /// Local paths of files that are left behind.
    pub files: Vec<PathBuf>,
}

/// A multipart upload that is still open in a bucket. The next mount of the bucket aborts it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StillOpen {
    /// The object that it was to become: its URI, such as `s3://bucket/key`.
    pub object: String,
    /// The endpoint of its bucket; `None` for the store's own.
    pub endpoint_url: Option<String>,
    /// The bucket's name for it; `None` where that is not on record, and perhaps there is none.
    pub upload_id: Option<String>,
}

/// What a [`DiscardRequest`] came to.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct DiscardReport {
    /// Uploads of these files that nobody aborts now, for want of a mount of their bucket.
    #[serde(default)]
    pub uploads: Vec<StillOpen>,
    /// Files that are gone.
    pub discarded: Vec<LeftBehind>,
    /// What could not be removed.
    pub failures: Vec<Failure>,
}

/// What a flush or an unmount came to.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct DrainReport {
    /// Mounts that are gone.
    pub unmounted: Vec<PathBuf>,
    /// Files that this call published.
    pub published: u64,
    /// Files that are not in the bucket yet.
    pub remaining: Vec<Remaining>,
    /// Files of mounts that are gone, which nobody is going to publish; of a flush alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_behind: Vec<LeftBehind>,
    /// What failed otherwise, such as a mount that is busy.
    pub failures: Vec<Failure>,
}

impl DrainReport {
    /// All is in the bucket, and nothing failed.
    pub fn is_clean(&self) -> bool {
        self.remaining.is_empty() && self.failures.is_empty()
    }
}

/// How far a flush or an unmount is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainProgress {
    /// Files that are not in the bucket yet.
    pub files_left: u64,
    /// Bytes sent of the files that are being published now.
    pub bytes_done: u64,
    /// Bytes of the files that are being published now.
    pub bytes_total: u64,
}

/// One line of the answer to a flush or an unmount.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DrainEvent {
    /// How far it is.
    Progress(DrainProgress),
    /// The end.
    Done(DrainReport),
    /// It could not be done at all.
    Failed(Failure),
}

/// What a mount is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MountState {
    /// Being mounted.
    Starting,
    /// Usable.
    Mounted,
    /// Not mounted; tried again with a growing pause.
    Failed,
    /// Being drained and unmounted.
    Unmounting,
}

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
    /// Another call of this operation on this name succeeded since, and not from the cache.
    pub succeeded_since: bool,
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
    /// The endpoint was found to ignore the conditions of writes.
    #[serde(default)]
    pub conditions_ignored: bool,
    /// The changes whose conditions the endpoint is known to ignore.
    #[serde(default)]
    pub ignored_conditions: Vec<ConditionedChange>,
    /// Open file handles.
    pub open_files: u64,
    /// Inodes the kernel knows.
    pub inodes: u64,
    /// File-system operations by name, and how often each was called.
    pub operations: BTreeMap<String, u64>,
    /// The last errors that programs were given, newest last.
    pub last_errors: Vec<LastError>,
}

/// A row of `GET /v1/mounts`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct MountStatus {
    /// What was asked for.
    pub spec: MountSpec,
    /// What it is doing.
    pub state: MountState,
    /// Why it is not mounted, in state `failed`.
    pub failure: Option<Failure>,
    /// In state `failed`: the mount of the daemon before is still at its place, without a daemon. Programs get ENOTCONN there.
    #[serde(default)]
    pub dead: bool,
    /// What it hides.
    #[serde(default)]
    pub beneath: Option<Beneath>,
    /// Counters, and what is not published.
    pub fs: FsStatus,
    /// Requests to the bucket since it was mounted.
    #[serde(default)]
    pub store: CounterSnapshot,
}

/// `GET /v1/health`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Health {
    /// Version of the daemon.
    pub version: String,
    /// Process id.
    pub pid: u32,
    /// It takes no more mounts and will soon be gone.
    pub stopping: bool,
    /// Where it keeps its things.
    pub directories: Directories,
    /// Memory budget in bytes.
    pub memory_bytes: u64,
    /// Disk budget of clean replicas in bytes.
    pub cache_bytes: u64,
    /// Memory in use by blocks of objects.
    #[serde(default)]
    pub memory_used_bytes: u64,
    /// Disk in use by clean replicas.
    #[serde(default)]
    pub cache_used_bytes: u64,
}

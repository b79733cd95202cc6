//! What a mount can be told.

use pail_control::settings::HOLE_BYTES_MAX_DEFAULT;
use std::time::Duration;

/// How a bucket is shown as a file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FsOptions {
    /// Only keys that begin with this; empty, or ending in `/`.
    pub prefix: String,
    /// Refuse every change with EROFS.
    pub read_only: bool,
    /// How long a listing's or a HEAD's word is taken; zero asks each time.
    pub metadata_ttl: Duration,
    /// Owner shown for files and directories.
    pub uid: u32,
    /// Group shown for files and directories.
    pub gid: u32,
    /// Permission bits shown for files, such as `0o644`.
    pub file_mode: u16,
    /// Permission bits shown for directories, such as `0o755`.
    pub dir_mode: u16,
    /// Permission bits of files that are made through the mount; `None` leaves them to who makes one.
    pub new_file_mode: Option<u16>,
    /// Permission bits of directories that are made through the mount; `None` leaves them to who makes one.
    pub new_dir_mode: Option<u16>,
    /// A file may have so many bytes that nobody wrote, which are zeros: all of them are uploaded.
    pub hole_bytes_max: u64,
    /// The mount point as a string, for logs and for the intents of dirty replicas.
    pub mount_name: String,
}

impl Default for FsOptions {
    fn default() -> Self {
        Self {
            prefix: String::new(),
            read_only: false,
            metadata_ttl: Duration::from_secs(5),
            uid: 0,
            gid: 0,
            file_mode: 0o644,
            dir_mode: 0o755,
            new_file_mode: None,
            new_dir_mode: None,
            hole_bytes_max: HOLE_BYTES_MAX_DEFAULT,
            mount_name: String::new(),
        }
    }
}

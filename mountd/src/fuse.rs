//! The FUSE adapter: decodes, calls, replies. The only module that names `fuser`.

use crate::fs::BucketFs;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// How the kernel sees the mount.
#[derive(Debug, Clone)]
pub struct FuseOptions {
    /// The source shown in `mount` and mountinfo, such as `s3://bucket/prefix`.
    pub fs_name: String,
    /// Mount read-only.
    pub read_only: bool,
    /// Let other users in (`allow_other`).
    pub allow_other: bool,
    /// Threads that take requests from the kernel.
    pub threads: usize,
}

/// A mounted file system. Dropping it does not unmount.
pub struct FuseMount {}

impl FuseMount {
    /// Mounts `fs` at `dir` and serves it on threads of its own, with asynchronous work on `runtime`.
    /// Errors: those of mount(2) or fusermount3, in their own words.
    pub fn start(
        fs: Arc<BucketFs>,
        dir: &Path,
        options: &FuseOptions,
        runtime: tokio::runtime::Handle,
    ) -> io::Result<Self> {
        let _ = (fs, dir, options, runtime);
        Err(io::Error::other("not built yet"))
    }

    /// Unmounts; `lazy` detaches a busy mount point (open files live on until closed). Errors: EBUSY.
    pub fn unmount(&self, lazy: bool) -> io::Result<()> {
        let _ = lazy;
        Ok(())
    }

    /// Resolves when the kernel has ended the session (unmounted by us or by anyone).
    pub async fn ended(&self) {}
}

//! A bucket in memory, mounted through the kernel.
//!
//! Owns: [`Mounted`]. It unmounts when dropped, also when a test fails, and lazily where something still holds the mount.

use crate::files::Files;
use pail_mountd::fs::FsOptions;
use pail_mountd::fuse::{FuseMount, FuseOptions, unmount};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

/// A test of programs on a mount. As many threads as the daemon has: programs block on the file system that the runtime serves.
#[macro_export]
macro_rules! mounted_test {
    ($(#[$doc:meta])* async fn $name:ident() $body:block) => {
        $(#[$doc])*
        #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
        async fn $name() $body
    };
}

/// Runs what blocks, as programs on a mount do, off the runtime's workers.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("no panic")
}

/// A mounted file system and the bucket below it.
pub struct Mounted {
    /// The file system without the kernel, and the bucket.
    pub files: Files,
    /// The session.
    pub mount: FuseMount,
    dir: TempDir,
}

impl Mounted {
    /// Mounts an empty bucket.
    pub async fn new(options: FsOptions) -> Self {
        Self::over(Files::with(options)).await
    }

    /// Mounts a file system.
    pub async fn over(files: Files) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let options = FuseOptions {
            replaces_dead: false,
            fs_name: "s3://test".into(),
            read_only: files.fs.options().read_only,
            allow_other: false,
            threads: 4,
        };
        let (fs, at) = (files.fs.clone(), dir.path().to_owned());
        let runtime = tokio::runtime::Handle::current();
        // Mounting answers requests of the kernel on threads that need this one's runtime.
        let started = tokio::task::spawn_blocking(move || FuseMount::start(fs, &at, &options, runtime));
        let mount = started.await.expect("no panic").expect("a mount");
        Self { files, mount, dir }
    }

    /// The mount point.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// A path below the mount point.
    pub fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    /// Runs a shell script in the mount; it must succeed. Returns what it printed.
    pub async fn sh(&self, script: &str) -> String {
        let output = self.try_sh(script).await;
        assert!(
            output.status.success(),
            "`{script}` failed: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Runs a shell script in the mount.
    pub async fn try_sh(&self, script: &str) -> Output {
        let mut command = Command::new("bash");
        command.arg("-ec").arg(script).current_dir(self.dir.path());
        tokio::task::spawn_blocking(move || command.output().expect("bash")).await.expect("no panic")
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if unmount(self.dir.path(), false).is_err() {
            // EINVAL says that it was unmounted before.
            let _ = unmount(self.dir.path(), true);
        }
    }
}

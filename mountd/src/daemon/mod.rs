//! The mounts of this node and their life.
//!
//! Owns: [`Daemon`], which holds all mounts of one user on one node, so that budgets, replicas and connections are shared.
//! `mounting` makes mounts, `draining` ends them, `restoring` brings them back after a restart, `left_behind` tells of what
//! they did not publish, `left_uploads` aborts what a killed one did not complete, `process` is the life of the process around it, `server` the control API; `mount` is one mount, `mount_point` its directory,
//! `mount_list` what outlives the daemon; `foreground` is the daemon of one mount, and `once`, `dead` what is done without any.
//!
//! Locks: `Daemon::mounts` guards the table alone and is never held across an await or a system call; a mount's own state
//! is changed under it or without it, never the other way round.

mod allocator;
mod dead;
mod draining;
pub mod foreground;
mod host;
mod left_behind;
mod left_uploads;
mod log_file;
mod metrics;
mod mount;
mod mount_list;
mod mount_point;
mod mounting;
pub mod once;
mod open_files;
pub mod process;
mod restoring;
mod server;

use left_behind::Detached;
use mount::Mount;
use mount_list::MountList;
use pail_cache::{Cache, CacheConfig, CacheError, CacheStats};
use pail_control::settings::Settings;
use pail_control::types::{DrainReport, Health, MountStatus};
use pail_control::{Failure, FailureKind};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::runtime::Handle;
use tokio::sync::watch;

/// One part in so many of the memory budget is not the cache's: some hundred connections and the requests of the kernel have
/// buffers, too.
const UNCACHED_PART: u64 = 8;

/// All mounts of one user on one node.
pub struct Daemon {
    settings: Settings,
    cache: Arc<Cache>,
    runtime: Handle,
    list: Arc<MountList>,
    /// Every mount that was asked for, by its resolved mount point.
    mounts: Mutex<BTreeMap<PathBuf, Arc<Mount>>>,
    /// Guards the mounts that were given up by force and may still have files open. A leaf, as `mounts`.
    detached: Mutex<Vec<Detached>>,
    /// Becomes true when the daemon is told to stop: no mount is taken any more.
    stopping: watch::Sender<bool>,
    /// What the last drain came to, once all mounts are drained and gone.
    ended: watch::Sender<Option<DrainReport>>,
}

impl Daemon {
    /// Opens cache and list of mounts. Nothing is mounted yet. Errors: directories that another daemon uses, or that
    /// cannot be read.
    pub fn open(settings: Settings) -> Result<Arc<Self>, Failure> {
        let runtime = Handle::current();
        let config = CacheConfig {
            clean_dir: settings.directories.cache.clone(),
            dirty_dir: settings.directories.state.clone(),
            memory_bytes: settings.memory_bytes - settings.memory_bytes / UNCACHED_PART,
            disk_bytes: settings.cache_bytes,
        };
        let cache = Cache::open(config, runtime.clone()).map_err(cache_failure)?;
        let list = Arc::new(MountList::open(settings.directories.mounts_file())?);
        Ok(Arc::new(Self {
            settings,
            cache,
            runtime,
            list,
            mounts: Mutex::default(),
            detached: Mutex::default(),
            stopping: watch::Sender::new(false),
            ended: watch::Sender::new(None),
        }))
    }

    /// What the daemon says of itself.
    pub fn health(&self) -> Health {
        let used = self.cache.stats();
        Health {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            stopping: self.is_stopping(),
            directories: self.settings.directories.clone(),
            memory_bytes: self.settings.memory_bytes,
            cache_bytes: self.settings.cache_bytes,
            memory_used_bytes: used.memory_used_bytes,
            cache_used_bytes: used.disk_used_bytes,
        }
    }

    /// Every mount that was asked for, by mount point.
    pub fn mount_statuses(&self) -> Vec<MountStatus> {
        self.all_mounts().iter().map(|mount| mount.status()).collect()
    }

    /// Figures of the replicas.
    pub fn cache_stats(&self) -> CacheStats {
        self.cache.stats()
    }

    /// Tells the daemon to drain and end. Returns at once.
    pub fn stop(&self) {
        self.stopping.send_replace(true);
    }

    /// Resolves when all mounts are drained and gone after [`Daemon::stop`], with what was left.
    pub fn ended(&self) -> impl Future<Output = DrainReport> + Send + 'static {
        let mut ended = self.ended.subscribe();
        async move {
            // An error says that the daemon itself is gone.
            ended.wait_for(Option::is_some).await.ok().and_then(|report| report.clone()).unwrap_or_default()
        }
    }

    fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }

    fn refuse_when_stopping(&self) -> Result<(), Failure> {
        if self.is_stopping() {
            return Err(Failure::new(FailureKind::Stopping, "the daemon is about to end"));
        }
        Ok(())
    }

    fn all_mounts(&self) -> Vec<Arc<Mount>> {
        self.mounts.lock().values().cloned().collect()
    }

    /// Takes `mount` off the table if it is still the one at its place.
    fn forget(&self, mount: &Arc<Mount>) {
        let mut mounts = self.mounts.lock();
        if mounts.get(&mount.spec.mount_point).is_some_and(|other| Arc::ptr_eq(other, mount)) {
            mounts.remove(&mount.spec.mount_point);
        }
        drop(mounts);
        mount.set(mount::State::Gone);
    }
}

fn cache_failure(error: CacheError) -> Failure {
    let hint = match &error {
        CacheError::InUse { .. } => "set PAIL_CACHE_DIR and PAIL_STATE_DIR to other directories for this one",
        CacheError::Io { .. } => {
            "see that it is yours and `ls -ld` shows rwx for you, or set PAIL_CACHE_DIR and PAIL_STATE_DIR to other directories"
        }
    };
    Failure::other(error.to_string()).with_hint(hint)
}

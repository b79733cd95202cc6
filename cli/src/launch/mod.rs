//! Running a task: here, or on the nodes of a cluster.
//!
//! Owns: [`Launch`], a task and how it is to run; `inputs`, what is read and resolved on the client once; `here` and `on_cluster`, the
//! order of the steps in either place; `copies` and `copies_progress`, what a person sees of copies out of buckets; `session`, `nodes`, `following` and `labelled`, talking to nodes; `signals`, the user's.
//!
//! The steps: inputs (files listed, the git ref resolved, local sources uploaded), code and files to the nodes, git checkouts, mounts and
//! copies, setup, run, flush. A step begins when the one before has succeeded on every node.

mod copies;
mod copies_progress;
mod ephemeral;
mod following;
mod here;
mod inputs;
mod labelled;
mod nodes;
mod on_cluster;
mod session;
mod signals;

pub use labelled::Labelled;
pub use nodes::{connect, each};
pub use session::{NODE_TIMEOUT_DEFAULT, Session};

use crate::cluster::Cluster;
use crate::sync::FanOut;
use crate::task::Task;
use pail_control::Failure;
use std::process::ExitCode;
use std::time::Duration;

/// The name of this machine where others are clusters'.
pub const HERE: &str = crate::cluster::THIS_MACHINE;

/// A task and how it is to run.
#[derive(Debug)]
pub struct Launch {
    /// What.
    pub task: Task,
    /// Mount, copy and sync what is beside the workdir, and create and fill buckets; `exec` does not.
    pub with_file_mounts: bool,
    /// Run setup.
    pub with_setup: bool,
    /// Leave the run to itself once it is started.
    pub detach: bool,
    /// Send the workdir's `.git` too.
    pub include_git: bool,
    /// Whether workers get files from the head.
    pub fan_out: FanOut,
    /// Check out the repository's submodules.
    pub submodules: bool,
    /// Fetch the repository's LFS objects.
    pub lfs: bool,
    /// How long a node may be out of reach before its job is given up.
    pub node_timeout: Duration,
    /// How long the flush at the end may take.
    pub flush_timeout: Duration,
}

impl Launch {
    /// Runs it; the exit code of its run, or 5 where that succeeded and something is not in its bucket.
    pub async fn run(&self, cluster: Option<&Cluster>) -> Result<ExitCode, Failure> {
        match cluster {
            None => here::launch(self).await,
            Some(cluster) => on_cluster::launch(self, cluster).await,
        }
    }

    fn flush_timeout_ms(&self) -> u64 {
        u64::try_from(self.flush_timeout.as_millis()).unwrap_or(u64::MAX)
    }
}

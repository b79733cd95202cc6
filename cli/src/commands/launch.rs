//! `pail launch`, and what it has in common with `pail exec`.

use super::task_arguments::TaskArguments;
use crate::cluster::Cluster;
use crate::launch::{Launch, NODE_TIMEOUT_DEFAULT};
use crate::sync::FanOut;
use crate::task::{Caller, Task};
use crate::{block_on, terminal};
use pail_control::Failure;
use pail_control::quantity::Period;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// Run a task, here or on the nodes of a cluster: sync its code and files, mount and copy its buckets, run setup and run, wait until what they wrote is in the buckets
///
/// The exit code is that of the task's run; 5 where it succeeded and something could not be published. What is mounted stays, as a second
/// launch uses it again.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The task's file
    task: PathBuf,

    /// The cluster: the host of that name in the SSH configuration, and NAME-worker1, NAME-worker2, … [default: this machine]
    #[arg(short, long, value_name = "NAME")]
    cluster: Option<String>,

    /// Do not run setup
    #[arg(long)]
    no_setup: bool,

    #[command(flatten)]
    how: How,
}

/// Options of `launch` and `exec` alike.
#[derive(Debug, clap::Args)]
pub struct How {
    #[command(flatten)]
    of_task: TaskArguments,

    /// Show what would be done, and do nothing
    #[arg(long)]
    dryrun: bool,

    /// Return when the run has begun; `pail logs` follows it
    #[arg(short, long)]
    detach: bool,

    /// Send the workdir's .git directory too
    #[arg(long)]
    include_git: bool,

    /// Whether workers get files from the head, which got them first: auto (where they are large), always or never
    #[arg(long, value_name = "WHEN", default_value_t)]
    fan_out: FanOut,

    /// Check out the repository's submodules
    #[arg(long)]
    git_submodules: bool,

    /// Fetch the repository's LFS objects
    #[arg(long)]
    git_lfs: bool,

    /// How long a node may be out of reach before its job is given up
    #[arg(long, value_name = "TIME", default_value_t = Period(NODE_TIMEOUT_DEFAULT))]
    node_timeout: Period,

    /// How long to wait at the end for what is not in the buckets yet
    #[arg(long, value_name = "TIME", default_value_t = Period(Duration::from_secs(1800)))]
    flush_timeout: Period,
}

/// Which steps there are.
#[derive(Debug, Clone, Copy)]
pub struct Steps {
    /// Buckets and files beside the workdir.
    pub file_mounts: bool,
    /// The task's setup.
    pub setup: bool,
}

impl Steps {
    /// The task as far as its steps are done.
    fn of(self, mut task: Task) -> Task {
        if !self.file_mounts {
            task.file_mounts.clear();
        }
        if !self.setup {
            task.setup = None;
        }
        task
    }
}

pub fn run(arguments: Arguments) -> Result<ExitCode, Failure> {
    let steps = Steps { file_mounts: true, setup: !arguments.no_setup };
    arguments.how.run(&arguments.task, arguments.cluster.as_deref(), steps)
}

impl How {
    /// Reads the task and runs it.
    pub fn run(self, path: &Path, cluster: Option<&str>, steps: Steps) -> Result<ExitCode, Failure> {
        let caller = Caller::of_this_process()?;
        let task = Task::read(path, &self.of_task.overrides()?, &caller)?;
        task.notes.iter().for_each(|note| terminal::note(note));
        let cluster = cluster.map(Cluster::find).transpose()?;
        let task = if self.dryrun { steps.of(task) } else { task };
        if self.dryrun {
            return super::check::print_plan(&task, &caller, cluster.as_ref());
        }
        let launch = Launch {
            task,
            with_file_mounts: steps.file_mounts,
            with_setup: steps.setup,
            detach: self.detach,
            include_git: self.include_git,
            fan_out: self.fan_out,
            submodules: self.git_submodules,
            lfs: self.git_lfs,
            node_timeout: self.node_timeout.0,
            flush_timeout: self.flush_timeout.0,
        };
        block_on(launch.run(cluster.as_ref()))
    }
}

//! `pail exec`.

use super::launch::{How, Steps};
use pail_control::Failure;
use std::path::Path;
use std::process::ExitCode;

/// Run a task again on a cluster, or on this machine: sync its workdir and run its run, without setup and file_mounts
///
/// No bucket is created or mounted; what was mounted by a launch is flushed at the end.
#[derive(Debug, clap::Args)]
#[command(override_usage = "pail exec [OPTIONS] [CLUSTER] <TASK>")]
pub struct Arguments {
    /// The cluster [default: this machine], and the task's file
    #[arg(value_name = "CLUSTER] [TASK", required = true, num_args = 1..=2)]
    words: Vec<String>,

    /// The cluster, in another place
    #[arg(short, long, value_name = "NAME")]
    cluster: Option<String>,

    #[command(flatten)]
    how: How,
}

pub fn run(arguments: Arguments) -> Result<ExitCode, Failure> {
    let steps = Steps { file_mounts: false, setup: false };
    let (cluster, task) = match (arguments.words.as_slice(), &arguments.cluster) {
        ([task], cluster) => (cluster.as_deref(), task),
        ([cluster, task], None) => (Some(cluster.as_str()), task),
        _ => {
            return Err(Failure::usage("the cluster is named twice").with_hint("pail exec CLUSTER TASK.yaml"));
        }
    };
    arguments.how.run(Path::new(task), cluster, steps)
}

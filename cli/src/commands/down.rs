//! `pail down`.

use crate::cluster::{Cluster, Needs};
use crate::launch::{HERE, connect, each};
use crate::node::request::{Down, Request};
use crate::node::serve;
use crate::{block_on, terminal};
use pail_control::quantity::Period;
use pail_control::{Failure, FailureKind};
use std::process::ExitCode;
use std::time::Duration;

/// End the jobs of a cluster, or of this machine, publish what they wrote, unmount, and end the daemons
///
/// Where something cannot be published in time its mount stays, what remains is listed, and the exit code is 5. Files on the nodes stay.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The cluster [default: this machine]
    cluster: Option<String>,

    /// How long to wait for what is not in the buckets yet
    #[arg(long, value_name = "TIME", default_value_t = Period(Duration::from_secs(300)))]
    timeout: Period,
}

pub fn run(arguments: Arguments) -> Result<ExitCode, Failure> {
    let timeout_ms = u64::try_from(arguments.timeout.0.as_millis()).unwrap_or(u64::MAX);
    let by_node = match arguments.cluster {
        None => vec![(HERE.to_owned(), block_on(serve::down(HERE, timeout_ms))?)],
        Some(name) => block_on(of_cluster(&name, timeout_ms))?,
    };
    let mut code = ExitCode::SUCCESS;
    for (node, down) in &by_node {
        for number in &down.ended {
            terminal::line(&format!("{node}: ended job {number}"))?;
        }
        for place in &down.unmounted {
            terminal::line(&format!("{node}: unmounted {}", terminal::shown(&place.display().to_string())))?;
        }
        if !down.left.is_empty() {
            terminal::note(&format!("{node}:"));
            terminal::notes(&down.left);
            code = ExitCode::from(FailureKind::Partial.exit_code());
        }
    }
    Ok(code)
}

async fn of_cluster(name: &str, timeout_ms: u64) -> Result<Vec<(String, Down)>, Failure> {
    let sessions = connect(&Cluster::find(name)?, Needs::default()).await?;
    let downs = each(&sessions, |_| Request::Down { cluster: name.to_owned(), timeout_ms }).await?;
    Ok(sessions.into_iter().map(|session| session.node.host).zip(downs).collect())
}

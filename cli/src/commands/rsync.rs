//! `pail rsync`.

use crate::block_on;
use crate::cluster::{Cluster, Needs, Node};
use crate::launch::connect;
use futures::future::join_all;
use pail_control::{Failure, FailureKind};
use std::ffi::OsString;
use std::process::{ExitCode, Stdio};
use tokio::process::Command;

/// Copy files to the nodes of a cluster, or from one, by rsync
///
/// Where the last path is CLUSTER:PATH, files go to every node of the cluster; to NODE:PATH, such as dev-worker1:/data, to that one. The other way
/// round, CLUSTER:PATH is the head's. Plain rsync and scp work as well: dev:, dev-worker1: are hosts of the SSH configuration.
#[derive(Debug, clap::Args)]
#[command(override_usage = "pail rsync [OPTIONS] <SOURCE>... <TARGET> [-- RSYNC_OPTIONS]")]
pub struct Arguments {
    /// Local paths, or CLUSTER:PATH
    #[arg(required = true, num_args = 2..)]
    paths: Vec<OsString>,

    /// Options of rsync [default: -a --partial --human-readable --info=progress2 on a terminal]
    #[arg(last = true)]
    options: Vec<OsString>,
}

/// A path on a node.
struct Remote {
    host: String,
    path: String,
}

impl Remote {
    /// `HOST:PATH`, as rsync takes it: what has a slash before the first colon is local.
    fn parse(word: &OsString) -> Option<Self> {
        let (host, path) = word.to_str()?.split_once(':')?;
        (!host.is_empty() && !host.contains('/'))
            .then(|| Self { host: host.to_owned(), path: path.to_owned() })
    }
}

pub fn run(arguments: Arguments) -> Result<ExitCode, Failure> {
    let Some((target, sources)) = arguments.paths.split_last() else { return Err(no_remote()) };
    let from: Vec<_> = sources.iter().map(Remote::parse).collect();
    match (Remote::parse(target), from.iter().flatten().count()) {
        (Some(target), 0) => block_on(up(sources, &target, &arguments.options)),
        (None, count) if count == sources.len() => {
            let from: Vec<_> = from.into_iter().flatten().collect();
            block_on(down(&from, target, &arguments.options))
        }
        (Some(_), _) => {
            Err(Failure::usage("both sides are on nodes").with_hint("copy by way of this machine"))
        }
        (None, _) => Err(no_remote()),
    }
}

fn no_remote() -> Failure {
    Failure::usage("one side is on a node, as CLUSTER:PATH, and the other on this machine")
        .with_hint("`pail rsync dev:checkpoints/ local/`, `pail rsync data dev:`")
}

/// The nodes that a host means: a worker is meant alone.
async fn nodes_of(host: &str) -> Result<Vec<Node>, Failure> {
    let cluster = match host.rsplit_once("-worker") {
        Some((cluster, number)) if number.parse::<u32>().is_ok() => cluster,
        _ => host,
    };
    let found = Cluster::find(cluster)?;
    let needs = Needs { rsync: true, ..Needs::default() };
    match cluster == host {
        true => Ok(connect(&found, needs).await?.into_iter().map(|session| session.node).collect()),
        false => match found.nodes.into_iter().find(|node| node.host == host) {
            Some(node) => Ok(vec![node]),
            None => Err(Failure::new(FailureKind::NotFound, format!("{cluster} has no node {host}"))),
        },
    }
}

async fn up(sources: &[OsString], target: &Remote, options: &[OsString]) -> Result<ExitCode, Failure> {
    let nodes = nodes_of(&target.host).await?;
    let copies = nodes.iter().map(|node| {
        let mut command = rsync(node, options, nodes.len() == 1);
        command.args(sources).arg(format!("{}:{}", node.host, target.path));
        async move { (node, command.status().await) }
    });
    let mut failed = Vec::new();
    for (node, status) in join_all(copies).await {
        let status = status.map_err(|err| no_rsync(&err))?;
        if !status.success() {
            failed.push((node.host.clone(), status));
        }
    }
    match (failed.as_slice(), nodes.len()) {
        ([], _) => Ok(ExitCode::SUCCESS),
        ([(_, status)], 1) => Ok(ExitCode::from(crate::shell::exit_code(*status))),
        (failed, count) => {
            let hosts: Vec<_> = failed.iter().map(|(host, _)| host.as_str()).collect();
            let kind = if failed.len() == count { FailureKind::Other } else { FailureKind::Partial };
            Err(Failure::new(kind, format!("rsync failed on {}", hosts.join(", "))))
        }
    }
}

async fn down(sources: &[Remote], target: &OsString, options: &[OsString]) -> Result<ExitCode, Failure> {
    let nodes = nodes_of(&sources[0].host).await?;
    let node = &nodes[0];
    if let Some(other) = sources.iter().find(|source| source.host != sources[0].host) {
        return Err(Failure::usage(format!("{} and {} are two hosts", sources[0].host, other.host))
            .with_hint("copy from one after the other"));
    }
    let mut command = rsync(node, options, true);
    command.args(sources.iter().map(|source| format!("{}:{}", node.host, source.path))).arg(target);
    let status = command.status().await.map_err(|err| no_rsync(&err))?;
    Ok(ExitCode::from(crate::shell::exit_code(status)))
}

/// rsync over the node's connection; with `alone` its progress is shown.
fn rsync(node: &Node, options: &[OsString], alone: bool) -> Command {
    use std::io::IsTerminal;
    let mut command = Command::new("rsync");
    match options {
        [] => command.args(["-a", "--partial", "--human-readable"]),
        options => command.args(options),
    };
    if options.is_empty() && alone && std::io::stdout().is_terminal() {
        command.arg("--info=progress2");
    }
    command.arg("-e").arg(node.rsync_shell()).stdin(Stdio::null());
    command
}

fn no_rsync(err: &std::io::Error) -> Failure {
    Failure::from_io("cannot start rsync", err).with_hint("install the package rsync on this machine")
}

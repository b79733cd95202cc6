//! `sync PAIL SOURCE CLUSTER DESTINATION [FAN_OUT]`: what a launch does for a directory, alone, for `scripts/bench sync`. PAIL is the program's path on the
//! nodes. `sync --rsync-shell CLUSTER` prints what rsync is to take by `-e` for the same connections.

use pail::cluster::Cluster;
use pail::sync::ignore::{ListOptions, list};
use pail::sync::{FanOut, Peer, Source, SyncItem, SyncOptions, SyncPlan, SyncProgress, to_nodes};
use pail_control::Failure;
use std::path::PathBuf;

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["--rsync-shell", cluster] => {
            let cluster = Cluster::find(cluster)?;
            let shells = cluster.nodes.iter().map(|node| node.rsync_shell().to_string_lossy().into_owned());
            println!("{}", shells.take(1).collect::<String>());
            Ok(())
        }
        [pail, source, cluster, destination, fan_out @ ..] if fan_out.len() <= 1 => {
            let fan_out = fan_out.first().map_or(Ok(FanOut::Auto), |when| when.parse());
            sync(pail, PathBuf::from(source), cluster, destination, fan_out.map_err(Failure::usage)?)
        }
        _ => Err(Failure::usage(
            "sync PAIL SOURCE CLUSTER DESTINATION [FAN_OUT], or sync --rsync-shell CLUSTER",
        )),
    }
}

fn sync(
    pail: &str,
    source: PathBuf,
    cluster: &str,
    destination: &str,
    fan_out: FanOut,
) -> Result<(), Failure> {
    let list = list(&source, &ListOptions::default())?;
    let source = Source::Directory { path: source, list };
    let plan = SyncPlan::new(vec![SyncItem { source, destination: destination.to_owned() }])?;
    let nodes = Cluster::find(cluster)?.nodes.into_iter();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|err| Failure::from_io("cannot start threads", &err))?;
    let mut peers = Vec::new();
    for node in nodes {
        let named = runtime.block_on(node.resolved())?;
        let address = named.get("hostname").and_then(|name| name.parse().ok());
        peers.push(Peer { node, pail: pail.to_owned(), address });
    }
    let options = SyncOptions { fan_out, ..SyncOptions::default() };
    let progress = SyncProgress::new(peers.iter().map(|peer| peer.node.host.clone()), plan.bytes);
    let outcome = runtime.block_on(to_nodes(&plan, &peers, &options, &progress));
    if let Some(failure) = outcome.failure() {
        return Err(failure);
    }
    for (host, result) in outcome.nodes {
        let stats = result?;
        println!(
            "{host}: {} files, {} bytes ({} from the head), {} deleted, {} listed",
            stats.files, stats.bytes, stats.head_bytes, stats.deleted, stats.listed
        );
    }
    Ok(())
}

//! `sync PAIL SOURCE CLUSTER DESTINATION`: what a launch does for a directory, alone, for `scripts/bench sync`. PAIL is the program's path on the
//! nodes. `sync --rsync-shell CLUSTER` prints what rsync is to take by `-e` for the same connections.

use pail::cluster::Cluster;
use pail::sync::ignore::{ListOptions, list};
use pail::sync::{Peer, Source, SyncItem, SyncOptions, SyncPlan, SyncProgress, to_nodes};
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
        [pail, source, cluster, destination] => sync(pail, PathBuf::from(source), cluster, destination),
        _ => Err(Failure::usage("sync PAIL SOURCE CLUSTER DESTINATION, or sync --rsync-shell CLUSTER")),
    }
}

fn sync(pail: &str, source: PathBuf, cluster: &str, destination: &str) -> Result<(), Failure> {
    let list = list(&source, &ListOptions::default())?;
    let source = Source::Directory { path: source, list };
    let plan = SyncPlan::new(vec![SyncItem { source, destination: destination.to_owned() }])?;
    let nodes = Cluster::find(cluster)?.nodes.into_iter();
    let peers: Vec<Peer> = nodes.map(|node| Peer { node, pail: pail.to_owned() }).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|err| Failure::from_io("cannot start threads", &err))?;
    let progress = SyncProgress::new(peers.iter().map(|peer| peer.node.host.clone()), plan.bytes);
    let outcome = runtime.block_on(to_nodes(&plan, &peers, &SyncOptions::default(), &progress));
    if let Some(failure) = outcome.failure() {
        return Err(failure);
    }
    for (host, result) in outcome.nodes {
        let stats = result?;
        println!(
            "{host}: {} files, {} bytes, {} deleted, {} listed",
            stats.files, stats.bytes, stats.deleted, stats.listed
        );
    }
    Ok(())
}

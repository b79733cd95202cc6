//! All nodes of a cluster at once.
//!
//! Owns: [`connect`], which sees to it that each has Pail; [`each`], the same call to all of them; and [`all_of`], one failure for what failed alike on many nodes.

use super::session::Session;
use crate::cluster::{Agent, Cluster, Needs, alike, bootstrap, on};
use crate::node::request::Request;
use crate::terminal;
use futures::stream::{self, StreamExt};
use pail_control::{Failure, FailureKind};
use serde::de::DeserializeOwned;

/// How many nodes are talked to at a time.
pub const NODES_AT_A_TIME_MAX: usize = 32;

/// Connects to every node, and sends it Pail where it has another version. Errors: which nodes cannot be used, and why.
pub async fn connect(cluster: &Cluster, needs: Needs) -> Result<Vec<Session>, Failure> {
    let count = cluster.nodes.len();
    let connecting = stream::iter(&cluster.nodes).map(|node| async move {
        let label = label(&node.host, count);
        let agent: Agent =
            bootstrap(node, needs, &|doing| terminal::note(&format!("{label}{doing}"))).await?;
        Ok(Session { node: node.clone(), agent, label })
    });
    let connected: Vec<Result<Session, Failure>> = connecting.buffered(NODES_AT_A_TIME_MAX).collect().await;
    let hosts: Vec<&str> = cluster.nodes.iter().map(|node| node.host.as_str()).collect();
    gather(&hosts, connected)
}

/// Before a node's lines: nothing where it is alone.
fn label(host: &str, count: usize) -> String {
    if count > 1 { format!("({host}) ") } else { String::new() }
}

/// Sends each node its request; the answers by rank. Errors: which nodes failed, and how.
pub async fn each<T: DeserializeOwned>(
    sessions: &[Session],
    request: impl Fn(&Session) -> Request,
) -> Result<Vec<T>, Failure> {
    let calls = stream::iter(sessions).map(|session| {
        let request = request(session);
        async move { session.call::<T>(&request).await }
    });
    all_of(sessions, calls.buffered(NODES_AT_A_TIME_MAX).collect().await)
}

/// All results, or one failure that says what failed where.
pub fn all_of<T>(sessions: &[Session], results: Vec<Result<T, Failure>>) -> Result<Vec<T>, Failure> {
    let hosts: Vec<&str> = sessions.iter().map(|session| session.node.host.as_str()).collect();
    gather(&hosts, results)
}

/// The same by the nodes' names. Failures that differ in the node's name alone are told once, with all the names. The kind is that of the
/// failures where every node failed alike, and `Partial` where some did not fail.
pub fn gather<T>(hosts: &[&str], results: Vec<Result<T, Failure>>) -> Result<Vec<T>, Failure> {
    let failures =
        hosts.iter().zip(&results).filter_map(|(host, result)| Some((*host, result.as_ref().err()?)));
    let groups = alike(failures);
    let Some((first, _)) = groups.first() else { return Ok(results.into_iter().flatten().collect()) };
    let count: usize = groups.iter().map(|(_, hosts)| hosts.len()).sum();
    let is_all = count == hosts.len();
    if let ([(failure, hosts_of)], true) = (groups.as_slice(), is_all) {
        // One node alone is named in the failure's own words.
        let own = results.iter().find_map(|result| result.as_ref().err()).unwrap_or(failure);
        return Err(match hosts_of.as_slice() {
            [host] if own.message.contains(host) => own.clone(),
            hosts => Failure { message: format!("{}: {}", on(hosts), failure.message), ..failure.clone() },
        });
    }
    let same_kind = groups.iter().all(|(failure, _)| failure.kind == first.kind);
    let kind = if is_all && same_kind { first.kind } else { FailureKind::Partial };
    let mut all = Failure::new(kind, format!("{count} of {} nodes failed", hosts.len()));
    for (failure, hosts_of) in &groups {
        all = all.because(format!("{}: {failure}", on(hosts_of)));
    }
    Err(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full(host: &str) -> Result<(), Failure> {
        Err(Failure::new(FailureKind::NoSpace, format!("the disk of {host} is full")))
    }

    #[test]
    fn what_failed_alike_is_told_once() {
        let failure = gather(&["a1", "b2", "c3"], vec![full("a1"), Ok(()), full("c3")]).unwrap_err();
        assert_eq!((failure.kind, failure.message.as_str()), (FailureKind::Partial, "2 of 3 nodes failed"));
        assert_eq!(failure.causes, ["on 2 nodes (a1, c3): the disk of the node is full"]);
        let failure = gather(&["a1", "b2"], vec![full("a1"), full("b2")]).unwrap_err();
        assert_eq!(failure.kind, FailureKind::NoSpace);
        assert_eq!(failure.message, "on 2 nodes (a1, b2): the disk of the node is full");
        let failure = gather(&["a1"], vec![full("a1")]).unwrap_err();
        assert_eq!(failure.message, "the disk of a1 is full");
    }

    #[test]
    fn failures_that_differ_are_told_each() {
        let other = Err(Failure::new(FailureKind::Unreachable, "no answer").with_hint("try ssh"));
        let failure = gather(&["a", "b"], vec![full("a"), other]).unwrap_err();
        assert_eq!(failure.kind, FailureKind::Partial);
        assert_eq!(failure.causes.len(), 2);
        assert!(failure.causes[1].contains("try ssh"), "{failure}");
    }
}

//! All nodes of a cluster at once.
//!
//! Owns: [`connect`], which sees to it that each has Pail; [`each`], the same call to all of them; and [`all_of`], one failure for what failed alike on many nodes.

use super::session::Session;
use crate::cluster::{Agent, Cluster, Needs, bootstrap};
use crate::node::request::Request;
use crate::terminal;
use futures::stream::{self, StreamExt};
use pail_control::{Failure, FailureKind};
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;

/// How many nodes are talked to at a time.
pub const NODES_AT_A_TIME_MAX: usize = 32;
/// How many nodes of one failure are named.
const NAMED_MAX: usize = 8;

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
    let (mut done, mut failed) = (Vec::new(), BTreeMap::<String, (Vec<&str>, Failure)>::new());
    for (host, result) in hosts.iter().zip(results) {
        match result {
            Ok(value) => done.push(value),
            Err(failure) => {
                let alike = about_any_node(&failure, host);
                failed.entry(format!("{alike:?}")).or_insert_with(|| (Vec::new(), failure)).0.push(host);
            }
        }
    }
    if failed.is_empty() {
        return Ok(done);
    }
    let count = hosts.len() - done.len();
    let first_kind = failed.values().next().map_or(FailureKind::Other, |(_, failure)| failure.kind);
    let alike = failed.values().all(|(_, failure)| failure.kind == first_kind);
    let mut groups: Vec<_> = failed.into_values().collect();
    if let [(hosts_of, failure)] = groups.as_mut_slice()
        && hosts.len() == hosts_of.len()
    {
        let failure = failure.clone();
        return Err(match hosts_of.len() {
            1 => with_host(failure, hosts_of[0]),
            _ => Failure { message: format!("on all {count} nodes: {}", failure.message), ..failure },
        });
    }
    let kind = if done.is_empty() && alike { first_kind } else { FailureKind::Partial };
    let mut all = Failure::new(kind, format!("{count} of {} nodes failed", hosts.len()));
    for (hosts_of, failure) in groups {
        let causes: String = failure.causes.iter().map(|cause| format!(": {cause}")).collect();
        all = all.because(format!("{}: {}{causes}", names(&hosts_of), failure.message));
        if let Some(hint) = failure.hint {
            all.hint.get_or_insert(hint);
        }
    }
    Err(all)
}

fn with_host(failure: Failure, host: &str) -> Failure {
    match failure.message.contains(host) {
        true => failure,
        false => Failure { message: format!("{host}: {}", failure.message), ..failure },
    }
}

fn about_any_node(failure: &Failure, host: &str) -> Failure {
    let without = |text: &String| text.replace(host, "NODE");
    Failure {
        kind: failure.kind,
        message: without(&failure.message),
        causes: failure.causes.iter().map(without).collect(),
        hint: failure.hint.as_ref().map(without),
    }
}

fn names(hosts: &[&str]) -> String {
    match hosts.len().saturating_sub(NAMED_MAX) {
        0 => hosts.join(", "),
        more => format!("{} and {more} more", hosts[..NAMED_MAX].join(", ")),
    }
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
        assert_eq!(failure.causes, ["a1, c3: the disk of a1 is full"]);
        let failure = gather(&["a1", "b2"], vec![full("a1"), full("b2")]).unwrap_err();
        assert_eq!(failure.kind, FailureKind::NoSpace);
        assert_eq!(failure.message, "on all 2 nodes: the disk of a1 is full");
    }

    #[test]
    fn failures_that_differ_are_told_each() {
        let other = Err(Failure::new(FailureKind::Unreachable, "no answer").with_hint("try ssh"));
        let failure = gather(&["a", "b"], vec![full("a"), other]).unwrap_err();
        assert_eq!(failure.kind, FailureKind::Partial);
        assert_eq!(failure.causes.len(), 2);
        assert_eq!(failure.hint.as_deref(), Some("try ssh"));
    }
}

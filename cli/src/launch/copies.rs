//! Mounts and copies out of buckets, on one node or on all of a cluster.
//!
//! Owns: [`prepare_here`] and [`prepare_everywhere`], which show how far the copies are and say in a line for each what it came to; and what they left out, with
//! the nodes' names where it is not the same on all.

use super::copies_progress::CopiesProgress;
use super::nodes::{NODES_AT_A_TIME_MAX, all_of};
use super::session::Session;
use super::signals::Signals;
use crate::cluster::on;
use crate::node::copies::Copied;
use crate::node::preparing::{PrepareRequest, Prepared, prepare};
use crate::node::request::Request;
use crate::{copying, terminal};
use futures::stream::{self, StreamExt};
use pail_control::{CallerEnvironment, Failure};
use pail_transfer::{CancellationToken, Report};
use std::path::Path;

/// On this machine. A signal ends the copies in good order. What can be no file, a line each, beside what is there.
pub async fn prepare_here(
    request: &PrepareRequest,
    home: &Path,
    environment: &CallerEnvironment,
) -> Result<(Prepared, Vec<String>), Failure> {
    let progress = CopiesProgress::new([String::new()]);
    let (stop, watch) = (CancellationToken::new(), |state| progress.step(0, state));
    let preparing = prepare(request, home, environment, &stop, &watch);
    let prepared = match request.copies.is_empty() {
        // A mount is not ended in its middle: a signal ends this process.
        true => preparing.await?,
        false => progress.while_copying(until_a_signal(preparing, &stop)).await?,
    };
    let copied: Vec<_> = prepared.copied.iter().map(|copied| vec![("", copied)]).collect();
    copied.iter().for_each(|copied| tell(copied, 1));
    let left_out = left_out(&copied, 1);
    Ok((prepared, left_out))
}

async fn until_a_signal(
    preparing: impl Future<Output = Result<Prepared, Failure>>,
    stop: &CancellationToken,
) -> Result<Prepared, Failure> {
    let mut signals = Signals::watch()?;
    tokio::pin!(preparing);
    tokio::select! {
        prepared = &mut preparing => return prepared,
        () = signals.next() => stop.cancel(),
    }
    terminal::note("stopping the copies; once more leaves at once");
    tokio::select! {
        prepared = &mut preparing => prepared.and(Err(interrupted())),
        () = signals.next() => Err(interrupted()),
    }
}

fn interrupted() -> Failure {
    Failure::new(pail_control::FailureKind::Interrupted, "stopped before everything was in its place")
        .with_hint("the same command goes on with what is missing")
}

/// On all nodes at once. What each has, by rank, and what can be no file. Errors: which nodes failed, and how; what the others copied is told before.
pub async fn prepare_everywhere(
    request: &PrepareRequest,
    sessions: &[Session],
) -> Result<(Vec<Prepared>, Vec<String>), Failure> {
    let progress = CopiesProgress::new(sessions.iter().map(|session| session.node.host.clone()));
    let request = Request::Prepare(Box::new(request.clone()));
    let calls = stream::iter(sessions.iter().enumerate()).map(|(index, session)| {
        let (progress, request) = (&progress, &request);
        async move {
            let watch = |state| progress.step(index, state);
            let prepared = session.call_watched::<Prepared>(request, &watch).await;
            progress.end(index, prepared.is_ok());
            prepared
        }
    });
    let calls = calls.buffered(NODES_AT_A_TIME_MAX).collect::<Vec<_>>();
    let prepared = progress.while_copying(calls).await;
    drop(progress);
    let done =
        || sessions.iter().zip(&prepared).filter_map(|(session, one)| Some((session, one.as_ref().ok()?)));
    let count = done().map(|(_, one)| one.copied.len()).max().unwrap_or_default();
    let of_copy = |index| {
        let copied =
            done().filter_map(|(session, one)| Some((session.node.host.as_str(), one.copied.get(index)?)));
        copied.collect::<Vec<_>>()
    };
    let copied: Vec<_> = (0..count).map(of_copy).collect();
    copied.iter().for_each(|copied| tell(copied, sessions.len()));
    let left_out = left_out(&copied, sessions.len());
    Ok((all_of(sessions, prepared)?, left_out))
}

/// Says what one copy of the task came to on these of `count` nodes.
fn tell(copied: &[(&str, &Copied)], count: usize) {
    if let Some(line) = told(copied, count) {
        terminal::note(&line);
    }
}

fn told(copied: &[(&str, &Copied)], count: usize) -> Option<String> {
    let (_, Copied { uri, destination, .. }) = copied.first()?;
    let reports: Vec<_> = copied.iter().filter_map(|(_, one)| one.report.as_ref()).collect();
    if reports.is_empty() {
        return Some(format!("{uri}: it is empty"));
    }
    let summary = copying::summary(&sum(&reports));
    Some(match (count, copied.len()) {
        (1, _) => format!("{uri}: {summary} to {destination}"),
        (count, made) if count == made => format!("{uri} to {destination} on {count} nodes: {summary}"),
        (_, _) => {
            let hosts: Vec<_> = copied.iter().map(|(host, _)| *host).collect();
            format!("{uri} to {destination} {}: {summary}", on(&hosts))
        }
    })
}

/// The counts of several nodes together; problems are told by node.
fn sum(reports: &[&Report]) -> Report {
    reports.iter().fold(Report::default(), |sum, report| Report {
        copied: sum.copied + report.copied,
        copied_bytes: sum.copied_bytes + report.copied_bytes,
        resumed_bytes: sum.resumed_bytes + report.resumed_bytes,
        verified: sum.verified + report.verified,
        unverified: sum.unverified + report.unverified,
        unchanged: sum.unchanged + report.unchanged,
        touched: sum.touched + report.touched,
        ..sum
    })
}

/// What can be no file, of each copy: a line each, with its nodes where others of the `count` nodes do not have it.
fn left_out(copied: &[Vec<(&str, &Copied)>], count: usize) -> Vec<String> {
    let mut lines: Vec<(String, Vec<&str>)> = Vec::new();
    for (host, copied) in copied.iter().flatten() {
        // What failed has ended the copy.
        let left_out = copied.report.as_ref().map(copying::left_out);
        for line in left_out.and_then(Result::ok).unwrap_or_default() {
            match lines.iter_mut().find(|(known, _)| *known == line) {
                Some((_, hosts)) => hosts.push(host),
                None => lines.push((line, vec![host])),
            }
        }
    }
    let told = |(line, mut hosts): (String, Vec<&str>)| {
        hosts.dedup();
        if hosts.len() >= count { line } else { format!("{}: {line}", on(&hosts)) }
    };
    lines.into_iter().map(told).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copied(copied: u64, skipped: Option<&str>) -> Copied {
        let mut report =
            Report { copied, copied_bytes: 1024 * copied, verified: copied, ..Report::default() };
        skipped.iter().for_each(|name| report.skipped.add(*name, "it cannot be"));
        Copied { uri: "s3://b/p".into(), destination: "/data".into(), report: Some(report) }
    }

    #[test]
    fn a_copy_is_told_once_for_all_nodes() {
        let (three, two) = (copied(3, None), copied(2, None));
        let both = [("a", &three), ("b", &two)];
        let told = |copied: &[_], count| super::told(copied, count).unwrap();
        assert_eq!(told(&both, 2), "s3://b/p to /data on 2 nodes: copied 5 files (5.0 KiB); 5 verified");
        assert_eq!(told(&both[..1], 2), "s3://b/p to /data on a: copied 3 files (3.0 KiB); 3 verified");
        assert_eq!(told(&[("", &three)], 1), "s3://b/p: copied 3 files (3.0 KiB); 3 verified to /data");
        let empty = Copied { report: None, ..three.clone() };
        assert_eq!(told(&[("a", &empty), ("b", &empty)], 2), "s3://b/p: it is empty");
    }

    #[test]
    fn what_is_left_out_on_some_nodes_alone_names_them() {
        let (both, one) = (copied(1, Some("x")), copied(1, Some("y")));
        let copies = [vec![("a", &both), ("b", &both)], vec![("b", &one)]];
        assert_eq!(left_out(&copies, 2), ["x: it cannot be", "on b: y: it cannot be"]);
    }
}

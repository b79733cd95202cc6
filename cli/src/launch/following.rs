//! A stage of a job on all of its nodes.
//!
//! Owns: [`run_stage`], which starts it everywhere, shows what it prints, passes Ctrl-C on, and ends the others where one fails: the
//! processes of a distributed run wait for each other forever. A link that drops is taken up again where it was.

use super::labelled::Labelled;
use super::nodes::NODES_AT_A_TIME_MAX;
use super::session::Session;
use super::signals::Signals;
use crate::node::job::{End, FollowRequest, JobRecord, StageRequest, State};
use crate::node::request::{JobSignal, Request};
use crate::terminal;
use futures::future::join_all;
use futures::stream::{self, FuturesUnordered, StreamExt};
use pail_control::{Failure, FailureKind};
use std::time::Duration;

/// How a stage ended on all nodes.
#[derive(Debug, Default)]
pub struct StageEnd {
    /// The exit code of the node that failed first; 0 where none did.
    pub exit_code: u8,
    /// Of that node: what to say.
    pub failures: Vec<Failure>,
    /// What is not in the buckets, by node.
    pub left: Vec<(String, Vec<String>)>,
}

/// What happened next.
enum Event {
    Over(usize, Result<JobRecord, Failure>),
    Signalled,
}

/// Starts a stage on each node, `requests` being theirs by order, and shows its output until it is over everywhere; a node that is out of
/// reach for `patience` is given up. Errors: it could not be started; `Interrupted`, when the user asked twice to leave.
pub async fn run_stage(
    sessions: &[Session],
    requests: &[StageRequest],
    patience: Duration,
) -> Result<StageEnd, Failure> {
    let mut signals = Signals::watch()?;
    start_all(sessions, requests).await?;
    let mut running: FuturesUnordered<_> =
        sessions
            .iter()
            .zip(requests)
            .enumerate()
            .map(|(index, (session, request))| async move {
                (index, follow_to_end(session, request, patience).await)
            })
            .collect();
    let mut open: Vec<bool> = vec![true; sessions.len()];
    let mut end = StageEnd::default();
    let mut asked = false;
    while open.contains(&true) {
        let event = tokio::select! {
            Some((index, result)) = running.next() => Event::Over(index, result),
            () = signals.next() => Event::Signalled,
        };
        match event {
            Event::Over(index, result) => {
                open[index] = false;
                let failed = end.exit_code != 0;
                take_end(&mut end, &sessions[index], &requests[index], result);
                // Who was asked to end may take the time that this takes.
                if end.exit_code != 0 && !failed && !asked && open.contains(&true) {
                    terminal::note(&format!(
                        "{} failed: ending {} on the other nodes",
                        sessions[index].node.host,
                        requests[index].stage.name()
                    ));
                    signal_all(sessions, requests, &open, JobSignal::Terminate);
                }
            }
            Event::Signalled if asked => return Err(left_running(&requests[0])),
            Event::Signalled => {
                asked = true;
                terminal::note(
                    "asked the job to end on every node, and waiting for it; once more leaves it alone",
                );
                signal_all(sessions, requests, &open, JobSignal::Interrupt);
            }
        }
    }
    if asked && end.exit_code == 0 {
        end.exit_code = FailureKind::Interrupted.exit_code();
    }
    Ok(end)
}

/// Starts a stage on each node; where it does not start on all, it is ended on the others. Errors: which did not start it, and why.
pub async fn start_all(sessions: &[Session], requests: &[StageRequest]) -> Result<(), Failure> {
    let starts = stream::iter(sessions.iter().zip(requests)).map(|(session, request)| async move {
        session.call::<()>(&Request::Start(Box::new(request.clone()))).await
    });
    let started: Vec<_> = starts.buffered(NODES_AT_A_TIME_MAX).collect().await;
    if started.iter().any(Result::is_err) {
        let begun = sessions.iter().zip(requests).zip(&started).filter(|(_, started)| started.is_ok());
        let ends = begun.map(|((session, request), _)| async move {
            let (cluster, number) = (request.cluster.clone(), request.number);
            session.call::<bool>(&Request::Signal { cluster, number, signal: JobSignal::Terminate }).await
        });
        // What cannot be told is among the failures already, or `pail queue` shows it.
        join_all(ends).await;
    }
    super::nodes::all_of(sessions, started).map(|_| ())
}

/// Follows the stage to its end, over as many connections as that takes.
async fn follow_to_end(
    session: &Session,
    request: &StageRequest,
    patience: Duration,
) -> Result<JobRecord, Failure> {
    let mut output = Labelled::new(&session.label, std::io::stdout());
    let follow = FollowRequest {
        cluster: request.cluster.clone(),
        number: request.number,
        stage: request.stage,
        offset: 0,
        wait: true,
    };
    let followed = session.follow(follow, patience, &mut |bytes| output.take(bytes)).await;
    output.finish();
    followed
}

fn take_end(
    end: &mut StageEnd,
    session: &Session,
    request: &StageRequest,
    result: Result<JobRecord, Failure>,
) {
    let (host, stage) = (&session.node.host, request.stage.name());
    let code = match result {
        Ok(JobRecord { state: State::Ended(End { exit_code, remaining, .. }), .. }) => {
            if exit_code != 0 {
                end.failures
                    .push(Failure::other(format!("{stage} ended with exit code {exit_code} on {host}")));
            }
            if !remaining.is_empty() {
                end.left.push((host.clone(), remaining));
            }
            exit_code
        }
        Ok(_) => {
            end.failures.push(
                Failure::other(format!("{stage} is lost on {host}: the process that stayed with it is gone"))
                    .with_hint(
                        "the node was started anew, or ran out of memory; `pail launch` runs the task again",
                    ),
            );
            1
        }
        Err(failure) => {
            let code = failure.kind.exit_code();
            end.failures.push(failure);
            code
        }
    };
    if end.exit_code == 0 {
        end.exit_code = code;
    }
}

/// Tells the stage to end where it is still open. Nobody waits for that: a node that is away is not told, and is noticed by its follower.
fn signal_all(sessions: &[Session], requests: &[StageRequest], open: &[bool], signal: JobSignal) {
    for ((session, request), _) in sessions.iter().zip(requests).zip(open).filter(|(_, open)| **open) {
        let (session, cluster, number) = (session.clone(), request.cluster.clone(), request.number);
        tokio::spawn(async move {
            session.call::<bool>(&Request::Signal { cluster, number, signal }).await.unwrap_or_default()
        });
    }
}

fn left_running(request: &StageRequest) -> Failure {
    let (cluster, number) = (&request.cluster, request.number);
    Failure::new(FailureKind::Interrupted, format!("left job {number} of {cluster}, which has not ended"))
        .with_hint(format!(
            "`pail logs {cluster} {number}` follows it, `pail cancel {cluster} {number}` ends it"
        ))
}

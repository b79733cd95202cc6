//! `pail logs`.

use super::cancel::{Named, print_left};
use crate::cluster::{Cluster, Needs};
use crate::launch::{HERE, Labelled, NODE_TIMEOUT_DEFAULT, Session, connect};
use crate::node::job::{End, FollowRequest, JobRecord, Stage, State, follow};
use crate::node::request::{JobRow, Request};
use crate::node::serve;
use crate::{block_on, terminal};
use futures::future::join_all;
use pail_control::{Failure, FailureKind};
use std::process::ExitCode;

/// Show what a job prints, from its beginning until it ends
///
/// The exit code is the job's, where it has ended; 5 where it succeeded and something that it wrote could not be published.
///
/// `pail logs` shows the last job that runs detached on this machine, `pail logs 3` its job 3, `pail logs dev` the last one of the cluster dev,
/// `pail logs dev 3` its job 3.
#[derive(Debug, clap::Args)]
#[command(override_usage = "pail logs [OPTIONS] [CLUSTER] [JOB]")]
pub struct Arguments {
    #[command(flatten)]
    named: Named,

    /// Only what is there now
    #[arg(long)]
    no_follow: bool,
}

pub fn run(arguments: Arguments) -> Result<ExitCode, Failure> {
    let (cluster, number) = arguments.named.resolve()?;
    let wait = !arguments.no_follow;
    let code = match cluster {
        None => block_on(here(number, wait))?,
        Some(name) => block_on(of_cluster(&name, number, wait))?,
    };
    Ok(ExitCode::from(code))
}

/// Tells how the job ended on a host; the exit code.
fn end_of(host: &str, job: &JobRecord) -> u8 {
    let complete = print_left(host, job);
    let code = match &job.state {
        State::Ended(End { exit_code, .. }) => *exit_code,
        _ => 0,
    };
    match (code, complete) {
        (0, true) => 0,
        (0, false) => FailureKind::Partial.exit_code(),
        (code, _) => {
            terminal::note(&format!("{host}: {} ended with exit code {code}", job.stage.name()));
            code
        }
    }
}

async fn here(number: Option<u32>, wait: bool) -> Result<u8, Failure> {
    let jobs = serve::jobs(HERE)?;
    let number = last_of(number, &serve::rows(&jobs), HERE)?;
    let mut output = Labelled::new("", std::io::stdout());
    for stage in [Stage::Setup, Stage::Run] {
        let request = FollowRequest { cluster: HERE.to_owned(), number, stage, offset: 0, wait };
        let mut show = |bytes: &[u8]| {
            output.take(bytes);
            Ok(())
        };
        unless_missing(follow(&jobs, &request, &mut show).await)?;
    }
    Ok(jobs.get(number).map_or(0, |job| end_of(HERE, &job)))
}

async fn of_cluster(name: &str, number: Option<u32>, wait: bool) -> Result<u8, Failure> {
    let sessions = connect(&Cluster::find(name)?, Needs::default()).await?;
    let rows: Vec<JobRow> = sessions[0].call(&Request::Jobs { cluster: name.to_owned() }).await?;
    let number = last_of(number, &rows, name)?;
    let shown = sessions.iter().map(|session| show(session, name, number, wait));
    let codes: Vec<u8> = join_all(shown).await.into_iter().collect::<Result<_, _>>()?;
    Ok(codes.into_iter().find(|code| *code != 0).unwrap_or_default())
}

async fn show(session: &Session, cluster: &str, number: u32, wait: bool) -> Result<u8, Failure> {
    let mut output = Labelled::new(&session.label, std::io::stdout());
    let mut result = Ok(None);
    for stage in [Stage::Setup, Stage::Run] {
        let request = FollowRequest { cluster: cluster.to_owned(), number, stage, offset: 0, wait };
        let shown = session.follow(request, NODE_TIMEOUT_DEFAULT, &mut |bytes| output.take(bytes)).await;
        let shown = unless_missing(shown);
        result = match (result, shown) {
            (Ok(before), Ok(job)) => Ok(job.or(before)),
            (Err(failure), _) | (_, Err(failure)) => Err(failure),
        };
    }
    output.finish();
    Ok(result?.map_or(0, |job| end_of(&session.node.host, &job)))
}

/// A job without setup, or whose run has not begun or is on other nodes, has no log of it.
fn unless_missing(followed: Result<JobRecord, Failure>) -> Result<Option<JobRecord>, Failure> {
    match followed {
        Err(failure) if failure.kind == FailureKind::NotFound => Ok(None),
        followed => followed.map(Some),
    }
}

fn last_of(number: Option<u32>, rows: &[JobRow], cluster: &str) -> Result<u32, Failure> {
    let has = |number: &u32| rows.iter().any(|row| row.job.number == *number);
    let found = match number {
        Some(number) => Some(number).filter(has),
        None => rows.last().map(|row| row.job.number),
    };
    if let Some(number) = found {
        if rows.len() > 1 || number > 1 {
            terminal::note(&format!("job {number}"));
        }
        return Ok(number);
    }
    let what = number.map_or("no job".to_owned(), |number| format!("no job {number}"));
    Err(Failure::new(FailureKind::NotFound, format!("{cluster} has {what}"))
        .with_hint("`pail queue CLUSTER` lists the jobs"))
}

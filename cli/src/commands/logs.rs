//! `pail logs`.

use super::cancel::{Named, print_left};
use crate::cluster::{Cluster, Needs};
use crate::launch::{HERE, Labelled, NODE_TIMEOUT_DEFAULT, Session, connect};
use crate::node::job::{FollowRequest, JobRecord, Stage, follow};
use crate::node::request::{JobRow, Request};
use crate::node::serve;
use crate::{block_on, terminal};
use futures::future::join_all;
use pail_control::{Failure, FailureKind};
use std::process::ExitCode;

/// Show what a job prints, from its beginning until it ends
///
/// The exit code is 5 where something that the job wrote could not be published.
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
    let complete = match cluster {
        None => block_on(here(number, wait))?,
        Some(name) => block_on(of_cluster(&name, number, wait))?,
    };
    Ok(if complete { ExitCode::SUCCESS } else { ExitCode::from(FailureKind::Partial.exit_code()) })
}

/// Whether all that the job wrote is in the buckets.
async fn here(number: Option<u32>, wait: bool) -> Result<bool, Failure> {
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
    Ok(jobs.get(number).is_none_or(|job| print_left(HERE, &job)))
}

async fn of_cluster(name: &str, number: Option<u32>, wait: bool) -> Result<bool, Failure> {
    let sessions = connect(&Cluster::find(name)?, Needs::default()).await?;
    let rows: Vec<JobRow> = sessions[0].call(&Request::Jobs { cluster: name.to_owned() }).await?;
    let number = last_of(number, &rows, name)?;
    let shown = sessions.iter().map(|session| show(session, name, number, wait));
    let shown: Vec<bool> = join_all(shown).await.into_iter().collect::<Result<_, _>>()?;
    Ok(!shown.contains(&false))
}

async fn show(session: &Session, cluster: &str, number: u32, wait: bool) -> Result<bool, Failure> {
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
    Ok(result?.is_none_or(|job| print_left(&session.node.host, &job)))
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
        .with_hint("`pail queue` lists the jobs"))
}

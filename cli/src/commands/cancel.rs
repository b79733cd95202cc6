//! `pail cancel`, and how a command names a job.

use crate::cluster::{Cluster, Needs};
use crate::launch::{HERE, connect, each};
use crate::node::job::{End, JobRecord, State};
use crate::node::request::Request;
use crate::node::serve;
use crate::{block_on, terminal};
use pail_control::{Failure, FailureKind};
use std::process::ExitCode;

/// End a job on every node, and wait until what it wrote is in the buckets
///
/// It is told to end (SIGTERM), and killed after 30 s. The exit code is 5 where something could not be published.
#[derive(Debug, clap::Args)]
#[command(override_usage = "pail cancel [CLUSTER] <JOB>")]
pub struct Arguments {
    #[command(flatten)]
    named: Named,
}

/// A cluster, a job, or both.
#[derive(Debug, clap::Args)]
pub struct Named {
    /// The cluster [default: this machine], and the number of the job
    #[arg(value_name = "CLUSTER] [JOB", num_args = 0..=2)]
    words: Vec<String>,
}

impl Named {
    /// Errors: two words of which the second is no number.
    pub fn resolve(&self) -> Result<(Option<String>, Option<u32>), Failure> {
        let number = |word: &str| word.parse::<u32>().ok();
        match self.words.as_slice() {
            [] => Ok((None, None)),
            [one] => Ok(match number(one) {
                Some(number) => (None, Some(number)),
                None => (Some(one.clone()), None),
            }),
            [cluster, job, ..] => match number(job) {
                Some(number) => Ok((Some(cluster.clone()), Some(number))),
                None => Err(Failure::usage(format!("{job:?} is not the number of a job"))
                    .with_hint("`pail queue` lists the jobs")),
            },
        }
    }
}

pub fn run(arguments: Arguments) -> Result<ExitCode, Failure> {
    let (cluster, number) = arguments.named.resolve()?;
    let Some(number) = number else {
        return Err(Failure::usage("which job?").with_hint("`pail queue` lists the jobs"));
    };
    let records = block_on(end(cluster.as_deref(), number))?;
    let name = cluster.as_deref().unwrap_or(HERE);
    let Some((_, record)) = records.iter().find_map(|(host, record)| Some((host, record.as_ref()?))) else {
        return Err(Failure::new(FailureKind::NotFound, format!("{name} has no job {number}"))
            .with_hint("`pail queue` lists the jobs"));
    };
    terminal::line(&format!("job {number} of {name}: {}", record.status()))?;
    let complete = records
        .iter()
        .flat_map(|(host, record)| Some((host, record.as_ref()?)))
        .fold(true, |complete, (host, record)| print_left(host, record) && complete);
    Ok(if complete { ExitCode::SUCCESS } else { ExitCode::from(FailureKind::Partial.exit_code()) })
}

/// Tells what of a job is not in the buckets; whether all is.
pub fn print_left(host: &str, record: &JobRecord) -> bool {
    let State::Ended(End { remaining, .. }) = &record.state else {
        if record.status() == "LOST" {
            terminal::note(&format!(
                "{host}: the process that stayed with the job is gone; nobody knows how it ended"
            ));
        }
        return true;
    };
    if !remaining.is_empty() {
        terminal::note(&format!("{host}:"));
        terminal::notes(remaining);
    }
    remaining.is_empty()
}

async fn end(cluster: Option<&str>, number: u32) -> Result<Vec<(String, Option<JobRecord>)>, Failure> {
    match cluster {
        None => Ok(vec![(HERE.to_owned(), serve::end(&serve::jobs(HERE)?, number).await)]),
        Some(name) => {
            let sessions = connect(&Cluster::find(name)?, Needs::default()).await?;
            let ended = each(&sessions, |_| Request::End { cluster: name.to_owned(), number }).await?;
            Ok(sessions.into_iter().map(|session| session.node.host).zip(ended).collect())
        }
    }
}

//! `pail queue`.

use crate::cluster::{Cluster, Needs};
use crate::launch::{HERE, connect, each};
use crate::node::job::{End, Stage, State};
use crate::node::request::{JobRow, Request};
use crate::node::serve;
use crate::{block_on, terminal};
use pail_control::Failure;
use serde::Serialize;
use std::collections::BTreeMap;
use std::process::ExitCode;

/// List the jobs of a cluster, or those that run detached on this machine
///
/// A status in which the nodes of a job differ is that of the first node that has not succeeded, with its name.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The cluster [default: this machine]
    cluster: Option<String>,

    /// Print the jobs as JSON, one node's a line
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Line<'a> {
    node: &'a str,
    #[serde(flatten)]
    row: &'a JobRow,
}

pub fn run(arguments: Arguments) -> Result<ExitCode, Failure> {
    let by_node: Vec<(String, Vec<JobRow>)> = match &arguments.cluster {
        None => vec![(HERE.to_owned(), serve::rows(&serve::jobs(HERE)?))],
        Some(name) => block_on(of_cluster(name))?,
    };
    if arguments.json {
        for (node, row) in by_node.iter().flat_map(|(node, rows)| rows.iter().map(move |row| (node, row))) {
            let line = serde_json::to_string(&Line { node, row });
            terminal::line(&line.map_err(|err| Failure::other(err.to_string()))?)?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let mut jobs = BTreeMap::<u32, Vec<(&str, &JobRow)>>::new();
    for (node, row) in by_node.iter().flat_map(|(node, rows)| rows.iter().map(move |row| (node, row))) {
        jobs.entry(row.job.number).or_default().push((node, row));
    }
    if jobs.is_empty() {
        terminal::note("no jobs");
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = vec![["JOB", "NAME", "SUBMITTED", "NODES", "STATUS"].map(str::to_owned).to_vec()];
    for (number, rows) in jobs.iter().rev() {
        let Some((_, first)) = rows.first() else { continue };
        table.push(vec![
            number.to_string(),
            terminal::shown(first.job.name.as_deref().unwrap_or("-")),
            first.job.submitted.strftime("%Y-%m-%d %H:%M:%S").to_string(),
            first.job.nodes.to_string(),
            status_of(rows),
        ]);
    }
    terminal::table(&table).iter().try_for_each(|row| terminal::line(row))?;
    Ok(ExitCode::SUCCESS)
}

async fn of_cluster(name: &str) -> Result<Vec<(String, Vec<JobRow>)>, Failure> {
    let sessions = connect(&Cluster::find(name)?, Needs::default()).await?;
    let rows = each(&sessions, |_| Request::Jobs { cluster: name.to_owned() }).await?;
    Ok(sessions.into_iter().map(|session| session.node.host).zip(rows).collect())
}

/// In one word where all nodes agree. Nodes that took part in setup alone are left out.
fn status_of(rows: &[(&str, &JobRow)]) -> String {
    let latest =
        if rows.iter().any(|(_, row)| row.job.stage == Stage::Run) { Stage::Run } else { Stage::Setup };
    let rows: Vec<_> = rows.iter().filter(|(_, row)| row.job.stage == latest).collect();
    let differs = rows.windows(2).any(|pair| pair[0].1.status != pair[1].1.status);
    let Some((node, row)) = rows.iter().find(|(_, row)| row.status != "SUCCEEDED").or(rows.first()) else {
        return String::new();
    };
    let code = match &row.job.state {
        State::Ended(End { exit_code, .. }) if *exit_code != 0 => format!(" (exit code {exit_code})"),
        _ => String::new(),
    };
    match differs {
        true => format!("{}{code} on {node}", row.status),
        false => format!("{}{code}", row.status),
    }
}

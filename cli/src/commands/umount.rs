//! `pail umount`.

use super::mount::absolute;
use crate::progress::Draining;
use crate::{block_on, daemon, notices, terminal};
use futures::future::join_all;
use pail_control::once;
use pail_control::quantity::Period;
use pail_control::types::{DrainReport, UnmountRequest};
use pail_control::{Failure, FailureKind};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Publish what is not in the bucket yet, then unmount
///
/// Where something cannot be published in time the mount stays, what remains is listed, and the exit code is 5; so it is where the daemon
/// is gone and left files of the mount behind.
#[derive(Debug, clap::Args)]
#[command(override_usage = "pail umount [OPTIONS] <DIR>...\n       pail umount [OPTIONS] --all")]
pub struct Arguments {
    /// The mounts
    #[arg(required_unless_present = "all", conflicts_with = "all", value_name = "DIR")]
    dirs: Vec<PathBuf>,

    /// Every mount
    #[arg(long)]
    all: bool,

    /// How long to wait for what is not in the bucket yet
    #[arg(long, value_name = "TIME", default_value_t = Period(Duration::from_secs(300)))]
    timeout: Period,

    /// Unmount in any case: what is not published stays in the journal, busy mounts are detached
    #[arg(long)]
    force: bool,

    /// Print what was done as JSON
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: Arguments) -> Result<ExitCode, Failure> {
    let mut places = arguments.dirs.iter().map(|dir| absolute(dir)).collect::<Result<Vec<_>, _>>()?;
    places.sort();
    places.dedup();
    let request = |mount_point| UnmountRequest {
        mount_point,
        timeout_ms: u64::try_from(arguments.timeout.0.as_millis()).unwrap_or(u64::MAX),
        force: arguments.force,
    };
    let report = match places.len() {
        0 | 1 => block_on(unmount(&request(places.pop())))?,
        _ => {
            block_on(async { Ok(unmount_each(places.into_iter().map(|place| request(Some(place)))).await) })?
        }
    };
    if arguments.json {
        terminal::json(&report)?;
    } else {
        for place in &report.unmounted {
            terminal::line(&format!("unmounted {}", place.display()))?;
        }
        if report.unmounted.is_empty() && report.remaining.is_empty() && report.failures.is_empty() {
            terminal::note("nothing is mounted");
        }
        terminal::notes(&notices::left(&report));
    }
    Ok(exit_code(&report))
}

/// All at the same time. What cannot be done of one is a failure among the others' results.
async fn unmount_each(requests: impl Iterator<Item = UnmountRequest>) -> DrainReport {
    let unmounts = requests.map(|request| async move { unmount(&request).await });
    let mut all = DrainReport::default();
    for report in join_all(unmounts).await {
        match report {
            Ok(report) => {
                all.unmounted.extend(report.unmounted);
                all.published += report.published;
                all.remaining.extend(report.remaining);
                all.left_behind.extend(report.left_behind);
                all.failures.extend(report.failures);
            }
            Err(failure) => all.failures.push(failure),
        }
    }
    all
}

async fn unmount(request: &UnmountRequest) -> Result<DrainReport, Failure> {
    let mut progress = Draining::new();
    let answer = match daemon::running().await {
        Ok((client, _)) => client.unmount(request, &mut |step| progress.step(step)).await,
        Err(failure) => Err(failure),
    };
    match answer {
        // What an earlier daemon left needs no daemon to be cleared.
        Err(failure) if failure.kind == FailureKind::NotRunning => {
            once::clear_dead(request.mount_point.as_deref())
        }
        answer => answer,
    }
}

/// 0 when all went well, 5 when something remains, else the code of the first failure.
pub fn exit_code(report: &DrainReport) -> ExitCode {
    let kind = match report.failures.first() {
        _ if !(report.remaining.is_empty() && report.left_behind.is_empty()) => FailureKind::Partial,
        Some(failure) => failure.kind,
        None => return ExitCode::SUCCESS,
    };
    ExitCode::from(kind.exit_code())
}

//! `pail flush`.

use super::mount::absolute;
use super::{status, umount};
use crate::progress::Draining;
use crate::{block_on, daemon, terminal};
use pail_mountd::control::types::FlushRequest;
use pail_mountd::control::{Failure, FailureKind};
use pail_mountd::quantity::Period;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Wait until what was written is in the bucket
///
/// The barrier for a job's end. Files that are still open are published as they are now. Where something cannot be published in
/// time, or was left behind by a daemon or mount that is gone, it is listed, and the exit code is 5.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// A mount, or a file or directory in one [default: all mounts]
    path: Option<PathBuf>,

    /// How long to wait
    #[arg(long, value_name = "TIME", default_value_t = Period(Duration::from_secs(300)))]
    timeout: Period,

    /// Print what was done as JSON
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: Arguments) -> Result<ExitCode, Failure> {
    let request = FlushRequest {
        path: arguments.path.as_deref().map(absolute).transpose()?,
        timeout_ms: u64::try_from(arguments.timeout.0.as_millis()).unwrap_or(u64::MAX),
    };
    let report = block_on(async {
        let mut progress = Draining::new();
        let (client, _) = daemon::running().await.map_err(advise)?;
        client.flush(&request, &mut |step| progress.step(step)).await
    })?;
    if arguments.json {
        terminal::json(&report)?;
    } else if report.remaining.is_empty() && report.failures.is_empty() && report.left_behind.is_empty() {
        terminal::line("everything is in the bucket")?;
    } else {
        umount::print_left(&report);
        status::print_left_behind(&report.left_behind);
    }
    Ok(match report.left_behind.is_empty() {
        true => umount::exit_code(&report),
        false => ExitCode::from(FailureKind::Partial.exit_code()),
    })
}

/// Without a daemon nothing can be flushed, and "everything is there" would be a guess.
fn advise(failure: Failure) -> Failure {
    match failure.kind {
        FailureKind::NotRunning => failure
            .with_hint("nothing is mounted; what an earlier daemon left unpublished is in `pail status`"),
        _ => failure,
    }
}

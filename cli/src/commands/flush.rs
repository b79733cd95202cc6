//! `pail flush`.

use super::mount::absolute;
use super::{status, umount};
use crate::progress::Draining;
use crate::{block_on, daemon, notices, terminal};
use pail_control::command_line;
use pail_control::place;
use pail_control::quantity::Period;
use pail_control::types::{DrainReport, FlushRequest, MountSpec};
use pail_control::{Failure, FailureKind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// Wait until what was written is in the bucket
///
/// The barrier for a job's end. Files that are still open are published as they are now. Where something cannot be published in
/// time, or was left behind by a daemon or mount that is gone, it is listed, and the exit code is 5. A path that is in no mount, or at
/// which there is nothing, is an error.
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
        let (client, _) = match daemon::running().await {
            Err(failure) if failure.kind == FailureKind::NotRunning => {
                return without_daemon(request.path.as_deref(), failure);
            }
            running => running?,
        };
        client.flush(&request, &mut |step| progress.step(step)).await
    })?;
    if arguments.json {
        terminal::json(&report)?;
    } else if report.remaining.is_empty() && report.failures.is_empty() && report.left_behind.is_empty() {
        terminal::line("everything is in the bucket")?;
    } else {
        terminal::notes(&notices::left(&report));
    }
    Ok(umount::exit_code(&report))
}

/// Without a daemon nothing can be flushed, and "everything is there" would be a guess: what was written at the place of a mount went to the
/// local disk. Errors: nothing is left behind, and nothing was mounted; `path` is in none of that.
fn without_daemon(path: Option<&Path>, failure: Failure) -> Result<DrainReport, Failure> {
    let (mut mounts, mut left_behind) = status::without_daemon()?;
    if let Some(path) = path {
        let resolved = place::resolve(path)?;
        mounts.retain(|mount| resolved.starts_with(&mount.mount_point));
        left_behind.retain(|file| resolved.starts_with(&file.mount_point));
    }
    if mounts.is_empty() && left_behind.is_empty() {
        return Err(match path {
            None => failure.with_hint("nothing is mounted"),
            Some(path) => {
                let message = format!("{} is in no mount: {}", path.display(), failure.message);
                Failure::new(FailureKind::NotFound, message).with_hint("`pail status` lists the mounts")
            }
        });
    }
    let mut failures: Vec<_> = mounts.iter().map(not_in_service).collect();
    if failures.is_empty() {
        failures.push(failure);
    }
    Ok(DrainReport { left_behind, failures, ..DrainReport::default() })
}

fn not_in_service(mount: &MountSpec) -> Failure {
    let place = mount.mount_point.display();
    Failure::new(FailureKind::Partial, format!("{place} is not in service: no daemon is running")).with_hint(
        format!(
            "what was written there meanwhile is on the local disk; a new daemon mounts it again: {}",
            command_line::mount(mount)
        ),
    )
}

//! `pail shutdown`.

use super::umount;
use crate::progress::{self, Draining};
use crate::{block_on, daemon, notices, terminal};
use pail_control::types::DrainReport;
use pail_control::{Failure, FailureKind};
use serde::Serialize;
use std::process::ExitCode;

/// Stop the daemon: publish what is not in the bucket yet, unmount everything, end its process
///
/// As SIGTERM does, by the same deadline (drain_timeout in config.toml, 110s by default). What cannot be published in time stays in the
/// journal on disk and is listed, and the exit code is 5. The next daemon mounts again what was mounted: `pail umount --all` before
/// gives that up. Where no daemon runs there is nothing to do, which is no error.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Print what was done as JSON
    #[arg(long)]
    json: bool,
}

/// What was stopped.
#[derive(Debug, Serialize)]
struct Stopped {
    /// The daemon's process; null where none ran.
    pid: Option<u32>,
    #[serde(flatten)]
    report: DrainReport,
}

pub fn run(arguments: Arguments) -> Result<ExitCode, Failure> {
    let stopped = match block_on(stop()) {
        // On its way out before it could be asked: somebody else's shutdown ends it, and tells what it left.
        Err(failure) if matches!(failure.kind, FailureKind::NotRunning | FailureKind::Stopping) => {
            Stopped { pid: None, report: DrainReport::default() }
        }
        stopped => stopped?,
    };
    if arguments.json {
        terminal::json(&stopped)?;
    } else {
        print(&stopped)?;
    }
    Ok(umount::exit_code(&stopped.report))
}

async fn stop() -> Result<Stopped, Failure> {
    let (client, health) = daemon::running().await?;
    // Held from before it is told to, so that no other process can be taken for it.
    let process = daemon::Process::of(&client).await?;
    let mut draining = Draining::new();
    let report = match client.shutdown(&mut |step| draining.step(step)).await {
        Err(failure) if failure.kind == FailureKind::Stopping => DrainReport::default(),
        report => report?,
    };
    drop(draining);
    let what = format!("waiting for process {} to end", health.pid);
    progress::while_waiting(&what, process.ended()).await?;
    Ok(Stopped { pid: Some(health.pid), report })
}

fn print(stopped: &Stopped) -> Result<(), Failure> {
    for place in &stopped.report.unmounted {
        terminal::line(&format!("unmounted {}", place.display()))?;
    }
    match stopped.pid {
        Some(pid) => terminal::line(&format!("stopped the daemon, process {pid}"))?,
        None => terminal::note("no daemon is running"),
    }
    terminal::notes(&notices::left(&stopped.report));
    if !stopped.report.unmounted.is_empty() {
        terminal::note("the next daemon mounts these again; `pail umount` gives them up");
    }
    Ok(())
}

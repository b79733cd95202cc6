//! `pail status`.

use crate::{block_on, daemon, terminal};
use pail_mountd::control::types::{Health, MountSpec, MountState, MountStatus};
use pail_mountd::control::{Failure, FailureKind};
use pail_mountd::daemon::{dead, mount_list};
use pail_mountd::quantity::ByteSize;
use serde::Serialize;
use std::process::ExitCode;

/// How many files and errors of a mount are named one by one.
const NAMED_MAX: usize = 5;

/// Show the mounts, and what is not in the bucket yet
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Print everything as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Status {
    /// The running daemon.
    daemon: Option<Health>,
    /// Its mounts.
    mounts: Vec<MountStatus>,
    /// Mounts of a daemon that is gone, which the next one restores.
    without_daemon: Vec<MountSpec>,
}

pub fn run(arguments: Arguments) -> Result<ExitCode, Failure> {
    let status = block_on(ask())?;
    if arguments.json {
        terminal::json(&status)?;
    } else {
        print(&status)?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn ask() -> Result<Status, Failure> {
    let asked = async {
        let (client, health) = daemon::running().await?;
        Ok::<_, Failure>((health, client.mounts().await?))
    };
    match asked.await {
        Ok((health, mounts)) => Ok(Status { daemon: Some(health), mounts, without_daemon: Vec::new() }),
        Err(failure) if failure.kind == FailureKind::NotRunning => {
            let saved = mount_list::read_only(&daemon::directories()?.mounts_file());
            let without_daemon = saved.into_iter().map(|mount| mount.spec).collect();
            Ok(Status { daemon: None, mounts: Vec::new(), without_daemon })
        }
        Err(failure) => Err(failure),
    }
}

fn print(status: &Status) -> Result<(), Failure> {
    match &status.daemon {
        Some(health) => terminal::note(&format!(
            "daemon: process {}, version {}, memory {}, cache {} in {}",
            health.pid,
            health.version,
            ByteSize(health.memory_bytes).human(),
            ByteSize(health.cache_bytes).human(),
            health.directories.cache.display()
        )),
        None => terminal::note("no daemon is running"),
    }
    print_mounts(&status.mounts)?;
    for mount in &status.mounts {
        print_details(mount);
    }
    for spec in &status.without_daemon {
        let place = spec.mount_point.display();
        let state = if dead::is_dead(&spec.mount_point) { "a dead mount" } else { "not mounted" };
        terminal::line(&format!("{place}  {}  {state}: its daemon is gone", spec.source))?;
    }
    if !status.without_daemon.is_empty() {
        terminal::note(
            "hint: `pail mount` starts a daemon, which mounts these again; `pail umount` gives them up",
        );
    }
    Ok(())
}

fn print_mounts(mounts: &[MountStatus]) -> Result<(), Failure> {
    if mounts.is_empty() {
        return Ok(());
    }
    let mut rows =
        vec![["MOUNT POINT", "SOURCE", "MODE", "STATE", "NOT PUBLISHED"].map(str::to_owned).to_vec()];
    for mount in mounts {
        let bytes = mount.fs.unpublished.iter().map(|file| file.size_bytes).sum();
        let unpublished = match mount.fs.unpublished.len() {
            0 => "-".to_owned(),
            1 => format!("1 file, {}", ByteSize(bytes).human()),
            files => format!("{files} files, {}", ByteSize(bytes).human()),
        };
        rows.push(vec![
            terminal::shown(&mount.spec.mount_point.display().to_string()),
            terminal::shown(&mount.spec.source),
            if mount.spec.read_only { "read-only" } else { "read-write" }.to_owned(),
            state_word(mount.state).to_owned(),
            unpublished,
        ]);
    }
    terminal::table(&rows).iter().try_for_each(|row| terminal::line(row))
}

fn print_details(mount: &MountStatus) {
    let place = mount.spec.mount_point.display();
    if let Some(failure) = &mount.failure {
        terminal::note(&format!("{place}:"));
        terminal::print_failure(failure);
    }
    for file in mount.fs.unpublished.iter().filter(|file| file.error.is_some()).take(NAMED_MAX) {
        terminal::note(&format!(
            "{place}/{}: {} (its bytes are in {})",
            file.path,
            file.error.as_deref().unwrap_or_default(),
            file.local_path
        ));
    }
    for file in mount.fs.left_behind.iter().take(NAMED_MAX) {
        terminal::note(&format!(
            "{place}: {} was not published when its daemon ended; {} bytes of it are in {}",
            terminal::shown(&file.path),
            file.size_bytes,
            file.local_path
        ));
    }
    for error in mount.fs.last_errors.iter().rev().take(NAMED_MAX) {
        terminal::note(&format!("{place}: {error}"));
    }
    if mount.fs.hidden_keys > 0 {
        terminal::note(&format!("{place}: {} keys cannot be shown as files", mount.fs.hidden_keys));
    }
}

fn state_word(state: MountState) -> &'static str {
    match state {
        MountState::Starting => "starting",
        MountState::Mounted => "mounted",
        MountState::Failed => "failed",
        MountState::Unmounting => "unmounting",
    }
}

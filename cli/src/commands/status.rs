//! `pail status`.

use crate::{block_on, daemon, notices, terminal};
use jiff::Timestamp;
use pail_control::command_line;
use pail_control::quantity::ByteSize;
use pail_control::types::{Health, LeftBehind, MountSpec, MountState, MountStatus};
use pail_control::{Failure, FailureKind};
use pail_control::{mountinfo, once, place, saved_mount};
use serde::Serialize;
use std::collections::BTreeMap;
use std::process::ExitCode;

/// How many files and errors of a mount are named one by one.
const NAMED_MAX: usize = 5;

/// Show the mounts, and what is not in the bucket yet
///
/// Of the errors that programs were given in the last hour the newest five of each mount are named, those of the last 20 with --json.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Show each mount's options and its requests to the bucket too
    #[arg(short, long)]
    verbose: bool,

    /// Print everything as JSON
    #[arg(long, conflicts_with = "verbose")]
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
    /// Files of mounts that are gone that are not in the bucket.
    left_behind: Vec<LeftBehind>,
}

pub fn run(arguments: Arguments) -> Result<ExitCode, Failure> {
    let status = block_on(ask())?;
    if arguments.json {
        terminal::json(&status)?;
    } else {
        print(&status, arguments.verbose)?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn ask() -> Result<Status, Failure> {
    let asked = async {
        let (client, health) = daemon::running().await?;
        Ok::<_, Failure>((health, client.mounts().await?, client.left_behind().await?))
    };
    match asked.await {
        Ok((health, mounts, left_behind)) => {
            Ok(Status { daemon: Some(health), mounts, without_daemon: Vec::new(), left_behind })
        }
        Err(failure) if failure.kind == FailureKind::NotRunning => {
            let (without_daemon, left_behind) = without_daemon()?;
            Ok(Status { daemon: None, mounts: Vec::new(), without_daemon, left_behind })
        }
        Err(failure) => Err(failure),
    }
}

/// What is known where no daemon runs: the mounts that the next one restores, and files that are left behind.
pub fn without_daemon() -> Result<(Vec<MountSpec>, Vec<LeftBehind>), Failure> {
    let directories = daemon::directories()?;
    let mounts: Vec<_> =
        saved_mount::read(&directories.mounts_file()).into_iter().map(|mount| mount.spec).collect();
    // What another daemon is writing there looks as if it were left.
    let left_behind = match mounts.iter().any(|spec| place_of(spec) == Place::OfAnotherDaemon) {
        true => Vec::new(),
        false => once::left_behind()?,
    };
    Ok((mounts, left_behind))
}

fn print(status: &Status, verbose: bool) -> Result<(), Failure> {
    match &status.daemon {
        Some(health) => print_daemon(health),
        None => terminal::note("no daemon is running"),
    }
    print_mounts(&status.mounts)?;
    for mount in &status.mounts {
        if verbose {
            print_figures(mount)?;
        }
        print_details(mount);
    }
    print_daemonless(&status.without_daemon)?;
    if let Some(first) = status.without_daemon.first() {
        terminal::note(&format!(
            "hint: any `pail mount` starts a daemon, which mounts these again: {}",
            command_line::mount(first)
        ));
        terminal::note("hint: `pail umount DIR` gives one up, `pail umount --all` all of them");
    }
    terminal::notes(&notices::left_behind(&status.left_behind));
    Ok(())
}

fn print_daemon(health: &Health) {
    let used = |used: u64, budget: u64| format!("{} of {}", ByteSize(used).human(), ByteSize(budget).human());
    terminal::note(&format!(
        "daemon: process {}, version {}{}; memory {}; cache {} in {}",
        health.pid,
        health.version,
        if health.stopping { ", stopping" } else { "" },
        used(health.memory_used_bytes, health.memory_bytes),
        used(health.cache_used_bytes, health.cache_bytes),
        health.directories.cache.display(),
    ));
}

/// What was asked for, and what it came to since.
fn print_figures(mount: &MountStatus) -> Result<(), Failure> {
    let (spec, store) = (&mount.spec, &mount.store);
    let list = |counts: &BTreeMap<String, u64>| {
        let counts: Vec<_> = counts.iter().map(|(name, count)| format!("{name} {count}")).collect();
        if counts.is_empty() { "none".to_owned() } else { counts.join(", ") }
    };
    let or_default = |told: &Option<String>, default: &str| told.clone().unwrap_or(default.to_owned());
    let rows = [
        ("endpoint", or_default(&spec.endpoint_url, "by profile, or the store's own")),
        ("region", or_default(&spec.region, "by profile, or us-east-1")),
        ("profile", or_default(&spec.profile, "by environment, or default")),
        (
            "shown as",
            format!(
                "user {}, group {}, files {}, directories {}{}",
                spec.uid,
                spec.gid,
                spec.file_mode,
                spec.dir_mode,
                if spec.allow_other { ", to all users" } else { "" }
            ),
        ),
        ("metadata TTL", spec.metadata_ttl.to_string()),
        ("open files", mount.fs.open_files.to_string()),
        ("requests", format!("{}; {} in flight", list(&store.requests), store.in_flight)),
        ("errors", format!("{}; {} retried", list(&store.errors), store.retries)),
        (
            "bytes",
            format!(
                "{} received, {} sent",
                ByteSize(store.bytes_received).human(),
                ByteSize(store.bytes_sent).human()
            ),
        ),
    ];
    terminal::line("")?;
    terminal::line(&terminal::shown(&spec.mount_point.display().to_string()))?;
    let rows: Vec<_> = rows.into_iter().map(|(name, value)| vec![format!("  {name}"), value]).collect();
    terminal::table(&rows).iter().try_for_each(|row| terminal::line(row))
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
            mode_word(&mount.spec).to_owned(),
            state_word(mount.state).to_owned(),
            unpublished,
        ]);
    }
    terminal::table(&rows).iter().try_for_each(|row| terminal::line(row))
}

fn print_daemonless(specs: &[MountSpec]) -> Result<(), Failure> {
    if specs.is_empty() {
        return Ok(());
    }
    let mut rows = vec![["MOUNT POINT", "SOURCE", "MODE", "STATE"].map(str::to_owned).to_vec()];
    for spec in specs {
        let state = match place_of(spec) {
            Place::NotMounted => "not mounted",
            Place::Dead => "dead mount",
            Place::OfAnotherDaemon => "of another daemon",
        };
        rows.push(vec![
            terminal::shown(&spec.mount_point.display().to_string()),
            terminal::shown(&spec.source),
            mode_word(spec).to_owned(),
            state.to_owned(),
        ]);
    }
    terminal::table(&rows).iter().try_for_each(|row| terminal::line(row))
}

/// What is at the mount point of a mount whose daemon does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    NotMounted,
    Dead,
    /// Of one that has this state directory, and another runtime directory.
    OfAnotherDaemon,
}

fn place_of(spec: &MountSpec) -> Place {
    // Where the table cannot be read nothing is known to be mounted.
    let mounted = mountinfo::read().unwrap_or_default();
    match mountinfo::at(&mounted, &spec.mount_point) {
        Some(there) if there.is_pail() && place::is_dead(&spec.mount_point) => Place::Dead,
        Some(there) if there.is_pail() => Place::OfAnotherDaemon,
        _ => Place::NotMounted,
    }
}

fn mode_word(spec: &MountSpec) -> &'static str {
    if spec.read_only { "read-only" } else { "read-write" }
}

fn print_details(mount: &MountStatus) {
    let place = mount.spec.mount_point.display();
    if let Some(failure) = &mount.failure {
        terminal::note(&format!("{place}:"));
        terminal::print_failure(failure);
    }
    if mount.dead {
        terminal::note(&format!(
            "{place}: programs get \"Transport endpoint is not connected\" there until it is mounted again; `pail umount` gives it up"
        ));
    }
    if let Some(beneath) = &mount.beneath {
        terminal::notes(&notices::beneath(&mount.spec, beneath));
    }
    if mount.fs.conditions_ignored && !mount.spec.read_only {
        terminal::notes(&notices::ignored_conditions(&mount.spec.source, &mount.fs.ignored_conditions));
    }
    if let Some(cause) = &mount.store.retrying_cause {
        let requests = match mount.store.retrying {
            1 => "1 request is".to_owned(),
            requests => format!("{requests} requests are"),
        };
        terminal::note(&format!("{place}: {requests} tried again: {}", terminal::escaped(cause)));
    }
    for file in mount.fs.unpublished.iter().filter(|file| file.error.is_some()).take(NAMED_MAX) {
        terminal::note(&format!(
            "{place}/{}: {} ({})",
            file.path,
            file.error.as_deref().unwrap_or_default(),
            notices::where_kept(file)
        ));
        terminal::notes(&notices::ways_out(file));
    }
    for error in mount.fs.last_errors.iter().rev().take(NAMED_MAX) {
        let since = match error.succeeded_since {
            true => format!(" (a later {} of it succeeded)", error.operation),
            false => String::new(),
        };
        terminal::note(&format!(
            "{place}: {}: {} /{}: {}{since}",
            ago(error.time, Timestamp::now()),
            error.operation,
            terminal::escaped(&error.path),
            terminal::escaped(&error.cause),
        ));
    }
    if mount.fs.hidden_keys > 0 {
        print_hidden(mount);
    }
}

fn print_hidden(mount: &MountStatus) {
    let (place, all) = (mount.spec.mount_point.display(), command_line::ls(&mount.spec));
    let keys = match mount.fs.hidden_keys {
        1 => "1 key".to_owned(),
        count => format!("{count} keys"),
    };
    terminal::note(&format!(
        "{place}: {keys} cannot be shown as files: a name in them is empty, `.`, `..` or over 255 bytes, or a directory has the same name"
    ));
    terminal::note(&format!(
        "hint: `{all}` lists all keys; give such an object another name with another client of the store"
    ));
}

/// How long ago something was, in the largest unit of which that is one or more.
fn ago(time: Timestamp, now: Timestamp) -> String {
    // A clock that was set back says nothing.
    let seconds = now.duration_since(time).as_secs().max(0);
    let units = [(86_400, "d"), (3_600, "h"), (60, "min")];
    let unit = units.into_iter().find(|(length, _)| seconds >= *length);
    let (length, unit) = unit.unwrap_or((1, "s"));
    format!("{} {unit} ago", seconds / length)
}

fn state_word(state: MountState) -> &'static str {
    match state {
        MountState::Starting => "starting",
        MountState::Mounted => "mounted",
        MountState::Failed => "failed",
        MountState::Unmounting => "unmounting",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_in_their_largest_unit() {
        let ago = |seconds: i64| ago(Timestamp::UNIX_EPOCH, Timestamp::constant(seconds, 0));
        for (seconds, told) in
            [(-5, "0 s ago"), (59, "59 s ago"), (60, "1 min ago"), (7_199, "1 h ago"), (172_800, "2 d ago")]
        {
            assert_eq!(ago(seconds), told);
        }
    }
}

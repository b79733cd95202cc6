//! `pail launch`.

use super::{mount, umount};
use crate::node::place::{PlaceKind, is_writable, make_place};
use crate::progress::Draining;
use crate::task::{Bucket, Caller, Content, Task, workdir};
use crate::task_arguments::TaskArguments;
use crate::{block_on, daemon, shell, terminal};
use jiff::Timestamp;
use pail_control::quantity::Period;
use pail_control::types::{DrainReport, FlushRequest};
use pail_control::{Failure, FailureKind};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// Run a task on this machine: mount its buckets, run setup and run, wait until what they wrote is in the bucket
///
/// The exit code is that of the task's run; 5 where it succeeded and something could not be published. The mounts stay, as a second
/// launch uses them again.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The task's file
    task: PathBuf,

    #[command(flatten)]
    of_task: TaskArguments,

    /// Do not run setup
    #[arg(long)]
    no_setup: bool,

    /// How long to wait at the end for what is not in the bucket yet
    #[arg(long, value_name = "TIME", default_value_t = Period(Duration::from_secs(1800)))]
    flush_timeout: Period,
}

pub fn run(arguments: Arguments) -> Result<ExitCode, Failure> {
    let caller = Caller::of_this_process()?;
    let task = Task::read(&arguments.task, &arguments.of_task.overrides()?, &caller)?;
    task.notes.iter().for_each(|note| terminal::note(note));
    let mounts = only_mounts(&task, &caller.home)?;
    block_on(launch(&arguments, &task, &mounts, &caller.home))
}

/// A bucket to be mounted, and where.
struct Mount<'t> {
    bucket: &'t Bucket,
    place: PathBuf,
    read_only: bool,
}

/// The mounts of a task that has nothing else but commands. Errors: a part of the task that is not done yet.
fn only_mounts<'t>(task: &'t Task, home: &Path) -> Result<Vec<Mount<'t>>, Failure> {
    let unsupported = |what: &str| Failure::usage(format!("{what} is not supported yet"));
    if task.num_nodes.is_some_and(|count| count > 1) {
        return Err(Failure::usage("`num_nodes`: only one node, this machine, is supported yet"));
    }
    if task.workdir.is_some() {
        return Err(unsupported("`workdir`: syncing it"));
    }
    let mount = |mount: &'t crate::task::FileMount| match &mount.content {
        Content::Mount { bucket, read_only } if bucket.upload.is_empty() => {
            Ok(Mount { bucket, place: mount.place(home), read_only: *read_only })
        }
        Content::Mount { .. } => Err(unsupported("uploading local files")),
        Content::Local(_) | Content::Copy(_) => Err(unsupported("copying files and objects")),
    };
    task.file_mounts.iter().map(mount).collect()
}

async fn launch(
    arguments: &Arguments,
    task: &Task,
    mounts: &[Mount<'_>],
    home: &Path,
) -> Result<ExitCode, Failure> {
    let mut places = Vec::new();
    for mount in mounts {
        places.push(mount_one(mount).await?);
    }
    let dir = workdir(home);
    std::fs::create_dir_all(&dir)
        .map_err(|err| Failure::from_io(format!("cannot create {}", dir.display()), &err))?;
    let environment = environment(task);
    let steps =
        [("setup", task.setup.as_deref().filter(|_| !arguments.no_setup)), ("run", task.run.as_deref())];
    let mut code = 0;
    for (name, command) in steps {
        let Some(command) = command else { continue };
        code = shell::run(command, &dir, &environment).await?;
        if code != 0 {
            terminal::note(&format!("error: {name} ended with exit code {code}"));
            break;
        }
    }
    // Whatever became of the task: what it wrote belongs into the bucket.
    let mut report = flush_all(&places, arguments.flush_timeout.0).await;
    umount::print_left(&report);
    // Of another run, which has told its own exit code.
    report.left_behind.clear();
    Ok(match code {
        0 => umount::exit_code(&report),
        code => ExitCode::from(code),
    })
}

/// Mounts, and makes the place with sudo where this user may not and sudo asks no password.
async fn mount_one(file_mount: &FileMount) -> Result<PathBuf, Failure> {
    let place = file_mount.destination.clone();
    // A dead mount is neither there nor missing. What this user may make is the daemon's to make, which removes it again.
    let is_missing =
        matches!(std::fs::symlink_metadata(&place), Err(err) if err.kind() == std::io::ErrorKind::NotFound);
    let parent = place.ancestors().skip(1).find(|dir| dir.exists());
    if is_missing && parent.is_some_and(|parent| !is_writable(parent)) {
        let made = tokio::task::spawn_blocking(move || make_place(&place, PlaceKind::Directory)).await;
        made.map_err(|err| Failure::other("making the place was cut short").because(err.to_string()))??;
    }
    let request = mount::task_request(
        &mount.bucket.uri,
        &mount.place,
        mount.bucket.endpoint_url.clone(),
        mount.read_only,
        mount.bucket.create,
    )?;
    let outcome = daemon::mount(&request).await?;
    let place = outcome.spec.mount_point.clone();
    let source = &outcome.spec.source;
    if outcome.created_bucket {
        terminal::note(&format!("created the bucket of {source}"));
    }
    mount::note_empty_prefix(&outcome);
    mount::warn_of_refused_writes(&outcome);
    mount::note_left_behind(&outcome).await;
    match outcome.already_mounted {
        true => terminal::note(&format!("{source} is mounted at {} already", place.display())),
        false => terminal::note(&format!("mounted {source} at {}", place.display())),
    }
    Ok(place)
}

/// The task's own variables, and those that SkyPilot's tasks rely on.
fn environment(task: &Task) -> BTreeMap<String, String> {
    let mut environment = task.environment();
    let name = task.name.as_deref().unwrap_or("task");
    let id = format!("pail-{}-{name}-{}", Timestamp::now().strftime("%Y-%m-%d-%H-%M-%S"), std::process::id());
    for (variable, value) in [
        ("SKYPILOT_NODE_RANK", "0"),
        ("SKYPILOT_NODE_IPS", "127.0.0.1"),
        ("SKYPILOT_NUM_NODES", "1"),
        ("SKYPILOT_TASK_ID", &id),
    ] {
        environment.insert(variable.to_owned(), value.to_owned());
    }
    environment
}

async fn flush_all(places: &[PathBuf], timeout: Duration) -> DrainReport {
    let mut all = DrainReport::default();
    let timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
    for place in places {
        let mut progress = Draining::new();
        let request = FlushRequest { path: Some(place.clone()), timeout_ms };
        let flushed = match daemon::running().await {
            Ok((client, _)) => client.flush(&request, &mut |step| progress.step(step)).await,
            Err(failure) => Err(failure),
        };
        match flushed {
            Ok(report) => {
                all.published += report.published;
                all.remaining.extend(report.remaining);
                all.left_behind.extend(report.left_behind);
                all.failures.extend(report.failures);
            }
            // Nobody can say that everything is in the bucket: that is not success.
            Err(failure) => all.failures.push(Failure { kind: FailureKind::Partial, ..failure }),
        }
    }
    all
}

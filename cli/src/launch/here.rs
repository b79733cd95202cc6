//! A task on this machine.
//!
//! Owns: [`launch`]: the same steps as on a node, in this process. Setup and run have the terminal; a run that is detached is a job.

use super::copies::prepare_here;
use super::ephemeral::Buckets;
use super::inputs::Inputs;
use super::signals::Signals;
use super::{HERE, Launch};
use crate::node::environment::{Standing, identity_of_launch, variables};
use crate::node::job::{Stage, StageRequest};
use crate::node::preparing::{CheckOutRequest, Prepared, check_out, leave_checkout};
use crate::node::{flushing, serve};
use crate::progress::Draining;
use crate::shell::{self, Login};
use crate::sync::SyncPlan;
use crate::task::Workdir;
use crate::{notices, sync, terminal};
use pail_control::{CallerEnvironment, Failure, FailureKind};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

/// Runs the task. Errors: what keeps its run from beginning.
pub async fn launch(launch: &Launch) -> Result<ExitCode, Failure> {
    let home = serve::home()?;
    let caller = CallerEnvironment::of_this_process();
    let buckets = Buckets::of(launch, &caller).await?;
    let inputs = Inputs::gather(launch, &caller).await?;
    if matches!(launch.task.workdir, Some(Workdir::Local(_))) {
        leave_checkout(&home).await?;
    }
    let mut left_out = inputs.left_out.clone();
    left_out.extend(sync_files(&inputs.files, &home).await?);
    if let Some(code) = &inputs.code {
        let request = CheckOutRequest {
            resolved: code.resolved.clone(),
            token: None,
            submodules: launch.submodules,
            lfs: launch.lfs,
        };
        check_out(&request, &code.credentials.access(), &home).await?;
    }
    left_out.extend(sync_files(&inputs.nested, &home).await?);
    let (prepared, unfit) = prepare_here(&inputs.buckets, &home, &caller).await?;
    left_out.extend(unfit);
    tell_left_out(&left_out);
    if let Some(count @ 2..) = launch.task.num_nodes {
        terminal::note(&format!(
            "note: the task is for {count} nodes, and runs on this machine alone (-c names a cluster)"
        ));
    }
    buckets.begin()?;
    let id = identity_of_launch(launch.task.name.as_deref());
    let standing = Standing { rank: 0, addresses: &["127.0.0.1".to_owned()], task_id: &id };
    let environment = variables(&launch.task.environment(), &standing);
    if let Some(setup) = launch.task.setup.as_deref().filter(|_| launch.with_setup) {
        let code = shell::run(setup, &prepared.dir, &environment).await?;
        if code != 0 {
            terminal::note(&format!("error: setup ended with exit code {code}"));
            end(launch, &prepared, buckets, &caller).await?;
            return Ok(ExitCode::from(code));
        }
    }
    match &launch.task.run {
        Some(run) if launch.detach => {
            let code = detach(launch, run, &id, &prepared, environment)?;
            buckets.end()?;
            Ok(code)
        }
        Some(run) => {
            let code = shell::run(run, &prepared.dir, &environment).await?;
            if code != 0 {
                terminal::note(&format!("error: run ended with exit code {code}"));
            }
            let complete = end(launch, &prepared, buckets, &caller).await?;
            Ok(last_code(code, complete && left_out.is_empty()))
        }
        None => {
            let complete = end(launch, &prepared, buckets, &caller).await?;
            Ok(last_code(0, complete && left_out.is_empty()))
        }
    }
}

/// Flushes, and deletes what ends with the task. Whether all is in the buckets.
async fn end(
    launch: &Launch,
    prepared: &Prepared,
    buckets: Buckets,
    environment: &CallerEnvironment,
) -> Result<bool, Failure> {
    if !flush(launch, prepared).await? {
        buckets.keep()?;
        return Ok(false);
    }
    let ending = buckets.end()?;
    if ending.is_empty() {
        return Ok(true);
    }
    let left = serve::unmount(&ending.destinations(), launch.flush_timeout_ms()).await?;
    terminal::notes(&left);
    if !left.is_empty() {
        ending.keep()?;
        return Ok(false);
    }
    ending.delete(environment).await?;
    Ok(true)
}

/// Brings files to their places; what did not rest meanwhile, a line each.
async fn sync_files(files: &SyncPlan, home: &Path) -> Result<Vec<String>, Failure> {
    let progress = sync::SyncProgress::new([HERE.to_owned()], files.bytes);
    let mut stats = sync::to_here(files, home, &progress).await?;
    terminal::notes(&stats.notes);
    let restless = stats.take_restless();
    let not_done: Vec<_> = stats.not_done.iter().map(|one| format!("{}: {}", one.path, one.why)).collect();
    if not_done.is_empty() { Ok(restless) } else { Err(not_all(&not_done)) }
}

/// What was left out on the way is told before anything runs with a part of its files.
fn not_all(not_done: &[String]) -> Failure {
    const NAMED_MAX: usize = 20;
    let count = not_done.len();
    let mut failure = Failure::new(FailureKind::Partial, format!("{count} files could not be copied"));
    for line in not_done.iter().take(NAMED_MAX) {
        failure = failure.because(terminal::escaped(line));
    }
    if count > NAMED_MAX {
        failure = failure.because(format!("and {} more", count - NAMED_MAX));
    }
    failure.with_hint("the others are there; setup and run were not begun")
}

/// What can be no file or no object, or did not rest while it was copied, does not keep a task from running; the exit code says that not all is there.
pub fn tell_left_out(left_out: &[String]) {
    if !left_out.is_empty() {
        terminal::note(
            "warning: these are not there as they are; the exit code will be 5 where the run succeeds:",
        );
        left_out.iter().for_each(|line| terminal::note(&format!("  {}", terminal::escaped(line))));
    }
}

/// Whatever became of the task: what it wrote belongs into the bucket. Whether all of it is there. Errors: `Interrupted`, by a second signal.
async fn flush(launch: &Launch, prepared: &Prepared) -> Result<bool, Failure> {
    let mut signals = Signals::watch()?;
    let mut progress = Draining::new();
    let mut step = |how_far| progress.step(how_far);
    let flushing = flushing::flush_all(&prepared.mounts, launch.flush_timeout, &mut step);
    tokio::pin!(flushing);
    let mut asked = false;
    let report = loop {
        tokio::select! {
            report = &mut flushing => break report,
            () = signals.next() => {
                if !asked {
                    asked = true;
                    terminal::note("flushing what the task wrote; once more gives that up");
                    continue;
                }
                return Err(Failure::new(FailureKind::Interrupted, "left before all that the task wrote is in the buckets")
                    .with_hint("the daemon goes on; `pail flush` waits for it, `pail status` says what remains"));
            }
        }
    };
    let left = notices::left(&report);
    terminal::notes(&left);
    Ok(left.is_empty())
}

fn last_code(code: u8, complete: bool) -> ExitCode {
    match (code, complete) {
        (0, false) => ExitCode::from(FailureKind::Partial.exit_code()),
        (code, _) => ExitCode::from(code),
    }
}

fn detach(
    launch: &Launch,
    command: &str,
    id: &str,
    prepared: &Prepared,
    environment: BTreeMap<String, String>,
) -> Result<ExitCode, Failure> {
    let number = serve::jobs(HERE)?.take_number(0)?;
    serve::start(&StageRequest {
        cluster: HERE.to_owned(),
        number,
        id: id.to_owned(),
        name: launch.task.name.clone(),
        rank: 0,
        nodes: 1,
        stage: Stage::Run,
        command: command.to_owned(),
        dir: prepared.dir.clone(),
        login: Login::No,
        environment,
        mounts: prepared.mounts.clone(),
        flush_timeout_ms: launch.flush_timeout_ms(),
    })?;
    terminal::line(&format!("job {number}"))?;
    terminal::note(&format!("`pail logs {number}` follows it, `pail cancel {number}` ends it"));
    Ok(ExitCode::SUCCESS)
}

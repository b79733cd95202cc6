//! The process that stays with a job on its node.
//!
//! Owns: [`start`] and [`supervise`]. A stage of a job runs under a process of its own session, whose parent is nobody's terminal: a link that
//! drops or a client that is gone ends neither the job nor the flush after it. The job's output goes straight into its log, so that not
//! even a supervisor that is killed costs a line of it.
//!
//! Invariant: the flush is outside of the job's shell, and happens however that ends.

use super::record::{End, JobRecord, Jobs, ProcessIdentity, Stage, State};
use crate::node::flushing;
use crate::shell::exit_code;
use jiff::Timestamp;
use pail_control::types::DrainReport;
use pail_control::{Failure, FailureKind};
use rustix::process::{Pid, Signal};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};

/// How often the record follows a flush.
const RECORD_INTERVAL: Duration = Duration::from_secs(1);

/// A stage of a job, as it is to run on this node.
#[derive(Clone, Serialize, Deserialize)]
pub struct StageRequest {
    /// Whose jobs it is among.
    pub cluster: String,
    /// Its number, which the head has given.
    pub number: u32,
    /// The launch's.
    pub id: String,
    /// The task's name.
    pub name: Option<String>,
    /// This node's.
    pub rank: u32,
    /// Nodes that run it.
    pub nodes: u32,
    /// Which part of the task.
    pub stage: Stage,
    /// What a shell is to run.
    pub command: String,
    /// Where; it must be there.
    pub dir: PathBuf,
    /// Added to the node's own; values may be secret.
    pub environment: BTreeMap<String, String>,
    /// Mounts that are flushed afterwards.
    pub mounts: Vec<PathBuf>,
    /// How long that may take, in milliseconds.
    pub flush_timeout_ms: u64,
}

/// Without the values of variables.
impl fmt::Debug for StageRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StageRequest").field("number", &self.number).field("stage", &self.stage).finish()
    }
}

/// Starts the supervisor of a stage; returns when the command runs. Errors: what kept it from running.
pub fn start(request: &StageRequest) -> Result<(), Failure> {
    let program =
        std::env::current_exe().map_err(|err| Failure::from_io("cannot find this program", &err))?;
    let mut child = Command::new(program)
        .args(["node", "supervise"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|err| Failure::from_io("cannot start a supervisor", &err))?;
    let told = Failure::other("the supervisor of the job ended while it was starting");
    let (Some(mut input), Some(output)) = (child.stdin.take(), child.stdout.take()) else { return Err(told) };
    let json = serde_json::to_vec(request).map_err(|err| Failure::other(err.to_string()))?;
    input.write_all(&json).map_err(|err| told.clone().because(err.to_string()))?;
    drop(input);
    let mut line = String::new();
    BufReader::new(output).read_line(&mut line).map_err(|err| told.clone().because(err.to_string()))?;
    serde_json::from_str::<Result<(), Failure>>(&line).map_err(|_| told)?
}

/// Runs a stage to its end: the request is read from standard input, and the first line of standard output says whether its command runs.
pub async fn supervise(jobs: &Jobs, request: StageRequest) -> Result<(), Failure> {
    // Of its own session: what ends the caller's does not end it.
    let _ = rustix::process::setsid();
    let begun = begin(jobs, &request).await;
    say(begun.as_ref().map(|_| ()).map_err(Clone::clone));
    let (mut job, mut child) = begun?;
    let (exit_code, cancelled) = wait_for(&mut child).await?;
    // Setup that went well is followed by a stage that flushes.
    let report = match request.stage == Stage::Setup && exit_code == 0 {
        true => DrainReport::default(),
        false => flush(jobs, &mut job, exit_code, &request).await,
    };
    let remaining = flushing::lines_of(&report);
    job.state = State::Ended(End { exit_code, cancelled, remaining, at: Timestamp::now() });
    jobs.put(&job)
}

/// One line, after which nobody reads this process's output any more.
fn say(begun: Result<(), Failure>) {
    if let Ok(line) = serde_json::to_string(&begun) {
        let _ = writeln!(std::io::stdout(), "{line}");
    }
    // Whoever waits for the end of the pipe has it now, and not at the job's end.
    if let Ok(nothing) = std::fs::OpenOptions::new().write(true).open("/dev/null") {
        let _ = rustix::stdio::dup2_stdout(nothing);
    }
}

async fn begin(jobs: &Jobs, request: &StageRequest) -> Result<(JobRecord, tokio::process::Child), Failure> {
    let log = jobs.open_log(request.number, request.stage)?;
    let again = log.try_clone().map_err(|err| Failure::from_io("cannot write the job's log", &err))?;
    if !request.dir.is_dir() {
        return Err(Failure::new(FailureKind::NotFound, format!("{} is not there", request.dir.display())));
    }
    let child = tokio::process::Command::new("bash")
        .args(["--login", "-c"])
        .arg(&request.command)
        .current_dir(&request.dir)
        .envs(&request.environment)
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(again)
        .process_group(0)
        .spawn()
        .map_err(|err| Failure::from_io("cannot start bash", &err).with_hint("install the package bash"))?;
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).unwrap_or_default();
    let supervisor = ProcessIdentity::of(rustix::process::getpid().as_raw_nonzero().get());
    // A command that has ended already is a zombie until it is waited for, and has no identity; the supervisor's stands in for it.
    let Some(supervisor) = supervisor else {
        return Err(Failure::other("/proc does not show this process"));
    };
    let command = ProcessIdentity::of(pid).unwrap_or(ProcessIdentity { pid, ..supervisor });
    let job = JobRecord {
        number: request.number,
        id: request.id.clone(),
        name: request.name.clone(),
        rank: request.rank,
        nodes: request.nodes,
        submitted: Timestamp::now(),
        stage: request.stage,
        state: State::Running { supervisor, command },
    };
    jobs.put(&job)?;
    Ok((job, child))
}

/// Waits for the command. A signal to the supervisor is passed on, so that whoever ends it, as a machine that goes down does, ends the
/// command first and still has the flush.
async fn wait_for(child: &mut tokio::process::Child) -> Result<(u8, bool), Failure> {
    let watched = |err: std::io::Error| Failure::from_io("cannot watch for signals", &err);
    let mut terminate = signal(SignalKind::terminate()).map_err(watched)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(watched)?;
    // A login session that ends may send it to all that it has started.
    let mut hangup = signal(SignalKind::hangup()).map_err(watched)?;
    let group = child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
    let mut cancelled = false;
    loop {
        let passed_on = tokio::select! {
            ended = child.wait() => {
                let status = ended.map_err(|err| Failure::from_io("cannot wait for bash", &err))?;
                return Ok((exit_code(status), cancelled));
            }
            _ = terminate.recv() => Signal::TERM,
            _ = interrupt.recv() => Signal::INT,
            _ = hangup.recv() => continue,
        };
        cancelled = true;
        if let Some(group) = group {
            // It may have ended at this very moment.
            let _ = rustix::process::kill_process_group(group, passed_on);
        }
    }
}

async fn flush(jobs: &Jobs, job: &mut JobRecord, exit_code: u8, request: &StageRequest) -> DrainReport {
    let State::Running { supervisor, .. } = job.state else { return DrainReport::default() };
    let mut written = Instant::now();
    let mut record = |files_left: u64| {
        job.state = State::Flushing { supervisor, exit_code, files_left };
        // The state is for who looks; the flush goes on without it.
        let _ = jobs.put(job);
    };
    record(0);
    let timeout = Duration::from_millis(request.flush_timeout_ms);
    flushing::flush_all(&request.mounts, timeout, &mut |step| {
        if written.elapsed() >= RECORD_INTERVAL {
            written = Instant::now();
            record(step.files_left);
        }
    })
    .await
}

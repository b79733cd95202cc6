//! The process that stays with a job on its node.
//!
//! Owns: [`start`] and [`supervise`]. A stage of a job runs under a process of its own session, whose parent is nobody's terminal: a link that
//! drops or a client that is gone ends neither the job nor the flush after it. The job's output goes straight into its log, so that not
//! even a supervisor that is killed costs a line of it.
//!
//! Invariant: the flush is outside of the job's shell, and happens however that ends.

use super::record::{End, JobRecord, Jobs, ProcessIdentity, Stage, State};
use crate::node::flushing;
use crate::notices;
use crate::shell::{Login, command_of, exit_code};
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
use tokio::process::Child;
use tokio::signal;
use tokio::signal::unix::SignalKind;

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
    /// Whether the command's shell reads the login files.
    pub login: Login,
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
    // Whoever is told that the command runs may end it at once.
    let mut signals = Signals::watch()?;
    let begun = begin(jobs, &request).await;
    say(begun.as_ref().map(|_| ()).map_err(Clone::clone));
    let (mut job, mut child) = begun?;
    let (exit_code, cancelled) = wait_for(&mut child, &mut signals).await?;
    jobs.use_reserve(request.number);
    let report = flush(jobs, &mut job, exit_code, &request).await;
    let remaining = notices::left(&report);
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

/// Starts the command, with a record of it before and after: none runs that nobody knows of.
async fn begin(jobs: &Jobs, request: &StageRequest) -> Result<(JobRecord, Child), Failure> {
    if !request.dir.is_dir() {
        return Err(Failure::new(FailureKind::NotFound, format!("{} is not there", request.dir.display())));
    }
    let Some(supervisor) = ProcessIdentity::of(rustix::process::getpid().as_raw_nonzero().get()) else {
        return Err(Failure::other("/proc does not show this process"));
    };
    let mut job = JobRecord {
        number: request.number,
        id: request.id.clone(),
        name: request.name.clone(),
        rank: request.rank,
        nodes: request.nodes,
        submitted: Timestamp::now(),
        stage: request.stage,
        state: State::Starting { supervisor },
    };
    let log = jobs.open_log(request.number, request.stage)?;
    let again = log.try_clone().map_err(|err| Failure::from_io("cannot write the job's log", &err))?;
    jobs.put(&job)?;
    jobs.reserve(request.number)?;
    let mut bash = command_of(&request.command, &request.dir, &request.environment, request.login);
    bash.stdin(Stdio::null()).stdout(log).stderr(again);
    let mut child = bash
        .spawn()
        .map_err(|err| Failure::from_io("cannot start bash", &err).with_hint("install the package bash"))?;
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).unwrap_or_default();
    // A command that has ended already is a zombie until it is waited for, and has no identity; the supervisor's stands in for it.
    let command = ProcessIdentity::of(pid).unwrap_or(ProcessIdentity { pid, ..supervisor });
    job.state = State::Running { supervisor, command };
    match jobs.put(&job) {
        Ok(()) => Ok((job, child)),
        Err(failure) => {
            send_to_group(&child, Signal::KILL);
            let _ = child.wait().await;
            Err(failure)
        }
    }
}

/// The signals that end a supervisor's command.
struct Signals {
    terminate: signal::unix::Signal,
    interrupt: signal::unix::Signal,
    /// A login session that ends may send it to all that it has started.
    hangup: signal::unix::Signal,
}

impl Signals {
    fn watch() -> Result<Self, Failure> {
        let watch = |kind| {
            signal::unix::signal(kind).map_err(|err| Failure::from_io("cannot watch for signals", &err))
        };
        Ok(Self {
            terminate: watch(SignalKind::terminate())?,
            interrupt: watch(SignalKind::interrupt())?,
            hangup: watch(SignalKind::hangup())?,
        })
    }
}

/// Waits for the command. A signal to the supervisor is passed on, so that whoever ends it, as a machine that goes down does, ends the
/// command first and still has the flush.
async fn wait_for(child: &mut Child, signals: &mut Signals) -> Result<(u8, bool), Failure> {
    let mut cancelled = false;
    loop {
        let passed_on = tokio::select! {
            ended = child.wait() => {
                let status = ended.map_err(|err| Failure::from_io("cannot wait for bash", &err))?;
                return Ok((exit_code(status), cancelled));
            }
            _ = signals.terminate.recv() => Signal::TERM,
            _ = signals.interrupt.recv() => Signal::INT,
            _ = signals.hangup.recv() => continue,
        };
        cancelled = true;
        send_to_group(child, passed_on);
    }
}

fn send_to_group(child: &Child, sent: Signal) {
    if let Some(group) = child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw) {
        // It may have ended at this very moment.
        let _ = rustix::process::kill_process_group(group, sent);
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

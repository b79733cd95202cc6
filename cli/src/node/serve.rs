//! The node's side of a call.
//!
//! Owns: [`call`] (`pail node call`): one request on standard input, its answer on standard output; and [`supervise`] (`pail node
//! supervise`), which that starts for a job.

use super::copies::{CopiesState, Watch};
use super::job::{self, JobRecord, Jobs, StageRequest};
use super::preparing::{CheckOutRequest, PrepareRequest, Prepared, check_out, leave_checkout, prepare};
use super::protocol::Frames;
use super::request::{Down, JobRow, JobSignal, Request};
use crate::git::Access;
use crate::{daemon, notices, place};
use pail_control::settings::{Directories, process_environment};
use pail_control::types::{DrainReport, UnmountRequest};
use pail_control::{CallerEnvironment, Failure, FailureKind, credential_sources, once};
use pail_store::StoreKind;
use pail_transfer::CancellationToken;
use rustix::process::Signal;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How long a job may take to end before it is killed: less than what a machine that goes down gives.
const END_GRACE: Duration = Duration::from_secs(30);
/// Between two signs of life, which tell how far copies are.
const HEARTBEAT: Duration = Duration::from_millis(500);
/// How long the flush of a job that is ended is waited for.
const FLUSH_PATIENCE: Duration = Duration::from_secs(1800);
/// The longest request that is read.
const REQUEST_BYTES_MAX: u64 = 256 << 20;

/// Reads a request from standard input, does it, and answers on standard output. The exit code is 0 whenever the answer was given.
pub async fn call() -> Result<(), Failure> {
    let gone = |err: std::io::Error| Failure::from_io("nobody reads the answer", &err);
    let mut frames = Frames::begin(std::io::stdout()).map_err(gone)?;
    let request = match read_request() {
        Ok(request) => request,
        Err(failure) => return frames.answer::<()>(Err(failure)).map_err(gone),
    };
    match request {
        Request::Prepare(request) => {
            let (stop, state) = (CancellationToken::new(), Mutex::new(None));
            let watch = |now| *state.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
            let preparing = prepare_here(*request, &stop, &watch);
            let prepared = while_heard(&mut frames, &stop, &state, preparing).await;
            frames.answer(prepared)
        }
        Request::CheckOut { request, by_agent } => {
            let stop = CancellationToken::new();
            let checked_out = async {
                tokio::select! {
                    done = check_out_here(*request, by_agent) => done,
                    () = stop.cancelled() => Err(Failure::new(FailureKind::Interrupted, "the client is gone")),
                }
            };
            let checked_out = while_heard(&mut frames, &stop, &Mutex::new(None), checked_out).await;
            frames.answer(checked_out)
        }
        Request::LeaveCheckout => {
            let left = match home() {
                Ok(home) => leave_checkout(&home).await,
                Err(failure) => Err(failure),
            };
            frames.answer(left)
        }
        Request::LastNumber { cluster } => frames.answer(jobs(&cluster).map(|jobs| jobs.last_number())),
        Request::TakeNumber { cluster, above } => {
            frames.answer(jobs(&cluster).and_then(|jobs| jobs.take_number(above)))
        }
        Request::Start(request) => frames.answer(start(&request)),
        Request::Follow(request) => {
            let followed = match jobs(&request.cluster) {
                Ok(jobs) => job::follow(&jobs, &request, &mut |bytes| frames.output(bytes)).await,
                Err(failure) => Err(failure),
            };
            frames.answer(followed)
        }
        Request::Signal { cluster, number, signal } => {
            frames.answer(jobs(&cluster).map(|jobs| send(&jobs, number, signal)))
        }
        Request::End { cluster, number } => {
            let ended = match jobs(&cluster) {
                Ok(jobs) => Ok(end(&jobs, number).await),
                Err(failure) => Err(failure),
            };
            frames.answer(ended)
        }
        Request::Jobs { cluster } => frames.answer(jobs(&cluster).map(|jobs| rows(&jobs))),
        Request::Unmount { destinations, timeout_ms } => frames.answer(unmount(&destinations, timeout_ms).await),
        Request::Down { cluster, timeout_ms } => frames.answer(down(&cluster, timeout_ms).await),
    }
    .map_err(gone)
}

/// Does `work`, and says now and then that it is at it, and how far its copies are. Where nobody hears that any more `stop` is cancelled: another client may be at the same places
/// by then.
async fn while_heard<T>(
    frames: &mut Frames<impl Write>,
    stop: &CancellationToken,
    copies: &Mutex<Option<CopiesState>>,
    work: impl Future<Output = T>,
) -> T {
    tokio::pin!(work);
    loop {
        if let Ok(done) = tokio::time::timeout(HEARTBEAT, &mut work).await {
            return done;
        }
        let state = *copies.lock().unwrap_or_else(PoisonError::into_inner);
        let heard = match state {
            Some(state) => frames.progress(state),
            None => frames.output(&[]),
        };
        if heard.is_err() {
            stop.cancel();
        }
    }
}

/// Stays with a stage of a job until it is over.
pub async fn supervise() -> Result<(), Failure> {
    let request: StageRequest = read_request()?;
    let jobs = jobs(&request.cluster)?;
    job::supervise(&jobs, request).await
}

/// The jobs of a cluster on this machine.
pub fn jobs(cluster: &str) -> Result<Jobs, Failure> {
    let uid = rustix::process::geteuid().as_raw();
    Ok(Jobs::of(&Directories::from_environment(&process_environment, uid)?.state, &host_name(), cluster))
}

/// Nodes may share a home, and each has its own jobs.
fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim() {
        "" => "host".to_owned(),
        name => name.replace('/', "_"),
    }
}

/// This user's home. Errors: it is not set.
pub fn home() -> Result<PathBuf, Failure> {
    std::env::home_dir()
        .filter(|home| home.is_absolute())
        .ok_or_else(|| Failure::usage("HOME is not set").with_hint("set it to your home directory"))
}

/// Makes the job's folder where another node gave the number, and starts its stage, once.
pub fn start(request: &StageRequest) -> Result<(), Failure> {
    let jobs = jobs(&request.cluster)?;
    let _held = jobs.use_number(request.number, &request.id)?;
    // A client whose link dropped asks again.
    let known = jobs.get(request.number);
    if known.is_some_and(|job| job.stage == request.stage) {
        return Ok(());
    }
    job::start(request)
}

/// Ends a job, and waits for its flush. The job as it is then; `None` where there is none of that number.
pub async fn end(jobs: &Jobs, number: u32) -> Option<JobRecord> {
    job::end(jobs, number, END_GRACE, FLUSH_PATIENCE).await
}

/// All jobs, with what is to be said of each.
pub fn rows(jobs: &Jobs) -> Vec<JobRow> {
    jobs.all().into_iter().map(|job| JobRow { status: job.status().to_owned(), job }).collect()
}

/// Ends the cluster's jobs, drains and unmounts everything of this user on this machine, and ends the daemon. Where another cluster's job runs here
/// its mounts stay.
pub async fn down(cluster: &str, timeout_ms: u64) -> Result<Down, Failure> {
    let jobs = jobs(cluster)?;
    let mut down = Down::default();
    for running in jobs.all().iter().filter(|job| job.is_active() || job.status() == "LOST") {
        if job::end(&jobs, running.number, END_GRACE, Duration::from_millis(timeout_ms)).await.is_some()
            && running.is_active()
        {
            down.ended.push(running.number);
        }
    }
    if let Some((other, number)) = jobs.active_of_others().first() {
        down.left.push(format!(
            "error: nothing is unmounted here: job {number} of {other} runs (`pail queue {other}`, `pail cancel {other} {number}`)"
        ));
        return Ok(down);
    }
    let report = match daemon::running().await {
        Ok((client, _)) => {
            let request = UnmountRequest { mount_point: None, timeout_ms, force: false };
            match client.unmount(&request, &mut |_| {}).await {
                // It ended by itself, with nothing left to do.
                Err(failure) if failure.kind == FailureKind::NotRunning => without_daemon()?,
                Err(failure) => return Err(failure),
                Ok(mut report) => {
                    if report.remaining.is_empty() && report.failures.is_empty() {
                        report.left_behind = client.left_behind().await?;
                        let process = daemon::Process::of(&client).await?;
                        client.shutdown(&mut |_| {}).await?;
                        process.ended().await?;
                    }
                    report
                }
            }
        }
        Err(failure) if failure.kind == FailureKind::NotRunning => without_daemon()?,
        Err(failure) => return Err(failure),
    };
    down.left.extend(notices::left(&report));
    down.unmounted = report.unmounted;
    Ok(down)
}

/// Unmounts what a task has mounted at `destinations`; what is not in the buckets, as lines for people. Errors: the daemon's.
pub async fn unmount(destinations: &[String], timeout_ms: u64) -> Result<Vec<String>, Failure> {
    let home = home()?;
    let mut left = Vec::new();
    for destination in destinations {
        let place = place::resolve(destination, &home)?;
        let (client, _) = daemon::running().await?;
        let request = UnmountRequest { mount_point: Some(place), timeout_ms, force: false };
        left.extend(notices::left(&client.unmount(&request, &mut |_| {}).await?));
    }
    Ok(left)
}

/// What a daemon that was killed has left: dead mounts are cleared, and files that are in no bucket are told.
fn without_daemon() -> Result<DrainReport, Failure> {
    let mut report = once::clear_dead(None)?;
    report.left_behind = once::left_behind()?;
    Ok(report)
}

async fn prepare_here(
    request: PrepareRequest,
    stop: &CancellationToken,
    watch: &Watch<'_>,
) -> Result<Prepared, Failure> {
    let environment = own_or_lent(&request.lent);
    prepare(&request, &home()?, &environment, stop, watch).await
}

async fn check_out_here(request: CheckOutRequest, by_agent: bool) -> Result<(), Failure> {
    let access = match (request.token.clone(), std::env::var_os("SSH_AUTH_SOCK")) {
        (Some(token), _) => Access::Token(token),
        (None, Some(socket)) if by_agent => Access::Agent(socket.into()),
        (None, None) if by_agent => {
            return Err(Failure::new(FailureKind::Credentials, "this node's sshd does not forward agents")
                .with_hint(
                    "the key for the repository does not reach it; set AllowAgentForwarding yes there",
                ));
        }
        (None, _) => Access::None,
    };
    check_out(&request, &access, &home()?).await
}

/// This node's own way to credentials, where it has one, else what the client has lent. The endpoint and the region are the client's in
/// any case: the task's buckets are looked for where the client looks for them.
fn own_or_lent(lent: &CallerEnvironment) -> CallerEnvironment {
    let own = CallerEnvironment::of_this_process();
    let there = credential_sources::stores_with_credentials(&own);
    let has_own = |kind: &StoreKind| match kind {
        StoreKind::S3 => has_own_keys(&own),
        kind => there.contains(kind),
    };
    // What they may not do is explained by them.
    let lent = StoreKind::ALL
        .into_iter()
        .filter(has_own)
        .fold(lent.clone(), |lent, kind| lent.without_secrets_of(kind));
    own.overlaid_by(&lent)
}

/// Whether this node has keys of its own: by its variables, or in the profile of its credentials file.
fn has_own_keys(own: &CallerEnvironment) -> bool {
    let by_variable =
        ["AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_FULL_URI"];
    if by_variable.iter().any(|name| own.get(name).is_some()) {
        return true;
    }
    let named = own.get("AWS_SHARED_CREDENTIALS_FILE").map(PathBuf::from);
    let Some(file) = named.or_else(|| Some(std::env::home_dir()?.join(".aws/credentials"))) else {
        return false;
    };
    let profile = own.get("AWS_PROFILE").unwrap_or("default");
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let mut within = false;
    text.lines().map(str::trim).any(|line| {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            within = name.trim() == profile;
        }
        let setting = line.split('=').next().unwrap_or_default().trim();
        within
            && matches!(
                setting,
                "aws_access_key_id" | "credential_process" | "role_arn" | "sso_session" | "sso_start_url"
            )
    })
}

fn send(jobs: &Jobs, number: u32, signal: JobSignal) -> bool {
    let signal = match signal {
        JobSignal::Interrupt => Signal::INT,
        JobSignal::Terminate => Signal::TERM,
    };
    jobs.get(number).is_some_and(|job| job::send_signal(&job, signal))
}

fn read_request<T: DeserializeOwned>() -> Result<T, Failure> {
    let mut json = Vec::new();
    let read = std::io::stdin().lock().take(REQUEST_BYTES_MAX).read_to_end(&mut json);
    read.map_err(|err| Failure::from_io("cannot read the request", &err))?;
    // The library's own words may quote what is secret.
    serde_json::from_slice(&json).map_err(|err| {
        Failure::usage(format!(
            "the request is not understood (line {}, column {})",
            err.line(),
            err.column()
        ))
        .with_hint("`pail node` is for pail itself")
    })
}

/// A request as it is sent.
pub fn encode(request: &impl Serialize) -> Result<Vec<u8>, Failure> {
    serde_json::to_vec(request)
        .map_err(|err| Failure::other("cannot write the request").because(err.to_string()))
}

//! The life of the daemon's process.
//!
//! Owns: [`run`], from taking the lock to the exit code. One daemon has a runtime directory at a time, by an exclusive lock
//! on a file in it that is held until the process is gone; the file itself is never removed, since a lock on a removed file keeps
//! nobody out.

use super::log_file::LogFile;
use super::mounting::blocking;
use super::{Daemon, allocator, server};
use pail_cache::Cache;
use pail_control::quantity::Period;
use pail_control::settings::{Directories, KeptLimits, Limits, Settings, process_environment};
use pail_control::start::StartReport;
use pail_control::types::{DrainReport, MountOutcome, MountRequest};
use pail_control::{Failure, saved_mount};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};

/// How long a daemon that was started on demand stays without a mount: a script that unmounts and mounts again shall find it.
const IDLE_GRACE: Duration = Duration::from_secs(10);
/// Between two looks at whether there is a mount left.
const IDLE_POLL: Duration = Duration::from_millis(200);
/// How long the end waits for the cache's disk.
const CACHE_DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the end waits for the log's disk.
const LOG_DRAIN_TIMEOUT: Duration = Duration::from_secs(1);
/// Signals so close to each other are one: `timeout` and others send theirs to the process and then to its group.
const SAME_SIGNAL_TIME: Duration = Duration::from_secs(1);
/// Which events are logged where `PAIL_LOG` does not say.
const LOG_FILTER_DEFAULT: &str = "info,fuser=error";

/// What starts the daemon, and so what ends it.
pub enum Mode {
    /// A command that found none. Logs to a file, reports its start on standard output, ends without mounts.
    OnDemand,
    /// A supervisor or a person. Logs to standard error, ends on a signal.
    Foreground,
    /// One mount that is to live in the foreground. Logs to standard error, ends when no mount is left.
    ForMount(Box<ForegroundMount>),
}

/// The mount of [`Mode::ForMount`].
pub struct ForegroundMount {
    /// What to mount.
    pub request: MountRequest,
    /// Called once, when it is usable.
    pub on_mounted: Box<dyn FnOnce(&MountOutcome) + Send>,
}

/// Runs a daemon until it has ended. Returns what it left, which is an empty report when all is in the bucket.
/// Errors: it could not start, or its mount could not be made.
pub fn run(mode: Mode, limits: &Limits, drain_timeout: Option<Duration>) -> Result<DrainReport, Failure> {
    allocator::bound();
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let settings = Settings::resolve(limits, drain_timeout, &process_environment)?;
    settings.directories.prepare(rustix::process::geteuid().as_raw())?;
    if matches!(mode, Mode::OnDemand) {
        detach()?;
    }
    raise_open_files();
    let Some(_lock) = take_lock(&settings.directories)? else {
        return match mode {
            Mode::OnDemand => {
                report_start(&StartReport::AlreadyRunning);
                Ok(DrainReport::default())
            }
            _ => Err(already_running(&settings.directories)),
        };
    };
    let log = init_log(&mode, &settings.directories)?;
    let settings = keep_limits(&mode, &settings.directories, limits, drain_timeout)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("pail-worker")
        .build()
        .map_err(|err| Failure::from_io("cannot start the daemon's threads", &err))?;
    let report = runtime.block_on(live(mode, settings, log.clone()));
    // What still blocks (a file system that hangs) must not keep the process.
    runtime.shutdown_timeout(Duration::from_secs(1));
    drain_log(log.as_ref());
    report
}

/// Keeps what was asked for, for the daemon after this one; and settles what this one runs with, where the one before it was killed and has
/// left its mounts: it is started by whoever wants any mount, who need not know what those were meant to have. Under the lock.
fn keep_limits(
    mode: &Mode,
    directories: &Directories,
    limits: &Limits,
    drain_timeout: Option<Duration>,
) -> Result<Settings, Failure> {
    let file = directories.kept_limits_file();
    let asked = KeptLimits {
        limits: limits.clone().or_environment(&process_environment)?,
        drain_timeout: drain_timeout.map(Period),
    };
    let restores = !saved_mount::read(&directories.mounts_file()).is_empty();
    let in_force = match mode {
        Mode::OnDemand if restores => asked.clone().or(KeptLimits::read(&file)),
        _ => asked.clone(),
    };
    let resolve = |kept: &KeptLimits| {
        let settings = Settings::resolve(&kept.limits, kept.drain_time(), &process_environment)?;
        settings.directories.prepare(rustix::process::geteuid().as_raw())?;
        Ok::<_, Failure>(settings)
    };
    let (in_force, settings) = match resolve(&in_force) {
        Ok(settings) => (in_force, settings),
        Err(failure) if in_force == asked => return Err(failure),
        Err(failure) => {
            tracing::warn!(file = %file.display(), error = %failure, "the budgets and directories of the daemon before this one cannot be had again; it goes on without them");
            let settings = resolve(&asked)?;
            (asked, settings)
        }
    };
    if let Err(error) = in_force.write(&file) {
        tracing::warn!(%error, "should this daemon be killed, the next one will not have its budgets");
    }
    Ok(settings)
}

/// The same as [`run`] for a daemon that was started on demand, with its failure told to who started it.
pub fn run_on_demand(limits: &Limits, drain_timeout: Option<Duration>) -> Result<DrainReport, Failure> {
    run(Mode::OnDemand, limits, drain_timeout).inspect_err(|failure| {
        report_start(&StartReport::Failed(failure.clone()));
    })
}

async fn live(mode: Mode, settings: Settings, log: Option<LogFile>) -> Result<DrainReport, Failure> {
    let directories = settings.directories.clone();
    let daemon = Daemon::open(settings)?;
    let listener = listen(&directories)?;
    watch_signals(&daemon, log)?;
    daemon.restore();
    let serving = tokio::spawn(server::serve(daemon.clone(), listener));
    tracing::info!(version = env!("CARGO_PKG_VERSION"), pid = std::process::id(), runtime = %directories.runtime.display(), "the daemon is ready");
    let (grace, unlist) = match mode {
        Mode::OnDemand => {
            report_start(&StartReport::Ready);
            (Some(IDLE_GRACE), false)
        }
        Mode::Foreground => (None, false),
        Mode::ForMount(mount) => {
            let outcome = daemon.mount(mount.request).await?;
            (mount.on_mounted)(&outcome);
            (Some(Duration::ZERO), true)
        }
    };
    // Without NOTIFY_SOCKET nobody waits for this; a supervisor that does not listen is its own problem.
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    if let Some(grace) = grace {
        tokio::spawn(end_when_idle(daemon.clone(), grace));
    }
    daemon.told_to_stop().await;
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    let report = daemon.drain_to_stop(unlist).await;
    write_report(&directories, &report);
    if tokio::time::timeout(CACHE_DRAIN_TIMEOUT, finish_cache(&daemon.cache)).await.is_err() {
        tracing::warn!("the cache's disk was too slow to take everything");
    }
    // From here on nobody is answered; the lock is still held until the process is gone.
    let _ = std::fs::remove_file(directories.socket());
    daemon.ended.send_replace(Some(report.clone()));
    // A client may hold its connection open for as long as it likes.
    let _ = tokio::time::timeout(Duration::from_secs(1), serving).await;
    tracing::info!(remaining = report.remaining.len(), "the daemon has ended");
    Ok(report)
}

/// Has the cache keep what it has, and remove local copies of published files that it does not.
async fn finish_cache(cache: &Arc<Cache>) {
    cache.drain().await;
    let cache = cache.clone();
    let swept = blocking(move || {
        cache.sweep_published().map_err(|err| Failure::from_io("cannot sweep the journal", &err))
    });
    if let Err(error) = swept.await {
        tracing::warn!(%error, "local copies of published files stay until the next daemon starts");
    }
}

impl Daemon {
    async fn told_to_stop(&self) {
        let mut stopping = self.stopping.subscribe();
        // An error cannot be: the sender lives in self.
        let _ = stopping.wait_for(|stopping| *stopping).await;
    }

    /// Stops if nothing is mounted or being mounted. Under the table's lock, so that no mount slips in between.
    fn stop_if_idle(&self) {
        let mounts = self.mounts.lock();
        if mounts.is_empty() {
            self.stop();
        }
    }

    fn is_idle(&self) -> bool {
        self.mounts.lock().is_empty()
    }
}

async fn end_when_idle(daemon: Arc<Daemon>, grace: Duration) {
    let mut idle_since = None;
    while !daemon.is_stopping() {
        if daemon.is_idle() {
            let since = *idle_since.get_or_insert_with(tokio::time::Instant::now);
            if since.elapsed() >= grace {
                daemon.stop_if_idle();
            }
        } else {
            idle_since = None;
        }
        tokio::time::sleep(IDLE_POLL).await;
    }
}

/// The first signal drains, a later one ends the process at once.
fn watch_signals(daemon: &Arc<Daemon>, log: Option<LogFile>) -> Result<(), Failure> {
    let failed = |err: std::io::Error| Failure::from_io("cannot watch for signals", &err);
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let daemon = daemon.clone();
    tokio::spawn(async move {
        let mut first: Option<tokio::time::Instant> = None;
        loop {
            let name = tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            };
            if first.is_some_and(|first| first.elapsed() < SAME_SIGNAL_TIME) {
                continue;
            }
            if first.is_some() {
                tracing::error!(
                    signal = name,
                    "a second signal: ends at once, what is not in the bucket stays in the journal"
                );
                drain_log(log.as_ref());
                std::process::exit(1);
            }
            first = Some(tokio::time::Instant::now());
            tracing::info!(signal = name, "draining, then the daemon ends");
            daemon.stop();
        }
    });
    Ok(())
}

/// Lets go of the terminal, the working directory and whatever descriptors the starting shell had open.
fn detach() -> Result<(), Failure> {
    // SAFETY: nothing in this process has opened a descriptor above 2 yet that it will use: settings were read through
    // files that are closed again, and the runtime does not exist.
    let closed = unsafe { libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, 0_u32) };
    debug_assert_eq!(closed, 0, "close_range is there from Linux 5.9");
    // Fails only for a process group's leader, which is detached enough.
    let _ = rustix::process::setsid();
    std::env::set_current_dir("/").map_err(|err| Failure::from_io("cannot change to /", &err))
}

/// As many descriptors as this user may have: each file that is written, and each that could not be published, holds one, and with the
/// usual 1,024 in use nobody could be answered any more.
fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        tracing::debug!(%error, "the limit of open files stays what it was");
    }
}

/// `None` when another daemon holds it.
pub(super) fn take_lock(directories: &Directories) -> Result<Option<File>, Failure> {
    let path = directories.lock_file();
    let failed = |err: &std::io::Error| Failure::from_io(format!("cannot lock {}", path.display()), err);
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(|err| failed(&err))?;
    match file.try_lock() {
        Ok(()) => {
            // For people who look; the lock is what counts.
            let _ = file.set_len(0).and_then(|()| writeln!(&file, "{}", std::process::id()));
            Ok(Some(file))
        }
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(err)) => Err(failed(&err)),
    }
}

fn already_running(directories: &Directories) -> Failure {
    let pid = std::fs::read_to_string(directories.lock_file()).unwrap_or_default();
    Failure::usage(format!(
        "a daemon is running already in {} (process {})",
        directories.runtime.display(),
        pid.trim()
    ))
    .with_hint("leave --foreground out to use it, or set PAIL_RUNTIME_DIR, PAIL_STATE_DIR and PAIL_CACHE_DIR for one beside it")
}

fn listen(directories: &Directories) -> Result<UnixListener, Failure> {
    let path = directories.socket();
    let failed = |err: std::io::Error| Failure::from_io(format!("cannot listen at {}", path.display()), &err);
    // Whoever had it is gone: the lock is ours.
    if let Err(err) = std::fs::remove_file(&path)
        && err.kind() != std::io::ErrorKind::NotFound
    {
        return Err(failed(err));
    }
    let listener = UnixListener::bind(&path).map_err(failed)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
    Ok(listener)
}

/// One line to who started the daemon, which then lets go of standard output. Nobody reading is no failure.
fn report_start(report: &StartReport) {
    let mut out = std::io::stdout().lock();
    let line = serde_json::to_string(report).unwrap_or_default();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
    if let Ok(null) = OpenOptions::new().write(true).open("/dev/null") {
        let _ = rustix::stdio::dup2_stdout(null);
    }
}

/// Gives the file that is logged to, if it is one.
fn init_log(mode: &Mode, directories: &Directories) -> Result<Option<LogFile>, Failure> {
    let directives = std::env::var("PAIL_LOG").unwrap_or_else(|_| LOG_FILTER_DEFAULT.to_owned());
    let filter = tracing_subscriber::EnvFilter::try_new(&directives).map_err(|err| {
        Failure::usage(format!("PAIL_LOG={directives} is wrong"))
            .because(err.to_string())
            .with_hint("write a level such as info or debug, or levels by module such as pail_store=debug")
    })?;
    // Its complaint about a log that cannot be written would go to standard error, and panic where that is full too.
    let format = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        .with_ansi(false)
        .log_internal_errors(false);
    // A program that embeds the daemon may have a log of its own.
    let Mode::OnDemand = mode else {
        let _ = format.with_writer(std::io::stderr).try_init();
        return Ok(None);
    };
    let path = directories.log_file();
    let log = LogFile::open(path.clone())
        .map_err(|err| Failure::from_io(format!("cannot write {}", path.display()), &err))?;
    let writer = log.clone();
    let _ = format.with_writer(move || writer.clone()).try_init();
    Ok(Some(log))
}

/// The process ends: what was logged is written, but for a disk that hangs.
fn drain_log(log: Option<&LogFile>) {
    if let Some(log) = log {
        log.drain(LOG_DRAIN_TIMEOUT);
    }
}

/// Keeps what the last drain came to, for who asks after the daemon is gone.
fn write_report(directories: &Directories, report: &DrainReport) {
    let path = directories.drain_report_file();
    let written = serde_json::to_vec_pretty(report)
        .map_err(std::io::Error::from)
        .and_then(|text| std::fs::write(&path, text));
    if let Err(err) = written {
        tracing::warn!(file = %path.display(), error = %err, "the report of the drain could not be written");
    }
}

//! The daemon as the command finds it.
//!
//! Owns: which daemon is meant (by the directories of this environment), the word about versions that differ, the repetition of a
//! mount that hit a daemon on its way out, and the wait for a daemon's process to end.

use crate::progress;
use pail_control::settings::{Directories, Limits, Settings, process_environment};
use pail_control::types::{Health, MountOutcome, MountRequest};
use pail_control::{Client, Failure, FailureKind, start};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::retry_on_intr;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// How long a mount is asked for again while one daemon after the other is on its way out.
const RETRY_TIME: Duration = Duration::from_secs(150);
/// Between two attempts.
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// How many seconds a daemon's process may take to end once everything is drained.
const PROCESS_END_SECS: i64 = 30;

/// The directories of the daemon that this environment means.
pub fn directories() -> Result<Directories, Failure> {
    let settings = Settings::resolve(&Limits::default(), None, &process_environment)?;
    Ok(settings.directories)
}

/// A caller of the daemon that runs. Its socket is found by the environment alone: a mistake in `config.toml` must not keep anybody
/// from flushing what a running daemon holds. Errors: `NotRunning`.
pub async fn running() -> Result<(Client, Health), Failure> {
    let uid = rustix::process::geteuid().as_raw();
    let client = Client::new(Directories::from_environment(&process_environment, uid)?.socket());
    let health = client.health().await?;
    note_version(&health);
    Ok((client, health))
}

/// Mounts through the running daemon, or one that is started for it.
pub async fn mount(request: &MountRequest) -> Result<MountOutcome, Failure> {
    let directories = directories()?;
    let deadline = Instant::now() + RETRY_TIME;
    loop {
        let attempt = async {
            let (client, health) = start::ensure_daemon(&directories, &request.limits).await?;
            note_version(&health);
            client.mount(request).await
        };
        let what = format!("mounting {} at {}", request.spec.source, request.spec.mount_point.display());
        match progress::while_waiting(&what, attempt).await {
            Err(failure) if is_passing(&failure) && Instant::now() < deadline => {
                tokio::time::sleep(RETRY_PAUSE).await
            }
            done => return done,
        }
    }
}

/// The daemon that was asked is about to end, or ended between two steps; another will take its place.
fn is_passing(failure: &Failure) -> bool {
    matches!(failure.kind, FailureKind::Stopping | FailureKind::NotRunning)
}

/// A daemon's process, held by a descriptor that no later process of the same number can have.
pub struct Process {
    client: Client,
    /// Its number and descriptor; `None` where the process cannot be seen from here, as from another container.
    seen: Option<(Pid, OwnedFd)>,
}

impl Process {
    /// The process that answers `client`. Errors: `NotRunning`.
    pub async fn of(client: &Client) -> Result<Self, Failure> {
        let pid = client.peer_pid().await?.and_then(Pid::from_raw);
        let seen = pid.and_then(|pid| Some((pid, pidfd_open(pid, PidfdFlags::empty()).ok()?)));
        Ok(Self { client: client.clone(), seen })
    }

    /// Waits until it has ended: only then are its lock and its cache free. Errors: it does not.
    pub async fn ended(self) -> Result<(), Failure> {
        let Some((pid, descriptor)) = self.seen else { return Self::silent(&self.client).await };
        let waited = tokio::task::spawn_blocking(move || {
            let limit = Timespec { tv_sec: PROCESS_END_SECS, tv_nsec: 0 };
            // Stopped by Ctrl-Z and continued, the wait begins anew.
            retry_on_intr(|| poll(&mut [PollFd::new(&descriptor, PollFlags::IN)], Some(&limit)))
        })
        .await;
        match waited {
            Ok(Ok(1..)) => Ok(()),
            _ => Err(Failure::other(format!("the daemon has drained, but its process {pid} does not end"))
                .with_hint(format!("its log says more; kill -9 {pid} ends it"))),
        }
    }

    /// Waits until it answers no more, which is shortly before it ends: all that can be known of a process that cannot be seen.
    async fn silent(client: &Client) -> Result<(), Failure> {
        let end = Instant::now() + Duration::from_secs(PROCESS_END_SECS.unsigned_abs());
        while Instant::now() < end {
            if matches!(client.peer_pid().await, Err(failure) if failure.kind == FailureKind::NotRunning) {
                return Ok(());
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
        Err(Failure::other("the daemon has drained, and goes on answering").with_hint("its log says more"))
    }
}

fn note_version(health: &Health) {
    let own = env!("CARGO_PKG_VERSION");
    if health.version != own {
        crate::terminal::note(&format!(
            "note: the running daemon is of version {}, this command of {own}; `pail shutdown` ends it, and the next mount starts the new one",
            health.version
        ));
    }
}

//! Starting a daemon where none answers.
//!
//! Owns: [`ensure_daemon`]. Any number of commands may call it at once: each starts a daemon where it finds none, the
//! lock in the runtime directory lets one of them live, and all of them end up with that one.
//!
//! # Why the daemon reports over its standard output
//! A daemon that cannot start (a cache directory in use, a mistake in `config.toml`) must say so to the person at the
//! terminal, not to a log. It writes one line, a [`StartReport`], and lets go of the pipe.

use crate::program;
use crate::settings::{Directories, Limits};
use crate::types::Health;
use crate::{Client, Failure, FailureKind};
use serde::{Deserialize, Serialize};
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::time::{Instant, sleep};

/// How long to wait for a daemon to answer, another one's end included.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// Between two looks at the socket.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// What a daemon that was started on demand says first, as one line of JSON.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StartReport {
    /// It answers at its socket.
    Ready,
    /// Another one has the runtime directory.
    AlreadyRunning,
    /// It cannot run.
    Failed(Failure),
}

fn is_closed_to_us(directories: &Directories) -> bool {
    let connected = std::os::unix::net::UnixStream::connect(directories.socket());
    connected.is_err_and(|error| error.kind() == std::io::ErrorKind::PermissionDenied)
}

/// Finds the running daemon of `directories`, or starts one with `limits`. One that is on its way out is waited for.
/// Errors: the program is missing; what the daemon says when it cannot start; none answers within 30 s.
pub async fn ensure_daemon(directories: &Directories, limits: &Limits) -> Result<(Client, Health), Failure> {
    let client = Client::new(directories.socket());
    let deadline = Instant::now() + START_TIMEOUT;
    loop {
        match client.health().await {
            Ok(health) if !health.stopping => return Ok((client, health)),
            Ok(_) => {}
            Err(failure) if failure.kind == FailureKind::NotRunning => {
                match spawn(directories, limits, deadline).await? {
                    StartReport::Ready | StartReport::AlreadyRunning => {}
                    StartReport::Failed(failure) => return Err(failure),
                }
            }
            // One that is just ending may break the connection off; one of another user's stays closed to this one.
            Err(failure) if Instant::now() >= deadline || is_closed_to_us(directories) => {
                return Err(failure);
            }
            Err(_) => {}
        }
        if Instant::now() >= deadline {
            return Err(Failure::other("the daemon did not start in time")
                .with_hint(format!("its log is {}", directories.log_file().display())));
        }
        sleep(POLL_INTERVAL).await;
    }
}

/// Starts a daemon and waits for its first line.
async fn spawn(
    directories: &Directories,
    limits: &Limits,
    deadline: Instant,
) -> Result<StartReport, Failure> {
    directories.prepare(rustix::process::geteuid().as_raw())?;
    // What is written to standard error before the log is open, and a panic's message, must not get lost.
    let errors =
        OpenOptions::new().create(true).append(true).mode(0o600).open(directories.log_file()).map_err(
            |err| Failure::from_io(format!("cannot write {}", directories.log_file().display()), &err),
        )?;
    let mut command = tokio::process::Command::new(program::path());
    command.arg("--on-demand").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(errors);
    // The daemon resolves its directories from its environment; said again so that a later change of it in a
    // restarting daemon cannot split socket and journal.
    command.env("PAIL_RUNTIME_DIR", &directories.runtime);
    if let Some(dir) = &limits.cache_dir {
        command.arg("--cache-dir").arg(dir);
    }
    if let Some(size) = limits.cache_size {
        command.arg("--cache-size").arg(size.0.to_string());
    }
    if let Some(size) = limits.memory {
        command.arg("--memory").arg(size.0.to_string());
    }
    let mut child = command.spawn().map_err(|err| program::not_started(&err))?;
    let Some(output) = child.stdout.take() else {
        return Err(Failure::other("the daemon was started without an output"));
    };
    let mut line = String::new();
    let read = tokio::time::timeout_at(deadline, BufReader::new(output).read_line(&mut line)).await;
    match read {
        Ok(Ok(n)) if n > 0 => serde_json::from_str(&line).map_err(|err| {
            Failure::other(format!("the daemon said {:?}", line.trim())).because(err.to_string())
        }),
        Ok(_) => Err(Failure::other("the daemon ended while it was starting")
            .with_hint(format!("its log is {}", directories.log_file().display()))),
        Err(_) => Ok(StartReport::AlreadyRunning),
    }
}

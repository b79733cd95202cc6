//! The commands of a task.
//!
//! Owns: [`run`]: bash in a process group of its own, so that a signal reaches everything the command started and nothing else.
//!
//! # Why a group of its own
//! Ctrl-C on a terminal goes to the whole foreground group. The command must get it, and this process must live on, since the
//! wait for what is not in the bucket comes afterwards. On a terminal the command's group is made the foreground one, so that
//! programs which read from it, or ask for a password, work.

use crate::terminal;
use pail_control::Failure;
use rustix::process::{Pid, Signal};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitStatus;
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};

/// Runs `command` in `dir` with `environment` added to this process's. Returns its exit code; 128 and the signal's number
/// where one ended it, as shells have it. SIGINT, SIGTERM and SIGHUP are passed on; the second of them kills.
pub async fn run(command: &str, dir: &Path, environment: &BTreeMap<String, String>) -> Result<u8, Failure> {
    let watched = |err: std::io::Error| Failure::from_io("cannot watch for signals", &err);
    let mut interrupt = signal(SignalKind::interrupt()).map_err(watched)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(watched)?;
    let mut hangup = signal(SignalKind::hangup()).map_err(watched)?;
    let mut child = command_of(command, dir, environment, Login::No)
        .spawn()
        .map_err(|err| Failure::from_io("cannot start bash", &err).with_hint("install the package bash"))?;
    let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    let _foreground = group.and_then(Foreground::give_to);
    let mut asked = false;
    loop {
        let passed_on = tokio::select! {
            ended = child.wait() => {
                let status = ended.map_err(|err| Failure::from_io("cannot wait for bash", &err))?;
                return Ok(exit_code(status));
            }
            _ = interrupt.recv() => Signal::INT,
            _ = terminate.recv() => Signal::TERM,
            _ = hangup.recv() => Signal::HUP,
        };
        if let Some(group) = group {
            let (sent, told) = match asked {
                false => {
                    (passed_on, "passed the signal on; waiting for the command to end; once more kills it")
                }
                true => (Signal::KILL, "killed the command"),
            };
            asked = true;
            // It may have ended at this very moment.
            let _ = rustix::process::kill_process_group(group, sent);
            terminal::note(told);
        }
    }
}

/// Whether a command's shell reads the user's login files first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Login {
    /// On a node, where ssh gives a bare environment.
    Yes,
    /// On this machine, whose user has set up the environment of this process, such as a virtual one of Python.
    No,
}

/// A task's command, as it is started everywhere: in a process group of its own, with the task's variables and the number of this node's
/// accelerators, and without what opens the repository of its code.
pub fn command_of(
    command: &str,
    dir: &Path,
    environment: &BTreeMap<String, String>,
    login: Login,
) -> Command {
    let mut bash = Command::new("bash");
    if login == Login::Yes {
        bash.arg("--login");
    }
    bash.arg("-c").arg(command).current_dir(dir).process_group(0);
    bash.env_remove("GIT_TOKEN").env("SKYPILOT_NUM_GPUS_PER_NODE", gpu_count().to_string());
    bash.envs(environment);
    bash
}

/// As `/dev` has them.
fn gpu_count() -> usize {
    let is_gpu = |name: &str| {
        let number = name.strip_prefix("nvidia");
        number.is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let devices = std::fs::read_dir("/dev").into_iter().flatten().flatten();
    devices.filter(|device| device.file_name().to_str().is_some_and(is_gpu)).count()
}

/// As shells have it: 128 and the signal's number where one ended the command.
pub fn exit_code(status: ExitStatus) -> u8 {
    use std::os::unix::process::ExitStatusExt;
    let code = status.code().or_else(|| status.signal().map(|number| 128 + number)).unwrap_or(1);
    u8::try_from(code).unwrap_or(u8::MAX)
}

/// The terminal's foreground, lent to a process group.
struct Foreground {
    own: Pid,
}

impl Foreground {
    /// Lends it; `None` where there is no terminal, or it is not ours to lend.
    fn give_to(group: Pid) -> Option<Self> {
        let own = rustix::process::getpgrp();
        let input = std::io::stdin();
        if !input.is_terminal() || rustix::termios::tcgetpgrp(&input).ok()? != own {
            return None;
        }
        rustix::termios::tcsetpgrp(&input, group).ok()?;
        Some(Self { own })
    }
}

impl Drop for Foreground {
    fn drop(&mut self) {
        // Taking it back from the background raises SIGTTOU, which would stop this process.
        // SAFETY: SIG_IGN is a valid disposition, and no handler of this process is for SIGTTOU.
        let before = unsafe { libc::signal(libc::SIGTTOU, libc::SIG_IGN) };
        let _ = rustix::termios::tcsetpgrp(std::io::stdin(), self.own);
        // SAFETY: restores what was there.
        unsafe { libc::signal(libc::SIGTTOU, before) };
    }
}

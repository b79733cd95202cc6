//! The `pail` command.
//!
//! Owns: `commands`, one file for each (its arguments' doc comments are its help); `launch`, a task from its file to its exit code, over
//! `task`, the task YAML; `cluster`, nodes over SSH; `sync`, code and files to where they run; `git`, code
//! from a repository; `node`, what is done where a task runs; `copying`, `copy_progress` and `rates`, copies from and to buckets; `daemon`,
//! finding or starting the daemon; `place`, destinations and the making of them; `shell`, the commands of a task on this machine; `accounts`, users and groups by name; `open_files` and `allocator`, what this process may use; `notices`, `progress`, `bars` and `terminal`, what
//! a person sees afterwards and while waiting.
//!
//! Invariants: data goes to standard output, progress and notes to standard error; every failure is a
//! [`Failure`], whose kind is the exit code.

mod accounts;
mod allocator;
mod bars;
mod bucket_flags;
mod buckets;
pub mod cluster;
mod commands;
mod copy_flags;
mod copy_progress;
mod copying;
mod daemon;
mod filter_flags;
mod git;
mod launch;
mod node;
mod notices;
mod open_files;
mod place;
mod progress;
mod rates;
mod shell;
pub mod sync;
mod task;
mod terminal;

use clap::Parser;
use pail_control::Failure;
use std::process::ExitCode;

/// What every command has in common; below `pail --help`.
const COMMON_HELP: &str = "\
Exit codes:
  0  ok                       5  partly done; what remains is listed
  1  other                    6  unreachable, or retries exhausted
  2  usage, YAML, settings    7  verification failed
  3  not found                8  no space
  4  credentials            130  interrupted

Environment:
  AWS_*                                      credentials, profile, region and endpoint, as the AWS tools have them
  HTTPS_PROXY, HTTP_PROXY, NO_PROXY          the way to the endpoint
  PAIL_MEMORY, PAIL_CACHE_SIZE               budgets of the daemon that is started
  PAIL_CACHE_DIR, PAIL_STATE_DIR, PAIL_RUNTIME_DIR
                                             its directories, else XDG_CACHE_HOME, XDG_STATE_HOME, XDG_RUNTIME_DIR;
                                             without any, the socket is in /run/pail (root) or /tmp/pail-UID
  PAIL_SSH_CONFIG                            the SSH configuration, in place of ~/.ssh/config and /etc/ssh/ssh_config
  PAIL_NODE_BINARIES                         a directory of the programs that are sent to nodes
  PAIL_LOG                                   the daemon's log: info, debug, or levels by module

Settings that stay are in ~/.config/pail/config.toml: memory, cache_size, cache_dir, state_dir,
drain_timeout, holes_max.";

/// Puts buckets where jobs run.
#[derive(Debug, Parser)]
#[command(name = "pail", version, propagate_version = true, infer_subcommands = true, max_term_width = 120)]
#[command(after_help = COMMON_HELP)]
struct Arguments {
    #[command(subcommand)]
    command: commands::Command,
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    if let Some(code) = git::askpass::answer_if_asked() {
        return code;
    }
    let arguments = Arguments::parse();
    match arguments.command.run() {
        Ok(code) => code,
        Err(failure) => {
            terminal::print_failure(&failure);
            ExitCode::from(failure.kind.exit_code())
        }
    }
}

/// Runs asynchronous work on threads that end with it.
fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    allocator::share_heaps();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|err| Failure::from_io("cannot start threads", &err))?;
    runtime.block_on(work)
}

//! The `pail` command.
//!
//! Owns: `commands`, one file for each (its arguments' doc comments are its help); `task`, the task YAML; `daemon`, finding or
//! starting the daemon; `progress` and `terminal`, what a person sees while waiting and afterwards; `shell`, the commands of a task.
//!
//! Invariants: data goes to standard output, progress and notes to standard error; every failure is a
//! [`Failure`], whose kind is the exit code.

mod commands;
mod daemon;
mod progress;
mod shell;
mod task;
mod terminal;

use clap::Parser;
use pail_mountd::control::Failure;
use std::process::ExitCode;

/// Puts buckets where jobs run.
#[derive(Debug, Parser)]
#[command(name = "pail", version, propagate_version = true, infer_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: commands::Command,
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
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
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|err| Failure::from_io("cannot start threads", &err))?;
    runtime.block_on(work)
}

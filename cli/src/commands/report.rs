//! `pail _report`: what a daemon in the foreground has told to people.
//!
//! Owns: the telling of each [`ForegroundEvent`], as `pail mount` and `pail umount` tell it. The daemon runs it; it is in no help.

use super::mount;
use crate::{notices, terminal};
use pail_control::Failure;
use pail_control::foreground::ForegroundEvent;
use std::process::ExitCode;

/// No command begins so, and none becomes ambiguous where its name is cut short.
pub const NAME: &str = "_report";

/// Tell of the event on standard input
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Print what was done as JSON
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: Arguments) -> Result<ExitCode, Failure> {
    let event = serde_json::from_reader(std::io::stdin())
        .map_err(|err| Failure::usage("standard input holds no event").because(err.to_string()))?;
    match event {
        ForegroundEvent::Mounted(outcome) => mount::report(&outcome, arguments.json)?,
        ForegroundEvent::Left(report) => terminal::notes(&notices::left(&report)),
    }
    Ok(ExitCode::SUCCESS)
}

//! The daemon of `pail mount --foreground`: the command's own process, which becomes the daemon's program.
//!
//! Owns: [`become_daemon`], and what the two programs say to each other: a [`ForegroundRequest`] as JSON on standard input, and a
//! [`ForegroundEvent`] on that of the program which tells people of it.
//!
//! # Why the process itself
//! Who supervises the mount knows one process: by its number, by its exit code, by the signals that it gets and by the one from which
//! systemd takes `READY=1`. A command that waited for a child would have to stand in for it in all of that, and the child would outlive it.

use crate::types::{DrainReport, MountOutcome, MountRequest};
use crate::{Failure, program};
use rustix::fs::MemfdFlags;
use serde::{Deserialize, Serialize};
use std::convert::Infallible;
use std::ffi::OsString;
use std::fs::File;
use std::io::Seek;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// The flag by which the program does so.
const FLAG: &str = "--for-mount";

/// What the daemon is to hold, and who tells of it.
#[derive(Debug, Serialize, Deserialize)]
pub struct ForegroundRequest {
    /// What to mount, and with which budgets.
    pub mount: MountRequest,
    /// A program and its arguments. It is run once for each [`ForegroundEvent`], which it reads as JSON from its standard input; what it prints
    /// goes where the daemon's output goes.
    pub reporter: Vec<OsString>,
}

/// What people are told of a mount in the foreground.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ForegroundEvent {
    /// It is usable.
    Mounted(MountOutcome),
    /// It has ended, and not all is in the bucket, or something failed.
    Left(DrainReport),
}

/// Goes on as the daemon; returns only where that fails. The request is handed over in memory, since it holds keys.
pub fn become_daemon(request: &ForegroundRequest) -> Failure {
    match replace_process(request) {
        Err(err) => program::not_started(&err),
    }
}

fn replace_process(request: &ForegroundRequest) -> std::io::Result<Infallible> {
    let mut memory = File::from(rustix::fs::memfd_create("mount-request", MemfdFlags::CLOEXEC)?);
    serde_json::to_writer(&memory, request)?;
    memory.rewind()?;
    Err(Command::new(program::path()).arg(FLAG).stdin(memory).exec())
}

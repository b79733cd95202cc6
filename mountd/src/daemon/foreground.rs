//! `pail-mountd --for-mount`: the daemon that a `pail mount --foreground` goes on as.
//!
//! Owns: [`run`], which takes the mount from standard input, and has the command's program tell people of it.

use super::process::{self, ForegroundMount, Mode};
use pail_control::Failure;
use pail_control::foreground::{ForegroundEvent, ForegroundRequest};
use pail_control::types::DrainReport;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::process::{Command, Stdio};

/// Mounts, and stays until the mount ends or a signal comes. Returns what was left. Errors: as of [`process::run`]; standard input holds
/// no request.
pub fn run() -> Result<DrainReport, Failure> {
    let ForegroundRequest { mount, reporter } = take_request()?;
    let limits = mount.limits.clone();
    let teller = reporter.clone();
    let on_mounted =
        Box::new(move |outcome: &_| tell(&teller, &ForegroundEvent::Mounted(Clone::clone(outcome))));
    let mode = Mode::ForMount(Box::new(ForegroundMount { request: mount, on_mounted }));
    let report = process::run(mode, &limits, None)?;
    if !report.is_clean() {
        tell(&reporter, &ForegroundEvent::Left(report.clone()));
    }
    Ok(report)
}

/// Reads the request, and lets go of it: it holds keys.
fn take_request() -> Result<ForegroundRequest, Failure> {
    let request = serde_json::from_reader(io::stdin()).map_err(|err| {
        Failure::usage("standard input holds no mount that this version knows")
            .because(err.to_string())
            .with_hint("`pail mount --foreground` starts this program")
    })?;
    let let_go = || Ok::<_, io::Error>(rustix::stdio::dup2_stdin(File::open("/dev/null")?)?);
    let_go().map_err(|err| Failure::from_io("cannot let go of standard input", &err))?;
    Ok(request)
}

/// Where it cannot be told, as who reads it may be gone, the mount stays.
fn tell(reporter: &[OsString], event: &ForegroundEvent) {
    if let Err(error) = report(reporter, event) {
        tracing::error!(%error, ?event, "the command that tells of the mount cannot be run");
    }
}

fn report(reporter: &[OsString], event: &ForegroundEvent) -> io::Result<()> {
    let (program, arguments) = reporter.split_first().ok_or(io::ErrorKind::NotFound)?;
    let text = serde_json::to_vec(event)?;
    let mut child = Command::new(program).args(arguments).stdin(Stdio::piped()).spawn()?;
    let written = child.stdin.take().map_or(Ok(()), |mut input| input.write_all(&text));
    child.wait()?;
    written
}

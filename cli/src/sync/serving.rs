//! The node's rsync, and the lock of the place that it writes to.
//!
//! Owns: [`serve`], which becomes that rsync, and `lock`, by which a sync waits for others of the same place, or ends them
//! (see [`agent`](super::agent), "Two syncs of one place").

use super::manifest::Record;
use pail_control::Failure;
use rustix::process::{Pid, Signal};
use std::ffi::OsString;
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// How long another sync of the same place is waited for.
const OTHERS_WAIT: Duration = Duration::from_secs(600);
/// After this long without a byte from its client, another's rsync is one of a lost link.
const STALLED: Duration = Duration::from_secs(65);
/// How long a rsync that was told to end has for it.
const END_WAIT: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(20);
/// The exit code of [`serve`] where another sync of the place began after this one.
pub const SUPERSEDED: u8 = 75;

/// Takes the lock of a place; ends an earlier rsync of the same session for it, or one of a lost link. Blocks.
pub(super) fn lock(record: &Record, session: &str, path: &Path) -> Result<File, Failure> {
    let started = Instant::now();
    let mut told: Option<Instant> = None;
    let mut heard = (0, Instant::now());
    loop {
        if let Some(lock) = record.try_lock()? {
            record.clear_serving();
            return Ok(lock);
        }
        if let Some((process, serving)) = record.serving() {
            let bytes = bytes_received(process);
            if bytes != heard.0 {
                heard = (bytes, Instant::now());
            }
            let is_lost = serving == session || heard.1.elapsed() > STALLED;
            match told {
                None if is_lost => {
                    end_rsync(process, Signal::TERM);
                    told = Some(Instant::now());
                }
                Some(told) if told.elapsed() > END_WAIT => end_rsync(process, Signal::KILL),
                _ => {}
            }
        }
        if started.elapsed() > OTHERS_WAIT {
            return Err(Failure::other(format!("another sync to {} is under way", path.display()))
                .with_hint("wait until it is done"));
        }
        std::thread::sleep(POLL);
    }
}

/// What a rsync's receivers, its children, have read.
fn bytes_received(process: u32) -> u64 {
    let children = std::fs::read_to_string(format!("/proc/{process}/task/{process}/children"));
    let read = |child: &str| {
        let io = std::fs::read_to_string(format!("/proc/{child}/io")).ok()?;
        io.lines().find_map(|line| line.strip_prefix("rchar: "))?.parse::<u64>().ok()
    };
    children.unwrap_or_default().split_whitespace().filter_map(read).sum()
}

fn end_rsync(process: u32, signal: Signal) {
    let name = std::fs::read_to_string(format!("/proc/{process}/comm")).unwrap_or_default();
    let process = i32::try_from(process).ok().and_then(Pid::from_raw);
    if let (Some(process), "rsync") = (process, name.trim_end()) {
        // It may have ended by itself.
        let _ = rustix::process::kill_process(process, signal);
    }
}

/// Becomes the node's rsync, with the arguments that the client's gave; holds the place's lock until that ends. Returns only with a
/// failure, which is said on standard error, or by sudo with rsync's exit code.
pub fn serve(key: &str, session: &str, by_sudo: bool, arguments: &[OsString], home: &Path) -> u8 {
    match try_serve(key, session, by_sudo, arguments, home) {
        Ok(code) => code,
        Err(failure) => {
            // Read by the client's rsync, which passes it on.
            eprintln!("pail: {failure}");
            if failure.message == RSYNC_MISSING { 127 } else { 1 }
        }
    }
}

/// What `serve` says where there is no rsync.
pub const RSYNC_MISSING: &str = "rsync is not installed";

fn try_serve(
    key: &str,
    session: &str,
    by_sudo: bool,
    arguments: &[OsString],
    home: &Path,
) -> Result<u8, Failure> {
    let record = Record::by_key(key, home);
    let started = Instant::now();
    let lock = loop {
        match record.try_lock()? {
            Some(lock) => break lock,
            None if started.elapsed() > END_WAIT => {
                eprintln!("pail: another sync holds the place");
                return Ok(SUPERSEDED);
            }
            None => std::thread::sleep(POLL),
        }
    };
    if record.session().as_deref() != Some(session) {
        eprintln!("pail: another sync to the same place began");
        return Ok(SUPERSEDED);
    }
    record.set_serving(session)?;
    // rsync keeps it open, so that the lock is held until rsync and what it forked are gone.
    rustix::io::fcntl_setfd(&lock, rustix::io::FdFlags::empty())
        .map_err(|errno| Failure::from_io("cannot keep the lock", &errno.into()))?;
    let failed = |err: &std::io::Error| match err.kind() {
        ErrorKind::NotFound => Failure::other(RSYNC_MISSING),
        _ => Failure::from_io("cannot start rsync", err),
    };
    if by_sudo {
        // sudo closes what it is not told of: this process holds the lock.
        let ended = Command::new("sudo").args(["-n", "rsync"]).args(arguments).status();
        let ended = ended.map_err(|err| failed(&err))?;
        return Ok(ended.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1));
    }
    Err(failed(&Command::new("rsync").args(arguments).exec()))
}

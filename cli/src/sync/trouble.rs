//! What the failures of rsync and of connections mean.
//!
//! Owns: [`Trouble`], a failure and whether another attempt may help; [`of_rsync`], from its exit code and what it said; and
//! [`named`], the files that rsync could not send. Messages do not name the node: equal ones of many nodes are told once.
//! Exit codes are those of rsync(1).

use super::NotDone;
use super::rsync::Report;
use super::serving::{RSYNC_MISSING, SUPERSEDED};
use pail_control::{Failure, FailureKind};
use std::os::unix::ffi::OsStringExt;

/// A failure, and whether another attempt may help.
#[derive(Debug, Clone)]
pub struct Trouble {
    pub failure: Failure,
    pub is_passing: bool,
}

/// Lines of what a program said that are shown as causes.
const LINES_SHOWN_MAX: usize = 5;

impl Trouble {
    /// Another attempt would end the same.
    pub fn lasting(failure: Failure) -> Self {
        Self { failure, is_passing: false }
    }

    /// Another attempt may succeed.
    pub fn passing(failure: Failure) -> Self {
        Self { failure, is_passing: true }
    }
}

/// What to make of a run of rsync to `path`; `None` where all, or all but what [`named`] tells, was sent.
///
/// `connection` is what ssh said of the connection, if it did.
pub fn of_rsync(report: &Report, path: &str, connection: Option<Failure>) -> Option<Trouble> {
    let said = report.stderr.as_str();
    let says = |what: &str| said.contains(what);
    if matches!(report.code, Some(0)) {
        return None;
    }
    if says("No space left on device") || says("Disk quota exceeded") {
        let what =
            if says("Disk quota exceeded") { "the quota is used up" } else { "no space left on the disk" };
        let failure = Failure::new(FailureKind::NoSpace, format!("{what} of {path}"))
            .with_hint("free some space there; what was sent is kept, and the next sync goes on from it");
        return Some(Trouble::lasting(failure));
    }
    if says("Read-only file system") {
        let failure = Failure::other(format!("the file system of {path} is read-only"));
        return Some(Trouble::lasting(failure));
    }
    if matches!(report.code, Some(23 | 24)) {
        return None;
    }
    if says(RSYNC_MISSING) || says("rsync: command not found") || says("rsync: not found") {
        let failure = Failure::other("rsync is not installed on the node")
            .with_hint("install the package rsync there: sudo apt-get install rsync, or the like");
        return Some(Trouble::lasting(failure));
    }
    if report.code == Some(i32::from(SUPERSEDED)) || says("another sync ") {
        let failure = Failure::other(format!("another sync to {path} began meanwhile"))
            .with_hint("wait until it is done, then run this again");
        return Some(Trouble::passing(failure));
    }
    let shell_talks =
        ["is your shell clean", "protocol version mismatch", "unexpected tag", "Invalid packet"];
    if shell_talks.iter().any(|what| says(what)) {
        let failure = Failure::other("something else than rsync talks on the connection to the node")
            .because(first_lines(said))
            .with_hint("is your shell clean? `ssh HOST true` must print nothing: let ~/.bashrc there print for terminals alone");
        return Some(Trouble::lasting(failure));
    }
    if let (Some(255), Some(failure)) = (report.code, connection) {
        return Some(of_step(failure));
    }
    Some(match report.code {
        Some(126 | 127) => Trouble::lasting(
            Failure::other("our program does not run on the node").because(first_lines(said)),
        ),
        Some(10 | 12 | 20 | 30 | 35 | 255) | None => Trouble::passing(
            Failure::new(FailureKind::Unreachable, "the connection to the node was lost")
                .because(first_lines(said)),
        ),
        code => {
            let failure = Failure::other(format!("rsync to {path} failed with code {}", code.unwrap_or(-1)));
            Trouble::lasting(failure.because(first_lines(said)))
        }
    })
}

/// What to make of a connection that failed.
pub fn of_step(failure: Failure) -> Trouble {
    let is_unresolved = failure.causes.iter().any(|cause| cause.contains("Could not resolve hostname"));
    Trouble { is_passing: failure.kind == FailureKind::Unreachable && !is_unresolved, failure }
}

/// What was said, without rsync's closing words.
fn first_lines(said: &str) -> String {
    let telling = |line: &&str| !line.is_empty() && !line.starts_with("rsync error:");
    let lines: Vec<_> = said.lines().map(str::trim).filter(telling).take(LINES_SHOWN_MAX).collect();
    if lines.is_empty() { said.trim().to_owned() } else { lines.join("; ") }
}

/// The files that rsync named as not sent, and why.
pub fn named(said: &str) -> Vec<NotDone> {
    said.lines().filter_map(named_in).collect()
}

fn named_in(line: &str) -> Option<NotDone> {
    let text = line.strip_prefix("rsync: ").unwrap_or(line);
    if let Some(path) = text.strip_prefix("cannot delete non-empty directory: ") {
        let why = "a directory with files that no sync sent is there; remove it on the node, or move them";
        return Some(NotDone { path: unescaped(path), why: why.to_owned() });
    }
    if let Some(path) = text.strip_prefix("file has vanished: ") {
        return Some(NotDone { path: unescaped(path.trim_matches('"')), why: VANISHED.to_owned() });
    }
    if text.starts_with("rsync error:") || text.starts_with("rsync warning:") {
        return None;
    }
    let (before, rest) = text.split_once('"')?;
    let (path, why) = rest.rsplit_once('"')?;
    let why = why.trim_start_matches(':').trim();
    let why = match before {
        _ if before.contains("[sender]") => format!("cannot be read: {why}"),
        _ if why.is_empty() => before.trim().to_owned(),
        _ => format!("cannot be written: {why}"),
    };
    Some(NotDone { path: unescaped(path), why })
}

/// Of a file that was listed.
pub const VANISHED: &str = "vanished before it was sent";
/// What is said of a file that does not rest: a log that somebody writes. What arrived of it may be of two moments.
pub const CHANGES: &str = "changes while it is sent";

/// Of a name with rsync's escapes, `\#` and three octal digits.
fn unescaped(path: &str) -> String {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let [first, tail @ ..] = rest {
        match rest {
            [b'\\', b'#', a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', tail @ ..] => {
                bytes.push(((a - b'0') << 6) | ((b - b'0') << 3) | (c - b'0'));
                rest = tail;
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    std::ffi::OsString::from_vec(bytes).to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(code: i32, stderr: &str) -> Report {
        Report { code: Some(code), stderr: stderr.to_owned(), ..Report::default() }
    }

    #[test]
    fn what_helps_no_more_is_not_tried_again() {
        let cases = [
            (11, "rsync: [receiver] write failed on \"/d/x\": No space left on device (28)", 8, false),
            (127, "bash: line 1: rsync: command not found", 1, false),
            (2, "protocol version mismatch -- is your shell clean?", 1, false),
            (255, "ssh: connect to host h port 22: No route to host", 6, true),
            (12, "rsync: connection unexpectedly closed (9 bytes received so far) [sender]", 6, true),
            (30, "[sender] io timeout after 60 seconds -- exiting", 6, true),
        ];
        for (code, said, exit_code, is_passing) in cases {
            let trouble = of_rsync(&report(code, said), "~/x", None).unwrap();
            assert_eq!(
                (trouble.failure.kind.exit_code(), trouble.is_passing),
                (exit_code, is_passing),
                "{said}"
            );
        }
        assert!(of_rsync(&report(23, "rsync: [sender] …"), "~/x", None).is_none());
    }

    #[test]
    fn files_that_were_not_sent_are_named() {
        let said = "rsync: [sender] send_files failed to open \"/s/a\\#012b\": Permission denied (13)\n\
            file has vanished: \"/s/c\"\n\
            rsync: [receiver] mkstemp \"/d/.x.Abc\" failed: Permission denied (13)\n\
            cannot delete non-empty directory: out\n\
            rsync error: some files/attrs were not transferred (see previous errors) (code 23) at main.c(1338)\n";
        let told: Vec<_> = named(said).into_iter().map(|file| (file.path, file.why)).collect();
        assert_eq!(told[0], ("/s/a\nb".into(), "cannot be read: Permission denied (13)".into()));
        assert_eq!(told[1], ("/s/c".into(), VANISHED.into()));
        assert_eq!(told[2], ("/d/.x.Abc".into(), "cannot be written: failed: Permission denied (13)".into()));
        assert_eq!(told[3].0, "out");
        assert_eq!(told.len(), 4);
    }
}

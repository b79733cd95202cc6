//! One run of the system's rsync.
//!
//! Owns: [`Transfer`], its command line, what it is fed, and what is read of its output. Sizes and times decide what is sent, as ever,
//! but to the nanosecond, so that a file that is edited twice within a second is sent.
//!
//! # Why `/` before each name
//! In what `--files-from` reads, a name that begins with `#` or `;` is a comment, also with `--from0`. A leading `/` is taken off; a leading
//! `./` would have the permissions of the directory itself sent.

use super::peer::{Peer, quoted};
use super::{SyncOptions, agent::Ready};
use pail_control::Failure;
use std::ffi::OsString;
use std::path::Path;
use std::process::Stdio;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

/// Beside each file that is received: what an interrupted transfer got of it.
pub const PARTIAL_DIR: &str = ".~pail-partial";
/// What is kept of rsync's standard error.
const STDERR_BYTES_MAX: usize = 256 << 10;
const READ_BYTES: usize = 16 << 10;

/// What is sent where.
#[derive(Debug)]
pub struct Transfer<'a> {
    pub peer: &'a Peer,
    pub session: &'a str,
    /// The directory, or the file.
    pub source: &'a Path,
    /// The names below a directory, as [`fed`] has them; `None` for a file.
    pub names: Option<Vec<u8>>,
    pub place: &'a Ready,
    /// Content is compared also where size and time are equal.
    pub is_suspect: bool,
    pub options: &'a SyncOptions,
}

/// What a run came to.
#[derive(Debug, Default)]
pub struct Report {
    /// Its exit code; `None` where a signal ended it.
    pub code: Option<i32>,
    /// Files of which something was sent.
    pub files: u64,
    /// What was sent of their content.
    pub literal_bytes: u64,
    /// What was seen to be done, whether or not it ended well.
    pub progress_bytes: u64,
    /// What it said.
    pub stderr: String,
}

/// A name as `--files-from` takes it.
pub fn fed(path: &std::ffi::OsStr, into: &mut Vec<u8>) {
    into.push(b'/');
    into.extend_from_slice(std::os::unix::ffi::OsStrExt::as_bytes(path));
    into.push(0);
}

/// What of a file is kept, and what is read of the output. -s: paths reach the node past its shell.
pub const OPTIONS: [&str; 10] = [
    "-l",
    "-p",
    "-t",
    "-S",
    "-s",
    "-8",
    "--omit-dir-times",
    "--modify-window=-1",
    "--no-human-readable",
    "--outbuf=L",
];

/// What it is to tell.
pub const INFO: &str = "--info=progress2,stats2";

/// Copies on this machine as root. Blocks.
pub fn run_here_by_sudo(source: &Path, names: Option<&[u8]>, target: &str) -> std::io::Result<Report> {
    let mut command = std::process::Command::new("sudo");
    command.args(["-n", "env", "LC_ALL=C", "rsync"]).args(OPTIONS).arg("--info=stats2");
    let (mut from, mut to) = (OsString::from(source), OsString::from(target));
    match names {
        Some(_) => {
            command.args(["--files-from=-", "--from0"]);
            from.push("/");
            to.push("/");
        }
        None => drop(command.arg("-L")),
    }
    command.arg("--").arg(from).arg(to);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    if let (Some(mut stdin), Some(names)) = (child.stdin.take(), names) {
        // A rsync that ended early says why.
        let _ = std::io::Write::write_all(&mut stdin, names);
    }
    let output = child.wait_with_output()?;
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    let mut report = Report { code: output.status.code(), stderr, ..Report::default() };
    String::from_utf8_lossy(&output.stdout).lines().for_each(|line| read_line(line, &mut report, &|_| {}));
    Ok(report)
}

impl Transfer<'_> {
    fn command(&self) -> Command {
        let mut command = Command::new("rsync");
        command.args(OPTIONS).arg(INFO);
        command.arg(format!("--partial-dir={PARTIAL_DIR}"));
        if self.is_suspect {
            command.arg("--ignore-times");
        }
        command.arg(format!("--timeout={}", self.options.idle_timeout.as_secs().max(1)));
        if let Some(rate) = self.options.bandwidth_kib_per_s {
            command.arg(format!("--bwlimit={rate}"));
        }
        let serve = if self.place.by_sudo { "sync-serve --sudo" } else { "sync-serve" };
        let (key, session) = (quoted(&self.place.key), quoted(self.session));
        command.arg(format!("--rsync-path={} node {serve} {key} {session}", self.peer.program()));
        command.arg("-e").arg(self.peer.node.rsync_shell());
        let mut source = OsString::from(self.source);
        let mut target = OsString::from(format!("{}:{}", self.peer.node.host, self.place.path));
        if self.names.is_some() {
            command.args(["--files-from=-", "--from0"]);
            source.push("/");
            target.push("/");
        } else {
            command.arg("-L");
        }
        command.arg("--").arg(source).arg(target);
        // Its words are read.
        command.env("LC_ALL", "C");
        // SAFETY: prctl alone, which may be called between fork and exec.
        unsafe {
            // Where this process is killed, nothing goes on sending.
            command.pre_exec(|| {
                let signal = Some(rustix::process::Signal::TERM);
                rustix::process::set_parent_process_death_signal(signal).map_err(Into::into)
            });
        }
        command
    }

    /// Runs it; `progress` is told how many bytes are done. Errors: there is no rsync here. Whatever else goes wrong is in the report.
    pub async fn run(&self, progress: impl Fn(u64)) -> Result<Report, Failure> {
        follow(self.command(), self.names.as_deref(), progress).await.map_err(|err| {
            Failure::from_io("cannot run rsync", &err).with_hint("install the package rsync on this machine")
        })
    }
}

/// Runs a command that ends in a rsync whose output this process reads. Errors: it cannot be started.
pub async fn follow(
    mut command: Command,
    input: Option<&[u8]>,
    progress: impl Fn(u64),
) -> std::io::Result<Report> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn()?;
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let feed = async {
        if let (Some(mut stdin), Some(input)) = (stdin, input) {
            // A rsync that ended early says why.
            let _ = stdin.write_all(input).await;
        }
    };
    let mut report = Report::default();
    let told = async {
        if let Some(stdout) = stdout {
            read_output(stdout, &mut report, progress).await;
        }
    };
    let ((), (), said, status) = tokio::join!(feed, told, kept(stderr), child.wait());
    report.code = status?.code();
    report.stderr = String::from_utf8_lossy(&said).into_owned();
    Ok(report)
}

/// Reads to the end, and keeps the first part.
async fn kept(stream: Option<impl AsyncRead + Unpin>) -> Vec<u8> {
    let mut kept = Vec::new();
    let Some(mut stream) = stream else { return kept };
    let mut buffer = vec![0; READ_BYTES];
    while let Ok(read @ 1..) = stream.read(&mut buffer).await {
        let room = STDERR_BYTES_MAX - kept.len();
        kept.extend_from_slice(&buffer[..read.min(room)]);
    }
    kept
}

async fn read_output(mut stdout: impl AsyncRead + Unpin, report: &mut Report, progress: impl Fn(u64)) {
    let mut buffer = vec![0; READ_BYTES];
    let mut line = Vec::new();
    while let Ok(read @ 1..) = stdout.read(&mut buffer).await {
        for byte in &buffer[..read] {
            match byte {
                b'\r' | b'\n' => {
                    read_line(&String::from_utf8_lossy(&line), report, &progress);
                    line.clear();
                }
                _ if line.len() < READ_BYTES => line.push(*byte),
                _ => {}
            }
        }
    }
}

fn read_line(line: &str, report: &mut Report, progress: &impl Fn(u64)) {
    let number = |text: &str| text.split_whitespace().next()?.replace(',', "").parse::<u64>().ok();
    if let Some((name, value)) = line.split_once(": ") {
        match name {
            "Number of regular files transferred" => report.files = number(value).unwrap_or(0),
            "Literal data" => report.literal_bytes = number(value).unwrap_or(0),
            _ => {}
        }
        return;
    }
    let mut words = line.split_whitespace();
    if let (Some(bytes), Some(share)) = (words.next(), words.next())
        && share.ends_with('%')
        && let Some(bytes) = number(bytes)
    {
        report.progress_bytes = bytes;
        progress(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_read_with_and_without_commas() {
        let mut report = Report::default();
        let seen = std::cell::Cell::new(0);
        for line in ["      1,234,567  45%   12.34MB/s    0:00:01 (xfr#1, to-chk=0/5)", "    2345678 100% x"]
        {
            read_line(line, &mut report, &|bytes| seen.set(bytes));
        }
        assert_eq!(seen.get(), 2_345_678);
        read_line("Number of regular files transferred: 1,002", &mut report, &|_| {});
        read_line("Literal data: 77 bytes", &mut report, &|_| {});
        assert_eq!((report.files, report.literal_bytes, report.progress_bytes), (1002, 77, 2_345_678));
    }
}

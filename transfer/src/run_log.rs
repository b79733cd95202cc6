//! What a run has copied so far, as it is written down meanwhile.
//!
//! Owns: [`RunLog`], lines that a run adds to a file beside the manifest, and [`DeadRun`], the file of a run that did not come to its end: what it had copied by then the next one
//! takes over, with the run's identity, by which its temporary files are known (`orphan_files`).
//!
//! # Form
//! The manifest's own: what it is of, then a line for each key. Lines are added as whole ones to the end of a file, in one write for many: every [`FLUSH_INTERVAL`], and at once where much was copied. A line
//! that was cut short is the last one that is read.
//!
//! Invariants: a run holds a lock (flock(2)) on its log as long as it lives, so that the kernel says which runs are dead; a log is removed when the manifest has what it
//! says.

use crate::orphan_files::RunId;
use parking_lot::Mutex;
use rustix::fs::{FlockOperation, flock};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long lines wait for others.
pub(crate) const FLUSH_INTERVAL: Duration = Duration::from_secs(1);
/// So many bytes of lines wait for no others.
const WAITING_BYTES_MAX: usize = 64 << 10;
/// A file of this size is noted at once: it would be dear to copy again.
const LARGE_BYTES: u64 = 8 << 20;
const SUFFIX: &str = "log";
/// Of one that has no lock yet.
const UNBORN_SUFFIX: &str = "new";

/// The log of this run.
#[derive(Debug)]
pub(crate) struct RunLog {
    file: File,
    path: PathBuf,
    /// Guards the lines that are not written yet; a leaf.
    waiting: Mutex<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    lines: Vec<u8>,
    is_urgent: bool,
    /// Somebody is about to write them.
    is_taken: bool,
    flushed: Instant,
}

/// A run that ended without its manifest.
#[derive(Debug)]
pub(crate) struct DeadRun {
    pub id: RunId,
    file: File,
    path: PathBuf,
    head_len: u64,
}

impl RunLog {
    /// Begins the log of a run whose manifest is `manifest`, and whose directory is there, with its first line.
    pub fn begin(manifest: &Path, run: &RunId, head: &[u8]) -> io::Result<Self> {
        let path = manifest.with_extension(format!("{}.{SUFFIX}", run.as_str()));
        // It gets the name by which others find it with its lock: without, it would be taken for a dead run's.
        let unborn = manifest.with_extension(format!("{}.{UNBORN_SUFFIX}", run.as_str()));
        let mut file = File::options().append(true).create_new(true).mode(0o600).open(&unborn)?;
        if let Err(error) = flock(&file, FlockOperation::NonBlockingLockExclusive)
            .map_err(io::Error::from)
            .and_then(|()| file.write_all(head))
            .and_then(|()| std::fs::rename(&unborn, &path))
        {
            let _ = std::fs::remove_file(&unborn);
            return Err(error);
        }
        let waiting =
            Waiting { lines: Vec::new(), is_urgent: false, is_taken: false, flushed: Instant::now() };
        Ok(Self { file, path, waiting: Mutex::new(waiting) })
    }

    /// Adds a line, about so many bytes that were copied.
    pub fn note(&self, line: &[u8], copied_bytes: u64) {
        let mut waiting = self.waiting.lock();
        waiting.lines.extend_from_slice(line);
        waiting.is_urgent |= copied_bytes >= LARGE_BYTES || waiting.lines.len() >= WAITING_BYTES_MAX;
    }

    /// Whether lines are to be written by now: true for one caller, who then has to [`flush`](Self::flush).
    pub fn take_due(&self) -> bool {
        let mut waiting = self.waiting.lock();
        let is_due =
            waiting.is_urgent || (!waiting.lines.is_empty() && waiting.flushed.elapsed() >= FLUSH_INTERVAL);
        let is_ours = is_due && !waiting.is_taken;
        waiting.is_taken |= is_ours;
        is_ours
    }

    /// Writes what waits. May wait for the disk.
    pub fn flush(&self) {
        let lines = {
            let mut waiting = self.waiting.lock();
            (waiting.is_urgent, waiting.is_taken, waiting.flushed) = (false, false, Instant::now());
            std::mem::take(&mut waiting.lines)
        };
        if let Err(error) = (&self.file).write_all(&lines) {
            tracing::debug!(%error, "what was copied could not be noted yet");
        }
    }

    /// The manifest has it all.
    pub fn remove(&self) {
        remove(&self.path);
    }
}

impl DeadRun {
    /// The manifest has what it says; its temporary files may still be there.
    pub fn forget_lines(&self) {
        if let Err(error) = self.file.set_len(self.head_len) {
            tracing::debug!(%error, "the log of a dead run stays as it is");
        }
    }

    /// Nothing of it is left.
    pub fn remove(&self) {
        remove(&self.path);
    }
}

fn remove(path: &Path) {
    if let Err(error) = std::fs::remove_file(path).or_else(|error| match error.kind() {
        io::ErrorKind::NotFound => Ok(()),
        _ => Err(error),
    }) {
        tracing::debug!(%error, file = %path.display(), "the log of a run stays");
    }
}

/// The dead runs of the same manifest whose log begins with `head`. All other lines are given to `line`, which says whether it is one.
pub(crate) fn dead_runs(manifest: &Path, head: &[u8], mut line: impl FnMut(&str) -> bool) -> Vec<DeadRun> {
    let mut found = Vec::new();
    let Some((dir, name)) = manifest.parent().zip(manifest.file_name().and_then(|name| name.to_str())) else {
        return found;
    };
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let entry_name = entry.file_name();
        let id = entry_name
            .to_str()
            .and_then(|entry| {
                entry.strip_prefix(name)?.strip_prefix('.')?.strip_suffix(SUFFIX)?.strip_suffix('.')
            })
            .and_then(RunId::parse);
        let Some(id) = id else { continue };
        match read(&entry.path(), id, head, &mut line) {
            Ok(dead) => found.extend(dead),
            Err(error) => tracing::debug!(%error, file = %entry.path().display(), "a log cannot be used"),
        }
    }
    found
}

/// `None` where the run lives, or has come to its end meanwhile.
fn read(
    path: &Path,
    id: RunId,
    head: &[u8],
    mut line: impl FnMut(&str) -> bool,
) -> io::Result<Option<DeadRun>> {
    let file = File::options().read(true).write(true).open(path)?;
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        return Ok(None);
    }
    // The run may have come to its end, and removed it, since it was opened here.
    let (named, own) = (std::fs::metadata(path)?, file.metadata()?);
    if (named.dev(), named.ino()) != (own.dev(), own.ino()) {
        return Ok(None);
    }
    let mut reader = BufReader::new(file.try_clone()?);
    let mut text = String::new();
    reader.read_line(&mut text)?;
    let head_len = if text.as_bytes() == head { text.len() as u64 } else { 0 };
    if head_len > 0 {
        loop {
            text.clear();
            if reader.read_line(&mut text)? == 0 || !line(&text) {
                break;
            }
        }
    }
    Ok(Some(DeadRun { id, file, path: path.to_owned(), head_len }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_never_seen_without_its_lock() {
        let dir = tempfile::tempdir().unwrap();
        let manifest = dir.path().join("manifest");
        let is_over = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                    assert!(dead_runs(&manifest, b"head\n", |_| true).is_empty());
                }
            });
            for _ in 0..2000 {
                RunLog::begin(&manifest, &RunId::new(), b"head\n").unwrap().remove();
            }
            is_over.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_is_due_is_taken_by_one() {
        let dir = tempfile::tempdir().unwrap();
        let log = RunLog::begin(&dir.path().join("manifest"), &RunId::new(), b"").unwrap();
        log.note(b"small\n", 1);
        assert!(!log.take_due());
        log.note(b"large\n", LARGE_BYTES);
        assert_eq!([log.take_due(), log.take_due()], [true, false]);
        log.flush();
        assert!(!log.take_due());
        log.note(b"large\n", LARGE_BYTES);
        assert!(log.take_due());
    }
}

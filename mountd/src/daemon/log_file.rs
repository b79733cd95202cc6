//! The log of a daemon that has no terminal and no journal.
//!
//! Owns: [`LogFile`], which keeps at most two files of [`LOG_BYTES_MAX`] each: the current one, and the one before under
//! `.1`. A log that cannot be written loses lines; it never stops the daemon, also where its disk hangs: a thread writes it.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::time::Duration;

/// When the log goes on in a new file.
const LOG_BYTES_MAX: u64 = 10 << 20;

/// So many lines wait for the disk; more are lost.
const WAITING_MAX: usize = 4096;

enum Entry {
    Line(Vec<u8>),
    /// Who dropped the other end knows that all before it is written.
    Mark(#[expect(dead_code, reason = "it is dropped")] Sender<()>),
}

/// A log with a bound. Cheap to clone.
#[derive(Clone)]
pub struct LogFile(SyncSender<Entry>);

struct Inner {
    path: PathBuf,
    file: File,
    written_bytes: u64,
    bytes_max: u64,
}

impl LogFile {
    /// Opens the log for appending.
    pub fn open(path: PathBuf) -> io::Result<Self> {
        Self::with_bound(path, LOG_BYTES_MAX)
    }

    fn with_bound(path: PathBuf, bytes_max: u64) -> io::Result<Self> {
        let file = append_to(&path)?;
        let written_bytes = file.metadata()?.len();
        let mut inner = Inner { path, file, written_bytes, bytes_max };
        let (entries, queue) = sync_channel(WAITING_MAX);
        std::thread::Builder::new().name("log".into()).spawn(move || inner.write_all(queue))?;
        Ok(Self(entries))
    }

    /// Waits until all that was logged is written, at most so long.
    pub fn drain(&self, timeout: Duration) {
        let (mark, written) = channel();
        if self.0.try_send(Entry::Mark(mark)).is_ok() {
            // Nothing is ever sent: it ends when the mark is dropped.
            let _ = written.recv_timeout(timeout);
        }
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

impl Inner {
    fn write_all(&mut self, queue: Receiver<Entry>) {
        for entry in queue {
            if let Entry::Line(line) = entry {
                // A full disk loses the line. Told of it, the subscriber would print to standard error, which is this very file, and
                // panic where that fails.
                let _ = self.append(&line);
            }
        }
    }

    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        if self.written_bytes > 0 && self.written_bytes + line.len() as u64 > self.bytes_max {
            self.turn_over()?;
        }
        self.file.write_all(line)?;
        self.written_bytes += line.len() as u64;
        Ok(())
    }

    fn turn_over(&mut self) -> io::Result<()> {
        let mut before = self.path.clone().into_os_string();
        before.push(".1");
        std::fs::rename(&self.path, before)?;
        self.file = append_to(&self.path)?;
        self.written_bytes = 0;
        Ok(())
    }
}

impl Write for LogFile {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        // As of one that the disk has no room for.
        let _ = self.0.try_send(Entry::Line(line.to_vec()));
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    #[test]
    fn a_full_disk_loses_lines_and_nothing_else() {
        let mut log = LogFile::open("/dev/full".into()).unwrap();
        log.write_all(b"lost\n").unwrap();
        log.drain(PATIENCE);
    }

    #[test]
    fn keeps_two_files_of_bounded_size() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut log = LogFile::with_bound(path.clone(), 10).unwrap();
        for line in ["one-5\n", "two-5\n", "tri-5\n"] {
            log.write_all(line.as_bytes()).unwrap();
        }
        log.drain(PATIENCE);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "tri-5\n");
        assert_eq!(std::fs::read_to_string(dir.path().join("log.1")).unwrap(), "two-5\n");
        let mut again = LogFile::with_bound(path.clone(), 100).unwrap();
        again.write_all(b"more\n").unwrap();
        again.drain(PATIENCE);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "tri-5\nmore\n");
    }
}

//! The log of a daemon that has no terminal and no journal.
//!
//! Owns: [`LogFile`], which keeps at most two files of [`LOG_BYTES_MAX`] each: the current one, and the one before under
//! `.1`. A log that cannot be written loses lines; it never stops the daemon.

use parking_lot::Mutex;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// When the log goes on in a new file.
const LOG_BYTES_MAX: u64 = 10 << 20;

/// A log with a bound. Cheap to clone; writers take turns.
#[derive(Clone)]
pub struct LogFile(Arc<Mutex<Inner>>);

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
        Ok(Self(Arc::new(Mutex::new(Inner { path, file, written_bytes, bytes_max }))))
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

impl Inner {
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
        // A full disk loses the line. Told of it, the subscriber would print to standard error, which is this very file, and
        // panic where that fails.
        let _ = self.0.lock().append(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_loses_lines_and_nothing_else() {
        let mut log = LogFile::open("/dev/full".into()).unwrap();
        log.write_all(b"lost\n").unwrap();
    }

    #[test]
    fn keeps_two_files_of_bounded_size() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut log = LogFile::with_bound(path.clone(), 10).unwrap();
        for line in ["one-5\n", "two-5\n", "tri-5\n"] {
            log.write_all(line.as_bytes()).unwrap();
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "tri-5\n");
        assert_eq!(std::fs::read_to_string(dir.path().join("log.1")).unwrap(), "two-5\n");
        let mut again = LogFile::with_bound(path.clone(), 100).unwrap();
        again.write_all(b"more\n").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "tri-5\nmore\n");
    }
}

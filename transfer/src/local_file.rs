//! A local file that is read to be sent.
//!
//! Owns: [`OpenFile`], which knows whether the file is still what it was when it was opened, and [`FilePart`], a piece of it as a payload.
//! A file has changed when its length, its modification time or its change time (which no program sets) is another.

use crate::attributes::FileAttributes;
use crate::directory::LocalState;
use crate::progress::Moved;
use crate::upload_journal::SourceIdentity;
use crate::work::Work;
use async_trait::async_trait;
use bytes::Bytes;
use pail_store::{PayloadSource, UserMetadata};
use rustix::fs::{FileType, Mode, OFlags, Stat};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// A file as it was when it was opened.
#[derive(Debug)]
pub(crate) struct OpenFile {
    file: File,
    stat: Stat,
}

impl OpenFile {
    /// Opens a regular file. Errors: those of the system; something else has taken its place.
    pub fn open(path: &Path) -> io::Result<Self> {
        // A pipe that is there by now must not be waited for.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
        let stat = rustix::fs::fstat(&file)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Ok(Self { file, stat }),
            _ => Err(io::Error::other("it is no regular file any more")),
        }
    }

    /// Size and time at the opening.
    pub fn state(&self) -> LocalState {
        LocalState::of(&self.stat)
    }

    /// What tells it from what it becomes when somebody writes to it.
    pub fn identity(&self) -> SourceIdentity {
        let ns = |secs: i64, nanos: i64| i128::from(secs) * 1_000_000_000 + i128::from(nanos);
        SourceIdentity::File {
            dev: self.stat.st_dev,
            ino: self.stat.st_ino,
            size: self.state().size,
            mtime_ns: ns(self.stat.st_mtime, self.stat.st_mtime_nsec as i64),
            ctime_ns: ns(self.stat.st_ctime, self.stat.st_ctime_nsec as i64),
        }
    }

    /// The file itself.
    pub fn into_file(self) -> File {
        self.file
    }

    /// Time and mode for the object.
    pub fn metadata(&self) -> UserMetadata {
        FileAttributes::metadata_of(&self.stat)
    }

    /// Whether it is as it was at the opening.
    pub fn is_unchanged(&self) -> io::Result<bool> {
        let of = |stat: &Stat| {
            (stat.st_size, stat.st_mtime, stat.st_mtime_nsec, stat.st_ctime, stat.st_ctime_nsec)
        };
        Ok(of(&rustix::fs::fstat(&self.file)?) == of(&self.stat))
    }

    /// All bytes; none where it has become shorter. Errors: those of reading; it has more bytes than it says, as the files of /proc have.
    pub fn read_all(&self) -> io::Result<Vec<u8>> {
        let size = self.state().size;
        let mut bytes = vec![0; usize::try_from(size).unwrap_or(usize::MAX)];
        match self.file.read_exact_at(&mut bytes, 0) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(Vec::new()),
            read => read?,
        }
        if self.file.read_at(&mut [0], size)? > 0 && self.is_unchanged()? {
            return Err(io::Error::other(format!(
                "it says that it has {size} bytes, and has more: it is no file of a fixed size (`pail cp - URI` sends what it can read)"
            )));
        }
        Ok(bytes)
    }
}

/// A piece of a file that is read while it is sent.
pub(crate) struct FilePart {
    file: Arc<OpenFile>,
    start: u64,
    work: Work,
    is_cut: AtomicBool,
    /// Counts what was read, and what is read again once.
    moved: Arc<Moved>,
    /// How far it was read.
    counted: AtomicU64,
}

impl FilePart {
    pub fn new(file: Arc<OpenFile>, start: u64, work: Work, moved: Arc<Moved>) -> Self {
        Self { file, start, work, is_cut: AtomicBool::new(false), moved, counted: AtomicU64::new(0) }
    }

    /// Whether a read came to nothing because the file has become shorter.
    pub fn is_cut(&self) -> bool {
        self.is_cut.load(Relaxed)
    }
}

#[async_trait]
impl PayloadSource for FilePart {
    async fn read(&self, range: Range<u64>) -> io::Result<Bytes> {
        let (file, offset, end) = (self.file.clone(), self.start + range.start, range.end);
        let read = move || {
            let mut bytes = vec![0; (range.end - range.start) as usize];
            file.file.read_exact_at(&mut bytes, offset).map(|()| Bytes::from(bytes))
        };
        let read = self.work.blocking(read).await.map_err(|_| io::Error::other("the run is over"))?;
        if read.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::UnexpectedEof) {
            self.is_cut.store(true, Relaxed);
        }
        if read.is_ok() {
            let before = self.counted.fetch_max(end, Relaxed);
            self.moved.add(end.saturating_sub(before));
        }
        read
    }
}

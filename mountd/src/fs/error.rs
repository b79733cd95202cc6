//! What a file-system operation can fail with, and the one place where that becomes an errno.
//!
//! Owns: [`FsError`] and [`FsError::errno`]. Invariant: an error of the store or the cache keeps its cause until
//! it has been logged, once, by whoever answers the program.

use pail_cache::{CacheError, ReadError};
use std::io;
use std::sync::Arc;

/// A failed file-system operation.
#[derive(Debug, Clone, thiserror::Error)]
pub enum FsError {
    /// The answer that POSIX prescribes; nothing is wrong with the store.
    #[error("{}", io::Error::from_raw_os_error(.0.code()))]
    Posix(Posix),
    /// The store's word.
    #[error(transparent)]
    Store(Arc<pail_store::Error>),
    /// The directory holds nothing but keys that no path can show, such as this one.
    #[error("it is not empty: it holds keys that no path can show, such as {}", .0.escape_debug())]
    OnlyHidden(String),
    /// The local disk's word.
    #[error("{0}")]
    Local(Arc<io::Error>),
    /// The object is no longer the one that was opened.
    #[error("{0}")]
    Stale(String),
    /// The object is of this kind, and what a publish makes is of another.
    #[error(
        "it is {0}, which can be read, renamed and deleted here, not changed; delete or rename it first, or write under another name"
    )]
    Uneditable(&'static str),
    /// More of the file than is allowed would be zeros that nobody wrote.
    #[error("{0}")]
    TooManyHoles(String),
    /// What was being read or opened is another content by now: whoever does so looks again.
    #[error("it is another file by now")]
    Moved,
}

/// Errors that need no cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Posix {
    /// No such file or directory.
    NotFound,
    /// The name exists.
    Exists,
    /// A directory was needed.
    NotDir,
    /// A directory was given.
    IsDir,
    /// The directory has entries.
    NotEmpty,
    /// The mount is read-only.
    ReadOnly,
    /// A bad argument.
    Invalid,
    /// A name or a key is too long.
    NameTooLong,
    /// A name that no key can hold (not UTF-8).
    IllegalName,
    /// The handle is not open, or not for this.
    BadHandle,
    /// Not offered by this file system.
    NotSupported,
    /// Offered by copying: what `mv` does after EXDEV.
    CrossDevice,
    /// Larger than an object can be.
    TooLarge,
    /// It was given up: the caller was sent a signal and waits no longer, or the file is removed.
    Interrupted,
}

impl Posix {
    fn code(self) -> i32 {
        match self {
            Self::NotFound => libc::ENOENT,
            Self::Exists => libc::EEXIST,
            Self::NotDir => libc::ENOTDIR,
            Self::IsDir => libc::EISDIR,
            Self::NotEmpty => libc::ENOTEMPTY,
            Self::ReadOnly => libc::EROFS,
            Self::Invalid => libc::EINVAL,
            Self::NameTooLong => libc::ENAMETOOLONG,
            Self::IllegalName => libc::EILSEQ,
            Self::BadHandle => libc::EBADF,
            Self::NotSupported => libc::EOPNOTSUPP,
            Self::CrossDevice => libc::EXDEV,
            Self::TooLarge => libc::EFBIG,
            Self::Interrupted => libc::EINTR,
        }
    }
}

/// A result of a file-system operation.
pub type FsResult<T> = Result<T, FsError>;

impl FsError {
    /// The errno a program gets (SEMANTICS.md, "Errors").
    pub fn errno(&self) -> i32 {
        use pail_store::ErrorKind;
        match self {
            Self::Posix(posix) => posix.code(),
            Self::OnlyHidden(_) => libc::ENOTEMPTY,
            Self::Stale(_) | Self::Moved => libc::ESTALE,
            Self::TooManyHoles(_) => libc::EFBIG,
            Self::Uneditable(_) => libc::EOPNOTSUPP,
            Self::Local(error) => error.raw_os_error().unwrap_or(libc::EIO),
            Self::Store(error) => match error.kind {
                ErrorKind::NotFound | ErrorKind::NoSuchBucket => libc::ENOENT,
                ErrorKind::Denied | ErrorKind::Credentials => libc::EACCES,
                ErrorKind::Precondition => libc::ESTALE,
                ErrorKind::Uneditable => libc::EOPNOTSUPP,
                _ => libc::EIO,
            },
        }
    }

    /// Whether something went wrong, as opposed to an answer that programs ask for every day, or upon which the kernel tries again.
    pub fn is_fault(&self) -> bool {
        !matches!(self, Self::Posix(_) | Self::Moved)
    }

    /// What fetching the base of a written file failed with, as a word on the file: not on an upload, which can be begun anew.
    pub fn of_base(self) -> Self {
        if self.is_version_gone() { Self::Stale(self.to_string()) } else { self }
    }

    /// Whether the local disk is full.
    pub fn is_disk_full(&self) -> bool {
        matches!(self, Self::Local(error) if error.raw_os_error() == Some(libc::ENOSPC))
    }

    /// Whether the store did not answer, or kept failing until the deadline.
    pub fn is_unreachable(&self) -> bool {
        use pail_store::ErrorKind::{Exhausted, Unreachable};
        matches!(self, Self::Store(error) if matches!(error.kind, Exhausted | Unreachable))
    }

    /// Whether the store does not have what was asked for.
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Store(error) if error.kind == pail_store::ErrorKind::NotFound)
    }

    /// Whether the version asked for is not there (any more), by the store's word or because the file moved on to another.
    pub fn is_version_gone(&self) -> bool {
        use pail_store::ErrorKind::{NotFound, Precondition};
        match self {
            Self::Moved | Self::Stale(_) => true,
            Self::Store(error) => matches!(error.kind, NotFound | Precondition),
            _ => false,
        }
    }
}

impl From<Posix> for FsError {
    fn from(posix: Posix) -> Self {
        Self::Posix(posix)
    }
}

impl From<pail_store::Error> for FsError {
    fn from(error: pail_store::Error) -> Self {
        Self::Store(Arc::new(error))
    }
}

impl From<io::Error> for FsError {
    fn from(error: io::Error) -> Self {
        Self::Local(Arc::new(error))
    }
}

impl From<CacheError> for FsError {
    fn from(error: CacheError) -> Self {
        // The errno is the program's answer, ENOSPC above all; the words are for the log.
        let errno = match &error {
            CacheError::Io { source, .. } => source.raw_os_error(),
            _ => None,
        };
        tracing::debug!(error = %error, "the local disk refused");
        Self::Local(Arc::new(errno.map_or_else(|| io::Error::other(error), io::Error::from_raw_os_error)))
    }
}

impl From<ReadError> for FsError {
    fn from(error: ReadError) -> Self {
        if let ReadError::Fetch(source) = &error
            && let Some(fetch) = source.downcast_ref::<SharedStoreError>()
        {
            return Self::Store(fetch.0.clone());
        }
        Self::Local(Arc::new(io::Error::other(error)))
    }
}

/// A store error on its way through the cache, which hands one failure to every reader that waited for it.
#[derive(Debug, Clone, thiserror::Error)]
#[error(transparent)]
pub struct SharedStoreError(pub Arc<pail_store::Error>);

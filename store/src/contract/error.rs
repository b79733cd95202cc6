//! What can go wrong between here and a bucket.
//!
//! Owns: [`Error`], which names the operation, the bucket, the key and the cause, and [`ErrorKind`], which callers
//! match on. Invariant: no error holds or prints a credential, a signature or a signed URL.

use super::RawKey;
use std::fmt;

/// A result of a store operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What a caller can act on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// No object of that key (or no such upload).
    NotFound,
    /// No bucket of that name.
    NoSuchBucket,
    /// The server refused: 401, 403, a wrong key or signature.
    Denied,
    /// What the store was to be opened with cannot be: an endpoint URL, a proxy, a certificates' file.
    Configuration,
    /// No credentials were found, or they could not be loaded.
    Credentials,
    /// A condition did not hold: 412, 409 on a conditional write, a pinned version that is gone.
    Precondition,
    /// A range that starts at or beyond the object's end (416).
    RangeNotSatisfiable,
    /// The bucket is somebody else's, or already exists.
    BucketTaken,
    /// The bucket has objects, and so cannot be deleted.
    NotEmpty,
    /// The object is archived, and must be restored before it can be read.
    Archived,
    /// The object is of a kind that no write here can make, such as an append blob of Azure's: it can be read, renamed and deleted.
    Uneditable,
    /// The request itself was wrong, or the endpoint lacks the operation (400, 405, 501).
    Unsupported,
    /// The endpoint could not be reached, or did not answer within the deadline, retries included.
    Unreachable,
    /// The endpoint kept failing (5xx, throttling) until the deadline, retries included.
    Exhausted,
    /// What arrived is not what was sent: a checksum, length or ETag that does not match.
    Corrupt,
    /// The local source of an upload could not be read.
    Source,
    /// Anything else.
    Other,
}

impl ErrorKind {
    /// Its name in metrics and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::NoSuchBucket => "no_such_bucket",
            Self::Denied => "denied",
            Self::Configuration => "configuration",
            Self::Credentials => "credentials",
            Self::Precondition => "precondition",
            Self::RangeNotSatisfiable => "range_not_satisfiable",
            Self::BucketTaken => "bucket_taken",
            Self::NotEmpty => "not_empty",
            Self::Archived => "archived",
            Self::Uneditable => "uneditable",
            Self::Unsupported => "unsupported",
            Self::Unreachable => "unreachable",
            Self::Exhausted => "server",
            Self::Corrupt => "corrupt",
            Self::Source => "source",
            Self::Other => "other",
        }
    }
}

/// A failed store operation. Displays as one line: operation, object, cause.
#[derive(Debug)]
pub struct Error {
    /// What a caller can act on.
    pub kind: ErrorKind,
    /// The operation in the S3 API's own word, such as `PutObject`.
    pub operation: &'static str,
    /// The bucket.
    pub bucket: String,
    /// The key, where the operation has one.
    pub key: Option<RawKey>,
    /// The HTTP status, where there was an answer.
    pub status: Option<u16>,
    /// The server's error code, such as `NoSuchKey`, where it sent one.
    pub code: Option<String>,
    /// The cause in words: the server's message, or the transport's.
    pub message: String,
    /// How often the request was sent.
    pub attempts: u32,
    /// A write that may have taken effect all the same: an attempt was sent whose answer was lost, or after which the server failed.
    pub maybe_applied: bool,
}

impl Error {
    /// A failure that no answer of a server tells of.
    pub fn new(
        kind: ErrorKind,
        operation: &'static str,
        bucket: impl Into<String>,
        key: Option<&RawKey>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            kind,
            operation,
            bucket: bucket.into(),
            key: key.cloned(),
            status: None,
            code: None,
            message: message.into(),
            attempts: 1,
            maybe_applied: false,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.operation, self.bucket)?;
        if let Some(key) = &self.key {
            write!(f, "/{key}")?;
        }
        write!(f, ": {}", self.message)?;
        match (self.status, self.code.as_deref()) {
            (Some(status), Some(code)) => write!(f, " ({status} {code})")?,
            (Some(status), None) => write!(f, " ({status})")?,
            (None, _) => {}
        }
        if self.attempts > 1 {
            write!(f, " after {} attempts", self.attempts)?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

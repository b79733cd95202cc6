//! A failure as a person needs it: what failed, why, and what to do next.
//!
//! Owns: [`Failure`], which crosses the control socket unchanged and is what the command prints, and [`FailureKind`],
//! by which scripts tell failures apart (the exit code). Invariant: no secret is ever put into one.

use pail_store::ErrorKind;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What a script can act on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// Anything else.
    Other,
    /// A wrong argument, variable, configuration or YAML.
    Usage,
    /// A bucket, object, mount or file that is not there.
    NotFound,
    /// Wrong, missing or insufficient credentials.
    Credentials,
    /// Some of it was done; the rest remains and is named.
    Partial,
    /// The endpoint does not answer, or kept failing until the deadline.
    Unreachable,
    /// Bytes are not what they should be.
    Verification,
    /// No space on a local disk.
    NoSpace,
    /// Ended by a signal.
    Interrupted,
    /// The daemon is on its way out; a new one may be started when it is gone.
    Stopping,
    /// No daemon answers at the control socket.
    NotRunning,
}

impl FailureKind {
    /// The exit code of a command that fails so.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Other | Self::Stopping | Self::NotRunning => 1,
            Self::Usage => 2,
            Self::NotFound => 3,
            Self::Credentials => 4,
            Self::Partial => 5,
            Self::Unreachable => 6,
            Self::Verification => 7,
            Self::NoSpace => 8,
            Self::Interrupted => 130,
        }
    }
}

/// A failure with its causes, outermost first, and advice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What a script can act on.
    pub kind: FailureKind,
    /// What failed, on what.
    pub message: String,
    /// Why, outermost first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<String>,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Failure {
    /// A failure without cause or advice yet.
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), causes: Vec::new(), hint: None }
    }

    /// A mistake in what was asked for.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(FailureKind::Usage, message)
    }

    /// A failure of no particular kind.
    pub fn other(message: impl Into<String>) -> Self {
        Self::new(FailureKind::Other, message)
    }

    /// A local system call's failure; a full disk has a kind and advice of its own.
    pub fn from_io(message: impl Into<String>, err: &std::io::Error) -> Self {
        use std::io::ErrorKind::{QuotaExceeded, StorageFull};
        // fusermount3's own words end in a newline.
        let failure = Self::other(message).because(err.to_string().trim_end());
        // Not by the number of the error, which libraries that add a path wrap away.
        match err.kind() {
            StorageFull | QuotaExceeded => {
                Self { kind: FailureKind::NoSpace, ..failure }.with_hint("free some space on that disk")
            }
            _ => failure,
        }
    }

    /// A file of the user's that cannot be read.
    pub fn unreadable(path: &std::path::Path, err: &std::io::Error) -> Self {
        let kind = match err.kind() {
            std::io::ErrorKind::NotFound => FailureKind::NotFound,
            _ => FailureKind::Usage,
        };
        Self::new(kind, format!("cannot read {}", path.display())).because(err.to_string())
    }

    /// A store's failure, in the store's words.
    pub fn from_store(message: impl Into<String>, err: &pail_store::Error) -> Self {
        let kind = match err.kind {
            ErrorKind::NotFound | ErrorKind::NoSuchBucket => FailureKind::NotFound,
            ErrorKind::Denied | ErrorKind::Credentials | ErrorKind::BucketTaken => FailureKind::Credentials,
            ErrorKind::Unreachable | ErrorKind::Exhausted => FailureKind::Unreachable,
            ErrorKind::Corrupt => FailureKind::Verification,
            ErrorKind::Configuration => FailureKind::Usage,
            _ => FailureKind::Other,
        };
        Self::new(kind, message).because(err.to_string())
    }

    /// Adds a cause below those that are there.
    #[must_use]
    pub fn because(mut self, cause: impl Into<String>) -> Self {
        self.causes.push(cause.into());
        self
    }

    /// Gives advice.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// One line, for logs.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        for cause in &self.causes {
            write!(f, ": {cause}")?;
        }
        match &self.hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Failure {}

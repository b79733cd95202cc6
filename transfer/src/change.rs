//! What a run would do, and why.
//!
//! Owns: [`Reason`], which the plan finds for every file that is not as it was, [`Change`], and [`Changes`], to which a dry run tells them one by one.

use serde::Serialize;
use std::fmt;
use std::sync::Arc;

/// Why a file is copied or deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The target has none of that name.
    New,
    /// The last runs did not send it, and what the target has was not looked at.
    NotSentBefore,
    /// The sizes are two.
    SizeDiffers,
    /// The object is another version than the one that was copied.
    VersionDiffers,
    /// The file's time is not the one that it was left with, or that the object has.
    TimeDiffers,
    /// The checksums of the bytes are two.
    ContentDiffers,
    /// The contents were to be compared, and the store has no checksum of the object that could be.
    NotComparable,
    /// The source has none of that name.
    Extra,
    /// It was asked for.
    Named,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::New => "new",
            Self::NotSentBefore => "not sent before",
            Self::SizeDiffers => "size differs",
            Self::VersionDiffers => "version differs",
            Self::TimeDiffers => "time differs",
            Self::ContentDiffers => "content differs",
            Self::NotComparable => "cannot be compared, for the store has no checksum of it",
            Self::Extra => "not in the source",
            Self::Named => "named",
        })
    }
}

/// What is done with a file or an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// It is copied to the target.
    Copy,
    /// It is deleted from the target.
    Delete,
}

/// One thing that a run would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// What it is.
    pub action: Action,
    /// The object's key; of a local file, the key that it has or would have.
    pub key: String,
    /// Bytes.
    pub size: u64,
    /// Why.
    pub why: Reason,
}

/// Where a dry run tells what it would do: called for each change as soon as it is known, from one of the run's threads.
#[derive(Clone)]
pub struct Changes(Arc<dyn Fn(Change) + Send + Sync>);

impl Changes {
    /// Tells each of them to this function.
    pub fn new(tell: impl Fn(Change) + Send + Sync + 'static) -> Self {
        Self(Arc::new(tell))
    }

    pub(crate) fn tell(&self, action: Action, key: impl Into<String>, size: u64, why: Reason) {
        (self.0)(Change { action, key: key.into(), size, why });
    }
}

impl fmt::Debug for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Changes")
    }
}

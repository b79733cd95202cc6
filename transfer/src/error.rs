//! Why a run ended early, or never began.
//!
//! Owns: [`Error`]. What concerns one object or file alone is no error but a [`Problem`](crate::Problem) of the report.

use std::io;
use std::path::PathBuf;

/// Why a run ended early. What it had copied by then stays.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Neither an object nor anything below a prefix is there.
    #[error("nothing is at {uri}")]
    NothingThere {
        /// What was looked for.
        uri: String,
    },
    /// There is nothing to copy in the source, but what is left out or cannot be copied, and everything in the target would be deleted.
    #[error("nothing is in {}, and so all that is at the target would be deleted", path.display())]
    NothingToKeep {
        /// The source.
        path: PathBuf,
    },
    /// Objects are below it, and none has exactly this key.
    #[error("{uri} is a prefix, not an object")]
    IsPrefix {
        /// What was looked for.
        uri: String,
    },
    /// A request that everything depends on failed.
    #[error("cannot {doing}")]
    Store {
        /// What was to be done, on what.
        doing: String,
        /// The store's own words.
        source: Box<pail_store::Error>,
    },
    /// A local file or directory that everything depends on.
    #[error("cannot {doing} {}", path.display())]
    Local {
        /// What was to be done with it.
        doing: &'static str,
        /// Which it is.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The disk is full, or would be.
    #[error("no space on the disk at {}: {detail}", disk.display())]
    NoSpace {
        /// Where the disk is mounted.
        disk: PathBuf,
        /// What was needed.
        detail: String,
    },
    /// Two sources of an upload would have one name.
    #[error("{} and {} have the same name, {name:?}", first.display(), second.display())]
    SameName {
        /// The name.
        name: String,
        /// The one.
        first: PathBuf,
        /// The other.
        second: PathBuf,
    },
    /// A source or target of which no name can be made.
    #[error("{}: {why}", path.display())]
    Unusable {
        /// Which it is.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// The caller ended it.
    #[error("stopped")]
    Stopped,
    /// More files than a run takes.
    #[error("there are more than {max} files below {}", path.display())]
    TooMany {
        /// Below what.
        path: PathBuf,
        /// How many it takes.
        max: usize,
    },
    /// A worker of this run panicked or was lost.
    #[error("a worker was lost: {0}")]
    Worker(String),
}

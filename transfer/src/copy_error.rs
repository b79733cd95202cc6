//! What went wrong with one object or file.
//!
//! Owns: [`CopyError`], which errors concern one object alone and which end the run, and [`StartOvers`], after which an object is copied over.

use crate::obstacles::Obstacle;
use crate::{Error, disk};
use pail_store::{ErrorKind, RawKey};
use std::io;
use std::path::Path;

const CHANGED_TWICE: &str = "it was replaced while it was copied, and again when that started over";

/// What went wrong with one object or file.
#[derive(Debug)]
pub(crate) enum CopyError {
    /// It is another version than the one that was asked for, or the file changed while it was read.
    Changed,
    /// The store refuses this caller; where it refuses everything, that is the run's error.
    Denied(Box<pail_store::Error>),
    /// What arrived is not what the store has.
    Corrupt(String),
    /// It concerns this one alone.
    Item(String),
    /// It ends the run.
    Fatal(Error),
}

impl CopyError {
    /// Of a request for one object.
    pub fn of_store(doing: &str, error: pail_store::Error) -> Self {
        match error.kind {
            ErrorKind::Precondition | ErrorKind::RangeNotSatisfiable => Self::Changed,
            ErrorKind::Denied => Self::Denied(Box::new(error)),
            ErrorKind::Unreachable
            | ErrorKind::Exhausted
            | ErrorKind::Credentials
            | ErrorKind::Configuration
            | ErrorKind::NoSuchBucket => {
                Self::Fatal(Error::Store { doing: doing.to_owned(), source: Box::new(error) })
            }
            ErrorKind::Corrupt => Self::Corrupt(error.to_string()),
            ErrorKind::NotFound => Self::Item("it was deleted meanwhile".to_owned()),
            _ => Self::Item(error.to_string()),
        }
    }

    /// Of one file that is written below `directory`. What would befall the next file too ends the run.
    pub fn of_target(directory: &Path, error: &io::Error) -> Self {
        use io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem};
        if disk::is_full(error) {
            return Self::Fatal(disk::full(directory, "it is full"));
        }
        if let Some(obstacle) = Obstacle::of(error) {
            return Self::Item(obstacle.to_string());
        }
        match error.kind() {
            ReadOnlyFilesystem => Self::fatal(directory, error),
            PermissionDenied => Self::Item(error.to_string()),
            _ if is_of_the_process(error) => Self::fatal(directory, error),
            _ => Self::Item(error.to_string()),
        }
    }

    fn fatal(directory: &Path, error: &io::Error) -> Self {
        let source = error.raw_os_error().map_or_else(|| error.kind().into(), io::Error::from_raw_os_error);
        Self::Fatal(Error::Local { doing: "write to", path: directory.to_owned(), source })
    }
}

/// What made one object start over: each of them does so once.
#[derive(Debug, Default)]
pub(crate) struct StartOvers {
    was_replaced: bool,
    was_damaged: bool,
}

/// From what it starts over.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum StartOver {
    /// The version that is there by now.
    Current,
    /// The same version.
    Same,
}

impl StartOvers {
    /// Whether it starts over after an error. Errors: it does not.
    pub fn after(&mut self, key: &RawKey, error: CopyError) -> Result<StartOver, CopyError> {
        match error {
            CopyError::Changed if std::mem::replace(&mut self.was_replaced, true) => {
                Err(CopyError::Item(CHANGED_TWICE.to_owned()))
            }
            CopyError::Changed => {
                tracing::debug!(%key, "replaced while it was copied; starting over");
                Ok(StartOver::Current)
            }
            CopyError::Corrupt(why) if !self.was_damaged => {
                tracing::warn!(%key, why, "what arrived is not what the store has; copying it over");
                self.was_damaged = true;
                Ok(StartOver::Same)
            }
            error => Err(error),
        }
    }
}

/// Too many open files, a broken disk, no memory.
fn is_of_the_process(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let fatal = [Errno::MFILE, Errno::NFILE, Errno::IO, Errno::NOMEM, Errno::NOSYS, Errno::NODEV];
    error.raw_os_error().is_some_and(|code| fatal.iter().any(|errno| errno.raw_os_error() == code))
}

impl CopyError {
    /// Whether the same object may still be had, by a later run, and go on where this one ended.
    pub fn is_resumable(&self) -> bool {
        match self {
            // A full disk wants its room back.
            Self::Fatal(error) => !matches!(error, Error::NoSpace { .. }),
            Self::Denied(_) => true,
            Self::Changed | Self::Corrupt(_) | Self::Item(_) => false,
        }
    }

    /// The error of what is no matter of one object.
    pub fn into_error(self) -> Error {
        match self {
            Self::Fatal(error) => error,
            Self::Denied(source) => Error::Store { doing: "copy".to_owned(), source },
            Self::Item(why) | Self::Corrupt(why) => Error::Worker(why),
            Self::Changed => Error::Worker("it changed".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_starts_over_once_for_each_reason_and_is_told_by_what_ended_it() {
        let key = RawKey::new("k").unwrap();
        let damaged = || CopyError::Corrupt("damaged".to_owned());
        for errors in [[CopyError::Changed, damaged()], [damaged(), CopyError::Changed]] {
            let mut start_overs = StartOvers::default();
            for error in errors {
                assert!(start_overs.after(&key, error).is_ok());
            }
            let told = |error| match error {
                Err(CopyError::Item(why) | CopyError::Corrupt(why)) => why,
                other => panic!("{other:?}"),
            };
            assert_eq!(told(start_overs.after(&key, CopyError::Changed)), CHANGED_TWICE);
            assert_eq!(told(start_overs.after(&key, damaged())), "damaged");
        }
        let mut start_overs = StartOvers::default();
        assert_eq!(start_overs.after(&key, CopyError::Changed).unwrap(), StartOver::Current);
        assert_eq!(start_overs.after(&key, damaged()).unwrap(), StartOver::Same);
    }
}

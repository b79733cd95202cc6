//! What an endpoint's answers to questions about itself come to.
//!
//! Owns: [`Questions`], by which the probes of all stores read their answers. Invariant: what a question does not show is not there; only where
//! the endpoint cannot be reached, has no time, or does not know the credentials, nothing is known.

use crate::contract::{Error, ErrorKind, Result};

/// How the answers of an API are read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Questions {
    /// Whether a refusal is about who asks, and not about what was asked.
    pub is_of_credentials: fn(&Error) -> bool,
}

impl Questions {
    /// Whether it was refused for its condition. One that is not known, and said so, is not enforced; nor is one at which the endpoint fails.
    /// Errors: those that tell nothing.
    pub fn is_precondition<T>(&self, answer: Result<T>) -> Result<bool> {
        match answer {
            Err(error) if error.kind == ErrorKind::Precondition => Ok(true),
            answer => self.told(answer).map(|_| false),
        }
    }

    /// What a question was answered with; `None` where it failed: what it was about is not there. Errors: those that tell nothing. A
    /// connection that breaks may be an answer too: whether the endpoint can be reached is told by what is asked next.
    pub fn told<T>(&self, answer: Result<T>) -> Result<Option<T>> {
        match answer {
            Ok(answer) => Ok(Some(answer)),
            Err(error) if error.kind != ErrorKind::Unreachable && self.tells_nothing(&error) => Err(error),
            Err(error) => {
                tracing::debug!(%error, "the endpoint lacks what it was asked for");
                Ok(None)
            }
        }
    }

    /// Whether an error is about the endpoint, its load or the credentials, and not about what was asked.
    pub fn tells_nothing(&self, error: &Error) -> bool {
        match error.kind {
            ErrorKind::Unreachable | ErrorKind::Credentials | ErrorKind::NoSuchBucket => true,
            ErrorKind::Exhausted => matches!(error.status, Some(429 | 503)),
            ErrorKind::Denied => (self.is_of_credentials)(error),
            _ => false,
        }
    }
}

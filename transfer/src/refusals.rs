//! Refusals of single requests.
//!
//! Owns: [`Refusals`], which decides when they are a problem of the whole: a store that refuses every one of them refuses the caller.

use crate::Error;

/// So many, with nothing that was allowed, end the run.
const REFUSALS_MAX: u64 = 100;

/// What was refused first, and how much was.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    first: Option<Box<pail_store::Error>>,
    count: u64,
}

impl Refusals {
    pub fn add(&mut self, error: Box<pail_store::Error>) {
        self.first.get_or_insert(error);
        self.count += 1;
    }

    /// Whether they are so many that the run need not go on, if nothing was allowed.
    pub fn are_enough(&self) -> bool {
        self.count >= REFUSALS_MAX
    }

    /// Errors: each of `failed` was a refusal, and there was at least one; `doing` says what.
    pub fn check_all(&mut self, failed: u64, doing: impl FnOnce() -> String) -> Result<(), Error> {
        match self.first.take_if(|_| self.count == failed) {
            Some(source) => Err(Error::Store { doing: doing(), source }),
            None => Ok(()),
        }
    }
}

//! What is done for any store in one place.

pub(crate) mod bound;
mod counted_body;
pub(crate) mod counters;
pub(crate) mod lost_answers;
pub(crate) mod rate_limit;
mod wrapper;

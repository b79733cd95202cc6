//! What is done for any store in one place.

pub(crate) mod lost_answers;

//! Buckets as a whole.
//!
//! Owns: the record of those that Pail created ([`record`]), and their deletion ([`deleting`]).

pub mod deleting;
pub mod record;

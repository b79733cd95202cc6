//! What of this machine is sent to nodes, and how.
//!
//! Owns: `ignore`, the one list of files that every transport sends.

pub mod ignore;

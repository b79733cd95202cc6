//! What the tests across the crates share.
//!
//! Owns: [`files::Files`], a file system without FUSE that is used by path; [`mounted::Mounted`], one with; [`recorder::Recorder`], a store that counts and
//! fails on demand.

// A test that cannot go on has failed.
#![allow(clippy::unwrap_used, clippy::expect_used)]

pub mod files;
pub mod mounted;
pub mod recorder;

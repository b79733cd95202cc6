//! Git workdirs with real servers, over HTTPS with a token and over SSH with a key, and what becomes of the files on a node.

// A test that cannot go on has failed.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod files;
mod hosts;
mod keys;
mod refs;
mod token;

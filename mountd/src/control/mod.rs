//! What the command and the daemon say to each other: HTTP and JSON over a Unix socket.
//!
//! Owns: the types of the API ([`types`]), its [`Client`], its `server`, and [`start`], which starts a daemon where
//! none answers. The socket is 0600 in a directory of the user's own, and the server checks the peer's user besides.

pub mod client;
mod environment;
mod failure;
pub(crate) mod server;
pub mod start;
pub mod types;

pub use client::Client;
pub use environment::CallerEnvironment;
pub use failure::{Failure, FailureKind};

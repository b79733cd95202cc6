//! What the command and the daemon say to each other, and what both of them know.
//!
//! Owns: `types`, the JSON of the control API (HTTP over a Unix socket), and [`Client`], its caller; `start`, which starts a daemon where
//! none answers; `once`, what the daemon's program does for a command where none runs; `foreground`, by which a command becomes the daemon;
//! [`Failure`] and [`CallerEnvironment`], which cross that socket; `settings`, what a daemon runs with; `opening`, the one place that builds
//! stores; `mountinfo`, `place` and `saved_mount`, what is mounted, what a place is, and what the next daemon mounts again; `quantity`, sizes
//! and durations as people write them; `command_line`, commands that people are told.
//!
//! Invariants: nothing here knows the cache, the file system or FUSE, so that a program which only asks a daemon is built without them.
//! The socket is 0600 in a directory of the user's own, and the server, which is the daemon's, checks the peer's user besides.

mod bucket_settings;
mod client;
pub mod command_line;
pub mod credential_sources;
mod environment;
mod failure;
pub mod foreground;
pub mod mountinfo;
pub mod once;
pub mod opening;
pub mod place;
mod program;
pub mod quantity;
pub mod saved_mount;
pub mod settings;
pub mod start;
pub mod types;

pub use bucket_settings::BucketSettings;
pub use client::Client;
pub use environment::CallerEnvironment;
pub use failure::{Failure, FailureKind};

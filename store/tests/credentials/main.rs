//! Whose credentials requests are sent with, against a server that knows some.
//!
//! Owns: what a caller sees of where credentials are found, of ones that are missing, half there, wrong or expired, and of ones that change;
//! for every dialect of the S3 family. `secrets` alone looks at the logs, in a program of its own.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod caller;
mod changing;
mod container;
mod places;
mod tokens;

//! A task's code from a git repository.
//!
//! Owns: `url`, the forms of a repository's address; `credentials`, what the user has for it (a token, or a key in a private agent of
//! `agent`); `resolve`, what a ref means now, asked of the remote once, with `refs` (its advertised refs) and `commits` (abbreviated ids);
//! `check_out`, a directory made a checkout of that commit, with `workdir` (the repository in it), `place` (its files), `kept` (what was
//! in their way) and `repair` (what a killed git left); `leave`, a checkout that gives way. Below them, `process` runs git and `transport` tells it how to reach a remote:
//! `askpass` answers its questions for the token, `ssh` is its ssh, `trouble` reads its errors.
//!
//! The client calls [`Credentials::find`] and [`resolve()`]; a node, which may be this machine, calls [`check_out()`] with what they gave.
//!
//! # Invariants
//!
//! - A token is in the memory of this process and in pipes to programs that git itself started for it, nowhere else: in no argument,
//!   environment, file, remote URL or credential store. A private key never leaves the client.
//! - Nothing that a user or a job wrote below the directory is lost: it stays, or is moved aside and named.
//! - Nothing from a fetched repository runs: no hooks, no file system monitor, no templates; filters only as the user's own
//!   configuration has them.
//! - Every call of git has a time limit. Git's own words are read in the C locale only.

mod agent;
pub mod askpass;
mod check_out;
mod commits;
mod credentials;
mod kept;
mod leave;
mod place;
mod process;
mod refs;
mod repair;
mod resolve;
mod ssh;
mod transport;
mod trouble;
mod url;
mod workdir;

pub use check_out::{CheckoutOptions, check_out};
pub use credentials::{Access, Credentials, Secret};
pub use leave::leave;
pub use resolve::{Resolved, resolve};
#[allow(unused_imports)] // Part of the interface: what is in what the others take and give.
pub use {check_out::Checkout, ssh::SshHost, url::GitUrl};

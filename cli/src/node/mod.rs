//! What is done on a node: by this process where the node is this machine, else by the same program that was sent there.
//!
//! Owns: `protocol`, one call over one ssh session; `request`, what can be asked for; `serve`, the node's side of it (`pail node call`);
//! `preparing`, `mounts` and `copies`, what a task needs before it runs; `environment`, what it finds in its variables; `job`, what runs
//! detached; `flushing`, the barrier at its end.

pub mod copies;
pub mod environment;
pub mod flushing;
pub mod job;
pub mod mounts;
pub mod preparing;
pub mod protocol;
pub mod request;
pub mod serve;

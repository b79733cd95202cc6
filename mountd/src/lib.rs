//! The node-resident daemon: the file system over buckets, its FUSE adapter, its control API.
//!
//! Owns: `fs`, the file system proper, protocol-free and testable without FUSE; `fuse`, the adapter and the only module
//! that names `fuser`; `daemon`, the mounts of this node and their life; `control`, what the command and the daemon say
//! to each other; `settings`, what a daemon runs with; `quantity`, sizes and durations as people write them;
//! `command_line`, commands that people are told; `disk_work`, what may hang with the local disk.

pub mod command_line;
pub mod control;
pub mod daemon;
mod disk_work;
pub mod fs;
pub mod fuse;
pub mod quantity;
pub mod settings;

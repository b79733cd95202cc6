//! The node-resident daemon: the file system over buckets, its FUSE adapter, its control API.
//!
//! Owns: `fs`, the file system proper, protocol-free and testable without FUSE; `fuse`, the adapter and the only module
//! that names `fuser`; `daemon`, the mounts of this node and their life; `disk_work`, what may hang with the local disk.

pub mod daemon;
mod disk_work;
pub mod fs;
pub mod fuse;

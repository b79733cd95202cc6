//! The promises of SEMANTICS.md, each named by its tests, on the file system without FUSE. One file for each of its sections, three
//! for "changing names" and "writing".

// A test that cannot go on has failed.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod attributes;
mod changing_names;
mod changing_names_during_uploads;
mod changing_names_in_doubt;
mod hidden_keys;
mod kept;
mod listings;
mod moving;
mod names;
mod reading;
mod writing;
mod writing_appends;
mod writing_conflicts;

use pail_mountd::fs::FsOptions;
use pail_store::{Capabilities, MemoryStore, Store};
use std::time::Duration;

fn errno<T: std::fmt::Debug>(result: Result<T, pail_mountd::fs::FsError>) -> i32 {
    result.expect_err("it must fail").errno()
}

/// Bytes that repeat with a long period, so that a block in the wrong place shows.
fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| ((i as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect()
}

fn no_ttl() -> FsOptions {
    FsOptions { metadata_ttl: Duration::ZERO, ..FsOptions::default() }
}

fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort();
    names
}

/// Cuts every file of a cache's clean replicas, as making room on a full disk does.
fn free_all(dir: &std::path::Path) {
    for file in std::fs::read_dir(dir).unwrap().map(|file| file.unwrap().path()) {
        match file.is_dir() {
            true => free_all(&file),
            false => std::fs::File::options().write(true).open(file).unwrap().set_len(0).unwrap(),
        }
    }
}

async fn capabilities() -> Capabilities {
    MemoryStore::new("x").capabilities().await.unwrap()
}

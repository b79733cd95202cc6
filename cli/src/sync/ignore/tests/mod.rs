//! The list compared with what real rsync and real git do, on generated trees, and what a user would notice of it.
//!
//! Owns: the generator of trees, which the comparisons share. Every comparison prints its seed; `PAIL_TEST_SEED` runs that one alone.

mod by_git;
mod by_rsync;
mod listing;

use super::{EntryKind, FileList, Reason, explain};
use rand::RngExt;
use rand::rngs::StdRng;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The seeds of a comparison.
fn seeds(count: u64) -> Vec<u64> {
    match std::env::var("PAIL_TEST_SEED") {
        Ok(seed) => vec![seed.parse().unwrap()],
        Err(_) => (0..count).collect(),
    }
}

/// Names that trees and patterns are made of, so that they meet.
const NAMES: &[&str] =
    &["a", "b", "ab", "a.o", "b.o", "x y", "dir", "a-b", "[a]", "a*b", "b\\c", "ä", ".h", "build", "sub"];

fn pick<'a, T: ?Sized>(rng: &mut StdRng, from: &[&'a T]) -> &'a T {
    from[rng.random_range(0..from.len())]
}

/// Makes a tree; returns its directories, relative, the top first.
fn grow(rng: &mut StdRng, top: &Path) -> Vec<PathBuf> {
    let mut dirs = vec![PathBuf::new()];
    for _ in 0..rng.random_range(4..40) {
        let dir = dirs[rng.random_range(0..dirs.len())].clone();
        let path = dir.join(pick(rng, NAMES));
        let at = top.join(&path);
        if at.symlink_metadata().is_ok() || path.components().count() > 5 {
            continue;
        }
        match rng.random_range(0..10) {
            0..5 => fs::write(&at, "x").unwrap(),
            5 => std::os::unix::fs::symlink(pick(rng, NAMES), &at).unwrap(),
            _ => {
                fs::create_dir(&at).unwrap();
                dirs.push(path);
            }
        }
    }
    dirs
}

/// A list as paths; directories end in a slash.
fn shown(list: &FileList) -> BTreeSet<Vec<u8>> {
    let paths = list.entries.iter().map(|entry| {
        let slash: &[u8] = if entry.kind == EntryKind::EmptyDir { b"/" } else { b"" };
        [entry.path.as_bytes(), slash].concat()
    });
    let set: BTreeSet<_> = paths.collect();
    assert_eq!(set.len(), list.entries.len(), "no name twice");
    assert!(list.entries.is_sorted_by(|a, b| a.path.as_bytes() < b.path.as_bytes()), "sorted");
    set
}

fn lossy(set: &BTreeSet<Vec<u8>>) -> Vec<String> {
    set.iter().map(|path| String::from_utf8_lossy(path).into_owned()).collect()
}

/// Compares two sets of paths. Panics, with what made them, where they differ.
fn assert_same(found: &BTreeSet<Vec<u8>>, expected: &BTreeSet<Vec<u8>>, context: impl FnOnce() -> String) {
    if found != expected {
        let more: Vec<_> = lossy(&found.difference(expected).cloned().collect());
        let less: Vec<_> = lossy(&expected.difference(found).cloned().collect());
        panic!("listed beyond what is expected: {more:?}\nnot listed: {less:?}\n{}", context());
    }
}

/// Every path below a directory, relative; `.git` aside.
fn all_paths(top: &Path) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    let mut dirs = vec![PathBuf::new()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(top.join(&dir)).unwrap() {
            let entry = entry.unwrap();
            let path = dir.join(entry.file_name());
            if entry.file_name() == ".git" {
                continue;
            }
            if entry.file_type().unwrap().is_dir() {
                dirs.push(path.clone());
            }
            paths.push(path);
        }
    }
    paths
}

/// Every path's explanation agrees with the list, in its verdict and in its reason.
fn assert_explained(source: &Path, with_git: bool, context: impl Fn() -> String) {
    let list = super::list_with(source, &Default::default(), with_git).unwrap();
    let paths = all_paths(source);
    let explained = explain::explain_with(source, &paths, &Default::default(), with_git).unwrap();
    for one in explained {
        let sent = list.entries.iter().any(|entry| Path::new(&entry.path).starts_with(&one.path));
        assert_eq!(one.sent, sent, "{one:?}\n{}", context());
        let fits = match &one.reason {
            Reason::Rule(rule) => {
                let line = fs::read(&rule.file)
                    .unwrap()
                    .split(|byte| *byte == b'\n')
                    .nth(rule.line - 1)
                    .map(<[u8]>::to_vec);
                let line = String::from_utf8_lossy(&line.unwrap()).into_owned();
                let pattern = rule.pattern.to_string_lossy();
                assert!(line.trim_end().ends_with(pattern.trim_end()), "{line:?} {one:?}\n{}", context());
                let keeps = pattern.starts_with("+ ") || pattern.starts_with('!');
                one.sent == keeps
            }
            Reason::NothingMatched | Reason::Tracked(_) => one.sent,
            Reason::Missing => false,
            Reason::GitDirectory
            | Reason::NothingInIt
            | Reason::SpecialFile
            | Reason::BelowSymlink
            | Reason::Git => !one.sent,
        };
        assert!(fits, "{one:?}\n{}", context());
    }
}

//! `.skyignore` rules as real rsync has them.
//!
//! Rsync has two ways that meet at ours: a list of plain lines for a whole source (`--exclude-from`), and files below each directory
//! (`--filter=': FILE'`), where every line needs its sign. Both are compared with the same lists.

use super::{NAMES, assert_explained, assert_same, grow, pick, seeds, shown};
use crate::sync::ignore::list;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::process::Command;

/// Trees of one run of rsync, whose start costs more than a tree.
const TREES: usize = 40;

/// A part of a pattern.
fn piece(rng: &mut StdRng) -> String {
    let wild: &[&str] = &[
        "*",
        "?",
        "a*",
        "*b",
        "*.o",
        "**",
        "a**",
        "**b",
        "*a*",
        "[ab]",
        "[!a]*",
        "[^b]",
        "[a-c]*",
        "[[:alpha:]]",
        "[[:alpha:]]*",
        "?*",
        "[]a]",
        "[a",
        "a\\*b",
        "b\\\\c",
        "b\\c",
        "\\[a\\]",
        "[[]a]",
        "[[:nope:]]",
        "***",
        "*?",
        "[a\\]]*",
        "[--b]",
        "[b-]*",
        "*[!o]",
        "x[ ]y",
        "[[:x]",
        "a[/]b",
        "\\",
    ];
    match rng.random_range(0..10) {
        0..6 => pick(rng, NAMES).to_owned(),
        _ => pick(rng, wild).to_owned(),
    }
}

/// A pattern.
fn pattern(rng: &mut StdRng) -> String {
    let mut text = String::new();
    if rng.random_range(0..3) == 0 {
        text.push('/');
    }
    let count = [1, 1, 1, 2, 2, 3][rng.random_range(0..6)];
    let pieces: Vec<_> = (0..count).map(|_| piece(rng)).collect();
    text.push_str(&pieces.join("/"));
    match rng.random_range(0..12) {
        0..3 => text.push('/'),
        3 => text.push_str("/***"),
        4 => text.push_str("/**"),
        _ => {}
    }
    text
}

/// Rules for our engine, and the same where rsync wants a sign before each.
fn rules(rng: &mut StdRng, count: usize) -> (String, String) {
    let (mut ours, mut signed) = (String::new(), String::new());
    for _ in 0..count {
        let pattern = pattern(rng);
        let (line, with_sign) = match rng.random_range(0..20) {
            0..5 => (format!("+ {pattern}"), format!("+ {pattern}")),
            5 => (format!("- {pattern}"), format!("- {pattern}")),
            6 => (format!("exclude {pattern}"), format!("exclude {pattern}")),
            7 => (format!("# {pattern}"), format!("# {pattern}")),
            8 => (format!("; {pattern}"), format!("; {pattern}")),
            9 if rng.random_range(0..4) == 0 => ("!".to_owned(), "!".to_owned()),
            _ => (pattern.clone(), format!("- {pattern}")),
        };
        ours.push_str(&line);
        signed.push_str(&with_sign);
        let end = if rng.random_range(0..10) == 0 { "\r\n" } else { "\n" };
        ours.push_str(end);
        signed.push_str(end);
    }
    (ours, signed)
}

/// What rsync would send of `top`: all paths but the directories that others imply.
fn by_rsync(top: &Path, arguments: &[OsString]) -> BTreeSet<Vec<u8>> {
    let target = tempfile::tempdir().unwrap();
    let output = Command::new("rsync")
        .args(["-n", "-rl", "-8", "--out-format=%n"])
        .args(arguments)
        .arg([top.as_os_str().as_bytes(), b"/"].concat().to_os())
        .arg(target.path())
        .env("LC_ALL", "C")
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let lines = output.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty() && *line != b"./");
    let all: BTreeSet<Vec<u8>> = lines.map(<[u8]>::to_vec).collect();
    let is_implied = |path: &Vec<u8>| {
        let mut next = all.range(path.clone()..).skip(1);
        path.ends_with(b"/") && next.next().is_some_and(|next| next.starts_with(path))
    };
    all.iter().filter(|path| !is_implied(path)).cloned().collect()
}

trait ToOs {
    fn to_os(self) -> OsString;
}

impl ToOs for Vec<u8> {
    fn to_os(self) -> OsString {
        OsString::from_vec(self)
    }
}

#[test]
fn one_file_of_rules_means_what_it_means_to_rsync() {
    for seed in seeds(100) {
        let mut rng = StdRng::seed_from_u64(seed);
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().join("top");
        fs::create_dir(&top).unwrap();
        grow(&mut rng, &top);
        let count = rng.random_range(1..20);
        let (ours, _) = rules(&mut rng, count);
        // Words are no signs in such a list.
        let ours = ours.replace("exclude ", "- ");
        fs::write(top.join(".skyignore"), &ours).unwrap();
        let mut from = OsString::from("--exclude-from=");
        from.push(top.join(".skyignore"));
        let expected = by_rsync(&top, &[from]);
        let found = shown(&list(&top, &Default::default()).unwrap());
        assert_same(&found, &expected, || format!("seed {seed}\n{ours}"));
    }
}

#[test]
fn files_of_rules_in_every_directory_mean_what_they_mean_to_rsync() {
    let mut left_out = 0;
    for seed in seeds(30) {
        let mut rng = StdRng::seed_from_u64(seed);
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().join("top");
        let mut told = String::new();
        for tree in 0..TREES {
            let tree_top = top.join(format!("tree{tree}"));
            fs::create_dir_all(&tree_top).unwrap();
            for (index, dir) in grow(&mut rng, &tree_top).iter().enumerate() {
                // A directory's name is part of an anchored pattern for rsync, wildcards in it too; that is not copied.
                let is_plain = !dir.as_os_str().as_bytes().iter().any(|byte| b"[*?\\".contains(byte));
                if index > 0 && (!is_plain || rng.random_range(0..3) > 0) {
                    continue;
                }
                let count = rng.random_range(1..6);
                let (ours, signed) = rules(&mut rng, count);
                fs::write(tree_top.join(dir).join(".skyignore"), &ours).unwrap();
                fs::write(tree_top.join(dir).join(".signed"), &signed).unwrap();
                told.push_str(&format!("tree{tree}/{}:\n{ours}", dir.display()));
            }
        }
        if seed % 2 == 0 {
            fs::write(top.join(".skyignore"), "+ tree[0-9]\n/tree10/a\n").unwrap();
            fs::write(top.join(".signed"), "+ tree[0-9]\n- /tree10/a\n").unwrap();
        }
        let context = || format!("seed {seed}\n{told}");
        let expected = by_rsync(&top, &["--filter=: .signed".into()]);
        let found = shown(&list(&top, &Default::default()).unwrap());
        assert_same(&found, &expected, context);
        left_out += super::all_paths(&top).len() - found.len();
        if seed % 10 == 0 {
            assert_explained(&top, true, context);
        }
    }
    assert!(left_out > 5_000, "the rules of {left_out} paths alone were compared");
}

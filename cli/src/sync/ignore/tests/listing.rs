//! What a user would notice of a list, one thing at a time.

use super::by_git::{git, init};
use super::shown;
use crate::sync::ignore::{Entry, EntryKind, ListOptions, list, list_with};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;
use tempfile::TempDir;

/// A directory of files, each written with its parents; a name that ends in a slash is a directory.
fn tree(files: &[(&str, &str)]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, content) in files {
        let path = dir.path().join(name);
        if name.ends_with('/') {
            fs::create_dir_all(path).unwrap();
            continue;
        }
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    dir
}

fn paths(source: &Path) -> Vec<String> {
    super::lossy(&shown(&list(source, &Default::default()).unwrap()))
}

/// Lists a source in each of the three ways: git, none, `.skyignore`.
fn each_way(source: &Path, check: impl Fn(&str, &Path, bool)) {
    check("gitignore", source, false);
    init(source);
    check("git", source, true);
    fs::write(source.join(".skyignore"), "").unwrap();
    check("skyignore", source, true);
}

#[test]
fn names_are_bytes() {
    let dir = tree(&[("plain", "")]);
    let odd: [&[u8]; 6] = [b"new\nline", b"\xff\xfe", b"sp ace ", b"back\\slash", b":(top)x", b"-dash"];
    for name in odd {
        fs::create_dir(dir.path().join(OsStr::from_bytes(name))).unwrap();
        fs::write(dir.path().join(OsStr::from_bytes(name)).join(OsStr::from_bytes(name)), "").unwrap();
    }
    fs::create_dir(dir.path().join(OsStr::from_bytes(b"\xff empty\n"))).unwrap();
    let mut expected: BTreeSet<Vec<u8>> = odd.iter().map(|name| [*name, b"/", *name].concat()).collect();
    expected.extend([b"plain".to_vec(), b"\xff empty\n/".to_vec()]);
    each_way(dir.path(), |way, source, with_git| {
        let mut found = shown(&list_with(source, &Default::default(), with_git).unwrap());
        found.remove(b".skyignore".as_slice());
        assert_eq!(found, expected, "{way}");
    });
}

#[test]
fn a_symlink_is_an_entry_and_the_source_may_be_one() {
    let dir = tree(&[("src/d/f", "")]);
    let source = dir.path().join("src");
    symlink("d", source.join("to-dir")).unwrap();
    symlink("..", source.join("d/up")).unwrap();
    symlink("nowhere", source.join("broken")).unwrap();
    symlink("src", dir.path().join("link")).unwrap();
    each_way(&source, |way, _, with_git| {
        let found = list_with(&dir.path().join("link"), &Default::default(), with_git).unwrap();
        let links: Vec<_> = found.entries.iter().filter(|entry| entry.kind == EntryKind::Symlink).collect();
        let names: Vec<_> = links.iter().map(|entry| entry.path.to_str().unwrap()).collect();
        assert_eq!(names, ["broken", "d/up", "to-dir"], "{way}");
        assert!(found.entries.contains(&Entry { path: "d/f".into(), kind: EntryKind::File }), "{way}");
    });
}

#[test]
fn special_files_are_left_out_with_a_warning() {
    let dir = tree(&[("f", ""), ("d/", "")]);
    let pipe = dir.path().join("d/pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    each_way(dir.path(), |way, source, with_git| {
        let found = list_with(source, &Default::default(), with_git).unwrap();
        assert!(!found.entries.iter().any(|entry| entry.path == "d/pipe"), "{way}");
        let expected = format!("{} is left out: it is a socket, a pipe or a device", pipe.display());
        assert_eq!(found.warnings, [expected], "{way}");
    });
}

#[test]
fn git_directories_are_sent_only_where_asked_for() {
    let dir = tree(&[("f", ""), ("nested/g", "")]);
    init(&dir.path().join("nested"));
    each_way(dir.path(), |way, source, with_git| {
        let plain = shown(&list_with(source, &Default::default(), with_git).unwrap());
        assert!(plain.contains(b"nested/g".as_slice()) && plain.contains(b"f".as_slice()), "{way}");
        assert!(!plain.iter().any(|path| path.windows(4).any(|part| part == b".git")), "{way}");
        let whole = shown(&list_with(source, &ListOptions { include_git: true }, with_git).unwrap());
        assert!(whole.is_superset(&plain), "{way}");
        for name in ["nested/.git/HEAD", "nested/.git/refs/tags/"] {
            assert!(whole.contains(name.as_bytes()), "{way}: {name}");
        }
    });
}

#[test]
fn a_root_skyignore_alone_counts() {
    let dir = tree(&[
        (".skyignore", "*.log\n"),
        (".gitignore", "*.pt\n"),
        ("a.log", ""),
        ("a.pt", ""),
        ("sub/.gitignore", "x\n"),
        ("sub/x", ""),
        ("sub/.skyignore", "+ keep.log\ny\n"),
        ("sub/y", ""),
        ("sub/keep.log", ""),
    ]);
    init(dir.path());
    let expected =
        [".gitignore", ".skyignore", "a.pt", "sub/.gitignore", "sub/.skyignore", "sub/keep.log", "sub/x"];
    assert_eq!(paths(dir.path()), expected);
}

#[test]
fn a_deeper_skyignore_counts_beside_git() {
    let files = [
        (".gitignore", "*.pt\n"),
        ("a.pt", ""),
        ("y", ""),
        ("sub/.skyignore", "+ b.pt\n/y\n"),
        ("sub/b.pt", ""),
        ("sub/y", ""),
        ("sub/d/y", ""),
    ];
    let dir = tree(&files);
    let expected = [".gitignore", "sub/.skyignore", "sub/d/y", "y"];
    assert_eq!(paths(dir.path()), expected);
    init(dir.path());
    assert_eq!(paths(dir.path()), expected);
}

#[test]
fn an_ignored_source_is_sent_with_a_warning() {
    let dir = tree(&[
        (".gitignore", "build/\n*.o\n"),
        ("build/a", ""),
        ("build/b.o", ""),
        ("build/.gitignore", "c\n"),
        ("build/c", ""),
    ]);
    init(dir.path());
    let source = dir.path().join("build");
    for with_git in [true, false] {
        let found = list_with(&source, &Default::default(), with_git).unwrap();
        assert_eq!(super::lossy(&shown(&found)), [".gitignore", "a", "b.o"], "with git: {with_git}");
    }
    let found = list(&source, &Default::default()).unwrap();
    assert!(
        found.warnings[0].contains("is itself ignored by the git repository around it"),
        "{:?}",
        found.warnings
    );
}

#[test]
fn parents_rules_reach_into_a_source_below_them() {
    let dir = tree(&[
        (".gitignore", "*.o\n/code/sub/only\n"),
        ("code/a.o", ""),
        ("code/sub/only", ""),
        ("code/only", ""),
    ]);
    init(dir.path());
    assert_eq!(paths(&dir.path().join("code")), ["only"]);
    assert_eq!(
        super::lossy(&shown(&list_with(&dir.path().join("code"), &Default::default(), false).unwrap())),
        ["only"]
    );
}

#[test]
fn tracked_files_are_sent_and_deleted_ones_are_not() {
    let dir = tree(&[
        (".gitignore", "*.pt\n"),
        ("kept.pt", ""),
        ("left.pt", ""),
        ("deleted", ""),
        ("d/deleted", ""),
    ]);
    init(dir.path());
    git(dir.path(), &["add", "-f", "kept.pt", "deleted", "d/deleted"]);
    fs::remove_file(dir.path().join("deleted")).unwrap();
    fs::remove_dir_all(dir.path().join("d")).unwrap();
    assert_eq!(paths(dir.path()), [".gitignore", "kept.pt"]);
}

#[test]
fn empty_directories_are_sent_and_those_of_ignored_files_are_not() {
    let dir = tree(&[
        (".gitignore", "*.pyc\n/ignored/\nlogs/**\n"),
        ("logs/", ""),
        ("empty/deeper/", ""),
        ("__pycache__/a.pyc", ""),
        ("__pycache__/empty/", ""),
        ("ignored/empty/", ""),
    ]);
    let expected = [".gitignore", "__pycache__/empty/", "empty/deeper/", "logs/"];
    assert_eq!(paths(dir.path()), expected);
    init(dir.path());
    assert_eq!(paths(dir.path()), expected);
}

#[test]
fn submodules_are_recursed_and_empty_where_they_are_not_checked_out() {
    let dir = tree(&[
        ("lib/.gitignore", "*.o\n"),
        ("lib/a.c", ""),
        ("lib/a.o", ""),
        ("top/main.c", ""),
        ("top/.gitignore", "*.c\n"),
    ]);
    let lib = dir.path().join("lib");
    init(&lib);
    git(&lib, &["add", "-A"]);
    git(&lib, &["commit", "-q", "-m", "x"]);
    let top = dir.path().join("top");
    init(&top);
    for name in ["sub", "bare"] {
        git(
            &top,
            &["-c", "protocol.file.allow=always", "submodule", "--quiet", "add", lib.to_str().unwrap(), name],
        );
    }
    git(&top, &["submodule", "--quiet", "deinit", "-f", "bare"]);
    fs::write(top.join("sub/new.o"), "").unwrap();
    fs::write(top.join("sub/new.c"), "").unwrap();
    let expected = [".gitignore", ".gitmodules", "bare/", "sub/.gitignore", "sub/a.c", "sub/new.c"];
    assert_eq!(paths(&top), expected);
}

#[test]
fn a_repository_of_another_owner_is_read_and_runs_nothing() {
    let dir = tree(&[(".gitignore", "x\n"), ("x", ""), ("y", "")]);
    init(dir.path());
    let trap = dir.path().join("trap");
    fs::write(&trap, format!("#!/bin/sh\ntouch {}\n", dir.path().join("ran").display())).unwrap();
    fs::set_permissions(&trap, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    git(dir.path(), &["config", "core.fsmonitor", trap.to_str().unwrap()]);
    if rustix::process::geteuid().is_root() {
        for path in [dir.path().to_owned(), dir.path().join(".git"), dir.path().join(".git/config")] {
            std::os::unix::fs::chown(path, Some(65534), Some(65534)).unwrap();
        }
    }
    assert_eq!(paths(dir.path()), [".gitignore", "trap", "y"]);
    assert!(!dir.path().join("ran").exists());
}

#[test]
fn a_repository_that_git_cannot_read_is_named_and_its_gitignore_counts() {
    let dir = tree(&[(".git", "gitdir: /nowhere\n"), (".gitignore", "x\n"), ("x", ""), ("y", "")]);
    let found = list(dir.path(), &Default::default()).unwrap();
    assert_eq!(super::lossy(&shown(&found)), [".gitignore", "y"]);
    assert_eq!(found.warnings.len(), 1);
    assert!(found.warnings[0].contains("not a git repository: /nowhere"), "{:?}", found.warnings);
}

#[test]
fn repositories_below_a_plain_directory_answer_for_themselves() {
    let dir = tree(&[
        (".gitignore", "*.o\n"),
        ("one/.gitignore", "*.tmp\n"),
        ("one/a.tmp", ""),
        ("one/b.tmp", ""),
        ("one/c.o", ""),
    ]);
    init(&dir.path().join("one"));
    git(&dir.path().join("one"), &["add", "-f", "a.tmp"]);
    assert_eq!(paths(dir.path()), [".gitignore", "one/.gitignore", "one/a.tmp", "one/c.o"]);
}

#[test]
fn a_source_that_is_not_there_or_a_file_is_refused() {
    let dir = tree(&[("f", "")]);
    let missing = list(&dir.path().join("nope"), &Default::default()).unwrap_err();
    assert_eq!(missing.kind.exit_code(), 3, "{missing}");
    let file = list(&dir.path().join("f"), &Default::default()).unwrap_err();
    assert_eq!(file.kind.exit_code(), 2, "{file}");
}

#[test]
fn warnings_are_bounded() {
    let rules: String = (0..500).map(|n| format!("!{n}\n")).collect();
    let dir = tree(&[(".skyignore", &rules)]);
    let warnings = list(dir.path(), &Default::default()).unwrap().warnings;
    assert_eq!(warnings.len(), 51);
    assert_eq!(warnings[50], "and 450 more warnings of this kind");
}

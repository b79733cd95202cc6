//! `pail explain-ignore`, through the real program: its answers, and what of the user's environment counts.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod sandbox;

use sandbox::{Ran, run, skipped};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// A source below a home of its own.
struct Source {
    home: TempDir,
}

impl Source {
    fn new(files: &[(&str, &str)]) -> Self {
        let source = Self { home: tempfile::tempdir().unwrap() };
        fs::create_dir(source.dir()).unwrap();
        for (name, content) in files {
            let path = source.dir().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        source
    }

    fn dir(&self) -> PathBuf {
        self.home.path().join("code")
    }

    fn command(&self, program: impl AsRef<Path>, arguments: &[&str]) -> Command {
        let mut command = Command::new(program.as_ref());
        let variables = ["XDG_CONFIG_HOME", "GIT_CONFIG_GLOBAL", "GIT_DIR", "GIT_INDEX_FILE"];
        for name in variables {
            command.env_remove(name);
        }
        command.args(arguments).current_dir(self.dir()).env("HOME", self.home.path());
        command
    }

    fn explain(&self, arguments: &[&str]) -> Command {
        self.command(env!("CARGO_BIN_EXE_pail"), &[&["explain-ignore"], arguments].concat())
    }

    fn explained(&self, arguments: &[&str]) -> Ran {
        run(&mut self.explain(arguments))
    }

    fn git(&self, arguments: &[&str]) {
        let ran = run(&mut self.command("git", arguments));
        assert_eq!(ran.code, 0, "{ran:?}");
    }
}

// SEMANTICS: tasks.2
#[test]
fn the_line_that_decided_is_named() {
    let source = Source::new(&[
        (".skyignore", "# what stays here\n\n+ keep.log\n*.log\n/data/\n"),
        ("a.log", ""),
        ("keep.log", ""),
        ("main.py", ""),
        ("data/deep/x", ""),
    ]);
    let ran = source.explained(&["a.log", "keep.log", "main.py", "data/deep/x", "nope"]);
    let expected = "a.log: left out: .skyignore:4: *.log\n\
                    keep.log: sent: .skyignore:3: + keep.log\n\
                    main.py: sent: nothing matches\n\
                    data/deep/x: left out: .skyignore:5: /data/ (matches data/)\n\
                    nope: left out: it is not there\n";
    assert_eq!((ran.code, ran.out.as_str()), (0, expected), "{ran:?}");
    let ran = source.explained(&["--json", "a.log"]);
    let rows: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    let expected = serde_json::json!([
        {"path": "a.log", "sent": false, "reason": "rule", "file": ".skyignore", "line": 4, "pattern": "*.log"}
    ]);
    assert_eq!(rows, expected);
}

#[test]
fn of_git_the_file_of_rules_is_named_and_tracked_files_are_sent() {
    let source = Source::new(&[
        (".gitignore", "*.pt\n!kept.pt\n/out\n"),
        ("kept.pt", ""),
        ("tracked.pt", ""),
        ("other.pt", ""),
        ("out/x", ""),
        ("secret", ""),
    ]);
    source.git(&["init", "-q"]);
    source.git(&["add", "-f", "tracked.pt"]);
    fs::write(source.dir().join(".git/info/exclude"), "secret\n").unwrap();
    let ran = source.explained(&["kept.pt", "tracked.pt", "other.pt", "out/x", "secret", ".git"]);
    let expected = "kept.pt: sent: .gitignore:2: !kept.pt\n\
         tracked.pt: sent: git tracks it, in spite of .gitignore:1: *.pt\n\
         other.pt: left out: .gitignore:1: *.pt\n\
         out/x: left out: .gitignore:3: /out (matches out/)\n\
         secret: left out: .git/info/exclude:1: secret\n\
         .git: left out: .git is sent with --include-git alone\n";
    assert_eq!((ran.code, ran.out.as_str()), (0, expected), "{ran:?}");
}

#[test]
fn the_whole_list_is_printed_byte_for_byte_with_warnings_apart() {
    let source = Source::new(&[(".skyignore", "./b\n"), ("a\nb", ""), ("b", "")]);
    let ran = source.explained(&["--list", "-0"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, ".skyignore\0a\nb\0"), "{ran:?}");
    assert_eq!(ran.err, "warning: ./.skyignore:1: `./b` is read as `/b`; write that\n");
    let elsewhere = source.explained(&["--list", "-0", "--source", "/nonexistent"]);
    assert_eq!(elsewhere.code, 3, "{elsewhere:?}");
}

#[test]
fn a_path_outside_the_source_is_a_usage_error() {
    let source = Source::new(&[("sub/x", "")]);
    let ran = source.explained(&["--source", "sub", "../other"]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(
        ran.err.contains("../other is outside of the source sub") && ran.err.contains("--source DIR"),
        "{ran:?}"
    );
    // Below the current directory, and below the source.
    for path in ["sub/x", "x"] {
        let ran = source.explained(&["--source", "sub", path]);
        assert_eq!(ran.out, format!("{path}: sent: nothing matches\n"), "{ran:?}");
    }
}

#[test]
fn the_users_own_excludes_count_with_and_without_git() {
    let source = Source::new(&[(".gitignore", "b\n"), ("a", ""), ("b", ""), ("c", "")]);
    fs::create_dir_all(source.home.path().join(".config/git")).unwrap();
    fs::write(source.home.path().join(".config/git/ignore"), "a\n").unwrap();
    let list = |source: &Source| {
        let ran = source.explained(&["--list"]);
        assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{ran:?}");
        ran.out
    };
    assert_eq!(list(&source), ".gitignore\nc\n");
    source.git(&["init", "-q"]);
    assert_eq!(list(&source), ".gitignore\nc\n");
    // No git on this machine: the same rules, and a word about what only git knows.
    let ran = run(source.explain(&["--list"]).env("PATH", "/nonexistent"));
    assert_eq!((ran.code, ran.out.as_str()), (0, ".gitignore\nc\n"), "{ran:?}");
    assert!(ran.err.contains("git is not installed"), "{ran:?}");
}

#[test]
fn a_hooks_variables_do_not_lead_to_another_repository() {
    let source = Source::new(&[(".gitignore", "b\n"), ("a", ""), ("b", "")]);
    source.git(&["init", "-q"]);
    let other = Source::new(&[]);
    other.git(&["init", "-q"]);
    let mut command = source.explain(&["--list"]);
    command
        .env("GIT_DIR", other.dir().join(".git"))
        .env("GIT_INDEX_FILE", "/nonexistent/index")
        .env("GIT_WORK_TREE", other.dir());
    let ran = run(&mut command);
    assert_eq!((ran.code, ran.out.as_str()), (0, ".gitignore\na\n"), "{ran:?}");
}

#[test]
fn a_directory_that_may_not_be_read_is_named() {
    if !rustix::process::geteuid().is_root() {
        skipped("only root acts as other users");
        return;
    }
    for (rules, with_git) in [(".skyignore", false), (".gitignore", false), (".gitignore", true)] {
        let source = Source::new(&[(rules, "/ignored/\n"), ("a", ""), ("closed/x", ""), ("ignored/y", "")]);
        if with_git {
            source.git(&["init", "-q"]);
        }
        let mode = |path: PathBuf, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        mode(source.home.path().to_owned(), 0o755);
        mode(source.dir().join("ignored"), 0o700);
        let as_other = |source: &Source| run(source.explain(&["--list"]).uid(54_321).gid(54_321));
        // What is left out need not be readable.
        let ran = as_other(&source);
        assert_eq!(ran.code, 0, "{ran:?}");
        assert!(ran.out.contains("closed/x\n"), "{ran:?}");
        mode(source.dir().join("closed"), 0o700);
        let ran = as_other(&source);
        assert_eq!(ran.code, 2, "{rules} {with_git} {ran:?}");
        assert!(ran.err.contains("cannot read ./closed") && ran.err.contains("Permission denied"), "{ran:?}");
        assert_eq!(ran.out, "", "{ran:?}");
    }
}

//! The ways out of a write conflict that people are told, each run as it is printed.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod sandbox;

use pail_devserver::{Fault, FaultAction};
use sandbox::{BUCKET, Ran, Sandbox, run};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

const NAME: &str = "it's \"$HOME\" a file";

/// A mount whose every path has to be quoted.
fn mounted(sandbox: &Sandbox) -> PathBuf {
    let ran = sandbox.pail(&[
        "mount",
        &format!("s3://{BUCKET}"),
        &sandbox.at("mnt of 'mine'"),
        "--metadata-ttl",
        "0",
    ]);
    assert_eq!(ran.code, 0, "{ran:?}");
    sandbox.path("mnt of 'mine'")
}

/// Runs a command as a person would who copies it from the terminal.
fn run_told(sandbox: &Sandbox, command: &str) -> Ran {
    let programs = Path::new(env!("CARGO_BIN_EXE_pail")).parent().unwrap().display().to_string();
    let environment = sandbox.command(&[]);
    let mut shell = Command::new("bash");
    shell.args(["-c", command]).env_clear();
    for (name, value) in environment.get_envs() {
        shell.env(name, value.unwrap());
    }
    let path = std::env::var("PATH").unwrap_or_default();
    run(shell.env("PATH", format!("{programs}:{path}")))
}

/// The command that is told for a way out, by `pail status` and by `pail flush` alike, and in the log.
fn told(sandbox: &Sandbox, way: &str) -> Option<String> {
    let flush = sandbox.pail(&["flush"]);
    assert_eq!(flush.code, 5, "{flush:?}");
    let status = sandbox.pail(&["status"]);
    let of = |text: &str| {
        let mut lines = text.lines().filter_map(|line| line.strip_prefix(&format!("hint: keep {way}:")));
        lines.next().map(|command| command.trim().to_owned())
    };
    let command = of(&status.err);
    assert_eq!(command, of(&flush.err), "{status:?} {flush:?}");
    if let Some(command) = &command {
        let log = fs::read_to_string(sandbox.path("state/pail/mountd.log")).unwrap();
        let local = command.split(' ').find(|word| word.ends_with(".data")).unwrap();
        assert!(log.contains(&format!("pail discard {local}")), "{log}");
    }
    command
}

/// What is written to the file, over bytes of somebody else.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Written {
    Whole,
    Part,
    /// A part, the rest having been read before.
    PartOfCached,
}

const LEN: usize = 3 << 20;

fn ours(written: Written) -> Vec<u8> {
    let mut bytes = vec![b'o'; LEN];
    if written != Written::Whole {
        bytes[4..].fill(b'b');
    }
    bytes
}

/// Brings a conflict about.
fn conflict(sandbox: &Sandbox, mnt: &Path, written: Written) {
    sandbox.put(NAME, vec![b'b'; LEN]);
    let at = mnt.join(NAME);
    if written == Written::PartOfCached {
        assert_eq!(fs::read(&at).unwrap().len(), LEN);
    }
    let file = File::options().write(true).open(&at).unwrap();
    let len = if written == Written::Whole { LEN } else { 4 };
    file.write_all_at(&ours(written)[..len], 0).unwrap();
    sandbox.put(NAME, "theirs");
    assert_eq!(file.sync_all().unwrap_err().raw_os_error(), Some(libc::ESTALE));
}

/// The names in the mount, the file's own first.
fn names(mnt: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(mnt).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Nothing is left of the conflict, here and in the bucket.
fn assert_over(sandbox: &Sandbox, mnt: &Path, content: &[u8]) {
    assert_eq!(sandbox.status()["mounts"][0]["fs"]["unpublished"], serde_json::json!([]));
    assert_eq!(sandbox.pail(&["flush"]).code, 0);
    assert!(fs::read(mnt.join(NAME)).unwrap() == content, "through the mount");
    let umount = sandbox.pail(&["umount", "--all"]);
    assert_eq!(umount.code, 0, "{umount:?}");
    let again = mounted(sandbox);
    assert!(fs::read(again.join(NAME)).unwrap() == content, "from the bucket");
}

// SEMANTICS: writing.5
#[test]
fn theirs_is_kept_as_is_told() {
    for written in [Written::Whole, Written::Part, Written::PartOfCached] {
        let sandbox = Sandbox::new();
        let mnt = mounted(&sandbox);
        conflict(&sandbox, &mnt, written);
        let command = told(&sandbox, "theirs").unwrap();
        let ran = run_told(&sandbox, &command);
        assert_eq!(ran.code, 0, "{command}: {ran:?}");
        assert_eq!(names(&mnt), [NAME]);
        assert_over(&sandbox, &mnt, b"theirs");
    }
}

// SEMANTICS: writing.5
#[test]
fn ours_is_kept_as_is_told() {
    for written in [Written::Whole, Written::PartOfCached] {
        let sandbox = Sandbox::new();
        let mnt = mounted(&sandbox);
        conflict(&sandbox, &mnt, written);
        let command = told(&sandbox, "ours").unwrap();
        let ran = run_told(&sandbox, &command);
        assert_eq!(ran.code, 0, "{command}: {ran:?}");
        assert_eq!(names(&mnt), [NAME]);
        assert_over(&sandbox, &mnt, &ours(written));
    }
}

// SEMANTICS: writing.5
#[test]
fn both_are_kept_as_is_told() {
    for written in [Written::Whole, Written::PartOfCached] {
        let sandbox = Sandbox::new();
        let mnt = mounted(&sandbox);
        conflict(&sandbox, &mnt, written);
        let command = told(&sandbox, "both").unwrap();
        let ran = run_told(&sandbox, &command);
        assert_eq!(ran.code, 0, "{command}: {ran:?}");
        let names = names(&mnt);
        assert!(names.len() == 2 && names[1].starts_with(&format!("{NAME}.ours-")), "{names:?}");
        assert!(fs::read(mnt.join(&names[1])).unwrap() == ours(written));
        assert_over(&sandbox, &mnt, b"theirs");
    }
}

// SEMANTICS: writing.5
#[test]
fn a_part_whose_rest_is_gone_is_never_copied_over_the_object() {
    let sandbox = Sandbox::new();
    let mnt = mounted(&sandbox);
    conflict(&sandbox, &mnt, Written::Part);
    for way in ["ours", "both"] {
        let command = told(&sandbox, way).unwrap();
        let ran = run_told(&sandbox, &command);
        assert_ne!(ran.code, 0, "{command}: {ran:?}");
        assert_eq!(names(&mnt), [NAME], "nothing was made");
        assert_eq!(sandbox.bytes_of("it%27s%20%22%24HOME%22%20a%20file"), b"theirs");
    }
    let kept = &sandbox.status()["mounts"][0]["fs"]["unpublished"][0];
    assert_eq!(
        &fs::read(kept["local_path"].as_str().unwrap()).unwrap()[..4],
        b"oooo",
        "and nothing given up"
    );
}

// SEMANTICS: writing.6
#[test]
fn who_lost_the_race_for_a_name_is_told_the_ways_out_too() {
    for (way, content) in [("theirs", &b"theirs"[..]), ("ours", b"ours"), ("both", b"theirs")] {
        let sandbox = Sandbox::new();
        let mnt = mounted(&sandbox);
        let file = File::create_new(mnt.join(NAME)).unwrap();
        file.write_all_at(b"ours", 0).unwrap();
        sandbox.put(NAME, "theirs");
        assert_eq!(file.sync_all().unwrap_err().raw_os_error(), Some(libc::EEXIST));
        drop(file);
        let command = told(&sandbox, way).unwrap();
        let ran = run_told(&sandbox, &command);
        assert_eq!(ran.code, 0, "{command}: {ran:?}");
        let names = names(&mnt);
        assert_eq!(names.len(), if way == "both" { 2 } else { 1 }, "{names:?}");
        assert_over(&sandbox, &mnt, content);
    }
}

#[test]
fn a_file_that_may_not_be_published_can_be_given_up() {
    let sandbox = Sandbox::new();
    let mnt = sandbox.mounted();
    sandbox.put("old", "old");
    let refuse = Fault { times: u32::MAX, ..Fault::once(Some("PutObject"), FaultAction::AccessDenied) };
    sandbox.server.inject(refuse);
    for name in ["new", "old"] {
        let file = File::options().write(true).create(true).truncate(true).open(mnt.join(name)).unwrap();
        file.write_all_at(b"mine", 0).unwrap();
        file.sync_all().unwrap_err();
    }
    let open = ["never tried", "still open"].map(|name| {
        let file = File::create(mnt.join(name)).unwrap();
        file.write_all_at(b"mine", 0).unwrap();
        file
    });
    open[1].sync_all().unwrap_err();
    let rows = sandbox.status()["mounts"][0]["fs"]["unpublished"].as_array().unwrap().clone();
    assert_eq!(rows.len(), 4, "{rows:?}");
    for row in rows {
        assert!(row.get("conflict").is_none(), "nobody else is in the way: {row}");
        let ran = sandbox.pail(&["discard", row["local_path"].as_str().unwrap()]);
        match row["path"].as_str().unwrap() {
            "never tried" => assert!(ran.code == 3 && ran.err.contains("hint: `rm '/"), "{ran:?}"),
            // What its program writes next would be acknowledged, and lost.
            "still open" => assert!(ran.code == 2 && ran.err.contains("is open in a program"), "{ran:?}"),
            path => assert!(ran.code == 0 && ran.out.contains(&format!("s3://{BUCKET}/{path}")), "{ran:?}"),
        }
    }
    assert!(!mnt.join("new").exists());
    assert_eq!(fs::read(mnt.join("old")).unwrap(), b"old");
    sandbox.server.clear_faults();
    drop(open);
    assert_eq!(sandbox.pail(&["flush"]).code, 0);
    for name in ["never%20tried", "still%20open"] {
        assert_eq!(sandbox.bytes_of(name), b"mine");
    }
}

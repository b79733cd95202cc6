//! A mount that root makes and other users use, through the kernel.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod sandbox;

use sandbox::{BUCKET, Ran, Sandbox, run, skipped};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

/// Two users whom nothing on this host knows.
const USER: u32 = 54_321;
const OTHER: u32 = 54_322;

/// A mount with `--allow-other`; `None` where only root can make one.
fn shared(arguments: &[&str]) -> Option<Sandbox> {
    if !rustix::process::geteuid().is_root() {
        skipped("only root acts as other users");
        return None;
    }
    let sandbox = Sandbox::new();
    fs::set_permissions(sandbox.path(""), fs::Permissions::from_mode(0o755)).unwrap();
    sandbox.mounted_with(&[&["--allow-other"], arguments].concat());
    Some(sandbox)
}

/// Runs a script as a user, in a directory.
fn run_as(user: u32, dir: &Path, script: &str) -> Ran {
    let mut command = Command::new("sh");
    command.args(["-ec", &format!("umask 022; {script}")]).current_dir(dir).uid(user).gid(user);
    run(&mut command)
}

/// What everybody does with what is their own.
const OWN_WORK: &str = "echo one > f; echo two >> f; cat f; mkdir d; echo three > d/g; echo four >> d/g; cat d/g; \
    chmod 750 d; chmod 600 f; mv f d/f; truncate -s 4 d/f; cat d/f; stat -c '%u %g %a' d d/f";
const OWN_OUTPUT: &str = "one\ntwo\nthree\nfour\none\n54321 54321 750\n54321 54321 600\n";

// SEMANTICS: attributes.2
#[test]
fn who_makes_a_file_or_a_directory_owns_it() {
    let Some(sandbox) = shared(&[]) else { return };
    let home = sandbox.path("mnt/home");
    fs::create_dir(&home).unwrap();
    chown(&home, Some(USER), Some(USER)).unwrap();
    let ran = run_as(USER, &home, OWN_WORK);
    assert_eq!((ran.code, ran.out.as_str()), (0, OWN_OUTPUT), "{ran:?}");
    let ran = run_as(OTHER, &home, "cat d/f");
    assert!(ran.code != 0 && ran.err.contains("Permission denied"), "{ran:?}");
    assert_eq!(sandbox.bytes_of("home/d/f"), b"one\n");
}

// SEMANTICS: attributes.2
#[test]
fn modes_that_were_given_hold_for_what_is_made() {
    let Some(sandbox) = shared(&["--dir-mode", "777", "--file-mode", "666"]) else { return };
    let mnt = sandbox.path("mnt");
    let ran = run_as(USER, &mnt, "mkdir open; echo one > open/f; stat -c '%u %a' open open/f");
    assert_eq!((ran.code, ran.out.as_str()), (0, "54321 777\n54321 666\n"), "{ran:?}");
    let ran = run_as(OTHER, &mnt, "echo two >> open/f; cat open/f; echo three > open/g; mkdir open/d");
    assert_eq!((ran.code, ran.out.as_str()), (0, "one\ntwo\n"), "{ran:?}");
    let ran = run_as(USER, &mnt, OWN_WORK);
    assert_eq!((ran.code, ran.out.as_str()), (0, OWN_OUTPUT), "{ran:?}");
}

// SEMANTICS: attributes.2
#[test]
fn a_directory_mode_alone_leaves_new_files_to_their_makers() {
    let Some(sandbox) = shared(&["--dir-mode", "777"]) else { return };
    let mnt = sandbox.path("mnt");
    let ran = run_as(USER, &mnt, OWN_WORK);
    assert_eq!((ran.code, ran.out.as_str()), (0, OWN_OUTPUT), "{ran:?}");
    let ran = run_as(USER, &mnt, "echo one > mine");
    assert_eq!(ran.code, 0, "{ran:?}");
    let ran = run_as(OTHER, &mnt, "cat mine; echo two >> mine");
    assert!(ran.out == "one\n" && ran.err.contains("Permission denied"), "{ran:?}");
}

// SEMANTICS: attributes.1
#[test]
fn what_the_mounts_own_user_makes_is_shown_as_the_mount_says() {
    let Some(sandbox) = shared(&["--uid", "54321", "--gid", "54322"]) else { return };
    let made = sandbox.path("mnt/made");
    fs::create_dir(&made).unwrap();
    fs::write(made.join("f"), "1").unwrap();
    for path in [made.clone(), made.join("f")] {
        let shown = fs::metadata(path).unwrap();
        assert_eq!((shown.uid(), shown.gid()), (USER, OTHER));
    }
    let ran = run_as(USER, &made, "echo 2 >> f; cat f");
    assert_eq!((ran.code, ran.out.as_str()), (0, "12\n"), "{ran:?}");
    assert_eq!(sandbox.status()["mounts"][0]["spec"]["source"], format!("s3://{BUCKET}"));
}

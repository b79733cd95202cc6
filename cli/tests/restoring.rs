//! What the daemon after a killed one brings back, through the real programs.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod sandbox;

use sandbox::{BUCKET, SECRET, Sandbox, run, skipped, wait_until};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

/// A mount that is waiting to be restored is in state `failed`, and is tried again.
fn waits(sandbox: &Sandbox) -> bool {
    sandbox.status()["mounts"][0]["state"] == "failed"
}

/// Starts a daemon that restores nothing for want of keys, by a mount that fails too.
fn start_keyless(sandbox: &Sandbox) {
    let mut keyless = sandbox.command(&["mount", "s3://not-there", &sandbox.at("other")]);
    assert_eq!(run(keyless.env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY")).code, 4);
    wait_until("the mount waits for its keys", || waits(sandbox));
}

#[test]
fn a_mount_that_is_made_again_by_hand_still_removes_the_directory_that_was_made_for_it() {
    let sandbox = Sandbox::new();
    let mnt = sandbox.mounted();
    sandbox.end_daemon(libc::SIGKILL);
    start_keyless(&sandbox);
    sandbox.mounted();
    assert_eq!(sandbox.pail(&["umount", "--all"]).code, 0);
    assert!(!mnt.exists(), "the directory stays");
}

#[test]
fn a_mount_that_fails_by_hand_goes_on_waiting_to_be_restored() {
    let nobody = 65534;
    if !rustix::process::geteuid().is_root() {
        return skipped("only root can be an ordinary user and back");
    }
    fs::set_permissions("/dev/fuse", fs::Permissions::from_mode(0o666)).unwrap();
    let mut sandbox = Sandbox::new();
    sandbox.give_to(nobody);
    // A helper that mounts nothing while a file says so.
    let refuses = sandbox.path("refuses");
    fs::create_dir(sandbox.path("bin")).unwrap();
    let helper = sandbox.path("bin/fusermount3");
    let path = std::env::var("PATH").unwrap();
    let real =
        std::env::split_paths(&path).map(|dir| dir.join("fusermount3")).find(|program| program.is_file());
    let script = format!(
        "#!/bin/sh\nif [ -e {} ] && [ \"$1\" != -u ]; then echo 'not now' >&2; exit 1; fi\nexec {} \"$@\"\n",
        refuses.display(),
        real.unwrap().display()
    );
    fs::write(&helper, script).unwrap();
    fs::set_permissions(&helper, fs::Permissions::from_mode(0o755)).unwrap();
    let mount = || {
        let mut command = sandbox.command(&["mount", &format!("s3://{BUCKET}"), &sandbox.at("mnt")]);
        command.env("PATH", format!("{}:{path}", sandbox.at("bin")));
        run(&mut command)
    };
    let mounted = mount();
    assert_eq!(mounted.code, 0, "{mounted:?}");
    sandbox.end_daemon(libc::SIGKILL);
    fs::write(&refuses, "").unwrap();
    let failed = mount();
    assert!(failed.code != 0 && failed.err.contains("not now"), "{failed:?}");
    let list = fs::read_to_string(sandbox.path("state/pail/mounts.json")).unwrap();
    assert!(list.contains(&sandbox.at("mnt")), "it is off the list: {list}");
    assert!(!list.contains(SECRET));
    fs::remove_file(&refuses).unwrap();
    wait_until("it is back", || sandbox.status()["mounts"][0]["state"] == "mounted");
    let cat = run(Command::new("ls").arg(sandbox.path("mnt")).uid_of(nobody));
    assert_eq!(cat.code, 0, "{cat:?}");
}

trait AsUser {
    fn uid_of(&mut self, user: u32) -> &mut Self;
}

impl AsUser for Command {
    fn uid_of(&mut self, user: u32) -> &mut Self {
        std::os::unix::process::CommandExt::gid(std::os::unix::process::CommandExt::uid(self, user), user)
    }
}

#[test]
fn the_daemon_after_a_killed_one_has_its_budgets() {
    let sandbox = Sandbox::new();
    let mount = |name: &str, flags: &[&str]| {
        let (source, place) = (format!("s3://{BUCKET}/{name}"), sandbox.at(name));
        let mut command = sandbox.command(&[&["mount", &source, &place], flags].concat());
        let ran = run(command.env_remove("PAIL_MEMORY").env_remove("PAIL_CACHE_SIZE"));
        assert_eq!(ran.code, 0, "{ran:?}");
    };
    let in_force = || {
        let daemon = sandbox.status()["daemon"].clone();
        let cache = daemon["directories"]["cache"].as_str().unwrap().to_owned();
        (daemon["memory_bytes"].as_u64().unwrap() >> 20, daemon["cache_bytes"].as_u64().unwrap() >> 20, cache)
    };
    let elsewhere = sandbox.at("elsewhere");
    mount("one", &["--memory", "48M", "--cache-size", "96M", "--cache-dir", &elsewhere]);
    let first = in_force();
    assert_eq!(first, (48, 96, elsewhere.clone()));
    sandbox.end_daemon(libc::SIGKILL);
    mount("two", &[]);
    assert_eq!(in_force(), first, "by a mount that asks for nothing");
    sandbox.end_daemon(libc::SIGKILL);
    mount("two", &["--memory", "40M"]);
    assert_eq!(in_force(), (40, 96, elsewhere), "what is asked for goes first");
    wait_until("both are back", || {
        let mounts = sandbox.status()["mounts"].as_array().unwrap().clone();
        mounts.len() == 2 && mounts.iter().all(|mount| mount["state"] == "mounted")
    });
    // Where nothing is to be restored, nothing is kept.
    assert_eq!(sandbox.pail(&["umount", "--all"]).code, 0);
    assert_eq!(sandbox.pail(&["shutdown"]).code, 0);
    mount("three", &[]);
    assert_ne!(in_force().1, 96);
}

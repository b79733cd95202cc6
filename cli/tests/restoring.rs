//! What the daemon after a killed one brings back, through the real programs.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod sandbox;

use pail_devserver::{Fault, FaultAction};
use sandbox::{BUCKET, SECRET, Sandbox, run, skipped, wait_until};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

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

/// Creates files at a mount point as a job does that knows nothing of it, until it is told to stop.
fn create_all_along(dir: &Path, stop: &AtomicBool, refused: &AtomicU32) {
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        if fs::create_dir_all(dir.join("deep")).is_err()
            || fs::File::create(dir.join(format!("{number}"))).is_err()
        {
            refused.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Has the job end, also where the test fails.
struct Stops<'a>(&'a AtomicBool);

impl Drop for Stops<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

// SEMANTICS: writing.10
#[test]
fn after_a_kill_no_program_writes_into_the_bare_directory() {
    if !rustix::process::geteuid().is_root() {
        return skipped("through fusermount3 there is a moment in which it can");
    }
    let sandbox = Sandbox::new();
    let bare = sandbox.path("mnt");
    fs::create_dir(&bare).unwrap();
    sandbox.mounted();
    let (stop, refused) = (AtomicBool::new(false), AtomicU32::new(0));
    std::thread::scope(|scope| {
        let stops = Stops(&stop);
        let job = scope.spawn(|| create_all_along(&bare, &stop, &refused));
        for _ in 0..3 {
            sandbox.server.inject(Fault {
                times: 1,
                ..Fault::once(Some("ListObjectsV2"), FaultAction::Delay { ms: 300 })
            });
            sandbox.end_daemon(libc::SIGKILL);
            let before = refused.load(Ordering::Relaxed);
            wait_until("it is refused", || refused.load(Ordering::Relaxed) > before);
            sandbox.mounted();
            assert_eq!(sandbox.kernel_mounts().len(), 1, "nothing is beneath it");
        }
        drop(stops);
        job.join().unwrap();
    });
    assert_eq!(sandbox.pail(&["umount", "--all"]).code, 0);
    let found: Vec<_> =
        fs::read_dir(&bare).unwrap().map(|entry| entry.unwrap().file_name()).take(5).collect();
    assert!(found.is_empty(), "on the local disk: {found:?}");
}

// SEMANTICS: writing.10
#[test]
fn a_mount_that_cannot_be_restored_leaves_no_bare_directory() {
    for user in [None, Some(65534)] {
        let mut sandbox = Sandbox::new();
        if let Some(user) = user {
            if !rustix::process::geteuid().is_root() {
                return skipped("the tests are by an ordinary user already");
            }
            fs::set_permissions("/dev/fuse", fs::Permissions::from_mode(0o666)).unwrap();
            sandbox.give_to(user);
        }
        let mnt = sandbox.mounted();
        sandbox.end_daemon(libc::SIGKILL);
        sandbox.server.inject(Fault { times: u32::MAX, ..Fault::once(None, FaultAction::AccessDenied) });
        let ran = sandbox.pail(&["mount", &format!("s3://{BUCKET}"), &sandbox.at("mnt")]);
        assert_ne!(ran.code, 0, "{ran:?}");
        let mut write = Command::new("sh");
        write.args(["-c", &format!("echo 1 > {}", mnt.join("x").display())]).env("LC_ALL", "C");
        // As whoever may use the mount at all.
        user.into_iter().for_each(|user| _ = write.uid_of(user));
        let written = run(&mut write);
        assert!(written.code != 0 && written.err.contains("not connected"), "{user:?}: {written:?}");
        wait_until("it is told", || waits(&sandbox));
        let status = sandbox.pail(&["status"]);
        assert!(status.err.contains("Transport endpoint is not connected"), "{status:?}");
        assert_eq!(sandbox.status()["mounts"][0]["dead"], true);
        assert_eq!(sandbox.pail(&["umount", &sandbox.at("mnt")]).code, 0);
        assert!(sandbox.kernel_mounts().is_empty() && !mnt.exists());
    }
}

// SEMANTICS: writing.10
#[test]
fn a_restored_mount_says_what_it_hides() {
    for user in [None, Some(65534)] {
        let mut sandbox = Sandbox::new();
        if let Some(user) = user.filter(|_| rustix::process::geteuid().is_root()) {
            fs::set_permissions("/dev/fuse", fs::Permissions::from_mode(0o666)).unwrap();
            sandbox.give_to(user);
        }
        let mnt = sandbox.mounted();
        assert!(sandbox.status()["mounts"][0]["beneath"].is_null());
        // Ended with its mount, or killed and unmounted by somebody: the directory is bare.
        assert_eq!(sandbox.pail(&["shutdown"]).code, 0);
        fs::create_dir_all(mnt.join("run-1")).unwrap();
        for name in ["a", "b", "c", "d", "e"] {
            fs::write(mnt.join(name), "written meanwhile").unwrap();
        }
        // A mount of something else there would hide it.
        let other = sandbox.pail(&["mount", &format!("s3://{BUCKET}/other"), &sandbox.at("mnt")]);
        assert!(other.code == 2, "{other:?}");
        wait_until("it is back", || sandbox.status()["mounts"][0]["state"] == "mounted");
        let beneath = serde_json::json!({"names": ["a", "b", "c", "d", "e"], "count": 6});
        let told = |command: &[&str], code: i32| {
            let ran = sandbox.pail(command);
            let is_told = ran.err.contains("a, b, c, d, e")
                && ran.err.contains(&format!("pail umount {}", mnt.display()));
            assert!(ran.code == code && is_told, "{command:?}: {ran:?}");
        };
        assert_eq!(sandbox.status()["mounts"][0]["beneath"], beneath, "{user:?}");
        told(&["status"], 0);
        told(&["flush"], 5);
        // Killed, the next mount finds the same beneath.
        sandbox.end_daemon(libc::SIGKILL);
        told(&["mount", &format!("s3://{BUCKET}"), mnt.to_str().unwrap()], 0);
        assert_eq!(sandbox.status()["mounts"][0]["beneath"], beneath, "{user:?}");
        // It is there again, and a mount that is none of before is refused.
        assert_eq!(sandbox.pail(&["umount", "--all"]).code, 0);
        assert_eq!(fs::read_to_string(mnt.join("a")).unwrap(), "written meanwhile");
        let fresh = sandbox.pail(&["mount", &format!("s3://{BUCKET}"), &sandbox.at("mnt")]);
        assert!(fresh.code == 2 && fresh.err.contains("is not empty"), "{fresh:?}");
    }
}

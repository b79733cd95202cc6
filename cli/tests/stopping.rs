//! `pail shutdown`, through the real programs.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod sandbox;

use pail_devserver::{Fault, FaultAction};
use sandbox::{BUCKET, Sandbox, finish, run, skipped, wait_until};
use serde_json::Value;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};

#[test]
fn a_daemon_that_is_shut_down_publishes_ends_and_comes_back() {
    let sandbox = Sandbox::new();
    let mnt = sandbox.mounted();
    let pid = sandbox.daemon_pid().unwrap();
    let mut open = fs::File::create(mnt.join("log")).unwrap();
    open.write_all(b"so far").unwrap();
    let ran = sandbox.pail(&["shutdown"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.out.contains(&format!("stopped the daemon, process {pid}")), "{ran:?}");
    // Gone at once, with no wait here: its lock and its cache are free for another.
    assert!(!fs::exists(format!("/proc/{pid}/stat")).unwrap() || is_zombie(pid), "it has ended");
    assert!(sandbox.kernel_mounts().is_empty());
    drop(open);
    assert_eq!(
        std::fs::read_dir(sandbox.path("state/pail/dirty")).unwrap().count(),
        0,
        "nothing is left of it here"
    );
    assert_eq!(sandbox.object("log").as_deref(), Some("6"));
    assert!(sandbox.pail(&["status"]).out.contains("not mounted"));
    let ran = sandbox.pail(&["mount", &format!("s3://{BUCKET}/x"), &sandbox.at("second")]);
    assert_eq!(ran.code, 0, "{ran:?}");
    wait_until("it is back", || fs::read(mnt.join("log")).is_ok_and(|bytes| bytes == b"so far"));
    let left = &sandbox.status()["left_behind"];
    assert!(left.as_array().is_some_and(Vec::is_empty), "what is in the bucket is not left behind: {left}");
}

#[test]
fn shutting_down_twice_or_without_a_daemon_is_no_error() {
    let sandbox = Sandbox::new();
    let none = sandbox.pail(&["shutdown", "--json"]);
    assert_eq!(none.code, 0, "{none:?}");
    assert_eq!(serde_json::from_str::<Value>(&none.out).unwrap()["pid"], Value::Null);
    sandbox.mounted();
    let racers: Vec<_> = (0..3)
        .map(|_| {
            let mut command = sandbox.command(&["shutdown", "--json"]);
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    for racer in racers {
        let ran = finish(racer);
        assert_eq!(ran.code, 0, "{ran:?}");
        let stopped: Value = serde_json::from_str(&ran.out).unwrap();
        assert_eq!(stopped["remaining"], serde_json::json!([]), "{ran:?}");
    }
    assert_eq!(sandbox.daemon_pid(), None);
}

#[test]
fn what_a_shutdown_cannot_publish_by_its_deadline_is_named() {
    let sandbox = Sandbox::new();
    fs::create_dir_all(sandbox.path("config/pail")).unwrap();
    fs::write(sandbox.path("config/pail/config.toml"), "drain_timeout = \"500ms\"\n").unwrap();
    let mnt = sandbox.mounted();
    let mut open = fs::File::create(mnt.join("stuck")).unwrap();
    open.write_all(b"precious").unwrap();
    sandbox.server.inject(Fault {
        key_contains: Some("stuck".into()),
        times: u32::MAX,
        ..Fault::once(None, FaultAction::InternalError)
    });
    let ran = sandbox.pail(&["shutdown"]);
    assert_eq!(ran.code, 5, "{ran:?}");
    assert!(ran.err.contains("stuck") && ran.err.contains("state/pail"), "{ran:?}");
    assert_eq!(sandbox.daemon_pid(), None);
    drop(open);
}

#[test]
fn a_mistake_in_the_configuration_keeps_nobody_from_a_running_daemon() {
    let sandbox = Sandbox::new();
    let mount_point = sandbox.mounted();
    fs::create_dir_all(sandbox.path("config/pail")).unwrap();
    fs::write(sandbox.path("config/pail/config.toml"), "memroy = \"1G\"\n").unwrap();
    fs::write(mount_point.join("f"), "x").unwrap();
    for command in [&["status"][..], &["flush"], &["umount", "--all"], &["shutdown"]] {
        let ran = sandbox.pail(command);
        assert_eq!(ran.code, 0, "{command:?}: {ran:?}");
    }
    let ran = sandbox.pail(&["mount", &format!("s3://{BUCKET}"), &sandbox.at("mnt")]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.err.contains("config.toml") && ran.err.contains("memroy"), "{ran:?}");
}

#[test]
fn a_mount_in_the_foreground_is_one_process_which_tells_what_it_leaves() {
    let sandbox = Sandbox::new();
    fs::create_dir_all(sandbox.path("config/pail")).unwrap();
    fs::write(sandbox.path("config/pail/config.toml"), "drain_timeout = \"500ms\"\n").unwrap();
    let mut command =
        sandbox.command(&["mount", &format!("s3://{BUCKET}"), &sandbox.at("mnt"), "--foreground", "--json"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait_until("it is mounted", || !sandbox.kernel_mounts().is_empty());
    let pid = child.id() as i32;
    assert_eq!(sandbox.daemon_pid(), Some(pid));
    let input = fs::read_link(format!("/proc/{pid}/fd/0")).unwrap();
    assert_eq!(input, Path::new("/dev/null"), "what it was handed over, with its keys, is not kept");
    let mut open = fs::File::create(sandbox.path("mnt/stuck")).unwrap();
    open.write_all(b"precious").unwrap();
    sandbox.server.inject(Fault {
        key_contains: Some("stuck".into()),
        times: u32::MAX,
        ..Fault::once(None, FaultAction::InternalError)
    });
    // SAFETY: a signal to a child that was not waited for.
    assert_eq!(unsafe { libc::kill(pid, libc::SIGTERM) }, 0);
    let ran = finish(child);
    assert_eq!(ran.code, 5, "{ran:?}");
    assert!(ran.err.contains("error: 1 file is not in the bucket:\n"), "{ran:?}");
    assert!(ran.err.contains("stuck") && ran.err.contains("state/pail"), "{ran:?}");
    let outcome: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(outcome["spec"]["mount_point"], sandbox.at("mnt"), "{ran:?}");
    drop(open);
}

#[test]
fn a_mount_that_fails_in_the_foreground_fails_as_any_other() {
    let sandbox = Sandbox::new();
    let arguments = ["mount", "s3://no-such-bucket", &sandbox.at("mnt")];
    let ran = sandbox.pail(&[&arguments[..], &["--foreground"]].concat());
    // Afterwards: it leaves a daemon for a while.
    let other = sandbox.pail(&arguments);
    assert_eq!((ran.code, other.code), (3, 3), "{ran:?} {other:?}");
    assert!(ran.err.ends_with(&other.err), "{ran:?} {other:?}");
}

#[test]
fn a_command_without_the_daemon_s_program_says_where_it_belongs() {
    let sandbox = Sandbox::new();
    let alone = sandbox.path("pail");
    fs::copy(env!("CARGO_BIN_EXE_pail"), &alone).unwrap();
    let mount = ["mount", &format!("s3://{BUCKET}"), &sandbox.at("mnt")];
    for arguments in
        [&mount[..], &[&mount[..], &["--foreground"]].concat(), &["umount", "--all"], &["status"]]
    {
        let told = sandbox.command(arguments);
        let mut command = Command::new(&alone);
        command.args(arguments).env_clear();
        command.envs(told.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let ran = run(command.env("PATH", sandbox.path("")));
        assert_ne!(ran.code, 0, "{arguments:?}: {ran:?}");
        assert!(ran.err.starts_with("error: cannot start pail-mountd\n"), "{arguments:?}: {ran:?}");
        assert!(ran.err.contains("belongs beside the pail program"), "{arguments:?}: {ran:?}");
    }
}

#[test]
fn several_dead_mounts_are_given_up_by_one_command() {
    let sandbox = Sandbox::new();
    let places = ["one", "two", "three"].map(|name| sandbox.at(name));
    for place in &places {
        let ran = sandbox.pail(&["mount", &format!("s3://{BUCKET}"), place]);
        assert_eq!(ran.code, 0, "{ran:?}");
    }
    sandbox.end_daemon(libc::SIGKILL);
    assert_eq!(sandbox.kernel_mounts().len(), 3);
    let ran = sandbox.pail(&["umount", &places[0], &places[1], &places[2]]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(ran.out.lines().filter(|line| line.starts_with("unmounted ")).count(), 3, "{ran:?}");
    assert_eq!(sandbox.kernel_mounts(), Vec::<String>::new());
    assert!(places.iter().all(|place| !Path::new(place).exists()), "directories made for them are gone");
}

/// A daemon in a PID namespace of its own, which goes with the test.
struct Contained(Child);

impl Contained {
    fn mount(sandbox: &Sandbox) -> Self {
        let inner =
            sandbox.command(&["mount", &format!("s3://{BUCKET}"), &sandbox.at("mnt"), "--foreground"]);
        let mut command = Command::new("unshare");
        command.args(["--pid", "--fork", "--kill-child"]).arg(inner.get_program()).args(inner.get_args());
        command.env_clear().envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        wait_until("it is mounted", || !sandbox.kernel_mounts().is_empty());
        Self(child)
    }
}

impl Drop for Contained {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_daemon_of_another_pid_namespace_is_waited_for_and_no_other_process() {
    if !rustix::process::geteuid().is_root() {
        return skipped("only root can make a PID namespace without a user namespace");
    }
    let sandbox = Sandbox::new();
    let mut contained = Contained::mount(&sandbox);
    assert_eq!(sandbox.daemon_pid(), Some(1), "by its own word it is what another process is here");
    let ran = sandbox.pail(&["shutdown"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(sandbox.kernel_mounts().is_empty());
    let ended = contained.0.wait().unwrap();
    assert_eq!(ended.code(), Some(0), "{ended:?}");
}

#[test]
fn a_daemon_that_hangs_ends_with_its_sandbox() {
    let sandbox = Sandbox::new();
    sandbox.mounted();
    let pid = sandbox.daemon_pid().unwrap();
    assert_eq!(sandbox.processes(), [pid]);
    // SAFETY: a signal to the daemon of this sandbox.
    assert_eq!(unsafe { libc::kill(pid, libc::SIGSTOP) }, 0);
    let mnt = sandbox.at("mnt");
    drop(sandbox);
    assert!(!Path::new(&format!("/proc/{pid}")).exists() || is_zombie(pid));
    assert!(!fs::read_to_string("/proc/self/mountinfo").unwrap().contains(&mnt));
}

/// It ended, and this container's init has not looked yet.
fn is_zombie(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") Z "))
}

//! What happens to unpublished files when a mount or a daemon ends, through the real programs.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod sandbox;

use pail_devserver::{Fault, FaultAction};
use sandbox::{BUCKET, Sandbox, finish, run, wait_until};
use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

#[test]
fn a_stopped_daemon_publishes_what_is_open_and_the_next_one_mounts_again() {
    let sandbox = Sandbox::new();
    let mnt = sandbox.mounted();
    let mut open = fs::File::create(mnt.join("log")).unwrap();
    open.write_all(b"so far").unwrap();
    sandbox.end_daemon(libc::SIGTERM);
    drop(open);
    assert_eq!(sandbox.object("log").as_deref(), Some("6"));
    assert!(sandbox.kernel_mounts().is_empty(), "a busy mount is detached");
    let ran = sandbox.pail(&["mount", &format!("s3://{BUCKET}/x"), &sandbox.at("second")]);
    assert_eq!(ran.code, 0, "{ran:?}");
    wait_until("it is back", || fs::read(mnt.join("log")).is_ok_and(|bytes| bytes == b"so far"));
}

#[test]
fn a_busy_mount_stays_unless_forced_and_its_user_is_named() {
    let sandbox = Sandbox::new();
    let mnt = sandbox.mounted();
    let open = fs::File::create(mnt.join("open")).unwrap();
    let refused = sandbox.pail(&["umount", &sandbox.at("mnt")]);
    assert_ne!(refused.code, 0, "{refused:?}");
    assert!(refused.err.contains(&std::process::id().to_string()), "{refused:?}");
    assert_eq!(sandbox.kernel_mounts().len(), 1);
    let forced = sandbox.pail(&["umount", &sandbox.at("mnt"), "--force"]);
    assert!(sandbox.kernel_mounts().is_empty(), "{forced:?}");
    drop(open);
}

#[test]
fn what_cannot_be_published_keeps_the_mount_and_is_named() {
    let sandbox = Sandbox::new();
    let mnt = sandbox.mounted();
    sandbox.server.inject(Fault {
        key_contains: Some("stuck".into()),
        times: u32::MAX,
        ..Fault::once(None, FaultAction::InternalError)
    });
    let writer = Command::new("sh")
        .args(["-c", "echo precious > stuck"])
        .current_dir(&mnt)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_until("it is seen", || !sandbox.status()["mounts"][0]["fs"]["unpublished"][0].is_null());
    wait_until("the cause is told", || {
        let status = sandbox.pail(&["status"]);
        status.err.contains("1 request is tried again: PutObject demo-bucket/stuck: ")
    });
    let flush = sandbox.pail(&["flush", "--timeout", "500ms"]);
    assert_eq!(flush.code, 5, "{flush:?}");
    assert!(flush.err.contains("stuck"), "{flush:?}");
    let hint = "hint: mend the cause and try again";
    assert!(flush.err.contains(hint), "{flush:?}");
    let umount = sandbox.pail(&["umount", &sandbox.at("mnt"), "--timeout", "500ms"]);
    assert_eq!(umount.code, 5, "{umount:?}");
    assert!(umount.err.contains("stuck") && umount.err.contains("state/pail"), "{umount:?}");
    assert!(umount.err.contains(hint) && umount.err.contains("--force"), "{umount:?}");
    assert_eq!(sandbox.kernel_mounts().len(), 1);
    sandbox.server.clear_faults();
    let ran = finish(writer);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(!sandbox.pail(&["status"]).err.contains("tried again"), "what is over is told no more");
    let umount = sandbox.pail(&["umount", &sandbox.at("mnt")]);
    assert_eq!(umount.code, 0, "{umount:?}");
    assert_eq!(sandbox.object("stuck").as_deref(), Some("9"));
}

// SEMANTICS: writing.4
#[test]
fn what_a_child_closes_last_while_the_end_flushes_is_published() {
    for end in [&["umount", "--all"][..], &["umount", "--all", "--force"], &["shutdown"]] {
        let sandbox = Sandbox::new();
        sandbox.mounted();
        let (log, go) = (sandbox.at("mnt/log"), sandbox.at("go"));
        // The child has what its parent opened; the parent is gone.
        let script = format!(
            "exec 9>{log}; (while [ ! -e {go} ]; do sleep 0.02; done; echo more >&9; touch {go}ne) & exit 0"
        );
        assert!(Command::new("sh").args(["-c", &script]).status().unwrap().success());
        let fault = Fault {
            key_contains: Some("slow".into()),
            times: u32::MAX,
            ..Fault::once(None, FaultAction::InternalError)
        };
        sandbox.server.inject(fault);
        let mut writer =
            Command::new("sh").args(["-c", &format!("echo x > {}", sandbox.at("mnt/slow"))]).spawn().unwrap();
        wait_until("it is seen", || !sandbox.status()["mounts"][0]["fs"]["unpublished"][0].is_null());
        let mut command = sandbox.command(end);
        let ending = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        wait_until("the end flushes", || sandbox.status()["mounts"][0]["state"] == "unmounting");
        sandbox.server.inject(Fault {
            key_contains: Some("log".into()),
            ..Fault::once(Some("PutObject"), FaultAction::Delay { ms: 3_000 })
        });
        fs::write(&go, "").unwrap();
        wait_until("it has written", || sandbox.path("gone").exists());
        wait_until("it is being published", || sandbox.status()["mounts"][0]["fs"]["publishing"] == 2);
        let puts = || {
            let requests = sandbox.server.requests();
            requests.iter().filter(|request| request.operation == "PutObject" && request.key == "log").count()
        };
        wait_until("it is asked for", || puts() == 2);
        sandbox.server.clear_faults();
        let ran = finish(ending);
        assert_eq!(ran.code, 0, "{end:?}: {ran:?}");
        assert!(writer.wait().unwrap().success());
        assert_eq!(sandbox.bytes_of("log"), b"more\n", "{end:?}");
        assert!(sandbox.kernel_mounts().is_empty(), "{end:?}");
    }
}

#[test]
fn a_mount_that_somebody_else_unmounts_leaves_the_list() {
    let sandbox = Sandbox::new();
    sandbox.mounted();
    assert!(Command::new("fusermount3").args(["-u", &sandbox.at("mnt")]).status().unwrap().success());
    wait_until("it is off the list", || sandbox.status()["mounts"].as_array().is_some_and(Vec::is_empty));
    wait_until("its directory is gone", || !sandbox.path("mnt").exists());
}

#[test]
fn paths_outside_of_mounts_are_not_found() {
    let sandbox = Sandbox::new();
    sandbox.mounted();
    for arguments in [["flush", "/"], ["umount", "/"]] {
        let ran = sandbox.pail(&arguments);
        assert_eq!(ran.code, 3, "{ran:?}");
    }
}

#[test]
fn a_flush_says_of_which_paths_it_knows_nothing() {
    let sandbox = Sandbox::new();
    let mnt = sandbox.mounted();
    fs::create_dir_all(mnt.join("dir/empty")).unwrap();
    fs::write(mnt.join("dir/file"), "1").unwrap();
    let flush = |name: &str, code: i32, told: &str| {
        let ran = sandbox.pail(&["flush", &sandbox.at(name)]);
        assert!(
            ran.code == code && (ran.out + &ran.err).contains(told),
            "{name}: {code} {told:?} {}",
            ran.code
        );
    };
    for name in ["mnt", "mnt/", "mnt/dir", "mnt/dir/file", "mnt/dir/empty", "run/../mnt/dir"] {
        flush(name, 0, "everything is in the bucket");
    }
    for name in ["mnt/fiel", "mnt/dir/fiel", "mnt/none/file", "mnt/dir/file/x"] {
        flush(name, 3, "there is nothing at");
    }
    for name in ["other", "mnt/../other", "mntx"] {
        flush(name, 3, "is in no mount\nhint: `pail status`");
    }
    assert_eq!(sandbox.pail(&["shutdown"]).code, 0);
    flush("other", 3, "is in no mount: no daemon is running");
    for name in ["mnt", "mnt/dir/file"] {
        flush(name, 5, "is not in service");
    }
}

#[test]
fn metrics_count_what_was_done() {
    let sandbox = Sandbox::new();
    let mnt = sandbox.mounted();
    sandbox.server.inject(Fault {
        key_contains: Some("x".into()),
        ..Fault::once(Some("PutObject"), FaultAction::InternalError)
    });
    fs::write(mnt.join("x"), "1").unwrap();
    let socket = sandbox.at("run/control.sock");
    let client = pail_control::Client::new(&socket);
    let text = sandbox.runtime.block_on(client.metrics()).unwrap();
    assert!(text.contains("pail_mounts{state=\"mounted\"} 1"), "{text}");
    assert!(text.contains("pail_operations_total{"), "{text}");
    let of_mount = |name: &str, label: &str| {
        let place = mnt.display();
        let begin = match label {
            "" => format!("{name}{{mount=\"{place}\"}} "),
            label => format!("{name}{{mount=\"{place}\",{label}}} "),
        };
        let line = text.lines().find_map(|line| line.strip_prefix(begin.as_str()));
        line.unwrap_or_else(|| panic!("{begin} is not in\n{text}")).parse::<u64>().unwrap()
    };
    assert!(of_mount("pail_store_requests_total", "operation=\"PutObject\"") >= 2);
    assert!(of_mount("pail_store_errors_total", "kind=\"server\"") >= 1);
    assert!(of_mount("pail_store_retries_total", "") >= 1);
    assert!(of_mount("pail_store_sent_bytes_total", "") >= 1);
    assert_eq!(of_mount("pail_store_received_bytes_total", ""), 0);
    of_mount("pail_store_requests_in_flight", "");
    assert!(text.ends_with("# EOF\n"), "{text}");
    let status = sandbox.pail(&["status", "--verbose"]);
    assert!(status.out.contains("PutObject") && status.out.contains("server 1"), "{status:?}");
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&socket).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_removal_whose_caller_was_killed_is_waited_for_at_the_end() {
    for end in [&["shutdown"][..], &["umount", "--all"]] {
        let sandbox = Sandbox::new();
        let mnt = sandbox.mounted();
        fs::write(mnt.join("f"), "x").unwrap();
        sandbox.server.inject(Fault {
            times: u32::MAX,
            ..Fault::once(Some("DeleteObject"), FaultAction::InternalError)
        });
        let asked = || {
            let requests = sandbox.server.requests();
            requests
                .iter()
                .filter(|request| request.operation == "DeleteObject" && request.key == "f")
                .count()
        };
        let mut rm = Command::new("rm").arg(mnt.join("f")).spawn().unwrap();
        wait_until("it is being removed", || asked() > 0);
        rm.kill().unwrap();
        rm.wait().unwrap();
        let mut command = sandbox.command(end);
        let mut ending = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // It is asked for again and again, for as long as somebody is there to ask.
        let before = asked();
        wait_until("the end waits", || asked() > before + 1 || ending.try_wait().unwrap().is_some());
        sandbox.server.clear_faults();
        let ran = finish(ending);
        assert_eq!(ran.code, 0, "{end:?}: {ran:?}");
        assert_eq!(sandbox.object("f"), None, "{end:?}");
    }
}

// SEMANTICS: writing.3
#[test]
fn more_files_that_cannot_be_published_than_the_shell_s_limit_are_kept_and_flushed() {
    const LIMIT: usize = 128;
    let sandbox = Sandbox::new();
    let mount = sandbox.command(&["mount", &format!("s3://{BUCKET}"), &sandbox.at("mnt")]);
    let mut limited = Command::new("prlimit");
    limited.arg(format!("--nofile={LIMIT}:")).arg(mount.get_program()).args(mount.get_args()).env_clear();
    limited.envs(mount.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let mounted = run(&mut limited);
    assert_eq!(mounted.code, 0, "{mounted:?}");
    let denied = Fault::once(Some("PutObject"), FaultAction::AccessDenied);
    sandbox.server.inject(Fault { times: u32::MAX, ..denied });
    for number in 0..2 * LIMIT {
        let mut file = fs::File::create(sandbox.path("mnt").join(number.to_string())).unwrap();
        file.write_all(b"x").unwrap();
        // Its error is lost with this close.
    }
    sandbox.server.clear_faults();
    fs::write(sandbox.path("mnt/after"), "x").unwrap();
    let flushed = sandbox.pail(&["flush"]);
    assert_eq!(flushed.code, 0, "{flushed:?}");
    assert!(sandbox.object(&(2 * LIMIT - 1).to_string()).is_some());
}

#[test]
fn a_flush_says_where_a_mount_was_taken_away_or_covered_just_now() {
    let sandbox = Sandbox::new();
    let mnt = sandbox.mounted();
    assert_eq!(sandbox.pail(&["flush"]).code, 0);
    if !run(Command::new("mount").args(["-t", "tmpfs", "tmpfs"]).arg(&mnt)).err.is_empty() {
        return sandbox::skipped("only root can mount a tmpfs over it");
    }
    fs::write(mnt.join("lost"), "elsewhere").unwrap();
    let flushed = sandbox.pail(&["flush", &sandbox.at("mnt")]);
    run(Command::new("umount").arg(&mnt));
    assert!(flushed.code == 5 && flushed.err.contains("covered, by somebody else"), "{flushed:?}");
    assert_eq!(sandbox.pail(&["flush"]).code, 0);
}

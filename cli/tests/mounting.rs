//! Mounting, and each way in which it can go wrong, through the real programs.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod sandbox;

use sandbox::{BUCKET, SECRET, Sandbox, finish, run, skipped, wait_until};
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

/// Nothing of a failed mount is left.
fn assert_nothing_left(sandbox: &Sandbox) {
    assert_eq!(sandbox.kernel_mounts(), Vec::<String>::new());
    assert_eq!(sandbox.status()["mounts"], serde_json::json!([]));
    let list = fs::read_to_string(sandbox.path("state/pail/mounts.json")).unwrap_or("[]".into());
    assert_eq!(list.trim(), "[]");
}

#[test]
fn what_is_written_arrives_and_the_created_directory_goes_again() {
    let sandbox = Sandbox::new();
    let ran = sandbox.pail(&["mount", &format!("s3://{BUCKET}"), &sandbox.at("a/b"), "--json"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let outcome: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((&outcome["created_directory"], &outcome["already_mounted"]), (&true.into(), &false.into()));
    fs::write(sandbox.path("a/b/file"), "12345").unwrap();
    assert_eq!(sandbox.object("file").as_deref(), Some("5"));
    let ran = sandbox.pail(&["flush", &sandbox.at("a/b/file")]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let ran = sandbox.pail(&["umount", &sandbox.at("a/b")]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(!sandbox.path("a").exists(), "what was created for the mount is removed");
    assert_nothing_left(&sandbox);
}

#[test]
fn a_prefix_is_a_mount_of_its_own() {
    let sandbox = Sandbox::new();
    let ran = sandbox.pail(&["mount", &format!("s3://{BUCKET}/runs/1"), &sandbox.at("mnt")]);
    assert_eq!(ran.code, 0, "{ran:?}");
    fs::write(sandbox.path("mnt/x"), "1").unwrap();
    assert!(sandbox.object("runs/1/x").is_some());
}

#[test]
fn a_prefix_with_nothing_below_it_is_told_and_mounted_all_the_same() {
    let sandbox = Sandbox::new();
    sandbox.put("runs/1/x", "1");
    let mount = |prefix: &str, arguments: &[&str]| {
        let (uri, place) = (format!("s3://{BUCKET}/{prefix}"), sandbox.at(&prefix.replace('/', "-")));
        let ran = sandbox.pail(&[&["mount", &uri, &place], arguments].concat());
        assert_eq!(ran.code, 0, "{ran:?}");
        ran
    };
    let typo = mount("rnus", &[]);
    assert!(typo.err.contains(&format!("nothing is below s3://{BUCKET}/rnus/ yet")), "{typo:?}");
    let json: serde_json::Value = serde_json::from_str(&mount("runs/2", &["--json"]).out).unwrap();
    assert_eq!(json["empty_prefix"], true, "{json}");
    assert!(!mount("runs/1", &[]).err.contains("nothing is below"));
    fs::write(sandbox.path("rnus/x"), "1").unwrap();
    assert_eq!(sandbox.object("rnus/x").as_deref(), Some("1"));
}

#[test]
fn an_object_is_not_mounted_as_a_prefix() {
    let sandbox = Sandbox::new();
    sandbox.put("data/file.txt", "12345");
    for uri in [format!("s3://{BUCKET}/data/file.txt"), format!("s3://{BUCKET}/data/file.txt/")] {
        let ran = sandbox.pail(&["mount", &uri, &sandbox.at("mnt")]);
        assert_eq!(ran.code, 2, "{ran:?}");
        let told = format!("s3://{BUCKET}/data/file.txt is an object (5 B), not a prefix\n");
        assert!(ran.err.contains(&told), "{ran:?}");
        let hint = format!("hint: mount s3://{BUCKET}/data, where it is the file file.txt");
        assert!(ran.err.contains(&hint), "{ran:?}");
        assert_nothing_left(&sandbox);
    }
    // With something below it, the name is a directory's too.
    sandbox.put("data/file.txt/x", "1");
    let mnt = sandbox.path("mnt");
    let ran = sandbox.pail(&["mount", &format!("s3://{BUCKET}/data/file.txt"), &sandbox.at("mnt")]);
    assert!(ran.code == 0 && mnt.join("x").exists(), "{ran:?}");
}

#[test]
fn keys_that_no_file_can_have_are_told_with_what_to_do() {
    let sandbox = Sandbox::new();
    sandbox.put("a//b", "1");
    sandbox.put("x", "1");
    let mnt = sandbox.mounted();
    assert_eq!(fs::read_dir(&mnt).unwrap().count(), 2);
    assert_eq!(fs::read_dir(mnt.join("a")).unwrap().count(), 0);
    let ran = sandbox.pail(&["status"]);
    assert!(ran.err.contains("mnt: 1 key cannot be shown as files: a name in them is empty"), "{ran:?}");
    let all = format!("pail ls -r s3://{BUCKET} --endpoint-url {}", sandbox.server.endpoint_url());
    assert!(ran.err.contains(&format!("hint: `{all}` lists all keys")), "{ran:?}");
}

#[test]
fn a_runtime_directory_that_is_too_long_for_a_socket_is_told_before_anything_is_started() {
    let sandbox = Sandbox::new();
    let long = sandbox.at(&"r".repeat(100));
    for arguments in [&["status"][..], &["mount", &format!("s3://{BUCKET}"), &sandbox.at("mnt")]] {
        let ran = run(sandbox.command(arguments).env("PAIL_RUNTIME_DIR", &long));
        assert_eq!(ran.code, 2, "{ran:?}");
        let len = long.len() + "/control.sock".len();
        let told = format!("{long}/control.sock has {len} bytes, of 107 that the kernel takes");
        assert!(ran.err.contains(&told) && ran.err.contains("hint: set PAIL_RUNTIME_DIR"), "{ran:?}");
    }
    assert!(!sandbox.path("state").exists());
}

#[test]
fn any_path_that_is_text_is_a_mount_point_and_no_other_one() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let sandbox = Sandbox::new();
    let uri = format!("s3://{BUCKET}");
    for name in ["new\nline", " spaces and \t tabs ", "ümläut", "back\\slash#"] {
        let place = sandbox.at(name);
        let ran = sandbox.pail(&["mount", &uri, &place]);
        assert_eq!(ran.code, 0, "{ran:?}");
        fs::write(sandbox.path(name).join("x"), "1").unwrap();
        assert_eq!(sandbox.status()["mounts"][0]["spec"]["mount_point"], place.as_str());
        assert_eq!(sandbox.pail(&["flush", &format!("{place}/x")]).code, 0);
        let ran = sandbox.pail(&["umount", &place]);
        assert_eq!(ran.code, 0, "{ran:?}");
        assert!(!sandbox.path(name).exists());
    }
    let bytes = sandbox.path("").join(OsStr::from_bytes(b"latin-\xfc"));
    for command in ["mount", "umount", "flush"] {
        let mut pail = sandbox.command(&[command]);
        if command == "mount" {
            pail.arg(&uri);
        }
        let ran = run(pail.arg(&bytes));
        assert_eq!(ran.code, 2, "{ran:?}");
        assert!(ran.err.contains("latin-\\xFC\" is not UTF-8") && ran.err.contains("hint: "), "{ran:?}");
    }
    assert!(!bytes.exists());
}

#[test]
fn a_file_is_no_mount_point() {
    let sandbox = Sandbox::new();
    fs::write(sandbox.path("file"), "").unwrap();
    let ran = sandbox.pail(&["mount", &format!("s3://{BUCKET}"), &sandbox.at("file")]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.err.contains("file is not a directory") && ran.err.contains("hint: "), "{ran:?}");
    assert_nothing_left(&sandbox);
}

#[test]
fn a_directory_that_is_not_empty_is_refused_with_what_is_in_it() {
    let sandbox = Sandbox::new();
    fs::create_dir(sandbox.path("full")).unwrap();
    fs::write(sandbox.path("full/precious"), "").unwrap();
    let ran = sandbox.pail(&["mount", &format!("s3://{BUCKET}"), &sandbox.at("full")]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.err.contains("is not empty") && ran.err.contains("precious"), "{ran:?}");
    assert_nothing_left(&sandbox);
}

#[test]
fn the_same_again_does_nothing_and_another_target_is_refused() {
    let sandbox = Sandbox::new();
    let mnt = sandbox.mounted();
    fs::write(mnt.join("kept"), "").unwrap();
    let again = sandbox.pail(&["mount", &format!("s3://{BUCKET}/"), &sandbox.at("mnt")]);
    assert_eq!(again.code, 0, "{again:?}");
    assert!(again.out.contains("already"), "{again:?}");

    sandbox.runtime.block_on(sandbox.server.create_bucket("other-bucket")).unwrap();
    let other = sandbox.pail(&["mount", "s3://other-bucket", &sandbox.at("mnt")]);
    assert_eq!(other.code, 2, "{other:?}");
    assert!(other.err.contains(BUCKET) && other.err.contains("other-bucket"), "{other:?}");

    let options = sandbox.pail(&["mount", &format!("s3://{BUCKET}"), &sandbox.at("mnt"), "--read-only"]);
    assert_eq!(options.code, 2, "{options:?}");
    assert!(options.err.contains("read-only false (asked: true)"), "{options:?}");
    let modes = sandbox.pail(&["mount", &format!("s3://{BUCKET}"), &sandbox.at("mnt"), "--file-mode", "600"]);
    assert!(modes.err.contains("file-mode 644 (asked: 600)"), "{modes:?}");
    assert!(mnt.join("kept").exists());
}

#[test]
fn a_mount_within_a_mount_and_over_another_file_system_is_refused() {
    let sandbox = Sandbox::new();
    let mnt = sandbox.mounted();
    let inside = sandbox.pail(&["mount", &format!("s3://{BUCKET}"), &sandbox.at("mnt/inside")]);
    assert_eq!(inside.code, 2, "{inside:?}");
    assert!(!mnt.join("inside").exists());
    let proc = sandbox.pail(&["mount", &format!("s3://{BUCKET}"), "/proc"]);
    assert_eq!(proc.code, 2, "{proc:?}");
    assert!(proc.err.contains("is a mount point already"), "{proc:?}");
}

#[test]
fn a_dead_mount_is_seen_and_recovered() {
    let sandbox = Sandbox::new();
    let mnt = sandbox.mounted();
    fs::write(mnt.join("before"), "1").unwrap();
    sandbox.end_daemon(libc::SIGKILL);
    // The daemon's last thread takes the session with it, which may be a moment after its first has gone; what was asked in that
    // moment is aborted. stat may still be answered from what the kernel remembers; a listing is not.
    wait_until("the mount is dead", || {
        fs::read_dir(&mnt).is_err_and(|error| error.raw_os_error() == Some(libc::ENOTCONN))
    });
    let status = sandbox.pail(&["status"]);
    assert!(status.out.contains("dead mount"), "{status:?}");
    // Another mount starts the daemon, which brings this one back: its keys come from the environment of who starts it.
    let ran = sandbox.pail(&["mount", &format!("s3://{BUCKET}/other"), &sandbox.at("second")]);
    assert_eq!(ran.code, 0, "{ran:?}");
    wait_until("the mount is back", || fs::read(mnt.join("before")).is_ok_and(|bytes| bytes == b"1"));
    let umount = sandbox.pail(&["umount", "--all"]);
    assert_eq!(umount.code, 0, "{umount:?}");
    assert_nothing_left(&sandbox);
}

#[test]
fn a_dead_mount_can_be_given_up_without_a_daemon() {
    let sandbox = Sandbox::new();
    sandbox.mounted();
    sandbox.end_daemon(libc::SIGKILL);
    let ran = sandbox.pail(&["umount", &sandbox.at("mnt")]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(!sandbox.path("mnt").exists());
    assert_eq!(sandbox.daemon_pid(), None, "no daemon was started for it");
    let again = sandbox.pail(&["umount", &sandbox.at("mnt")]);
    assert_eq!(again.code, 3, "{again:?}");
}

#[test]
fn a_missing_bucket_is_an_error_unless_it_is_to_be_created() {
    let sandbox = Sandbox::new();
    let missing = sandbox.pail(&["mount", "s3://not-there", &sandbox.at("mnt")]);
    assert_eq!(missing.code, 3, "{missing:?}");
    assert!(missing.err.contains("--create"), "{missing:?}");
    assert!(!sandbox.path("mnt").exists());
    assert_nothing_left(&sandbox);
    let created = sandbox.pail(&["mount", "s3://not-there", &sandbox.at("mnt"), "--create"]);
    assert_eq!(created.code, 0, "{created:?}");
    let invalid = sandbox.pail(&["mount", "s3://Not_A_Bucket", &sandbox.at("x")]);
    assert_eq!(invalid.code, 2, "{invalid:?}");
}

#[test]
fn wrong_keys_and_no_keys_are_told_apart() {
    let sandbox = Sandbox::new();
    let uri = format!("s3://{BUCKET}");
    let wrong =
        run(sandbox.command(&["mount", &uri, &sandbox.at("m")]).env("AWS_SECRET_ACCESS_KEY", "wrong-one"));
    assert_eq!(wrong.code, 4, "{wrong:?}");
    assert!(wrong.err.contains("AWS_SECRET_ACCESS_KEY") && !wrong.err.contains("wrong-one"), "{wrong:?}");
    let mut command = sandbox.command(&["mount", &uri, &sandbox.at("m")]);
    let none = run(command.env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY"));
    assert_eq!(none.code, 4, "the daemon's own environment is not this caller's: {none:?}");
    assert!(none.err.contains("no keys"), "{none:?}");
    let half = run(sandbox.command(&["mount", &uri, &sandbox.at("m")]).env_remove("AWS_SECRET_ACCESS_KEY"));
    assert_eq!(half.code, 4, "{half:?}");
    assert!(half.err.contains("AWS_SECRET_ACCESS_KEY is not"), "{half:?}");
    assert_nothing_left(&sandbox);
}

#[test]
fn each_mount_has_the_keys_of_its_own_caller_and_none_is_kept() {
    let sandbox = Sandbox::new();
    let uri = format!("s3://{BUCKET}");
    // The daemon is started by somebody without keys.
    let mut first = sandbox.command(&["mount", &uri, &sandbox.at("first")]);
    assert_eq!(run(first.env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY")).code, 4);
    fs::write(sandbox.mounted().join("file"), "x").unwrap();
    for entry in walk(&sandbox.path("state")).into_iter().chain(walk(&sandbox.path("cache"))) {
        let content = fs::read(&entry).unwrap_or_default();
        let found = content.windows(SECRET.len()).any(|window| window == SECRET.as_bytes());
        assert!(!found, "the secret is in {}", entry.display());
    }
    let pid = sandbox.daemon_pid().unwrap();
    let argv = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
    assert!(!argv.contains(SECRET));
}

#[test]
fn a_restored_mount_without_its_keys_says_what_to_do() {
    let sandbox = Sandbox::new();
    sandbox.mounted();
    sandbox.end_daemon(libc::SIGKILL);
    let mut keyless = sandbox.command(&["mount", "s3://not-there", &sandbox.at("other")]);
    run(keyless.env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY"));
    wait_until("the failure shows", || sandbox.status()["mounts"][0]["state"] == "failed");
    let status = sandbox.pail(&["status"]);
    assert!(status.err.contains("never kept on disk"), "{status:?}");
    // With keys again the same command brings it back.
    assert!(fs::read_dir(sandbox.mounted()).is_ok());
    assert_eq!(sandbox.status()["mounts"][0]["state"], "mounted");
}

#[test]
fn an_endpoint_is_taken_as_people_write_it_and_told_when_it_cannot_be() {
    let sandbox = Sandbox::new();
    let uri = format!("s3://{BUCKET}");
    let url = sandbox.server.endpoint_url();
    let bare = url.strip_prefix("http://").unwrap();
    let commands: [&[&str]; 2] = [&["mount", &uri, &sandbox.at("mnt")], &["ls", &uri]];
    for command in commands {
        let refused = sandbox.pail(&[command, &["--endpoint-url", bare]].concat());
        assert_eq!(refused.code, 2, "{refused:?}");
        assert!(refused.err.contains(&format!("write http://{bare} or https://{bare}")), "{refused:?}");
        assert!(refused.err.contains("hint: "), "{refused:?}");
    }
    assert_eq!(sandbox.daemon_pid(), None, "no daemon was started for it");
    let port = bare.rsplit(':').next().unwrap();
    for spelling in [format!("{url}/"), format!("HTTP://LocalHost:{port}")] {
        let ran = run(sandbox.command(&["ls", &uri]).env("AWS_ENDPOINT_URL", &spelling));
        assert_eq!(ran.code, 0, "{spelling}: {ran:?}");
    }
}

#[test]
fn an_endpoint_that_does_not_answer_is_told_in_bounded_time() {
    let sandbox = Sandbox::new();
    // Connections are taken by the kernel's backlog, and nobody ever answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap();
    let closed_at = closed.local_addr().unwrap();
    drop(closed);
    for address in [silent.local_addr().unwrap(), closed_at] {
        let url = format!("http://{address}");
        let uri = format!("s3://{BUCKET}");
        let ran = sandbox.pail(&["mount", &uri, &sandbox.at("mnt"), "--endpoint-url", &url]);
        assert_eq!(ran.code, 6, "{ran:?}");
        assert!(ran.err.contains(&url), "{ran:?}");
        assert!(!sandbox.path("mnt").exists());
    }
    assert_nothing_left(&sandbox);
}

#[test]
fn a_log_on_a_full_disk_keeps_no_daemon_from_working() {
    let sandbox = Sandbox::new();
    let state = sandbox.path("state/pail");
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&state).unwrap();
    std::os::unix::fs::symlink("/dev/full", state.join("mountd.log")).unwrap();
    let mnt = sandbox.mounted();
    fs::write(mnt.join("x"), "1").unwrap();
    assert_eq!(sandbox.object("x").as_deref(), Some("1"));
}

#[test]
fn users_and_groups_are_given_by_name() {
    use std::os::unix::fs::MetadataExt;
    let sandbox = Sandbox::new();
    sandbox.put("file", "1");
    let mnt = sandbox.mounted_with(&["--uid", "daemon", "--gid", "daemon"]);
    let number = |flag| run(Command::new("id").args([flag, "daemon"])).out.trim().parse().unwrap();
    let shown = fs::metadata(mnt.join("file")).unwrap();
    assert_eq!((shown.uid(), shown.gid()), (number("-u"), number("-g")));
    let ran = sandbox.pail(&["mount", &format!("s3://{BUCKET}"), &sandbox.at("x"), "--uid", "nobdy"]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.err.contains("'nobdy'") && ran.err.contains("no user of that name"), "{ran:?}");
}

#[test]
fn a_read_only_mount_refuses_writes() {
    let sandbox = Sandbox::new();
    let ran = sandbox.pail(&["mount", &format!("s3://{BUCKET}"), &sandbox.at("mnt"), "--read-only"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let refused = fs::write(sandbox.path("mnt/x"), "1").unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(libc::EROFS));
}

#[test]
fn other_budgets_than_those_in_force_are_refused() {
    let sandbox = Sandbox::new();
    sandbox.mounted();
    let uri = format!("s3://{BUCKET}/p");
    let ran =
        sandbox.pail(&["mount", &uri, &sandbox.at("second"), "--memory", "128M", "--cache-dir", "/else"]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.err.contains("memory 128M (in force: 64M)") && ran.err.contains("/else"), "{ran:?}");
    assert!(!sandbox.path("second").exists());
    let same = sandbox.pail(&["mount", &uri, &sandbox.at("second"), "--memory", "64M"]);
    assert_eq!(same.code, 0, "{same:?}");
}

#[test]
fn commands_that_race_end_up_with_one_daemon() {
    let sandbox = Sandbox::new();
    let racers: Vec<_> = (0..6)
        .map(|n| {
            let mut command =
                sandbox.command(&["mount", &format!("s3://{BUCKET}/{n}"), &sandbox.at(&format!("m{n}"))]);
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    for racer in racers {
        let ran = finish(racer);
        assert_eq!(ran.code, 0, "{ran:?}");
    }
    assert_eq!(sandbox.status()["mounts"].as_array().unwrap().len(), 6);
    assert_eq!(sandbox.kernel_mounts().len(), 6);
}

#[test]
fn the_same_mount_asked_for_by_many_at_once_is_made_once() {
    let sandbox = Sandbox::new();
    let racers: Vec<_> = (0..4)
        .map(|_| {
            let mut command = sandbox.command(&["mount", &format!("s3://{BUCKET}"), &sandbox.at("mnt")]);
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    let outs: Vec<_> = racers.into_iter().map(finish).collect();
    assert!(outs.iter().all(|ran| ran.code == 0), "{outs:?}");
    assert_eq!(outs.iter().filter(|ran| !ran.out.contains("already")).count(), 1, "{outs:?}");
    assert_eq!(sandbox.kernel_mounts().len(), 1);
}

#[test]
fn the_foreground_holds_one_mount_and_ends_with_it() {
    let sandbox = Sandbox::new();
    let mut command =
        sandbox.command(&["mount", &format!("s3://{BUCKET}"), &sandbox.at("mnt"), "--foreground"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait_until("it is mounted", || !sandbox.kernel_mounts().is_empty());
    wait_until("it can be written", || fs::write(sandbox.path("mnt/x"), "1").is_ok());
    let umount = sandbox.pail(&["umount", &sandbox.at("mnt")]);
    assert_eq!(umount.code, 0, "{umount:?}");
    let ran = finish(child);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.out.contains("mounted s3://"), "{ran:?}");
}

/// Type and source of what is mounted at `place`, as the kernel tells them.
fn type_and_source(place: &str) -> (String, String) {
    let table = fs::read_to_string("/proc/mounts").unwrap();
    let line = table.lines().find(|line| line.split(' ').nth(1) == Some(place)).unwrap();
    let fields: Vec<&str> = line.split(' ').collect();
    (fields[2].to_owned(), fields[0].to_owned())
}

#[test]
fn the_kernel_shows_the_bucket_and_whose_file_system_it_is() {
    let sandbox = Sandbox::new();
    let uri = format!("s3://{BUCKET}/a,b");
    let ran = sandbox.pail(&["mount", &uri, &sandbox.at("mnt"), "--read-only"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(type_and_source(&sandbox.at("mnt")), ("fuse.pail".to_owned(), uri));
    assert_eq!(fs::write(sandbox.path("mnt/x"), "1").unwrap_err().raw_os_error(), Some(libc::EROFS));
}

#[test]
fn an_ordinary_user_mounts_through_fusermount3() {
    let nobody = 65534;
    if !rustix::process::geteuid().is_root() {
        return skipped("all the other tests are by an ordinary user already");
    }
    // As udev sets it up everywhere but in bare containers.
    fs::set_permissions("/dev/fuse", fs::Permissions::from_mode(0o666)).unwrap();
    let mut sandbox = Sandbox::new();
    sandbox.give_to(nobody);
    let mnt = sandbox.mounted();
    let script = "echo by-a-user > file && cat file && stat -c %u file";
    let ran = run(Command::new("sh")
        .args(["-c", &format!("cd {} && {script}", mnt.display())])
        .uid(nobody)
        .gid(nobody));
    assert_eq!((ran.code, ran.out.as_str()), (0, "by-a-user\n65534\n"), "{ran:?}");
    let shown = type_and_source(&sandbox.at("mnt"));
    assert_eq!(shown, ("fuse.pail".to_owned(), format!("s3://{BUCKET}")));
    let kept_out = fs::read_dir(&mnt).map(drop).map_err(|error| error.raw_os_error());
    assert_eq!(kept_out, Err(Some(libc::EACCES)), "without --allow-other even root is kept out");
    let refused = sandbox.pail(&["mount", &format!("s3://{BUCKET}/x"), &sandbox.at("x"), "--allow-other"]);
    let permitted = fs::read_to_string("/etc/fuse.conf")
        .is_ok_and(|text| text.lines().any(|line| line == "user_allow_other"));
    assert!(permitted || (refused.code == 2 && refused.err.contains("user_allow_other")), "{refused:?}");
    let elsewhere = sandbox.pail(&["mount", &format!("s3://{BUCKET}/x"), "/not-mine"]);
    assert_ne!(elsewhere.code, 0);
    assert!(elsewhere.err.contains("cannot create /not-mine"), "{elsewhere:?}");
    fs::create_dir(sandbox.path("of-root")).unwrap();
    let not_mine = sandbox.pail(&["mount", &format!("s3://{BUCKET}/x"), &sandbox.at("of-root")]);
    assert_eq!(not_mine.code, 2, "{not_mine:?}");
    assert!(not_mine.err.contains("you may not write to") && not_mine.err.contains("hint: "), "{not_mine:?}");
    sandbox.end_daemon(libc::SIGKILL);
    let again = sandbox.mounted();
    let ran = run(Command::new("cat").arg(again.join("file")).uid(nobody).gid(nobody));
    assert_eq!(ran.out, "by-a-user\n", "a dead mount is recovered: {ran:?}");
    let umount = sandbox.pail(&["umount", "--all"]);
    assert_eq!(umount.code, 0, "{umount:?}");
    assert!(!sandbox.path("mnt").exists());
}

fn walk(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    entries
        .flatten()
        .flat_map(|entry| match entry.file_type() {
            Ok(kind) if kind.is_dir() => walk(&entry.path()),
            _ => vec![entry.path()],
        })
        .collect()
}

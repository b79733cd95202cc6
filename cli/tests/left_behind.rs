//! What a killed daemon or a mount that was given up by force leaves on this node's disk, through the real programs.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod sandbox;

use pail_devserver::{Fault, FaultAction};
use sandbox::{BUCKET, Sandbox, wait_until};
use serde_json::Value;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{FileExt, PermissionsExt};

/// The daemon is killed; everything that `close` would do is too late.
fn kill(sandbox: &Sandbox, open: Vec<File>) {
    sandbox.end_daemon(libc::SIGKILL);
    drop(open);
}

/// Keys of what is left behind.
fn left(sandbox: &Sandbox) -> Vec<String> {
    let status = sandbox.status();
    let left = status["left_behind"].as_array().unwrap();
    left.iter().map(|file| file["key"].as_str().unwrap().to_owned()).collect()
}

fn dirty_files(sandbox: &Sandbox) -> usize {
    fs::read_dir(sandbox.path("state/pail/dirty")).unwrap().count()
}

// SEMANTICS: writing.3
#[test]
fn a_killed_daemon_leaves_nothing_of_what_it_had_published() {
    let sandbox = Sandbox::new();
    let mnt = sandbox.mounted();
    let open = ["flushed", "synced", "large", "written-since", "written-since-over", "cut-since", "never"]
        .map(|name| {
            let file = File::create(mnt.join(name)).unwrap();
            file.write_all_at(b"12345", if name == "large" { 20 << 20 } else { 0 }).unwrap();
            match name {
                "never" => {}
                "flushed" => assert_eq!(sandbox.pail(&["flush", &sandbox.at("mnt/flushed")]).code, 0),
                _ => file.sync_all().unwrap(),
            }
            file
        });
    open[3].write_all_at(b"6", 5).unwrap();
    open[4].write_all_at(b"54321", 0).unwrap();
    open[5].set_len(3).unwrap();
    // A truncation of a file that is open for writing is published by its close alone.
    kill(&sandbox, open.into());
    let expected = ["cut-since", "never", "written-since", "written-since-over"];
    assert_eq!(left(&sandbox), expected, "without a daemon");
    let ran = sandbox.pail(&["flush"]);
    assert!(ran.code == 5 && ran.err.contains("no daemon") && ran.err.contains("cut-since"), "{ran:?}");
    sandbox.mounted();
    assert_eq!(left(&sandbox), expected, "by the next one");
    assert_eq!(dirty_files(&sandbox), 2 * expected.len(), "a record and its bytes each");
    for file in sandbox.status()["left_behind"].as_array().unwrap() {
        let bytes = fs::read(file["local_path"].as_str().unwrap()).unwrap();
        let expected: &[u8] = match file["key"].as_str().unwrap() {
            "cut-since" => b"123",
            "never" => b"12345",
            "written-since" => b"123456",
            _ => b"54321",
        };
        assert_eq!(bytes, expected, "{file}");
    }
}

// SEMANTICS: writing.3
#[test]
fn what_is_left_behind_is_told_until_it_is_discarded() {
    let sandbox = Sandbox::new();
    sandbox.put("old", "what it was");
    sandbox.put("other", "of somebody else");
    let mnt = sandbox.mounted();
    let new = File::create(mnt.join("new")).unwrap();
    new.write_all_at(b"precious", 0).unwrap();
    let old = File::options().write(true).open(mnt.join("old")).unwrap();
    old.write_all_at(b"W", 0).unwrap();
    kill(&sandbox, vec![new, old]);

    let told = |arguments: &[&str], code: i32| {
        let ran = sandbox.pail(arguments);
        assert_eq!(ran.code, code, "{ran:?}");
        assert!(ran.err.contains("2 files of mounts that are gone, not in the bucket"), "{ran:?}");
        assert!(
            ran.err.contains(&format!("s3://{BUCKET}/new (8 B): left behind; its bytes are in")),
            "{ran:?}"
        );
        assert!(ran.err.contains("only what was written of it is here"), "{ran:?}");
        assert!(
            ran.err.contains(&sandbox.at("state/pail/dirty")) && ran.err.contains("pail discard"),
            "{ran:?}"
        );
    };
    told(&["status"], 0);
    // The mount is dead.
    told(&["umount", "--all"], 5);
    told(&["mount", &format!("s3://{BUCKET}"), &sandbox.at("mnt")], 0);
    told(&["status"], 0);
    told(&["flush"], 5);
    told(&["flush", &sandbox.at("mnt")], 5);
    let one = sandbox.pail(&["flush", &sandbox.at("mnt/old")]);
    assert!(one.code == 5 && one.err.contains("/old") && !one.err.contains("/new"), "{one:?}");
    // Its zeros would take the place of what is in the bucket.
    assert!(one.err.contains("do not copy") && !one.err.contains("is kept by copying"), "{one:?}");
    let json: Value = serde_json::from_str(&sandbox.pail(&["flush", "--json"]).out).unwrap();
    assert_eq!(json["left_behind"].as_array().unwrap().len(), 2, "{json}");
    let other = sandbox.pail(&["flush", &sandbox.at("mnt/other")]);
    assert_eq!(other.code, 0, "nothing of that is left behind: {other:?}");
    assert_eq!(sandbox.pail(&["flush", &sandbox.at("mnt/none")]).code, 3, "nothing is there at all");

    // Kept by copying it, and given up by name; nothing else is.
    let local =
        |index: usize| sandbox.status()["left_behind"][index]["local_path"].as_str().unwrap().to_owned();
    fs::copy(local(0), mnt.join("new")).unwrap();
    assert_eq!(sandbox.bytes_of("new"), b"precious");
    let mut open = File::create(mnt.join("open")).unwrap();
    open.write_all(b"in use").unwrap();
    let in_use =
        sandbox.status()["mounts"][0]["fs"]["unpublished"][0]["local_path"].as_str().unwrap().to_owned();
    for path in [in_use.as_str(), "/etc/passwd", &sandbox.at("mnt/old")] {
        let refused = sandbox.pail(&["discard", path]);
        assert_eq!(refused.code, 3, "{refused:?}");
        assert!(fs::exists(path).unwrap(), "{path}");
    }
    drop(open);
    assert_eq!(sandbox.bytes_of("open"), b"in use");
    let ran = sandbox.pail(&["discard", &local(0)]);
    assert_eq!((ran.code, ran.out.as_str()), (0, "discarded 8 B of s3://demo-bucket/new\n"), "{ran:?}");
    assert_eq!(left(&sandbox), ["old"]);
    // The same without a daemon.
    let rest = local(0);
    assert_eq!(sandbox.pail(&["umount", "--all"]).code, 0);
    assert_eq!(sandbox.pail(&["shutdown"]).code, 0);
    assert_eq!(left(&sandbox), ["old"]);
    let ran = sandbox.pail(&["discard", &rest, "--json"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!((left(&sandbox), dirty_files(&sandbox)), (vec![], 0));
    sandbox.mounted();
    assert_eq!(sandbox.pail(&["flush"]).code, 0);
    assert_eq!(sandbox.bytes_of("old"), b"what it was");
}

// SEMANTICS: writing.3
#[test]
fn of_an_appended_file_only_the_appended_part_is_told_to_be_here() {
    let sandbox = Sandbox::new();
    // Of one that is sent in parts, what was not written is left to the server to copy.
    let before = "line\n".repeat(4 << 20);
    sandbox.put("log", before.clone());
    let mnt = sandbox.mounted();
    let mut log = File::options().append(true).open(mnt.join("log")).unwrap();
    log.write_all(b"the last line\n").unwrap();
    sandbox.put("log", "of somebody else meanwhile");
    assert_eq!(log.sync_all().unwrap_err().raw_os_error(), Some(libc::ESTALE));
    let told = sandbox.pail(&["status"]).err;
    assert!(told.contains("only what was written of it is kept in"), "{told}");
    assert!(told.contains("(only what was written of it is in"), "{told}");
    kill(&sandbox, vec![log]);
    let status = sandbox.status();
    let file = &status["left_behind"][0];
    assert_eq!((file["key"].as_str(), file["whole"].as_bool()), (Some("log"), Some(false)), "{file}");
    let bytes = fs::read(file["local_path"].as_str().unwrap()).unwrap();
    assert_eq!((bytes.len(), &bytes[before.len()..]), (before.len() + 14, &b"the last line\n"[..]));
}

// SEMANTICS: writing.3
#[test]
fn what_a_forced_unmount_left_is_told_at_once() {
    let sandbox = Sandbox::new();
    sandbox.put("closed", "theirs");
    let mnt = sandbox.mounted();
    let closed = File::options().write(true).open(mnt.join("closed")).unwrap();
    closed.write_all_at(b"precious", 0).unwrap();
    sandbox.put("closed", "of somebody else meanwhile");
    assert_eq!(closed.sync_all().unwrap_err().raw_os_error(), Some(libc::ESTALE));
    drop(closed);
    sandbox.server.inject(Fault {
        key_contains: Some("open".into()),
        times: u32::MAX,
        ..Fault::once(None, FaultAction::InternalError)
    });
    let mut open = File::create(mnt.join("open")).unwrap();
    open.write_all(b"so far").unwrap();
    let ran = sandbox.pail(&["umount", &sandbox.at("mnt"), "--force", "--timeout", "500ms"]);
    assert_eq!(ran.code, 5, "{ran:?}");
    assert!(ran.err.contains("closed") && ran.err.contains("open"), "{ran:?}");
    assert!(ran.err.contains("hint: the bytes stay on this disk"), "{ran:?}");
    assert_eq!(left(&sandbox), ["closed", "open"]);
    assert!(sandbox.pail(&["status"]).err.contains("open (6 B): still open"));
    // What a program still has open goes on being published.
    sandbox.server.clear_faults();
    open.write_all(b", and more").unwrap();
    drop(open);
    wait_until("its close has published it", || left(&sandbox) == ["closed"]);
    assert_eq!(sandbox.bytes_of("open"), b"so far, and more");
    // And is left behind by the same name as before.
    let local = sandbox.status()["left_behind"][0]["local_path"].as_str().unwrap().to_owned();
    assert_eq!(fs::read(&local).unwrap(), b"precious");
    wait_until("the mount has ended", || sandbox.pail(&["discard", &local]).code == 0);
    assert_eq!(left(&sandbox), Vec::<String>::new());
}

// SEMANTICS: writing.3
#[test]
fn what_is_written_on_after_a_forced_unmount_is_kept_where_it_cannot_be_published() {
    let sandbox = Sandbox::new();
    sandbox.put("log", "old");
    let mnt = sandbox.mounted();
    let mut log = File::options().write(true).open(mnt.join("log")).unwrap();
    log.write_all(b"published").unwrap();
    log.sync_all().unwrap();
    let ran = sandbox.pail(&["umount", &sandbox.at("mnt"), "--force", "--timeout", "500ms"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(left(&sandbox), Vec::<String>::new());
    sandbox.put("log", "of somebody else meanwhile");
    log.write_all(b", and more").unwrap();
    assert_eq!(log.sync_all().unwrap_err().raw_os_error(), Some(libc::ESTALE));
    drop(log);
    wait_until("it is left behind", || left(&sandbox) == ["log"]);
    let local = sandbox.status()["left_behind"][0]["local_path"].as_str().unwrap().to_owned();
    assert_eq!(fs::read(&local).unwrap(), b"published, and more");
}

// SEMANTICS: writing.3
#[test]
fn a_flush_says_where_a_mount_is_not_in_service() {
    let sandbox = Sandbox::new();
    let mnt = sandbox.mounted();
    assert_eq!(sandbox.pail(&["shutdown"]).code, 0);
    // As a job does that knows nothing of it.
    fs::create_dir_all(&mnt).unwrap();
    fs::write(mnt.join("ckpt"), "important").unwrap();
    let ran = sandbox.pail(&["flush"]);
    assert!(
        ran.code == 5 && ran.err.contains("mnt is not in service") && ran.err.contains("local disk"),
        "{ran:?}"
    );
    let ran = sandbox.pail(&["mount", &format!("s3://{BUCKET}/x"), &sandbox.at("other")]);
    assert_eq!(ran.code, 0, "{ran:?}");
    wait_until("it is back", || sandbox.status()["mounts"][0]["state"] == "mounted");
    for path in ["mnt", "mnt/ckpt"] {
        let ran = sandbox.pail(&["flush", &sandbox.at(path)]);
        assert!(
            ran.code == 5 && ran.err.contains("hides what was written") && ran.err.contains(": ckpt"),
            "{ran:?}"
        );
    }
    assert_eq!(sandbox.pail(&["flush", &sandbox.at("other")]).code, 0);
}

// SEMANTICS: writing.3
#[test]
fn a_forced_unmount_leaves_no_upload_of_what_could_not_be_published() {
    let sandbox = Sandbox::new();
    let mnt = sandbox.mounted();
    let refused = Fault::once(Some("CompleteMultipartUpload"), FaultAction::Conflict);
    sandbox.server.inject(Fault { times: u32::MAX, ..refused });
    let mut large = File::create(mnt.join("large")).unwrap();
    large.write_all(&vec![1; 20 << 20]).unwrap();
    assert_eq!(large.sync_all().unwrap_err().raw_os_error(), Some(libc::ESTALE));
    drop(large);
    let ran = sandbox.pail(&["umount", &sandbox.at("mnt"), "--force", "--timeout", "5s"]);
    assert_eq!(ran.code, 5, "{ran:?}");
    assert_eq!(left(&sandbox), ["large"]);
    let requests = sandbox.server.requests();
    let count = |name: &str| requests.iter().filter(|request| request.operation == name).count();
    assert_eq!(count("AbortMultipartUpload"), count("CreateMultipartUpload"));
}

// SEMANTICS: writing.11
#[test]
fn an_upload_of_a_killed_daemon_is_told_and_the_next_mount_aborts_it() {
    let sandbox = Sandbox::new();
    let mnt = sandbox.mounted();
    let failing = Fault::once(Some("UploadPart"), FaultAction::InternalError);
    sandbox.server.inject(Fault { times: u32::MAX, key_contains: Some("large".into()), ..failing });
    let mut large = File::create(mnt.join("large")).unwrap();
    large.write_all(&vec![1; 40 << 20]).unwrap();
    let count = |name: &str| {
        let requests = sandbox.server.requests();
        requests.iter().filter(|request| request.operation == name && request.key == "large").count()
    };
    wait_until("its upload has begun", || count("UploadPart") > 0);
    kill(&sandbox, vec![large]);
    sandbox.server.clear_faults();
    let local = sandbox.status()["left_behind"][0]["local_path"].as_str().unwrap().to_owned();
    let ran = sandbox.pail(&["discard", &local]);
    let told = format!("aws s3api abort-multipart-upload --bucket {BUCKET} --key large --upload-id ");
    assert!(ran.code == 0 && ran.err.contains(&told), "{ran:?}");
    sandbox.mounted();
    wait_until("it is aborted", || count("AbortMultipartUpload") == 1);
    assert_eq!(count("CreateMultipartUpload"), 1);
    let notes = sandbox.path("state/pail/uploads");
    wait_until("it is off the record", || fs::read_dir(&notes).unwrap().count() == 0);
}

#[test]
fn a_state_directory_that_cannot_be_read_is_told_with_its_path() {
    if !rustix::process::geteuid().is_root() {
        sandbox::skipped("only root can hand a directory to another user");
        return;
    }
    let nobody = 65534;
    for closed in ["state/pail", "state/pail/dirty"] {
        let mut sandbox = Sandbox::new();
        fs::create_dir_all(sandbox.path("state/pail/dirty")).unwrap();
        sandbox.give_to(nobody);
        for dir in ["state", "state/pail", "state/pail/dirty"] {
            std::os::unix::fs::chown(sandbox.path(dir), Some(nobody), Some(nobody)).unwrap();
        }
        fs::set_permissions(sandbox.path(closed), fs::Permissions::from_mode(0o000)).unwrap();
        let place = sandbox.at(closed);
        let commands: [&[&str]; 3] =
            [&["status"], &["flush"], &["mount", &format!("s3://{BUCKET}"), &sandbox.at("mnt")]];
        for command in commands {
            let ran = sandbox.pail(command);
            let is_told = ran.err.starts_with("error: cannot read ")
                && ran.err.contains(&place)
                && ran.err.contains("Permission denied")
                && ran.err.contains("hint: ");
            assert!(ran.code == 1 && is_told, "{command:?}: {ran:?}");
        }
        fs::set_permissions(sandbox.path(closed), fs::Permissions::from_mode(0o700)).unwrap();
    }
}

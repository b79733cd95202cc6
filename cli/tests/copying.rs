//! `pail cp`, through the real program: what goes where, what is refused and how, and how it ends.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod sandbox;

use pail_devserver::{Fault, FaultAction};
use sandbox::{BUCKET, Ran, Sandbox, finish, run, wait_until};
use serde_json::Value;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Child, Stdio};

fn uri(path: &str) -> String {
    format!("s3://{BUCKET}/{path}")
}

fn cp(sandbox: &Sandbox, arguments: &[&str]) -> Ran {
    let mut command = sandbox.command(&[&["cp"], arguments].concat());
    fs::create_dir_all(sandbox.path("work")).unwrap();
    run(command.current_dir(sandbox.path("work")))
}

#[track_caller]
fn copied(sandbox: &Sandbox, arguments: &[&str]) -> Ran {
    let ran = cp(sandbox, arguments);
    assert_eq!(ran.code, 0, "{arguments:?}: {ran:?}");
    ran
}

fn files(dir: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(next) = dirs.pop() {
        for entry in fs::read_dir(&next).into_iter().flatten().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                dirs.push(entry.path());
                continue;
            }
            let name = entry.path().strip_prefix(dir).unwrap().to_str().unwrap().to_owned();
            found.insert(name, fs::read_to_string(entry.path()).unwrap_or_default());
        }
    }
    found
}

fn names(dir: &Path) -> Vec<String> {
    files(dir).into_keys().collect()
}

#[test]
fn downloads_go_where_cp_and_aws_put_them() {
    let sandbox = Sandbox::new();
    let work = sandbox.path("work");
    for (key, text) in
        [("foo", "foo"), ("foobar", "no"), ("run/model.bin", "model"), ("run/sub/x", "x"), ("runner", "no")]
    {
        sandbox.put(key, text);
    }
    copied(&sandbox, &[&uri("foo"), "."]);
    assert_eq!(names(&work), ["foo"]);
    copied(&sandbox, &[&uri("run/model.bin"), "other.bin"]);
    copied(&sandbox, &[&uri("run/model.bin"), "made/"]);
    copied(&sandbox, &[&uri("run/model.bin"), "made/too/named"]);
    copied(&sandbox, &[&uri("run/model.bin"), "made"]);
    assert_eq!(names(&work), ["foo", "made/model.bin", "made/too/named", "other.bin"]);
    // Repeated, and with slashes or without, the content goes to the same place.
    for (index, (source, target)) in
        [("run", "data"), ("run/", "data"), ("run", "data/"), ("run/", "data/")].into_iter().enumerate()
    {
        let ran = copied(&sandbox, &["-r", &uri(source), target]);
        assert_eq!(names(&work.join("data")), ["model.bin", "sub/x"], "{source} {target}");
        let expected = if index == 0 { "copied 2 files" } else { "copied 0 files (0 B); 2 files unchanged" };
        assert!(ran.err.contains(expected), "{ran:?}");
    }
    copied(&sandbox, &["-r", &uri("foo"), "data"]);
    assert_eq!(names(&work.join("data")), ["foo", "model.bin", "sub/x"]);
    copied(&sandbox, &["-r", &format!("s3://{BUCKET}"), "all"]);
    assert_eq!(names(&work.join("all")), ["foo", "foobar", "run/model.bin", "run/sub/x", "runner"]);
}

#[test]
fn uploads_go_where_cp_and_aws_put_them() {
    let sandbox = Sandbox::new();
    let work = sandbox.path("work");
    fs::create_dir_all(work.join("data/sub")).unwrap();
    fs::write(work.join("model.bin"), "model").unwrap();
    fs::write(work.join("data/sub/ä b"), "x").unwrap();
    for target in ["run/", "run/named", ""] {
        copied(&sandbox, &["model.bin", &uri(target)]);
    }
    copied(&sandbox, &["-r", "data", &uri("up")]);
    copied(&sandbox, &["-r", "data/", &uri("up/")]);
    copied(&sandbox, &["-r", "data", &format!("s3://{BUCKET}")]);
    let ran = sandbox.pail(&["ls", "-r", &format!("s3://{BUCKET}")]);
    let keys: Vec<&str> = ran.out.lines().collect();
    assert_eq!(keys, ["model.bin", "run/model.bin", "run/named", "sub/ä b", "up/sub/ä b"]);
    assert_eq!(sandbox.bytes_of("run/named"), b"model");
}

#[test]
fn what_cannot_be_meant_is_refused_with_what_to_write() {
    let sandbox = Sandbox::new();
    let work = sandbox.path("work");
    fs::create_dir_all(work.join("dir")).unwrap();
    fs::write(work.join("file"), "x").unwrap();
    sandbox.put("run/x", "x");
    sandbox.put("odd/..", "x");
    let bucket = format!("s3://{BUCKET}");
    let cases: &[(&[&str], i32, &str)] = &[
        (&[&uri("run"), "."], 2, "with -r"),
        (&[&uri("run/"), "."], 2, "with -r"),
        (&[&bucket, "."], 2, "with -r"),
        (&["dir", &bucket], 2, "with -r"),
        (&[&uri("ru"), "."], 3, "nothing is at"),
        (&["-r", &uri("ru"), "."], 3, "nothing is at"),
        (&["-r", &uri("ru/"), "."], 3, "nothing is below"),
        (&["-r", &uri("run"), "file"], 2, "no directory"),
        (&["-r", "s3://no-such-bucket/x", "."], 3, "no-such-bucket"),
        (&["missing", &bucket], 3, "missing"),
        (&["file", "other"], 2, "neither"),
        (&[&uri("run/x"), &uri("run/x")], 2, "onto or below itself"),
        (&["-r", &uri("run"), &uri("run/y")], 2, "onto or below itself"),
        (&[&uri("run"), &uri("x")], 2, "with -r"),
        (&[&uri("ru"), &uri("x")], 3, "nothing is at"),
        (&[&uri("run/"), &uri("x")], 2, "with -r"),
        (&["--limit-rate", "fast", &uri("run/x"), "."], 2, "is not a size"),
        (&["--connections", "0", &uri("run/x"), "."], 2, "1..=256"),
        (&["gcs://bucket/x", "."], 2, "gs://"),
        (&[&uri("odd/.."), "."], 2, "cannot be a file's name"),
    ];
    for (arguments, code, text) in cases {
        let ran = cp(&sandbox, arguments);
        assert_eq!(ran.code, *code, "{arguments:?}: {ran:?}");
        assert!(ran.err.starts_with("error: ") && ran.err.contains(text), "{arguments:?}: {ran:?}");
    }
    assert_eq!(names(&work), ["file"]);
    // An empty bucket holds nothing to copy either, and what has an odd key can be given a name.
    copied(&sandbox, &[&uri("odd/.."), "named"]);
    assert_eq!(files(&work)["named"], "x");
}

#[test]
fn between_buckets_keys_go_where_files_would() {
    let sandbox = Sandbox::new();
    for key in ["foo", "run/model.bin", "run/sub//x", "runner"] {
        sandbox.put(key, key);
    }
    copied(&sandbox, &[&uri("foo"), &uri("to/")]);
    copied(&sandbox, &[&uri("foo"), &uri("to/named")]);
    let ran = copied(&sandbox, &["-r", &uri("run"), &uri("all")]);
    assert!(ran.err.contains("copied 2 files"), "{ran:?}");
    let ran = copied(&sandbox, &["-r", &uri("run/"), &uri("all/")]);
    assert!(ran.err.contains("2 files unchanged"), "{ran:?}");
    assert_eq!(sandbox.server.counters().count("GetObject"), 0);
    // The same server by another API is another store, and has its own endpoint.
    let ran = cp(
        &sandbox,
        &[
            "-r",
            "--endpoint-url",
            &sandbox.server.endpoint_url(),
            "--no-sign-request",
            &uri("run"),
            &format!("gs://{BUCKET}/gs"),
        ],
    );
    assert_eq!(ran.code, 0, "{ran:?}");
    let ran = sandbox.pail(&["ls", "-r", &format!("s3://{BUCKET}")]);
    let keys: Vec<&str> = ran.out.lines().collect();
    let expected = [
        "all/model.bin",
        "all/sub//x",
        "foo",
        "gs/model.bin",
        "gs/sub//x",
        "run/model.bin",
        "run/sub//x",
        "runner",
        "to/foo",
        "to/named",
    ];
    assert_eq!(keys, expected);
    for key in ["all/sub//x", "gs/sub//x"] {
        assert_eq!(sandbox.bytes_of(key), b"run/sub//x");
    }
}

#[test]
fn a_limited_copy_tells_programs_how_far_it_is() {
    let sandbox = Sandbox::new();
    sandbox.put("d/large", "x".repeat(3 << 20));
    let arguments = ["-r", "--json", "--limit-rate", "1M", "--connections", "8", &uri("d"), "data"];
    let ran = copied(&sandbox, &arguments);
    let events: Vec<Value> = ran.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (summary, progress) = events.split_last().unwrap();
    assert_eq!((&summary["event"], &summary["copied"]), (&"summary".into(), &1.into()));
    // Three seconds' worth of bytes are longer than the time between two events, however slow the machine.
    assert!(!progress.is_empty(), "{ran:?}");
    for event in progress {
        assert_eq!((&event["event"], &event["found"]), (&"progress".into(), &1.into()), "{event}");
        assert!(event["bytes_per_s"].as_u64().unwrap() < 2 << 20, "{event}");
    }
    assert_eq!(files(&sandbox.path("work/data"))["large"].len(), 3 << 20);
}

// SEMANTICS: tasks.4
#[test]
fn what_is_not_copied_is_named_and_the_rest_is_there() {
    let sandbox = Sandbox::new();
    for key in ["d/ok", "d/../../escaped", "d/a//b", "d/c", "d/c/x"] {
        sandbox.put(key, "x");
    }
    let ran = cp(&sandbox, &["-r", &uri("d"), "data"]);
    assert_eq!(ran.code, 5, "{ran:?}");
    for text in ["3 of 5 were not copied", "d/../../escaped: ", "d/a//b: ", "d/c: "] {
        assert!(ran.err.contains(text), "{text}: {ran:?}");
    }
    assert_eq!(names(&sandbox.path("work")), ["data/c/x", "data/ok"]);

    let ran = cp(&sandbox, &["-r", "--json", &uri("d"), "data"]);
    let report: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((ran.code, &report["copied"], &report["unchanged"]), (5, &0.into(), &2.into()));
    assert_eq!(report["skipped"]["count"], 3);
    assert_eq!(report["skipped"]["named"][0]["name"], "d/../../escaped");
}

/// A copy that hangs before its first bytes, once its temporary file is there.
fn hanging(sandbox: &Sandbox) -> Child {
    sandbox.put("d/large", "x".repeat(12 << 20));
    let stall = FaultAction::Stall { after_bytes: 0, for_ms: None };
    sandbox.server.inject(Fault { times: 100, ..Fault::once(Some("GetObject"), stall) });
    let work = sandbox.path("work");
    fs::create_dir_all(&work).unwrap();
    fs::write(work.join("large"), "as it was").unwrap();
    let mut command = sandbox.command(&["cp", "-r", &uri("d"), "."]);
    let copy = command.current_dir(&work).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait_until("there is a temporary file", || names(&work).len() == 2);
    copy
}

#[test]
fn ctrl_c_leaves_no_temporary_file_of_which_nothing_is_there() {
    let sandbox = Sandbox::new();
    let copy = hanging(&sandbox);
    // SAFETY: a signal to a child that was not waited for.
    assert_eq!(unsafe { libc::kill(copy.id() as i32, libc::SIGINT) }, 0);
    let ran = finish(copy);
    assert_eq!(ran.code, 130, "{ran:?}");
    assert_eq!(files(&sandbox.path("work")), BTreeMap::from([("large".into(), "as it was".into())]));
}

#[test]
fn ctrl_c_leaves_what_the_same_command_goes_on_with() {
    const SIZE: usize = 40 << 20;
    let sandbox = Sandbox::new();
    let bytes: Vec<u8> = (0..SIZE as u64).map(|index| ((index * index) >> 7) as u8).collect();
    sandbox.put("d/large", bytes.clone());
    let stall = FaultAction::Stall { after_bytes: 1 << 20, for_ms: None };
    sandbox.server.inject(Fault { skip: 2, times: 100, ..Fault::once(Some("GetObject"), stall) });
    let work = sandbox.path("work");
    fs::create_dir_all(&work).unwrap();
    let mut command = sandbox.command(&["cp", "-r", &uri("d"), "."]);
    let copy = command.current_dir(&work).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let written = || {
        let Some(file) = fs::read_dir(&work).unwrap().next() else { return false };
        let bytes = fs::read(file.unwrap().path()).unwrap();
        let parts = bytes[..SIZE.min(bytes.len())].chunks(8 << 20);
        // Two parts to their ends, and of the three others what came before they hung.
        let ends = parts.clone().filter(|part| part[part.len() - 64..].iter().any(|byte| *byte != 0));
        let begun = parts.clone().filter(|part| part[(1 << 20) - 64..1 << 20].iter().any(|byte| *byte != 0));
        (ends.count(), begun.count()) == (2, 5)
    };
    wait_until("two parts are there, and a MiB of each other", written);
    // SAFETY: a signal to a child that was not waited for.
    assert_eq!(unsafe { libc::kill(copy.id() as i32, libc::SIGINT) }, 0);
    let ran = finish(copy);
    assert_eq!((ran.code, ran.err.contains("goes on")), (130, true), "{ran:?}");
    sandbox.server.clear_faults();
    let ran = copied(&sandbox, &["-r", &uri("d"), "."]);
    assert!(ran.err.contains("(40.0 MiB, 19.0 MiB of it by an earlier run); 1 verified"), "{ran:?}");
    assert_eq!(names(&work), ["large"]);
    assert!(fs::read(work.join("large")).unwrap() == bytes);
}

#[test]
fn damaged_bytes_get_no_name_and_an_exit_code_of_their_own() {
    let sandbox = Sandbox::new();
    sandbox.put("d/bad", "x".repeat(1000));
    sandbox.put("d/good", "x".repeat(1000));
    let flip = FaultAction::FlipBit { after_bytes: 10 };
    let of_bad =
        Fault { key_contains: Some("bad".into()), times: 100, ..Fault::once(Some("GetObject"), flip) };
    sandbox.server.inject(of_bad);
    let ran = cp(&sandbox, &["-r", "--json", &uri("d"), "."]);
    assert_eq!((ran.code, ran.err.contains("d/bad: ")), (7, true), "{ran:?}");
    let report: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((&report["corrupt"], &report["verified"]), (&1.into(), &1.into()));
    assert_eq!(names(&sandbox.path("work")), ["good"]);
}

#[test]
fn ctrl_c_ends_the_wait_for_a_bucket_that_does_not_answer() {
    let sandbox = Sandbox::new();
    let late = FaultAction::Delay { ms: 600_000 };
    sandbox.server.inject(Fault { times: 1000, ..Fault::once(Some("ListObjectsV2"), late) });
    let mut command = sandbox.command(&["cp", "-r", &uri("d"), "somewhere"]);
    let copy = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait_until("the bucket is asked", || sandbox.server.counters().count("ListObjectsV2") > 0);
    // SAFETY: a signal to a child that was not waited for.
    assert_eq!(unsafe { libc::kill(copy.id() as i32, libc::SIGINT) }, 0);
    let ran = finish(copy);
    assert_eq!((ran.code, ran.err.contains("stopped")), (130, true), "{ran:?}");
}

#[test]
fn names_that_are_not_utf_8_are_files_and_no_objects() {
    let sandbox = Sandbox::new();
    sandbox.put("x", "x");
    let work = sandbox.path("work");
    fs::create_dir_all(work.join("dir")).unwrap();
    let name = OsStr::from_bytes(b"latin\xe9");
    let mut command = sandbox.command(&["cp", &uri("x")]);
    assert_eq!(run(command.arg(name).current_dir(&work)).code, 0);
    assert_eq!(fs::read(work.join(name)).unwrap(), b"x");
    fs::rename(work.join(name), work.join("dir").join(name)).unwrap();
    fs::write(work.join("dir/ok"), "ok").unwrap();
    let ran = cp(&sandbox, &["-r", "dir", &uri("up")]);
    assert_eq!(ran.code, 5, "{ran:?}");
    assert!(ran.err.contains("latin\u{fffd}: its name is not UTF-8"), "{ran:?}");
    assert_eq!(sandbox.bytes_of("up/ok"), b"ok");
}

#[test]
fn a_kill_leaves_no_final_file_that_is_half_written() {
    let sandbox = Sandbox::new();
    let mut copy = hanging(&sandbox);
    copy.kill().unwrap();
    copy.wait().unwrap();
    assert_eq!(files(&sandbox.path("work"))["large"], "as it was");
    sandbox.server.clear_faults();
    copied(&sandbox, &["-r", &uri("d"), "."]);
    assert_eq!(files(&sandbox.path("work"))["large"].len(), 12 << 20);
}

#[test]
fn a_full_disk_is_named_and_keeps_nothing_half_written() {
    let sandbox = Sandbox::new();
    // SAFETY: it only reads.
    if unsafe { libc::geteuid() } != 0 {
        sandbox::skipped("only root can mount the tmpfs that is to be full");
        return;
    }
    let disk = sandbox.path("disk");
    fs::create_dir(&disk).unwrap();
    let mount = ["-t", "tmpfs", "-o", "size=8m", "small-disk", disk.to_str().unwrap()];
    assert!(std::process::Command::new("mount").args(mount).status().unwrap().success());
    sandbox.put("d/a", "a");
    sandbox.put("d/large", "x".repeat(12 << 20));
    let target = sandbox.at("disk/data");
    let check = |expected: &[&str]| {
        let ran = cp(&sandbox, &["-r", &uri("d"), &target]);
        assert_eq!(ran.code, 8, "{ran:?}");
        assert!(ran.err.contains(&format!("the disk at {}", disk.display())), "{ran:?}");
        let large: Vec<String> = names(&disk).into_iter().filter(|name| name.contains("large")).collect();
        assert_eq!(large, expected, "{ran:?}");
    };
    // What is known to be too much is not begun.
    check(&[]);
    assert_eq!(names(&disk), Vec::<String>::new());
    // Nor where the listing goes on behind it.
    (0..1000).for_each(|index| sandbox.put(&format!("d/m{index:04}"), ""));
    check(&[]);
    assert_eq!(names(&disk), Vec::<String>::new());

    // What is replaced counts as room.
    let fill = |byte: &str| {
        (0..12).for_each(|index| sandbox.put(&format!("r/{index}"), byte.repeat(512 << 10)));
        cp(&sandbox, &["-r", "--connections", "1", &uri("r"), &sandbox.at("disk/r")])
    };
    for byte in ["1", "2"] {
        let ran = fill(byte);
        assert_eq!(ran.code, 0, "{ran:?}");
    }
    assert_eq!(fs::read(disk.join("r/11")).unwrap(), "2".repeat(512 << 10).into_bytes());
}

#[test]
fn room_is_counted_where_there_is_any_to_count_and_what_another_version_left_is_room() {
    let sandbox = Sandbox::new();
    // SAFETY: it only reads.
    if unsafe { libc::geteuid() } != 0 {
        sandbox::skipped("only root can mount file systems");
        return;
    }
    let target = sandbox.path("disk/data");
    fs::create_dir_all(target.join("big")).unwrap();
    let mount = |kind: &str, options: &str, at: &Path| {
        let mount = ["-t", kind, "-o", options, "disk-of-a-test", at.to_str().unwrap()];
        assert!(std::process::Command::new("mount").args(mount).status().unwrap().success());
    };
    mount("ramfs", "rw", &target);
    sandbox.put("d/a", "a");
    copied(&sandbox, &["-r", &uri("d"), target.to_str().unwrap()]);

    // A small disk, and a larger one below it.
    mount("tmpfs", "size=24m", &target);
    fs::create_dir(target.join("big")).unwrap();
    mount("tmpfs", "size=48m", &target.join("big"));
    sandbox.put("m/big/x", "x".repeat(30 << 20));
    copied(&sandbox, &["-r", &uri("m"), target.to_str().unwrap()]);
    sandbox.put("l/big/y", "x".repeat(50 << 20));
    let ran = cp(&sandbox, &["-r", &uri("l"), target.to_str().unwrap()]);
    assert!(
        ran.code == 8 && ran.err.contains(&format!("the disk at {}", target.join("big").display())),
        "{ran:?}"
    );

    sandbox.put("r/x", "1".repeat(14 << 20));
    let late = FaultAction::Stall { after_bytes: 3 << 20, for_ms: None };
    sandbox.server.inject(Fault { skip: 1, times: 1000, ..Fault::once(Some("GetObject"), late) });
    let mut copy = sandbox.command(&["cp", "-r", &uri("r"), target.to_str().unwrap()]).spawn().unwrap();
    let is_begun = || names(&target).iter().any(|name| name.starts_with(".x.pail-parts-"));
    wait_until("a file in parts is there", is_begun);
    wait_until("two parts are asked for", || sandbox.server.counters().count("GetObject") >= 3);
    copy.kill().unwrap();
    copy.wait().unwrap();
    sandbox.server.clear_faults();
    assert!(is_begun());
    sandbox.put("r/x", "2".repeat(14 << 20));
    copied(&sandbox, &["-r", &uri("r"), target.to_str().unwrap()]);
    assert_eq!(names(&target), ["big/x", "x"]);
}

#[test]
fn more_files_at_a_time_than_the_shell_s_limit_are_copied() {
    let sandbox = Sandbox::new();
    let names: Vec<String> = (0..200).map(|index| format!("{index:03}/file")).collect();
    names.iter().for_each(|name| sandbox.put(&format!("d/{name}"), "x".repeat(200 << 10)));
    let mut settings = sandbox.server.settings();
    settings.first_byte_ms = 200;
    sandbox.server.set_settings(settings);
    for (from, to) in [(uri("d"), sandbox.at("down")), (sandbox.at("down"), uri("up"))] {
        let copy = sandbox.command(&["cp", "-r", &from, &to]);
        let mut limited = std::process::Command::new("prlimit");
        limited.arg("--nofile=64:340").arg(copy.get_program()).args(copy.get_args()).env_clear();
        limited.envs(copy.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let ran = run(&mut limited);
        assert_eq!(ran.code, 0, "{ran:?}");
    }
    assert_eq!(sandbox.bytes_of("up/199/file").len(), 200 << 10);
}

#[test]
fn globs_do_not_choose_from_one_object() {
    let sandbox = Sandbox::new();
    sandbox.put("run", "x");
    for target in [sandbox.at("down"), uri("copy/")] {
        let ran = cp(&sandbox, &["-r", &uri("run"), &target, "--exclude", "*", "--include", "*.tmp"]);
        assert_eq!((ran.code, ran.err.contains("nothing is below")), (3, true), "{ran:?}");
    }
    let ran = sandbox.pail(&["rm", "-r", "-y", &uri("run"), "--exclude", "*", "--include", "*.tmp"]);
    assert_eq!(ran.code, 3, "{ran:?}");
    assert_eq!(sandbox.bytes_of("run"), b"x");
}

/// Runs a command line of sh(1) with `pail` in its path.
fn shell(sandbox: &Sandbox, line: &str) -> Ran {
    let environment = sandbox.command(&[]);
    let program = Path::new(environment.get_program()).to_owned();
    let mut command = std::process::Command::new("bash");
    command.args(["-c", line]).env_clear().stdin(Stdio::null());
    for (name, value) in environment.get_envs() {
        command.env(name, value.unwrap());
    }
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{}:{path}", program.parent().unwrap().display()));
    run(&mut command)
}

#[test]
fn streams_go_in_and_out_and_tell_what_was_damaged() {
    let sandbox = Sandbox::new();
    let target = uri("some.tar");
    let ran = shell(&sandbox, &format!("seq 4000000 | pail cp - {target}"));
    assert!(ran.code == 0 && ran.err.contains("copied 1 file (29.5 MiB)"), "{ran:?}");
    let ran = shell(
        &sandbox,
        &format!("set -o pipefail; pail cp --quiet {target} - | md5sum; seq 4000000 | md5sum"),
    );
    let sums: Vec<_> = ran.out.lines().collect();
    assert!(ran.code == 0 && sums.len() == 2 && sums[0] == sums[1] && ran.err.is_empty(), "{ran:?}");
    let ran = shell(&sandbox, &format!("pail cp {target} - | head -n 2; echo ${{PIPESTATUS[0]}}"));
    assert_eq!((ran.out.as_str(), ran.err.as_str()), ("1\n2\n130\n", ""));
    sandbox.server.inject(Fault::once(Some("GetObject"), FaultAction::FlipBit { after_bytes: 700 }));
    let ran = shell(&sandbox, &format!("pail cp {target} - > /dev/null"));
    assert!(ran.code == 7 && ran.err.contains("checksums differ"), "{ran:?}");
}

#[test]
fn what_is_no_stream_is_not_taken_for_an_empty_one_nor_replaced() {
    let sandbox = Sandbox::new();
    sandbox.put("precious", "precious");
    let (object, log) = (uri("precious"), sandbox.at("log"));
    fs::write(&log, "old\n").unwrap();
    for (line, code, told) in [
        (format!("pail cp - {object} <&-"), 2, "standard input is closed"),
        (format!("pail cp - {object} 0>{}", sandbox.at("other")), 1, "Bad file descriptor"),
        (format!("pail cp {object} /dev/stdout >> {log}"), 2, "would be replaced"),
        (format!("pail cp {object} /dev/fd/3 3>> {log}"), 2, "would be replaced"),
        (format!("pail cp /proc/cpuinfo {object}"), 5, "has more"),
    ] {
        let ran = shell(&sandbox, &line);
        assert!(ran.code == code && ran.err.contains(told), "{line}: {ran:?}");
        assert_eq!(sandbox.bytes_of("precious"), b"precious", "{line}");
        assert_eq!(fs::read(&log).unwrap(), b"old\n", "{line}");
    }
    let ran = shell(
        &sandbox,
        &format!("pail cp -q - {object} < /dev/null; cat /proc/cpuinfo | pail cp -q - {}", uri("cpus")),
    );
    assert_eq!((ran.code, sandbox.bytes_of("precious").len()), (0, 0), "{ran:?}");
    assert!(!sandbox.bytes_of("cpus").is_empty());
}

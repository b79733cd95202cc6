//! `pail sync`, `pail rm` and `pail du`, through the real program: what they print, what they refuse and how, and how they end.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod sandbox;

use pail_devserver::{Fault, FaultAction};
use sandbox::{BUCKET, Ran, Sandbox, run};
use serde_json::Value;
use std::fs;

fn uri(path: &str) -> String {
    format!("s3://{BUCKET}/{path}")
}

fn pail(sandbox: &Sandbox, arguments: &[&str]) -> Ran {
    let mut command = sandbox.command(arguments);
    fs::create_dir_all(sandbox.path("work")).unwrap();
    run(command.current_dir(sandbox.path("work")))
}

#[track_caller]
fn done(sandbox: &Sandbox, arguments: &[&str]) -> Ran {
    let ran = pail(sandbox, arguments);
    assert_eq!(ran.code, 0, "{arguments:?}: {ran:?}");
    ran
}

fn keys(sandbox: &Sandbox) -> Vec<String> {
    let ran = sandbox.pail(&["ls", "-r", &format!("s3://{BUCKET}")]);
    assert_eq!(ran.code, 0, "{ran:?}");
    ran.out.lines().map(str::to_owned).collect()
}

fn json_lines(ran: &Ran) -> Vec<Value> {
    ran.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_sync_goes_both_ways_and_the_second_one_sends_nothing() {
    let sandbox = Sandbox::new();
    let work = sandbox.path("work");
    fs::create_dir_all(work.join("data/sub")).unwrap();
    fs::write(work.join("data/a"), "a").unwrap();
    fs::write(work.join("data/sub/b"), "b").unwrap();
    sandbox.put("runner", "another");
    let ran = done(&sandbox, &["sync", "data", &uri("run")]);
    assert!(ran.err.contains("copied 2 files (2 B)"), "{ran:?}");
    let ran = done(&sandbox, &["sync", &uri("run/"), "back/"]);
    assert!(ran.err.contains("copied 2 files (2 B)"), "{ran:?}");
    assert_eq!(fs::read(work.join("back/sub/b")).unwrap(), b"b");
    assert!(!work.join("back/ner").exists());
    sandbox.server.reset_counters();
    for arguments in
        [["sync", "data", &uri("run/")], ["sync", &uri("run"), "back"], ["sync", "back", &uri("run")]]
    {
        let ran = done(&sandbox, &arguments);
        assert!(ran.err.contains("copied 0 files (0 B); 2 files unchanged"), "{ran:?}");
    }
    // What a copy has done, a sync knows.
    done(&sandbox, &["cp", "-r", &uri("run"), "back"]);
    let counters = sandbox.server.counters();
    let moved = ["PutObject", "GetObject", "UploadPart", "DeleteObject", "DeleteObjects"];
    assert_eq!(moved.map(|operation| counters.count(operation)), [0; 5]);
}

#[test]
fn a_dry_run_says_why_and_delete_does_what_it_said() {
    let sandbox = Sandbox::new();
    let work = sandbox.path("work");
    fs::create_dir_all(work.join("data/log")).unwrap();
    for name in ["kept", "changed", "extra", "log/a.log"] {
        fs::write(work.join("data").join(name), name).unwrap();
    }
    done(&sandbox, &["sync", "data", &uri("run")]);
    fs::write(work.join("data/changed"), "other words").unwrap();
    fs::write(work.join("data/new"), "new").unwrap();
    fs::remove_file(work.join("data/extra")).unwrap();
    fs::remove_dir_all(work.join("data/log")).unwrap();
    let before = keys(&sandbox);
    let arguments = ["sync", "data", &uri("run"), "--delete", "--exclude", "log/"];
    let ran = done(&sandbox, &[&arguments[..], &["--dry-run"]].concat());
    let mut lines: Vec<&str> = ran.out.lines().collect();
    lines.sort();
    let expected = [
        "copy    run/changed (11 B): size differs",
        "copy    run/new (3 B): new",
        "delete  run/extra (5 B): not in the source",
    ];
    assert_eq!(lines, expected);
    assert!(
        ran.err.contains("would copy 2 files (14 B); would delete 1 file (5 B); 1 file unchanged"),
        "{ran:?}"
    );
    assert_eq!(keys(&sandbox), before);

    let ran = done(&sandbox, &[&arguments[..], &["-n", "--json"]].concat());
    let lines = json_lines(&ran);
    let of = |key: &str| lines.iter().find(|line| line["key"] == key).unwrap();
    assert_eq!(
        (&of("run/changed")["action"], &of("run/changed")["why"]),
        (&"copy".into(), &"size_differs".into())
    );
    assert_eq!((&of("run/extra")["action"], &of("run/extra")["size"]), (&"delete".into(), &5.into()));
    assert_eq!(of("run/extra")["event"], "change");
    let last = lines.last().unwrap();
    assert_eq!((&last["event"], &last["copied"]), (&"summary".into(), &2.into()));

    let ran = done(&sandbox, &arguments);
    assert!(ran.err.contains("copied 2 files (14 B); deleted 1 file (5 B); 1 file unchanged"), "{ran:?}");
    assert_eq!(keys(&sandbox), ["run/changed", "run/kept", "run/log/a.log", "run/new"]);
    // The last glob that matches decides, in the order in which they are written.
    let ran = done(&sandbox, &["cp", "-r", "--exclude", "*", "--include", "*.log", &uri("run"), "logs"]);
    assert!(ran.err.contains("copied 1 file") && work.join("logs/log/a.log").exists(), "{ran:?}");
    let ran =
        done(&sandbox, &["cp", "-r", "--include", "*.log", "--exclude", "*", &uri("run"), "none", "-n"]);
    assert!(ran.err.contains("would copy 0 files") && !work.join("none").exists(), "{ran:?}");
}

#[test]
fn checksums_are_compared_where_they_are_asked_for() {
    let sandbox = Sandbox::new();
    let work = sandbox.path("work");
    fs::create_dir_all(work.join("data")).unwrap();
    fs::write(work.join("data/a"), "first").unwrap();
    done(&sandbox, &["sync", "data", &uri("run")]);
    let time = fs::metadata(work.join("data/a")).unwrap().modified().unwrap();
    fs::write(work.join("data/a"), "other").unwrap();
    fs::File::options().write(true).open(work.join("data/a")).unwrap().set_modified(time).unwrap();
    // Who remembers the last run is told by the change time.
    fs::remove_dir_all(sandbox.path("state")).unwrap();
    let ran = done(&sandbox, &["sync", "data", &uri("run")]);
    assert!(ran.err.contains("copied 0 files"), "{ran:?}");
    let ran = done(&sandbox, &["sync", "--checksum", "data", &uri("run"), "-n"]);
    assert_eq!(ran.out, "copy    run/a (5 B): content differs\n");
    done(&sandbox, &["sync", "--checksum", "data", &uri("run")]);
    assert_eq!(sandbox.bytes_of("run/a"), b"other");
}

#[test]
fn a_bucket_that_is_missing_is_created_where_that_is_said() {
    let sandbox = Sandbox::new();
    let work = sandbox.path("work");
    fs::create_dir_all(work.join("data")).unwrap();
    fs::write(work.join("data/a"), "a").unwrap();
    done(&sandbox, &["cp", "-r", "data", "s3://made/x", "--create"]);
    // However its name ends, a directory is the same.
    let ran = done(&sandbox, &["cp", "-r", "data/", "s3://made/x/"]);
    assert!(ran.err.contains("1 file unchanged"), "{ran:?}");
    done(&sandbox, &["sync", "s3://made/x", "s3://made-too", "--create"]);
    let ran = sandbox.pail(&["ls", "-r", "s3://made-too"]);
    assert_eq!(ran.out, "a\n", "{ran:?}");
}

#[test]
fn a_prefix_is_made_what_another_is() {
    let sandbox = Sandbox::new();
    for key in ["run/a", "run/sub/b", "copy/extra", "copier"] {
        sandbox.put(key, key);
    }
    let arguments = ["sync", "--delete", &uri("run"), &uri("copy")];
    let ran = done(&sandbox, &[&arguments[..], &["-n"]].concat());
    assert_eq!(
        ran.out,
        "copy    run/a (5 B): new\ncopy    run/sub/b (9 B): new\ndelete  copy/extra (10 B): not in the source\n"
    );
    let ran = done(&sandbox, &arguments);
    assert!(ran.err.contains("copied 2 files (14 B); deleted 1 file (10 B)"), "{ran:?}");
    assert_eq!(keys(&sandbox), ["copier", "copy/a", "copy/sub/b", "run/a", "run/sub/b"]);
    let ran = done(&sandbox, &arguments);
    assert!(ran.err.contains("copied 0 files (0 B); 2 files unchanged"), "{ran:?}");
}

#[test]
fn what_cannot_be_meant_is_refused_with_what_to_write() {
    let sandbox = Sandbox::new();
    let work = sandbox.path("work");
    fs::create_dir_all(work.join("empty")).unwrap();
    fs::write(work.join("file"), "x").unwrap();
    sandbox.put("run/x", "x");
    sandbox.put("object", "x");
    let bucket = format!("s3://{BUCKET}");
    let cases: &[(&[&str], i32, &str)] = &[
        (&["sync", "file", &bucket], 2, "pail cp"),
        (&["sync", &uri("object"), "."], 2, "pail cp"),
        (&["sync", &uri("ru"), "."], 3, "nothing is below"),
        (&["sync", &uri("run"), "file"], 2, "no directory"),
        (&["sync", "missing", &bucket], 3, "missing"),
        (&["sync", "empty", &uri("run"), "--delete"], 3, "nothing is in empty"),
        (&["sync", "empty", "file"], 2, "neither"),
        (&["sync", &uri("run"), "empty", "--source-profile", "other"], 2, "--profile"),
        (&["cp", &uri("object"), "copy", "--source-endpoint-url", "http://127.0.0.1:1"], 2, "--endpoint-url"),
        (&["cp", &uri("object"), "/dev/null"], 2, "a device"),
        (&["sync", &uri("run"), "-"], 2, "./-"),
        (&["cp", "-", "-"], 2, "./-"),
        (&["cp", "file", "-"], 2, "s3://bucket/key"),
        (&["cp", "-", &uri("run/")], 2, "name"),
        (&["cp", "-r", "-", &uri("run")], 2, "one object"),
        (&["cp", &uri("object"), "-", "--json"], 2, "JSON"),
        (&["cp", &uri("obj*"), "-"], 3, "--include"),
        (&["cp", "file", "s3:/bucket/x"], 2, "s3://NAME"),
        (
            &["cp", &uri("obj*"), "."],
            3,
            "`pail cp -r s3://demo-bucket/ TARGET --exclude \"*\" --include 'obj*'`",
        ),
        (&["cp", "-r", &uri("run/*.gz"), "."], 3, "`pail cp -r s3://demo-bucket/run/ TARGET"),
        (
            &["sync", &uri("run/*.gz"), "empty"],
            3,
            "`pail sync s3://demo-bucket/run/ TARGET --exclude \"*\" --include '*.gz'`",
        ),
        (&["rm", &uri("run/*/x")], 3, "`pail rm -r s3://demo-bucket/run/ --exclude \"*\" --include '*/x'`"),
        (&["rm", "-r", &uri("run/*")], 3, "--include"),
        (&["du", &uri("run/*")], 3, "--include"),
        (&["sync", &uri("run"), "empty", "--exclude", ""], 2, "it is empty"),
        (&["cp", "file", "s3://made-by-nobody/x"], 3, "--create"),
        (&["sync", &uri("ru"), &uri("copy"), "--delete"], 3, "nothing is below"),
        (&["sync", &uri("object"), &uri("copy")], 2, "pail cp"),
        (&["sync", &uri("run"), &bucket, "--delete"], 2, "it is there itself"),
        (&["sync", &uri("run"), &uri("run/below")], 2, "onto or below itself"),
        (&["sync", "empty", &bucket, "--exclude", "[a"], 2, "not a glob"),
        (&["cp", &uri("object"), ".", "--exclude", "x"], 2, "with -r"),
        (&["rm", &uri("run")], 2, "with -r"),
        (&["rm", &uri("run/")], 2, "with -r"),
        (&["rm", &bucket], 2, "with -r"),
        (&["rm", "-r", &bucket], 2, "-y"),
        (&["rm", &uri("object"), "--exclude", "x"], 2, "with -r"),
        (&["rm", "file"], 2, "not in a bucket"),
        (&["rm", &uri("obj")], 3, "nothing is at"),
        (&["rm", "-r", &uri("ru")], 3, "nothing is at"),
        (&["rm", "-r", &uri("ru/")], 3, "nothing is at"),
        (&["rm", "s3://no-such-bucket/x"], 3, "no-such-bucket"),
        (&["du", &uri("ru")], 3, "nothing is at"),
        (&["du", "s3://no-such-bucket"], 3, "no-such-bucket"),
        (&["du", "missing"], 3, "missing"),
    ];
    for (arguments, code, text) in cases {
        let ran = pail(&sandbox, arguments);
        assert_eq!(ran.code, *code, "{arguments:?}: {ran:?}");
        assert!(ran.err.starts_with("error: ") && ran.err.contains(text), "{arguments:?}: {ran:?}");
    }
    assert_eq!(keys(&sandbox), ["object", "run/x"]);
    assert!(work.join("file").exists());
}

#[test]
fn rm_deletes_what_is_named_and_tells_what_it_could_not() {
    let sandbox = Sandbox::new();
    for key in ["foo/a", "foo/b.tmp", "foo/sub/c", "foobar", "one", "two", "last"] {
        sandbox.put(key, "12345");
    }
    let ran = done(&sandbox, &["rm", &uri("one")]);
    assert!(ran.err.contains("deleted 1 object (5 B)"), "{ran:?}");
    let ran = done(&sandbox, &["rm", "-r", "-n", &uri("foo"), "--exclude", "*", "--include", "*.tmp"]);
    assert_eq!(ran.out, "delete  foo/b.tmp (5 B): named\n");
    assert!(ran.err.contains("would delete 1 object (5 B)"), "{ran:?}");
    assert_eq!(keys(&sandbox).len(), 6);
    let refused = Fault::once(Some("DeleteObjects"), FaultAction::AccessDenied);
    sandbox.server.inject(Fault { key_contains: Some("foo/a".into()), ..refused });
    let ran = pail(&sandbox, &["rm", "-r", "--json", &uri("foo")]);
    assert_eq!(ran.code, 5, "{ran:?}");
    assert!(ran.err.contains("1 of 3 was not deleted"), "{ran:?}");
    let printed: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((&printed["deleted"], &printed["failed"]["count"]), (&2.into(), &1.into()));
    let ran = pail(&sandbox, &["rm", "--json", &uri("nowhere")]);
    assert!(ran.code == 3 && json_lines(&ran)[0]["failed"]["count"] == 1, "{ran:?}");
    // One that is not there keeps the others not from going.
    let ran = pail(&sandbox, &["rm", &uri("nowhere"), &uri("two")]);
    assert!(ran.code == 5 && ran.err.contains("nothing is at"), "{ran:?}");
    done(&sandbox, &["rm", "-r", &uri("foo")]);
    assert_eq!(keys(&sandbox), ["foobar", "last"]);
    done(&sandbox, &["rm", "-r", "-y", &format!("s3://{BUCKET}")]);
    assert_eq!(keys(&sandbox), [] as [&str; 0]);
}

#[test]
fn du_counts_what_is_below_and_no_neighbour() {
    let sandbox = Sandbox::new();
    let ran = done(&sandbox, &["du", "--json", &format!("s3://{BUCKET}")]);
    assert_eq!(json_lines(&ran)[0]["objects"], 0);
    for (key, len) in [("foo/a", 1000), ("foo/sub/b", 2048), ("foo/sub/c", 0), ("foobar", 7)] {
        sandbox.put(key, "x".repeat(len));
    }
    for source in ["foo", "foo/"] {
        let ran = done(&sandbox, &["du", &uri(source)]);
        let words: Vec<&str> = ran.out.split_whitespace().collect();
        assert_eq!(words, ["3.0", "KiB", "3", "objects", &uri(source)]);
    }
    let ran = done(&sandbox, &["du", "--depth", "1", "--bytes", &uri("foo")]);
    let rows: Vec<Vec<&str>> = ran.out.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows, [["2048", "2", "objects", &uri("foo/sub/")], ["3048", "3", "objects", &uri("foo")]]);
    let ran = done(&sandbox, &["du", "--json", "--depth", "1", &uri("foo"), &uri("foobar")]);
    let rows = json_lines(&ran);
    assert_eq!(rows.len(), 3);
    assert_eq!((&rows[0]["uri"], &rows[0]["bytes"]), (&uri("foo/sub/").into(), &2048.into()));
    assert_eq!((&rows[2]["objects"], &rows[2]["bytes"]), (&1.into(), &7.into()));

    done(&sandbox, &["sync", &uri("foo"), "data"]);
    let ran = done(&sandbox, &["du", "--bytes", "data"]);
    assert_eq!(ran.out.split_whitespace().collect::<Vec<_>>(), ["3048", "3", "objects", "data"]);
}

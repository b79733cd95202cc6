//! `pail launch`, `pail ls` and `pail dev-server`, through the real programs.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod sandbox;

use sandbox::{BUCKET, Sandbox, finish, wait_until};
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

fn task(sandbox: &Sandbox, text: &str) -> String {
    let path = sandbox.path("task.yaml");
    fs::write(&path, text.replace("OUT", &sandbox.at("outputs"))).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_task_writes_into_a_bucket_that_is_created_and_may_run_again() {
    let sandbox = Sandbox::new();
    let path = task(
        &sandbox,
        "name: t\nenvs: {WHO: me}\nfile_mounts:\n  OUT: {name: made-for-it}\nsetup: echo setup > OUT/setup\n\
         run: |\n  echo \"$WHO $SKYPILOT_NODE_RANK $SKYPILOT_NUM_NODES\" > OUT/log\n  pwd\n",
    );
    for _ in 0..2 {
        let ran = sandbox.pail(&["launch", &path]);
        assert_eq!(ran.code, 0, "{ran:?}");
        assert!(ran.out.trim().ends_with("sky_workdir"), "{ran:?}");
    }
    let ls = sandbox.pail(&["ls", "s3://made-for-it"]);
    assert_eq!(ls.out, "log\nsetup\n", "{ls:?}");
    assert_eq!(fs::read_to_string(sandbox.path("outputs/log")).unwrap(), "me 0 1\n");
}

#[test]
fn what_a_failed_run_wrote_is_in_the_bucket_and_its_code_is_kept() {
    let sandbox = Sandbox::new();
    let path = task(
        &sandbox,
        "file_mounts:\n  OUT: {source: s3://demo-bucket}\nrun: |\n  set -e\n  exec 3> OUT/part; echo x >&3\n  exit 42\n",
    );
    let ran = sandbox.pail(&["launch", &path]);
    assert_eq!(ran.code, 42, "{ran:?}");
    assert_eq!(sandbox.object("part").as_deref(), Some("2"));
}

#[test]
fn an_interrupt_reaches_the_command_and_the_barrier_still_holds() {
    let sandbox = Sandbox::new();
    let path = task(
        &sandbox,
        "file_mounts:\n  OUT: {source: s3://demo-bucket}\nrun: |\n  trap 'echo end > OUT/end; exit 7' INT\n  touch OUT/begin\n  \
         while :; do sleep 0.05; done\n",
    );
    let mut command = sandbox.command(&["launch", &path]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait_until("it runs", || sandbox.path("outputs/begin").exists());
    // SAFETY: a signal to a process that this test started.
    assert_eq!(unsafe { libc::kill(child.id() as i32, libc::SIGINT) }, 0);
    let ran = finish(child);
    assert_eq!(ran.code, 7, "{ran:?}");
    assert_eq!(sandbox.object("end").as_deref(), Some("4"));
}

// SEMANTICS: tasks.1
#[test]
fn a_mistake_is_shown_with_its_place_before_anything_runs() {
    let sandbox = Sandbox::new();
    let path = task(&sandbox, "file_mounts:\n  OUT:\n    nmae: some-bucket\nrun: touch OUT.ran\n");
    let ran = sandbox.pail(&["launch", &path]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.err.contains("task.yaml:3:5") && ran.err.contains("nmae: some-bucket"), "{ran:?}");
    assert!(ran.err.contains("\"name\""), "{ran:?}");
    assert!(!sandbox.path("outputs.ran").exists());
}

#[test]
fn a_source_that_is_not_there_is_not_created() {
    let sandbox = Sandbox::new();
    let path = task(&sandbox, "file_mounts:\n  OUT: {source: s3://not-there}\nrun: touch OUT.ran\n");
    let ran = sandbox.pail(&["launch", &path]);
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(!sandbox.path("outputs.ran").exists());
}

#[test]
fn listings_show_directories_objects_and_odd_keys() {
    let sandbox = Sandbox::new();
    for key in ["a", "d/x", "d/y/z", "odd\tkey"] {
        let put = sandbox.server.put_object(BUCKET, key, key.as_bytes().to_vec().into());
        sandbox.runtime.block_on(put).unwrap();
    }
    let ls = |arguments: &[&str]| {
        let ran = sandbox.pail(&[&["ls"], arguments].concat());
        assert_eq!(ran.code, 0, "{ran:?}");
        ran.out
    };
    let root = format!("s3://{BUCKET}");
    let sorted = |text: String| {
        let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(ls(&[&root])), ["a", "d/", "odd\tkey"]);
    assert_eq!(sorted(ls(&["-r", &root])), ["a", "d/x", "d/y/z", "odd\tkey"]);
    assert_eq!(ls(&[&format!("{root}/d/x")]), "x\n");
    assert!(
        ls(&["-l", &format!("{root}/d")]).lines().any(|line| line.contains("  x") && line.contains(" 3 "))
    );
    let missing = sandbox.pail(&["ls", &format!("{root}/none")]);
    assert_eq!(missing.code, 3, "{missing:?}");
}

#[test]
fn the_server_tells_its_endpoint_and_ends_on_a_signal() {
    let sandbox = Sandbox::new();
    let mut command = sandbox.command(&["dev-server", "--bucket", "one", "--secret-key", "sss"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut endpoint = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut endpoint).unwrap();
    let mut list = sandbox.command(&["ls", "s3://one", "--endpoint-url", endpoint.trim()]);
    let ran = sandbox::run(list.env("AWS_SECRET_ACCESS_KEY", "sss"));
    assert_eq!(ran.code, 0, "{ran:?}");
    // SAFETY: a signal to a process that this test started.
    assert_eq!(unsafe { libc::kill(child.id() as i32, libc::SIGTERM) }, 0);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_server_that_does_not_start_says_what_to_do() {
    let sandbox = Sandbox::new();
    fs::write(sandbox.path("file"), "").unwrap();
    let (taken, file) = (sandbox.server.addr().to_string(), sandbox.at("file"));
    let told = format!("error: cannot keep objects in {file}\n");
    for (arguments, code, parts) in [
        (["--listen", taken.as_str()], 1, ["error: cannot listen on 127.0.0.1:", "hint: another program"]),
        (
            ["--listen", "203.0.113.7:0"],
            1,
            ["error: cannot listen on ", "hint: --listen takes an address of this"],
        ),
        (["--listen", "localhost:9000"], 2, ["localhost:9000", "such as 127.0.0.1:9000"]),
        (["--folder", file.as_str()], 1, [told.as_str(), "hint: give --folder"]),
    ] {
        let ran = sandbox.pail(&["dev-server", arguments[0], arguments[1]]);
        assert_eq!(ran.code, code, "{ran:?}");
        assert!(parts.iter().all(|part| ran.err.contains(part)), "{ran:?}");
    }
}

#[test]
fn an_address_that_is_no_bucket_s_is_told_what_one_is() {
    let sandbox = Sandbox::new();
    for (uri, parts) in [
        ("s3:// x", ["only lower-case letters, digits, dots and hyphens", "hint: such as \"x-data\""]),
        ("s3:/x", ["it does not begin with s3://", "hint: write s3://"]),
        ("gcs://bucket", ["its scheme is another tool's", "hint: write gs://bucket"]),
    ] {
        for arguments in [&["ls", uri][..], &["mount", uri, &sandbox.at("mnt")]] {
            let ran = sandbox.pail(arguments);
            assert_eq!(ran.code, 2, "{ran:?}");
            assert!(parts.iter().all(|part| ran.err.contains(part)), "{ran:?}");
        }
    }
}

#[test]
fn an_empty_task_says_that_there_is_nothing_to_do() {
    let sandbox = Sandbox::new();
    let ran = sandbox.pail(&["launch", &task(&sandbox, "")]);
    assert!(ran.code == 0 && ran.err.contains("task.yaml: there is nothing to do"), "{ran:?}");
}

#[test]
fn code_files_and_buckets_are_where_the_task_says() {
    let sandbox = Sandbox::new();
    let write = |name: &str, text: &str| {
        let path = sandbox.path("home").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    for (name, text) in [
        ("my-code/train.sh", "echo trained"),
        ("my-code/.skyignore", "*.log\n"),
        ("my-code/a.log", ""),
        ("datasets/d/one", "1"),
        ("datasets/.gitignore", "skipped\n"),
        ("datasets/skipped", ""),
        (".netrc", "dot"),
    ] {
        write(name, text);
    }
    sandbox.put("deep/results0/a", "A");
    sandbox.put("deep/results0/odd//key", "");
    let path = task(
        &sandbox,
        "workdir: ~/my-code\nfile_mounts:\n  ~/copies/datasets: ~/datasets\n  ~/copies/.netrc: ~/.netrc\n  in-code: s3://demo-bucket/deep/results0\n  \
         OUT: {name: uploaded, source: ~/datasets}\nrun: |\n  sh train.sh\n  cat ~/copies/datasets/d/one ~/copies/.netrc in-code/a OUT/d/one\n  ls -A . OUT\n  echo made > made-by-job\n",
    );
    let ran = sandbox.pail(&["launch", &path]);
    // A key that can be no file is named, and the run goes on.
    assert_eq!(ran.code, 5, "{ran:?}");
    assert!(ran.err.contains("odd//key"), "{ran:?}");
    assert!(ran.out.starts_with("trained\n1dotA1"), "{ran:?}");
    assert!(!ran.out.contains("a.log") && !ran.out.contains("skipped"), "{ran:?}");
    let ls = sandbox.pail(&["ls", "-r", "s3://uploaded"]);
    assert_eq!(ls.out, ".gitignore\nd/one\n", "{ls:?}");
    // Again: what was removed here goes there, what the job made stays, and nothing is sent twice.
    fs::remove_file(sandbox.path("home/datasets/d/one")).unwrap();
    write("datasets/d/two", "2");
    let ran = sandbox.pail(&["exec", &path]);
    assert!(ran.out.starts_with("trained\n1dotA1"), "exec leaves file_mounts alone: {ran:?}");
    let ran = sandbox.pail(&["launch", &path]);
    assert!(ran.code == 5 && ran.err.contains("demo-bucket/deep/results0: copied 0 files"), "{ran:?}");
    let home = sandbox.path("home");
    assert!(!home.join("copies/datasets/d/one").exists() && home.join("copies/datasets/d/two").exists());
    assert_eq!(fs::read_to_string(home.join("sky_workdir/made-by-job")).unwrap(), "made\n");
}

#[test]
fn a_detached_run_is_listed_followed_and_ended() {
    let sandbox = Sandbox::new();
    let path = task(
        &sandbox,
        "name: long\nfile_mounts:\n  OUT: {source: s3://demo-bucket}\nrun: |\n  trap 'echo end > OUT/end; exit 3' TERM\n  echo begun\n  while :; do sleep 0.05; done\n",
    );
    let ran = sandbox.pail(&["launch", "--detach", &path]);
    assert!(ran.code == 0 && ran.out.ends_with("job 1\n"), "{ran:?}");
    let logs = || sandbox.pail(&["logs", "--no-follow"]).out;
    wait_until("it prints", || logs() == "begun\n");
    let queue = sandbox.pail(&["queue"]);
    assert!(queue.out.contains("long") && queue.out.contains("RUNNING"), "{queue:?}");
    let ran = sandbox.pail(&["cancel", "1"]);
    assert_eq!(ran.out, "job 1 of local: CANCELLED\n", "{ran:?}");
    assert_eq!(sandbox.object("end").as_deref(), Some("4"));
    assert_eq!(sandbox.pail(&["cancel", "7"]).code, 3);
}

#[test]
fn an_exec_without_the_mount_of_its_task_is_refused() {
    let sandbox = Sandbox::new();
    let path = task(&sandbox, "file_mounts:\n  OUT: {source: s3://demo-bucket}\nrun: echo x > OUT/x\n");
    let ran = sandbox.pail(&["exec", &path]);
    assert!(
        ran.code == 3 && ran.err.contains("is not mounted") && ran.err.contains("pail launch"),
        "{ran:?}"
    );
    assert_eq!(sandbox.pail(&["launch", &path]).code, 0);
    assert_eq!(sandbox.pail(&["exec", &path]).code, 0);
    assert_eq!(sandbox.pail(&["down"]).code, 0);
    let ran = sandbox.pail(&["exec", &path]);
    assert!(ran.code == 3 && !sandbox.path("outputs/x").exists(), "{ran:?}");
}

// SEMANTICS: tasks.3
#[test]
fn a_sync_crosses_no_mount_and_removes_nothing_that_a_job_changed() {
    let sandbox = Sandbox::new();
    let code = sandbox.path("home/code");
    fs::create_dir_all(code.join("checkpoints")).unwrap();
    fs::write(code.join("checkpoints/last.pt"), "initial").unwrap();
    fs::write(code.join("config"), "of the workdir").unwrap();
    fs::write(sandbox.path("home/config"), "of the mount").unwrap();
    let path = task(
        &sandbox,
        "workdir: ~/code\nfile_mounts:\n  outputs: {source: s3://demo-bucket}\n  config: ~/config\n\
         run: |\n  echo trained > checkpoints/last.pt\n  echo w > outputs/model\n  cat config\n",
    );
    // What is nested takes the place of what is around it, each time.
    for _ in 0..3 {
        let ran = sandbox.pail(&["launch", &path]);
        assert!(ran.code == 0 && ran.out == "of the mount", "{ran:?}");
    }
    // Not sent any more, and changed by the job: it stays, and is named.
    fs::write(code.join(".gitignore"), "checkpoints/\n").unwrap();
    let kept = task(&sandbox, "workdir: ~/code\nrun: cat checkpoints/last.pt\n");
    let ran = sandbox.pail(&["exec", &kept]);
    assert!(ran.code == 0 && ran.out == "trained\n" && ran.err.contains("checkpoints/last.pt"), "{ran:?}");
    // What would come into the bucket is refused.
    fs::create_dir(code.join("outputs")).unwrap();
    fs::write(code.join("outputs/model"), "old").unwrap();
    let ran = sandbox.pail(&["exec", &kept]);
    assert!(ran.code == 2 && ran.err.contains("outputs/model") && ran.err.contains("mounted"), "{ran:?}");
    assert_eq!(sandbox.object("model").as_deref(), Some("2"));
}

#[test]
fn the_job_knows_nothing_of_what_opens_its_repository() {
    let sandbox = Sandbox::new();
    let path = task(&sandbox, "run: echo \"token=$GIT_TOKEN gpus=$SKYPILOT_NUM_GPUS_PER_NODE\"\n");
    let mut command = sandbox.command(&["launch", &path]);
    command.env("GIT_TOKEN", "hunter2").stdout(Stdio::piped()).stderr(Stdio::piped());
    let ran = finish(command.spawn().unwrap());
    assert!(
        ran.out.starts_with("token= gpus=") && ran.out.trim_end().ends_with(|c: char| c.is_ascii_digit()),
        "{ran:?}"
    );
}

//! `pail check`, through the real program.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use tempfile::TempDir;

/// A home with some code and data, in which commands run.
fn home() -> TempDir {
    let home = tempfile::tempdir().unwrap();
    for dir in ["my-code", "datasets"] {
        fs::create_dir(home.path().join(dir)).unwrap();
    }
    fs::write(home.path().join("file"), "x").unwrap();
    home
}

fn check(home: &Path, text: &str, arguments: &[&str]) -> Output {
    fs::write(home.join("t.yaml"), text).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_pail"));
    command.args(["check", "t.yaml"]).args(arguments);
    command.current_dir(home).env_clear().env("HOME", home).env("TOKEN", "hunter2secret").output().unwrap()
}

fn plan(home: &Path, text: &str, arguments: &[&str]) -> Value {
    let output = check(home, text, &[&["--json"], arguments].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn refusal(home: &Path, text: &str, arguments: &[&str]) -> (i32, String) {
    let output = check(home, text, arguments);
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn the_plan_is_told_in_a_few_lines() {
    let home = home();
    let text = "name: t\nnum_nodes: 2\nworkdir: ./my-code\nfile_mounts:\n  ~/data: ~/datasets\n  /f: file\n  /copy: s3://bucket/x\n  \
                /outputs: {name: my-outputs}\nsetup: |\n  a\n  b\n  c\nrun: d\n";
    let output = check(home.path(), text, &[]);
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    let told = "t.yaml is right\n  name     t\n  nodes    2\n  workdir  ~/my-code to ~/sky_workdir\n  copy     the directory ~/datasets to ~/data\n  \
                copy     the file ~/file to /f\n  copy     s3://bucket/x to /copy\n  mount    s3://my-outputs, created if it is missing, at /outputs\n  \
                setup    a (and 2 more lines)\n  run      d\n";
    assert_eq!(String::from_utf8_lossy(&output.stdout), told);
}

#[test]
fn a_bucket_of_each_store_is_told_as_a_uri() {
    let home = home();
    let text = "file_mounts:\n  /a: gs://my_bucket/x\n  /b: {name: my-bucket, store: R2}\n  /c: {name: my-bucket, store: Ibm, region: eu-de}\n  \
                /d: {name: data, store: azure, account: account1}\n  /e: {name: my-bucket, store: s3, region: eu-west-1, config: {storage_class: GLACIER_IR}}\n";
    let output = check(home.path(), text, &[]);
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    let told = "t.yaml is right\n  copy   gs://my_bucket/x to /a\n  mount  r2://my-bucket, created if it is missing, at /b\n  \
                mount  cos://eu-de/my-bucket, created if it is missing, at /c\n  mount  az://account1/data, created if it is missing, at /d\n  \
                mount  s3://my-bucket, created if it is missing, at /e\n";
    assert_eq!(String::from_utf8_lossy(&output.stdout), told);
    let plan = plan(home.path(), text, &[]);
    let of_s3 = &plan["file_mounts"][4]["content"]["mount"];
    assert_eq!(
        (&of_s3["region"], &of_s3["settings"]["storage_class"]),
        (&"eu-west-1".into(), &"GLACIER_IR".into())
    );
}

#[test]
fn a_bucket_by_name_is_in_the_first_store_with_credentials_and_that_is_said() {
    let home = home();
    fs::create_dir(home.path().join(".cloudflare")).unwrap();
    fs::write(home.path().join(".cloudflare/r2.credentials"), "[r2]\n").unwrap();
    let output = check(home.path(), "file_mounts: {/a: {name: my-bucket}}\n", &[]);
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(out.contains("mount  r2://my-bucket, created"), "{out}");
    assert!(
        err.starts_with("note: t.yaml:1:26: \"my-bucket\" is taken for a bucket of Cloudflare R2"),
        "{err}"
    );
    fs::create_dir(home.path().join(".aws")).unwrap();
    fs::write(home.path().join(".aws/credentials"), "[default]\n").unwrap();
    let output = check(home.path(), "file_mounts: {/a: {name: my-bucket}}\n", &[]);
    assert!(String::from_utf8_lossy(&output.stdout).contains("mount  s3://my-bucket, created"), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

/// Every command that takes a bucket tells a wrong one in the same words, before it does anything.
#[test]
fn commands_tell_a_wrong_uri_before_anything_runs() {
    let home = home();
    for (uri, told) in [
        ("gcs://my-bucket/x", "write gs://my-bucket/x"),
        ("https://account1.blob.core.windows.net/data?sig=hunter2secret", "write az://account1/data"),
        ("cos://us-geo/my-bucket", "cross-region"),
        ("gs://My_Bucket", "such as \"my_bucket\""),
        ("az://account1/a--b", "such as \"a-b\""),
    ] {
        for arguments in [
            &["mount", uri, "mount-point"][..],
            &["ls", uri],
            &["cp", "file", uri],
            &["cp", "-r", uri, "copy"],
        ] {
            let mut command = Command::new(env!("CARGO_BIN_EXE_pail"));
            let output = command
                .args(arguments)
                .current_dir(&home)
                .env_clear()
                .env("HOME", home.path())
                .output()
                .unwrap();
            let err = String::from_utf8(output.stderr).unwrap();
            assert!(output.status.code() == Some(2) && err.contains(told), "{arguments:?}: {err}");
            assert!(!err.contains("hunter2"), "{err}");
        }
    }
    assert!(!home.path().join("mount-point").exists() && !home.path().join("copy").exists());
}

#[test]
fn the_command_line_goes_before_the_workdir_of_the_file() {
    let home = home();
    let local = |dir: &str| serde_json::json!({ "local": home.path().join(dir) });
    let git = |git_ref: Option<&str>| serde_json::json!({ "git": { "url": "https://h/r", "ref": git_ref } });
    let of_git = "workdir: {url: 'https://h/other', ref: main}\nrun: x\n";
    let of_git_same = "workdir: {url: 'https://h/r', ref: main}\nrun: x\n";
    let (of_dir, none) = ("workdir: my-code\nrun: x\n", "run: x\n");
    let link = home.path().join("link");
    std::os::unix::fs::symlink("datasets", &link).unwrap();
    for (text, arguments, expected) in [
        (of_dir, &[][..], local("my-code")),
        (of_dir, &["--workdir", "datasets"], local("datasets")),
        (of_dir, &["--workdir", "~/link"], local("link")),
        ("workdir: not-there\nrun: x\n", &["--workdir", "datasets"], local("datasets")),
        (of_git, &["--workdir", "./datasets"], local("datasets")),
        (none, &["--workdir", "."], serde_json::json!({ "local": home.path() })),
        (of_git_same, &[], git(Some("main"))),
        (of_git_same, &["--git-ref", "v2"], git(Some("v2"))),
        (of_git, &["--git-url", "https://h/r"], git(Some("main"))),
        (of_git, &["--git-url", "https://h/r", "--git-ref", "v2"], git(Some("v2"))),
        (of_dir, &["--git-url", "https://h/r"], git(None)),
        (none, &["--git-url", "https://h/r", "--git-ref", "v2"], git(Some("v2"))),
    ] {
        assert_eq!(plan(home.path(), text, arguments)["workdir"], expected, "{text} {arguments:?}");
    }
    for (text, arguments, told) in [
        (of_dir, &["--git-ref", "v2"][..], "t.yaml:1:10: --git-ref v2: this `workdir` is a directory"),
        (none, &["--git-ref", "v2"], "t.yaml: --git-ref v2: the task has no `workdir`"),
        (of_git, &["--workdir", ".", "--git-ref", "v2"], "cannot be used with"),
        (of_git, &["--workdir", ".", "--git-url", "https://h/r"], "cannot be used with"),
        (
            of_dir,
            &["--workdir", "dataset"],
            "--workdir: \"dataset\" is not there\nhint: did you mean \"datasets\"?",
        ),
        (of_dir, &["--workdir", "file"], "--workdir: \"file\" is a file"),
        (none, &["--git-url", "h/r"], "--git-url: \"h/r\" is not the URL of a git repository"),
        (none, &["--num-nodes", "0"], "--num-nodes"),
    ] {
        let (code, err) = refusal(home.path(), text, arguments);
        assert!((code == 2 || code == 3) && err.contains(told), "{text} {arguments:?}: {code} {err}");
    }
    assert_eq!(plan(home.path(), "num_nodes: 2\nrun: x\n", &["--num-nodes", "3"])["num_nodes"], 3);
}

#[test]
fn variables_of_the_command_line_replace_those_of_the_file_everywhere() {
    let home = home();
    let text = "envs: {DATA: nowhere, N: }\nname: $N\nfile_mounts:\n  /$DATA: ~/$DATA\n  /out/${N}: {name: \"$N\"}\nworkdir: $CODE\n";
    let plan =
        plan(home.path(), text, &["--env", "DATA=datasets", "--env", "N=my-bucket", "--env", "CODE=my-code"]);
    assert_eq!(plan["name"], "my-bucket");
    assert_eq!(plan["file_mounts"][0]["destination"], "/datasets");
    assert_eq!(plan["file_mounts"][0]["content"]["local"], home.path().join("datasets").to_str().unwrap());
    assert_eq!(plan["file_mounts"][1]["destination"], "/out/my-bucket");
    assert_eq!(plan["file_mounts"][1]["content"]["mount"]["uri"], "s3://my-bucket");
    assert_eq!(plan["workdir"]["local"], home.path().join("my-code").to_str().unwrap());
}

#[test]
fn the_values_of_secrets_are_shown_nowhere() {
    let home = home();
    let text = "secrets: {TOKEN: null}\nname: of-$TOKEN\nfile_mounts:\n  /a/$TOKEN: s3://bucket/$TOKEN\n  /b: {name: \"$TOKEN\"}\nrun: echo hunter2secret\n";
    for arguments in [&["--secret", "TOKEN"][..], &["--secret", "TOKEN", "--json"]] {
        let output = check(home.path(), text, arguments);
        assert!(output.status.success(), "{output:?}");
        assert!(!format!("{output:?}").contains("hunter2"), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stdout).contains("s3://bucket/${TOKEN}"));
    }
    let (code, err) = refusal(home.path(), text, &[]);
    assert!(
        code == 2 && err.contains("TOKEN has no value") && err.contains("--secret TOKEN, which"),
        "{err}"
    );
    let wrong = "file_mounts:\n  /b: {name: \"${TOKEN}_\"}\n  /c: ~/$TOKEN\n  $TOKEN/: ~/datasets\n";
    let (code, err) = refusal(home.path(), wrong, &["--secret", "TOKEN"]);
    assert!(code == 2 && !err.contains("hunter2"), "{err}");
}

#[test]
fn nothing_is_run_or_made() {
    let home = home();
    let output = check(home.path(), "file_mounts:\n  made: {name: my-outputs}\nrun: touch ran\n", &[]);
    assert!(output.status.success());
    let mut names: Vec<_> =
        fs::read_dir(home.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["datasets", "file", "my-code", "t.yaml"]);
}

#[test]
fn files_that_cannot_be_a_task() {
    let home = home();
    let (code, err) = refusal(home.path(), &"#".repeat((1 << 20) + 1), &[]);
    assert!(code == 2 && err.contains("t.yaml is larger than 1 MiB"), "{err}");
    let run = |name: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pail"));
        let output =
            command.args(["check", name]).current_dir(home.path()).env("HOME", home.path()).output().unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, err) = run("none.yaml");
    assert!(code == 3 && err.contains("cannot read none.yaml"), "{err}");
    let (code, err) = run("datasets");
    assert!(code == 2 && err.contains("cannot read datasets"), "{err}");
}

#[test]
fn local_sources_that_cannot_be_copied() {
    let home = home();
    let _socket = std::os::unix::net::UnixListener::bind(home.path().join("socket")).unwrap();
    for (target, link) in [("gone", "dangling"), ("datasets", "to-datasets"), ("loop", "loop")] {
        std::os::unix::fs::symlink(target, home.path().join(link)).unwrap();
    }
    for (source, code, told) in [
        ("socket", 2, "\"socket\" is a socket, neither a file nor a directory"),
        ("/dev/null", 2, "\"/dev/null\" is a device"),
        ("dangling", 3, "\"dangling\" is a link to gone, which is not there"),
        ("loop", 2, "\"loop\" cannot be read"),
        ("file/x", 2, "\"file/x\" cannot be read: Not a directory"),
    ] {
        let found = refusal(home.path(), &format!("file_mounts:\n  /x: {source}\n"), &[]);
        assert!(found.0 == code && found.1.contains(told), "{source}: {found:?}");
    }
    let plan = plan(home.path(), "file_mounts:\n  /x: to-datasets\n", &[]);
    assert_eq!(plan["file_mounts"][0]["content"]["local"], home.path().join("to-datasets").to_str().unwrap());
}

//! What people are told, and the commands that they are told to run: each is run as it is printed.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod sandbox;

use pail_devserver::{Fault, FaultAction, GcsSettings, Settings};
use sandbox::{BUCKET, Ran, SECRET, Sandbox, run, skipped, wait_until};
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;

const ENDPOINT: &str = "AWS_ENDPOINT_URL";
const KEYS: [&str; 2] = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];

/// Runs `pail` as somebody who has neither endpoint nor keys in the environment, and a profile in place of them.
fn pail_by_profile(sandbox: &Sandbox, arguments: &[&str]) -> Ran {
    let profile = format!("[profile of-tests]\naws_access_key_id = test\naws_secret_access_key = {SECRET}\n");
    fs::create_dir_all(sandbox.path("home/.aws")).unwrap();
    fs::write(sandbox.path("home/.aws/config"), profile).unwrap();
    run(without_environment(&mut sandbox.command(arguments)))
}

fn without_environment(command: &mut Command) -> &mut Command {
    command.env_remove(ENDPOINT).env_remove(KEYS[0]).env_remove(KEYS[1])
}

/// Runs a command that was told, in a shell, in the same way.
fn run_told(sandbox: &Sandbox, told: &str) -> Ran {
    let programs = Path::new(env!("CARGO_BIN_EXE_pail")).parent().unwrap().display().to_string();
    let path = std::env::var("PATH").unwrap_or_default();
    let environment = sandbox.command(&[]);
    let mut shell = Command::new("bash");
    shell.args(["-c", told]).env_clear();
    for (name, value) in environment.get_envs() {
        shell.env(name, value.unwrap());
    }
    run(without_environment(&mut shell).env("PATH", format!("{programs}:{path}")))
}

/// Writes a file and has it published.
fn write(at: &Path) -> std::io::Result<()> {
    let mut file = fs::File::create(at)?;
    file.write_all(b"1")?;
    file.sync_all()
}

/// The command between the first backquotes after `before`.
fn quoted_after<'t>(text: &'t str, before: &str) -> &'t str {
    let rest = text.split_once(before).unwrap_or_else(|| panic!("no {before:?} in {text}")).1;
    rest.split('`').nth(1).unwrap()
}

/// A mount by flags alone, at a place that has to be quoted.
fn mounted_by_profile(sandbox: &Sandbox, uri: &str, name: &str) -> Ran {
    let url = sandbox.server.endpoint_url();
    let flags = ["--endpoint-url", &url, "--profile", "of-tests", "--read-only", "--metadata-ttl", "7s"];
    let ran = pail_by_profile(sandbox, &[&["mount", uri, &sandbox.at(name)][..], &flags].concat());
    assert_eq!(ran.code, 0, "{ran:?}");
    ran
}

#[test]
fn commands_that_are_told_reach_the_mounts_own_endpoint_with_its_profile() {
    let sandbox = Sandbox::new();
    sandbox.put("a//hidden", "1");
    mounted_by_profile(&sandbox, &format!("s3://{BUCKET}"), "it's here");
    fs::read_dir(sandbox.path("it's here/a")).unwrap().count();
    let status = pail_by_profile(&sandbox, &["status"]);
    let command = quoted_after(&status.err, "hint: ");
    let ran = run_told(&sandbox, command);
    assert!(ran.code == 0 && ran.out.contains("a//hidden"), "{command}: {ran:?}");

    let typo = mounted_by_profile(&sandbox, &format!("s3://{BUCKET}/no such"), "typo");
    let command = quoted_after(&typo.err, "nothing is below");
    let ran = run_told(&sandbox, command);
    assert!(ran.code == 0 && ran.out.contains("a//hidden"), "{command}: {ran:?}");
}

#[test]
fn the_command_that_mounts_again_what_a_killed_daemon_had_mounts_the_same() {
    let sandbox = Sandbox::new();
    sandbox.put("f", "1");
    mounted_by_profile(&sandbox, &format!("s3://{BUCKET}"), "it's here");
    let spec = sandbox.status()["mounts"][0]["spec"].clone();
    sandbox.end_daemon(libc::SIGKILL);
    let status = pail_by_profile(&sandbox, &["status"]);
    let flush = pail_by_profile(&sandbox, &["flush"]);
    let told = |text: &str| {
        text.lines().find_map(|line| line.split_once("again").map(|(_, rest)| rest)).unwrap().to_owned()
    };
    let command = told(&status.err)[told(&status.err).find("pail mount ").unwrap()..].to_owned();
    assert!(flush.err.contains(&command), "{flush:?}");
    let ran = run_told(&sandbox, &command);
    assert_eq!(ran.code, 0, "{command}: {ran:?}");
    wait_until("it is back", || sandbox.status()["mounts"][0]["state"] == "mounted");
    assert_eq!(sandbox.status()["mounts"][0]["spec"], spec);
    assert_eq!(fs::read(sandbox.path("it's here/f")).unwrap(), b"1");
}

#[test]
fn the_command_that_ends_a_mount_is_told_for_its_place() {
    let sandbox = Sandbox::new();
    let ran = sandbox.pail(&["mount", &format!("s3://{BUCKET}"), &sandbox.at("it's here")]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let refuse = Fault { times: u32::MAX, ..Fault::once(Some("PutObject"), FaultAction::AccessDenied) };
    sandbox.server.inject(refuse);
    write(&sandbox.path("it's here/f")).unwrap_err();
    let other = sandbox.pail(&["mount", &format!("s3://{BUCKET}/p"), &sandbox.at("it's here")]);
    let told = other.err.split_once("unmount it first: ").unwrap().1.trim();
    let ran = run_told(&sandbox, told);
    assert_eq!(ran.code, 5, "{told}: {ran:?}");
    let command = quoted_after(&ran.err, "hint: mend the cause");
    let ran = run_told(&sandbox, command);
    assert!(ran.code == 5 && ran.out.starts_with("unmounted "), "{command}: {ran:?}");
    assert_eq!(sandbox.kernel_mounts(), Vec::<String>::new());
}

#[test]
fn several_mounts_are_ended_by_one_command() {
    let sandbox = Sandbox::new();
    let places = ["a", "b", "c"].map(|name| sandbox.at(name));
    for place in &places {
        assert_eq!(sandbox.pail(&["mount", &format!("s3://{BUCKET}"), place]).code, 0);
    }
    let [a, b, c] = &places;
    let ran = sandbox.pail(&["umount", a, b, a]);
    assert_eq!((ran.code, ran.out.lines().count()), (0, 2), "{ran:?}");
    assert_eq!(sandbox.kernel_mounts(), std::slice::from_ref(c));
    // What is not there keeps nothing from being unmounted.
    let ran = sandbox.pail(&["umount", a, c]);
    assert_eq!((ran.code, ran.out), (3, format!("unmounted {c}\n")), "{}", ran.err);
    assert!(ran.err.contains(&format!("nothing is mounted at {a}")), "{}", ran.err);

    for place in [a, b] {
        assert_eq!(sandbox.pail(&["mount", &format!("s3://{BUCKET}"), place]).code, 0);
    }
    sandbox.end_daemon(libc::SIGKILL);
    let ran = sandbox.pail(&["umount", a, b]);
    assert_eq!((ran.code, ran.out.lines().count()), (0, 2), "dead ones, without a daemon: {ran:?}");
    assert_eq!(sandbox.kernel_mounts(), Vec::<String>::new());
    assert_eq!(sandbox.pail(&["umount"]).code, 2);
}

#[test]
fn credentials_that_may_not_write_are_told_at_mount() {
    let sandbox = Sandbox::new();
    sandbox.server.set_public(BUCKET).unwrap();
    let uri = format!("s3://{BUCKET}");
    let mount = |name: &str, arguments: &[&str]| {
        let place = sandbox.at(name);
        let mut command = sandbox.command(&[&["mount", &uri, &place], arguments].concat());
        let ran = run(command.env_remove(KEYS[0]).env_remove(KEYS[1]));
        assert_eq!(ran.code, 0, "{ran:?}");
        ran
    };
    let warning = format!("warning: these credentials may not write to {uri}");
    let ran = mount("anonymous", &[]);
    assert!(ran.err.contains(&warning) && ran.err.contains("hint: mount it with --read-only"), "{ran:?}");
    assert_eq!(write(&sandbox.path("anonymous/f")).unwrap_err().raw_os_error(), Some(libc::EACCES));
    assert!(!mount("read-only", &["--read-only"]).err.contains("warning"));
    let json: serde_json::Value = serde_json::from_str(&mount("json", &["--json"]).out).unwrap();
    assert_eq!(json["writes_refused"], true, "{json}");

    let ran = sandbox.pail(&["mount", &uri, &sandbox.at("signed")]);
    assert!(ran.code == 0 && !ran.err.contains("warning"), "{ran:?}");
    assert_eq!(sandbox.pail(&["ls", "-r", &uri]).out, "", "nothing was written to find out");
}

#[test]
fn credentials_that_may_not_write_to_gcs_are_told_at_mount() {
    let sandbox = Sandbox::new();
    let refused = ["storage.objects.create", "storage.objects.delete"].map(str::to_owned);
    let gcs = GcsSettings { refused_permissions: refused.into(), ..GcsSettings::default() };
    let url = sandbox.server.endpoint_url();
    let uri = format!("gs://{BUCKET}");
    let mount = |name: &str, arguments: &[&str]| {
        let place = sandbox.at(name);
        let mut command = sandbox.command(&[&["mount", &uri, &place], arguments].concat());
        let ran = run(command.env("STORAGE_EMULATOR_HOST", &url));
        assert_eq!(ran.code, 0, "{ran:?}");
        ran
    };
    assert!(!mount("all", &[]).err.contains("may not write"));
    sandbox.server.set_settings(Settings { gcs, ..Settings::default() });
    let warning = format!("warning: these credentials may not write to {uri}");
    let ran = mount("some", &[]);
    assert!(ran.err.contains(&warning) && ran.err.contains("hint: mount it with --read-only"), "{ran:?}");
    assert_eq!(write(&sandbox.path("some/f")).unwrap_err().raw_os_error(), Some(libc::EACCES));
    assert!(!mount("read-only", &["--read-only"]).err.contains("warning"));
}

#[test]
fn a_storage_class_that_no_server_can_know_is_refused_at_mount() {
    let sandbox = Sandbox::new();
    for (uri, class, told) in [
        (
            "s3://my-bucket",
            "STANDART_IA",
            "S3 has no storage class \"STANDART_IA\": did you mean \"STANDARD_IA\"?",
        ),
        (
            "gs://my-bucket",
            "GLACIER",
            "Google Cloud Storage has no storage class \"GLACIER\": it has STANDARD,",
        ),
    ] {
        let mut command = sandbox.command(&["mount", uri, &sandbox.at("mnt"), "--storage-class", class]);
        let ran = run(command.env_remove("AWS_ENDPOINT_URL"));
        assert!(ran.code == 2 && ran.err.contains(told), "{ran:?}");
    }
    assert_eq!(sandbox.daemon_pid(), None, "nothing ran");
    // Another server has classes of its own.
    let ran =
        sandbox.pail(&["mount", &format!("s3://{BUCKET}"), &sandbox.at("mnt"), "--storage-class", "FAST"]);
    assert_eq!(ran.code, 0, "{ran:?}");
}

#[test]
fn a_mount_of_an_archive_class_says_that_its_files_cannot_be_read() {
    let sandbox = Sandbox::new();
    let uri = format!("s3://{BUCKET}");
    for (class, warns) in [("DEEP_ARCHIVE", true), ("GLACIER_IR", false)] {
        let ran = sandbox.pail(&["mount", &uri, &sandbox.at(class), "--storage-class", class]);
        assert_eq!((ran.code, ran.err.contains("they cannot be read")), (0, warns), "{ran:?}");
    }
}

#[test]
fn root_without_the_capability_to_mount_is_told_what_a_container_needs() {
    if !rustix::process::geteuid().is_root() {
        return skipped("only root can give up its capabilities");
    }
    let sandbox = Sandbox::new();
    let pail = sandbox.command(&["mount", &format!("s3://{BUCKET}"), &sandbox.at("mnt")]);
    let mut command = Command::new("setpriv");
    command.args(["--bounding-set", "-sys_admin", "--inh-caps", "-sys_admin"]).env_clear();
    command.arg(pail.get_program()).args(pail.get_args());
    for (name, value) in pail.get_envs() {
        command.env(name, value.unwrap());
    }
    let ran = run(&mut command);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(
        ran.err.contains("cannot mount at ") && ran.err.contains("--device /dev/fuse --cap-add SYS_ADMIN"),
        "{ran:?}"
    );
    assert!(!sandbox.path("mnt").exists());
}

// SEMANTICS: names.5
#[test]
fn a_directory_that_only_hidden_keys_keep_says_so() {
    let sandbox = Sandbox::new();
    for key in ["a//b", "seen/f"] {
        sandbox.put(key, "1");
    }
    sandbox.put("marker/", "bytes");
    let mnt = sandbox.mounted_with(&["--metadata-ttl", "0"]);
    for dir in ["a", "marker", "seen"] {
        let refused = fs::remove_dir(mnt.join(dir)).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::ENOTEMPTY), "{dir}");
    }
    let status = sandbox.pail(&["status"]);
    let log = fs::read_to_string(sandbox.path("state/pail/mountd.log")).unwrap();
    for (dir, key) in [("a", "a//b"), ("marker", "marker/")] {
        let told =
            format!("rmdir /{dir}: it is not empty: it holds keys that no path can show, such as {key}\n");
        assert!(status.err.contains(&told), "{status:?}");
        assert!(log.contains(&format!("such as {key}")), "{log}");
    }
    assert!(!status.err.contains("rmdir /seen"), "{status:?}");
    assert!(status.err.contains(": 2 keys cannot be shown as files"), "{status:?}");
}

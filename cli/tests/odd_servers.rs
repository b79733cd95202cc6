//! Files on servers that lack something, or answer oddly where they are asked what they have: what a probe cannot show is not used, and
//! nothing else fails for it.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod sandbox;

use pail_devserver::{Fault, FaultAction, Quirks, Settings};
use sandbox::{BUCKET, Sandbox};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;

const FILE_BYTES: usize = 20 << 20;

fn noise(len: usize, seed: u64) -> Vec<u8> {
    (0..len as u64).map(|i| ((i + seed).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect()
}

fn close(file: File) -> Result<(), nix::errno::Errno> {
    nix::unistd::close(file)
}

/// Writes a file of `len` bytes, and then over its middle, and closes it both times.
fn write_and_overwrite(quirks: Quirks, len: usize) {
    let sandbox = Sandbox::new();
    sandbox.server.set_settings(Settings { quirks, ..Settings::default() });
    let path = sandbox.mounted().join("file");
    let mut shadow = noise(len, 0);
    let file = File::create(&path).unwrap();
    file.write_all_at(&shadow, 0).unwrap();
    assert_eq!(close(file), Ok(()), "writing");
    assert!(sandbox.bytes_of("file") == shadow, "other bytes after writing");
    // A mount that has nothing of the file in its cache, and must ask the server anew.
    assert_eq!(sandbox.pail(&["umount", &sandbox.at("mnt")]).code, 0);
    sandbox.end_daemon(libc::SIGTERM);
    std::fs::remove_dir_all(sandbox.path("cache")).unwrap();
    sandbox.mounted();
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    let bytes = noise(100_000, 1);
    file.write_all_at(&bytes, len as u64 / 2).unwrap();
    assert_eq!(close(file), Ok(()), "overwriting");
    shadow[len / 2..len / 2 + bytes.len()].copy_from_slice(&bytes);
    assert!(sandbox.bytes_of("file") == shadow, "other bytes after overwriting");
}

#[test]
fn a_server_that_takes_a_copied_part_for_an_ordinary_one() {
    write_and_overwrite(Quirks { part_copy_is_upload: true, ..Quirks::default() }, FILE_BYTES);
}

#[test]
fn a_server_that_aborts_no_upload() {
    write_and_overwrite(Quirks { no_abort: true, ..Quirks::default() }, FILE_BYTES);
}

#[test]
fn a_server_without_head() {
    write_and_overwrite(Quirks { no_head: true, ..Quirks::default() }, FILE_BYTES);
}

#[test]
fn a_server_that_fails_at_every_condition() {
    write_and_overwrite(Quirks { failing_conditions: true, ..Quirks::default() }, FILE_BYTES);
}

#[test]
fn a_server_without_uploads_in_parts() {
    write_and_overwrite(Quirks { no_multipart: true, ..Quirks::default() }, 1 << 20);
}

#[test]
fn a_server_whose_listings_have_no_etags() {
    for len in [1 << 20, FILE_BYTES] {
        write_and_overwrite(Quirks { no_list_etags: true, ..Quirks::default() }, len);
    }
}

#[test]
fn a_server_whose_listings_have_no_etags_shows_what_others_write_and_takes_appends() {
    let sandbox = Sandbox::new();
    let quirks = Quirks { no_list_etags: true, ..Quirks::default() };
    sandbox.server.set_settings(Settings { quirks, ..Settings::default() });
    let mount = sandbox.mounted_with(&["--metadata-ttl", "0"]);
    for bytes in [&b"first"[..], b"second, which is longer", b"3rd"] {
        sandbox.put("log", bytes);
        assert_eq!(std::fs::read(mount.join("log")).unwrap(), bytes);
    }
    let mut file = OpenOptions::new().append(true).open(mount.join("log")).unwrap();
    std::io::Write::write_all(&mut file, b" and more").unwrap();
    assert_eq!(close(file), Ok(()));
    assert_eq!(sandbox.bytes_of("log"), b"3rd and more");
    let edited =
        std::process::Command::new("sed").args(["-i", "s/more/less/"]).arg(mount.join("log")).status();
    assert!(edited.unwrap().success());
    assert_eq!(sandbox.bytes_of("log"), b"3rd and less");
}

#[test]
fn a_server_that_takes_slashes_in_a_row_for_one() {
    write_and_overwrite(Quirks { folds_slashes: true, ..Quirks::default() }, 1 << 20);
}

/// What is told by a mount, and the operations of the requests that it took.
fn mount(sandbox: &Sandbox, arguments: &[&str], variables: &[(&str, &str)]) -> (String, Vec<String>) {
    sandbox.server.reset_counters();
    let mut command = sandbox.command(&[&["mount"], arguments].concat());
    let ran = sandbox::run(command.envs(variables.iter().copied()));
    assert_eq!(ran.code, 0, "{ran:?}");
    let operations = sandbox.server.requests().into_iter().map(|request| request.operation).collect();
    (ran.err, operations)
}

#[test]
fn a_server_that_ignores_conditions_is_told_of_by_its_first_mount() {
    let sandbox = Sandbox::new();
    let quirks = Quirks { ignore_write_conditions: true, ..Quirks::default() };
    sandbox.server.set_settings(Settings { quirks, ..Settings::default() });
    let uri = |below: &str| format!("s3://{BUCKET}/{below}");
    let warning = format!("warning: the server of s3://{BUCKET}");
    let (told, asked) = mount(&sandbox, &["--read-only", &uri("a"), &sandbox.at("read-only")], &[]);
    assert!(!told.contains(&warning), "{told}");
    assert!(asked.iter().all(|operation| operation != "PutObject"), "{asked:?}");
    let (told, _) = mount(&sandbox, &[&uri("b"), &sandbox.at("first")], &[]);
    let all = "ignores the conditions of writes, writes in parts (large files) and deletions";
    assert!(told.contains(&warning) && told.contains(all), "{told}");
    let (told, asked) = mount(&sandbox, &[&uri("c"), &sandbox.at("second")], &[]);
    assert!(told.contains(&warning), "{told}");
    assert!(asked.iter().all(|operation| operation != "PutObject"), "it is known by now: {asked:?}");
    let told = sandbox.pail(&["status"]);
    assert!(told.err.contains(&warning), "{told:?}");
    assert_eq!(
        sandbox.pail(&["ls", "-r", &format!("s3://{BUCKET}")]).out,
        "",
        "nothing is left of the questions"
    );
}

#[test]
fn a_server_of_gcs_that_ignores_some_conditions_is_told_of_by_its_first_mount() {
    let sandbox = Sandbox::new();
    let quirks = Quirks { insert_conditions_alone: true, ..Quirks::default() };
    sandbox.server.set_settings(Settings { quirks, ..Settings::default() });
    let url = sandbox.server.endpoint_url();
    let emulator = [("STORAGE_EMULATOR_HOST", &*url)];
    let uri = format!("gs://{BUCKET}");
    let (told, _) = mount(&sandbox, &[&uri, &sandbox.at("mnt")], &emulator);
    let some = format!(
        "note: the server of {uri} ignores the conditions of writes in parts (large files) and deletions"
    );
    assert!(told.contains(&some), "{told}");
}

#[test]
fn a_server_that_enforces_all_conditions_is_not_told_of() {
    let sandbox = Sandbox::new();
    let (told, asked) = mount(&sandbox, &[&format!("s3://{BUCKET}"), &sandbox.at("mnt")], &[]);
    assert!(!told.contains("conditions"), "{told}");
    assert!(asked.iter().any(|operation| operation == "PutObject"), "it was asked: {asked:?}");
}

#[test]
fn a_server_that_may_not_be_asked_is_mounted_all_the_same() {
    let sandbox = Sandbox::new();
    sandbox.server.inject(Fault {
        key_contains: Some(".pail-probe-".into()),
        ..Fault::once(Some("DeleteObject"), FaultAction::AccessDenied)
    });
    let (told, asked) = mount(&sandbox, &[&format!("s3://{BUCKET}"), &sandbox.at("mnt")], &[]);
    assert!(told.contains("was not asked") && !told.contains("ignores"), "{told}");
    assert!(asked.iter().all(|operation| operation != "PutObject"), "nothing is written: {asked:?}");
    std::fs::write(sandbox.path("mnt/f"), "1").unwrap();
    assert_eq!(sandbox.bytes_of("f"), b"1");
}

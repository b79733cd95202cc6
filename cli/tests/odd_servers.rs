//! Files on servers that lack something, or answer oddly where they are asked what they have: what a probe cannot show is not used, and
//! nothing else fails for it.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod sandbox;

use pail_devserver::{Quirks, Settings};
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

#[test]
fn a_server_that_ignores_conditions_is_told_of_once_that_is_known() {
    let sandbox = Sandbox::new();
    let quirks = Quirks { ignore_write_conditions: true, ..Quirks::default() };
    sandbox.server.set_settings(Settings { quirks, ..Settings::default() });
    let mount = sandbox.mounted();
    std::fs::write(mount.join("f"), "1").unwrap();
    // The first write on a condition has the server asked.
    let mut file = OpenOptions::new().append(true).open(mount.join("f")).unwrap();
    std::io::Write::write_all(&mut file, b"2").unwrap();
    assert_eq!(close(file), Ok(()));
    let warning = format!("warning: the server of s3://{BUCKET}");
    let told = sandbox.pail(&["status"]);
    assert!(told.err.contains(&warning) || told.out.contains(&warning), "{told:?}");
    let uri = format!("s3://{BUCKET}/below");
    let told = sandbox.pail(&["mount", &uri, &sandbox.at("other")]);
    assert!(told.code == 0 && told.err.contains(&warning), "{told:?}");
    let told = sandbox.pail(&["mount", "--read-only", &format!("s3://{BUCKET}/b"), &sandbox.at("read-only")]);
    assert!(told.code == 0 && !told.err.contains(&warning), "{told:?}");
}

//! Files that are mostly holes, through the real programs: what nobody wrote would be uploaded as zeros.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod sandbox;

use sandbox::Sandbox;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;

const GIB: u64 = 1 << 30;

fn fallocate(file: &File, len: u64) -> io::Result<()> {
    // SAFETY: a call on a descriptor that is open.
    match unsafe { libc::fallocate(file.as_raw_fd(), 0, 0, len as libc::off_t) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The errors of all ways to make a file `len` bytes long, which is then `written` as it was, and closed.
fn grown(file: File, len: u64, written: &[u8]) -> Vec<Option<i32>> {
    let tries = [file.set_len(len), fallocate(&file, len), file.write_all_at(b"x", len - 1)];
    // Nothing that should have failed is to be uploaded.
    file.set_len(written.len() as u64).unwrap();
    drop(file);
    tries.into_iter().map(|done| done.err().and_then(|error| error.raw_os_error())).collect()
}

// SEMANTICS: writing.8
#[test]
fn a_file_that_is_nearly_all_holes_is_refused_with_its_reason() {
    let sandbox = Sandbox::new();
    let mnt = sandbox.mounted();
    let file = File::create(mnt.join("f")).unwrap();
    file.write_all_at(b"written", 0).unwrap();
    assert_eq!(grown(file, 1024 * GIB, b"written"), vec![Some(libc::EFBIG); 3]);
    assert_eq!(sandbox.bytes_of("f"), b"written");

    let status = sandbox.status();
    let errors = status["mounts"][0]["fs"]["last_errors"].as_array().unwrap();
    assert_eq!(errors.len(), 3, "{errors:?}");
    for error in errors {
        let cause = error["cause"].as_str().unwrap();
        assert_eq!(error["path"], "f");
        assert!(cause.contains("at most 64G") && cause.contains("holes_max"), "{cause}");
    }
    let shown = sandbox.pail(&["status"]).err;
    assert!(shown.contains("holes_max"), "{shown}");
    let log = fs::read_to_string(sandbox.path("state/pail/mountd.log")).unwrap();
    assert_eq!(log.matches("holes_max").count(), 3, "{log}");
}

#[test]
fn how_much_of_a_file_may_be_holes_can_be_set() {
    let sandbox = Sandbox::new();
    fs::create_dir_all(sandbox.path("config/pail")).unwrap();
    fs::write(sandbox.path("config/pail/config.toml"), "holes_max = \"1M\"\n").unwrap();
    let mnt = sandbox.mounted();
    let file = File::create(mnt.join("f")).unwrap();
    file.set_len(1 << 20).unwrap();
    assert_eq!(grown(file, (1 << 20) + 2, &[0; 1 << 20]), vec![Some(libc::EFBIG); 3]);
    assert_eq!(sandbox.bytes_of("f"), vec![0; 1 << 20]);
}

//! Files on a server that locks a key while it is written: whoever reads the key waits for the write, also one who reads it to have what
//! the write is to send.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod sandbox;

use pail_devserver::{Quirks, Settings};
use sandbox::{Sandbox, run};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;

const FILE_BYTES: usize = 20 << 20;
const PIECE_BYTES: usize = 5000;
const PIECES: usize = 50;
/// The retries' deadline that SEMANTICS.md names, and as long again for a loaded machine: nothing here fails or is slow.
const PATIENCE: Duration = Duration::from_secs(120);

fn locking() -> Sandbox {
    let sandbox = Sandbox::new();
    let quirks = Quirks { lock_while_written: true, ..Quirks::default() };
    sandbox.server.set_settings(Settings { quirks, ..Settings::default() });
    sandbox
}

fn noise(len: usize, seed: u64) -> Vec<u8> {
    (0..len as u64).map(|i| ((i + seed).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect()
}

/// What `work` gives; fails where it does not come to an end.
fn within_patience<T: Send + 'static>(what: &str, work: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, done) = mpsc::channel();
    std::thread::spawn(move || sender.send(work()));
    done.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("{what}: it hangs, or failed"))
}

/// `close`, with its answer.
fn close(file: File) -> Result<(), nix::errno::Errno> {
    nix::unistd::close(file)
}

/// Rewrites pieces all over a file, as `shadow` then has it.
fn rewrite_pieces(path: &Path, shadow: &mut [u8]) -> Result<(), nix::errno::Errno> {
    let file = OpenOptions::new().write(true).open(path).unwrap();
    for piece in 0..PIECES {
        let offset = (piece * 7919 * PIECE_BYTES) % (FILE_BYTES - PIECE_BYTES);
        let bytes = noise(PIECE_BYTES, piece as u64);
        file.write_all_at(&bytes, offset as u64).unwrap();
        shadow[offset..offset + PIECE_BYTES].copy_from_slice(&bytes);
    }
    close(file)
}

#[test]
fn a_file_that_is_changed_in_many_places_appended_to_and_cut_is_published_each_time() {
    let sandbox = locking();
    let path = sandbox.mounted().join("file");
    let mut shadow = noise(FILE_BYTES, 0);
    std::fs::write(&path, &shadow).unwrap();
    // A mount that has nothing of the file in its cache.
    assert_eq!(sandbox.pail(&["umount", &sandbox.at("mnt")]).code, 0);
    sandbox.end_daemon(libc::SIGTERM);
    std::fs::remove_dir_all(sandbox.path("cache")).unwrap();
    sandbox.mounted();
    let shadow = within_patience("rewriting pieces", {
        let path = path.clone();
        move || {
            assert_eq!(rewrite_pieces(&path, &mut shadow), Ok(()), "rewriting");
            shadow
        }
    });
    assert!(sandbox.bytes_of("file") == shadow, "other bytes after rewriting");
    let mut shadow = within_patience("appending", {
        let (path, mut shadow) = (path.clone(), shadow);
        move || {
            let mut file = OpenOptions::new().append(true).open(&path).unwrap();
            file.write_all(b"tail").unwrap();
            assert_eq!(close(file), Ok(()), "appending");
            shadow.extend_from_slice(b"tail");
            shadow
        }
    });
    assert!(sandbox.bytes_of("file") == shadow, "other bytes after appending");
    let cut = within_patience("truncating", {
        let path = path.clone();
        move || run(Command::new("truncate").args(["-s", "5242883"]).arg(path))
    });
    assert_eq!(cut.code, 0, "{cut:?}");
    shadow.truncate(5_242_883);
    assert!(sandbox.bytes_of("file") == shadow, "other bytes after truncating");
    assert!(std::fs::read(&path).unwrap() == shadow);
}

#[test]
fn a_small_part_of_a_file_below_the_parts_size_is_changed() {
    let sandbox = locking();
    let mut shadow = noise(9 << 20, 0);
    sandbox.put("file", shadow.clone());
    let path = sandbox.mounted().join("file");
    let changed = within_patience("changing a byte", move || {
        let file = OpenOptions::new().write(true).open(path).unwrap();
        file.write_all_at(b"!", 1 << 20).unwrap();
        close(file)
    });
    assert_eq!(changed, Ok(()));
    shadow[1 << 20] = b'!';
    assert!(sandbox.bytes_of("file") == shadow);
}

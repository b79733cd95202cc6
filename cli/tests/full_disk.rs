//! A full local disk, through the real programs: the cache lies on a small tmpfs, which only root can mount.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod sandbox;

use pail_devserver::{Quirks, Settings};
use rand::{Rng, SeedableRng, rngs::SmallRng};
use sandbox::Sandbox;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

const MIB: usize = 1 << 20;

/// A disk of a few MiB. Made before the sandbox, and so dropped after its daemon is gone.
struct SmallDisk {
    dir: TempDir,
}

impl SmallDisk {
    /// `None`, with the reason said, for who may not mount.
    fn new(size: &str) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            sandbox::skipped("only root can mount the tmpfs that is to be full");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size},mode=700"), "small-disk"])
            .arg(dir.path())
            .status();
        assert!(mounted.unwrap().success());
        Some(Self { dir })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn at(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// Takes what room is left, but for what the file system itself keeps.
    fn fill(&self) -> PathBuf {
        let path = self.path("ballast");
        let mut ballast = File::create(&path).unwrap();
        while ballast.write_all(&[0x55; 4096]).is_ok() {}
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.dir.path()).status();
    }
}

fn random(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    SmallRng::seed_from_u64(seed).fill_bytes(&mut bytes);
    bytes
}

/// Reads a file of which the kernel has no pages.
fn read_anew(path: &Path) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    // SAFETY: advice on a descriptor that is open.
    unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
    fs::read(path)
}

/// Writes `bytes` from offset `at` on, MiB by MiB; how many were acknowledged, and the error that ended it.
fn write_until_error(file: &File, at: usize, bytes: &[u8]) -> (usize, Option<io::Error>) {
    let mut written = at;
    while written < bytes.len() {
        let end = bytes.len().min(written + MIB);
        match file.write_at(&bytes[written..end], written as u64) {
            Ok(len) => written += len,
            Err(error) => return (written, Some(error)),
        }
    }
    (written, None)
}

#[test]
fn reads_go_on_and_are_right_when_the_caches_disk_is_full() {
    let Some(disk) = SmallDisk::new("24m") else { return };
    let sandbox = Sandbox::new();
    let content = |i: u64| random(i, 8 * MIB + 4099);
    (0..8).for_each(|i| sandbox.put(&format!("large-{i}"), content(i)));
    (0..100).for_each(|i| sandbox.put(&format!("small/{i}"), random(1000 + i, 5000)));
    // The budget is larger than the disk, which fills up first.
    let mnt = sandbox.mounted_with(&["--cache-dir", &disk.at("cache"), "--cache-size", "1G"]);
    let read_all = |when: &str| {
        for i in 0..8 {
            assert!(read_anew(&mnt.join(format!("large-{i}"))).unwrap() == content(i), "large-{i} {when}");
        }
        for i in 0..100 {
            let expected = random(1000 + i, 5000);
            assert!(read_anew(&mnt.join(format!("small/{i}"))).unwrap() == expected, "small/{i} {when}");
        }
    };
    read_all("while the cache fills the disk");
    read_all("from the full cache");
    disk.fill();
    read_all("with the disk full of something else");
    fs::write(mnt.join("written"), "what is written lies elsewhere").unwrap();
    assert_eq!(sandbox.bytes_of("written"), b"what is written lies elsewhere");
    assert_eq!(sandbox.status()["mounts"][0]["fs"]["last_errors"], serde_json::json!([]));
}

#[test]
fn a_write_that_does_not_fit_is_enospc_and_goes_on_when_there_is_room() {
    let Some(disk) = SmallDisk::new("64m") else { return };
    let sandbox = Sandbox::new();
    fs::create_dir_all(sandbox.path("config/pail")).unwrap();
    let config = format!("state_dir = {:?}\ncache_dir = {:?}\n", disk.at("state"), disk.at("cache"));
    fs::write(sandbox.path("config/pail/config.toml"), config).unwrap();
    sandbox.put("data", random(1, 48 * MIB));
    let mnt = sandbox.mounted();
    fs::write(disk.path("reserve"), vec![1; 20 * MIB]).unwrap();
    assert!(fs::read(mnt.join("data")).unwrap() == random(1, 48 * MIB), "fills the disk with clean bytes");

    let bytes = random(2, 56 * MIB);
    let file =
        File::options().read(true).write(true).create(true).truncate(true).open(mnt.join("large")).unwrap();
    let (written, error) = write_until_error(&file, 0, &bytes);
    assert_eq!(error.and_then(|error| error.raw_os_error()), Some(libc::ENOSPC));
    assert!(written >= 32 * MIB, "what is clean gave way, so that {written} bytes found room");
    disk.fill();
    let refused = fs::write(mnt.join("small"), vec![2; MIB]).unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(libc::ENOSPC));
    assert!(fs::read(mnt.join("large")).unwrap() == bytes[..written], "what was acknowledged is there");
    assert!(read_anew(&mnt.join("data")).unwrap() == random(1, 48 * MIB), "reads go on");
    file.sync_all().unwrap();
    assert!(sandbox.bytes_of("large") == bytes[..written], "and can be published as it is");

    fs::remove_file(disk.path("reserve")).unwrap();
    fs::remove_file(disk.path("ballast")).unwrap();
    let (written, error) = write_until_error(&file, written, &bytes);
    assert!(error.is_none(), "{error:?} after {written} bytes");
    file.sync_all().unwrap();
    drop(file);
    assert!(sandbox.bytes_of("large") == bytes, "the whole file");
    fs::write(mnt.join("small"), vec![2; MIB]).unwrap();
    assert!(sandbox.bytes_of("small") == vec![2; MIB]);
    let ran = sandbox.pail(&["umount", &sandbox.at("mnt")]);
    assert_eq!(ran.code, 0, "nothing is left unpublished: {ran:?}");
}

#[test]
fn removing_an_open_file_does_not_fill_the_disk_with_it() {
    let Some(disk) = SmallDisk::new("64m") else { return };
    let sandbox = Sandbox::new();
    fs::create_dir_all(sandbox.path("config/pail")).unwrap();
    let config = format!("state_dir = {:?}\ncache_dir = {:?}\n", disk.at("state"), disk.at("cache"));
    fs::write(sandbox.path("config/pail/config.toml"), config).unwrap();
    let (large, small) = (random(1, 96 * MIB), random(2, 8 * MIB));
    sandbox.put("large", large.clone());
    sandbox.put("small", small.clone());
    let mnt = sandbox.mounted();
    let open = ["large", "small"].map(|name| File::open(mnt.join(name)).unwrap());
    let end = 95 * MIB;
    let mut read = vec![0; 4096];
    open[0].read_exact_at(&mut read, end as u64).unwrap();
    fs::remove_file(mnt.join("large")).unwrap();
    fs::remove_file(mnt.join("small")).unwrap();
    assert_eq!(sandbox.object("large"), None);
    let room = rustix::fs::statvfs(disk.dir.path()).unwrap();
    assert!(room.f_bavail > room.f_blocks / 10, "{} of {} are free", room.f_bavail, room.f_blocks);
    let mut kept = vec![0; small.len()];
    open[1].read_exact_at(&mut kept, 0).unwrap();
    assert!(kept == small, "what fits is kept whole");
    open[0].read_exact_at(&mut read, end as u64).unwrap();
    assert!(read == large[end..end + 4096], "what was read is there");
    let error = open[0].read_exact_at(&mut read, 40 * MIB as u64).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::ESTALE));
}

#[test]
fn a_changed_file_is_published_though_the_disk_has_no_room_for_the_rest_of_it() {
    let Some(disk) = SmallDisk::new("24m") else { return };
    let sandbox = Sandbox::new();
    // What is sent is to be here before its request begins, also where the disk cannot have it.
    let quirks = Quirks { lock_while_written: true, no_part_copy: true, ..Quirks::default() };
    sandbox.server.set_settings(Settings { quirks, ..Settings::default() });
    fs::create_dir_all(sandbox.path("config/pail")).unwrap();
    let config = format!("state_dir = {:?}\ncache_dir = {:?}\n", disk.at("state"), disk.at("cache"));
    fs::write(sandbox.path("config/pail/config.toml"), config).unwrap();
    let mut files = [("small", random(1, 9 * MIB)), ("large", random(2, 40 * MIB))];
    for (name, bytes) in &files {
        sandbox.put(name, bytes.clone());
    }
    let mnt = sandbox.mounted();
    let open = files.each_ref().map(|(name, _)| File::options().write(true).open(mnt.join(name)).unwrap());
    for ((_, bytes), file) in files.iter_mut().zip(&open) {
        for at in [MIB, bytes.len() - 2 * MIB] {
            file.write_all_at(b"changed", at as u64).unwrap();
            bytes[at..at + 7].copy_from_slice(b"changed");
        }
    }
    disk.fill();
    for ((name, bytes), file) in files.iter().zip(open) {
        file.sync_all().unwrap();
        assert!(sandbox.bytes_of(name) == *bytes, "{name}");
        assert!(read_anew(&mnt.join(name)).unwrap() == *bytes, "{name} through the mount");
    }
}

//! A local disk that hangs, through the real programs: an ext4 in a loop device, frozen, which only root can do.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod sandbox;

use sandbox::{Ran, Sandbox};
use std::fs::{self, File};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;
use tempfile::TempDir;

const MIB: usize = 1 << 20;
/// After this a disk is thawed although the test is not done: what waits for it is to fail, and not to wait for ever.
const FROZEN_MAX: Duration = Duration::from_secs(90);

/// A disk that can be frozen. Made before the sandbox, and so dropped after its daemon is gone.
struct Disk {
    dir: TempDir,
}

impl Disk {
    /// `None`, with the reason said, where there are no loop devices for us.
    fn new() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let image = dir.path().join("image");
        File::create(&image).unwrap().set_len(256 << 20).unwrap();
        fs::create_dir(dir.path().join("disk")).unwrap();
        let disk = Self { dir };
        let done = |program: &str, arguments: &[&str]| {
            let ran = Command::new(program).args(arguments).output();
            ran.is_ok_and(|ran| ran.status.success())
        };
        let (image, place) = (image.to_str().unwrap(), disk.at(""));
        let is_there = done("mkfs.ext4", &["-q", "-F", image])
            && done("mount", &["-o", "loop", image, &place])
            && done("fsfreeze", &["-f", &place])
            && done("fsfreeze", &["-u", &place]);
        if !is_there {
            sandbox::skipped("no ext4 can be made, mounted from a loop device and frozen here");
        }
        is_there.then_some(disk)
    }

    fn at(&self, name: &str) -> String {
        self.dir.path().join("disk").join(name).to_str().unwrap().to_owned()
    }

    fn freeze(&self) -> Frozen {
        let place = self.at("");
        assert!(Command::new("fsfreeze").args(["-f", &place]).status().unwrap().success());
        let (end, ended) = channel();
        let thawing = std::thread::spawn(move || {
            let is_late = ended.recv_timeout(FROZEN_MAX) == Err(RecvTimeoutError::Timeout);
            let thawed = Command::new("fsfreeze").args(["-u", &place]).status();
            is_late || !thawed.is_ok_and(|status| status.success())
        });
        Frozen { end: Some(end), thawing: Some(thawing) }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").args(["-l", &self.at("")]).output();
    }
}

/// A disk on which nothing can be written, until this is dropped.
struct Frozen {
    end: Option<Sender<()>>,
    thawing: Option<JoinHandle<bool>>,
}

impl Frozen {
    /// Gives whether somebody had to wait for it, so that it was thawed before.
    fn thaw(&mut self) -> bool {
        self.end.take();
        self.thawing.take().is_some_and(|thawing| thawing.join().unwrap_or(true))
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        self.thaw();
    }
}

/// Reads a file of which the kernel has no pages.
fn read_anew(path: &Path) -> Vec<u8> {
    let file = File::open(path).unwrap();
    // SAFETY: advice on a descriptor that is open.
    unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
    fs::read(path).unwrap()
}

fn content(i: u8) -> Vec<u8> {
    (0..3 * MIB).map(|at| (at / 1000) as u8 ^ i).collect()
}

fn written(path: PathBuf, bytes: &[u8]) -> File {
    let mut file = File::create(path).unwrap();
    file.write_all(bytes).unwrap();
    file
}

fn gets_of(sandbox: &Sandbox, keys: &[&str]) -> usize {
    let requests = sandbox.server.requests();
    requests.iter().filter(|got| got.operation == "GetObject" && keys.contains(&got.key.as_str())).count()
}

/// With `config` for the daemon, whose cache is on `disk`; and what else is to go on.
fn what_goes_on_while_it_hangs(disk: &Disk, config: &str, during: impl FnOnce(&Sandbox)) {
    let sandbox = Sandbox::new();
    fs::create_dir_all(sandbox.path("config/pail")).unwrap();
    fs::write(sandbox.path("config/pail/config.toml"), config).unwrap();
    (0..2).for_each(|i| sandbox.put(&format!("cold-{i}"), content(i)));
    sandbox.put("warm", content(7));
    let mnt = sandbox.mounted();
    let other = sandbox.pail(&["mount", &format!("s3://{}", sandbox::BUCKET), &sandbox.at("other")]);
    assert_eq!(other.code, 0, "{other:?}");
    assert!(read_anew(&mnt.join("warm")) == content(7));
    let small = written(mnt.join("small"), b"small");
    let large = written(mnt.join("large"), &vec![3; 20 * MIB]);

    let mut frozen = disk.freeze();
    drop(small);
    drop(large);
    assert!(sandbox.bytes_of("small") == b"small", "the close published it");
    sandbox.server.reset_counters();
    for i in 0..2 {
        let path = mnt.join(format!("cold-{i}"));
        assert!(read_anew(&path) == content(i) && read_anew(&path) == content(i));
    }
    assert!(read_anew(&mnt.join("warm")) == content(7));
    assert!(read_anew(&mnt.join("small")) == b"small");
    assert!(read_anew(&mnt.join("large")) == vec![3; 20 * MIB]);
    assert!(sandbox.status()["mounts"][0]["fs"]["unpublished"].as_array().unwrap().is_empty());
    let Ran { code, err, .. } = sandbox.pail(&["flush"]);
    assert_eq!(code, 0, "{err}");
    during(&sandbox);
    assert!(!frozen.thaw(), "nobody waited for the disk");
    sandbox.end_daemon(libc::SIGTERM);
    let mnt = sandbox.mounted();
    assert!(read_anew(&mnt.join("small")) == b"small");
    assert!(read_anew(&mnt.join("large")) == vec![3; 20 * MIB]);
    assert_eq!(gets_of(&sandbox, &["small", "large"]), 0, "what was written here is read from the cache");
    assert_eq!(sandbox.status()["left_behind"], serde_json::json!([]));
}

// SEMANTICS: writing.9
#[test]
fn closes_and_reads_go_on_while_the_caches_disk_hangs() {
    let Some(disk) = Disk::new() else { return };
    what_goes_on_while_it_hangs(&disk, &format!("cache_dir = {:?}\n", disk.at("cache")), |sandbox| {
        let umounted = sandbox.pail(&["umount", &sandbox.at("other")]);
        assert_eq!(umounted.code, 0, "{umounted:?}");
    });
}

#[test]
fn closes_and_reads_go_on_while_the_disk_of_cache_and_state_hangs() {
    let Some(disk) = Disk::new() else { return };
    let config = format!("state_dir = {:?}\ncache_dir = {:?}\n", disk.at("state"), disk.at("cache"));
    what_goes_on_while_it_hangs(&disk, &config, |_| {});
}

// SEMANTICS: writing.9
#[test]
fn a_daemon_with_one_worker_goes_on_while_calls_wait_for_the_disk() {
    let Some(disk) = Disk::new() else { return };
    let sandbox = Sandbox::new();
    let config = format!("state_dir = {:?}\ncache_dir = {:?}\n", disk.at("state"), disk.at("cache"));
    fs::create_dir_all(sandbox.path("config/pail")).unwrap();
    fs::write(sandbox.path("config/pail/config.toml"), config).unwrap();
    (0..2).for_each(|i| sandbox.put(&format!("cold-{i}"), content(i)));
    let bucket = format!("s3://{}", sandbox::BUCKET);
    let mount_at = |name: &str| {
        sandbox::run(sandbox.command(&["mount", &bucket, &sandbox.at(name)]).env("TOKIO_WORKER_THREADS", "1"))
    };
    assert_eq!(mount_at("mnt").code, 0);
    let mnt = sandbox.path("mnt");
    // The kernel looks up no name in a directory while one is renamed there.
    fs::create_dir(mnt.join("d")).unwrap();
    // Published and open: each has a file on the disk that goes, or is said to be another's, with its name.
    let open = ["removed", "d/moved"].map(|name| {
        let file = written(mnt.join(name), name.as_bytes());
        file.sync_all().unwrap();
        file
    });
    sandbox.server.reset_counters();

    let mut frozen = disk.freeze();
    std::thread::scope(|scope| {
        let removal = scope.spawn(|| fs::remove_file(mnt.join("removed")));
        let is_deleted = || sandbox.server.requests().iter().any(|got| got.operation == "DeleteObject");
        sandbox::wait_until("the object is deleted", is_deleted);
        let rename = scope.spawn(|| fs::rename(mnt.join("d/moved"), mnt.join("d/moved-on")));
        let mount = scope.spawn(|| mount_at("other"));
        for i in 0..2 {
            assert!(read_anew(&mnt.join(format!("cold-{i}"))) == content(i));
            assert_eq!(sandbox.status()["mounts"][0]["state"], "mounted");
            let Ran { code, err, .. } = sandbox.pail(&["flush", mnt.to_str().unwrap()]);
            assert_eq!(code, 0, "{err}");
        }
        removal.join().unwrap().expect("a removal does not wait for the disk");
        assert!(!frozen.thaw(), "nobody waited for the disk but who writes to it");
        rename.join().unwrap().unwrap();
        let mounted = mount.join().unwrap();
        assert_eq!(mounted.code, 0, "{mounted:?}");
    });
    drop(open);
    assert!(sandbox.bytes_of("d/moved-on") == b"d/moved");
    assert_eq!(sandbox.status()["left_behind"], serde_json::json!([]));
}

//! The memory budget, and what the kernel says of the daemon's process beside it.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod sandbox;

use bytes::Bytes;
use rand::{Rng, SeedableRng, rngs::SmallRng};
use sandbox::Sandbox;
use std::fs::File;
use std::io::Read;
use std::path::Path;

const FILES: usize = 64;
const FILE_BYTES: usize = 64 << 20;
/// Neighbouring files begin this much later in the same random bytes, so that none is like another.
const SHIFT_BYTES: usize = 4099;
/// What the process may hold at its peak with a budget of 256 MiB: beside blocks of objects it has the connections' and the kernel's
/// buffers and its own code. Unbounded, the allocator alone took it to 563 MiB.
const RESIDENT_BYTES_MAX: u64 = 400 << 20;

/// The most memory that a process ever held, in bytes.
fn peak_resident_bytes(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() << 10
}

/// Reads a file to its end and compares as it goes.
fn assert_holds(path: &Path, expected: &[u8]) {
    let mut file = File::open(path).unwrap();
    let mut buffer = vec![0; 1 << 20];
    let mut at = 0;
    loop {
        let len = file.read(&mut buffer).unwrap();
        if len == 0 {
            break;
        }
        assert!(buffer[..len] == expected[at..at + len], "{} differs near {at}", path.display());
        at += len;
    }
    assert_eq!(at, expected.len(), "{}", path.display());
}

#[test]
fn sixty_four_large_files_read_at_once_stay_near_the_budget() {
    let sandbox = Sandbox::new();
    let mut random = vec![0; FILE_BYTES + FILES * SHIFT_BYTES];
    SmallRng::seed_from_u64(64).fill_bytes(&mut random);
    let random = Bytes::from(random);
    let content = |i: usize| random.slice(i * SHIFT_BYTES..i * SHIFT_BYTES + FILE_BYTES);
    (0..FILES).for_each(|i| sandbox.put(&format!("shard-{i:02}"), content(i)));
    let mnt = sandbox.mounted_with(&["--memory", "256M", "--cache-size", "1G"]);
    let pid = sandbox.daemon_pid().unwrap();
    std::thread::scope(|scope| {
        for i in 0..FILES {
            let (path, expected) = (mnt.join(format!("shard-{i:02}")), content(i));
            scope.spawn(move || assert_holds(&path, &expected));
        }
    });
    let peak_bytes = peak_resident_bytes(pid);
    println!("the daemon's peak: {} MiB", peak_bytes >> 20);
    assert!(peak_bytes < RESIDENT_BYTES_MAX, "{} MiB", peak_bytes >> 20);
    assert_eq!(sandbox.daemon_pid(), Some(pid), "it is the same daemon still");
    let fs = &sandbox.status()["mounts"][0]["fs"];
    assert_eq!(fs["last_errors"], serde_json::json!([]), "{fs}");
}

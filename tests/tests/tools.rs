//! Tools that others wrote to find faults in file systems, on a mounted bucket.
//!
//! They are looked for in `target/tools/bin` (`scripts/test` puts them there) and in PATH.

// A test that cannot go on has failed.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use pail_mountd::fs::FsOptions;
use pail_tests::mounted::Mounted;

/// What fsx does: everything a program can do to one file, with shared and private maps.
const FSX: &str = "flen = 4194304
[opsize]
max = 131072
[weights]
close_open = 0.2
read = 10
write = 10
mapread = 10
mapwrite = 10
invalidate = 0.2
truncate = 2
fsync = 0.05
fdatasync = 0.05
posix_fallocate = 1
sendfile = 2
copy_file_range = 2
";

fn tools() -> String {
    let here = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/tools/bin");
    format!("PATH={here}:$PATH")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn fsx_finds_no_difference_in_100_000_operations() {
    for (seed, operations) in [(1, 40_000), (20_261_124, 40_000), (7_777_777, 20_000)] {
        let m = Mounted::new(FsOptions::default()).await;
        let artifacts = tempfile::tempdir().expect("a temporary directory");
        let config = artifacts.path().join("fsx.toml");
        std::fs::write(&config, FSX).expect("a file");
        let at = artifacts.path().display();
        m.sh(&format!("{}; fsx -q -f {at}/fsx.toml -P {at} -S {seed} -N {operations} f", tools())).await;
        // What another client reads is what the last close left.
        let local = m.sh("sha256sum < f").await;
        let bucket = m.files.get("f").await.expect("an object");
        let path = artifacts.path().join("object");
        std::fs::write(&path, &bucket).expect("a file");
        assert_eq!(local, m.sh(&format!("sha256sum < {}", path.display())).await, "seed {seed}");
    }
}

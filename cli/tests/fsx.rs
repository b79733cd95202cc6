//! fsx through the real daemon: reads, writes, truncates and maps of one file against fsx's own model of it.
//!
//! The long run is over a bucket in memory (`tests/tests/tools.rs`); this one has the control, the S3 client and a server between.
//! The tool is looked for in `target/tools/bin`, where `scripts/test` puts it, and in PATH.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod sandbox;

use sandbox::{Sandbox, run};
use std::fs;
use std::process::Command;

/// Files of up to 20 MiB are beyond what one request sends, so that parts are sent early, sent again and copied.
const FSX: &str = "flen = 20971520
[opsize]
max = 1048576
[weights]
close_open = 0.2
read = 10
write = 10
mapread = 10
mapwrite = 10
invalidate = 0.2
truncate = 2
fsync = 0.1
posix_fallocate = 1
sendfile = 2
copy_file_range = 2
";

#[test]
fn fsx_finds_no_difference_in_5_000_operations() {
    let sandbox = Sandbox::new();
    let mnt = sandbox.mounted();
    fs::write(sandbox.path("fsx.toml"), FSX).unwrap();
    let tools = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/tools/bin");
    let path = format!("{tools}:{}", std::env::var("PATH").unwrap_or_default());
    let mut fsx = Command::new("sh");
    fsx.args(["-c", "exec fsx -q -f \"$0\" -P \"$1\" -S 20261125 -N 5000 f"])
        .args([sandbox.path("fsx.toml"), sandbox.path("")])
        .env("PATH", path)
        .current_dir(&mnt);
    let ran = run(&mut fsx);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(
        fs::read(mnt.join("f")).unwrap() == sandbox.bytes_of("f"),
        "the bucket holds what the last close left"
    );
    let published = sandbox.server.counters();
    println!("{:?}", published.requests);
}

//! What common work costs in requests and round trips, counted by a server with 30 ms to the first byte.
//!
//! Each test has a fresh daemon with an empty cache, and everything that reaches the server is counted until that daemon has ended,
//! so that nothing is hidden before, behind or beside the work. Mounting asks for one listing, which says whether the bucket may be listed, and which is shown to the first lookups: the
//! bucket is larger than that page, and what the tests look for lies behind it. A round trip is counted, never timed: see
//! `RequestRecord::round` of the server.
//!
//! The server is one that nobody knows: its first mount that may write asks it which conditions it enforces. That is counted with no work, as it
//! is done once for an endpoint in a week, and is over before the work begins.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod sandbox;

use pail_devserver::{Counters, Quirks, RequestRecord, Settings};
use sandbox::{BUCKET, SECRET, Sandbox, run};
use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::Barrier;

const FIRST_BYTE_MS: u64 = 30;
/// The same where requests of many threads are to be of one round: what a busy machine holds a thread up by is to be less.
const FIRST_BYTE_OF_MANY_MS: u64 = 2000;
/// More objects than a page of a listing holds, with names before all others.
const FIRST_PAGE: std::ops::Range<u32> = 0..1200;

/// A mounted sandbox whose server has been slow, and has counted, since the mount was made.
struct Slow {
    sandbox: Sandbox,
    mnt: std::path::PathBuf,
}

impl Slow {
    /// `fill` puts the objects in place.
    fn new(arguments: &[&str], fill: impl FnOnce(&Sandbox)) -> Self {
        Self::slower(FIRST_BYTE_MS, arguments, fill)
    }

    fn slower(first_byte_ms: u64, arguments: &[&str], fill: impl FnOnce(&Sandbox)) -> Self {
        let sandbox = Sandbox::new();
        FIRST_PAGE.for_each(|i| sandbox.put(&format!("!first/{i:04}"), "x"));
        fill(&sandbox);
        let mnt = sandbox.mounted_with(arguments);
        // That for many objects names them in its body.
        let is_of_probe = |request: &RequestRecord| {
            request.key.starts_with(".pail-probe-") || request.operation == "DeleteObjects"
        };
        // And one beside it that finds out whether it may write.
        let asks_to_write = !arguments.contains(&"--read-only");
        let mut expected = vec!["ListObjectsV2"];
        expected.extend(asks_to_write.then_some("UploadPart"));
        let requests = sandbox.server.requests();
        let others = requests.iter().filter(|request| !is_of_probe(request));
        let mut others: Vec<&str> = others.map(|request| &*request.operation).collect();
        others.sort_unstable();
        assert_eq!(others, expected, "to mount");
        assert_eq!(requests.iter().any(is_of_probe), asks_to_write, "{requests:?}");
        sandbox::wait_until("the server has been asked what it enforces", || {
            let requests = sandbox.server.requests();
            let deleted =
                |request: &&RequestRecord| is_of_probe(request) && request.operation == "DeleteObject";
            !asks_to_write || requests.iter().filter(deleted).count() >= 4
        });
        sandbox.server.set_settings(Settings { first_byte_ms, ..Settings::default() });
        sandbox.server.reset_counters();
        Self { sandbox, mnt }
    }

    /// What was asked since the mount was made, once the daemon is gone and can ask no more.
    fn end(&self) -> Counters {
        let ran = self.sandbox.pail(&["umount", &self.sandbox.at("mnt")]);
        assert_eq!(ran.code, 0, "{ran:?}");
        self.sandbox.end_daemon(libc::SIGTERM);
        let counters = self.sandbox.server.counters();
        println!("{} requests in {} rounds: {:?}", counters.total(), counters.rounds, counters.requests);
        counters
    }

    fn log(&self) -> String {
        let records = self.sandbox.server.requests();
        let lines = records.iter().map(|record| {
            format!("{} {} {} {:?}\n", record.round, record.operation, record.key, record.query)
        });
        lines.collect()
    }
}

#[test]
fn a_mount_runs_the_program_of_its_credentials_once() {
    let sandbox = Sandbox::new();
    sandbox.put("f", "x");
    let mut mount = sandbox.command(&["mount", &format!("s3://{BUCKET}"), &sandbox.at("mnt")]);
    mount.env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY");
    let (program, runs) = (sandbox.path("home/keys.sh"), sandbox.path("home/runs"));
    let keys = format!(r#"{{"Version": 1, "AccessKeyId": "test", "SecretAccessKey": "{SECRET}"}}"#);
    fs::write(&program, format!("#!/bin/sh\necho run >> '{}'\necho '{keys}'\n", runs.display())).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).unwrap();
    fs::create_dir(sandbox.path("home/.aws")).unwrap();
    let config = format!("[default]\ncredential_process = {}\n", program.display());
    fs::write(sandbox.path("home/.aws/config"), config).unwrap();
    let ran = run(&mut mount);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(fs::read(sandbox.path("mnt/f")).unwrap(), b"x");
    assert_eq!(fs::read_to_string(runs).unwrap().lines().count(), 1);
}

#[test]
fn sixteen_parallel_cold_stats_in_one_directory_take_three_round_trips() {
    // A directory of which the listing has several pages.
    let slow = Slow::slower(FIRST_BYTE_OF_MANY_MS, &[], |sandbox| {
        (0..3200).for_each(|i| sandbox.put(&format!("runs/{i:04}.log"), vec![1; i % 100]));
    });
    let together = Barrier::new(16);
    std::thread::scope(|scope| {
        for i in (0..3200_u64).step_by(200) {
            let (together, path) = (&together, slow.mnt.join(format!("runs/{i:04}.log")));
            scope.spawn(move || {
                together.wait();
                assert_eq!(fs::metadata(path).unwrap().len(), i % 100);
            });
        }
    });
    assert!(slow.end().rounds <= 3, "{}", slow.log());
}

#[test]
fn a_long_listing_of_5_000_objects_takes_seven_round_trips() {
    let slow = Slow::new(&[], |sandbox| {
        (0..5000).for_each(|i| sandbox.put(&format!("data/{i:05}"), vec![1; i % 100]))
    });
    let output = Command::new("ls").arg("-l").arg(slow.mnt.join("data")).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    // The first line is the total.
    assert_eq!(text.lines().count(), 5001);
    for (i, line) in text.lines().skip(1).enumerate() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        assert_eq!((fields[4], fields[8]), ((i % 100).to_string().as_str(), format!("{i:05}").as_str()));
    }
    let counters = slow.end();
    assert!(counters.rounds <= 7 && counters.total() <= 7, "{}", slow.log());
}

#[test]
fn reading_a_small_file_at_depth_three_takes_three_requests() {
    let slow = Slow::new(&[], |sandbox| sandbox.put("a/b/c/small", "what is in it"));
    assert_eq!(fs::read(slow.mnt.join("a/b/c/small")).unwrap(), b"what is in it");
    let counters = slow.end();
    assert!(counters.total() <= 3 && counters.count("GetObject") == 1, "{}", slow.log());
}

/// The kernel gives up its pages of a file, so that a read comes to the daemon again.
fn drop_pages(path: &Path) {
    let file = fs::File::open(path).unwrap();
    // SAFETY: advice on a descriptor that is open.
    assert_eq!(unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) }, 0);
}

#[test]
fn reading_the_same_file_again_takes_no_request() {
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|i| (i % 251) as u8).collect();
    // A read-only mount believes a name for a minute: a slow machine shall not make this test look it up again.
    let slow = Slow::new(&["--read-only"], |sandbox| sandbox.put("a/b/c/file", bytes.clone()));
    let path = slow.mnt.join("a/b/c/file");
    assert!(fs::read(&path).unwrap() == bytes);
    slow.sandbox.server.reset_counters();
    assert!(fs::read(&path).unwrap() == bytes);
    drop_pages(&path);
    assert!(fs::read(&path).unwrap() == bytes, "from the daemon's cache");
    assert_eq!(slow.end().total(), 0, "{}", slow.log());
}

#[test]
fn writing_a_small_file_takes_two_requests() {
    let slow = Slow::new(&[], |_| {});
    fs::write(slow.mnt.join("metrics.json"), "{\"loss\": 0.1}").unwrap();
    let counters = slow.end();
    assert!(counters.total() <= 2 && counters.count("PutObject") == 1, "{}", slow.log());
}

/// A kind of store: the scheme of its URIs, the quirk that makes a store of its kind of the server, and the variables by which it is reached.
type Kind = (&'static str, Option<&'static str>, &'static [(&'static str, &'static str)]);

const KINDS: &[Kind] = &[
    ("s3://", None, &[("AWS_ENDPOINT_URL", ENDPOINT)]),
    ("gs://", None, &[("STORAGE_EMULATOR_HOST", ENDPOINT)]),
    (
        "r2://",
        Some("r2"),
        &[
            ("R2_ENDPOINT_URL", ENDPOINT),
            ("R2_ACCESS_KEY_ID", "test"),
            ("R2_SECRET_ACCESS_KEY", sandbox::SECRET),
        ],
    ),
    (
        "cos://eu-de/",
        Some("ibm"),
        &[
            ("IBM_COS_ENDPOINT", ENDPOINT),
            ("IBM_AUTH_ENDPOINT", ENDPOINT),
            ("IBM_API_KEY_ID", sandbox::SECRET),
            ("IBM_SERVICE_INSTANCE_ID", "crn:v1:instance"),
        ],
    ),
];
/// Stands for the server's URL.
const ENDPOINT: &str = "ENDPOINT";

/// In a bucket that mounting has listed: what a file costs beside the listing of the directory that it is in.
#[test]
fn a_small_file_takes_one_request_to_read_and_two_to_write_on_every_kind_of_store() {
    for (scheme, quirk, variables) in KINDS {
        let sandbox = Sandbox::new();
        sandbox.put("cold", "what is in it");
        let quirks = Quirks::named(*quirk).unwrap();
        sandbox.server.set_settings(Settings { quirks, ..Settings::default() });
        let url = sandbox.server.endpoint_url();
        let (uri, mnt) = (format!("{scheme}{BUCKET}"), sandbox.at("mnt"));
        let mut mount = sandbox.command(&["mount", &uri, &mnt, "--metadata-ttl", "1h"]);
        mount.env_remove("AWS_ENDPOINT_URL");
        mount.envs(
            variables.iter().map(|(name, value)| (name, if *value == ENDPOINT { &*url } else { value })),
        );
        let ran = sandbox::run(&mut mount);
        assert_eq!(ran.code, 0, "{scheme}: {ran:?}");
        let mnt = sandbox.path("mnt");
        let counted = |what: &str, requests_max: u64| {
            let counters = sandbox.server.counters();
            println!("{scheme} {what}: {:?}", counters.requests);
            assert!(
                (1..=requests_max).contains(&counters.total()),
                "{scheme} {what}: {:?}",
                counters.requests
            );
            sandbox.server.reset_counters();
        };
        // What mounting asks for beside the listing has been asked for when the first write is done.
        fs::write(mnt.join("before"), "x").unwrap();
        sandbox.server.reset_counters();
        fs::write(mnt.join("new"), "x").unwrap();
        counted("written", 2);
        fs::write(mnt.join("new"), "xy").unwrap();
        counted("overwritten", 2);
        assert_eq!(fs::read(mnt.join("cold")).unwrap(), b"what is in it");
        counted("read", 1);
    }
}

//! What a mount asks of Google Cloud Storage: what is promised of one version of a file is asked for with its generation.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod sandbox;

use pail_devserver::RequestRecord;
use sandbox::{BUCKET, Sandbox, run};
use std::process::Command;

const LARGE_BYTES: usize = 40 << 20;

/// A mounted bucket, and what the server was asked by the last script.
struct Mounted {
    sandbox: Sandbox,
}

impl Mounted {
    fn new() -> Self {
        let sandbox = Sandbox::new();
        for key in ["theirs", "dir/theirs"] {
            sandbox.put(key, "theirs");
        }
        sandbox.put("large", vec![7; LARGE_BYTES]);
        let mut mount = sandbox.command(&["mount", &format!("gs://{BUCKET}"), &sandbox.at("mnt")]);
        mount.env_remove("AWS_ENDPOINT_URL").env("STORAGE_EMULATOR_HOST", sandbox.server.endpoint_url());
        let ran = run(&mut mount);
        assert_eq!(ran.code, 0, "{ran:?}");
        Self { sandbox }
    }

    /// Runs a script in the mount; what was asked for it.
    fn asked(&self, script: &str) -> Vec<RequestRecord> {
        self.sandbox.server.reset_counters();
        let ran = run(Command::new("bash").args(["-ec", script]).current_dir(self.sandbox.path("mnt")));
        assert_eq!(ran.code, 0, "{script}: {ran:?}");
        self.sandbox.server.requests()
    }
}

/// Whether it is of a part of an upload, which nobody else knows of.
fn is_of_part(request: &RequestRecord) -> bool {
    let names = [Some(&request.key), request.query.get("name")];
    names.into_iter().flatten().any(|name| name.contains(".pail-uploads/"))
}

/// The requests of `operation`, each with its condition; none may be without.
fn conditions(requests: &[RequestRecord], operation: &str, condition: &str) -> Vec<u64> {
    let of_objects = requests.iter().filter(|request| request.operation == operation && !is_of_part(request));
    let condition = |request: &RequestRecord| match request.query.get(condition) {
        Some(generation) => generation.parse().unwrap(),
        None => panic!("{condition} is missing: {request:?}"),
    };
    of_objects.map(condition).collect()
}

// SEMANTICS: writing.5, writing.6
#[test]
fn what_is_made_or_changed_on_condition_says_so_to_the_server() {
    let mounted = Mounted::new();
    for (script, operation, is_new) in [
        ("set -C; echo new > new", "objects.insert", true),
        ("echo more >> theirs", "objects.insert", false),
        ("printf X | dd of=theirs conv=notrunc status=none", "objects.insert", false),
        ("truncate -s 3 dir/theirs", "objects.insert", false),
        ("mkdir made", "objects.insert", true),
        ("set -C; head -c 40M /dev/urandom > parts", "objects.compose", true),
        ("echo more >> parts", "objects.compose", false),
        ("echo more >> large", "objects.compose", false),
        ("printf X | dd of=large conv=notrunc status=none", "objects.compose", false),
    ] {
        let requests = mounted.asked(script);
        let found = conditions(&requests, operation, "ifGenerationMatch");
        assert!(
            !found.is_empty() && found.iter().all(|found| (*found == 0) == is_new),
            "{script}: {requests:?}"
        );
    }
    for script in ["mv new moved", "mv moved theirs", "mv large dir/large"] {
        let requests = mounted.asked(script);
        let found = conditions(&requests, "objects.move", "ifSourceGenerationMatch");
        assert!(found.len() == 1 && found[0] > 0, "{script}: {requests:?}");
    }
    for script in ["rm theirs", "rm dir/theirs", "mkdir removed && rmdir removed"] {
        let requests = mounted.asked(script);
        let found = conditions(&requests, "objects.delete", "ifGenerationMatch");
        assert!(!found.is_empty() && !found.contains(&0), "{script}: {requests:?}");
    }
    assert_eq!(mounted.sandbox.pail(&["umount", &mounted.sandbox.at("mnt")]).code, 0);
}

#[test]
fn every_read_of_a_mount_is_of_one_generation() {
    let mounted = Mounted::new();
    for (script, least) in [("cat theirs dir/theirs", 2), ("cat large | md5sum", 1)] {
        let mut requests = mounted.asked(script);
        requests.retain(|request| request.query.get("alt").is_some_and(|alt| alt == "media"));
        let found = conditions(&requests, "objects.get", "ifGenerationMatch");
        assert!(found.len() >= least && !found.contains(&0), "{script}: {requests:?}");
    }
}

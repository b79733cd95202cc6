//! What `pail status` says of errors that programs were given.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod sandbox;

use pail_devserver::{Fault, FaultAction};
use sandbox::Sandbox;
use std::fs;

#[test]
fn an_error_says_when_it_was_of_what_name_and_whether_it_is_over() {
    let sandbox = Sandbox::new();
    for key in ["dir/a", "dir/b"] {
        sandbox.put(key, "1");
    }
    let mnt = sandbox.mounted_with(&["--metadata-ttl", "0"]);
    let refuse = |operation| {
        sandbox
            .server
            .inject(Fault { times: u32::MAX, ..Fault::once(Some(operation), FaultAction::AccessDenied) });
    };
    let errors = || sandbox.status()["mounts"][0]["fs"]["last_errors"].as_array().unwrap().clone();
    assert_eq!(errors(), Vec::<serde_json::Value>::new());

    fs::metadata(mnt.join("dir")).unwrap();
    refuse("PutObject");
    fs::File::create(mnt.join("dir/new")).unwrap().sync_all().unwrap_err();
    refuse("DeleteObject");
    fs::remove_file(mnt.join("dir/a")).unwrap_err();
    let told = errors();
    let of = |operation: &str| told.iter().find(|error| error["operation"] == operation).unwrap();
    assert_eq!(of("fsync")["path"], "dir/new", "{told:?}");
    assert_eq!(of("unlink")["path"], "dir/a", "the name in the directory: {told:?}");
    for error in &told {
        let time: jiff::Timestamp = error["time"].as_str().unwrap().parse().unwrap();
        assert!(time <= jiff::Timestamp::now());
        assert!(error["cause"].as_str().unwrap().contains("AccessDenied"), "{error}");
        assert_eq!(error["succeeded_since"], false, "{error}");
    }
    let shown = sandbox.pail(&["status"]).err;
    assert!(shown.contains(" ago: unlink /dir/a: "), "{shown}");
    assert!(!shown.contains("succeeded"), "{shown}");

    sandbox.server.clear_faults();
    fs::remove_file(mnt.join("dir/b")).unwrap();
    assert!(
        errors().iter().all(|error| error["succeeded_since"] == false),
        "of another file: {:?}",
        errors()
    );
    fs::remove_file(mnt.join("dir/a")).unwrap();
    let told = errors();
    let of = |operation: &str| told.iter().find(|error| error["operation"] == operation).unwrap();
    assert_eq!(of("unlink")["succeeded_since"], true);
    assert_eq!(of("fsync")["succeeded_since"], false);
    assert!(sandbox.pail(&["status"]).err.contains("(a later unlink of it succeeded)"));
    // Whatever publishes a file does what its fsync could not.
    assert_eq!(sandbox.pail(&["flush"]).code, 0);
    assert_eq!(errors().iter().find(|error| error["operation"] == "fsync").unwrap()["succeeded_since"], true);
}

#[test]
fn an_error_of_a_lookup_names_what_was_looked_up() {
    let sandbox = Sandbox::new();
    sandbox.put("dir/a", "1");
    let mnt = sandbox.mounted_with(&["--metadata-ttl", "0"]);
    fs::metadata(mnt.join("dir")).unwrap();
    for operation in ["ListObjectsV2", "HeadObject"] {
        sandbox.server.inject(Fault {
            key_contains: (operation == "HeadObject").then(|| "gone".to_owned()),
            times: u32::MAX,
            ..Fault::once(Some(operation), FaultAction::AccessDenied)
        });
    }
    fs::metadata(mnt.join("gone")).unwrap_err();
    let told = sandbox.status()["mounts"][0]["fs"]["last_errors"].clone();
    assert_eq!((&told[0]["operation"], &told[0]["path"]), (&"lookup".into(), &"gone".into()), "{told}");
}

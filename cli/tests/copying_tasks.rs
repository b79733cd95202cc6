//! Copies of a task's `file_mounts`, through the real programs: out of buckets, and of local sources by way of one.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod sandbox;

use pail_devserver::Settings;
use sandbox::{Ran, Sandbox, finish, wait_until};
use std::fs;
use std::path::PathBuf;
use std::process::Stdio;

const TASK: &str = "\
file_mounts:
  ~/in/object: s3://demo-bucket/deep/object
  ~/in/prefix: {source: s3://demo-bucket/deep/prefix, mode: COPY}
  ~/in/list: {name: lists, source: [~/datasets, ~/single.txt], mode: COPY}
run: cd ~/in && cat object prefix/sub/a list/datasets/d list/single.txt
";

fn home(sandbox: &Sandbox, name: &str) -> PathBuf {
    let path = sandbox.path("home").join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    path
}

fn launch(sandbox: &Sandbox) -> Ran {
    let path = sandbox.path("task.yaml");
    fs::write(&path, TASK).unwrap();
    sandbox.server.reset_counters();
    let ran = sandbox.pail(&["launch", path.to_str().unwrap()]);
    assert_eq!(ran.code, 0, "{ran:?}");
    ran
}

/// Requests that carried bytes of objects.
fn moved(sandbox: &Sandbox) -> u64 {
    let counters = sandbox.server.counters();
    ["GetObject", "PutObject", "UploadPart"].into_iter().map(|operation| counters.count(operation)).sum()
}

#[test]
fn every_launch_syncs_again_and_sends_what_changed() {
    let sandbox = Sandbox::new();
    sandbox.put("deep/object", "object ");
    sandbox.put("deep/objects", "a neighbour");
    sandbox.put("deep/prefix/sub/a", "a ");
    sandbox.put("deep/prefixes", "a neighbour");
    fs::write(home(&sandbox, "datasets/d"), "d ").unwrap();
    fs::write(home(&sandbox, "single.txt"), "single").unwrap();
    assert_eq!(launch(&sandbox).out, "object a d single");
    let ls = sandbox.pail(&["ls", "-r", "s3://lists"]);
    assert_eq!(ls.out, "datasets/d\nsingle.txt\n", "{ls:?}");
    let copied = fs::read_dir(home(&sandbox, "in/prefix")).unwrap().count();
    assert_eq!(copied, 1, "what is beside the prefix is not copied");

    assert_eq!(launch(&sandbox).out, "object a d single");
    assert_eq!(moved(&sandbox), 0, "nothing changed");

    sandbox.put("deep/prefix/sub/a", "A ");
    fs::write(home(&sandbox, "datasets/d"), "changed ").unwrap();
    fs::remove_file(home(&sandbox, "in/object")).unwrap();
    assert_eq!(launch(&sandbox).out, "object A changed single");
    // The object, the changed one and the sent one down, and that one up.
    assert_eq!(moved(&sandbox), 4);
}

#[test]
fn what_is_empty_is_an_empty_directory_and_a_link_to_nothing_is_named() {
    let sandbox = Sandbox::new();
    fs::create_dir_all(home(&sandbox, "none/x").parent().unwrap()).unwrap();
    fs::write(home(&sandbox, "links/a"), "a").unwrap();
    std::os::unix::fs::symlink("nowhere", home(&sandbox, "links/dangling")).unwrap();
    let path = sandbox.path("task.yaml");
    let task = "file_mounts:\n  ~/in/none: {name: empty, source: ~/none, mode: COPY}\n  ~/in/links: {name: links, source: ~/links, mode: COPY}\n\
                run: ls ~/in/none ~/in/links\n";
    fs::write(&path, task).unwrap();
    let ran = sandbox.pail(&["launch", path.to_str().unwrap()]);
    assert_eq!((ran.code, ran.err.contains("dangling: a symbolic link to nothing")), (5, true), "{ran:?}");
    assert!(ran.out.ends_with("in/none:\n") && ran.out.contains("in/links:\na\n"), "{ran:?}");
}

#[test]
fn an_interrupted_launch_ends_its_copies_in_good_order_and_the_next_one_goes_on() {
    let sandbox = Sandbox::new();
    for number in 0..300 {
        sandbox.put(&format!("many/{number}"), vec![b'x'; 64 << 10]);
    }
    let path = sandbox.path("task.yaml");
    fs::write(&path, "file_mounts: {~/many: 's3://demo-bucket/many'}\nrun: ls ~/many | wc -l\n").unwrap();
    let settings = sandbox.server.settings();
    sandbox.server.set_settings(Settings { bandwidth_bytes_per_s: 100 << 10, ..settings.clone() });
    let mut command = sandbox.command(&["launch", path.to_str().unwrap()]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let copied = || fs::read_dir(sandbox.path("home/many")).map_or(0, Iterator::count);
    wait_until("some are copied", || copied() > 64);
    // SAFETY: a signal to a child that was not waited for.
    assert_eq!(unsafe { libc::kill(child.id() as i32, libc::SIGINT) }, 0);
    let ran = finish(child);
    assert!(ran.code == 130 && ran.err.contains("goes on with what is missing"), "{ran:?}");
    let there = fs::read_dir(sandbox.path("home/many")).unwrap();
    let names = there.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert!(names.into_iter().all(|name| !name.contains(".pail-")), "temporary files are gone");
    sandbox.server.set_settings(settings);
    sandbox.server.reset_counters();
    let ran = sandbox.pail(&["launch", path.to_str().unwrap()]);
    assert_eq!((ran.code, ran.out.trim()), (0, "300"), "{ran:?}");
    assert!(sandbox.server.counters().count("GetObject") < 300 - 32, "what was there is not fetched again");
}

//! A server that takes every request and answers none: what a program calls ends by the deadline that SEMANTICS.md names, however many calls
//! wait for each other, and whatever a call still has to ask.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod sandbox;

use pail_devserver::{Fault, FaultAction};
use sandbox::Sandbox;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

/// "About a minute".
const DEADLINE: Duration = Duration::from_secs(60);
/// The last try of each request that a call still makes, and a loaded machine.
const SLACK: Duration = Duration::from_secs(30);
/// More than a mount sends at a time.
const NEW_FILES: usize = 40;

/// How a call ended, and when.
type Ended = (String, Duration, Result<(), String>);

fn timed<E: std::fmt::Display>(what: String, call: impl FnOnce() -> Result<(), E>) -> Ended {
    let began = Instant::now();
    let ended = call().map_err(|error| error.to_string());
    (what, began.elapsed(), ended)
}

#[test]
fn every_call_ends_by_the_deadline_while_nothing_is_answered() {
    let sandbox = Sandbox::new();
    sandbox.put("changed", vec![7; 9 << 20]);
    sandbox.put("large", vec![7; 40 << 20]);
    sandbox.put("unread", vec![7; 1 << 20]);
    let mnt = sandbox.mounted();
    let mut open = Vec::new();
    for name in ["changed", "large"] {
        let file = File::options().write(true).open(mnt.join(name)).unwrap();
        file.write_all_at(b"!", 1 << 20).unwrap();
        open.push((name.to_owned(), file));
    }
    for i in 0..NEW_FILES {
        let mut file = File::create(mnt.join(format!("new-{i}"))).unwrap();
        file.write_all(&[1; 300_000]).unwrap();
        open.push((format!("new-{i}"), file));
    }
    sandbox
        .server
        .inject(Fault { times: u32::MAX, ..Fault::once(None, FaultAction::Delay { ms: 3_600_000 }) });
    let ended: Vec<Ended> = std::thread::scope(|scope| {
        let mut calls = Vec::new();
        for (name, file) in open {
            calls.push(scope.spawn(move || timed(format!("close of {name}"), || nix::unistd::close(file))));
        }
        let (missing, unread) = (mnt.join("dir/missing"), mnt.join("unread"));
        calls.push(scope.spawn(move || timed("stat".into(), || fs::metadata(missing).map(|_| ()))));
        calls.push(scope.spawn(move || timed("open".into(), || File::open(unread).map(|_| ()))));
        calls.into_iter().map(|call| call.join().unwrap()).collect()
    });
    sandbox.server.clear_faults();
    for (what, took, ended) in ended {
        println!("{what}: {took:?}, {ended:?}");
        assert!(took < DEADLINE + SLACK, "{what} took {took:?} ({ended:?})");
        assert!(ended.is_err() || what == "open", "{what} cannot have succeeded");
    }
}

//! Copies of a task to the nodes of a cluster, as who launches it sees them.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod nodes;
mod sandbox;

use nodes::{Nodes, can_run};
use pail_devserver::Settings;
use sandbox::{Ran, finish, run};
use std::fs::{self, File};
use std::io::Read;
use std::os::fd::{FromRawFd, OwnedFd};
use std::process::{Command, Stdio};

/// More than are fetched at the same time, so that it takes several steps.
const FILES: usize = 200;
const FILE_BYTES: usize = 64 << 10;

/// Nodes, a bucket with [`FILES`], and a task that copies them to `PLACE` there.
fn with_files(place: &str) -> Nodes {
    let nodes = Nodes::up(&["dev", "dev-worker1", "dev-worker2"]);
    nodes.block_on(async {
        nodes.server().create_bucket("public").await.unwrap();
        for number in 0..FILES {
            let bytes = vec![b'x'; FILE_BYTES].into();
            nodes.server().put_object("public", &format!("data/{number}"), bytes).await.unwrap();
        }
    });
    fs::write(nodes.local("task.yaml"), task(place)).unwrap();
    nodes
}

fn task(place: &str) -> String {
    format!("file_mounts: {{{place}: 's3://public/data'}}\nrun: ls {place} | wc -l\n")
}

fn limit(nodes: &Nodes, bandwidth_bytes_per_s: u64) {
    nodes.server().set_settings(Settings { bandwidth_bytes_per_s, ..nodes.server().settings() });
}

fn launch(nodes: &Nodes) -> Command {
    nodes.command(&["launch", "-c", "dev", "task.yaml"])
}

/// Runs a command whose standard error is a terminal of 160 columns; what that was sent is in `err`.
fn on_a_terminal(command: &mut Command) -> Ran {
    let (mut near, mut far) = (0, 0);
    let size = libc::winsize { ws_row: 40, ws_col: 160, ws_xpixel: 0, ws_ypixel: 0 };
    let (name, mode) = (std::ptr::null_mut(), std::ptr::null());
    // SAFETY: both descriptors and the size are valid for the call, and nothing else is asked for.
    assert_eq!(unsafe { libc::openpty(&raw mut near, &raw mut far, name, mode, &raw const size) }, 0);
    // SAFETY: openpty has made them, and nobody else owns them.
    let (near, far) = unsafe { (OwnedFd::from_raw_fd(near), OwnedFd::from_raw_fd(far)) };
    let reading = std::thread::spawn(move || {
        let (mut near, mut seen, mut some) = (File::from(near), Vec::new(), [0; 4096]);
        // A terminal that nobody writes to any more is EIO.
        while let Ok(read @ 1..) = near.read(&mut some) {
            seen.extend_from_slice(&some[..read]);
        }
        String::from_utf8_lossy(&seen).into_owned()
    });
    let child = command.env("TERM", "xterm").stdout(Stdio::piped()).stderr(far).spawn().unwrap();
    // The command keeps the terminal open on this side, too.
    *command = Command::new("true");
    let mut ran = finish(child);
    ran.err = reading.join().unwrap();
    ran
}

#[test]
fn a_terminal_shows_each_node_and_the_sum_and_a_file_gets_a_line_that_names_the_nodes() {
    if !can_run() {
        return;
    }
    let nodes = with_files("/data");
    limit(&nodes, 60 << 10);
    let ran = on_a_terminal(&mut launch(&nodes));
    assert_eq!(ran.code, 0, "{ran:?}");
    let frames: Vec<_> = ran.err.split(['\n', '\r']).collect();
    let is_shown = |name: &str, parts: &[&str]| {
        let bar = format!("{name:16}");
        frames.iter().any(|frame| frame.contains(&bar) && parts.iter().all(|part| frame.contains(part)))
    };
    for name in nodes.names() {
        assert!(is_shown(name, &["%  ", " of 200 files, ", " MiB of 12.5 MiB, ", "/s, "]), "{name}: {ran:?}");
    }
    assert!(is_shown("total", &["%  ", " of 600 files, ", " MiB of 37.5 MiB, ", "/s, "]), "{ran:?}");
    assert!(ran.err.contains("iB/s, ") && ran.err.contains(" s left"), "{ran:?}");
    let end = "s3://public/data to /data on 3 nodes: copied 600 files (37.5 MiB); 600 verified";
    assert!(ran.err.contains(end), "{ran:?}");
    assert_eq!(ran.out.matches("200").count(), 3, "{ran:?}");

    fs::write(nodes.local("task.yaml"), task("/other")).unwrap();
    limit(&nodes, 12 << 10);
    let ran = run(&mut launch(&nodes));
    let lines: Vec<_> = ran.err.lines().filter(|line| line.starts_with("copying: ")).collect();
    assert!(!lines.is_empty(), "{ran:?}");
    for part in ["of 600 files, ", " of 37.5 MiB, ", "; dev ", ", dev-worker1 ", ", dev-worker2 ", "%"] {
        assert!(lines[0].contains(part), "{part}: {ran:?}");
    }
    assert!(ran.err.contains("600 verified") && !ran.err.contains('\u{1b}'), "{ran:?}");

    limit(&nodes, 0);
    let ran = run(&mut launch(&nodes));
    let end = "to /other on 3 nodes: copied 0 files (0 B); 600 files unchanged";
    assert!(ran.code == 0 && ran.err.contains(end), "{ran:?}");
}

#[test]
fn a_node_that_fails_is_named_beside_what_the_others_copied() {
    if !can_run() {
        return;
    }
    let nodes = with_files("~/data");
    // A directory where a file is to be.
    nodes.must_on("dev-worker1", "mkdir -p /root/data/7/kept");
    let ran = run(&mut launch(&nodes));
    assert_eq!((ran.code, ran.out.as_str()), (5, ""), "{ran:?}");
    for part in [
        "s3://public/data to ~/data on 2 nodes (dev, dev-worker2): copied 400 files (25.0 MiB); 400 verified",
        "1 of 3 nodes failed",
        "on dev-worker1: s3://public/data: 1 of 200 was not copied",
        "data/7: ",
    ] {
        assert!(ran.err.contains(part), "{part}: {ran:?}");
    }
}

//! Syncs in which workers fetch from the head: what arrives, over which link, what others see of it, and what becomes of it when it fails.

// A test that cannot go on has failed.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod ssh_world;

use pail::sync::ignore::{ListOptions, list};
use pail::sync::{FanOut, Source, Stats, SyncItem, SyncOptions, SyncPlan, SyncProgress, to_nodes};
use ssh_world::{Odd, Sudo, World, in_world, run, tree, wait_until};
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

const PLAIN: Odd = Odd { home_mib: None, without_rsync: false, chatty_shell: false, user: None };
const THREE: [(&str, Odd); 3] = [("dev", PLAIN), ("dev-worker1", PLAIN), ("dev-worker2", PLAIN)];
const BIG_MIB: u64 = 16;

/// A directory with names of all kinds, and a file that nothing can shorten.
fn source(dir: &Path) -> PathBuf {
    let source = dir.join("source");
    fs::create_dir_all(source.join("a dir/deep")).unwrap();
    fs::create_dir(source.join("empty")).unwrap();
    let names: [&[u8]; 9] =
        [b"#note", b";x", b"-rf", b"a b", b"new\nline", b"\xff\xfe", b"back\\slash", b"'q\"*", b"~"];
    for name in names {
        fs::write(source.join(OsStr::from_bytes(name)), name).unwrap();
        fs::write(source.join("a dir/deep").join(OsStr::from_bytes(name)), name).unwrap();
    }
    fs::write(source.join("run.sh"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(source.join("run.sh"), fs::Permissions::from_mode(0o751)).unwrap();
    symlink("/nowhere/at all", source.join("dangling")).unwrap();
    let path = source.display();
    run(&format!(
        "touch -d '2001-02-03 04:05:06.123456789' '{path}/run.sh'; head -c {BIG_MIB}M /dev/urandom > '{path}/big'"
    ));
    fs::write(source.join("later"), "as it was sent").unwrap();
    source
}

fn directory(path: &Path, destination: &str) -> SyncItem {
    let list = list(path, &ListOptions::default()).unwrap();
    let source = Source::Directory { path: path.to_owned(), list };
    SyncItem { source, destination: destination.to_owned() }
}

fn file(path: &Path, destination: &str) -> SyncItem {
    SyncItem { source: Source::File { path: path.to_owned() }, destination: destination.to_owned() }
}

/// To all nodes of `dev`; each one's statistics.
fn sync(world: &World, items: Vec<SyncItem>, fan_out: FanOut) -> Vec<Stats> {
    let plan = SyncPlan::new(items).unwrap();
    let peers = world.peers("dev");
    let options = SyncOptions {
        fan_out,
        idle_timeout: Duration::from_secs(10),
        retry_pauses: vec![Duration::from_millis(200); 8],
        ..SyncOptions::default()
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let progress = SyncProgress::new(peers.iter().map(|peer| peer.node.host.clone()), plan.bytes);
    let outcome = runtime.block_on(to_nodes(&plan, &peers, &options, &progress));
    assert_eq!(outcome.failure(), None);
    outcome.nodes.into_iter().map(|(_, result)| result.unwrap()).collect()
}

/// What this process's machine has sent to all nodes.
fn sent_bytes() -> u64 {
    // What one node sends to another does not count as the bridge's own.
    let links: serde_json::Value = serde_json::from_str(&run("ip -j -s link show br0")).unwrap();
    links[0]["stats64"]["tx"]["bytes"].as_u64().unwrap()
}

fn assert_arrived(world: &World, source: &Path) {
    for (host, _) in THREE {
        assert_eq!(tree(source), tree(&world.home(host).join("sky_workdir")), "on {host}");
    }
}

/// The processes of our program that do a step: their numbers and arguments.
fn processes(step: &str) -> Vec<(u32, Vec<String>)> {
    let all = fs::read_dir("/proc").unwrap().flatten();
    let numbers = all.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let of = |number: u32| {
        let line = fs::read(format!("/proc/{number}/cmdline")).ok()?;
        let words: Vec<_> =
            line.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect();
        let is_it =
            words.get(1).is_some_and(|word| word == "node") && words.get(2).is_some_and(|word| word == step);
        is_it.then_some((number, words))
    };
    numbers.filter_map(of).collect()
}

/// How much of the large file a node has received beside its place.
fn received(world: &World, host: &str) -> u64 {
    let Ok(entries) = fs::read_dir(world.home(host).join("sky_workdir")) else { return 0 };
    let sizes = entries.flatten().filter(|entry| entry.file_name().as_bytes().starts_with(b".big."));
    sizes.filter_map(|entry| entry.metadata().ok()).map(|meta| meta.blocks() * 512).max().unwrap_or(0)
}

/// Token and certificate, as a process that uses them has them in memory.
fn secrets() -> Option<[String; 2]> {
    let (_, words) = processes("sync-link").into_iter().next()?;
    let request: serde_json::Value = serde_json::from_slice(&fs::read(&words[3]).ok()?).ok()?;
    let text = |name: &str| request["offer"][name].as_str().map(str::to_owned);
    Some([text("token")?, text("certificate")?])
}

#[test]
fn one_copy_crosses_the_link_and_nobody_sees_what_is_secret() {
    in_world("one_copy_crosses_the_link_and_nobody_sees_what_is_secret", &THREE, |world| {
        let source = source(&world.dir);
        world.slow("dev-worker1", 80);
        let before = sent_bytes();
        let items = || vec![directory(&source, "~/sky_workdir"), file(&source.join("run.sh"), "~/.run")];
        let (stats, seen) = std::thread::scope(|scope| {
            let syncing = scope.spawn(|| sync(world, items(), FanOut::Always));
            let seen = std::cell::RefCell::new(None);
            wait_until("a worker is connected to the head", || {
                *seen.borrow_mut() = secrets();
                seen.borrow().is_some()
            });
            let [token, certificate] = seen.take().unwrap();
            assert!(token.len() >= 40 && certificate.len() > 100);
            for entry in fs::read_dir("/proc").unwrap().flatten() {
                for file in ["cmdline", "environ"] {
                    let text = fs::read(entry.path().join(file)).unwrap_or_default();
                    let text = String::from_utf8_lossy(&text);
                    assert!(!text.contains(&token) && !text.contains(&certificate), "{file}: {text}");
                }
            }
            (syncing.join().unwrap(), token)
        });
        let bytes = BIG_MIB << 20;
        let sent = sent_bytes() - before;
        assert!(sent > bytes && sent < bytes + bytes / 2, "{sent} bytes crossed the client's link");
        let from_head: Vec<_> = stats.iter().map(|stats| stats.head_bytes >= bytes).collect();
        assert_eq!(from_head, [false, true, true]);
        assert_arrived(world, &source);
        for (host, _) in THREE {
            assert_eq!(fs::read(world.home(host).join(".run")).unwrap(), b"#!/bin/sh\n");
        }
        run(&format!("! grep -rqF '{seen}' '{0}'/*/home '{0}'/*/sshd.log", world.dir.display()));
        wait_until("the relay is gone", || {
            processes("sync-relay").is_empty() && processes("sync-link").is_empty()
        });
        // Nothing is missing: nobody fetches.
        assert_eq!(sync(world, items(), FanOut::Always), vec![Stats::default(); 3]);
        // Little is: without being told to, nobody does.
        fs::write(source.join("later"), "as it is now, and longer").unwrap();
        fs::remove_file(source.join("a b")).unwrap();
        let stats = sync(world, items(), FanOut::Auto);
        assert!(
            stats.iter().all(|stats| (stats.files, stats.head_bytes, stats.deleted) == (1, 0, 1)),
            "{stats:?}"
        );
        fs::remove_file(source.join("-rf")).unwrap();
        fs::write(source.join("later"), "and again").unwrap();
        let stats = sync(world, items(), FanOut::Always);
        assert!(stats.iter().all(|stats| (stats.files, stats.deleted) == (1, 1)), "{stats:?}");
        assert_arrived(world, &source);
    });
}

#[test]
fn who_cannot_reach_the_head_gets_everything_from_here() {
    in_world("who_cannot_reach_the_head_gets_everything_from_here", &THREE, |world| {
        let source = source(&world.dir);
        // As a firewall does that lets nothing through.
        run("ip -n n2 route add blackhole 10.99.0.3/32");
        let stats = sync(world, vec![directory(&source, "~/sky_workdir")], FanOut::Always);
        assert_arrived(world, &source);
        let from_head: Vec<_> = stats.iter().map(|stats| stats.head_bytes > 0).collect();
        assert_eq!(from_head, [false, false, true]);
    });
}

#[test]
fn a_relay_that_breaks_off_costs_no_more_than_what_is_missing() {
    in_world("a_relay_that_breaks_off_costs_no_more_than_what_is_missing", &THREE, |world| {
        let source = source(&world.dir);
        ["dev-worker1", "dev-worker2"].iter().for_each(|host| world.slow(host, 80));
        let before = sent_bytes();
        std::thread::scope(|scope| {
            let syncing =
                scope.spawn(|| sync(world, vec![directory(&source, "~/sky_workdir")], FanOut::Always));
            wait_until("half is there", || received(world, "dev-worker1") > BIG_MIB << 19);
            let [(relay, _)] = processes("sync-relay").try_into().unwrap();
            run(&format!("kill -9 {relay}"));
            syncing.join().unwrap();
        });
        assert_arrived(world, &source);
        let (sent, bytes) = (sent_bytes() - before, BIG_MIB << 20);
        assert!(sent < bytes * 5 / 2, "{sent} bytes: what the workers had got was used");
    });
}

#[test]
fn what_a_job_on_the_head_changes_does_not_count_as_sent() {
    in_world("what_a_job_on_the_head_changes_does_not_count_as_sent", &THREE, |world| {
        let source = source(&world.dir);
        ["dev-worker1", "dev-worker2"].iter().for_each(|host| world.slow(host, 80));
        let head = world.home("dev").join("sky_workdir");
        std::thread::scope(|scope| {
            let syncing =
                scope.spawn(|| sync(world, vec![directory(&source, "~/sky_workdir")], FanOut::Always));
            wait_until("the file before is on its way", || received(world, "dev-worker1") > 1 << 20);
            // Of the same length, which rsync on its way through a list does not notice.
            fs::write(head.join("later"), "AS IT WAS SENT").unwrap();
            fs::remove_file(head.join("run.sh")).unwrap();
            syncing.join().unwrap();
        });
        for host in ["dev-worker1", "dev-worker2"] {
            assert_eq!(tree(&source), tree(&world.home(host).join("sky_workdir")), "on {host}");
        }
    });
}

#[test]
fn ordinary_users_fetch_to_places_of_their_own_and_of_root() {
    let free = Odd { user: Some(Sudo::Free), ..PLAIN };
    let nodes = [("dev", free), ("dev-worker1", free), ("dev-worker2", free)];
    in_world("ordinary_users_fetch_to_places_of_their_own_and_of_root", &nodes, |world| {
        let source = source(&world.dir);
        for (host, _) in nodes {
            fs::create_dir(world.dir.join(host).join("srv/roots")).unwrap();
        }
        let items = vec![directory(&source, "~/sky_workdir"), directory(&source, "/srv/roots")];
        let stats = sync(world, items, FanOut::Always);
        assert_arrived(world, &source);
        for (host, _) in nodes {
            assert_eq!(tree(&source), tree(&world.dir.join(host).join("srv/roots")), "on {host}");
        }
        assert!(stats[1..].iter().all(|stats| stats.head_bytes >= 2 * (BIG_MIB << 20)), "{stats:?}");
    });
}

/// A relay on this machine that hands on one file, and its offer.
fn relay(dir: &Path) -> (std::process::Child, serde_json::Value) {
    let file = dir.join("file");
    fs::write(&file, "content").unwrap();
    let mut relay = Command::new(env!("CARGO_BIN_EXE_pail"))
        .args(["node", "sync-relay"])
        .env("HOME", dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let source = serde_json::json!({"key": "none", "path": file, "is_file": true});
    let request = serde_json::json!({"address": "127.0.0.1", "idle_secs": 5, "sources": [source]});
    writeln!(relay.stdin.as_mut().unwrap(), "{request}").unwrap();
    let lines = BufReader::new(relay.stdout.take().unwrap()).lines();
    let offer =
        lines.map_while(Result::ok).find_map(|line| Some(line.strip_prefix("pail-relay ")?.to_owned()));
    let offer: serde_json::Value = serde_json::from_str(&offer.unwrap()).unwrap();
    (relay, offer["Ok"].clone())
}

/// What a relay answers first to who asks so, and whether that could connect at all.
fn answer(dir: &Path, offer: &serde_json::Value, source: usize, names: Option<&str>) -> (Vec<u8>, bool) {
    let request = dir.join("request");
    fs::write(&request, serde_json::json!({"offer": offer, "source": source, "names": names}).to_string())
        .unwrap();
    let linked = Command::new(env!("CARGO_BIN_EXE_pail"))
        .args(["node", "sync-link"])
        .arg(&request)
        .args(["relay", "rsync", "--server", "--sender", "-lLtpSe.LsfxCIvu", ".", "x"])
        .env("HOME", dir)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    (linked.stdout, linked.status.success())
}

#[test]
fn a_relay_serves_the_token_alone_and_ends_with_its_session() {
    let dir = tempfile::tempdir().unwrap();
    let (mut relay_process, offer) = relay(dir.path());
    assert!(!answer(dir.path(), &offer, 0, None).0.is_empty(), "who has the token is served");
    let mut wrong = offer.clone();
    let token = offer["token"].as_str().unwrap();
    wrong["token"] = format!("{}{}", if token.starts_with('A') { 'B' } else { 'A' }, &token[1..]).into();
    assert_eq!(answer(dir.path(), &wrong, 0, None).0, b"", "another token is not");
    wrong["token"] = "".into();
    assert_eq!(answer(dir.path(), &wrong, 0, None).0, b"");
    assert_eq!(answer(dir.path(), &offer, 1, None).0, b"", "another source is not there");
    assert_eq!(answer(dir.path(), &offer, 0, Some("L2ZpbGUA")).0, b"", "nor are other names");
    // Another relay's certificate, as of somebody in between.
    let other_dir = tempfile::tempdir().unwrap();
    let (mut other, other_offer) = relay(other_dir.path());
    let mut mixed = offer.clone();
    mixed["certificate"] = other_offer["certificate"].clone();
    assert_eq!(answer(dir.path(), &mixed, 0, None), (Vec::new(), false));
    for process in [&mut relay_process, &mut other] {
        drop(process.stdin.take());
        assert!(process.wait().unwrap().success());
    }
    assert_eq!(answer(dir.path(), &offer, 0, None), (Vec::new(), false));
}

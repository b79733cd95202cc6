//! Syncs to SSH nodes, and to this machine: what arrives, what is removed, and what becomes of it when something fails.

// A test that cannot go on has failed.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod ssh_world;

use pail::sync::ignore::{ListOptions, list};
use pail::sync::{Peer, Source, Stats, SyncItem, SyncOptions, SyncOutcome, SyncPlan, SyncProgress};
use pail_control::{Failure, FailureKind};
use ssh_world::{Odd, Sudo, World, has_child, in_world, run, tree, wait_until};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

const PLAIN: Odd = Odd { home_mib: None, without_rsync: false, chatty_shell: false, user: None };

fn directory(path: &Path, destination: &str) -> SyncItem {
    let list = list(path, &ListOptions::default()).unwrap();
    SyncItem {
        source: Source::Directory { path: path.to_owned(), list },
        destination: destination.to_owned(),
    }
}

fn file(path: &Path, destination: &str) -> SyncItem {
    SyncItem { source: Source::File { path: path.to_owned() }, destination: destination.to_owned() }
}

fn options() -> SyncOptions {
    SyncOptions {
        idle_timeout: Duration::from_secs(2),
        retry_pauses: vec![Duration::from_millis(200); 8],
        ..SyncOptions::default()
    }
}

fn sync_to(peers: &[Peer], items: Vec<SyncItem>) -> SyncOutcome {
    sync_with(peers, items, &options())
}

fn sync_with(peers: &[Peer], items: Vec<SyncItem>, options: &SyncOptions) -> SyncOutcome {
    let plan = SyncPlan::new(items).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let progress = SyncProgress::new(peers.iter().map(|peer| peer.node.host.clone()), plan.bytes);
    runtime.block_on(pail::sync::to_nodes(&plan, peers, options, &progress))
}

/// To one node, all of it.
fn sync(peers: &[Peer], items: Vec<SyncItem>) -> Stats {
    let mut outcome = sync_to(&peers[..1], items);
    assert_eq!(outcome.failure(), None);
    outcome.nodes.remove(0).1.unwrap()
}

fn sync_here(items: Vec<SyncItem>, home: &Path) -> Result<Stats, Failure> {
    let plan = SyncPlan::new(items)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let progress = SyncProgress::new(["here".to_owned()], plan.bytes);
    runtime.block_on(pail::sync::to_here(&plan, home, &progress))
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// A directory with every odd thing that can be sent.
fn odd_source(dir: &Path) -> PathBuf {
    let source = dir.join("source");
    fs::create_dir_all(source.join("a dir/deep")).unwrap();
    fs::create_dir(source.join("empty")).unwrap();
    let names: [&[u8]; 9] =
        [b"#note", b";x", b"-rf", b"a b", b"new\nline", b"\xff\xfe", b"back\\slash", b"'q\"", b"~"];
    for name in names {
        fs::write(source.join(OsStr::from_bytes(name)), name).unwrap();
        fs::write(source.join("a dir/deep").join(OsStr::from_bytes(name)), name).unwrap();
    }
    fs::write(source.join("run.sh"), "#!/bin/sh\n").unwrap();
    mode(&source.join("run.sh"), 0o751);
    fs::write(source.join("secret"), "x").unwrap();
    mode(&source.join("secret"), 0o600);
    fs::hard_link(source.join("secret"), source.join("secret too")).unwrap();
    symlink("/nowhere/at all", source.join("dangling")).unwrap();
    symlink("/etc", source.join("absolute")).unwrap();
    symlink("run.sh", source.join("relative")).unwrap();
    let sparse = fs::File::create(source.join("sparse")).unwrap();
    sparse.set_len(64 << 20).unwrap();
    fs::create_dir(source.join("read-only")).unwrap();
    fs::write(source.join("read-only/file"), "x").unwrap();
    mode(&source.join("read-only"), 0o555);
    run(&format!("touch -d '2001-02-03 04:05:06.123456789' '{}'", source.join("run.sh").display()));
    source
}

fn assert_arrived(source: &Path, place: &Path) {
    assert_eq!(tree(source), tree(place));
    let sparse = place.join("sparse").metadata().unwrap();
    assert!(sparse.blocks() * 512 < 1 << 20, "the holes of a sparse file take space");
    assert_eq!(place.join("secret").metadata().unwrap().nlink(), 1, "hard links are files of their own");
}

#[test]
fn everything_arrives_as_it_is_and_a_second_sync_sends_nothing() {
    let nodes = [("dev", PLAIN), ("dev-worker1", PLAIN), ("dev-worker2", PLAIN)];
    in_world("everything_arrives_as_it_is_and_a_second_sync_sends_nothing", &nodes, |world| {
        let source = odd_source(&world.dir);
        let peers = world.peers("dev");
        let items = || vec![directory(&source, "~/sky_workdir")];
        let outcome = sync_to(&peers, items());
        assert_eq!(outcome.failure(), None);
        for peer in &peers {
            assert_arrived(&source, &world.home(&peer.node.host).join("sky_workdir"));
        }
        let place = world.home("dev").join("sky_workdir");
        let again = sync(&peers, items());
        assert_eq!(again, Stats::default(), "nothing is sent, and nothing even listed");
        // An edit within the same second, of the same length.
        let run_sh = source.join("run.sh");
        fs::write(&run_sh, "#!/bin/zz\n").unwrap();
        run(&format!("touch -d '2001-02-03 04:05:06.9' '{}'", run_sh.display()));
        assert_eq!(sync(&peers, items()).files, 1);
        // What a job changed is as in the source again; permissions too.
        fs::write(place.join("a b"), "changed by a job").unwrap();
        mode(&source.join("secret"), 0o640);
        mode(&source.join("empty"), 0o700);
        let repaired = sync(&peers, items());
        assert_eq!(repaired.files, 1);
        assert_arrived(&source, &place);
        assert_eq!(sync(&peers, items()).listed, 0);
    });
}

// SEMANTICS: tasks.3
#[test]
fn only_what_a_sync_sent_is_removed() {
    in_world("only_what_a_sync_sent_is_removed", &[("dev", PLAIN)], |world| {
        removals(&world.dir, &world.home("dev"), &|items| sync(&world.peers("dev"), items));
    });
}

#[test]
fn on_this_machine_too() {
    let dir = tempfile::tempdir().unwrap();
    let source = odd_source(dir.path());
    let home = dir.path().join("home");
    fs::create_dir(&home).unwrap();
    let items = || vec![directory(&source, "~/sky_workdir")];
    sync_here(items(), &home).unwrap();
    assert_arrived(&source, &home.join("sky_workdir"));
    assert_eq!(sync_here(items(), &home).unwrap(), Stats::default());
    mode(&source.join("read-only"), 0o755);
    fs::write(source.join("read-only/second"), "x").unwrap();
    mode(&source.join("read-only"), 0o555);
    assert_eq!(sync_here(items(), &home).unwrap().files, 1);
    assert_arrived(&source, &home.join("sky_workdir"));
    let other = tempfile::tempdir().unwrap();
    fs::create_dir(other.path().join("home")).unwrap();
    removals(other.path(), &other.path().join("home"), &|items| {
        let stats = sync_here(items, &other.path().join("home")).unwrap();
        assert_eq!(stats.not_done, []);
        stats
    });
}

#[test]
fn a_source_is_never_removed_as_its_own_place() {
    let home = tempfile::tempdir().unwrap();
    let place = home.path().join("sky_workdir");
    let code = home.path().join("code");
    fs::create_dir_all(code.join("project")).unwrap();
    fs::write(code.join("project/file"), "x").unwrap();
    sync_here(vec![directory(&code, "~/sky_workdir")], home.path()).unwrap();
    // The place itself, below it, and above it.
    assert_eq!(sync_here(vec![directory(&place, "~/sky_workdir")], home.path()).unwrap(), Stats::default());
    for source in [place.join("project"), home.path().to_owned()] {
        let failure = sync_here(vec![directory(&source, "~/sky_workdir")], home.path()).unwrap_err();
        assert_eq!(failure.kind, FailureKind::Usage);
    }
    assert_eq!(fs::read(place.join("project/file")).unwrap(), b"x");
}

/// The removals that a sync does and those that it does not, whatever carries it.
fn removals(dir: &Path, home: &Path, sync: &dyn Fn(Vec<SyncItem>) -> Stats) {
    let (source, place) = (dir.join("code"), home.join("sky_workdir"));
    let items = || vec![directory(&source, "~/sky_workdir")];
    fs::create_dir_all(place.join("theirs")).unwrap();
    fs::write(place.join("theirs/before"), "").unwrap();
    fs::create_dir_all(place.join("shared")).unwrap();
    for file in [
        "keep",
        "gone",
        "d/gone",
        "d/e/gone",
        "with output/gone",
        "shared/gone",
        "turns/into/a file",
        "was a file",
    ] {
        fs::create_dir_all(source.join(file).parent().unwrap()).unwrap();
        fs::write(source.join(file), file).unwrap();
    }
    symlink("keep", source.join("gone link")).unwrap();
    sync(items());
    fs::write(place.join("with output/result"), "of a job").unwrap();
    fs::write(place.join("log"), "of a job").unwrap();
    for gone in ["gone", "d", "with output", "shared", "turns", "was a file", "gone link"] {
        run(&format!("rm -r '{}'", source.join(gone).display()));
    }
    fs::write(source.join("turns"), "a file now").unwrap();
    fs::create_dir(source.join("was a file")).unwrap();
    fs::write(source.join("was a file/inside"), "").unwrap();
    let stats = sync(items());
    // gone, d/gone, d/e/gone, d/e, d, …/gone, shared/gone, turns/into/a file, turns/into, turns, was a file, gone link
    assert_eq!(stats.deleted, 12);
    let left: Vec<_> = tree(&place).into_keys().map(|path| path.to_string_lossy().into_owned()).collect();
    let expected = [
        "keep",
        "log",
        "shared",
        "theirs",
        "theirs/before",
        "turns",
        "was a file",
        "was a file/inside",
        "with output",
        "with output/result",
    ];
    assert_eq!(left, expected);
    // The directory that kept a job's file goes when that is gone and the list changes again.
    fs::remove_file(place.join("with output/result")).unwrap();
    fs::remove_file(source.join("keep")).unwrap();
    sync(items());
    assert!(!place.join("with output").exists() && !place.join("keep").exists());
    assert!(place.join("shared").exists(), "a directory that was there before stays");
    // What a job made a way out of the place is not followed.
    let outside = dir.join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("inside"), "not ours").unwrap();
    fs::remove_file(place.join("was a file/inside")).unwrap();
    fs::remove_dir(place.join("was a file")).unwrap();
    symlink(&outside, place.join("was a file")).unwrap();
    fs::remove_dir_all(source.join("was a file")).unwrap();
    sync(items());
    assert_eq!(fs::read(outside.join("inside")).unwrap(), b"not ours");
    assert!(place.join("was a file").is_symlink(), "a job's link stays");
    // Another source replaces the files of this one.
    let other = dir.join("other code");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("new"), "").unwrap();
    sync(vec![directory(&other, "~/sky_workdir")]);
    assert!(place.join("new").exists() && !place.join("turns").exists() && place.join("log").exists());
}

#[test]
fn single_files_go_where_they_are_told() {
    in_world("single_files_go_where_they_are_told", &[("dev", PLAIN)], |world| {
        let (peers, home) = (world.peers("dev"), world.home("dev"));
        let real = world.dir.join("real");
        fs::write(&real, "one").unwrap();
        mode(&real, 0o640);
        let link = world.dir.join("a link");
        symlink(&real, &link).unwrap();
        fs::create_dir(home.join("directory")).unwrap();
        let items = || {
            vec![
                file(&real, "~/.vimrc"),
                file(&link, "~/new/dir/it's"),
                file(&real, "~/directory"),
                file(&real, "/root/abs"),
            ]
        };
        let stats = sync(&peers, items());
        assert_eq!(stats.files, 4);
        assert!(stats.notes[0].contains("/root/directory is a directory"), "{:?}", stats.notes);
        for path in [".vimrc", "new/dir/it's", "directory/real", "abs"] {
            let meta = home.join(path).symlink_metadata().unwrap();
            assert!(meta.is_file() && meta.mode() & 0o777 == 0o640, "{path}");
        }
        assert_eq!(sync(&peers, items()).listed, 0);
        fs::write(&real, "two").unwrap();
        assert_eq!(sync(&peers, items()).files, 4);
        // A directory's place becomes a file's, and the other way round.
        let source = world.dir.join("code");
        fs::create_dir(&source).unwrap();
        fs::write(source.join("x"), "x").unwrap();
        sync(&peers, vec![directory(&source, "~/.vimrc")]);
        assert_eq!(fs::read(home.join(".vimrc/x")).unwrap(), b"x");
        sync(&peers, vec![file(&real, "~/.vimrc")]);
        assert_eq!(fs::read(home.join(".vimrc")).unwrap(), b"two");
    });
}

/// Random bytes, which nothing can shorten.
fn random_file(path: &Path, mib: usize) {
    run(&format!("head -c {mib}M /dev/urandom > '{}'", path.display()));
}

/// How much of a file has been received beside its place.
fn received(place: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(place) else { return 0 };
    let sizes = entries.flatten().filter(|entry| entry.file_name().as_bytes().starts_with(b".big."));
    sizes.filter_map(|entry| entry.metadata().ok()).map(|meta| meta.blocks() * 512).max().unwrap_or(0)
}

#[test]
fn a_lost_link_costs_no_more_than_the_wait() {
    in_world("a_lost_link_costs_no_more_than_the_wait", &[("dev", PLAIN)], |world| {
        let source = world.dir.join("code");
        fs::create_dir(&source).unwrap();
        random_file(&source.join("big"), 32);
        world.slow("dev", 80);
        let place = world.home("dev").join("sky_workdir");
        let stats = std::thread::scope(|scope| {
            let syncing =
                scope.spawn(|| sync(&world.peers("dev"), vec![directory(&source, "~/sky_workdir")]));
            wait_until("half of the file is there", || received(&place) > 16 << 20);
            world.link("dev", false);
            wait_until("the client noticed", || !has_child("rsync"));
            world.link("dev", true);
            syncing.join().unwrap()
        });
        assert_eq!(tree(&source), tree(&place), "and nothing of the interrupted transfer is left");
        let size = 32 << 20;
        assert!(
            stats.bytes < size + size / 4,
            "{} bytes were sent: not from the beginning again",
            stats.bytes
        );
    });
}

/// Not a test of its own: a client that is killed.
#[test]
fn a_client() {
    let Some(source) = std::env::var_os("PAIL_TEST_CLIENT_SOURCE") else { return };
    let nodes = pail::cluster::Cluster::find("dev").unwrap().nodes.into_iter();
    let peers: Vec<_> =
        nodes.map(|node| Peer { node, pail: env!("CARGO_BIN_EXE_pail").to_owned(), address: None }).collect();
    let outcome = sync_to(&peers, vec![directory(Path::new(&source), "~/sky_workdir")]);
    println!("{:?}", outcome.failure());
}

fn client(source: &Path) -> std::process::Command {
    let mut client = std::process::Command::new("setpriv");
    client.args([
        "--bounding-set",
        "-dac_override,-dac_read_search",
        "--inh-caps",
        "-dac_override,-dac_read_search",
    ]);
    client.arg(std::env::current_exe().unwrap()).args(["a_client", "--exact", "--nocapture"]);
    client.env("PAIL_TEST_CLIENT_SOURCE", source);
    client
}

#[test]
fn a_killed_client_leaves_nothing_that_the_next_does_not_clear_up() {
    let test = "a_killed_client_leaves_nothing_that_the_next_does_not_clear_up";
    in_world(test, &[("dev", PLAIN)], |world| {
        let source = world.dir.join("code");
        fs::create_dir(&source).unwrap();
        fs::write(source.join("a first"), "x").unwrap();
        random_file(&source.join("big"), 16);
        world.slow("dev", 80);
        let place = world.home("dev").join("sky_workdir");
        let mut killed = client(&source).spawn().unwrap();
        wait_until("a part of the file is there", || received(&place) > 4 << 20);
        killed.kill().unwrap();
        killed.wait().unwrap();
        assert!(place.join("a first").exists(), "what was sent is there");
        // What was sent before the kill, and the source has no more, is still known.
        fs::remove_file(source.join("a first")).unwrap();
        let peers = world.peers("dev");
        let stats = sync(&peers, vec![directory(&source, "~/sky_workdir")]);
        assert_eq!(stats.deleted, 1);
        assert!(stats.bytes < 14 << 20, "{} bytes: the part is used", stats.bytes);
        assert_eq!(tree(&source), tree(&place));
    });
}

#[test]
fn files_that_change_vanish_or_cannot_be_read_are_named_and_the_rest_arrives() {
    let test = "files_that_change_vanish_or_cannot_be_read_are_named_and_the_rest_arrives";
    in_world(test, &[("dev", PLAIN)], |world| {
        let source = world.dir.join("code");
        fs::create_dir(&source).unwrap();
        random_file(&source.join("big"), 8);
        for name in ["later changes", "later vanishes", "other"] {
            fs::write(source.join(name), "before").unwrap();
        }
        world.slow("dev", 40);
        let place = world.home("dev").join("sky_workdir");
        let outcome = std::thread::scope(|scope| {
            let syncing =
                scope.spawn(|| sync_to(&world.peers("dev"), vec![directory(&source, "~/sky_workdir")]));
            wait_until("the first file is on its way", || received(&place) > 1 << 20);
            fs::write(source.join("later changes"), "after it was listed").unwrap();
            fs::remove_file(source.join("later vanishes")).unwrap();
            syncing.join().unwrap()
        });
        let failure = outcome.failure().unwrap();
        assert_eq!((failure.kind, failure.causes.len()), (FailureKind::Partial, 1), "{failure}");
        assert!(failure.causes[0].contains("later vanishes: vanished before it was sent"), "{failure}");
        assert_eq!(fs::read(place.join("later changes")).unwrap(), b"after it was listed");
        assert_eq!(tree(&source), tree(&place));
        // Root without its privilege is as anybody.
        fs::write(source.join("un\nreadable"), "").unwrap();
        fs::write(source.join("z new"), "").unwrap();
        mode(&source.join("un\nreadable"), 0);
        let said = client(&source).output().unwrap();
        let said = String::from_utf8_lossy(&said.stdout);
        assert!(said.contains("kind: Partial") && said.contains("un\\\\nreadable: cannot be read"), "{said}");
        assert!(place.join("z new").exists());
    });
}

#[test]
fn a_full_disk_is_told_as_one() {
    let nodes = [("dev", Odd { home_mib: Some(8), ..PLAIN })];
    in_world("a_full_disk_is_told_as_one", &nodes, |world| {
        let source = world.dir.join("code");
        fs::create_dir(&source).unwrap();
        random_file(&source.join("big"), 12);
        let outcome = sync_to(&world.peers("dev"), vec![directory(&source, "~/sky_workdir")]);
        let failure = outcome.failure().unwrap();
        assert_eq!(failure.kind, FailureKind::NoSpace);
        assert_eq!(failure.message, "on dev: no space left on the disk of ~/sky_workdir");
        // With room, the next sync succeeds.
        run(&format!("mount -o remount,size=64m '{}'", world.home("dev").display()));
        sync(&world.peers("dev"), vec![directory(&source, "~/sky_workdir")]);
        assert_eq!(tree(&source), tree(&world.home("dev").join("sky_workdir")));
    });
}

#[test]
fn equal_failures_are_told_once_and_the_other_nodes_are_synced() {
    let bare = Odd { without_rsync: true, ..PLAIN };
    let chatty = Odd { chatty_shell: true, ..PLAIN };
    let nodes = [
        ("dev", PLAIN),
        ("dev-worker1", bare),
        ("dev-worker2", bare),
        ("dev-worker3", PLAIN),
        ("dev-worker4", chatty),
    ];
    in_world("equal_failures_are_told_once_and_the_other_nodes_are_synced", &nodes, |world| {
        let source = world.dir.join("code");
        fs::create_dir(&source).unwrap();
        fs::write(source.join("x"), "x").unwrap();
        world.link("dev-worker3", false);
        let once = SyncOptions { retry_pauses: Vec::new(), ..options() };
        let outcome = sync_with(&world.peers("dev"), vec![directory(&source, "~/sky_workdir")], &once);
        let failure = outcome.failure().unwrap();
        assert_eq!(failure.kind.exit_code(), 5);
        assert_eq!(failure.message, "the sync failed on 4 of 5 nodes");
        let [rsync, link, shell] = failure.causes.as_slice() else { panic!("{failure:?}") };
        let expected = "on 2 nodes (dev-worker1, dev-worker2): rsync is not installed on the node";
        assert!(rsync.starts_with(expected), "{rsync}");
        assert!(link.starts_with("on dev-worker3: the node cannot be reached"), "{link}");
        assert!(shell.contains("on dev-worker4") && shell.contains("is your shell clean"), "{shell}");
        assert!(world.home("dev").join("sky_workdir/x").exists());
    });
}

#[test]
fn two_syncs_of_one_place_do_not_mix() {
    in_world("two_syncs_of_one_place_do_not_mix", &[("dev", PLAIN)], |world: &World| {
        let place = world.home("dev").join("sky_workdir");
        let source = |name: &str| {
            let source = world.dir.join(name);
            fs::create_dir(&source).unwrap();
            (0..200).for_each(|number| fs::write(source.join(format!("{name} {number}")), name).unwrap());
            source
        };
        let (one, other) = (source("one"), source("other"));
        std::thread::scope(|scope| {
            let sync = |source| move || sync(&world.peers("dev"), vec![directory(source, "~/sky_workdir")]);
            let (first, second) = (scope.spawn(sync(&one)), scope.spawn(sync(&other)));
            first.join().unwrap();
            second.join().unwrap();
        });
        // Whichever was last: a third sync finds all that either sent.
        sync(&world.peers("dev"), vec![directory(&one, "~/sky_workdir")]);
        assert_eq!(tree(&one), tree(&place));
    });
}

#[test]
fn places_of_others_are_written_by_sudo_and_stay_theirs() {
    let free = Odd { user: Some(Sudo::Free), ..PLAIN };
    let asks = Odd { user: Some(Sudo::Asks), ..PLAIN };
    let nodes = [("free", free), ("asks", asks)];
    in_world("places_of_others_are_written_by_sudo_and_stay_theirs", &nodes, |world| {
        let source = world.dir.join("code");
        fs::create_dir(&source).unwrap();
        fs::write(source.join("x"), "x").unwrap();
        fs::write(source.join("y"), "y").unwrap();
        let srv = world.dir.join("free/srv");
        fs::create_dir(srv.join("roots")).unwrap();
        let peers = world.peers("free");
        let items = || {
            vec![
                directory(&source, "~/sky_workdir"),
                directory(&source, "/srv/new/data"),
                directory(&source, "/srv/roots"),
                file(&source.join("x"), "/srv/roots/x.conf"),
            ]
        };
        sync(&peers, items());
        let owner = |path: &str| srv.join(path).metadata().unwrap().uid();
        let owners = ["", "new", "new/data", "new/data/x", "roots", "roots/x", "roots/x.conf"].map(owner);
        assert_eq!(owners, [0, 4321, 4321, 4321, 0, 0, 0]);
        assert_eq!(sync(&peers, items()).listed, 0);
        fs::remove_file(source.join("y")).unwrap();
        assert_eq!(sync(&peers, items()).deleted, 3);
        assert!(!srv.join("roots/y").exists() && srv.join("roots/x.conf").exists());
        let outcome = sync_to(&world.peers("asks"), vec![directory(&source, "/srv/new/data")]);
        let failure = outcome.failure().unwrap();
        assert_eq!(failure.message, "on asks: cannot create /srv/new/data: you may not write to /srv");
        assert!(failure.causes[0].contains("sudo: a password is required"), "{failure}");
        let outcome = sync_to(&world.peers("asks"), vec![file(&source.join("x"), "/srv/x.conf")]);
        assert_eq!(outcome.failure().unwrap().message, "on asks: cannot write to /srv");
    });
}

//! Syncs of much to an SSH node: many files, and a large one.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod ssh_world;

use pail::sync::ignore::{ListOptions, list};
use pail::sync::{Source, Stats, SyncItem, SyncOptions, SyncPlan, SyncProgress};
use ssh_world::{Odd, World, in_world};
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

const PLAIN: Odd = Odd { home_mib: None, without_rsync: false, chatty_shell: false, user: None };

/// A sync of `source` to `~/sky_workdir` of the one node.
fn sync(world: &World, source: &Path) -> Stats {
    let list = list(source, &ListOptions::default()).unwrap();
    let source = Source::Directory { path: source.to_owned(), list };
    let plan = SyncPlan::new(vec![SyncItem { source, destination: "~/sky_workdir".to_owned() }]).unwrap();
    let progress = SyncProgress::new(["dev".to_owned()], plan.bytes);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let peers = world.peers("dev");
    let options = SyncOptions::default();
    let synced = pail::sync::to_nodes(&plan, &peers, &options, &progress);
    let mut outcome = runtime.block_on(synced);
    assert_eq!(outcome.failure(), None);
    outcome.nodes.remove(0).1.unwrap()
}

#[test]
fn of_a_hundred_thousand_files_a_second_sync_sends_and_lists_nothing() {
    in_world(
        "of_a_hundred_thousand_files_a_second_sync_sends_and_lists_nothing",
        &[("dev", PLAIN)],
        |world| {
            let source = world.dir.join("source");
            for number in 0..100_000 {
                let dir = source.join(format!("d{}", number / 1000));
                if number % 1000 == 0 {
                    fs::create_dir_all(&dir).unwrap();
                }
                fs::write(dir.join(number.to_string()), number.to_string()).unwrap();
            }
            assert_eq!(sync(world, &source).files, 100_000);
            let last = world.home("dev").join("sky_workdir/d99/99999");
            assert_eq!(fs::read_to_string(last).unwrap(), "99999");
            assert_eq!(sync(world, &source), Stats::default());
        },
    );
}

#[test]
fn five_gib_arrive_whole_and_their_holes_stay_holes() {
    in_world("five_gib_arrive_whole_and_their_holes_stay_holes", &[("dev", PLAIN)], |world| {
        const LEN: u64 = 5 << 30;
        let source = world.dir.join("source");
        fs::create_dir_all(&source).unwrap();
        let file = File::create(source.join("big")).unwrap();
        file.set_len(LEN).unwrap();
        let places = [0, (4 << 30) - 3, LEN - 9];
        places.iter().for_each(|at| file.write_all_at(b"some data", *at).unwrap());
        assert_eq!(sync(world, &source).files, 1);
        let there = File::open(world.home("dev").join("sky_workdir/big")).unwrap();
        assert_eq!(there.metadata().unwrap().len(), LEN);
        for at in places {
            let mut bytes = [0; 9];
            there.read_exact_at(&mut bytes, at).unwrap();
            assert_eq!(&bytes, b"some data", "at {at}");
        }
        assert!(there.metadata().unwrap().blocks() * 512 < LEN / 10);
        assert_eq!(sync(world, &source), Stats::default());
    });
}

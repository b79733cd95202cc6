//! What is in the place of a file or a directory of a sync: what goes, and what stays whole.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod support;

use pail_devserver::{Fault, FaultAction, Settings};
use pail_transfer::{Action, Comparison, Filters, Reason, Report, Selection};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use support::{MIB, Place, dry, names, noise, write};

async fn syncing() -> Place {
    let mut place = Place::new().await;
    place.options.comparison = Comparison::SizeAndTime;
    place
}

fn counts(report: &Report) -> (u64, u64, u64) {
    assert!(report.is_complete(), "{report:?}");
    (report.copied, report.unchanged, report.removed.deleted)
}

// SEMANTICS: copies.6
#[tokio::test(flavor = "multi_thread")]
async fn a_file_takes_the_place_of_a_directory_and_the_other_way_round_where_what_is_extra_goes() {
    let mut place = syncing().await;
    for key in ["p/a/b", "p/a/c/d", "p/dir", "p/marker/", "p/marker/x", "p/same", "p/large"] {
        place.put(key, if key.ends_with('/') { noise(0, 0) } else { noise(1, 1000) }).await;
    }
    place.put("p/large", noise(2, 12 * MIB)).await;
    write(&place, "outside/x", "precious");
    for name in ["a", "dir/one", "dir/deep/er/two", "large/three", "marker", "same"] {
        write(&place, &format!("target/{name}"), "local");
    }
    fs::create_dir_all(place.at("target/dir/empty")).unwrap();
    symlink(place.at("outside"), place.at("target/dir/link")).unwrap();
    let before = place.files("target");

    let report = place.download("p/", "target").await.unwrap();
    assert_eq!(names(&report.failed), ["p/a/b", "p/a/c/d", "p/dir", "p/large", "p/marker/", "p/marker/x"]);
    assert!(report.failed.named.iter().all(|one| one.why.contains("--delete` replaces it")), "{report:?}");
    assert_eq!(place.files("target").len(), before.len(), "nothing goes that was not to go");

    place.options.delete = true;
    let told = dry(&mut place);
    counts(&place.download("p/", "target").await.unwrap());
    place.options.dry_run = None;
    let told = std::mem::take(&mut *told.lock().unwrap());
    let deleted =
        told.iter().filter(|(_, (action, _))| *action == Action::Delete).map(|(key, _)| key.as_str());
    let extra = ["p/a", "p/dir/deep/er/two", "p/dir/link", "p/dir/one", "p/large/three", "p/marker"];
    assert_eq!(deleted.collect::<Vec<_>>(), extra);
    assert_eq!(told["p/a/c/d"], (Action::Copy, Reason::New));

    assert_eq!(counts(&place.download("p/", "target").await.unwrap()), (5, 1, 6));
    let files = place.files("target");
    assert_eq!(files.keys().collect::<Vec<_>>(), ["a/b", "a/c/d", "dir", "large", "marker/x", "same"]);
    assert_eq!(files["large"], noise(2, 12 * MIB));
    assert_eq!(place.files("outside")["x"], b"precious");
    assert_eq!(counts(&place.download("p/", "target").await.unwrap()), (0, 6, 0));
}

// SEMANTICS: copies.1
#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_the_way_of_what_does_not_arrive_stays() {
    let mut place = syncing().await;
    place.options.delete = true;
    let damage = FaultAction::FlipBit { after_bytes: 700 };
    for (action, why) in
        [(FaultAction::AccessDenied, "Access Denied"), (damage, "what arrived is not what is stored")]
    {
        for (key, len) in [("p/dir", 1000), ("p/dirs/large", 12 * MIB), ("p/file/sub/x", 1000), ("p/ok", 9)] {
            place.put(key, noise(1, len)).await;
        }
        for name in ["dir/a", "dirs/large/deep/b", "file", "extra"] {
            write(&place, &format!("target/{name}"), "precious");
        }
        for key in ["p/dir", "p/file"] {
            let refused = Fault::once(Some("GetObject"), action.clone());
            place.server.inject(Fault { key_contains: Some(key.to_owned()), times: 1000, ..refused });
        }
        let report = place.download("p/", "target").await.unwrap();
        assert_eq!(names(&report.failed), ["p/dir", "p/dirs/large", "p/file/sub/x"], "{report:?}");
        assert!(report.failed.named.iter().all(|one| one.why.contains(why)), "{report:?}");
        assert_eq!((report.removed.deleted, report.removed.is_withheld), (0, true));
        let there = place.files("target");
        assert_eq!(there.keys().collect::<Vec<_>>(), ["dir/a", "dirs/large/deep/b", "extra", "file", "ok"]);
        place.server.clear_faults();
    }
    assert_eq!(counts(&place.download("p/", "target").await.unwrap()), (3, 1, 4));
    let files = place.files("target");
    assert_eq!(files.keys().collect::<Vec<_>>(), ["dir", "dirs/large", "file/sub/x", "ok"]);
    assert!(files["dirs/large"] == noise(1, 12 * MIB));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_the_way_stays_whole_where_anything_of_it_must() {
    let mut place = syncing().await;
    place.options.delete = true;
    place.options.filters = Filters::new([(Selection::Exclude, "*.keep")]).unwrap();
    for key in ["p/excluded", "p/odd", "p/z/../odd/x", "p/pipe", "p/other"] {
        place.put(key, noise(1, 1000)).await;
    }
    for name in ["excluded/a", "excluded/b.keep", "odd/x", "odd/y", "pipe/a", "extra"] {
        write(&place, &format!("target/{name}"), "local");
    }
    let _socket = std::os::unix::net::UnixListener::bind(place.at("target/pipe/pipe")).unwrap();
    symlink(place.at("outside"), place.at("target/link")).unwrap();
    place.put("p/link/x", "x").await;
    let report = place.download("p/", "target").await.unwrap();
    assert_eq!(names(&report.failed), ["p/excluded", "p/link/x", "p/odd", "p/pipe"], "{report:?}");
    let whys: BTreeMap<_, _> =
        report.failed.named.iter().map(|one| (one.name.as_str(), one.why.as_str())).collect();
    for (key, why) in [
        ("p/excluded", "excluded/b.keep is in its place, and is left out by the globs"),
        ("p/odd", "odd/x is in its place, and has a name that the source has, too"),
        ("p/link/x", "a symbolic link is in its path, and is not followed"),
        ("p/pipe", "pipe/pipe is in its place, and is no file"),
    ] {
        assert_eq!(whys[key], why);
    }
    assert!(report.removed.is_withheld && report.removed.deleted == 0, "{report:?}");
    let files = place.files("target");
    let there =
        ["excluded/a", "excluded/b.keep", "extra", "link", "odd/x", "odd/y", "other", "pipe/a", "pipe/pipe"];
    assert_eq!(files.keys().collect::<Vec<_>>(), there);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_the_way_stays_where_not_everything_arrived_or_it_is_newer_than_the_run() {
    let mut place = syncing().await;
    place.options.delete = true;
    place.put("p/dir", noise(1, 1000)).await;
    place.put("p/damaged", noise(2, 1000)).await;
    write(&place, "target/dir/a", "local");
    place.server.inject(Fault {
        times: 2,
        ..Fault::once(Some("GetObject"), FaultAction::FlipBit { after_bytes: 700 })
    });
    let report = place.download("p/", "target").await.unwrap();
    assert_eq!(names(&report.failed), ["p/damaged", "p/dir"], "{report:?}");
    assert!(report.failed.named.iter().any(|one| one.why.contains("not everything else could be copied")));
    assert_eq!(place.files("target").len(), 1);

    // Written after the run began: the listing waits.
    place.server.set_settings(Settings { first_byte_ms: 300, ..Settings::default() });
    place.server.reset_counters();
    let writing = async {
        place.wait_for("GetObject", 1).await;
        write(&place, "target/dir/new", "new");
    };
    let (report, ()) = tokio::join!(place.download("p/", "target"), writing);
    let report = report.unwrap();
    assert_eq!(names(&report.failed), ["p/dir"], "{report:?}");
    assert!(
        report.failed.named[0].why.contains("dir/new is in its place, and was changed since the run began")
    );
    assert_eq!(place.files("target").keys().collect::<Vec<_>>(), ["damaged", "dir/a", "dir/new"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_run_may_still_write_keeps_a_directory_whole_and_what_a_dead_one_left_does_not() {
    let mut place = syncing().await;
    place.options.delete = true;
    place.put("p/a", noise(1, 1000)).await;
    // Of which run it is, and whether that lives, nothing says.
    let name = format!("target/a/.f.pail-{}-{}", "0".repeat(16), "1".repeat(8));
    for name in ["target/a/old", "target/a/sub/old", name.as_str()] {
        write(&place, name, "local");
    }
    let report = place.download("p/", "target").await.unwrap();
    assert_eq!(names(&report.failed), ["p/a"], "{report:?}");
    assert!(report.failed.named[0].why.contains("the temporary file of a copy that may be under way"));
    assert_eq!((report.removed.deleted, place.files("target").len()), (0, 3), "{report:?}");

    fs::remove_file(place.at(&name)).unwrap();
    // As a run leaves it that is killed before it has written anything.
    write(&place, &format!("target/a/.f.pail-parts-{}", "0".repeat(16)), "");
    assert_eq!(counts(&place.download("p/", "target").await.unwrap()), (1, 0, 2));
    assert_eq!(place.files("target").into_keys().collect::<Vec<_>>(), ["a"]);
}

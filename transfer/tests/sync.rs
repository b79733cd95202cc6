//! Syncs: what is sent and what is not, by what it is decided, what is deleted and what never is, and what a dry run says.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod support;

use pail_devserver::{FaultAction, Quirks, Settings};
use pail_transfer::{Action, Comparison, Error, Filters, Reason, Report, Selection};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};
use support::{MIB, Place, dry, keys, names, noise, wait_until, write};

const HOUR: Duration = Duration::from_secs(3600);

async fn syncing() -> Place {
    with(Settings::default()).await
}

async fn with(settings: Settings) -> Place {
    let mut place = Place::with(settings).await;
    place.options.comparison = Comparison::SizeAndTime;
    place
}

fn mtime(path: &Path) -> SystemTime {
    fs::metadata(path).unwrap().modified().unwrap()
}

fn set_mtime(path: &Path, time: SystemTime) {
    fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
}

fn counts(report: &Report) -> (u64, u64, u64) {
    assert!(report.is_complete(), "{report:?}");
    (report.copied, report.unchanged, report.removed.deleted)
}

fn excluding(globs: &[&str]) -> Filters {
    Filters::new(globs.iter().map(|glob| (Selection::Exclude, *glob))).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_sync_sends_nothing_in_either_direction_with_a_manifest_or_without() {
    let mut place = syncing().await;
    for index in 0..40 {
        write(&place, &format!("src/d/{index:02}"), noise(index, 1000));
    }
    write(&place, "src/large", noise(99, 12 * MIB));
    assert_eq!(counts(&place.upload("src", "p/").await.unwrap()), (41, 0, 0));
    assert_eq!(counts(&place.download("p/", "target").await.unwrap()), (41, 0, 0));
    let moved =
        ["PutObject", "UploadPart", "CreateMultipartUpload", "GetObject", "DeleteObject", "DeleteObjects"];
    place.server.reset_counters();
    place.options.delete = true;
    assert_eq!(counts(&place.upload("src", "p/").await.unwrap()), (0, 41, 0));
    assert_eq!(counts(&place.download("p/", "target").await.unwrap()), (0, 41, 0));
    assert_eq!(place.count("HeadObject"), 0, "a manifest needs no look at any object");

    // Of another machine: no manifest, but the times that are stored with the objects.
    place.options.state_dir = None;
    assert_eq!(counts(&place.upload("src", "p/").await.unwrap()), (0, 41, 0));
    assert_eq!(counts(&place.download("p/", "target").await.unwrap()), (0, 41, 0));
    assert_eq!(moved.map(|operation| place.count(operation)), [0; 6]);

    // Objects that nobody stored a time with have the one of their writing, down and up again.
    place.put("q/x", noise(1, 1000)).await;
    assert_eq!(counts(&place.download("q/", "other").await.unwrap()), (1, 0, 0));
    assert_eq!(counts(&place.download("q/", "other").await.unwrap()), (0, 1, 0));
    assert_eq!(counts(&place.upload("other", "q/").await.unwrap()), (0, 1, 0));
}

// SEMANTICS: copies.5
#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_was_set_back_hides_no_change() {
    for is_remembered in [true, false] {
        let mut place = syncing().await;
        if !is_remembered {
            place.options.state_dir = None;
        }
        write(&place, "src/a", noise(1, 1000));
        write(&place, "src/b", noise(2, 1000));
        place.upload("src", "p/").await.unwrap();
        place.download("p/", "target").await.unwrap();
        // Written by a clock that is an hour behind: the same size, and an earlier time than that of the last run.
        let earlier = mtime(&place.at("src/a")) - HOUR;
        write(&place, "src/a", noise(3, 1000));
        set_mtime(&place.at("src/a"), earlier);
        assert_eq!(counts(&place.upload("src", "p/").await.unwrap()), (1, 1, 0));
        assert_eq!(place.object("p/a").await.unwrap(), noise(3, 1000));
        // The object carries that earlier time now, and comes down all the same.
        assert_eq!(counts(&place.download("p/", "target").await.unwrap()), (1, 1, 0));
        assert_eq!(place.files("target")["a"], noise(3, 1000));
        // And so does what was written here in the past of what is there.
        write(&place, "target/b", noise(4, 1000));
        set_mtime(&place.at("target/b"), SystemTime::now() - 24 * HOUR);
        assert_eq!(counts(&place.download("p/", "target").await.unwrap()), (1, 1, 0));
        assert_eq!(place.files("target")["b"], noise(2, 1000));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_extra_in_a_directory_goes_and_nothing_else() {
    let mut place = syncing().await;
    for key in ["p/a", "p/d/x", "p/c", "p/c/below", "p/e//f", "p/kept/", "p/../up"] {
        place.put(key, if key.ends_with('/') { "" } else { "x" }).await;
    }
    place.put("p/log/new.log", "x").await;
    write(&place, "outside/precious", "precious");
    for name in ["extra", "gone/deep/er/file", "d/extra", "log/a.log", "log/b.txt", "e/f", "up", "kept/extra"]
    {
        write(&place, &format!("target/{name}"), "local");
    }
    fs::create_dir_all(place.at("target/empty")).unwrap();
    symlink(place.at("outside"), place.at("target/link")).unwrap();
    symlink(place.at("outside/precious"), place.at("target/d/file-link")).unwrap();
    place.options.delete = true;
    place.options.filters = excluding(&["*.log"]);

    let report = place.download("p/", "target").await.unwrap();
    // c is the directory of c/below, and two keys are no files: their likes stay here.
    assert_eq!(names(&report.skipped), ["p/../up", "p/c", "p/e//f"]);
    assert_eq!((report.copied, report.removed.failed.count), (3, 0), "{report:?}");
    let left: Vec<String> = place.files("target").into_keys().collect();
    assert_eq!(left, ["a", "c/below", "d/x", "e/f", "log/a.log", "up"]);
    assert_eq!(report.removed.deleted, 7, "five files and two links: {report:?}");
    assert!(!place.at("target/gone").exists() && place.at("target/empty").is_dir());
    assert!(place.at("target/kept").is_dir(), "the bucket has it");
    assert!(fs::symlink_metadata(place.at("target/link")).is_err());
    assert_eq!(fs::read(place.at("outside/precious")).unwrap(), b"precious");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_extra_in_a_bucket_goes_and_nothing_else() {
    let mut place = with(Settings { list_page_max: 3, ..Settings::default() }).await;
    write(&place, "src/a", "a");
    write(&place, "src/d/x", "x");
    symlink("nowhere", place.at("src/dangling")).unwrap();
    symlink("..", place.at("src/d/loop")).unwrap();
    for key in
        ["a", "extra", "gone/x", "d/extra", "log/a.log", "dangling", "dangling/below", "d/loop/y", "old/"]
    {
        place.put(&format!("p/{key}"), "there").await;
    }
    for key in ["p/", "p/d/", "pother", "p", "q/x"] {
        place.put(key, "").await;
    }
    place.options.delete = true;
    place.options.filters = excluding(&["*.log"]);
    let report = place.upload("src", "p/").await.unwrap();
    assert_eq!((report.copied, report.removed.deleted, report.skipped.count), (2, 4, 2), "{report:?}");
    let stay =
        ["p", "p/", "p/a", "p/d/", "p/d/loop/y", "p/d/x", "p/dangling", "p/dangling/below", "p/log/a.log"];
    assert_eq!(keys(&place).await, [&stay[..], &["pother", "q/x"]].concat());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_with_nothing_to_copy_deletes_nothing() {
    let mut place = syncing().await;
    place.options.delete = true;
    place.put("marker/", "").await;
    place.put("full/a", "x").await;
    write(&place, "target/mine", "x");
    let error = place.download("marker/", "target").await;
    assert!(matches!(error, Err(Error::NothingToKeep { .. })), "{error:?}");
    place.options.filters = excluding(&["a"]);
    let error = place.download("full/", "target").await;
    assert!(matches!(error, Err(Error::NothingToKeep { .. })), "{error:?}");
    assert_eq!(place.files("target").len(), 1);
    write(&place, "source/a", "x");
    symlink("nowhere", place.at("source/link")).unwrap();
    let error = place.upload("source", "full/").await;
    assert!(matches!(error, Err(Error::NothingToKeep { .. })), "{error:?}");
    assert_eq!(keys(&place).await, ["full/a", "marker/"]);
}

// SEMANTICS: copies.6
#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_to_the_target_meanwhile_stays() {
    let mut place = syncing().await;
    place.options.delete = true;
    place.put("p/a", "x").await;
    write(&place, "target/extra", "x");
    write(&place, "target/log", "x");
    place.strike("GetObject", FaultAction::Delay { ms: 2000 });
    let (report, ()) = tokio::join!(place.download("p/", "target"), async {
        place.wait_for("GetObject", 1).await;
        // The file system's clock may have the same time for some milliseconds.
        let now = || {
            write(&place, "clock", "x");
            let found = fs::metadata(place.at("clock")).unwrap();
            (found.ctime(), found.ctime_nsec())
        };
        let began = now();
        wait_until("the clock goes on", || now() > began).await;
        write(&place, "target/checkpoint", "x");
        write(&place, "target/log", "more");
    });
    assert_eq!(counts(&report.unwrap()), (1, 0, 1));
    assert_eq!(place.files("target").into_keys().collect::<Vec<_>>(), ["a", "checkpoint", "log"]);
}

// SEMANTICS: copies.6
#[tokio::test(flavor = "multi_thread")]
async fn what_others_put_into_the_bucket_while_files_are_looked_for_stays() {
    let mut place = syncing().await;
    place.options.delete = true;
    write(&place, "source/a", "x");
    for key in ["p/extra", "p/replaced"] {
        place.put(key, "x").await;
    }
    // The files are looked for between the first listing, whose answer is late, and the second.
    place.strike("ListObjectsV2", FaultAction::Delay { ms: 2000 });
    let (report, ()) = tokio::join!(place.upload("source", "p/"), async {
        place.wait_for("ListObjectsV2", 1).await;
        assert_eq!(keys(&place).await, ["p/extra", "p/replaced"]);
        place.put("p/theirs", "x").await;
        place.put("p/replaced", "theirs").await;
    });
    assert_eq!(counts(&report.unwrap()), (1, 0, 1));
    assert_eq!(keys(&place).await, ["p/a", "p/replaced", "p/theirs"]);
}

// SEMANTICS: copies.6
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_deleted_where_not_everything_was_copied() {
    let mut place = syncing().await;
    place.options.delete = true;
    place.put("p/ok", "ok").await;
    place.put("p/sub/x", "x").await;
    // A link in its place is not followed, so that p/sub/x cannot be copied.
    write(&place, "target/extra", "local");
    fs::create_dir_all(place.at("outside")).unwrap();
    symlink(place.at("outside"), place.at("target/sub")).unwrap();
    let report = place.download("p/", "target").await.unwrap();
    assert_eq!((report.failed.count, report.removed.deleted, report.removed.is_withheld), (1, 0, true));
    assert!(place.at("target/extra").exists());
    assert_eq!(fs::read_dir(place.at("outside")).unwrap().count(), 0);

    write(&place, "src/refused", "x");
    write(&place, "src/taken", "x");
    place.put("q/extra", "there").await;
    place.options.connections = 1;
    place.strike("PutObject", FaultAction::AccessDenied);
    let report = place.upload("src", "q/").await.unwrap();
    assert_eq!((report.copied, report.failed.count, report.removed.is_withheld), (1, 1, true), "{report:?}");
    assert!(place.object("q/extra").await.is_some());
    let report = place.upload("src", "q/").await.unwrap();
    assert_eq!(counts(&report), (1, 1, 1));

    // A source in which nothing is is a mistake, as a mount point is that nothing is mounted at.
    fs::create_dir_all(place.at("empty/dir")).unwrap();
    let refused = place.upload("empty", "q/").await;
    assert!(matches!(refused, Err(Error::NothingToKeep { .. })), "{refused:?}");
    let refused = place.download("nothing/", "target").await;
    assert!(matches!(refused, Err(Error::NothingThere { .. })), "{refused:?}");
    assert!(place.at("target/extra").exists() && place.object("q/taken").await.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_extra_object_that_is_replaced_meanwhile_stays_and_is_told() {
    // Of a store that enforces conditions of single deletions alone.
    let quirks = Quirks { ignore_bulk_delete_conditions: true, ..Quirks::default() };
    let mut place = with(Settings { quirks, ..Settings::default() }).await;
    place.options.delete = true;
    place.options.connections = 1;
    write(&place, "src/a", "a");
    for key in ["p/x", "p/y", "p/z"] {
        place.put(key, "old").await;
    }
    place.store.capabilities().await.unwrap();
    place.server.reset_counters();
    // So many at a time.
    place.strike("DeleteObject", FaultAction::Delay { ms: 3000 });
    place.strike("DeleteObject", FaultAction::Delay { ms: 3000 });
    let (report, ()) = tokio::join!(place.upload("src", "p/"), async {
        place.wait_for("DeleteObject", 2).await;
        place.put("p/z", "new").await;
    });
    let removed = report.unwrap().removed;
    assert_eq!((removed.deleted, names(&removed.failed)), (2, vec!["p/z"]));
    assert!(removed.failed.named[0].why.contains("replaced"), "{removed:?}");
    assert_eq!(place.object("p/z").await.unwrap(), "new");
    assert_eq!(place.count("DeleteObjects"), 0, "it would have deleted what is new");
}

#[tokio::test(flavor = "multi_thread")]
async fn extra_objects_go_by_one_request_but_for_those_replaced_meanwhile() {
    let mut place = syncing().await;
    place.options.delete = true;
    write(&place, "src/a", "a");
    for key in ["p/x", "p/y", "p/z"] {
        place.put(key, "old").await;
    }
    place.store.capabilities().await.unwrap();
    place.server.reset_counters();
    // The listing that the extra ones are of is there, and the request for them not yet sent.
    place.strike("PutObject", FaultAction::Delay { ms: 3000 });
    let (report, ()) = tokio::join!(place.upload("src", "p/"), async {
        place.wait_for("PutObject", 1).await;
        place.put("p/z", "new").await;
    });
    let removed = report.unwrap().removed;
    assert_eq!(place.object("p/z").await.unwrap(), "new");
    assert_eq!((removed.deleted, names(&removed.failed)), (2, vec!["p/z"]), "{removed:?}");
    assert_eq!((place.count("DeleteObjects"), place.count("DeleteObject")), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_says_why_and_changes_nothing() {
    let mut place = syncing().await;
    let all = ["same", "size", "version", "touched"];
    for (seed, name) in (0..).zip(all) {
        place.put(&format!("p/{name}"), noise(seed, 1000)).await;
    }
    place.download("p/", "target").await.unwrap();
    place.put("p/new/file", "new").await;
    place.put("p/dir/", "").await;
    place.put("p/size", noise(8, 999)).await;
    place.put("p/version", noise(9, 1000)).await;
    set_mtime(&place.at("target/touched"), SystemTime::UNIX_EPOCH);
    write(&place, "target/extra/file", "local");
    place.options.delete = true;
    let (before, state) = (place.files("target"), place.files("state"));
    let told = dry(&mut place);
    let report = place.download("p/", "target").await.unwrap();
    let expected = [
        ("p/extra/file", Action::Delete, Reason::Extra),
        ("p/new/file", Action::Copy, Reason::New),
        ("p/size", Action::Copy, Reason::SizeDiffers),
        ("p/touched", Action::Copy, Reason::TimeDiffers),
        ("p/version", Action::Copy, Reason::VersionDiffers),
    ];
    let expected = expected.map(|(key, action, why)| (key.to_owned(), (action, why)));
    assert_eq!(*told.lock().unwrap(), BTreeMap::from(expected));
    assert_eq!(counts(&report), (4, 1, 1));
    assert!(
        place.files("target") == before && place.files("state") == state && !place.at("target/dir").exists()
    );
    told.lock().unwrap().clear();
    place.download("p/", "not/there").await.unwrap();
    assert!(!place.at("not").exists());

    told.lock().unwrap().clear();
    // Times that servers tell may be whole seconds.
    set_mtime(&place.at("target/version"), SystemTime::UNIX_EPOCH);
    let before = keys(&place).await;
    place.server.reset_counters();
    let report = place.upload("target", "p/").await.unwrap();
    let told = told.lock().unwrap().clone();
    assert_eq!(told["p/extra/file"], (Action::Copy, Reason::New));
    assert_eq!(told["p/size"], (Action::Copy, Reason::SizeDiffers));
    assert_eq!(told["p/touched"], (Action::Copy, Reason::TimeDiffers));
    assert_eq!(told["p/new/file"], (Action::Delete, Reason::Extra));
    assert!(!told.contains_key("p/same"));
    assert_eq!(counts(&report), (4, 1, 2));
    assert_eq!(keys(&place).await, before);
    let writes = ["PutObject", "DeleteObject", "DeleteObjects", "CreateMultipartUpload"];
    assert_eq!(writes.map(|operation| place.count(operation)), [0; 4]);
}

#[tokio::test(flavor = "multi_thread")]
async fn checksums_see_what_sizes_and_times_hide_and_nothing_else() {
    for md5_etags in [false, true] {
        let mut place = with(Settings { md5_etags, ..Settings::default() }).await;
        place.options.comparison = Comparison::Content;
        write(&place, "src/small", noise(1, 1000));
        write(&place, "src/large", noise(2, 12 * MIB));
        place.upload("src", "p/").await.unwrap();
        place.download("p/", "target").await.unwrap();
        place.server.reset_counters();
        // Other times, the same bytes.
        for name in ["src/small", "target/large"] {
            set_mtime(&place.at(name), SystemTime::UNIX_EPOCH);
        }
        assert_eq!(counts(&place.upload("src", "p/").await.unwrap()), (0, 2, 0), "{md5_etags}");
        assert_eq!(counts(&place.download("p/", "target").await.unwrap()), (0, 2, 0), "{md5_etags}");
        assert_eq!(
            (place.count("GetObject"), place.count("PutObject"), place.count("UploadPart")),
            (0, 0, 0)
        );
        // The same times, other bytes.
        for (name, len) in [("small", 1000), ("large", 12 * MIB)] {
            let path = format!("target/{name}");
            let time = mtime(&place.at(&path));
            let mut bytes = fs::read(place.at(&path)).unwrap();
            assert_eq!(bytes.len(), len);
            bytes[len - 1] ^= 1;
            write(&place, &path, bytes);
            set_mtime(&place.at(&path), time);
        }
        assert_eq!(counts(&place.download("p/", "target").await.unwrap()), (2, 0, 0), "{md5_etags}");
        assert!(place.files("target") == place.files("src"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_store_has_no_checksum_of_is_copied_and_counted() {
    let mut settings = Settings { md5_etags: true, ..Settings::default() };
    settings.quirks.no_checksums = true;
    let mut place = with(settings).await;
    write(&place, "src/small", noise(1, 1000));
    write(&place, "src/large", noise(2, 12 * MIB));
    place.upload("src", "p/").await.unwrap();
    place.download("p/", "target").await.unwrap();
    place.options.comparison = Comparison::Content;
    for report in [place.download("p/", "target").await.unwrap(), place.upload("src", "p/").await.unwrap()] {
        // One request made the small one, so that its ETag is its MD5.
        assert_eq!((counts(&report), report.not_comparable), ((1, 1, 0), 1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_filters_leave_out_is_neither_copied_nor_forgotten() {
    let mut place = syncing().await;
    for name in ["a.txt", "a.bin", "cache/x", "cache/y.txt"] {
        write(&place, &format!("src/{name}"), name);
    }
    symlink("nowhere", place.at("src/cache/dangling")).unwrap();
    place.options.filters = Filters::new([(Selection::Exclude, "*"), (Selection::Include, "*.txt")]).unwrap();
    assert_eq!(counts(&place.upload("src", "p/").await.unwrap()), (2, 0, 0));
    assert_eq!(keys(&place).await, ["p/a.txt", "p/cache/y.txt"]);
    place.put("p/b.bin", "b").await;
    assert_eq!(counts(&place.download("p/", "target").await.unwrap()), (2, 0, 0));
    place.options.filters = excluding(&["*.txt"]);
    assert_eq!(counts(&place.download("p/", "target").await.unwrap()), (1, 0, 0));
    // The manifest still has what that run was not about.
    place.options.filters = Filters::default();
    place.options.comparison = Comparison::Manifest;
    assert_eq!(counts(&place.download("p/", "target").await.unwrap()), (0, 3, 0));
}

fn ctime(path: &Path) -> i64 {
    let found = fs::metadata(path).unwrap();
    found.ctime() * 1_000_000_000 + found.ctime_nsec()
}

/// Writes other bytes of the same length and sets the time back, as the change time alone tells.
async fn rewrite_unseen(path: &Path) {
    let (before, time) = (ctime(path), mtime(path));
    let mut bytes = fs::read(path).unwrap();
    bytes[0] ^= 1;
    // Where the clock of the file system is coarse, it takes a while until the time is another.
    wait_until("the file system's clock goes on", || {
        fs::write(path, &bytes).unwrap();
        set_mtime(path, time);
        ctime(path) != before
    })
    .await;
}

// SEMANTICS: copies.5
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_was_rewritten_under_its_old_time_is_noticed_and_one_that_was_only_touched_is_not_sent() {
    for comparison in [Comparison::Manifest, Comparison::SizeAndTime] {
        let mut place = syncing().await;
        place.options.comparison = comparison;
        for index in 0..3 {
            write(&place, &format!("src/{index}"), noise(index, 1000));
        }
        assert_eq!(counts(&place.upload("src", "p/").await.unwrap()), (3, 0, 0));
        assert_eq!(counts(&place.download("p/", "target").await.unwrap()), (3, 0, 0));
        assert_eq!(counts(&place.download("p/", "target").await.unwrap()), (0, 3, 0));
        rewrite_unseen(&place.at("target/0")).await;
        fs::hard_link(place.at("target/1"), place.at("linked")).unwrap();
        assert_eq!(counts(&place.download("p/", "target").await.unwrap()), (1, 2, 0), "{comparison:?}");
        assert_eq!(place.files("target")["0"], noise(0, 1000));

        rewrite_unseen(&place.at("src/2")).await;
        fs::hard_link(place.at("src/1"), place.at("linked-too")).unwrap();
        place.server.reset_counters();
        assert_eq!(counts(&place.upload("src", "p/").await.unwrap()), (1, 2, 0), "{comparison:?}");
        assert_eq!(place.object("p/2").await.unwrap(), fs::read(place.at("src/2")).unwrap());
        // What was compared is noted: the next run does not read it again.
        fs::set_permissions(place.at("src/0"), fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(counts(&place.upload("src", "p/").await.unwrap()), (0, 3, 0), "{comparison:?}");
        place.server.reset_counters();
        assert_eq!(counts(&place.upload("src", "p/").await.unwrap()), (0, 3, 0), "{comparison:?}");
        assert_eq!(place.count("PutObject"), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_touched_and_has_no_checksum_to_compare_by_goes_by_size_and_time() {
    let mut place =
        with(Settings { quirks: Quirks { no_checksums: true, ..Quirks::default() }, ..Settings::default() })
            .await;
    write(&place, "src/a", noise(1, 1000));
    place.upload("src", "p/").await.unwrap();
    assert_eq!(counts(&place.download("p/", "target").await.unwrap()), (1, 0, 0));
    let (file, link) = (place.at("target/a"), place.at("linked"));
    let before = ctime(&file);
    wait_until("the file system's clock goes on", || {
        let _ = fs::remove_file(&link);
        fs::hard_link(&file, &link).unwrap();
        ctime(&file) != before
    })
    .await;
    place.server.reset_counters();
    let report = place.download("p/", "target").await.unwrap();
    assert_eq!((counts(&report), report.touched), ((0, 1, 0), 1));
    assert_eq!(place.count("GetObject"), 0);
    place.options.comparison = Comparison::Manifest;
    let report = place.download("p/", "target").await.unwrap();
    assert_eq!((counts(&report), report.touched), ((0, 1, 0), 0), "it is told once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_copy_does_not_go_by_what_a_sync_took_from_times() {
    let mut place = syncing().await;
    place.put("p/a", noise(1, 1000)).await;
    place.put("q/a", noise(2, 1000)).await;
    // As another machine left them: both with one size and one time.
    write(&place, "target/a", noise(1, 1000));
    write(&place, "up/a", noise(1, 1000));
    let listed = place.store.list(pail_store::ListRequest { prefix: "q/".to_owned(), ..Default::default() });
    let time = listed.await.unwrap().objects[0].last_modified;
    for name in ["target/a", "up/a"] {
        set_mtime(&place.at(name), time);
    }
    assert_eq!(counts(&place.download("q/", "target").await.unwrap()), (0, 1, 0), "a sync goes by times");
    assert_eq!(counts(&place.download("q/", "target").await.unwrap()), (0, 1, 0));
    assert_eq!(counts(&place.upload("up", "q/").await.unwrap()), (0, 1, 0));
    place.options.comparison = Comparison::Manifest;
    assert_eq!(counts(&place.upload("up", "q/").await.unwrap()), (1, 0, 0), "what nobody sent is sent");
    assert_eq!(place.object("q/a").await.unwrap(), noise(1, 1000));
    place.put("q/a", noise(2, 1000)).await;
    assert_eq!(counts(&place.download("q/", "target").await.unwrap()), (1, 0, 0));
    assert_eq!(place.files("target")["a"], noise(2, 1000));
    place.options.comparison = Comparison::SizeAndTime;
    assert_eq!(counts(&place.download("q/", "target").await.unwrap()), (0, 1, 0));
}

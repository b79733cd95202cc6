//! Downloads: what arrives, what is not sent again, and what happens when the bucket changes meanwhile.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod support;

use pail_devserver::{Fault, FaultAction, Settings};
use pail_store::RawKey;
use pail_transfer::{Error, Report, Source};
use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, SystemTime};
use support::{MIB, Place, names, noise, wait_until};

const STALLED: FaultAction = FaultAction::Stall { after_bytes: 1_000_000, for_ms: None };

#[tokio::test(flavor = "multi_thread")]
async fn a_prefix_becomes_a_directory_byte_for_byte() {
    // Small pages, so that what belongs together is listed apart.
    let place = Place::with(Settings { list_page_max: 3, ..Settings::default() }).await;
    let sizes = [0, 1, MIB - 1, MIB, MIB + 1, 5 * MIB, 5 * MIB + 1, 23 * MIB + 7];
    let odd = [
        "a b",
        "a+b%41",
        "ü/ö",
        "new\nline",
        "tab\t",
        "-rf",
        "~",
        ".hidden",
        "quote'\"",
        "\u{7f}",
        "sub/deep/er/x",
    ];
    let mut expected = BTreeMap::new();
    for (seed, size) in (0..).zip(sizes) {
        expected.insert(format!("size-{size}"), noise(seed, size).to_vec());
    }
    for (seed, name) in (100..).zip(odd) {
        expected.insert(name.to_owned(), noise(seed, 1000).to_vec());
    }
    for (name, bytes) in &expected {
        place.put(&format!("run/{name}"), bytes.clone()).await;
    }
    place.put("run/", "").await;
    place.put("run/empty/", "").await;
    place.put("runner", "another").await;
    place.put("run", "beside").await;
    let report = place.download("run/", "target").await.unwrap();
    assert!(report.is_complete(), "{report:?}");
    assert_eq!(report.copied, expected.len() as u64);
    assert_eq!(report.copied_bytes, expected.values().map(|bytes| bytes.len() as u64).sum::<u64>());
    assert!(place.files("target") == expected, "byte for byte, and nothing else");
    assert!(place.at("target/empty").is_dir());

    let key = RawKey::new("run/ü/ö").unwrap();
    let written = place.store.head(&key).await.unwrap().last_modified;
    let mtime = fs::metadata(place.at("target/ü/ö")).unwrap().modified().unwrap();
    // The head of an answer knows seconds, a listing more.
    let difference = mtime.duration_since(written).unwrap_or_else(|error| error.duration());
    assert!(difference < Duration::from_secs(1), "{difference:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_run_asks_for_no_bytes_and_a_changed_side_for_its_own() {
    let mut place = Place::new().await;
    for index in 0..30 {
        place.put(&format!("d/{index:02}"), noise(index, 10_000)).await;
    }
    place.download("d/", "target").await.unwrap();
    let again = |report: Report| (report.copied, report.unchanged);
    place.server.reset_counters();
    assert_eq!(again(place.download("d/", "target").await.unwrap()), (0, 30));
    assert_eq!((place.count("GetObject"), place.count("HeadObject")), (0, 0));

    // The same size on both sides, each time: changed there, changed here, gone here, its time touched here.
    place.put("d/00", noise(100, 10_000)).await;
    fs::write(place.at("target/01"), noise(101, 10_000)).unwrap();
    fs::remove_file(place.at("target/02")).unwrap();
    let file = fs::File::options().write(true).open(place.at("target/03")).unwrap();
    file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1)).unwrap();
    assert_eq!(again(place.download("d/", "target").await.unwrap()), (4, 26));
    assert_eq!(place.files("target")["00"], noise(100, 10_000));
    for index in 1..30 {
        assert_eq!(place.files("target")[&format!("{index:02}")], noise(index, 10_000), "{index}");
    }

    // Without a manifest: by size and time.
    place.options.state_dir = None;
    assert_eq!(again(place.download("d/", "target").await.unwrap()), (0, 30));
    fs::write(place.at("target/05"), noise(105, 10_000)).unwrap();
    assert_eq!(again(place.download("d/", "target").await.unwrap()), (1, 29));
    // What the bucket no longer has stays here.
    place.store.delete(&RawKey::new("d/06").unwrap(), Default::default()).await.unwrap();
    place.download("d/", "target").await.unwrap();
    assert_eq!(place.files("target").len(), 30);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_object_of_the_same_size_and_second_is_not_taken_for_what_is_there() {
    let place = Place::new().await;
    for _ in 0..2 {
        place.put("one/f", "A".repeat(100)).await;
        place.put("two/f", "B".repeat(100)).await;
    }
    for (prefix, expected) in [("one/", "A"), ("two/", "B")] {
        let report = place.download(prefix, "target").await.unwrap();
        assert_eq!((report.copied, report.unchanged), (1, 0), "{prefix}");
        assert_eq!(place.files("target")["f"], expected.repeat(100).into_bytes());
    }
    // Without a memory of the last run, what has the bytes is not fetched.
    fs::remove_dir_all(place.options.state_dir.as_ref().unwrap()).unwrap();
    let report = place.download("two/", "target").await.unwrap();
    assert_eq!((report.copied, report.unchanged), (0, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_a_prefix_and_nothing_are_told_apart() {
    let place = Place::new().await;
    place.put("foo", "the object").await;
    place.put("foobar", "another").await;
    place.put("both", "beside").await;
    place.put("both/x", "below").await;
    place.put("only/x", "below").await;
    let object = |key: &str| Source::Object(RawKey::new(key).unwrap());
    let either = |name: &str| Source::of_uri_path(name);

    place.download_of(&object("foo"), "new/dir/file").await.unwrap();
    assert_eq!(fs::read(place.at("new/dir/file")).unwrap(), b"the object");
    place.server.reset_counters();
    assert_eq!(place.download_of(&object("foo"), "new/dir/file").await.unwrap().unchanged, 1);
    assert_eq!(place.count("GetObject"), 0);

    place.download_of(&either("foo"), "either").await.unwrap();
    assert_eq!(fs::read(place.at("either")).unwrap(), b"the object");
    let report = place.download_of(&either("both"), "both").await.unwrap();
    assert_eq!((report.copied, names(&report.skipped)), (1, vec!["both"]));
    place.download_of(&either("only/"), "only").await.unwrap();
    assert_eq!(place.files("only").len(), 1);

    let error = place.download_of(&object("only"), "x").await.unwrap_err();
    assert!(matches!(&error, Error::IsPrefix { uri } if uri == "s3://bucket/only"), "{error}");
    for nothing in [object("fo"), either("fo"), either("foo/"), Source::Prefix("fo/".into())] {
        let error = place.download_of(&nothing, "x").await.unwrap_err();
        assert!(matches!(error, Error::NothingThere { .. }), "{nothing:?}: {error}");
    }
    assert!(!place.at("x").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_object_is_fetched_anew_and_never_mixed() {
    let mut place = Place::new().await;
    place.options.connections = 1;
    let (old, new) = (noise(1, 15 * MIB), noise(2, 14 * MIB));
    place.put("d/o", old).await;
    place.strike("GetObject", STALLED);
    let (report, ()) = tokio::join!(place.download("d/", "target"), async {
        place.wait_for("GetObject", 1).await;
        place.put("d/o", new.clone()).await;
    });
    let report = report.unwrap();
    assert_eq!((report.copied, report.copied_bytes), (1, new.len() as u64));
    assert!(place.files("target") == BTreeMap::from([("o".to_owned(), new.to_vec())]));
    place.server.reset_counters();
    assert_eq!(place.download("d/", "target").await.unwrap().unchanged, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_is_replaced_twice_is_named_and_the_file_stays() {
    let mut place = Place::new().await;
    place.options.connections = 1;
    place.put("d/o", noise(1, 15 * MIB)).await;
    place.put("d/p", "p").await;
    fs::create_dir(place.at("target")).unwrap();
    fs::write(place.at("target/o"), "as it was").unwrap();
    // The first request stalls; the second resumes it, in vain; the third starts over, and stalls.
    let of_o = || Fault { key_contains: Some("d/o".into()), ..Fault::once(Some("GetObject"), STALLED) };
    place.server.inject(of_o());
    place.server.inject(Fault { skip: 1, ..of_o() });
    let of_key = |place: &Place| {
        place.server.requests().iter().filter(|it| it.operation == "GetObject" && it.key == "d/o").count()
    };
    let (report, ()) = tokio::join!(place.download("d/", "target"), async {
        for (seed, requests) in [(2, 1), (3, 3)] {
            wait_until("the object is asked for", || of_key(&place) >= requests).await;
            place.put("d/o", noise(seed, 15 * MIB)).await;
        }
    });
    let report = report.unwrap();
    assert_eq!((report.copied, names(&report.failed)), (1, vec!["d/o"]));
    assert!(report.failed.named[0].why.contains("replaced"), "{report:?}");
    let files = place.files("target");
    assert_eq!(files["o"], b"as it was");
    assert_eq!(files.len(), 2, "no temporary file: {:?}", files.keys());
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_on_the_way_change_nothing_in_what_arrives() {
    let place = Place::new().await;
    let bytes = noise(1, 22 * MIB);
    place.put("d/large", bytes.clone()).await;
    place.put("d/small", "small").await;
    for action in [
        FaultAction::SlowDown,
        FaultAction::CutBody { after_bytes: 2_000_001 },
        FaultAction::TruncateBody { after_bytes: 3 },
        FaultAction::InternalError,
        FaultAction::Disconnect,
        STALLED,
    ] {
        place.strike("GetObject", action);
    }
    place.strike("ListObjectsV2", FaultAction::SlowDown);
    let report = place.download("d/", "target").await.unwrap();
    assert_eq!((report.copied, report.is_complete()), (2, true));
    assert!(place.server.waiting_faults().is_empty());
    assert!(place.files("target")["large"] == bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_may_not_be_read_is_named_and_a_bucket_of_them_is_an_error() {
    let place = Place::new().await;
    for key in ["d/a", "d/b", "d/c"] {
        place.put(key, key.to_owned()).await;
    }
    let deny = |part: &str, times| Fault {
        key_contains: Some(part.to_owned()),
        times,
        ..Fault::once(Some("GetObject"), FaultAction::AccessDenied)
    };
    place.server.inject(deny("d/b", 10));
    let report = place.download("d/", "target").await.unwrap();
    assert_eq!((report.copied, names(&report.failed)), (2, vec!["d/b"]));
    place.server.clear_faults();
    place.server.inject(deny("d/", 100));
    let error = place.download("d/", "other").await.unwrap_err();
    assert!(
        matches!(&error, Error::Store { source, .. } if source.kind == pail_store::ErrorKind::Denied),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_stopped_leaves_neither_a_temporary_file_nor_half_a_final_one() {
    let place = Place::new().await;
    place.put("d/o", noise(1, 15 * MIB)).await;
    fs::create_dir(place.at("target")).unwrap();
    fs::write(place.at("target/o"), "as it was").unwrap();
    // Nothing arrives that a later run could go on with.
    let silent = FaultAction::Stall { after_bytes: 0, for_ms: None };
    place.server.inject(Fault { times: 100, ..Fault::once(Some("GetObject"), silent) });
    let (done, ()) = tokio::join!(place.download("d/", "target"), async {
        wait_until("a temporary file is there", || place.files("target").len() == 2).await;
        assert_eq!(fs::read(place.at("target/o")).unwrap(), b"as it was");
        place.options.stop.cancel();
    });
    assert!(matches!(done, Err(Error::Stopped)), "{done:?}");
    assert_eq!(place.files("target"), BTreeMap::from([("o".to_owned(), b"as it was".to_vec())]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_arrived_before_a_run_was_stopped_is_not_sent_again() {
    let place = Place::new().await;
    for index in 0..20 {
        place.put(&format!("d/{index:02}"), noise(index, 1000)).await;
    }
    place.put("d/last", noise(1, 15 * MIB)).await;
    let stall =
        Fault { key_contains: Some("last".into()), times: 100, ..Fault::once(Some("GetObject"), STALLED) };
    place.server.inject(stall);
    let (done, ()) = tokio::join!(place.download("d/", "target"), async {
        // They and the temporary one.
        wait_until("all small files are there", || place.files("target").len() == 21).await;
        place.options.stop.cancel();
    });
    assert!(matches!(done, Err(Error::Stopped)), "{done:?}");
    place.server.clear_faults();
    let again = Place {
        options: pail_transfer::Options { stop: Default::default(), ..place.options.clone() },
        ..place
    };
    again.server.reset_counters();
    let report = again.download("d/", "target").await.unwrap();
    assert_eq!((report.copied, report.unchanged), (1, 20));
}

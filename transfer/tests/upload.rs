//! Uploads: what arrives, what is not sent again, and files that change meanwhile.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod support;

use bytes::Bytes;
use pail_devserver::{Fault, FaultAction};
use pail_store::{RawKey, StoreKind};
use pail_transfer::{Error, Report, UploadSource};
use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, SystemTime};
use support::{MIB, Place, bucket, names, noise};

fn write(place: &Place, name: &str, bytes: &[u8]) {
    let path = place.at(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

fn counts(report: &Report) -> (u64, u64) {
    (report.copied, report.unchanged)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_up_comes_down_with_names_times_and_modes() {
    let place = Place::new().await;
    let odd = [
        "a b",
        "a+b%41",
        "ü/ö",
        "new\nline",
        "tab\t",
        "-rf",
        "~",
        ".hidden",
        "a\\b",
        "deep/er/and/deeper",
        "\u{1}",
    ];
    for (seed, name) in (0..).zip(odd) {
        write(&place, &format!("src/{name}"), &noise(seed, 1000));
    }
    for (seed, size) in (50..).zip([0, 1, 5 * MIB, 5 * MIB + 1, 17 * MIB + 3]) {
        write(&place, &format!("src/size-{size}"), &noise(seed, size));
    }
    let run = place.at("src/a b");
    fs::set_permissions(&run, fs::Permissions::from_mode(0o750)).unwrap();
    let time = SystemTime::UNIX_EPOCH + Duration::new(1_000_000_000, 123_456_789);
    fs::File::options().write(true).open(&run).unwrap().set_modified(time).unwrap();

    let up = place.upload("src", "p/").await.unwrap();
    assert!(up.is_complete() && up.copied == 16, "{up:?}");
    assert_eq!(place.object("p/new\nline").await.unwrap(), noise(3, 1000));
    let down = place.download("p/", "back").await.unwrap();
    assert!(down.is_complete() && down.copied == 16, "{down:?}");
    assert!(place.files("src") == place.files("back"));
    let found = fs::metadata(place.at("back/a b")).unwrap();
    assert_eq!((found.modified().unwrap(), found.mode() & 0o777), (time, 0o750));
}

#[tokio::test(flavor = "multi_thread")]
async fn times_and_modes_come_back_also_where_they_do_not_come_with_the_bytes() {
    let place = Place::new().await;
    let store = bucket(&place, StoreKind::Gcs, "other").await;
    let place = Place { store, ..place };
    let sizes = [0, 1000, 2 * MIB, 12 * MIB];
    let of = |path: &Path| {
        let found = fs::metadata(path).unwrap();
        (found.modified().unwrap(), found.mode() & 0o777)
    };
    for (seed, size) in (0..).zip(sizes) {
        let path = place.at(&format!("src/{size}"));
        write(&place, &format!("src/{size}"), &noise(seed, size));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let time = SystemTime::UNIX_EPOCH + Duration::new(1_000_000_000 + seed, 123_456_789);
        fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
    }
    assert_eq!(counts(&place.upload("src", "p/").await.unwrap()), (4, 0));
    assert_eq!(counts(&place.download("p/", "back").await.unwrap()), (4, 0));
    assert!(place.files("src") == place.files("back"));
    for size in sizes {
        let (sent, back) = (place.at(&format!("src/{size}")), place.at(&format!("back/{size}")));
        assert_eq!(of(&back), of(&sent), "{size}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_run_sends_only_what_changed_on_either_side() {
    let place = Place::new().await;
    // More than are looked at one by one.
    for index in 0..50 {
        write(&place, &format!("src/{index:02}"), &noise(index, 1000));
    }
    write(&place, "src/large", &noise(99, 12 * MIB));
    assert_eq!(counts(&place.upload("src", "p/").await.unwrap()), (51, 0));
    let sent = |place: &Place| (place.count("PutObject"), place.count("UploadPart"));
    place.server.reset_counters();
    assert_eq!(counts(&place.upload("src", "p/").await.unwrap()), (0, 51));
    assert_eq!(sent(&place), (0, 0));

    write(&place, "src/00", &noise(100, 1000));
    write(&place, "src/new", b"new");
    place.store.delete(&RawKey::new("p/01").unwrap(), Default::default()).await.unwrap();
    place.put("p/02", noise(102, 1000)).await;
    place.server.reset_counters();
    assert_eq!(counts(&place.upload("src", "p/").await.unwrap()), (4, 48));
    assert_eq!(sent(&place), (4, 0));
    for (name, seed) in [("00", 100), ("01", 1), ("02", 2)] {
        assert_eq!(place.object(&format!("p/{name}")).await.unwrap(), noise(seed, 1000), "{name}");
    }
    // To another place everything is sent.
    assert_eq!(counts(&place.upload("src", "q/").await.unwrap()), (52, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_changes_while_it_is_sent_is_sent_as_it_is_then() {
    let place = Place::new().await;
    let (old, new) = (noise(1, 12 * MIB), noise(2, 12 * MIB));
    write(&place, "src/f", &old);
    place.strike("UploadPart", FaultAction::Delay { ms: 3000 });
    let (report, ()) = tokio::join!(place.upload("src", "p/"), async {
        place.wait_for("UploadPart", 1).await;
        // In place: a file that is replaced by a rename is sent as it was, which is whole too.
        let file = fs::File::options().write(true).open(place.at("src/f")).unwrap();
        file.write_all_at(&new, 0).unwrap();
    });
    assert_eq!(counts(&report.unwrap()), (1, 0));
    assert!(place.object("p/f").await.unwrap() == new);
    assert!(place.store.open_uploads(&RawKey::new("p/f").unwrap()).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_never_rests_is_named_and_makes_no_object() {
    let place = Place::new().await;
    write(&place, "src/log", &noise(1, 12 * MIB));
    write(&place, "src/ok", b"ok");
    place.put("p/log", "as it was").await;
    place
        .server
        .inject(Fault { times: 2, ..Fault::once(Some("UploadPart"), FaultAction::Delay { ms: 300 }) });
    let (path, is_over) = (place.at("src/log"), Arc::new(AtomicBool::new(false)));
    let until = is_over.clone();
    let writer = std::thread::spawn(move || {
        use std::io::Write;
        let mut file = fs::File::options().append(true).open(path).unwrap();
        while !until.load(Relaxed) {
            file.write_all(b"line\n").unwrap();
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    let report = place.upload("src", "p/").await;
    is_over.store(true, Relaxed);
    writer.join().unwrap();
    let report = report.unwrap();
    assert_eq!((report.copied, names(&report.failed)), (1, vec![place.at("src/log").to_str().unwrap()]));
    assert!(report.failed.named[0].why.contains("changed"), "{report:?}");
    assert_eq!(place.object("p/log").await.unwrap(), "as it was");
    assert!(place.store.open_uploads(&RawKey::new("p/log").unwrap()).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_is_stopped_without_a_journal_leaves_nothing_in_the_bucket() {
    let mut place = Place::new().await;
    place.options.state_dir = None;
    write(&place, "src/f", &noise(1, 30 * MIB));
    place
        .server
        .inject(Fault { times: 100, ..Fault::once(Some("UploadPart"), FaultAction::Delay { ms: 60_000 }) });
    let (done, ()) = tokio::join!(place.upload("src", "p/"), async {
        place.wait_for("UploadPart", 2).await;
        place.options.stop.cancel();
    });
    assert!(matches!(done, Err(Error::Stopped)), "{done:?}");
    let key = RawKey::new("p/f").unwrap();
    assert!(place.store.open_uploads(&key).await.unwrap().is_empty());
    assert!(place.store.head(&key).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_on_the_way_change_nothing_in_what_arrives() {
    let place = Place::new().await;
    write(&place, "src/large", &noise(1, 22 * MIB));
    write(&place, "src/small", b"small");
    for (operation, action) in [
        ("UploadPart", FaultAction::SlowDown),
        ("UploadPart", FaultAction::CutRequest { after_bytes: 1_000_000 }),
        ("UploadPart", FaultAction::ApplyThenDisconnect),
        ("PutObject", FaultAction::InternalError),
        ("CompleteMultipartUpload", FaultAction::ErrorInsideOk),
        ("CreateMultipartUpload", FaultAction::SlowDown),
    ] {
        place.strike(operation, action);
    }
    assert_eq!(counts(&place.upload("src", "p/").await.unwrap()), (2, 0));
    assert!(place.server.waiting_faults().is_empty());
    assert!(place.object("p/large").await.unwrap() == noise(1, 22 * MIB));
    assert_eq!(place.object("p/small").await.unwrap(), "small");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_files_is_sent_under_its_keys_and_known_by_its_scope() {
    let mut place = Place::new().await;
    place.options.scope = Some("workdir".to_owned());
    let list = |names: &[String]| -> Vec<UploadSource> {
        names
            .iter()
            .map(|name| UploadSource { path: place.at("src").join(name), key: format!("p/{name}") })
            .collect()
    };
    let mut all: Vec<String> = (0..40).map(|index| format!("{index:02}/f")).collect();
    all.iter().for_each(|name| write(&place, &format!("src/{name}"), name.as_bytes()));
    let send = |sources: Vec<UploadSource>| {
        let (store, options) = (place.store.clone(), place.options.clone());
        async move { pail_transfer::upload(store, &sources, &options, &Arc::default()).await.unwrap() }
    };
    assert_eq!(counts(&send(list(&all)).await), (40, 0));
    write(&place, "src/new", b"new");
    all.push("new".to_owned());
    assert_eq!(counts(&send(list(&all)).await), (1, 40));
    assert_eq!(place.object("p/07/f").await, Some(Bytes::from("07/f")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_read_is_named_and_the_rest_is_sent() {
    let place = Place::new().await;
    write(&place, "src/ok", b"ok");
    std::os::unix::fs::symlink("missing", place.at("src/dangling")).unwrap();
    let report = place.upload("src", "p/").await.unwrap();
    assert_eq!((report.copied, report.skipped.count), (1, 1));
    let missing = UploadSource { path: place.at("nowhere"), key: "p/".into() };
    let error = pail_transfer::upload(place.store.clone(), &[missing], &place.options, &Arc::default()).await;
    assert!(matches!(error, Err(Error::Local { .. })), "{error:?}");
}

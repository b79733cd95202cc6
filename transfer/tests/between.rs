//! Copies between buckets: which way they go, what they keep, and objects that change meanwhile.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod support;

use bytes::Bytes;
use pail_devserver::{Fault, FaultAction, RequestRecord};
use pail_store::{Attributes, ListRequest, PutOptions, RawKey, Store, StoreKind};
use pail_transfer::{Destination, Error, Report, Source};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use support::{MIB, Place, bucket, names, noise, wait_until};

const OTHER: &str = "other";

fn key(text: &str) -> RawKey {
    RawKey::new(text).unwrap()
}

async fn copy(place: &Place, from: &str, target: &Arc<dyn Store>, to: &str) -> Result<Report, Error> {
    let (source, destination) = (Source::of_uri_path(from), Destination::Prefix(to.to_owned()));
    copy_to(place, &source, target, &destination).await
}

async fn copy_to(
    place: &Place,
    from: &Source,
    target: &Arc<dyn Store>,
    to: &Destination,
) -> Result<Report, Error> {
    let source = place.store.clone();
    pail_transfer::copy_between(source, from, target.clone(), to, &place.options, &place.progress).await
}

/// Every object of a bucket.
async fn objects(store: &Arc<dyn Store>) -> BTreeMap<String, Bytes> {
    let page = store.list(ListRequest::default()).await.unwrap();
    assert_eq!(page.next, None);
    let mut found = BTreeMap::new();
    for object in page.objects {
        let bytes = store.get(&object.key, Default::default()).await.unwrap().bytes().await.unwrap();
        found.insert(object.key.as_str().to_owned(), bytes);
    }
    found
}

fn counts(report: &Report) -> (u64, u64) {
    assert!(report.is_complete(), "{report:?}");
    (report.copied, report.unchanged)
}

/// Keys that no file system would take, an empty object, and a large one.
async fn fill(place: &Place) {
    for (seed, name) in (0..).zip(["a", "a/b", "a//b", "../x", "dir/", "ü z", "end/."]) {
        let len = if name == "dir/" { 0 } else { 1000 };
        place.put(&format!("p/{name}"), noise(seed, len)).await;
    }
    place.put("p/empty", "").await;
    place.put("p/large", noise(9, 17 * MIB + 3)).await;
    place.put("pq", "not below p/").await;
}

async fn arrived(place: &Place, target: &Arc<dyn Store>, prefix: &str) {
    let mut expected = objects(&place.store).await;
    expected.retain(|key, _| key.starts_with("p/"));
    let expected: BTreeMap<_, _> =
        expected.into_iter().map(|(key, bytes)| (format!("{prefix}{}", &key[2..]), bytes)).collect();
    let mut found = objects(target).await;
    found.retain(|key, _| key.starts_with(prefix));
    assert!(found == expected, "{:?} for {:?}", found.keys(), expected.keys());
}

/// Puts an object that carries all that every store keeps.
async fn put_attributed(store: &Arc<dyn Store>, name: &str, bytes: Bytes) -> Attributes {
    let attributes = Attributes {
        metadata: [("owner".to_owned(), "me".to_owned())].into(),
        content_type: Some("text/x-odd".to_owned()),
        content_language: Some("de".to_owned()),
        content_disposition: Some("inline".to_owned()),
        cache_control: Some("max-age=5".to_owned()),
        ..Attributes::default()
    };
    let options = PutOptions { attributes: attributes.clone(), ..PutOptions::default() };
    store.put(&key(name), bytes.into(), options).await.unwrap();
    attributes
}

async fn carried(store: &Arc<dyn Store>, name: &str) -> Attributes {
    let found = store.head(&key(name)).await.unwrap().attributes.unwrap();
    Attributes { storage_class: None, encryption: None, ..(*found).clone() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_copies_between_its_own_buckets() {
    let place = Place::new().await;
    fill(&place).await;
    let attributes = put_attributed(&place.store, "p/kept", "kept".into()).await;
    let target = bucket(&place, StoreKind::S3, OTHER).await;
    place.server.reset_counters();
    assert_eq!(counts(&copy(&place, "p/", &target, "q/r/").await.unwrap()), (10, 0));
    // The server's own work: of 17 MiB nothing came here or went from here.
    let counters = place.server.counters();
    assert!(counters.bytes_in < MIB as u64 && counters.bytes_out < MIB as u64, "{counters:?}");
    assert!(place.count("CopyObject") >= 10);
    arrived(&place, &target, "q/r/").await;
    assert_eq!(carried(&target, "q/r/kept").await, attributes);
}

#[tokio::test(flavor = "multi_thread")]
async fn within_a_bucket_it_is_copied_but_not_onto_or_below_itself() {
    let place = Place::new().await;
    fill(&place).await;
    let target = place.store.clone();
    assert_eq!(counts(&copy(&place, "p", &target, "q/").await.unwrap()), (9, 0));
    assert_eq!(place.count("GetObject"), 0);
    arrived(&place, &target, "q/").await;
    for (from, to) in [("p/", "p/"), ("p", "p/x/"), ("", "anywhere/")] {
        let error = copy(&place, from, &target, to).await;
        assert!(matches!(error, Err(Error::Unusable { .. })), "{from} {to}: {error:?}");
    }
    let onto = Destination::Object(key("p/a"));
    let error = copy_to(&place, &Source::Object(key("p/a")), &target, &onto).await;
    assert!(matches!(error, Err(Error::Unusable { .. })), "{error:?}");
    // Out of a directory of the same name, what would overwrite a source is named and left.
    place.put("d/d/f", "1").await;
    place.put("d/d/d/f", "2").await;
    let report = copy(&place, "d/d/", &target, "d/").await.unwrap();
    assert_eq!((report.copied, names(&report.skipped)), (1, vec!["d/d/d/f"]));
    assert_eq!(place.object("d/d/f").await.unwrap(), "1");
    assert_eq!(place.object("d/f").await.unwrap(), "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn between_servers_the_bytes_pass_through_with_all_they_carry() {
    let (place, there) = (Place::new().await, Place::new().await);
    fill(&place).await;
    let attributes = put_attributed(&place.store, "p/kept", "kept".into()).await;
    put_attributed(&place.store, "p/kept-large", noise(5, 12 * MIB)).await;
    assert_eq!(counts(&copy(&place, "p/", &there.store, "").await.unwrap()), (11, 0));
    assert_eq!(there.count("CopyObject"), 0);
    arrived(&place, &there.store, "").await;
    assert_eq!(carried(&there.store, "kept").await, attributes);
    assert_eq!(carried(&there.store, "kept-large").await, attributes);
}

#[tokio::test(flavor = "multi_thread")]
async fn between_apis_the_bytes_pass_through_with_all_they_carry() {
    let place = Place::new().await;
    fill(&place).await;
    let attributes = put_attributed(&place.store, "p/kept", "kept".into()).await;
    let gcs = bucket(&place, StoreKind::Gcs, OTHER).await;
    assert_eq!(counts(&copy(&place, "p/", &gcs, "g/").await.unwrap()), (10, 0));
    arrived(&place, &gcs, "g/").await;
    assert_eq!(carried(&gcs, "g/kept").await, attributes);

    let back = bucket(&place, StoreKind::S3, "back").await;
    let (from, to) = (Source::Prefix("g/".into()), Destination::Prefix("h/".into()));
    let copied =
        pail_transfer::copy_between(gcs.clone(), &from, back.clone(), &to, &place.options, &place.progress);
    assert_eq!(counts(&copied.await.unwrap()), (10, 0));
    arrived(&place, &back, "h/").await;
    assert_eq!(carried(&back, "h/kept").await, attributes);

    // And a rewrite between two buckets of the one API.
    let more = bucket(&place, StoreKind::Gcs, "more").await;
    let gets = place.count("GetObject");
    let copied = pail_transfer::copy_between(gcs, &from, more.clone(), &to, &place.options, &place.progress);
    assert_eq!(counts(&copied.await.unwrap()), (10, 0));
    assert_eq!(place.count("GetObject"), gets);
    arrived(&place, &more, "h/").await;
    assert_eq!(carried(&more, "h/kept").await, attributes);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_target_may_not_read_there_passes_through() {
    let place = Place::new().await;
    fill(&place).await;
    let target = bucket(&place, StoreKind::S3, OTHER).await;
    place.server.inject(Fault { times: 1000, ..Fault::once(Some("CopyObject"), FaultAction::AccessDenied) });
    assert_eq!(counts(&copy(&place, "p/", &target, "q/").await.unwrap()), (9, 0));
    place.server.clear_faults();
    arrived(&place, &target, "q/").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_run_copies_only_what_changed_on_either_side() {
    let (place, there) = (Place::new().await, Place::new().await);
    fill(&place).await;
    assert_eq!(counts(&copy(&place, "p/", &there.store, "q/").await.unwrap()), (9, 0));
    let gets = place.count("GetObject");
    assert_eq!(counts(&copy(&place, "p/", &there.store, "q/").await.unwrap()), (0, 9));
    assert_eq!(place.count("GetObject"), gets);

    place.put("p/a", "changed here").await;
    place.put("p/new", "new").await;
    there.put("q/a/b", "changed there").await;
    there.store.delete(&key("q/../x"), Default::default()).await.unwrap();
    assert_eq!(counts(&copy(&place, "p/", &there.store, "q/").await.unwrap()), (4, 6));
    arrived(&place, &there.store, "q/").await;
    // To another place everything is copied.
    assert_eq!(counts(&copy(&place, "p/", &there.store, "r/").await.unwrap()), (10, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_is_replaced_meanwhile_is_copied_as_it_is_then() {
    let (mut place, there) = (Place::new().await, Place::new().await);
    // One part after the other, so that the second is asked for when the first was delayed.
    place.options.connections = 1;
    place.put("p/f", noise(1, 12 * MIB)).await;
    there.strike("UploadPart", FaultAction::Delay { ms: 1500 });
    let (report, ()) = tokio::join!(copy(&place, "p/", &there.store, ""), async {
        there.wait_for("UploadPart", 1).await;
        place.put("p/f", noise(2, 12 * MIB)).await;
    });
    assert_eq!(counts(&report.unwrap()), (1, 0));
    assert!(there.object("f").await.unwrap() == noise(2, 12 * MIB));
    assert!(there.store.open_uploads(&key("f")).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_object_goes_to_a_key_or_under_its_name() {
    let place = Place::new().await;
    place.put("d/f", "one").await;
    let target = bucket(&place, StoreKind::S3, OTHER).await;
    let source = Source::Object(key("d/f"));
    for (to, made) in [
        (Destination::Object(key("x")), "x"),
        (Destination::Prefix(String::new()), "f"),
        (Destination::Prefix("y/".to_owned()), "y/f"),
    ] {
        assert_eq!(counts(&copy_to(&place, &source, &target, &to).await.unwrap()), (1, 0));
        assert_eq!(objects(&target).await[made], "one");
        assert_eq!(counts(&copy_to(&place, &source, &target, &to).await.unwrap()), (0, 1));
    }
    let error = copy(&place, "nothing/", &target, "z/").await;
    assert!(matches!(error, Err(Error::NothingThere { .. })), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_on_the_way_change_nothing_in_what_arrives() {
    let (place, there) = (Place::new().await, Place::new().await);
    place.put("p/large", noise(1, 22 * MIB)).await;
    place.put("p/small", noise(2, 1000)).await;
    for (at, operation, action) in [
        (&place, "GetObject", FaultAction::CutBody { after_bytes: 500 }),
        (&place, "GetObject", FaultAction::SlowDown),
        (&there, "UploadPart", FaultAction::SlowDown),
        (&there, "UploadPart", FaultAction::CutRequest { after_bytes: 1_000_000 }),
        (&there, "CompleteMultipartUpload", FaultAction::ErrorInsideOk),
        (&there, "PutObject", FaultAction::InternalError),
    ] {
        at.strike(operation, action);
    }
    assert_eq!(counts(&copy(&place, "p/", &there.store, "p/").await.unwrap()), (2, 0));
    assert!(place.server.waiting_faults().is_empty() && there.server.waiting_faults().is_empty());
    arrived(&place, &there.store, "p/").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_is_stopped_leaves_no_open_upload() {
    let (place, there) = (Place::new().await, Place::new().await);
    place.put("p/f", noise(1, 30 * MIB)).await;
    there
        .server
        .inject(Fault { times: 100, ..Fault::once(Some("UploadPart"), FaultAction::Delay { ms: 60_000 }) });
    let (done, ()) = tokio::join!(copy(&place, "p/", &there.store, "p/"), async {
        there.wait_for("UploadPart", 2).await;
        place.options.stop.cancel();
    });
    assert!(matches!(done, Err(Error::Stopped)), "{done:?}");
    assert!(there.store.open_uploads(&key("p/f")).await.unwrap().is_empty());
    assert!(there.store.head(&key("p/f")).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn under_a_limited_rate_all_arrives_and_no_sooner() {
    let (mut place, there) = (Place::new().await, Place::new().await);
    place.options.rate_bytes_per_s = Some(20 * MIB as u64);
    place.put("p/large", noise(1, 6 * MIB)).await;
    place.put("p/middle", noise(2, MIB)).await;
    place.put("p/small", noise(3, 1000)).await;
    // What comes and goes at once counts once: 7 MiB.
    let started = Instant::now();
    assert_eq!(counts(&copy(&place, "p/", &there.store, "p/").await.unwrap()), (3, 0));
    assert!(started.elapsed() > Duration::from_millis(240), "{:?}", started.elapsed());
    arrived(&place, &there.store, "p/").await;

    let started = Instant::now();
    assert_eq!(counts(&place.download("p/", "files").await.unwrap()), (3, 0));
    assert_eq!(counts(&place.upload("files", "up/").await.unwrap()), (3, 0));
    assert!(started.elapsed() > Duration::from_millis(450), "{:?}", started.elapsed());
    assert!(place.object("up/large").await.unwrap() == noise(1, 6 * MIB));
    assert!(place.object("up/middle").await.unwrap() == noise(2, MIB));
}

/// A large object of six parts, in a bucket beside whose others it is to be copied.
async fn large() -> (Place, Arc<dyn Store>) {
    let mut place = Place::new().await;
    (place.options.server_copy_bytes_max, place.options.connections) = (25 * MIB as u64, 2);
    place.put("p/large", noise(1, 27 * MIB)).await;
    place.put("p/small", noise(2, 1000)).await;
    let target = bucket(&place, StoreKind::S3, OTHER).await;
    place.server.reset_counters();
    (place, target)
}

fn open_uploads(target: &Arc<dyn Store>) -> impl Future<Output = usize> {
    let target = target.clone();
    async move { target.open_uploads(&key("q/large")).await.unwrap().len() }
}

/// Strikes parts that the server is to copy, after so many; those of a probe are none of them.
fn strike_parts(place: &Place, skip: u32, times: u32, action: FaultAction) {
    let fault = Fault::once(Some("UploadPartCopy"), action);
    place.server.inject(Fault { key_contains: Some("large".into()), skip, times, ..fault });
}

fn parts_copied(place: &Place) -> usize {
    let requests = place.server.requests();
    let is_part = |record: &&RequestRecord| record.operation == "UploadPartCopy" && record.key.contains("/");
    requests.iter().filter(is_part).filter(|record| !record.key.contains("probe")).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_copies_large_objects_in_parts() {
    let (place, target) = large().await;
    let attributes = put_attributed(&place.store, "p/kept", noise(3, 26 * MIB)).await;
    place.server.reset_counters();
    assert_eq!(counts(&copy(&place, "p/", &target, "q/").await.unwrap()), (3, 0));
    assert_eq!((parts_copied(&place), place.count("GetObject")), (12, 0));
    arrived(&place, &target, "q/").await;
    assert_eq!(carried(&target, "q/kept").await, attributes);
    let snapshot = place.progress.snapshot();
    assert_eq!(snapshot.moved_bytes, snapshot.found_bytes);

    // Within a bucket, too.
    let gets = place.count("GetObject");
    assert_eq!(counts(&copy(&place, "p/", &place.store, "q/").await.unwrap()), (3, 0));
    assert_eq!((parts_copied(&place), place.count("GetObject")), (24, gets));
    arrived(&place, &place.store, "q/").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_in_parts_on_the_server_that_is_stopped_is_gone_on_with_or_leaves_nothing() {
    for done in [0, 3] {
        let (mut place, target) = large().await;
        let late = FaultAction::Delay { ms: 600_000 };
        strike_parts(&place, done, 100, late);
        let noted =
            || place.files("state/uploads").into_values().flatten().filter(|byte| *byte == b'\n').count();
        let (copied, ()) = tokio::join!(copy(&place, "p/", &target, "q/"), async {
            wait_until("the parts are noted", || noted() == 1 + done as usize).await;
            wait_until("the others are asked for", || parts_copied(&place) == 2 + done as usize).await;
            place.options.stop.cancel();
        });
        assert!(matches!(copied, Err(Error::Stopped)), "{copied:?}");
        place.server.clear_faults();
        assert_eq!(open_uploads(&target).await, usize::from(done > 0));
        place.options.stop = Default::default();
        place.server.reset_counters();
        let report = copy(&place, "p/", &target, "q/").await.unwrap();
        assert_eq!(report.resumed_bytes, u64::from(done) * 5 * MIB as u64);
        assert_eq!(parts_copied(&place), 6 - done as usize);
        arrived(&place, &target, "q/").await;
        assert_eq!((open_uploads(&target).await, place.files("state/uploads").len()), (0, 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_in_parts_on_the_server_that_fails_leaves_nothing() {
    let (mut place, target) = large().await;
    place.options.connections = 1;
    strike_parts(&place, 1, 1, FaultAction::Delay { ms: 1500 });
    let (report, ()) = tokio::join!(copy(&place, "p/", &target, "q/"), async {
        wait_until("a part is asked for", || parts_copied(&place) == 2).await;
        place.store.delete(&key("p/large"), Default::default()).await.unwrap();
    });
    let report = report.unwrap();
    assert_eq!((report.copied, names(&report.failed)), (1, vec!["p/large"]));
    assert_eq!((open_uploads(&target).await, place.files("state/uploads").len()), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn large_objects_that_a_server_does_not_copy_pass_through() {
    let (place, target) = large().await;
    strike_parts(&place, 1, 100, FaultAction::AccessDenied);
    assert_eq!(counts(&copy(&place, "p/", &target, "q/").await.unwrap()), (2, 0));
    assert!(place.server.waiting_faults().len() == 1);
    place.server.clear_faults();
    arrived(&place, &target, "q/").await;
    assert_eq!((open_uploads(&target).await, place.files("state/uploads").len()), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_object_that_is_replaced_while_the_server_copies_it_is_copied_as_it_is_then() {
    let (mut place, target) = large().await;
    place.options.connections = 1;
    strike_parts(&place, 1, 1, FaultAction::Delay { ms: 1500 });
    let (report, ()) = tokio::join!(copy(&place, "p/", &target, "q/"), async {
        wait_until("a part is asked for", || parts_copied(&place) == 2).await;
        place.put("p/large", noise(5, 27 * MIB)).await;
    });
    assert_eq!(counts(&report.unwrap()), (2, 0));
    arrived(&place, &target, "q/").await;
    assert_eq!((open_uploads(&target).await, place.files("state/uploads").len()), (0, 0));
}

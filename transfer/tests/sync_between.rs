//! Syncs from a bucket to a bucket: by what objects are taken for the same, what is deleted and what never is, and what a dry run says.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod support;

use pail_devserver::{Fault, FaultAction, Settings};
use pail_store::StoreKind;
use pail_transfer::{Changes, Comparison, Destination, Error, Filters, Report, Selection, Source};
use std::collections::BTreeMap;
use std::fs;
use std::sync::{Arc, Mutex};
use support::{BUCKET, MIB, Place, bucket as bucket_of, keys, noise};

/// What is below `p/` of the first, to what is below `q/` of the second.
async fn sync(place: &Place, there: &Place) -> Result<Report, Error> {
    sync_to(place, there, "p/", "q/").await
}

async fn sync_to(place: &Place, there: &Place, from: &str, to: &str) -> Result<Report, Error> {
    let (source, target) = (place.store.clone(), there.store.clone());
    let (from, to) = (Source::Prefix(from.to_owned()), Destination::Prefix(to.to_owned()));
    pail_transfer::copy_between(source, &from, target, &to, &place.options, &Arc::default()).await
}

async fn places() -> (Place, Place) {
    let settings = Settings { md5_etags: true, ..Settings::default() };
    let (mut place, there) = (Place::with(settings.clone()).await, Place::with(settings).await);
    place.options.comparison = Comparison::SizeAndTime;
    (place, there)
}

fn counts(report: &Report) -> (u64, u64, u64) {
    assert!(report.is_complete(), "{report:?}");
    (report.copied, report.unchanged, report.removed.deleted)
}

fn forget_last_run(place: &Place) {
    fs::remove_dir_all(place.options.state_dir.as_ref().unwrap()).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_of_one_md5_are_the_same_and_of_one_size_alone_are_not() {
    let (place, there) = places().await;
    for (name, theirs) in [("same", "bytes"), ("other", "BYTES"), ("longer", "more bytes")] {
        place.put(&format!("p/{name}"), "bytes").await;
        there.put(&format!("q/{name}"), theirs).await;
    }
    place.put("p/new", "bytes").await;
    assert_eq!(counts(&sync(&place, &there).await.unwrap()), (3, 1, 0));
    for name in ["same", "other", "longer", "new"] {
        assert_eq!(there.object(&format!("q/{name}")).await.unwrap(), "bytes");
    }
    assert_eq!(counts(&sync(&place, &there).await.unwrap()), (0, 4, 0));
    // What was found to be the same is known to the next run, as what was copied is.
    there.put("q/same", "BYTES").await;
    assert_eq!(counts(&sync(&place, &there).await.unwrap()), (1, 3, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn checksums_tell_what_etags_cannot() {
    let (mut place, there) = places().await;
    place.options.comparison = Comparison::Content;
    place.store.capabilities().await.unwrap();
    there.store.capabilities().await.unwrap();
    let large = noise(1, 12 * MIB);
    let key = |key: &str| pail_store::RawKey::new(key).unwrap();
    place.store.put(&key("p/large"), large.clone().into(), Default::default()).await.unwrap();
    assert_eq!(counts(&sync(&place, &there).await.unwrap()), (1, 0, 0));
    forget_last_run(&place);
    let (ours, theirs) = (place.store.head(&key("p/large")).await, there.store.head(&key("q/large")).await);
    assert_ne!(ours.unwrap().version, theirs.unwrap().version, "one was sent whole, one in parts");
    let report = sync(&place, &there).await.unwrap();
    assert_eq!((counts(&report), report.not_comparable), ((0, 1, 0), 0));
    // Of the same size.
    there.store.put(&key("q/large"), noise(2, 12 * MIB).into(), Default::default()).await.unwrap();
    assert_eq!(counts(&sync(&place, &there).await.unwrap()), (1, 0, 0));
    assert!(there.object("q/large").await.unwrap() == large);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_extra_goes_once_everything_is_there() {
    let (mut place, there) = places().await;
    place.options.delete = true;
    place.options.filters = Filters::new([(Selection::Exclude, "*.log")]).unwrap();
    for key in ["p/a", "p/sub/b", "p/new.log"] {
        place.put(key, "x").await;
    }
    for key in ["q/a/extra", "q/extra", "q/old.log", "q/sub/", "qq"] {
        there.put(key, "x").await;
    }
    let refused = Fault::once(Some("PutObject"), FaultAction::AccessDenied);
    there.server.inject(Fault { key_contains: Some("q/sub/b".into()), ..refused });
    let report = sync(&place, &there).await.unwrap();
    assert_eq!((report.failed.count, report.removed.deleted, report.removed.is_withheld), (1, 0, true));

    assert_eq!(counts(&sync(&place, &there).await.unwrap()), (1, 1, 3));
    assert_eq!(keys(&there).await, ["q/a", "q/old.log", "q/sub/b", "qq"]);
    assert_eq!(keys(&place).await, ["p/a", "p/new.log", "p/sub/b"]);
    // A source that is not there, or has nothing to copy, is no reason to delete everything.
    let error = sync_to(&place, &there, "nowhere/", "q/").await;
    assert!(matches!(error, Err(Error::NothingThere { .. })), "{error:?}");
    place.put("marker/", "").await;
    place.put("logs/a.log", "x").await;
    for source in ["marker/", "logs/"] {
        let error = sync_to(&place, &there, source, "q/").await;
        assert!(matches!(error, Err(Error::NothingToKeep { .. })), "{source}: {error:?}");
    }
    let mut left = keys(&there).await;
    // The marker may have been copied by then.
    left.retain(|key| key != "q/");
    assert_eq!(left, ["q/a", "q/old.log", "q/sub/b", "qq"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_put_into_the_target_meanwhile_stays() {
    let (mut place, there) = places().await;
    place.options.delete = true;
    place.put("p/a", "x").await;
    there.put("q/extra", "x").await;
    there.put("q/replaced", "x").await;
    there.server.inject(Fault::once(Some("PutObject"), FaultAction::Delay { ms: 2000 }));
    let (report, ()) = tokio::join!(sync(&place, &there), async {
        there.wait_for("PutObject", 1).await;
        there.put("q/theirs", "x").await;
        there.put("q/replaced", "theirs").await;
    });
    assert_eq!(counts(&report.unwrap()), (1, 0, 1));
    assert_eq!(keys(&there).await, ["q/a", "q/replaced", "q/theirs"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_has_two_names_is_not_taken_for_two() {
    let (mut place, _) = places().await;
    place.options.delete = true;
    for key in ["a/b/1", "a/b/2", "a/z"] {
        place.put(key, "x").await;
    }
    let gcs = bucket_of(&place, StoreKind::Gcs, BUCKET).await;
    let (from, to) = (Source::Prefix("a/b/".into()), Destination::Prefix("a/".into()));
    let (target, options) = (place.store.clone(), &place.options);
    let error = pail_transfer::copy_between(gcs, &from, target, &to, options, &Arc::default()).await;
    assert!(matches!(error, Err(Error::Unusable { .. })), "{error:?}");
    assert_eq!(keys(&place).await, ["a/b/1", "a/b/2", "a/z"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_is_not_deleted_from_a_target_that_it_is_in() {
    let (mut place, _) = places().await;
    place.put("q/p/f", "x").await;
    place.options.delete = true;
    for to in ["q/", "", "q/p/", "q/p/x/"] {
        let error = sync_to(&place, &place, "q/p/", to).await;
        assert!(matches!(error, Err(Error::Unusable { .. })), "{to:?}: {error:?}");
    }
    assert_eq!(keys(&place).await, ["q/p/f"]);
    place.options.delete = false;
    assert_eq!(counts(&sync_to(&place, &place, "q/p/", "q/").await.unwrap()), (1, 0, 0));
    assert_eq!(keys(&place).await, ["q/f", "q/p/f"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_says_why_and_changes_nothing() {
    let (mut place, there) = places().await;
    for (name, ours, theirs) in [("same", "a", "a"), ("longer", "a", "aa"), ("other", "a", "b")] {
        place.put(&format!("p/{name}"), ours).await;
        there.put(&format!("q/{name}"), theirs).await;
    }
    place.put("p/new", "a").await;
    there.put("q/extra", "a").await;
    let told: Arc<Mutex<BTreeMap<String, String>>> = Arc::default();
    let changes = told.clone();
    let tell = move |change: pail_transfer::Change| {
        changes.lock().unwrap().insert(change.key, change.why.to_string());
    };
    (place.options.dry_run, place.options.delete) = (Some(Changes::new(tell)), true);
    assert_eq!(counts(&sync(&place, &there).await.unwrap()), (3, 1, 1));
    let expected = [
        ("p/longer", "size differs"),
        ("p/new", "new"),
        ("p/other", "version differs"),
        ("q/extra", "not in the source"),
    ];
    let told = std::mem::take(&mut *told.lock().unwrap());
    let told: Vec<_> = told.iter().map(|(key, why)| (key.as_str(), why.as_str())).collect();
    assert_eq!(told, expected);
    assert_eq!(keys(&there).await, ["q/extra", "q/longer", "q/other", "q/same"]);
    assert!(!place.options.state_dir.as_ref().unwrap().exists());
}

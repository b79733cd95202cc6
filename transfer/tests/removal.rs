//! Deletions: what goes, what stays, and what is told of it; and what there is.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod support;

use pail_devserver::{Fault, FaultAction, Settings};
use pail_store::{BucketUri, CallerVariables, GcsStore, RawKey, StoreKind, StoreOptions};
use pail_transfer::{Changes, Error, Filters, Removals, Selection, Source, Usage, measure, remove};
use std::sync::{Arc, Mutex};
use support::{BUCKET, Place, keys, names};

async fn rm(place: &Place, source: &Source) -> Result<Removals, Error> {
    remove(place.store.clone(), source, &place.options).await
}

async fn filled(settings: Settings) -> Place {
    let place = Place::with(settings).await;
    for key in ["foo", "foobar", "foo/a", "foo/b/c", "foo//d", "foo/", "other"] {
        place.put(key, "12345").await;
    }
    place
}

fn object(key: &str) -> Source {
    Source::Object(RawKey::new(key).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prefix_goes_with_all_below_it_and_no_neighbour() {
    let place = filled(Settings { list_page_max: 2, ..Settings::default() }).await;
    let removed = rm(&place, &Source::of_uri_path("foo")).await.unwrap();
    assert_eq!((removed.deleted, removed.deleted_bytes), (4, 20));
    // Its own name is an object's as well, which was not meant.
    assert_eq!(names(&removed.failed), ["foo"]);
    assert_eq!(keys(&place).await, ["foo", "foobar", "other"]);
    assert_eq!(rm(&place, &Source::of_uri_path("foo")).await.unwrap().deleted, 1);
    assert_eq!(keys(&place).await, ["foobar", "other"]);
    assert_eq!(rm(&place, &object("foobar")).await.unwrap().deleted, 1);
    for source in [object("foobar"), object("foo"), Source::of_uri_path("foo"), Source::of_uri_path("foo/")] {
        assert!(matches!(rm(&place, &source).await, Err(Error::NothingThere { .. })), "{source:?}");
    }
    assert_eq!(rm(&place, &Source::Prefix(String::new())).await.unwrap().deleted, 1);
    assert_eq!(keys(&place).await, [] as [&str; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_alone_is_never_a_prefix() {
    let place = filled(Settings::default()).await;
    rm(&place, &object("foo")).await.unwrap();
    assert!(matches!(rm(&place, &object("foo")).await, Err(Error::IsPrefix { .. })));
    assert_eq!(keys(&place).await.len(), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn globs_choose_and_a_dry_run_deletes_nothing() {
    let mut place = filled(Settings::default()).await;
    place.options.filters = Filters::new([(Selection::Exclude, "b/*")]).unwrap();
    let told: Arc<Mutex<Vec<String>>> = Arc::default();
    let changes = told.clone();
    place.options.dry_run = Some(Changes::new(move |change| changes.lock().unwrap().push(change.key)));
    place.server.reset_counters();
    let removed = rm(&place, &Source::of_uri_path("foo/")).await.unwrap();
    assert_eq!((removed.deleted, removed.deleted_bytes), (3, 15));
    assert_eq!(*told.lock().unwrap(), ["foo/", "foo//d", "foo/a"]);
    assert_eq!((place.count("DeleteObject"), place.count("PutObject"), keys(&place).await.len()), (0, 0, 7));
    place.options.dry_run = None;
    assert_eq!(rm(&place, &Source::of_uri_path("foo/")).await.unwrap().deleted, 3);
    assert_eq!(keys(&place).await, ["foo", "foo/b/c", "foobar", "other"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_replaced_after_it_was_listed_stays_and_is_told() {
    // Of a store that is known to enforce the conditions of deletions.
    let mut place = Place::new().await;
    let bucket =
        BucketUri { kind: StoreKind::Gcs, scope: None, bucket: BUCKET.into(), prefix: String::new() };
    let options = StoreOptions {
        endpoint_url: Some(place.server.endpoint_url()),
        environment: Some(CallerVariables::default()),
        ..StoreOptions::new(bucket)
    };
    place.store = GcsStore::open(options).await.unwrap();
    place.options.connections = 1;
    for key in ["d/a", "d/b", "d/c"] {
        place.put(key, "old").await;
    }
    // What the endpoint enforces is asked beforehand.
    let known = place.store.capabilities().await.unwrap();
    assert_eq!(known.ignored_conditions, []);
    place.server.reset_counters();
    // So many at a time.
    place.strike("objects.delete", FaultAction::Delay { ms: 3000 });
    place.strike("objects.delete", FaultAction::Delay { ms: 3000 });
    let source = Source::of_uri_path("d");
    let (removed, ()) = tokio::join!(rm(&place, &source), async {
        place.wait_for("objects.delete", 2).await;
        place.put("d/c", "new").await;
    });
    let removed = removed.unwrap();
    assert_eq!((removed.deleted, names(&removed.failed)), (2, vec!["d/c"]));
    assert!(removed.failed.named[0].why.contains("replaced"), "{removed:?}");
    assert_eq!(place.object("d/c").await.unwrap(), "new");
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_are_named_the_rest_goes_and_a_refusal_of_all_is_the_run_s() {
    let mut settings = Settings::default();
    settings.quirks.ignore_delete_conditions = true;
    let place = filled(settings).await;
    place.store.capabilities().await.unwrap();
    place.server.reset_counters();
    place.strike("DeleteObject", FaultAction::AccessDenied);
    place.strike("DeleteObject", FaultAction::SlowDown);
    let removed = rm(&place, &Source::of_uri_path("foo/")).await.unwrap();
    assert_eq!((removed.deleted, removed.failed.count), (3, 1), "{removed:?}");
    assert_eq!(
        place.count("HeadObject"),
        0,
        "where the condition is ignored nobody pretends to it by a look"
    );

    place.server.inject(Fault { times: 100, ..Fault::once(Some("DeleteObject"), FaultAction::AccessDenied) });
    let refused = rm(&place, &Source::Prefix(String::new())).await;
    assert!(matches!(refused, Err(Error::Store { .. })), "{refused:?}");
    assert_eq!(keys(&place).await.len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_are_deleted_at_the_same_time() {
    let mut place = Place::with(Settings { first_byte_ms: 20, ..Settings::default() }).await;
    place.options.connections = 16;
    for index in 0..200 {
        place.put(&format!("d/{index:03}"), "x").await;
    }
    place.store.capabilities().await.unwrap();
    assert_eq!(rm(&place, &Source::of_uri_path("d")).await.unwrap().deleted, 200);
    assert_eq!(keys(&place).await, [] as [&str; 0]);
    let rounds: std::collections::BTreeSet<u64> = place
        .server
        .requests()
        .into_iter()
        .filter(|request| request.operation == "DeleteObject" && request.key.starts_with("d/"))
        .map(|request| request.round)
        .collect();
    assert!(rounds.len() < 100, "{} round trips", rounds.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_there_is_is_counted_for_each_directory() {
    let place = filled(Settings { list_page_max: 2, ..Settings::default() }).await;
    let of = |name: &str, depth| {
        let (store, source) = (place.store.clone(), Source::of_uri_path(name));
        async move { measure(store, &source, depth).await }
    };
    let usage = |objects, bytes| Usage { objects, bytes };
    let all = of("", 1).await.unwrap();
    assert_eq!((all.total, all.below.len(), all.below["foo/"]), (usage(7, 35), 1, usage(4, 20)));
    let foo = of("foo", 1).await.unwrap();
    assert_eq!((foo.total, foo.below["b/"], foo.below["/"]), (usage(4, 20), usage(1, 5), usage(1, 5)));
    assert_eq!(of("foobar", 0).await.unwrap().total, usage(1, 5));
    assert!(matches!(of("fo", 0).await, Err(Error::NothingThere { .. })));
    let empty = Place::new().await;
    let nothing = measure(empty.store.clone(), &Source::of_uri_path(""), 0).await.unwrap();
    assert_eq!(nothing.total, usage(0, 0));
}

//! Deletions: what goes, what stays, and what is told of it; and what there is.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod support;

use pail_devserver::{Fault, FaultAction, Quirks, Settings};
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
    let writes = ["DeleteObject", "DeleteObjects", "PutObject"];
    assert_eq!(writes.map(|operation| place.count(operation)), [0; 3]);
    assert_eq!(keys(&place).await.len(), 7);
    place.options.dry_run = None;
    assert_eq!(rm(&place, &Source::of_uri_path("foo/")).await.unwrap().deleted, 3);
    assert_eq!(keys(&place).await, ["foo", "foo/b/c", "foobar", "other"]);
    // Nothing is below it to choose from, whatever the object itself is called.
    let chosen = rm(&place, &Source::of_uri_path("other")).await;
    assert!(matches!(chosen, Err(Error::NothingThere { .. })), "{chosen:?}");
    assert_eq!(keys(&place).await.len(), 4);
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

fn strike_key(place: &Place, part: &str, action: FaultAction) {
    let fault = Fault::once(Some("DeleteObjects"), action);
    place.server.inject(Fault { key_contains: Some(part.to_owned()), ..fault });
}

fn with_quirk(name: &str) -> Settings {
    Settings { quirks: Quirks::named([name]).unwrap(), ..Settings::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_replaced_between_two_requests_for_many_stays_and_is_told() {
    let place = Place::new().await;
    for key in ["d/a", "d/b", "d/c"] {
        place.put(key, "old").await;
    }
    place.store.capabilities().await.unwrap();
    place.server.reset_counters();
    // It is asked for once more when the answer has come, which is after it was replaced.
    strike_key(&place, "d/c", FaultAction::SlowDown);
    place.strike("DeleteObjects", FaultAction::Delay { ms: 3000 });
    let source = Source::of_uri_path("d");
    let (removed, ()) = tokio::join!(rm(&place, &source), async {
        place.wait_for("DeleteObjects", 1).await;
        while place.object("d/b").await.is_some() {}
        place.put("d/c", "new").await;
    });
    let removed = removed.unwrap();
    assert_eq!((removed.deleted, names(&removed.failed)), (2, vec!["d/c"]));
    assert!(removed.failed.named[0].why.contains("replaced"), "{removed:?}");
    assert_eq!(place.object("d/c").await.unwrap(), "new");
    assert_eq!((place.count("DeleteObjects"), place.count("DeleteObject")), (2, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_are_named_the_rest_goes_and_a_refusal_of_all_is_the_run_s() {
    let place = filled(with_quirk("ignore_delete_conditions")).await;
    place.store.capabilities().await.unwrap();
    place.server.reset_counters();
    strike_key(&place, "foo/a", FaultAction::AccessDenied);
    strike_key(&place, "foo/b", FaultAction::SlowDown);
    let removed = rm(&place, &Source::of_uri_path("foo/")).await.unwrap();
    assert_eq!((removed.deleted, names(&removed.failed)), (3, vec!["foo/a"]), "{removed:?}");
    assert_eq!(
        place.count("HeadObject"),
        0,
        "where the condition is ignored nobody pretends to it by a look"
    );

    for operation in ["DeleteObjects", "DeleteObject"] {
        let refused = Fault::once(Some(operation), FaultAction::AccessDenied);
        place.server.inject(Fault { times: 100, ..refused });
    }
    let refused = rm(&place, &Source::Prefix(String::new())).await;
    assert!(matches!(refused, Err(Error::Store { .. })), "{refused:?}");
    assert_eq!(keys(&place).await.len(), 4);
    assert_eq!(place.count("DeleteObject"), 4, "of a request that is refused each object is tried");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_of_many_before_one_is_deleted_ends_nothing() {
    let place = Place::new().await;
    for index in 0..300 {
        place.put(&format!("d/{index:03}"), "x").await;
    }
    let refused = Fault::once(Some("DeleteObjects"), FaultAction::AccessDenied);
    place.server.inject(Fault { times: 150, key_contains: Some("d/".to_owned()), ..refused });
    let removed = rm(&place, &Source::of_uri_path("d")).await.unwrap();
    assert_eq!((removed.deleted, removed.failed.count), (150, 150));
}

async fn thousands(settings: Settings, count: usize) -> Place {
    let place = Place::with(settings).await;
    for index in 0..count {
        place.put(&format!("d/{index:05}"), "x").await;
    }
    place.store.capabilities().await.unwrap();
    place.server.reset_counters();
    place
}

#[tokio::test(flavor = "multi_thread")]
async fn many_are_deleted_by_one_request() {
    let place = thousands(Settings::default(), 2500).await;
    let removed = rm(&place, &Source::of_uri_path("d")).await.unwrap();
    assert_eq!((removed.deleted, removed.deleted_bytes, removed.failed.count), (2500, 2500, 0));
    assert_eq!(keys(&place).await, [] as [&str; 0]);
    assert_eq!((place.count("DeleteObjects"), place.count("DeleteObject")), (3, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_without_such_requests_is_asked_once_and_many_are_deleted_at_the_same_time() {
    let mut settings = Settings { first_byte_ms: 20, ..Settings::default() };
    settings.quirks = Quirks::named(["no_bulk_delete", "ignore_delete_conditions"]).unwrap();
    let mut place = thousands(settings, 200).await;
    place.options.connections = 16;
    assert_eq!(rm(&place, &Source::of_uri_path("d")).await.unwrap().deleted, 200);
    assert_eq!(keys(&place).await, [] as [&str; 0]);
    assert_eq!((place.count("DeleteObjects"), place.count("DeleteObject")), (1, 200));
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
async fn hostile_keys_go_and_what_looks_like_them_stays() {
    let mut place = Place::new().await;
    let hostile = [
        " lead",
        "trail ",
        "new\nline",
        "tab\there",
        "cr\rhere",
        "\u{1}",
        "del\u{7f}",
        "a//b",
        "//",
        "../x",
        ".",
        "&amp;",
        "<Key>",
        "]]>",
        "%41",
        "a+b",
        "é",
        "e\u{301}",
        "\u{a0}",
        "\u{fffe}",
        "\u{2028}",
    ];
    let kept = ["lead", "trail", "new line", "a/b", "A", "&", "a b"];
    for name in hostile.iter().chain(&kept) {
        place.put(&format!("h/{name}"), "x").await;
    }
    let excluded = kept.iter().map(|name| (Selection::Exclude, *name));
    place.options.filters = Filters::new(excluded).unwrap();
    let removed = rm(&place, &Source::of_uri_path("h/")).await.unwrap();
    assert_eq!((removed.deleted, removed.failed.count), (hostile.len() as u64, 0), "{removed:?}");
    let mut expected: Vec<String> = kept.iter().map(|name| format!("h/{name}")).collect();
    expected.sort();
    assert_eq!(keys(&place).await, expected);
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

//! Listings that are long: every key is found once and in order, whatever names there are, and short ones cost no request more.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod support;

use pail_devserver::{Fault, FaultAction, Settings};
use pail_store::ListRequest;
use pail_transfer::Pages;
use std::collections::BTreeSet;
use support::Place;

const PAGE: usize = 10;

/// A place with these keys, whose pages are short.
async fn place_with(keys: &BTreeSet<String>) -> Place {
    let place = Place::with(Settings { list_page_max: PAGE as u64, ..Settings::default() }).await;
    for key in keys {
        place.put(key, "").await;
    }
    place
}

/// What is listed below a prefix, and by how many requests.
async fn listed(place: &Place, prefix: &str) -> (Vec<String>, u64) {
    let before = place.count("ListObjectsV2");
    let request = ListRequest { prefix: prefix.to_owned(), ..ListRequest::default() };
    let first = place.store.list(request).await.unwrap();
    let mut pages = Pages::after(place.store.clone(), prefix.to_owned(), first);
    let (mut keys, mut has_ended) = (Vec::new(), false);
    while let Some(page) = pages.next().await {
        let page = page.unwrap();
        assert!(!has_ended, "a page follows the last one");
        has_ended = page.next.is_none();
        keys.extend(page.objects.into_iter().map(|object| object.key.as_str().to_owned()));
    }
    assert!(has_ended, "the last page says that it is");
    (keys, place.count("ListObjectsV2") - before)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_key_is_found_once_and_in_order() {
    let counted = (0..1000).map(|number| format!("p/d{:02}/f{number:04}", number / 20));
    let flat = (0..700).map(|number| format!("p/part-{number:05}.parquet"));
    let digests = (0..600u64).map(|n| format!("p/{:016x}", n.wrapping_mul(0x9E37_79B9_7F4A_7C15)));
    let dates = (0..300).map(|n| format!("p/year={}/month={:02}/x{n}", 2020 + n / 100, n % 12 + 1));
    let words = (0..300).map(|n| format!("p/{}/{n}.jpg", ["cat", "dog", "ü", "zebra/deep"][n % 4]));
    let odd = (0..300).map(|n| format!("p/{}", "9/".repeat(n % 7) + &"z".repeat(n)));
    let all: [BTreeSet<String>; 6] = [
        counted.collect(),
        flat.collect(),
        digests.collect(),
        dates.collect(),
        words.collect(),
        odd.collect(),
    ];
    let together = all.iter().flatten().cloned().collect();
    for mut keys in all.into_iter().chain([together]) {
        let beside = ["a".to_owned(), "p".to_owned(), "p!".to_owned(), "p0/x".to_owned(), "q/x".to_owned()];
        keys.extend(beside);
        let place = place_with(&keys).await;
        for prefix in ["p/", ""] {
            let (found, requests) = listed(&place, prefix).await;
            let expected: Vec<String> = keys.iter().filter(|key| key.starts_with(prefix)).cloned().collect();
            assert!(found == expected, "{} of {} below {prefix:?}", found.len(), expected.len());
            let least = expected.len().div_ceil(PAGE) as u64;
            assert!(
                requests <= 3 * least + 20,
                "{requests} requests for {least} pages of {:?}…",
                expected[9]
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_short_listing_costs_no_request_more() {
    let keys = (0..3 * PAGE).map(|number| format!("p/{number:04}")).collect();
    let place = place_with(&keys).await;
    assert_eq!(listed(&place, "p/").await.1, 3);
    assert_eq!(listed(&place, "nothing/").await, (Vec::new(), 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn ranges_are_listed_at_the_same_time() {
    let keys = (0..400).map(|number| format!("p/d{:02}/f{number:04}", number / 10)).collect();
    let place = place_with(&keys).await;
    // Every answer is late, that those which are asked for at the same time are open at the same time.
    let late = FaultAction::Delay { ms: 20 };
    place.server.inject(Fault { times: 1000, ..Fault::once(Some("ListObjectsV2"), late) });
    place.server.reset_counters();
    assert_eq!(listed(&place, "p/").await.0.len(), 400);
    let peak = place.server.counters().peak_open;
    assert!((4..=16).contains(&peak), "{peak} requests at a time");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_within_a_range_is_the_listing_s() {
    let keys: BTreeSet<String> =
        (0..500).map(|number| format!("p/d{:02}/f{number:04}", number / 10)).collect();
    let place = place_with(&keys).await;
    let first = ListRequest { prefix: "p/".to_owned(), ..ListRequest::default() };
    let first = place.store.list(first).await.unwrap();
    let mut pages = Pages::after(place.store.clone(), "p/".to_owned(), first);
    pages.next().await.unwrap().unwrap();
    for _ in 0..100 {
        place.strike("ListObjectsV2", FaultAction::AccessDenied);
    }
    let mut has_failed = false;
    while let Some(page) = pages.next().await {
        assert!(!has_failed, "nothing follows a failure");
        match page {
            Ok(page) => assert!(page.next.is_some(), "what is not complete does not look so"),
            Err(_) => has_failed = true,
        }
    }
    assert!(has_failed);
}

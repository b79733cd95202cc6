//! Interrupted copies between buckets.

use super::*;

fn copy_to(place: &Place, there: &Place, directory: &Path) -> Child {
    copy_command(place, directory).env(TARGET, there.server.endpoint_url()).spawn().unwrap()
}

async fn copied_to(place: &Place, there: &Place) -> Result<Report, Error> {
    let (from, to) = between();
    let (source, target) = (place.store.clone(), there.store.clone());
    pail_transfer::copy_between(source, &from, target, &to, &place.options, &Arc::default()).await
}

async fn open_copies(there: &Place) -> usize {
    there.store.open_uploads(&RawKey::new("e/large").unwrap()).await.unwrap().len()
}

// SEMANTICS: copies.4
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_between_buckets_that_is_killed_at_random_moments_goes_on_within_the_object() {
    let settings = Settings { bandwidth_bytes_per_s: 150_000_000, ..Settings::default() };
    let (place, there) = (Place::with(settings).await, Place::new().await);
    let large = noise(1, 12 * PART + 4_321);
    place.put("d/large", large.clone()).await;
    place.put("d/small", noise(2, 20_000)).await;
    let size = (large.len() + 20_000) as u64;
    let (mut kills, mut round) = (0, 0);
    while kills < 25 {
        round += 1;
        let directory = place.at(&round.to_string());
        place.server.reset_counters();
        there.server.reset_counters();
        let mut kills_here = 0;
        loop {
            let moment = MIB as u64 + rand::random::<u64>() % (5 * PART) as u64;
            let moment = place.server.counters().bytes_out + moment;
            if killed_at(&place, copy_to(&place, &there, &directory), moment).await {
                break;
            }
            kills_here += 1;
            if let Some(bytes) = there.object("e/large").await {
                // A kill between the end of an object and the note of it costs all of it: that is not what is counted here.
                assert!(bytes == large);
                break;
            }
        }
        kills += kills_here;
        let asked = ranges(&place);
        let (read, sent) = (place.server.counters().bytes_out, there.server.counters().bytes_in);
        assert!(killed_at(&place, copy_to(&place, &there, &directory), u64::MAX).await);
        assert!(there.object("e/large").await.unwrap() == large);
        assert_eq!(open_copies(&there).await, 0);
        assert_eq!(place.files(&format!("{round}/state")).len(), 1, "a manifest, and no journal");
        let again_max = kills_here * CONNECTIONS;
        let again = asked.len() - asked.iter().collect::<BTreeSet<_>>().len();
        assert!(again <= again_max, "{again} parts twice by {kills_here} kills");
        let bytes_max = size + (again_max * PART + (kills_here + 1) * 40_000) as u64;
        assert!(read <= bytes_max && sent <= bytes_max, "{read}, {sent} of {size} by {kills_here} kills");
        for name in ["e/large", "e/small"] {
            there.store.delete(&RawKey::new(name).unwrap(), Default::default()).await.unwrap();
        }
        fs::remove_dir_all(directory).unwrap();
    }
}

/// A copy of five parts that was interrupted when the target had two of them: by a kill, or in good order.
async fn interrupted_copy(is_killed: bool) -> (Place, Place) {
    // By its ETag, an object is the same when it carries something else.
    let settings = Settings { md5_etags: true, ..Settings::default() };
    let (place, there) = (Place::with(settings).await, Place::new().await);
    let place = Place { options: options_below(&place.at("a")), ..place };
    place.put("d/large", noise(1, 5 * PART - 7)).await;
    let late = FaultAction::Delay { ms: 600_000 };
    there.server.inject(Fault { skip: 2, times: 100, ..Fault::once(Some("UploadPart"), late) });
    let has_two = async || {
        let noted =
            || place.files("a/state/uploads").into_values().flatten().filter(|byte| *byte == b'\n').count();
        wait_until("two parts are noted", || noted() == 3).await;
        there.wait_for("UploadPart", 2 + CONNECTIONS as u64).await;
    };
    if is_killed {
        let mut copy = copy_to(&place, &there, &place.at("a"));
        has_two().await;
        copy.kill().unwrap();
        copy.wait().unwrap();
    } else {
        let (done, ()) = tokio::join!(copied_to(&place, &there), async {
            has_two().await;
            place.options.stop.cancel();
        });
        assert!(matches!(done, Err(Error::Stopped)), "{done:?}");
    }
    there.server.clear_faults();
    place.server.reset_counters();
    there.server.reset_counters();
    assert_eq!(open_copies(&there).await, 1);
    (Place { options: options_below(&place.at("a")), ..place }, there)
}

/// The uploads of the object that were begun, and the parts that were sent; a probe has its own.
fn begun_and_sent(there: &Place) -> (usize, usize) {
    let requests = there.server.requests();
    let count = |operation: &str| {
        requests.iter().filter(|record| record.operation == operation && record.key == "e/large").count()
    };
    (count("CreateMultipartUpload"), count("UploadPart"))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_copy_between_buckets_is_gone_on_with_and_verified() {
    for is_killed in [true, false] {
        let (place, there) = interrupted_copy(is_killed).await;
        let report = copied_to(&place, &there).await.unwrap();
        // Those of the earlier run are part of what was compared.
        assert_eq!(copied(&report), (1, 1, 2 * PART as u64), "{is_killed}");
        assert_eq!((begun_and_sent(&there), ranges(&place).len()), ((0, 3), 3));
        assert!(there.object("e/large").await.unwrap() == noise(1, 5 * PART - 7));
        assert_eq!((open_copies(&there).await, place.files("a/state/uploads").len()), (0, 0));
        assert_eq!(copied_to(&place, &there).await.unwrap().unchanged, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_copy_between_buckets_begins_anew_where_it_is_to_become_something_else() {
    let larger = (PART + MIB) as u64;
    for change in ["version", "attributes", "part size", "class"] {
        let (mut place, there) = interrupted_copy(false).await;
        let mut expected = noise(1, 5 * PART - 7);
        match change {
            "version" => {
                expected = noise(2, 5 * PART - 7);
                place.put("d/large", expected.clone()).await;
            }
            "attributes" => {
                let metadata = [("owner".to_owned(), "me".to_owned())].into();
                let attributes = pail_store::Attributes { metadata, ..Default::default() };
                let options = pail_store::PutOptions { attributes, ..Default::default() };
                let key = RawKey::new("d/large").unwrap();
                place.store.put(&key, expected.clone().into(), options).await.unwrap();
            }
            "part size" => place.options.part_bytes = larger,
            _ => place.options.new_objects = "of another class".to_owned(),
        }
        let report = copied_to(&place, &there).await.unwrap();
        assert_eq!((report.copied, report.resumed_bytes), (1, 0), "{change}");
        assert_eq!(begun_and_sent(&there), (1, 5), "{change}");
        assert!(there.object("e/large").await.unwrap() == expected);
        assert_eq!((open_copies(&there).await, place.files("a/state/uploads").len()), (0, 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_copy_between_buckets_of_what_is_not_copied_any_more_is_aborted() {
    for change in ["gone", "small"] {
        let (place, there) = interrupted_copy(true).await;
        place.put("d/other", "other").await;
        match change {
            "gone" => {
                let key = RawKey::new("d/large").unwrap();
                place.store.delete(&key, Default::default()).await.unwrap();
            }
            _ => place.put("d/large", "small").await,
        }
        copied_to(&place, &there).await.unwrap();
        assert_eq!((open_copies(&there).await, place.files("a/state/uploads").len()), (0, 0), "{change}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_the_store_has_ended_meanwhile_begins_anew() {
    for is_found_out_late in [false, true] {
        let (place, there) = interrupted_copy(true).await;
        let key = RawKey::new("e/large").unwrap();
        let open = there.store.open_uploads(&key).await.unwrap();
        there.store.abort_upload(&open[0].upload).await.unwrap();
        if is_found_out_late {
            // Who may not ask is told when it sends.
            there.strike("ListParts", FaultAction::AccessDenied);
        }
        there.server.reset_counters();
        let report = copied_to(&place, &there).await.unwrap();
        assert_eq!(copied(&report), (1, 1, 0), "{is_found_out_late}");
        assert_eq!(begun_and_sent(&there).0, 1);
        assert!(there.object("e/large").await.unwrap() == noise(1, 5 * PART - 7));
        assert!(there.server.waiting_faults().is_empty());
        assert_eq!((open_copies(&there).await, place.files("a/state/uploads").len()), (0, 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_damaged_in_an_upload_of_two_runs_is_copied_over() {
    let (place, there) = interrupted_copy(true).await;
    place.strike("GetObject", FaultAction::FlipBit { after_bytes: 700 });
    let report = copied_to(&place, &there).await.unwrap();
    assert_eq!(copied(&report), (1, 1, 0));
    assert!(there.object("e/large").await.unwrap() == noise(1, 5 * PART - 7));
    assert_eq!(open_copies(&there).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_copies_at_once_one_goes_on_and_the_other_has_its_own_upload() {
    let (place, there) = interrupted_copy(true).await;
    let (one, two) = tokio::join!(copied_to(&place, &there), copied_to(&place, &there));
    assert_eq!(one.unwrap().resumed_bytes + two.unwrap().resumed_bytes, 2 * PART as u64);
    assert!(there.object("e/large").await.unwrap() == noise(1, 5 * PART - 7));
    assert_eq!((open_copies(&there).await, place.files("a/state/uploads").len()), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_that_other_stores_keep_by_other_means_are_gone_on_with_too() {
    let (mut place, there) = (Place::new().await, Place::new().await);
    place.options.connections = 1;
    place.put("d/large", noise(1, 5 * PART - 7)).await;
    let source = bucket(&place, StoreKind::Gcs, BUCKET).await;
    let target = bucket(&there, StoreKind::Gcs, BUCKET).await;
    let (from, to) = between();
    let copy = async |options: &Options| {
        let progress = Arc::default();
        pail_transfer::copy_between(source.clone(), &from, target.clone(), &to, options, &progress).await
    };
    let late = Fault::once(Some("objects.insert"), FaultAction::Delay { ms: 600_000 });
    there.server.inject(Fault { key_contains: Some("/00003".to_owned()), ..late });
    let noted = || place.files("state/uploads").into_values().flatten().filter(|byte| *byte == b'\n').count();
    let (done, ()) = tokio::join!(copy(&place.options), async {
        wait_until("two parts are noted", || noted() == 3).await;
        // What arrives later would take the place of the next run's, and the store's name for it would be another.
        while keys(&there).await.len() < 3 {}
        place.options.stop.cancel();
    });
    assert!(matches!(done, Err(Error::Stopped)), "{done:?}");
    place.options.stop = Default::default();
    let report = copy(&place.options).await.unwrap();
    assert_eq!(copied(&report), (1, 1, 2 * PART as u64));
    assert!(there.object("e/large").await.unwrap() == noise(1, 5 * PART - 7));
    assert_eq!(keys(&there).await, ["e/large"], "no part is left");
    assert!(place.files("state/uploads").is_empty());
}

//! Interrupted downloads.

use super::*;

// SEMANTICS: copies.4
#[tokio::test(flavor = "multi_thread")]
async fn killed_at_fifty_moments_it_goes_on_and_fetches_no_part_again_that_was_there() {
    let settings = Settings { bandwidth_bytes_per_s: 150_000_000, ..Settings::default() };
    let place = Place::with(settings).await;
    let large = noise(1, 12 * PART + 4_321);
    place.put("d/large", large.clone()).await;
    let mut expected = BTreeMap::from([("large".to_owned(), large.to_vec())]);
    for index in 0..20 {
        let bytes = noise(index + 10, 20_000);
        place.put(&format!("d/sub/{index}"), bytes.clone()).await;
        expected.insert(format!("sub/{index}"), bytes.to_vec());
    }
    let size: usize = expected.values().map(Vec::len).sum();
    let (mut kills, mut target) = (0, 0);
    while kills < 50 {
        target += 1;
        let directory = place.at(&target.to_string());
        place.server.reset_counters();
        let mut kills_here = 0;
        loop {
            let moment = place.server.counters().bytes_out + rand::random::<u64>() % (5 * PART) as u64;
            if killed_at(&place, start_copy(&place, &directory), moment).await {
                break;
            }
            kills_here += 1;
            let large = fs::metadata(directory.join("target/large"));
            assert!(large.is_err() || large.unwrap().len() == expected["large"].len() as u64);
        }
        kills += kills_here;
        assert!(place.files(&format!("{target}/target")) == expected, "byte for byte, and nothing else");
        let asked = ranges(&place);
        let again = asked.len() - asked.iter().collect::<BTreeSet<_>>().len();
        assert!(again <= kills_here * CONNECTIONS, "{again} parts twice by {kills_here} kills");
        // Small files that were done within the last second may be sent again, and each run lists.
        let bytes_max = size + kills_here * (CONNECTIONS * PART + 21 * 20_000) + (kills_here + 1) * 20_000;
        let sent = place.server.counters().bytes_out;
        assert!(sent <= bytes_max as u64, "{sent} of {size} bytes by {kills_here} kills");
        fs::remove_dir_all(directory).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_copied_before_a_kill_is_known_after_it() {
    let place = Place::new().await;
    let mtime = [("mtime".to_owned(), "1000000.5".to_owned())];
    let attributes = pail_store::Attributes { metadata: mtime.into(), ..Default::default() };
    for index in 0..20u64 {
        let options = pail_store::PutOptions { attributes: attributes.clone(), ..Default::default() };
        let key = RawKey::new(format!("d/{index:02}")).unwrap();
        place.store.put(&key, noise(index, 1000).into(), options).await.unwrap();
    }
    place.put("d/zz", noise(1, 3 * PART)).await;
    let hangs =
        Fault { key_contains: Some("zz".into()), times: 100, ..Fault::once(Some("GetObject"), HANGS) };
    place.server.inject(hangs);
    let mut copy = start_copy(&place, &place.at("a"));
    let logged = || {
        let logs = place.files("a/state").into_iter().filter(|(name, _)| name.ends_with(".log"));
        logs.map(|(_, bytes)| bytes.iter().filter(|byte| **byte == b'\n').count()).sum::<usize>()
    };
    wait_until("all small files are noted", || logged() == 21).await;
    copy.kill().unwrap();
    copy.wait().unwrap();
    // Another tool's time in their metadata makes them other files than the listing tells of: the manifest alone knows.
    place.server.clear_faults();
    let next = Place { options: options_below(&place.at("a")), ..place };
    let report = next.download("d/", "a/target").await.unwrap();
    assert_eq!((report.copied, report.unchanged), (1, 20));
    assert_eq!(next.files("a/state").len(), 1, "a manifest, and no log");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_run_s_small_temporary_files_are_gone_after_the_next() {
    let place = Place::new().await;
    place.put("d/x", noise(1, 3 * MIB)).await;
    place.server.inject(Fault { times: 100, ..Fault::once(Some("GetObject"), HANGS) });
    let mut copy = start_copy(&place, &place.at("a"));
    wait_until("there is a temporary file", || in_parts(&place, "a/target").len() == 1).await;
    copy.kill().unwrap();
    copy.wait().unwrap();
    place.server.clear_faults();
    assert_eq!(place.files("a/target").len(), 1);
    let next = Place { options: options_below(&place.at("a")), ..place };
    next.download("d/", "a/target").await.unwrap();
    assert_eq!(next.files("a/target").into_keys().collect::<Vec<_>>(), ["x"]);
}

/// A run that was stopped after two of six parts were there.
async fn stopped(seed: u64) -> Place {
    let mut place = Place::new().await;
    place.options.connections = CONNECTIONS;
    place.put("d/o", noise(seed, 6 * PART - 100)).await;
    stop_after_two(place).await
}

/// Whether the one file in parts has bytes there.
fn is_written(place: &Place, at: usize) -> bool {
    let name = in_parts(place, "target").into_iter().next();
    let mut bytes = [0; 64];
    let file = name.and_then(|name| fs::File::open(place.at("target").join(name)).ok());
    file.is_some_and(|file| file.read_exact_at(&mut bytes, at as u64).is_ok()) && bytes != [0; 64]
}

async fn stop_after_two(place: Place) -> Place {
    place.server.reset_counters();
    place.server.inject(Fault { skip: 2, times: 100, ..Fault::once(Some("GetObject"), HANGS) });
    let (done, ()) = tokio::join!(place.download("d/", "target"), async {
        // The fourth request has the connection of one that is done, and so does the third.
        place.wait_for("GetObject", 4).await;
        wait_until("what has arrived is written", || {
            [2, 3].iter().all(|part| is_written(&place, part * PART))
        })
        .await;
        place.options.stop.cancel();
    });
    assert!(matches!(done, Err(Error::Stopped)), "{done:?}");
    assert_eq!(in_parts(&place, "target").len(), 1);
    place.server.clear_faults();
    place.server.reset_counters();
    let options = Options { stop: Default::default(), ..place.options.clone() };
    Place { options, ..place }
}

/// Whether it was copied and verified, with two parts from the run that was stopped, and what had arrived of two others.
fn has_gone_on(report: &Report) -> bool {
    let there = 2 * (PART + MIB) as u64..=2 * (PART + 3 * MIB) as u64;
    (report.copied, report.verified) == (1, 1) && there.contains(&report.resumed_bytes)
}

/// How many bytes the journal of the one file in parts says of each part that is under way.
fn noted_of_parts(place: &Place, dir: &str, size: usize) -> Vec<u64> {
    let files = place.files(dir);
    let Some(file) = files.iter().find(|(name, _)| name.contains(".pail-parts-")) else { return Vec::new() };
    // Behind the object's bytes, records of 24 bytes, each of which begins with a kind and a length above it.
    let records = file.1.get(size.next_multiple_of(4096)..).unwrap_or_default().chunks_exact(24);
    let len = |record: &[u8]| u64::from_le_bytes(record[..8].try_into().unwrap()) >> 8;
    records.take(size.div_ceil(PART)).map(len).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_run_is_gone_on_with_and_the_whole_is_verified() {
    let place = stopped(1).await;
    let report = place.download("d/", "target").await.unwrap();
    assert!(has_gone_on(&report), "{report:?}");
    assert_eq!(ranges(&place).len(), 4);
    let missing = (6 * PART - 100) as u64 - report.resumed_bytes;
    let sent = place.server.counters().bytes_out;
    assert!((missing..missing + 20_000).contains(&sent), "{sent} for {missing}");
    assert!(place.files("target") == BTreeMap::from([("o".to_owned(), noise(1, 6 * PART - 100).to_vec())]));
    assert_eq!(place.download("d/", "target").await.unwrap().unchanged, 1);
}

// SEMANTICS: copies.4
#[tokio::test(flavor = "multi_thread")]
async fn over_a_slow_link_a_killed_copy_goes_on_within_a_part() {
    let slow = Settings { bandwidth_bytes_per_s: 500_000, ..Settings::default() };
    let (place, size) = (Place::with(slow).await, 4 * PART);
    place.put("d/o", noise(1, size)).await;
    let mut copy = start_copy(&place, &place.at("a"));
    wait_until("something of two parts is noted", || {
        noted_of_parts(&place, "a/target", size).iter().filter(|len| **len > 0).count() == CONNECTIONS
    })
    .await;
    copy.kill().unwrap();
    copy.wait().unwrap();
    let there: u64 = noted_of_parts(&place, "a/target", size).iter().sum();
    place.server.set_settings(Settings::default());
    place.server.reset_counters();
    let next = Place { options: options_below(&place.at("a")), ..place };
    let report = next.download("d/", "a/target").await.unwrap();
    assert_eq!(copied(&report), (1, 1, there));
    let (missing, sent) = (size as u64 - there, next.server.counters().bytes_out);
    assert!((missing..missing + 20_000).contains(&sent), "{sent} for {missing}");
    assert!(next.files("a/target") == BTreeMap::from([("o".to_owned(), noise(1, size).to_vec())]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_damaged_of_a_part_under_way_is_fetched_again() {
    let place = stopped(1).await;
    let path = place.at("target").join(&in_parts(&place, "target")[0]);
    let file = fs::File::options().write(true).open(&path).unwrap();
    // Of the parts that hung.
    for part in 2..6 {
        file.write_all_at(b"?", (part * PART + 7) as u64).unwrap();
    }
    drop(file);
    let report = place.download("d/", "target").await.unwrap();
    assert_eq!(copied(&report), (1, 1, 2 * PART as u64));
    assert!(place.files("target") == BTreeMap::from([("o".to_owned(), noise(1, 6 * PART - 100).to_vec())]));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_state_directory_it_is_gone_on_with_too() {
    let mut place = Place::new().await;
    (place.options.connections, place.options.state_dir) = (CONNECTIONS, None);
    place.put("d/o", noise(1, 6 * PART)).await;
    let place = stop_after_two(place).await;
    assert!(has_gone_on(&place.download("d/", "target").await.unwrap()));
    assert!(place.files("target") == BTreeMap::from([("o".to_owned(), noise(1, 6 * PART).to_vec())]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_was_replaced_meanwhile_is_not_mixed_with_what_is_there() {
    let place = stopped(1).await;
    let new = noise(2, 6 * PART - 100);
    place.put("d/o", new.clone()).await;
    let report = place.download("d/", "target").await.unwrap();
    assert_eq!(copied(&report), (1, 1, 0));
    assert!(
        place.files("target") == BTreeMap::from([("o".to_owned(), new.to_vec())]),
        "and the old parts are gone"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_is_replaced_while_it_is_gone_on_with_starts_over_once() {
    let place = stopped(1).await;
    let new = noise(2, 6 * PART);
    place.strike("GetObject", FaultAction::Stall { after_bytes: 1 << 20, for_ms: None });
    let (report, ()) = tokio::join!(place.download("d/", "target"), async {
        place.wait_for("GetObject", 1).await;
        place.put("d/o", new.clone()).await;
    });
    assert_eq!(copied(&report.unwrap()), (1, 1, 0));
    assert!(place.files("target") == BTreeMap::from([("o".to_owned(), new.to_vec())]), "nothing else");
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_of_what_is_no_longer_wanted_are_removed_by_a_run_that_has_everything() {
    let place = stopped(1).await;
    place.store.delete(&RawKey::new("d/o").unwrap(), Default::default()).await.unwrap();
    place.put("d/p", noise(3, 2 * PART)).await;
    place.download("d/", "target").await.unwrap();
    assert_eq!(place.files("target").into_keys().collect::<Vec<_>>(), ["p"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_object_s_copy_leaves_the_parts_of_its_neighbours() {
    let place = stopped(1).await;
    place.put("p", noise(3, 2 * PART)).await;
    place.download_of(&Source::Object(RawKey::new("p").unwrap()), "target/p").await.unwrap();
    assert!(has_gone_on(&place.download("d/", "target").await.unwrap()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_journal_counts_as_none() {
    for damage in ["cut", "head", "emptied"] {
        let place = stopped(1).await;
        let path = place.at("target").join(&in_parts(&place, "target")[0]);
        let file = fs::File::options().write(true).open(&path).unwrap();
        let len = file.metadata().unwrap().len();
        match damage {
            "cut" => file.set_len(len - 1).unwrap(),
            "head" => file.write_all_at(b"?", len - 60).unwrap(),
            _ => file.set_len(0).unwrap(),
        }
        let report = place.download("d/", "target").await.unwrap();
        assert_eq!(copied(&report), (1, 1, 0), "{damage}");
        assert!(
            place.files("target") == BTreeMap::from([("o".to_owned(), noise(1, 6 * PART - 100).to_vec())])
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_runs_at_once_have_a_file_each() {
    let place = stopped(1).await;
    let (one, two) = tokio::join!(place.download("d/", "target"), place.download("d/", "target"));
    let (one, two) = (one.unwrap(), two.unwrap());
    assert!(has_gone_on(&one) != has_gone_on(&two), "one of them goes on");
    assert_eq!(one.resumed_bytes.min(two.resumed_bytes), 0, "the other has its own");
    assert!(place.files("target") == BTreeMap::from([("o".to_owned(), noise(1, 6 * PART - 100).to_vec())]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_interrupted_download_leaves_is_not_uploaded() {
    let place = stopped(1).await;
    fs::write(place.at("target/own"), "x").unwrap();
    let report = place.upload("target", "up/").await.unwrap();
    assert_eq!((report.copied, report.is_complete()), (1, true));
}

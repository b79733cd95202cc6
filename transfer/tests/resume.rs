//! Interrupted downloads that go on, and bytes that arrive otherwise than they are stored.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use pail_devserver::{Fault, FaultAction, RequestRecord, Settings};
use pail_store::{CallerVariables, RawKey, S3Store, Store, StoreKind, StoreOptions};
use pail_transfer::{Destination, Error, Options, Report, Source, UploadSource};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use support::{BUCKET, MIB, Place, bucket, keys, noise, wait_until};

const PART: usize = 5 * MIB;
const CONNECTIONS: usize = 2;
/// Where [`copy_in_a_process`] is told what to do.
const ENDPOINT: &str = "PAIL_TEST_ENDPOINT";
const DIRECTORY: &str = "PAIL_TEST_DIRECTORY";
/// Set, it sends.
const UPLOADS: &str = "PAIL_TEST_UPLOADS";
/// Set, it copies to the bucket at this endpoint.
const TARGET: &str = "PAIL_TEST_TARGET";
const HANGS: FaultAction = FaultAction::Stall { after_bytes: 1 << 20, for_ms: None };

/// The process that the tests kill: this program again, with what to copy in its environment. Without that it is no test, and does nothing.
#[tokio::test(flavor = "multi_thread")]
async fn copy_in_a_process() {
    let (Ok(endpoint), Ok(directory)) = (std::env::var(ENDPOINT), std::env::var(DIRECTORY)) else { return };
    let store = open(&endpoint).await;
    let directory = PathBuf::from(directory);
    let options = options_below(&directory);
    if let Ok(target) = std::env::var(TARGET) {
        let (from, to) = between();
        let target = open(&target).await;
        pail_transfer::copy_between(store, &from, target, &to, &options, &Arc::default()).await.unwrap();
        return;
    }
    if std::env::var_os(UPLOADS).is_some() {
        let sources = UploadSource::content_of(&directory.join("source"), "up/").unwrap();
        pail_transfer::upload(store, &sources, &options, &Arc::default()).await.unwrap();
        return;
    }
    let source = Source::Prefix("d/".to_owned());
    let target = directory.join("target");
    pail_transfer::download(store, &source, &target, &options, &Arc::default()).await.unwrap();
}

async fn open(endpoint: &str) -> Arc<dyn Store> {
    let keys = [("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "testtest")];
    let options = StoreOptions {
        endpoint_url: Some(endpoint.to_owned()),
        environment: Some(CallerVariables(keys.map(|(n, v)| (n.to_owned(), v.to_owned())).into())),
        ..StoreOptions::s3(BUCKET)
    };
    S3Store::open(options).await.unwrap()
}

fn between() -> (Source, Destination) {
    (Source::Prefix("d/".to_owned()), Destination::Prefix("e/".to_owned()))
}

fn options_below(directory: &Path) -> Options {
    Options {
        connections: CONNECTIONS,
        part_bytes: PART as u64,
        state_dir: Some(directory.join("state")),
        ..Options::default()
    }
}

fn start_copy(place: &Place, directory: &Path) -> Child {
    copy_command(place, directory).spawn().unwrap()
}

fn copy_command(place: &Place, directory: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "copy_in_a_process"])
        .env(ENDPOINT, place.server.endpoint_url())
        .env(DIRECTORY, directory)
        .stdout(Stdio::null());
    command
}

/// Waits for the end of a copy, or kills it when the server has sent so many bytes. Returns whether it came to its end.
async fn killed_at(place: &Place, mut copy: Child, bytes: u64) -> bool {
    let mut has_ended = None;
    wait_until("the copy ends, or has got as far as it may", || {
        has_ended = copy.try_wait().unwrap();
        has_ended.is_some() || place.server.counters().bytes_out >= bytes
    })
    .await;
    copy.kill().unwrap();
    let status = copy.wait().unwrap();
    assert!(has_ended.is_none() || status.success(), "{status}");
    has_ended.is_some()
}

/// The ranges that were asked for, in order.
fn ranges(place: &Place) -> Vec<String> {
    let of_parts =
        |record: RequestRecord| (record.operation == "GetObject").then_some(record.range).flatten();
    place.server.requests().into_iter().filter_map(of_parts).collect()
}

/// The names of files in parts.
fn in_parts(place: &Place, dir: &str) -> Vec<String> {
    place.files(dir).into_keys().filter(|name| name.contains(".pail-")).collect()
}

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

fn copied(report: &Report) -> (u64, u64, u64) {
    (report.copied, report.verified, report.resumed_bytes)
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

/// An upload of five parts that was killed when the store had two of them.
async fn killed_upload() -> Place {
    let place = Place::new().await;
    fs::create_dir_all(place.at("a/source")).unwrap();
    fs::write(place.at("a/source/large"), noise(1, 5 * PART - 7)).unwrap();
    fs::write(place.at("a/source/small"), "small").unwrap();
    let late = FaultAction::Delay { ms: 600_000 };
    place.server.inject(Fault { skip: 2, times: 100, ..Fault::once(Some("UploadPart"), late) });
    let mut copy = copy_command(&place, &place.at("a")).env(UPLOADS, "1").spawn().unwrap();
    let noted =
        || place.files("a/state/uploads").into_values().flatten().filter(|byte| *byte == b'\n').count();
    wait_until("two parts are noted", || noted() == 3).await;
    // What arrives later would be counted as the next run's.
    place.wait_for("UploadPart", 2 + CONNECTIONS as u64).await;
    copy.kill().unwrap();
    copy.wait().unwrap();
    place.server.clear_faults();
    place.server.reset_counters();
    assert_eq!(open_uploads(&place).await, 1);
    Place { options: options_below(&place.at("a")), ..place }
}

async fn open_uploads(place: &Place) -> usize {
    place.store.open_uploads(&RawKey::new("up/large").unwrap()).await.unwrap().len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_upload_is_gone_on_with() {
    let place = killed_upload().await;
    let report = place.upload("a/source", "up/").await.unwrap();
    assert_eq!(report.resumed_bytes, 2 * PART as u64);
    assert_eq!((place.count("UploadPart"), place.count("CreateMultipartUpload")), (3, 0));
    assert!(place.object("up/large").await.unwrap() == noise(1, 5 * PART - 7));
    assert_eq!(open_uploads(&place).await, 0);
    assert!(place.files("a/state/uploads").is_empty());
    assert_eq!(place.upload("a/source", "up/").await.unwrap().unchanged, 2);
}

// SEMANTICS: copies.4
#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_is_stopped_is_gone_on_with() {
    let mut place = Place::new().await;
    fs::create_dir_all(place.at("source")).unwrap();
    fs::write(place.at("source/large"), noise(1, 5 * PART)).unwrap();
    let late = FaultAction::Delay { ms: 600_000 };
    place.server.inject(Fault { skip: 2, times: 100, ..Fault::once(Some("UploadPart"), late) });
    let noted = || place.files("state/uploads").into_values().flatten().filter(|byte| *byte == b'\n').count();
    let (done, ()) = tokio::join!(place.upload("source", "up/"), async {
        wait_until("two parts are noted", || noted() == 3).await;
        place.wait_for("UploadPart", 5).await;
        place.options.stop.cancel();
    });
    assert!(matches!(done, Err(Error::Stopped)), "{done:?}");
    place.server.clear_faults();
    place.server.reset_counters();
    place.options.stop = Default::default();
    let report = place.upload("source", "up/").await.unwrap();
    assert_eq!((report.resumed_bytes, place.count("UploadPart")), (2 * PART as u64, 3));
    assert!(place.object("up/large").await.unwrap() == noise(1, 5 * PART));
    assert_eq!(open_uploads(&place).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_is_not_gone_on_with_to_become_another_kind_of_object() {
    let mut place = killed_upload().await;
    place.options.new_objects = "of another class".to_owned();
    let report = place.upload("a/source", "up/").await.unwrap();
    assert_eq!((report.resumed_bytes, place.count("CreateMultipartUpload")), (0, 1));
    assert_eq!(open_uploads(&place).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_upload_of_a_file_that_changed_or_went_is_aborted() {
    let place = killed_upload().await;
    fs::write(place.at("a/source/large"), noise(2, 5 * PART - 7)).unwrap();
    let report = place.upload("a/source", "up/").await.unwrap();
    assert_eq!((report.resumed_bytes, place.count("UploadPart")), (0, 5));
    assert!(place.object("up/large").await.unwrap() == noise(2, 5 * PART - 7));
    assert_eq!(open_uploads(&place).await, 0);

    let place = killed_upload().await;
    fs::remove_file(place.at("a/source/large")).unwrap();
    place.upload("a/source", "up/").await.unwrap();
    assert_eq!(open_uploads(&place).await, 0);
    assert!(place.files("a/state/uploads").is_empty());
}

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

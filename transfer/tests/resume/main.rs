//! Copies that are interrupted, and gone on with by the next run: downloads, uploads, and copies between buckets.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod between_buckets;
mod downloads;
#[path = "../support/mod.rs"]
mod support;
mod uploads;

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

fn copied(report: &Report) -> (u64, u64, u64) {
    (report.copied, report.verified, report.resumed_bytes)
}

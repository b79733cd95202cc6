//! Downloads of keys that mean harm, and into directories that do.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod support;

use pail_store::{MemoryStore, Payload, PutOptions, RawKey, Store};
use pail_transfer::{Error, Options, Report, Source};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use support::{Place, names};

/// Keys below the prefix that no file can have. In every one what would be written begins with this.
const CONTENT: &str = "hostile";

fn hostile_keys() -> Vec<String> {
    let long = "n".repeat(256);
    let fixed = [
        "..",
        "../x",
        "../../x",
        "../../../../../../../../tmp/pail-hostile",
        "./x",
        ".",
        "x/.",
        "x/..",
        "x/../y",
        "x/../../y",
        "x/./y",
        "/x",
        "//x",
        "/",
        "/etc/pail-hostile",
        "/tmp/pail-hostile",
        "a//b",
        "a///b",
        "x//",
        "../",
        "../evil/",
        "x/../",
        "./",
        "nul\0l",
        "\0",
        "x/\0/y",
        "dir/../../sibling/file",
        "..//..//x",
        "d/..",
        "../target-sibling/x",
    ];
    let mut keys: Vec<String> = fixed.map(str::to_owned).into();
    keys.extend([long.clone(), format!("{long}/x"), format!("x/{long}")]);
    keys
}

async fn copy(store: &MemoryStore, target: &Path) -> Result<Report, Error> {
    let source = Source::Prefix("p/".to_owned());
    pail_transfer::download(Arc::new(store.clone()), &source, target, &Options::default(), &Arc::default())
        .await
}

async fn store_of(keys: &[String]) -> MemoryStore {
    let store = MemoryStore::new("bucket");
    for key in keys {
        let payload = Payload::Bytes(CONTENT.into());
        store.put(&RawKey::new(format!("p/{key}")).unwrap(), payload, PutOptions::default()).await.unwrap();
    }
    store
}

fn paths_below(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(next) = dirs.pop() {
        for entry in fs::read_dir(next).unwrap().map(Result::unwrap) {
            found.push(entry.path().strip_prefix(dir).unwrap().to_string_lossy().into_owned());
            if entry.file_type().unwrap().is_dir() {
                dirs.push(entry.path());
            }
        }
    }
    found.sort();
    found
}

// SEMANTICS: copies.1, copies.2
#[tokio::test(flavor = "multi_thread")]
async fn hostile_keys_write_nothing_outside_and_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("1/2/3/target");
    let hostile = hostile_keys();
    assert!(hostile.len() >= 30);
    let good = ["x/y", "ok", "dir/file", "...", "..x", "x/..y"].map(str::to_owned);
    let store = store_of(&[hostile.clone(), good.to_vec()].concat()).await;
    let report = copy(&store, &target).await.unwrap();

    let mut expected: Vec<_> = hostile.iter().map(|key| format!("p/{key}")).collect();
    expected.sort();
    assert_eq!(names(&report.skipped), expected);
    assert_eq!((report.copied, report.failed.count), (good.len() as u64, 0));
    let inside = ["...", "..x", "dir", "dir/file", "ok", "x", "x/..y", "x/y"];
    let all = ["1", "1/2", "1/2/3", "1/2/3/target"].map(str::to_owned).into_iter();
    let all = all.chain(inside.map(|path| format!("1/2/3/target/{path}")));
    assert_eq!(paths_below(dir.path()), all.collect::<Vec<_>>());
    assert!(!Path::new("/tmp/pail-hostile").exists() && !Path::new("/etc/pail-hostile").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn links_in_the_target_are_not_followed() {
    let dir = tempfile::tempdir().unwrap();
    let (target, outside) = (dir.path().join("target"), dir.path().join("outside"));
    fs::create_dir_all(target.join("inner")).unwrap();
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("precious"), "precious").unwrap();
    symlink(&outside, target.join("absolute")).unwrap();
    symlink("../outside", target.join("relative")).unwrap();
    symlink("inner", target.join("within")).unwrap();
    symlink(&outside, target.join("inner/deeper")).unwrap();
    symlink(outside.join("precious"), target.join("file")).unwrap();
    let keys = [
        "absolute/x",
        "relative/precious",
        "within/x",
        "inner/deeper/precious",
        "absolute/new/x",
        "absolute/made/",
        "file",
        "ok",
    ];
    let store = store_of(&keys.map(str::to_owned)).await;
    let marker = RawKey::new("p/absolute/marker/").unwrap();
    store.put(&marker, Payload::Bytes("".into()), PutOptions::default()).await.unwrap();
    let report = copy(&store, &target).await.unwrap();

    let refused = [
        "absolute/marker/",
        "absolute/new/x",
        "absolute/x",
        "inner/deeper/precious",
        "relative/precious",
        "within/x",
    ];
    let mut expected: Vec<String> = refused.map(|key| format!("p/{key}")).into();
    // A marker with content cannot be a directory in the first place.
    assert_eq!(names(&report.skipped), ["p/absolute/made/"]);
    expected.sort();
    assert_eq!(names(&report.failed), expected);
    assert!(report.failed.named.iter().all(|problem| problem.why.contains("symbolic link")), "{report:?}");
    assert_eq!(paths_below(&outside), ["precious"]);
    assert_eq!(fs::read_to_string(outside.join("precious")).unwrap(), "precious");
    // A link in a file's own place is replaced, as a rename does.
    assert!(target.join("file").symlink_metadata().unwrap().is_file());
    assert_eq!(fs::read_to_string(target.join("ok")).unwrap(), CONTENT);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_target_itself_may_be_reached_by_a_link() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("real")).unwrap();
    symlink("real", dir.path().join("link")).unwrap();
    copy(&store_of(&["x".to_owned()]).await, &dir.path().join("link")).await.unwrap();
    assert_eq!(paths_below(&dir.path().join("real")), ["x"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_name_and_a_directory_the_directory_is_copied() {
    let place = Place::with(pail_devserver::Settings { list_page_max: 2, ..Default::default() }).await;
    for key in ["d/a", "d/a!", "d/a.txt", "d/a/b", "d/a/b/c", "d/e", "d/e/", "d/f//g", "d/f"] {
        place.put(key, if key.ends_with('/') { "" } else { "x" }).await;
    }
    let report = place.download("d/", "target").await.unwrap();
    assert_eq!(names(&report.skipped), ["d/a", "d/a/b", "d/e", "d/f//g"]);
    let files: Vec<String> = place.files("target").into_keys().collect();
    assert_eq!(files, ["a!", "a.txt", "a/b/c", "f"]);
    assert!(place.at("target/e").is_dir());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_the_way_is_named_and_stays() {
    let place = Place::new().await;
    for key in ["d/directory", "d/file/below", "d/ok"] {
        place.put(key, "x").await;
    }
    fs::create_dir_all(place.at("target/directory/full")).unwrap();
    fs::write(place.at("target/file"), "mine").unwrap();
    let report = place.download("d/", "target").await.unwrap();
    assert_eq!((report.copied, names(&report.failed)), (1, vec!["d/directory", "d/file/below"]));
    let left = BTreeMap::from([("file".to_owned(), b"mine".to_vec()), ("ok".to_owned(), b"x".to_vec())]);
    assert_eq!(place.files("target"), left);
}

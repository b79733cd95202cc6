//! Keys that no path can show: how many are told of.

use crate::{errno, no_ttl};
use pail_store::{Condition, RawKey, Store};
use pail_tests::files::Files;

async fn delete(files: &Files, key: &str) {
    files.bucket.delete(&RawKey::new(key).unwrap(), Condition::None).await.unwrap();
}

// SEMANTICS: names.5
#[tokio::test]
async fn hidden_keys_are_counted_as_the_last_listings_told() {
    let files = Files::with(no_ttl());
    for (key, bytes) in [
        ("a//b", "1"),
        ("a//c", "1"),
        ("a/f", "1"),
        ("dir/", "bytes"),
        ("x", "1"),
        ("x/y", "1"),
        ("empty/", ""),
    ] {
        files.put(key, bytes).await;
    }
    let counted = async || {
        for dir in ["", "a", "dir", "x", "empty"] {
            // A directory may be gone by now.
            drop(files.list(dir).await);
        }
        // What lies below names that no path can hold is told by a flat listing alone.
        files.lookup("a").await.unwrap();
        files.fs.status().hidden_keys
    };
    assert_eq!(counted().await, 4, "a//b, a//c, dir/ and x");
    assert_eq!(counted().await, 4, "each once");
    delete(&files, "a//b").await;
    assert_eq!(counted().await, 3);
    files.put("dir/", "").await;
    assert_eq!(counted().await, 2);
    delete(&files, "x/y").await;
    assert_eq!(counted().await, 1);
    assert_eq!(&files.read("x").await.unwrap()[..], b"1");
    delete(&files, "a//c").await;
    assert_eq!(counted().await, 0);
}

// SEMANTICS: names.5
#[tokio::test]
async fn a_directory_is_not_empty_for_whatever_hides_in_it() {
    let files = Files::with(no_ttl());
    for key in ["a//b", "dots/.", "below/sub/../x", "both/x"] {
        files.put(key, "1").await;
    }
    files.put("marker/", "bytes").await;
    for i in 0..1_200 {
        files.put(&format!("many//{i:04}"), "1").await;
    }
    files.put("both//hidden", "1").await;
    let why = async |dir: &str| files.rmdir(dir).await.unwrap_err();
    for dir in ["a", "dots", "below/sub", "marker", "many"] {
        let error = why(dir).await;
        assert_eq!(error.errno(), libc::ENOTEMPTY, "{dir}");
        let told = format!("keys that no path can show, such as {dir}/");
        assert!(error.is_fault() && error.to_string().contains(&told), "{dir}: {error}");
    }
    for dir in ["both", "below"] {
        let error = why(dir).await;
        assert!(
            error.errno() == libc::ENOTEMPTY && !error.is_fault(),
            "{dir} holds what a path shows: {error}"
        );
    }
    assert_eq!(errno(files.rmdir("none").await), libc::ENOENT);
}

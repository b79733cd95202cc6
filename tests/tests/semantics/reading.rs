//! What reads give, whatever happens meanwhile.

use crate::{free_all, no_ttl, pattern};
use pail_tests::files::{Files, READ, WRITE, is_like_gcs};
use std::sync::Arc;

// SEMANTICS: reading.1
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_read_anywhere_at_once() {
    let files = Arc::new(Files::new());
    let bytes = Arc::new(pattern(5 << 20));
    files.put("f", bytes.to_vec()).await;
    let handle = files.open("f", READ).await.unwrap();
    let readers = (0..16usize).map(|reader| {
        let (files, bytes) = (files.clone(), bytes.clone());
        tokio::spawn(async move {
            for step in 0..50usize {
                let at = (reader * 7_919_333 + step * 1_299_721) % bytes.len();
                let got = files.fs.read(handle, at as u64, 70_001).await.unwrap();
                assert!(got[..] == bytes[at..(at + 70_001).min(bytes.len())], "at {at}");
            }
        })
    });
    for reader in readers {
        reader.await.unwrap();
    }
}

// SEMANTICS: reading.2, reading.3
#[tokio::test]
async fn versions_are_never_mixed() {
    let files = Files::with(no_ttl());
    // Far more than a first read fetches ahead: the rest has to be asked for after the change.
    let (old, new) = (pattern(48 << 20), vec![7; 48 << 20]);
    files.put("f", old.clone()).await;
    let handle = files.open("f", READ).await.unwrap();
    let first = files.fs.read(handle, 0, 100).await.unwrap();
    assert_eq!(&first[..], &old[..100]);
    files.put("f", new.clone()).await;
    let mut at = 0;
    let error = loop {
        match files.fs.read(handle, at as u64, 1 << 20).await {
            Ok(bytes) => {
                assert!(!bytes.is_empty(), "all of it was read, so that this test shows nothing");
                assert!(bytes[..] == old[at..at + bytes.len()], "versions are mixed at {at}");
                at += bytes.len();
            }
            Err(error) => break error,
        }
    };
    assert_eq!(error.errno(), libc::ESTALE);
    let last = files.fs.read(handle, old.len() as u64 - 100, 100).await;
    assert_eq!(
        last.map(|bytes| bytes[..] == old[old.len() - 100..]).map_err(|error| error.errno()),
        Err(libc::ESTALE)
    );
    // The name leads to the new version, in another inode.
    assert!(files.read("f").await.unwrap()[..] == new[..]);
}

// SEMANTICS: reading.2
#[tokio::test]
async fn an_open_finds_the_version_that_stands_and_keeps_it() {
    let files = Files::new();
    files.put("f", "old").await;
    files.lookup("f").await.unwrap();
    files.put("f", "newer and longer").await;
    let handle = files.open("f", READ).await.unwrap();
    files.put("f", "newest").await;
    assert_eq!(&files.read_handle(handle).await.unwrap()[..], b"newer and longer");
    files.close(handle).await.unwrap();
}

// SEMANTICS: reading.2, reading.5
#[tokio::test]
async fn of_a_large_file_that_is_cached_in_part_only_the_version_is_asked_for() {
    let (files, bytes) = (Files::new(), pattern(40 << 20));
    files.put("f", bytes.clone()).await;
    let handle = files.open("f", READ).await.unwrap();
    files.fs.read(handle, 0, 4096).await.unwrap();
    files.close(handle).await.unwrap();
    files.requests.take();
    let handle = files.open("f", READ).await.unwrap();
    assert_eq!(files.requests.take(), ["head f"]);
    files.close(handle).await.unwrap();
    // What is here can be read while the bucket does not answer.
    files.requests.fail("head", "f", pail_store::ErrorKind::Unreachable, 1);
    let handle = files.open("f", READ).await.unwrap();
    assert!(files.fs.read(handle, 1000, 4096).await.unwrap()[..] == bytes[1000..5096]);
    files.close(handle).await.unwrap();
}

// SEMANTICS: reading.2
#[tokio::test]
async fn opening_and_reading_a_small_file_is_one_request() {
    let files = Files::new();
    files.put("f", pattern(300_000)).await;
    files.lookup("f").await.unwrap();
    files.requests.take();
    assert_eq!(files.read("f").await.unwrap(), pattern(300_000));
    assert_eq!(files.requests.take(), ["get f"]);
}

// SEMANTICS: reading.4
#[tokio::test]
async fn readers_see_the_writers_bytes() {
    let files = Files::new();
    let bytes = pattern(300_000);
    files.put("f", bytes.clone()).await;
    let reader = files.open("f", READ).await.unwrap();
    let writer = files.open("f", WRITE).await.unwrap();
    files.fs.write(writer, 200_000, b"HERE").await.unwrap();
    assert_eq!(
        &files.fs.read(reader, 199_998, 8).await.unwrap()[..],
        [&bytes[199_998..200_000], b"HERE", &bytes[200_004..200_006]].concat()
    );
    files.close(writer).await.unwrap();
    assert_eq!(&files.fs.read(reader, 200_000, 4).await.unwrap()[..], b"HERE");
    let mut expected = bytes;
    expected[200_000..200_004].copy_from_slice(b"HERE");
    assert_eq!(files.get("f").await.unwrap(), expected);
    files.close(reader).await.unwrap();
}

// SEMANTICS: reading.4, reading.5
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_read_that_a_publish_and_an_eviction_overtake_gives_the_bytes() {
    if is_like_gcs() {
        // Where no part can be copied, a publish waits for the same bytes as the read.
        return;
    }
    let files = Arc::new(Files::new());
    let mut bytes = pattern(24 << 20);
    files.put("f", bytes.clone()).await;
    let writer = files.open("f", WRITE).await.unwrap();
    let reader = files.open("f", READ).await.unwrap();
    // The second of three parts is written, the others are to be copied by the server.
    bytes[8 << 20..16 << 20].fill(7);
    for at in (8 << 20..16 << 20).step_by(1 << 20) {
        files.fs.write(writer, at as u64, &bytes[at..at + (1 << 20)]).await.unwrap();
    }
    // The read waits for the bytes before what was written, while the file is published and its local bytes go.
    let held = files.requests.hold("get", "f");
    let start = (8 << 20) - 65_536;
    let read = tokio::spawn({
        let files = files.clone();
        async move { files.fs.read(reader, start as u64, 131_072).await }
    });
    held.reached().await;
    files.close(writer).await.unwrap();
    files.cache.drain().await;
    free_all(&files.dir().join("clean/replicas"));
    drop(held);
    assert!(read.await.unwrap().unwrap() == bytes[start..start + 131_072], "bytes were lost on the way");
    files.close(reader).await.unwrap();
}

// SEMANTICS: reading.5
#[tokio::test]
async fn what_was_read_or_written_once_is_not_asked_for_again() {
    let files = Files::new();
    files.put("read", pattern(500_000)).await;
    files.read("read").await.unwrap();
    files.write("written", &pattern(500_000)).await.unwrap();
    files.requests.take();
    files.read("read").await.unwrap();
    files.read("written").await.unwrap();
    assert_eq!(files.requests.take(), Vec::<String>::new());
}

// SEMANTICS: reading.2, reading.4
#[tokio::test]
async fn a_publish_takes_no_bytes_from_those_who_read_meanwhile() {
    let (files, bytes) = (Files::new(), pattern(24 << 20));
    files.put("f", bytes.clone()).await;
    let writer = files.open("f", WRITE).await.unwrap();
    let reader = files.open("f", READ).await.unwrap();
    files.fs.write(writer, 0, b"mine").await.unwrap();
    let held = files.requests.hold("complete_upload", "f");
    let fs = files.fs.clone();
    let publish = tokio::spawn(async move { fs.fsync(writer).await });
    // The version that it was opened from is gone, and nobody here knows yet what took its place.
    held.reached().await;
    files.requests.take();
    let fs = files.fs.clone();
    let read = tokio::spawn(async move { fs.read(reader, 20 << 20, 1000).await });
    // Or it has them already, where the whole file was to be sent.
    while !(read.is_finished() || files.requests.take().iter().any(|request| request == "get f")) {
        tokio::task::yield_now().await;
    }
    drop(held);
    assert!(read.await.unwrap().unwrap()[..] == bytes[20 << 20..][..1000]);
    publish.await.unwrap().unwrap();
    files.close(writer).await.unwrap();
}

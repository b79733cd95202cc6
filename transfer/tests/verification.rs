//! What arrives otherwise than the store has it: by the store's checksum, and by an ETag that is an MD5 where there is none.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod support;

use pail_devserver::{Fault, FaultAction, Quirks, Settings};
use pail_transfer::{Destination, Source};
use std::fs;
use std::sync::Arc;
use support::{MIB, Place, names, noise};

const PART: usize = 5 * MIB;
/// In one request and one buffer, in one request, in parts.
const SIZES: [(&str, usize); 3] = [("d/small", 1000), ("d/single", 2 * MIB), ("d/parts", 3 * PART)];

async fn place(no_checksums: bool) -> Place {
    let quirks = Quirks { no_checksums, ..Quirks::default() };
    let place = Place::with(Settings { quirks, md5_etags: true, ..Settings::default() }).await;
    // Known, it is sent checksums of the whole.
    place.store.capabilities().await.unwrap();
    place
}

async fn put(place: &Place, key: &str, bytes: bytes::Bytes) {
    let key = pail_store::RawKey::new(key).unwrap();
    place.store.put(&key, bytes.into(), Default::default()).await.unwrap();
}

fn flip(place: &Place, key: &str, times: u32) {
    let flip = FaultAction::FlipBit { after_bytes: 700 };
    place.server.inject(Fault {
        key_contains: Some(key.to_owned()),
        times,
        ..Fault::once(Some("GetObject"), flip)
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_bytes_are_fetched_over_once() {
    for no_checksums in [false, true] {
        let place = place(no_checksums).await;
        for (seed, (key, size)) in (0..).zip(SIZES) {
            put(&place, key, noise(seed, size)).await;
            flip(&place, key, 1);
        }
        let report = place.download("d/", "target").await.unwrap();
        assert!(place.server.waiting_faults().is_empty());
        let counts = (report.copied, report.verified, report.unverified, report.corrupt);
        assert_eq!(counts, (3, 3, 0, 0), "{no_checksums}");
        for (seed, (key, size)) in (0..).zip(SIZES) {
            assert!(place.files("target")[&key[2..]] == noise(seed, size), "{key}");
        }
    }
}

// SEMANTICS: copies.3
#[tokio::test(flavor = "multi_thread")]
async fn what_is_damaged_twice_gets_no_name_and_is_told() {
    for (no_checksums, said) in [(false, ["checksum", "CRC"]), (true, ["MD5", "--no-etag-check"])] {
        let place = place(no_checksums).await;
        fs::create_dir(place.at("target")).unwrap();
        for (key, size) in SIZES.into_iter().chain([("d/whole", 1000)]) {
            put(&place, key, noise(1, size)).await;
            fs::write(place.at("target").join(&key[2..]), "as it was").unwrap();
            if key != "d/whole" {
                flip(&place, key, 100);
            }
        }
        let report = place.download("d/", "target").await.unwrap();
        assert_eq!((report.copied, report.corrupt), (1, 3));
        assert_eq!(names(&report.failed), ["d/parts", "d/single", "d/small"]);
        for problem in &report.failed.named {
            assert!(said.iter().any(|word| problem.why.contains(word)), "{problem:?}");
        }
        let files = place.files("target");
        assert_eq!(files.len(), 4, "no temporary file: {:?}", files.keys());
        for name in ["small", "single", "parts"] {
            assert_eq!(files[name], b"as it was");
        }
        assert!(files["whole"] == noise(1, 1000));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn between_servers_it_is_the_same() {
    let there = Place::new().await;
    for (no_checksums, said, verified) in [(false, "checksum", 3), (true, "MD5", 2)] {
        let place = place(no_checksums).await;
        for (seed, (key, size)) in (0..).zip(SIZES) {
            put(&place, key, noise(seed, size)).await;
            if !no_checksums || key != "d/parts" {
                flip(&place, key, 1);
            }
        }
        let to = format!("{said}/");
        let (from, to) = (Source::Prefix("d/".into()), Destination::Prefix(to));
        let copy = async |target: &Destination| {
            let (source, made) = (place.store.clone(), there.store.clone());
            pail_transfer::copy_between(source, &from, made, target, &place.options, &Arc::default()).await
        };
        let report = copy(&to).await.unwrap();
        assert!(place.server.waiting_faults().is_empty());
        // The MD5 of a whole is not made of its parts'.
        let counts = (report.copied, report.verified, report.unverified, report.corrupt);
        assert_eq!(counts, (3, verified, 3 - verified, 0), "{said}");
        for (seed, (key, size)) in (0..).zip(SIZES) {
            assert!(there.object(&key.replacen('d', said, 1)).await.unwrap() == noise(seed, size), "{key}");
        }
        flip(&place, "d/small", 100);
        let report = copy(&Destination::Prefix("damaged/".to_owned())).await.unwrap();
        assert_eq!((report.copied, report.corrupt, names(&report.failed)), (2, 1, vec!["d/small"]));
        assert!(there.object("damaged/small").await.is_none());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_verified_is_counted() {
    let mut place = place(true).await;
    put(&place, "d/whole", noise(1, 3 * PART)).await;
    fs::create_dir(place.at("source")).unwrap();
    fs::write(place.at("source/in-parts"), noise(2, 3 * PART)).unwrap();
    // The ETag of an object in parts says nothing of its bytes as a whole.
    assert_eq!(place.upload("source", "d/").await.unwrap().copied, 1);
    let report = place.download("d/", "target").await.unwrap();
    assert_eq!((report.copied, report.verified, report.unverified), (2, 1, 1));

    place.options.verifies_by_md5 = false;
    let report = place.download("d/", "again").await.unwrap();
    assert_eq!((report.copied, report.verified, report.unverified), (2, 0, 2));
    // Of a server whose ETags are no MD5s, nothing is taken for damaged then.
    flip(&place, "d/whole", 1);
    let report = place.download("d/", "odd").await.unwrap();
    assert_eq!((report.copied, report.corrupt), (2, 0));
}

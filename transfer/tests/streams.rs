//! Objects from streams and to streams: what is made, what is verified, and what is left of one that fails.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod support;

use bytes::Bytes;
use pail_devserver::{Fault, FaultAction};
use pail_store::RawKey;
use pail_transfer::{Error, Report, download_stream, upload_stream};
use std::io::{self, Cursor, Read, Write};
use std::sync::{Arc, Mutex};
use support::{MIB, Place, keys, noise};

fn key(name: &str) -> RawKey {
    RawKey::new(name).unwrap()
}

async fn send(place: &Place, name: &str, input: impl Read + Send + 'static) -> Result<Report, Error> {
    upload_stream(place.store.clone(), &key(name), input, &place.options, &place.progress).await
}

/// What was written, whoever reads it.
#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

async fn fetch(place: &Place, name: &str) -> (Result<Report, Error>, Vec<u8>) {
    let sink = Sink::default();
    let done =
        download_stream(place.store.clone(), &key(name), sink.clone(), &place.options, &place.progress).await;
    let written = std::mem::take(&mut *sink.0.lock().unwrap());
    (done, written)
}

/// Gives a piece at a time, as a pipe does.
struct Trickle(Cursor<Bytes>);

impl Read for Trickle {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = buffer.len().min(65_537);
        self.0.read(&mut buffer[..len])
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_of_every_length_arrive_and_come_back() {
    let place = Place::new().await;
    for (seed, len) in (0..).zip([0, 1, 16 * MIB - 1, 16 * MIB, 32 * MIB, 40 * MIB + 7]) {
        let bytes = noise(seed, len);
        let report = send(&place, "a/b", Trickle(Cursor::new(bytes.clone()))).await.unwrap();
        assert_eq!((report.copied, report.copied_bytes), (1, len as u64));
        assert!(place.object("a/b").await.unwrap() == bytes, "{len}");
        let (report, written) = fetch(&place, "a/b").await;
        let report = report.unwrap();
        assert_eq!((report.copied, report.copied_bytes, report.verified), (1, len as u64, 1), "{len}");
        assert!(written == bytes, "{len}");
    }
    assert_eq!(keys(&place).await, ["a/b"]);
    let progress = place.progress.snapshot();
    assert_eq!(progress.found_bytes, progress.moved_bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_breaks_or_is_stopped_makes_no_object_and_leaves_no_upload() {
    let place = Place::new().await;
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("the disk is gone"))
        }
    }
    let broken = Cursor::new(noise(1, 20 * MIB)).chain(Broken);
    let failed = send(&place, "a", broken).await.unwrap_err();
    assert!(matches!(failed, Error::Local { doing: "read", .. }), "{failed:?}");

    // Nobody writes to it any more, and nobody closes it.
    let (reader, mut writer) = io::pipe().unwrap();
    let filling = std::thread::spawn(move || {
        // Who is stopped reads no more.
        let _ = writer.write_all(&noise(1, 20 * MIB));
        writer
    });
    let stop = place.options.stop.clone();
    let stopping = async {
        place.wait_for("UploadPart", 1).await;
        stop.cancel();
    };
    let (stopped, ()) = tokio::join!(send(&place, "b", reader), stopping);
    assert!(matches!(stopped, Err(Error::Stopped)), "{stopped:?}");
    drop(filling.join().unwrap());
    assert_eq!(keys(&place).await, Vec::<String>::new());
    for name in ["a", "b"] {
        assert!(place.store.open_uploads(&key(name)).await.unwrap().is_empty(), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_whose_completion_was_answered_to_nobody_is_there() {
    let place = Place::new().await;
    place.strike("CompleteMultipartUpload", FaultAction::ApplyThenDisconnect);
    let report = send(&place, "a", Cursor::new(noise(1, 40 * MIB))).await.unwrap();
    assert_eq!((report.copied, report.copied_bytes), (1, 40 * MIB as u64));
    assert!(place.object("a").await.unwrap() == noise(1, 40 * MIB));

    // What another client has made there is not taken for it.
    place.strike("UploadPart", FaultAction::Delay { ms: 1000 });
    let sending = send(&place, "b", Cursor::new(noise(1, 40 * MIB)));
    let (failed, ()) = tokio::join!(sending, async {
        place.wait_for("UploadPart", 6).await;
        for upload in place.store.open_uploads(&key("b")).await.unwrap() {
            place.store.abort_upload(&upload.upload).await.unwrap();
        }
        place.put("b", noise(2, 40 * MIB)).await;
    });
    assert!(matches!(failed, Err(Error::Store { .. })), "{failed:?}");
}

// SEMANTICS: copies.3
#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_otherwise_than_it_is_stored_is_told() {
    let place = Place::new().await;
    send(&place, "large", Cursor::new(noise(1, 40 * MIB))).await.unwrap();
    send(&place, "small", Cursor::new(noise(2, 1000))).await.unwrap();
    let flip =
        |times| Fault { times, ..Fault::once(Some("GetObject"), FaultAction::FlipBit { after_bytes: 700 }) };
    place.server.inject(flip(1));
    let (report, written) = fetch(&place, "large").await;
    let report = report.unwrap();
    assert_eq!((report.copied, report.corrupt, report.failed.count), (0, 1, 1), "{report:?}");
    assert_eq!(written.len(), 40 * MIB);
    // One answer has all of it, and is asked for again before anything is written.
    place.server.inject(flip(1));
    let (report, written) = fetch(&place, "small").await;
    assert_eq!(report.unwrap().verified, 1);
    assert!(written == noise(2, 1000));
    place.server.inject(flip(2));
    let (report, written) = fetch(&place, "small").await;
    assert_eq!((report.unwrap().corrupt, written.len()), (1, 0));

    let (nothing, written) = fetch(&place, "missing").await;
    assert!(matches!(nothing, Err(Error::NothingThere { .. })) && written.is_empty(), "{nothing:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_of_two_versions_are_never_written() {
    let place = Place::new().await;
    let (old, new) = (noise(1, 200 * MIB), noise(2, 200 * MIB));
    place.put("log", old.clone()).await;
    let (reader, writer) = io::pipe().unwrap();
    let (store, options) = (place.store.clone(), place.options.clone());
    let fetching =
        tokio::spawn(
            async move { download_stream(store, &key("log"), writer, &options, &Arc::default()).await },
        );
    place.wait_for("GetObject", 8).await;
    place.put("log", new).await;
    let reading = tokio::task::spawn_blocking(move || {
        let mut written = Vec::new();
        { reader }.read_to_end(&mut written).unwrap();
        written
    });
    let (report, written) = (fetching.await.unwrap().unwrap(), reading.await.unwrap());
    assert!(report.failed.named[0].why.contains("replaced"), "{report:?}");
    assert!(written.len() < old.len() && old[..written.len()] == written);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_has_had_enough_ends_it() {
    let place = Place::new().await;
    place.put("log", noise(1, 64 * MIB)).await;
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    let ended =
        download_stream(place.store.clone(), &key("log"), writer, &place.options, &Arc::default()).await;
    match ended {
        Err(Error::Local { source, .. }) => assert_eq!(source.kind(), io::ErrorKind::BrokenPipe),
        other => panic!("{other:?}"),
    }
}

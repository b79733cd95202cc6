//! Interrupted uploads.

use super::*;

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

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_stopped_while_it_begins_anew_leaves_no_upload_that_nobody_knows_of() {
    let place = killed_upload().await;
    fs::write(place.at("a/source/large"), noise(2, 5 * PART - 7)).unwrap();
    place.strike("CreateMultipartUpload", FaultAction::Delay { ms: 1000 });
    let (done, ()) = tokio::join!(place.upload("a/source", "up/"), async {
        place.wait_for("CreateMultipartUpload", 1).await;
        place.options.stop.cancel();
    });
    assert!(matches!(done, Err(Error::Stopped)), "{done:?}");
    assert_eq!(open_uploads(&place).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_cannot_be_aborted_is_aborted_by_a_later_run() {
    let place = killed_upload().await;
    fs::write(place.at("a/source/large"), noise(2, 5 * PART - 7)).unwrap();
    let denied = Fault::once(Some("AbortMultipartUpload"), FaultAction::AccessDenied);
    place.server.inject(Fault { times: 100, ..denied });
    assert_eq!(place.upload("a/source", "up/").await.unwrap().copied, 2);
    assert!(place.object("up/large").await.unwrap() == noise(2, 5 * PART - 7));
    assert_eq!(open_uploads(&place).await, 1);
    place.server.clear_faults();
    assert_eq!(place.upload("a/source", "up/").await.unwrap().unchanged, 2);
    assert_eq!(open_uploads(&place).await, 0);
}

//! Passing failures: waited out, and nothing of them seen.

use crate::{error_of, key, noise, on, read, start, start_watchful, strike};
use pail_devserver::FaultAction;
use pail_store::{Condition, ErrorKind, ListRequest, PutOptions};

#[tokio::test]
async fn throttling_and_passing_failures_are_waited_out() {
    let (server, store) = start().await;
    let bytes = noise(100_000);
    for action in [
        FaultAction::SlowDown,
        FaultAction::InternalError,
        FaultAction::Disconnect,
        FaultAction::CutRequest { after_bytes: 50_000 },
    ] {
        strike(&server, "PutObject", action.clone());
        store.put(&key("o"), bytes.clone().into(), PutOptions::default()).await.unwrap();
        assert!(server.waiting_faults().is_empty(), "{action:?}");
    }
    for operation in ["HeadObject", "GetObject", "ListObjectsV2", "DeleteObject"] {
        strike(&server, operation, FaultAction::SlowDown);
    }
    strike(&server, "ListObjectsV2", FaultAction::TruncateBody { after_bytes: 100 });
    assert_eq!(store.head(&key("o")).await.unwrap().size, 100_000);
    assert_eq!(read(&*store, "o").await.unwrap(), bytes);
    assert_eq!(store.list(ListRequest::default()).await.unwrap().objects.len(), 1);
    store.delete(&key("o"), Condition::None).await.unwrap();
    assert!(server.waiting_faults().is_empty());
    let counters = store.counters();
    assert_eq!((counters.retries, counters.in_flight), (9, 0));
}

#[tokio::test]
async fn an_error_inside_a_200_is_no_success() {
    let (server, store) = start().await;
    let version = store.put(&key("from"), noise(10).into(), PutOptions::default()).await.unwrap();
    strike(&server, "CopyObject", FaultAction::ErrorInsideOk);
    store.copy(&key("from"), &version, &key("to"), Condition::None).await.unwrap();
    assert_eq!(read(&*store, "to").await.unwrap(), noise(10));

    let upload = store.start_upload(&key("u"), &PutOptions::default()).await.unwrap();
    strike(&server, "UploadPartCopy", FaultAction::ErrorInsideOk);
    let part = store.copy_part(&upload, 1, &key("from"), &version, 0..10).await.unwrap();
    strike(&server, "CompleteMultipartUpload", FaultAction::ErrorInsideOk);
    let completed = store.complete_upload(&upload, &[part], &on(Condition::IfAbsent)).await.unwrap();
    assert_eq!(store.head(&key("u")).await.unwrap().version, completed);
    assert_eq!(read(&*store, "u").await.unwrap(), noise(10));
    assert!(server.waiting_faults().is_empty());
}

#[tokio::test]
async fn a_condition_that_met_another_request_is_tried_again() {
    let (server, store) = start().await;
    store.capabilities().await.unwrap();
    strike(&server, "PutObject", FaultAction::Conflict);
    let first = store.put(&key("o"), noise(1).into(), on(Condition::IfAbsent)).await.unwrap();
    strike(&server, "PutObject", FaultAction::Conflict);
    let condition = on(Condition::IfVersion(first.clone()));
    let second = store.put(&key("o"), noise(2).into(), condition).await.unwrap();
    // The other request had won.
    for condition in [Condition::IfAbsent, Condition::IfVersion(first)] {
        strike(&server, "PutObject", FaultAction::Conflict);
        let error = error_of(store.put(&key("o"), noise(3).into(), on(condition))).await;
        assert_eq!((error.kind, error.attempts), (ErrorKind::Precondition, 2), "{error}");
    }
    strike(&server, "DeleteObject", FaultAction::Conflict);
    store.delete(&key("o"), Condition::IfVersion(second)).await.unwrap();
    assert_eq!(store.head(&key("o")).await.unwrap_err().kind, ErrorKind::NotFound);
    assert!(server.waiting_faults().is_empty());
}

#[tokio::test]
async fn every_write_outlives_every_passing_failure() {
    let (server, store) = start_watchful().await;
    store.capabilities().await.unwrap();
    let from = store.put(&key("from"), noise(10).into(), PutOptions::default()).await.unwrap();
    for (number, action) in [
        FaultAction::SlowDown,
        FaultAction::InternalError,
        FaultAction::Disconnect,
        FaultAction::ApplyThenDisconnect,
        // Of answers that have a body, a part of it comes.
        FaultAction::TruncateBody { after_bytes: 60 },
        FaultAction::CutBody { after_bytes: 60 },
        FaultAction::Stall { after_bytes: 60, for_ms: None },
    ]
    .into_iter()
    .enumerate()
    {
        for operation in [
            "PutObject",
            "CopyObject",
            "CreateMultipartUpload",
            "UploadPart",
            "UploadPartCopy",
            "CompleteMultipartUpload",
            "AbortMultipartUpload",
            "DeleteObject",
        ] {
            strike(&server, operation, action.clone());
        }
        let on_absent = || on(Condition::IfAbsent);
        let [put, copy, parts] = ["put", "copy", "parts"].map(|name| key(&format!("{name}-{number}")));
        let version = store.put(&put, noise(10).into(), on_absent()).await.unwrap();
        store.copy(&key("from"), &from, &copy, Condition::IfAbsent).await.unwrap();
        let upload = store.start_upload(&parts, &PutOptions::default()).await.unwrap();
        let sent = [
            store.put_part(&upload, 1, noise(5 << 20).into()).await.unwrap(),
            store.copy_part(&upload, 2, &key("from"), &from, 0..10).await.unwrap(),
        ];
        let whole = store.complete_upload(&upload, &sent, &on(Condition::IfAbsent)).await.unwrap();
        let given_up = store.start_upload(&put, &PutOptions::default()).await.unwrap();
        store.abort_upload(&given_up).await.unwrap();

        assert_eq!(store.head(&put).await.unwrap().version, version, "{action:?}");
        assert_eq!(read(&*store, copy.as_str()).await.unwrap(), noise(10), "{action:?}");
        assert_eq!(store.head(&parts).await.unwrap().version, whole, "{action:?}");
        assert!(read(&*store, parts.as_str()).await.unwrap() == [noise(5 << 20), noise(10)].concat());
        store.delete(&put, Condition::IfVersion(version)).await.unwrap();
        assert_eq!(store.head(&put).await.unwrap_err().kind, ErrorKind::NotFound, "{action:?}");
        assert!(server.waiting_faults().is_empty(), "{action:?}: {:?}", server.waiting_faults());
    }
}

#[tokio::test]
async fn a_missing_etag_is_asked_for() {
    let (server, store) = start().await;
    strike(&server, "PutObject", FaultAction::NoEtag);
    let version = store.put(&key("o"), noise(10).into(), PutOptions::default()).await.unwrap();
    assert_eq!(store.head(&key("o")).await.unwrap().version, version);
}

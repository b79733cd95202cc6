//! Writes whose answer was lost: what took effect is told from what did not, and from what others wrote.

use crate::{BUCKET, SECRET, error_of, impatient, key, noise, on, options, read, server_with, start, strike};
use bytes::Bytes;
use pail_devserver::{Fault, FaultAction, Quirks, Server, Settings};
use pail_store::{Condition, ErrorKind, PutOptions, Store};

#[tokio::test]
async fn a_put_whose_answer_was_lost_took_effect() {
    let (server, store) = start().await;
    store.capabilities().await.unwrap();
    let (first, second) = (noise(300_000), noise(300_001));
    strike(&server, "PutObject", FaultAction::ApplyThenDisconnect);
    let version = store.put(&key("o"), first.into(), on(Condition::IfAbsent)).await.unwrap();
    assert_eq!(store.head(&key("o")).await.unwrap().version, version, "IfAbsent");
    strike(&server, "PutObject", FaultAction::ApplyThenDisconnect);
    let only_ours = on(Condition::IfVersion(version));
    let replaced = store.put(&key("o"), second.clone().into(), only_ours).await.unwrap();
    assert_eq!(store.head(&key("o")).await.unwrap().version, replaced, "IfVersion");
    strike(&server, "PutObject", FaultAction::ApplyThenDisconnect);
    let plain = store.put(&key("o"), second.into(), PutOptions::default()).await.unwrap();
    assert_eq!(plain, replaced, "the same bytes");
    assert!(server.waiting_faults().is_empty());
}

#[tokio::test]
async fn a_refusal_that_cannot_be_looked_into_is_no_word_about_others() {
    let (server, _) = start().await;
    let store = pail_store::open(impatient(&server.endpoint_url())).await.unwrap();
    store.capabilities().await.unwrap();
    strike(&server, "PutObject", FaultAction::ApplyThenDisconnect);
    server.inject(Fault { times: u32::MAX, ..Fault::once(Some("GetObject"), FaultAction::InternalError) });
    let error = error_of(store.put(&key("o"), noise(10).into(), on(Condition::IfAbsent))).await;
    assert_eq!((error.kind, error.maybe_applied), (ErrorKind::Exhausted, true), "{error}");
}

#[tokio::test]
async fn an_error_says_whether_a_write_may_have_taken_effect() {
    let (server, _) = start().await;
    let store = pail_store::open(impatient(&server.endpoint_url())).await.unwrap();
    let object = key("o");
    let put = || store.put(&object, noise(10).into(), PutOptions::default());
    let mut fault = Fault { times: u32::MAX, ..Fault::once(Some("PutObject"), FaultAction::SlowDown) };
    server.inject(fault.clone());
    assert!(!error_of(put()).await.maybe_applied, "refused each time");
    server.clear_faults();
    fault.action = FaultAction::ApplyThenDisconnect;
    server.inject(fault);
    assert!(error_of(put()).await.maybe_applied);
    assert_eq!(read(&*store, "o").await.unwrap(), noise(10));
    server.clear_faults();
    server.inject(Fault { times: u32::MAX, ..Fault::once(None, FaultAction::InternalError) });
    assert!(!error_of(store.head(&object)).await.maybe_applied, "a question changes nothing");
}

#[tokio::test]
async fn another_writer_is_not_taken_for_ourselves() {
    let (server, store) = start().await;
    let base = store.put(&key("o"), noise(10).into(), PutOptions::default()).await.unwrap();
    store.capabilities().await.unwrap();
    server.put_object(BUCKET, "o", Bytes::from_static(b"theirs, 10")).await.unwrap();
    for condition in [Condition::IfAbsent, Condition::IfVersion(base.clone())] {
        strike(&server, "PutObject", FaultAction::Disconnect);
        let error = error_of(store.put(&key("o"), noise(10).into(), on(condition.clone()))).await;
        assert_eq!(error.kind, ErrorKind::Precondition, "{condition:?}: {error}");
        assert_eq!((error.attempts, error.maybe_applied), (2, false), "the look decided it");
    }
    let upload = store.start_upload(&key("o"), &PutOptions::default()).await.unwrap();
    let part = store.put_part(&upload, 1, noise(10).into()).await.unwrap();
    strike(&server, "CompleteMultipartUpload", FaultAction::Disconnect);
    let completed = store.complete_upload(&upload, &[part], &on(Condition::IfVersion(base))).await;
    // An ETag that counts no parts is no upload's.
    assert_eq!(completed.unwrap_err().kind, ErrorKind::Precondition);
    assert_eq!(read(&*store, "o").await.unwrap(), "theirs, 10");
}

#[tokio::test]
async fn a_completion_whose_answer_was_lost_took_effect() {
    // An ETag that follows from the parts tells; where it does not, that it is not the one that the condition names, or that one is there.
    for md5_etags in [false, true] {
        for over_existing in [false, true] {
            let server = server_with(Settings { md5_etags, ..Settings::default() }).await;
            let store = pail_store::open(options(&server.endpoint_url(), SECRET)).await.unwrap();
            store.capabilities().await.unwrap();
            let condition = match over_existing {
                false => Condition::IfAbsent,
                true => {
                    let old = noise(5 * 1024 * 1024 + 1);
                    Condition::IfVersion(
                        store.put(&key("u"), old.into(), PutOptions::default()).await.unwrap(),
                    )
                }
            };
            let mut conditions = vec![condition];
            if md5_etags {
                conditions.push(Condition::None);
            }
            for condition in conditions {
                complete_with_the_answer_lost(&server, &*store, condition).await;
            }
        }
    }
}

async fn complete_with_the_answer_lost(server: &Server, store: &dyn Store, condition: Condition) {
    let upload = store.start_upload(&key("u"), &PutOptions::default()).await.unwrap();
    let mut parts = Vec::new();
    for (number, len) in [(1, 5 * 1024 * 1024), (2, 1)] {
        parts.push(store.put_part(&upload, number, noise(len).into()).await.unwrap());
    }
    strike(server, "CompleteMultipartUpload", FaultAction::ApplyThenDisconnect);
    let version = store.complete_upload(&upload, &parts, &on(condition.clone())).await.unwrap();
    assert!(server.waiting_faults().is_empty());
    let meta = store.head(&key("u")).await.unwrap();
    assert_eq!((meta.version, meta.size), (version, 5 * 1024 * 1024 + 1), "{condition:?}");
}

#[tokio::test]
async fn an_older_object_of_the_same_size_is_no_proof_of_a_completion() {
    let (server, store) = start().await;
    let mut older = None;
    for byte in [b"a", b"b"] {
        let upload = store.start_upload(&key("u"), &PutOptions::default()).await.unwrap();
        let part = store.put_part(&upload, 1, Bytes::from_static(byte).into()).await.unwrap();
        if older.is_none() {
            older = Some(store.complete_upload(&upload, &[part], &on(Condition::None)).await.unwrap());
            continue;
        }
        // The first attempt fails before it takes effect, and somebody clears the upload away.
        store.abort_upload(&upload).await.unwrap();
        strike(&server, "CompleteMultipartUpload", FaultAction::Disconnect);
        let error = error_of(store.complete_upload(&upload, &[part], &on(Condition::None))).await;
        assert_eq!(error.kind, ErrorKind::NotFound, "{error}");
    }
    assert_eq!(Some(store.head(&key("u")).await.unwrap().version), older);
}

#[tokio::test]
async fn a_deletion_whose_answer_was_lost_took_effect() {
    for ignore_delete_conditions in [false, true] {
        let quirks = Quirks { ignore_delete_conditions, ..Quirks::default() };
        let server = server_with(Settings { quirks, ..Settings::default() }).await;
        let store = pail_store::open(options(&server.endpoint_url(), SECRET)).await.unwrap();
        for is_conditional in [false, true] {
            let version = store.put(&key("o"), noise(1).into(), PutOptions::default()).await.unwrap();
            let condition = if is_conditional { Condition::IfVersion(version) } else { Condition::None };
            store.capabilities().await.unwrap();
            strike(&server, "DeleteObject", FaultAction::ApplyThenDisconnect);
            store.delete(&key("o"), condition).await.unwrap();
            assert_eq!(store.head(&key("o")).await.unwrap_err().kind, ErrorKind::NotFound);
        }
    }
}

#[tokio::test]
async fn a_deletion_and_a_copy_of_which_nothing_was_heard_are_looked_for() {
    let (server, _) = start().await;
    let store = pail_store::open(impatient(&server.endpoint_url())).await.unwrap();
    let version = store.put(&key("o"), noise(10).into(), PutOptions::default()).await.unwrap();
    let lose = |operation: &str, action: FaultAction| {
        server.inject(Fault { times: u32::MAX, ..Fault::once(Some(operation), action) });
    };
    lose("CopyObject", FaultAction::ApplyThenDisconnect);
    let copied = store.copy(&key("o"), &version, &key("copy"), Condition::None).await.unwrap();
    assert_eq!(store.head(&key("copy")).await.unwrap().version, copied);
    server.clear_faults();
    lose("CopyObject", FaultAction::Disconnect);
    let error = error_of(store.copy(&key("o"), &version, &key("other"), Condition::None)).await;
    assert!(error.maybe_applied, "{error}");
    server.clear_faults();
    lose("DeleteObject", FaultAction::ApplyThenDisconnect);
    store.delete(&key("o"), Condition::None).await.unwrap();
    server.clear_faults();
    lose("DeleteObject", FaultAction::Disconnect);
    let error = error_of(store.delete(&key("copy"), Condition::None)).await;
    assert!(error.maybe_applied, "{error}");
}

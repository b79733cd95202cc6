//! What no retry helps against, and what is said of it.

use crate::{BUCKET, SECRET, error_of, impatient, key, noise, on, options, read, server_with, start};
use pail_devserver::{Fault, FaultAction, Quirks, Settings};
use pail_store::{Condition, ErrorKind, ListRequest, PartCopy, PutOptions, StoreOptions};

#[tokio::test]
async fn a_wrong_secret_is_denied_and_not_told() {
    let (server, _) = start().await;
    let wrong = "a-mistyped-secret";
    let store = pail_store::open(options(&server.endpoint_url(), wrong)).await.unwrap();
    let error = error_of(store.list(ListRequest::default())).await;
    assert_eq!((error.kind, error.attempts), (ErrorKind::Denied, 1));
    let text = format!("{error} {error:?} {store:?}");
    assert!(text.contains("access key") && text.contains("AWS_ACCESS_KEY_ID"), "{text}");
    assert!(!text.contains(wrong) && !text.contains(SECRET) && !text.contains("Signature="), "{text}");
    let error = error_of(store.head(&key("o"))).await;
    assert_eq!(error.kind, ErrorKind::Denied, "without a body: {error}");
}

#[tokio::test]
async fn an_unknown_bucket_is_named() {
    let (server, _) = start().await;
    let options = StoreOptions {
        bucket: StoreOptions::s3("elsewhere").bucket,
        ..options(&server.endpoint_url(), SECRET)
    };
    let store = pail_store::open(options).await.unwrap();
    let error = error_of(store.list(ListRequest::default())).await;
    assert_eq!((error.kind, error.attempts), (ErrorKind::NoSuchBucket, 1));
    let text = error.to_string();
    assert!(text.contains("elsewhere") && text.contains(&server.endpoint_url()), "{text}");
}

#[tokio::test]
async fn a_public_bucket_needs_no_credentials() {
    let (server, _) = start().await;
    server.put_object(BUCKET, "o", noise(10)).await.unwrap();
    server.set_public(BUCKET).unwrap();
    let without = StoreOptions { anonymous: true, ..options(&server.endpoint_url(), SECRET) };
    let store = pail_store::open(without).await.unwrap();
    store.list(ListRequest::default()).await.unwrap();
    assert_eq!(read(&*store, "o").await.unwrap(), noise(10));
    let error = error_of(store.put(&key("p"), noise(1).into(), PutOptions::default())).await;
    assert_eq!(error.kind, ErrorKind::Denied);
    assert!(error.to_string().contains("without credentials"), "{error}");
}

#[tokio::test]
async fn a_probe_leaves_nothing_where_nothing_may_be_deleted() {
    let (server, store) = start().await;
    let no_deletions = Fault::once(Some("DeleteObject"), FaultAction::AccessDenied);
    server.inject(Fault { times: u32::MAX, ..no_deletions });
    let capabilities = store.capabilities().await.unwrap();
    assert!(!capabilities.conditional_put && capabilities.part_copy == PartCopy::None);
    assert_eq!(store.list(ListRequest::default()).await.unwrap().objects, []);
    store.put(&key("o"), noise(1).into(), on(Condition::IfAbsent)).await.unwrap();
    let error = error_of(store.put(&key("o"), noise(2).into(), on(Condition::IfAbsent))).await;
    assert_eq!(error.kind, ErrorKind::Precondition, "{error}");
}

#[tokio::test]
async fn what_a_probe_cannot_show_is_not_there() {
    let with = |quirks: Quirks| async move {
        let server = server_with(Settings { quirks, ..Settings::default() }).await;
        let store = pail_store::open(impatient(&server.endpoint_url())).await.unwrap();
        let found = store.capabilities().await.expect("no question fails the probe");
        (found.conditional_put, found.conditional_complete, found.part_copy == PartCopy::Ranges)
    };
    let full = (true, true, true);
    assert_eq!(with(Quirks { no_abort: true, ..Quirks::default() }).await, full);
    assert_eq!(with(Quirks { no_head: true, ..Quirks::default() }).await, full);
    assert_eq!(with(Quirks { part_copy_is_upload: true, ..Quirks::default() }).await, (true, true, false));
    assert_eq!(with(Quirks { no_multipart: true, ..Quirks::default() }).await, (true, false, false));
    assert_eq!(with(Quirks { failing_conditions: true, ..Quirks::default() }).await, (false, false, true));
}

#[tokio::test]
async fn a_write_on_condition_goes_on_where_the_endpoint_cannot_be_asked() {
    let (server, _) = start().await;
    let store = pail_store::open(impatient(&server.endpoint_url())).await.unwrap();
    let unreachable = Fault::once(None, FaultAction::Disconnect);
    server.inject(Fault { key_contains: Some(".pail-probe".into()), times: u32::MAX, ..unreachable });
    store.put(&key("o"), noise(1).into(), on(Condition::IfAbsent)).await.unwrap();
    let error = error_of(store.put(&key("o"), noise(2).into(), on(Condition::IfAbsent))).await;
    assert_eq!(error.kind, ErrorKind::Precondition, "{error}");
    assert!(store.capabilities().await.is_err(), "nothing is known");
}

//! Many objects deleted by one request: what is said of each, whatever of the answer fails or is left out.

use crate::{BUCKET, SECRET, error_of, impatient, key, noise, options, server_with, start, strike};
use pail_devserver::{Fault, FaultAction, Quirks, Server, Settings};
use pail_store::{BulkDeletion, Condition, ErrorKind, ListRequest, RawKey, Store, Version};
use std::sync::Arc;

async fn put_all(server: &Server, names: &[&str]) -> Vec<(RawKey, Condition)> {
    for name in names {
        server.put_object(BUCKET, name, noise(5)).await.unwrap();
    }
    unconditional(names)
}

fn unconditional(names: &[&str]) -> Vec<(RawKey, Condition)> {
    names.iter().map(|name| (key(name), Condition::None)).collect()
}

/// What each came to; `None` for what was deleted.
async fn outcomes(store: &Arc<dyn Store>, objects: &[(RawKey, Condition)]) -> Vec<Option<ErrorKind>> {
    let deleted = store.delete_many(objects).await.unwrap();
    deleted.into_iter().map(|outcome| outcome.err().map(|error| error.kind)).collect()
}

async fn left(store: &Arc<dyn Store>) -> Vec<String> {
    let page = store.list(ListRequest::default()).await.unwrap();
    page.objects.into_iter().map(|object| object.key.as_str().to_owned()).collect()
}

/// Strikes one key in the answer.
fn strike_key(server: &Server, part: &str, times: u32, action: FaultAction) {
    let fault = Fault::once(Some("DeleteObjects"), action);
    server.inject(Fault { times, key_contains: Some(part.to_owned()), ..fault });
}

async fn with_quirk(quirk: &str) -> (Server, Arc<dyn Store>) {
    let quirks = Quirks::named([quirk]).unwrap();
    let server = server_with(Settings { quirks, ..Settings::default() }).await;
    let store = pail_store::open(options(&server.endpoint_url(), SECRET)).await.unwrap();
    (server, store)
}

#[tokio::test]
async fn each_object_has_its_own_outcome() {
    let (server, store) = start().await;
    let names =
        ["a", "denied", "slow", "broken", "silent", "silently gone", "a&b<c>\"'", "d/", "é//x", "../y"];
    let mut objects = put_all(&server, &names).await;
    objects.extend(unconditional(&["absent"]));
    strike_key(&server, "denied", 1, FaultAction::AccessDenied);
    strike_key(&server, "slow", 1, FaultAction::SlowDown);
    strike_key(&server, "broken", 2, FaultAction::InternalError);
    strike_key(&server, "silent", 1, FaultAction::Disconnect);
    strike_key(&server, "silently gone", 1, FaultAction::ApplyThenDisconnect);
    server.reset_counters();
    let deleted = store.delete_many(&objects).await.unwrap();
    let failed: Vec<_> = objects.iter().zip(&deleted).filter(|(_, deleted)| deleted.is_err()).collect();
    let [(failed_object, Err(error))] = failed[..] else { panic!("{deleted:?}") };
    assert_eq!((failed_object.0.as_str(), error.kind), ("denied", ErrorKind::Denied));
    let told = error.to_string();
    assert!(
        told.contains("/denied: ") && told.contains("AccessDenied") && told.contains("access key"),
        "{told}"
    );
    assert_eq!(left(&store).await, ["denied"]);
    let counters = server.counters();
    // What passes is asked for with the others; what the answer leaves out by itself.
    assert_eq!((counters.count("DeleteObjects"), counters.count("DeleteObject")), (3, 2));
    assert!(server.waiting_faults().is_empty());
}

#[tokio::test]
async fn a_key_that_keeps_failing_ends_alone() {
    let (server, _) = start().await;
    let store = pail_store::open(impatient(&server.endpoint_url())).await.unwrap();
    let objects = put_all(&server, &["a", "b", "c"]).await;
    strike_key(&server, "b", u32::MAX, FaultAction::SlowDown);
    assert_eq!(outcomes(&store, &objects).await, [None, Some(ErrorKind::Exhausted), None]);
    assert_eq!(left(&store).await, ["b"]);
}

#[tokio::test]
async fn a_request_that_fails_is_sent_again() {
    let (server, store) = start().await;
    let actions = [
        FaultAction::ErrorInsideOk,
        FaultAction::SlowDown,
        FaultAction::Disconnect,
        FaultAction::ApplyThenDisconnect,
        FaultAction::TruncateBody { after_bytes: 100 },
        FaultAction::CutRequest { after_bytes: 50 },
    ];
    for action in actions {
        let objects = put_all(&server, &["a", "b"]).await;
        strike(&server, "DeleteObjects", action.clone());
        server.reset_counters();
        assert_eq!(outcomes(&store, &objects).await, [None, None], "{action:?}");
        assert_eq!(left(&store).await, [] as [&str; 0], "{action:?}");
        assert_eq!(server.counters().count("DeleteObjects"), 2, "{action:?}");
    }
}

#[tokio::test]
async fn what_xml_would_not_keep_is_deleted_by_itself_and_no_neighbour() {
    let (server, store) = start().await;
    let odd = [" lead", "trail ", "new\nline", "tab\there", "cr\rhere", "\u{1}", "del\u{7f}", "\u{a0}"];
    let neighbours = ["lead", "trail", "new line", "tab here", "cr\nhere"];
    let objects = put_all(&server, &odd).await;
    put_all(&server, &neighbours).await;
    let with_plain = [&objects[..], &put_all(&server, &["plain"]).await].concat();
    assert_eq!(outcomes(&store, &with_plain).await, [None; 9]);
    let mut expected = neighbours;
    expected.sort_unstable();
    assert_eq!(left(&store).await, expected);
    // Of nothing but such keys there is no request to make.
    server.reset_counters();
    put_all(&server, &odd).await;
    assert_eq!(outcomes(&store, &objects).await, [None; 8]);
    assert_eq!(server.counters().count("DeleteObjects"), 0);
}

/// Two objects, one of them replaced since its version was seen, and one that is gone.
async fn seen(server: &Server, store: &Arc<dyn Store>) -> Vec<(RawKey, Condition)> {
    let mut objects = put_all(server, &["gone", "kept", "replaced"]).await;
    for (key, condition) in &mut objects {
        *condition = Condition::IfVersion(store.head(key).await.unwrap().version);
    }
    store.delete(&key("gone"), Condition::None).await.unwrap();
    server.put_object(BUCKET, "replaced", noise(6)).await.unwrap();
    objects
}

#[tokio::test]
async fn conditions_hold_whether_the_endpoint_enforces_them_there_or_not() {
    for quirk in [
        "lock_while_written",
        "ignore_bulk_delete_conditions",
        "ignore_delete_conditions",
        "r2",
        "unquoted_if_match",
    ] {
        let (server, store) = with_quirk(quirk).await;
        store.capabilities().await.unwrap();
        let is_conditional = matches!(quirk, "lock_while_written" | "unquoted_if_match");
        assert_eq!(store.bulk_deletion(), Some(BulkDeletion { keys_max: 1000, is_conditional }), "{quirk}");
        let mut objects = seen(&server, &store).await;
        objects.push((key("never"), Condition::IfVersion(Version::from_etag("x"))));
        server.reset_counters();
        let told = outcomes(&store, &objects).await;
        assert_eq!(told, [None, None, Some(ErrorKind::Precondition), None], "{quirk}");
        assert_eq!(left(&store).await, ["replaced"], "{quirk}");
        assert_eq!(server.counters().count("DeleteObjects"), u64::from(is_conditional), "{quirk}");
    }
}

#[tokio::test]
async fn an_endpoint_without_the_request_is_found_out() {
    let (server, store) = with_quirk("no_bulk_delete").await;
    let objects = put_all(&server, &["a", "b"]).await;
    assert!(store.bulk_deletion().is_some(), "nobody has asked");
    assert_eq!(error_of(store.delete_many(&objects)).await.kind, ErrorKind::Unsupported);
    assert_eq!(store.bulk_deletion(), None);
    assert_eq!(left(&store).await, ["a", "b"]);
}

#[tokio::test]
async fn a_refusal_of_the_whole_says_nothing_of_the_endpoint() {
    let (server, store) = start().await;
    let objects = put_all(&server, &["a", "b"]).await;
    strike(&server, "DeleteObjects", FaultAction::AccessDenied);
    assert_eq!(error_of(store.delete_many(&objects)).await.kind, ErrorKind::Denied);
    assert_eq!(outcomes(&store, &objects).await, [None, None]);
    // An answer that names nobody is none.
    let objects = put_all(&server, &["a", "b"]).await;
    for part in ["a", "b"] {
        strike_key(&server, part, 1, FaultAction::Disconnect);
    }
    let error = error_of(store.delete_many(&objects)).await;
    assert_eq!((error.kind, error.maybe_applied), (ErrorKind::Corrupt, true), "{error}");
}

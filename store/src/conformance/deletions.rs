//! Cases about many objects that are deleted by one request.
//!
//! Owns: that odd keys go and no others, that conditions hold whatever the endpoint makes of them, and how many objects one request takes.

use super::objects::ODD_KEYS;
use super::steps::{all, key, kind_of, ok, put, read};
use crate::contract::*;
use futures::StreamExt;

/// A store without such requests says so.
pub(super) async fn bulk_deletion(store: &dyn Store, prefix: String, skipped: &[&str]) {
    ok(store.capabilities().await);
    let Some(bulk) = store.bulk_deletion() else {
        assert_eq!(kind_of(store.delete_many(&[]).await), Some(ErrorKind::Unsupported));
        return;
    };
    let is_named = |name: &&str| !skipped.contains(&format!("odd_keys {name:?}").as_str());
    let names: Vec<&str> = ODD_KEYS.iter().copied().filter(is_named).collect();
    for name in &names {
        ok(put(store, &key(&prefix, name), b"x", Condition::None).await);
    }
    // Every second one, so that the neighbours of each stay; and one that is not there.
    let doomed: Vec<&str> = names.iter().copied().step_by(2).chain(["absent"]).collect();
    delete_all(store, doomed.iter().map(|name| (key(&prefix, name), Condition::None)).collect()).await;
    let mut kept: Vec<String> =
        names.iter().skip(1).step_by(2).map(|name| format!("{prefix}{name}")).collect();
    kept.sort();
    assert_eq!(keys(store, &prefix).await, kept, "what was not named stays");
    delete_all(store, kept.iter().map(|name| (key("", name), Condition::None)).collect()).await;

    let names: Vec<RawKey> =
        (0..bulk.keys_max).map(|index| key(&prefix, &format!("many/{index:04}"))).collect();
    futures::stream::iter(&names)
        .for_each_concurrent(16, |key| async { drop(ok(put(store, key, b"x", Condition::None).await)) })
        .await;
    delete_all(store, names.into_iter().map(|key| (key, Condition::None)).collect()).await;
    assert_eq!(keys(store, &prefix).await, [] as [String; 0], "as many as one request takes");

    let (replaced, standing) = (key(&prefix, "replaced"), key(&prefix, "standing"));
    let old = ok(put(store, &replaced, b"first", Condition::None).await);
    ok(put(store, &replaced, b"second", Condition::None).await);
    let now = ok(put(store, &standing, b"standing", Condition::None).await);
    let objects = [(replaced.clone(), Condition::IfVersion(old)), (standing, Condition::IfVersion(now))];
    let deleted = ok(store.delete_many(&objects).await).into_iter().map(kind_of);
    assert_eq!(deleted.collect::<Vec<_>>(), [Some(ErrorKind::Precondition), None]);
    assert_eq!(read(store, &replaced, None).await, b"second", "what was replaced stays");
    assert_eq!(keys(store, &prefix).await, [replaced.as_str()]);
}

async fn delete_all(store: &dyn Store, objects: Vec<(RawKey, Condition)>) {
    let deleted = ok(store.delete_many(&objects).await);
    assert_eq!(deleted.len(), objects.len());
    deleted.into_iter().for_each(ok);
}

async fn keys(store: &dyn Store, prefix: &str) -> Vec<String> {
    let request = ListRequest { prefix: prefix.to_owned(), ..ListRequest::default() };
    all(store, request).await.0.iter().map(|object| object.key.as_str().to_owned()).collect()
}

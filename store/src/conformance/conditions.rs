//! Cases about writes, reads and copies on condition of a version.
//!
//! Owns: what is refused, and that a refusal changes nothing.

use super::steps::{key, kind_of, ok, on, put, read};
use crate::contract::*;
use bytes::Bytes;

/// Holds for enforced and for emulated conditions alike, since nobody races here.
pub(super) async fn conditions(store: &dyn Store, prefix: String) {
    let key = key(&prefix, "object");
    let refused = Some(ErrorKind::Precondition);
    let first = ok(put(store, &key, b"first", Condition::IfAbsent).await);
    assert_eq!(
        kind_of(put(store, &key, b"x", Condition::IfAbsent).await),
        refused,
        "put IfAbsent on what is there"
    );
    let second = ok(put(store, &key, b"second", Condition::IfVersion(first.clone())).await);
    let old = || Condition::IfVersion(first.clone());
    assert_eq!(kind_of(put(store, &key, b"x", old()).await), refused, "put IfVersion of an old one");
    assert_eq!(kind_of(store.delete(&key, old()).await), refused, "delete IfVersion of an old one");
    let pinned = GetOptions { range: None, if_version: Some(first.clone()) };
    assert_eq!(kind_of(store.get(&key, pinned).await), refused, "get of an old version");
    let to = self::key(&prefix, "to");
    assert_eq!(
        kind_of(store.copy(&key, &first, &to, Condition::None).await),
        refused,
        "copy of an old version"
    );
    ok(store.copy(&key, &second, &to, Condition::IfAbsent).await);
    assert_eq!(
        kind_of(store.copy(&key, &second, &to, Condition::IfAbsent).await),
        refused,
        "copy over what is there"
    );
    for condition in [Condition::IfAbsent, old()] {
        let upload = ok(store.start_upload(&key, &PutOptions::default()).await);
        let part = ok(store.put_part(&upload, 1, Bytes::from_static(b"part").into()).await);
        let completed = store.complete_upload(&upload, &[part], &on(condition.clone())).await;
        assert_eq!(kind_of(completed), refused, "complete {condition:?}");
        ok(store.abort_upload(&upload).await);
    }
    assert_eq!(read(store, &key, None).await, b"second", "what was refused changed nothing");
    ok(store.delete(&key, Condition::IfVersion(second.clone())).await);
    let gone = Condition::IfVersion(second);
    assert_eq!(kind_of(put(store, &key, b"x", gone.clone()).await), refused, "put IfVersion on what is gone");
    ok(store.delete(&key, gone).await);
}

//! What the cases are made of.
//!
//! Owns: single steps, each of which panics with the operation and the object where it fails.

use crate::contract::*;
use bytes::Bytes;

pub(super) fn key(prefix: &str, name: &str) -> RawKey {
    RawKey::new(format!("{prefix}{name}")).unwrap_or_else(|e| panic!("{name:?}: {e}"))
}

/// What succeeded, or a panic that says which operation on what did not.
pub(super) fn ok<T>(outcome: Result<T>) -> T {
    outcome.unwrap_or_else(|error| panic!("{error}"))
}

pub(super) fn kind_of<T>(outcome: Result<T>) -> Option<ErrorKind> {
    outcome.err().map(|error| error.kind)
}

pub(super) fn on(condition: Condition) -> PutOptions {
    PutOptions { condition, ..PutOptions::default() }
}

pub(super) async fn put(
    store: &dyn Store,
    key: &RawKey,
    bytes: &[u8],
    condition: Condition,
) -> Result<Version> {
    let options = PutOptions { condition, ..PutOptions::default() };
    store.put(key, Bytes::copy_from_slice(bytes).into(), options).await
}

pub(super) async fn read(store: &dyn Store, key: &RawKey, range: Option<std::ops::Range<u64>>) -> Vec<u8> {
    let got = ok(store.get(key, GetOptions { range, if_version: None }).await);
    ok(got.bytes().await).into()
}

pub(super) async fn all(store: &dyn Store, mut request: ListRequest) -> (Vec<ObjectMeta>, Vec<String>) {
    let (mut objects, mut prefixes) = (Vec::new(), Vec::new());
    loop {
        let page = ok(store.list(request.clone()).await);
        objects.extend(page.objects);
        prefixes.extend(page.prefixes);
        match page.next {
            Some(token) => request.token = Some(token),
            None => return (objects, prefixes),
        }
    }
}

//! Cases about listings.
//!
//! Owns: pages, where they begin and end, and folded keys.

use super::steps::{all, ok, put};
use crate::contract::*;
use futures::StreamExt;

pub(super) async fn pages(store: &dyn Store, prefix: String) {
    const COUNT: usize = 1_105;
    let names: Vec<String> =
        (0..COUNT).map(|index| format!("{prefix}{}/{:02}", index / 100, index % 100)).collect();
    futures::stream::iter(&names)
        .for_each_concurrent(32, |name| async move {
            let key = RawKey::new(name.as_str()).unwrap_or_else(|e| panic!("{e}"));
            ok(put(store, &key, b"", Condition::None).await);
        })
        .await;
    let mut sorted = names.clone();
    sorted.sort();
    let request = ListRequest { prefix: prefix.clone(), ..ListRequest::default() };
    let listed = |objects: &[ObjectMeta]| {
        objects.iter().map(|object| object.key.as_str().to_owned()).collect::<Vec<_>>()
    };
    assert!(listed(&all(store, request.clone()).await.0) == sorted, "all keys, across pages");
    let first = ok(store.list(ListRequest { max_keys: Some(7), ..request.clone() }).await);
    assert_eq!(listed(&first.objects), sorted[..7]);
    assert!(first.next.is_some(), "seven of many is not the end");
    let after = ListRequest { start_after: Some(sorted[500].clone()), ..request.clone() };
    assert!(listed(&all(store, after).await.0) == sorted[501..], "keys after one");
    let folded = ListRequest { delimiter: true, max_keys: Some(5), ..request };
    let mut wanted: Vec<String> = (0..=COUNT / 100).map(|index| format!("{prefix}{index}/")).collect();
    wanted.sort();
    let (objects, prefixes) = all(store, folded).await;
    assert_eq!((objects.len(), prefixes), (0, wanted), "folded, across pages");
}

//! Cases about objects and their bytes.
//!
//! Owns: keys that some client or server gets wrong ([`ODD_KEYS`]), reads of ranges, what is absent, and renames.

use super::steps::{all, key, kind_of, ok, put, read};
use crate::contract::*;
use bytes::Bytes;
use std::collections::BTreeSet;

/// Keys that some client or server gets wrong. The last ones of a pair are easily confused with the first.
pub const ODD_KEYS: &[&str] = &[
    "d",
    "d/",
    "d//",
    "a//b",
    "/a",
    "//",
    "./x",
    "../x",
    "a/./b",
    "a/../b",
    ".",
    "..",
    "%41",
    "A",
    "a%2Fb",
    "a/b",
    "new\nline",
    "tab\there",
    "a+b",
    "a b",
    " lead",
    "trail ",
    "&<>\"'",
    "a?b=c",
    "a#b",
    "a=b;c:d,e@f",
    "é",
    "e\u{301}",
    "🪣",
    "dot.",
    "back\\slash",
    "star*",
    "\u{1}",
    "del\u{7f}",
    "~-_.!$()[]{}|^`",
    "日本語/キー",
];

pub(super) async fn odd_keys(store: &dyn Store, prefix: String, skipped: &[&str]) {
    let names: Vec<&str> = ODD_KEYS
        .iter()
        .copied()
        .filter(|name| !skipped.contains(&format!("odd_keys {name:?}").as_str()))
        .collect();
    for name in &names {
        ok(put(store, &key(&prefix, name), name.as_bytes(), Condition::None).await);
    }
    for name in &names {
        let key = key(&prefix, name);
        assert_eq!(ok(store.head(&key).await).size, name.len() as u64, "HEAD {name:?}");
        assert_eq!(read(store, &key, None).await, name.as_bytes(), "GET {name:?}");
        let copied = self::key(&prefix, &format!("copy-{name}"));
        let version = ok(store.head(&key).await).version;
        ok(store.copy(&key, &version, &copied, Condition::None).await);
        assert_eq!(read(store, &copied, None).await, name.as_bytes(), "copy of {name:?}");
        ok(store.delete(&copied, Condition::None).await);
    }
    let request = ListRequest { prefix: prefix.clone(), ..ListRequest::default() };
    let listed: Vec<String> =
        all(store, request).await.0.iter().map(|object| object.key.as_str().to_owned()).collect();
    let wanted: BTreeSet<String> = names.iter().map(|name| format!("{prefix}{name}")).collect();
    assert_eq!(listed, wanted.into_iter().collect::<Vec<_>>(), "listed keys, in order");
    ok(store.delete(&key(&prefix, "d"), Condition::None).await);
    if names.contains(&"d/") {
        assert_eq!(read(store, &key(&prefix, "d/"), None).await, b"d/", "d/ outlives d");
    }
    assert_eq!(kind_of(store.head(&key(&prefix, "d")).await), Some(ErrorKind::NotFound), "d is gone");
}

pub(super) async fn long_key(store: &dyn Store, prefix: String) {
    let components = "abcdefghi/".repeat(KEY_LEN_BYTES_MAX);
    let key = key(&prefix, &components[..KEY_LEN_BYTES_MAX - prefix.len() - 1]);
    let key = RawKey::new(format!("{key}x")).unwrap_or(key);
    ok(put(store, &key, b"long", Condition::None).await);
    assert_eq!(read(store, &key, None).await, b"long");
    let listed = all(store, ListRequest { prefix, ..ListRequest::default() }).await.0;
    assert_eq!(listed.iter().map(|object| &object.key).collect::<Vec<_>>(), [&key]);
}

pub(super) async fn ranges(store: &dyn Store, prefix: String) {
    let bytes: Vec<u8> = (0..300_000_u32).map(|index| (index % 251) as u8).collect();
    let key = key(&prefix, "object");
    ok(put(store, &key, &bytes, Condition::None).await);
    assert_eq!(read(store, &key, None).await, bytes);
    for range in [0..1, 0..300_000, 299_999..300_000, 1_000..200_000, 299_000..999_999_u64] {
        let end = range.end.min(bytes.len() as u64) as usize;
        let got = read(store, &key, Some(range.clone())).await;
        assert!(got == bytes[range.start as usize..end], "bytes of {range:?}");
    }
    let got = ok(store.get(&key, GetOptions { range: Some(10..20), if_version: None }).await);
    assert_eq!(
        (got.meta.size, got.range.clone()),
        (300_000, 10..20),
        "a range's answer tells the whole size"
    );
    assert!(read(store, &key, Some(5..5)).await.is_empty(), "an empty range");
    for start in [300_000_u64, 400_000] {
        let options = GetOptions { range: Some(start..start + 10), if_version: None };
        assert_eq!(
            kind_of(store.get(&key, options).await),
            Some(ErrorKind::RangeNotSatisfiable),
            "from {start}"
        );
    }
    let empty = self::key(&prefix, "empty");
    ok(put(store, &empty, b"", Condition::None).await);
    assert_eq!(ok(store.head(&empty).await).size, 0);
    assert!(read(store, &empty, None).await.is_empty());
}

pub(super) async fn absent(store: &dyn Store, prefix: String) {
    let key = key(&prefix, "absent");
    assert_eq!(kind_of(store.head(&key).await), Some(ErrorKind::NotFound));
    assert_eq!(kind_of(store.get(&key, GetOptions::default()).await), Some(ErrorKind::NotFound));
    ok(store.delete(&key, Condition::None).await);
    let to = self::key(&prefix, "to");
    let copied = store.copy(&key, &Version::Unknown, &to, Condition::None).await;
    assert_eq!(kind_of(copied), Some(ErrorKind::NotFound));
    let page = ok(store.list(ListRequest { prefix, ..ListRequest::default() }).await);
    assert!(page.objects.is_empty() && page.prefixes.is_empty() && page.next.is_none());
}

pub(super) async fn rename(store: &dyn Store, prefix: String) {
    let (from, to) = (key(&prefix, "from//ä"), key(&prefix, "to"));
    let attributes =
        Attributes { metadata: [("a".to_owned(), "b".to_owned())].into(), ..Attributes::default() };
    let options = PutOptions { attributes, ..PutOptions::default() };
    let version = ok(store.put(&from, Bytes::from_static(b"bytes").into(), options).await);
    if !ok(store.capabilities().await).atomic_rename {
        let renamed = store.rename(&from, &version, &to, Condition::None).await;
        assert_eq!(kind_of(renamed), Some(ErrorKind::Unsupported));
        return;
    }
    let other = ok(put(store, &to, b"other", Condition::None).await);
    let refused = Some(ErrorKind::Precondition);
    assert_eq!(
        kind_of(store.rename(&from, &version, &to, Condition::IfAbsent).await),
        refused,
        "over another"
    );
    assert_eq!(kind_of(store.rename(&from, &other, &to, Condition::None).await), refused, "another version");
    let moved = ok(store.rename(&from, &version, &to, Condition::IfVersion(other)).await);
    let meta = ok(store.head(&to).await);
    assert_eq!((meta.version, meta.size), (moved, 5));
    assert_eq!(
        meta.attributes.map(|of| of.metadata.clone()),
        Some([("a".to_owned(), "b".to_owned())].into())
    );
    assert_eq!(kind_of(store.head(&from).await), Some(ErrorKind::NotFound));
}

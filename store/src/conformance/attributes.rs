//! Cases about what an object carries beside its bytes.
//!
//! Owns: metadata, headers and tags, through writes, copies, edits and uploads in parts.

use super::steps::{key, kind_of, ok};
use crate::contract::*;
use bytes::Bytes;
use std::collections::BTreeMap;

pub(super) async fn metadata(store: &dyn Store, prefix: String) {
    let wanted: UserMetadata = [("mode", "33188"), ("mtime", "1700000000.5"), ("note", "a b=c;d")]
        .map(|(n, v)| (n.to_owned(), v.to_owned()))
        .into();
    let (from, to) = (key(&prefix, "from"), key(&prefix, "to"));
    let attributes = Attributes { metadata: wanted.clone(), ..Attributes::default() };
    let options = PutOptions { attributes, ..PutOptions::default() };
    let version = ok(store.put(&from, Bytes::from_static(b"x").into(), options).await);
    let metadata_of = |meta: ObjectMeta| meta.attributes.map(|attributes| attributes.metadata.clone());
    assert_eq!(metadata_of(ok(store.head(&from).await)).as_ref(), Some(&wanted), "HEAD");
    let got = ok(store.get(&from, GetOptions::default()).await);
    // Google Cloud Storage tells it of an object's resource, and not with its bytes: then it is said to be unknown, and not to be none.
    let is_told = got.meta.attributes.is_some() || !matches!(version, Version::Generation(_));
    assert!(!is_told || metadata_of(got.meta).as_ref() == Some(&wanted), "GET");
    ok(store.copy(&from, &version, &to, Condition::None).await);
    assert_eq!(metadata_of(ok(store.head(&to).await)).as_ref(), Some(&wanted), "a copy keeps it");
}

pub(super) async fn attributes(store: &dyn Store, prefix: String) {
    let text = |value: &str| Some(value.to_owned());
    let wanted = Attributes {
        metadata: [("note".to_owned(), "a b=c;d".to_owned())].into(),
        content_type: text("text/x-mine; charset=utf-8"),
        content_encoding: text("identity"),
        content_language: text("de"),
        content_disposition: text("attachment; filename=\"a.txt\""),
        cache_control: text("max-age=60, no-transform"),
        ..Attributes::default()
    };
    let (from, to, by_parts) = (key(&prefix, "from.json"), key(&prefix, "to"), key(&prefix, "parts"));
    let options = PutOptions { attributes: wanted.clone(), ..PutOptions::default() };
    let version = ok(store.put(&from, Bytes::from_static(b"x").into(), options.clone()).await);
    assert_eq!(carried(store, &from, &version).await, wanted, "put");
    let Some(head) = ok(store.head(&from).await).attributes else { panic!("HEAD tells no attributes") };
    assert_eq!(head.content_type, wanted.content_type, "HEAD");
    let copied = ok(store.copy(&from, &version, &to, Condition::None).await);
    assert_eq!(carried(store, &to, &copied).await, wanted, "a copy");
    let made = put_by_parts(store, &by_parts, &options).await;
    assert_eq!(carried(store, &by_parts, &made).await, wanted, "an upload in parts");
    // An edit: the bytes are others, and all else stays.
    let kept = ok(store.attributes(&from, &version).await);
    let options = PutOptions { attributes: kept, condition: Condition::IfVersion(version.clone()) };
    let edited = ok(store.put(&from, Bytes::from_static(b"y").into(), options).await);
    assert_eq!(carried(store, &from, &edited).await, wanted, "an edit");
    let outdated = store.attributes(&from, &version).await;
    assert_eq!(kind_of(outdated), Some(ErrorKind::Precondition), "attributes of an old version");
}

/// Where the store has tags at all.
pub(super) async fn tags(store: &dyn Store, prefix: String) {
    let wanted: BTreeMap<String, String> =
        [("team", "a b/c+d"), ("empty", "")].map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let (from, to, by_parts) = (key(&prefix, "from"), key(&prefix, "to"), key(&prefix, "parts"));
    let attributes = Attributes { tags: wanted.clone(), ..Attributes::default() };
    let options = PutOptions { attributes, ..PutOptions::default() };
    let Ok(version) = store.put(&from, Bytes::from_static(b"x").into(), options.clone()).await else {
        return;
    };
    if ok(store.attributes(&from, &version).await).tags.is_empty() {
        return;
    }
    assert_eq!(ok(store.attributes(&from, &version).await).tags, wanted, "put");
    let copied = ok(store.copy(&from, &version, &to, Condition::None).await);
    assert_eq!(ok(store.attributes(&to, &copied).await).tags, wanted, "a copy");
    let made = put_by_parts(store, &by_parts, &options).await;
    assert_eq!(ok(store.attributes(&by_parts, &made).await).tags, wanted, "an upload in parts");
}

/// What `key` carries that any store can: the rest is the store's own, or nobody's.
async fn carried(store: &dyn Store, key: &RawKey, version: &Version) -> Attributes {
    let Attributes {
        metadata,
        content_type,
        content_encoding,
        content_language,
        content_disposition,
        cache_control,
        ..
    } = ok(store.attributes(key, version).await);
    Attributes {
        metadata,
        content_type,
        content_encoding,
        content_language,
        content_disposition,
        cache_control,
        ..Attributes::default()
    }
}

/// Makes an object of one part.
async fn put_by_parts(store: &dyn Store, key: &RawKey, options: &PutOptions) -> Version {
    let upload = ok(store.start_upload(key, options).await);
    let part = ok(store.put_part(&upload, 1, Bytes::from_static(b"part").into()).await);
    ok(store.complete_upload(&upload, &[part], options).await)
}

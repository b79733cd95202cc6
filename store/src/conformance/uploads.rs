//! Cases about uploads in parts.
//!
//! Owns: their parts, those that are copied included, their completion and abortion, and what is told of those that are open.

use super::steps::{all, key, kind_of, ok, on, put, read};
use crate::contract::*;
use bytes::Bytes;
use futures::StreamExt;

pub(super) async fn multipart(store: &dyn Store, prefix: String) {
    let size = ok(store.capabilities().await).part_size_bytes_min as usize;
    let key = key(&prefix, "object");
    let metadata: UserMetadata = [("a".to_owned(), "b".to_owned())].into();
    let attributes = Attributes { metadata: metadata.clone(), ..Attributes::default() };
    let options = PutOptions { condition: Condition::IfAbsent, attributes };
    let upload = ok(store.start_upload(&key, &options).await);
    let piece = |byte: u8, len: usize| Payload::Bytes(vec![byte; len].into());
    let last = ok(store.put_part(&upload, 3, piece(3, 10)).await);
    ok(store.put_part(&upload, 1, piece(9, size)).await);
    let first = ok(store.put_part(&upload, 1, piece(1, size)).await);
    let version = ok(store.complete_upload(&upload, &[first, last], &options).await);
    let meta = ok(store.head(&key).await);
    assert_eq!((meta.size, &meta.version), (size as u64 + 10, &version));
    assert_eq!(meta.attributes.map(|attributes| attributes.metadata.clone()), Some(metadata));
    let bytes = read(store, &key, None).await;
    assert!(
        bytes[..size].iter().all(|byte| *byte == 1) && bytes[size..] == [3; 10],
        "the replaced part is gone"
    );
}

pub(super) async fn aborted_upload(store: &dyn Store, prefix: String) {
    let key = key(&prefix, "object");
    let upload = ok(store.start_upload(&key, &PutOptions::default()).await);
    let part = ok(store.put_part(&upload, 1, Bytes::from_static(b"x").into()).await);
    ok(store.abort_upload(&upload).await);
    assert_eq!(
        kind_of(store.complete_upload(&upload, &[part], &PutOptions::default()).await),
        Some(ErrorKind::NotFound)
    );
    ok(store.abort_upload(&upload).await);
    assert_eq!(kind_of(store.head(&key).await), Some(ErrorKind::NotFound), "nothing was made of it");
}

/// A store that composes objects of objects knows of no upload before its first part, and of it from then on.
pub(super) async fn open_uploads(store: &dyn Store, prefix: String) {
    let composes = ok(store.capabilities().await).part_copy == PartCopy::Whole;
    let (key, longer) = (key(&prefix, "a b+c"), key(&prefix, "a b+c/d"));
    let upload = ok(store.start_upload(&key, &PutOptions::default()).await);
    let other = ok(store.start_upload(&longer, &PutOptions::default()).await);
    let open = async || {
        let open = ok(store.open_uploads(&key).await);
        open.into_iter().map(|open| open.upload).collect::<Vec<_>>()
    };
    if !composes {
        assert_eq!(open().await, std::slice::from_ref(&upload));
        assert!(!ok(store.has_parts(&upload).await));
    }
    ok(store.put_part(&other, 1, Bytes::from_static(b"y").into()).await);
    ok(store.put_part(&upload, 1, Bytes::from_static(b"x").into()).await);
    assert_eq!(open().await, std::slice::from_ref(&upload));
    assert!(ok(store.has_parts(&upload).await));
    ok(store.abort_upload(&upload).await);
    assert_eq!(kind_of(store.has_parts(&upload).await), Some(ErrorKind::NotFound));
    assert!(ok(store.open_uploads(&key).await).is_empty());
    ok(store.abort_upload(&other).await);
}

pub(super) async fn upload_times(store: &dyn Store, prefix: String) {
    let key = key(&prefix, "object");
    let upload = ok(store.start_upload(&key, &PutOptions::default()).await);
    ok(store.put_part(&upload, 1, Bytes::from_static(b"x").into()).await);
    let open = ok(store.open_uploads(&key).await);
    let age = std::time::SystemTime::now().duration_since(open[0].initiated).unwrap_or_default();
    ok(store.abort_upload(&upload).await);
    assert!(age < std::time::Duration::from_secs(3600), "begun {age:?} ago");
}

pub(super) async fn small_part_refused(store: &dyn Store, prefix: String) {
    if ok(store.capabilities().await).part_size_bytes_min <= 5 {
        return;
    }
    let key = key(&prefix, "object");
    let upload = ok(store.start_upload(&key, &PutOptions::default()).await);
    let first = ok(store.put_part(&upload, 1, Bytes::from_static(b"small").into()).await);
    let last = ok(store.put_part(&upload, 2, Bytes::from_static(b"last").into()).await);
    let completed = store.complete_upload(&upload, &[first, last], &PutOptions::default()).await;
    assert_eq!(kind_of(completed), Some(ErrorKind::Unsupported));
    ok(store.abort_upload(&upload).await);
    assert_eq!(kind_of(store.head(&key).await), Some(ErrorKind::NotFound));
}

pub(super) async fn part_copy(store: &dyn Store, prefix: String) {
    // What a store that takes whole objects alone makes of a range is its own affair.
    let range = match ok(store.capabilities().await).part_copy {
        PartCopy::None => return,
        PartCopy::Whole => 0..10,
        PartCopy::Ranges => 2..6,
    };
    let (from, to) = (key(&prefix, "from + ä"), key(&prefix, "to"));
    let version = ok(put(store, &from, b"0123456789", Condition::None).await);
    let upload = ok(store.start_upload(&to, &PutOptions::default()).await);
    let part = ok(store.copy_part(&upload, 1, &from, &version, range.clone()).await);
    let other = match &version {
        Version::Generation(generation) => Version::Generation(generation - 1),
        Version::Etag(_) | Version::Unknown => Version::from_etag("00000000000000000000000000000000"),
    };
    assert_eq!(
        kind_of(store.copy_part(&upload, 2, &from, &other, range.clone()).await),
        Some(ErrorKind::Precondition)
    );
    ok(store.complete_upload(&upload, &[part], &PutOptions::default()).await);
    assert_eq!(read(store, &to, None).await, b"0123456789"[range.start as usize..range.end as usize]);
}

/// An object becomes the first part of its own next version, attributes included.
pub(super) async fn append(store: &dyn Store, prefix: String) {
    let capabilities = ok(store.capabilities().await);
    if capabilities.part_copy == PartCopy::None {
        return;
    }
    let key = key(&prefix, "object");
    let size = capabilities.part_size_bytes_min.max(10) as usize;
    let attributes =
        Attributes { metadata: [("a".to_owned(), "b".to_owned())].into(), ..Attributes::default() };
    let options = PutOptions { attributes, ..PutOptions::default() };
    let base = ok(store.put(&key, Payload::Bytes(vec![1; size].into()), options).await);
    let attributes = ok(store.attributes(&key, &base).await);
    let options = PutOptions { condition: Condition::IfVersion(base.clone()), attributes };
    for condition in [base.clone(), base] {
        let upload = ok(store.start_upload(&key, &options).await);
        let is_first = ok(store.head(&key).await).version == condition;
        let first = store.copy_part(&upload, 1, &key, &condition, 0..size as u64).await;
        if !is_first {
            assert_eq!(kind_of(first), Some(ErrorKind::Precondition), "of a version that is gone");
            ok(store.abort_upload(&upload).await);
            continue;
        }
        let more = ok(store.put_part(&upload, 2, Bytes::from_static(b"more").into()).await);
        ok(store.complete_upload(&upload, &[ok(first), more], &options).await);
    }
    let bytes = read(store, &key, None).await;
    assert!(bytes[..size].iter().all(|byte| *byte == 1) && bytes[size..] == *b"more");
    let kept = ok(store.head(&key).await).attributes.map(|attributes| attributes.metadata.clone());
    assert_eq!(kept, Some([("a".to_owned(), "b".to_owned())].into()), "what it carried is kept");
    assert!(ok(store.open_uploads(&key).await).is_empty(), "no upload is left");
}

/// More parts than a store composes at a time. Where parts cannot be small, that would be gigabytes.
pub(super) async fn many_parts(store: &dyn Store, prefix: String) {
    const COUNT: u32 = 1_030;
    if ok(store.capabilities().await).part_size_bytes_min > 5 {
        return;
    }
    let key = key(&prefix, "object");
    let upload = ok(store.start_upload(&key, &PutOptions::default()).await);
    let parts = futures::stream::iter(1..=COUNT).map(|number| {
        let upload = &upload;
        async move { ok(store.put_part(upload, number, Bytes::from(format!("{number:05}")).into()).await) }
    });
    let parts: Vec<Part> = parts.buffered(32).collect().await;
    ok(store.complete_upload(&upload, &parts, &on(Condition::IfAbsent)).await);
    let wanted: String = (1..=COUNT).map(|number| format!("{number:05}")).collect();
    assert!(read(store, &key, None).await == wanted.as_bytes(), "all parts, in order");
    let listed = all(store, ListRequest { prefix, ..ListRequest::default() }).await.0;
    assert_eq!(listed.iter().map(|object| &object.key).collect::<Vec<_>>(), [&key], "and nothing else");
    assert_eq!(kind_of(store.has_parts(&upload).await), Some(ErrorKind::NotFound), "no part is left");
}

//! The adapter over a store of the `object_store` library that is none of ours, and needs no server.
//!
//! Owns: [`Memory`], which is what a backend costs, and the conformance suite over it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use object_store::ObjectStore;
use object_store::memory::InMemory;
use object_store::multipart::MultipartStore;
use pail_store::{
    Attributes, Backend, Bounded, Capabilities, Condition, Counted, ErrorKind, GetOptions, ListRequest,
    ObjectStoreAdapter, PartCopy, Payload, PutOptions, RawKey, Store, conformance,
};
use std::time::Duration;

#[derive(Debug, Default)]
struct Memory(InMemory);

impl Backend for Memory {
    fn uri(&self) -> &str {
        "library-memory://bucket"
    }

    fn identity(&self) -> &str {
        self.uri()
    }

    fn bucket(&self) -> &str {
        "bucket"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { part_copy: PartCopy::None, part_size_bytes_min: 1, ..Capabilities::full() }
    }

    fn objects(&self) -> &dyn ObjectStore {
        &self.0
    }

    fn uploads(&self) -> &dyn MultipartStore {
        &self.0
    }
}

#[tokio::test]
async fn a_store_of_the_library_conforms() {
    // So it is bounded and counted, too, as a store over this crate's own HTTP is without them.
    let bounded = Bounded::new(ObjectStoreAdapter::new(Memory::default()), 8, Duration::from_secs(60));
    let store = Counted::new(bounded);
    let failed = conformance::run(&store, &conformance::known_deviations("object_store-memory")).await;
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    let counted = store.counters();
    assert!(counted.requests["PutObject"] > 1_000 && counted.in_flight == 0, "{counted:?}");
}

#[tokio::test]
async fn parts_become_an_object_with_its_attributes() {
    let store = ObjectStoreAdapter::new(Memory::default());
    let key = RawKey::new("o").unwrap();
    let attributes = Attributes {
        metadata: [("a".to_owned(), "b".to_owned())].into(),
        content_type: Some("text/plain".to_owned()),
        ..Attributes::default()
    };
    let options = PutOptions { condition: Condition::IfAbsent, attributes };
    let upload = store.start_upload(&key, &options).await.unwrap();
    let second = store.put_part(&upload, 2, Payload::Bytes("second".into())).await.unwrap();
    let first = store.put_part(&upload, 1, Payload::Bytes("first ".into())).await.unwrap();
    let version = store.complete_upload(&upload, &[first, second], &options).await.unwrap();
    let got = store.get(&key, GetOptions::default()).await.unwrap();
    assert_eq!((&got.meta.version, got.meta.attributes.as_deref()), (&version, Some(&options.attributes)));
    assert_eq!(got.bytes().await.unwrap(), "first second");
}

#[tokio::test]
async fn keys_that_the_library_cannot_name_are_refused_and_none_is_taken_for_another() {
    let store = ObjectStoreAdapter::new(Memory::default());
    let put = async |name: &str| {
        let key = RawKey::new(name).unwrap();
        store.put(&key, Payload::Bytes(name.to_owned().into()), PutOptions::default()).await
    };
    for name in ["d", "a/b", "x", "%41"] {
        put(name).await.unwrap();
    }
    for name in ["d/", "/d", "a//b", "a/./b", "./x", "../x", "x\n"] {
        let (refused, key) = (put(name).await.unwrap_err(), RawKey::new(name).unwrap());
        assert_eq!(refused.kind, ErrorKind::Unsupported, "{name:?}");
        assert!(refused.to_string().contains(&key.to_string()), "the key is told: {refused}");
        assert_eq!(store.head(&key).await.unwrap_err().kind, ErrorKind::Unsupported, "{name:?}");
        let deleted = store.delete(&key, Condition::None).await;
        assert_eq!(deleted.unwrap_err().kind, ErrorKind::Unsupported, "{name:?}");
    }
    let page = store.list(ListRequest::default()).await.unwrap();
    let keys: Vec<_> = page.objects.iter().map(|object| object.key.as_str()).collect();
    assert_eq!(keys, ["%41", "a/b", "d", "x"]);
}

//! The adapter over a store of the `object_store` library that is none of ours, and needs no server.
//!
//! Owns: [`Memory`], which is what a backend costs, and the conformance suite over it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use object_store::ObjectStore;
use object_store::memory::InMemory;
use object_store::multipart::MultipartStore;
use pail_store::{
    Backend, Capabilities, Condition, ErrorKind, ListRequest, ObjectStoreAdapter, PartCopy, Payload,
    PutOptions, RawKey, Store, conformance,
};

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
    let store = ObjectStoreAdapter::new(Memory::default());
    let failed = conformance::run(&store, &conformance::known_deviations("object_store-memory")).await;
    assert!(failed.is_empty(), "{}", failed.join("\n"));
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

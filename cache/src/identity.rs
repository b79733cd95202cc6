//! Which bytes a replica holds: store, key, version and size, and the digest that stands for them on disk.
//!
//! Invariant: whatever differs in any of the four has another digest, so a changed object never needs invalidating.
//!
//! # Why a SHA-256
//! File names must be short, hold any key and tell nothing of it, and whoever writes to a bucket must not be able to make one
//! object pass for another. Half of the digest is the file's name; the other half is in the state and checked on open.

use sha2::{Digest as _, Sha256};
use std::sync::Arc;

/// Names one version of one object.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ReplicaId {
    /// Identity of endpoint and bucket.
    pub store: Arc<str>,
    /// The object's key.
    pub key: Arc<str>,
    /// ETag or generation.
    pub version: Arc<str>,
}

/// The first half of a digest: the name of a replica in memory and on disk.
pub(crate) type Name = u128;

/// SHA-256 of a [`ReplicaId`] and a size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Digest {
    pub name: Name,
    pub check: [u8; 16],
}

impl Digest {
    pub fn of(id: &ReplicaId, size: u64) -> Self {
        let mut hash = Sha256::new();
        for part in [&id.store, &id.key, &id.version] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part.as_bytes());
        }
        hash.update(size.to_le_bytes());
        let hash: [u8; 32] = hash.finalize().into();
        let (mut name, mut check) = ([0; 16], [0; 16]);
        name.copy_from_slice(&hash[..16]);
        check.copy_from_slice(&hash[16..]);
        Self { name: Name::from_be_bytes(name), check }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_do_not_run_into_each_other() {
        let id =
            |store: &str, key: &str| ReplicaId { store: store.into(), key: key.into(), version: "v".into() };
        assert_ne!(Digest::of(&id("ab", "c"), 1), Digest::of(&id("a", "bc"), 1));
        assert_ne!(Digest::of(&id("a", "b"), 1), Digest::of(&id("a", "b"), 2));
        assert_eq!(Digest::of(&id("a", "b"), 1), Digest::of(&id("a", "b"), 1));
    }
}

//! Keys that are locked while they are written, as some servers lock them.
//!
//! Owns: [`KeyLocks`]. With the quirk [`lock_while_written`](crate::Quirks::lock_while_written) a write holds its key from the request's head to
//! the answer, its body included, and a read of that key waits for it until its own answer begins. A client whose write waits for a read of
//! the same key then waits for itself.
//!
//! Invariant: a request waits for one lock at a time, so that no two requests wait for each other here.

use crate::call::Call;
use crate::object_ops::copy_source_name;
use crate::operation::Operation;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::{Arc, Weak};
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

/// Bucket and key.
type Name = (String, String);

/// The locks of all keys that a request is on.
#[derive(Debug, Default)]
pub(crate) struct KeyLocks {
    /// Guards which key has which lock; those of which no request is left are dropped when another is made. A leaf.
    locks: Mutex<HashMap<Name, Weak<RwLock<()>>>>,
}

/// A locked key, until it is dropped.
pub(crate) enum KeyLock {
    Written(#[expect(dead_code, reason = "held")] OwnedRwLockWriteGuard<()>),
    Read(#[expect(dead_code, reason = "held")] OwnedRwLockReadGuard<()>),
}

impl KeyLocks {
    fn of(&self, name: Name) -> Arc<RwLock<()>> {
        let mut locks = self.locks.lock();
        if let Some(lock) = locks.get(&name).and_then(Weak::upgrade) {
            return lock;
        }
        locks.retain(|_, lock| lock.strong_count() > 0);
        let lock = Arc::default();
        locks.insert(name, Arc::downgrade(&lock));
        lock
    }

    async fn read(&self, name: Name) -> KeyLock {
        KeyLock::Read(self.of(name).read_owned().await)
    }

    async fn written(&self, name: Name) -> KeyLock {
        KeyLock::Written(self.of(name).write_owned().await)
    }
}

/// Waits for the key of a request, where the settings lock keys; held until the answer is ready.
pub(crate) async fn lock_key(call: &Call, operation: Operation) -> Option<KeyLock> {
    if !call.settings.quirks.lock_while_written {
        return None;
    }
    let locks = &call.shared.key_locks;
    let name = || (call.target.bucket.clone(), call.target.key.clone());
    match operation {
        Operation::GetObject | Operation::HeadObject => Some(locks.read(name()).await),
        Operation::PutObject | Operation::DeleteObject | Operation::CompleteMultipartUpload => {
            Some(locks.written(name()).await)
        }
        Operation::UploadPartCopy => Some(locks.read(copy_source_name(call).ok()?).await),
        Operation::CopyObject => {
            if let Ok(source) = copy_source_name(call) {
                drop(locks.read(source).await);
            }
            Some(locks.written(name()).await)
        }
        _ => None,
    }
}

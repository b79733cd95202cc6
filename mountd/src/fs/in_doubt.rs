//! In-doubt writes: requests whose answer was lost.
//!
//! Owns: [`InDoubt`], which stands for the object that a request would have made whose answer was lost until the retries' deadline, and
//! the look whether it did ([`pail_store::look_for`]). A publish on a condition would be refused because of that object, and its removal
//! would leave it behind.

use super::BucketFs;
use super::dirty::DirtyFile;
use super::error::FsResult;
use super::inode::Inode;
use super::sending::Published;
use pail_store::{ErrorKind, Fingerprint, Found, look_for};

/// What a request may have made.
#[derive(Clone)]
pub(super) struct InDoubt {
    /// The state it sent.
    pub generation: u64,
    /// Its length in bytes.
    pub len: u64,
    /// By what it is recognised.
    pub fingerprint: Fingerprint,
    /// It was to be completed of parts.
    pub is_of_parts: bool,
}

impl BucketFs {
    /// Looks whether what was sent of a file, whose `changing` the caller holds, is in the bucket though nothing was heard of it; that
    /// state is then published. Errors: the store's.
    pub(super) async fn resolve_in_doubt(&self, inode: &Inode, dirty: &DirtyFile) -> FsResult<()> {
        let Some(InDoubt { generation, len, fingerprint, is_of_parts }) = dirty.in_doubt() else {
            return Ok(());
        };
        let key = self.key_of(inode)?;
        let version = match look_for(&*self.store, &key, &fingerprint).await {
            Ok(Found::Made(version)) => version,
            // It may still be made of its parts, which takes a store minutes.
            Ok(Found::Other(version)) if is_of_parts && Some(&version) == dirty.remote_version().as_ref() => {
                return Ok(());
            }
            Ok(Found::Untold) => return Ok(()),
            Ok(Found::Other(_)) => {
                dirty.set_in_doubt(None);
                return Ok(());
            }
            // Not there, or not there yet; or nobody may look.
            Err(error) if matches!(error.kind, ErrorKind::NotFound | ErrorKind::Denied) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        tracing::info!(mount = %self.options.mount_name, key = %key, version = %version,
            "an earlier publish, whose answer was lost, took effect");
        if is_of_parts {
            // It became the object.
            self.abort_upload(dirty).await;
        }
        let _alone = dirty.gate.write().await;
        if dirty.generation() == generation {
            dirty.replica.set_published().await;
        }
        self.set_published(inode, dirty, Published { generation, len, version, completing: None })
    }
}

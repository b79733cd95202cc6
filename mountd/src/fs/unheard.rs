//! What was sent to the bucket and not heard of again.
//!
//! Owns: [`Unheard`], which stands for the object that a request would have made whose answer was lost until the retries' deadline, and
//! the look whether it did. A publish on a condition would be refused because of that object, and its removal would leave it behind. And
//! `delete_object`, which looks at once: a rename must know which of its two objects it has.
//!
//! # How one's own object is told from others'
//! What was put whole is read again, and has the same length and sum. What was completed of parts has the ETag that follows from theirs;
//! where a store makes ETags otherwise, it is not recognised, and stays as if somebody else had made it.

use super::BucketFs;
use super::dirty::DirtyFile;
use super::error::FsResult;
use super::inode::Inode;
use super::sending::Published;
use super::sum::new_digest;
use pail_store::{Condition, ErrorKind, GetOptions, RawKey, Version};
use std::time::Duration;

/// How long a look is waited for after a deletion that nothing was heard of: who waits has waited the retries' deadline already.
const LOOK_TIME_MAX: Duration = Duration::from_secs(5);
/// How much of an object is read at a time.
const READ_SIZE_BYTES: usize = 1 << 20;

/// By what an object is recognised.
#[derive(Clone)]
pub(super) enum Trace {
    /// The sum of its bytes.
    Bytes(u64),
    /// Its version, where it follows from the parts.
    Parts(Option<Version>),
}

/// What a request may have made.
#[derive(Clone)]
pub(super) struct Unheard {
    /// The state it sent.
    pub generation: u64,
    /// Its length in bytes.
    pub len: u64,
    /// By what it is recognised.
    pub trace: Trace,
}

impl BucketFs {
    /// Looks whether what was sent of a file, whose `changing` the caller holds, is in the bucket though nothing was heard of it; that
    /// state is then published. Errors: the store's.
    pub(super) async fn look_for_unheard(&self, inode: &Inode, dirty: &DirtyFile) -> FsResult<()> {
        let Some(Unheard { generation, len, trace }) = dirty.unheard() else { return Ok(()) };
        let key = self.key_of(inode)?;
        let found = match &trace {
            Trace::Bytes(sum) => self.find_bytes(&key, len, *sum).await,
            Trace::Parts(Some(version)) => self.find_version(&key, version).await,
            Trace::Parts(None) => return Ok(()),
        };
        let version = match found {
            Ok(Some(version)) => version,
            Ok(None) => {
                dirty.set_unheard(None);
                return Ok(());
            }
            // Not there, or not there yet; or nobody may look.
            Err(error) if matches!(error.kind, ErrorKind::NotFound | ErrorKind::Denied) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        tracing::info!(mount = %self.options.mount_name, key = %key, version = %version,
            "an earlier publish, whose answer was lost, took effect");
        if matches!(trace, Trace::Parts(_)) {
            // It became the object.
            self.abort_upload(dirty).await;
        }
        let _alone = dirty.gate.write().await;
        if dirty.generation() == generation {
            dirty.replica.set_published().await;
        }
        self.set_published(inode, dirty, Published { generation, len, version })
    }

    /// Deletes an object, also where that is known only by its absence. Errors: the store's; the object is there, or nobody can look.
    pub(super) async fn delete_object(&self, key: &RawKey, condition: Condition) -> pail_store::Result<()> {
        match self.store.delete(key, condition).await {
            Err(error) if error.maybe_applied => {
                match tokio::time::timeout(LOOK_TIME_MAX, self.store.head(key)).await {
                    Ok(Err(look)) if look.kind == ErrorKind::NotFound => Ok(()),
                    _ => Err(error),
                }
            }
            outcome => outcome,
        }
    }

    /// The version of the object, if it has these bytes.
    async fn find_bytes(&self, key: &RawKey, len: u64, sum: u64) -> pail_store::Result<Option<Version>> {
        let mut current = self.store.get(key, GetOptions::default()).await?;
        if current.meta.size != len {
            return Ok(None);
        }
        let (mut digest, mut buffer) = (new_digest(), vec![0; READ_SIZE_BYTES]);
        loop {
            match current.body.fill(&mut buffer).await? {
                0 => break,
                count => digest.update(&buffer[..count]),
            }
        }
        Ok((digest.finalize() == sum).then_some(current.meta.version))
    }

    /// The version, if it is the object's.
    async fn find_version(&self, key: &RawKey, version: &Version) -> pail_store::Result<Option<Version>> {
        let current = self.store.head(key).await?;
        Ok((current.version == *version).then_some(current.version))
    }
}

//! What was sent to the bucket and not heard of again.
//!
//! Owns: [`Unheard`], which stands for the object that a request would have made whose answer was lost until the retries' deadline, and
//! the look whether it did. A publish on a condition would be refused because of that object, and its removal would leave it behind. And
//! `delete_object` and `copy_object`, which look at once: a rename must know which of its two objects it has.
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
use pail_store::{Condition, ErrorKind, GetOptions, ObjectBody, RawKey, Version};
use std::time::Duration;

/// How long a look is waited for after a deletion or a copy that nothing was heard of: who waits has waited the retries' deadline already.
const LOOK_TIME_MAX: Duration = Duration::from_secs(5);
/// The largest copy that is looked at byte by byte.
const COMPARED_BYTES_MAX: u64 = 16 << 20;
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
            Trace::Parts(Some(version)) => match self.store.head(&key).await {
                // It may still be made of its parts, which takes a store minutes.
                Ok(current) if Some(&current.version) == dirty.standing().as_ref() => return Ok(()),
                Ok(current) => Ok(Some(current.version).filter(|current| current == version)),
                Err(error) => Err(error),
            },
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
        self.set_published(inode, dirty, Published { generation, len, version, completing: None })
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

    /// Copies an object, also where that is known only by what is there. Errors: the store's; the copy may be there all the same.
    pub(super) async fn copy_object(
        &self,
        from: &RawKey,
        version: &Version,
        to: &RawKey,
        condition: Condition,
    ) -> pail_store::Result<Version> {
        match self.store.copy(from, version, to, condition).await {
            Err(error) if error.maybe_applied => {
                match tokio::time::timeout(LOOK_TIME_MAX, self.find_copy(from, version, to)).await {
                    Ok(Ok(Some(copied))) => Ok(copied),
                    _ => Err(error),
                }
            }
            outcome => outcome,
        }
    }

    /// The version of `to`, if it has the bytes of a version of `from`: mostly that has the same ETag. Small ones are compared, too.
    async fn find_copy(
        &self,
        from: &RawKey,
        version: &Version,
        to: &RawKey,
    ) -> pail_store::Result<Option<Version>> {
        let found = self.store.head(to).await?;
        if found.version == *version || found.size > COMPARED_BYTES_MAX {
            return Ok(Some(found.version).filter(|found| found == version));
        }
        let options = GetOptions { if_version: Some(version.clone()), ..GetOptions::default() };
        let mut source = self.store.get(from, options).await?;
        let sum = sum_of_body(&mut *source.body).await?;
        self.find_bytes(to, source.meta.size, sum).await
    }

    /// The version of the object, if it has these bytes.
    async fn find_bytes(&self, key: &RawKey, len: u64, sum: u64) -> pail_store::Result<Option<Version>> {
        let mut current = self.store.get(key, GetOptions::default()).await?;
        if current.meta.size != len {
            return Ok(None);
        }
        Ok((sum_of_body(&mut *current.body).await? == sum).then_some(current.meta.version))
    }
}

async fn sum_of_body(body: &mut dyn ObjectBody) -> pail_store::Result<u64> {
    let (mut digest, mut buffer) = (new_digest(), vec![0; READ_SIZE_BYTES]);
    loop {
        match body.fill(&mut buffer).await? {
            0 => return Ok(digest.finalize()),
            count => digest.update(&buffer[..count]),
        }
    }
}

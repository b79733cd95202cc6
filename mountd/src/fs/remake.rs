//! The object that a rename leaves under the new name.
//!
//! Owns: `transfer`, by the store's own move or copy, which keep all that the object carries; and `remake`, where it is to carry something else.
//!
//! # When it carries something else
//! A file that this mount made, and that was given nothing beside its bytes, is renamed for its new name's sake: `sed -i`, editors, rsync and savers
//! of checkpoints write under a temporary name. So it carries what the object did that it replaces, and where it replaces none, the type
//! that the new name tells. Its bytes are mostly here, and go in the one request that the copy would have been; a large one is made of
//! a copied part.

use super::BucketFs;
use super::error::FsResult;
use super::fetch::ObjectFetch;
use super::kept::Kept;
use super::object_stat::{Carried, ObjectStat};
use super::upload::SINGLE_PUT_BYTES_MAX;
use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use pail_cache::{Fetch, Replica};
use pail_store::{
    Attributes, Condition, ErrorKind, PartCopy, Payload, PayloadSource, PutOptions, RawKey, Upload, Version,
    content_type_of,
};
use std::ops::Range;
use std::sync::Arc;

/// Files up to this length are read into memory before they are sent, so that the store can add a checksum.
const IN_MEMORY_BYTES_MAX: u64 = 1 << 20;
/// The part that is copied at a time, where it can be chosen, and how many of them at the same time. 10,000 of them are more than an object
/// has.
const COPIED_PART_BYTES: u64 = 1 << 30;
const COPIES_IN_FLIGHT: usize = 8;

/// What a rename has made.
pub(super) struct Transferred {
    /// What is under the new name.
    pub stat: ObjectStat,
    /// Nothing is under the old one any more.
    pub is_move: bool,
}

/// The bytes of a version, as they are cached or fetched.
struct ReplicaSource {
    replica: Arc<Replica>,
    fetch: Arc<dyn Fetch>,
}

#[async_trait]
impl PayloadSource for ReplicaSource {
    async fn read(&self, range: Range<u64>) -> std::io::Result<Bytes> {
        self.replica.read(range, &self.fetch).await.map_err(std::io::Error::other)
    }
}

/// Whether the new name tells a type, which the old one did not: that bytes are bytes says nothing.
fn tells_another_type(from: &RawKey, to: &RawKey) -> bool {
    let told = content_type_of(to.as_str()).filter(|told| *told != "application/octet-stream");
    told.is_some_and(|told| content_type_of(from.as_str()) != Some(told))
}

impl BucketFs {
    /// Makes the object `to` of a version of `from`; `replaced` is what was there. Errors: the store's; the copy may be there all the same.
    pub(super) async fn transfer(
        &self,
        (from, stat): (&RawKey, &ObjectStat),
        (to, replaced): (&RawKey, Option<ObjectStat>),
        condition: Condition,
    ) -> FsResult<Transferred> {
        // The store's clock tells its time.
        let made = |version, carried| ObjectStat { version, carried, store_time: None, ..stat.clone() };
        if stat.carried == Carried::Fresh {
            let kept = replaced.map_or(Kept::Fresh, |replaced| Kept::of(to, &replaced));
            let attributes = self.all_of(&kept, &Version::Unknown).await?;
            let is_other = match &attributes {
                Some(attributes) => **attributes != Attributes::default(),
                None => tells_another_type(from, to),
            };
            if is_other {
                let carried = attributes.clone().map_or(Carried::Fresh, Carried::Told);
                let attributes = attributes.as_deref().cloned().unwrap_or_default();
                let options = PutOptions { condition: condition.clone(), attributes };
                if let Some(version) = self.remake(from, stat, to, options).await? {
                    return Ok(Transferred { stat: made(version, carried), is_move: false });
                }
            }
        }
        match self.store.rename(from, &stat.version, to, condition.clone()).await {
            Err(error) if error.kind == ErrorKind::Unsupported => {}
            moved => {
                let stat = made(moved?, stat.carried.clone().moved());
                return Ok(Transferred { stat, is_move: true });
            }
        }
        let version = self.store.copy(from, &stat.version, to, condition).await?;
        Ok(Transferred { stat: made(version, stat.carried.clone().moved()), is_move: false })
    }

    /// Makes an object of the bytes of a version of another; `None` where that would be to send more than the store can copy. Errors: the
    /// store's.
    async fn remake(
        &self,
        from: &RawKey,
        stat: &ObjectStat,
        to: &RawKey,
        options: PutOptions,
    ) -> FsResult<Option<Version>> {
        if stat.size > SINGLE_PUT_BYTES_MAX {
            let capabilities = self.capabilities().await?;
            let part_bytes = match capabilities.part_copy {
                PartCopy::None => return Ok(None),
                PartCopy::Whole => stat.size,
                PartCopy::Ranges => COPIED_PART_BYTES.min(capabilities.part_size_bytes_max),
            };
            return self.remake_of_parts(from, stat, to, options, part_bytes).await.map(Some);
        }
        let _slot = self.upload_slots.acquire().await;
        let replica = self.replica(from, stat);
        let fetch = ObjectFetch::of(self.store.clone(), from.clone(), stat);
        let payload = match stat.size <= IN_MEMORY_BYTES_MAX {
            true => Payload::Bytes(replica.read(0..stat.size, &fetch).await?),
            false => Payload::Source { len: stat.size, source: Arc::new(ReplicaSource { replica, fetch }) },
        };
        Ok(Some(self.store.put(to, payload, options).await?))
    }

    async fn remake_of_parts(
        &self,
        from: &RawKey,
        stat: &ObjectStat,
        to: &RawKey,
        options: PutOptions,
        part_bytes: u64,
    ) -> FsResult<Version> {
        // Noted before it is asked for, so that who comes after a killed daemon knows of it.
        let note = self.cache.note_upload(self.store.identity(), to.as_str()).await;
        let upload = match self.store.start_upload(to, &options).await {
            Ok(upload) => upload,
            Err(error) => {
                if !error.maybe_applied {
                    note.ended();
                }
                return Err(error.into());
            }
        };
        note.begun(&upload.id).await;
        let made = self.copy_parts(from, stat, &upload, &options, part_bytes).await;
        let has_ended = match &made {
            Ok(_) => true,
            Err(_) => self.store.abort_upload(&upload).await.is_ok(),
        };
        if has_ended {
            note.ended();
        }
        Ok(made?)
    }

    async fn copy_parts(
        &self,
        from: &RawKey,
        stat: &ObjectStat,
        upload: &Upload,
        options: &PutOptions,
        part_bytes: u64,
    ) -> pail_store::Result<Version> {
        let ranges = (0..stat.size).step_by(usize::try_from(part_bytes).unwrap_or(usize::MAX));
        let ranges = ranges.map(|start| start..stat.size.min(start.saturating_add(part_bytes)));
        let copies = (1..)
            .zip(ranges)
            .map(|(number, range)| self.store.copy_part(upload, number, from, &stat.version, range));
        let parts: Vec<_> = futures::stream::iter(copies).buffered(COPIES_IN_FLIGHT).try_collect().await?;
        self.store.complete_upload(upload, &parts, options).await
    }
}

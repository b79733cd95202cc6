//! What an edit keeps of an object beside its bytes: content type, metadata, tags, storage class, key.
//!
//! Owns: [`Kept`], which a written file has for its next version, [`SharedAttributes`], and the look for what the object carries where no answer has told it.
//!
//! # What an edit is
//! A program that changes a part of a file, that truncates it and writes it anew, or that renames a new file over it (as `sed -i`, editors and
//! savers of checkpoints do) edits the object of that name: its next version carries what it carried. A new file gets what the store gives
//! new objects of its name.

use super::BucketFs;
use super::dirty::DirtyFile;
use super::error::{FsError, FsResult};
use super::object_stat::{Carried, ObjectStat};
use pail_store::{Attributes, ErrorKind, RawKey, Version};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;

/// What the next version of a file is to carry beside its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    /// What the store gives a new object of its name.
    Fresh,
    /// What the object of this key carries, of which this is known.
    Of(RawKey, Option<Arc<Attributes>>),
    /// This.
    All(Arc<Attributes>),
}

impl Kept {
    /// What the version of `stat` at `key` carries.
    pub fn of(key: &RawKey, stat: &ObjectStat) -> Self {
        match &stat.carried {
            Carried::Untold => Self::Of(key.clone(), None),
            Carried::Fresh => Self::Fresh,
            Carried::Told(told) if has_all_tags(told) => Self::All(told.clone()),
            Carried::Told(told) => Self::Of(key.clone(), Some(told.clone())),
        }
    }

    /// What is known of the object once it was published so.
    pub fn as_carried(&self) -> Carried {
        match self {
            Self::Fresh => Carried::Fresh,
            Self::Of(..) => Carried::Untold,
            Self::All(all) => Carried::Told(all.clone()),
        }
    }
}

/// How many sets of attributes are shared.
const SHARED_MAX: usize = 16;

/// The sets of attributes that were seen last: most objects of a bucket carry the same, and are to share one in memory.
#[derive(Default)]
pub struct SharedAttributes {
    /// Guards the list; a leaf.
    seen: Mutex<VecDeque<Arc<Attributes>>>,
}

impl SharedAttributes {
    /// The same attributes, in memory once.
    pub fn share(&self, attributes: Arc<Attributes>) -> Arc<Attributes> {
        let mut seen = self.seen.lock();
        if let Some(shared) = seen.iter().find(|seen| **seen == attributes) {
            return shared.clone();
        }
        if seen.len() >= SHARED_MAX {
            seen.pop_front();
        }
        seen.push_back(attributes.clone());
        attributes
    }
}

/// An answer's head counts tags, and does not name them.
fn has_all_tags(attributes: &Attributes) -> bool {
    attributes.tag_count as usize <= attributes.tags.len()
}

impl BucketFs {
    /// What a read has told of an object, to be remembered. User metadata is often each object's own, and is remembered of files that are open to
    /// be changed alone: millions may be read.
    pub(super) fn told_by_read(&self, attributes: &Arc<Attributes>, is_to_change: bool) -> Carried {
        match is_to_change || attributes.metadata.is_empty() {
            true => Carried::Told(self.attributes.share(attributes.clone())),
            false => Carried::Untold,
        }
    }

    /// What the next version of a file is to carry. Errors: as of `all_of`.
    pub(super) async fn attributes_to_keep(&self, dirty: &DirtyFile) -> FsResult<Attributes> {
        let kept = dirty.kept();
        let version = dirty.base().map_or(Version::Unknown, |base| base.stat.version);
        let found = self.all_of(&kept, &version).await?;
        let now = found.clone().map_or(Kept::Fresh, Kept::All);
        if now != kept {
            dirty.set_kept(&kept, now);
        }
        Ok(found.as_deref().cloned().unwrap_or_default())
    }

    /// All that is to be kept; `None` where that is nothing. Errors: the store's, which could not be asked; [`FsError::Uneditable`].
    pub(super) async fn all_of(&self, kept: &Kept, version: &Version) -> FsResult<Option<Arc<Attributes>>> {
        let found = self.find_all_of(kept, version).await?;
        match found.as_ref().and_then(|found| found.uneditable) {
            Some(kind) => Err(FsError::Uneditable(kind)),
            None => Ok(found),
        }
    }

    async fn find_all_of(&self, kept: &Kept, version: &Version) -> FsResult<Option<Arc<Attributes>>> {
        let (key, told) = match kept {
            Kept::Fresh => return Ok(None),
            Kept::All(all) => return Ok(Some(all.clone())),
            Kept::Of(key, told) => (key, told.clone()),
        };
        let error = match self.store.attributes(key, version).await {
            Ok(all) => return Ok(Some(Arc::new(all))),
            Err(error) => error,
        };
        match error.kind {
            // What stands there now is not edited; on what condition the write is, it says itself.
            ErrorKind::NotFound | ErrorKind::Precondition => Ok(told),
            // The tags may not be read, or nothing may.
            ErrorKind::Denied | ErrorKind::Unsupported => {
                tracing::warn!(mount = %self.options.mount_name, key = %key, error = %error,
                    "what the object carries beside its bytes cannot be read in full; the rest of it is lost in an edit");
                let head = match told {
                    Some(told) => Some(told),
                    None => self.store.head(key).await.ok().and_then(|meta| meta.attributes),
                };
                Ok(head.map(|head| {
                    let tag_count = u32::try_from(head.tags.len()).unwrap_or(u32::MAX);
                    Arc::new(Attributes { tag_count, ..(*head).clone() })
                }))
            }
            _ => Err(error.into()),
        }
    }
}

//! A large object that the store copies by itself, part by part.
//!
//! Owns: [`ServerCopy`], what such parts are made of: ranges of one version of an object, of the same bucket or of one beside it. No bytes pass through here. Where one request copies all
//! of an object, or where the store itself goes on with a copy that takes several (Google Cloud Storage), there are none.

use crate::copy_error::CopyError;
use crate::part_uploads::{Failure, PartSource};
use crate::progress::Moved;
use async_trait::async_trait;
use pail_store::{ErrorKind, ObjectMeta, Part, Store, Upload};
use parking_lot::Mutex;
use std::ops::Range;
use std::sync::Arc;

/// An object is copied in parts of this share of what one request copies: on S3, of 1 GiB, which takes about a second.
pub(crate) const PARTS_IN_ONE_REQUEST: u64 = 5;

/// An object that the target copies from where it is.
pub(crate) struct ServerCopy {
    store: Arc<dyn Store>,
    object: ObjectMeta,
    /// Why the store does not copy it, while it may well take the bytes. Guards that alone; a leaf.
    refusal: Mutex<Option<pail_store::Error>>,
}

impl ServerCopy {
    pub fn of(store: Arc<dyn Store>, object: ObjectMeta) -> Self {
        Self { store, object, refusal: Mutex::default() }
    }

    /// Why it was refused, if it was.
    pub fn refusal(&self) -> Option<pail_store::Error> {
        self.refusal.lock().take()
    }
}

/// Whether a store that answers so does not copy, while the bytes may pass through here.
pub(crate) fn is_refusal(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::Unsupported | ErrorKind::Denied | ErrorKind::NoSuchBucket)
}

#[async_trait]
impl PartSource for ServerCopy {
    async fn send(
        &self,
        target: &dyn Store,
        upload: &Upload,
        number: u32,
        range: Range<u64>,
        moved: &Arc<Moved>,
    ) -> Result<Part, Failure> {
        let len = range.end - range.start;
        match target.copy_part_from(&*self.store, &self.object, upload, number, range).await {
            Ok(part) => {
                moved.add(len);
                Ok(part)
            }
            Err(error) if is_refusal(error.kind) => {
                let told = CopyError::Item(error.to_string());
                *self.refusal.lock() = Some(error);
                Err(told.into())
            }
            // Of the source, or of the upload: the object is looked at again before another one begins.
            Err(error) if error.kind == ErrorKind::NotFound && !self.is_there().await => {
                Err(CopyError::Changed.into())
            }
            Err(error) => Err(Failure::of_store(target, upload, error)),
        }
    }

    /// The store has made it of the object's own bytes.
    async fn check(&self, _parts: &[Part]) -> Result<bool, CopyError> {
        Ok(false)
    }
}

impl ServerCopy {
    async fn is_there(&self) -> bool {
        let found = self.store.head(&self.object.key).await;
        found.is_ok_and(|found| found.version.is(&self.object.version))
    }
}

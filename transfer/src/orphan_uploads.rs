//! Uploads in parts that nobody will complete.
//!
//! Owns: [`OpenUpload`], an upload under way, and [`OrphanUploads`], those that were dropped before they had ended. A task that is given up cannot send a request
//! any more, so the run aborts them at its end. Where an upload has a journal, that ends with it; one of which the store has parts by its journal is no orphan, but
//! left for the next run to go on with.

use crate::upload_journal::UploadJournal;
use crate::work::Work;
use futures::future::join_all;
use pail_store::{ErrorKind, PutOptions, RawKey, Store, Upload};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// How long the end of a run waits for uploads to be aborted.
const ABORT_TIMEOUT: Duration = Duration::from_secs(10);

/// Uploads of one store that are to be aborted.
#[derive(Debug, Clone)]
pub(crate) struct OrphanUploads {
    store: Arc<dyn Store>,
    /// Guards the uploads; a leaf.
    uploads: Arc<Mutex<Vec<Orphan>>>,
}

/// An upload that nobody will complete, and what tells of it.
type Orphan = (Upload, Option<Arc<UploadJournal>>);

/// An upload under way. Dropped before it has ended, it is an orphan, or left to a later run.
#[derive(Debug)]
pub(crate) struct OpenUpload {
    pub upload: Upload,
    /// What tells a later run of it.
    pub journal: Option<Arc<UploadJournal>>,
    orphans: OrphanUploads,
    has_ended: bool,
}

impl OrphanUploads {
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store, uploads: Arc::default() }
    }

    /// Begins an upload, in a task of its own: where a run that is given up cut off the request, the store might have an upload that nobody knows of. Errors: the store's.
    pub async fn start(
        &self,
        work: &Work,
        key: &RawKey,
        options: &PutOptions,
        journal: Option<Arc<UploadJournal>>,
    ) -> pail_store::Result<OpenUpload> {
        let (orphans, key, options) = (self.clone(), key.clone(), options.clone());
        let over = pail_store::Error::new(
            ErrorKind::Other,
            "CreateMultipartUpload",
            self.store.uri(),
            Some(&key),
            "the run is over",
        );
        let (sender, started) = oneshot::channel();
        tokio::spawn(work.tracked(async move {
            let started = orphans.store.start_upload(&key, &options).await;
            // Nobody waits for it any more: it is an orphan.
            drop(sender.send(started.map(|upload| orphans.hold(upload, journal))));
        }));
        started.await.unwrap_or(Err(over))
    }

    /// Holds an upload that has begun.
    pub fn hold(&self, upload: Upload, journal: Option<Arc<UploadJournal>>) -> OpenUpload {
        OpenUpload { upload, journal, orphans: self.clone(), has_ended: false }
    }

    /// Aborts what tasks that were given up have left open.
    pub async fn abort_all(&self) {
        let orphans = std::mem::take(&mut *self.uploads.lock());
        let aborting =
            join_all(orphans.iter().map(|(upload, journal)| self.abort(upload, journal.as_deref())));
        if tokio::time::timeout(ABORT_TIMEOUT, aborting).await.is_err() {
            tracing::warn!("uploads in parts stay open in the bucket: they could not be aborted in time");
        }
    }

    /// Ends an upload, and its journal with it; one that cannot be aborted keeps its journal. Whether it could.
    pub async fn abort(&self, upload: &Upload, journal: Option<&UploadJournal>) -> bool {
        let aborted = self.store.abort_upload(upload).await;
        match &aborted {
            Ok(()) => journal.into_iter().for_each(UploadJournal::end),
            Err(error) => {
                tracing::warn!(key = %upload.key, %error, "an upload in parts stays open in the bucket");
            }
        }
        aborted.is_ok()
    }
}

impl OpenUpload {
    /// It became an object.
    pub fn complete(mut self) {
        self.journal.iter().for_each(|journal| journal.end());
        self.has_ended = true;
    }

    /// It stays, for a later run to go on with.
    pub fn leave(mut self) {
        self.has_ended = true;
    }

    /// It came to nothing.
    pub async fn abort(mut self) {
        let _ = self.orphans.abort(&self.upload, self.journal.as_deref()).await;
        self.has_ended = true;
    }
}

impl Drop for OpenUpload {
    fn drop(&mut self) {
        let is_left = self.journal.as_ref().is_some_and(|journal| journal.has_parts());
        if !self.has_ended && !is_left {
            self.orphans.uploads.lock().push((self.upload.clone(), self.journal.take()));
        }
    }
}

//! A copy by parts that is under way.
//!
//! Owns: [`OpenCopy`], the upload that such a copy makes its parts in. Nobody goes on with it: where the copy fails, or is given up, the upload is aborted, since parts that nobody names cost the
//! bucket's owner money. What is given up cannot send a request any more, so a task of its own does.

use super::Pipeline;
use super::probe::Enforcement;
use super::writing::Writer;
use crate::contract::{Result, Upload, Version};
use std::sync::Arc;
use tokio::runtime::Handle;

/// The upload of a copy. Dropped before it has ended, it is aborted.
pub(super) struct OpenCopy {
    pipeline: Arc<Pipeline>,
    upload: Upload,
    has_ended: bool,
}

impl OpenCopy {
    pub fn of(writer: &Writer<'_>, upload: Upload) -> Self {
        Self { pipeline: writer.pipeline.clone(), upload, has_ended: false }
    }

    pub fn upload(&self) -> &Upload {
        &self.upload
    }

    /// The copy came to this: it is complete, or its parts are freed.
    pub async fn end(mut self, copied: Result<Version>) -> Result<Version> {
        if copied.is_err() {
            abort(&self.pipeline, &self.upload).await;
        }
        self.has_ended = true;
        copied
    }
}

impl Drop for OpenCopy {
    fn drop(&mut self) {
        if let (false, Ok(runtime)) = (self.has_ended, Handle::try_current()) {
            let (pipeline, upload) = (self.pipeline.clone(), self.upload.clone());
            runtime.spawn(async move { abort(&pipeline, &upload).await });
        }
    }
}

async fn abort(pipeline: &Arc<Pipeline>, upload: &Upload) {
    let writer = Writer { pipeline, enforcement: Enforcement::default() };
    if let Err(error) = writer.abort_upload(upload).await {
        tracing::warn!(key = %upload.key, %error, "a failed copy's parts could not be freed");
    }
}

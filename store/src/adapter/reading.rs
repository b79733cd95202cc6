//! Bodies of the library that survive their connections.
//!
//! Owns: [`get`], and what is behind its [`GetResult::body`]. When a body breaks, the bytes that are missing are asked for again, of the same
//! version. Invariants: exactly the bytes of the range, in order, of one version, or an error; the deadline counts the time in which the
//! server makes no progress, not the reader's.

use super::backend::{Backend, Intent};
use super::call::Call;
use super::failure::error;
use super::library;
use super::meta::{attributes_of, meta_of};
use crate::contract::*;
use crate::http::failure::innermost;
use crate::http::retry::Backoff;
use async_trait::async_trait;
use bytes::{Buf, Bytes};
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::GetRange;
use object_store::path::Path;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

const OPERATION: &str = "GetObject";

type Stream = BoxStream<'static, object_store::Result<Bytes>>;

/// See [`Store::get`].
pub(super) async fn get<B: Backend>(
    backend: &Arc<B>,
    key: &RawKey,
    path: &Path,
    options: GetOptions,
) -> Result<GetResult> {
    let pinned = options.if_version.filter(|version| !version.is_unknown());
    if let Some(range) = options.range.clone().filter(Range::is_empty) {
        return get_nothing(&**backend, key, path, range.start, pinned).await;
    }
    let opened = open(&**backend, key, path, options.range.clone(), pinned.as_ref()).await;
    let (meta, range, stream) = match opened {
        // The library has no word of its own for it.
        Err(failed) if failed.kind == ErrorKind::Other && options.range.is_some() => {
            let start = options.range.map_or(0, |range| range.start);
            let size = library::head(&**backend, key, path).await?.size;
            return Err(if start >= size { beyond(&**backend, key) } else { failed });
        }
        opened => opened?,
    };
    let version = meta.version.clone();
    let reading = Reading {
        backend: backend.clone(),
        key: key.clone(),
        version,
        missing: range.clone(),
        stream: Some(stream),
        piece: Bytes::new(),
        stuck: None,
    };
    Ok(GetResult { meta, range, body: Box::new(reading) })
}

/// No request has a word for an empty range.
async fn get_nothing<B: Backend>(
    backend: &B,
    key: &RawKey,
    path: &Path,
    start: u64,
    pinned: Option<Version>,
) -> Result<GetResult> {
    let meta = library::head(backend, key, path).await?;
    if pinned.is_some_and(|version| version != meta.version) {
        return Err(changed(backend, key));
    }
    if start >= meta.size {
        return Err(beyond(backend, key));
    }
    Ok(GetResult { meta, range: start..start, body: Box::new(Bytes::new()) })
}

async fn open<B: Backend>(
    backend: &B,
    key: &RawKey,
    path: &Path,
    range: Option<Range<u64>>,
    version: Option<&Version>,
) -> Result<(ObjectMeta, Range<u64>, Stream)> {
    let options = object_store::GetOptions {
        range: range.map(GetRange::Bounded),
        if_match: version.and_then(|version| backend.etag(version)),
        ..Default::default()
    };
    let call = Call::new(OPERATION, key);
    let (got, head) = library::run(backend.bucket(), call, backend.objects().get_opts(path, options)).await?;
    let mut attributes = attributes_of(&got.attributes, &head.metadata_names);
    backend.add_attributes(&head.headers, &mut attributes);
    let meta = ObjectMeta { md5: backend.md5(&head.headers), ..meta_of(key, &got.meta, Some(attributes)) };
    let range = got.range.clone();
    if version.is_some_and(|version| *version != meta.version) {
        return Err(changed(backend, key));
    }
    Ok((meta, range, got.into_stream()))
}

fn changed<B: Backend>(backend: &B, key: &RawKey) -> Error {
    let message = "the object has another version now";
    error(backend.bucket(), OPERATION, Some(key), ErrorKind::Precondition, message)
}

fn beyond<B: Backend>(backend: &B, key: &RawKey) -> Error {
    let message = "the range starts beyond the object's end";
    error(backend.bucket(), OPERATION, Some(key), ErrorKind::RangeNotSatisfiable, message)
}

/// A body on its way.
struct Reading<B> {
    backend: Arc<B>,
    key: RawKey,
    version: Version,
    /// What was not handed over yet.
    missing: Range<u64>,
    stream: Option<Stream>,
    /// What came last, as far as it was not handed over.
    piece: Bytes,
    /// Since when, and how often, nothing came.
    stuck: Option<(Instant, Backoff)>,
}

#[async_trait]
impl<B: Backend> ObjectBody for Reading<B> {
    async fn fill(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let wanted =
            buffer.len().min(usize::try_from(self.missing.end - self.missing.start).unwrap_or(usize::MAX));
        let mut filled = 0;
        while filled < wanted {
            while self.piece.is_empty() {
                self.next_piece().await?;
            }
            let count = self.piece.len().min(wanted - filled);
            self.piece.copy_to_slice(&mut buffer[filled..filled + count]);
            filled += count;
            self.missing.start += count as u64;
        }
        if self.missing.is_empty() {
            self.stream = None;
        }
        Ok(wanted)
    }
}

impl<B: Backend> Reading<B> {
    async fn next_piece(&mut self) -> Result<()> {
        let Some(stream) = &mut self.stream else { return self.resume().await };
        let began = Instant::now();
        let cause = match stream.next().await {
            Some(Ok(piece)) => {
                self.stuck = None;
                let wanted = usize::try_from(self.missing.end - self.missing.start).unwrap_or(usize::MAX);
                self.piece = piece.slice(..piece.len().min(wanted));
                return Ok(());
            }
            Some(Err(cause)) => innermost(&cause),
            None => "the body ended too early".to_owned(),
        };
        self.pause(cause, began).await
    }

    /// The body is lost, after a wait that began then.
    async fn pause(&mut self, cause: String, began: Instant) -> Result<()> {
        self.stream = None;
        let (since, backoff) = self.stuck.get_or_insert_with(|| (began, Backoff::default()));
        let delay = backoff.next_delay(None);
        if since.elapsed() + delay > self.backend.retry_deadline() {
            let message = format!("the body stopped at byte {}: {cause}", self.missing.start);
            let bucket = self.backend.bucket();
            return Err(error(bucket, OPERATION, Some(&self.key), ErrorKind::Unreachable, message));
        }
        tracing::warn!(operation = OPERATION, key = %self.key, offset = self.missing.start, cause, "resuming a body");
        tokio::time::sleep(delay).await;
        Ok(())
    }

    async fn resume(&mut self) -> Result<()> {
        let bucket = self.backend.bucket();
        if self.version.is_unknown() {
            let message = "the body broke off, and the server names no version to resume it of";
            return Err(error(bucket, OPERATION, Some(&self.key), ErrorKind::Unreachable, message));
        }
        let path = self
            .backend
            .path(&self.key, Intent::Read)
            .map_err(|why| library::unsupported(bucket, OPERATION, Some(&self.key), &why))?;
        let missing = Some(self.missing.clone());
        let (_, range, stream) = open(&*self.backend, &self.key, &path, missing, Some(&self.version)).await?;
        if range != self.missing {
            let message = "the server sent less than the range that is missing";
            return Err(error(bucket, OPERATION, Some(&self.key), ErrorKind::Corrupt, message));
        }
        self.stream = Some(stream);
        Ok(())
    }
}

//! Bodies that survive their connections.
//!
//! Owns: what is behind [`GetResult::body`] of every store over HTTP. When a connection breaks, stalls or ends early, it asks for the bytes
//! that are still missing, of the same version, and goes on.
//!
//! Invariants:
//! - Exactly the bytes of the range, in order, of one version; or an error.
//! - The deadline counts the time in which the *server* makes no progress, over all connections: a reader may be as slow as it likes.
//! - Bytes are read to where the reader wants them.
//! - A whole object whose checksum the store told is checked while it is read, and the last [`fill`](ObjectBody::fill) says what came of that. A
//!   range has no checksum: it is read with no more work than before.

use super::deadline::Waiting;
use super::failure::innermost;
use super::pipeline::{OpenBody, Pipeline};
use super::retry::Backoff;
use super::served::{Served, served_range};
use super::service::Service;
use crate::contract::{
    Checksum, Crc, Error, ErrorKind, GetOptions, GetResult, ObjectBody, ObjectMeta, RawKey, Result, Version,
};
use async_trait::async_trait;
use bytes::Bytes;
use http::HeaderMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The least that a body's next bytes are waited for.
const MOMENT: Duration = Duration::from_secs(1);

/// A service whose objects can be read.
#[async_trait]
pub(crate) trait Readable: Service + Sized {
    /// The API's word for reading an object.
    const OPERATION: &'static str;

    /// Metadata of one object.
    async fn head(pipeline: &Pipeline<Self>, key: &RawKey) -> Result<ObjectMeta>;

    /// One request, checked: the version and the range are what was asked for. `range` is not empty. Errors: `Precondition`,
    /// `RangeNotSatisfiable`, `NotFound`.
    async fn open(
        pipeline: &Pipeline<Self>,
        key: &RawKey,
        range: Option<Range<u64>>,
        version: Option<&Version>,
        waiting: &Arc<Waiting>,
    ) -> Result<(ObjectMeta, Range<u64>, OpenBody)>;
}

/// Opens an object; see [`Store::get`](crate::Store::get).
pub(crate) async fn get<S: Readable>(
    pipeline: &Arc<Pipeline<S>>,
    key: &RawKey,
    options: GetOptions,
) -> Result<GetResult> {
    if options.range.as_ref().is_some_and(Range::is_empty) {
        return get_nothing(pipeline, key, options).await;
    }
    let pinned = options.if_version.filter(|version| !version.is_unknown());
    let (meta, range, open) =
        S::open(pipeline, key, options.range, pinned.as_ref(), &pipeline.waiting()).await?;
    let version = meta.version.clone();
    let checked = meta.checksum.filter(|_| range == (0..meta.size));
    let reading = Reading {
        pipeline: pipeline.clone(),
        key: key.clone(),
        version,
        missing: range.clone(),
        open: Some(open),
        stuck: None,
        checked: checked.map(|checksum| Box::new((checksum, Crc::like(checksum)))),
    };
    Ok(GetResult { meta, range, body: Box::new(reading) })
}

/// HTTP has no word for an empty range.
async fn get_nothing<S: Readable>(
    pipeline: &Arc<Pipeline<S>>,
    key: &RawKey,
    options: GetOptions,
) -> Result<GetResult> {
    let meta = S::head(pipeline, key).await?;
    let start = options.range.map_or(0, |range| range.start);
    if options.if_version.is_some_and(|version| !version.is_unknown() && version != meta.version) {
        return Err(changed(pipeline, key));
    }
    if start >= meta.size {
        let message = "the range starts beyond the object's end".to_owned();
        return Err(pipeline.error(S::OPERATION, Some(key), ErrorKind::RangeNotSatisfiable, message));
    }
    Ok(GetResult { meta, range: start..start, body: Box::new(Bytes::new()) })
}

/// That another version stands than was asked for.
pub(crate) fn changed<S: Readable>(pipeline: &Pipeline<S>, key: &RawKey) -> Error {
    let message = "the object has another version now".to_owned();
    pipeline.error(S::OPERATION, Some(key), ErrorKind::Precondition, message)
}

/// Which bytes an answer of `length` bytes holds. Errors: `Unsupported`, where they are others than were `asked` for.
pub(crate) fn served<S: Readable>(
    pipeline: &Pipeline<S>,
    key: &RawKey,
    headers: &HeaderMap,
    length: Option<u64>,
    asked: Option<&Range<u64>>,
) -> Result<Served> {
    served_range(headers, length).filter(|served| served.is_of(asked)).ok_or_else(|| {
        let message = "the server sent another range than was asked for".to_owned();
        pipeline.error(S::OPERATION, Some(key), ErrorKind::Unsupported, message)
    })
}

/// A body on its way.
struct Reading<S> {
    pipeline: Arc<Pipeline<S>>,
    key: RawKey,
    version: Version,
    /// What has not arrived yet.
    missing: Range<u64>,
    open: Option<OpenBody>,
    /// Since when, and how often, nothing came.
    stuck: Option<(Arc<Waiting>, Backoff)>,
    /// What the bytes must come to, and what they come to so far; of whole objects alone.
    checked: Option<Box<(Checksum, Crc)>>,
}

#[async_trait]
impl<S: Readable> ObjectBody for Reading<S> {
    async fn fill(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let wanted =
            buffer.len().min(usize::try_from(self.missing.end - self.missing.start).unwrap_or(usize::MAX));
        let mut filled = 0;
        while filled < wanted {
            filled += self.read(&mut buffer[filled..wanted]).await?;
        }
        if self.missing.is_empty() {
            self.check()?;
        }
        Ok(wanted)
    }
}

impl<S: Readable> Reading<S> {
    /// Reads some of what is missing, from this connection or the next.
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        loop {
            let Some(open) = &mut self.open else {
                self.resume().await?;
                continue;
            };
            let (began, patience) = (Instant::now(), self.pipeline.options.stall_timeout);
            let until = match &self.stuck {
                Some((waiting, _)) => waiting.until(began, patience),
                None => began + patience.min(self.pipeline.options.retry_deadline.max(MOMENT)),
            };
            let cause = match tokio::time::timeout_at(until.into(), open.body.read(buffer)).await {
                Ok(Ok(0)) => "the connection ended too early".to_owned(),
                Ok(Ok(count)) => {
                    if let Some(checked) = &mut self.checked {
                        checked.1.update(&buffer[..count]);
                    }
                    self.note(count as u64).await;
                    return Ok(count);
                }
                Ok(Err(error)) => innermost(&error),
                Err(_) => format!("no bytes for {} s", began.elapsed().as_secs()),
            };
            self.pause(cause, began).await?;
        }
    }

    /// Whether what has come is what the store has. Errors: `Corrupt`.
    fn check(&self) -> Result<()> {
        let Some(checked) = &self.checked else { return Ok(()) };
        let (checksum, crc) = &**checked;
        if crc.is(*checksum) {
            return Ok(());
        }
        let message = format!(
            "what arrived is not what is stored: its {} is not {}, which the store has of it",
            checksum.name(),
            checksum.to_base64()
        );
        self.pipeline.counters.count_error(ErrorKind::Corrupt);
        Err(self.pipeline.error(S::OPERATION, Some(&self.key), ErrorKind::Corrupt, message))
    }

    async fn note(&mut self, count: u64) {
        self.missing.start += count;
        self.stuck = None;
        self.pipeline.movement.moved();
        self.pipeline.counters.count_received(count);
        // The place among the requests in flight is free before the reader lets go of the body.
        if self.missing.is_empty()
            && let Some(open) = self.open.take()
        {
            open.body.finish().await;
        }
    }

    /// The connection is lost, after a wait that began then. Waits before the next one, unless there was no progress for the whole deadline.
    async fn pause(&mut self, cause: String, began: Instant) -> Result<()> {
        self.open = None;
        self.pipeline.counters.count_error(ErrorKind::Unreachable);
        let Pipeline { movement, options, .. } = &*self.pipeline;
        let (waiting, backoff) = self.stuck.get_or_insert_with(|| {
            (Waiting::since(movement, options.retry_deadline, began), Backoff::default())
        });
        let delay = backoff.next_delay(None);
        if delay > waiting.left() {
            let message = format!("the body stopped at byte {}: {cause}", self.missing.start);
            return Err(self.pipeline.error(S::OPERATION, Some(&self.key), ErrorKind::Unreachable, message));
        }
        tracing::warn!(
            operation = S::OPERATION,
            bucket = self.pipeline.bucket,
            key = %self.key,
            offset = self.missing.start,
            cause,
            "resuming a body"
        );
        self.pipeline.counters.count_retry();
        tokio::time::sleep(delay).await;
        Ok(())
    }

    async fn resume(&mut self) -> Result<()> {
        if self.version.is_unknown() {
            let message = "the body broke off, and the server names no version to resume it of".to_owned();
            return Err(self.pipeline.error(S::OPERATION, Some(&self.key), ErrorKind::Unreachable, message));
        }
        let waiting = match &self.stuck {
            Some((waiting, _)) => waiting.clone(),
            None => self.pipeline.waiting(),
        };
        let missing = Some(self.missing.clone());
        let (_, range, open) =
            S::open(&self.pipeline, &self.key, missing, Some(&self.version), &waiting).await?;
        if range != self.missing {
            let message = "the server sent less than the range that is missing".to_owned();
            return Err(self.pipeline.error(S::OPERATION, Some(&self.key), ErrorKind::Corrupt, message));
        }
        self.open = Some(open);
        Ok(())
    }
}

//! Resumable uploads.
//!
//! Owns: [`Sessions`], the uploads in progress; starting one, its chunks, the question how far it is, cancelling it.
//!
//! Invariants: bytes that arrived stay with the session whatever becomes of the request or its connection, rounded down to a multiple of
//! 256 KiB; only one request works on a session, and a newer one takes it over. A finished session tells of its object until it is
//! forgotten.
//! Source: Cloud Storage documentation, "Resumable uploads" and "Perform resumable uploads".

use crate::call::Call;
use crate::content::Content;
use crate::gcs::error::GcsError;
use crate::gcs::insert::{Plan, check_len, wants_md5};
use crate::gcs::receive::{Claims, Digests, Receiver, body_len, receive, receive_document, sink};
use crate::gcs::route::Operation;
use crate::gcs::{bucket_named, bucket_of, endpoint, found_name};
use crate::reply::Reply;
use crate::sink::Sink;
use bytes::Bytes;
use http::StatusCode;
use http::header::{LOCATION, RANGE};
use parking_lot::Mutex;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Chunks but the last are multiples of this, in bytes.
const CHUNK_LEN_BYTES: u64 = 256 * 1024;

/// How many sessions are remembered; the service forgets them after a week.
const SESSIONS_LEN_MAX: usize = 1000;

/// The uploads in progress.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    /// Guards which there are. A leaf.
    by_id: Mutex<ById>,
}

#[derive(Debug, Default)]
struct ById {
    sessions: HashMap<String, Arc<Session>>,
    in_order: VecDeque<String>,
}

impl Sessions {
    fn add(&self, session: Session) -> String {
        let id = hex::encode(rand::random::<[u8; 32]>());
        let mut by_id = self.by_id.lock();
        while by_id.sessions.len() >= SESSIONS_LEN_MAX
            && let Some(oldest) = by_id.in_order.pop_front()
        {
            by_id.sessions.remove(&oldest);
        }
        by_id.in_order.push_back(id.clone());
        by_id.sessions.insert(id.clone(), Arc::new(session));
        id
    }

    fn get(&self, id: &str) -> Option<Arc<Session>> {
        self.by_id.lock().sessions.get(id).cloned()
    }

    fn remove(&self, id: &str) -> Option<Arc<Session>> {
        let mut by_id = self.by_id.lock();
        by_id.in_order.retain(|known| known != id);
        by_id.sessions.remove(id)
    }
}

/// One upload in progress.
#[derive(Debug)]
struct Session {
    bucket: String,
    plan: Plan,
    /// The whole length, if the client said it at the start.
    len: Option<u64>,
    /// Guards which request works on the session: a newer one cancels it. A leaf.
    turn: Mutex<CancellationToken>,
    /// Held by the request that works on the session, also while it waits for bytes.
    progress: tokio::sync::Mutex<Progress>,
}

impl Session {
    /// Ends the work of other requests.
    fn take_turn(&self) -> CancellationToken {
        let turn = CancellationToken::new();
        std::mem::replace(&mut *self.turn.lock(), turn.clone()).cancel();
        turn
    }
}

/// How far an upload is.
#[derive(Default)]
struct Progress {
    /// What is kept.
    content: Content,
    /// What the request that works, or the last that worked, has received since.
    pending: Option<Sink>,
    received: u64,
    /// Of all that was received, or `None` if they are to be computed anew.
    digests: Option<Digests>,
    /// The answer, when it is finished: the object's resource.
    finished: Option<Bytes>,
}

impl std::fmt::Debug for Progress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Progress").field("received", &self.received).finish_non_exhaustive()
    }
}

impl Progress {
    /// Keeps what was received. Errors: those of the folder.
    async fn keep(&mut self) -> std::io::Result<()> {
        if let Some(sink) = self.pending.take() {
            self.content.append(&sink.finish().await?);
        }
        Ok(())
    }

    /// Forgets what is beyond a multiple of 256 KiB.
    fn round_down(&mut self) {
        let kept = self.content.len() / CHUNK_LEN_BYTES * CHUNK_LEN_BYTES;
        if kept != self.received {
            self.content = self.content.slice(0..kept);
            self.received = kept;
            self.digests = None;
        }
    }
}

/// A chunk on its way into a session; what the session has already is skipped.
struct Chunk<'a> {
    progress: &'a mut Progress,
    /// Bytes still to be skipped.
    skip: u64,
}

impl Receiver for Chunk<'_> {
    async fn take(&mut self, mut bytes: Bytes) -> Result<(), GcsError> {
        let skipped = self.skip.min(bytes.len() as u64);
        self.skip -= skipped;
        let bytes = bytes.split_off(skipped as usize);
        if bytes.is_empty() {
            return Ok(());
        }
        if let Some(digests) = &mut self.progress.digests {
            digests.update(&bytes);
        }
        self.progress.received += bytes.len() as u64;
        if let Some(sink) = &mut self.progress.pending {
            sink.write(bytes).await?;
        }
        Ok(())
    }
}

/// Errors: 404, 400, 412 where the condition does not hold already.
pub(crate) async fn start(call: &mut Call) -> Result<Reply, GcsError> {
    let bucket = bucket_of(call)?;
    let resource = receive_document(call).await?.unwrap_or_default();
    let content_type = call.header("x-upload-content-type").map(str::to_owned);
    let plan = Plan::of(call, &resource, content_type.as_deref())?;
    found_name(call, Operation::ObjectsStartResumable, &plan.name)?;
    plan.check(&bucket)?;
    let len = call.header("x-upload-content-length").map(str::parse).transpose();
    let len = len.map_err(|_| GcsError::invalid("Invalid value for: X-Upload-Content-Length"))?;
    check_len(len)?;
    let digests = Digests::new(&call.settings, wants_md5(&plan.claims));
    let name = utf8_percent_encode(&plan.name, NON_ALPHANUMERIC).to_string();
    let session = Session {
        bucket: bucket.name.clone(),
        plan,
        len,
        turn: Mutex::default(),
        progress: tokio::sync::Mutex::new(Progress { digests: Some(digests), ..Progress::default() }),
    };
    let id = call.shared.gcs.sessions.add(session);
    let location = format!(
        "{}/upload/storage/v1/b/{}/o?uploadType=resumable&name={name}&upload_id={id}",
        endpoint(call),
        bucket.name
    );
    let mut reply = Reply::ok();
    reply.set(LOCATION, &location);
    Ok(reply)
}

/// What `Content-Range` says of a request.
#[derive(Debug, PartialEq, Eq)]
struct Part {
    /// Where its bytes begin; `None` where it has none.
    start: Option<u64>,
    /// The length of the whole object, if it is known.
    len: Option<u64>,
}

/// Errors: 400.
fn part_of(text: Option<&str>, body_len: Option<u64>) -> Result<Part, GcsError> {
    let invalid = || GcsError::invalid("Failed to parse Content-Range header.");
    let Some(text) = text else { return Ok(Part { start: Some(0), len: body_len }) };
    let (range, len) =
        text.trim().strip_prefix("bytes ").and_then(|spec| spec.split_once('/')).ok_or_else(invalid)?;
    let len: Option<u64> = if len == "*" { None } else { Some(len.parse().map_err(|_| invalid())?) };
    if range == "*" {
        return Ok(Part { start: None, len });
    }
    let (first, last) = range.split_once('-').ok_or_else(invalid)?;
    let first: u64 = first.parse().map_err(|_| invalid())?;
    let last: u64 = last.parse().map_err(|_| invalid())?;
    let announced = last.checked_add(1).and_then(|end| end.checked_sub(first)).ok_or_else(invalid)?;
    if body_len.is_some_and(|len| len != announced) || len.is_some_and(|len| last >= len) {
        return Err(GcsError::invalid(format!(
            "Invalid request. The Content-Range header tells of {announced} byte(s), the body has {}.",
            body_len.unwrap_or(announced)
        )));
    }
    Ok(Part { start: Some(first), len })
}

/// A chunk, or the question how far the upload is. Errors: 404 for an unknown session, 400 for a chunk that does not follow, 412, and 503 where
/// the body breaks off (what came until then is kept).
pub(crate) async fn resume(call: &mut Call) -> Result<Reply, GcsError> {
    let id = call.target.param("upload_id").unwrap_or_default().to_owned();
    let session = call.shared.gcs.sessions.get(&id).ok_or_else(GcsError::not_found)?;
    let turn = session.take_turn();
    tokio::select! {
        biased;
        () = turn.cancelled() => Err(GcsError::broken_upload()),
        reply = work(call, &id, &session) => reply,
    }
}

async fn work(call: &mut Call, id: &str, session: &Session) -> Result<Reply, GcsError> {
    let mut progress = session.progress.lock().await;
    if let Some(resource) = &progress.finished {
        return Ok(finished(resource.clone()));
    }
    if progress.pending.is_some() {
        // The request before this one has broken off.
        progress.keep().await?;
        progress.round_down();
    }
    let part = part_of(call.header("content-range"), body_len(call))?;
    if let (Some(before), Some(now)) = (session.len, part.len)
        && before != now
    {
        return Err(GcsError::invalid(format!(
            "The upload was started for {before} byte(s), and is of {now} now."
        )));
    }
    check_len(part.len)?;
    if let Some(start) = part.start {
        let Some(skip) = progress.received.checked_sub(start) else {
            return Err(GcsError::invalid(format!(
                "Invalid request. The chunk begins at {start}, the upload is at {}.",
                progress.received
            )));
        };
        progress.pending = Some(sink(call, body_len(call)).await?);
        receive(call, &mut Chunk { progress: &mut progress, skip }).await?;
        progress.keep().await?;
    }
    let is_single = part.start.is_some() && call.header("content-range").is_none();
    match part.len.or(session.len).or_else(|| is_single.then_some(progress.received)) {
        Some(len) if progress.received > len => {
            Err(GcsError::invalid(format!("The upload is of {len} byte(s), and more were sent.")))
        }
        Some(len) if progress.received == len && (part.start.is_some() || part.len.is_some()) => {
            let reply = finish(call, session, &mut progress).await;
            if reply.is_err() {
                call.shared.gcs.sessions.remove(id);
            }
            reply
        }
        _ => {
            progress.round_down();
            Ok(incomplete(progress.received))
        }
    }
}

async fn finish(call: &Call, session: &Session, progress: &mut Progress) -> Result<Reply, GcsError> {
    let bucket = bucket_named(call, &session.bucket)?;
    let mut plan = session.plan.clone();
    plan.claims.add(Claims::of_headers(&call.parts.headers));
    let content = std::mem::take(&mut progress.content);
    let settings = call.settings.clone();
    let kept = progress.digests.take().filter(|digests| digests.has_md5() || !wants_md5(&plan.claims));
    let digests = match kept {
        Some(digests) => digests,
        None => Digests::of(&content, &settings, wants_md5(&plan.claims)).await?,
    };
    let reply = plan.finish(call, &bucket, content, digests.finish()).await?;
    let resource = reply.body.segments().first();
    progress.finished = match resource {
        Some(resource) => Some(resource.read_front(resource.len).await?),
        None => None,
    };
    Ok(reply)
}

fn finished(resource: Bytes) -> Reply {
    let mut reply = Reply::json(String::new());
    reply.body = resource.into();
    reply
}

/// 308, which has a meaning of its own here.
fn incomplete(received: u64) -> Reply {
    let mut reply = Reply::empty(StatusCode::PERMANENT_REDIRECT);
    if let Some(last) = received.checked_sub(1) {
        reply.set(RANGE, &format!("bytes=0-{last}"));
    }
    reply
}

/// Errors: 404 for an unknown session; otherwise 499, which says that it is cancelled.
pub(crate) fn cancel(call: &Call) -> Result<Reply, GcsError> {
    let id = call.target.param("upload_id").unwrap_or_default();
    let session = call.shared.gcs.sessions.remove(id).ok_or_else(GcsError::not_found)?;
    session.take_turn();
    Err(GcsError::cancelled())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_ranges_are_read() {
        let part =
            |text, len| part_of(Some(text), len).map(|part| (part.start, part.len)).map_err(|e| e.status);
        assert_eq!(part("bytes 0-9/10", Some(10)), Ok((Some(0), Some(10))));
        assert_eq!(part("bytes 0-9/*", None), Ok((Some(0), None)));
        assert_eq!(part("bytes */10", Some(0)), Ok((None, Some(10))));
        assert_eq!(part("bytes */*", None), Ok((None, None)));
        for text in ["bytes 0-9/10", "bytes 0-9/9", "bytes 9-0/10", "0-9/10", "bytes 0-9", "bytes a-b/*"] {
            assert_eq!(part(text, Some(9)), Err(400), "{text}");
        }
        assert_eq!(part_of(None, Some(7)).unwrap(), Part { start: Some(0), len: Some(7) });
    }
}

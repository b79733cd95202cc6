//! Objects as streams: standard input to an object, an object to standard output.
//!
//! Owns: [`upload_stream`] and [`download_stream`]. Neither knows where a file is, so nothing is resumed, and nothing is remembered.
//!
//! Bounds: up to [`IN_FLIGHT_MAX`] parts of [`PART_BYTES`] under way, one that waits and one that is read or written: 160 MiB. So an object of unknown length has at most 10,000 parts of that, 156 GiB.
//!
//! # Why threads of their own
//! A read of a pipe to which nobody writes, and a write to one that nobody reads, return when they like. A thread of the runtime's in such a call would keep a process that was told to stop.

use crate::copy_error::CopyError;
use crate::fetch::{OTHER_MD5, SHORT};
use crate::orphan_uploads::OrphanUploads;
use crate::sums::{KIND_DEFAULT, Sum};
use crate::work::{Work, lost};
use crate::{Error, Options, Progress, Report};
use bytes::Bytes;
use futures::stream::{self, StreamExt, TryStreamExt};
use md5::{Digest, Md5};
use pail_store::{
    Checksum, ErrorKind, GetOptions, ObjectMeta, Part, Payload, PutOptions, RawKey, Store, Upload,
};
use std::io::{self, Read, Write};
use std::mem::discriminant;
use std::ops::Range;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

/// What is read, sent and fetched at a time.
const PART_BYTES: u64 = 16 << 20;
const IN_FLIGHT_MAX: usize = 8;
/// The most parts an upload can have.
const PARTS_MAX: u32 = 10_000;
const DAMAGED: &str = "what was written is not what is stored: the checksums differ";
const REPLACED: &str = "it was replaced while it was read: what was written is a part of its earlier version";

/// Sends what `input` has, to its end, to the object `key`. Where it fails, and where it is dropped or stopped, nothing is made. Errors: the store's; those of reading; there is more than an upload can have.
pub async fn upload_stream(
    store: Arc<dyn Store>,
    key: &RawKey,
    input: impl Read + Send + 'static,
    options: &Options,
    progress: &Arc<Progress>,
) -> Result<Report, Error> {
    let (store, work) = (options.limited(store), Work::new(options.stop.clone()));
    let orphans = OrphanUploads::new(store.clone());
    let (in_flight, task_work) = (in_flight(options), work.clone());
    let sending = Sending { store, key, orphans: orphans.clone(), progress, in_flight, work: task_work };
    let sent = tokio::select! {
        sent = sending.send(input) => sent,
        () = options.stop.cancelled() => Err(Error::Stopped),
    };
    work.ended().await;
    orphans.abort_all().await;
    sent
}

/// Writes the object `key` to `output`. What was written is compared with what the store has of it; where it is something else, that is in the report. Errors: the store's; those of
/// writing.
pub async fn download_stream(
    store: Arc<dyn Store>,
    key: &RawKey,
    output: impl Write + Send + 'static,
    options: &Options,
    progress: &Arc<Progress>,
) -> Result<Report, Error> {
    let store = options.limited(store);
    tokio::select! {
        done = fetch(&store, key, output, options, progress) => done,
        () = options.stop.cancelled() => Err(Error::Stopped),
    }
}

fn in_flight(options: &Options) -> usize {
    options.connections().min(IN_FLIGHT_MAX)
}

struct Sending<'a> {
    store: Arc<dyn Store>,
    key: &'a RawKey,
    orphans: OrphanUploads,
    progress: &'a Arc<Progress>,
    in_flight: usize,
    work: Work,
}

impl Sending<'_> {
    async fn send(&self, input: impl Read + Send + 'static) -> Result<Report, Error> {
        let mut pieces = pieces_of(input);
        let first = next(&mut pieces).await?;
        let options = PutOptions::default();
        let size = if (first.len() as u64) < PART_BYTES {
            let size = first.len() as u64;
            self.progress.find(size);
            self.progress.walk_ended();
            let put = self.store.put(self.key, Payload::Bytes(first), options).await;
            put.map_err(|error| self.of_target(error))?;
            self.progress.add_bytes(size);
            size
        } else {
            self.progress.find(0);
            let open = self.orphans.start(&self.work, self.key, &options, None).await;
            let open = open.map_err(|error| self.of_target(error))?;
            // Dropped with an error, it is an orphan.
            let size = self.send_parts(&open.upload, first, &mut pieces, &options).await?;
            open.complete();
            size
        };
        self.progress.finish_one();
        Ok(Report { copied: 1, copied_bytes: size, ..Report::default() })
    }

    async fn send_parts(
        &self,
        upload: &Upload,
        first: Bytes,
        pieces: &mut mpsc::Receiver<io::Result<Bytes>>,
        options: &PutOptions,
    ) -> Result<u64, Error> {
        let (mut tasks, mut parts): (JoinSet<pail_store::Result<Part>>, Vec<Part>) = Default::default();
        let (mut bytes, mut number, mut size) = (first, 0, 0);
        let mut sum = Sum::like(KIND_DEFAULT);
        // The last one is shorter than the others, and may be empty.
        while !bytes.is_empty() {
            let is_last = (bytes.len() as u64) < PART_BYTES;
            number += 1;
            if number > PARTS_MAX {
                let why = format!(
                    "it has more than the {} GiB that are sent of a stream",
                    (u64::from(PARTS_MAX) * PART_BYTES) >> 30
                );
                return Err(Error::Unusable { path: "-".into(), why });
            }
            while tasks.len() >= self.in_flight {
                parts.extend(self.finish_one(&mut tasks).await?);
            }
            size += bytes.len() as u64;
            sum.update(&bytes);
            self.progress.find_bytes(bytes.len() as u64);
            let (store, upload, progress) = (self.store.clone(), upload.clone(), self.progress.clone());
            tasks.spawn(self.work.tracked(async move {
                let len = bytes.len() as u64;
                let part = store.put_part(&upload, number, Payload::Bytes(bytes)).await?;
                progress.add_bytes(len);
                Ok(part)
            }));
            bytes = if is_last { Bytes::new() } else { next(pieces).await? };
        }
        self.progress.walk_ended();
        while !tasks.is_empty() {
            parts.extend(self.finish_one(&mut tasks).await?);
        }
        parts.sort_by_key(|part| part.number);
        match self.store.complete_upload(upload, &parts, options).await {
            Ok(_) => Ok(size),
            Err(error)
                if error.kind == ErrorKind::NotFound && self.is_made(size, sum.value(), &parts).await =>
            {
                Ok(size)
            }
            // It is the upload that is not there any more, and not what a user has named.
            Err(error) if error.kind == ErrorKind::NotFound => {
                Err(self.of_target(pail_store::Error { kind: ErrorKind::Other, ..error }))
            }
            Err(error) => Err(self.of_target(error)),
        }
    }

    /// Whether the object is what was sent: the store may have ended the upload by making it, and the answer was lost.
    async fn is_made(&self, size: u64, sum: Checksum, parts: &[Part]) -> bool {
        let Ok(object) = self.store.head(self.key).await else { return false };
        let stored = match object.checksum {
            Some(checksum) => Some(checksum),
            None => self.store.checksum(self.key, &object.version).await.ok().flatten(),
        };
        object.size == size
            && match stored {
                Some(stored) if discriminant(&stored) == discriminant(&sum) => stored == sum,
                _ => etag_of(parts).is_some_and(|etag| object.version.etag() == Some(&etag)),
            }
    }

    async fn finish_one(&self, tasks: &mut JoinSet<pail_store::Result<Part>>) -> Result<Option<Part>, Error> {
        match tasks.join_next().await {
            None => Ok(None),
            Some(done) => {
                let sent = done.map_err(|error| lost(&error))?;
                sent.map(Some).map_err(|error| self.of_target(error))
            }
        }
    }

    fn of_target(&self, error: pail_store::Error) -> Error {
        Error::Store { doing: format!("write {}/{}", self.store.uri(), self.key), source: Box::new(error) }
    }
}

/// The ETag of an object that is made of parts whose ETags are MD5s: the MD5 of these, and their count.
fn etag_of(parts: &[Part]) -> Option<String> {
    let mut md5 = Md5::new();
    for part in parts {
        let digest = hex::decode(part.etag.trim_matches('"')).ok().filter(|digest| digest.len() == 16)?;
        md5.update(digest);
    }
    Some(format!("{}-{}", hex::encode(md5.finalize()), parts.len()))
}

/// The pieces of a stream, each of [`PART_BYTES`] but for the last, which is shorter.
fn pieces_of(mut input: impl Read + Send + 'static) -> mpsc::Receiver<io::Result<Bytes>> {
    let (sender, pieces) = mpsc::channel(1);
    std::thread::spawn(move || {
        loop {
            let mut bytes = Vec::with_capacity(PART_BYTES as usize);
            let read = (&mut input).take(PART_BYTES).read_to_end(&mut bytes);
            let is_last = !matches!(read, Ok(len) if len as u64 == PART_BYTES);
            // Who gave up listens no more.
            if sender.blocking_send(read.map(|_| bytes.into())).is_err() || is_last {
                return;
            }
        }
    });
    pieces
}

/// The next piece. Errors: those of reading, or of a reader that ended before its last piece.
async fn next(pieces: &mut mpsc::Receiver<io::Result<Bytes>>) -> Result<Bytes, Error> {
    let piece = pieces.recv().await.unwrap_or_else(|| Err(io::ErrorKind::BrokenPipe.into()));
    piece.map_err(|source| Error::Local { doing: "read", path: "-".into(), source })
}

async fn fetch(
    store: &Arc<dyn Store>,
    key: &RawKey,
    output: impl Write + Send + 'static,
    options: &Options,
    progress: &Arc<Progress>,
) -> Result<Report, Error> {
    let of_store = |error: pail_store::Error| match error.kind {
        ErrorKind::NotFound => Error::NothingThere { uri: format!("{}/{key}", store.uri()) },
        _ => Error::Store { doing: format!("read {}/{key}", store.uri()), source: Box::new(error) },
    };
    let object = store.head(key).await.map_err(of_store)?;
    let stored = match object.checksum {
        Some(checksum) => Some(checksum),
        // Who may read and not look gets the bytes all the same.
        None => store.checksum(key, &object.version).await.ok().flatten(),
    };
    let md5 = store.md5(&object).filter(|_| options.verifies_by_md5 && stored.is_none());
    progress.find(object.size);
    progress.walk_ended();
    let parts = crate::part_sizes::parts(object.size, PART_BYTES);
    let reading = |range: Range<u64>| read(store, &object, range);
    let mut bodies = stream::iter(parts).map(reading).buffered(in_flight(options));
    let mut report = Report::default();
    let writer = Writer::start(output, stored, md5);
    loop {
        match bodies.try_next().await {
            Ok(Some(bytes)) => {
                let len = bytes.len() as u64;
                if !writer.take(bytes).await {
                    break;
                }
                progress.add_bytes(len);
            }
            Ok(None) => break,
            Err(error) if matches!(error.kind, ErrorKind::Precondition | ErrorKind::RangeNotSatisfiable) => {
                report.failed.add(key.as_str(), REPLACED);
                return Ok(report);
            }
            Err(error) if error.kind == ErrorKind::Corrupt => {
                report.corrupt = 1;
                report.failed.add(key.as_str(), error.to_string());
                return Ok(report);
            }
            Err(error) => return Err(of_store(error)),
        }
    }
    let is_same = writer.end().await?;
    progress.finish_one();
    match is_same {
        Some(false) => {
            report.corrupt = 1;
            report.failed.add(key.as_str(), if stored.is_some() { DAMAGED } else { OTHER_MD5 });
        }
        is_verified => {
            (report.copied, report.copied_bytes) = (1, object.size);
            *(if is_verified.is_some() { &mut report.verified } else { &mut report.unverified }) += 1;
        }
    }
    Ok(report)
}

/// What arrives damaged, as far as one answer tells, is fetched over once.
async fn read(store: &Arc<dyn Store>, object: &ObjectMeta, range: Range<u64>) -> pail_store::Result<Bytes> {
    match read_once(store, object, range.clone()).await {
        Err(error) if error.kind == ErrorKind::Corrupt => read_once(store, object, range).await,
        read => read,
    }
}

async fn read_once(
    store: &Arc<dyn Store>,
    object: &ObjectMeta,
    range: Range<u64>,
) -> pail_store::Result<Bytes> {
    let if_version = (!object.version.is_unknown()).then(|| object.version.clone());
    // An answer that has all of the object is compared with its checksum by the store itself.
    let is_whole = range == (0..object.size);
    let options = GetOptions { range: (!is_whole).then(|| range.clone()), if_version };
    let got = store.get(&object.key, options).await?;
    let of_object = |kind, message: &str| {
        pail_store::Error::new(kind, "GetObject", store.uri(), Some(&object.key), message)
    };
    if got.meta.size != object.size || got.range != range {
        return Err(of_object(ErrorKind::Precondition, "the object has another length now"));
    }
    let bytes = got.bytes().await?;
    match bytes.len() as u64 == range.end - range.start {
        true => Ok(bytes),
        false => Err(of_object(ErrorKind::Other, SHORT)),
    }
}

/// The thread that writes, and sums up what it writes.
struct Writer {
    pieces: mpsc::Sender<Bytes>,
    written: oneshot::Receiver<io::Result<Option<bool>>>,
}

impl Writer {
    fn start(
        mut output: impl Write + Send + 'static,
        stored: Option<Checksum>,
        md5: Option<[u8; 16]>,
    ) -> Self {
        let (pieces, mut taken) = mpsc::channel::<Bytes>(1);
        let (told, written) = oneshot::channel();
        std::thread::spawn(move || {
            let (mut sum, mut digest) = (stored.map(Sum::like), md5.map(|_| Md5::new()));
            let mut write = || -> io::Result<Option<bool>> {
                while let Some(bytes) = taken.blocking_recv() {
                    sum.iter_mut().for_each(|sum| sum.update(&bytes));
                    digest.iter_mut().for_each(|digest| digest.update(&bytes));
                    output.write_all(&bytes)?;
                }
                output.flush()?;
                let by_sum = sum.map(|sum| Some(sum.value()) == stored);
                let by_md5 = digest.take().map(|digest| Some(digest.finalize().into()) == md5);
                Ok(by_sum.or(by_md5))
            };
            // Who gave up listens no more.
            let _ = told.send(write());
        });
        Self { pieces, written }
    }

    /// Whether it takes more.
    async fn take(&self, bytes: Bytes) -> bool {
        self.pieces.send(bytes).await.is_ok()
    }

    /// Waits until all is written. Whether that is what is stored; `None` where there is nothing to compare it with.
    async fn end(self) -> Result<Option<bool>, Error> {
        drop(self.pieces);
        let written =
            self.written.await.map_err(|_| CopyError::Item("the writer is gone".to_owned()).into_error())?;
        written.map_err(|source| Error::Local { doing: "write to", path: "-".into(), source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_etag_of_parts_is_told_where_theirs_are_md5s() {
        let part = |number: u32, etag: &str| Part { number, etag: etag.to_owned(), size: 1, checksum: None };
        let (a, b) =
            (part(1, "0cc175b9c0f1b6a831c399e269772661"), part(2, "92eb5ffee6ae2fec3ad71c777531578f"));
        let quoted = part(1, "\"0cc175b9c0f1b6a831c399e269772661\"");
        let expected = Some("96e024ba2074fe77e8e965ba43a704be-2".to_owned());
        assert_eq!(etag_of(&[a, b.clone()]), expected);
        assert_eq!(etag_of(&[quoted, b.clone()]), expected);
        assert_eq!(etag_of(&[b, part(3, "0x8DEADBEEF")]), None);
    }
}

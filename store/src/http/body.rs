//! What a request carries.
//!
//! Owns: [`RequestBody`], an HTTP body over a [`Payload`], and [`Progress`], through which its sender sees how far it is
//! and why it broke. Invariants: exactly `Payload::len` bytes or an error; at most one piece of a source is in memory.

use super::deadline::Waiting;
use crate::contract::{Crc, Payload, PayloadSource};
use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use http_body::{Body, Frame, SizeHint};
use parking_lot::Mutex;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use std::{fmt, io};

/// How much is handed to the connection at a time. The sender tells slow from stuck by pieces.
const PIECE_SIZE_BYTES: u64 = 256 * 1024;

/// How far an upload is. Shared by the body and the one who waits for the answer.
#[derive(Debug)]
pub(crate) struct Progress {
    waiting: Arc<Waiting>,
    began: Instant,
    sent_bytes: AtomicU64,
    /// When that was last more, in milliseconds since it began.
    sent_ms: AtomicU64,
    /// The checksum of what was sent, where it is made. A leaf, held for an update of a piece; nobody else asks before the body's end.
    crc: Option<Mutex<Crc>>,
    /// Why the source could not be read; a leaf, held for a store or a load.
    source_error: Mutex<Option<String>>,
}

impl Progress {
    /// Of an attempt that begins now.
    pub fn new(waiting: &Arc<Waiting>, summed: bool) -> Arc<Self> {
        Arc::new(Self {
            waiting: waiting.clone(),
            began: Instant::now(),
            sent_bytes: AtomicU64::new(0),
            sent_ms: AtomicU64::new(0),
            crc: summed.then(|| Mutex::new(Crc::crc64())),
            source_error: Mutex::default(),
        })
    }

    fn sent(&self, offset: u64, piece: &[u8]) {
        if let Some(crc) = &self.crc {
            crc.lock().update(piece);
        }
        self.sent_bytes.store(offset, Ordering::Relaxed);
        self.sent_ms.store(self.began.elapsed().as_millis() as u64, Ordering::Relaxed);
        self.waiting.sent(offset, self.began);
    }

    /// When the last bytes were sent; when the attempt began, if none were.
    pub fn sent_at(&self) -> Instant {
        self.began + Duration::from_millis(self.sent_ms.load(Ordering::Relaxed))
    }

    pub fn sent_bytes(&self) -> u64 {
        self.sent_bytes.load(Ordering::Relaxed)
    }

    /// The CRC-64/NVME of what was sent, where it was to be made.
    pub fn sent_crc64(&self) -> Option<u64> {
        self.crc.as_ref().map(|crc| crc.lock().value())
    }

    pub fn source_error(&self) -> Option<String> {
        self.source_error.lock().clone()
    }
}

/// A payload on its way.
pub(crate) struct RequestBody {
    pieces: Pieces,
    offset: u64,
    len: u64,
    progress: Arc<Progress>,
}

impl fmt::Debug for RequestBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RequestBody({} bytes)", self.len)
    }
}

enum Pieces {
    Memory(Bytes),
    Source { source: Arc<dyn PayloadSource>, read: Option<BoxFuture<'static, io::Result<Bytes>>> },
}

/// The body broke off because its source did.
#[derive(Debug)]
pub(crate) struct SourceFailed;

impl fmt::Display for SourceFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("what is to be uploaded cannot be read")
    }
}

impl std::error::Error for SourceFailed {}

impl RequestBody {
    pub fn new(payload: &Payload, progress: Arc<Progress>) -> Self {
        let pieces = match payload {
            Payload::Bytes(bytes) => Pieces::Memory(bytes.clone()),
            Payload::Source { source, .. } => Pieces::Source { source: source.clone(), read: None },
        };
        Self { pieces, offset: 0, len: payload.len(), progress }
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        let range = self.offset..self.len.min(self.offset + PIECE_SIZE_BYTES);
        let wanted = range.end - range.start;
        match &mut self.pieces {
            Pieces::Memory(bytes) => Poll::Ready(Ok(bytes.slice(range.start as usize..range.end as usize))),
            Pieces::Source { source, read } => {
                let pending = read.get_or_insert_with(|| {
                    let source = source.clone();
                    async move { source.read(range).await }.boxed()
                });
                let piece = futures::ready!(pending.poll_unpin(cx));
                *read = None;
                Poll::Ready(match piece {
                    Ok(piece) if piece.len() as u64 == wanted => Ok(piece),
                    Ok(piece) => Err(io::Error::new(
                        io::ErrorKind::UnexpectedEof,
                        format!("{} bytes where {wanted} were expected", piece.len()),
                    )),
                    Err(error) => Err(error),
                })
            }
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = SourceFailed;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, SourceFailed>>> {
        let this = self.get_mut();
        if this.is_end_stream() {
            return Poll::Ready(None);
        }
        Poll::Ready(Some(match futures::ready!(this.poll_piece(cx)) {
            Ok(piece) => {
                this.offset += piece.len() as u64;
                this.progress.sent(this.offset, &piece);
                Ok(Frame::data(piece))
            }
            Err(error) => {
                *this.progress.source_error.lock() = Some(error.to_string());
                Err(SourceFailed)
            }
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.offset == self.len
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.len - self.offset)
    }
}

//! One request and its answer on one connection.
//!
//! Owns: [`exchange`], which lets hyper send the request and read the answer's head, and [`AnswerBody`], the bytes that follow.
//!
//! # Why hyper reads no large bodies
//! It reads them into buffers of its own, from which they are copied again; that copy was a quarter of what a cold read cost. The body of a
//! GET whose length is known is nothing but so many bytes: once the head is there, the connection is taken from hyper, with what hyper
//! has read too much, and the rest is read to where it is wanted.
//!
//! Invariants:
//! - A connection is used again only when both messages have ended on it and both sides keep it.
//! - A dropped exchange or body closes its connection.

use super::body::RequestBody;
use super::connections::{Connections, Destination, Io};
use super::header_case::KeepCase;
use bytes::{Buf, Bytes};
use http::{HeaderMap, Method, Request, Response, Version, header};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1;
use hyper::rt::{Read, ReadBuf};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

/// hyper grows a connection's buffer up to this, for heads and for bodies that are not objects.
const READ_BUFFER_SIZE_BYTES_MAX: usize = 128 * 1024;
/// An object's 2 KiB of user metadata, which count names and values, are hundreds of headers where these are short; hyper takes 100.
const HEADER_COUNT_MAX: usize = 1024;
/// How much is told of an answer that is none of HTTP.
const STRANGE_SIZE_BYTES_MAX: usize = 40;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExchangeError {
    /// There is no connection.
    #[error("{0}")]
    Connect(#[source] BoxError),
    /// The connection broke.
    #[error("{0}")]
    Broken(#[source] hyper::Error),
    /// The answer's head cannot be understood.
    #[error("{0}")]
    Malformed(#[source] hyper::Error),
    /// Something answered, and not in HTTP: so it begins.
    #[error("it begins with {:?}", String::from_utf8_lossy(.0))]
    Strange(Bytes),
    /// The connection was closed before it took the request, which is here again; or something came on it before that.
    #[error("the connection was closed")]
    Unsent(Box<Request<RequestBody>>, Bytes),
}

impl ExchangeError {
    /// `said` is not HTTP.
    pub fn strange(mut said: Bytes) -> Self {
        said.truncate(STRANGE_SIZE_BYTES_MAX);
        Self::Strange(said)
    }
}

/// Sends a request on a connection to `destination`, which goes back to `connections` when the answer's body has been read.
pub(crate) async fn exchange(
    io: Io,
    request: Request<RequestBody>,
    destination: Destination,
    connections: &Arc<Connections>,
) -> Result<Response<AnswerBody>, ExchangeError> {
    let is_get = request.method() == Method::GET;
    let keeps_case = request.extensions().get::<KeepCase>().is_some();
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(READ_BUFFER_SIZE_BYTES_MAX)
        .max_headers(HEADER_COUNT_MAX)
        .preserve_header_case(keeps_case)
        // RFC 9112, section 5.2, has it of clients.
        .allow_obsolete_multiline_headers_in_responses(true)
        // What begins with no version comes as such an answer, and so can be told.
        .http09_responses(true)
        .handshake(io)
        .await
        .map_err(ExchangeError::Broken)?;
    let mut driven = Driven { connection, is_over: false };
    let answer = {
        let mut sending = pin!(sender.try_send_request(request));
        poll_fn(|cx| {
            driven.poll(cx);
            sending.as_mut().poll(cx)
        })
        .await
    };
    let (head, incoming) = match answer {
        Ok(answer) => answer.into_parts(),
        Err(mut failed) => {
            return Err(match failed.take_message() {
                Some(request) => {
                    ExchangeError::Unsent(Box::new(request), driven.connection.into_parts().read_buf)
                }
                None => match failed.into_error() {
                    error if error.is_parse() => ExchangeError::Malformed(error),
                    error => ExchangeError::Broken(error),
                },
            });
        }
    };
    if head.version == Version::HTTP_09 {
        return Err(ExchangeError::strange(driven.beginning_of(incoming).await));
    }
    let source = match incoming.size_hint().exact() {
        Some(len) if is_get && len > 0 => {
            Source::Plain(Plain::taken(driven, incoming, len, keeps_alive(head.version, &head.headers)).await)
        }
        _ => Source::Framed(Box::new(Framed { sender, driven, incoming, piece: Bytes::new() })),
    };
    let home = Home { destination, connections: connections.clone() };
    Ok(Response::from_parts(head, AnswerBody { source, home }))
}

/// RFC 9112, section 9.3.
fn keeps_alive(version: Version, headers: &HeaderMap) -> bool {
    let mut options = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    version == Version::HTTP_11
        && !options.any(|list| list.split(',').any(|option| option.trim().eq_ignore_ascii_case("close")))
}

/// hyper's side of a connection, which moves when it is polled.
struct Driven {
    connection: http1::Connection<Io, RequestBody>,
    is_over: bool,
}

impl Driven {
    /// What goes wrong is told to whoever waits for the answer or its body.
    fn poll(&mut self, cx: &mut Context<'_>) {
        self.is_over = self.is_over || Pin::new(&mut self.connection).poll(cx).is_ready();
    }

    /// The first bytes of what has come.
    async fn beginning_of(&mut self, mut incoming: Incoming) -> Bytes {
        let first = poll_fn(|cx| {
            self.poll(cx);
            Pin::new(&mut incoming).poll_frame(cx)
        })
        .await;
        first.and_then(Result::ok).and_then(|frame| frame.into_data().ok()).unwrap_or_default()
    }
}

/// Where a connection goes back to.
struct Home {
    destination: Destination,
    connections: Arc<Connections>,
}

/// The bytes after an answer's head.
pub(crate) struct AnswerBody {
    source: Source,
    home: Home,
}

enum Source {
    Plain(Plain),
    Framed(Box<Framed>),
    Over,
}

impl AnswerBody {
    /// Reads what there is into `buffer`, which is not empty; 0 at the body's end, after which the connection is used for others. Cancel safe.
    pub async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = poll_fn(|cx| match &mut self.source {
            Source::Plain(plain) => plain.poll_read(cx, buffer),
            Source::Framed(framed) => framed.poll_read(cx, buffer),
            Source::Over => Poll::Ready(Ok(0)),
        })
        .await?;
        let is_over = match &self.source {
            Source::Plain(plain) => plain.left == 0,
            Source::Framed(_) => count == 0,
            Source::Over => false,
        };
        if is_over {
            self.give_back().await;
        }
        Ok(count)
    }

    /// Of a body of which no more is wanted: gives its connection back where its end has come too.
    pub async fn finish(mut self) {
        if let Source::Framed(framed) = &mut self.source {
            let is_over =
                poll_fn(|cx| Poll::Ready(matches!(framed.poll_read(cx, &mut [0]), Poll::Ready(Ok(0))))).await;
            if is_over {
                self.give_back().await;
            }
        }
    }

    async fn give_back(&mut self) {
        let io = match std::mem::replace(&mut self.source, Source::Over) {
            Source::Plain(plain) => plain.keeps_alive.then_some(plain.io),
            Source::Framed(framed) => framed.reusable().await,
            Source::Over => None,
        };
        if let Some(io) = io {
            self.home.connections.give(self.home.destination.clone(), io);
        }
    }
}

/// A body of known length, read from the connection itself.
struct Plain {
    /// What hyper had read of it.
    early: VecDeque<Bytes>,
    io: Io,
    left: u64,
    keeps_alive: bool,
}

impl Plain {
    async fn taken(driven: Driven, mut incoming: Incoming, len: u64, keeps_alive: bool) -> Self {
        let parts = driven.connection.into_parts();
        let mut early = VecDeque::new();
        // hyper's end of the body is gone, so it ends, or says that it broke off, after what was read.
        while let Some(Ok(frame)) = incoming.frame().await {
            early.extend(frame.into_data());
        }
        early.push_back(parts.read_buf);
        let keeps_alive = keeps_alive && early.iter().map(|bytes| bytes.len() as u64).sum::<u64>() <= len;
        Self { early, io: parts.io, left: len, keeps_alive }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let wanted = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let buffer = &mut buffer[..wanted];
        while self.early.front().is_some_and(Bytes::is_empty) {
            self.early.pop_front();
        }
        let count = match self.early.front_mut() {
            Some(bytes) => take(bytes, buffer),
            None => {
                let mut unread = ReadBuf::new(buffer);
                ready!(Pin::new(&mut self.io).poll_read(cx, unread.unfilled()))?;
                unread.filled().len()
            }
        };
        if count == 0 && wanted > 0 {
            return Poll::Ready(Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the connection ended too early",
            )));
        }
        self.left -= count as u64;
        Poll::Ready(Ok(count))
    }
}

/// A body that hyper reads.
struct Framed {
    sender: http1::SendRequest<RequestBody>,
    driven: Driven,
    incoming: Incoming,
    piece: Bytes,
}

impl Framed {
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        while self.piece.is_empty() {
            self.driven.poll(cx);
            match ready!(Pin::new(&mut self.incoming).poll_frame(cx)) {
                Some(Ok(frame)) => self.piece = frame.into_data().unwrap_or_default(),
                Some(Err(error)) => return Poll::Ready(Err(io::Error::other(error))),
                None => return Poll::Ready(Ok(0)),
            }
        }
        Poll::Ready(Ok(take(&mut self.piece, buffer)))
    }

    /// The connection, if hyper would send another request on it now.
    async fn reusable(mut self) -> Option<Io> {
        let is_ready = poll_fn(|cx| {
            self.driven.poll(cx);
            let is_ready = matches!(self.sender.poll_ready(cx), Poll::Ready(Ok(())));
            Poll::Ready(is_ready && !self.driven.is_over)
        })
        .await;
        let parts = is_ready.then(|| self.driven.connection.into_parts())?;
        parts.read_buf.is_empty().then_some(parts.io)
    }
}

/// Moves bytes from the front of one to the other.
fn take(from: &mut Bytes, to: &mut [u8]) -> usize {
    let count = from.len().min(to.len());
    from.copy_to_slice(&mut to[..count]);
    count
}

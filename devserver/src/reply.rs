//! Answers.
//!
//! Owns: [`Reply`], what an operation answers, and [`ReplyBody`], which sends its bytes at the connection's bandwidth
//! and with the damage that a fault asks for.
//!
//! Invariants: bytes in memory go to the socket as the slices they are stored as, without a copy. A request counts as
//! open until its body was sent or dropped.

use crate::content::{Content, Segment};
use crate::counters::{Counted, OpenRequest};
use crate::fault::BodyFault;
use crate::pace::{Link, frame_bytes};
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use hyper::body::{Body, Frame, SizeHint};
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

/// Time for what was sent to leave the process before the connection is cut behind it.
const FLUSH_BEFORE_CUT: Duration = Duration::from_millis(20);

/// What an operation answers.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Content,
    /// The length to announce where the body is left out (HEAD), in bytes.
    pub(crate) announced_len: Option<u64>,
}

impl Reply {
    pub(crate) fn empty(status: StatusCode) -> Self {
        Self { status, headers: HeaderMap::new(), body: Content::default(), announced_len: None }
    }

    pub(crate) fn ok() -> Self {
        Self::empty(StatusCode::OK)
    }

    pub(crate) fn xml(document: String) -> Self {
        let mut reply = Self::ok();
        reply.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
        reply.body = Bytes::from(document).into();
        reply
    }

    pub(crate) fn json(document: String) -> Self {
        let mut reply = Self::xml(document);
        reply.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        reply
    }

    pub(crate) fn with_status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// Sets a header. A value that no header can hold is left out.
    pub(crate) fn set(&mut self, name: HeaderName, value: &str) {
        if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
            self.headers.insert(name, value);
        }
    }

    /// Makes the response, whose body is sent over `link`.
    pub(crate) fn into_response(
        mut self,
        link: Arc<Link>,
        bandwidth_bytes_per_s: u64,
        fault: Option<BodyFault>,
        open: OpenRequest,
    ) -> Response<ReplyBody> {
        let len = self.announced_len.unwrap_or(self.body.len());
        if self.status != StatusCode::NO_CONTENT && self.status != StatusCode::NOT_MODIFIED {
            self.headers.insert(CONTENT_LENGTH, HeaderValue::from(len));
        }
        let body = ReplyBody::new(self.body, link, bandwidth_bytes_per_s, fault, open);
        let mut response = Response::new(body);
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        response
    }
}

/// The connection is to be cut; nothing more is said to the client.
#[derive(Debug, thiserror::Error)]
#[error("the connection is cut, as a fault asked for")]
pub(crate) struct Cut;

/// An answer's bytes on their way out.
pub(crate) struct ReplyBody {
    kind: Kind,
    /// Bytes left to send.
    left: u64,
    open: OpenRequest,
}

enum Kind {
    /// The whole body, which is one slice: most answers.
    Once(Option<Bytes>),
    Stream(BoxStream<'static, Result<Bytes, std::io::Error>>),
}

impl ReplyBody {
    fn new(
        content: Content,
        link: Arc<Link>,
        bandwidth_bytes_per_s: u64,
        fault: Option<BodyFault>,
        open: OpenRequest,
    ) -> Self {
        let left = content.len();
        let kind = match content.segments() {
            [] if fault.is_none() => Kind::Once(None),
            [Segment { source: crate::content::Source::Memory(bytes), .. }]
                if fault.is_none() && bandwidth_bytes_per_s == 0 =>
            {
                Kind::Once(Some(bytes.clone()))
            }
            _ => Kind::Stream(stream(content, link, bandwidth_bytes_per_s, fault)),
        };
        Self { kind, left, open }
    }
}

/// What is still to be sent.
struct Sending {
    segments: VecDeque<Segment>,
    link: Arc<Link>,
    bandwidth_bytes_per_s: u64,
    fault: Option<BodyFault>,
    sent: u64,
}

fn stream(
    content: Content,
    link: Arc<Link>,
    bandwidth_bytes_per_s: u64,
    fault: Option<BodyFault>,
) -> BoxStream<'static, Result<Bytes, std::io::Error>> {
    let segments = content.segments().iter().cloned().collect();
    let sending = Sending { segments, link, bandwidth_bytes_per_s, fault, sent: 0 };
    futures::stream::try_unfold(sending, Sending::next).boxed()
}

impl Sending {
    async fn next(mut self) -> Result<Option<(Bytes, Self)>, std::io::Error> {
        let mut len = frame_bytes(self.bandwidth_bytes_per_s);
        let mut flips = false;
        if let Some(fault) = self.fault {
            let until_fault = fault.after_bytes().saturating_sub(self.sent);
            if until_fault == 0 {
                self.fault = None;
                flips = matches!(fault, BodyFault::Flip { .. });
                self.strike(fault).await?;
            } else {
                len = len.min(until_fault);
            }
        }
        let Some(front) = self.segments.front_mut() else { return Ok(None) };
        let bytes = front.read_front(len).await?;
        if bytes.len() as u64 == front.len {
            self.segments.pop_front();
        } else {
            front.advance(bytes.len() as u64);
        }
        let bytes = if flips { flipped(&bytes) } else { bytes };
        self.sent += bytes.len() as u64;
        self.link.sent.pass(bytes.len(), self.bandwidth_bytes_per_s).await;
        Ok(Some((bytes, self)))
    }

    async fn strike(&self, fault: BodyFault) -> Result<(), std::io::Error> {
        match fault {
            BodyFault::Stall { for_ms: Some(ms), .. } => tokio::time::sleep(Duration::from_millis(ms)).await,
            BodyFault::Stall { for_ms: None, .. } => std::future::pending().await,
            BodyFault::Flip { .. } => {}
            BodyFault::Cut { reset, .. } => {
                tokio::time::sleep(FLUSH_BEFORE_CUT).await;
                if reset {
                    self.link.reset_when_closed();
                }
                return Err(std::io::Error::other(Cut));
            }
        }
        Ok(())
    }
}

/// The same bytes with another first bit. What is stored stays as it is.
fn flipped(bytes: &[u8]) -> Bytes {
    let mut bytes = bytes.to_vec();
    if let Some(first) = bytes.first_mut() {
        *first ^= 1;
    }
    bytes.into()
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        let next = match &mut self.kind {
            Kind::Once(bytes) => Poll::Ready(bytes.take().map(Ok)),
            Kind::Stream(stream) => stream.poll_next_unpin(cx),
        };
        next.map(|item| {
            item.map(|result| {
                result.map(|bytes| {
                    self.left = self.left.saturating_sub(bytes.len() as u64);
                    self.open.count(Counted::Sent, bytes.len() as u64);
                    Frame::data(bytes)
                })
            })
        })
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.kind, Kind::Once(None))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

//! An object's metadata and its bytes in one request.
//!
//! Owns: [`Related`], a `multipart/related` body (RFC 2387) of the resource and the object's bytes, as `uploadType=multipart` wants it. The
//! bytes are not copied: pieces of the body are slices of them, but for those at its ends.

use crate::contract::{Payload, PayloadSource};
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use std::io;
use std::ops::Range;
use std::sync::Arc;

/// What the object's bytes are sent as where the resource names no content type.
const CONTENT_TYPE_DEFAULT: &str = "application/octet-stream";

/// The body, which is read as a payload's source.
pub(super) struct Related {
    head: Bytes,
    payload: Payload,
    tail: Bytes,
}

impl Related {
    /// The body of a request, and the request's content type.
    pub fn of(resource: &serde_json::Value, payload: Payload) -> (Payload, String) {
        // 128 random bits are in no object by chance.
        let boundary = format!("pail-{:032x}", rand::random::<u128>());
        let content_type = resource["contentType"].as_str().filter(|value| is_header(value));
        let content_type = content_type.unwrap_or(CONTENT_TYPE_DEFAULT);
        let head = format!(
            "--{boundary}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n{resource}\r\n\
             --{boundary}\r\nContent-Type: {content_type}\r\n\r\n"
        );
        let related = Self { head: head.into(), payload, tail: format!("\r\n--{boundary}--\r\n").into() };
        let len = related.head.len() as u64 + related.payload.len() + related.tail.len() as u64;
        let body = Payload::Source { len, source: Arc::new(related) };
        (body, format!("multipart/related; boundary={boundary}"))
    }

    /// What the payload has in `range`.
    async fn inner(&self, range: Range<u64>) -> io::Result<Bytes> {
        match &self.payload {
            Payload::Bytes(bytes) => Ok(bytes.slice(range.start as usize..range.end as usize)),
            Payload::Source { source, .. } => source.read(range).await,
        }
    }
}

fn is_header(value: &str) -> bool {
    value.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

#[async_trait]
impl PayloadSource for Related {
    async fn read(&self, range: Range<u64>) -> io::Result<Bytes> {
        let begin = self.head.len() as u64;
        let end = begin + self.payload.len();
        if range.start >= begin && range.end <= end {
            return self.inner(range.start - begin..range.end - begin).await;
        }
        let mut piece = BytesMut::new();
        let part = |of: &Bytes, from: u64| -> Bytes {
            let within = |at: u64| at.clamp(from, from + of.len() as u64) - from;
            of.slice(within(range.start) as usize..within(range.end) as usize)
        };
        piece.extend_from_slice(&part(&self.head, 0));
        let inner = range.start.clamp(begin, end) - begin..range.end.clamp(begin, end) - begin;
        if !inner.is_empty() {
            piece.extend_from_slice(&self.inner(inner).await?);
        }
        piece.extend_from_slice(&part(&self.tail, end));
        Ok(piece.freeze())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn pieces_of_any_length_make_the_same_body() {
        let bytes = Bytes::from((0..=255).collect::<Vec<u8>>());
        let resource = serde_json::json!({"name": "é", "contentType": "text/plain"});
        let (body, content_type) = Related::of(&resource, bytes.clone().into());
        let Payload::Source { len, source } = body else { panic!("a source") };
        let whole = source.read(0..len).await.unwrap();
        assert_eq!(whole.len() as u64, len);
        for step in [1, 7, 200] {
            let mut pieces = Vec::new();
            for start in (0..len).step_by(step) {
                pieces.extend_from_slice(&source.read(start..len.min(start + step as u64)).await.unwrap());
            }
            assert!(pieces == whole, "in steps of {step}");
        }
        let boundary = content_type.strip_prefix("multipart/related; boundary=").unwrap();
        let head = format!(
            "--{boundary}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n{resource}\r\n\
             --{boundary}\r\nContent-Type: text/plain\r\n\r\n"
        );
        let wanted = [head.as_bytes(), &bytes, format!("\r\n--{boundary}--\r\n").as_bytes()].concat();
        assert_eq!(whole, wanted);
    }

    #[test]
    fn a_content_type_that_is_no_header_breaks_no_body() {
        let resource = serde_json::json!({"contentType": "text/plain\r\n\r\nx"});
        let (Payload::Source { len, .. }, _) = Related::of(&resource, Bytes::new().into()) else {
            panic!("a source")
        };
        let (Payload::Source { len: plain, .. }, _) =
            Related::of(&resource, Bytes::from_static(b"12").into())
        else {
            panic!("a source")
        };
        assert_eq!(plain, len + 2);
    }
}

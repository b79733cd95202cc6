//! An object's metadata and its bytes in one request.
//!
//! Owns: [`Related`], a `multipart/related` body (RFC 2387) of the resource and the object's bytes, as `uploadType=multipart` wants it. The
//! bytes are not copied: pieces of the body are slices of them, but for those at its ends.
//!
//! Bytes that are read while they are sent get their CRC32C as they pass, to be compared with what the service says that it has: unlike
//! bytes in memory, they cannot have it in the resource, which goes before them.

use crate::contract::{Checksum, Crc, Payload, PayloadSource};
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
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
    /// What has passed of a source. A leaf, held for an update of a piece.
    passed: Mutex<Passed>,
}

/// The beginning of a source, as far as it was read in order.
struct Passed {
    end: u64,
    crc: Crc,
}

impl Passed {
    fn nothing() -> Self {
        Self { end: 0, crc: Crc::like(Checksum::Crc32c(0)) }
    }
}

impl Related {
    /// The request's body, and its content type.
    pub fn of(resource: &serde_json::Value, payload: Payload) -> (Arc<Self>, String) {
        // 128 random bits are in no object by chance.
        let boundary = format!("pail-{:032x}", rand::random::<u128>());
        let content_type = resource["contentType"].as_str().filter(|value| is_header(value));
        let content_type = content_type.unwrap_or(CONTENT_TYPE_DEFAULT);
        let head = format!(
            "--{boundary}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n{resource}\r\n\
             --{boundary}\r\nContent-Type: {content_type}\r\n\r\n"
        );
        let tail = format!("\r\n--{boundary}--\r\n").into();
        let passed = Mutex::new(Passed::nothing());
        let related = Self { head: head.into(), payload, tail, passed };
        (Arc::new(related), format!("multipart/related; boundary={boundary}"))
    }

    /// The body as a request's payload.
    pub fn body(self: &Arc<Self>) -> Payload {
        let len = self.head.len() as u64 + self.payload.len() + self.tail.len() as u64;
        Payload::Source { len, source: self.clone() }
    }

    /// Whether the last attempt sent a source that has this checksum; `None` where that is not known.
    pub fn sent(&self, checksum: Checksum) -> Option<bool> {
        let passed = self.passed.lock();
        let is_known = matches!(self.payload, Payload::Source { .. }) && passed.end == self.payload.len();
        is_known.then(|| passed.crc.is(checksum))
    }

    /// What the payload has in `range`.
    async fn inner(&self, range: Range<u64>) -> io::Result<Bytes> {
        match &self.payload {
            Payload::Bytes(bytes) => Ok(bytes.slice(range.start as usize..range.end as usize)),
            Payload::Source { source, .. } => {
                let start = range.start;
                let piece = source.read(range).await?;
                let mut passed = self.passed.lock();
                // Another attempt.
                if start == 0 {
                    *passed = Passed::nothing();
                }
                if start == passed.end {
                    passed.crc.update(&piece);
                    passed.end += piece.len() as u64;
                }
                Ok(piece)
            }
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
        let (related, content_type) = Related::of(&resource, bytes.clone().into());
        let Payload::Source { len, source } = related.body() else { panic!("a source") };
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
        let (broken, _) = Related::of(&resource, Bytes::new().into());
        assert!(broken.head.ends_with(b"\r\nContent-Type: application/octet-stream\r\n\r\n"));
    }

    #[tokio::test]
    async fn a_source_is_summed_by_each_attempt_anew() {
        struct Slice(Bytes);
        #[async_trait]
        impl PayloadSource for Slice {
            async fn read(&self, range: Range<u64>) -> io::Result<Bytes> {
                Ok(self.0.slice(range.start as usize..range.end as usize))
            }
        }
        let bytes = Bytes::from(vec![7; 1000]);
        let sum = Checksum::crc32c_of(&bytes);
        let payload = Payload::Source { len: 1000, source: Arc::new(Slice(bytes)) };
        let (related, _) = Related::of(&serde_json::json!({}), payload);
        let Payload::Source { len, source } = related.body() else { panic!("a source") };
        for start in (0..len / 2).step_by(100) {
            source.read(start..start + 100).await.unwrap();
        }
        assert_eq!(related.sent(sum), None, "broken off");
        for start in (0..len).step_by(100) {
            source.read(start..len.min(start + 100)).await.unwrap();
        }
        assert_eq!(related.sent(sum), Some(true));
        assert_eq!(related.sent(Checksum::Crc32c(0)), Some(false));
    }
}

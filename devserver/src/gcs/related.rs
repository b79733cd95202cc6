//! Bodies of two parts: the resource, then the bytes.
//!
//! Owns: [`RelatedDecoder`], which takes a `multipart/related` body apart as it arrives.
//!
//! # Why the end is looked for at the end alone
//! A boundary does not occur in what it bounds, so that the last one ends the bytes. With a Content-Length only the last few hundred
//! bytes of the body are held back and searched, and all before them are handed on as the slices they arrived in.
//! Source: RFC 2046 section 5.1, RFC 2387; Cloud Storage documentation, "Upload an object from memory by a JSON API multipart upload".

use crate::gcs::error::GcsError;
use bytes::{Bytes, BytesMut};

/// The longest head, in bytes: the headers of both parts and the resource.
const HEAD_LEN_BYTES_MAX: usize = 1 << 20;

/// How many bytes may follow the last boundary.
const EPILOGUE_LEN_BYTES_MAX: usize = 64;

/// The longest boundary. Source: RFC 2046 section 5.1.1.
const BOUNDARY_LEN_BYTES_MAX: usize = 70;

/// Takes a body apart.
#[derive(Debug)]
pub(crate) struct RelatedDecoder {
    /// `--boundary`.
    dashed: Vec<u8>,
    /// Bytes of the body that have not been pushed yet, if that is known.
    left: Option<u64>,
    head: Option<BytesMut>,
    parsed: Option<Head>,
    ready: Option<Bytes>,
    /// The bytes that the last boundary may be in.
    tail: BytesMut,
    /// What is ready before `ready`, as a slice of an earlier tail.
    ready_first: Option<Bytes>,
}

/// The boundary of a multipart body. Errors: 400 for a content type without one.
pub(crate) fn boundary_of(content_type: &str) -> Result<String, GcsError> {
    content_type
        .split(';')
        .skip(1)
        .find_map(|parameter| {
            let (name, value) = parameter.trim().split_once('=')?;
            name.eq_ignore_ascii_case("boundary").then(|| value.trim_matches(['"', '\'']).to_owned())
        })
        .filter(|boundary| !boundary.is_empty() && boundary.len() <= BOUNDARY_LEN_BYTES_MAX)
        .ok_or_else(|| GcsError::invalid("The multipart content type has no usable boundary."))
}

/// What stands before the bytes.
#[derive(Debug, Default)]
pub(crate) struct Head {
    pub(crate) document: Vec<u8>,
    /// The content type of the second part.
    pub(crate) content_type: Option<String>,
}

impl RelatedDecoder {
    /// `len` in bytes, of the whole body. Errors: 400 for a content type without a boundary.
    pub(crate) fn new(content_type: &str, len: Option<u64>) -> Result<Self, GcsError> {
        let boundary = boundary_of(content_type)?;
        Ok(Self {
            dashed: format!("--{boundary}").into_bytes(),
            left: len,
            head: Some(BytesMut::new()),
            parsed: None,
            ready: None,
            tail: BytesMut::new(),
            ready_first: None,
        })
    }

    /// The most bytes that are held back: `\r\n--boundary--` and what may follow it.
    fn held_back_len(&self) -> usize {
        self.dashed.len() + 4 + EPILOGUE_LEN_BYTES_MAX
    }

    /// Takes the next bytes of the body. Call [`next`](Self::next) until it has none before the next push. Errors: 400 for a head that is
    /// malformed or too long.
    pub(crate) fn push(&mut self, bytes: Bytes) -> Result<(), GcsError> {
        if let Some(left) = &mut self.left {
            *left = left.saturating_sub(bytes.len() as u64);
        }
        let Some(mut head) = self.head.take() else {
            self.push_data(bytes);
            return Ok(());
        };
        head.extend_from_slice(&bytes);
        match self.parse_head(&head)? {
            Some((parsed, data_at)) => {
                self.parsed = Some(parsed);
                self.push_data(head.freeze().slice(data_at..));
            }
            None if head.len() > HEAD_LEN_BYTES_MAX => {
                return Err(GcsError::invalid("The first part of the multipart body is too long."));
            }
            None => self.head = Some(head),
        }
        Ok(())
    }

    /// The resource, as soon as the head is there.
    pub(crate) fn document(&self) -> Option<&[u8]> {
        self.parsed.as_ref().map(|head| head.document.as_slice())
    }

    /// Bytes of the object that are ready.
    pub(crate) fn next(&mut self) -> Option<Bytes> {
        self.ready_first.take().or_else(|| self.ready.take()).filter(|bytes| !bytes.is_empty())
    }

    fn push_data(&mut self, mut bytes: Bytes) {
        let held = self.held_back_len();
        let to_come = usize::try_from(self.left.unwrap_or(0)).unwrap_or(usize::MAX);
        let wanted = held.saturating_sub(to_come);
        let total = self.tail.len() + bytes.len();
        let free = total - wanted.min(total);
        if free >= self.tail.len() {
            // All of the earlier tail is free, and the front of what came now.
            let front = bytes.split_to(free - self.tail.len());
            self.ready_first =
                Some(std::mem::take(&mut self.tail).freeze()).filter(|bytes| !bytes.is_empty());
            self.ready = Some(front).filter(|bytes| !bytes.is_empty());
        } else if free > 0 {
            self.ready_first = Some(self.tail.split_to(free).freeze());
        }
        self.tail.extend_from_slice(&bytes);
    }

    /// The head and where the bytes begin, if all of it is there.
    fn parse_head(&self, head: &[u8]) -> Result<Option<(Head, usize)>, GcsError> {
        let malformed = || GcsError::invalid("Malformed multipart body.");
        let Some(first) = find(head, &self.dashed) else { return Ok(None) };
        let Some(document_at) = after_blank_line(head, first + self.dashed.len()) else { return Ok(None) };
        let Some(len) = find(&head[document_at..], &self.dashed) else { return Ok(None) };
        let second = document_at + len;
        let Some(data_at) = after_blank_line(head, second + self.dashed.len()) else { return Ok(None) };
        let headers = std::str::from_utf8(&head[second..data_at]).map_err(|_| malformed())?;
        let content_type = headers.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.trim().eq_ignore_ascii_case("content-type").then(|| value.trim().to_owned())
        });
        Ok(Some((Head { document: head[document_at..second].to_vec(), content_type }, data_at)))
    }

    /// The head, and the last bytes of the object. Errors: 400 where a part or the last boundary is missing.
    pub(crate) fn finish(self) -> Result<(Head, Bytes), GcsError> {
        let missing = || GcsError::invalid("Missing end boundary in multipart body.");
        let head = self.parsed.ok_or_else(missing)?;
        let mut end = self.dashed;
        end.extend_from_slice(b"--");
        let tail = self.tail.freeze();
        let at = rfind(&tail, &end).ok_or_else(missing)?;
        // The line break before a boundary is part of it.
        let at = if tail[..at].ends_with(b"\r\n") {
            at - 2
        } else if tail[..at].ends_with(b"\n") {
            at - 1
        } else {
            at
        };
        Ok((head, tail.slice(..at)))
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

fn rfind(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).rposition(|window| window == what)
}

/// Where the line after the next blank one begins.
fn after_blank_line(bytes: &[u8], from: usize) -> Option<usize> {
    let rest = bytes.get(from..)?;
    let crlf = find(rest, b"\r\n\r\n").map(|at| at + 4);
    let lf = find(rest, b"\n\n").map(|at| at + 2);
    let at = match (crlf, lf) {
        (Some(crlf), Some(lf)) => crlf.min(lf),
        (crlf, lf) => crlf.or(lf)?,
    };
    Some(from + at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(body: &[u8], with_len: bool, frame: usize) -> (Vec<u8>, Vec<u8>, Option<String>) {
        let len = with_len.then_some(body.len() as u64);
        let mut decoder = RelatedDecoder::new("multipart/related; boundary=\"==b==\"", len).unwrap();
        let mut data = Vec::new();
        for piece in body.chunks(frame) {
            decoder.push(Bytes::copy_from_slice(piece)).unwrap();
            while let Some(bytes) = decoder.next() {
                data.extend_from_slice(&bytes);
            }
        }
        let (head, last) = decoder.finish().unwrap();
        data.extend_from_slice(&last);
        (head.document, data, head.content_type)
    }

    #[test]
    fn bytes_come_out_whole_however_they_arrive() {
        let all: Vec<u8> = (0..3000u32).map(|n| n as u8).collect();
        for data in [&b""[..], b"x", b"\r\n", b"ends in a break\r\n", b"--==b", &all] {
            for end in ["\r\n--==b==--", "\r\n--==b==--\r\n"] {
                let mut body =
                    b"--==b==\r\nContent-Type: application/json\r\n\r\n{\"name\":\"o\"}\r\n--==b==\r\ncontent-type: a/b\r\n\r\n"
                        .to_vec();
                body.extend_from_slice(data);
                body.extend_from_slice(end.as_bytes());
                for frame in [1, 7, 100, 1000, 10_000] {
                    for with_len in [true, false] {
                        let (document, decoded, content_type) = decode(&body, with_len, frame);
                        assert_eq!(document.trim_ascii(), b"{\"name\":\"o\"}");
                        assert_eq!(decoded, data, "{frame} {with_len}");
                        assert_eq!(content_type.as_deref(), Some("a/b"));
                    }
                }
            }
        }
    }

    #[test]
    fn a_body_without_its_last_boundary_is_refused() {
        let mut decoder = RelatedDecoder::new("multipart/related; boundary=b", None).unwrap();
        decoder.push(Bytes::from_static(b"--b\r\n\r\n{}\r\n--b\r\n\r\ndata")).unwrap();
        assert_eq!(decoder.finish().unwrap_err().status, 400);
        for content_type in ["multipart/related", "multipart/related; boundary=", "text/plain"] {
            assert_eq!(RelatedDecoder::new(content_type, None).unwrap_err().status, 400);
        }
    }
}

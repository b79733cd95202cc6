//! The `aws-chunked` framing of uploads.
//!
//! Owns: [`ChunkedDecoder`], which takes the framing away as the bytes arrive and keeps the trailers. The data comes out
//! as slices of what came in.
//! Source: Amazon S3 API Reference, "Transferring payload in multiple chunks", with and without trailing headers.

use crate::error::S3Error;
use bytes::{Buf, Bytes};

/// A chunk's head or a trailer is at most this long, in bytes.
const LINE_LEN_BYTES_MAX: usize = 1024;

/// There are at most this many trailers.
const TRAILERS_LEN_MAX: usize = 16;

#[derive(Debug)]
enum State {
    Head,
    Data { left: u64 },
    DataEnd,
    Trailers,
    Done,
}

/// Decodes one body.
#[derive(Debug)]
pub(crate) struct ChunkedDecoder {
    state: State,
    line: Vec<u8>,
    trailers: Vec<(String, String)>,
}

impl ChunkedDecoder {
    pub(crate) fn new() -> Self {
        Self { state: State::Head, line: Vec::new(), trailers: Vec::new() }
    }

    /// The next data of `frame`, or `None` when it is used up. Errors: `IncompleteBody` for what is no framing.
    pub(crate) fn next(&mut self, frame: &mut Bytes) -> Result<Option<Bytes>, S3Error> {
        while frame.has_remaining() {
            match self.state {
                State::Data { left } => {
                    let len = left.min(frame.len() as u64);
                    self.state = if len == left { State::DataEnd } else { State::Data { left: left - len } };
                    return Ok(Some(frame.split_to(len as usize)));
                }
                State::Done => frame.clear(),
                State::Head | State::DataEnd | State::Trailers => {
                    if let Some(line) = self.next_line(frame)? {
                        self.take_line(&line)?;
                    }
                }
            }
        }
        Ok(None)
    }

    /// Call at the body's end. Returns the trailers. Errors: `IncompleteBody`.
    pub(crate) fn finish(self) -> Result<Vec<(String, String)>, S3Error> {
        match self.state {
            State::Done | State::Trailers => Ok(self.trailers),
            State::Head | State::Data { .. } | State::DataEnd => Err(incomplete()),
        }
    }

    fn next_line(&mut self, frame: &mut Bytes) -> Result<Option<String>, S3Error> {
        while frame.has_remaining() {
            let byte = frame.get_u8();
            if byte == b'\n' {
                let line = String::from_utf8(std::mem::take(&mut self.line)).map_err(|_| incomplete())?;
                return Ok(Some(line.trim_end_matches('\r').to_owned()));
            }
            self.line.push(byte);
            if self.line.len() > LINE_LEN_BYTES_MAX {
                return Err(incomplete());
            }
        }
        Ok(None)
    }

    fn take_line(&mut self, line: &str) -> Result<(), S3Error> {
        self.state = match self.state {
            State::Head => {
                let size = line.split(';').next().unwrap_or_default();
                match u64::from_str_radix(size.trim(), 16).map_err(|_| incomplete())? {
                    0 => State::Trailers,
                    left => State::Data { left },
                }
            }
            State::DataEnd if line.is_empty() => State::Head,
            State::Trailers if line.is_empty() => State::Done,
            State::Trailers if self.trailers.len() < TRAILERS_LEN_MAX => {
                let (name, value) = line.split_once(':').ok_or_else(incomplete)?;
                self.trailers.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
                State::Trailers
            }
            _ => return Err(incomplete()),
        };
        Ok(())
    }
}

fn incomplete() -> S3Error {
    S3Error::new(
        400,
        "IncompleteBody",
        "The request body terminated unexpectedly, or is not framed as aws-chunked says.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    type Decoded = (Vec<u8>, Vec<(String, String)>);

    fn decode(body: &[u8], step: usize) -> Result<Decoded, S3Error> {
        let mut decoder = ChunkedDecoder::new();
        let mut data = Vec::new();
        for piece in body.chunks(step) {
            let mut frame = Bytes::copy_from_slice(piece);
            while let Some(bytes) = decoder.next(&mut frame)? {
                data.extend_from_slice(&bytes);
            }
        }
        Ok((data, decoder.finish()?))
    }

    #[test]
    fn framing_is_taken_away_wherever_the_frames_end() {
        let body = b"5;chunk-signature=ab\r\nhello\r\n6\r\n world\r\n0\r\nx-amz-checksum-crc32:AAAA\r\n\r\n";
        for step in 1..body.len() {
            let (data, trailers) = decode(body, step).unwrap();
            assert_eq!(data, b"hello world");
            assert_eq!(trailers, [("x-amz-checksum-crc32".to_owned(), "AAAA".to_owned())]);
        }
    }

    #[test]
    fn a_body_that_breaks_off_is_refused() {
        for body in [&b"5\r\nhel"[..], b"zz\r\n", b"5\r\nhelloX\r\n", b""] {
            assert!(decode(body, 3).is_err());
        }
    }
}

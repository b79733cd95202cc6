//! Where the bytes of an upload go.
//!
//! Owns: [`Sink`], memory or a data file. Large frames are kept as they arrive, without a copy. Small ones are
//! joined: a slice of a few bytes would keep the connection's whole read buffer alive.

use crate::content::{Content, DataFile, FRAME_BYTES_MAX, Segment, Source};
use bytes::{Bytes, BytesMut};
use std::io;
use std::sync::Arc;
use tokio::io::{AsyncWriteExt, BufWriter};

/// Frames of at least this many bytes are kept as they are.
const KEPT_LEN_BYTES_MIN: usize = 64 * 1024;

/// Takes bytes in order.
pub(crate) enum Sink {
    Memory { content: Content, joined: BytesMut, expected_len: u64 },
    File { file: Arc<DataFile>, writer: BufWriter<tokio::fs::File>, len: u64 },
}

impl Sink {
    /// `expected_len` in bytes; a hint for the size of buffers.
    pub(crate) fn memory(expected_len: u64) -> Self {
        Self::Memory { content: Content::default(), joined: BytesMut::new(), expected_len }
    }

    /// Errors: those of creating the file.
    pub(crate) async fn file(file: Arc<DataFile>) -> io::Result<Self> {
        let opened = tokio::fs::File::create_new(&file.path).await?;
        Ok(Self::File { file, writer: BufWriter::with_capacity(FRAME_BYTES_MAX as usize, opened), len: 0 })
    }

    pub(crate) async fn write(&mut self, bytes: Bytes) -> io::Result<()> {
        match self {
            Self::Memory { content, joined, expected_len } => {
                if bytes.len() >= KEPT_LEN_BYTES_MIN {
                    flush(content, joined);
                    content.push_bytes(bytes);
                } else {
                    if joined.is_empty() {
                        let left = expected_len.saturating_sub(content.len()).min(FRAME_BYTES_MAX);
                        joined.reserve(bytes.len().max(left as usize));
                    }
                    joined.extend_from_slice(&bytes);
                    if joined.len() as u64 >= FRAME_BYTES_MAX {
                        flush(content, joined);
                    }
                }
                Ok(())
            }
            Self::File { writer, len, .. } => {
                *len += bytes.len() as u64;
                writer.write_all(&bytes).await
            }
        }
    }

    pub(crate) async fn finish(self) -> io::Result<Content> {
        match self {
            Self::Memory { mut content, mut joined, .. } => {
                flush(&mut content, &mut joined);
                Ok(content)
            }
            Self::File { file, mut writer, len } => {
                writer.flush().await?;
                let mut content = Content::default();
                content.push(Segment { source: Source::File { file, offset: 0 }, len });
                Ok(content)
            }
        }
    }
}

fn flush(content: &mut Content, joined: &mut BytesMut) {
    if !joined.is_empty() {
        content.push_bytes(std::mem::take(joined).freeze());
    }
}

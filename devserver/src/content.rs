//! An object's bytes.
//!
//! Owns: [`Content`], an immutable list of segments in memory or in files. Completing an upload, copying an object and
//! copying a range of one only share segments; no byte is moved.
//!
//! Invariant: a data file lives as long as a segment or a sidecar names it (see [`DataFile`]).

use bytes::Bytes;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The most bytes handed on at once, of a segment in memory or of a file.
pub(crate) const FRAME_BYTES_MAX: u64 = 256 * 1024;

/// A file in the server's folder that holds bytes of one or several objects.
#[derive(Debug)]
pub(crate) struct DataFile {
    pub(crate) path: PathBuf,
    /// How many sidecars name this file. At zero the file goes with the last segment: it was an upload's part, or all its
    /// objects are gone.
    pub(crate) sidecars: AtomicUsize,
}

impl Drop for DataFile {
    fn drop(&mut self) {
        if self.sidecars.load(Ordering::Acquire) == 0
            && let Err(error) = std::fs::remove_file(&self.path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %self.path.display(), %error, "a data file that is no longer needed stays");
        }
    }
}

/// Where a segment's bytes are.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    Memory(Bytes),
    File { file: Arc<DataFile>, offset: u64 },
}

/// A run of bytes.
#[derive(Debug, Clone)]
pub(crate) struct Segment {
    pub(crate) source: Source,
    pub(crate) len: u64,
}

impl Segment {
    fn slice(&self, range: Range<u64>) -> Self {
        let source = match &self.source {
            Source::Memory(bytes) => Source::Memory(bytes.slice(range.start as usize..range.end as usize)),
            Source::File { file, offset } => {
                Source::File { file: file.clone(), offset: offset + range.start }
            }
        };
        Self { source, len: range.end - range.start }
    }

    /// The first `len` bytes, as many as there are. Files are read on a thread that may block.
    pub(crate) async fn read_front(&self, len: u64) -> io::Result<Bytes> {
        let len = len.min(self.len);
        match &self.source {
            Source::Memory(bytes) => Ok(bytes.slice(..len as usize)),
            Source::File { file, offset } => {
                let (file, offset) = (file.clone(), *offset);
                tokio::task::spawn_blocking(move || {
                    let mut buffer = vec![0; len as usize];
                    File::open(&file.path)?.read_exact_at(&mut buffer, offset)?;
                    Ok(Bytes::from(buffer))
                })
                .await
                .map_err(io::Error::other)?
            }
        }
    }

    /// Drops the first `len` bytes.
    pub(crate) fn advance(&mut self, len: u64) {
        *self = self.slice(len..self.len);
    }
}

/// The bytes of an object or of a part.
#[derive(Debug, Clone, Default)]
pub(crate) struct Content {
    segments: Vec<Segment>,
    /// Where each segment starts, so that a small range of a large object is found by bisection.
    starts: Vec<u64>,
    len: u64,
}

impl Content {
    /// In bytes.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    pub(crate) fn segments(&self) -> &[Segment] {
        &self.segments
    }

    pub(crate) fn push(&mut self, segment: Segment) {
        if segment.len > 0 {
            self.starts.push(self.len);
            self.len += segment.len;
            self.segments.push(segment);
        }
    }

    pub(crate) fn push_bytes(&mut self, bytes: Bytes) {
        self.push(Segment { len: bytes.len() as u64, source: Source::Memory(bytes) });
    }

    pub(crate) fn append(&mut self, other: &Content) {
        self.segments.reserve(other.segments.len());
        for segment in &other.segments {
            self.push(segment.clone());
        }
    }

    /// The bytes of `range`, which lies within the content.
    pub(crate) fn slice(&self, range: Range<u64>) -> Self {
        let mut out = Self::default();
        let first = self.starts.partition_point(|start| *start <= range.start).saturating_sub(1);
        for (segment, start) in self.segments[first..].iter().zip(&self.starts[first..]) {
            if *start >= range.end {
                break;
            }
            let from = range.start.saturating_sub(*start);
            let to = (range.end - start).min(segment.len);
            if from < to {
                out.push(segment.slice(from..to));
            }
        }
        out
    }
}

impl From<Bytes> for Content {
    fn from(bytes: Bytes) -> Self {
        let mut content = Self::default();
        content.push_bytes(bytes);
        content
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes_of(content: &Content) -> Vec<u8> {
        let mut out = Vec::new();
        for segment in content.segments() {
            match &segment.source {
                Source::Memory(bytes) => out.extend_from_slice(bytes),
                Source::File { .. } => unreachable!("only memory is used here"),
            }
        }
        out
    }

    #[test]
    fn every_slice_of_a_segmented_content_is_right() {
        let whole: Vec<u8> = (0..20).collect();
        let mut content = Content::default();
        for piece in [0..3, 3..4, 4..11, 11..20] {
            content.push_bytes(Bytes::copy_from_slice(&whole[piece]));
        }
        for start in 0..=20u64 {
            for end in start..=20 {
                let slice = content.slice(start..end);
                assert_eq!(bytes_of(&slice), &whole[start as usize..end as usize], "{start}..{end}");
                assert_eq!(slice.len(), end - start);
            }
        }
    }
}

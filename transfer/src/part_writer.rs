//! One part of an object, on its way to the file.
//!
//! Owns: [`PartWriter`], which gathers what arrives in a buffer, and knows when that is written to the file and when the file's journal is told; and [`PieceSize`], how much is waited for at a time.
//!
//! # Why it goes by time
//! Over a fast link a part is done before anything of it would be noted: its buffers are written when they are full, and nothing else happens. Over a slow one a buffer takes a minute, and
//! what is in it when the run ends is lost. So bytes are waited for in pieces of about half a second, and a second after the last time what there is is written, and noted: a kill costs a
//! part that much, and no more.

use crate::buffers::{BUFFER_BYTES, Buffer};
use crate::part_journal::Written;
use crate::sums::Sum;
use crate::temporary::Temporary;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// How long bytes of a part are not noted at most, but for those that are on their way.
const NOTE_INTERVAL: Duration = Duration::from_secs(1);
/// What a piece is to take.
const PIECE_TIME: Duration = Duration::from_millis(500);
/// A piece is no smaller than this, nor the first one.
const PIECE_BYTES_MIN: usize = 16 << 10;
const PIECE_BYTES_FIRST: usize = 64 << 10;

/// How many bytes of a body are waited for at a time, by what the last ones took; one for all of a run.
#[derive(Debug)]
pub(crate) struct PieceSize(AtomicUsize);

impl Default for PieceSize {
    fn default() -> Self {
        Self(AtomicUsize::new(PIECE_BYTES_FIRST))
    }
}

impl PieceSize {
    fn bytes(&self) -> usize {
        self.0.load(Relaxed)
    }

    /// So many bytes came in this time.
    pub fn look(&self, bytes: usize, took: Duration) {
        let nanos = took.as_nanos().max(1);
        let fitting = bytes as u128 * PIECE_TIME.as_nanos() / nanos;
        // A short one at the end of a part says little.
        if bytes >= PIECE_BYTES_MIN {
            let fitting = usize::try_from(fitting).unwrap_or(usize::MAX);
            self.0.store(fitting.clamp(PIECE_BYTES_MIN, BUFFER_BYTES), Relaxed);
        }
    }
}

/// What arrives of a part.
#[derive(Debug)]
pub(crate) struct PartWriter {
    temporary: Arc<Temporary>,
    index: usize,
    range: Range<u64>,
    /// Of the object; what is before it is in the file.
    offset: u64,
    /// Of the part so far. `None` where nobody asks.
    sum: Option<Sum>,
    buffer: Buffer,
    /// Bytes in the buffer.
    filled: usize,
    /// When the journal was told last.
    noted: Instant,
}

impl PartWriter {
    /// For part `index`, whose bytes are `range` of the object, and of which those before `offset` are there, with `sum`.
    pub fn new(
        temporary: Arc<Temporary>,
        index: usize,
        range: Range<u64>,
        offset: u64,
        sum: Option<Sum>,
        buffer: Buffer,
    ) -> Self {
        Self { temporary, index, range, offset, sum, buffer, filled: 0, noted: Instant::now() }
    }

    /// Whether all of the part is written.
    pub fn is_done(&self) -> bool {
        self.offset == self.range.end
    }

    pub fn sum(&self) -> Option<Sum> {
        self.sum
    }

    /// Where the next bytes go; never empty while the part is not done and what is due is written.
    pub fn room(&mut self, piece: &PieceSize) -> &mut [u8] {
        let missing = self.range.end - self.offset - self.filled as u64;
        let room = usize::try_from(missing).unwrap_or(usize::MAX).min(BUFFER_BYTES - self.filled);
        let end = self.filled + room.min(piece.bytes());
        &mut self.buffer.part(end)[self.filled..]
    }

    /// So many bytes have arrived there. Returns whether it is time to [`write`](Self::write).
    pub fn add(&mut self, len: usize) -> bool {
        self.filled += len;
        self.filled == BUFFER_BYTES || self.is_last() || self.is_note_due()
    }

    fn is_last(&self) -> bool {
        self.offset + self.filled as u64 == self.range.end
    }

    fn is_note_due(&self) -> bool {
        self.temporary.parts().is_some() && self.noted.elapsed() >= NOTE_INTERVAL
    }

    /// Writes what has arrived, and returns how much that was. Waits for the disk.
    pub fn write(&mut self) -> io::Result<usize> {
        let note = self.is_last() || self.is_note_due();
        let bytes = self.buffer.part(self.filled);
        if let Some(sum) = &mut self.sum {
            sum.update(bytes);
        }
        self.temporary.write_at(bytes, self.offset)?;
        let len = std::mem::take(&mut self.filled);
        self.offset += len as u64;
        if let Some(sum) = &self.sum {
            let written = Written { len: self.offset - self.range.start, sum: sum.value() };
            self.temporary.mark(self.index, written, note)?;
        }
        if note {
            self.noted = Instant::now();
        }
        Ok(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_takes_half_a_second_within_its_bounds() {
        let size = PieceSize::default();
        let after = |bytes: usize, ms: u64| {
            size.look(bytes, Duration::from_millis(ms));
            size.bytes()
        };
        assert_eq!(after(PIECE_BYTES_FIRST, 1000), PIECE_BYTES_FIRST / 2);
        assert_eq!(after(PIECE_BYTES_FIRST, 60_000), PIECE_BYTES_MIN);
        assert_eq!(after(PIECE_BYTES_MIN, 250), 2 * PIECE_BYTES_MIN);
        assert_eq!(after(100, 0), 2 * PIECE_BYTES_MIN);
        assert_eq!(after(PIECE_BYTES_FIRST, 0), BUFFER_BYTES);
    }
}

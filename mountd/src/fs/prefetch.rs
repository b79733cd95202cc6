//! Reading ahead of a program that reads in order.
//!
//! Owns: [`Prefetcher`], which watches one handle's reads and says what to fetch ahead of them. Pure; the replica does
//! the fetching, in requests of its own size, as far as memory permits are free.
//!
//! The kernel's read-ahead sends several requests at once, and the daemon's threads may take them out of order: reads within
//! [`REORDER_BYTES`] of where the stream is count as in order. A jump ends the stream; the next two reads in a row begin
//! another.

use parking_lot::Mutex;
use std::ops::Range;

/// How far the kernel's own read-ahead may be reordered.
const REORDER_BYTES: u64 = 8 << 20;
/// The first window.
const WINDOW_BYTES_MIN: u64 = 1 << 20;
/// A window is topped up by so much at a time, in bytes: requests stay large, and nearly all of it is always under way.
const STEP_BYTES: u64 = 8 << 20;

#[derive(Default)]
struct Stream {
    /// The end of the furthest read of the stream.
    position: u64,
    /// How far ahead of it to be; 0 while reads jump about.
    window: u64,
    /// Everything before this was asked for.
    ahead: u64,
    begun: bool,
}

/// What one handle reads, and what it will.
#[derive(Default)]
pub struct Prefetcher {
    /// Guards the stream. Never held across an await.
    stream: Mutex<Stream>,
}

/// What follows from a read.
#[derive(Debug, PartialEq, Eq)]
pub struct Advice {
    /// The bytes to fetch now, the read's own among them; empty when there are enough ahead.
    pub fetch: Range<u64>,
    /// +1 when the handle became a stream, -1 when it ended being one.
    pub streams: i8,
}

impl Prefetcher {
    /// A program reads `range` of a file of `size` bytes. `window_max` is what memory allows for one stream.
    pub fn advise(&self, range: Range<u64>, size: u64, window_max: u64) -> Advice {
        let mut stream = self.stream.lock();
        let was_streaming = stream.window > 0;
        let near =
            range.start <= stream.position + REORDER_BYTES && stream.position <= range.end + REORDER_BYTES;
        // The beginning of a file is where most programs start to read all of it.
        let starts = !stream.begun && range.start == 0;
        let follows = stream.begun && if was_streaming { near } else { range.start == stream.position };
        stream.begun = true;
        if !(starts || follows) {
            *stream = Stream { position: range.end, window: 0, ahead: range.end, begun: true };
            return Advice { fetch: 0..0, streams: -i8::from(was_streaming) };
        }
        stream.position = stream.position.max(range.end);
        stream.window = (stream.window * 2).clamp(WINDOW_BYTES_MIN, window_max.max(WINDOW_BYTES_MIN));
        let target = (stream.position + stream.window).min(size);
        let from = if stream.ahead < range.start { range.start } else { stream.ahead };
        let step = STEP_BYTES.min(stream.window / 2);
        let enough = stream.ahead >= stream.position && target - target.min(from) < step && target < size;
        let fetch = if enough || from >= target { 0..0 } else { from..target };
        stream.ahead = stream.ahead.max(fetch.end);
        Advice { fetch, streams: i8::from(!was_streaming) }
    }

    /// The file was opened, and everything before `end` is here or asked for.
    pub fn opened(&self, end: u64) {
        self.stream.lock().ahead = end;
    }

    /// Of the advised bytes only those before `end` were asked for: memory is short.
    pub fn accepted(&self, end: u64) {
        let mut stream = self.stream.lock();
        stream.ahead = stream.ahead.min(end);
    }

    /// Whether the handle counts as a stream.
    pub fn is_streaming(&self) -> bool {
        self.stream.lock().window > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn a_small_file_is_fetched_whole_by_its_first_read() {
        let advice = Prefetcher::default().advise(0..4096, 100_000, 64 * MIB);
        assert_eq!(advice, Advice { fetch: 0..100_000, streams: 1 });
    }

    #[test]
    fn a_stream_is_fetched_once_and_stays_within_its_window() {
        let (prefetcher, size) = (Prefetcher::default(), 1 << 30);
        let mut end = 0;
        for at in (0..size).step_by(MIB as usize) {
            let advice = prefetcher.advise(at..at + MIB, size, 16 * MIB);
            if !advice.fetch.is_empty() {
                assert_eq!(advice.fetch.start, end, "nothing twice, nothing left out");
                end = advice.fetch.end;
            }
            assert!(end >= at + MIB && end <= at + 17 * MIB);
        }
        assert_eq!(end, size);
    }

    #[test]
    fn what_opening_asked_for_is_not_asked_for_again() {
        let prefetcher = Prefetcher::default();
        prefetcher.opened(2 * MIB);
        assert_eq!(prefetcher.advise(0..MIB, 1 << 30, 64 * MIB), Advice { fetch: 0..0, streams: 1 });
        assert_eq!(prefetcher.advise(MIB..2 * MIB, 1 << 30, 64 * MIB).fetch, 2 * MIB..4 * MIB);
        let jumping = Prefetcher::default();
        jumping.opened(2 * MIB);
        assert_eq!(jumping.advise(9 * MIB..10 * MIB, 1 << 30, 64 * MIB), Advice { fetch: 0..0, streams: 0 });
    }

    #[test]
    fn reordered_reads_are_a_stream_and_jumps_are_not() {
        let prefetcher = Prefetcher::default();
        for at in [0, 2, 1, 3, 5, 4] {
            prefetcher.advise(at * MIB..(at + 1) * MIB, 1 << 40, 64 * MIB);
        }
        assert!(prefetcher.is_streaming());
        assert_eq!(prefetcher.advise(1 << 35..(1 << 35) + 4096, 1 << 40, 64 * MIB).streams, -1);
        for at in [5u64 << 30, 3 << 30, 9 << 30] {
            assert!(prefetcher.advise(at..at + 4096, 1 << 40, 64 * MIB).fetch.is_empty());
        }
        let at = (9 << 30) + 4096;
        assert_eq!(prefetcher.advise(at..at + 4096, 1 << 40, 64 * MIB).streams, 1, "two in a row");
    }

    #[test]
    fn what_memory_refused_is_asked_for_again() {
        let prefetcher = Prefetcher::default();
        let first = prefetcher.advise(0..MIB, 1 << 30, 64 * MIB).fetch;
        prefetcher.accepted(MIB);
        let second = prefetcher.advise(MIB..2 * MIB, 1 << 30, 64 * MIB).fetch;
        assert_eq!((first.start, second.start), (0, MIB));
    }
}

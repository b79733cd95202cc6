//! How long the store takes, and how far ahead one must be for that.
//!
//! Owns: [`FetchPace`], which watches the large requests of one mount. To be read at [`GOAL_BYTES_PER_S`], a stream needs that rate times
//! the duration of one request under way: 128 MiB at 30 ms and 90 MB/s, the least where the store is near.
//!
//! # Why not always as far as can be
//! What is fetched ahead lies in memory until it is read. A window that fits the processor's cache is copied from there, and the
//! daemon spends a third less time on the same bytes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The rate that a single stream should be able to reach, in bytes per second.
const GOAL_BYTES_PER_S: u64 = 1_100_000_000;
/// Requests from this size on are looked at, in bytes: the prefetcher's own.
const REQUEST_BYTES: u64 = 8 << 20;
/// The least window, in bytes: two requests, so that the next one's bytes come while this one's are read.
const WINDOW_BYTES_MIN: u64 = 2 * REQUEST_BYTES;
/// The largest window, in bytes: 16 requests.
pub const WINDOW_BYTES_MAX: u64 = 16 * REQUEST_BYTES;
/// A slower request moves the estimate by this share; a faster one replaces it. Requests that wait for each other look slow.
const SLOWER_SHARE: u64 = 64;

/// How long a request of [`REQUEST_BYTES`] takes at best.
#[derive(Default)]
pub struct FetchPace {
    /// In microseconds; 0 before the first.
    duration_us: AtomicU64,
}

impl FetchPace {
    /// A request for `bytes` took so long from its start to its last byte.
    pub fn note(&self, bytes: u64, took: Duration) {
        if bytes < REQUEST_BYTES {
            return;
        }
        let took = (took.as_micros() as u64 * REQUEST_BYTES / bytes).max(1);
        // Two at once may lose one of two samples.
        let known = self.duration_us.load(Ordering::Relaxed);
        let next = if known == 0 || took < known { took } else { known + (took - known) / SLOWER_SHARE };
        self.duration_us.store(next, Ordering::Relaxed);
    }

    /// How far ahead one stream should be, in bytes.
    pub fn window_bytes(&self) -> u64 {
        match self.duration_us.load(Ordering::Relaxed) {
            0 => WINDOW_BYTES_MAX,
            us => (GOAL_BYTES_PER_S * us / 1_000_000).clamp(WINDOW_BYTES_MIN, WINDOW_BYTES_MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_follows_the_duration_of_requests() {
        let pace = FetchPace::default();
        assert_eq!(pace.window_bytes(), WINDOW_BYTES_MAX, "nothing is known");
        pace.note(4096, Duration::from_millis(1));
        assert_eq!(pace.window_bytes(), WINDOW_BYTES_MAX, "a small request tells nothing");
        pace.note(REQUEST_BYTES, Duration::from_millis(123));
        assert_eq!(pace.window_bytes(), WINDOW_BYTES_MAX);
        pace.note(REQUEST_BYTES, Duration::from_millis(50));
        assert_eq!(pace.window_bytes(), 55_000_000);
        pace.note(REQUEST_BYTES, Duration::from_millis(8));
        assert_eq!(pace.window_bytes(), WINDOW_BYTES_MIN);
        for _ in 0..1000 {
            pace.note(REQUEST_BYTES, Duration::from_millis(123));
        }
        assert!(pace.window_bytes() > 120_000_000, "a store that became slow is seen");
    }
}

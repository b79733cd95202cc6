//! Bandwidth of a connection.
//!
//! Owns: [`Pacer`], one per connection and direction, and [`Link`], what all requests of a connection share.
//! Invariant: with no limit set, pacing costs one comparison per frame.

use crate::content::FRAME_BYTES_MAX;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// How far a late sender may catch up; timers are a millisecond coarse and tasks wake late.
const CATCH_UP: Duration = Duration::from_millis(20);

/// Spreads bytes over time.
#[derive(Debug, Default)]
pub(crate) struct Pacer {
    /// Guards when the next byte is due. Held for a few instructions, never across an await.
    due: Mutex<Option<Instant>>,
}

impl Pacer {
    /// Books `len` bytes and waits until the ones booked before have passed.
    pub(crate) async fn pass(&self, len: usize, bytes_per_s: u64) {
        if bytes_per_s == 0 {
            return;
        }
        let until = {
            let mut due = self.due.lock();
            let now = Instant::now();
            let start = due.map_or(now, |due| due.max(now.checked_sub(CATCH_UP).unwrap_or(now)));
            let end = start + Duration::from_secs_f64(len as f64 / bytes_per_s as f64);
            *due = Some(end);
            end
        };
        tokio::time::sleep_until(until).await;
    }
}

/// The most bytes that are passed on at once at that bandwidth: 10 ms worth.
pub(crate) fn frame_bytes(bytes_per_s: u64) -> u64 {
    if bytes_per_s == 0 { FRAME_BYTES_MAX } else { (bytes_per_s / 100).clamp(1024, FRAME_BYTES_MAX) }
}

/// One client connection.
#[derive(Debug, Default)]
pub(crate) struct Link {
    pub(crate) received: Pacer,
    pub(crate) sent: Pacer,
    reset: AtomicBool,
}

impl Link {
    /// Makes the connection end with a RST in place of a FIN.
    pub(crate) fn reset_when_closed(&self) {
        self.reset.store(true, Ordering::Release);
    }

    pub(crate) fn is_reset(&self) -> bool {
        self.reset.load(Ordering::Acquire)
    }
}

//! How fast a copy goes.
//!
//! Owns: [`Rates`]: bytes and files a second as of late, the time left by them, and how that reads.

use pail_control::quantity::ByteSize;
use pail_transfer::ProgressSnapshot;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The time over which rates are taken.
const RATE_WINDOW: Duration = Duration::from_secs(10);
/// What takes longer is not foretold.
const FORETOLD_MAX_S: f64 = 1e7;

/// A file takes as long as so many bytes of others, beside its own.
const FILE_BYTES: u64 = 64 << 10;

/// What a copy did lately.
#[derive(Debug, Default)]
pub struct Rates {
    samples: VecDeque<(Instant, ProgressSnapshot)>,
    /// What is told is not all: other copies follow.
    has_more: bool,
}

impl Rates {
    /// Takes how far it is `now`. Where it `has_more`, other copies come after what was found.
    pub fn add(&mut self, now: Instant, progress: ProgressSnapshot, has_more: bool) {
        self.has_more = has_more;
        self.samples.push_back((now, progress));
        while self.samples.len() > 2 && self.samples.front().is_some_and(|(at, _)| now - *at > RATE_WINDOW) {
            self.samples.pop_front();
        }
    }

    /// How much `of` grew in a second.
    fn rate(&self, of: impl Fn(&ProgressSnapshot) -> u64) -> f64 {
        let (Some((from, first)), Some((to, last))) = (self.samples.front(), self.samples.back()) else {
            return 0.0;
        };
        // Bytes of an object that starts over are taken back.
        let grown = of(last).saturating_sub(of(first));
        grown as f64 / (*to - *from).as_secs_f64().max(0.001)
    }

    /// Bytes a second.
    pub fn bytes_per_s(&self) -> f64 {
        self.rate(|progress| progress.moved_bytes)
    }

    /// Seconds to the end, as bytes and files have gone lately; `None` while not everything is found, or nothing moves.
    pub fn left_s(&self) -> Option<u64> {
        let (_, now) = self.samples.back().filter(|(_, progress)| progress.walked)?;
        let work = |bytes: u64, files: u64| bytes + files * FILE_BYTES;
        let left =
            work(now.found_bytes.saturating_sub(now.moved_bytes), now.found.saturating_sub(now.finished));
        let rate = self.rate(|progress| work(progress.moved_bytes, progress.finished));
        let left_s = if left == 0 { 0.0 } else { left as f64 / rate };
        (left_s < FORETOLD_MAX_S).then_some(left_s.ceil() as u64)
    }

    /// How far it is, for a person: `3 of 5 files, 1.2 GiB of 2.0 GiB, 100.0 MiB/s, 8 s left`.
    pub fn text(&self) -> String {
        let progress = self.samples.back().map(|(_, progress)| *progress).unwrap_or_default();
        // While the listing runs there may be more.
        let plus = if progress.walked && !self.has_more { "" } else { "+" };
        let left = self.left_s().map(|left| format!(", {}{plus} left", duration(left))).unwrap_or_default();
        format!(
            "{} of {}{plus} files, {} of {}{plus}, {}/s{left}",
            progress.finished,
            progress.found,
            ByteSize(progress.moved_bytes).human(),
            ByteSize(progress.found_bytes).human(),
            ByteSize(self.bytes_per_s() as u64).human()
        )
    }
}

/// Two units at most: `5 s`, `2 min 5 s`, `3 h 20 min`.
fn duration(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left_follows_what_went_lately_and_is_not_told_too_early() {
        let (mut rates, start) = (Rates::default(), Instant::now());
        let at = |second: u64| start + Duration::from_secs(second);
        let progress = |moved_mib: u64, finished, walked| ProgressSnapshot {
            found: 16,
            found_bytes: 4096 << 20,
            finished,
            moved_bytes: moved_mib << 20,
            walked,
        };
        rates.add(at(0), progress(0, 0, false), false);
        assert_eq!(rates.left_s(), None);
        rates.add(at(10), progress(1000, 0, false), false);
        assert_eq!((rates.bytes_per_s(), rates.left_s()), (104_857_600.0, None));
        rates.add(at(20), progress(2000, 1, true), false);
        // Files that go at the same time end late, and all at once: it is the bytes that tell.
        assert_eq!(rates.left_s(), Some(21));
        rates.add(at(40), progress(2000, 1, true), false);
        assert_eq!(rates.left_s(), None);
        rates.add(at(41), progress(4096, 16, true), false);
        assert_eq!(rates.left_s(), Some(0));
        rates.add(at(60), progress(3096, 14, true), true);
        rates.add(at(70), progress(3596, 15, true), true);
        assert_eq!(rates.text(), "15 of 16+ files, 3.5 GiB of 4.0 GiB+, 50.0 MiB/s, 10 s+ left");
        rates = Rates::default();
        let small =
            |finished| ProgressSnapshot { found: 1000, finished, walked: true, ..progress(4096, 0, true) };
        rates.add(at(0), small(100), false);
        rates.add(at(10), small(500), false);
        // Of empty files there are no bytes to tell.
        assert_eq!(rates.left_s(), Some(13));
        assert_eq!([5, 125, 12_000].map(duration), ["5 s", "2 min 5 s", "3 h 20 min"]);
    }
}

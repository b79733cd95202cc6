//! How far a copy is, for who watches.
//!
//! Owns: [`CopyProgress`]: a bar on a terminal, a line every ten seconds elsewhere, nothing for what takes less than a second, all of it on
//! standard error; and for programs an event a second on standard output, each a JSON object on a line of its own.

use crate::terminal;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use pail_control::Failure;
use pail_control::quantity::ByteSize;
use pail_transfer::{Change, ProgressSnapshot, Report};
use serde::Serialize;
use std::collections::VecDeque;
use std::io::IsTerminal;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What is quicker shows nothing.
const QUIET_TIME: Duration = Duration::from_secs(1);
/// Between two lines where there is no terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(10);
/// Between two events.
const EVENT_INTERVAL: Duration = Duration::from_secs(1);
/// The time over which rates are taken.
const RATE_WINDOW: Duration = Duration::from_secs(10);
/// What takes longer is not foretold.
const FORETOLD_MAX_S: f64 = 1e7;

/// The progress of one copy.
pub struct CopyProgress {
    started: Instant,
    is_terminal: bool,
    prints_events: bool,
    /// Guards what is shown; a leaf.
    shown: Mutex<Shown>,
}

struct Shown {
    bar: Option<ProgressBar>,
    last_line: Instant,
    last_event: Instant,
    rates: Rates,
}

/// What a copy did lately.
#[derive(Default)]
struct Rates {
    samples: VecDeque<(Instant, ProgressSnapshot)>,
}

/// A line of `--json`.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Event<'a> {
    Progress {
        #[serde(flatten)]
        progress: ProgressSnapshot,
        elapsed_s: f64,
        bytes_per_s: u64,
        /// `None` while it is not known.
        left_s: Option<u64>,
    },
    Change {
        #[serde(flatten)]
        change: &'a Change,
    },
    Summary {
        /// Nothing was changed: the counts are of what would be.
        dry_run: bool,
        #[serde(flatten)]
        report: &'a Report,
    },
}

impl CopyProgress {
    /// Begins; shows nothing yet.
    pub fn new() -> Self {
        let now = Instant::now();
        let shown = Shown { bar: None, last_line: now, last_event: now, rates: Rates::default() };
        let is_terminal = std::io::stderr().is_terminal();
        Self { started: now, is_terminal, prints_events: false, shown: Mutex::new(shown) }
    }

    /// The same for a program that reads standard output, which gets events.
    pub fn for_programs() -> Self {
        let mut progress = Self::new();
        progress.prints_events = true;
        // A bar would be drawn over the events.
        progress.is_terminal &= !std::io::stdout().is_terminal();
        progress
    }

    /// Shows how far it is.
    pub fn show(&self, progress: ProgressSnapshot) {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        shown.rates.add(now, progress);
        if self.started.elapsed() < QUIET_TIME {
            return;
        }
        if self.prints_events && now - shown.last_event >= EVENT_INTERVAL {
            shown.last_event = now;
            let (bytes_per_s, left_s) = (shown.rates.bytes_per_s() as u64, shown.rates.left_s());
            let elapsed_s = (self.started.elapsed().as_secs_f64() * 10.0).round() / 10.0;
            // Who reads no more is noticed at the end.
            let _ = print(&Event::Progress { progress, elapsed_s, bytes_per_s, left_s });
        }
        if self.is_terminal {
            let text = text(progress, &shown.rates);
            let bar = shown.bar.get_or_insert_with(copy_bar);
            bar.set_length(progress.found_bytes.max(1));
            bar.set_position(progress.moved_bytes);
            bar.set_message(text);
        } else if shown.last_line.elapsed() >= LINE_INTERVAL {
            shown.last_line = now;
            terminal::note(&text(progress, &shown.rates));
        }
    }
}

/// An event of a dry run. Errors: standard output is gone.
pub fn print_change(change: &Change) -> Result<(), Failure> {
    print(&Event::Change { change })
}

/// The last event. Errors: standard output is gone.
pub fn print_summary(report: &Report, dry_run: bool) -> Result<(), Failure> {
    print(&Event::Summary { dry_run, report })
}

fn print(event: &Event<'_>) -> Result<(), Failure> {
    let text = serde_json::to_string(event)
        .map_err(|err| Failure::other("cannot write the answer as JSON").because(err.to_string()))?;
    terminal::line(&text)?;
    terminal::flush()
}

fn text(progress: ProgressSnapshot, rates: &Rates) -> String {
    // While the listing runs there may be more.
    let plus = if progress.walked { "" } else { "+" };
    let left = rates.left_s().map(|left| format!(", {} left", duration(left))).unwrap_or_default();
    format!(
        "{} of {}{plus} files, {} of {}{plus}, {}/s{left}",
        progress.finished,
        progress.found,
        ByteSize(progress.moved_bytes).human(),
        ByteSize(progress.found_bytes).human(),
        ByteSize(rates.bytes_per_s() as u64).human()
    )
}

/// Two units at most: `5 s`, `2 min 5 s`, `3 h 20 min`.
fn duration(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

impl Rates {
    fn add(&mut self, now: Instant, progress: ProgressSnapshot) {
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

    fn bytes_per_s(&self) -> f64 {
        self.rate(|progress| progress.moved_bytes)
    }

    /// Seconds to the end, as bytes and files have gone lately; `None` while not everything is found, or nothing moves.
    fn left_s(&self) -> Option<u64> {
        let (_, now) = self.samples.back().filter(|(_, progress)| progress.walked)?;
        let of = |left: u64, rate: f64| if left == 0 { 0.0 } else { left as f64 / rate };
        let bytes = of(now.found_bytes.saturating_sub(now.moved_bytes), self.bytes_per_s());
        let files = of(now.found.saturating_sub(now.finished), self.rate(|progress| progress.finished));
        // A few large files end seldom: then the bytes tell.
        let left = if files.is_finite() { bytes.max(files) } else { bytes };
        (left < FORETOLD_MAX_S).then_some(left.ceil() as u64)
    }
}

impl Drop for CopyProgress {
    fn drop(&mut self) {
        let shown = self.shown.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(bar) = &shown.bar {
            bar.finish_and_clear();
        }
    }
}

fn copy_bar() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    // The template is a constant: it cannot be wrong at run time, and the default bar would do.
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {percent:>3}%  {msg}") {
        bar.set_style(style);
    }
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left_follows_what_went_lately_and_is_not_told_too_early() {
        let (mut rates, start) = (Rates::default(), Instant::now());
        let at = |second: u64| start + Duration::from_secs(second);
        let progress = |moved_bytes, finished, walked| ProgressSnapshot {
            found: 100,
            found_bytes: 10_000,
            finished,
            moved_bytes,
            walked,
        };
        rates.add(at(0), progress(0, 0, false));
        assert_eq!(rates.left_s(), None);
        rates.add(at(10), progress(1000, 1, false));
        assert_eq!((rates.bytes_per_s(), rates.left_s()), (100.0, None));
        rates.add(at(20), progress(2000, 1, true));
        // No file ended in the window.
        assert_eq!(rates.left_s(), Some(80));
        rates.add(at(30), progress(8000, 11, true));
        assert_eq!((rates.bytes_per_s(), rates.left_s()), (600.0, Some(89)));
        rates.add(at(50), progress(8000, 11, true));
        assert_eq!(rates.left_s(), None);
        rates.add(at(51), progress(10_000, 100, true));
        assert_eq!(rates.left_s(), Some(0));
        assert_eq!([5, 125, 12_000].map(duration), ["5 s", "2 min 5 s", "3 h 20 min"]);
    }
}

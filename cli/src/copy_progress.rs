//! How far a copy is, for who watches.
//!
//! Owns: [`CopyProgress`]: a bar on a terminal, a line every ten seconds elsewhere, nothing for what takes less than a second, all of it on
//! standard error; and for programs an event a second on standard output, each a JSON object on a line of its own.

use crate::bars::{self, Bar};
use crate::rates::Rates;
use crate::terminal;
use pail_control::Failure;
use pail_transfer::{Change, ProgressSnapshot, Report};
use serde::Serialize;
use std::io::IsTerminal;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What is quicker shows nothing.
const QUIET_TIME: Duration = Duration::from_secs(1);
/// Between two lines where there is no terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(10);
/// Between two events.
const EVENT_INTERVAL: Duration = Duration::from_secs(1);

/// The progress of one copy.
pub struct CopyProgress {
    started: Instant,
    is_terminal: bool,
    prints_events: bool,
    is_quiet: bool,
    /// Guards what is shown; a leaf.
    shown: Mutex<Shown>,
}

struct Shown {
    bar: Option<Bar>,
    last_line: Instant,
    last_event: Instant,
    rates: Rates,
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
        let is_terminal = bars::are_seen();
        Self { started: now, is_terminal, prints_events: false, is_quiet: false, shown: Mutex::new(shown) }
    }

    /// The same where standard output has an object's bytes: on a terminal they and a bar would be in each other's way.
    pub fn beside_bytes() -> Self {
        let mut progress = Self::new();
        progress.is_terminal &= !std::io::stdout().is_terminal();
        progress
    }

    /// Shows nothing.
    pub fn quiet() -> Self {
        let mut progress = Self::new();
        progress.is_quiet = true;
        progress
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
        shown.rates.add(now, progress, false);
        if self.is_quiet || self.started.elapsed() < QUIET_TIME {
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
            let text = shown.rates.text();
            let bar = shown.bar.get_or_insert_with(|| Bar::new(bars::PLAIN));
            bar.set(progress.moved_bytes, progress.found_bytes, text);
        } else if shown.last_line.elapsed() >= LINE_INTERVAL {
            shown.last_line = now;
            terminal::note(&shown.rates.text());
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

//! How far a copy is, for who watches.
//!
//! Owns: [`CopyProgress`]: a bar on a terminal, a line every ten seconds elsewhere, nothing for what takes less than a second. All of it on
//! standard error.

use crate::terminal;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use pail_control::quantity::ByteSize;
use pail_transfer::ProgressSnapshot;
use std::io::IsTerminal;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What is quicker shows nothing.
const QUIET_TIME: Duration = Duration::from_secs(1);
/// Between two lines where there is no terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(10);

/// The progress of one copy.
pub struct CopyProgress {
    started: Instant,
    is_terminal: bool,
    /// Guards what is shown; a leaf.
    shown: Mutex<Shown>,
}

struct Shown {
    bar: Option<ProgressBar>,
    last_line: Instant,
}

impl CopyProgress {
    /// Begins; shows nothing yet.
    pub fn new() -> Self {
        let now = Instant::now();
        let shown = Mutex::new(Shown { bar: None, last_line: now });
        Self { started: now, is_terminal: std::io::stderr().is_terminal(), shown }
    }

    /// Shows how far it is.
    pub fn show(&self, progress: ProgressSnapshot) {
        if self.started.elapsed() < QUIET_TIME {
            return;
        }
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_terminal {
            let bar = shown.bar.get_or_insert_with(copy_bar);
            bar.set_length(progress.found_bytes.max(1));
            bar.set_position(progress.moved_bytes);
            bar.set_message(self.text(progress));
        } else if shown.last_line.elapsed() >= LINE_INTERVAL {
            shown.last_line = Instant::now();
            terminal::note(&self.text(progress));
        }
    }

    fn text(&self, progress: ProgressSnapshot) -> String {
        let rate = progress.moved_bytes as f64 / self.started.elapsed().as_secs_f64().max(0.001);
        // While the listing runs there may be more.
        let plus = if progress.walked { "" } else { "+" };
        format!(
            "{} of {}{plus} files, {} of {}{plus}, {}/s",
            progress.finished,
            progress.found,
            ByteSize(progress.moved_bytes).human(),
            ByteSize(progress.found_bytes).human(),
            ByteSize(rate as u64).human()
        )
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

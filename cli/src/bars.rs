//! The bars at the end of a terminal.
//!
//! Owns: [`Bar`], which is there until it is dropped, and [`above`], by which everything else is printed: lines come above the bars, which are
//! drawn again below them.
//!
//! # Why one place for the process
//! Standard error is one, whoever draws: what a node tells while a bar is there of something else would tear it.

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::sync::LazyLock;
use std::time::Duration;

/// A bar, and what there is to say.
pub const PLAIN: &str = "{bar:30} {percent:>3}%  {msg}";
/// The same behind a name.
pub const NAMED: &str = "{prefix:16!} {bar:20} {percent:>3}%  {msg}";
/// The same, which tells bytes and the time left by itself.
pub const TRANSFER: &str = "{prefix:16!} {bar:30} {percent:>3}%  {bytes} of {total_bytes}, {eta} left";
/// Between two frames of a spinner.
const FRAME: Duration = Duration::from_millis(100);

static BARS: LazyLock<MultiProgress> =
    LazyLock::new(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr()));

/// Whether bars are seen.
pub fn are_seen() -> bool {
    // Nor on a terminal that cannot move its cursor (TERM=dumb).
    !BARS.is_hidden()
}

/// Runs `print`, which writes to the terminal, with no bar in its way.
pub fn above<T>(print: impl FnOnce() -> T) -> T {
    if are_seen() { BARS.suspend(print) } else { print() }
}

/// A bar below those that are there; it goes when it is dropped.
#[derive(Debug)]
pub struct Bar(ProgressBar);

impl Bar {
    /// In the words of [`ProgressStyle`].
    pub fn new(template: &str) -> Self {
        let bar = ProgressBar::new(1);
        // Templates are constants: they cannot be wrong at run time, and the default bar would do.
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Self(BARS.add(bar))
    }

    /// Turns until it is dropped.
    pub fn spinner(message: &str) -> Self {
        let bar = Self(BARS.add(ProgressBar::new_spinner()));
        bar.0.set_message(message.to_owned());
        bar.0.enable_steady_tick(FRAME);
        bar
    }

    /// What stands before it.
    pub fn with_prefix(self, prefix: &str) -> Self {
        self.0.set_prefix(prefix.to_owned());
        self
    }

    /// So much of `all` is done.
    pub fn set(&self, done: u64, all: u64, message: String) {
        self.0.set_length(all.max(1));
        self.0.set_position(done);
        self.0.set_message(message);
    }

    /// So much is done of what was said.
    pub fn move_to(&self, done: u64) {
        self.0.set_position(done);
    }

    /// It is full, and stays so.
    pub fn finish(&self) {
        self.0.finish();
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
        BARS.remove(&self.0);
    }
}

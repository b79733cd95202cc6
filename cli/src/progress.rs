//! What a person sees while something takes longer than a second.
//!
//! Owns: [`Waiting`] and [`Draining`]: a bar or a spinner on a terminal, a line every ten seconds elsewhere, nothing at all for
//! what is quick. All of it on standard error.

use crate::bars::{self, Bar};
use pail_control::quantity::ByteSize;
use pail_control::types::DrainProgress;
use std::time::{Duration, Instant};

/// What is quicker shows nothing.
const QUIET_TIME: Duration = Duration::from_secs(1);
/// Between two lines where there is no terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(10);

/// Runs `work`; after a second says what is waited for.
pub async fn while_waiting<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::pin!(work);
    if let Ok(done) = tokio::time::timeout(QUIET_TIME, &mut work).await {
        return done;
    }
    let _spinner = bars::are_seen().then(|| Bar::spinner(what));
    let started = Instant::now();
    loop {
        match tokio::time::timeout(LINE_INTERVAL, &mut work).await {
            Ok(done) => return done,
            Err(_) if _spinner.is_none() => {
                crate::terminal::note(&format!("{what}: {} s so far", started.elapsed().as_secs()));
            }
            Err(_) => {}
        }
    }
}

/// The progress of a flush or an unmount.
pub struct Draining {
    started: Instant,
    last_line: Instant,
    bar: Option<Bar>,
    terminal: bool,
}

impl Draining {
    /// Begins; shows nothing yet.
    pub fn new() -> Self {
        let now = Instant::now();
        Self { started: now, last_line: now, bar: None, terminal: bars::are_seen() }
    }

    /// Takes the next step.
    pub fn step(&mut self, progress: DrainProgress) {
        if self.started.elapsed() < QUIET_TIME {
            return;
        }
        let text = format!(
            "{} not in the bucket yet ({} of {} sent)",
            match progress.files_left {
                1 => "1 file is".to_owned(),
                files => format!("{files} files are"),
            },
            ByteSize(progress.bytes_done).human(),
            ByteSize(progress.bytes_total).human()
        );
        if self.terminal {
            let bar = self.bar.get_or_insert_with(|| Bar::new(bars::PLAIN));
            bar.set(progress.bytes_done, progress.bytes_total, text);
        } else if self.last_line.elapsed() >= LINE_INTERVAL {
            self.last_line = Instant::now();
            crate::terminal::note(&text);
        }
    }
}

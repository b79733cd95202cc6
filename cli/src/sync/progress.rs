//! What a person sees of a sync that takes longer than a second.
//!
//! Owns: [`SyncProgress`]: on a terminal a bar for each node and one for all, elsewhere a line every ten seconds. On standard error.

use crate::bars::{self, Bar};
use pail_control::quantity::ByteSize;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What is quicker shows nothing.
const QUIET_TIME: Duration = Duration::from_secs(1);
/// Between two lines where there is no terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(10);
/// More nodes than this share the one bar.
const BARS_MAX: usize = 16;

/// The progress of one sync to some nodes.
#[derive(Debug)]
pub struct SyncProgress {
    started: Instant,
    bytes_each: u64,
    nodes: Vec<NodeState>,
    /// Guards what is drawn; held for no longer than a drawing.
    screen: Mutex<Screen>,
}

#[derive(Debug)]
struct NodeState {
    label: String,
    done_bytes: AtomicU64,
    has_ended: AtomicBool,
}

#[derive(Debug)]
enum Screen {
    Terminal { bars: Vec<Bar>, total: Option<Bar> },
    Lines { last: Instant },
}

impl SyncProgress {
    /// For nodes of these names, with so many bytes for each. Shows nothing yet.
    pub fn new(labels: impl IntoIterator<Item = String>, bytes_each: u64) -> Self {
        let node =
            |label| NodeState { label, done_bytes: AtomicU64::new(0), has_ended: AtomicBool::new(false) };
        let started = Instant::now();
        let screen = match bars::are_seen() {
            true => Screen::Terminal { bars: Vec::new(), total: None },
            false => Screen::Lines { last: started },
        };
        Self {
            started,
            bytes_each,
            nodes: labels.into_iter().map(node).collect(),
            screen: Mutex::new(screen),
        }
    }

    /// Of the node at `index`, so many bytes are done: were sent, or were there.
    pub fn step(&self, index: usize, done_bytes: u64) {
        let Some(node) = self.nodes.get(index) else { return };
        node.done_bytes.store(done_bytes.min(self.bytes_each), Ordering::Relaxed);
        if self.started.elapsed() >= QUIET_TIME {
            self.draw();
        }
    }

    /// The node at `index` is done, or failed.
    pub fn end(&self, index: usize) {
        let Some(node) = self.nodes.get(index) else { return };
        node.has_ended.store(true, Ordering::Relaxed);
        if let Ok(screen) = self.screen.lock()
            && let Screen::Terminal { bars, .. } = &*screen
            && let Some(bar) = bars.get(index)
        {
            bar.finish();
        }
    }

    fn draw(&self) {
        // Who draws already draws enough.
        let Ok(mut screen) = self.screen.try_lock() else { return };
        let done: u64 = self.nodes.iter().map(|node| node.done_bytes.load(Ordering::Relaxed)).sum();
        let all = self.bytes_each.saturating_mul(self.nodes.len() as u64);
        match &mut *screen {
            Screen::Terminal { bars, total } => {
                let total = total.get_or_insert_with(|| {
                    if self.nodes.len() > 1 && self.nodes.len() <= BARS_MAX {
                        let add = |node: &NodeState| bar(self.bytes_each, &node.label);
                        bars.extend(self.nodes.iter().map(add));
                    }
                    bar(all, if self.nodes.len() > 1 { "total" } else { &self.nodes[0].label })
                });
                for (bar, node) in bars.iter().zip(&self.nodes) {
                    bar.move_to(node.done_bytes.load(Ordering::Relaxed));
                }
                total.move_to(done);
            }
            Screen::Lines { last } => {
                if last.elapsed() >= LINE_INTERVAL {
                    *last = Instant::now();
                    let ended =
                        self.nodes.iter().filter(|node| node.has_ended.load(Ordering::Relaxed)).count();
                    let (done, all) = (ByteSize(done).human(), ByteSize(all).human());
                    let nodes = self.nodes.len();
                    crate::terminal::note(&format!("sync: {done} of {all}, {ended} of {nodes} nodes done"));
                }
            }
        }
    }
}

fn bar(bytes: u64, label: &str) -> Bar {
    let bar = Bar::new(bars::TRANSFER).with_prefix(label);
    bar.set(0, bytes, String::new());
    bar
}

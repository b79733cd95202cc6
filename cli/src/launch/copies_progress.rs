//! What a person sees of copies out of buckets, on all nodes in one place.
//!
//! Owns: [`CopiesProgress`]: on a terminal a bar for each node and one for all, elsewhere a line every ten seconds that names the nodes; nothing for
//! what takes less than a second. On standard error.

use crate::bars::{self, Bar};
use crate::node::copies::CopiesState;
use crate::rates::Rates;
use crate::terminal;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What is quicker shows nothing.
const QUIET_TIME: Duration = Duration::from_secs(1);
/// Between two drawings.
const DRAW_INTERVAL: Duration = Duration::from_millis(200);
/// Between two lines where there is no terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(10);
/// More nodes than this share the one bar, and a line names as many: the slowest.
const NODES_SHOWN_MAX: usize = 16;

/// The progress of the copies of one launch.
pub struct CopiesProgress {
    /// Guards all of it; a leaf.
    screen: Mutex<Screen>,
}

struct Screen {
    started: Instant,
    last_line: Instant,
    nodes: Vec<NodeView>,
    total: Rates,
    total_bar: Option<Bar>,
}

struct NodeView {
    /// Empty where it is this machine, or there is one node alone.
    host: String,
    state: CopiesState,
    rates: Rates,
    stage: Stage,
    bar: Option<Bar>,
}

/// Where a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Copying,
    Done,
    Failed,
}

impl CopiesProgress {
    /// For nodes of these names. Shows nothing yet.
    pub fn new(hosts: impl IntoIterator<Item = String>) -> Self {
        let node = |host| NodeView {
            host,
            state: CopiesState::default(),
            rates: Rates::default(),
            stage: Stage::Copying,
            bar: None,
        };
        let (started, nodes) = (Instant::now(), hosts.into_iter().map(node).collect());
        let screen = Screen { started, last_line: started, nodes, total: Rates::default(), total_bar: None };
        Self { screen: Mutex::new(screen) }
    }

    /// So far is the node at `index`.
    pub fn step(&self, index: usize, state: CopiesState) {
        if let Some(node) = self.lock().nodes.get_mut(index) {
            node.state = state;
        }
    }

    /// The node at `index` is done, or failed.
    pub fn end(&self, index: usize, is_done: bool) {
        if let Some(node) = self.lock().nodes.get_mut(index) {
            node.stage = if is_done { Stage::Done } else { Stage::Failed };
        }
    }

    /// Runs `work`, which makes the copies, and shows how far it is.
    pub async fn while_copying<T>(&self, work: impl Future<Output = T>) -> T {
        tokio::pin!(work);
        loop {
            match tokio::time::timeout(DRAW_INTERVAL, &mut work).await {
                Ok(done) => return done,
                Err(_) => self.lock().draw(Instant::now()),
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Screen> {
        self.screen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Screen {
    fn draw(&mut self, now: Instant) {
        for node in &mut self.nodes {
            node.rates.add(now, node.state.progress, node.has_more());
        }
        let all = self.sum();
        self.total.add(now, all.progress, self.nodes.iter().any(NodeView::has_more));
        // Where nothing is copied there is nothing to be seen.
        if all.count == 0 || now - self.started < QUIET_TIME {
            return;
        }
        if bars::are_seen() {
            self.draw_bars();
        } else if now - self.last_line >= LINE_INTERVAL {
            self.last_line = now;
            terminal::note(&self.line());
        }
    }

    fn sum(&self) -> CopiesState {
        let mut states = self.nodes.iter().map(|node| node.state);
        let first = states.next().unwrap_or_default();
        states.fold(first, CopiesState::with)
    }

    fn draw_bars(&mut self) {
        let has_bars = (2..=NODES_SHOWN_MAX).contains(&self.nodes.len());
        for node in self.nodes.iter_mut().filter(|_| has_bars) {
            let progress = node.state.progress;
            let text = match node.stage {
                Stage::Copying => format!("{}{}", node.which(), node.rates.text()),
                Stage::Done => "done".to_owned(),
                Stage::Failed => "failed".to_owned(),
            };
            let bar = node.bar.get_or_insert_with(|| Bar::new(bars::NAMED).with_prefix(&node.host));
            // A node that had nothing to fetch is done all the same.
            match (node.stage, progress.found_bytes) {
                (Stage::Done, 0) => bar.set(1, 1, text),
                _ => bar.set(progress.moved_bytes, progress.found_bytes, text),
            }
        }
        let all = self.sum().progress;
        let text = match self.nodes.as_slice() {
            [node] => format!("{}{}", node.which(), node.rates.text()),
            _ => self.total.text(),
        };
        let new = || match has_bars {
            true => Bar::new(bars::NAMED).with_prefix("total"),
            false => Bar::new(bars::PLAIN),
        };
        self.total_bar.get_or_insert_with(new).set(all.moved_bytes, all.found_bytes, text);
    }

    /// `copying: 3 of 15 files, …; dev 45%, dev-worker1 done`.
    fn line(&self) -> String {
        if let [node] = self.nodes.as_slice() {
            return format!("copying {}{}", node.which(), node.rates.text());
        }
        let mut slowest: Vec<&NodeView> = self.nodes.iter().collect();
        if slowest.len() > NODES_SHOWN_MAX {
            slowest.sort_by_key(|node| (node.stage == Stage::Done, node.state.progress.moved_bytes));
        }
        let named: Vec<_> = slowest.iter().take(NODES_SHOWN_MAX).map(|node| node.told()).collect();
        let more = match slowest.len().saturating_sub(NODES_SHOWN_MAX) {
            0 => String::new(),
            more => format!(" and {more} nodes that are further"),
        };
        format!("copying: {}; {}{more}", self.total.text(), named.join(", "))
    }
}

impl NodeView {
    fn has_more(&self) -> bool {
        self.stage == Stage::Copying && (self.state.count == 0 || self.state.has_more())
    }

    /// Which copy it is at, where there are several.
    fn which(&self) -> String {
        let CopiesState { count, ended, .. } = self.state;
        if count > 1 { format!("({} of {count}) ", (ended + 1).min(count)) } else { String::new() }
    }

    fn told(&self) -> String {
        let progress = self.state.progress;
        let host = &self.host;
        match (self.stage, progress.moved_bytes * 100 / progress.found_bytes.max(1)) {
            (Stage::Done, _) => format!("{host} done"),
            (Stage::Failed, _) => format!("{host} failed"),
            (Stage::Copying, percent) => format!("{host} {percent}%"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pail_transfer::ProgressSnapshot;

    fn state(moved_mib: u64) -> CopiesState {
        let (found_bytes, moved_bytes) = (1000 << 20, moved_mib << 20);
        let progress = ProgressSnapshot { found: 10, found_bytes, finished: 1, moved_bytes, walked: true };
        CopiesState { count: 1, ended: 0, progress }
    }

    fn screen_after_10_s(progress: &CopiesProgress, moved_mib: &[u64]) -> String {
        let mut screen = progress.lock();
        let started = screen.started;
        screen.draw(started);
        for (node, moved) in screen.nodes.iter_mut().zip(moved_mib) {
            node.state = state(*moved);
        }
        let nodes: Vec<_> = screen.nodes.iter().map(|node| node.state).collect();
        assert_eq!(nodes.len(), moved_mib.len());
        screen.draw(started + Duration::from_millis(9900));
        screen.line()
    }

    #[test]
    fn a_line_has_the_sum_and_names_every_node() {
        let progress = CopiesProgress::new(["dev", "dev-worker1", "dev-worker2"].map(str::to_owned));
        for index in 0..3 {
            progress.step(index, state(0));
        }
        progress.end(1, true);
        progress.end(2, false);
        assert_eq!(
            screen_after_10_s(&progress, &[500, 1000, 70]),
            "copying: 3 of 30 files, 1.5 GiB of 2.9 GiB, 158.6 MiB/s, 10 s left; dev 50%, dev-worker1 done, dev-worker2 failed"
        );
    }

    #[test]
    fn of_many_nodes_the_slowest_are_named() {
        let progress = CopiesProgress::new((0..20).map(|node| format!("n{node}")));
        let moved: Vec<u64> = (0..20).map(|node| 900 - node * 10).collect();
        let line = screen_after_10_s(&progress, &moved);
        assert!(line.contains("; n19 71%, n18 72%") && !line.contains("n0 "), "{line}");
        assert!(line.ends_with(" and 4 nodes that are further"), "{line}");
    }

    #[test]
    fn one_node_is_told_without_a_name_and_says_which_copy_it_is_at() {
        let progress = CopiesProgress::new([String::new()]);
        progress.step(0, state(0));
        screen_after_10_s(&progress, &[500]);
        progress.step(0, CopiesState { count: 3, ended: 1, ..state(500) });
        let mut screen = progress.lock();
        let started = screen.started;
        screen.draw(started + Duration::from_millis(9950));
        assert!(
            screen.line().starts_with("copying (2 of 3) 1 of 10+ files, 500.0 MiB of 1000.0 MiB+"),
            "{}",
            screen.line()
        );
    }
}

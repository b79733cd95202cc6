//! How many requests for objects' bytes there are at the same time.
//!
//! Owns: [`Connections`], the permits for them, and [`Limit`], the rules by which their number follows the store: it doubles as long as that moves more, and halves
//! when the store refuses requests (503, 429, 5xx). What was refused is retried below, in the store's pipeline, after a pause; without fewer requests at a time the
//! store goes on refusing, and the pauses grow.
//!
//! # What it is measured by
//! Goodput over a window in which all permits were in use and each was used about once: the bytes that arrived, and for each request as much again as a
//! small object is worth, since of small objects it is their number that counts. A trial that did not pay is taken back, and made again later and later:
//! what pays for the small objects of a run does not for its large ones.
//!
//! # Why it begins with 64
//! Beginning with 16 and growing cost a copy of small objects over 30 ms its first rounds, and won nothing where nothing was refused. Against a server that answers
//! 500 requests a second, 64 connections all the time took 8.9 to 11.8 s for 2,500 objects, 16 took 5.1 to 5.4 s; the server's own limit is 5.0 s.

use crate::Progress;
use pail_store::{ErrorKind, Store};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

/// The connections that a run begins with, if it may have so many.
const CONNECTIONS_FIRST: usize = 64;
/// The least connections that are left.
const CONNECTIONS_MIN: usize = 4;
/// Between two looks at what was moved and refused.
const INTERVAL: Duration = Duration::from_millis(100);
/// So many refusals between two looks are no accident.
const REFUSALS_MIN: u64 = 2;
/// Looks after a change in which the store still answers what was asked before.
const HOLD_LOOKS: u32 = 5;
/// The shortest window, in looks.
const WINDOW_LOOKS_MIN: u32 = 2;
/// What a request is worth beside its bytes.
const REQUEST_BYTES: u64 = 64 << 10;
/// The part of the growth that must come out as goodput, for the growth to stay.
const GAIN_MIN: f64 = 0.25;
/// Looks from a trial that did not pay to the next one; twice as many after each.
const REST_LOOKS_MIN: u32 = 20;
const REST_LOOKS_MAX: u32 = 600;

/// Permits for requests. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Connections {
    shared: Arc<Shared>,
    _watcher: Arc<JoinSet<()>>,
}

#[derive(Debug)]
struct Shared {
    permits: Arc<Semaphore>,
    /// Permits that go when they are given back.
    surplus: AtomicUsize,
    /// Requests that have ended.
    ended: AtomicU64,
}

/// The right to send one request for an object's bytes, until it is dropped.
#[derive(Debug)]
pub(crate) struct Connection {
    permit: Option<OwnedSemaphorePermit>,
    shared: Arc<Shared>,
}

impl Connections {
    /// At most `max`, by what `stores` refuse and `progress` counts.
    pub fn new(stores: Vec<Arc<dyn Store>>, progress: Arc<Progress>, max: usize) -> Self {
        let limit = Limit::new(max);
        let permits = Arc::new(Semaphore::new(limit.connections));
        let shared = Arc::new(Shared { permits, surplus: AtomicUsize::new(0), ended: AtomicU64::new(0) });
        let mut watcher = JoinSet::new();
        watcher.spawn(watch(limit, stores, progress, shared.clone()));
        Self { shared, _watcher: Arc::new(watcher) }
    }

    /// The next one that is free. `None` never happens while a run is under way: nobody closes them.
    pub async fn take(&self) -> Option<Connection> {
        let permit = self.shared.permits.clone().acquire_owned().await.ok()?;
        Some(Connection { permit: Some(permit), shared: self.shared.clone() })
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.shared.ended.fetch_add(1, Relaxed);
        let less = |surplus: usize| surplus.checked_sub(1);
        if self.shared.surplus.fetch_update(Relaxed, Relaxed, less).is_ok()
            && let Some(permit) = self.permit.take()
        {
            permit.forget();
        }
    }
}

impl Shared {
    fn change(&self, from: usize, to: usize) {
        if to < from {
            let idle = self.permits.forget_permits(from - to);
            self.surplus.fetch_add(from - to - idle, Relaxed);
        }
        let mut more = to.saturating_sub(from);
        let less = |surplus: usize| surplus.checked_sub(1);
        while more > 0 && self.surplus.fetch_update(Relaxed, Relaxed, less).is_ok() {
            more -= 1;
        }
        self.permits.add_permits(more);
    }
}

async fn watch(mut limit: Limit, stores: Vec<Arc<dyn Store>>, progress: Arc<Progress>, shared: Arc<Shared>) {
    let refused_by = |store: &Arc<dyn Store>| {
        store.counters().errors.get(ErrorKind::Exhausted.name()).copied().unwrap_or_default()
    };
    let count = || Seen {
        refused: stores.iter().map(refused_by).sum(),
        ended: shared.ended.load(Relaxed),
        moved_bytes: progress.snapshot().moved_bytes,
        is_idle: shared.permits.available_permits() > 0,
    };
    let mut before = count();
    loop {
        tokio::time::sleep(INTERVAL).await;
        let (now, connections) = (count(), limit.connections);
        limit.look(&now.since(&before));
        before = now;
        if limit.connections != connections {
            tracing::debug!(from = connections, to = limit.connections, "connections");
            shared.change(connections, limit.connections);
        }
    }
}

/// What a look finds, since the beginning or since the last look.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    refused: u64,
    ended: u64,
    moved_bytes: u64,
    /// Not all permits are in use.
    is_idle: bool,
}

impl Seen {
    fn since(&self, before: &Self) -> Self {
        Self {
            refused: self.refused.saturating_sub(before.refused),
            ended: self.ended.saturating_sub(before.ended),
            // Less, where an object starts over.
            moved_bytes: self.moved_bytes.saturating_sub(before.moved_bytes),
            is_idle: self.is_idle,
        }
    }
}

/// How many connections are allowed now.
#[derive(Debug)]
struct Limit {
    connections: usize,
    max: usize,
    /// Looks that are not counted yet.
    hold_looks: u32,
    window: Window,
    /// More are tried than paid before.
    trial: Option<Trial>,
    /// Looks until the next trial, and from one that does not pay to the one after.
    rest_looks: u32,
    next_rest_looks: u32,
    /// What there were before the store refused, to which it goes back one by one.
    refused_at: Option<usize>,
}

#[derive(Debug, Default)]
struct Window {
    looks: u32,
    requests: u64,
    bytes: u64,
}

#[derive(Debug)]
struct Trial {
    connections_before: usize,
    goodput_before: f64,
}

impl Limit {
    fn new(max: usize) -> Self {
        Self {
            connections: CONNECTIONS_FIRST.min(max),
            max,
            hold_looks: 0,
            window: Window::default(),
            trial: None,
            rest_looks: 0,
            next_rest_looks: REST_LOOKS_MIN,
            refused_at: None,
        }
    }

    fn look(&mut self, seen: &Seen) {
        if self.hold_looks > 0 {
            self.hold_looks -= 1;
        } else if seen.refused >= REFUSALS_MIN {
            self.refuse();
        } else if let Some(refused_at) = self.refused_at {
            self.connections += usize::from(self.connections < refused_at);
            self.refused_at = self.refused_at.filter(|refused_at| self.connections < *refused_at);
        } else if seen.is_idle {
            // It is not the connections that are too few.
            self.window = Window::default();
        } else {
            self.rest_looks = self.rest_looks.saturating_sub(1);
            self.window.add(seen);
            if let Some(goodput) = self.window.goodput(self.connections) {
                self.window = Window::default();
                self.judge(goodput);
            }
        }
    }

    fn refuse(&mut self) {
        let before = self.trial.take().map_or(self.connections, |trial| trial.connections_before);
        self.refused_at = self.refused_at.or(Some(before));
        self.connections = (self.connections / 2).max(CONNECTIONS_MIN.min(self.max));
        self.rest();
    }

    fn judge(&mut self, goodput: f64) {
        if let Some(Trial { connections_before, goodput_before }) = self.trial.take() {
            let growth = self.connections as f64 / connections_before as f64 - 1.0;
            if goodput < goodput_before * (1.0 + GAIN_MIN * growth) {
                self.connections = connections_before;
                return self.rest();
            }
            self.next_rest_looks = REST_LOOKS_MIN;
        }
        if self.rest_looks == 0 && self.connections < self.max {
            self.trial = Some(Trial { connections_before: self.connections, goodput_before: goodput });
            self.connections = self.connections.saturating_mul(2).min(self.max);
            self.hold_looks = 1;
        }
    }

    fn rest(&mut self) {
        self.window = Window::default();
        self.hold_looks = HOLD_LOOKS;
        self.rest_looks = self.next_rest_looks;
        self.next_rest_looks = (self.next_rest_looks * 2).min(REST_LOOKS_MAX);
    }
}

impl Window {
    fn add(&mut self, seen: &Seen) {
        self.looks += 1;
        self.requests += seen.ended;
        self.bytes += seen.moved_bytes;
    }

    /// Bytes a look, with what requests are worth; `None` while it is too short to say.
    fn goodput(&self, connections: usize) -> Option<f64> {
        let is_long = self.looks >= WINDOW_LOOKS_MIN && self.requests >= connections as u64;
        is_long.then(|| (self.bytes + self.requests * REQUEST_BYTES) as f64 / f64::from(self.looks))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A store that answers `per_connection` requests in a look on each of up to `useful` connections.
    fn answers(limit: &mut Limit, looks: usize, per_connection: u64, useful: usize) -> usize {
        for _ in 0..looks {
            let ended = per_connection * limit.connections.min(useful) as u64;
            limit.look(&Seen { refused: 0, ended, moved_bytes: ended * 1000, is_idle: false });
        }
        limit.connections
    }

    fn refusals(limit: &mut Limit, refused: &[u64]) -> usize {
        for refused in refused {
            limit.look(&Seen { refused: *refused, is_idle: true, ..Seen::default() });
        }
        limit.connections
    }

    #[test]
    fn refusals_halve_and_quiet_gives_back() {
        let mut limit = Limit::new(64);
        assert_eq!(refusals(&mut limit, &[0, 1, 1]), 64);
        assert_eq!(refusals(&mut limit, &[5]), 32);
        // Of requests that were sent before.
        assert_eq!(refusals(&mut limit, &[9, 9, 9, 9, 9]), 32);
        assert_eq!(refusals(&mut limit, &[9]), 16);
        assert_eq!(refusals(&mut limit, &[0; 5]), 16);
        assert_eq!(refusals(&mut limit, &[0; 10]), 26);
        assert_eq!(refusals(&mut limit, &[7; 100]), CONNECTIONS_MIN);
        assert_eq!(refusals(&mut limit, &[0; 100]), 64);
        assert_eq!(refusals(&mut Limit::new(2), &[9]), 2);
    }

    #[test]
    fn connections_grow_as_long_as_that_moves_more() {
        let mut limit = Limit::new(256);
        assert_eq!(answers(&mut limit, 20, 3, 1000), 256);
        let mut few = Limit::new(100);
        assert_eq!(answers(&mut few, 20, 3, 1000), 100);
        assert_eq!(answers(&mut Limit::new(16), 20, 3, 1000), 16);
    }

    #[test]
    fn what_does_not_pay_is_taken_back_and_tried_again_later() {
        let mut limit = Limit::new(256);
        let mut high = 0;
        for _ in 0..1000 {
            high += usize::from(answers(&mut limit, 1, 3, 64) > 64);
        }
        assert!((2..100).contains(&high), "{high} looks of 1000 with more than pays");
        assert!(answers(&mut limit, 1000, 3, 1000) == 256);
    }

    #[test]
    fn more_are_not_tried_where_connections_are_idle_or_one_request_takes_long() {
        let mut limit = Limit::new(256);
        for _ in 0..100 {
            limit.look(&Seen { refused: 0, ended: 500, moved_bytes: 1 << 30, is_idle: true });
        }
        assert_eq!(limit.connections, 64);
        for _ in 0..60 {
            limit.look(&Seen { refused: 0, ended: 1, moved_bytes: 1 << 20, is_idle: false });
        }
        assert_eq!(limit.connections, 64);
    }

    #[test]
    fn refusals_end_a_trial_and_it_goes_back_to_what_was_before() {
        let mut limit = Limit::new(256);
        answers(&mut limit, 2, 3, 1000);
        assert_eq!(limit.connections, 128);
        refusals(&mut limit, &[0]);
        assert_eq!(refusals(&mut limit, &[9]), 64);
        assert_eq!(refusals(&mut limit, &[0; 5]), 64);
        assert_eq!(refusals(&mut limit, &[0; 100]), 64);
    }

    #[tokio::test]
    async fn requests_that_wait_for_an_answer_get_more_connections() {
        let connections = Connections::new(Vec::new(), Arc::default(), 256);
        let (busy, peak) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let mut tasks = JoinSet::new();
        for _ in 0..512 {
            let (connections, busy, peak) = (connections.clone(), busy.clone(), peak.clone());
            tasks.spawn(async move {
                while peak.load(Relaxed) < 256 {
                    let _connection = connections.take().await.unwrap();
                    peak.fetch_max(busy.fetch_add(1, Relaxed) + 1, Relaxed);
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    busy.fetch_sub(1, Relaxed);
                }
            });
        }
        let all = tasks.join_all();
        tokio::time::timeout(Duration::from_secs(60), all).await.expect("256 at a time");
    }

    #[tokio::test]
    async fn connections_that_are_taken_away_go_when_they_are_given_back() {
        let connections = Connections::new(Vec::new(), Arc::default(), 64);
        let free = || connections.shared.permits.available_permits();
        let mut taken = Vec::new();
        for _ in 0..60 {
            taken.push(connections.take().await.unwrap());
        }
        connections.shared.change(64, 32);
        assert_eq!(free(), 0);
        taken.truncate(40);
        assert_eq!(free(), 0, "8 too many are out");
        taken.truncate(30);
        assert_eq!(free(), 2);
        connections.shared.change(32, 16);
        connections.shared.change(16, 64);
        assert_eq!(free(), 34);
        taken.clear();
        assert_eq!(free(), 64);
    }
}

//! How many requests a store can be asked at the same time.
//!
//! Owns: [`Governor`], which halves the connections of a run when the store refuses requests (503, 429, 5xx), and gives them back one by one while it does not.
//! What was refused is retried below, in the store's pipeline, after a pause; without fewer requests at a time the store goes on refusing, and the pauses grow.
//!
//! # Why it begins with all of them
//! Beginning with 16 and growing cost a copy of small objects over 30 ms its first rounds, and won nothing where nothing was refused. Against a server that answers
//! 500 requests a second, 64 connections all the time took 8.9 to 11.8 s for 2,500 objects, 16 took 5.1 to 5.4 s; the server's own limit is 5.0 s.

use pail_store::{ErrorKind, Store};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

/// Between two looks at what was refused.
const INTERVAL: Duration = Duration::from_millis(100);
/// So many refusals between two looks are no accident.
const REFUSALS_MIN: u64 = 2;
/// Looks after a halving in which refusals are still those of before.
const HOLD_LOOKS: u32 = 5;
/// The least connections that are left.
const CONNECTIONS_MIN: usize = 4;

/// Holds connections back while a store refuses requests. Dropped, it gives them back.
#[derive(Debug)]
pub(crate) struct Governor {
    _task: JoinSet<()>,
}

impl Governor {
    /// Over the `max` permits of `connections`, by what `stores` count.
    pub fn start(stores: Vec<Arc<dyn Store>>, connections: Arc<Semaphore>, max: usize) -> Self {
        let mut task = JoinSet::new();
        task.spawn(govern(stores, connections, max));
        Self { _task: task }
    }
}

async fn govern(stores: Vec<Arc<dyn Store>>, connections: Arc<Semaphore>, max: usize) {
    let refused_by = |store: &Arc<dyn Store>| {
        store.counters().errors.get(ErrorKind::Exhausted.name()).copied().unwrap_or_default()
    };
    let count = || stores.iter().map(refused_by).sum::<u64>();
    let mut limit = Limit::new(max);
    let mut counted = count();
    let mut held: Vec<OwnedSemaphorePermit> = Vec::new();
    let mut held_count = 0;
    loop {
        tokio::time::sleep(INTERVAL).await;
        let now = count();
        limit.look(now.saturating_sub(counted));
        counted = now;
        let wanted = max.saturating_sub(limit.connections);
        while held_count > wanted {
            // Permits were taken many at a time.
            let Some(mut last) = held.pop() else { break };
            let surplus = last.num_permits().min(held_count - wanted);
            drop(last.split(surplus));
            held_count -= surplus;
            if last.num_permits() > 0 {
                held.push(last);
            }
        }
        if held_count < wanted {
            let more = u32::try_from(wanted - held_count).unwrap_or(u32::MAX);
            let Ok(permits) = connections.clone().acquire_many_owned(more).await else { return };
            held.push(permits);
            held_count = wanted;
        }
    }
}

/// How many connections are allowed now: half as many after refusals, one more after each look without.
#[derive(Debug)]
struct Limit {
    connections: usize,
    max: usize,
    hold: u32,
}

impl Limit {
    fn new(max: usize) -> Self {
        Self { connections: max, max, hold: 0 }
    }

    fn look(&mut self, refused: u64) {
        if self.hold > 0 {
            self.hold -= 1;
        } else if refused >= REFUSALS_MIN {
            self.connections = (self.connections / 2).max(CONNECTIONS_MIN.min(self.max));
            self.hold = HOLD_LOOKS;
        } else {
            self.connections = self.max.min(self.connections + 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_halve_and_quiet_gives_back() {
        let mut limit = Limit::new(64);
        let mut after = |refused: &[u64]| {
            refused.iter().for_each(|refused| limit.look(*refused));
            limit.connections
        };
        assert_eq!(after(&[0, 1, 1]), 64);
        assert_eq!(after(&[5]), 32);
        // Of requests that were sent before.
        assert_eq!(after(&[9, 9, 9, 9, 9]), 32);
        assert_eq!(after(&[9]), 16);
        assert_eq!(after(&[0; 5]), 16);
        assert_eq!(after(&[0; 10]), 26);
        assert_eq!(after(&[7; 100]), CONNECTIONS_MIN);
        assert_eq!(after(&[0; 100]), 64);
        let mut few = Limit::new(2);
        few.look(9);
        assert_eq!(few.connections, 2);
    }
}

//! A wait group: counts running tasks; others wait for zero.
//!
//! Owns: [`WaitGroup`], a count, and [`WaitGuard`], one of those counted.

use super::error::{FsResult, Posix};
use tokio::sync::watch;

/// How many are at something.
#[derive(Default)]
pub struct WaitGroup(watch::Sender<usize>);

/// One of them, until it is dropped.
pub struct WaitGuard(watch::Sender<usize>);

impl Drop for WaitGuard {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

impl WaitGroup {
    /// Adds one.
    pub fn join(&self) -> WaitGuard {
        self.0.send_modify(|count| *count += 1);
        WaitGuard(self.0.clone())
    }

    /// Adds one where there are fewer than `max`.
    pub fn join_below(&self, max: usize) -> Option<WaitGuard> {
        let joined = self.0.send_if_modified(|count| {
            let has_room = *count < max;
            *count += usize::from(has_room);
            has_room
        });
        joined.then(|| WaitGuard(self.0.clone()))
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        *self.0.borrow()
    }

    /// Whether there are any.
    pub fn any(&self) -> bool {
        self.count() > 0
    }

    /// Resolves once there are none.
    pub async fn wait_zero(&self) {
        // An error says that the sender is gone, which `self` holds.
        let _ = self.0.subscribe().wait_for(|count| *count == 0).await;
    }

    /// What `work` gives, unless there is one, or comes to be: it is then dropped where it stands. Errors: those of `work`; EINTR when it was
    /// dropped.
    pub async fn cancel_on_any<T>(&self, work: impl Future<Output = FsResult<T>>) -> FsResult<T> {
        let mut count = self.0.subscribe();
        tokio::select! {
            biased;
            _ = count.wait_for(|count| *count > 0) => Err(Posix::Interrupted.into()),
            done = work => done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_join_than_there_is_room_for() {
        let group = WaitGroup::default();
        let guards: Vec<_> = (0..3).filter_map(|_| group.join_below(2)).collect();
        assert_eq!((guards.len(), group.count()), (2, 2));
        drop(guards);
        assert!(!group.any() && group.join_below(1).is_some());
    }
}

//! What the kernel remembers and that is no longer so.
//!
//! Owns: [`Stale`], and the way of it to the adapter.
//!
//! Invariant: one thing waits once, however often it is told of, so that no more waits than there are inodes and names.

use parking_lot::Mutex;
use std::collections::HashSet;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Something that the kernel remembers and that is no longer so.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Stale {
    /// The attributes of an inode.
    Attributes(u64),
    /// What a name in a directory leads to.
    Name(u64, Arc<str>),
}

/// Guards what waits; a leaf.
type Waiting = Arc<Mutex<HashSet<Stale>>>;

/// Where it is told.
pub(super) struct StaleSender {
    waiting: Waiting,
    sender: mpsc::UnboundedSender<Stale>,
}

/// Where it is heard.
pub struct StaleReceiver {
    waiting: Waiting,
    receiver: mpsc::UnboundedReceiver<Stale>,
}

/// Both ends.
pub(super) fn channel() -> (StaleSender, StaleReceiver) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let waiting = Waiting::default();
    (StaleSender { waiting: waiting.clone(), sender }, StaleReceiver { waiting, receiver })
}

impl StaleSender {
    /// Has the kernel ask again.
    pub fn tell(&self, stale: Stale) {
        // An error says that there is no kernel: nobody has anything stale.
        if self.waiting.lock().insert(stale.clone()) && self.sender.send(stale.clone()).is_err() {
            self.waiting.lock().remove(&stale);
        }
    }
}

impl StaleReceiver {
    /// What the kernel is to ask for again; `None` once the file system is gone. Waits on the caller's thread.
    pub fn blocking_recv(&mut self) -> Option<Stale> {
        let stale = self.receiver.blocking_recv()?;
        // Before the kernel is told: what becomes stale meanwhile is another time.
        self.waiting.lock().remove(&stale);
        Some(stale)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_already_waits_once() {
        let (sender, mut receiver) = channel();
        let name = Stale::Name(1, "f".into());
        [name.clone(), Stale::Attributes(2), name.clone()].into_iter().for_each(|stale| sender.tell(stale));
        assert_eq!(receiver.blocking_recv(), Some(name.clone()));
        sender.tell(name.clone());
        drop(sender);
        let rest: Vec<Stale> = std::iter::from_fn(|| receiver.blocking_recv()).collect();
        assert_eq!(rest, [Stale::Attributes(2), name]);
    }
}

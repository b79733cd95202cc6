//! One block under way, and those who wait for it.
//!
//! Owns: [`Slot`]. However many readers and prefetches want a block that is missing, one of them fetches it, and the rest wait on its
//! slot. A slot ends once, with the block or with the error that all of them get.

use crate::block::Block;
use crate::fetch::ReadError;
use parking_lot::Mutex;
use std::pin::pin;
use std::sync::Arc;
use tokio::sync::Notify;

/// What became of a block.
pub(crate) type Outcome = Result<Arc<Block>, ReadError>;

/// A block under way.
#[derive(Default)]
pub(crate) struct Slot {
    /// Guards the outcome. A leaf.
    outcome: Mutex<Option<Outcome>>,
    ended: Notify,
}

impl Slot {
    /// Ends the waiting.
    pub fn end(&self, outcome: Outcome) {
        *self.outcome.lock() = Some(outcome);
        self.ended.notify_waiters();
    }

    /// The block, or why there is none.
    pub async fn wait(&self) -> Outcome {
        loop {
            let mut ended = pin!(self.ended.notified());
            ended.as_mut().enable();
            if let Some(outcome) = self.outcome.lock().clone() {
                return outcome;
            }
            ended.await;
        }
    }
}

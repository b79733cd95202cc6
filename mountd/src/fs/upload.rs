//! The multipart upload of one file while it is still being written.
//!
//! Owns: [`UploadState`]: which parts are in the store, which are on their way, and which of those a later write has made
//! stale. Pure bookkeeping; `sending` does the sending.
//!
//! Invariants:
//! - A part counts as sent only if nothing in its range changed from before it was read until it was in the store.
//! - Parts are begun early only for files that grow from their beginning without gaps.

use super::part_plan::PartPlan;
use pail_cache::NotedUpload;
use pail_store::{Attributes, Part, RawKey, Upload};
use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, OnceLock};
use tokio::sync::OnceCell;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Files up to this length are sent whole, in one request. Beyond it parts in parallel are faster than one connection.
pub const SINGLE_PUT_BYTES_MAX: u64 = 16 << 20;

/// An upload that has begun, or is about to.
pub struct ActiveUpload {
    /// The object it will become.
    pub key: RawKey,
    /// How the file is cut.
    pub plan: PartPlan,
    /// What the object will carry beside its bytes, once it has begun.
    pub attributes: OnceLock<Attributes>,
    /// The store's name for it, once somebody needed one.
    pub upload: OnceCell<Upload>,
    /// What the journal has of it, once it has begun.
    pub note: OnceCell<NotedUpload>,
    /// Cancelled when it is to be aborted: what is on its way then stops.
    pub given_up: CancellationToken,
}

impl ActiveUpload {
    /// It was completed or aborted: the journal forgets it.
    pub fn ended(&self) {
        if let Some(note) = self.note.get() {
            note.ended();
        }
    }
}

/// How far sending a file has come.
#[derive(Default)]
pub struct UploadState {
    active: Option<Arc<ActiveUpload>>,
    sent: HashMap<u32, Part>,
    /// Parts on their way, and whether they are stale already.
    sending: HashMap<u32, bool>,
    /// The file was written from 0 to here in order.
    frontier: u64,
    /// Parts 1 to this one were begun early.
    begun: u32,
    /// The file is removed: nothing of it is to be sent early any more.
    is_ended: bool,
    tasks: Vec<JoinHandle<()>>,
}

impl UploadState {
    /// A change of `range` (an end of `u64::MAX` is a truncation to its start): parts of it are stale.
    pub fn touch(&mut self, range: Range<u64>) {
        if range.end == u64::MAX {
            self.frontier = self.frontier.min(range.start);
        } else if range.start <= self.frontier {
            self.frontier = self.frontier.max(range.end);
        }
        let Some(active) = &self.active else { return };
        let touches = |number: &u32| {
            let part = active.plan.range(*number);
            part.start < range.end && range.start < part.end
        };
        self.sent.retain(|number, _| !touches(number));
        for (number, stale) in &mut self.sending {
            *stale |= touches(number);
        }
    }

    /// The upload under way.
    pub fn active(&self) -> Option<Arc<ActiveUpload>> {
        self.active.clone()
    }

    /// Sets out on an upload of `key`.
    pub fn begin(&mut self, key: RawKey, plan: PartPlan) -> Arc<ActiveUpload> {
        let active = Arc::new(ActiveUpload {
            key,
            plan,
            attributes: OnceLock::new(),
            upload: OnceCell::new(),
            note: OnceCell::new(),
            given_up: CancellationToken::new(),
        });
        self.active = Some(active.clone());
        active
    }

    /// The next part that is whole and behind the writer, if there is one; it is then taken for begun.
    pub fn next_early(&mut self) -> Option<u32> {
        let active = self.active.as_ref()?;
        let next = self.begun + 1;
        (active.plan.range(next).end <= self.frontier).then(|| {
            self.begun = next;
            next
        })
    }

    /// Whether the file has grown, in order, beyond what one request sends.
    pub fn wants_parts(&self) -> bool {
        self.frontier > SINGLE_PUT_BYTES_MAX && !self.is_ended
    }

    /// The file is removed.
    pub fn end(&mut self) {
        self.is_ended = true;
    }

    fn is_of(&self, active: &Arc<ActiveUpload>) -> bool {
        self.active.as_ref().is_some_and(|current| Arc::ptr_eq(current, active))
    }

    /// Part `number` of `active` is about to be read. False if it is sent, or being sent, already, or the upload was given up.
    pub fn set_sending(&mut self, active: &Arc<ActiveUpload>, number: u32, len: u64) -> bool {
        if !self.is_of(active) {
            return false;
        }
        if self.sent.get(&number).is_some_and(|part| part.size == len) || self.sending.contains_key(&number) {
            return false;
        }
        self.sent.remove(&number);
        self.sending.insert(number, false);
        true
    }

    /// Part `number` of `active` is in the store, or failed (`None`).
    pub fn set_sent(&mut self, active: &Arc<ActiveUpload>, number: u32, part: Option<Part>) {
        if !self.is_of(active) {
            return;
        }
        let stale = self.sending.remove(&number).unwrap_or(true);
        if let Some(part) = part.filter(|_| !stale) {
            self.sent.insert(number, part);
        }
    }

    /// The parts of a file of `len` bytes that are not in the store as they should be, with their ranges.
    pub fn missing(&self, len: u64) -> Vec<(u32, Range<u64>)> {
        let Some(active) = &self.active else { return Vec::new() };
        (1..=active.plan.count(len))
            .map(|number| {
                let range = active.plan.range(number);
                (number, range.start..range.end.min(len))
            })
            .filter(|(number, range)| {
                self.sent.get(number).is_none_or(|part| part.size != range.end - range.start)
            })
            .collect()
    }

    /// The parts of a file of `len` bytes in order; `None` unless all of them are in the store as they should be.
    pub fn parts(&self, len: u64) -> Option<Vec<Part>> {
        let count = self.active.as_ref()?.plan.count(len);
        let all_sent = self.missing(len).is_empty();
        all_sent.then(|| (1..=count).filter_map(|number| self.sent.get(&number).cloned()).collect())
    }

    /// Bytes of the file that are in the store already.
    pub fn sent_bytes(&self) -> u64 {
        self.sent.values().map(|part| part.size).sum()
    }

    /// Keeps a task that sends a part early.
    pub fn add_task(&mut self, task: JoinHandle<()>) {
        self.tasks.retain(|task| !task.is_finished());
        self.tasks.push(task);
    }

    /// The tasks that send parts early, to be awaited.
    pub fn take_tasks(&mut self) -> Vec<JoinHandle<()>> {
        std::mem::take(&mut self.tasks)
    }

    /// Forgets the upload: it was completed, or is to be aborted. The frontier stays.
    pub fn reset(&mut self) -> Option<Arc<ActiveUpload>> {
        let active = self.active.take();
        self.sent.clear();
        // Whoever still sends a part of it then finds that nobody waits for it.
        self.sending.clear();
        self.begun = 0;
        active
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::part_plan::PART_SIZE_BYTES;

    fn state(frontier: u64) -> UploadState {
        let mut state = UploadState::default();
        state.begin(RawKey::new("k").unwrap(), PartPlan::new(0, false, 10_000));
        state.touch(0..frontier);
        state
    }

    fn send(state: &mut UploadState, number: u32, size: u64) {
        let active = state.active().unwrap();
        assert!(state.set_sending(&active, number, size));
        state.set_sent(&active, number, Some(Part { number, etag: "e".into(), size, checksum: None }));
    }

    #[test]
    fn parts_behind_the_writer_are_begun_once() {
        let mut state = state(2 * PART_SIZE_BYTES + 1);
        assert_eq!((state.next_early(), state.next_early(), state.next_early()), (Some(1), Some(2), None));
    }

    #[test]
    fn no_part_of_a_removed_file_is_begun() {
        let mut state = state(SINGLE_PUT_BYTES_MAX + 1);
        assert!(state.wants_parts());
        state.reset();
        state.end();
        state.touch(SINGLE_PUT_BYTES_MAX..2 * SINGLE_PUT_BYTES_MAX);
        assert!(!state.wants_parts());
    }

    #[test]
    fn a_write_makes_the_parts_it_touches_stale_and_no_others() {
        let len = 3 * PART_SIZE_BYTES;
        let mut state = state(len);
        (1..=2).for_each(|n| send(&mut state, n, PART_SIZE_BYTES));
        let active = state.active().unwrap();
        assert!(state.set_sending(&active, 3, PART_SIZE_BYTES));
        state.touch(PART_SIZE_BYTES - 1..PART_SIZE_BYTES);
        state.touch(len - 1..len);
        state.set_sent(
            &active,
            3,
            Some(Part { number: 3, etag: "e".into(), size: PART_SIZE_BYTES, checksum: None }),
        );
        let missing: Vec<u32> = state.missing(len).into_iter().map(|(n, _)| n).collect();
        assert_eq!(missing, [1, 3]);
    }

    #[test]
    fn a_truncation_makes_the_last_part_short() {
        let mut state = state(2 * PART_SIZE_BYTES);
        (1..=2).for_each(|n| send(&mut state, n, PART_SIZE_BYTES));
        state.touch(PART_SIZE_BYTES + 5..u64::MAX);
        let len = PART_SIZE_BYTES + 5;
        assert_eq!(state.missing(len), [(2, PART_SIZE_BYTES..len)]);
        assert_eq!(state.missing(PART_SIZE_BYTES), []);
        assert_eq!(state.parts(PART_SIZE_BYTES).unwrap().len(), 1);
        assert_eq!(state.parts(len), None);
    }
}

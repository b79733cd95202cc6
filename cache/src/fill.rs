//! Filling the disk behind the reads.
//!
//! Owns: [`FillQueue`], blocks on their way to disk, bounded in bytes, and the thread that writes them.
//!
//! Invariants:
//! - Nobody waits for the disk: what the queue has no room for is dropped and counted, and stays in memory as long as it may.
//! - One thread writes, so blocks of one replica that lie on end go down in one write, and no two writes meet.
//! - A replica whose disk failed, or for which no room can be made, is not filled any further; its reads go on.

use crate::adopt::CopyIn;
use crate::block::{BLOCK_SIZE_BYTES, Block};
use crate::cache::Shared;
use crate::disk::{DiskFile, Through};
use crate::disk_tier::{DiskTier, NameLock};
use crate::evict;
use crate::identity::Name;
use crate::replica::{DiskSlot, Replica};
use crate::stats::Counters;
use parking_lot::{Condvar, Mutex};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// The most blocks in one write: 2 MiB, from where on larger writes are no faster.
const WRITE_BLOCK_COUNT_MAX: usize = 16;
/// So much begins a round of writing without waiting for more, in bytes, and at most half of what the queue takes: several requests'
/// blocks arrive in turn, and each request's lie on end.
const GATHER_BYTES: u64 = 8 << 20;
/// Direct writes from this many blocks on (1 MiB) show how fast the disk is.
const RATED_BLOCK_COUNT_MIN: usize = 8;
/// How long the writer waits for neighbours of a block.
const GATHER_TIMEOUT: Duration = Duration::from_millis(5);
/// The most that waits to be written, in bytes; and a quarter of the memory budget.
const QUEUE_BYTES_MAX: u64 = 64 << 20;

/// A disk that takes direct writes at less than this, in bytes per second, is slower than the page cache.
const SLOW_BYTES_PER_S: u64 = 500_000_000;

/// With so many chores waiting, nothing is marked as used.
const TOUCHED_AT_CHORES_MAX: usize = 16_384;

/// About what a replica and its names take in memory, in bytes.
const REPLICA_BYTES: u64 = 512;

struct Fill {
    replica: Arc<Replica>,
    number: u64,
    block: Arc<Block>,
}

/// What waits with one block, in bytes: the block, and its replica, which nobody else may hold any more.
fn queued_bytes(block: &Block) -> u64 {
    block.charge() + size_of::<Fill>() as u64 + REPLICA_BYTES
}

/// Work on a file that is not filled.
enum Chore {
    /// It was handed over, and its checksums are to be taken.
    Sum(Name, Arc<DiskFile>),
    /// It is on another file system.
    Copy(CopyIn),
    /// It is used again.
    Touch(Name),
}

#[derive(Default)]
struct State {
    fills: Vec<Fill>,
    /// What else is to be done.
    chores: Vec<Chore>,
    queued_bytes: u64,
    is_writing: bool,
    /// So many wait for the queue to be empty.
    drainers: usize,
    is_closed: bool,
}

/// Blocks on their way to disk.
pub(crate) struct FillQueue {
    /// Guards the queue; a leaf. Never held while writing.
    state: Mutex<State>,
    more: Condvar,
    idle: Notify,
    bytes_max: u64,
    /// How fast direct writes were lately; only the filling thread changes it.
    direct_bytes_per_s: AtomicU64,
    /// The last write failed, and that was logged.
    is_failing: AtomicBool,
}

impl FillQueue {
    pub fn new(memory_limit_bytes: u64) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            more: Condvar::new(),
            idle: Notify::new(),
            bytes_max: QUEUE_BYTES_MAX.min(memory_limit_bytes / 4),
            // Taken for fast until it was tried.
            direct_bytes_per_s: AtomicU64::new(2 * SLOW_BYTES_PER_S),
            is_failing: AtomicBool::new(false),
        })
    }

    /// Queues a block, or drops it where there is no room.
    pub fn push_fill(&self, replica: &Arc<Replica>, number: u64, block: Arc<Block>, counters: &Counters) {
        let len = queued_bytes(&block);
        let mut state = self.state.lock();
        if state.queued_bytes + len > self.bytes_max || state.is_closed {
            drop(state);
            counters.dropped_fills.add(1);
            return;
        }
        state.queued_bytes += len;
        state.fills.push(Fill { replica: replica.clone(), number, block });
        if state.fills.len() == 1 || state.queued_bytes >= self.gather_bytes() {
            self.more.notify_one();
        }
    }

    fn gather_bytes(&self) -> u64 {
        GATHER_BYTES.min(self.bytes_max / 2)
    }

    /// Has the checksums of a file taken.
    pub fn push_sum(&self, name: Name, file: Arc<DiskFile>) {
        self.push_chore(Chore::Sum(name, file));
    }

    /// Has a file of another file system copied.
    pub fn push_copy(&self, copy: CopyIn) {
        self.push_chore(Chore::Copy(copy));
    }

    /// Has a replica marked as used now. Where much waits it is not: it may then go before its turn.
    pub fn push_touch(&self, name: Name) {
        if self.state.lock().chores.len() < TOUCHED_AT_CHORES_MAX {
            self.push_chore(Chore::Touch(name));
        }
    }

    fn push_chore(&self, chore: Chore) {
        let mut state = self.state.lock();
        if !state.is_closed {
            state.chores.push(chore);
            self.more.notify_one();
        }
    }

    /// Waits until all that was queued is written or dropped.
    pub async fn drain(&self) {
        let _drainer = Drainer::new(self);
        loop {
            let idle = self.idle.notified();
            let mut idle = std::pin::pin!(idle);
            idle.as_mut().enable();
            {
                let state = self.state.lock();
                if state.fills.is_empty() && state.chores.is_empty() && !state.is_writing {
                    return;
                }
            }
            self.more.notify_one();
            idle.await;
        }
    }

    /// No more blocks are taken; the thread ends when it has written what there is.
    pub fn close(&self) {
        self.state.lock().is_closed = true;
        self.more.notify_one();
    }

    /// What to write next; `None` at the end.
    fn next(&self) -> Option<(Vec<Fill>, Vec<Chore>)> {
        let mut state = self.state.lock();
        while state.fills.is_empty() && state.chores.is_empty() {
            if state.is_closed {
                return None;
            }
            self.more.wait(&mut state);
        }
        let until = Instant::now() + GATHER_TIMEOUT;
        while state.queued_bytes < self.gather_bytes() && state.drainers == 0 && !state.is_closed {
            if self.more.wait_until(&mut state, until).timed_out() {
                break;
            }
        }
        state.is_writing = true;
        Some((std::mem::take(&mut state.fills), std::mem::take(&mut state.chores)))
    }

    /// How to write now: directly, unless much waits for a disk that is slow. The page cache then takes more of it.
    fn way(&self) -> Through {
        let is_slow = self.direct_bytes_per_s.load(Ordering::Relaxed) < SLOW_BYTES_PER_S;
        let is_behind = self.state.lock().queued_bytes > self.bytes_max / 2;
        if is_slow && is_behind { Through::PageCache } else { Through::Directly }
    }

    /// A direct write of `bytes` took so long. Its rate counts as an eighth.
    fn note_direct(&self, bytes: u64, took: Duration) {
        let rate = (bytes as f64 / took.as_secs_f64().max(1e-6)) as u64;
        let known = self.direct_bytes_per_s.load(Ordering::Relaxed);
        self.direct_bytes_per_s.store(known - known / 8 + rate / 8, Ordering::Relaxed);
    }

    fn written(&self, bytes: u64) {
        self.state.lock().queued_bytes -= bytes;
    }

    fn rest(&self) {
        self.state.lock().is_writing = false;
        self.idle.notify_waiters();
    }
}

/// Somebody who waits for the queue to be empty, until they have it or give up.
struct Drainer<'a>(&'a FillQueue);

impl<'a> Drainer<'a> {
    fn new(queue: &'a FillQueue) -> Self {
        queue.state.lock().drainers += 1;
        Self(queue)
    }
}

impl Drop for Drainer<'_> {
    fn drop(&mut self) {
        self.0.state.lock().drainers -= 1;
    }
}

/// The thread that writes. It ends when the queue was closed and is empty.
pub(crate) fn run(shared: &Arc<Shared>, tier: &DiskTier) {
    while let Some((mut fills, chores)) = shared.fills.next() {
        fills.sort_by_key(|fill| (fill.replica.digest.name, fill.number));
        fills.dedup_by(|later, first| {
            let same = later.replica.digest == first.replica.digest && later.number == first.number;
            if same {
                shared.fills.written(queued_bytes(&later.block));
            }
            same
        });
        let mut rest = fills;
        while !rest.is_empty() {
            let follows = |pair: &[Fill]| {
                pair[0].replica.digest == pair[1].replica.digest && pair[0].number + 1 == pair[1].number
            };
            let end =
                1 + rest.windows(2).take(WRITE_BLOCK_COUNT_MAX - 1).take_while(|pair| follows(pair)).count();
            let later = rest.split_off(end);
            let bytes = rest.iter().map(|fill| queued_bytes(&fill.block)).sum();
            write_run(shared, tier, &rest);
            drop(rest);
            shared.fills.written(bytes);
            rest = later;
        }
        for chore in chores {
            let done = match chore {
                Chore::Sum(name, file) => {
                    evict::hold_budget(shared, tier);
                    sum(tier, name, &file)
                }
                Chore::Copy(copy) => copy.run(shared, tier),
                Chore::Touch(name) => {
                    tier.touch(name);
                    Ok(())
                }
            };
            if let Err(error) = done {
                failed(shared, &error);
            }
        }
        shared.fills.rest();
    }
}

/// Writes blocks of one replica that lie on end.
fn write_run(shared: &Arc<Shared>, tier: &DiskTier, fills: &[Fill]) {
    let Some(Fill { replica, number: first, .. }) = fills.first() else { return };
    let blocks: Vec<&[u8]> = fills.iter().map(|fill| fill.block.bytes()).collect();
    let bytes: u64 = blocks.iter().map(|block| (block.len() as u64).next_multiple_of(4096)).sum();
    let dropped = |count: usize| shared.counters.dropped_fills.add(count as u64);
    if !evict::make_room(shared, tier, bytes) {
        return dropped(fills.len());
    }
    let covers_all = *first == 0 && fills.len() as u64 == crate::block::block_count(replica.size());
    // Until the blocks are written nobody frees the file.
    let lock = tier.lock_name(replica.digest.name);
    let file = match file_for(replica, tier, &lock, covers_all) {
        Ok(Some(found)) => found,
        Ok(None) => return dropped(fills.len()),
        Err(error) => return give_up(shared, tier, &lock, replica, fills.len(), &error),
    };
    let (through, began) = (shared.fills.way(), Instant::now());
    let sums = fills.iter().map(|fill| fill.block.checksum());
    let written = file.write_blocks(*first, &blocks, sums, through);
    // What went to the page cache tells nothing of the disk, and small writes more of their overhead.
    if let Ok(direct_count) = written
        && direct_count >= RATED_BLOCK_COUNT_MIN
    {
        shared.fills.note_direct(direct_count as u64 * BLOCK_SIZE_BYTES, began.elapsed());
    }
    match written {
        Ok(_) => {
            shared.memory.written(replica.digest.name, *first..first + fills.len() as u64);
            shared.fills.is_failing.store(false, Ordering::Relaxed);
        }
        Err(error) => give_up(shared, tier, &lock, replica, fills.len(), &error),
    }
}

/// The replica is not kept on disk any more.
pub(crate) fn give_up(
    shared: &Shared,
    tier: &DiskTier,
    lock: &NameLock<'_>,
    replica: &Replica,
    block_count: usize,
    error: &std::io::Error,
) {
    let slot = std::mem::replace(&mut *replica.disk.lock(), DiskSlot::Off);
    if let DiskSlot::Open(file) = slot {
        // Its descriptor may be the only way to it by now.
        file.free();
    }
    tier.remove(lock);
    shared.counters.dropped_fills.add(block_count as u64);
    failed(shared, error);
}

/// Takes the checksums of a file that was handed over, some blocks at a time: its name is not locked for long.
fn sum(tier: &DiskTier, name: Name, file: &DiskFile) -> std::io::Result<()> {
    for blocks in file.unsummed().chunks(WRITE_BLOCK_COUNT_MAX) {
        let _lock = tier.lock_name(name);
        file.sum(blocks)?;
    }
    Ok(())
}

/// The replica's file, made where there is none; `None` where it is not kept.
fn file_for(
    replica: &Replica,
    tier: &DiskTier,
    lock: &NameLock<'_>,
    covers_all: bool,
) -> std::io::Result<Option<Arc<DiskFile>>> {
    // What has no place yet is on its way there, and takes nothing meanwhile.
    let held = |file: Arc<DiskFile>| file.is_settled().then_some(file);
    if let Some(file) = replica.disk_file() {
        return Ok(held(file));
    }
    {
        let mut slot = replica.disk.lock();
        match &*slot {
            DiskSlot::Off | DiskSlot::Changing => return Ok(None),
            DiskSlot::Open(file) => return Ok(held(file.clone())),
            DiskSlot::Unknown | DiskSlot::Absent => *slot = DiskSlot::Changing,
        }
    }
    let made = tier
        .create(lock, replica.digest, replica.size())
        .and_then(|file| if covers_all { Ok(file) } else { file.set_full_length().map(|()| file) });
    let mut slot = replica.disk.lock();
    if !matches!(*slot, DiskSlot::Changing) {
        // It was handed one meanwhile, which takes the place of this.
        return Ok(None);
    }
    *slot = DiskSlot::Absent;
    let file = Arc::new(made?);
    *slot = DiskSlot::Open(file.clone());
    drop(slot);
    replica.shared().open_files.opened(replica.shared(), replica.digest.name);
    Ok(Some(file))
}

fn failed(shared: &Shared, error: &std::io::Error) {
    shared.counters.disk_errors.add(1);
    if !shared.fills.is_failing.swap(true, Ordering::Relaxed) {
        tracing::warn!(%error, "the cache disk cannot be written; reads go on without it");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[test]
    fn who_gives_up_waiting_hurries_nobody() {
        let queue = FillQueue::new(64 << 20);
        queue.state.lock().is_writing = true;
        assert!(queue.drain().now_or_never().is_none(), "there is something to wait for");
        assert_eq!(queue.state.lock().drainers, 0);
        queue.rest();
        assert!(queue.drain().now_or_never().is_some());
        assert_eq!(queue.state.lock().drainers, 0);
    }
}

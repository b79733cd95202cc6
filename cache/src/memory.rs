//! The memory tier: blocks in memory under one budget of bytes.
//!
//! Owns: [`MemoryTier`], which holds blocks by last use, and [`Reservation`], bytes of the budget for blocks that are under way.
//!
//! Invariants:
//! - Every byte of a block in memory, wherever it is held, and every byte that is being fetched is covered by a permit; of a short block
//!   also what is kept beside its bytes. Idle buffers are no more than the permits that are left.
//! - Blocks that were fetched ahead and not read yet, with those being fetched ahead, take at most half of the budget. Further
//!   fetching ahead never throws them out; a read that has to wait does.
//! - A read that waits for permits gets them: who holds permits never waits for more, a block that comes into the tier
//!   while somebody waits pushes others out, and the semaphore serves in order.

use crate::block::{BLOCK_SIZE_BYTES, Block, Slab, charge_of};
use crate::buffer::{BlockBuffer, BufferPool};
use crate::identity::Name;
use lru::LruCache;
use parking_lot::Mutex;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The least budget that a daemon can work with, in bytes.
pub(crate) const MEMORY_BYTES_MIN: u64 = 4 << 20;
/// Blocks that were fetched ahead and that nobody read for so long lose their protection.
const UNREAD_AGE_MAX: Duration = Duration::from_secs(10);

/// Where a block belongs.
pub(crate) type BlockKey = (Name, u64);

struct Unread {
    block: Arc<Block>,
    since: Instant,
}

struct Recent {
    block: Arc<Block>,
    /// A program that reads in order has passed it: it goes when it is on disk.
    is_passed: bool,
}

struct Entries {
    /// Blocks that were read, by last use.
    recent: LruCache<BlockKey, Recent>,
    /// Blocks that were fetched ahead and not read yet, by arrival.
    unread: LruCache<BlockKey, Unread>,
    /// Bytes in `unread` and being fetched ahead.
    ahead_bytes: u64,
}

/// Blocks in memory.
pub(crate) struct MemoryTier {
    limit_bytes: u64,
    /// One permit is one byte.
    permits: Arc<Semaphore>,
    pool: Arc<BufferPool>,
    /// What reads wait for.
    wanted_bytes: AtomicU64,
    /// Guards the lists. After a replica's flights; before the buffer pool. Never held across an await.
    entries: Mutex<Entries>,
}

impl MemoryTier {
    /// A tier of `limit_bytes`, raised to [`MEMORY_BYTES_MIN`].
    pub fn new(limit_bytes: u64) -> Arc<Self> {
        let limit_bytes = limit_bytes.clamp(MEMORY_BYTES_MIN, Semaphore::MAX_PERMITS as u64);
        Arc::new(Self {
            limit_bytes,
            permits: Arc::new(Semaphore::new(limit_bytes as usize)),
            pool: BufferPool::new(limit_bytes),
            wanted_bytes: AtomicU64::new(0),
            entries: Mutex::new(Entries {
                recent: LruCache::unbounded(),
                unread: LruCache::unbounded(),
                ahead_bytes: 0,
            }),
        })
    }

    pub fn limit_bytes(&self) -> u64 {
        self.limit_bytes
    }

    /// Bytes of blocks in memory and under way.
    pub fn used_bytes(&self) -> u64 {
        self.limit_bytes - self.permits.available_permits() as u64
    }

    /// The block, which is then the one used last.
    pub fn get(&self, key: BlockKey) -> Option<Arc<Block>> {
        self.entries.lock().get(key)
    }

    /// The blocks of `numbers` that are here, each with its number.
    pub fn get_each(&self, name: Name, numbers: impl Iterator<Item = u64>) -> Vec<(u64, Option<Arc<Block>>)> {
        let mut entries = self.entries.lock();
        numbers.map(|number| (number, entries.get((name, number)))).collect()
    }

    /// Whether the block is here; no use of it.
    pub fn contains(&self, key: BlockKey) -> bool {
        let entries = self.entries.lock();
        entries.recent.contains(&key) || entries.unread.contains(&key)
    }

    /// Keeps a block. One that was fetched ahead is protected from further fetching ahead until it is read.
    pub fn insert(&self, key: BlockKey, block: Arc<Block>, ahead: bool) {
        let mut entries = self.entries.lock();
        if ahead {
            if let Some(old) = entries.unread.put(key, Unread { block, since: Instant::now() }) {
                entries.ahead_bytes -= old.block.charge();
            }
        } else {
            entries.recent.put(key, Recent { block, is_passed: false });
        }
        let wanted = self.wanted_bytes.load(Ordering::SeqCst);
        entries.evict(wanted, true);
    }

    /// A program that reads in order has passed these blocks, each with whether it is on disk. What is there goes at once, so that its
    /// buffer is the next to be used; the rest goes when it is written, or as the first when memory is wanted.
    pub fn pass(&self, name: Name, blocks: impl Iterator<Item = (u64, bool)>) {
        let mut entries = self.entries.lock();
        for (number, is_on_disk) in blocks {
            let key = (name, number);
            if is_on_disk {
                entries.remove(key, true);
            } else if entries.get(key).is_none() {
                continue;
            } else if let Some(recent) = entries.recent.peek_mut(&key) {
                recent.is_passed = true;
                entries.recent.demote(&key);
            }
        }
    }

    /// These blocks are on disk now.
    pub fn written(&self, name: Name, blocks: Range<u64>) {
        let mut entries = self.entries.lock();
        for number in blocks {
            let key = (name, number);
            if entries.recent.peek(&key).is_some_and(|recent| recent.is_passed) {
                entries.recent.pop(&key);
            }
        }
    }

    /// Budget for `bytes` of blocks that lie on end, if it can be had now, at the expense of whatever was used least recently.
    pub fn try_reserve(self: &Arc<Self>, bytes: u64) -> Option<Reservation> {
        if self.wanted_bytes.load(Ordering::SeqCst) > 0 {
            return None;
        }
        self.try_take(charge_of(bytes), true).map(|permit| self.reservation(permit, 0))
    }

    /// Budget for `bytes` of blocks that lie on end, waited for. `bytes` is at most half of the budget.
    pub async fn reserve(self: &Arc<Self>, bytes: u64) -> Reservation {
        if let Some(reservation) = self.try_reserve(bytes) {
            return reservation;
        }
        let bytes = charge_of(bytes);
        let _wanted = Wanted::new(&self.wanted_bytes, bytes);
        // A block that came before `wanted_bytes` was raised pushed nothing out.
        self.entries.lock().evict(bytes, true);
        match self.permits.clone().acquire_many_owned(bytes as u32).await {
            Ok(permit) => self.reservation(permit, 0),
            Err(_) => unreachable!("the semaphore is never closed"),
        }
    }

    /// Budget for fetching ahead `bytes` of blocks that lie on end, if it is free or held by blocks that were read.
    pub fn reserve_ahead(self: &Arc<Self>, bytes: u64) -> Option<Reservation> {
        if self.wanted_bytes.load(Ordering::SeqCst) > 0 {
            return None;
        }
        let bytes = charge_of(bytes);
        {
            let mut entries = self.entries.lock();
            if entries.ahead_bytes + bytes > self.limit_bytes / 2 {
                entries.demote_unread();
            }
            if entries.ahead_bytes + bytes > self.limit_bytes / 2 {
                return None;
            }
            entries.ahead_bytes += bytes;
        }
        match self.try_take(bytes, false) {
            Some(permit) => Some(self.reservation(permit, bytes)),
            None => {
                self.entries.lock().ahead_bytes -= bytes;
                None
            }
        }
    }

    /// How many bytes more may be fetched ahead.
    pub fn ahead_room_bytes(&self) -> u64 {
        (self.limit_bytes / 2).saturating_sub(self.entries.lock().ahead_bytes)
    }

    fn reservation(self: &Arc<Self>, permit: OwnedSemaphorePermit, ahead_bytes: u64) -> Reservation {
        Reservation { permit, ahead_bytes, tier: self.clone() }
    }

    fn try_take(&self, bytes: u64, unread_too: bool) -> Option<OwnedSemaphorePermit> {
        let take = || self.permits.clone().try_acquire_many_owned(bytes as u32).ok();
        if let Some(permit) = take() {
            return Some(permit);
        }
        let short = bytes.saturating_sub(self.permits.available_permits() as u64);
        self.entries.lock().evict(short, unread_too);
        take()
    }
}

impl Entries {
    fn get(&mut self, key: BlockKey) -> Option<Arc<Block>> {
        if let Some(recent) = self.recent.get_mut(&key) {
            recent.is_passed = false;
            return Some(recent.block.clone());
        }
        let unread = self.unread.pop(&key)?;
        self.ahead_bytes -= unread.block.charge();
        self.recent.put(key, Recent { block: unread.block.clone(), is_passed: false });
        Some(unread.block)
    }

    /// Lets go of blocks until at least `bytes` of memory are free, as far as there are any, each with those that share its memory. What
    /// somebody else holds, such as the queue of a slow disk, is freed when they let go of it too, and does not count.
    fn evict(&mut self, bytes: u64, unread_too: bool) {
        let mut freed = 0;
        while freed < bytes {
            let (key, block) = if let Some((key, recent)) = self.recent.pop_lru() {
                (key, recent.block)
            } else if let Some((key, unread)) = unread_too.then(|| self.unread.pop_lru()).flatten() {
                self.ahead_bytes -= unread.block.charge();
                (key, unread.block)
            } else {
                break;
            };
            let (memory, siblings, mut let_go) = (block.memory(), block.siblings(), block.charge());
            drop(block);
            for number in siblings {
                let_go += self.remove((key.0, number), unread_too);
            }
            if memory.strong_count() == 0 {
                freed += let_go;
            }
        }
    }

    /// Gives how many bytes went.
    fn remove(&mut self, key: BlockKey, unread_too: bool) -> u64 {
        let recent = self.recent.pop(&key).map_or(0, |recent| recent.block.charge());
        let unread = unread_too.then(|| self.unread.pop(&key)).flatten();
        let unread = unread.map_or(0, |unread| unread.block.charge());
        self.ahead_bytes -= unread;
        recent + unread
    }

    fn demote_unread(&mut self) {
        while let Some((_, oldest)) = self.unread.peek_lru()
            && oldest.since.elapsed() > UNREAD_AGE_MAX
            && let Some((key, unread)) = self.unread.pop_lru()
        {
            self.ahead_bytes -= unread.block.charge();
            self.recent.put(key, Recent { block: unread.block, is_passed: false });
            self.recent.demote(&key);
        }
    }
}

/// Counts what a read waits for, as long as it does.
struct Wanted<'a>(&'a AtomicU64, u64);

impl<'a> Wanted<'a> {
    fn new(wanted: &'a AtomicU64, bytes: u64) -> Self {
        wanted.fetch_add(bytes, Ordering::SeqCst);
        Self(wanted, bytes)
    }
}

impl Drop for Wanted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(self.1, Ordering::SeqCst);
    }
}

/// Bytes of the budget for blocks that are under way.
pub(crate) struct Reservation {
    permit: OwnedSemaphorePermit,
    /// Of them, those that count as fetched ahead.
    ahead_bytes: u64,
    tier: Arc<MemoryTier>,
}

impl Reservation {
    /// Whether blocks made from it were fetched ahead.
    pub fn is_ahead(&self) -> bool {
        self.ahead_bytes > 0
    }

    /// A buffer of `len` bytes, of any content; [`Reservation::fill`] makes blocks of it.
    pub fn buffer(&self, len: usize) -> BlockBuffer {
        self.tier.pool.take(len)
    }

    /// The blocks of these bytes, from number `first` on, whose permits are taken from the reservation. What counted as fetched
    /// ahead goes on to the tier with them, so blocks fetched ahead have to be inserted as such.
    pub fn fill(
        &mut self,
        bytes: BlockBuffer,
        first: u64,
    ) -> impl Iterator<Item = (u64, Arc<Block>)> + use<> {
        let charge = charge_of(bytes.len() as u64);
        let Some(permit) = self.permit.split(charge as usize) else {
            unreachable!("a reservation covers every block that is made from it")
        };
        self.ahead_bytes = self.ahead_bytes.saturating_sub(charge);
        Arc::new(Slab::new(bytes, first, permit)).blocks()
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.ahead_bytes > 0 {
            self.tier.entries.lock().ahead_bytes -= self.ahead_bytes;
        }
    }
}

/// The most that one fetch may take of a budget, in bytes: whole blocks, at least one.
pub(crate) fn fetch_bytes_max(limit_bytes: u64, cap_bytes: u64) -> u64 {
    (limit_bytes / 4).min(cap_bytes) / BLOCK_SIZE_BYTES * BLOCK_SIZE_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_slow_disk_holds_is_no_room() {
        let tier = MemoryTier::new(MEMORY_BYTES_MIN);
        let block_count = MEMORY_BYTES_MIN / BLOCK_SIZE_BYTES;
        let mut queued = Vec::new();
        for number in 0..block_count {
            let mut reservation = tier.try_reserve(BLOCK_SIZE_BYTES).unwrap();
            let buffer = reservation.buffer(BLOCK_SIZE_BYTES as usize);
            for (_, block) in reservation.fill(buffer, number) {
                // The oldest half waits for the disk.
                queued.extend((number < block_count / 2).then(|| block.clone()));
                tier.insert((0, number), block, false);
            }
        }
        assert!(tier.try_reserve(BLOCK_SIZE_BYTES).is_some());
        drop(queued);
    }
}

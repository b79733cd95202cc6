//! A clean replica: one version of one object, as far as it is here.
//!
//! Owns: [`Replica`], the read path: memory, then disk, then one fetch for each missing run of blocks.
//!
//! Invariants:
//! - A read holds no memory permit while it waits: what it finds is copied into its reply at once, so that readers never
//!   wait for each other in a circle, however small the budget.
//! - A block is in the memory tier before its slot leaves the flights, so that nobody finds it in neither.
//!
//! Lock order: `flights`, then `disk`, then the memory tier's entries; the rest are leaves.

use crate::block::{BLOCK_SIZE_BYTES, Block, block_count, block_len, blocks_of, bytes_of};
use crate::cache::Shared;
use crate::disk::DiskFile;
use crate::fetch::{Fetch, ReadError, Run};
use crate::flight::Slot;
use crate::identity::{Digest, ReplicaId};
use crate::memory::{Reservation, fetch_bytes_max};
use crate::reply::Reply;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The most that one request fetches, in bytes.
pub(crate) const FETCH_SIZE_BYTES_MAX: u64 = 8 << 20;
/// A request for fewer blocks than this is not worth sending when more are wanted.
const AHEAD_BLOCK_COUNT_MIN: u64 = 8;
/// From this size on a reply out of one buffer is a view of it.
const VIEW_BYTES_MIN: u64 = 32 << 10;

/// Where a replica is on disk.
pub(crate) enum DiskSlot {
    /// Nobody looked, or its file was closed for others'.
    Unknown,
    /// It is not there (yet).
    Absent,
    /// Here.
    Open(Arc<DiskFile>),
    /// Its files are being made or removed, by who found it otherwise; to all others it is not there.
    Changing,
    /// It is not kept: its disk failed or is full of what is in use.
    Off,
}

/// How much of an object is here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// All of it.
    Complete,
    /// What is not here is being fetched.
    UnderWay,
    /// The block at this offset, in bytes, is neither here nor being fetched; all before it is.
    MissingFrom(u64),
}

/// One version of one object, as far as it is here.
pub struct Replica {
    id: ReplicaId,
    size: u64,
    pub(crate) digest: Digest,
    shared: Arc<Shared>,
    /// Guards which blocks are under way. Never held across an await.
    flights: Mutex<HashMap<u64, Arc<Slot>>>,
    /// Guards which file it is; held while it is looked up, and over nothing that writes to the disk.
    pub(crate) disk: Mutex<DiskSlot>,
    /// When it was read last, in milliseconds since the cache was opened.
    pub(crate) used_at_ms: AtomicU64,
}

impl Replica {
    pub(crate) fn new(id: ReplicaId, size: u64, digest: Digest, shared: Arc<Shared>) -> Self {
        let slot = if shared.disk.is_some() { DiskSlot::Unknown } else { DiskSlot::Off };
        let used_at_ms = AtomicU64::new(shared.now_ms());
        Self { id, size, digest, shared, flights: Mutex::default(), disk: Mutex::new(slot), used_at_ms }
    }

    /// Which version of which object.
    pub fn id(&self) -> &ReplicaId {
        &self.id
    }

    /// The object's size in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The bytes of `range`. Completes without waiting when all of them are here. What is missing is fetched with `fetch`, each
    /// missing run of blocks in one request, joined by everybody who wants the same blocks meanwhile.
    ///
    /// Errors: `range` is not within the object; the fetch failed, and then the next read tries again.
    pub async fn read(
        self: &Arc<Self>,
        range: Range<u64>,
        fetch: &Arc<dyn Fetch>,
    ) -> Result<Bytes, ReadError> {
        if range.start > range.end || range.end > self.size {
            return Err(ReadError::OutOfRange { key: self.id.key.clone(), range, size: self.size });
        }
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        self.used_at_ms.store(self.shared.now_ms(), Ordering::Relaxed);
        if let Some(bytes) = self.view(&range) {
            return Ok(bytes);
        }
        let mut reply = self.shared.replies.take((range.end - range.start) as usize);
        let mut missing = self.gather(&range, blocks_of(&range).collect(), &mut reply);
        self.shared.counters.misses.add(missing.len() as u64);
        while !missing.is_empty() {
            match self.wait_for(missing, &range, fetch, &mut reply).await? {
                Waited::Whole(bytes) => return Ok(bytes),
                Waited::Again(again) => missing = self.gather(&range, again, &mut reply),
            }
        }
        Ok(reply.freeze())
    }

    /// A program that reads in order has what is before the end of `range`. Its blocks leave memory as soon as they are on disk: their
    /// pages serve what comes next, and the process stays small. Without a disk tier they stay.
    pub fn pass(&self, range: Range<u64>) {
        let Some(file) = self.disk_file() else { return };
        let end = if range.end >= self.size { block_count(self.size) } else { range.end / BLOCK_SIZE_BYTES };
        let blocks = (range.start / BLOCK_SIZE_BYTES).min(end)..end;
        let on_disk: Vec<(u64, bool)> = blocks.map(|number| (number, file.has(number))).collect();
        self.shared.memory.pass(self.digest.name, on_disk.iter().copied());
        let passed: Vec<u64> =
            on_disk.iter().filter(|(_, is_there)| *is_there).map(|(number, _)| *number).collect();
        runs_of(&passed).into_iter().for_each(|run| file.passed(run));
        // What was written in between found no mark.
        for (number, _) in on_disk.into_iter().filter(|(number, was)| !was && file.has(*number)) {
            self.shared.memory.written(self.digest.name, number..number + 1);
        }
    }

    /// A read of what is in one buffer in memory, without a copy.
    fn view(&self, range: &Range<u64>) -> Option<Bytes> {
        if range.end - range.start < VIEW_BYTES_MIN {
            return None;
        }
        let block = self.shared.memory.get((self.digest.name, range.start / BLOCK_SIZE_BYTES))?;
        self.view_with(&block, range)
    }

    /// The bytes of `range`, where they are in one buffer with `block`.
    fn view_with(&self, block: &Block, range: &Range<u64>) -> Option<Bytes> {
        let bytes = block.view(range)?;
        let blocks = blocks_of(range);
        self.shared.counters.memory_hits.add(blocks.end - blocks.start);
        // They were read: what was fetched ahead is so no longer.
        self.shared.memory.get_each(self.digest.name, blocks);
        Some(bytes)
    }

    /// Copies those of `blocks` that are here into the reply to `range`; gives the others.
    fn gather(&self, range: &Range<u64>, blocks: Vec<u64>, reply: &mut Reply) -> Vec<u64> {
        let mut elsewhere = Vec::new();
        for (number, block) in self.shared.memory.get_each(self.digest.name, blocks.into_iter()) {
            match block {
                Some(block) => {
                    self.shared.counters.memory_hits.add(1);
                    self.copy(number, block.bytes(), range, reply);
                }
                None => elsewhere.push(number),
            }
        }
        if elsewhere.is_empty() {
            return elsewhere;
        }
        match self.disk_file() {
            Some(file) => self.gather_from_disk(&file, range, elsewhere, reply),
            None => elsewhere,
        }
    }

    fn gather_from_disk(
        &self,
        file: &DiskFile,
        range: &Range<u64>,
        blocks: Vec<u64>,
        reply: &mut Reply,
    ) -> Vec<u64> {
        let (on_disk, mut missing): (Vec<u64>, Vec<u64>) =
            blocks.into_iter().partition(|block| file.has(*block));
        let found = on_disk.len();
        let mut bad_count = 0;
        for run in runs_of(&on_disk) {
            let bytes = bytes_of(&run, self.size);
            if range.start <= bytes.start && bytes.end <= range.end {
                let out = &mut reply.bytes_mut()
                    [(bytes.start - range.start) as usize..(bytes.end - range.start) as usize];
                let bad = file.read_blocks(run.start, out, &self.shared.counters);
                bad_count += bad.len();
                missing.extend(bad);
                continue;
            }
            for block in run {
                if !self.load_block(file, block, range, reply) {
                    bad_count += 1;
                    missing.push(block);
                }
            }
        }
        self.shared.counters.disk_hits.add((found - bad_count) as u64);
        missing.sort_unstable();
        missing
    }

    /// Loads a block of which a part is wanted, and keeps it in memory for the parts that will be wanted next.
    fn load_block(&self, file: &DiskFile, number: u64, range: &Range<u64>, reply: &mut Reply) -> bool {
        let bytes = bytes_of(&(number..number + 1), self.size);
        if range.start <= bytes.start && bytes.end <= range.end {
            let out = &mut reply.bytes_mut()
                [(bytes.start - range.start) as usize..(bytes.end - range.start) as usize];
            return file.read_blocks(number, out, &self.shared.counters).is_empty();
        }
        let len = block_len(number, self.size);
        let Some(mut reservation) = self.shared.memory.try_reserve(len as u64) else {
            let mut bytes = vec![0; len];
            let good = file.read_blocks(number, &mut bytes, &self.shared.counters).is_empty();
            if good {
                self.copy(number, &bytes, range, reply);
            }
            return good;
        };
        let mut buffer = reservation.buffer(len);
        if !file.read_blocks(number, &mut buffer, &self.shared.counters).is_empty() {
            return false;
        }
        self.copy(number, &buffer, range, reply);
        for (number, block) in reservation.fill(buffer, number) {
            self.shared.memory.insert((self.digest.name, number), block, false);
        }
        true
    }

    fn copy(&self, number: u64, block: &[u8], range: &Range<u64>, reply: &mut Reply) {
        let base = number * BLOCK_SIZE_BYTES;
        let (from, to) = (range.start.max(base), range.end.min(base + block.len() as u64));
        let out = &mut reply.bytes_mut()[(from - range.start) as usize..(to - range.start) as usize];
        out.copy_from_slice(&block[(from - base) as usize..(to - base) as usize]);
    }

    /// Waits for these blocks, starting to fetch those that nobody fetches.
    async fn wait_for(
        self: &Arc<Self>,
        blocks: Vec<u64>,
        range: &Range<u64>,
        fetch: &Arc<dyn Fetch>,
        reply: &mut Reply,
    ) -> Result<Waited, ReadError> {
        let (slots, again) = self.join(blocks, fetch);
        let mut waits: FuturesUnordered<_> =
            slots.into_iter().map(|(number, slot)| async move { (number, slot.wait().await) }).collect();
        while let Some((number, outcome)) = waits.next().await {
            let block = outcome?;
            if let Some(bytes) = self.view_with(&block, range) {
                return Ok(Waited::Whole(bytes));
            }
            self.copy(number, block.bytes(), range, reply);
            // It was read: a block that was fetched ahead is one no longer.
            self.shared.memory.get((self.digest.name, number));
        }
        Ok(Waited::Again(again))
    }

    fn join(self: &Arc<Self>, blocks: Vec<u64>, fetch: &Arc<dyn Fetch>) -> (Vec<(u64, Arc<Slot>)>, Vec<u64>) {
        let (mut slots, mut again, mut fresh) = (Vec::new(), Vec::new(), Vec::new());
        let mut flights = self.flights.lock();
        for number in blocks {
            if let Some(slot) = flights.get(&number) {
                slots.push((number, slot.clone()));
            } else if self.is_here(number) {
                again.push(number);
            } else {
                let slot = Arc::new(Slot::default());
                flights.insert(number, slot.clone());
                slots.push((number, slot));
                fresh.push(number);
            }
        }
        drop(flights);
        let cap = fetch_bytes_max(self.shared.memory.limit_bytes(), FETCH_SIZE_BYTES_MAX) / BLOCK_SIZE_BYTES;
        for run in runs_of(&fresh) {
            for start in run.clone().step_by(cap as usize) {
                self.launch(start..run.end.min(start + cap), fetch, None);
            }
        }
        (slots, again)
    }

    fn launch(self: &Arc<Self>, blocks: Range<u64>, fetch: &Arc<dyn Fetch>, reserved: Option<Reservation>) {
        self.shared.runtime.spawn(Run::new(self.clone(), blocks).go(fetch.clone(), reserved));
    }

    /// Starts to fetch what is missing of `range` into memory, one request for each missing run of blocks (of at most
    /// 8 MiB), as far as memory can be had now. Never waits. Gives the offset before which everything of `range` is here or under
    /// way.
    pub fn prefetch(self: &Arc<Self>, range: Range<u64>, fetch: &Arc<dyn Fetch>) -> u64 {
        let range = range.start.min(self.size)..range.end.min(self.size);
        let blocks = blocks_of(&range);
        let cap = fetch_bytes_max(self.shared.memory.limit_bytes(), FETCH_SIZE_BYTES_MAX) / BLOCK_SIZE_BYTES;
        let mut flights = self.flights.lock();
        let is_missing = |flights: &HashMap<u64, Arc<Slot>>, number| {
            !flights.contains_key(&number) && !self.is_here(number)
        };
        let (mut at, mut runs) = (blocks.start, Vec::new());
        while at < blocks.end {
            if !is_missing(&flights, at) {
                at += 1;
                continue;
            }
            let mut end = at + 1;
            while end < blocks.end && end - at < cap && is_missing(&flights, end) {
                end += 1;
            }
            let Some((run, reservation)) = self.reserve_ahead(at..end) else { break };
            flights.extend(run.clone().map(|number| (number, Arc::new(Slot::default()))));
            let is_cut = run.end < end;
            at = run.end;
            runs.push((run, reservation));
            if is_cut {
                break;
            }
        }
        // A runtime that is shutting down drops a run at once, which then takes the lock to end its slots.
        drop(flights);
        self.read_ahead_from_disk(blocks.start..at);
        for (run, reservation) in runs {
            self.launch(run, fetch, Some(reservation));
        }
        (at * BLOCK_SIZE_BYTES).clamp(range.start, range.end)
    }

    /// Has those of `blocks` that are on disk read from it behind the caller.
    fn read_ahead_from_disk(&self, blocks: Range<u64>) {
        let Some(file) = self.disk_file() else { return };
        let on_disk: Vec<u64> = blocks.filter(|block| file.has(*block)).collect();
        runs_of(&on_disk).into_iter().for_each(|run| file.will_need(run));
    }

    /// Memory for as many of these blocks as may be fetched ahead now, from the first on.
    fn reserve_ahead(&self, blocks: Range<u64>) -> Option<(Range<u64>, Reservation)> {
        let memory = &self.shared.memory;
        let bytes = |blocks: &Range<u64>| {
            let bytes = bytes_of(blocks, self.size);
            bytes.end - bytes.start
        };
        if let Some(reservation) = memory.reserve_ahead(bytes(&blocks)) {
            return Some((blocks, reservation));
        }
        let room = memory.ahead_room_bytes() / BLOCK_SIZE_BYTES;
        if room < AHEAD_BLOCK_COUNT_MIN || blocks.start + room >= blocks.end {
            return None;
        }
        let fewer = blocks.start..blocks.start + room;
        memory.reserve_ahead(bytes(&fewer)).map(|reservation| (fewer, reservation))
    }

    /// Keeps bytes that were obtained otherwise: those of whole blocks, or of the object's tail. The rest is ignored, as is
    /// everything when memory is short.
    pub fn insert(self: &Arc<Self>, offset: u64, bytes: Bytes) {
        let range = offset..(offset + bytes.len() as u64).min(self.size);
        for number in blocks_of(&range) {
            let block = bytes_of(&(number..number + 1), self.size);
            if block.start < range.start || block.end > range.end || self.is_here(number) {
                continue;
            }
            let Some(mut reservation) = self.shared.memory.try_reserve(block.end - block.start) else {
                return;
            };
            let mut buffer = reservation.buffer((block.end - block.start) as usize);
            buffer.copy_from_slice(&bytes[(block.start - offset) as usize..(block.end - offset) as usize]);
            for (number, block) in reservation.fill(buffer, number) {
                self.keep(number, block, false);
            }
        }
    }

    /// Blocks came. All are here before anybody hears of one.
    pub(crate) fn arrived(self: &Arc<Self>, blocks: &[(u64, Arc<Block>)], ahead: bool) {
        for (number, block) in blocks {
            self.keep(*number, block.clone(), ahead);
        }
        for (number, block) in blocks {
            let slot = self.flights.lock().remove(number);
            if let Some(slot) = slot {
                slot.end(Ok(block.clone()));
            }
        }
    }

    fn keep(self: &Arc<Self>, number: u64, block: Arc<Block>, ahead: bool) {
        self.shared.memory.insert((self.digest.name, number), block.clone(), ahead);
        if self.shared.disk.is_some() {
            // Here and not where it is written: the bytes have just come.
            block.checksum();
            self.shared.fills.push_fill(self, number, block, &self.shared.counters);
        }
    }

    /// Blocks will not come. All leave the flights before anybody hears of it: who tries again must not join what failed.
    pub(crate) fn failed(&self, blocks: Range<u64>, error: &ReadError) {
        let slots: Vec<_> = {
            let mut flights = self.flights.lock();
            blocks.filter_map(|number| flights.remove(&number)).collect()
        };
        for slot in slots {
            slot.end(Err(error.clone()));
        }
    }

    /// Whether the block can be had without a fetch.
    fn is_here(&self, number: u64) -> bool {
        self.shared.memory.contains((self.digest.name, number))
            || self.disk_file().is_some_and(|file| file.has(number))
    }

    /// How much of the object can be had without a fetch.
    pub fn presence(&self) -> Presence {
        let file = self.disk_file();
        let (mut number, mut found) = (0, Presence::Complete);
        loop {
            if let Some(file) = &file {
                number = file.first_absent(number);
            }
            if number >= block_count(self.size) {
                return found;
            }
            if !self.shared.memory.contains((self.digest.name, number)) {
                // One that has come since it was looked for is in memory or on disk by now, and is taken for under way.
                if !self.flights.lock().contains_key(&number) && !self.is_here(number) {
                    return Presence::MissingFrom(number * BLOCK_SIZE_BYTES);
                }
                found = Presence::UnderWay;
            }
            number += 1;
        }
    }

    /// Whether all of the object can be had without a fetch.
    pub fn is_complete(&self) -> bool {
        self.presence() == Presence::Complete
    }

    /// Its file, if it has one; looks for what an earlier reader or process left.
    pub(crate) fn disk_file(&self) -> Option<Arc<DiskFile>> {
        let mut slot = self.disk.lock();
        if let (DiskSlot::Unknown, Some(tier)) = (&*slot, &self.shared.disk) {
            *slot = match tier.lookup(self.digest, self.size) {
                Some(file) => {
                    self.shared.fills.push_touch(self.digest.name);
                    self.shared.open_files.opened(&self.shared, self.digest.name);
                    DiskSlot::Open(Arc::new(file))
                }
                None => DiskSlot::Absent,
            };
        }
        match &*slot {
            DiskSlot::Open(file) => Some(file.clone()),
            _ => None,
        }
    }

    /// Puts `now` in the place of `file`, if that is what is there. Gives whether it was.
    pub(crate) fn replace_file(&self, file: &Arc<DiskFile>, now: DiskSlot) -> bool {
        let mut slot = self.disk.lock();
        let is_there = matches!(&*slot, DiskSlot::Open(present) if Arc::ptr_eq(present, file));
        if is_there {
            *slot = now;
        }
        is_there
    }
}

/// What came of waiting for blocks.
enum Waited {
    /// All that was to be read, without a copy.
    Whole(Bytes),
    /// They were copied, but for these, which came to be here in between.
    Again(Vec<u64>),
}

/// Sorted numbers as runs of those that lie on end.
pub(crate) fn runs_of(numbers: &[u64]) -> Vec<Range<u64>> {
    let mut runs: Vec<Range<u64>> = Vec::new();
    for &number in numbers {
        match runs.last_mut() {
            Some(run) if run.end == number => run.end += 1,
            _ => runs.push(number..number + 1),
        }
    }
    runs
}

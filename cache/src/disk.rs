//! One replica's file on disk.
//!
//! Owns: [`DiskFile`], a sparse data file of exactly the object's bytes with the state of its blocks. Every load is checked
//! against the block's checksum; whatever is wrong with a block makes it absent, never an error.
//!
//! Invariants: a block is marked present after its bytes were written; only the filling thread writes clean bytes, and it and whoever
//! frees the file hold the lock of its name.
//!
//! # Why large objects are written around the page cache
//! What is read through a mount is in the kernel's cache already, as pages of the mounted file. Writing it to the replica by way of the
//! page cache would take the same memory a second time, and on a virtual machine the first touch of that memory was the dearest part of a
//! cold read. Where the disk cannot keep up the page cache takes the excess: a block is then kept that would have been dropped.

use crate::block::{block_count, block_len, bytes_of, checksum};
use crate::blockmap::{BlockMap, CHUNK_BLOCK_COUNT, Entry};
use crate::identity::Digest;
use crate::state::{StateStore, is_readable};
use crate::stats::Counters;
use parking_lot::Mutex;
use rustix::fs::{Advice, fadvise};
use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice};
use std::num::NonZeroU64;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::sync::{Arc, OnceLock};

/// How bytes go to disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Through {
    /// Into the page cache.
    PageCache,
    /// From memory to disk, where the file is large and its file system can.
    Directly,
}

/// A replica's data file and its state.
pub(crate) struct DiskFile {
    data: Arc<File>,
    /// The same file around the page cache, opened when it is first wanted; `None` where that is not to be had.
    direct: OnceLock<Option<File>>,
    /// Unset while the file was handed over and has no place among the clean ones yet: nothing is saved then.
    state: OnceLock<StateStore>,
    digest: Digest,
    size: u64,
    /// Guards what is known of the blocks; not held while that is written. A leaf.
    map: Mutex<BlockMap>,
}

impl DiskFile {
    /// What an earlier reader or process left. `None` when it is not of this replica.
    pub fn load(data: File, state: StateStore, digest: Digest, size: u64) -> Option<Self> {
        if data.metadata().ok()?.len() != size {
            return None;
        }
        let map = state.load(&data, &digest, size)?;
        Some(Self::with(Arc::new(data), state.into(), digest, size, map))
    }

    /// A replica with no block yet.
    pub fn create(data: File, state: StateStore, digest: Digest, size: u64) -> io::Result<Self> {
        let map = state.create(&digest, size)?;
        Ok(Self::with(Arc::new(data), state.into(), digest, size, map))
    }

    /// A dirty replica's file, published, of which these blocks are present. Touches no disk.
    pub fn handed_over(data: Arc<File>, digest: Digest, size: u64, present: &[Range<u64>]) -> Self {
        let file = Self::with(data, OnceLock::new(), digest, size, BlockMap::new(block_count(size)));
        for blocks in present {
            file.mark_unsummed(blocks.clone());
        }
        file
    }

    fn with(data: Arc<File>, state: OnceLock<StateStore>, digest: Digest, size: u64, map: BlockMap) -> Self {
        Self { data, direct: OnceLock::new(), state, digest, size, map: Mutex::new(map) }
    }

    /// Whether it has its place among the clean ones.
    pub fn is_settled(&self) -> bool {
        self.state.get().is_some()
    }

    /// It has its place: from here on what is known of its blocks is kept in `state`. Errors: the local disk's.
    pub fn settle(&self, state: StateStore) -> io::Result<()> {
        state.create(&self.digest, self.size)?;
        let is_first = self.state.set(state).is_ok();
        debug_assert!(is_first, "a file is handed over once");
        Ok(())
    }

    fn learn(&self, map: &mut BlockMap, block: u64) {
        match self.state.get() {
            Some(state) => state.learn(map, block),
            None if map.is_known(block) => {}
            None => map.learn(block, &[]),
        }
    }

    /// What is on disk of a block.
    pub fn entry(&self, block: u64) -> Entry {
        let mut map = self.map.lock();
        self.learn(&mut map, block);
        map.get(block)
    }

    /// The first block from `from` on that is not on disk; the count of blocks where all are.
    pub fn first_absent(&self, from: u64) -> u64 {
        let mut map = self.map.lock();
        let count = block_count(self.size);
        (from..count)
            .find(|block| {
                if *block == from || block % CHUNK_BLOCK_COUNT == 0 {
                    self.learn(&mut map, *block);
                }
                !is_readable(map.get(*block))
            })
            .unwrap_or(count)
    }

    pub fn has(&self, block: u64) -> bool {
        is_readable(self.entry(block))
    }

    /// Reads whole blocks, which lie on end from `first` on, into `out`; gives the blocks that could not be had.
    pub fn read_blocks(&self, first: u64, out: &mut [u8], counters: &Counters) -> Vec<u64> {
        let start = bytes_of(&(first..first + 1), self.size).start;
        let end = start + out.len() as u64;
        let filled = self.read_at(out, start);
        let mut bad = Vec::new();
        let mut at = 0;
        for block in first..end.div_ceil(crate::BLOCK_SIZE_BYTES) {
            let next = at + block_len(block, self.size);
            if !(next <= filled && self.verify(block, &out[at..next])) {
                self.forget(block);
                counters.checksum_failures.add(1);
                bad.push(block);
            }
            at = next;
        }
        bad
    }

    /// These blocks will be read soon: the kernel reads them from the disk meanwhile, earlier and more at a time than it would.
    pub fn will_need(&self, blocks: Range<u64>) {
        self.advise(blocks, Advice::WillNeed);
    }

    /// A program that reads in order has passed these blocks. The kernel has them in the mount's pages now; those of a large file on disk are
    /// used again for what comes next.
    pub fn passed(&self, blocks: Range<u64>) {
        if self.is_large() {
            self.advise(blocks, Advice::DontNeed);
        }
    }

    /// Whether it is a file that is written around the page cache.
    fn is_large(&self) -> bool {
        matches!(self.state.get(), Some(StateStore::Beside(_)))
    }

    fn advise(&self, blocks: Range<u64>, advice: Advice) {
        let bytes = bytes_of(&blocks, self.size);
        // Only slower where it is refused.
        let _ = fadvise(&*self.data, bytes.start, NonZeroU64::new(bytes.end - bytes.start), advice);
    }

    fn read_at(&self, out: &mut [u8], offset: u64) -> usize {
        let mut filled = 0;
        while filled < out.len() {
            match self.data.read_at(&mut out[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        filled
    }

    fn verify(&self, block: u64, bytes: &[u8]) -> bool {
        match self.entry(block) {
            Entry::Absent => false,
            Entry::Present(crc) => crc == checksum(bytes),
            Entry::Unsummed => true,
        }
    }

    /// A block's bytes are not what they should be. Its state says so when it is written again; until then it fails its check again.
    fn forget(&self, block: u64) {
        self.map.lock().set(block, Entry::Absent);
    }

    /// Writes blocks that lie on end from `first` on, and marks them present. `sums` are their checksums. Gives how many of them, the
    /// first ones, went around the page cache.
    pub fn write_blocks(
        &self,
        first: u64,
        blocks: &[&[u8]],
        sums: impl Iterator<Item = u32>,
        through: Through,
    ) -> io::Result<usize> {
        let range = bytes_of(&(first..first + blocks.len() as u64), self.size);
        debug_assert_eq!(range.end - range.start, blocks.iter().map(|block| block.len() as u64).sum::<u64>());
        let mut written = 0;
        if through == Through::Directly
            && let Some(direct) = self.direct()
        {
            // Only whole blocks lie in memory as disks want it.
            let aligned =
                blocks.iter().take_while(|block| block.len() as u64 == crate::BLOCK_SIZE_BYTES).count();
            // What fails this way, as on a disk with larger sectors, may go the other; if not, that is the error.
            if write_all(direct, &blocks[..aligned], range.start).is_ok() {
                written = aligned;
            }
        }
        let rest = range.start + written as u64 * crate::BLOCK_SIZE_BYTES;
        write_all(&self.data, &blocks[written..], rest)?;
        let sums: Vec<Entry> = sums.map(Entry::Present).collect();
        self.mark(first, &sums)?;
        Ok(written)
    }

    /// The way around the page cache, if there is one.
    fn direct(&self) -> Option<&File> {
        let open = || {
            let same = format!("/proc/self/fd/{}", self.data.as_raw_fd());
            let mut options = OpenOptions::new();
            options.write(true).custom_flags(libc::O_DIRECT);
            self.is_large().then(|| options.open(same).ok()).flatten()
        };
        self.direct.get_or_init(open).as_ref()
    }

    /// Makes the file as long as the object, so that it is whole when its blocks are.
    pub fn set_full_length(&self) -> io::Result<()> {
        self.data.set_len(self.size)
    }

    fn mark(&self, first: u64, entries: &[Entry]) -> io::Result<()> {
        let mut map = self.map.lock();
        for (block, entry) in (first..).zip(entries) {
            self.learn(&mut map, block);
            map.set(block, *entry);
        }
        let Some(state) = self.state.get() else { return Ok(()) };
        let encoded = state.encode(&map, &self.digest, self.size, first, entries.len() as u64);
        // Readers ask the map meanwhile; nobody else writes.
        drop(map);
        state.save(&self.data, first, &encoded)
    }

    /// Says that these blocks were written here and are right; [`DiskFile::sum`] takes their checksums later.
    pub fn mark_unsummed(&self, blocks: Range<u64>) {
        let mut map = self.map.lock();
        for block in blocks {
            self.learn(&mut map, block);
            map.set(block, Entry::Unsummed);
        }
    }

    /// The blocks that have no checksum yet. A file that was freed has none.
    pub fn unsummed(&self) -> Vec<u64> {
        (0..block_count(self.size)).filter(|block| self.is_unsummed(*block)).collect()
    }

    fn is_unsummed(&self, block: u64) -> bool {
        self.entry(block) == Entry::Unsummed
    }

    /// Takes the checksums of those of `blocks` that have none yet.
    pub fn sum(&self, blocks: &[u64]) -> io::Result<()> {
        let mut buffer = vec![0; crate::BLOCK_SIZE_BYTES as usize];
        for block in blocks.iter().copied().filter(|block| self.is_unsummed(*block)) {
            let bytes = &mut buffer[..block_len(block, self.size)];
            match self.data.read_exact_at(bytes, bytes_of(&(block..block + 1), self.size).start) {
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
                read => read?,
            }
            self.mark(block, &[Entry::Present(checksum(bytes))])?;
        }
        Ok(())
    }

    /// Frees the disk at once, also under readers; what they find missing they fetch.
    pub fn free(&self) {
        // A map of no blocks: nothing is present, and nothing can become so.
        *self.map.lock() = BlockMap::new(0);
        let _ = self.data.set_len(0);
        if let Some(StateStore::Beside(side)) = self.state.get() {
            let _ = side.set_len(0);
        }
    }
}

/// Writes all of `blocks` at `offset`.
fn write_all(file: &File, blocks: &[&[u8]], mut offset: u64) -> io::Result<()> {
    let mut slices: Vec<IoSlice<'_>> = blocks.iter().map(|block| IoSlice::new(block)).collect();
    let mut rest = &mut slices[..];
    while !rest.is_empty() {
        let written = match rustix::io::pwritev(file, rest, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => written,
            Err(rustix::io::Errno::INTR) => continue,
            Err(errno) => return Err(errno.into()),
        };
        offset += written as u64;
        IoSlice::advance_slices(&mut rest, written);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::BufferPool;
    use crate::identity::ReplicaId;

    const BLOCK: usize = crate::BLOCK_SIZE_BYTES as usize;

    #[test]
    fn only_what_went_around_the_page_cache_is_said_to() {
        let dir = tempfile::tempdir().unwrap();
        let open = |name: &str| {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create_new(true).open(dir.path().join(name)).unwrap()
        };
        let size = 2 * BLOCK as u64 + 1;
        let id = ReplicaId { store: "s".into(), key: "k".into(), version: "v".into() };
        let digest = Digest::of(&id, size);
        let pool = BufferPool::new(1 << 20);
        let buffers = [pool.take(BLOCK), pool.take(BLOCK), pool.take(1)];
        let blocks: Vec<&[u8]> = buffers.iter().map(|buffer| &buffer[..]).collect();

        let large = DiskFile::create(open("large"), StateStore::Beside(open("state")), digest, size).unwrap();
        let write = |through| large.write_blocks(0, &blocks, [0; 3].into_iter(), through).unwrap();
        assert_eq!(write(Through::PageCache), 0);
        // Where the file system has no such way, none; never the short tail.
        assert!([0, 2].contains(&write(Through::Directly)));

        let small = DiskFile::create(open("small"), StateStore::Attribute, digest, size).unwrap();
        match small.write_blocks(0, &blocks, [0; 3].into_iter(), Through::Directly) {
            Ok(direct_count) => assert_eq!(direct_count, 0),
            Err(error) => eprintln!("skipped: this file system keeps no attributes: {error}"),
        }
    }
}

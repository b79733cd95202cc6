//! How a dirty replica's file becomes a clean replica's.
//!
//! Owns: [`take_over`], which lets the replica read from the file where it is; [`HandOver`], which gives it its place, by renaming
//! where both are on one file system; and [`CopyIn`], which the filling thread does where they are not.
//!
//! Invariants:
//! - What was published is in the bucket, so a file that cannot be taken over is removed, and its bytes are fetched again.
//! - Whoever publishes waits for no disk: what is written to one is the keeper's or the filling thread's.
//! - A file that has no place yet is neither filled nor evicted, so that its way there is not crossed.

use crate::block::{BLOCK_SIZE_BYTES, block_count, bytes_of, checksum};
use crate::cache::Shared;
use crate::dirty::DirtyReplica;
use crate::disk::{DiskFile, Through};
use crate::disk_tier::DiskTier;
use crate::evict;
use crate::replica::{DiskSlot, Replica};
use std::io;
use std::ops::Range;
use std::sync::Arc;

/// Blocks that are copied at a time: 1 MiB.
const COPY_BLOCK_COUNT: u64 = 8;

/// Makes the file of `dirty` that of `replica`, unless somebody wrote to it since.
pub(crate) fn take_over(shared: &Arc<Shared>, dirty: &Arc<DirtyReplica>, replica: &Arc<Replica>) {
    let size = replica.size();
    let given = match &shared.disk {
        Some(_) => dirty.give_up(size),
        None => Err(io::ErrorKind::Unsupported.into()),
    };
    let given = match given {
        Ok(Some(given)) => given,
        Ok(None) => return,
        Err(error) => {
            is_not_kept(shared, replica, &error);
            let dirty = dirty.clone();
            shared.keeper.push_removal(move || dirty.discard());
            return;
        }
    };
    let present: Vec<_> = given.local.iter().map(|range| whole_blocks(range, size)).collect();
    let file = Arc::new(DiskFile::handed_over(given.data, replica.digest, size, &present));
    let before = std::mem::replace(&mut *replica.disk.lock(), DiskSlot::Open(file.clone()));
    let replaced = if let DiskSlot::Open(replaced) = before { Some(replaced) } else { None };
    let hand_over =
        HandOver { dirty: dirty.clone(), replica: replica.clone(), file: file.clone(), present, replaced };
    let keeper = shared.clone();
    if !shared.keeper.push(move || hand_over.run(&keeper)) {
        replica.replace_file(&file, DiskSlot::Absent);
        is_not_kept(shared, replica, &io::ErrorKind::ResourceBusy.into());
        let dirty = dirty.clone();
        shared.keeper.push_removal(move || dirty.leave_journal());
    }
}

fn is_not_kept(shared: &Shared, replica: &Replica, error: &io::Error) {
    if shared.disk.is_some() {
        shared.counters.disk_errors.add(1);
        tracing::debug!(key = %replica.id().key, %error, "published bytes are not kept; they will be fetched again");
    }
}

/// A file on its way to its place, and its blocks that are to be kept.
struct HandOver {
    dirty: Arc<DirtyReplica>,
    replica: Arc<Replica>,
    file: Arc<DiskFile>,
    present: Vec<Range<u64>>,
    /// What the replica had before.
    replaced: Option<Arc<DiskFile>>,
}

impl HandOver {
    fn run(self, shared: &Arc<Shared>) {
        let Self { dirty, replica, file, present, replaced } = self;
        let Some(tier) = &shared.disk else { return };
        let lock = tier.lock_name(replica.digest.name);
        if let Some(replaced) = replaced.filter(|replaced| replaced.is_settled()) {
            // Who still reads it must find nothing in it, rather than the holes of a file that was cut.
            replaced.free();
        }
        // The same version may have been published twice: the later one's file is kept.
        let is_wanted = replica.replace_file(&file, DiskSlot::Open(file.clone()));
        let placed = match is_wanted {
            true => tier.install(&lock, dirty.path(), &file, replica.digest, replica.size()),
            false => Err(io::ErrorKind::AlreadyExists.into()),
        };
        drop(lock);
        dirty.leave_journal();
        match placed {
            Ok(()) => {
                shared.open_files.opened(shared, replica.digest.name);
                shared.fills.push_sum(replica.digest.name, file);
            }
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
                shared.fills.push_copy(CopyIn { replica, source: file, present });
            }
            Err(error) => {
                replica.replace_file(&file, DiskSlot::Absent);
                if is_wanted {
                    is_not_kept(shared, &replica, &error);
                }
            }
        }
    }
}

/// The blocks that are wholly within `range` of an object of `size` bytes.
fn whole_blocks(range: &Range<u64>, size: u64) -> Range<u64> {
    let end = if range.end >= size { block_count(size) } else { range.end / BLOCK_SIZE_BYTES };
    range.start.div_ceil(BLOCK_SIZE_BYTES).min(end)..end
}

/// A file on another file system, which has no name any more, and its blocks that are to be kept.
pub(crate) struct CopyIn {
    replica: Arc<Replica>,
    source: Arc<DiskFile>,
    present: Vec<Range<u64>>,
}

impl CopyIn {
    /// Copies them. Until that is done, the replica reads from the file itself. Errors: the local disk's; nothing is kept then.
    pub fn run(self, shared: &Arc<Shared>, tier: &DiskTier) -> io::Result<()> {
        let Self { replica, source, present } = self;
        let size = replica.size();
        if !replica.replace_file(&source, DiskSlot::Open(source.clone())) {
            // The same version was published again: that one's is kept.
            return Ok(());
        }
        let bytes = |blocks: &Range<u64>| bytes_of(blocks, size).end - bytes_of(blocks, size).start;
        let copied = match evict::make_room(shared, tier, present.iter().map(bytes).sum()) {
            true => copy(shared, tier, &replica, &source, &present).map(Some),
            false => Ok(None),
        };
        let now = match &copied {
            Ok(Some(file)) => DiskSlot::Open(file.clone()),
            _ => DiskSlot::Absent,
        };
        if replica.replace_file(&source, now) && matches!(copied, Ok(Some(_))) {
            shared.open_files.opened(shared, replica.digest.name);
        }
        copied.map(drop)
    }
}

fn copy(
    shared: &Shared,
    tier: &DiskTier,
    replica: &Replica,
    source: &DiskFile,
    present: &[Range<u64>],
) -> io::Result<Arc<DiskFile>> {
    let (size, name) = (replica.size(), replica.digest.name);
    let file = tier.create(&tier.lock_name(name), replica.digest, size)?;
    let copied = file.set_full_length().and_then(|()| {
        let mut buffer = Vec::new();
        for run in present {
            for first in run.clone().step_by(COPY_BLOCK_COUNT as usize) {
                let range = bytes_of(&(first..run.end.min(first + COPY_BLOCK_COUNT)), size);
                buffer.resize((range.end - range.start) as usize, 0);
                if !source.read_blocks(first, &mut buffer, &shared.counters).is_empty() {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                let parts: Vec<&[u8]> = buffer.chunks(BLOCK_SIZE_BYTES as usize).collect();
                let sums = parts.iter().map(|part| checksum(part));
                let _lock = tier.lock_name(name);
                file.write_blocks(first, &parts, sums, Through::PageCache)?;
            }
        }
        Ok(())
    });
    if copied.is_err() {
        tier.remove(&tier.lock_name(name));
    }
    copied.map(|()| Arc::new(file))
}

#[cfg(test)]
mod tests {
    use crate::testing::{cache_in, some_id, some_intent};
    use std::sync::mpsc::channel;

    #[tokio::test(flavor = "multi_thread")]
    async fn of_a_file_that_is_not_kept_nothing_stays_on_disk() {
        let dir = tempfile::tempdir().unwrap();
        let cache = cache_in(dir.path());
        let dirty = cache.create_dirty(some_intent()).unwrap();
        dirty.write_at(0, b"12345").unwrap();
        let shared = cache.replica(some_id(), 5).shared().clone();
        // The disk hangs, and as many hand-overs wait as may.
        let (free, hangs) = channel::<()>();
        assert!(shared.keeper.push(move || _ = hangs.recv()));
        while shared.keeper.push(|| ()) {}
        cache.adopt(&dirty, some_id());
        drop(free);
        shared.keeper.drain().await;
        assert!(!dirty.path().exists() && !dirty.path().with_extension("json").exists());
    }
}

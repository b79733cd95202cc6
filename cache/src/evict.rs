//! Making room on disk.
//!
//! Owns: [`make_room`]: replicas go by last use until what is to be written fits the budget. Disk is freed at once, also under open
//! descriptors; dirty replicas are never touched, but their bytes count.
//!
//! # Why by sampling
//! There is no list of what is on disk (nothing is scanned at start), so a few directories are looked into and the ones used
//! longest ago go: with tens of candidates that is close to the true order.
//!
//! # What is in use stays
//! A replica that is held and was read in the last seconds is not removed for another: if everything is, filling stops. An object
//! larger than the budget is thus kept as far as it fits, and streams through memory beyond; dropping its oldest blocks for its
//! newest would leave nothing that the next pass over it could use.

use crate::cache::Shared;
use crate::disk::DiskFile;
use crate::disk_tier::DiskTier;
use crate::identity::Name;
use crate::replica::{DiskSlot, Replica};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// A replica that was read so lately is in use.
const IN_USE_MS: u64 = 10_000;
const CANDIDATE_COUNT: usize = 48;
const LEAVES_VISITED_MAX: usize = 256;
/// A share of the budget that is freed beyond what is needed, so that not every write has to look for victims.
const SLACK_SHARE: u64 = 64;

/// The least that is freed for a write that found the disk full, in bytes.
const GIVE_WAY_BYTES_MIN: u64 = 16 << 20;

struct Candidate {
    name: Name,
    last_use: SystemTime,
}

/// Frees disk until `bytes` more fit the budget. Gives whether they do.
pub(crate) fn make_room(shared: &Shared, tier: &DiskTier, bytes: u64) -> bool {
    let fits =
        |slack: u64| tier.usage.clean_bytes() + tier.usage.dirty_bytes() + bytes + slack <= tier.limit_bytes;
    if fits(0) {
        return true;
    }
    let slack = tier.limit_bytes / SLACK_SHARE;
    evict_until(shared, tier, false, |_| fits(slack));
    fits(0)
}

/// Published bytes became clean ones: brings the disk back to its budget, at the expense of whatever was used longest ago, and if that
/// is not enough of what is in use. All of it is in the bucket.
pub(crate) fn hold_budget(shared: &Shared, tier: &DiskTier) {
    if !make_room(shared, tier, 0) {
        let fits = || tier.usage.clean_bytes() + tier.usage.dirty_bytes() <= tier.limit_bytes;
        evict_until(shared, tier, true, |_| fits());
    }
}

/// Clean replicas give way to bytes that are written on the same file system when that is full: also those in use, for a write that
/// fails is worse than a slow read. Gives whether anything was freed.
pub(crate) fn give_way(shared: &Shared, tier: &DiskTier, bytes: u64) -> bool {
    let wanted = bytes.max(GIVE_WAY_BYTES_MIN);
    evict_until(shared, tier, true, |freed| freed >= wanted) > 0
}

/// Gives how much was freed.
fn evict_until(shared: &Shared, tier: &DiskTier, in_use_too: bool, enough: impl Fn(u64) -> bool) -> u64 {
    let mut freed = 0;
    while !enough(freed) {
        let before = freed;
        let mut candidates = sample(shared, tier, in_use_too);
        candidates.sort_by_key(|candidate| candidate.last_use);
        let half = candidates.len().div_ceil(2);
        for candidate in &candidates[..half] {
            if enough(freed) {
                break;
            }
            freed += evict(shared, tier, candidate.name);
        }
        if freed == before {
            break;
        }
    }
    freed
}

fn evict(shared: &Shared, tier: &DiskTier, name: Name) -> u64 {
    let mut lock = tier.lock_name(name);
    let replica = shared.live(name);
    if let Some(replica) = &replica {
        let Some(file) = take_file(replica) else { return 0 };
        if let Some(file) = file {
            file.free();
        }
    }
    tier.remove(&lock);
    let freed = lock.count();
    if let Some(replica) = &replica {
        let mut slot = replica.disk.lock();
        // It may have been handed another meanwhile.
        if let DiskSlot::Changing = *slot {
            *slot = DiskSlot::Absent;
        }
    }
    shared.counters.evicted_bytes.add(freed);
    freed
}

/// The file of a replica that is to lose it, if it has one; `None` where it has to stay as it is.
fn take_file(replica: &Replica) -> Option<Option<Arc<DiskFile>>> {
    let mut slot = replica.disk.lock();
    let file = match &*slot {
        DiskSlot::Open(file) if file.is_settled() => Some(file.clone()),
        DiskSlot::Unknown | DiskSlot::Absent => None,
        DiskSlot::Open(_) | DiskSlot::Changing | DiskSlot::Off => return None,
    };
    *slot = DiskSlot::Changing;
    Some(file)
}

/// Replicas that may go, out of a few directories.
fn sample(shared: &Shared, tier: &DiskTier, in_use_too: bool) -> Vec<Candidate> {
    let mut candidates = Vec::new();
    let mut leaves: Vec<PathBuf> =
        subdirectories(&tier.root).iter().flat_map(|dir| subdirectories(dir)).collect();
    for _ in 0..LEAVES_VISITED_MAX {
        if leaves.is_empty() || candidates.len() >= CANDIDATE_COUNT {
            break;
        }
        let leaf = leaves.swap_remove(rand::random_range(0..leaves.len()));
        let Ok(files) = fs::read_dir(leaf) else { continue };
        for file in files.flatten() {
            candidates.extend(candidate(shared, &file, in_use_too));
        }
    }
    candidates
}

fn subdirectories(dir: &Path) -> Vec<PathBuf> {
    fs::read_dir(dir).map(|entries| entries.flatten().map(|entry| entry.path()).collect()).unwrap_or_default()
}

fn candidate(shared: &Shared, file: &fs::DirEntry, in_use_too: bool) -> Option<Candidate> {
    let file_name = file.file_name();
    let text = file_name.to_str()?;
    // One without its data file is what a crash left: it goes under its name too.
    let name = Name::from_str_radix(text.strip_suffix(".map").unwrap_or(text), 16).ok()?;
    let metadata = file.metadata().ok()?;
    let mut last_use = metadata.modified().ok()?;
    if let Some(replica) = shared.live(name) {
        let idle_ms =
            shared.now_ms().saturating_sub(replica.used_at_ms.load(std::sync::atomic::Ordering::Relaxed));
        if idle_ms < IN_USE_MS && !in_use_too {
            return None;
        }
        last_use = SystemTime::now() - Duration::from_millis(idle_ms);
    }
    Some(Candidate { name, last_use })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Nothing, cache_in, some_id, some_intent};
    use crate::{BLOCK_SIZE_BYTES, Fetch};

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_handed_over_during_an_eviction_stays_whole() {
        const SIZE: u64 = 4 * BLOCK_SIZE_BYTES;
        let dir = tempfile::tempdir().unwrap();
        let cache = cache_in(dir.path());
        let replica = cache.replica(some_id(), SIZE);
        let shared = replica.shared().clone();
        let tier = shared.disk.clone().unwrap();
        let name = replica.digest.name;
        let dirty = cache.create_dirty(some_intent()).unwrap();
        dirty.write_at(0, &[1; SIZE as usize]).unwrap();
        // The first half of an eviction, a publish, and its second half.
        std::thread::scope(|scope| {
            let lock = tier.lock_name(name);
            assert!(take_file(&replica).is_some());
            cache.adopt(&dirty, some_id());
            let waits = scope.spawn(|| drop(tier.lock_name(name)));
            tier.remove(&lock);
            drop(lock);
            waits.join().unwrap();
        });
        shared.keeper.drain().await;
        let fetch: Arc<dyn Fetch> = Arc::new(Nothing);
        assert!(replica.read(0..SIZE, &fetch).await.unwrap().iter().all(|byte| *byte == 1));
    }
}

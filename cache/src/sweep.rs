//! What is put right behind the work once a cache is open.
//!
//! Owns: [`run`]: the budget, which may have shrunk since the last run, is held at once by what that run said, and again by what is
//! there; and clean files that belong to no replica, which a crash leaves, are removed.
//!
//! Invariant: nothing is removed that is in use, or that was made or used since the cache was opened.
//!
//! # Why again and again
//! A file system may give a file room that it takes back when the file is closed (XFS), or tell what a file holds only seconds after
//! it was written (ZFS). What is counted then is not what is there later, and would drift as long as the daemon lives.

use crate::cache::Shared;
use crate::disk_tier::DiskTier;
use crate::evict;
use crate::identity::Name;
use crate::state;
use crate::usage::{LEAF_COUNT, leaf_path};
use std::collections::HashMap;
use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, SystemTime};

/// Between one directory and the next, so that the walk disturbs nobody.
const PAUSE: Duration = Duration::from_millis(2);
/// Between one walk and the next.
const WALK_PERIOD: Duration = Duration::from_secs(3600);

/// The files of one name.
#[derive(Default)]
struct Found {
    has_data: bool,
    has_state: bool,
    /// When the last of them changed.
    changed: Option<SystemTime>,
}

/// Holds the budget, removes what belongs to nothing, and corrects what is known to be used.
pub(crate) fn run(shared: &Shared, tier: &DiskTier, summary: &Path) {
    let opened = SystemTime::now();
    evict::hold_budget(shared, tier);
    let mut is_first = true;
    while walk(shared, tier, is_first.then_some(opened)) {
        is_first = false;
        evict::hold_budget(shared, tier);
        tier.usage.save(summary);
        if !tier.usage.pause(WALK_PERIOD) {
            return;
        }
    }
}

/// Goes through all directories; those that were there when the cache was opened, at `opened`, are swept. Gives false where it was ended
/// early.
fn walk(shared: &Shared, tier: &DiskTier, opened: Option<SystemTime>) -> bool {
    for leaf in 0..LEAF_COUNT {
        // Before it is added up, for which nobody changes it: then what there is to read of it from the disk is read.
        if let Some(opened) = opened {
            sweep(shared, tier, &leaf_path(&tier.root, leaf), opened);
        }
        let pause = if tier.count_leaf(leaf) { PAUSE } else { Duration::ZERO };
        if !tier.usage.pause(pause) {
            return false;
        }
    }
    tier.usage.end_walk();
    true
}

/// Removes data without a state from a directory, and states without data.
fn sweep(shared: &Shared, tier: &DiskTier, leaf: &Path, opened: SystemTime) {
    let mut found: HashMap<Name, Found> = HashMap::new();
    for file in fs::read_dir(leaf).into_iter().flatten().flatten() {
        let (file_name, Ok(metadata)) = (file.file_name(), file.metadata()) else { continue };
        let Some(text) = file_name.to_str() else { continue };
        let Ok(name) = Name::from_str_radix(text.trim_end_matches(".map"), 16) else { continue };
        let found = found.entry(name).or_default();
        match text.ends_with(".map") {
            true => found.has_state = true,
            false => {
                found.has_data = true;
                found.has_state |= File::open(file.path()).is_ok_and(|data| state::is_in_attribute(&data));
            }
        }
        found.changed = found.changed.max(metadata.modified().ok());
    }
    for (name, found) in found {
        let is_whole = found.has_data && found.has_state;
        let is_old = found.changed.is_some_and(|changed| changed < opened);
        if is_whole || !is_old {
            continue;
        }
        let lock = tier.lock_name(name);
        if shared.live(name).is_none() {
            tier.remove(&lock);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{cache_in, some_id};

    #[tokio::test(flavor = "multi_thread")]
    async fn what_the_disk_tells_late_is_counted_by_a_later_walk() {
        let dir = tempfile::tempdir().unwrap();
        let cache = cache_in(dir.path());
        let replica = cache.replica(some_id(), 300_000);
        replica.insert(0, vec![1; 300_000].into());
        cache.drain().await;
        let shared = replica.shared().clone();
        while !shared.usage.is_walked() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert!(cache.stats().disk_used_bytes >= 300_000);
        // Bytes that go by themselves.
        fs::remove_dir_all(dir.path().join("clean/replicas")).unwrap();
        assert!(walk(&shared, shared.disk.as_deref().unwrap(), Some(SystemTime::now())));
        assert_eq!(cache.stats().disk_used_bytes, 0);
    }
}

//! What is put right behind the work once a cache is open.
//!
//! Owns: [`run`]: the budget, which may have shrunk since the last run, is held at once by what that run said, and again by what is
//! there; and clean files that belong to no replica, which a crash leaves, are removed.
//!
//! Invariant: nothing is removed that is in use, or that was made or used since the cache was opened.

use crate::cache::Shared;
use crate::disk_tier::DiskTier;
use crate::evict;
use crate::identity::Name;
use crate::state;
use std::collections::HashMap;
use std::fs::{self, File};
use std::path::Path;
use std::time::SystemTime;

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
    let sweep = |leaf: &Path| sweep(shared, tier, leaf, opened);
    if tier.usage.walk(&tier.root, summary, sweep) {
        evict::hold_budget(shared, tier);
        tier.usage.save(summary);
    }
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
        let alone = tier.alone(name);
        if shared.live(name).is_none() {
            tier.remove(&alone, name);
        }
    }
}

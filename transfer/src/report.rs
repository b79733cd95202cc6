//! What a run came to.
//!
//! Owns: [`Report`] and its [`Removals`], which can be sent on as JSON, and [`Problems`], which names a bounded number and counts all.

use serde::{Deserialize, Serialize};

/// How many problems of a kind are named; more are counted.
pub const PROBLEMS_NAMED_MAX: usize = 1000;

/// What a run came to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Objects or files that were copied.
    pub copied: u64,
    /// Their bytes.
    pub copied_bytes: u64,
    /// Bytes of these that were there already, from a run that was interrupted.
    #[serde(default)]
    pub resumed_bytes: u64,
    /// Of the files that were copied here, those whose bytes were compared with a checksum of the whole that the store has.
    #[serde(default)]
    pub verified: u64,
    /// Those of which the store has none, so that nothing but the connection vouches for them.
    #[serde(default)]
    pub unverified: u64,
    /// Those that were there as they are.
    pub unchanged: u64,
    /// Keys that cannot be files, and files that cannot be objects.
    pub skipped: Problems,
    /// What could not be copied now: it changed twice meanwhile, may not be read, or something is in its place.
    pub failed: Problems,
    /// Of these, those whose bytes did not arrive as the store has them, twice.
    #[serde(default)]
    pub corrupt: u64,
    /// Of those that were copied, how many for want of a checksum that their content could be compared by.
    #[serde(default)]
    pub not_comparable: u64,
    /// Of those that are unchanged by size and time, those whose file was touched since: written to, linked, or given another mode. The store has no checksum that their content could
    /// be compared by.
    #[serde(default)]
    pub touched: u64,
    /// What was deleted from the target.
    #[serde(default)]
    pub removed: Removals,
}

/// What was deleted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removals {
    /// Objects or files that are gone.
    pub deleted: u64,
    /// Their bytes.
    pub deleted_bytes: u64,
    /// What is still there, with the reason.
    pub failed: Problems,
    /// Nothing was looked for but what was in the place of others, since not everything could be copied.
    pub is_withheld: bool,
}

impl Removals {
    /// Adds those of another run.
    pub fn extend(&mut self, others: Self) {
        self.deleted += others.deleted;
        self.deleted_bytes += others.deleted_bytes;
        self.failed.extend(others.failed);
    }
}

impl Report {
    /// Whether everything was copied, and deleted.
    pub fn is_complete(&self) -> bool {
        self.skipped.count == 0 && self.failed.count == 0 && self.removed.failed.count == 0
    }
}

/// Objects or files that were not copied.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problems {
    /// How many there are.
    pub count: u64,
    /// The first [`PROBLEMS_NAMED_MAX`] of them.
    pub named: Vec<Problem>,
}

impl Problems {
    /// Adds those of another run.
    pub fn extend(&mut self, others: Self) {
        self.count += others.count;
        let room = PROBLEMS_NAMED_MAX.saturating_sub(self.named.len());
        self.named.extend(others.named.into_iter().take(room));
    }

    /// Adds one.
    pub fn add(&mut self, name: impl Into<String>, why: impl Into<String>) {
        self.count += 1;
        if self.named.len() < PROBLEMS_NAMED_MAX {
            self.named.push(Problem { name: name.into(), why: why.into() });
        }
    }
}

/// One object or file that was not copied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// The object's key, or the file's path.
    pub name: String,
    /// Why not.
    pub why: String,
}

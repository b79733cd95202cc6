//! A mount that outlives its daemon, as `mounts.json` has it.
//!
//! Owns: [`SavedMount`], and [`read`] for who only looks. The daemon alone writes the file. Invariant: it holds no secret.

use crate::CallerEnvironment;
use crate::types::MountSpec;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// A mount as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedMount {
    /// What was asked for.
    pub spec: MountSpec,
    /// The caller's variables that are not secret.
    pub environment: CallerEnvironment,
    /// The caller gave keys by value, which are not kept.
    pub keys_were_given: bool,
    /// The caller gave a proxy's user or password, which are not kept.
    #[serde(default)]
    pub proxy_user_was_given: bool,
    /// Directories that were made for it, outermost first.
    pub created_directories: Vec<PathBuf>,
}

/// Reads the list of them without changing anything; one that cannot be read is empty.
pub fn read(file: &Path) -> Vec<SavedMount> {
    std::fs::read(file).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
}

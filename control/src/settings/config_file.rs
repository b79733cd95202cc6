//! `config.toml`: what a user sets once for every daemon of theirs.
//!
//! Owns: [`ConfigFile`], the file's exact keys. A key that is not known is an error with its line, because a misspelt
//! budget that is silently ignored is found out at the worst time.

use super::MEMORY_BYTES_MIN;
use crate::Failure;
use crate::quantity::{ByteSize, Period};
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// The file's keys, all of them optional.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfigFile {
    /// Directory of clean replicas.
    pub cache_dir: Option<PathBuf>,
    /// Directory of the journal, the list of mounts and the log.
    pub state_dir: Option<PathBuf>,
    /// Disk budget of clean replicas.
    pub cache_size: Option<ByteSize>,
    /// Memory budget.
    pub memory: Option<ByteSize>,
    /// How much of a file may be zeros that nobody wrote.
    pub holes_max: Option<ByteSize>,
    /// How long a daemon that is told to stop goes on publishing.
    pub drain_timeout: Option<Period>,
}

impl ConfigFile {
    /// Reads the file; one that is not there says nothing. Errors: one that cannot be read or has a mistake, with its key.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(err) if err.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(err) => return Err(Failure::from_io(format!("cannot read {}", path.display()), &err)),
        };
        let config: Self = toml::from_str(&text).map_err(|err| {
            Failure::usage(format!("{} has a mistake", path.display())).because(err.to_string().trim())
        })?;
        let dirs = [("cache_dir", &config.cache_dir), ("state_dir", &config.state_dir)];
        for (key, dir) in dirs.into_iter().filter_map(|(key, dir)| Some((key, dir.as_ref()?))) {
            if !dir.is_absolute() {
                let what = format!(
                    "must be an absolute path (~ is not expanded), not {:?}",
                    dir.display().to_string()
                );
                return Err(mistake(path, key, what));
            }
        }
        if let Some(size) = config.memory.filter(|size| size.0 < MEMORY_BYTES_MIN) {
            let what = format!("must be at least {}, not {size}", ByteSize(MEMORY_BYTES_MIN));
            return Err(mistake(path, "memory", what));
        }
        Ok(config)
    }
}

/// A value that no daemon can run with.
fn mistake(path: &Path, key: &str, what: String) -> Failure {
    Failure::usage(format!("{} has a mistake", path.display())).because(format!("{key} {what}"))
}

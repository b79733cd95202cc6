//! What the last daemon was asked to run with, kept in the state directory beside the list of mounts.
//!
//! Owns: [`KeptLimits`] and `limits.json`. A daemon that is started on demand to restore the mounts of an earlier one, which was killed,
//! runs with what that one was asked for. Only what a person gave by flag or variable is kept: what followed from `config.toml` or
//! the defaults follows from them again. Invariants: the file is replaced as a whole; it holds no secret.

use super::Limits;
use crate::Failure;
use crate::quantity::Period;
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::path::Path;
use std::time::Duration;

/// What a daemon was asked to run with.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptLimits {
    /// Budgets and the cache's directory.
    pub limits: Limits,
    /// How long it goes on publishing when it is told to stop.
    pub drain_timeout: Option<Period>,
}

impl KeptLimits {
    /// Reads `file`. One that is not there says nothing; nor does one that cannot be read, which the log tells.
    pub fn read(file: &Path) -> Self {
        let read = std::fs::read(file).and_then(|bytes| Ok(serde_json::from_slice(&bytes)?));
        read.unwrap_or_else(|error| {
            if error.kind() != std::io::ErrorKind::NotFound {
                tracing::warn!(file = %file.display(), %error, "the budgets of the daemon before this one are not known");
            }
            Self::default()
        })
    }

    /// Replaces `file`. Errors: the local disk's; the file is then as it was.
    pub fn write(&self, file: &Path) -> Result<(), Failure> {
        let replace = || -> std::io::Result<()> {
            // Created with mode 0600.
            let mut new = tempfile::NamedTempFile::new_in(file.parent().unwrap_or(Path::new("/")))?;
            serde_json::to_writer_pretty(&mut new, self)?;
            new.write_all(b"\n")?;
            new.as_file().sync_all()?;
            new.persist(file)?;
            Ok(())
        };
        replace().map_err(|error| Failure::from_io(format!("cannot write {}", file.display()), &error))
    }

    /// Takes what was not asked for now from `earlier`.
    pub fn or(self, earlier: Self) -> Self {
        Self {
            limits: Limits {
                cache_dir: self.limits.cache_dir.or(earlier.limits.cache_dir),
                cache_size: self.limits.cache_size.or(earlier.limits.cache_size),
                memory: self.limits.memory.or(earlier.limits.memory),
            },
            drain_timeout: self.drain_timeout.or(earlier.drain_timeout),
        }
    }

    /// The time to publish, as the settings take it.
    pub fn drain_time(&self) -> Option<Duration> {
        self.drain_timeout.map(|period| period.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quantity::ByteSize;

    #[test]
    fn what_is_asked_for_now_goes_before_what_was_kept() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("limits.json");
        assert_eq!(KeptLimits::read(&file), KeptLimits::default());
        let size = |megabytes: u64| Some(ByteSize(megabytes << 20));
        let earlier = KeptLimits {
            limits: Limits { cache_dir: Some("/earlier".into()), cache_size: size(1), memory: size(2) },
            drain_timeout: Some(Period(Duration::from_secs(3))),
        };
        earlier.write(&file).unwrap();
        assert_eq!(KeptLimits::read(&file), earlier);
        let asked =
            KeptLimits { limits: Limits { memory: size(9), ..Limits::default() }, drain_timeout: None };
        let both =
            KeptLimits { limits: Limits { memory: size(9), ..earlier.limits.clone() }, ..earlier.clone() };
        assert_eq!(asked.or(earlier), both);
        std::fs::write(&file, "{torn").unwrap();
        assert_eq!(KeptLimits::read(&file), KeptLimits::default());
    }
}

//! What a daemon runs with: directories, budgets, deadlines.
//!
//! Owns: [`Settings`], resolved once from what the starting command asked for ([`Limits`]), the `PAIL_*` variables,
//! `config.toml` and the defaults, the earlier of these going before the later, so that later code never sees where a
//! value came from; and `Limits::conflict`, by which a later command's wishes are compared with what is in force.

mod config_file;
mod directories;
mod host_memory;
mod kept;

pub use directories::{Directories, Lookup, prepare_private};
pub use kept::KeptLimits;

use crate::Failure;
use crate::quantity::ByteSize;
use config_file::ConfigFile;
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The most memory taken by default, however much there is.
const MEMORY_BYTES_DEFAULT_MAX: u64 = 1 << 30;
/// The least memory with which every read can go on.
const MEMORY_BYTES_MIN: u64 = 16 << 20;
/// The most disk taken by default, however much is free.
const CACHE_BYTES_DEFAULT_MAX: u64 = 20 << 30;
/// How much of a file may be zeros that nobody wrote unless it is set, in bytes.
pub const HOLE_BYTES_MAX_DEFAULT: u64 = 64 << 30;
/// A spot instance is given two minutes; this leaves ten seconds to unmount and write the report.
const DRAIN_TIMEOUT_DEFAULT: Duration = Duration::from_secs(110);

/// What a command asks the daemon to run with, by flag or `PAIL_*` variable. What is `None` is not asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Directory of clean replicas.
    pub cache_dir: Option<PathBuf>,
    /// Disk budget of clean replicas.
    pub cache_size: Option<ByteSize>,
    /// Memory budget.
    pub memory: Option<ByteSize>,
}

/// What a daemon runs with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where it keeps its things.
    pub directories: Directories,
    /// Memory budget of all mounts together, in bytes.
    pub memory_bytes: u64,
    /// Disk budget of clean replicas of all mounts together, in bytes; 0 keeps none on disk.
    pub cache_bytes: u64,
    /// How much of a file may be zeros that nobody wrote, in bytes.
    pub hole_bytes_max: u64,
    /// How long a daemon that is told to stop goes on publishing.
    pub drain_timeout: Duration,
}

/// One variable of this process's environment.
pub fn process_environment(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

impl Settings {
    /// Resolves the settings of a daemon that `limits` starts. Errors: a variable or a line of `config.toml` that
    /// cannot be read, a budget too small to work with, no home directory.
    pub fn resolve(
        limits: &Limits,
        drain_timeout: Option<Duration>,
        env: Lookup<'_>,
    ) -> Result<Self, Failure> {
        let config = match directories::config_file(env) {
            Some(path) => ConfigFile::read(&path)?,
            None => ConfigFile::default(),
        };
        let asked = limits.clone().or_environment(env)?;
        let uid = rustix::process::geteuid().as_raw();
        let directories = place(&asked, &config, env, uid)?;
        let memory_bytes = match asked.memory.or(config.memory) {
            // By flag or variable; a line of config.toml was looked at when it was read.
            Some(size) if size.0 < MEMORY_BYTES_MIN => {
                return Err(Failure::usage(format!("a memory budget of {size} is too small")).with_hint(
                    format!("give at least {} by --memory or PAIL_MEMORY", ByteSize(MEMORY_BYTES_MIN)),
                ));
            }
            Some(size) => size.0,
            None => default_memory_bytes(host_memory::host_memory_bytes()),
        };
        let cache_bytes = match asked.cache_size.or(config.cache_size) {
            Some(size) => size.0,
            None => (free_bytes(&directories.cache) / 2).min(CACHE_BYTES_DEFAULT_MAX),
        };
        let hole_bytes_max = config.holes_max.map_or(HOLE_BYTES_MAX_DEFAULT, |size| size.0);
        let drain_timeout =
            drain_timeout.or(config.drain_timeout.map(|period| period.0)).unwrap_or(DRAIN_TIMEOUT_DEFAULT);
        Ok(Self { directories, memory_bytes, cache_bytes, hole_bytes_max, drain_timeout })
    }
}

/// Directories by environment and configuration; `limits` has the cache's already, where it was asked for.
fn place(asked: &Limits, config: &ConfigFile, env: Lookup<'_>, uid: u32) -> Result<Directories, Failure> {
    // What config.toml says stands below Pail's own variables and above XDG: given to the one resolver as if it were
    // the variable, where that is unset. Its mistakes were found when it was read, so that no variable is blamed for them.
    let with_config = |name: &str| {
        let configured = match name {
            "PAIL_CACHE_DIR" => asked.cache_dir.clone().or_else(|| config.cache_dir.clone()),
            "PAIL_STATE_DIR" => {
                let told = env(name).filter(|value| !value.is_empty()).map(PathBuf::from);
                told.or_else(|| config.state_dir.clone())
            }
            _ => None,
        };
        configured.map(PathBuf::into_os_string).or_else(|| env(name))
    };
    Directories::from_environment(&with_config, uid)
}

fn default_memory_bytes(host_bytes: u64) -> u64 {
    (host_bytes / 4).clamp(MEMORY_BYTES_MIN, MEMORY_BYTES_DEFAULT_MAX)
}

/// Bytes that this user can still write at `dir`, or at what will be its parent.
fn free_bytes(dir: &Path) -> u64 {
    dir.ancestors()
        .find_map(|place| rustix::fs::statvfs(place).ok())
        .map_or(0, |stat| stat.f_bavail.saturating_mul(stat.f_frsize))
}

impl Limits {
    /// Takes from `PAIL_CACHE_DIR`, `PAIL_CACHE_SIZE` and `PAIL_MEMORY` what was not asked for by flag.
    /// Errors: a variable that is not a size.
    pub fn or_environment(self, env: Lookup<'_>) -> Result<Self, Failure> {
        let size = |name: &str, flag: Option<ByteSize>| match (flag, env(name)) {
            (None, Some(text)) if !text.is_empty() => text
                .to_string_lossy()
                .parse()
                .map(Some)
                .map_err(|err| Failure::usage(format!("{name} is wrong")).because(format!("{err}"))),
            (flag, _) => Ok(flag),
        };
        Ok(Self {
            cache_size: size("PAIL_CACHE_SIZE", self.cache_size)?,
            memory: size("PAIL_MEMORY", self.memory)?,
            cache_dir: self
                .cache_dir
                .or_else(|| env("PAIL_CACHE_DIR").filter(|value| !value.is_empty()).map(PathBuf::from)),
        })
    }

    /// What is asked for here and is not what a daemon runs with: one line for each, empty when all agrees.
    pub fn conflicts(&self, cache_dir: &Path, cache_bytes: u64, memory_bytes: u64) -> Vec<String> {
        let mut conflicts = Vec::new();
        if let Some(dir) = self.cache_dir.as_deref().filter(|dir| *dir != cache_dir) {
            conflicts.push(format!("cache directory {} (in force: {})", dir.display(), cache_dir.display()));
        }
        if let Some(size) = self.cache_size.filter(|size| size.0 != cache_bytes) {
            conflicts.push(format!("cache size {size} (in force: {})", ByteSize(cache_bytes)));
        }
        if let Some(size) = self.memory.filter(|size| size.0 != memory_bytes) {
            conflicts.push(format!("memory {size} (in force: {})", ByteSize(memory_bytes)));
        }
        conflicts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Given {
        vars: Vec<(&'static str, OsString)>,
        home: tempfile::TempDir,
    }

    impl Given {
        fn new(vars: &[(&'static str, &str)], config: &str) -> Self {
            let home = tempfile::tempdir().unwrap();
            let mut vars: Vec<_> = vars.iter().map(|(name, value)| (*name, OsString::from(value))).collect();
            vars.push(("HOME", home.path().into()));
            if !config.is_empty() {
                std::fs::create_dir_all(home.path().join(".config/pail")).unwrap();
                std::fs::write(home.path().join(".config/pail/config.toml"), config).unwrap();
            }
            Self { vars, home }
        }

        fn resolve(&self, limits: &Limits) -> Result<Settings, Failure> {
            let env =
                |name: &str| self.vars.iter().find(|(key, _)| *key == name).map(|(_, value)| value.clone());
            Settings::resolve(limits, None, &env)
        }
    }

    #[test]
    fn flags_go_before_variables_before_the_file_before_defaults() {
        let config = "memory = \"100M\"\ncache_size = \"1G\"\ncache_dir = \"/from/file\"\ndrain_timeout = \"30s\"\nholes_max = \"1T\"\n";
        let given = Given::new(&[("PAIL_MEMORY", "200M"), ("PAIL_CACHE_DIR", "/from/variable")], config);
        let settings = given.resolve(&Limits::default()).unwrap();
        assert_eq!(settings.memory_bytes, 200 << 20);
        assert_eq!(settings.cache_bytes, 1 << 30);
        assert_eq!(settings.directories.cache, Path::new("/from/variable"));
        assert_eq!(settings.drain_timeout, Duration::from_secs(30));
        assert_eq!(settings.hole_bytes_max, 1 << 40);

        let flags = Limits {
            memory: Some(ByteSize(300 << 20)),
            cache_size: Some(ByteSize(0)),
            cache_dir: Some("/from/flag".into()),
        };
        let settings = given.resolve(&flags).unwrap();
        assert_eq!((settings.memory_bytes, settings.cache_bytes), (300 << 20, 0));
        assert_eq!(settings.directories.cache, Path::new("/from/flag"));

        let settings = Given::new(&[], config).resolve(&Limits::default()).unwrap();
        assert_eq!(settings.directories.cache, Path::new("/from/file"));

        let given = Given::new(&[], "");
        let settings = given.resolve(&Limits::default()).unwrap();
        assert_eq!(settings.directories.cache, given.home.path().join(".cache/pail"));
        assert!(
            settings.memory_bytes >= MEMORY_BYTES_MIN && settings.memory_bytes <= MEMORY_BYTES_DEFAULT_MAX
        );
        assert_eq!(settings.drain_timeout, DRAIN_TIMEOUT_DEFAULT);
        assert_eq!(settings.hole_bytes_max, HOLE_BYTES_MAX_DEFAULT);
    }

    #[test]
    fn mistakes_say_where_they_are() {
        for (vars, config, told) in [
            (vec![("PAIL_MEMORY", "lots")], "", "PAIL_MEMORY"),
            (vec![], "memoyr = 1\n", "config.toml"),
            (vec![], "memory = \"lots\"\n", "memory = "),
            (vec![], "memory = \"1M\"\n", "config.toml has a mistake: memory must be at least 16M"),
            (
                vec![],
                "cache_dir = \"~/c\"\n",
                "config.toml has a mistake: cache_dir must be an absolute path",
            ),
            (vec![], "state_dir = \"s\"\n", "config.toml has a mistake: state_dir must be an absolute path"),
            (vec![("PAIL_MEMORY", "1M")], "", "PAIL_MEMORY"),
            (vec![("PAIL_CACHE_DIR", "relative")], "", "PAIL_CACHE_DIR"),
        ] {
            let failure = Given::new(&vars, config).resolve(&Limits::default()).unwrap_err();
            assert!(failure.to_string().contains(told), "{failure}");
            assert_eq!(failure.to_string().contains("PAIL_"), !vars.is_empty(), "{failure}");
            assert_eq!(failure.kind.exit_code(), 2, "{failure}");
        }
        // An empty variable says nothing.
        let given = Given::new(&[("PAIL_STATE_DIR", "")], "state_dir = \"/from/file\"\n");
        let settings = given.resolve(&Limits::default()).unwrap();
        assert_eq!(settings.directories.state, Path::new("/from/file"));
    }

    #[test]
    fn only_what_was_asked_for_can_conflict() {
        let dir = Path::new("/cache");
        assert!(Limits::default().conflicts(dir, 5, 6).is_empty());
        let same =
            Limits { cache_dir: Some(dir.into()), cache_size: Some(ByteSize(5)), memory: Some(ByteSize(6)) };
        assert!(same.conflicts(dir, 5, 6).is_empty());
        let other = Limits { memory: Some(ByteSize(1 << 30)), ..same };
        assert_eq!(other.conflicts(dir, 5, 1 << 20), ["memory 1G (in force: 1M)"]);
    }
}

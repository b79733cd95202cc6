//! Where a daemon keeps its things.
//!
//! Owns: [`Directories`]. By the XDG base directory specification, each one overridden by a variable of Pail's own, so
//! that daemons with different directories run side by side. Invariant: a directory that holds a socket, a journal or
//! object bytes belongs to this user and is closed to others; one that is not is refused, never repaired, because
//! somebody else may have planted it.

use crate::Failure;
use rustix::fs::Access;
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// What helps where a directory cannot be used.
const OWN_DIRECTORIES_HINT: &str = "set PAIL_RUNTIME_DIR, and PAIL_STATE_DIR and PAIL_CACHE_DIR (state_dir and cache_dir in config.toml), to directories of your own";

/// How long the path of a Unix socket may be: `sun_path` of unix(7) without its zero byte.
const SOCKET_PATH_BYTES_MAX: usize = 107;
const SOCKET: &str = "control.sock";

/// The directories of one daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Directories {
    /// Clean replicas. People may clear it.
    pub cache: PathBuf,
    /// The journal of unpublished files, the list of mounts, the log.
    pub state: PathBuf,
    /// Socket and lock; gone after a reboot.
    pub runtime: PathBuf,
}

/// Reads one environment variable; tests give their own.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<OsString>;

impl Directories {
    /// Where the directories are when nothing but the environment says so. Errors: none of `HOME` and the variable
    /// that would replace it is set; a variable of Pail's own that is no absolute path; a runtime directory whose path is too long
    /// for a socket in it.
    pub fn from_environment(env: Lookup<'_>, uid: u32) -> Result<Self, Failure> {
        let place = |own: &str, xdg: &str, below_home: &str| -> Result<PathBuf, Failure> {
            if let Some(dir) = absolute(env, own)? {
                return Ok(dir);
            }
            if let Some(base) = xdg_base(env, xdg) {
                return Ok(base.join("pail"));
            }
            home(env).map(|home| home.join(below_home).join("pail")).ok_or_else(|| {
                Failure::usage(format!("neither {own} nor HOME is set"))
                    .with_hint(format!("set {own} to a directory of your own"))
            })
        };
        let directories = Self {
            cache: place("PAIL_CACHE_DIR", "XDG_CACHE_HOME", ".cache")?,
            state: place("PAIL_STATE_DIR", "XDG_STATE_HOME", ".local/state")?,
            runtime: match absolute(env, "PAIL_RUNTIME_DIR")? {
                Some(dir) => dir,
                None => default_runtime(env, uid),
            },
        };
        directories.check_socket()?;
        Ok(directories)
    }

    /// No daemon could listen, and no command connect: a start would only be waited for in vain.
    fn check_socket(&self) -> Result<(), Failure> {
        let socket = self.socket();
        let len = socket.as_os_str().len();
        if len <= SOCKET_PATH_BYTES_MAX {
            return Ok(());
        }
        let socket = socket.display();
        let dir_len_max = SOCKET_PATH_BYTES_MAX - SOCKET.len() - 1;
        Err(Failure::usage("the path of the runtime directory is too long for a socket in it")
            .because(format!("{socket} has {len} bytes, of {SOCKET_PATH_BYTES_MAX} that the kernel takes"))
            .with_hint(format!(
                "set PAIL_RUNTIME_DIR to a directory of your own with a path of at most {dir_len_max} bytes"
            )))
    }

    /// The control socket.
    pub fn socket(&self) -> PathBuf {
        self.runtime.join(SOCKET)
    }

    /// Held by the daemon for as long as it lives.
    pub fn lock_file(&self) -> PathBuf {
        self.runtime.join("daemon.lock")
    }

    /// The list of mounts.
    pub fn mounts_file(&self) -> PathBuf {
        self.state.join("mounts.json")
    }

    /// What the last daemon was asked to run with.
    pub fn kept_limits_file(&self) -> PathBuf {
        self.state.join("limits.json")
    }

    /// The log of a daemon that was started on demand.
    pub fn log_file(&self) -> PathBuf {
        self.state.join("mountd.log")
    }

    /// What the last daemon left unpublished when it was told to stop.
    pub fn drain_report_file(&self) -> PathBuf {
        self.state.join("last-drain.json")
    }

    /// Creates what is missing and checks what is there. Errors: a directory of another user or open to others, or
    /// one that cannot be created.
    pub fn prepare(&self, uid: u32) -> Result<(), Failure> {
        for dir in [&self.runtime, &self.state, &self.cache] {
            prepare_private(dir, uid)?;
        }
        Ok(())
    }
}

/// The configuration file's place: `$XDG_CONFIG_HOME/pail/config.toml`.
pub fn config_file(env: Lookup<'_>) -> Option<PathBuf> {
    let base = xdg_base(env, "XDG_CONFIG_HOME").or_else(|| home(env).map(|home| home.join(".config")))?;
    Some(base.join("pail/config.toml"))
}

/// Creates `dir` with mode 0700, or checks that it is this user's own.
pub fn prepare_private(dir: &Path, uid: u32) -> Result<(), Failure> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|err| {
        Failure::from_io(format!("cannot create the directory {}", dir.display()), &err)
            .with_hint(OWN_DIRECTORIES_HINT)
    })?;
    let meta = std::fs::metadata(dir)
        .map_err(|err| Failure::from_io(format!("cannot read the directory {}", dir.display()), &err))?;
    if meta.uid() != uid {
        return Err(Failure::usage(format!(
            "{} belongs to user {}, not to you ({uid})",
            dir.display(),
            meta.uid()
        ))
        .with_hint(OWN_DIRECTORIES_HINT));
    }
    let all = Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK;
    rustix::fs::access(dir, all).map_err(|errno| {
        let message = format!("cannot read and write in the directory {}", dir.display());
        Failure::from_io(message, &errno.into()).with_hint(format!("chmod u+rwx {}", dir.display()))
    })?;
    if meta.permissions().mode() & 0o022 != 0 {
        return Err(Failure::usage(format!("others may write to {}", dir.display()))
            .with_hint(format!("chmod go-w {}, after a look at what is in it", dir.display())));
    }
    Ok(())
}

fn default_runtime(env: Lookup<'_>, uid: u32) -> PathBuf {
    // A variable that names a directory which is not there is common in containers and after `su`.
    let base = match xdg_base(env, "XDG_RUNTIME_DIR").filter(|base| base.is_dir()) {
        Some(base) => return base.join("pail"),
        None if uid == 0 => PathBuf::from("/run/pail"),
        None => PathBuf::from(format!("/tmp/pail-{uid}")),
    };
    match own_mount_namespace() {
        Some(namespace) => base.join(namespace),
        None => base,
    }
}

/// The number of this process's mount namespace, where it is not known to be the machine's own, that of process 1: /run and /tmp are
/// shared by hosts that differ in their mounts, and the mounts of a daemon in another namespace are not seen in this one.
fn own_mount_namespace() -> Option<String> {
    let of = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/mnt")).ok();
    let own = of("self")?;
    if of("1").as_ref() == Some(&own) {
        return None;
    }
    // As `mnt:[4026531841]`; an ordinary user cannot see that of process 1.
    let number: String = own.to_str()?.chars().filter(char::is_ascii_digit).collect();
    (!number.is_empty()).then_some(number)
}

fn home(env: Lookup<'_>) -> Option<PathBuf> {
    xdg_base(env, "HOME")
}

/// A base directory; the specification has relative ones ignored.
fn xdg_base(env: Lookup<'_>, name: &str) -> Option<PathBuf> {
    env(name).map(PathBuf::from).filter(|path| path.is_absolute())
}

/// A directory of Pail's own variable, which must be absolute: the daemon's working directory is `/`.
fn absolute(env: Lookup<'_>, name: &str) -> Result<Option<PathBuf>, Failure> {
    match env(name).filter(|value| !value.is_empty()).map(PathBuf::from) {
        Some(path) if !path.is_absolute() => {
            Err(Failure::usage(format!("{name} must be an absolute path, not {}", path.display())))
        }
        found => Ok(found),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(vars: &[(&str, &str)], uid: u32) -> Result<Directories, Failure> {
        let env =
            |name: &str| vars.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value));
        Directories::from_environment(&env, uid)
    }

    #[test]
    fn own_variables_go_before_xdg_and_xdg_before_home() {
        let dirs = resolve(
            &[
                ("HOME", "/home/a"),
                ("XDG_CACHE_HOME", "/fast"),
                ("PAIL_STATE_DIR", "/journal"),
                ("XDG_STATE_HOME", "/x"),
            ],
            1000,
        )
        .unwrap();
        assert_eq!(dirs.cache, Path::new("/fast/pail"));
        assert_eq!(dirs.state, Path::new("/journal"));
        let dirs = resolve(&[("HOME", "/home/a"), ("XDG_CACHE_HOME", "relative")], 1000).unwrap();
        assert_eq!(dirs.cache, Path::new("/home/a/.cache/pail"));
        assert_eq!(dirs.state, Path::new("/home/a/.local/state/pail"));
    }

    #[test]
    fn runtime_directory_falls_back_by_user() {
        let home = ("HOME", "/h");
        // Below it, a mount namespace that is not the machine's own has a directory of its own.
        assert!(resolve(&[home], 0).unwrap().runtime.starts_with("/run/pail"));
        assert!(resolve(&[home], 7).unwrap().runtime.starts_with("/tmp/pail-7"));
        assert_eq!(resolve(&[home, ("XDG_RUNTIME_DIR", "/")], 7).unwrap().runtime, Path::new("/pail"));
        let runtime = resolve(&[home, ("XDG_RUNTIME_DIR", "/is/not/there")], 7).unwrap().runtime;
        assert!(runtime.starts_with("/tmp/pail-7"), "{runtime:?}");
        assert_eq!(resolve(&[home, ("PAIL_RUNTIME_DIR", "/r")], 7).unwrap().runtime, Path::new("/r"));
    }

    #[test]
    fn a_runtime_directory_is_as_long_as_a_socket_s_path_may_be() {
        let runtime = |len: usize| format!("/{}", "r".repeat(len - 1));
        for variable in ["PAIL_RUNTIME_DIR", "XDG_RUNTIME_DIR"] {
            let longest = runtime(94);
            resolve(&[("HOME", "/h"), (variable, &longest)], 7).unwrap();
        }
        let failure = resolve(&[("HOME", "/h"), ("PAIL_RUNTIME_DIR", &runtime(95))], 7).unwrap_err();
        let told = failure.to_string();
        for part in
            [&runtime(95), "/control.sock has 108 bytes, of 107", "PAIL_RUNTIME_DIR", "at most 94 bytes"]
        {
            assert!(told.contains(part), "{failure}");
        }
        assert_eq!(failure.kind.exit_code(), 2);
        // The kernel's word on that number.
        let dir = tempfile::tempdir().unwrap();
        let at = |len: usize| {
            let room = len - dir.path().as_os_str().len() - 1;
            std::os::unix::net::UnixListener::bind(dir.path().join("s".repeat(room)))
        };
        assert!(at(SOCKET_PATH_BYTES_MAX).is_ok() && at(SOCKET_PATH_BYTES_MAX + 1).is_err());
    }

    #[test]
    fn without_a_home_the_error_names_the_variable_to_set() {
        let failure = resolve(&[("XDG_STATE_HOME", "/s")], 7).unwrap_err();
        assert!(failure.to_string().contains("PAIL_CACHE_DIR"), "{failure}");
        let failure = resolve(&[("HOME", "/h"), ("PAIL_RUNTIME_DIR", "run")], 7).unwrap_err();
        assert!(failure.to_string().contains("PAIL_RUNTIME_DIR"), "{failure}");
    }

    #[test]
    fn a_directory_open_to_others_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let uid = rustix::process::getuid().as_raw();
        let dir = root.path().join("a/b");
        prepare_private(&dir, uid).unwrap();
        assert_eq!(std::fs::metadata(&dir).unwrap().permissions().mode() & 0o777, 0o700);
        std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o777)).unwrap();
        assert!(prepare_private(&dir, uid).is_err());
        assert!(prepare_private(root.path(), uid + 1).unwrap_err().to_string().contains("belongs to user"));
    }
}

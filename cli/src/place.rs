//! Places on a node: what a task's destination means there, and the directories for it.
//!
//! Owns: [`resolve`], [`make_place`] and [`may_use_sudo`]. Invariant: a directory that was there before keeps its owner and its permissions;
//! the user gets only those that are made here.

use pail_control::Failure;
use std::ffi::OsStr;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::process::{Command, Stdio};

/// The directory that setup and run run in, and that relative destinations are below, in the home.
pub const WORKDIR: &str = "sky_workdir";

/// What is to be there afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlaceKind {
    /// A directory at the path.
    Directory,
    /// A directory for the path to be in.
    ParentOf,
}

/// The path that a task's destination means: `~` is the home, a relative one is below `~/sky_workdir`. Errors: one of another
/// user's home.
pub fn resolve(destination: &str, home: &Path) -> Result<PathBuf, Failure> {
    let path = match destination.strip_prefix('~') {
        Some("") => home.to_owned(),
        Some(rest) => match rest.strip_prefix('/') {
            Some(below) => home.join(below.trim_start_matches('/')),
            None => {
                return Err(Failure::usage(format!("{destination} is in another user's home"))
                    .with_hint("write the whole path"));
            }
        },
        None => home.join(WORKDIR).join(destination),
    };
    // As it is written: what a symbolic link on the way would make of `..` is not asked.
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(plain.pop()),
            part => plain.push(part),
        }
    }
    Ok(plain)
}

/// Whether nothing is at `path`, by the kernel's own word: a dead mount is neither there nor missing.
pub fn is_missing(path: &Path) -> bool {
    matches!(std::fs::symlink_metadata(path), Err(err) if err.kind() == ErrorKind::NotFound)
}

/// Makes the directories that are missing; by sudo where this user may not and sudo asks no password. Blocks. Errors: neither may,
/// or something else than a directory is in the way; which one is said.
pub fn make_place(path: &Path, kind: PlaceKind) -> Result<(), Failure> {
    let wanted = match kind {
        PlaceKind::Directory => path,
        PlaceKind::ParentOf => path.parent().unwrap_or(path),
    };
    let err = match std::fs::create_dir_all(wanted) {
        Ok(()) => return Ok(()),
        Err(err) => err,
    };
    // By the kernel's own word: a dead mount is neither there nor missing.
    let missing_kinds = [ErrorKind::NotFound, ErrorKind::NotADirectory];
    let is_missing =
        |dir: &&Path| std::fs::symlink_metadata(dir).is_err_and(|err| missing_kinds.contains(&err.kind()));
    let mut missing: Vec<&Path> = wanted.ancestors().take_while(is_missing).collect();
    missing.reverse();
    let above = missing.first().map_or(Some(wanted), |first| first.parent()).unwrap_or(wanted);
    let cannot = format!("cannot create {}", wanted.display());
    if !above.is_dir() {
        let why = format!("{} is not a directory", above.display());
        return Err(Failure::other(cannot).because(why).with_hint("remove it, or name another place"));
    }
    if err.kind() != ErrorKind::PermissionDenied || missing.is_empty() {
        return Err(Failure::from_io(cannot, &err));
    }
    make_by_sudo(&missing).map_err(|why| {
        Failure::other(format!("{cannot}: you may not write to {}", above.display()))
            .because(why)
            .with_hint("create it once as root and make it yours, or name a place below your home directory")
    })
}

fn make_by_sudo(missing: &[&Path]) -> Result<(), String> {
    let (user, group) = (rustix::process::getuid(), rustix::process::getgid());
    let owner = format!("{}:{}", user.as_raw(), group.as_raw());
    let script =
        "owner=$1; shift; for dir; do mkdir -- \"$dir\" && chown -- \"$owner\" \"$dir\" || exit 1; done";
    let fixed = ["sh", "-c", script, "sh", &owner].map(OsStr::new);
    sudo(fixed.into_iter().chain(missing.iter().map(|dir| dir.as_os_str())))
}

/// Whether sudo does what it is told without asking for a password.
pub fn may_use_sudo() -> bool {
    sudo([OsStr::new("true")]).is_ok()
}

/// Runs a command by sudo, without a terminal. Errors: what sudo or the command said.
fn sudo<'a>(command: impl IntoIterator<Item = &'a OsStr>) -> Result<(), String> {
    let output = Command::new("sudo").arg("-n").args(command).stdin(Stdio::null()).output();
    match output {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(String::from_utf8_lossy(output.stderr.trim_ascii()).into_owned()),
        Err(err) => Err(format!("sudo: {err}")),
    }
}

/// Whether this user may make and replace entries in `dir`.
pub fn is_writable(dir: &Path) -> bool {
    debug_assert!(!dir.as_os_str().as_bytes().is_empty());
    rustix::fs::access(dir, rustix::fs::Access::WRITE_OK).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations_mean_places_on_the_node() {
        let home = Path::new("/home/u");
        let path = |destination| resolve(destination, home).unwrap();
        assert_eq!(path("~/x"), Path::new("/home/u/x"));
        assert_eq!(path("~"), home);
        assert_eq!(path("data/set"), Path::new("/home/u/sky_workdir/data/set"));
        assert_eq!(path("/abs//x/"), Path::new("/abs/x"));
        assert_eq!(path("/a/../b"), Path::new("/b"));
        assert!(resolve("~root/x", home).is_err());
    }

    #[test]
    fn a_file_in_the_way_is_named() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("file"), "").unwrap();
        let failure = make_place(&dir.path().join("file/below"), PlaceKind::Directory).unwrap_err();
        assert!(failure.causes[0].contains("file is not a directory"), "{failure}");
        make_place(&dir.path().join("a/b"), PlaceKind::Directory).unwrap();
        make_place(&dir.path().join("c/d"), PlaceKind::ParentOf).unwrap();
        assert!(dir.path().join("a/b").is_dir() && dir.path().join("c").is_dir());
        assert!(!dir.path().join("c/d").exists());
    }
}

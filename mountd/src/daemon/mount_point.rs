//! The directory that a bucket is to be mounted at: its checks, its making and its removal.
//!
//! Owns: [`MountPoint`], and [`Prepared`], the moment before the mount. Nothing is touched before every check has passed, and a dead mount
//! stays until the new one is ready: programs get ENOTCONN there meanwhile, and none writes into the bare directory. All functions block, and may block for long on
//! somebody's hung network file system: call them off the runtime's workers.
//!
//! Invariant: a directory is removed only if this daemon made it and it is empty.

use pail_control::Failure;
use pail_control::mountinfo;
use pail_control::place::is_dead;
use pail_control::types::Beneath;
use std::fs::Permissions;
use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// How many names of what is beneath a mount are told.
const BENEATH_NAMED_MAX: usize = 5;
/// How many of them are counted.
const BENEATH_COUNT_MAX: usize = 10_000;

/// A place at which a bucket can be mounted.
#[derive(Debug)]
pub struct MountPoint {
    path: PathBuf,
    /// It was mounted there before and is mounted again: over whatever has got into the directory meanwhile.
    restores: bool,
    /// A Pail mount without a daemon is there, whose place the new one takes.
    pub dead: bool,
    /// Directories that are missing, outermost first.
    missing: Vec<PathBuf>,
}

impl MountPoint {
    /// Checks that a bucket can be mounted at `path`, which is resolved. With `restores` it may hold something.
    /// Errors: it is a file, is not empty, lies within a Pail mount, is another file system's mount point.
    pub fn check(path: &Path, restores: bool) -> Result<Self, Failure> {
        let mounts = read_mounts()?;
        let mut dead = false;
        if let Some(mounted) = mountinfo::at(&mounts, path) {
            let source = mounted.source.to_string_lossy().into_owned();
            if !mounted.is_pail() {
                return Err(Failure::usage(format!(
                    "{} is a mount point already: {source} ({})",
                    path.display(),
                    mounted.fs_type
                ))
                .with_hint("mount at another directory, or unmount that one first"));
            }
            if !is_dead(path) {
                return Err(Failure::usage(format!(
                    "{source} is mounted at {} by another daemon",
                    path.display()
                ))
                .with_hint("`pail status` with that daemon's PAIL_RUNTIME_DIR shows it"));
            }
            dead = true;
        }
        if let Some(outer) = mountinfo::pail_above(&mounts, path) {
            return Err(Failure::usage(format!(
                "{} lies within the mount of {} at {}",
                path.display(),
                outer.source.to_string_lossy(),
                outer.mount_point.display()
            ))
            .with_hint("a directory made there would become an object of that bucket: mount elsewhere"));
        }
        // Beneath a dead mount is a directory; what is in it is looked at just before the new one is made.
        let missing = if dead { Vec::new() } else { inspect(path, restores)? };
        Ok(Self { path: path.to_owned(), restores, dead, missing })
    }

    /// The last look before the mount, which is to follow at once. Errors: something is in the directory that no earlier mount was at.
    pub fn prepare(&self) -> Result<Prepared, Failure> {
        let mut replaces_dead = thin_out(&self.path, 1)? > 0;
        if replaces_dead && !rustix::process::geteuid().is_root() {
            // fusermount3 asks the directory first, which a dead mount does not answer: a moment between there must be.
            thin_out(&self.path, 0)?;
            replaces_dead = false;
        }
        let beneath = open_beneath(&self.path, replaces_dead).inspect_err(
            |error| tracing::debug!(dir = %self.path.display(), %error, "what is beneath cannot be seen"),
        );
        let prepared = Prepared { replaces_dead, beneath: beneath.ok() };
        match prepared.beneath() {
            Some(beneath) if !self.restores => Err(is_not_empty(&self.path, &beneath.names[0])),
            _ => Ok(prepared),
        }
    }

    /// Creates what is missing; returns what it created, outermost first. Errors: none of it stays created.
    pub fn create(&self) -> Result<Vec<PathBuf>, Failure> {
        let mut created: Vec<PathBuf> = Vec::new();
        for dir in &self.missing {
            match std::fs::create_dir(dir) {
                Ok(()) => {
                    created.push(dir.clone());
                    // The daemon's umask is for what is private to it; this is a place for programs.
                    let _ = std::fs::set_permissions(dir, Permissions::from_mode(0o755));
                }
                // Somebody else made it meanwhile: theirs then.
                Err(err) if err.kind() == ErrorKind::AlreadyExists => {}
                Err(err) => {
                    remove_created(&created);
                    return Err(Failure::from_io(format!("cannot create {}", dir.display()), &err)
                        .with_hint(
                            "create the mount point yourself, or choose one in a directory of your own",
                        ));
                }
            }
        }
        Ok(created)
    }
}

/// A directory that is about to be covered by a mount.
pub struct Prepared {
    /// A dead mount is there, and the new one is to take its place.
    pub replaces_dead: bool,
    /// The directory itself, beneath whatever is mounted there.
    beneath: Option<OwnedFd>,
}

impl Prepared {
    /// What is in the directory now, also once it is covered; `None` where there is nothing, or where it cannot be seen.
    pub fn beneath(&self) -> Option<Beneath> {
        let mut names: Vec<String> = rustix::fs::Dir::read_from(self.beneath.as_ref()?)
            .ok()?
            .map_while(Result::ok)
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .filter(|name| name != "." && name != "..")
            .take(BENEATH_COUNT_MAX)
            .collect();
        names.sort_unstable();
        let count = names.len() as u64;
        names.truncate(BENEATH_NAMED_MAX);
        (count > 0).then_some(Beneath { names, count })
    }
}

/// The directory at `path`; beneath the mount there, if it is covered, which a copy of the mount that its parent is on shows. Errors: only
/// root can do that.
fn open_beneath(path: &Path, is_covered: bool) -> rustix::io::Result<OwnedFd> {
    use rustix::fs::{CWD, Mode, OFlags, open, openat};
    use rustix::mount::{OpenTreeFlags, open_tree};
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    match (is_covered, path.parent(), path.file_name()) {
        (true, Some(parent), Some(name)) => {
            let copy =
                open_tree(CWD, parent, OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC)?;
            openat(copy, name, flags | OFlags::NOFOLLOW, Mode::empty())
        }
        _ => open(path, flags, Mode::empty()),
    }
}

/// Takes off dead Pail mounts at `path` until `keep` are left; how many are. Of several the lower ones were covered, which a kernel
/// before 6.5 leaves no other way. Errors: the kernel's.
pub fn thin_out(path: &Path, keep: usize) -> Result<usize, Failure> {
    loop {
        let mounts = read_mounts()?;
        let here: Vec<_> = mounts.iter().filter(|mount| mount.mount_point == path).collect();
        if !here.last().is_some_and(|top| top.is_pail()) || !is_dead(path) {
            return Ok(0);
        }
        let dead = here.iter().rev().take_while(|mount| mount.is_pail()).count();
        if dead <= keep {
            return Ok(dead);
        }
        crate::fuse::unmount(path, true).map_err(|err| {
            Failure::from_io(format!("cannot clear the dead mount at {}", path.display()), &err)
        })?;
        tracing::warn!(mount = %path.display(), "cleared a dead mount");
    }
}

/// Removes directories that [`MountPoint::create`] made, innermost first, as far as they are empty.
pub fn remove_created(created: &[PathBuf]) {
    for dir in created.iter().rev() {
        if let Err(err) = std::fs::remove_dir(dir) {
            tracing::debug!(dir = %dir.display(), error = %err, "a directory made for a mount stays");
            return;
        }
    }
}

fn read_mounts() -> Result<Vec<mountinfo::MountInfo>, Failure> {
    mountinfo::read().map_err(|err| Failure::from_io("cannot read /proc/self/mountinfo", &err))
}

/// The directories that are missing on the way to `path`. Errors: it, or something on the way, is not an empty directory.
fn inspect(path: &Path, may_hold_something: bool) -> Result<Vec<PathBuf>, Failure> {
    let mut missing = Vec::new();
    for place in path.ancestors() {
        match std::fs::symlink_metadata(place) {
            // What lies "below" a file is missing; the file itself is met further up.
            Err(err) if matches!(err.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                missing.push(place.to_owned());
            }
            Err(err) => return Err(Failure::from_io(format!("cannot look at {}", place.display()), &err)),
            Ok(meta) if !meta.is_dir() => {
                return Err(Failure::usage(format!("{} is not a directory", place.display()))
                    .with_hint("mount at an empty directory, or at a name that is not taken"));
            }
            Ok(_) => break,
        }
    }
    missing.reverse();
    if missing.is_empty() {
        if !may_hold_something {
            refuse_content(path)?;
        }
        // fusermount3 would refuse it too, once everything else is done. Root may write everywhere.
        if rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_err() {
            return Err(Failure::usage(format!("you may not write to {}", path.display())).with_hint(
                "a mount point must be a directory of your own: choose another, or have this one made yours",
            ));
        }
    }
    Ok(missing)
}

fn refuse_content(path: &Path) -> Result<(), Failure> {
    let mut entries = std::fs::read_dir(path)
        .map_err(|err| Failure::from_io(format!("cannot look into {}", path.display()), &err))?;
    match entries.next() {
        None => Ok(()),
        Some(Err(err)) => Err(Failure::from_io(format!("cannot look into {}", path.display()), &err)),
        Some(Ok(entry)) => Err(is_not_empty(path, &entry.file_name().to_string_lossy())),
    }
}

fn is_not_empty(path: &Path, name: &str) -> Failure {
    Failure::usage(format!("{} is not empty: it holds {name:?}", path.display()))
        .with_hint("a mount would hide what is there: mount at an empty directory, or move that away")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_full_directories_are_refused_by_name() {
        let root = tempfile::tempdir().unwrap();
        let root = std::fs::canonicalize(root.path()).unwrap();
        std::fs::write(root.join("file"), "x").unwrap();
        for (path, told) in [
            (root.join("file"), "is not a directory"),
            (root.join("file/x"), "file is not a directory"),
            (root.clone(), "\"file\""),
        ] {
            let failure = MountPoint::check(&path, false).unwrap_err();
            assert!(failure.to_string().contains(told), "{failure}");
            assert_eq!(failure.kind.exit_code(), 2);
        }
        assert!(MountPoint::check(Path::new("/proc"), true).unwrap_err().to_string().contains("proc"));
    }

    #[test]
    fn what_is_created_is_removed_again_and_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        let root = std::fs::canonicalize(root.path()).unwrap();
        std::fs::create_dir(root.join("theirs")).unwrap();
        let point = MountPoint::check(&root.join("theirs/a/b"), false).unwrap();
        let created = point.create().unwrap();
        assert_eq!(created, [root.join("theirs/a"), root.join("theirs/a/b")]);
        remove_created(&created);
        assert!(root.join("theirs").is_dir() && !root.join("theirs/a").exists());

        let created = point.create().unwrap();
        std::fs::write(root.join("theirs/a/kept"), "x").unwrap();
        remove_created(&created);
        assert!(root.join("theirs/a/kept").exists() && !root.join("theirs/a/b").exists());
    }
}

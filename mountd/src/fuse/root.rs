//! Mounting by the kernel's own calls, for root.
//!
//! Owns: [`mount`], and [`Placing`], the rest of it once somebody answers the kernel. Invariant: dropped before that, a mount is taken away
//! again, and what was at its place is there as before.
//!
//! # Why not by `fuser`
//! It names the type `fuse` there, so that Pail's mounts looked like any other's in `/proc/mounts`, to `findmnt -t` and to `df -t`, where
//! those that fusermount3 made did not. The kernel takes a subtype behind a dot (fs/filesystems.c, `get_fs_type`), as libfuse gives it. And its errors
//! keep their number.
//!
//! # How a mount takes the place of a dead one
//! Unmounting the dead one first would show the bare directory for a moment, and what a program writes then is on the local disk and hidden
//! by the new mount. So the new one is made without a place (fsmount(2)), put beneath the dead one (`MOVE_MOUNT_BENEATH`, Linux 6.5), and the dead
//! one is taken off. An older kernel covers the dead one instead, which is then taken off when the new one is unmounted.

use super::FuseOptions;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags};
use rustix::process::{geteuid, getgid, getuid};
use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The FUSE device.
const DEVICE: &str = "/dev/fuse";
/// As fusermount3 makes it of the subtype `pail`.
const FS_TYPE: &str = "fuse.pail";
/// The mode of a directory that cannot be asked for its own, until the file system tells its root's.
const ROOT_MODE: u32 = libc::S_IFDIR | 0o755;

/// Unmounts when it is dropped.
pub struct Undo(Option<PathBuf>);

impl Drop for Undo {
    fn drop(&mut self) {
        if let Some(dir) = &self.0 {
            // What went wrong before is what is told.
            let _ = super::unmount(dir, true);
        }
    }
}

/// A mount that nobody answers for yet.
pub enum Placing {
    /// It is at its place.
    Placed(Undo),
    /// It has no place yet: it is to have that of the dead mount at `dir`.
    Detached { mount: OwnedFd, dir: PathBuf },
}

impl Placing {
    /// Somebody answers for it now: it stays, at its place. Errors: the kernel's.
    pub fn finish(self) -> io::Result<()> {
        match self {
            Self::Placed(mut undo) => {
                undo.0 = None;
                Ok(())
            }
            Self::Detached { mount, dir } => replace(&mount, &dir),
        }
    }
}

fn replace(mount: &OwnedFd, dir: &Path) -> io::Result<()> {
    match attach(mount, dir, MoveMountFlags::MOVE_MOUNT_BENEATH) {
        // The dead one is on top, and what is beneath it shows the moment it goes.
        Ok(()) => super::unmount(dir, true),
        Err(error) => {
            tracing::debug!(mount = %dir.display(), %error, "the dead mount is covered");
            Ok(attach(mount, dir, MoveMountFlags::empty())?)
        }
    }
}

fn attach(mount: &OwnedFd, dir: &Path, how: MoveMountFlags) -> rustix::io::Result<()> {
    rustix::mount::move_mount(mount, "", CWD, dir, how | MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
}

/// Mounts at `dir`, or makes the mount that is to take the place of the dead one there; the device by which the kernel asks. `None` where
/// this process may not mount: fusermount3 may be able to. Errors: those of mount(2).
pub fn mount(dir: &Path, options: &FuseOptions) -> io::Result<Option<(OwnedFd, Placing)>> {
    if !geteuid().is_root() {
        return Ok(None);
    }
    let device = rustix::fs::open(DEVICE, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    if options.replaces_dead {
        match detached(&device, options) {
            Ok(mount) => return Ok(Some((device, Placing::Detached { mount, dir: dir.to_owned() }))),
            // A sandbox may know mount(2) alone, which covers the dead one.
            Err(error) => tracing::debug!(mount = %dir.display(), %error, "no mount without a place"),
        }
    }
    let mut flags = MountFlags::NODEV | MountFlags::NOSUID | MountFlags::NOATIME;
    if options.read_only {
        flags |= MountFlags::RDONLY;
    }
    let allow_other = if options.allow_other { ",allow_other" } else { "" };
    let data = CString::new(format!(
        "fd={},rootmode={:o},user_id={},group_id={},default_permissions{allow_other}",
        device.as_raw_fd(),
        if options.replaces_dead { ROOT_MODE } else { std::fs::metadata(dir)?.mode() },
        getuid().as_raw(),
        getgid().as_raw(),
    ))?;
    match rustix::mount::mount(&*options.fs_name, dir, FS_TYPE, flags, &*data) {
        Ok(()) => Ok(Some((device, Placing::Placed(Undo(Some(dir.to_owned())))))),
        Err(Errno::PERM) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// A mount without a place; it goes with its descriptor. Errors: those of fsopen(2), fsconfig(2) and fsmount(2).
fn detached(device: &OwnedFd, options: &FuseOptions) -> rustix::io::Result<OwnedFd> {
    use rustix::mount::{fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen};
    let context = fsopen("fuse", FsOpenFlags::FSOPEN_CLOEXEC)?;
    let settings = [
        ("source", options.fs_name.clone()),
        ("subtype", "pail".to_owned()),
        ("fd", device.as_raw_fd().to_string()),
        ("rootmode", format!("{ROOT_MODE:o}")),
        ("user_id", getuid().as_raw().to_string()),
        ("group_id", getgid().as_raw().to_string()),
    ];
    for (name, value) in settings {
        fsconfig_set_string(&context, name, value)?;
    }
    let flags =
        [("default_permissions", true), ("allow_other", options.allow_other), ("ro", options.read_only)];
    for (name, _) in flags.into_iter().filter(|(_, is_set)| *is_set) {
        fsconfig_set_flag(&context, name)?;
    }
    fsconfig_create(&context)?;
    let mut attributes = MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NOATIME;
    if options.read_only {
        attributes |= MountAttrFlags::MOUNT_ATTR_RDONLY;
    }
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many mounts the kernel has at `dir`.
    fn mounted(dir: &Path) -> usize {
        let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        table.lines().filter(|line| line.split(' ').nth(4) == dir.to_str()).count()
    }

    struct Cleared<'a>(&'a Path);

    impl Drop for Cleared<'_> {
        fn drop(&mut self) {
            while mounted(self.0) > 0 && super::super::unmount(self.0, true).is_ok() {}
        }
    }

    #[test]
    fn a_dead_mount_is_replaced_or_covered_where_the_kernel_cannot() {
        if !geteuid().is_root() {
            use std::io::Write;
            return writeln!(std::io::stderr(), "skipped: only root mounts without a helper").unwrap();
        }
        let root = tempfile::tempdir().unwrap();
        let dir = std::fs::canonicalize(root.path()).unwrap();
        let _cleared = Cleared(&dir);
        let options = |replaces_dead| FuseOptions {
            fs_name: "s3://bucket/a,b".into(),
            read_only: true,
            allow_other: false,
            threads: 1,
            replaces_dead,
        };
        let (device, placing) = mount(&dir, &options(false)).unwrap().unwrap();
        placing.finish().unwrap();
        drop(device);
        // Without a place it changes nothing, also where nothing comes of it.
        let made = mount(&dir, &options(true)).unwrap().unwrap();
        assert!(matches!(made.1, Placing::Detached { .. }) && mounted(&dir) == 1);
        drop(made);
        assert_eq!(mounted(&dir), 1);
        // As before Linux 6.5.
        let (device, placing) = mount(&dir, &options(true)).unwrap().unwrap();
        let Placing::Detached { mount: covering, .. } = placing else { panic!("it has a place") };
        attach(&covering, &dir, MoveMountFlags::empty()).unwrap();
        assert_eq!(mounted(&dir), 2);
        drop(device);
        super::super::unmount(&dir, true).unwrap();
        let (_device, placing) = mount(&dir, &options(true)).unwrap().unwrap();
        placing.finish().unwrap();
        assert!((1..=2).contains(&mounted(&dir)));
        let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let line = table.lines().rfind(|line| line.split(' ').nth(4) == dir.to_str()).unwrap();
        assert!(
            line.contains(" ro,nosuid,nodev,noatime ") && line.contains(" - fuse.pail s3://bucket/a,b ro,"),
            "{line}"
        );
    }
}

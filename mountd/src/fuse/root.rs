//! Mounting by mount(2), for root.
//!
//! Owns: [`mount`], and [`Undo`], which takes a mount away again that nothing came of.
//!
//! # Why not by `fuser`
//! It names the type `fuse` there, so that Pail's mounts looked like any other's in `/proc/mounts`, to `findmnt -t` and to `df -t`, where
//! those that fusermount3 made did not. The kernel takes a subtype behind a dot (fs/filesystems.c, `get_fs_type`), as libfuse gives it. And its errors
//! keep their number.

use super::FuseOptions;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::MountFlags;
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

/// Unmounts when it is dropped.
pub struct Undo(Option<PathBuf>);

impl Undo {
    /// Leaves the mount as it is.
    pub fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Undo {
    fn drop(&mut self) {
        if let Some(dir) = &self.0 {
            // What went wrong before is what is told.
            let _ = super::unmount(dir, true);
        }
    }
}

/// Mounts at `dir`; the device by which the kernel asks. `None` where this process may not mount: fusermount3 may be able to.
/// Errors: those of mount(2).
pub fn mount(dir: &Path, options: &FuseOptions) -> io::Result<Option<(OwnedFd, Undo)>> {
    if !geteuid().is_root() {
        return Ok(None);
    }
    let device = rustix::fs::open(DEVICE, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    let mut flags = MountFlags::NODEV | MountFlags::NOSUID | MountFlags::NOATIME;
    if options.read_only {
        flags |= MountFlags::RDONLY;
    }
    let allow_other = if options.allow_other { ",allow_other" } else { "" };
    let data = CString::new(format!(
        "fd={},rootmode={:o},user_id={},group_id={},default_permissions{allow_other}",
        device.as_raw_fd(),
        std::fs::metadata(dir)?.mode(),
        getuid().as_raw(),
        getgid().as_raw(),
    ))?;
    match rustix::mount::mount(&*options.fs_name, dir, FS_TYPE, flags, &*data) {
        Ok(()) => Ok(Some((device, Undo(Some(dir.to_owned()))))),
        Err(Errno::PERM) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

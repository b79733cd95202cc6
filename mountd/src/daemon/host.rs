//! What this host must have for a mount: the FUSE device, its helper, the permission to let others in.
//!
//! Owns: [`check`], which finds out before anything is done, and [`explain`], the advice for what only mounting shows.

use pail_control::Failure;
use std::io;
use std::path::{Path, PathBuf};

/// The FUSE device.
const DEVICE: &str = "/dev/fuse";
/// Mounts for users who are not root.
const HELPER: &str = "fusermount3";
/// Where the helper's rules are.
const CONFIGURATION: &str = "/etc/fuse.conf";

/// Checks that a bucket can be mounted on this host by this user. Blocks shortly.
pub fn check(allow_other: bool) -> Result<(), Failure> {
    if !Path::new(DEVICE).exists() {
        return Err(Failure::other(format!(
            "{DEVICE} is not there: this host cannot mount FUSE file systems"
        ))
        .with_hint(
            "load the module (modprobe fuse); a container needs --device /dev/fuse --cap-add SYS_ADMIN",
        ));
    }
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    if find_helper().is_none() {
        return Err(Failure::other(format!("{HELPER} is not installed, and only root can mount without it"))
            .with_hint("install the package fuse3"));
    }
    if rustix::fs::access(DEVICE, rustix::fs::Access::READ_OK | rustix::fs::Access::WRITE_OK).is_err() {
        return Err(Failure::other(format!("{DEVICE} is not open to you"))
            .with_hint(format!("as root: chmod 666 {DEVICE} (udev does that; bare containers lack it)")));
    }
    if allow_other && !others_allowed(&std::fs::read_to_string(CONFIGURATION).unwrap_or_default()) {
        return Err(Failure::usage("--allow-other is not permitted on this host")
            .because(format!("{CONFIGURATION} has no line user_allow_other"))
            .with_hint(format!("leave --allow-other out, or add the line: echo user_allow_other | sudo tee -a {CONFIGURATION}")));
    }
    Ok(())
}

/// What mounting itself failed with.
pub fn explain(place: &Path, err: &io::Error) -> Failure {
    let failure = Failure::from_io(format!("cannot mount at {}", place.display()), err);
    let hint = match err.raw_os_error() {
        // fusermount3, which root's mounts fall back to, has no number for it.
        _ if may_not_mount() => {
            "mounting needs the capability SYS_ADMIN, which is not to be had here: a container needs --device /dev/fuse --cap-add SYS_ADMIN"
        }
        Some(libc::EPERM | libc::EACCES) => "a mount point must be a directory of your own",
        Some(libc::ENODEV) => "the kernel has no FUSE: load the module (modprobe fuse)",
        Some(libc::ENOENT) => "fusermount3 may be missing: install the package fuse3",
        _ => return failure,
    };
    failure.with_hint(hint)
}

/// Whether neither this process nor fusermount3 can have the capability that mounting needs.
fn may_not_mount() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let held = if rustix::process::geteuid().is_root() { "CapEff:" } else { "CapBnd:" };
    lacks_sys_admin(&status, held)
}

/// Whether a set of capabilities, as proc_pid_status(5) shows it, is without CAP_SYS_ADMIN; false where that cannot be told.
fn lacks_sys_admin(status: &str, set: &str) -> bool {
    const SYS_ADMIN: u64 = 1 << 21;
    let value = status.lines().find_map(|line| line.strip_prefix(set));
    value
        .and_then(|value| u64::from_str_radix(value.trim(), 16).ok())
        .is_some_and(|bits| bits & SYS_ADMIN == 0)
}

fn find_helper() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(HELPER)).find(|program| program.is_file())
}

fn others_allowed(configuration: &str) -> bool {
    configuration.lines().any(|line| line.trim() == "user_allow_other")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_without_the_capability_is_told_from_one_that_is_not_there() {
        let status = "Name:\tx\nCapEff:\t000001ffffdfffff\nCapBnd:\t000001ffffffffff\n";
        let lacks = |set| lacks_sys_admin(status, set);
        assert_eq!((lacks("CapEff:"), lacks("CapBnd:"), lacks("CapXyz:")), (true, false, false));
    }

    #[test]
    fn a_commented_line_permits_nothing() {
        assert!(!others_allowed("# comment\n#user_allow_other\n"));
        assert!(others_allowed("mount_max = 1000\n user_allow_other \n"));
    }
}

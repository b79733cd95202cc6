//! What the kernel's arguments mean to the file system.

use crate::fs::{Creator, OpenFlags, RenameMode, Stale};
use fuser::{INodeNo, OpenAccMode, RenameFlags, Request, TimeOrNow};
use std::ffi::OsStr;
use std::time::SystemTime;

pub(super) fn open_flags(flags: i32) -> OpenFlags {
    let mode = fuser::OpenFlags(flags).acc_mode();
    OpenFlags {
        write: mode != OpenAccMode::O_RDONLY,
        truncate: flags & libc::O_TRUNC != 0,
        exclusive: flags & libc::O_EXCL != 0,
    }
}

/// Who makes a file or a directory, and with which permission bits. What the mount's own user makes is shown as the mount's, whose
/// owner may have been given (`--uid`); what others make is theirs.
pub(super) fn creator(request: &Request, mode: u32, umask: u32) -> Creator {
    let is_own = request.uid() == rustix::process::geteuid().as_raw();
    Creator {
        mode: (mode & !umask & 0o7777) as u16,
        owner: (!is_own).then(|| (request.uid(), request.gid())),
    }
}

pub(super) fn modification_time(time: Option<TimeOrNow>) -> Option<SystemTime> {
    time.map(|time| match time {
        TimeOrNow::SpecificTime(time) => time,
        TimeOrNow::Now => SystemTime::now(),
    })
}

/// `None` for flags that no file of a bucket can be renamed with.
pub(super) fn rename_mode(flags: RenameFlags) -> Option<RenameMode> {
    match flags {
        RenameFlags::RENAME_NOREPLACE => Some(RenameMode::KeepTarget),
        _ => flags.is_empty().then_some(RenameMode::Replace),
    }
}

/// What a name leads to, where it can be a file's: those that are not UTF-8 cannot.
pub(super) fn stale_name(parent: INodeNo, name: &OsStr) -> Option<Stale> {
    Some(Stale::Name(parent.0, name.to_str()?.into()))
}

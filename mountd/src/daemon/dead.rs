//! Mounts of a daemon that is gone.
//!
//! Owns: [`clear`], for commands that find no daemon: to give up a dead mount needs neither credentials nor a daemon. It takes the
//! daemon's lock meanwhile, so that no daemon restores what is being cleared.

use super::mount_list::MountList;
use super::{mount_point, process};
use pail_control::settings::Directories;
use pail_control::types::DrainReport;
use pail_control::{Failure, FailureKind, place};
use std::path::{Path, PathBuf};

/// Clears the dead mount at `asked`, or all that the list knows, and takes them off the list. Errors: a daemon has started
/// meanwhile; nothing is mounted at `asked`. Blocks.
pub fn clear(directories: &Directories, asked: Option<&Path>) -> Result<DrainReport, Failure> {
    directories.prepare(rustix::process::geteuid().as_raw())?;
    let Some(_lock) = process::take_lock(directories)? else {
        return Err(Failure::new(FailureKind::Stopping, "a daemon has just started, or is about to end")
            .with_hint("try again"));
    };
    let list = MountList::open(directories.mounts_file())?;
    let mut report = DrainReport::default();
    let places: Vec<PathBuf> = match asked {
        Some(place) => vec![place::resolve(place)?],
        None => list.all().into_iter().map(|saved| saved.spec.mount_point).collect(),
    };
    for place in places {
        let cleared = clear_at(&place)?;
        if let Some(saved) = list.remove(&place)? {
            mount_point::remove_created(&saved.created_directories);
            report.unmounted.push(place);
        } else if cleared {
            report.unmounted.push(place);
        }
    }
    match asked {
        Some(place) if report.unmounted.is_empty() => {
            Err(Failure::new(FailureKind::NotFound, format!("nothing is mounted at {}", place.display()))
                .with_hint("`pail status` lists the mounts"))
        }
        _ => Ok(report),
    }
}

/// Whether a dead Pail mount was there.
pub(super) fn clear_at(place: &Path) -> Result<bool, Failure> {
    let was_there = mount_point::thin_out(place, 1)? > 0;
    mount_point::thin_out(place, 0)?;
    Ok(was_there)
}

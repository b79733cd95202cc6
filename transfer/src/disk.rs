//! Full disks, by name.
//!
//! Owns: the way from a path on a full disk to the place where that disk is mounted, and to [`Error::NoSpace`].

use crate::Error;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Whether a write failed for want of space.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// The error of a disk on which `path`, a directory, is.
pub(crate) fn full(path: &Path, detail: impl Into<String>) -> Error {
    Error::NoSpace { disk: mount_point_of(path), detail: detail.into() }
}

/// The topmost directory above `path` that is on the same disk.
fn mount_point_of(path: &Path) -> PathBuf {
    let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let device = |path: &Path| std::fs::metadata(path).map(|found| found.dev()).ok();
    let Some(own) = device(&path) else { return path };
    let on_it = path.ancestors().take_while(|above| device(above) == Some(own));
    on_it.last().unwrap_or(&path).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_named_by_where_it_is_mounted() {
        assert_eq!(mount_point_of(Path::new("/proc/self")), Path::new("/proc"));
        assert_eq!(mount_point_of(Path::new("/")), Path::new("/"));
    }
}

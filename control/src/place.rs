//! A place where a bucket is, was or may be mounted, as the kernel sees it.
//!
//! Owns: [`resolve`], by which a place has one name, and [`is_dead`]. Both block, and may block for long on somebody's hung network file
//! system: call them off a runtime's workers.

use crate::Failure;
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

/// Resolves `path`: symbolic links followed as far as it exists, the rest appended. The final component is not followed
/// where that fails, so that a dead mount keeps its name. Errors: a relative path; `..` in the part that is missing.
pub fn resolve(path: &Path) -> Result<PathBuf, Failure> {
    if !path.is_absolute() {
        return Err(Failure::usage(format!("the mount point {} is not an absolute path", path.display())));
    }
    let mut missing: Vec<OsString> = Vec::new();
    let mut existing = path.to_path_buf();
    loop {
        match std::fs::canonicalize(&existing) {
            Ok(mut resolved) => {
                resolved.extend(missing.iter().rev());
                return Ok(resolved);
            }
            Err(_) => {
                let last = existing.components().next_back();
                let (Some(Component::Normal(name)), Some(parent)) = (last, existing.parent()) else {
                    return Err(Failure::usage(format!(
                        "the mount point {} cannot be resolved",
                        path.display()
                    )));
                };
                missing.push(name.to_owned());
                existing = parent.to_path_buf();
            }
        }
    }
}

/// Whether the mount at `path` has lost its daemon. Asked by statfs, which the kernel never answers from what it remembers, as it
/// does a stat.
pub fn is_dead(path: &Path) -> bool {
    use rustix::io::Errno;
    matches!(rustix::fs::statvfs(path), Err(Errno::NOTCONN | Errno::CONNABORTED))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolves_links_and_keeps_what_is_missing() {
        let root = tempfile::tempdir().unwrap();
        let real = std::fs::canonicalize(root.path()).unwrap();
        std::fs::create_dir(real.join("dir")).unwrap();
        std::os::unix::fs::symlink(real.join("dir"), real.join("link")).unwrap();
        assert_eq!(resolve(&real.join("link")).unwrap(), real.join("dir"));
        assert_eq!(resolve(&real.join("link/a/b")).unwrap(), real.join("dir/a/b"));
        assert_eq!(resolve(&real.join("dir/../dir")).unwrap(), real.join("dir"));
        assert!(resolve(&real.join("none/../x")).is_err());
        assert!(resolve(Path::new("relative")).is_err());
    }
}

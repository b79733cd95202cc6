//! Names that are no longer ours are removed from a place.
//!
//! Owns: [`remove`], in this process, and [`remove_by_sudo`], in one of root that is given the names; [`Removed`], what it came to. What was changed since
//! it was sent is another's, and stays.

use super::beneath::{Beneath, Removal};
use super::names::{Kind, Names};
use super::rsync::PARTIAL_DIR;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use pail_control::Failure;
use serde::{Deserialize, Serialize};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::SystemTime;

/// Names that are told of those that could not be removed.
const NAMED_MAX: usize = 20;

/// What a removal came to.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Removed {
    /// How many are gone.
    pub removed: u64,
    /// What is still ours: `Names::encoded`, in base 64.
    pub kept: String,
    /// Why others are not.
    pub failed: Vec<String>,
    /// What was changed since it was sent, and so is not removed.
    #[serde(default)]
    pub changed: Vec<String>,
}

/// Removes files and symlinks that were not changed since the last transfer ended, then directories from below, if they are empty.
pub fn remove(path: &Path, names: &Names, ended: Option<SystemTime>) -> std::io::Result<Removed> {
    let mut root = Beneath::open(path)?;
    let mut report = Removed::default();
    let mut kept = Vec::new();
    let (directories, files): (Vec<_>, Vec<_>) =
        names.all().iter().partition(|name| name.kind == Kind::Directory);
    for name in files.into_iter().chain(directories.into_iter().rev()) {
        let is_changed = |root: &mut Beneath| {
            ended.is_some_and(|time| root.is_changed_after(&name.path, time).unwrap_or(false))
        };
        if name.kind != Kind::Directory && is_changed(&mut root) {
            report.changed.push(name.path.to_string_lossy().into_owned());
            continue;
        }
        match root.remove(&name.path, name.kind) {
            Ok(Removal::Removed) => report.removed += 1,
            Ok(Removal::Missing) => {}
            Ok(Removal::Kept) if name.kind == Kind::Directory => kept.push(name.clone()),
            // A job made something else of it.
            Ok(Removal::Kept) => {}
            Err(err) => {
                kept.push(name.clone());
                if report.failed.len() < NAMED_MAX {
                    report.failed.push(format!("{}: {err}", path.join(&name.path).display()));
                }
            }
        }
        if name.kind == Kind::File {
            remove_partial(&mut root, &name.path);
        }
    }
    report.kept = BASE64.encode(Names::sorted(kept).encoded());
    Ok(report)
}

/// Removes what an interrupted transfer of a file left.
fn remove_partial(root: &mut Beneath, path: &OsStr) {
    let bytes = path.as_bytes();
    let at = bytes.iter().rposition(|byte| *byte == b'/').map_or(0, |at| at + 1);
    let mut partial = OsStr::from_bytes(&bytes[..at]).to_owned();
    partial.push(PARTIAL_DIR);
    let dir = partial.clone();
    partial.push("/");
    partial.push(OsStr::from_bytes(&bytes[at..]));
    // What stays is no more than space on the disk.
    if matches!(root.remove(&partial, Kind::File), Ok(Removal::Removed)) {
        let _ = root.remove(&dir, Kind::Directory);
    }
}

/// Asked of [`remove_asked`].
#[derive(Serialize, Deserialize)]
pub struct RemoveRequest {
    path: PathBuf,
    names: String,
    ended: Option<SystemTime>,
}

/// [`remove`] by root, in a process of its own.
pub fn remove_by_sudo(path: &Path, names: &Names, ended: Option<SystemTime>) -> Result<Removed, Failure> {
    let cannot = || Failure::other(format!("cannot remove files in {} by sudo", path.display()));
    let failed = |err: std::io::Error| cannot().because(err.to_string());
    let request = RemoveRequest { path: path.to_owned(), names: BASE64.encode(names.encoded()), ended };
    let request = serde_json::to_vec(&request).map_err(|err| cannot().because(err.to_string()))?;
    let program = std::env::current_exe().map_err(failed)?;
    let mut child = Command::new("sudo")
        .arg("-n")
        .arg(program)
        .args(["node", "sync-remove"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        std::io::Write::write_all(&mut stdin, &request).map_err(failed)?;
    }
    let output = child.wait_with_output().map_err(failed)?;
    serde_json::from_slice(&output.stdout).map_err(|err| cannot().because(err.to_string()))
}

pub fn remove_asked(request: &RemoveRequest) -> Result<Removed, Failure> {
    let names = decoded(&request.names)?;
    remove(&request.path, &names, request.ended)
        .map_err(|err| Failure::from_io(format!("cannot look into {}", request.path.display()), &err))
}

/// Names as requests carry them. Errors: they are none.
pub fn decoded(names: &str) -> Result<Names, Failure> {
    let bytes = BASE64
        .decode(names)
        .map_err(|err| Failure::usage("a list of files came in no known form").because(err.to_string()))?;
    Names::decoded(&bytes)
}

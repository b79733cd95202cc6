//! What a killed git left behind.
//!
//! Owns: [`lock`], by which one process at a time works on a checkout, and [`remove_locks`], which removes git's own lock files and half
//! received packs once no git is at work there any more.
//!
//! Git removes its locks when it ends, also by a signal, but not when it is killed or the machine stops. Whether a git still lives is asked
//! of /proc: git changes to the top of the work tree, so its current directory is ours.

use pail_control::Failure;
use rustix::fs::{FlockOperation, flock};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long one checkout waits for another in the same directory.
const TURN_TIME_MAX: Duration = Duration::from_secs(30 * 60);
/// How long a git that still works in the directory is waited for.
const GIT_TIME_MAX: Duration = Duration::from_secs(90);
/// How often is looked.
const LOOK_TIME: Duration = Duration::from_millis(50);

/// Takes a directory's turn, which ends with the file. Errors: another process did not end its own in [`TURN_TIME_MAX`].
pub async fn lock(path: &Path, dir: &Path) -> Result<File, Failure> {
    let failed = |err: &std::io::Error| Failure::from_io(format!("cannot lock {}", path.display()), err);
    let since = Instant::now();
    loop {
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)
            .map_err(|err| failed(&err))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            // Not of a file that was removed meanwhile.
            Ok(()) if same_file(&file, path) => return Ok(file),
            Ok(()) => continue,
            Err(rustix::io::Errno::WOULDBLOCK) if since.elapsed() < TURN_TIME_MAX => {
                tokio::time::sleep(LOOK_TIME).await
            }
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Err(Failure::other(format!("another checkout is under way in {}", dir.display()))
                    .with_hint("wait for it, or end it, and try again"));
            }
            Err(err) => return Err(failed(&err.into())),
        }
    }
}

fn same_file(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (file.metadata(), std::fs::metadata(path)) {
        (Ok(ours), Ok(theirs)) => ours.ino() == theirs.ino() && ours.dev() == theirs.dev(),
        _ => false,
    }
}

/// Removes lock files of git's below `git_dir` that no living git has, and packs that were not received to their end. `dir` is where such
/// a git would be at work. `ours`: the last work there was this program's and was not finished. Errors: a git is still at work.
pub async fn remove_locks(git_dir: &Path, dir: &Path, ours: bool) -> Result<(), Failure> {
    let since = Instant::now();
    loop {
        let mut left = Vec::new();
        find_locks(git_dir, 0, &mut left);
        if ours {
            find_partial(&git_dir.join("objects/pack"), &mut left);
        }
        if left.is_empty() {
            return Ok(());
        }
        let Some(process) = git_at_work(dir) else {
            for path in left {
                match std::fs::remove_file(&path) {
                    Err(err) if err.kind() != std::io::ErrorKind::NotFound => {
                        return Err(Failure::from_io(format!("cannot remove {}", path.display()), &err));
                    }
                    _ => {}
                }
            }
            return Ok(());
        };
        if since.elapsed() > GIT_TIME_MAX {
            return Err(Failure::other(format!("git is at work in {} (process {process})", dir.display()))
                .because(format!("{} is there", left[0].display()))
                .with_hint("wait until it has ended, and try again"));
        }
        tokio::time::sleep(LOOK_TIME).await;
    }
}

/// Lock files beside what they lock: index, HEAD, config, shallow, packed-refs, and each ref.
fn find_locks(dir: &Path, depth: usize, found: &mut Vec<PathBuf>) {
    // Names of branches may have many parts, but not so many.
    if depth > 32 {
        return;
    }
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
        // Submodules have repositories of their own below `modules`.
        let is_of_refs = depth > 0 || name == "refs" || name == "modules";
        if is_dir && is_of_refs && name != "objects" {
            find_locks(&path, depth + 1, found);
        } else if !is_dir && name.as_encoded_bytes().ends_with(b".lock") && name != "pail.lock" {
            found.push(path);
        }
    }
}

fn find_partial(dir: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    found.extend(entries.flatten().map(|entry| entry.path()).filter(|path| {
        let name = path.file_name().map(|name| name.as_encoded_bytes().to_owned()).unwrap_or_default();
        name.starts_with(b"tmp_pack_") || name.starts_with(b"tmp_idx_") || name.starts_with(b"tmp_rev_")
    }));
}

/// A process of git's whose current directory is this one or below it.
fn git_at_work(dir: &Path) -> Option<u32> {
    let dir = std::fs::canonicalize(dir).ok()?;
    let processes = std::fs::read_dir("/proc").ok()?.flatten();
    let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    ids.into_iter().find(|id| {
        let name = std::fs::read_to_string(format!("/proc/{id}/comm")).unwrap_or_default();
        name.starts_with("git")
            && std::fs::read_link(format!("/proc/{id}/cwd")).is_ok_and(|at| at.starts_with(&dir))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn stale_locks_go_and_those_of_a_git_at_work_are_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let git_dir = dir.path().join(".git");
        std::fs::create_dir_all(git_dir.join("refs/heads/a")).unwrap();
        std::fs::create_dir_all(git_dir.join("objects/pack")).unwrap();
        let make = || {
            for name in ["index.lock", "shallow.lock", "refs/heads/a/b.lock", "objects/pack/tmp_pack_x"] {
                std::fs::write(git_dir.join(name), "").unwrap();
            }
        };
        make();
        remove_locks(&git_dir, dir.path(), true).await.unwrap();
        for name in ["index.lock", "shallow.lock", "refs/heads/a/b.lock", "objects/pack/tmp_pack_x"] {
            assert!(!git_dir.join(name).exists(), "{name}");
        }
        // A living git by its name: cat under another one, until its input ends.
        make();
        let fake = dir.path().join("git-fake");
        std::os::unix::fs::symlink("/bin/cat", &fake).unwrap();
        let mut child = tokio::process::Command::new(&fake)
            .current_dir(dir.path())
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        while git_at_work(dir.path()).is_none() {
            tokio::time::sleep(LOOK_TIME).await;
        }
        let mut removal = std::pin::pin!(remove_locks(&git_dir, dir.path(), true));
        assert!(tokio::time::timeout(LOOK_TIME * 4, &mut removal).await.is_err());
        assert!(git_dir.join("index.lock").exists());
        drop(child.stdin.take());
        child.wait().await.unwrap();
        removal.await.unwrap();
        assert!(!git_dir.join("index.lock").exists());
    }
}

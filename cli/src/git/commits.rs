//! Abbreviated commits.
//!
//! Owns: the client's cache of commit graphs, a bare repository for each address below `$XDG_CACHE_HOME/pail/git`, which holds commits
//! without trees and files, so that an abbreviated id can be completed. A remote cannot be asked for one.
//!
//! Invariants: [`GRAPHS_MAX`] repositories at most, those used last; one process at a time uses one; one that is broken is made anew.

use super::process::Call;
use super::repair;
use super::transport::{FETCH_TIME_MAX, Transport};
use super::trouble;
use super::url::GitUrl;
use pail_control::{Failure, FailureKind};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

/// How many repositories' graphs are kept.
const GRAPHS_MAX: usize = 16;

/// Completes an abbreviated id; `None` where no commit begins so. Errors: usage, where several do; those of the fetch.
pub async fn expand(
    url: &GitUrl,
    prefix: &str,
    transport: &Transport,
    environment: &(dyn Fn(&str) -> Option<String> + Sync),
) -> Result<Option<String>, Failure> {
    let failed =
        |err: &std::io::Error| Failure::from_io("cannot use the cache of commits below XDG_CACHE_HOME", err);
    let root = root(environment)?;
    let dir = root.join(&hex::encode(Sha256::digest(url.as_str()))[..32]);
    std::fs::create_dir_all(&dir).map_err(|err| failed(&err))?;
    let _lock = repair::lock(&dir.join("pail.lock"), &dir).await?;
    // For the order of use.
    std::fs::write(dir.join("pail.url"), url.as_str()).map_err(|err| failed(&err))?;
    forget_oldest(&root, &dir);
    if let Err(failure) = fetch(&dir, url, transport).await {
        let passing = matches!(
            failure.kind,
            FailureKind::Unreachable | FailureKind::Credentials | FailureKind::NoSpace
        );
        if passing || !dir.join("HEAD").exists() {
            return Err(failure);
        }
        clear(&dir).map_err(|err| failed(&err))?;
        fetch(&dir, url, transport).await?;
    }
    let call = Call::git_bare(&dir, "complete the commit's id").env("GIT_NO_LAZY_FETCH", "1");
    let ended = call.args(["rev-parse", "--verify", &format!("{prefix}^{{commit}}")]).run().await?;
    if ended.ok() {
        return Ok(Some(ended.line()));
    }
    if !ended.err.contains("ambiguous") {
        return Ok(None);
    }
    // Git's hint lists them, each with its date and subject.
    let listed = ended.err.lines().filter_map(|line| line.strip_prefix("hint:")).map(str::trim);
    let commits: Vec<&str> = listed.filter(|line| line.starts_with(prefix)).take(5).collect();
    Err(Failure::usage(format!("{prefix} is the beginning of more than one commit of {url}"))
        .because(commits.join("; "))
        .with_hint("give more digits"))
}

fn root(environment: &(dyn Fn(&str) -> Option<String> + Sync)) -> Result<PathBuf, Failure> {
    let cache = environment("XDG_CACHE_HOME").filter(|path| path.starts_with('/')).map(PathBuf::from);
    let home =
        || environment("HOME").filter(|home| !home.is_empty()).map(|home| Path::new(&home).join(".cache"));
    let cache =
        cache.or_else(home).ok_or_else(|| Failure::usage("neither HOME nor XDG_CACHE_HOME is set"))?;
    Ok(cache.join("pail/git"))
}

async fn fetch(dir: &Path, url: &GitUrl, transport: &Transport) -> Result<(), Failure> {
    let about = format!("fetch the commits of {url}");
    if !dir.join("HEAD").exists() {
        Call::git(&about).args(["init", "-q", "--bare", "--template="]).args([dir]).output().await?;
    }
    repair::remove_locks(dir, dir, true).await?;
    for (name, value) in [
        ("remote.origin.url", url.as_str()),
        ("remote.origin.promisor", "true"),
        ("remote.origin.partialclonefilter", "tree:0"),
    ] {
        Call::git_bare(dir, &about).args(["config", name, value]).output().await?;
    }
    let refspecs = ["+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"];
    let call = Call::git_bare(dir, &about).over(transport)?;
    let call = call
        .args(["fetch", "-q", "--no-tags", "--prune", "--force", "--filter=tree:0", "origin"])
        .args(refspecs);
    let ended = call.limit(FETCH_TIME_MAX).run().await?;
    if ended.ok() { Ok(()) } else { Err(trouble::failure(&format!("cannot {about}"), &ended.err)) }
}

fn clear(dir: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            std::fs::remove_dir_all(&path)?;
        } else if !path.ends_with("pail.lock") {
            std::fs::remove_file(&path)?;
        }
    }
    Ok(())
}

/// Removes the graphs that were not used for the longest time. What cannot be removed stays.
fn forget_oldest(root: &Path, used: &Path) {
    let Ok(entries) = std::fs::read_dir(root) else { return };
    let age = |path: &Path| std::fs::metadata(path.join("pail.url")).and_then(|data| data.modified()).ok();
    let mut graphs: Vec<_> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path != used)
        .map(|path| (age(&path), path))
        .collect();
    graphs.sort();
    let excess = (graphs.len() + 1).saturating_sub(GRAPHS_MAX);
    for (_, path) in graphs.into_iter().take(excess) {
        let is_free = std::fs::File::open(path.join("pail.lock")).is_ok_and(|file| {
            rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_ok()
        });
        if is_free {
            let _ = std::fs::remove_dir_all(&path);
        }
    }
}

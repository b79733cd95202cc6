//! A directory made a checkout of one commit.
//!
//! Owns: [`check_out`] and its record in `.git/pail-checkout`, which says what the last one came to: `done` with all that it was asked for,
//! or `begun`, with the commit that files may already be of.
//!
//! The same commit again, with nothing changed, costs one call of git and no request.

use super::credentials::Access;
use super::kept::Kept;
use super::place;
use super::process::Call;
use super::refs::is_full_id;
use super::repair;
use super::resolve::Resolved;
use super::ssh::HostKeys;
use super::transport::{FETCH_TIME_MAX, Transport};
use super::trouble;
use super::url::GitUrl;
use super::workdir::Workdir;
use pail_control::{Failure, FailureKind};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// What is done beyond the commit's own files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CheckoutOptions {
    /// Submodules are checked out too, and theirs.
    pub submodules: bool,
    /// Files that git LFS stands in for are fetched.
    pub lfs: bool,
}

/// What a checkout came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkout {
    /// The commit that HEAD is now.
    pub commit: String,
    /// Whether anything had to be done.
    pub changed: bool,
    /// Whether the remote was asked for objects.
    pub fetched: bool,
    /// Files that were moved aside, as they may be shown, relative to the directory.
    pub kept: Vec<String>,
    /// Where they are now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept_at: Option<String>,
}

/// What the last checkout came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
enum Record {
    /// Files may be of this commit, or still of HEAD's.
    Begun { commit: String },
    /// All is as it was asked for.
    Done { id: String, commit: String, url: String, branch: Option<String>, options: CheckoutOptions },
}

const RECORD: &str = ".git/pail-checkout";

/// How an attempt went wrong.
enum Trouble {
    /// The remote, the disk, or what was asked for.
    Outside(Failure),
    /// Perhaps the repository itself: objects torn by a crash, a `.git` that is none.
    Repository(Failure),
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        // git, without words that tell: what it works on is then suspect.
        if failure.kind == FailureKind::Other { Self::Repository(failure) } else { Self::Outside(failure) }
    }
}

/// Makes `dir` a checkout of the commit. Must be called where `dir` is: on a node, or here.
///
/// HEAD is on the branch if the ref was one, and detached otherwise; `origin` is the address. Files that were changed, and those in the
/// way of the commit's own, are moved aside and named to `report`; other untracked files stay. A checkout or fetch that was killed is
/// repaired first; a repository that is broken is moved aside and made anew. Errors: usage, not found, credentials, unreachable, no space.
pub async fn check_out(
    dir: &Path,
    resolved: &Resolved,
    access: &Access,
    options: &CheckoutOptions,
    report: &mut (dyn FnMut(String) + Send),
) -> Result<Checkout, Failure> {
    let url = GitUrl::parse(&resolved.url)?;
    if !is_full_id(&resolved.commit) {
        return Err(Failure::usage(format!("{:?} is no commit's id in full", resolved.commit)));
    }
    if resolved.branch.as_ref().is_some_and(|branch| branch.starts_with('-')) {
        return Err(Failure::usage("a branch's name does not begin with \"-\""));
    }
    std::fs::create_dir_all(dir)
        .map_err(|err| Failure::from_io(format!("cannot make {}", dir.display()), &err))?;
    let dir = std::fs::canonicalize(dir)
        .map_err(|err| Failure::from_io(format!("cannot use {}", dir.display()), &err))?;
    let turn = dir.join(".pail-checkout.lock");
    let _turn = Turn { _file: repair::lock(&turn, &dir).await?, path: turn };
    let job = Job { dir: &dir, resolved, url: &url, access, options };
    let mut kept = Kept::new(&dir);
    let had_repository = std::fs::symlink_metadata(dir.join(".git")).is_ok();
    let outcome = match job.attempt(&mut kept, report).await {
        Err(Trouble::Repository(failure)) if had_repository && job.is_broken().await => {
            report(format!("the git repository in {} is broken and is made anew: {failure}", dir.display()));
            kept.keep(b".git")?;
            job.attempt(&mut kept, report).await
        }
        other => other,
    };
    // Also of an attempt that failed: what was moved is named.
    kept.report().into_iter().for_each(&mut *report);
    let (changed, fetched, commit) = match outcome {
        Ok(outcome) => outcome,
        Err(Trouble::Outside(failure) | Trouble::Repository(failure)) => return Err(failure),
    };
    let kept_at = kept.place().map(|place| place.display().to_string());
    Ok(Checkout { commit, changed, fetched, kept: kept.names().to_vec(), kept_at })
}

/// The lock of a directory, whose file goes with it.
struct Turn {
    _file: std::fs::File,
    path: PathBuf,
}

impl Drop for Turn {
    fn drop(&mut self) {
        // While it is still locked, so nobody else's is removed.
        let _ = std::fs::remove_file(&self.path);
    }
}

struct Job<'a> {
    dir: &'a Path,
    resolved: &'a Resolved,
    url: &'a GitUrl,
    access: &'a Access,
    options: &'a CheckoutOptions,
}

impl Job<'_> {
    async fn attempt(
        &self,
        kept: &mut Kept,
        report: &mut (dyn FnMut(String) + Send),
    ) -> Result<(bool, bool, String), Trouble> {
        // A file there is a work tree's or a submodule's, whose repository is elsewhere.
        let git = self.dir.join(".git");
        if std::fs::symlink_metadata(&git).is_ok_and(|metadata| !metadata.is_dir()) {
            return Err(Trouble::Repository(Failure::other(format!("{} is not a directory", git.display()))));
        }
        let record = self.record();
        if let Some(Record::Done { id, commit, url, branch, options }) = &record {
            let same =
                *id == self.resolved.commit && *url == self.resolved.url && *branch == self.resolved.branch;
            if same && options == self.options && self.is_clean(commit).await? {
                return Ok((false, false, commit.clone()));
            }
        }
        let pending = match &record {
            Some(Record::Begun { commit }) => Some(commit.clone()),
            _ => None,
        };
        let unfinished = !matches!(record, Some(Record::Done { .. }));
        repair::remove_locks(&git, self.dir, unfinished).await.map_err(Trouble::Outside)?;
        let workdir = Workdir::open(self.dir, &self.resolved.commit).await?;
        self.write_record(&Record::Begun {
            commit: pending.clone().unwrap_or_else(|| self.resolved.commit.clone()),
        })?;
        workdir.set_origin(&self.resolved.url).await.map_err(suspect)?;
        let known_hosts = self.known_hosts()?;
        let keys = known_hosts.as_deref().map_or(HostKeys::AcceptNew, HostKeys::Only);
        let transport = Transport::new(self.url, self.access, self.resolved.ssh.as_ref(), keys)?
            .trusting(self.resolved.authorities.as_deref())?;
        let mut fetched = false;
        let id = &self.resolved.commit;
        let commit = match workdir.fetched(id).await? {
            Some(commit) => commit,
            None => {
                fetched = true;
                workdir.fetch(self.resolved, &transport).await?;
                let commit = workdir.fetched(id).await?;
                commit
                    .ok_or_else(|| Failure::usage(format!("{id} of {} is not a commit", self.resolved.url)))?
            }
        };
        let old = workdir.commit("HEAD").await?;
        place::place(&workdir, old.as_deref(), pending.as_deref(), &commit, kept).await.map_err(suspect)?;
        self.write_record(&Record::Begun { commit: commit.clone() })?;
        let note = workdir.set_head(&commit, self.resolved.branch.as_deref()).await.map_err(suspect)?;
        note.into_iter().for_each(&mut *report);
        self.submodules(&workdir, &commit, &transport, report).await?;
        self.lfs(&workdir, &commit, &transport, report).await?;
        self.write_record(&Record::Done {
            id: id.clone(),
            commit: commit.clone(),
            url: self.resolved.url.clone(),
            branch: self.resolved.branch.clone(),
            options: *self.options,
        })?;
        Ok((true, fetched, commit))
    }

    /// Whether git finds fault with the repository, as with one that is no directory, has lost its HEAD or has torn objects.
    async fn is_broken(&self) -> bool {
        let git = self.dir.join(".git");
        if !std::fs::symlink_metadata(&git).is_ok_and(|metadata| metadata.is_dir())
            || !git.join("HEAD").exists()
        {
            return true;
        }
        let call =
            Call::git_in(self.dir, "check the repository").args(["fsck", "--no-dangling", "--no-progress"]);
        call.run().await.is_ok_and(|ended| !ended.ok())
    }

    fn record(&self) -> Option<Record> {
        serde_json::from_slice(&std::fs::read(self.dir.join(RECORD)).ok()?).ok()
    }

    fn write_record(&self, record: &Record) -> Result<(), Failure> {
        let path = self.dir.join(RECORD);
        let temporary = path.with_extension("new");
        let text = serde_json::to_vec(record)
            .map_err(|err| Failure::other("cannot write a record").because(err.to_string()))?;
        std::fs::write(&temporary, text)
            .and_then(|()| std::fs::rename(&temporary, &path))
            .map_err(|err| Failure::from_io(format!("cannot write {}", path.display()), &err))
    }

    /// Whether HEAD is the commit, on its branch, and no tracked file differs.
    async fn is_clean(&self, commit: &str) -> Result<bool, Failure> {
        let workdir = Workdir::open(self.dir, commit).await?;
        let call = workdir.git("compare files");
        let call = call.args([
            "status",
            "--porcelain=v2",
            "--branch",
            "-z",
            "--untracked-files=no",
            "--ignore-submodules=dirty",
        ]);
        let status = call.run().await?;
        let text = String::from_utf8_lossy(&status.out).into_owned();
        let has = |line: &str| text.split('\0').any(|known| known == line);
        let head = self.resolved.branch.as_deref().unwrap_or("(detached)");
        let changes = text.split('\0').any(|line| !line.is_empty() && !line.starts_with("# "));
        Ok(status.ok()
            && !changes
            && has(&format!("# branch.oid {commit}"))
            && has(&format!("# branch.head {head}")))
    }

    /// A file with the keys that the client knows the host by, if it does.
    fn known_hosts(&self) -> Result<Option<PathBuf>, Failure> {
        let Some(host) = self.resolved.ssh.as_ref().filter(|host| !host.known_hosts.is_empty()) else {
            return Ok(None);
        };
        let path = self.dir.join(".git/pail-known-hosts");
        std::fs::write(&path, host.known_hosts.join("\n") + "\n")
            .map_err(|err| Failure::from_io(format!("cannot write {}", path.display()), &err))?;
        Ok(Some(path))
    }

    async fn submodules(
        &self,
        workdir: &Workdir,
        commit: &str,
        transport: &Transport,
        report: &mut (dyn FnMut(String) + Send),
    ) -> Result<(), Trouble> {
        let call =
            workdir.git("list submodules").args(["ls-tree", "--name-only", commit, "--", ".gitmodules"]);
        if call.output().await?.is_empty() {
            return Ok(());
        }
        if !self.options.submodules {
            report(format!(
                "warning: {} has submodules, which are not checked out: their directories are empty; ask for them with submodules: true",
                self.resolved.shown()
            ));
            return Ok(());
        }
        workdir.git("set up submodules").args(["submodule", "-q", "sync", "--recursive"]).output().await?;
        let call = workdir.git("check out submodules").over(transport)?;
        let call = call
            .args(["submodule", "-q", "update", "--init", "--recursive", "--depth=1", "--jobs=4"])
            .limit(FETCH_TIME_MAX);
        let ended = call.run().await?;
        if ended.ok() {
            return Ok(());
        }
        let message = format!("cannot check out the submodules of {}", self.resolved.shown());
        Err(Trouble::Outside(trouble::failure(&message, &ended.err)))
    }

    async fn lfs(
        &self,
        workdir: &Workdir,
        commit: &str,
        transport: &Transport,
        report: &mut (dyn FnMut(String) + Send),
    ) -> Result<(), Trouble> {
        let call = workdir.git("look for LFS").args([
            "grep",
            "-q",
            "-I",
            "filter=lfs",
            commit,
            "--",
            ":(glob)**/.gitattributes",
        ]);
        if !call.run().await?.ok() {
            return Ok(());
        }
        if !self.options.lfs {
            report(format!(
                "warning: {} has files in git LFS, which are not fetched: short texts stand in for them; ask for them with lfs: true",
                self.resolved.shown()
            ));
            return Ok(());
        }
        if !workdir.git("look for LFS").args(["lfs", "version"]).run().await?.ok() {
            return Err(Trouble::Outside(
                Failure::new(FailureKind::NotFound, "cannot fetch files in git LFS")
                    .because("git-lfs is not installed")
                    .with_hint("install it: apt-get install git-lfs (Debian, Ubuntu), dnf install git-lfs (Fedora, RHEL)"),
            ));
        }
        // The filters, for this repository alone; no hooks.
        workdir.git("set up LFS").args(["lfs", "install", "--local", "--skip-repo"]).output().await?;
        let ended = workdir
            .git("fetch files in LFS")
            .over(transport)?
            .args(["lfs", "pull", "origin"])
            .limit(FETCH_TIME_MAX)
            .run()
            .await?;
        if ended.ok() {
            return Ok(());
        }
        let message = format!("cannot fetch the LFS files of {}", self.resolved.shown());
        Err(Trouble::Outside(trouble::failure(&message, &ended.err)))
    }
}

/// Local work that fails, whatever git's words are like: only a full disk is the outside's fault.
fn suspect(failure: Failure) -> Trouble {
    match failure.kind {
        FailureKind::NoSpace => Trouble::Outside(failure),
        _ => Trouble::Repository(failure),
    }
}

//! The repository in a checkout.
//!
//! Owns: [`Workdir`]: making the repository, fetching one commit into it, moving its HEAD. Each commit that was fetched to its end has a ref
//! `refs/pail/commits/ID`: it keeps the objects for later fetches to build on, and tells that they are all there.
//!
//! Invariants: `origin` is the address without a token. A local branch that has commits of the user's is kept under another name before
//! it is moved.

use super::kept;
use super::process::{Call, Ended};
use super::resolve::Resolved;
use super::transport::{FETCH_TIME_MAX, Transport};
use super::trouble;
use pail_control::{Failure, FailureKind};
use std::path::{Path, PathBuf};

/// Where the refs of fetched commits are.
const COMMITS: &str = "refs/pail/commits";
/// How far back a branch is fetched whose server refuses a commit by its id, step by step, before all of it is.
const DEPTHS: [&str; 2] = ["1", "200"];

/// A directory with a repository in `.git`.
pub struct Workdir {
    dir: PathBuf,
}

impl Workdir {
    /// Makes the repository if there is none yet.
    pub async fn open(dir: &Path, commit: &str) -> Result<Self, Failure> {
        let workdir = Self { dir: dir.to_owned() };
        if !dir.join(".git/HEAD").exists() {
            let format = if commit.len() == 64 { vec!["--object-format=sha256"] } else { Vec::new() };
            let call = Call::git(format!("make a git repository in {}", dir.display())).args([
                "init",
                "-q",
                "--template=",
            ]);
            call.args(format).args([dir]).output().await?;
        }
        Ok(workdir)
    }

    /// Where it is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A call of git's in it.
    pub fn git(&self, about: &str) -> Call {
        Call::git_in(&self.dir, format!("{about} in {}", self.dir.display()))
    }

    /// A commit's id in full, if the revision is there.
    pub async fn commit(&self, revision: &str) -> Result<Option<String>, Failure> {
        let call = self.git("look a commit up").args(["rev-parse", "-q", "--verify"]);
        let ended = call.args([format!("{revision}^{{commit}}")]).run().await?;
        Ok(ended.ok().then(|| ended.line()))
    }

    /// Whether a commit was fetched to its end; its id where the id was an annotated tag's.
    pub async fn fetched(&self, id: &str) -> Result<Option<String>, Failure> {
        self.commit(&format!("{COMMITS}/{id}")).await
    }

    /// Sets `origin`.
    pub async fn set_origin(&self, url: &str) -> Result<(), Failure> {
        for (name, value) in
            [("remote.origin.url", url), ("remote.origin.fetch", "+refs/heads/*:refs/remotes/origin/*")]
        {
            self.git("set the remote").args(["config", "--replace-all", name, value]).output().await?;
        }
        Ok(())
    }

    /// Fetches the commit: by its id and without its history where the server allows that, else over its branch or all of them. Objects
    /// of earlier commits are not sent again.
    pub async fn fetch(&self, resolved: &Resolved, transport: &Transport) -> Result<(), Failure> {
        let id = &resolved.commit;
        let by_id = self.fetch_once(transport, &["--depth=1"], &[format!("+{id}:{COMMITS}/{id}")]).await?;
        if by_id.ok() {
            return Ok(());
        }
        let text = by_id.err.to_lowercase();
        let refused = text.contains("unadvertised object")
            || text.contains("not our ref")
            || text.contains("does not support shallow");
        if !refused {
            return Err(self.fetch_failure(resolved, &by_id.err));
        }
        if self.fetch_ref(resolved, transport).await? {
            return Ok(());
        }
        // The commit is no longer at a ref, or deep below one.
        let shallow = self.dir.join(".git/shallow").exists();
        let depth: &[&str] = if shallow { &["--unshallow"] } else { &[] };
        let refspecs =
            ["+refs/heads/*:refs/remotes/origin/*".to_owned(), "+refs/tags/*:refs/tags/*".to_owned()];
        let all = self.fetch_once(transport, depth, &refspecs).await?;
        if !all.ok() {
            return Err(self.fetch_failure(resolved, &all.err));
        }
        if self.keep_if_there(id).await? {
            return Ok(());
        }
        Err(self.fetch_failure(resolved, &by_id.err))
    }

    /// Fetches the ref that was resolved, deeper and deeper, until the commit is there.
    async fn fetch_ref(&self, resolved: &Resolved, transport: &Transport) -> Result<bool, Failure> {
        let name = match (&resolved.branch, &resolved.git_ref) {
            (Some(branch), _) => format!("refs/heads/{branch}"),
            (None, Some(name)) if name.starts_with("refs/") => name.clone(),
            (None, Some(name)) if !super::refs::is_abbreviated_id(name) && !super::refs::is_full_id(name) => {
                format!("refs/tags/{}", name.strip_prefix("tags/").unwrap_or(name))
            }
            _ => return Ok(false),
        };
        for depth in DEPTHS {
            let refspec = format!("+{name}:refs/pail/fetched");
            let fetched = self.fetch_once(transport, &[&format!("--depth={depth}")], &[refspec]).await?;
            if !fetched.ok() {
                // It was removed meanwhile; its commit may still be below another.
                return Ok(false);
            }
            if self.keep_if_there(&resolved.commit).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn fetch_once(
        &self,
        transport: &Transport,
        depth: &[&str],
        refspecs: &[String],
    ) -> Result<Ended, Failure> {
        let call = self.git("fetch").over(transport)?;
        let call = call.args(["fetch", "-q", "--no-tags", "--no-recurse-submodules", "--force"]).args(depth);
        call.args(["origin"]).args(refspecs).limit(FETCH_TIME_MAX).run().await
    }

    async fn keep_if_there(&self, id: &str) -> Result<bool, Failure> {
        if self.commit(id).await?.is_none() {
            return Ok(false);
        }
        self.git("note the commit").args(["update-ref", &format!("{COMMITS}/{id}"), id]).output().await?;
        Ok(true)
    }

    fn fetch_failure(&self, resolved: &Resolved, err: &str) -> Failure {
        let message = format!("cannot fetch {} of {}", resolved.shown(), resolved.url);
        let failure = trouble::failure(&message, err);
        // A directory of this machine that fails is no missing repository.
        match failure.kind {
            FailureKind::NotFound if err.contains(".git/") && err.contains("unable to") => {
                trouble::failure(&message, "")
            }
            _ => failure,
        }
    }

    /// Points HEAD to the commit: on the branch of that name, with its upstream, where the ref was one; detached otherwise. A note says
    /// which commits of the user's are now under another name.
    pub async fn set_head(&self, commit: &str, branch: Option<&str>) -> Result<Option<String>, Failure> {
        let mut note = self.keep_commits("HEAD").await?;
        let Some(branch) = branch else {
            self.detach(commit).await?;
            return Ok(note);
        };
        let (full, upstream) = (format!("refs/heads/{branch}"), format!("refs/remotes/origin/{branch}"));
        note = note.or(self.keep_commits(&full).await?);
        // A branch `a` may be where `a/b` is to be. A detached HEAD is as good.
        let updated = self.git("set the branch").args(["update-ref", &full, commit]).run().await?;
        if !updated.ok() {
            self.detach(commit).await?;
            return Ok(note);
        }
        self.git("set HEAD").args(["symbolic-ref", "HEAD", &full]).output().await?;
        // For people: `git status` tells of it, `git push` knows where to.
        let _ = self.git("set the upstream").args(["update-ref", &upstream, commit]).run().await?;
        for (name, value) in [("remote", "origin"), ("merge", full.as_str())] {
            let call = self.git("set the upstream").args([
                "config",
                "--replace-all",
                &format!("branch.{branch}.{name}"),
                value,
            ]);
            call.run().await?;
        }
        Ok(note)
    }

    async fn detach(&self, commit: &str) -> Result<(), Failure> {
        self.git("set HEAD").args(["update-ref", "--no-deref", "HEAD", commit]).output().await.map(drop)
    }

    /// Gives commits that were made here a branch of their own before theirs is moved.
    async fn keep_commits(&self, revision: &str) -> Result<Option<String>, Failure> {
        let Some(commit) = self.commit(revision).await? else { return Ok(None) };
        let pointing = self.git("look the commit up").args([
            "for-each-ref",
            "--format=%(refname)",
            "--points-at",
            &commit,
        ]);
        let names = String::from_utf8_lossy(
            &pointing.args([COMMITS, "refs/remotes", "refs/tags", "refs/heads/kept"]).output().await?,
        )
        .into_owned();
        if !names.is_empty() {
            return Ok(None);
        }
        // Fetched with history, where a server refused the commit alone.
        let below = self.git("look the commit up").args([
            "for-each-ref",
            "--count=1",
            "--contains",
            &commit,
            "refs/remotes",
            "refs/pail",
        ]);
        if !below.output().await?.is_empty() {
            return Ok(None);
        }
        let name = format!("kept/{}-{}", kept::stamp(), &commit[..8]);
        self.git("keep the commits")
            .args(["update-ref", &format!("refs/heads/{name}"), &commit])
            .output()
            .await?;
        Ok(Some(format!("commits that were made in {} are now on its branch {name}", self.dir.display())))
    }
}

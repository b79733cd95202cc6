//! What a ref means now.
//!
//! Owns: [`resolve`], which asks the remote once, on the client, so that all nodes get the same commit; [`Resolved`], which goes to them.

use super::commits;
use super::credentials::Access;
use super::process::Call;
use super::refs::{self, Refs};
use super::ssh::{self, HostKeys, SshHost};
use super::transport::{LOOKUP_TIME_MAX, Transport};
use super::url::{GitUrl, Scheme};
use pail_control::{Failure, FailureKind};
use serde::{Deserialize, Serialize};

/// One commit of one repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolved {
    /// The repository's address, without a password.
    pub url: String,
    /// The commit's id in full, 40 or 64 hexadecimal digits in lower case.
    pub commit: String,
    /// The branch that the ref was, for the checkout's HEAD and its upstream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    /// The ref as it was asked for; `None`: the remote's default branch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git_ref: Option<String>,
    /// What the client knows of an SSH host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssh: Option<SshHost>,
    /// Certificates of the authorities that the client trusts for it by `GIT_SSL_CAINFO`, in PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorities: Option<String>,
    /// What the user should be told, a line each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

impl Resolved {
    /// The ref and the commit for people, such as `main (1234567890ab)`.
    pub fn shown(&self) -> String {
        let short = self.commit.get(..12).unwrap_or(&self.commit);
        match self.branch.as_ref().or(self.git_ref.as_ref()) {
            Some(name) if !self.commit.starts_with(name.as_str()) => format!("{name} ({short})"),
            _ => short.to_owned(),
        }
    }
}

/// Asks the remote what a branch, tag or commit is now; without a ref, its default branch.
///
/// A commit's full id is taken as it is, without a request, save to an SSH host whose key is not known yet: that is accepted here, once, for
/// all nodes. An abbreviated one is looked for among the refs, and then among all commits, which are fetched into a cache without their
/// files. Errors: usage, for what can be no ref; not found, with near names; credentials; unreachable.
pub async fn resolve(
    url: &str,
    git_ref: Option<&str>,
    access: &Access,
    environment: &(dyn Fn(&str) -> Option<String> + Sync),
) -> Result<Resolved, Failure> {
    let url = GitUrl::parse(url)?;
    let git_ref = git_ref.map(str::trim).filter(|name| !name.is_empty());
    git_ref.map_or(Ok(()), check_name)?;
    let mut resolved = Resolved {
        url: url.as_str().to_owned(),
        commit: String::new(),
        branch: None,
        git_ref: git_ref.map(str::to_owned),
        ssh: None,
        authorities: environment("GIT_SSL_CAINFO").and_then(|file| std::fs::read_to_string(file).ok()),
        notes: Vec::new(),
    };
    let mut host = None;
    let mut keys = HostKeys::AcceptNew;
    if url.scheme == Scheme::Ssh {
        let configuration = ssh::configuration(&url).await?;
        if configuration.is_strict {
            keys = HostKeys::Known;
        }
        host = Some(configuration.host);
    }
    let is_known = host.as_ref().is_none_or(|host| !host.known_hosts.is_empty());
    let full = git_ref.filter(|name| refs::is_full_id(name));
    // The client's own ssh has the user's configuration: jump hosts and all.
    let transport = Transport::new(&url, access, None, keys)?;
    if full.is_none() || !is_known {
        let (found, notes) = look_up(&url, git_ref, &transport, environment).await?;
        resolved.commit = found.commit;
        resolved.branch = found.branch;
        resolved.notes = notes;
        if !is_known {
            host = Some(ssh::configuration(&url).await?.host);
        }
    }
    if let Some(id) = full {
        resolved.commit = id.to_ascii_lowercase();
        resolved.branch = None;
    }
    resolved.ssh = host;
    Ok(resolved)
}

async fn look_up(
    url: &GitUrl,
    git_ref: Option<&str>,
    transport: &Transport,
    environment: &(dyn Fn(&str) -> Option<String> + Sync),
) -> Result<(refs::Found, Vec<String>), Failure> {
    let Some(name) = git_ref.filter(|name| !refs::is_full_id(name)) else {
        let refs = list(url, transport, &["HEAD".to_owned()]).await?;
        return match refs.default_branch() {
            Some(found) => Ok((found, Vec::new())),
            // A full id needs nothing of HEAD.
            None if git_ref.is_some() => {
                Ok((refs::Found { commit: String::new(), branch: None, hides_tag: false }, Vec::new()))
            }
            None => Err(no_default_branch(url, transport).await?),
        };
    };
    let patterns = ["HEAD".to_owned(), name.to_owned(), format!("{name}^{{}}")];
    let qualified =
        [format!("refs/heads/{name}"), format!("refs/tags/{name}"), format!("refs/tags/{name}^{{}}")];
    let refs = list(url, transport, &[patterns.as_slice(), qualified.as_slice()].concat()).await?;
    if let Some(found) = refs.find(name) {
        let mut notes = Vec::new();
        if found.hides_tag {
            notes.push(format!(
                "{name} is both a branch and a tag of {url}; the branch was taken, as git does (refs/tags/{name} is the tag)"
            ));
        }
        return Ok((found, notes));
    }
    let all = list(url, transport, &[]).await?;
    if refs::is_abbreviated_id(name) {
        let prefix = name.to_ascii_lowercase();
        let commit = match all.tip(&prefix) {
            Some(commit) => Some(commit),
            None => commits::expand(url, &prefix, transport, environment).await?,
        };
        if let Some(commit) = commit {
            return Ok((refs::Found { commit, branch: None, hides_tag: false }, Vec::new()));
        }
    }
    Err(unknown(url, name, &all))
}

fn unknown(url: &GitUrl, name: &str, all: &Refs) -> Failure {
    let failure = Failure::new(FailureKind::NotFound, format!("{url} has no branch, tag or commit {name:?}"));
    if all.is_empty() {
        return failure.because("the repository is empty").with_hint("push something to it first");
    }
    let near: Vec<String> = all.near(name).iter().map(|name| (*name).to_owned()).collect();
    if !near.is_empty() {
        return failure.with_hint(format!("did you mean {}?", near.join(" or ")));
    }
    match all.default_branch().and_then(|found| found.branch) {
        Some(branch) => failure.with_hint(format!("see that it was pushed; the default branch is {branch}")),
        None => failure.with_hint("see that it was pushed"),
    }
}

async fn no_default_branch(url: &GitUrl, transport: &Transport) -> Result<Failure, Failure> {
    let all = list(url, transport, &[]).await?;
    let failure = Failure::new(FailureKind::NotFound, format!("{url} has no default branch"));
    Ok(match all.is_empty() {
        true => failure.because("the repository is empty").with_hint("push something to it first"),
        false => failure.with_hint("name a branch, tag or commit: ref in the task, or --git-ref"),
    })
}

async fn list(url: &GitUrl, transport: &Transport, patterns: &[String]) -> Result<Refs, Failure> {
    let call = Call::git(format!("read the branches and tags of {url}")).over(transport)?;
    let call =
        call.args(["ls-remote", "-q", "--symref", "--", url.as_str()]).args(patterns).limit(LOOKUP_TIME_MAX);
    Ok(Refs::parse(&call.output().await?))
}

/// What git's rules for names of refs refuse, and what could be taken for an option or a pattern.
fn check_name(name: &str) -> Result<(), Failure> {
    let odd = |c: char| c.is_control() || c.is_whitespace() || "~^:?*[\\".contains(c);
    if name.starts_with(['-', '/'])
        || name.ends_with(['/', '.'])
        || name.contains("..")
        || name.contains("@{")
        || name.contains(odd)
    {
        return Err(Failure::usage(format!("{name:?} is no branch, tag or commit"))
            .with_hint("ref (--git-ref) takes a branch, a tag, or a commit's id, in full or abbreviated"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_no_ref_is_refused() {
        for name in
            ["-x", "--upload-pack=x", "a b", "HEAD~1", "v1^{}", "a..b", "main@{1}", "a:b", "refs/*", "a/"]
        {
            assert_eq!(check_name(name).unwrap_err().kind, FailureKind::Usage, "{name}");
        }
        for name in ["main", "feature/x-1", "v1.0", "refs/pull/1/head", "ünï"] {
            assert!(check_name(name).is_ok(), "{name}");
        }
    }
}

//! Why a path is sent or left out.
//!
//! Owns: [`explain`]. The verdict is the list's own; the reason is found on the way down from the source, where each component meets
//! the rules that the walk met it with. Git names its rules itself (`git check-ignore`).

use super::gitignore::{self, Gitignores};
use super::pattern::Candidate;
use super::rules::Rules;
use super::scope::{Scope, Verdict};
use super::{Explanation, FileList, ListOptions, Reason, Rule, git, walk};
use pail_control::Failure;
use std::ffi::OsStr;
use std::fs::FileType;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileTypeExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

/// Explains what [`super::list`] does with each of `paths`, which are relative to `source` and stay in it. Errors: as of the list.
pub fn explain(source: &Path, paths: &[PathBuf], options: &ListOptions) -> Result<Vec<Explanation>, Failure> {
    explain_with(source, paths, options, true)
}

/// [`explain`], where `with_git` may keep it from asking the git program.
pub(super) fn explain_with(
    source: &Path,
    paths: &[PathBuf],
    options: &ListOptions,
    with_git: bool,
) -> Result<Vec<Explanation>, Failure> {
    let scope = super::scope_of(source, with_git, &mut Vec::new())?;
    let options = walk::Options { include_git: options.include_git, with_git };
    let list = super::list_by(source, scope.clone(), options, Vec::new())?;
    let explained = |path: &PathBuf| {
        let sent = is_sent(&list, path);
        let reason = Descent::new(source, options, scope.clone(), sent).reason(path)?;
        Ok(Explanation { path: path.clone(), sent, reason })
    };
    paths.iter().map(explained).collect()
}

/// Whether a path, or something below it, is in a list.
fn is_sent(list: &FileList, path: &Path) -> bool {
    let path = plain(path);
    if path.is_empty() {
        return true;
    }
    let at = list.entries.binary_search_by(|entry| entry.path.as_bytes().cmp(&path));
    let below = [path.as_slice(), b"/"].concat();
    let first = list.entries.partition_point(|entry| entry.path.as_bytes() < below.as_slice());
    at.is_ok() || list.entries.get(first).is_some_and(|entry| entry.path.as_bytes().starts_with(&below))
}

/// The names of a path, joined by slashes.
fn plain(path: &Path) -> Vec<u8> {
    let names = path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.as_bytes()),
        _ => None,
    });
    names.collect::<Vec<_>>().join(&b'/')
}

/// The way down from a source to a path.
struct Descent<'a> {
    source: &'a Path,
    options: walk::Options,
    scope: Scope,
    rules: Option<Arc<Rules>>,
    /// What the way is at, relative to the source.
    path: Vec<u8>,
    /// Whether the path is in the list.
    sent: bool,
    /// A rule that keeps what the way is at.
    kept_by: Option<Rule>,
}

impl<'a> Descent<'a> {
    fn new(source: &'a Path, options: walk::Options, scope: Scope, sent: bool) -> Self {
        Self { source, options, scope, rules: None, path: Vec::new(), sent, kept_by: None }
    }

    fn at(&self) -> PathBuf {
        self.source.join(OsStr::from_bytes(&self.path))
    }

    fn reason(mut self, path: &Path) -> Result<Reason, Failure> {
        let whole = plain(path);
        let wants_dir = path.as_os_str().as_bytes().ends_with(b"/");
        let mut file_type = None;
        for name in whole.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
            self.enter()?;
            if !self.path.is_empty() {
                self.path.push(b'/');
            }
            let name_at = self.path.len();
            self.path.extend_from_slice(name);
            file_type = self.at().symlink_metadata().ok().map(|meta| meta.file_type());
            let is_last = self.path == whole;
            let is_dir = file_type.map_or(wants_dir || !is_last, |kind| kind.is_dir());
            if let Some(reason) = self.decide(name_at, is_dir, is_last)? {
                return Ok(reason);
            }
            if !is_last && file_type.is_some_and(|kind| kind.is_symlink()) {
                return Ok(Reason::BelowSymlink);
            }
        }
        if whole.is_empty() {
            return Ok(Reason::NothingMatched);
        }
        Ok(match file_type {
            None => Reason::Missing,
            _ if self.sent => self.kept_by.map_or(Reason::NothingMatched, Reason::Rule),
            Some(kind) if kind.is_dir() => Reason::NothingInIt,
            Some(kind) if is_special(kind) => Reason::SpecialFile,
            Some(_) => Reason::Git,
        })
    }

    /// Takes up the rules of the directory that the way is at.
    fn enter(&mut self) -> Result<(), Failure> {
        if matches!(self.scope, Scope::GitDirectory) {
            return Ok(());
        }
        let at = self.at();
        let mut warnings = Vec::new();
        self.rules = walk::rules_of(&at, &self.path, self.rules.take(), &mut warnings)?;
        let has_git = at.join(".git").symlink_metadata().is_ok();
        let scope = std::mem::replace(&mut self.scope, Scope::Everything);
        self.scope = scope.entered(&at, &self.path, has_git, self.options.with_git, &mut warnings)?;
        let file = at.join(gitignore::FILE_NAME);
        if let Scope::Gitignores(above) = &self.scope
            && file.symlink_metadata().is_ok_and(|meta| meta.is_file())
        {
            let files = Gitignores::with(&file, &self.path, above.clone(), &mut warnings)?;
            self.scope = Scope::Gitignores(files);
        }
        Ok(())
    }

    /// What decides about the name that the way has come to; `None` where the way goes on, or nothing is against it.
    fn decide(&mut self, name_at: usize, is_dir: bool, is_last: bool) -> Result<Option<Reason>, Failure> {
        let matched = (!is_last).then(|| PathBuf::from(std::ffi::OsString::from_vec(self.path.clone())));
        let left_out = |rule: Rule| Ok(Some(Reason::Rule(Rule { matched: matched.clone(), ..rule })));
        let is_git = &self.path[name_at..] == b".git" && !matches!(self.scope, Scope::GitDirectory);
        if is_git && !self.options.include_git {
            return Ok(Some(Reason::GitDirectory));
        }
        self.kept_by = None;
        let candidate = Candidate { path: &self.path, name_at, is_dir };
        if let Some((file, rule)) = self.rules.as_deref().and_then(|rules| rules.decide(candidate)) {
            if !rule.keeps {
                return left_out(rule.reported(file));
            }
            self.kept_by = Some(rule.reported(file));
        }
        if is_git {
            (self.scope, self.rules) = (Scope::GitDirectory, None);
            return Ok(None);
        }
        if let Scope::Gitignores(Some(files)) = &self.scope
            && let Some(rule) = files.rule(&self.path, is_dir)
        {
            if !git::is_negative(&rule) {
                return left_out(rule);
            }
            self.kept_by = self.kept_by.take().or(Some(rule));
        }
        match self.scope.verdict(&self.path, is_dir) {
            Verdict::Sent(scope) => {
                if is_last && let Some(rule) = self.git_rule()? {
                    match git::is_negative(&rule) {
                        true => self.kept_by = self.kept_by.take().or(Some(rule)),
                        false if self.sent => return Ok(Some(Reason::Tracked(rule))),
                        // Its tracked files are no longer there.
                        false => return left_out(rule),
                    }
                }
                self.scope = scope.unwrap_or(Scope::Everything);
            }
            Verdict::LeftOut => {}
            Verdict::Unlisted => {
                match self.git_rule()? {
                    Some(rule) if !git::is_negative(&rule) => return left_out(rule),
                    rule => self.kept_by = self.kept_by.take().or(rule),
                }
                if let Some(repository) = self.scope.repository().map(Arc::clone) {
                    self.scope = Scope::Unlisted(repository);
                }
            }
        }
        Ok(None)
    }

    /// Git's own rule for what the way is at.
    fn git_rule(&self) -> Result<Option<Rule>, Failure> {
        let Some(repository) = self.scope.repository() else { return Ok(None) };
        let path = repository.relative(&self.path).to_vec();
        Ok(git::check_ignore(&repository.dir, &[path])?.pop().flatten())
    }
}

fn is_special(kind: FileType) -> bool {
    kind.is_socket() || kind.is_fifo() || kind.is_block_device() || kind.is_char_device()
}

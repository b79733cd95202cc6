//! The list of files that a source directory sends: one engine for every transport.
//!
//! Owns: [`list`], [`explain`] and their types, and which rules a source has: those of a root `.skyignore` alone, else git's own word
//! where a work tree and the program are there, else `.gitignore` files as the `ignore` crate reads them. Below it: `pattern` and
//! `rules` (`.skyignore`: rsync's filter rules), `git` (the program), `gitignore` (without it), `scope` (who decides below a
//! directory), `walk` (directories in parallel), `explain`.
//!
//! Invariants: symlinks are entries and never followed, save the source itself; a name is bytes; an excluded directory is not read; a
//! list is sorted by bytes and holds no name twice; `.git` is in it only where it was asked for; [`explain`] takes its verdict from
//! [`list`], so that both always agree.

mod explain;
mod git;
mod gitignore;
mod pattern;
mod rules;
mod scope;
mod walk;

pub use explain::explain;

use pail_control::Failure;
use scope::Scope;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Warnings of one list; what is beyond is counted.
const WARNINGS_MAX: usize = 50;

/// What the caller decides about a list.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ListOptions {
    /// Whether `.git` is sent too, as it is and whole.
    pub include_git: bool,
}

/// What of a source directory is sent, by every transport.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileList {
    /// Regular files, symlinks, and directories of which nothing else is sent, sorted by the bytes of their paths. The directories
    /// above an entry are implied.
    pub entries: Vec<Entry>,
    /// For people, a line each: rules that do not mean what they seem to, and what is left out though no rule says so.
    pub warnings: Vec<String>,
}

/// One name of a [`FileList`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// Relative to the source, without a leading `./` or a trailing slash; any bytes but NUL.
    pub path: OsString,
    /// What it was when it was listed.
    pub kind: EntryKind,
}

/// What an [`Entry`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A symlink, whatever it points to.
    Symlink,
    /// A directory of which nothing else is sent.
    EmptyDir,
}

/// Why a path is sent or left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// As it was asked for.
    pub path: PathBuf,
    /// Whether it, or for a directory something in it, is in the list.
    pub sent: bool,
    /// What decided.
    pub reason: Reason,
}

/// What decided about a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// A rule.
    Rule(Rule),
    /// Nothing matched, so it is sent.
    NothingMatched,
    /// Git tracks it, or something in it, so it is sent; the rule would have left it out.
    Tracked(Rule),
    /// It is `.git` or below it.
    GitDirectory,
    /// Everything in the directory is left out.
    NothingInIt,
    /// A socket, a pipe or a device.
    SpecialFile,
    /// Below a symlink, which is sent as such and never followed.
    BelowSymlink,
    /// Nothing is there.
    Missing,
    /// Git left it out, without a rule of its own for it.
    Git,
}

/// A line of a file of rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The file, as the one who would edit it would name it.
    pub file: PathBuf,
    /// Its line, from 1.
    pub line: usize,
    /// The line's pattern.
    pub pattern: OsString,
    /// What it matched where that was not the path itself: a directory above it.
    pub matched: Option<PathBuf>,
}

/// Lists what of the directory `source` is sent. Errors: it is not there or no directory; a directory in it or a file of rules cannot
/// be read; git fails.
pub fn list(source: &Path, options: &ListOptions) -> Result<FileList, Failure> {
    list_with(source, options, true)
}

/// [`list`], where `with_git` may keep it from asking the git program.
fn list_with(source: &Path, options: &ListOptions, with_git: bool) -> Result<FileList, Failure> {
    let mut warnings = Vec::new();
    let scope = scope_of(source, with_git, &mut warnings)?;
    let options = walk::Options { include_git: options.include_git, with_git };
    list_by(source, scope, options, warnings)
}

/// Lists by a scope.
fn list_by(
    source: &Path,
    scope: Scope,
    options: walk::Options,
    mut warnings: Vec<String>,
) -> Result<FileList, Failure> {
    let walk::Found { mut entries, warnings: mut later, .. } = walk::walk(source, scope, options)?;
    entries.sort_unstable_by(|a, b| a.path.as_bytes().cmp(b.path.as_bytes()));
    later.sort_unstable();
    later.dedup();
    warnings.append(&mut later);
    let git_file = source.join(".git");
    if options.include_git && git_file.symlink_metadata().is_ok_and(|meta| !meta.is_dir()) {
        let file = git_file.display();
        warnings.push(format!(
            "{file} names a repository outside the source, so git will not work where it is sent"
        ));
    }
    if warnings.len() > WARNINGS_MAX {
        let more = warnings.len() - WARNINGS_MAX;
        warnings.truncate(WARNINGS_MAX);
        warnings.push(format!("and {more} more warnings of this kind"));
    }
    Ok(FileList { entries, warnings })
}

/// Who decides at the top of a source.
fn scope_of(source: &Path, with_git: bool, warnings: &mut Vec<String>) -> Result<Scope, Failure> {
    let meta = source.metadata().map_err(|err| Failure::unreadable(source, &err))?;
    if !meta.is_dir() {
        return Err(Failure::usage(format!("{} is not a directory", source.display())));
    }
    match source.join(rules::FILE_NAME).metadata().is_ok_and(|meta| meta.is_file()) {
        true => Ok(Scope::Everything),
        false => Scope::of_source(source, with_git, warnings),
    }
}

#[cfg(test)]
mod tests;

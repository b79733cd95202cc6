//! Where a task's code comes from.
//!
//! Owns: [`Workdir`], and what the file and the command line say of it together.

use super::fields::WORKDIR;
use super::local::Caller;
use super::mistakes::{Mistake, Mistakes};
use super::reader::{Object, Reader, Word};
use super::substitute::variables_in;
use super::yaml::{Node, Place, Value};
use std::path::PathBuf;

/// The source of the code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Workdir {
    /// A directory of this machine: absolute, and there; it may be a symbolic link to one.
    Local(PathBuf),
    /// A git repository.
    Git {
        /// `https://`, `http://`, `ssh://`, or `[user@]host:path`.
        url: String,
        /// A branch, tag or commit; without it the repository's default branch.
        git_ref: Option<String>,
    },
}

/// What the command line says of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum WorkdirOverride {
    /// Nothing.
    #[default]
    None,
    /// `--workdir`.
    Local(PathBuf),
    /// `--git-url`, and `--git-ref` beside it.
    Url(String, Option<String>),
    /// `--git-ref` alone.
    Ref(String),
}

impl Workdir {
    /// Reads what the file has under `workdir`, after the command line. Mistakes of the file are kept also where the command line replaces
    /// it, save that a directory need not be there.
    pub fn read(
        reader: Reader<'_>,
        node: Option<&Node>,
        told: &WorkdirOverride,
        caller: &Caller,
        mistakes: &mut Mistakes,
    ) -> Option<Self> {
        let place = node.map_or(Place::NONE, |node| node.place);
        match (Written::read(reader, node, mistakes)?, told) {
            (_, WorkdirOverride::Local(dir)) => mistakes.keep(local_told(dir, caller)),
            (Written::Git { git_ref, .. }, WorkdirOverride::Url(url, told)) => {
                git_told(url, told.clone().or(git_ref), mistakes)
            }
            (_, WorkdirOverride::Url(url, told)) => git_told(url, told.clone(), mistakes),
            (Written::Git { url, .. }, WorkdirOverride::Ref(told)) => git(&url, Some(told.clone()), mistakes),
            (written, WorkdirOverride::Ref(told)) => {
                let what = match written {
                    Written::Nothing => format!("--git-ref {told}: the task has no `workdir`"),
                    _ => format!("--git-ref {told}: this `workdir` is a directory, not a git repository"),
                };
                mistakes.add(Mistake::new(place, what).with_hint("give --git-url URL too"));
                None
            }
            (Written::Nothing, WorkdirOverride::None) => None,
            (Written::Local(word), WorkdirOverride::None) => {
                if let Some(url) = git_url_meant(&word) {
                    // It may have a password in it.
                    mistakes.keep(check_git_url(&word))?;
                    mistakes.add(
                        Mistake::new(
                            word.place,
                            "a `workdir` that is text is a directory, and this is a git repository",
                        )
                        .with_hint(format!("write `workdir:`, and below it `url: {url}`")),
                    );
                    return None;
                }
                if super::bucket::is_uri(&word.value) {
                    mistakes.add(
                        Mistake::new(
                            word.place,
                            "a `workdir` is a directory or a git repository, and this is a URI",
                        )
                        .with_hint("put a bucket into `file_mounts`"),
                    );
                    return None;
                }
                mistakes.keep(caller.find_dir(&word)).map(Self::Local)
            }
            (Written::Git { url, git_ref }, WorkdirOverride::None) => git(&url, git_ref, mistakes),
        }
    }
}

/// What the file says.
enum Written {
    Nothing,
    Local(Word),
    Git { url: Word, git_ref: Option<String> },
}

impl Written {
    /// `None` where it has mistakes.
    fn read(reader: Reader<'_>, node: Option<&Node>, mistakes: &mut Mistakes) -> Option<Self> {
        let Some(node) = node.filter(|node| !matches!(node.value, Value::Null)) else {
            return Some(Self::Nothing);
        };
        if !matches!(node.value, Value::Map(_)) {
            // Of another kind than text it is told already.
            return reader.word(node).map(Self::Local);
        }
        let before = mistakes.count();
        let object: Object<'_> = reader.object(node, WORKDIR, mistakes);
        let git_ref = reader.word_of(&object, "ref");
        let url = reader.word_of(&object, "url");
        if url.is_none() && mistakes.count() == before {
            mistakes.add(
                Mistake::new(node.place, "a `workdir` that is an object needs a `url`")
                    .with_hint("write url: https://HOST/PATH; for a directory write `workdir: DIRECTORY`"),
            );
        }
        if let Some(word) = git_ref.as_ref().filter(|word| !is_ref(&word.value)) {
            mistakes.add(Mistake::new(word.place, "this cannot be a branch, a tag or a commit"));
        }
        let url = url.filter(|_| mistakes.count() == before)?;
        Some(Self::Git { url, git_ref: git_ref.map(|word| word.value) })
    }
}

fn local_told(dir: &std::path::Path, caller: &Caller) -> Result<Workdir, Mistake> {
    // What is shown of a name that is not UTF-8 need not lead to it.
    let path = caller.expand(dir);
    match dir.to_str() {
        Some(text) => {
            let word = Word { value: text.to_owned(), shown: text.to_owned(), place: Place::NONE };
            let found = caller.find_dir(&word);
            found.map(Workdir::Local).map_err(|mistake| mistake.of("--workdir"))
        }
        None if path.is_dir() => Ok(Workdir::Local(path)),
        None => Err(Mistake::not_found(Place::NONE, format!("--workdir: {dir:?} is not a directory"))),
    }
}

/// A repository whose URL the command line gives.
fn git_told(url: &str, git_ref: Option<String>, mistakes: &mut Mistakes) -> Option<Workdir> {
    let url = Word { value: url.to_owned(), shown: url.to_owned(), place: Place::NONE };
    mistakes.keep(check_git_url(&url).map_err(|mistake| mistake.of("--git-url")))?;
    git(&url, git_ref, mistakes)
}

fn git(url: &Word, git_ref: Option<String>, mistakes: &mut Mistakes) -> Option<Workdir> {
    mistakes.keep(check_git_url(url))?;
    if let Some(git_ref) = git_ref.as_deref().filter(|git_ref| !is_ref(git_ref)) {
        // The file's own is checked with its place.
        mistakes.add(Mistake::new(
            Place::NONE,
            format!("--git-ref {git_ref:?} cannot be a branch, a tag or a commit"),
        ));
        return None;
    }
    Some(Workdir::Git { url: url.value.clone(), git_ref })
}

/// Whether it may name something: git takes what begins with a hyphen for an option.
fn is_ref(git_ref: &str) -> bool {
    !git_ref.is_empty()
        && !git_ref.starts_with('-')
        && !git_ref.contains(|c: char| c.is_whitespace() || c.is_control())
}

/// Errors: a form that is none of git's over HTTPS and SSH; a password within it.
fn check_git_url(url: &Word) -> Result<(), Mistake> {
    let forms = "write https://HOST/PATH, ssh://HOST/PATH or HOST:PATH";
    let mistake = |what: String| match variables_in(&url.value).first() {
        Some(_) => Mistake::new(url.place, what).with_hint_if(super::bucket::unknown_variable_hint(url)),
        None => Mistake::new(url.place, what).with_hint(forms),
    };
    let host = match url.value.split_once("://") {
        Some(("https" | "http" | "ssh", rest)) => match rest.split_once('/') {
            Some((host, path)) if !path.is_empty() => host,
            _ => return Err(mistake(format!("{:?} has no path to a repository", shown_url(url)))),
        },
        Some((scheme, _)) => {
            let scheme: String = scheme.chars().take(20).collect();
            return Err(mistake(format!("{scheme}:// is not a way to a git repository that nodes can take")));
        }
        None => match url.value.split_once(':') {
            Some((host, path)) if !host.contains('/') && !path.is_empty() => host,
            _ => return Err(mistake(format!("{:?} is not the URL of a git repository", shown_url(url)))),
        },
    };
    let (user, name) = host.rsplit_once('@').unwrap_or(("", host));
    if user.contains(':') {
        return Err(Mistake::new(
            url.place,
            "the URL has a password in it, which everyone who sees the task would know",
        )
        .with_hint("leave it out, and set GIT_TOKEN in your environment"));
    }
    if name.is_empty() || name.starts_with('-') || url.value.contains(char::is_whitespace) {
        return Err(mistake(format!("{:?} is not the URL of a git repository", shown_url(url))));
    }
    Ok(())
}

fn shown_url(url: &Word) -> &str {
    // Whatever is before an @ may be a password.
    if url.shown.contains('@') && url.shown.contains("://") { "the URL" } else { &url.shown }
}

/// The URL that a text is, where it can only be a repository's.
fn git_url_meant(word: &Word) -> Option<&str> {
    let text = word.shown.as_str();
    let is_git = text.starts_with("git@")
        || text.starts_with("ssh://")
        || text.starts_with("https://")
        || text.starts_with("http://");
    is_git.then_some(text)
}

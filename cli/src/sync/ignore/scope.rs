//! Who decides what of a directory is sent, `.skyignore` rules aside.
//!
//! Owns: [`Scope`], and how it changes from a directory to one below it: at a nested repository, and at a directory of which git lists
//! nothing.

use super::git::{self, Answer, Listing};
use super::gitignore::Gitignores;
use pail_control::Failure;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What decides below a directory.
#[derive(Debug, Clone)]
pub enum Scope {
    /// Nothing: all of it is sent, but `.git`.
    Everything,
    /// Nothing, below `.git`.
    GitDirectory,
    /// Git: the names of a span, of a listing.
    Listed(Arc<Repository>, Range<usize>),
    /// Git lists nothing here and ignores it not: only directories without any file are sent.
    Unlisted(Arc<Repository>),
    /// A repository of its own that its outer one names: git is asked once it is read.
    Nested,
    /// `.gitignore` files.
    Gitignores(Option<Arc<Gitignores>>),
}

/// A directory of a work tree that git was asked about.
#[derive(Debug)]
pub struct Repository {
    /// Where git runs.
    pub dir: PathBuf,
    /// The directory's path relative to the source, with a slash, or empty.
    pub prefix: Vec<u8>,
    listing: Listing,
}

/// What a scope says of a name.
#[derive(Debug)]
pub enum Verdict {
    /// Sent; for a directory, with the scope below it.
    Sent(Option<Scope>),
    /// Left out.
    LeftOut,
    /// Git does not list it, as it lists neither what it ignores nor directories without files, nor sockets and their like.
    Unlisted,
}

impl Repository {
    /// A path of the source, relative to the repository's directory.
    pub fn relative<'a>(&self, path: &'a [u8]) -> &'a [u8] {
        &path[self.prefix.len()..]
    }
}

impl Scope {
    /// The scope at the top of a source without a root `.skyignore`. Errors: git, or a file of rules, cannot be read.
    pub fn of_source(source: &Path, with_git: bool, warnings: &mut Vec<String>) -> Result<Self, Failure> {
        let without = |top: Option<&Path>, warnings: &mut Vec<String>| {
            let resolved = source.canonicalize().map_err(|err| Failure::unreadable(source, &err))?;
            Gitignores::of_source(&resolved, top, warnings).map(Self::Gitignores)
        };
        let shown = source.display();
        match if with_git { git::listing(source)? } else { Answer::NoProgram } {
            Answer::Listing(listing) => Ok(Self::listed(listing, source, b"")),
            Answer::NoRepository => without(None, warnings),
            Answer::Ignored => {
                warnings.push(format!(
                    "{shown} is itself ignored by the git repository around it; its content is sent, by the rules in it alone"
                ));
                without(None, warnings)
            }
            Answer::Broken(said) => {
                warnings.push(format!(
                    "git cannot read the repository of {shown}, so only .gitignore files count: {said}"
                ));
                without(git::repository_above(source).as_deref(), warnings)
            }
            Answer::NoProgram => {
                let top = git::repository_above(source);
                if top.is_some() && with_git {
                    warnings.push(format!(
                        "git is not installed: of the repository of {shown} only .gitignore files count, also for tracked files"
                    ));
                }
                let scope = without(top.as_deref(), warnings)?;
                // As above: whoever names an ignored directory means its content.
                match top.is_some_and(|top| ignored_by(&scope, source, &top)) {
                    true => without(None, warnings),
                    false => Ok(scope),
                }
            }
        }
    }

    fn listed(listing: Listing, dir: &Path, prefix: &[u8]) -> Self {
        let span = listing.span();
        let repository = Repository { dir: dir.to_owned(), prefix: prefix.to_vec(), listing };
        Self::Listed(Arc::new(repository), span)
    }

    /// The scope of a directory below the source, once it is known whether it holds `.git`. `path` is relative to the source.
    pub fn entered(
        self,
        dir: &Path,
        path: &[u8],
        has_git: bool,
        with_git: bool,
        warnings: &mut Vec<String>,
    ) -> Result<Self, Failure> {
        let asks = match &self {
            Self::Nested => true,
            Self::Gitignores(_) => has_git && !path.is_empty(),
            _ => false,
        };
        if !asks {
            return Ok(self);
        }
        let answer = if has_git && with_git { git::listing(dir)? } else { Answer::NoProgram };
        match answer {
            Answer::Listing(listing) => Ok(Self::listed(listing, dir, &[path, b"/"].concat())),
            Answer::Broken(said) => {
                let shown = dir.display();
                warnings.push(format!(
                    "git cannot read the repository {shown}, so only .gitignore files count: {said}"
                ));
                Gitignores::of_nested(dir, path, warnings).map(Self::Gitignores)
            }
            _ => Gitignores::of_nested(dir, path, warnings).map(Self::Gitignores),
        }
    }

    /// The repository that git was asked about.
    pub fn repository(&self) -> Option<&Arc<Repository>> {
        match self {
            Self::Listed(repository, _) | Self::Unlisted(repository) => Some(repository),
            _ => None,
        }
    }

    /// What the scope says of a name in a directory.
    pub fn verdict(&self, path: &[u8], is_dir: bool) -> Verdict {
        match self {
            Self::Gitignores(Some(files)) if files.leaves_out(path, is_dir) => Verdict::LeftOut,
            Self::Everything | Self::GitDirectory | Self::Gitignores(_) => {
                Verdict::Sent(is_dir.then(|| self.clone()))
            }
            Self::Unlisted(_) => Verdict::Unlisted,
            // Entered before its names are asked about.
            Self::Nested => Verdict::LeftOut,
            Self::Listed(repository, span) => {
                let relative = repository.relative(path);
                if is_dir {
                    let below = repository.listing.below(span, &[relative, b"/"].concat());
                    if !below.is_empty() {
                        return Verdict::Sent(Some(Self::Listed(Arc::clone(repository), below)));
                    }
                }
                match repository.listing.holds(span, relative) {
                    true => Verdict::Sent(is_dir.then_some(Self::Nested)),
                    false => Verdict::Unlisted,
                }
            }
        }
    }
}

/// Whether `.gitignore` files above a source leave it out as a whole.
fn ignored_by(scope: &Scope, source: &Path, top: &Path) -> bool {
    let Scope::Gitignores(Some(files)) = scope else { return false };
    let Ok(source) = source.canonicalize() else { return false };
    let Ok(below) = source.strip_prefix(top) else { return false };
    files.leaves_out_source(below)
}

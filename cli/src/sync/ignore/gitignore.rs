//! `.gitignore` files where git does not decide: no repository, or no git.
//!
//! Owns: [`Gitignores`], the chain of files that hold in a directory, the deepest first, with the user's own excludes last. Each file
//! is a matcher of the `ignore` crate; the walk around it is ours, so that names, errors and warnings are the same in every mode.

use super::Rule;
use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder, gitconfig_excludes_path};
use pail_control::Failure;
use std::ffi::OsStr;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The name of the files.
pub const FILE_NAME: &str = ".gitignore";

/// The files that hold in a directory.
#[derive(Debug)]
pub struct Gitignores {
    file: PathBuf,
    matcher: Gitignore,
    base: Base,
    above: Option<Arc<Gitignores>>,
}

/// Where a file's directory is.
#[derive(Debug)]
enum Base {
    /// In the source: the path below it begins at this byte of a path.
    Below(usize),
    /// Above the source, which is this, with a slash, below it.
    Above(Vec<u8>),
}

impl Gitignores {
    /// What holds at the top of a source: the user's own excludes and, of a repository around it that git cannot be asked about, its
    /// excludes and the files between its top and the source. Errors: one of them cannot be read.
    pub fn of_source(
        source: &Path,
        top: Option<&Path>,
        warnings: &mut Vec<String>,
    ) -> Result<Option<Arc<Self>>, Failure> {
        let mut chain = None;
        if let Some(file) = gitconfig_excludes_path() {
            chain = Self::read(&file, Base::Below(0), chain, warnings)?;
        }
        let Some(top) = top else { return Ok(chain) };
        let to_source = source.strip_prefix(top).unwrap_or(Path::new("")).to_owned();
        let base = |dir: &Path| match to_source.strip_prefix(dir).unwrap_or(Path::new("")) {
            rest if rest.as_os_str().is_empty() => Base::Below(0),
            rest => Base::Above([rest.as_os_str().as_bytes(), b"/"].concat()),
        };
        chain = Self::read(&top.join(".git/info/exclude"), base(Path::new("")), chain, warnings)?;
        let mut dirs: Vec<&Path> = to_source.ancestors().skip(1).collect();
        dirs.reverse();
        for dir in dirs {
            chain = Self::read(&top.join(dir).join(FILE_NAME), base(dir), chain, warnings)?;
        }
        Ok(chain)
    }

    /// What holds at the top of a repository in the source, at `path` of it: the user's own excludes and the repository's.
    pub fn of_nested(
        dir: &Path,
        path: &[u8],
        warnings: &mut Vec<String>,
    ) -> Result<Option<Arc<Self>>, Failure> {
        let mut chain = None;
        for file in gitconfig_excludes_path().into_iter().chain([dir.join(".git/info/exclude")]) {
            chain = Self::with(&file, path, chain, warnings)?;
        }
        Ok(chain)
    }

    /// Whether the source, at `below` of the repository around it, or a directory between is left out.
    pub fn leaves_out_source(&self, below: &Path) -> bool {
        let mut dirs: Vec<&Path> = below.ancestors().filter(|dir| !dir.as_os_str().is_empty()).collect();
        dirs.reverse();
        dirs.into_iter().any(|dir| {
            let whole = below.as_os_str().as_bytes();
            let is_left_out = |chain: &Self| {
                // What the file's own directory lacks before the source is what its rules see of it.
                let Base::Above(source) = &chain.base else { return None };
                let start = whole.len() + 1 - source.len();
                let path = dir.as_os_str().as_bytes().get(start..).filter(|path| !path.is_empty())?;
                match chain.matched(path, true) {
                    Match::Ignore(_) => Some(true),
                    Match::Whitelist(_) => Some(false),
                    Match::None => None,
                }
            };
            std::iter::successors(Some(self), |chain| chain.above.as_deref())
                .find_map(is_left_out)
                .unwrap_or(false)
        })
    }

    /// The chain below a directory, relative to the source, that has a file of its own. Errors: it cannot be read.
    pub fn with(
        file: &Path,
        dir: &[u8],
        above: Option<Arc<Self>>,
        warnings: &mut Vec<String>,
    ) -> Result<Option<Arc<Self>>, Failure> {
        let below = if dir.is_empty() { 0 } else { dir.len() + 1 };
        Self::read(file, Base::Below(below), above, warnings)
    }

    fn read(
        file: &Path,
        base: Base,
        above: Option<Arc<Self>>,
        warnings: &mut Vec<String>,
    ) -> Result<Option<Arc<Self>>, Failure> {
        let content = match std::fs::read(file) {
            Ok(content) => content,
            // As git: a directory of that name is no file of rules.
            Err(err)
                if matches!(
                    err.kind(),
                    ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::IsADirectory
                ) =>
            {
                return Ok(above);
            }
            Err(err) => return Err(Failure::unreadable(file, &err)),
        };
        let mut builder = GitignoreBuilder::new("");
        for (index, line) in content.split(|byte| *byte == b'\n').enumerate() {
            let line = line.strip_prefix("\u{feff}".as_bytes()).filter(|_| index == 0).unwrap_or(line);
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let number = index + 1;
            let added = match std::str::from_utf8(line) {
                // The number takes the place of the file's name, which is the same for all of them.
                Ok(line) => builder
                    .add_line(Some(number.to_string().into()), line)
                    .map(drop)
                    .map_err(|err| err.to_string()),
                Err(_) => Err("it is not UTF-8, which only git itself can read".to_owned()),
            };
            if let Err(why) = added {
                warnings.push(format!("{}:{number}: the line is ignored: {why}", file.display()));
            }
        }
        let built = builder.build();
        let matcher = built.map_err(|err| {
            Failure::usage(format!("cannot use the rules of {}", file.display())).because(err.to_string())
        })?;
        Ok(Some(Arc::new(Self { file: file.to_owned(), matcher, base, above })))
    }

    /// Whether a path is left out.
    pub fn leaves_out(&self, path: &[u8], is_dir: bool) -> bool {
        self.decide(path, is_dir).is_some_and(|(_, glob)| !glob.is_whitelist())
    }

    /// The rule that decides about a path.
    pub fn rule(&self, path: &[u8], is_dir: bool) -> Option<Rule> {
        let (chain, glob) = self.decide(path, is_dir)?;
        let line = glob.from().and_then(|number| number.to_str()?.parse().ok()).unwrap_or(0);
        Some(Rule { file: chain.file.clone(), line, pattern: glob.original().into(), matched: None })
    }

    fn decide(&self, path: &[u8], is_dir: bool) -> Option<(&Self, &ignore::gitignore::Glob)> {
        let mut next = Some(self);
        while let Some(chain) = next {
            let found = match &chain.base {
                Base::Below(start) => chain.matched(&path[*start..], is_dir),
                Base::Above(source) => chain.matched(&[source, path].concat(), is_dir),
            };
            match found {
                Match::Ignore(glob) | Match::Whitelist(glob) => return Some((chain, glob)),
                Match::None => next = chain.above.as_deref(),
            }
        }
        None
    }

    fn matched(&self, path: &[u8], is_dir: bool) -> Match<&ignore::gitignore::Glob> {
        self.matcher.matched(OsStr::from_bytes(path), is_dir)
    }
}

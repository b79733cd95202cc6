//! Which of what is below a source a run is about.
//!
//! Owns: [`Filters`], globs by which names are taken or left out. Everything is taken at first; of the globs that match a name the last one
//! decides, as with the AWS command. A name is what follows the source's prefix or directory, and `*` goes across `/` in it: of
//! `*.tmp` all such files are meant, however deep, and of `cache/*` all below `cache`. A glob that ends in `/` means what is below. One that matches a directory means all that is in
//! it, other than there: who leaves out `.git` means the repository, not a file of that name.
//!
//! # Why not as rsync or rclone have it
//! There the first match decides, and a directory that is left out takes with it what a later rule would take. Who copies to buckets comes from `aws s3`, and
//! its rule is the shorter one to say.

use globset::{Candidate, GlobBuilder, GlobMatcher};
use std::sync::Arc;

/// What becomes of the names that a glob matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Selection {
    /// They are taken.
    Include,
    /// They are left out.
    Exclude,
}

/// A glob that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{glob:?} is not a glob: {why}")]
pub struct InvalidGlob {
    /// What was given.
    pub glob: String,
    /// What is wrong with it.
    pub why: String,
}

/// Globs in their order. The default takes everything.
#[derive(Debug, Clone, Default)]
pub struct Filters(Arc<[Rule]>);

#[derive(Debug)]
struct Rule {
    selection: Selection,
    matcher: GlobMatcher,
    /// It ends in a `*`, so that it matches all names that begin with one that it matches.
    is_open: bool,
}

impl Filters {
    /// These globs, in the order in which they were given. Errors: one cannot be read.
    pub fn new<'a>(globs: impl IntoIterator<Item = (Selection, &'a str)>) -> Result<Self, InvalidGlob> {
        let rule = |(selection, glob): (Selection, &str)| {
            // All globs begin where names do, so that a leading slash, which says this elsewhere, says nothing more.
            if glob.is_empty() {
                return Err(InvalidGlob { glob: String::new(), why: "it is empty".to_owned() });
            }
            let mut text = glob.strip_prefix('/').unwrap_or(glob).to_owned();
            if text.is_empty() || text.ends_with('/') {
                text.push('*');
            }
            let invalid =
                |error: globset::Error| InvalidGlob { glob: glob.to_owned(), why: error.kind().to_string() };
            let glob = GlobBuilder::new(&text).literal_separator(false).backslash_escape(true).build();
            let matcher = glob.map_err(invalid)?.compile_matcher();
            let is_open = text.ends_with('*') && !text.ends_with("\\*");
            Ok(Rule { selection, matcher, is_open })
        };
        Ok(Self(globs.into_iter().map(rule).collect::<Result<_, _>>()?))
    }

    /// Whether everything is taken.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a name is taken.
    pub(crate) fn take(&self, name: &[u8]) -> bool {
        let decides = self.0.iter().rev().find(|rule| rule.matches(name));
        decides.is_none_or(|rule| rule.selection == Selection::Include)
    }

    /// Whether nothing below a directory can be taken; `directory` ends in `/`. Says false where only its names would tell.
    pub(crate) fn leave_out_all_below(&self, directory: &[u8]) -> bool {
        let candidate = Candidate::from_bytes(directory);
        let name = directory.strip_suffix(b"/").unwrap_or(directory);
        let mut excludes = self.0.iter().rev().take_while(|rule| rule.selection == Selection::Exclude);
        excludes.any(|rule| {
            rule.matches(name) && !rule.is_open || rule.is_open && rule.matcher.is_match_candidate(&candidate)
        })
    }
}

impl Rule {
    /// Whether it matches a name, or a directory that it is in.
    fn matches(&self, name: &[u8]) -> bool {
        let is_match = |name: &[u8]| self.matcher.is_match_candidate(&Candidate::from_bytes(name));
        let mut slashes = name.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        // What is open matches beyond a directory's name by itself.
        is_match(name) || !self.is_open && slashes.any(|at| is_match(&name[..at]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Selection::{Exclude, Include};

    #[test]
    fn the_last_glob_that_matches_decides() {
        let taken = |globs: &[(Selection, &str)], name: &str| {
            Filters::new(globs.iter().copied()).unwrap().take(name.as_bytes())
        };
        assert!(taken(&[], "a"));
        assert!(taken(&[(Include, "*.txt")], "a.bin"), "an include alone leaves nothing out");
        let only = [(Exclude, "*"), (Include, "*.txt")];
        assert!(taken(&only, "a.txt") && taken(&only, "d/e/a.txt") && !taken(&only, "a.bin"));
        assert!(!taken(&[(Include, "*.txt"), (Exclude, "*")], "a.txt"));
        let cache = [(Exclude, "cache/")];
        assert!(!taken(&cache, "cache/a/b") && taken(&cache, "cache") && taken(&cache, "x/cache/a"));
        assert!(!taken(&[(Exclude, "/top*")], "top/a") && taken(&[(Exclude, "/top*")], "a/top"));
        let classes = [(Exclude, "[0-9]?.{log,tmp}")];
        assert!(!taken(&classes, "1x.log") && !taken(&classes, "1/.tmp") && taken(&classes, "ax.log"));
        assert!(!taken(&[(Exclude, "a\\*")], "a*") && taken(&[(Exclude, "a\\*")], "ab"));
        assert!(!taken(&[(Exclude, "a*b")], "a\nb"));
        let git = [(Exclude, ".git")];
        assert!(!taken(&git, ".git/refs/heads/main") && !taken(&git, ".git") && taken(&git, "a/.git/HEAD"));
        assert!(
            !taken(&[(Exclude, "*.tmp")], "a.tmp/b")
                && taken(&[(Exclude, "*.tmp"), (Include, "a.tmp")], "a.tmp/b")
        );
    }

    #[test]
    fn a_directory_is_passed_over_only_if_nothing_in_it_can_be_taken() {
        let all = |globs: &[(Selection, &str)], directory: &str| {
            Filters::new(globs.iter().copied()).unwrap().leave_out_all_below(directory.as_bytes())
        };
        assert!(
            all(&[(Exclude, "*")], "a/") && all(&[(Exclude, "a/")], "a/") && all(&[(Exclude, "a/*")], "a/b/")
        );
        assert!(all(&[(Include, "a/x"), (Exclude, "a/*")], "a/"));
        assert!(!all(&[(Exclude, "a/*"), (Include, "a/x")], "a/"));
        assert!(!all(&[(Exclude, "*.tmp")], "a/") && !all(&[(Exclude, "a/b*")], "a/") && !all(&[], "a/"));
        assert!(all(&[(Exclude, "a/\\*")], "a/*/") && !all(&[(Exclude, "a/\\*")], "a/b/"));
        assert!(all(&[(Exclude, ".git")], ".git/") && all(&[(Exclude, ".git")], ".git/refs/"));
    }

    #[test]
    fn what_is_no_glob_is_told() {
        assert_eq!(Filters::new([(Include, "")]).unwrap_err().to_string(), "\"\" is not a glob: it is empty");
        let error = Filters::new([(Exclude, "ok"), (Exclude, "[a")]).unwrap_err();
        assert!(error.to_string().starts_with("\"[a\" is not a glob: "), "{error}");
    }
}

//! The git program, asked what it would add.
//!
//! Owns: [`listing`], the names that git has for a work tree's directory ([`Listing`]), and what `git check-ignore` says of paths
//! ([`ignored`], [`rules`]).
//!
//! Invariants: a repository's own configuration runs no program (no hooks, no fsmonitor), as repositories of other owners are read
//! too; nothing is written, not even the index; variables that name another repository (as in a hook) do not reach git.

use super::Rule;
use pail_control::Failure;
use std::ffi::OsStr;
use std::io::{ErrorKind, Write};
use std::ops::Range;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// What git says of a directory.
#[derive(Debug)]
pub enum Answer {
    /// Its names.
    Listing(Listing),
    /// It is in no work tree.
    NoRepository,
    /// It is in one whose rules leave it out as a whole.
    Ignored,
    /// Git is not installed.
    NoProgram,
    /// It looks like a work tree, and git fails on it; in git's words.
    Broken(String),
}

/// The names that git tracks or would add below a directory, sorted by bytes.
#[derive(Debug)]
pub struct Listing {
    /// Git's answer.
    text: Vec<u8>,
    /// Each name in it.
    names: Vec<Range<u32>>,
}

impl Listing {
    fn new(text: Vec<u8>) -> Option<Self> {
        // Offsets of four bytes: 4 GiB of names are 40 million files.
        u32::try_from(text.len()).ok()?;
        let mut names = Vec::with_capacity(text.len() / 32);
        let mut start = 0;
        for end in text.iter().enumerate().filter(|(_, byte)| **byte == 0).map(|(at, _)| at) {
            // An untracked nested repository is named with a slash.
            let slash = usize::from(end > start && text[end - 1] == b'/');
            names.push(start as u32..(end - slash) as u32);
            start = end + 1;
        }
        // Two sorted runs mostly: what is tracked and what is not.
        names.sort_by(|a, b| Self::bytes(&text, a).cmp(Self::bytes(&text, b)));
        Some(Self { text, names })
    }

    fn bytes<'a>(text: &'a [u8], name: &Range<u32>) -> &'a [u8] {
        &text[name.start as usize..name.end as usize]
    }

    /// The span of all names.
    pub fn span(&self) -> Range<usize> {
        0..self.names.len()
    }

    /// Whether a path is among the names of a span.
    pub fn holds(&self, span: &Range<usize>, path: &[u8]) -> bool {
        let names = &self.names[span.clone()];
        names.binary_search_by(|name| Self::bytes(&self.text, name).cmp(path)).is_ok()
    }

    /// The span, within another, of the names below a directory, whose path ends in a slash.
    pub fn below(&self, span: &Range<usize>, dir: &[u8]) -> Range<usize> {
        let names = &self.names[span.clone()];
        let name = |name: &Range<u32>| Self::bytes(&self.text, name);
        let start = names.partition_point(|range| name(range) < dir);
        let count = names[start..].partition_point(|range| name(range).starts_with(dir));
        span.start + start..span.start + start + count
    }
}

/// What git says of `dir`.
pub fn listing(dir: &Path) -> Result<Answer, Failure> {
    let list = ["ls-files", "--cached", "--others", "--exclude-standard", "-z"];
    let output = match run(dir, &list, Vec::new()) {
        Ok(output) => output,
        Err(err) if err.kind() == ErrorKind::NotFound => return Ok(Answer::NoProgram),
        Err(err) => return Err(Failure::from_io("cannot run git", &err)),
    };
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Ok(match has_repository(dir) {
            false => Answer::NoRepository,
            // In a bare repository or in `.git` itself.
            true if said.contains("must be run in a work tree") => Answer::NoRepository,
            true => Answer::Broken(said),
        });
    }
    // Also where git tracks some of it, as whoever names an ignored directory means its content.
    if ignored_itself(dir)? {
        return Ok(Answer::Ignored);
    }
    match Listing::new(output.stdout) {
        Some(listing) => Ok(Answer::Listing(listing)),
        None => Err(Failure::other(format!("{} has too many files", dir.display()))),
    }
}

/// Whether a directory or one above it is a work tree.
fn has_repository(dir: &Path) -> bool {
    repository_above(dir).is_some()
}

/// The innermost work tree that holds a directory.
pub fn repository_above(dir: &Path) -> Option<PathBuf> {
    let dir = dir.canonicalize().ok()?;
    dir.ancestors().find(|dir| dir.join(".git").symlink_metadata().is_ok()).map(Path::to_owned)
}

/// Whether the rules of the repository around it leave out a directory as a whole.
fn ignored_itself(dir: &Path) -> Result<bool, Failure> {
    if dir.join(".git").symlink_metadata().is_ok() {
        return Ok(false);
    }
    let output = asked(dir, &["check-ignore", "--no-index", "-q", "."], Vec::new())?;
    Ok(output.status.code() == Some(0))
}

/// Which of `paths`, relative to `dir` and none below a symlink, git leaves out. Directories have no slash behind them, with which git
/// would take `x/**` for a rule about `x` itself.
pub fn ignored(dir: &Path, paths: &[Vec<u8>]) -> Result<Vec<bool>, Failure> {
    let found = check_ignore(dir, paths)?;
    Ok(found.iter().map(|rule| rule.as_ref().is_some_and(|rule| !is_negative(rule))).collect())
}

/// Whether a rule keeps.
pub fn is_negative(rule: &Rule) -> bool {
    rule.pattern.as_bytes().starts_with(b"!")
}

/// The rule that git has for each of `paths`; as for [`ignored`]. Tracked files are no exception.
pub fn check_ignore(dir: &Path, paths: &[Vec<u8>]) -> Result<Vec<Option<Rule>>, Failure> {
    if paths.is_empty() {
        return Ok(Vec::new());
    }
    let input = paths.iter().flat_map(|path| [b"./", path.as_slice(), b"\0"].concat()).collect();
    let output = asked(dir, &["check-ignore", "--no-index", "-v", "-n", "-z", "--stdin"], input)?;
    // 1: none is ignored.
    if !matches!(output.status.code(), Some(0 | 1)) {
        return Err(failed(dir, &output));
    }
    let fields: Vec<&[u8]> = output.stdout.split(|byte| *byte == 0).collect();
    let rules: Vec<_> = fields.chunks_exact(4).map(|record| rule_of(dir, record)).collect();
    match rules.len() == paths.len() {
        true => Ok(rules),
        false => Err(failed(dir, &output)),
    }
}

/// The rule in a record of `git check-ignore`: source, line, pattern, path.
fn rule_of(dir: &Path, record: &[&[u8]]) -> Option<Rule> {
    let [file, line, pattern, _path] = record else { return None };
    if file.is_empty() {
        return None;
    }
    let file = Path::new(OsStr::from_bytes(file));
    // Git names files from the top of the work tree.
    let file = match repository_above(dir) {
        Some(top) if file.is_relative() => top.join(file),
        _ => file.to_owned(),
    };
    Some(Rule {
        file,
        line: std::str::from_utf8(line).ok()?.parse().ok()?,
        pattern: std::ffi::OsString::from_vec(pattern.to_vec()),
        matched: None,
    })
}

fn failed(dir: &Path, output: &Output) -> Failure {
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Failure::other(format!("git cannot say what is ignored in {}", dir.display())).because(said)
}

fn asked(dir: &Path, arguments: &[&str], input: Vec<u8>) -> Result<Output, Failure> {
    run(dir, arguments, input).map_err(|err| Failure::from_io("cannot run git", &err))
}

/// The variables by which git would take another repository than the one of the directory it runs in (`git rev-parse
/// --local-env-vars`), and those that change what it reads or says.
const FOREIGN_VARIABLES: &[&str] = &[
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_CONFIG",
    "GIT_CONFIG_PARAMETERS",
    "GIT_CONFIG_COUNT",
    "GIT_OBJECT_DIRECTORY",
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_IMPLICIT_WORK_TREE",
    "GIT_GRAFT_FILE",
    "GIT_INDEX_FILE",
    "GIT_NO_REPLACE_OBJECTS",
    "GIT_REPLACE_REF_BASE",
    "GIT_PREFIX",
    "GIT_SHALLOW_FILE",
    "GIT_COMMON_DIR",
    "GIT_INTERNAL_SUPER_PREFIX",
    "GIT_LITERAL_PATHSPECS",
    "GIT_GLOB_PATHSPECS",
    "GIT_NOGLOB_PATHSPECS",
    "GIT_ICASE_PATHSPECS",
    "GIT_TRACE",
];

/// Runs git in `dir`.
fn run(dir: &Path, arguments: &[&str], input: Vec<u8>) -> std::io::Result<Output> {
    let mut command = Command::new("git");
    for variable in FOREIGN_VARIABLES {
        command.env_remove(variable);
    }
    // The owner of a work tree may be another, as in a container; then its configuration must start nothing.
    for setting in ["safe.directory=*", "core.fsmonitor=false", "core.hooksPath=/dev/null"] {
        command.args(["-c", setting]);
    }
    let mut child = command
        .args(arguments)
        .current_dir(dir)
        .env("LC_ALL", "C")
        .env("GIT_OPTIONAL_LOCKS", "0")
        .env("GIT_NO_LAZY_FETCH", "1")
        .env("GIT_TERMINAL_PROMPT", "0")
        .stdin(if input.is_empty() { Stdio::null() } else { Stdio::piped() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    // By a thread of its own, as git answers while it reads; a git that ended early says why itself.
    let writer = child.stdin.take().map(|mut stdin| std::thread::spawn(move || stdin.write_all(&input)));
    let output = child.wait_with_output()?;
    if let Some(writer) = writer {
        let _ = writer.join();
    }
    Ok(output)
}

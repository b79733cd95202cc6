//! `pail explain-ignore`.

use crate::sync::ignore::{self, EntryKind, Explanation, FileList, ListOptions, Reason, Rule};
use crate::terminal;
use pail_control::Failure;
use serde::Serialize;
use std::io::{IsTerminal, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::process::ExitCode;

/// Say which line of which file decides whether a path is sent
///
/// What a source directory (a workdir, or a directory of file_mounts) sends to nodes follows its .skyignore where it has one at its
/// top, else git: .gitignore files, .git/info/exclude and your own excludes; files that git tracks are always sent. The answer
/// is that of the list which every transport sends.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Files or directories, in the current directory or, where that is outside the source, in the source
    #[arg(required_unless_present = "list", value_name = "PATH")]
    paths: Vec<PathBuf>,

    /// The directory that is sent
    #[arg(long, value_name = "DIR", default_value = ".")]
    source: PathBuf,

    /// As where .git is sent too
    #[arg(long)]
    include_git: bool,

    /// Print all that is sent, in place of an explanation
    #[arg(long, conflicts_with = "paths")]
    list: bool,

    /// With --list: end each name with NUL in place of a newline
    #[arg(short = '0', long, requires = "list", conflicts_with = "json")]
    null: bool,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// An answer of `--json`. Names that are not UTF-8 have U+FFFD in them.
#[derive(Debug, Serialize)]
struct Row {
    path: String,
    sent: bool,
    reason: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pattern: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    matched: Option<String>,
}

/// An entry of `--list --json`.
#[derive(Debug, Serialize)]
struct ListRow {
    path: String,
    kind: &'static str,
}

pub fn run(arguments: Arguments) -> Result<ExitCode, Failure> {
    let options = ListOptions { include_git: arguments.include_git };
    if arguments.list {
        let list = ignore::list(&arguments.source, &options)?;
        list.warnings
            .iter()
            .for_each(|warning| terminal::note(&format!("warning: {}", terminal::escaped(warning))));
        return print_list(&arguments, &list);
    }
    let paths = arguments.paths.iter().map(|path| in_source(&arguments.source, path));
    let paths = paths.collect::<Result<Vec<_>, _>>()?;
    let mut explained = ignore::explain(&arguments.source, &paths, &options)?;
    for (one, asked) in explained.iter_mut().zip(&arguments.paths) {
        one.path.clone_from(asked);
    }
    match arguments.json {
        true => terminal::json(&explained.iter().map(row).collect::<Vec<_>>())?,
        false => explained.iter().try_for_each(|one| terminal::line(&terminal::shown(&sentence(one))))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn print_list(arguments: &Arguments, list: &FileList) -> Result<ExitCode, Failure> {
    if arguments.json {
        let rows = list.entries.iter().map(|entry| ListRow {
            path: entry.path.to_string_lossy().into_owned(),
            kind: match entry.kind {
                EntryKind::File => "file",
                EntryKind::Symlink => "symlink",
                EntryKind::EmptyDir => "directory",
            },
        });
        terminal::json(&rows.collect::<Vec<_>>())?;
        return Ok(ExitCode::SUCCESS);
    }
    // A pipe gets names byte for byte.
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let is_terminal = std::io::stdout().is_terminal();
    let end: &[u8] = if arguments.null { b"\0" } else { b"\n" };
    for entry in &list.entries {
        let name = entry.path.as_bytes();
        let escaped =
            (is_terminal && !arguments.null).then(|| terminal::escaped(&entry.path.to_string_lossy()));
        let name = escaped.as_deref().map_or(name, str::as_bytes);
        let slash: &[u8] = if entry.kind == EntryKind::EmptyDir { b"/" } else { b"" };
        for part in [name, slash, end] {
            out.write_all(part).map_err(|err| terminal::output_lost(&err))?;
        }
    }
    out.flush().map_err(|err| terminal::output_lost(&err))?;
    Ok(ExitCode::SUCCESS)
}

/// An explanation as one line.
fn sentence(one: &Explanation) -> String {
    let path = one.path.to_string_lossy();
    let verdict = if one.sent { "sent" } else { "left out" };
    let why = match &one.reason {
        Reason::Rule(rule) => rule_shown(rule),
        Reason::NothingMatched => "nothing matches".to_owned(),
        Reason::Tracked(rule) => format!("git tracks it, in spite of {}", rule_shown(rule)),
        Reason::GitDirectory => ".git is sent with --include-git alone".to_owned(),
        Reason::NothingInIt => "everything in it is left out".to_owned(),
        Reason::SpecialFile => "it is a socket, a pipe or a device".to_owned(),
        Reason::BelowSymlink => "it is behind a symlink, which is not followed".to_owned(),
        Reason::Missing => "it is not there".to_owned(),
        Reason::Git => "git does not list it".to_owned(),
    };
    format!("{path}: {verdict}: {why}")
}

fn rule_shown(rule: &Rule) -> String {
    let Rule { file, line, pattern, matched } = rule;
    let file = near(file);
    let mut text = format!("{}:{line}: {}", file.display(), pattern.to_string_lossy());
    if let Some(matched) = matched {
        text.push_str(&format!(" (matches {}/)", matched.display()));
    }
    text
}

/// A file as one names it from the current directory, where it is below that.
fn near(file: &Path) -> &Path {
    let here = std::env::current_dir().ok();
    let below = here.and_then(|here| file.strip_prefix(here).ok());
    below.or_else(|| file.strip_prefix(".").ok()).unwrap_or(file)
}

fn row(one: &Explanation) -> Row {
    let (reason, rule) = match &one.reason {
        Reason::Rule(rule) => ("rule", Some(rule)),
        Reason::NothingMatched => ("nothing_matched", None),
        Reason::Tracked(rule) => ("tracked", Some(rule)),
        Reason::GitDirectory => ("git_directory", None),
        Reason::NothingInIt => ("nothing_in_it", None),
        Reason::SpecialFile => ("special_file", None),
        Reason::BelowSymlink => ("below_symlink", None),
        Reason::Missing => ("missing", None),
        Reason::Git => ("git", None),
    };
    let shown = |path: &Path| path.to_string_lossy().into_owned();
    Row {
        path: shown(&one.path),
        sent: one.sent,
        reason,
        file: rule.map(|rule| shown(near(&rule.file))),
        line: rule.map(|rule| rule.line),
        pattern: rule.map(|rule| rule.pattern.to_string_lossy().into_owned()),
        matched: rule.and_then(|rule| rule.matched.as_deref()).map(shown),
    }
}

/// A path as one below the source. Errors: it is outside.
fn in_source(source: &Path, path: &Path) -> Result<PathBuf, Failure> {
    let absolute = |path: &Path| {
        let path = std::path::absolute(path).map_err(|err| Failure::unreadable(path, &err))?;
        Ok::<_, Failure>(without_dots(&path))
    };
    let resolved = source.canonicalize().map_err(|err| Failure::unreadable(source, &err))?;
    let sources = [absolute(source)?, resolved.clone()];
    // Its last name alone is not resolved: a symlink is an entry of its own.
    let parent_resolved = || Some(path.parent()?.canonicalize().ok()?.join(path.file_name()?));
    let mut places = vec![absolute(path)?];
    places.extend(parent_resolved());
    if path.is_relative() {
        places.push(without_dots(&resolved.join(path)));
    }
    let below = |place: &PathBuf| {
        sources.iter().find_map(|source| place.strip_prefix(source).ok()).map(Path::to_owned)
    };
    let Some(mut found) = places.iter().find_map(below) else {
        let message = format!("{} is outside of the source {}", path.display(), source.display());
        return Err(Failure::usage(message).with_hint("name the directory that is sent with --source DIR"));
    };
    if path.as_os_str().as_bytes().ends_with(b"/") {
        found.push("");
    }
    Ok(found)
}

/// A path without `.` and `..`, by its names alone.
fn without_dots(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                plain.pop();
            }
            other => plain.push(other),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_found_in_the_source_or_refused() {
        let dir = tempfile::tempdir().unwrap();
        let source = dir.path();
        std::fs::create_dir(source.join("sub")).unwrap();
        std::os::unix::fs::symlink("sub", source.join("link")).unwrap();
        let found = |path: &str| in_source(source, Path::new(path)).unwrap();
        assert_eq!(found("a/b"), Path::new("a/b"));
        assert_eq!(found("./a/../b/"), Path::new("b/"));
        assert_eq!(found(source.join("link").to_str().unwrap()), Path::new("link"));
        let outside = in_source(&source.join("sub"), source).unwrap_err();
        assert_eq!(outside.kind.exit_code(), 2, "{outside}");
        assert_eq!(in_source(source, Path::new("../x")).unwrap_err().kind.exit_code(), 2);
    }
}

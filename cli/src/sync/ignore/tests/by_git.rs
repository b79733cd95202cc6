//! Git's rules as real git has them: by git itself in any shape of repository, and by the `ignore` crate where there is no git.
//!
//! What is expected comes from `git status` and the index, where the engine asks `git ls-files --others`.

use super::{NAMES, assert_explained, assert_same, grow, pick, seeds, shown};
use crate::sync::ignore::{list, list_with};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Runs git, which must not fail; its standard output.
pub fn git(dir: &Path, arguments: &[&str]) -> Vec<u8> {
    let output = Command::new("git")
        .args(["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "init.defaultBranch=main"])
        .args(arguments)
        .current_dir(dir)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .output()
        .unwrap();
    assert!(output.status.success(), "git {arguments:?} in {}: {output:?}", dir.display());
    output.stdout
}

/// A new repository.
pub fn init(dir: &Path) {
    git(dir, &["init", "-q", "--template="]);
    fs::create_dir_all(dir.join(".git/info")).unwrap();
}

/// A line of a `.gitignore`. Of character classes only those that the crate reads as git does are `portable`.
fn line(rng: &mut StdRng, portable: bool) -> String {
    let wild: &[&str] =
        &["*", "*.o", "a*", "?", "*b", "[ab]", "[!a]*", "a?", "*-*", "\\[a\\]", "a\\*b", "b\\\\c", "x\\ y"];
    let odd: &[&str] = &["[[:alpha:]]", "[^b]", "[]a]", "[a", "**b", "a**", "***", "[a-c]*"];
    let piece = |rng: &mut StdRng| match rng.random_range(0..10) {
        0..6 => pick(rng, NAMES).to_owned(),
        6 if !portable => pick(rng, odd).to_owned(),
        _ => pick(rng, wild).to_owned(),
    };
    let mut text = String::new();
    match rng.random_range(0..12) {
        0 => return format!("# {}", piece(rng)),
        1..4 => text.push('!'),
        _ => {}
    }
    match rng.random_range(0..8) {
        0 | 1 => text.push('/'),
        2 => text.push_str("**/"),
        _ => {}
    }
    let count = [1, 1, 1, 2, 3][rng.random_range(0..5)];
    let pieces: Vec<_> = (0..count)
        .map(|index| if index == 1 && rng.random_range(0..3) == 0 { "**".to_owned() } else { piece(rng) })
        .collect();
    text.push_str(&pieces.join("/"));
    text.push_str(["", "", "", "/", "/**", "  "][rng.random_range(0..6)]);
    text
}

fn lines(rng: &mut StdRng, portable: bool) -> String {
    let count = rng.random_range(1..5);
    (0..count).map(|_| line(rng, portable) + "\n").collect()
}

/// Writes `.gitignore` into some directories; what was written.
fn write_rules(rng: &mut StdRng, top: &Path, dirs: &[PathBuf], portable: bool) -> String {
    let mut told = String::new();
    for dir in dirs {
        let file = top.join(dir).join(".gitignore");
        if rng.random_range(0..3) == 0 && file.symlink_metadata().is_err() {
            let text = lines(rng, portable);
            fs::write(&file, &text).unwrap();
            told.push_str(&format!("{}/.gitignore:\n{text}", dir.display()));
        }
    }
    told
}

/// What git would have of a directory of a repository: the index and what `git status` calls untracked, of nested repositories too,
/// and the empty directories that it does not ignore. Relative to the directory.
fn by_git(dir: &Path) -> BTreeSet<Vec<u8>> {
    let top = git(dir, &["rev-parse", "--show-toplevel"]);
    let top = Path::new(OsStr::from_bytes(top.trim_ascii_end())).to_owned();
    let tracked = git(&top, &["ls-files", "-z"]);
    let status = git(&top, &["status", "--porcelain", "-z", "--untracked-files=all", "--no-renames"]);
    let untracked = status.split(|byte| *byte == 0).filter_map(|record| record.strip_prefix(b"?? "));
    let mut names: BTreeSet<Vec<u8>> = BTreeSet::new();
    for name in tracked.split(|byte| *byte == 0).chain(untracked).filter(|name| !name.is_empty()) {
        let path = top.join(OsStr::from_bytes(name));
        match path.symlink_metadata() {
            Ok(meta) if meta.is_dir() => {
                let prefix = [name.strip_suffix(b"/").unwrap_or(name), b"/"].concat();
                let below = by_git(&path);
                // A submodule without files is tracked, whatever is ignored.
                if below.is_empty() && empty_dirs(&path, Path::new("")) == [PathBuf::new()] {
                    names.insert(prefix.clone());
                }
                names.extend(below.into_iter().map(|below| [prefix.as_slice(), &below].concat()));
            }
            Ok(_) => drop(names.insert(name.to_vec())),
            Err(_) => {}
        }
    }
    let empty = empty_dirs(&top, &PathBuf::new());
    for path in empty.iter().filter(|path| !path.as_os_str().is_empty()) {
        let ignored = Command::new("git")
            .args(["check-ignore", "-q", "--no-index"])
            .arg(path)
            .current_dir(&top)
            .status()
            .unwrap();
        if ignored.code() == Some(1) {
            names.insert([path.as_os_str().as_bytes(), b"/"].concat());
        }
    }
    let dir = dir.canonicalize().unwrap();
    let below = dir.strip_prefix(top.canonicalize().unwrap()).unwrap().as_os_str().as_bytes();
    let prefix = if below.is_empty() { Vec::new() } else { [below, b"/"].concat() };
    let relative = names.iter().filter_map(|name| name.strip_prefix(prefix.as_slice()));
    relative.filter(|name| !name.is_empty()).map(<[u8]>::to_vec).collect()
}

/// The directories without any entry, nested repositories aside, which answer for themselves. One that holds `.git` alone is empty.
fn empty_dirs(top: &Path, dir: &Path) -> Vec<PathBuf> {
    let entries: Vec<_> = fs::read_dir(top.join(dir)).unwrap().map(Result::unwrap).collect();
    if entries.iter().all(|entry| entry.file_name() == ".git") {
        return vec![dir.to_owned()];
    }
    if !dir.as_os_str().is_empty() && entries.iter().any(|entry| entry.file_name() == ".git") {
        return Vec::new();
    }
    let dirs =
        entries.iter().filter(|entry| entry.file_type().unwrap().is_dir() && entry.file_name() != ".git");
    dirs.flat_map(|entry| empty_dirs(top, &dir.join(entry.file_name()))).collect()
}

/// Tracks some files, ignored or not, and deletes some of those again.
fn track(rng: &mut StdRng, top: &Path) {
    let is_nested = |path: &Path| {
        path.ancestors().skip(1).any(|dir| dir != Path::new("") && top.join(dir).join(".git").exists())
    };
    let files: Vec<_> = super::all_paths(top)
        .into_iter()
        .filter(|path| !top.join(path).is_dir() && !is_nested(path))
        .collect();
    let tracked: Vec<_> = files.into_iter().filter(|_| rng.random_range(0..3) == 0).collect();
    if tracked.is_empty() {
        return;
    }
    let mut arguments = vec!["--literal-pathspecs", "add", "-f", "--"];
    arguments.extend(tracked.iter().map(|path| path.to_str().unwrap()));
    git(top, &arguments);
    for path in tracked {
        if rng.random_range(0..4) == 0 {
            fs::remove_file(top.join(path)).unwrap();
        }
    }
}

/// Makes a repository of its own of some directories: untracked, or a submodule.
fn nest(rng: &mut StdRng, top: &Path, dirs: &[PathBuf]) {
    let mut nested: Vec<&PathBuf> = Vec::new();
    for dir in dirs.iter().skip(1) {
        if rng.random_range(0..6) > 0
            || nested.iter().any(|other| dir.starts_with(other) || other.starts_with(dir))
        {
            continue;
        }
        let at = top.join(dir);
        init(&at);
        let commits = rng.random_range(0..3) > 0;
        if commits {
            track(rng, &at);
            git(&at, &["commit", "-q", "--allow-empty", "-m", "x"]);
            if rng.random_range(0..2) == 0 {
                let head = git(&at, &["rev-parse", "HEAD"]);
                let info = format!("160000,{},{}", String::from_utf8_lossy(head.trim_ascii()), dir.display());
                git(top, &["update-index", "--add", "--cacheinfo", &info]);
            }
        }
        nested.push(dir);
    }
}

#[test]
fn git_lists_what_git_has() {
    for seed in seeds(100) {
        let mut rng = StdRng::seed_from_u64(seed);
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().join("top");
        fs::create_dir(&top).unwrap();
        let dirs = grow(&mut rng, &top);
        let mut told = write_rules(&mut rng, &top, &dirs, false);
        init(&top);
        if rng.random_range(0..3) == 0 {
            let (exclude, excludes) = (lines(&mut rng, false), lines(&mut rng, false));
            fs::write(top.join(".git/info/exclude"), &exclude).unwrap();
            fs::write(dir.path().join("excludes"), &excludes).unwrap();
            git(&top, &["config", "core.excludesFile", dir.path().join("excludes").to_str().unwrap()]);
            told.push_str(&format!("exclude:\n{exclude}excludesFile:\n{excludes}"));
        }
        if rng.random_range(0..2) == 0 {
            nest(&mut rng, &top, &dirs);
        }
        track(&mut rng, &top);
        let mut sources = vec![top.clone()];
        sources.extend(dirs.get(1).map(|dir| top.join(dir)));
        for source in sources {
            let listed = list(&source, &Default::default()).unwrap();
            // An ignored source has a test of its own.
            if listed.warnings.iter().any(|warning| warning.contains("is itself ignored")) {
                continue;
            }
            let context = || format!("seed {seed}, source {}\n{told}", source.display());
            assert_eq!(listed.warnings, Vec::<String>::new(), "{}", context());
            assert_same(&shown(&listed), &by_git(&source), context);
            if seed % 4 == 0 {
                assert_explained(&source, true, context);
            }
        }
    }
}

#[test]
fn without_git_gitignore_files_mean_what_they_mean_to_git() {
    for seed in seeds(200) {
        let mut rng = StdRng::seed_from_u64(seed);
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().join("top");
        fs::create_dir(&top).unwrap();
        let dirs = grow(&mut rng, &top);
        let told = write_rules(&mut rng, &top, &dirs, true);
        let found = shown(&list_with(&top, &Default::default(), false).unwrap());
        let context = || format!("seed {seed}\n{told}");
        if seed % 4 == 0 {
            assert_explained(&top, false, context);
        }
        init(&top);
        assert_same(&found, &by_git(&top), context);
        // A source within a repository that git cannot be asked about.
        if let Some(sub) = dirs.get(1) {
            let sub = top.join(sub);
            let is_ignored =
                Command::new("git").args(["check-ignore", "-q", "."]).current_dir(&sub).status().unwrap();
            if is_ignored.code() == Some(1) {
                assert_same(
                    &shown(&list_with(&sub, &Default::default(), false).unwrap()),
                    &by_git(&sub),
                    context,
                );
            }
        }
    }
}

//! Directories of a source, read in parallel, and what of them is sent.
//!
//! Owns: [`walk`]. A directory is read once, as names and kinds; only then is it asked which files of rules it holds, and each name
//! judged. Children wait on one stack, deepest last, so that few are open in mind at once; the lock is taken twice a directory.
//!
//! Invariants: no name is followed; a directory that is left out is not read; one that vanished since its parent was read is no
//! error; one that cannot be read is, and ends the walk.

use super::gitignore::{self, Gitignores};
use super::pattern::Candidate;
use super::rules::{self, RuleFile, Rules};
use super::scope::{Repository, Scope, Verdict};
use super::{Entry, EntryKind, git};
use pail_control::Failure;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RawDir, openat, statat};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::ops::Range;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Threads of a walk: more than this no local disk rewards.
const THREADS_MAX: usize = 16;

/// Threads of a walk also where there are fewer processors, as reading a directory may wait for a disk or a server.
const THREADS_MIN: usize = 4;

/// What a directory is read into at once.
const READ_BYTES: usize = 64 << 10;

/// What holds for a whole walk.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Whether `.git` is sent.
    pub include_git: bool,
    /// Whether the git program may be asked.
    pub with_git: bool,
}

/// What a walk found, in no order.
#[derive(Debug, Default)]
pub struct Found {
    /// What is sent.
    pub entries: Vec<Entry>,
    /// For people.
    pub warnings: Vec<String>,
    /// Of which git has to be asked whether it ignores them.
    unlisted: Vec<Unlisted>,
}

/// A name that git does not list.
#[derive(Debug)]
struct Unlisted {
    repository: Arc<Repository>,
    /// `None` for a special file.
    rules: Option<Option<Arc<Rules>>>,
    path: Vec<u8>,
}

/// A directory to be read.
#[derive(Debug)]
struct Directory {
    /// Relative to the source; empty for the source itself.
    path: Vec<u8>,
    scope: Scope,
    rules: Option<Arc<Rules>>,
}

/// Walks a source by a scope.
pub fn walk(source: &Path, scope: Scope, options: Options) -> Result<Found, Failure> {
    let mut found = Found::default();
    let mut directories = vec![Directory { path: Vec::new(), scope, rules: None }];
    while !directories.is_empty() {
        walk_all(source, directories, options, &mut found)?;
        directories = not_ignored(std::mem::take(&mut found.unlisted), source, &mut found.warnings)?;
    }
    Ok(found)
}

/// Those directories of which git lists nothing though it does not ignore them.
fn not_ignored(
    mut unlisted: Vec<Unlisted>,
    source: &Path,
    warnings: &mut Vec<String>,
) -> Result<Vec<Directory>, Failure> {
    let mut directories = Vec::new();
    unlisted.sort_by(|a, b| a.repository.prefix.cmp(&b.repository.prefix));
    for group in unlisted.chunk_by(|a, b| Arc::ptr_eq(&a.repository, &b.repository)) {
        let Some(first) = group.first() else { continue };
        let paths: Vec<_> = group.iter().map(|one| one.repository.relative(&one.path).to_vec()).collect();
        for (one, is_ignored) in group.iter().zip(git::ignored(&first.repository.dir, &paths)?) {
            match &one.rules {
                _ if is_ignored => {}
                None => warnings.push(special_file(source, &one.path)),
                Some(rules) => directories.push(Directory {
                    path: one.path.clone(),
                    scope: Scope::Unlisted(Arc::clone(&one.repository)),
                    rules: rules.clone(),
                }),
            }
        }
    }
    Ok(directories)
}

fn special_file(source: &Path, path: &[u8]) -> String {
    let path = source.join(OsStr::from_bytes(path));
    format!("{} is left out: it is a socket, a pipe or a device", path.display())
}

/// The directories that wait, and how many threads may still add to them.
#[derive(Debug)]
struct Waiting {
    directories: Vec<Directory>,
    busy: usize,
    failure: Option<Failure>,
}

/// Reads directories and all below them.
fn walk_all(
    source: &Path,
    directories: Vec<Directory>,
    options: Options,
    found: &mut Found,
) -> Result<(), Failure> {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = processors.clamp(THREADS_MIN, THREADS_MAX);
    let waiting = Mutex::new(Waiting { directories, busy: 0, failure: None });
    let ready = Condvar::new();
    let work = || {
        let mut reader = Reader::new(source, options);
        while let Some(directory) = next(&waiting, &ready) {
            let children = reader.read(directory);
            done(&waiting, &ready, children);
        }
        reader.found
    };
    let parts: Vec<Found> = std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let own = work();
        // A panic of a worker is one of this thread.
        let join = |other: std::thread::ScopedJoinHandle<'_, Found>| {
            other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        std::iter::once(own).chain(others.into_iter().map(join)).collect()
    });
    if let Some(failure) = lock(&waiting).failure.take() {
        return Err(failure);
    }
    for part in parts {
        found.entries.extend(part.entries);
        found.warnings.extend(part.warnings);
        found.unlisted.extend(part.unlisted);
    }
    Ok(())
}

fn lock(waiting: &Mutex<Waiting>) -> MutexGuard<'_, Waiting> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A directory to read; `None` where none is left and nobody can add one.
fn next(waiting: &Mutex<Waiting>, ready: &Condvar) -> Option<Directory> {
    let mut state = lock(waiting);
    loop {
        if state.failure.is_some() {
            return None;
        }
        if let Some(directory) = state.directories.pop() {
            state.busy += 1;
            return Some(directory);
        }
        if state.busy == 0 {
            return None;
        }
        state = ready.wait(state).unwrap_or_else(PoisonError::into_inner);
    }
}

/// Adds the children of a directory that was read.
fn done(waiting: &Mutex<Waiting>, ready: &Condvar, children: Result<Vec<Directory>, Failure>) {
    let mut state = lock(waiting);
    state.busy -= 1;
    match children {
        Ok(mut children) => {
            let all_may = children.len() > 1 || state.busy == 0;
            state.directories.append(&mut children);
            if all_may {
                ready.notify_all();
            } else if !state.directories.is_empty() {
                ready.notify_one();
            }
        }
        Err(failure) => {
            state.failure.get_or_insert(failure);
            ready.notify_all();
        }
    }
}

/// What a name is, as its directory says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Entry(EntryKind),
    Directory,
    Special,
}

/// The names of a directory, in one buffer that is used again.
#[derive(Debug, Default)]
struct Names {
    bytes: Vec<u8>,
    names: Vec<(Range<usize>, Kind)>,
}

/// Which files of rules a directory holds.
#[derive(Debug, Default)]
struct Special {
    skyignore: bool,
    gitignore: bool,
    git: bool,
}

/// A thread's part of a walk.
struct Reader<'a> {
    source: &'a Path,
    options: Options,
    found: Found,
    buffer: Vec<u8>,
    names: Names,
}

impl<'a> Reader<'a> {
    fn new(source: &'a Path, options: Options) -> Self {
        let buffer = Vec::with_capacity(READ_BYTES);
        Self { source, options, found: Found::default(), buffer, names: Names::default() }
    }

    /// Reads a directory: its entries are found, its directories returned.
    fn read(&mut self, directory: Directory) -> Result<Vec<Directory>, Failure> {
        let Directory { path, scope, rules } = directory;
        let at = match path.is_empty() {
            true => self.source.to_owned(),
            false => self.source.join(OsStr::from_bytes(&path)),
        };
        let mut names = std::mem::take(&mut self.names);
        let special = match self.read_names(&at, path.is_empty(), &mut names) {
            Ok(Some(special)) => special,
            Ok(None) => return Ok(Vec::new()),
            Err(err) => return Err(Failure::unreadable(&at, &err.into())),
        };
        let in_git = matches!(scope, Scope::GitDirectory);
        let rules = match special.skyignore && !in_git {
            true => rules_of(&at, &path, rules, &mut self.found.warnings)?,
            false => rules,
        };
        let with_git = self.options.with_git;
        let mut scope = scope.entered(&at, &path, special.git, with_git, &mut self.found.warnings)?;
        if let Scope::Gitignores(above) = &scope
            && special.gitignore
        {
            let file = at.join(gitignore::FILE_NAME);
            let files = Gitignores::with(&file, &path, above.clone(), &mut self.found.warnings)?;
            scope = Scope::Gitignores(files);
        }
        let children = self.judge_all(path, &scope, rules.as_ref(), &names);
        self.names = names;
        Ok(children)
    }

    /// Judges the names of a directory.
    fn judge_all(
        &mut self,
        path: Vec<u8>,
        scope: &Scope,
        rules: Option<&Arc<Rules>>,
        names: &Names,
    ) -> Vec<Directory> {
        let mut children = Vec::new();
        let (mut sent, mut left_to_git) = (false, false);
        let mut full = path.clone();
        if !full.is_empty() {
            full.push(b'/');
        }
        let name_at = full.len();
        for (range, kind) in &names.names {
            full.truncate(name_at);
            full.extend_from_slice(&names.bytes[range.clone()]);
            let is_dir = *kind == Kind::Directory;
            let is_git = &full[name_at..] == b".git" && !matches!(scope, Scope::GitDirectory);
            if is_git && !self.options.include_git {
                continue;
            }
            let candidate = Candidate { path: &full, name_at, is_dir };
            if rules.is_some_and(|rules| rules.leaves_out(candidate)) {
                continue;
            }
            let verdict = match is_git {
                true => Verdict::Sent(is_dir.then_some(Scope::GitDirectory)),
                false => scope.verdict(&full, is_dir),
            };
            match (verdict, kind) {
                (Verdict::Sent(Some(scope)), _) => {
                    sent = true;
                    let rules = rules.filter(|_| !is_git).cloned();
                    children.push(Directory { path: full.clone(), scope, rules });
                }
                (Verdict::Sent(None), Kind::Entry(kind)) => {
                    sent = true;
                    self.found.entries.push(Entry { path: OsString::from_vec(full.clone()), kind: *kind });
                }
                (Verdict::Sent(None), _) => self.found.warnings.push(special_file(self.source, &full)),
                (Verdict::LeftOut, _) | (Verdict::Unlisted, Kind::Entry(_)) => left_to_git = true,
                (Verdict::Unlisted, _) => {
                    left_to_git = true;
                    let Some(repository) = scope.repository().map(Arc::clone) else { continue };
                    let rules = is_dir.then(|| rules.cloned());
                    self.found.unlisted.push(Unlisted { repository, rules, path: full.clone() });
                }
            }
        }
        // What git leaves empty it does not have either; what filter rules leave empty rsync does make.
        if !sent && !left_to_git && !path.is_empty() {
            match scope {
                // Of its tracked files none is there any more: now it is a directory like others that git does not list.
                Scope::Listed(repository, _) if path.len() >= repository.prefix.len() => {
                    let repository = Arc::clone(repository);
                    self.found.unlisted.push(Unlisted { repository, rules: Some(rules.cloned()), path });
                }
                _ => self
                    .found
                    .entries
                    .push(Entry { path: OsString::from_vec(path), kind: EntryKind::EmptyDir }),
            }
        }
        children
    }

    /// Reads the names of a directory; `None` where it is no longer there.
    fn read_names(&mut self, at: &Path, follow: bool, names: &mut Names) -> Result<Option<Special>, Errno> {
        let mut flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        if !follow {
            flags |= OFlags::NOFOLLOW;
        }
        let dir = match openat(CWD, at, flags, Mode::empty()) {
            Ok(dir) => dir,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) if !follow => return Ok(None),
            Err(err) => return Err(err),
        };
        names.bytes.clear();
        names.names.clear();
        let mut special = Special::default();
        let mut entries = RawDir::new(&dir, self.buffer.spare_capacity_mut());
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let name = entry.file_name();
            let file_type = match entry.file_type() {
                FileType::Unknown => match statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW) {
                    Ok(stat) => FileType::from_raw_mode(stat.st_mode),
                    Err(Errno::NOENT) => continue,
                    Err(err) => return Err(err),
                },
                file_type => file_type,
            };
            let kind = match file_type {
                FileType::RegularFile => Kind::Entry(EntryKind::File),
                FileType::Symlink => Kind::Entry(EntryKind::Symlink),
                FileType::Directory => Kind::Directory,
                _ => Kind::Special,
            };
            let name = name.to_bytes();
            match name {
                b"." | b".." => continue,
                b".git" => special.git = true,
                b".skyignore" => special.skyignore = kind != Kind::Directory,
                b".gitignore" => special.gitignore = kind == Kind::Entry(EntryKind::File),
                _ => {}
            }
            let start = names.bytes.len();
            names.bytes.extend_from_slice(name);
            names.names.push((start..names.bytes.len(), kind));
        }
        Ok(Some(special))
    }
}

/// The rules below a directory that holds a `.skyignore`.
pub fn rules_of(
    at: &Path,
    path: &[u8],
    above: Option<Arc<Rules>>,
    warnings: &mut Vec<String>,
) -> Result<Option<Arc<Rules>>, Failure> {
    let file: PathBuf = at.join(rules::FILE_NAME);
    // A symlink is followed, as rsync does; what is then no file, or nothing, has no rules.
    if !file.metadata().is_ok_and(|meta| meta.is_file()) {
        return Ok(above);
    }
    let content = std::fs::read(&file).map_err(|err| Failure::unreadable(&file, &err))?;
    let file = RuleFile::parse(&file, &content, warnings);
    Ok(Some(Rules::with(file, path, above)))
}

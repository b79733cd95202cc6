//! What the last run of the same copy did.
//!
//! Owns: [`Manifest`], by which a run tells what changed without a look at a clock: for each key the version that was copied, its size, and the
//! local file's times as they were then. A file is as it was if both sides still are.
//!
//! # Why it is not beside the data
//! It is a file of its own for each copy (direction, bucket, prefix and target) below a state directory, not in the target: a training job that reads "all files below
//! the directory" would read it as data, and an upload of the directory would send it. A manifest that is lost costs time, never bytes: then size and time are
//! compared, or everything is copied again.
//!
//! # Form
//! Lines of JSON: what it is of, then a line for each key. One that cannot be read, or is of something else, counts as none.
//!
//! Invariants: written under another name and renamed; kept also where the run is given up, by [`Drop`], and where its process is killed, by its log (`run_log`), which the next run reads; at most [`ENTRIES_MAX`] keys are
//! remembered, about 250 bytes of memory each.

use crate::Comparison;
use crate::directory::LocalState;
use crate::orphan_files::RunId;
use crate::run_log::{DeadRun, RunLog, dead_runs};
use crate::work::Work;
use pail_store::Version;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::fs::{DirBuilder, File};
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How many keys are remembered.
const ENTRIES_MAX: usize = 1_000_000;
/// The form that is written.
const FORM: u32 = 1;
/// Hexadecimal digits of a manifest's name.
const NAME_DIGITS: usize = 32;

/// What is remembered of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub version: Version,
    /// The size of the object and of the file, and the file's times.
    pub local: LocalState,
    /// That the file has the object's bytes was taken from its size and time, by a sync without an entry: nobody sent or compared them.
    pub is_by_time: bool,
}

/// A run's memory of the one before, and of itself.
#[derive(Debug)]
pub(crate) struct Manifest {
    /// `None` where none is kept.
    file: Option<PathBuf>,
    what: String,
    run: RunId,
    /// Of this run; `None` where none could be begun.
    log: Option<RunLog>,
    dead: Vec<DeadRun>,
    /// Guards the entries; before the log's own.
    entries: Mutex<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    /// By key; `true` where this run has seen it.
    by_key: HashMap<Box<str>, (Entry, bool)>,
    is_changed: bool,
    /// The run has all that there is.
    is_complete: bool,
    /// It could not be written: the log stays.
    is_unsaved: bool,
}

#[derive(Serialize, Deserialize)]
struct Head {
    form: u32,
    what: String,
}

#[derive(Serialize, Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    key: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    version: std::borrow::Cow<'a, str>,
    size: u64,
    mtime_ns: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ctime_ns: Option<i64>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    is_by_time: bool,
}

impl Manifest {
    /// The manifest of `what`, which says direction, bucket, prefix and target.
    pub fn load(state_dir: Option<&Path>, what: String) -> Self {
        let file = state_dir.map(|dir| file_of(dir, &what));
        let mut entries = entries_in(file.as_deref(), &what);
        let run = RunId::new();
        let (mut log, mut dead) = (None, Vec::new());
        if let Some(file) = file.as_deref() {
            let head = head_line(&what);
            dead = dead_runs(file, &head, |line| entries.take_line(line));
            log = begin_log(file, &run, &head);
        }
        Self { file, what, run, log, dead, entries: Mutex::new(entries) }
    }

    /// The same, for a look: nothing is written, for what a dry run finds out is nobody's last run.
    pub fn look_at(state_dir: Option<&Path>, what: String) -> Self {
        let file = state_dir.map(|dir| file_of(dir, &what));
        let mut entries = entries_in(file.as_deref(), &what);
        if let Some(file) = file.as_deref() {
            dead_runs(file, &head_line(&what), |line| entries.take_line(line));
        }
        let (run, entries) = (RunId::new(), Mutex::new(entries));
        Self { file: None, what, run, log: None, dead: Vec::new(), entries }
    }

    /// This run's identity.
    pub fn run(&self) -> RunId {
        self.run.clone()
    }

    /// Those of runs of the same copy that ended before their time.
    pub fn dead(&self) -> Vec<RunId> {
        self.dead.iter().map(|dead| dead.id.clone()).collect()
    }

    /// Has what was recorded written down, on a thread that may wait for the disk, where it is time for that.
    pub fn flush_if_due(self: &Arc<Self>, work: &Work) {
        if self.log.as_ref().is_some_and(RunLog::take_due) {
            let manifest = self.clone();
            work.detached(move || {
                if let Some(log) = &manifest.log {
                    log.flush();
                }
            });
        }
    }

    #[cfg(test)]
    fn is_empty(&self) -> bool {
        self.entries.lock().by_key.is_empty()
    }

    /// What is remembered of a key, as far as this way to compare goes by it: a plain copy, to which nobody said that times tell, does not go by what was decided by them.
    pub fn entry(&self, key: &str, comparison: Comparison) -> Option<Entry> {
        let entries = self.entries.lock();
        let (entry, _) = entries.by_key.get(key)?;
        (comparison != Comparison::Manifest || !entry.is_by_time).then(|| entry.clone())
    }

    /// Remembers what was copied, or found as it was. A version that is unknown is not remembered.
    pub fn record(&self, key: &str, entry: Entry) {
        if self.file.is_none() {
            return;
        }
        let mut entries = self.entries.lock();
        if entry.version.is_unknown() {
            entries.is_changed |= entries.by_key.remove(key).is_some();
            return;
        }
        if let Some((old, is_seen)) = entries.by_key.get_mut(key) {
            *is_seen = true;
            if *old == entry {
                return;
            }
            *old = entry.clone();
        } else if entries.by_key.len() < ENTRIES_MAX {
            entries.by_key.insert(key.into(), (entry.clone(), true));
        } else {
            return;
        }
        entries.is_changed = true;
        if let Some(log) = &self.log {
            log.note(&line_of(key, &entry), entry.local.size);
        }
    }

    /// The run saw everything that it was about: what it did not record is no longer there, but for the keys that it left out.
    pub fn forget_unseen(&self, is_left_out: impl Fn(&str) -> bool) {
        let mut entries = self.entries.lock();
        let before = entries.by_key.len();
        entries.by_key.retain(|key, (_, is_seen)| *is_seen || is_left_out(key));
        entries.is_changed |= entries.by_key.len() != before;
        // Of what was left out an earlier run may have left something.
        entries.is_complete = entries.by_key.values().all(|(_, is_seen)| *is_seen);
    }

    /// Writes it down, if it says anything new. May wait for the disk.
    pub fn save(&self) {
        if let Err(error) = self.try_save() {
            tracing::warn!(%error, "what was copied could not be noted; the next run compares sizes and times");
            self.entries.lock().is_unsaved = true;
        }
        let (is_complete, is_unsaved) = {
            let entries = self.entries.lock();
            (entries.is_complete, entries.is_unsaved)
        };
        if is_unsaved {
            return;
        }
        self.log.iter().for_each(RunLog::remove);
        for dead in &self.dead {
            // What it was about is looked for again until a run has all that there is.
            if is_complete { dead.remove() } else { dead.forget_lines() }
        }
    }

    fn try_save(&self) -> io::Result<()> {
        let mut entries = self.entries.lock();
        let Some(file) = self.file.as_deref().filter(|_| entries.is_changed) else { return Ok(()) };
        make_directory_of(file)?;
        let temporary = file.with_extension(format!("{:08x}", rand::random::<u32>()));
        let written = write(&temporary, &self.what, &entries.by_key);
        let renamed = written.and_then(|()| std::fs::rename(&temporary, file));
        if renamed.is_err() {
            let _ = std::fs::remove_file(&temporary);
        }
        // What failed once is not tried again behind the run's back.
        entries.is_changed = false;
        renamed
    }
}

impl Entries {
    /// Takes over what a dead run recorded. Returns whether it was a record.
    fn take_line(&mut self, line: &str) -> bool {
        let Ok((key, entry)) = entry_in(line) else { return false };
        if self.by_key.len() < ENTRIES_MAX || self.by_key.contains_key(&key) {
            self.by_key.insert(key, (entry, false));
            self.is_changed = true;
        }
        true
    }
}

impl Drop for Manifest {
    fn drop(&mut self) {
        self.save();
    }
}

fn file_of(state_dir: &Path, what: &str) -> PathBuf {
    let name = hex::encode(Sha256::digest(what.as_bytes()));
    state_dir.join(&name[..NAME_DIGITS])
}

fn entries_in(file: Option<&Path>, what: &str) -> Entries {
    let by_key = file.and_then(|file| match read(file, what) {
        Ok(found) => Some(found),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => {
            tracing::debug!(file = %file.display(), %error, "a manifest cannot be used");
            None
        }
    });
    Entries { by_key: by_key.unwrap_or_default(), ..Entries::default() }
}

fn read(file: &Path, what: &str) -> io::Result<HashMap<Box<str>, (Entry, bool)>> {
    let mut reader = BufReader::new(File::open(file)?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let head: Head = serde_json::from_str(&line)?;
    if head.form != FORM || head.what != what {
        return Err(io::Error::other("it is of something else"));
    }
    let mut by_key = HashMap::new();
    while by_key.len() < ENTRIES_MAX {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            break;
        }
        let (key, entry) = entry_in(&line)?;
        by_key.insert(key, (entry, false));
    }
    Ok(by_key)
}

fn write(file: &Path, what: &str, by_key: &HashMap<Box<str>, (Entry, bool)>) -> io::Result<()> {
    let file = File::options().write(true).create_new(true).mode(0o600).open(file)?;
    let mut writer = BufWriter::new(file);
    writer.write_all(&head_line(what))?;
    for (key, (entry, _)) in by_key {
        writer.write_all(&line_of(key, entry))?;
    }
    writer.flush()
}

fn make_directory_of(file: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(file.parent().unwrap_or(Path::new("/")))
}

fn begin_log(file: &Path, run: &RunId, head: &[u8]) -> Option<RunLog> {
    let begun = make_directory_of(file).and_then(|()| RunLog::begin(file, run, head));
    begun
        .inspect_err(|error| tracing::debug!(%error, "what is copied is not noted before the run's end"))
        .ok()
}

fn head_line(what: &str) -> Vec<u8> {
    line(&Head { form: FORM, what: what.to_owned() })
}

fn line_of(key: &str, entry: &Entry) -> Vec<u8> {
    let LocalState { size, mtime_ns, ctime_ns } = entry.local;
    let text = entry.version.to_text();
    let is_by_time = entry.is_by_time;
    line(&Line { key: key.into(), version: (&*text).into(), size, mtime_ns, ctime_ns, is_by_time })
}

/// A value's JSON. (Texts and numbers can always be written as such.)
fn line(value: &impl Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(value).unwrap_or_default();
    line.push(b'\n');
    line
}

fn entry_in(line: &str) -> serde_json::Result<(Box<str>, Entry)> {
    let Line { key, version, size, mtime_ns, ctime_ns, is_by_time } = serde_json::from_str(line)?;
    let local = LocalState { size, mtime_ns, ctime_ns };
    Ok((key.into(), Entry { version: Version::from_text(&version), local, is_by_time }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(version: &str, size: u64) -> Entry {
        let local = LocalState { size, mtime_ns: -5, ctime_ns: Some(6) };
        Entry { version: Version::from_etag(version), local, is_by_time: false }
    }

    #[test]
    fn a_form_without_change_times_is_read_and_entries_by_time_are_not_for_all() {
        let (key, old) = entry_in(r#"{"key":"k","version":"e:1","size":7,"mtime_ns":-5}"#).unwrap();
        assert_eq!((&*key, old.local.ctime_ns, old.is_by_time), ("k", None, false));
        let manifest = Manifest::load(None, "a".to_owned());
        let by_time = Entry { is_by_time: true, ..entry("1", 7) };
        manifest.entries.lock().by_key.insert("k".into(), (by_time.clone(), false));
        assert_eq!(manifest.entry("k", Comparison::Manifest), None);
        assert_eq!(manifest.entry("k", Comparison::SizeAndTime), Some(by_time.clone()));
        let line = String::from_utf8(line_of("k", &by_time)).unwrap();
        assert_eq!(entry_in(&line).unwrap(), ("k".into(), by_time));
    }

    #[test]
    fn what_one_run_records_the_next_one_knows() {
        let dir = tempfile::tempdir().unwrap();
        let load = |what: &str| Manifest::load(Some(&dir.path().join("state")), what.to_owned());
        let first = load("a");
        first.record("x\n\"ü", entry("1", 7));
        first.record("y", entry("2", 8));
        first.record("z", Entry { version: Version::Unknown, ..entry("", 1) });
        drop(first);

        let second = load("a");
        assert_eq!(second.entry("x\n\"ü", Comparison::default()), Some(entry("1", 7)));
        assert_eq!(second.entry("z", Comparison::default()), None);
        second.record("y", entry("3", 9));
        // Given up here, it forgets nothing.
        drop(second);
        let third = load("a");
        assert_eq!(
            (third.entry("x\n\"ü", Comparison::default()), third.entry("y", Comparison::default())),
            (Some(entry("1", 7)), Some(entry("3", 9)))
        );
        third.record("y", entry("3", 9));
        third.forget_unseen(|_| false);
        drop(third);
        let fourth = load("a");
        assert_eq!(
            (fourth.entry("x\n\"ü", Comparison::default()), fourth.entry("y", Comparison::default())),
            (None, Some(entry("3", 9)))
        );
        assert!(load("b").is_empty());
    }

    #[test]
    fn what_a_killed_run_recorded_is_known_but_for_a_line_that_was_cut_short() {
        let dir = tempfile::tempdir().unwrap();
        let load = || Manifest::load(Some(dir.path()), "a".to_owned());
        let names =
            || std::fs::read_dir(dir.path()).unwrap().map(|it| it.unwrap().path()).collect::<Vec<_>>();
        let first = load();
        ["x", "y"].into_iter().for_each(|key| first.record(key, entry("1", 7)));
        drop(first);
        assert_eq!(names().len(), 1);
        // A kill leaves the log as it is, without its lock.
        let killed = load();
        let run = killed.run();
        killed.record("y", entry("2", 9));
        killed.record("z", entry("2", 9 << 20));
        killed.log.as_ref().unwrap().flush();
        let log = names().into_iter().find(|name| name.to_string_lossy().ends_with(".log")).unwrap();
        assert!(load().dead().is_empty(), "it lives");
        let mut text = std::fs::read(&log).unwrap();
        drop(killed);
        text.extend_from_slice(br#"{"key":"cut","ver"#);
        std::fs::write(&log, &text).unwrap();
        std::fs::remove_file(names().into_iter().find(|name| *name != log).unwrap()).unwrap();

        let next = load();
        assert_eq!(next.dead(), std::slice::from_ref(&run));
        assert_eq!(
            (next.entry("x", Comparison::default()), next.entry("cut", Comparison::default())),
            (None, None)
        );
        assert_eq!(
            (next.entry("y", Comparison::default()), next.entry("z", Comparison::default())),
            (Some(entry("2", 9)), Some(entry("2", 9 << 20)))
        );
        // One that does not come to its end leaves to the next what the dead one has left.
        drop(next);
        let last = load();
        assert_eq!((last.dead(), last.entry("y", Comparison::default())), (vec![run], Some(entry("2", 9))));
        last.record("y", entry("2", 9));
        last.forget_unseen(|_| false);
        drop(last);
        assert_eq!(names().len(), 1, "a manifest, and nothing else");
        assert!(load().dead().is_empty() && load().entry("z", Comparison::default()).is_none());
    }

    #[test]
    fn a_damaged_manifest_counts_as_none() {
        let dir = tempfile::tempdir().unwrap();
        let load = || Manifest::load(Some(dir.path()), "a".to_owned());
        let first = load();
        first.record("x", entry("1", 7));
        drop(first);
        let file = std::fs::read_dir(dir.path()).unwrap().next().unwrap().unwrap().path();
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, &text[..text.len() - 5]).unwrap();
        assert!(load().is_empty());
    }
}

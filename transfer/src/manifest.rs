//! What the last run of the same copy did.
//!
//! Owns: [`Manifest`], by which a run tells what changed without a look at a clock: for each key the version that was copied, its size, and the
//! local file's time as it was then. A file is as it was if both sides still are.
//!
//! # Why it is not beside the data
//! It is a file of its own for each copy (direction, bucket, prefix and target) below a state directory, not in the target: a training job that reads "all files below
//! the directory" would read it as data, and an upload of the directory would send it. A manifest that is lost costs time, never bytes: then size and time are
//! compared, or everything is copied again.
//!
//! # Form
//! Lines of JSON: what it is of, then a line for each key. One that cannot be read, or is of something else, counts as none.
//!
//! Invariants: written under another name and renamed; kept also where the run is given up, by [`Drop`]; at most [`ENTRIES_MAX`] keys are
//! remembered, about 250 bytes of memory each.

use crate::directory::LocalState;
use pail_store::Version;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::fs::{DirBuilder, File};
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

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
    /// The size of the object and of the file, and the file's time.
    pub local: LocalState,
}

/// A run's memory of the one before, and of itself.
#[derive(Debug)]
pub(crate) struct Manifest {
    /// `None` where none is kept.
    file: Option<PathBuf>,
    what: String,
    /// Guards the entries; a leaf.
    entries: Mutex<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    /// By key; `true` where this run has seen it.
    by_key: HashMap<Box<str>, (Entry, bool)>,
    is_changed: bool,
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
}

impl Manifest {
    /// The manifest of `what`, which says direction, bucket, prefix and target.
    pub fn load(state_dir: Option<&Path>, what: String) -> Self {
        let name = hex::encode(Sha256::digest(what.as_bytes()));
        let file = state_dir.map(|dir| dir.join(&name[..NAME_DIGITS]));
        let by_key = file.as_deref().and_then(|file| match read(file, &what) {
            Ok(found) => Some(found),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                tracing::debug!(file = %file.display(), %error, "a manifest cannot be used");
                None
            }
        });
        let entries = Entries { by_key: by_key.unwrap_or_default(), is_changed: false };
        Self { file, what, entries: Mutex::new(entries) }
    }

    #[cfg(test)]
    fn is_empty(&self) -> bool {
        self.entries.lock().by_key.is_empty()
    }

    /// What is remembered of a key.
    pub fn entry(&self, key: &str) -> Option<Entry> {
        self.entries.lock().by_key.get(key).map(|(entry, _)| entry.clone())
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
            let is_news = *old != entry;
            *old = entry;
            entries.is_changed |= is_news;
        } else if entries.by_key.len() < ENTRIES_MAX {
            entries.by_key.insert(key.into(), (entry, true));
            entries.is_changed = true;
        }
    }

    /// The run saw everything: what it did not record is no longer there.
    pub fn forget_unseen(&self) {
        let mut entries = self.entries.lock();
        let before = entries.by_key.len();
        entries.by_key.retain(|_, (_, is_seen)| *is_seen);
        entries.is_changed |= entries.by_key.len() != before;
    }

    /// Writes it down, if it says anything new. May wait for the disk.
    pub fn save(&self) {
        if let Err(error) = self.try_save() {
            tracing::warn!(%error, "what was copied could not be noted; the next run compares sizes and times");
        }
    }

    fn try_save(&self) -> io::Result<()> {
        let mut entries = self.entries.lock();
        let Some(file) = self.file.as_deref().filter(|_| entries.is_changed) else { return Ok(()) };
        let dir = file.parent().unwrap_or(Path::new("/"));
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
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

impl Drop for Manifest {
    fn drop(&mut self) {
        self.save();
    }
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
        let Line { key, version, size, mtime_ns } = serde_json::from_str(&line)?;
        let entry = Entry { version: Version::from_text(&version), local: LocalState { size, mtime_ns } };
        by_key.insert(key.into(), (entry, false));
    }
    Ok(by_key)
}

fn write(file: &Path, what: &str, by_key: &HashMap<Box<str>, (Entry, bool)>) -> io::Result<()> {
    let file = File::options().write(true).create_new(true).mode(0o600).open(file)?;
    let mut writer = BufWriter::new(file);
    serde_json::to_writer(&mut writer, &Head { form: FORM, what: what.to_owned() })?;
    writer.write_all(b"\n")?;
    for (key, (Entry { version, local }, _)) in by_key {
        let LocalState { size, mtime_ns } = *local;
        let text = version.to_text();
        let line = Line { key: (&**key).into(), version: (&*text).into(), size, mtime_ns };
        serde_json::to_writer(&mut writer, &line)?;
        writer.write_all(b"\n")?;
    }
    writer.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(version: &str, size: u64) -> Entry {
        Entry { version: Version::from_etag(version), local: LocalState { size, mtime_ns: -5 } }
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
        assert_eq!(second.entry("x\n\"ü"), Some(entry("1", 7)));
        assert_eq!(second.entry("z"), None);
        second.record("y", entry("3", 9));
        // Given up here, it forgets nothing.
        drop(second);
        let third = load("a");
        assert_eq!((third.entry("x\n\"ü"), third.entry("y")), (Some(entry("1", 7)), Some(entry("3", 9))));
        third.record("y", entry("3", 9));
        third.forget_unseen();
        drop(third);
        let fourth = load("a");
        assert_eq!((fourth.entry("x\n\"ü"), fourth.entry("y")), (None, Some(entry("3", 9))));
        assert!(load("b").is_empty());
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

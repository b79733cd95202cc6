//! The journal of dirty replicas: what was meant to become of each, and which of its bytes are its own.
//!
//! Owns: [`Intent`], [`Orphan`], and the record beside each dirty data file (`dirty/<id>.json` beside `dirty/<id>.data`).
//! Invariant: a record is replaced as a whole, by a rename, so a crash leaves the old one or the new one.

use crate::ranges::RangeSet;
use serde::{Deserialize, Serialize};
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The version that a dirty replica is a change of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Base {
    /// ETag or generation.
    pub version: String,
    /// Its size in bytes.
    pub size: u64,
}

/// What is to become of a dirty replica.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// Identity of endpoint and bucket.
    pub store: String,
    /// The key it is to be published under.
    pub key: String,
    /// What it is a change of; `None` for a new object.
    pub base: Option<Base>,
    /// The mount that it was written through.
    pub mount: String,
    /// When writing began.
    pub created: SystemTime,
}

/// A dirty replica that nobody uses any more: an earlier process left it, or this one gave it up unpublished.
#[derive(Debug, Clone)]
pub struct Orphan {
    /// What was to become of it.
    pub intent: Intent,
    /// Its length in bytes.
    pub len: u64,
    /// Which of its bytes were written, as of when it was last synced; `None` when it never was.
    pub local: Option<Vec<Range<u64>>>,
    /// Before it, what is not local is the base's; from it on, zeros.
    pub base_len: u64,
    /// The file of its bytes.
    pub data_path: PathBuf,
    /// Bytes of disk that it holds.
    pub bytes_on_disk: u64,
}

impl Orphan {
    /// Whether its file has all of its bytes. Otherwise those that were not written here are only in the version it is a change of.
    pub fn is_whole(&self) -> bool {
        let mut local = RangeSet::default();
        self.local.iter().flatten().for_each(|range| local.insert(range.clone()));
        local.pieces(0..self.base_len).into_iter().all(|(_, is_local)| is_local)
    }

    /// Removes it from disk. Errors: the local disk's.
    pub fn discard(&self) -> io::Result<()> {
        discard(&self.data_path)
    }
}

/// A data file as it was when all of it was published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Published {
    /// Its length in bytes.
    pub len: u64,
    /// When it was last modified.
    pub modified: SystemTime,
}

impl Published {
    pub fn of(data: &Metadata) -> io::Result<Self> {
        Ok(Self { len: data.len(), modified: data.modified()? })
    }
}

/// What is recorded of a dirty replica.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Record {
    pub intent: Intent,
    /// Present in records that were synced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local: Option<Vec<Range<u64>>>,
    /// How much of the base still shows, in bytes.
    pub base_len: u64,
    /// Its bytes are in the bucket. Dropped before they are changed; compared with the data file all the same, since after a power
    /// failure an old record may stand beside newer bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published: Option<Published>,
}

impl Record {
    /// Whether the data file is as it was published.
    fn is_published(&self, data: &Metadata) -> bool {
        self.published.is_some_and(|published| Published::of(data).is_ok_and(|now| now == published))
    }

    /// What it tells of a data file that nobody uses any more.
    pub fn left(self, data_path: PathBuf, data: &Metadata) -> Orphan {
        Orphan {
            intent: self.intent,
            len: data.len(),
            local: self.local.map(|ranges| cut(ranges, data.len())),
            base_len: self.base_len,
            bytes_on_disk: data.blocks() * 512,
            data_path,
        }
    }
}

/// The record that belongs to a data file.
fn record_path(data: &Path) -> PathBuf {
    data.with_extension("json")
}

/// Writes the record of a data file; with `durable`, so that it survives a power failure.
pub(crate) fn write_record(data: &Path, record: &Record, durable: bool) -> io::Result<()> {
    let (path, new) = (record_path(data), data.with_extension("json.new"));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(&serde_json::to_vec(record)?)?;
    if durable {
        file.sync_all()?;
    }
    std::fs::rename(&new, &path)?;
    match path.parent() {
        Some(dir) if durable => File::open(dir)?.sync_all(),
        _ => Ok(()),
    }
}

/// What is left of `ranges` in a file of `len` bytes, which may have been cut since they were recorded.
fn cut(ranges: Vec<Range<u64>>, len: u64) -> Vec<Range<u64>> {
    ranges
        .into_iter()
        .map(|range| range.start..range.end.min(len))
        .filter(|range| !range.is_empty())
        .collect()
}

/// Removes the record of a data file.
pub(crate) fn remove_record(data: &Path) {
    for path in [record_path(data), data.with_extension("json.new")] {
        let _ = std::fs::remove_file(path);
    }
}

/// Removes a data file and its record, if they are there and can be: what cannot is found again by the next process.
pub(crate) fn remove(data: &Path) {
    let _ = std::fs::remove_file(data);
    remove_record(data);
}

/// Removes a data file and its record.
fn discard(data: &Path) -> io::Result<()> {
    std::fs::remove_file(data)?;
    remove_record(data);
    Ok(())
}

/// The dirty replicas in `root` that are not in the bucket. A data file without a readable record is left where it is, and told of.
/// Errors: the local disk's.
pub(crate) fn orphans(root: &Path) -> io::Result<Vec<Orphan>> {
    let found = found(root)?;
    Ok(found.into_iter().filter(|(_, is_published)| !is_published).map(|(orphan, _)| orphan).collect())
}

/// The same, once those that are in the bucket are removed, and records that have lost their data.
pub(crate) fn sift(root: &Path) -> io::Result<Vec<Orphan>> {
    let (published, orphans): (Vec<_>, Vec<_>) =
        found(root)?.into_iter().partition(|(_, published)| *published);
    for (orphan, _) in published {
        // What cannot be removed now is found again by the next.
        if let Err(error) = orphan.discard() {
            tracing::warn!(path = %orphan.data_path.display(), %error, "the local copy of a published file stays");
        }
    }
    sweep_records(root);
    Ok(orphans.into_iter().map(|(orphan, _)| orphan).collect())
}

/// Removes records without data: data is made before its record, and removed before it. What cannot be removed now is found by the next.
fn sweep_records(root: &Path) {
    for path in std::fs::read_dir(root).into_iter().flatten().flatten().map(|file| file.path()) {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let id = name.strip_suffix(".json.new").or_else(|| name.strip_suffix(".json"));
        if id.is_some_and(|id| root.join(id).with_extension("data").symlink_metadata().is_err_and(is_absent))
        {
            let _ = std::fs::remove_file(path);
        }
    }
}

fn is_absent(error: io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}

/// All in `root`, and whether they are in the bucket.
fn found(root: &Path) -> io::Result<Vec<(Orphan, bool)>> {
    let mut orphans = Vec::new();
    for file in std::fs::read_dir(root)? {
        let data_path = file?.path();
        if data_path.extension().is_none_or(|extension| extension != "data") {
            continue;
        }
        let record = std::fs::read(record_path(&data_path))
            .and_then(|text| Ok(serde_json::from_slice::<Record>(&text)?));
        match (record, std::fs::metadata(&data_path)) {
            (Ok(record), Ok(metadata)) => {
                let is_published = record.is_published(&metadata);
                orphans.push((record.left(data_path, &metadata), is_published));
            }
            (Err(error), _) | (_, Err(error)) => {
                tracing::warn!(path = %data_path.display(), %error, "written bytes without a record of where they belong");
            }
        }
    }
    Ok(orphans)
}

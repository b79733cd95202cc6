//! The journal of dirty replicas: what was meant to become of each, and which of its bytes are its own.
//!
//! Owns: [`Intent`], [`Orphan`], and the record beside each dirty data file (`dirty/<id>.json` beside `dirty/<id>.data`).
//! Invariant: a record is replaced as a whole, by a rename, so a crash leaves the old one or the new one.

use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
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

/// A dirty replica that an earlier process left.
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

/// What is recorded of a dirty replica.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Record {
    pub intent: Intent,
    /// Present in records that were synced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local: Option<Vec<Range<u64>>>,
    /// How much of the base still shows, in bytes.
    pub base_len: u64,
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

/// The dirty replicas in `root`. A data file without a readable record is left where it is, and told of.
pub(crate) fn orphans(root: &Path) -> io::Result<Vec<Orphan>> {
    let mut orphans = Vec::new();
    for file in std::fs::read_dir(root)? {
        let data_path = file?.path();
        if data_path.extension().is_none_or(|extension| extension != "data") {
            continue;
        }
        let record = std::fs::read(record_path(&data_path))
            .and_then(|text| Ok(serde_json::from_slice::<Record>(&text)?));
        match (record, std::fs::metadata(&data_path)) {
            (Ok(record), Ok(metadata)) => orphans.push(Orphan {
                intent: record.intent,
                len: metadata.len(),
                local: record.local.map(|ranges| cut(ranges, metadata.len())),
                base_len: record.base_len,
                bytes_on_disk: metadata.blocks() * 512,
                data_path,
            }),
            (Err(error), _) | (_, Err(error)) => {
                tracing::warn!(path = %data_path.display(), %error, "written bytes without a record of where they belong");
            }
        }
    }
    Ok(orphans)
}

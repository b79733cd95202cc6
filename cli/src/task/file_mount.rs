//! An entry of `file_mounts`.
//!
//! Owns: [`FileMount`], its keys, and what its `name` and `source` mean together. Of the modes it is MOUNT that is done here; the
//! others are refused with their place, never taken for something else.

use super::mistakes::Mistakes;
use super::reader::Reader;
use super::yaml::{Key, Node, Place, Value};
use pail_control::Failure;
use pail_control::opening;
use std::path::{Path, PathBuf};

/// The keys of an entry. Those that are only for other modes or stores are known, so that they are not called misspelt.
const KEYS: &[&str] = &["name", "source", "store", "persistent", "mode", "type", "config", "endpoint"];
const MODES: &[&str] = &["MOUNT", "COPY", "MOUNT_CACHED"];
const STORES: &[&str] = &["s3", "gcs", "r2", "ibm", "azure", "oci", "nebius"];
const CONFIGS: &[&str] = &["mount", "mount_cached"];
const MOUNT_CONFIG: &[&str] = &["read_only"];
const CACHED_CONFIG: &[&str] = &[
    "transfers",
    "buffer_size",
    "vfs_cache_max_size",
    "vfs_cache_max_age",
    "vfs_read_ahead",
    "vfs_read_chunk_size",
    "vfs_read_chunk_streams",
    "vfs_write_back",
    "read_only",
];
/// Presets of SkyPilot's for reads and uploads.
const TYPES: &[&str] = &["MODEL_CHECKPOINT_RO", "MODEL_CHECKPOINT_RW", "DATASET_RO", "DATASET_RW"];

/// A bucket to be mounted for a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileMount {
    /// Where: absolute, or relative to the task's working directory; `~` is expanded.
    pub destination: PathBuf,
    /// `s3://bucket[/prefix]`.
    pub source: String,
    /// Create the bucket where it is missing.
    pub create_bucket: bool,
    /// The S3 endpoint, where the entry names one.
    pub endpoint_url: Option<String>,
    /// Refuse every change.
    pub read_only: bool,
}

/// The values of an entry as they are written, with their places.
#[derive(Default)]
struct Entry {
    name: Option<(String, Place)>,
    source: Option<(String, Place)>,
    endpoint: Option<(String, Place)>,
    read_only: bool,
}

impl FileMount {
    /// Reads an entry; `None` where it has mistakes.
    pub fn read(
        reader: &Reader<'_>,
        destination: &Key,
        node: &Node,
        home: &Path,
        mistakes: &mut Mistakes,
    ) -> Option<Self> {
        let before = mistakes.count();
        let mut entry = Entry::default();
        for (key, value) in mistakes.keep(keys_of(reader, node)).unwrap_or_default() {
            let taken = entry.take(reader, key, value, mistakes);
            mistakes.keep(taken);
        }
        let destination = mistakes.keep(resolve_destination(reader, destination, home))?;
        // What its keys mean together is asked only of right ones.
        if mistakes.count() > before {
            return None;
        }
        mistakes.keep(entry.resolve(reader, node.place, destination))
    }
}

fn keys_of<'n>(reader: &Reader<'_>, node: &'n Node) -> Result<&'n [(Key, Node)], Failure> {
    match &node.value {
        Value::Map(entries) => Ok(entries),
        Value::Text(_) => Err(reader
            .mistake(node.place, "copying files and objects is not supported yet")
            .with_hint("write an object with `source:` and `mode: MOUNT` to mount a bucket")),
        other => Err(reader.mistake(node.place, &format!("expected an object, found {}", other.kind()))),
    }
}

impl Entry {
    fn take(
        &mut self,
        reader: &Reader<'_>,
        key: &Key,
        node: &Node,
        mistakes: &mut Mistakes,
    ) -> Result<(), Failure> {
        let word = || reader.text(node).map(|word| (word, node.place));
        match key.name.as_str() {
            _ if matches!(node.value, Value::Null) && KEYS.contains(&key.name.as_str()) => {}
            "name" => self.name = Some(word()?),
            "source" => match &node.value {
                Value::List(_) => {
                    return Err(reader.mistake(node.place, "uploading local files is not supported yet"));
                }
                _ => self.source = Some(word()?),
            },
            "endpoint" => {
                let (url, at) = word()?;
                if let Err(failure) = opening::check_endpoint_url(&url) {
                    return Err(reader.mistake(at, &failure.causes.join(": ")));
                }
                self.endpoint = Some((url, at));
            }
            "mode" => check_mode(reader, node)?,
            "store" => check_store(reader, node)?,
            "persistent" => match node.value {
                Value::Bool(true) => {}
                Value::Bool(false) => {
                    return Err(reader.mistake(node.place, "`persistent: false` is not supported yet"));
                }
                _ => return Err(reader.mistake(node.place, "expected true or false")),
            },
            // There is nothing to choose between yet, but that some are not written.
            "type" => {
                let preset = reader.text(node)?;
                if !TYPES.contains(&preset.as_str()) {
                    return Err(reader.unknown_value(node.place, "type", &preset, TYPES));
                }
                self.read_only |= preset.ends_with("_RO");
            }
            "config" => self.read_only |= read_config(reader, node, mistakes)?,
            _ => return Err(reader.unknown_key(key, KEYS)),
        }
        Ok(())
    }

    /// What name and source mean together.
    fn resolve(self, reader: &Reader<'_>, place: Place, destination: PathBuf) -> Result<FileMount, Failure> {
        let (source, create_bucket, at) = match (self.name, self.source) {
            (None, None) => return Err(reader.mistake(place, "a mount needs a `name` or a `source`")),
            (Some((name, at)), None) => {
                if name.contains("://") || name.contains('/') {
                    return Err(reader
                        .mistake(at, "`name` is a bucket's name without scheme or path")
                        .with_hint("give a URI as `source`"));
                }
                (format!("s3://{name}"), true, at)
            }
            (Some((_, at)), Some((source, _))) if source.contains("://") => {
                return Err(reader.mistake(at, "`name` and a bucket as `source` exclude each other"));
            }
            (_, Some((source, at))) if source.contains("://") => (source, false, at),
            (None, Some((_, at))) => {
                return Err(
                    reader.mistake(at, "a local `source` needs the `name` of the bucket to upload it to")
                );
            }
            (Some(_), Some((_, at))) => {
                return Err(reader.mistake(at, "uploading local files is not supported yet"));
            }
        };
        if !source.starts_with("s3://") {
            return Err(reader
                .mistake(at, &format!("{source:?} is of a store that is not supported yet"))
                .with_hint(opening::scheme_hint(&source)));
        }
        if let Err(failure) = opening::parse_source(&source) {
            let why = failure.causes.first().cloned().unwrap_or(failure.message);
            let mistake = reader.mistake(at, &format!("{source:?} is not a bucket: {why}"));
            return Err(match reader.left_as_they_are(&source).first() {
                Some(name) => mistake.with_hint(format!(
                    "{name} is neither in `envs` nor in `secrets`: write it there, or give it by --env {name}=VALUE"
                )),
                None => mistake.with_hint("write s3://bucket or s3://bucket/prefix"),
            });
        }
        Ok(FileMount {
            destination,
            source: source.trim_end_matches('/').to_owned(),
            create_bucket,
            endpoint_url: self.endpoint.map(|(url, _)| url),
            read_only: self.read_only,
        })
    }
}

fn check_mode(reader: &Reader<'_>, node: &Node) -> Result<(), Failure> {
    let mode = reader.text(node)?;
    match mode.to_ascii_uppercase().as_str() {
        "MOUNT" => Ok(()),
        known if MODES.contains(&known) => Err(reader
            .mistake(node.place, &format!("mode {known} is not supported yet"))
            .with_hint("use mode: MOUNT")),
        _ => Err(reader.unknown_value(node.place, "mode", &mode.to_ascii_uppercase(), MODES)),
    }
}

fn check_store(reader: &Reader<'_>, node: &Node) -> Result<(), Failure> {
    let store = reader.text(node)?.to_ascii_lowercase();
    match store.as_str() {
        "s3" => Ok(()),
        known if STORES.contains(&known) => {
            Err(reader.mistake(node.place, &format!("store {known} is not supported yet")).with_hint(
                "s3 is; where that store has an S3 interface, write `store: s3` and its URL as `endpoint:`",
            ))
        }
        _ => Err(reader.unknown_value(node.place, "store", &store, STORES)),
    }
}

/// Whether the mount is read-only.
fn read_config(reader: &Reader<'_>, node: &Node, mistakes: &mut Mistakes) -> Result<bool, Failure> {
    let mut read_only = false;
    for (key, value) in reader.map(node)? {
        match key.name.as_str() {
            "mount" => {
                for (key, value) in mistakes.keep(reader.map(value)).unwrap_or_default() {
                    match (key.name.as_str(), &value.value) {
                        ("read_only", Value::Bool(told)) => read_only = *told,
                        ("read_only", _) => {
                            mistakes.add(reader.mistake(value.place, "expected true or false"));
                        }
                        _ => mistakes.add(reader.unknown_key(key, MOUNT_CONFIG)),
                    }
                }
            }
            // For the other mode. Only what must not be written says something about this one, too.
            "mount_cached" => {
                for (key, value) in mistakes.keep(reader.map(value)).unwrap_or_default() {
                    match (key.name.as_str(), &value.value) {
                        ("read_only", Value::Bool(told)) => read_only |= *told,
                        ("read_only", _) => {
                            mistakes.add(reader.mistake(value.place, "expected true or false"));
                        }
                        (known, _) if CACHED_CONFIG.contains(&known) => {}
                        _ => mistakes.add(reader.unknown_key(key, CACHED_CONFIG)),
                    }
                }
            }
            _ => mistakes.add(reader.unknown_key(key, CONFIGS)),
        }
    }
    Ok(read_only)
}

/// `~/x` and absolute paths as they are; a relative one lies in the task's working directory.
fn resolve_destination(reader: &Reader<'_>, key: &Key, home: &Path) -> Result<PathBuf, Failure> {
    let written = reader.substitute(&key.name);
    if written.contains("://") {
        return Err(reader.mistake(key.place, "a destination is a path, not a URI"));
    }
    if written.len() > 1 && written.ends_with('/') {
        return Err(reader.mistake(key.place, "a destination does not end in /"));
    }
    let path = match written.strip_prefix("~/") {
        Some(below) => home.join(below),
        None if written == "~" => home.to_owned(),
        None => super::workdir(home).join(&written),
    };
    if path == super::workdir(home) || path == home || path == Path::new("/") {
        return Err(
            reader.mistake(key.place, &format!("{} cannot be a mount point of a task", path.display()))
        );
    }
    Ok(path)
}

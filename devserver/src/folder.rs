//! Objects that outlive the server.
//!
//! Owns: the layout of the server's folder, and writing and loading it.
//!
//! ```text
//! data/N                       bytes; one or several objects name the file
//! buckets/NAME/bucket.json     its settings, its location and class
//! buckets/NAME/N.json          a sidecar: one object's key, attributes, generation and where its bytes are
//! ```
//!
//! # Why numbers for names
//! No key is ever a path, so that a key may hold anything, and a copy or a completed upload shares the data files that
//! are there. N rises; where two sidecars name one key, after a crash between writing one and removing the other, the
//! higher is the newer.
//!
//! Invariants: a sidecar appears by rename, after its data files are whole. A data file that no sidecar names is removed
//! at the next start. Uploads in progress do not outlive the server. Nothing is fsynced: this is no place for data that
//! must survive a power cut.

use crate::attributes::Attributes;
use crate::checksum::Checksum;
use crate::config::BucketSettings;
use crate::content::{Content, DataFile, Segment, Source};
use crate::gcs::{GcsAttributes, GcsBucket, next_generation, raise_generations};
use crate::object::Object;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// The folder of a server.
#[derive(Debug)]
pub(crate) struct Folder {
    root: PathBuf,
    next_number: AtomicU64,
}

/// An object's record. Removing it gives up its hold on the data files.
#[derive(Debug)]
pub(crate) struct Sidecar {
    path: PathBuf,
    files: Vec<Arc<DataFile>>,
}

impl Sidecar {
    /// Call when another version has taken the object's place, or when it was deleted.
    pub(crate) fn remove(&self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "a replaced object's record stays");
            return;
        }
        for file in &self.files {
            file.sidecars.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

/// A sidecar as it is written.
#[derive(Serialize, Deserialize)]
struct Record {
    key: String,
    etag: String,
    modified_s: i64,
    #[serde(default)]
    attributes: Attributes,
    checksum: Option<Checksum>,
    part_lens: Vec<u64>,
    #[serde(default)]
    restored_until_s: Option<i64>,
    #[serde(default)]
    gcs: GcsAttributes,
    /// Number of the data file, offset and length in bytes.
    segments: Vec<(u64, u64, u64)>,
}

/// What a bucket's own file says.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
pub(crate) struct BucketRecord {
    pub(crate) created_s: i64,
    #[serde(default)]
    pub(crate) settings: BucketSettings,
    #[serde(default)]
    pub(crate) gcs: GcsBucket,
}

/// A bucket as it was found.
pub(crate) struct LoadedBucket {
    pub(crate) name: String,
    pub(crate) record: BucketRecord,
    pub(crate) objects: Vec<(String, Object)>,
}

impl Folder {
    /// Opens or creates a folder and loads what is in it. Errors: those of the file system, and `InvalidData` for a
    /// record that cannot be read.
    pub(crate) fn open(root: PathBuf) -> io::Result<(Arc<Self>, Vec<LoadedBucket>)> {
        fs::create_dir_all(root.join("data"))?;
        fs::create_dir_all(root.join("buckets"))?;
        let folder = Self { root, next_number: AtomicU64::new(1) };
        let mut files = folder.load_data_files()?;
        let mut buckets = Vec::new();
        for entry in fs::read_dir(folder.root.join("buckets"))? {
            let entry = entry?;
            if let Ok(name) = entry.file_name().into_string() {
                buckets.push(folder.load_bucket(name, &entry.path(), &mut files)?);
            }
        }
        // What no sidecar names goes here, as the last hold on it is dropped.
        drop(files);
        Ok((Arc::new(folder), buckets))
    }

    fn load_data_files(&self) -> io::Result<HashMap<u64, Arc<DataFile>>> {
        let mut files = HashMap::new();
        for entry in fs::read_dir(self.root.join("data"))? {
            let path = entry?.path();
            if let Some(number) = number_of(&path) {
                self.next_number.fetch_max(number + 1, Ordering::Relaxed);
                files.insert(number, Arc::new(DataFile { path, sidecars: AtomicUsize::new(0) }));
            }
        }
        Ok(files)
    }

    fn load_bucket(
        &self,
        name: String,
        path: &Path,
        files: &mut HashMap<u64, Arc<DataFile>>,
    ) -> io::Result<LoadedBucket> {
        let record = match fs::read(path.join("bucket.json")) {
            Ok(bytes) => parse(&bytes, path)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => BucketRecord::default(),
            Err(error) => return Err(error),
        };
        let mut newest: BTreeMap<String, (u64, Object)> = BTreeMap::new();
        for entry in fs::read_dir(path)? {
            let path = entry?.path();
            let Some(number) = number_of(&path) else { continue };
            self.next_number.fetch_max(number + 1, Ordering::Relaxed);
            let record: Record = parse(&fs::read(&path)?, &path)?;
            let key = record.key.clone();
            let object = load_object(record, path, files)?;
            let older = match newest.get(&key) {
                Some((other, _)) if *other > number => Some(object),
                _ => newest.insert(key, (number, object)).map(|(_, object)| object),
            };
            if let Some(sidecar) = older.and_then(|object| object.sidecar) {
                sidecar.remove();
            }
        }
        let objects = newest.into_iter().map(|(key, (_, object))| (key, object)).collect();
        Ok(LoadedBucket { name, record, objects })
    }

    fn number(&self) -> u64 {
        self.next_number.fetch_add(1, Ordering::Relaxed)
    }

    /// A data file to be created.
    pub(crate) fn new_data_file(&self) -> Arc<DataFile> {
        let path = self.root.join("data").join(self.number().to_string());
        Arc::new(DataFile { path, sidecars: AtomicUsize::new(0) })
    }

    fn bucket_path(&self, bucket: &str) -> PathBuf {
        self.root.join("buckets").join(bucket)
    }

    pub(crate) fn write_bucket(&self, bucket: &str, record: &BucketRecord) -> io::Result<()> {
        let path = self.bucket_path(bucket);
        fs::create_dir_all(&path)?;
        write_by_rename(&path.join("bucket.json"), &serde_json::to_vec(record)?)
    }

    /// Call when the bucket is empty.
    pub(crate) fn remove_bucket(&self, bucket: &str) -> io::Result<()> {
        fs::remove_dir_all(self.bucket_path(bucket))
    }

    /// Records an object. A few tens of microseconds: two small system calls on names, and one write. Errors: those of the file
    /// system.
    pub(crate) fn write_object(&self, bucket: &str, key: &str, object: &Object) -> io::Result<Sidecar> {
        let mut files: Vec<Arc<DataFile>> = Vec::new();
        let mut segments = Vec::new();
        for segment in object.content.segments() {
            let Source::File { file, offset } = &segment.source else {
                return Err(io::Error::other("an object in memory cannot be recorded in a folder"));
            };
            let number =
                number_of(&file.path).ok_or_else(|| io::Error::other("a data file without a number"))?;
            segments.push((number, *offset, segment.len));
            if !files.iter().any(|other| Arc::ptr_eq(other, file)) {
                files.push(file.clone());
            }
        }
        let record = Record {
            key: key.to_owned(),
            etag: object.etag.clone(),
            modified_s: object.modified.as_second(),
            attributes: object.attributes.clone(),
            checksum: object.checksum.clone(),
            part_lens: object.part_lens.clone(),
            restored_until_s: object.restored_until.map(Timestamp::as_second),
            gcs: object.gcs.clone(),
            segments,
        };
        let path = self.bucket_path(bucket).join(format!("{}.json", self.number()));
        write_by_rename(&path, &serde_json::to_vec(&record)?)?;
        Ok(hold(path, files))
    }
}

fn hold(path: PathBuf, files: Vec<Arc<DataFile>>) -> Sidecar {
    for file in &files {
        file.sidecars.fetch_add(1, Ordering::AcqRel);
    }
    Sidecar { path, files }
}

fn load_object(record: Record, path: PathBuf, known: &HashMap<u64, Arc<DataFile>>) -> io::Result<Object> {
    let mut content = Content::default();
    let mut files: Vec<Arc<DataFile>> = Vec::new();
    for (number, offset, len) in record.segments {
        let file = known.get(&number).ok_or_else(|| {
            invalid(
                &path,
                &format!("it names data/{number}, which is missing; remove the record to go on without it"),
            )
        })?;
        content.push(Segment { source: Source::File { file: file.clone(), offset }, len });
        if !files.iter().any(|other| Arc::ptr_eq(other, file)) {
            files.push(file.clone());
        }
    }
    let mut object = Object::new(content, record.etag, record.attributes);
    object.modified = Timestamp::from_second(record.modified_s).unwrap_or_default();
    object.checksum = record.checksum;
    object.restored_until = record.restored_until_s.and_then(|until_s| Timestamp::from_second(until_s).ok());
    object.part_lens = record.part_lens;
    object.gcs = record.gcs;
    if object.gcs.generation == 0 {
        // An earlier version of this server wrote it.
        object.gcs.generation = next_generation();
    }
    raise_generations(object.gcs.generation);
    object.sidecar = Some(hold(path, files));
    Ok(object)
}

/// The number in `N` or `N.json`.
fn number_of(path: &Path) -> Option<u64> {
    let name = path.file_name()?.to_str()?;
    name.strip_suffix(".json").unwrap_or(name).parse().ok()
}

fn parse<T: for<'de> Deserialize<'de>>(bytes: &[u8], path: &Path) -> io::Result<T> {
    serde_json::from_slice(bytes).map_err(|error| invalid(path, &error.to_string()))
}

fn invalid(path: &Path, what: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("{} is no record of this server: {what}", path.display()),
    )
}

fn write_by_rename(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let unfinished = path.with_extension("unfinished");
    fs::write(&unfinished, bytes)?;
    fs::rename(&unfinished, path)
}

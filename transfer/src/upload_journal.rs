//! Uploads in parts that have begun.
//!
//! Owns: [`UploadJournals`], a directory of files in the state directory, one for each object that a copy is sending in parts, and [`UploadJournal`], one of them: the
//! upload's name, what the source was, and the parts that the store has. A run that was killed or stopped is gone on with by the next one of the same source and target, if the file is what it
//! was; else, as where it is no longer sent, its upload is aborted.
//!
//! Invariants: a run holds a lock (flock(2)) on the journals of its uploads as long as it lives; a journal is removed when its upload has ended. One that is damaged counts as
//! far as it can be read.

use pail_store::{Checksum, Part, RawKey, Upload};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs::{DirBuilder, File};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// The form that is written.
const FORM: u32 = 1;
/// Hexadecimal digits of a name.
const NAME_DIGITS: usize = 32;

/// What the source was when its upload began. No program sets the change time, so that equal ones are of equal bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SourceIdentity {
    pub dev: u64,
    pub ino: u64,
    pub size: u64,
    pub mtime_ns: i128,
    pub ctime_ns: i128,
}

/// An upload that may be gone on with.
#[derive(Debug)]
pub(crate) struct Interrupted {
    pub upload: Upload,
    pub source: SourceIdentity,
    pub part_size: u64,
    /// What the store was to give the object.
    pub new_objects: String,
    /// What the store has, by number.
    pub parts: Vec<Part>,
}

/// The journals of one copy.
#[derive(Debug)]
pub(crate) struct UploadJournals {
    /// `None` where none are kept.
    dir: Option<PathBuf>,
}

/// The journal of one upload of this run.
#[derive(Debug)]
pub(crate) struct UploadJournal {
    file: File,
    path: PathBuf,
    /// The store has parts of it.
    has_parts: AtomicBool,
}

#[derive(Serialize, Deserialize)]
struct Head {
    form: u32,
    key: String,
    upload: String,
    source: SourceIdentity,
    part_size: u64,
    new_objects: String,
}

#[derive(Serialize, Deserialize)]
struct Line {
    number: u32,
    etag: String,
    size: u64,
    checksum: Option<String>,
}

impl UploadJournals {
    /// Those of `what`, which says store, sources and keys.
    pub fn of(state_dir: Option<&Path>, what: &str) -> Self {
        Self { dir: state_dir.map(|dir| dir.join("uploads").join(name_of(what))) }
    }

    /// The journal of a key, and the upload that it tells of. `None` where none can be kept, for one because another run is at it.
    pub fn open(&self, key: &RawKey) -> Option<(UploadJournal, Option<Interrupted>)> {
        let dir = self.dir.as_deref()?;
        let opened = DirBuilder::new().recursive(true).mode(0o700).create(dir);
        let opened = opened.and_then(|()| UploadJournal::open(dir.join(name_of(key.as_str())), true));
        let journal =
            opened.inspect_err(|error| tracing::debug!(%error, "an upload has no journal")).ok()??;
        let found = journal.read().filter(|found| found.upload.key == *key);
        journal.has_parts.store(found.as_ref().is_some_and(|found| !found.parts.is_empty()), Relaxed);
        Some((journal, found))
    }

    /// Those that no run has: of uploads that nobody goes on with.
    pub fn dead(&self) -> Vec<(UploadJournal, Option<Interrupted>)> {
        let names = self.dir.as_deref().and_then(|dir| std::fs::read_dir(dir).ok());
        let paths = names.into_iter().flatten().flatten().map(|entry| entry.path());
        let dead = paths.filter_map(|path| UploadJournal::open(path, false).ok().flatten());
        dead.map(|journal| (journal.read(), journal)).map(|(found, journal)| (journal, found)).collect()
    }

    /// Removes the directory, if nothing is in it.
    pub fn tidy(&self) {
        if let Some(dir) = &self.dir {
            let _ = std::fs::remove_dir(dir);
        }
    }
}

impl UploadJournal {
    /// `None` where another run has it, or has just ended it.
    fn open(path: PathBuf, create: bool) -> io::Result<Option<Self>> {
        let file = File::options().read(true).append(true).create(create).mode(0o600).open(&path)?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Ok(None);
        }
        let (named, own) = (std::fs::metadata(&path), file.metadata()?);
        let is_named = named.is_ok_and(|named| (named.dev(), named.ino()) == (own.dev(), own.ino()));
        Ok(is_named.then(|| Self { file, path, has_parts: AtomicBool::new(false) }))
    }

    fn read(&self) -> Option<Interrupted> {
        let mut lines = BufReader::new(File::open(&self.path).ok()?).lines().map_while(Result::ok);
        let head: Head = serde_json::from_str(&lines.next()?).ok().filter(|head: &Head| head.form == FORM)?;
        let upload = Upload { key: RawKey::new(head.key.as_str()).ok()?, id: head.upload.clone() };
        let mut parts: Vec<Part> = lines.map_while(|line| part_in(&line)).collect();
        parts.sort_by_key(|part| part.number);
        parts.dedup_by_key(|part| part.number);
        let Head { source, part_size, new_objects, .. } = head;
        Some(Interrupted { upload, source, part_size, new_objects, parts })
    }

    /// Begins anew, with an upload that has no parts yet.
    pub fn begin(
        &self,
        upload: &Upload,
        source: &SourceIdentity,
        part_size: u64,
        new_objects: &str,
    ) -> io::Result<()> {
        self.has_parts.store(false, Relaxed);
        self.file.set_len(0)?;
        self.add(&Head {
            form: FORM,
            key: upload.key.as_str().to_owned(),
            upload: upload.id.clone(),
            source: source.clone(),
            part_size,
            new_objects: new_objects.to_owned(),
        })
    }

    /// Notes that the store has a part.
    pub fn note(&self, part: &Part) -> io::Result<()> {
        // Of another kind, the store would want it as it was told.
        let checksum = part.checksum.filter(|checksum| matches!(checksum, Checksum::Crc64Nvme(_)));
        self.add(&Line {
            number: part.number,
            etag: part.etag.clone(),
            size: part.size,
            checksum: checksum.map(Checksum::to_base64),
        })?;
        self.has_parts.store(true, Relaxed);
        Ok(())
    }

    /// Whether there is anything for a later run to go on with.
    pub fn has_parts(&self) -> bool {
        self.has_parts.load(Relaxed)
    }

    /// The upload has ended, one way or another.
    pub fn end(&self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::debug!(%error, "the journal of an upload stays");
        }
    }

    /// In one write, so that no other line is within it.
    fn add(&self, value: &impl Serialize) -> io::Result<()> {
        let mut line = serde_json::to_vec(value)?;
        line.push(b'\n');
        (&self.file).write_all(&line)
    }
}

fn part_in(line: &str) -> Option<Part> {
    let Line { number, etag, size, checksum } = serde_json::from_str(line).ok()?;
    let checksum = checksum.as_deref().and_then(Checksum::crc64_from_base64);
    Some(Part { number, etag, size, checksum })
}

fn name_of(what: &str) -> String {
    let mut name = hex::encode(Sha256::digest(what.as_bytes()));
    name.truncate(NAME_DIGITS);
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(number: u32) -> Part {
        let checksum = Some(Checksum::crc64_of(&[number as u8]));
        Part { number, etag: format!("etag \"{number}\""), size: 7, checksum }
    }

    #[test]
    fn an_upload_is_known_to_the_next_run_and_to_one_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let journals = UploadJournals::of(Some(dir.path()), "what");
        let key = RawKey::new("a/ü").unwrap();
        let source = SourceIdentity { dev: 1, ino: 2, size: 3, mtime_ns: -4, ctime_ns: i64::MAX.into() };
        let upload = Upload { key: key.clone(), id: "id".to_owned() };
        let (journal, found) = journals.open(&key).unwrap();
        assert!(found.is_none());
        journal.begin(&upload, &source, 5, "new").unwrap();
        [3, 1].into_iter().for_each(|number| journal.note(&part(number)).unwrap());
        assert!(journals.open(&key).is_none() && journals.dead().is_empty(), "a run is at it");
        (&journal.file).write_all(br#"{"number":2,"et"#).unwrap();
        drop(journal);

        let (journal, found) = journals.open(&key).unwrap();
        let found = found.unwrap();
        assert_eq!((found.upload, found.source, found.part_size), (upload.clone(), source.clone(), 5));
        assert_eq!(found.new_objects, "new");
        assert_eq!(found.parts, [part(1), part(3)]);
        journal.begin(&upload, &source, 6, "").unwrap();
        drop(journal);
        assert!(UploadJournals::of(Some(dir.path()), "else").dead().is_empty());
        let dead = journals.dead();
        assert_eq!(dead[0].1.as_ref().unwrap().part_size, 6);
        dead[0].0.end();
        drop(dead);
        journals.tidy();
        assert!(journals.dead().is_empty());
    }
}

//! Uploads in parts that have begun.
//!
//! Owns: [`UploadJournals`], a directory of files in the state directory, one for each object that a copy is sending in parts, and [`UploadJournal`], one of them: the
//! upload's name, what it is to become, and the parts that the store has. A run that was killed or stopped is gone on with by the next one of the same source and target, if what is to become of
//! the upload is the same; else, as where it is no longer sent, it is aborted.
//!
//! # Damage
//! A line is a checksum and the JSON behind it; one that has another checksum is left out, and those behind it count. What was written in part, by a run that was killed or on a disk that
//! was full, has no end of line: the next line that is written begins with one, so that the two are told apart.
//!
//! Invariants: a run holds a lock (flock(2)) on the journals of its uploads as long as it lives; a journal is removed when its upload has ended.

use pail_store::{Checksum, Part, RawKey, Upload};
use parking_lot::Mutex;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::{DirBuilder, File};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// The form that is written.
const FORM: u32 = 2;
/// Hexadecimal digits of a name.
const NAME_DIGITS: usize = 32;

/// What the source was when its upload began: equal ones are of equal bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SourceIdentity {
    /// A local file. No program sets the change time.
    File { dev: u64, ino: u64, size: u64, mtime_ns: i128, ctime_ns: i128 },
    /// A version of an object.
    Object { store: String, key: String, version: String, size: u64 },
}

/// What an upload is to become: one that began as something else is not gone on with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UploadIdentity {
    pub source: SourceIdentity,
    pub part_size: u64,
    /// A digest of what the object is to carry.
    pub attributes: String,
    /// What the store was to give it.
    pub new_objects: String,
}

/// An upload that may be gone on with.
#[derive(Debug)]
pub(crate) struct Interrupted {
    pub upload: Upload,
    pub identity: UploadIdentity,
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
    /// The last line has no end. Guards what is written, a line at a time; a leaf.
    is_torn: Mutex<bool>,
}

#[derive(Serialize, Deserialize)]
struct Head {
    form: u32,
    key: String,
    upload: String,
    identity: UploadIdentity,
}

#[derive(Serialize, Deserialize)]
struct Line {
    number: u32,
    etag: String,
    size: u64,
    /// Its kind and its value.
    checksum: Option<(String, String)>,
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
        let is_torn = Mutex::new(is_torn(&file)?);
        Ok(is_named.then(|| Self { file, path, has_parts: AtomicBool::new(false), is_torn }))
    }

    fn read(&self) -> Option<Interrupted> {
        let mut lines = BufReader::new(File::open(&self.path).ok()?).split(b'\n').map_while(Result::ok);
        let head: Head =
            serde_json::from_str(content_of(&lines.next()?)?).ok().filter(|head: &Head| head.form == FORM)?;
        let upload = Upload { key: RawKey::new(head.key.as_str()).ok()?, id: head.upload };
        // Of two that were sent of a number, the store has the last.
        let parts: BTreeMap<u32, Part> =
            lines.filter_map(|line| part_in(&line)).map(|part| (part.number, part)).collect();
        Some(Interrupted { upload, identity: head.identity, parts: parts.into_values().collect() })
    }

    /// The upload that it tells of has ended, and it is kept for another one.
    pub fn clear(&self) {
        self.has_parts.store(false, Relaxed);
        let mut is_torn = self.is_torn.lock();
        match self.file.set_len(0) {
            Ok(()) => *is_torn = false,
            Err(error) => tracing::debug!(%error, "the journal of an upload that has ended stays"),
        }
    }

    /// Begins anew, with an upload that has no parts yet.
    pub fn begin(&self, upload: &Upload, identity: &UploadIdentity) -> io::Result<()> {
        self.has_parts.store(false, Relaxed);
        let head = Head {
            form: FORM,
            key: upload.key.as_str().to_owned(),
            upload: upload.id.clone(),
            identity: identity.clone(),
        };
        let mut is_torn = self.is_torn.lock();
        self.file.set_len(0)?;
        *is_torn = false;
        self.add(&head, &mut is_torn)
    }

    /// Notes that the store has a part.
    pub fn note(&self, part: &Part) -> io::Result<()> {
        let line = Line {
            number: part.number,
            etag: part.etag.clone(),
            size: part.size,
            checksum: part.checksum.map(|checksum| (checksum.name().to_owned(), checksum.to_base64())),
        };
        self.add(&line, &mut self.is_torn.lock())?;
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

    fn add(&self, value: &impl Serialize, is_torn: &mut bool) -> io::Result<()> {
        let content = serde_json::to_string(value)?;
        let begin = if *is_torn { "\n" } else { "" };
        let line = format!("{begin}{} {content}\n", check_of(&content));
        *is_torn = true;
        (&self.file).write_all(line.as_bytes())?;
        *is_torn = false;
        Ok(())
    }
}

fn is_torn(file: &File) -> io::Result<bool> {
    let Some(last) = file.metadata()?.len().checked_sub(1) else { return Ok(false) };
    let mut byte = [0];
    file.read_exact_at(&mut byte, last)?;
    Ok(byte != *b"\n")
}

fn check_of(content: &str) -> String {
    Checksum::crc64_of(content.as_bytes()).to_base64()
}

/// `None` of a line that is damaged.
fn content_of(line: &[u8]) -> Option<&str> {
    let (check, content) = std::str::from_utf8(line).ok()?.split_once(' ')?;
    (check == check_of(content)).then_some(content)
}

fn part_in(line: &[u8]) -> Option<Part> {
    let Line { number, etag, size, checksum } = serde_json::from_str(content_of(line)?).ok()?;
    let checksum = checksum.and_then(|(kind, value)| Checksum::named(&kind, &value));
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

    fn identity(part_size: u64) -> UploadIdentity {
        let source =
            SourceIdentity::File { dev: 1, ino: 2, size: 3, mtime_ns: -4, ctime_ns: i64::MAX.into() };
        UploadIdentity { source, part_size, attributes: "a".to_owned(), new_objects: "n".to_owned() }
    }

    fn begun(journals: &UploadJournals, numbers: &[u32]) -> (UploadJournal, Upload) {
        let upload = Upload { key: RawKey::new("a/ü").unwrap(), id: "id".to_owned() };
        let (journal, found) = journals.open(&upload.key).unwrap();
        assert!(found.is_none());
        journal.begin(&upload, &identity(5)).unwrap();
        numbers.iter().for_each(|number| journal.note(&part(*number)).unwrap());
        (journal, upload)
    }

    fn numbers(found: Option<Interrupted>) -> Vec<u32> {
        found.unwrap().parts.iter().map(|part| part.number).collect()
    }

    #[test]
    fn an_upload_is_known_to_the_next_run_and_to_one_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let journals = UploadJournals::of(Some(dir.path()), "what");
        let (journal, upload) = begun(&journals, &[3, 1]);
        let newer = Part { etag: "newer".to_owned(), checksum: Some(Checksum::Crc32c(3)), ..part(3) };
        journal.note(&newer).unwrap();
        assert!(journals.open(&upload.key).is_none() && journals.dead().is_empty(), "a run is at it");
        drop(journal);

        let (journal, found) = journals.open(&upload.key).unwrap();
        let found = found.unwrap();
        assert_eq!((found.upload, found.identity), (upload.clone(), identity(5)));
        assert_eq!(found.parts, [part(1), newer]);
        let of_object = SourceIdentity::Object {
            store: "s3://b".to_owned(),
            key: "k \n".to_owned(),
            version: "v".to_owned(),
            size: u64::MAX,
        };
        let other = UploadIdentity { source: of_object, ..identity(6) };
        journal.begin(&upload, &other).unwrap();
        drop(journal);
        assert!(UploadJournals::of(Some(dir.path()), "else").dead().is_empty());
        let dead = journals.dead();
        assert_eq!(dead[0].1.as_ref().unwrap().identity, other);
        dead[0].0.end();
        drop(dead);
        journals.tidy();
        assert!(journals.dead().is_empty());
    }

    #[test]
    fn a_line_that_was_written_in_part_costs_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let journals = UploadJournals::of(Some(dir.path()), "what");
        let (journal, upload) = begun(&journals, &[1]);
        journal.note(&part(2)).unwrap();
        let path = journal.path.clone();
        drop(journal);
        let all = std::fs::read(&path).unwrap();
        let before = all.iter().rposition(|byte| *byte == b'\n').unwrap();
        let before = all[..before].iter().rposition(|byte| *byte == b'\n').unwrap() + 1;
        // Wherever the second part's line ends, and what the next run writes behind it.
        for end in before..all.len() {
            std::fs::write(&path, &all[..end]).unwrap();
            let (journal, found) = journals.open(&upload.key).unwrap();
            let is_there = end == all.len() - 1;
            assert_eq!(numbers(found), if is_there { vec![1, 2] } else { vec![1] }, "{end}");
            journal.note(&part(3)).unwrap();
            journal.note(&part(4)).unwrap();
            drop(journal);
            let found = numbers(journals.open(&upload.key).unwrap().1);
            assert_eq!(found, if is_there { vec![1, 2, 3, 4] } else { vec![1, 3, 4] }, "{end}");
        }
    }

    #[test]
    fn a_damaged_line_is_left_out_and_without_its_head_a_journal_counts_as_none() {
        let dir = tempfile::tempdir().unwrap();
        let journals = UploadJournals::of(Some(dir.path()), "what");
        let (journal, upload) = begun(&journals, &[1, 2, 3]);
        let path = journal.path.clone();
        drop(journal);
        let all = std::fs::read(&path).unwrap();
        let line_ends: Vec<_> = (0..all.len()).filter(|at| all[*at] == b'\n').collect();
        for at in 0..all.len() {
            let mut damaged = all.clone();
            damaged[at] ^= 1;
            std::fs::write(&path, damaged).unwrap();
            let (_, found) = journals.open(&upload.key).unwrap();
            let line = line_ends.iter().filter(|end| **end < at).count();
            match line {
                0 => assert!(found.is_none(), "{at}"),
                // Without the end between two lines, neither is one; behind the last, it is none that counts.
                _ => {
                    let mut left = vec![1, 2, 3];
                    let is_between = all[at] == b'\n' && line < 3;
                    left.retain(|number| {
                        *number as usize != line && !(is_between && *number as usize == line + 1)
                    });
                    assert_eq!(numbers(found), left, "{at}");
                }
            }
        }
    }
}

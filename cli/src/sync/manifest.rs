//! What a sync sent to one place, kept on the node.
//!
//! Owns: [`Record`], the files of one destination below `~/.pail/sync`: `KEY.list`, the names that were sent; `KEY.session`, which sync
//! came last; `KEY.serving`, the rsync that is under way; `KEY.done`, whose time is that of the end of the last
//! transfer; `KEY.lock`, held by who changes the place. KEY is the hash of the path.
//!
//! Invariant: a name that a sync may have sent, and that was not removed since, is in `KEY.list`, whenever either side is killed.

use super::names::Names;
use pail_control::Failure;
use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Of the hash of a path, what is its key; 128 bits tell any two apart.
const KEY_DIGITS: usize = 32;

/// A list as it was sent, and what of it is ours to remove.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Manifest {
    /// Of the list that came last, as the client computed it.
    pub digest: String,
    /// Whether the place is the one file of the list, not a directory.
    pub is_file: bool,
    /// Whether a sync made the directory that is the place.
    pub is_made: bool,
    /// What the last sync sent; or did not get to send.
    pub sent: Names,
    /// Of earlier ones, what could not be removed; and of `sent`, directories that others had made.
    pub kept: Names,
    /// Directories among `sent` that were there before.
    pub others: Names,
}

#[derive(Serialize, Deserialize)]
struct Head {
    version: u32,
    path: String,
    digest: String,
    is_file: bool,
    is_made: bool,
    sent_bytes: usize,
    kept_bytes: usize,
}

const VERSION: u32 = 1;
const LIST: &str = "list";
const SERVING: &str = "serving";
const DONE: &str = "done";

/// Of this start of this machine (random(4)).
fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

/// The files of one destination.
#[derive(Debug, Clone)]
pub struct Record {
    base: PathBuf,
    path: PathBuf,
}

impl Record {
    /// Of the place at `path`, an absolute path. Errors: the directory of records cannot be made.
    pub fn of(path: &Path, home: &Path) -> Result<Self, Failure> {
        let key = hex::encode(Sha256::digest(path.as_os_str().as_bytes()));
        let record = Self::by_key(&key[..KEY_DIGITS], home);
        let dir = home.join(".pail/sync");
        std::fs::create_dir_all(&dir)
            .map_err(|err| Failure::from_io(format!("cannot create {}", dir.display()), &err))?;
        Ok(Self { path: path.to_owned(), ..record })
    }

    /// Of a key that [`Self::key`] told.
    pub fn by_key(key: &str, home: &Path) -> Self {
        Self { base: home.join(".pail/sync").join(key), path: PathBuf::new() }
    }

    /// The name of the record's files.
    pub fn key(&self) -> String {
        self.base.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    }

    fn file(&self, what: &str) -> PathBuf {
        self.base.with_extension(what)
    }

    /// What was sent last; nothing, where no sync was. Errors: it cannot be read, or is not one.
    pub fn manifest(&self) -> Result<Manifest, Failure> {
        let file = self.file(LIST);
        let bytes = match std::fs::read(&file) {
            Err(err) if err.kind() == ErrorKind::NotFound => return Ok(Manifest::default()),
            read => read.map_err(|err| Failure::from_io(format!("cannot read {}", file.display()), &err))?,
        };
        Self::parsed(&bytes).ok_or_else(|| {
            Failure::other(format!("{} is damaged", file.display()))
                .with_hint("remove it; what earlier syncs sent there is then never removed by one")
        })
    }

    fn parsed(bytes: &[u8]) -> Option<Manifest> {
        let end = bytes.iter().position(|byte| *byte == b'\n')?;
        let head: Head =
            serde_json::from_slice(&bytes[..end]).ok().filter(|head: &Head| head.version == VERSION)?;
        let (sent, rest) = bytes[end + 1..].split_at_checked(head.sent_bytes)?;
        let (kept, others) = rest.split_at_checked(head.kept_bytes)?;
        Some(Manifest {
            digest: head.digest,
            is_file: head.is_file,
            is_made: head.is_made,
            sent: Names::decoded(sent).ok()?,
            kept: Names::decoded(kept).ok()?,
            others: Names::decoded(others).ok()?,
        })
    }

    /// Replaces what was sent last.
    pub fn write(&self, manifest: &Manifest) -> Result<(), Failure> {
        let (sent, kept) = (manifest.sent.encoded(), manifest.kept.encoded());
        let head = Head {
            version: VERSION,
            path: self.path.to_string_lossy().into_owned(),
            digest: manifest.digest.clone(),
            is_file: manifest.is_file,
            is_made: manifest.is_made,
            sent_bytes: sent.len(),
            kept_bytes: kept.len(),
        };
        let head = serde_json::to_string(&head).unwrap_or_default();
        self.replace(LIST, &[head.as_bytes(), b"\n", &sent, &kept, &manifest.others.encoded()])
    }

    /// Replaces one of the record's files as a whole; the list so that it survives a power cut.
    fn replace(&self, what: &str, parts: &[&[u8]]) -> Result<(), Failure> {
        let (file, new) = (self.file(what), self.file(&format!("{what}.new")));
        let write = || {
            let mut out = File::create(&new)?;
            parts.iter().try_for_each(|part| out.write_all(part))?;
            if what == LIST {
                out.sync_data()?;
            }
            std::fs::rename(&new, &file)
        };
        write().map_err(|err| Failure::from_io(format!("cannot write {}", file.display()), &err))
    }

    /// Which sync came last.
    pub fn session(&self) -> Option<String> {
        std::fs::read_to_string(self.file("session")).ok()
    }

    /// Notes which sync came last.
    pub fn set_session(&self, session: &str) -> Result<(), Failure> {
        if self.session().as_deref() == Some(session) {
            return Ok(());
        }
        self.replace("session", &[session.as_bytes()])
    }

    /// The process that serves a sync, and of which one it is; `None` also where that is on another machine that has the same home, or
    /// was before this one started anew.
    pub fn serving(&self) -> Option<(u32, String)> {
        let text = std::fs::read_to_string(self.file(SERVING)).ok()?;
        let mut words = text.splitn(3, ' ');
        let (process, boot, session) = (words.next()?, words.next()?, words.next()?);
        (boot == boot_id()).then_some(())?;
        Some((process.parse().ok()?, session.to_owned()))
    }

    /// Notes that this process serves `session`. Errors: the disk is full.
    pub fn set_serving(&self, session: &str) -> Result<(), Failure> {
        let text = format!("{} {} {session}", std::process::id(), boot_id());
        self.replace(SERVING, &[text.as_bytes()])
    }

    /// Forgets who served last. Only who holds the lock may.
    pub fn clear_serving(&self) {
        // Where it stays, it names a process that does not hold the lock, and is looked at no more than once.
        let _ = std::fs::remove_file(self.file(SERVING));
    }

    /// When the last transfer to the place had ended; `None` where one was broken off since, or none is known. What was changed later was
    /// changed by others.
    pub fn ended(&self) -> Option<SystemTime> {
        let is_broken_off = self.file(SERVING).exists();
        std::fs::metadata(self.file(DONE)).and_then(|meta| meta.modified()).ok().filter(|_| !is_broken_off)
    }

    /// Notes that a transfer has ended now. Errors: the disk is full.
    pub fn set_ended(&self) -> Result<(), Failure> {
        self.replace(DONE, &[])
    }

    /// Takes the lock of the place, if nobody has it. It is held until what is returned, and what a program that this process becomes
    /// keeps of it, is closed.
    pub fn try_lock(&self) -> Result<Option<File>, Failure> {
        let file = self.file("lock");
        let failed = |err: &std::io::Error| Failure::from_io(format!("cannot lock {}", file.display()), err);
        let lock = File::options().create(true).append(true).open(&file).map_err(|err| failed(&err))?;
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(lock)),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(errno) => Err(failed(&errno.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::names::{Kind, Name};

    #[test]
    fn a_manifest_is_read_as_it_was_written_and_a_damaged_one_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let record = Record::of(Path::new("/a/place"), home.path()).unwrap();
        assert_eq!(record.manifest().unwrap(), Manifest::default());
        let names = |path: &str, kind| Names::sorted(vec![Name { path: path.into(), kind }]);
        let manifest = Manifest {
            digest: "d".to_owned(),
            is_file: false,
            is_made: true,
            sent: names("new\nline", Kind::File),
            kept: names("kept", Kind::Directory),
            others: names("theirs", Kind::Directory),
        };
        record.write(&manifest).unwrap();
        assert_eq!(record.manifest().unwrap(), manifest);
        std::fs::write(record.file(LIST), "half").unwrap();
        assert!(record.manifest().unwrap_err().message.ends_with("is damaged"));
    }

    #[test]
    fn a_place_is_locked_by_one() {
        let home = tempfile::tempdir().unwrap();
        let record = Record::of(Path::new("/a/place"), home.path()).unwrap();
        let lock = record.try_lock().unwrap();
        assert!(lock.is_some() && record.try_lock().unwrap().is_none());
        drop(lock);
        assert!(record.try_lock().unwrap().is_some());
    }
}

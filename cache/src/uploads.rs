//! The journal of multipart uploads: which are open in a bucket, so that who comes after a killed process can abort them.
//!
//! Owns: [`UploadNote`], the records below `uploads/` of the state directory, and [`NotedUpload`], by which one is kept up to date. It knows
//! nothing of what an upload is: a store's identity, a key, and the store's own name for it.
//!
//! Invariants:
//! - A note is on disk before the request that begins its upload is sent, first without the upload's name: between the answer and the
//!   record the process may be killed. It goes when the upload was completed or aborted, or surely was not begun.
//! - A note that nobody in this process keeps any more is in [`UploadJournal::left`], until somebody takes it.
//! - All writing is the journal worker's, in order; a disk that hangs is waited for no longer than that waits.
//!
//! Notes survive the end of the process, which leaves written pages to the kernel, and not a power failure: a sync each would cost
//! more than the parts that a bucket's lifecycle rule removes after one.

use crate::cache::Shared;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

/// The directory of the notes.
pub(crate) const UPLOADS: &str = "uploads";

/// What is known of an upload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadNote {
    /// Identity of endpoint and bucket.
    pub store: String,
    /// The key of the object that it was to become.
    pub key: String,
    /// The store's name for it; `None` where its beginning was asked for, and no answer is recorded.
    pub id: Option<String>,
    /// When its beginning was asked for, by this node's clock.
    pub asked: SystemTime,
}

/// A note that nobody keeps any more: of an earlier process, or of this one where the upload could not be ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftUpload {
    /// What is known of it.
    pub note: UploadNote,
    file: PathBuf,
}

/// All notes of a process.
pub(crate) struct UploadJournal {
    root: PathBuf,
    /// Guards the notes that nobody keeps; a leaf.
    left: Mutex<Vec<LeftUpload>>,
}

impl UploadJournal {
    /// Finds what earlier processes left in `root`, which is there. Errors: the local disk's.
    pub fn open(root: PathBuf) -> io::Result<Self> {
        let left = Mutex::new(read(&root)?);
        Ok(Self { root, left })
    }

    /// Notes of `store` that nobody keeps any more. Who takes them gives back those that it could not end.
    pub fn take_left(&self, store: &str) -> Vec<LeftUpload> {
        let mut left = self.left.lock();
        let (taken, others) = left.drain(..).partition(|upload| upload.note.store == store);
        *left = others;
        taken
    }

    /// Notes of `key` in `store` that nobody keeps any more; they stay.
    pub fn of(&self, store: &str, key: &str) -> Vec<UploadNote> {
        let left = self.left.lock();
        left.iter()
            .map(|left| &left.note)
            .filter(|note| note.store == store && note.key == key)
            .cloned()
            .collect()
    }

    /// Takes one back.
    pub fn leave(&self, upload: LeftUpload) {
        self.left.lock().push(upload);
    }
}

/// The notes in `root`; what cannot be read is told of, and stays. Errors: the local disk's.
pub(crate) fn read(root: &Path) -> io::Result<Vec<LeftUpload>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(root)? {
        let file = entry?.path();
        if file.extension().is_none_or(|extension| extension != "json") {
            // Written half, and never told to anybody.
            let _ = std::fs::remove_file(&file);
            continue;
        }
        match std::fs::read(&file).and_then(|text| Ok(serde_json::from_slice(&text)?)) {
            Ok(note) => found.push(LeftUpload { note, file }),
            Err(error) => {
                tracing::warn!(file = %file.display(), %error, "a note of an upload cannot be read")
            }
        }
    }
    Ok(found)
}

impl LeftUpload {
    /// The upload is ended: the note goes. A disk that does not let it go keeps it for the next process, which finds the upload gone.
    pub fn forget(&self) {
        let _ = std::fs::remove_file(&self.file);
    }
}

/// The note of an upload of this process. Dropped before it has [ended](Self::ended), it is left for others to end.
pub struct NotedUpload {
    note: Mutex<UploadNote>,
    file: PathBuf,
    has_ended: AtomicBool,
    shared: Arc<Shared>,
}

impl NotedUpload {
    /// Notes that an upload is about to begin.
    pub(crate) async fn begin(shared: &Arc<Shared>, store: &str, key: &str) -> Self {
        let note = UploadNote { store: store.into(), key: key.into(), id: None, asked: SystemTime::now() };
        let file = shared.uploads.root.join(format!("{:032x}.json", rand::random::<u128>()));
        let noted =
            Self { note: Mutex::new(note), file, has_ended: AtomicBool::new(false), shared: shared.clone() };
        noted.write().await;
        noted
    }

    /// It has begun, by this name. The note says so when this returns, but for a disk that hangs.
    pub async fn begun(&self, id: &str) {
        self.note.lock().id = Some(id.to_owned());
        self.write().await;
    }

    /// It was completed or aborted, or surely was not begun.
    pub fn ended(&self) {
        if !self.has_ended.swap(true, Ordering::Relaxed) {
            let file = self.file.clone();
            self.shared.journal.push_removal(move || _ = std::fs::remove_file(file));
        }
    }

    async fn write(&self) {
        let (note, file) = (self.note.lock().clone(), self.file.clone());
        let job = move || {
            if let Err(error) = write(&file, &note) {
                tracing::debug!(file = %file.display(), %error, "an upload is not noted");
            }
        };
        self.shared.journal.carry_out(job).await;
    }
}

fn write(file: &Path, note: &UploadNote) -> io::Result<()> {
    let new = file.with_extension("new");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.open(&new)?.write_all(&serde_json::to_vec(note)?)?;
    std::fs::rename(&new, file)
}

impl Drop for NotedUpload {
    fn drop(&mut self) {
        if !*self.has_ended.get_mut() {
            let note = self.note.get_mut().clone();
            self.shared.uploads.leave(LeftUpload { note, file: std::mem::take(&mut self.file) });
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::cache_in;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_note_stays_until_its_upload_has_ended() {
        let dir = tempfile::tempdir().unwrap();
        let cache = cache_in(dir.path());
        let names = |left: &[super::LeftUpload]| {
            let mut names: Vec<_> =
                left.iter().map(|left| (left.note.key.clone(), left.note.id.clone())).collect();
            names.sort();
            names
        };
        let ended = cache.note_upload("store", "ended").await;
        ended.begun("1").await;
        ended.ended();
        drop(ended);
        let asked = cache.note_upload("store", "asked").await;
        let begun = cache.note_upload("store", "begun").await;
        begun.begun("2").await;
        let other = cache.note_upload("other", "begun").await;
        let expected = [("asked".to_owned(), None), ("begun".to_owned(), Some("2".to_owned()))];
        assert!(cache.take_left_uploads("store").is_empty(), "somebody keeps them");
        drop((asked, begun, other));
        let left = cache.take_left_uploads("store");
        assert_eq!(names(&left), expected);
        assert!(cache.take_left_uploads("store").is_empty(), "they are taken once");
        // As after a kill.
        cache.drain().await;
        drop(cache);
        let cache = cache_in(dir.path());
        let left = cache.take_left_uploads("store");
        assert_eq!(names(&left), expected);
        left[0].forget();
        cache.leave_upload(left[1].clone());
        assert_eq!(cache.take_left_uploads("store"), left[1..]);
    }
}

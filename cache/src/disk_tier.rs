//! The directory of clean replicas.
//!
//! Owns: [`DiskTier`]: names and layout of the files, finding, making and removing them. Data files are
//! `replicas/X/YY/<32 hex digits>`; what has its state beside it has it in the same name with `.map`.
//!
//! Invariants: nothing is trusted that does not name its replica; nothing is synced; directories are 0700 and files 0600; of one name's
//! files one thread at a time makes, moves or removes any.

use crate::disk::DiskFile;
use crate::identity::{Digest, Name};
use crate::state::{self, StateStore};
use crate::usage::{Usage, leaf_path};
use parking_lot::{Mutex, MutexGuard};
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

/// Clean replicas on disk.
pub(crate) struct DiskTier {
    pub root: PathBuf,
    pub limit_bytes: u64,
    /// Whether the file system keeps extended attributes.
    attributes: bool,
    pub usage: Arc<Usage>,
    /// Each guards the files of the names that fall to it; the first of the cache's locks.
    names: [Mutex<()>; NAME_LOCK_COUNT],
}

/// Names share locks: one waits for another's now and then.
const NAME_LOCK_COUNT: usize = 64;

/// The right to make, move and remove the files of one name.
pub(crate) struct Alone<'a> {
    _guard: MutexGuard<'a, ()>,
}

/// Makes a directory and its parents, for this user alone.
pub(crate) fn make_dir(path: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// The directory that a replica's files are in.
pub(crate) fn leaf_of(name: Name) -> u32 {
    (name >> 116) as u32
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600).custom_flags(libc::O_NOFOLLOW);
    options
}

impl DiskTier {
    /// `root` exists. `attributes` says whether its file system keeps extended attributes.
    pub fn new(root: PathBuf, limit_bytes: u64, attributes: bool, usage: Arc<Usage>) -> Self {
        Self { root, limit_bytes, attributes, usage, names: [const { Mutex::new(()) }; NAME_LOCK_COUNT] }
    }

    /// Waits until nobody else makes, moves or removes files of this name. Whose they are is asked after that: it changes meanwhile.
    pub fn alone(&self, name: Name) -> Alone<'_> {
        Alone { _guard: self.names[(name % NAME_LOCK_COUNT as Name) as usize].lock() }
    }

    fn data_path(&self, name: Name) -> PathBuf {
        leaf_path(&self.root, leaf_of(name)).join(format!("{name:032x}"))
    }

    fn side_path(&self, name: Name) -> PathBuf {
        self.data_path(name).with_extension("map")
    }

    fn is_beside(&self, size: u64) -> bool {
        !(self.attributes && state::fits_attribute(size))
    }

    /// What an earlier reader or process left of a replica. Nothing is written: who looks must not wait for that.
    pub fn lookup(&self, digest: Digest, size: u64) -> Option<DiskFile> {
        let data = options().open(self.data_path(digest.name)).ok()?;
        let store = if self.is_beside(size) {
            StateStore::Beside(options().open(self.side_path(digest.name)).ok()?)
        } else {
            StateStore::Attribute
        };
        DiskFile::load(data, store, digest, size)
    }

    /// Marks a replica as used now. What is gone needs no mark.
    pub fn touch(&self, name: Name) {
        if let Ok(data) = options().open(self.data_path(name)) {
            let _ = data.set_modified(SystemTime::now());
        }
    }

    /// Makes the files of a replica; whatever had its name goes.
    pub fn create(&self, alone: &Alone<'_>, digest: Digest, size: u64) -> io::Result<DiskFile> {
        let path = self.data_path(digest.name);
        let data = match options().create_new(true).open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                make_dir(&leaf_path(&self.root, leaf_of(digest.name)))?;
                options().create_new(true).open(&path)?
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                self.remove(alone, digest.name);
                options().create_new(true).open(&path)?
            }
            opened => opened?,
        };
        DiskFile::create(data, self.create_state(digest.name, size)?, digest, size)
    }

    fn create_state(&self, name: Name, size: u64) -> io::Result<StateStore> {
        if !self.is_beside(size) {
            return Ok(StateStore::Attribute);
        }
        let path = self.side_path(name);
        // Another's descriptor of the old file keeps the old file.
        let _ = std::fs::remove_file(&path);
        Ok(StateStore::Beside(options().create_new(true).open(path)?))
    }

    /// Gives a file that was handed over its place, by renaming it. Errors leave it where it was, or gone.
    pub fn install(
        &self,
        alone: &Alone<'_>,
        from: &Path,
        file: &DiskFile,
        digest: Digest,
        size: u64,
    ) -> io::Result<()> {
        make_dir(&leaf_path(&self.root, leaf_of(digest.name)))?;
        self.remove(alone, digest.name);
        std::fs::rename(from, self.data_path(digest.name))?;
        self.create_state(digest.name, size)
            .and_then(|state| file.settle(state))
            .inspect_err(|_| drop(std::fs::remove_file(self.data_path(digest.name))))?;
        self.usage.add_clean(leaf_of(digest.name), file.allocated_bytes() as i64);
        Ok(())
    }

    /// Removes the files of a replica and frees their disk at once, also where somebody has them open. Gives the bytes freed.
    pub fn remove(&self, _alone: &Alone<'_>, name: Name) -> u64 {
        let mut freed = 0;
        for path in [self.data_path(name), self.side_path(name)] {
            if let Ok(file) = options().open(&path) {
                freed += file.metadata().map_or(0, |metadata| metadata.blocks() * 512);
                let _ = file.set_len(0);
            }
            let _ = std::fs::remove_file(&path);
        }
        self.usage.add_clean(leaf_of(name), -(freed as i64));
        freed
    }
}

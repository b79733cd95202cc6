//! The directory of clean replicas.
//!
//! Owns: [`DiskTier`]: names and layout of the files, finding, making and removing them; and [`NameLock`], under which that is done, and
//! which counts what it changed. Data files are `replicas/X/YY/<32 hex digits>`; what has its state beside it has it in the same name
//! with `.map`.
//!
//! Invariants: nothing is trusted that does not name its replica; nothing is synced; directories are 0700 and files 0600; of one name's
//! files one thread at a time makes, writes, moves, frees or removes any, under the lock of that name.
//!
//! # Why the lock counts
//! Whoever adds and subtracts by itself what a file held before and holds now is wrong as soon as another frees the file in between. Under
//! the lock nobody does, and what counts is what the names of the files lead to, as for the walk that adds all of it up.

use crate::disk::DiskFile;
use crate::identity::{Digest, Name};
use crate::state::{self, StateStore};
use crate::usage::{LEAF_COUNT, Usage, leaf_path};
use parking_lot::{Mutex, MutexGuard};
use std::fs::{Metadata, OpenOptions};
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
    /// Each guards the files of the leaves that fall to it; the first of the cache's locks.
    leaves: [Mutex<()>; LEAF_LOCK_COUNT],
}

/// Leaves, and so names, share locks: one waits for another's now and then.
const LEAF_LOCK_COUNT: usize = 64;

/// The right to make, write, move, free and remove the files of one name. What they hold more or less when it is dropped is counted.
pub(crate) struct NameLock<'a> {
    tier: &'a DiskTier,
    name: Name,
    /// What of them is counted, in bytes of disk.
    counted_bytes: u64,
    _guard: MutexGuard<'a, ()>,
}

impl NameLock<'_> {
    /// Counts what has changed so far. Gives the bytes freed.
    pub fn count(&mut self) -> u64 {
        let held = self.tier.held_bytes(self.name);
        let before = std::mem::replace(&mut self.counted_bytes, held);
        self.tier.usage.add_clean(leaf_of(self.name), held as i64 - before as i64);
        before.saturating_sub(held)
    }
}

impl Drop for NameLock<'_> {
    fn drop(&mut self) {
        self.count();
    }
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
        Self { root, limit_bytes, attributes, usage, leaves: [const { Mutex::new(()) }; LEAF_LOCK_COUNT] }
    }

    /// Waits until nobody else changes files of this name. Whose they are is asked after that: it changes meanwhile.
    pub fn lock_name(&self, name: Name) -> NameLock<'_> {
        let guard = self.lock_leaf(leaf_of(name));
        NameLock { tier: self, name, counted_bytes: self.held_bytes(name), _guard: guard }
    }

    /// Waits until nobody changes files of a leaf.
    fn lock_leaf(&self, leaf: u32) -> MutexGuard<'_, ()> {
        self.leaves[leaf as usize % LEAF_LOCK_COUNT].lock()
    }

    /// Adds up what a leaf holds, for the walk, while nobody changes it. Gives whether there is anything.
    pub fn count_leaf(&self, leaf: u32) -> bool {
        debug_assert!(leaf < LEAF_COUNT);
        let _guard = self.lock_leaf(leaf);
        let files = std::fs::read_dir(leaf_path(&self.root, leaf)).into_iter().flatten().flatten();
        let held =
            files.filter_map(|file| file.metadata().ok()).map(|metadata| bytes_on_disk(&metadata)).sum();
        self.usage.pass_leaf(leaf, held);
        held > 0
    }

    /// Bytes of disk that the files of a name hold.
    fn held_bytes(&self, name: Name) -> u64 {
        let held = |path: PathBuf| path.symlink_metadata().map_or(0, |metadata| bytes_on_disk(&metadata));
        held(self.data_path(name)) + held(self.side_path(name))
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
    pub fn create(&self, lock: &NameLock<'_>, digest: Digest, size: u64) -> io::Result<DiskFile> {
        debug_assert_eq!(lock.name, digest.name);
        let path = self.data_path(digest.name);
        let data = match options().create_new(true).open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                make_dir(&leaf_path(&self.root, leaf_of(digest.name)))?;
                options().create_new(true).open(&path)?
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                self.remove(lock);
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
        lock: &NameLock<'_>,
        from: &Path,
        file: &DiskFile,
        digest: Digest,
        size: u64,
    ) -> io::Result<()> {
        debug_assert_eq!(lock.name, digest.name);
        make_dir(&leaf_path(&self.root, leaf_of(digest.name)))?;
        self.remove(lock);
        std::fs::rename(from, self.data_path(digest.name))?;
        self.create_state(digest.name, size)
            .and_then(|state| file.settle(state))
            .inspect_err(|_| self.remove(lock))
    }

    /// Removes the files of a replica and frees their disk at once, also where somebody has them open.
    pub fn remove(&self, lock: &NameLock<'_>) {
        for path in [self.data_path(lock.name), self.side_path(lock.name)] {
            if let Ok(file) = options().open(&path) {
                let _ = file.set_len(0);
            }
            let _ = std::fs::remove_file(&path);
        }
    }
}

fn bytes_on_disk(metadata: &Metadata) -> u64 {
    metadata.blocks() * 512
}

//! Open files and directories.
//!
//! Owns: [`Handle`], [`HandleTable`] and what is known of the process that opened a file. Invariant: a number is
//! never given out twice while the daemon lives.

use super::inode::Inode;
use super::prefetch::Prefetcher;
use super::readdir::DirCursor;
use parking_lot::RwLock;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// An open file.
pub struct Handle {
    /// What is open.
    pub inode: Arc<Inode>,
    /// Opened for writing.
    pub writable: bool,
    /// Opened for writing, or truncated by the opening: counted among the file's writers, and its close publishes.
    pub changes: bool,
    /// The process (thread group) that opened it, as the daemon sees it; 0 where it cannot.
    pub opener: u32,
    /// Its program has closed it, and nothing was written through it since: what is still to come is the kernel's word that no
    /// descriptor is left, if it has no copies. Changed under the lock of the inode's file.
    pub is_closing: AtomicBool,
    /// What it reads.
    pub prefetcher: Prefetcher,
}

/// An open directory.
pub struct DirHandle {
    /// What is open.
    pub inode: Arc<Inode>,
    /// How far its listing has come. One reader at a time; held while a page is fetched, which the next reader needs too.
    pub cursor: tokio::sync::Mutex<DirCursor>,
}

impl Handle {
    /// Whether its program has closed it, as far as is seen. For handles that change their file.
    pub fn set_closing(&self, is_closing: bool) {
        if self.is_closing.load(Ordering::Relaxed) == is_closing {
            return;
        }
        let Some(file) = self.inode.file() else { return };
        let mut state = file.lock();
        if self.is_closing.swap(is_closing, Ordering::Relaxed) != is_closing {
            state.closing = if is_closing { state.closing + 1 } else { state.closing - 1 };
        }
    }
}

/// What is open in one mount.
#[derive(Default)]
pub struct HandleTable {
    next: AtomicU64,
    /// Guards the map only.
    files: RwLock<HashMap<u64, Arc<Handle>>>,
    /// Guards the map only.
    dirs: RwLock<HashMap<u64, Arc<DirHandle>>>,
}

impl HandleTable {
    /// Takes in an open file; returns its number.
    pub fn add(&self, handle: Handle) -> u64 {
        let number = self.next.fetch_add(1, Ordering::Relaxed) + 1;
        self.files.write().insert(number, Arc::new(handle));
        number
    }

    /// Takes in an open directory; returns its number.
    pub fn add_dir(&self, handle: DirHandle) -> u64 {
        let number = self.next.fetch_add(1, Ordering::Relaxed) + 1;
        self.dirs.write().insert(number, Arc::new(handle));
        number
    }

    /// The open file of a number.
    pub fn get(&self, number: u64) -> Option<Arc<Handle>> {
        self.files.read().get(&number).cloned()
    }

    /// The open directory of a number.
    pub fn get_dir(&self, number: u64) -> Option<Arc<DirHandle>> {
        self.dirs.read().get(&number).cloned()
    }

    /// Takes out an open file.
    pub fn remove(&self, number: u64) -> Option<Arc<Handle>> {
        self.files.write().remove(&number)
    }

    /// Takes out an open directory.
    pub fn remove_dir(&self, number: u64) -> Option<Arc<DirHandle>> {
        self.dirs.write().remove(&number)
    }

    /// How many files are open.
    pub fn open_files(&self) -> u64 {
        self.files.read().len() as u64
    }
}

/// The process that a thread belongs to; the thread's own number where that cannot be told. The kernel names the
/// thread that called, but it is the process that owns descriptors.
pub fn process_of(thread: u32) -> u32 {
    let status = std::fs::read_to_string(format!("/proc/{thread}/status")).unwrap_or_default();
    let tgid = status.lines().find_map(|line| line.strip_prefix("Tgid:"));
    tgid.and_then(|tgid| tgid.trim().parse().ok()).unwrap_or(thread)
}

/// Whether `process` has a descriptor open on the file at `path`; what the path begins with may be left out.
pub fn holds_descriptor(process: u32, path: &str) -> bool {
    let Ok(descriptors) = std::fs::read_dir(format!("/proc/{process}/fd")) else { return false };
    descriptors.flatten().any(|descriptor| {
        std::fs::read_link(descriptor.path()).is_ok_and(|target| target.to_string_lossy().ends_with(path))
    })
}

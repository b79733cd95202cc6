//! Inodes: what the kernel, and open files, refer to by number.
//!
//! Owns: [`Inode`], its place in the tree and its content, and [`InodeTable`].
//!
//! # Why a changed object becomes another inode
//! An object that somebody else replaced is to this file system what a file is that another was renamed over: a new file under
//! the old name. While anybody has the old one open it keeps its inode, its version and its pages in the kernel's cache, so
//! versions are never mixed; the name leads to a new inode. Only an inode that nobody has open is
//! rebound to the new version.
//!
//! Invariants:
//! - The root is inode 1. Other numbers are derived from the path at which the inode was first seen, so that they stay the same
//!   from one mount to the next; a collision takes the next free number.
//! - An inode leaves the table when the kernel forgot it, nobody has it open and nothing of it is unpublished.
//! - Lock order: `InodeTable::introducing`, `Inode::file`, `InodeTable::inner`, `Inode::place`, `Inode::attributes`. None is held
//!   across an await.

mod table;

pub use table::InodeTable;

use super::dirty::DirtyFile;
use super::object_stat::{Carried, ObjectStat};
use pail_cache::Replica;
use pail_store::Version;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Instant, SystemTime};

/// The number of the root directory, by FUSE's convention.
pub const ROOT: u64 = 1;

/// Whether an inode is a file or a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file: one object.
    File,
    /// A directory.
    Dir,
}

/// Where an inode is in the tree.
#[derive(Clone)]
pub struct Place {
    /// The directory; `None` for the root.
    pub parent: Option<Arc<Inode>>,
    /// The name there.
    pub name: Arc<str>,
    /// Whether the name was removed while the inode lives on.
    pub unlinked: bool,
    /// Whether the name leads to another inode now, because somebody else replaced the object.
    pub superseded: bool,
}

/// What a file's bytes are at the moment.
#[derive(Clone)]
pub enum Content {
    /// One version of the object, as the bucket has it.
    Clean {
        /// Its size and version.
        stat: ObjectStat,
        /// Its local replica, once somebody opened it.
        replica: Option<Arc<Replica>>,
    },
    /// Something that was written here and may not be in the bucket yet.
    Dirty(Arc<DirtyFile>),
}

/// Attributes that were set here and stand in for the defaults.
#[derive(Debug, Clone, Default)]
pub struct SetAttributes {
    /// Permission bits.
    pub mode: Option<u16>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Modification time.
    pub mtime: Option<SystemTime>,
}

/// What the kernel may remember of a file's earlier version, after the inode was rebound to another. ARCHITECTURE.md, "Names", has the table of
/// who sets and clears it.
#[derive(Debug, Clone, Copy, Default)]
pub struct KernelCopy {
    /// Pages: an open that does not keep the kernel's cache drops them.
    pub has_stale_pages: bool,
    /// The length: it learns another only by an answer that carries attributes, which that of an open does not.
    pub has_stale_length: bool,
}

/// The changing part of a file.
pub struct FileState {
    /// The bytes.
    pub content: Content,
    /// When the content was last known to be what the bucket has.
    pub as_of: Instant,
    /// Open handles.
    pub opens: u32,
    /// Open handles that may write, or truncated it.
    pub writers: u32,
    /// How many of these their programs have closed already.
    pub closing: u32,
    /// What the kernel may hold of an earlier content.
    pub kernel: KernelCopy,
    /// Its object is about to be deleted or replaced by this mount: who opens it now waits for `Inode::changing`.
    pub going: bool,
    /// How far a clean file's version is to be believed.
    pub belief: Belief,
}

/// How far the version of a clean file is to be believed, where listings tell none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Belief {
    /// The store told it, and nothing since says otherwise.
    #[default]
    Told,
    /// A listing has since told of a file that may be this version: who opens it asks.
    Unconfirmed,
    /// Who asked was told of another.
    Outdated,
}

impl FileState {
    fn new(content: Content, as_of: Instant) -> Self {
        Self {
            content,
            as_of,
            opens: 0,
            writers: 0,
            closing: 0,
            kernel: KernelCopy::default(),
            going: false,
            belief: Belief::Told,
        }
    }

    /// The store says which version a clean file has whose listing did not: `now`. Nobody has read a byte of it but who has it open alone. False
    /// where others have, and it is another one as far as can be told.
    pub fn learn_version(&mut self, now: &ObjectStat, as_of: Instant) -> bool {
        let (opens, kernel) = (self.opens, &mut self.kernel);
        match &mut self.content {
            Content::Clean { stat, replica } if stat.version.is_unknown() => {
                if opens > 1 && replica.is_some() {
                    return stat.is_same(now);
                }
                kernel.has_stale_length |= stat.size != now.size;
                kernel.has_stale_pages |= !stat.looks_same(now) || replica.is_some();
                (*stat, *replica) = (now.clone(), None);
                (self.as_of, self.belief) = (as_of, Belief::Told);
                true
            }
            _ => true,
        }
    }

    /// A request told that `version` of a clean file, whose name is `name`, still stands, and what it carries.
    pub fn confirm(&mut self, version: &Version, carried: &Carried, name: &str) {
        if let Content::Clean { stat, .. } = &mut self.content
            && stat.version.is(version)
        {
            self.belief = Belief::Told;
            stat.carried.learn(carried, name);
        }
    }

    /// A request told that `version` of a clean file stands no longer.
    pub fn outdate(&mut self, version: &Version) {
        if matches!(&self.content, Content::Clean { stat, .. } if stat.version.is(version)) {
            self.belief = Belief::Outdated;
        }
    }

    /// Whether this inode may stand for `stat`; it is rebound to that where nobody has it open (see the header), and what was `set` of
    /// it is then forgotten.
    fn rebind(&mut self, stat: &ObjectStat, as_of: Instant, set: &Mutex<SetAttributes>) -> bool {
        match &mut self.content {
            Content::Dirty(_) => true,
            Content::Clean { stat: old, .. } if old.is_same(stat) => {
                old.learn(stat);
                self.as_of = self.as_of.max(as_of);
                if !stat.version.is_unknown() {
                    self.belief = Belief::Told;
                }
                true
            }
            // A listing without versions: the one that was known may well be it.
            Content::Clean { stat: old, .. }
                if self.as_of <= as_of
                    && stat.version.is_unknown()
                    && self.belief != Belief::Outdated
                    && old.looks_same(stat) =>
            {
                old.learn(stat);
                (self.as_of, self.belief) = (as_of, Belief::Unconfirmed);
                true
            }
            Content::Clean { .. } if self.as_of > as_of => true,
            Content::Clean { stat: old, replica } if self.opens == 0 => {
                (*old, *replica) = (stat.clone(), None);
                (self.as_of, self.belief) = (as_of, Belief::Told);
                self.kernel = KernelCopy { has_stale_pages: true, has_stale_length: true };
                *set.lock() = SetAttributes::default();
                true
            }
            Content::Clean { .. } => false,
        }
    }
}

/// A file or a directory.
pub struct Inode {
    /// The number.
    pub ino: u64,
    /// File or directory.
    pub kind: Kind,
    /// Guards where it is. After `InodeTable::inner`; one inode's at a time.
    place: Mutex<Place>,
    /// Guards the file's state; `None` for directories. After `InodeTable::introducing`, before all others.
    file: Option<Mutex<FileState>>,
    /// What was set here, for as long as the inode lives. Guards one value; a leaf.
    pub attributes: Mutex<SetAttributes>,
    /// How many references the kernel holds.
    lookups: AtomicU64,
    /// One publish, rename or removal of the file at a time. Async, and held across their requests; before all other locks.
    /// Whoever needs those of two files takes the one of the smaller number first.
    pub changing: tokio::sync::Mutex<()>,
}

impl Inode {
    /// What is known of the version in the bucket that has this file's name.
    pub fn remote_stat(&self) -> Option<ObjectStat> {
        match &self.file()?.lock().content {
            Content::Clean { stat, .. } => Some(stat.clone()),
            Content::Dirty(dirty) => dirty.remote_stat(),
        }
    }

    /// The file's state; `None` for a directory.
    pub fn file(&self) -> Option<&Mutex<FileState>> {
        self.file.as_ref()
    }

    /// Where it is.
    pub fn place(&self) -> Place {
        self.place.lock().clone()
    }

    /// Whether its name was removed.
    pub fn is_unlinked(&self) -> bool {
        self.place.lock().unlinked
    }

    /// Whether its name leads to what somebody else put there.
    pub fn is_superseded(&self) -> bool {
        self.place.lock().superseded
    }

    /// The path below the mount point, without a leading slash; empty for the root.
    pub fn path(&self) -> String {
        let mut names = Vec::new();
        let mut place = self.place();
        while let Some(parent) = place.parent.take() {
            names.push(place.name);
            place = parent.place();
        }
        names.reverse();
        names.join("/")
    }
}

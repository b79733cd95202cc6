//! What stat(2) is told.

use std::time::{Duration, SystemTime};

use super::BucketFs;
use super::inode::{Content, Inode, Kind};

/// Attributes of an inode, independent of any protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attr {
    /// Inode number.
    pub ino: u64,
    /// File or directory.
    pub kind: Kind,
    /// Length in bytes; 0 for directories.
    pub size: u64,
    /// Last modification.
    pub mtime: SystemTime,
    /// Permission bits.
    pub mode: u16,
    /// Names it has: 0 once it was unlinked. Always 1 for directories, which tells programs to conclude nothing from it.
    pub links: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// How long the kernel may believe this.
    pub ttl: Duration,
}

/// A name and what it stands for, as lookup and create answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The inode's attributes.
    pub attr: Attr,
    /// How long the kernel may believe that the name stands for it.
    pub ttl: Duration,
}

impl BucketFs {
    /// The attributes of an inode as they are known here, for an answer to the kernel.
    pub(super) fn attr(&self, inode: &Inode) -> Attr {
        let options = &self.options;
        let mut attr = Attr {
            ino: inode.ino,
            kind: inode.kind,
            size: 0,
            mtime: self.mounted_at,
            mode: options.dir_mode,
            links: u32::from(!inode.is_unlinked()),
            uid: options.uid,
            gid: options.gid,
            ttl: options.metadata_ttl,
        };
        if let Some(file) = inode.file() {
            let mut state = file.lock();
            state.kernel.has_stale_length = false;
            (attr.size, attr.mtime) = match &state.content {
                Content::Clean { facts, .. } => (facts.size, facts.mtime),
                Content::Dirty(dirty) => (dirty.len(), dirty.mtime()),
            };
            attr.mode = options.file_mode;
        }
        let set = inode.attributes.lock();
        attr.mode = set.mode.unwrap_or(attr.mode);
        attr.uid = set.uid.unwrap_or(attr.uid);
        attr.gid = set.gid.unwrap_or(attr.gid);
        attr.mtime = set.mtime.unwrap_or(attr.mtime);
        attr
    }
}

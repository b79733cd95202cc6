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

/// What a new file or directory is made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Creator {
    /// The permission bits that the program asked for, less its umask. They hold where the mount was not given others.
    pub mode: u16,
    /// User and group who own it; `None` for those that the mount shows.
    pub owner: Option<(u32, u32)>,
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
    /// A new inode is its creator's; without one it is shown as the mount's.
    pub(super) fn set_creator(&self, inode: &Inode, creator: Option<Creator>) {
        let given = match inode.kind {
            Kind::File => self.options.new_file_mode,
            Kind::Dir => self.options.new_dir_mode,
        };
        let owner = creator.and_then(|creator| creator.owner);
        let mut set = inode.attributes.lock();
        set.mode = given.or(creator.map(|creator| creator.mode));
        (set.uid, set.gid) = (owner.map(|(uid, _)| uid), owner.map(|(_, gid)| gid));
    }

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
                Content::Clean { stat, .. } => (stat.size, stat.mtime),
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

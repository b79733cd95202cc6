//! How answers are encoded for the kernel.

use crate::fs::{Attr, BucketFs, DirEntry, Entry, Kind};
use fuser::{
    Errno, FileAttr, FileType, FopenFlags, Generation, INodeNo, ReplyDirectory, ReplyDirectoryPlus,
    ReplyEmpty, ReplyEntry,
};
use std::time::{Duration, SystemTime};

pub(super) fn file_attr(attr: &Attr) -> FileAttr {
    FileAttr {
        ino: INodeNo(attr.ino),
        size: attr.size,
        blocks: attr.size.div_ceil(512),
        atime: attr.mtime,
        mtime: attr.mtime,
        ctime: attr.mtime,
        crtime: attr.mtime,
        kind: file_type(attr.kind),
        perm: attr.mode,
        nlink: attr.links,
        uid: attr.uid,
        gid: attr.gid,
        rdev: 0,
        blksize: 128 * 1024,
        flags: 0,
    }
}

fn file_type(kind: Kind) -> FileType {
    match kind {
        Kind::File => FileType::RegularFile,
        Kind::Dir => FileType::Directory,
    }
}

pub(super) fn fopen_flags(keep_cache: bool) -> FopenFlags {
    if keep_cache { FopenFlags::FOPEN_KEEP_CACHE } else { FopenFlags::empty() }
}

pub(super) fn reply_entry(reply: ReplyEntry, entry: Result<Entry, Errno>) {
    match entry {
        Ok(entry) => reply.entry(&entry.ttl, &file_attr(&entry.attr), Generation(0)),
        Err(errno) => reply.error(errno),
    }
}

pub(super) fn reply_empty(reply: ReplyEmpty, done: Result<(), Errno>) {
    match done {
        Ok(()) => reply.ok(),
        Err(errno) => reply.error(errno),
    }
}

/// A lookup's "no": inode 0 lets the kernel remember it for `ttl`.
pub(super) fn reply_absent(reply: ReplyEntry, ttl: Duration) {
    if ttl.is_zero() {
        return reply.error(Errno::ENOENT);
    }
    reply.entry(&ttl, &file_attr(&bare(0, Kind::File, ttl)), Generation(0));
}

/// Attributes of which only these matter.
fn bare(ino: u64, kind: Kind, ttl: Duration) -> Attr {
    Attr { ino, kind, size: 0, mtime: SystemTime::UNIX_EPOCH, mode: 0, links: 1, uid: 0, gid: 0, ttl }
}

/// Adds one entry; says whether it did not fit any more.
pub(super) fn add_plain(fs: &BucketFs, handle: u64, reply: &mut ReplyDirectory, entry: &DirEntry) -> bool {
    let kind = if entry.is_dir { Kind::Dir } else { Kind::File };
    let number = INodeNo(fs.entry_number(handle, entry));
    reply.add(number, entry.next_offset, file_type(kind), &*entry.name)
}

/// Adds one entry with its attributes; says whether it did not fit any more.
pub(super) fn add_plus(fs: &BucketFs, handle: u64, reply: &mut ReplyDirectoryPlus, entry: &DirEntry) -> bool {
    let is_dot = matches!(&*entry.name, "." | "..");
    let (ttl, attr) = if is_dot {
        (Duration::ZERO, bare(fs.entry_number(handle, entry), Kind::Dir, Duration::ZERO))
    } else {
        // Gone since the listing: the name is left out.
        let Some(found) = fs.introduce_entry(handle, entry) else { return false };
        (found.ttl, found.attr)
    };
    let full =
        reply.add(INodeNo(attr.ino), entry.next_offset, &*entry.name, &ttl, &file_attr(&attr), Generation(0));
    if full && !is_dot {
        fs.forget_untold(attr.ino);
    }
    full
}

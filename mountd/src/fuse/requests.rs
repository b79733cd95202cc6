//! FUSE requests, one method each: decode, call, reply.

use super::adapter::{Adapter, GivenUp};
use super::arguments::{creator, modification_time, open_flags, rename_mode, stale_name};
use super::replies::{add_plain, add_plus, file_attr, fopen_flags, reply_absent, reply_empty, reply_entry};
use crate::fs::{BucketFs, DirEntry, FsError, Opened, Posix, SetAttr, Stale};
use fuser::{
    BsdFileFlags, Errno, FileHandle, FopenFlags, Generation, INodeNo, InitFlags, KernelConfig, LockOwner,
    RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty,
    ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, ReplyXattr, Request, TimeOrNow, WriteFlags,
};
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::time::SystemTime;

/// The largest write that the kernel may send, in bytes.
const WRITE_BYTES_MAX: u32 = 1 << 20;
/// Requests that the kernel may have under way without a program waiting for them (read-ahead).
const BACKGROUND_REQUESTS_MAX: u16 = 256;

impl Adapter {
    /// Answers with some of a directory's entries from `offset` on.
    fn answer_listing<C>(
        &self,
        (request, ino): (&Request, INodeNo),
        handle: FileHandle,
        offset: u64,
        reply: C,
    ) where
        C: FnOnce(&BucketFs, Result<Vec<DirEntry>, Errno>) + Send + 'static,
    {
        let (fs, caller) = (self.fs.clone(), self.fs.clone());
        let call = async move { caller.readdir(handle.0, offset).await };
        self.answer_until_given_up("readdir", (request, ino), GivenUp::Dropped, call, move |done| {
            reply(&fs, done)
        });
    }
}

impl fuser::Filesystem for Adapter {
    fn init(&mut self, _request: &Request, config: &mut KernelConfig) -> std::io::Result<()> {
        for wanted in [
            InitFlags::FUSE_PARALLEL_DIROPS,
            InitFlags::FUSE_DO_READDIRPLUS,
            InitFlags::FUSE_READDIRPLUS_AUTO,
            InitFlags::FUSE_ATOMIC_O_TRUNC,
            InitFlags::FUSE_ASYNC_DIO,
            // The inode a name leads to changes with the object's version, so pages are never dropped behind our back.
            InitFlags::FUSE_EXPLICIT_INVAL_DATA,
        ] {
            if let Err(missing) = config.add_capabilities(wanted) {
                tracing::debug!(?missing, "this kernel does not offer a capability");
            }
        }
        let limits = [
            config.set_max_write(WRITE_BYTES_MAX).map(drop).err(),
            config.set_max_background(BACKGROUND_REQUESTS_MAX).map(|_| ()).err().map(u32::from),
        ];
        debug_assert_eq!(limits, [None, None]);
        Ok(())
    }

    fn lookup(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let (fs, owned) = (self.fs.clone(), name.to_owned());
        let call = async move { fs.lookup(parent.0, &owned).await };
        self.answer_until_given_up(
            "lookup",
            (request, (parent, name)),
            GivenUp::Dropped,
            call,
            move |done| match done {
                Ok(Ok(entry)) => reply_entry(reply, Ok(entry)),
                Ok(Err(ttl)) => reply_absent(reply, ttl),
                Err(errno) => reply.error(errno),
            },
        );
    }

    fn forget(&self, _request: &Request, ino: INodeNo, count: u64) {
        self.fs.forget(ino.0, count);
    }

    fn getattr(&self, request: &Request, ino: INodeNo, _handle: Option<FileHandle>, reply: ReplyAttr) {
        let fs = self.fs.clone();
        let call = async move { fs.getattr(ino.0).await };
        self.answer_until_given_up(
            "getattr",
            (request, ino),
            GivenUp::Dropped,
            call,
            move |done| match done {
                Ok(attr) => reply.attr(&attr.ttl, &file_attr(&attr)),
                Err(errno) => reply.error(errno),
            },
        );
    }

    fn setattr(
        &self,
        request: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        _atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        handle: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let fs = self.fs.clone();
        let mode = mode.map(|mode| (mode & 0o7777) as u16);
        let change =
            SetAttr { size, mode, uid, gid, mtime: modification_time(mtime), is_open: handle.is_some() };
        let call = async move { fs.setattr(ino.0, change).await };
        self.answer_until_given_up(
            "setattr",
            (request, ino),
            GivenUp::GoesOn(vec![Stale::Attributes(ino.0)]),
            call,
            move |done| match done {
                Ok(attr) => reply.attr(&attr.ttl, &file_attr(&attr)),
                Err(errno) => reply.error(errno),
            },
        );
    }

    fn mknod(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        _rdev: u32,
        reply: ReplyEntry,
    ) {
        if mode & libc::S_IFMT != libc::S_IFREG && mode & libc::S_IFMT != 0 {
            return reply.error(Errno::EPERM);
        }
        let (fs, owned) = (self.fs.clone(), name.to_owned());
        let creator = creator(request, mode, umask);
        let call = async move { fs.mknod(parent.0, &owned, Some(creator)).await };
        self.try_answer("mknod", (parent, name), call, move |done| reply_entry(reply, done));
    }

    fn mkdir(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        reply: ReplyEntry,
    ) {
        let (fs, owned) = (self.fs.clone(), name.to_owned());
        let creator = creator(request, mode, umask);
        let call = async move { fs.mkdir(parent.0, &owned, Some(creator)).await };
        self.try_answer("mkdir", (parent, name), call, move |done| reply_entry(reply, done));
    }

    fn unlink(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let stale = stale_name(parent, name).into_iter().collect();
        let (fs, owned) = (self.fs.clone(), name.to_owned());
        let call = async move { fs.unlink(parent.0, &owned).await };
        self.answer_until_given_up(
            "unlink",
            (request, (parent, name)),
            GivenUp::GoesOn(stale),
            call,
            move |done| reply_empty(reply, done),
        );
    }

    fn rmdir(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let stale = stale_name(parent, name).into_iter().collect();
        let (fs, owned) = (self.fs.clone(), name.to_owned());
        let call = async move { fs.rmdir(parent.0, &owned).await };
        self.answer_until_given_up(
            "rmdir",
            (request, (parent, name)),
            GivenUp::GoesOn(stale),
            call,
            move |done| reply_empty(reply, done),
        );
    }

    fn symlink(
        &self,
        _request: &Request,
        _parent: INodeNo,
        _name: &OsStr,
        _target: &Path,
        reply: ReplyEntry,
    ) {
        reply.error(Errno::EPERM);
    }

    fn rename(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let Some(mode) = rename_mode(flags) else { return reply.error(Errno::EINVAL) };
        let fs = self.fs.clone();
        let (from, to): (OsString, OsString) = (name.to_owned(), new_name.to_owned());
        let stale = stale_name(parent, &from).into_iter().chain(stale_name(new_parent, &to)).collect();
        let call = async move { fs.rename((parent.0, &from), (new_parent.0, &to), mode).await };
        self.answer_until_given_up(
            "rename",
            (request, (parent, name)),
            GivenUp::GoesOn(stale),
            call,
            move |done| reply_empty(reply, done),
        );
    }

    fn open(&self, request: &Request, ino: INodeNo, flags: fuser::OpenFlags, reply: ReplyOpen) {
        let (fs, flags, thread) = (self.fs.clone(), open_flags(flags.0), request.pid());
        let truncates = flags.truncate;
        let call = async move { fs.open(ino.0, flags, thread).await };
        let reply = move |done: Result<Opened, Errno>| match done {
            Ok(opened) => reply.opened(FileHandle(opened.handle), fopen_flags(opened.keep_cache)),
            Err(errno) => reply.error(errno),
        };
        match truncates {
            true => self.try_answer("open", ino, call, reply),
            false => self.answer_until_given_up("open", (request, ino), GivenUp::Dropped, call, reply),
        }
    }

    fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        let (fs, owned, thread) = (self.fs.clone(), name.to_owned(), request.pid());
        let creator = Some(creator(request, mode, umask));
        let call = async move { fs.create(parent.0, &owned, creator, open_flags(flags), thread).await };
        self.try_answer("create", (parent, name), call, move |done| match done {
            Ok((entry, opened)) => reply.created(
                &entry.ttl,
                &file_attr(&entry.attr),
                Generation(0),
                FileHandle(opened.handle),
                fopen_flags(opened.keep_cache),
            ),
            Err(errno) => reply.error(errno),
        });
    }

    fn read(
        &self,
        _request: &Request,
        ino: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _flags: fuser::OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let fs = self.fs.clone();
        let call = async move { fs.read(handle.0, offset, size).await };
        self.try_answer("read", ino, call, move |done| match done {
            Ok(bytes) => reply.data(&bytes),
            Err(errno) => reply.error(errno),
        });
    }

    fn write(
        &self,
        _request: &Request,
        ino: INodeNo,
        handle: FileHandle,
        offset: u64,
        data: &[u8],
        _write_flags: WriteFlags,
        _flags: fuser::OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let written = data.len() as u32;
        let finish = move |done: Result<(), Errno>| match done {
            Ok(()) => reply.written(written),
            Err(errno) => reply.error(errno),
        };
        if let Some(done) = self.fs.try_write(handle.0, offset, data) {
            return self.try_answer("write", ino, std::future::ready(done), finish);
        }
        // A publish holds writers off: the request's buffer is needed for the next one.
        let (fs, data) = (self.fs.clone(), data.to_vec());
        let call = async move { fs.write(handle.0, offset, &data).await };
        self.try_answer("write", ino, call, finish);
    }

    fn flush(
        &self,
        request: &Request,
        ino: INodeNo,
        handle: FileHandle,
        _owner: LockOwner,
        reply: ReplyEmpty,
    ) {
        let (fs, thread) = (self.fs.clone(), request.pid());
        let call = async move { fs.flush_handle(handle.0, thread).await };
        self.answer_until_given_up(
            "close",
            (request, ino),
            GivenUp::GoesOn(vec![Stale::Attributes(ino.0)]),
            call,
            move |done| reply_empty(reply, done),
        );
    }

    fn fsync(
        &self,
        request: &Request,
        ino: INodeNo,
        handle: FileHandle,
        _data_only: bool,
        reply: ReplyEmpty,
    ) {
        let fs = self.fs.clone();
        let call = async move { fs.fsync(handle.0).await };
        self.answer_until_given_up(
            "fsync",
            (request, ino),
            GivenUp::GoesOn(vec![Stale::Attributes(ino.0)]),
            call,
            move |done| reply_empty(reply, done),
        );
    }

    fn release(
        &self,
        _request: &Request,
        _ino: INodeNo,
        handle: FileHandle,
        _flags: fuser::OpenFlags,
        _lock_owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        let fs = self.fs.clone();
        self.answer(async move { fs.release(handle.0).await }, move |(), _| reply.ok());
    }

    fn opendir(&self, _request: &Request, ino: INodeNo, _flags: fuser::OpenFlags, reply: ReplyOpen) {
        let done = std::future::ready(self.fs.opendir(ino.0));
        self.try_answer("opendir", ino, done, move |done| match done {
            Ok(handle) => reply.opened(FileHandle(handle), FopenFlags::empty()),
            Err(errno) => reply.error(errno),
        });
    }

    fn readdir(
        &self,
        request: &Request,
        ino: INodeNo,
        handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        self.answer_listing((request, ino), handle, offset, move |fs, done| match done {
            Ok(entries) => {
                // Until one does not fit.
                entries.iter().any(|entry| add_plain(fs, handle.0, &mut reply, entry));
                reply.ok();
            }
            Err(errno) => reply.error(errno),
        });
    }

    fn readdirplus(
        &self,
        request: &Request,
        ino: INodeNo,
        handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        self.answer_listing((request, ino), handle, offset, move |fs, done| match done {
            Ok(entries) => {
                entries.iter().any(|entry| add_plus(fs, handle.0, &mut reply, entry));
                reply.ok();
            }
            Err(errno) => reply.error(errno),
        });
    }

    fn releasedir(
        &self,
        _request: &Request,
        _ino: INodeNo,
        handle: FileHandle,
        _flags: fuser::OpenFlags,
        reply: ReplyEmpty,
    ) {
        self.fs.releasedir(handle.0);
        reply.ok();
    }

    fn fsyncdir(
        &self,
        _request: &Request,
        _ino: INodeNo,
        _handle: FileHandle,
        _data_only: bool,
        reply: ReplyEmpty,
    ) {
        // Names are in the bucket when the call that made them returned.
        reply.ok();
    }

    fn statfs(&self, _request: &Request, _ino: INodeNo, reply: ReplyStatfs) {
        // A bucket has no size: an exbibyte, all of it free.
        let blocks = 1 << 42;
        reply.statfs(blocks, blocks, blocks, 1 << 40, 1 << 40, 256 * 1024, 255, 256 * 1024);
    }

    fn fallocate(
        &self,
        _request: &Request,
        ino: INodeNo,
        handle: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let fs = self.fs.clone();
        let call = async move {
            match mode {
                0 => fs.allocate(handle.0, offset.saturating_add(length)).await,
                libc::FALLOC_FL_KEEP_SIZE => Ok(()),
                _ => Err(FsError::from(Posix::NotSupported)),
            }
        };
        self.try_answer("fallocate", ino, call, move |done| reply_empty(reply, done));
    }

    fn getxattr(&self, _request: &Request, _ino: INodeNo, _name: &OsStr, _size: u32, reply: ReplyXattr) {
        // The kernel takes this for all time and asks no more; otherwise it would ask before every write.
        reply.error(Errno::ENOSYS);
    }

    fn listxattr(&self, _request: &Request, _ino: INodeNo, _size: u32, reply: ReplyXattr) {
        reply.error(Errno::ENOSYS);
    }
}

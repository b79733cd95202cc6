//! FUSE requests, one method each: decode, call, reply.
//!
//! Owns: [`Adapter`]. Each request is first tried on the thread that took it: what is cached is answered there, without a
//! task or a thread switch. What has to wait goes on as a task, and the thread takes the next request.

use super::waiting::{self, Signals};
use crate::fs::{Attr, BucketFs, Entry, FsError, FsResult, Kind, OpenFlags, Posix, RenameMode, SetAttr};
use fuser::{
    BsdFileFlags, Errno, FileAttr, FileHandle, FileType, FopenFlags, Generation, INodeNo, InitFlags,
    KernelConfig, LockOwner, OpenAccMode, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory,
    ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, ReplyXattr, Request,
    TimeOrNow, WriteFlags,
};
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, SystemTime};
use tokio::sync::oneshot;

/// The largest write that the kernel may send, in bytes.
const WRITE_BYTES_MAX: u32 = 1 << 20;
/// Requests that the kernel may have under way without a program waiting for them (read-ahead).
const BACKGROUND_REQUESTS_MAX: u16 = 256;

/// One mount's requests.
pub struct Adapter {
    fs: Arc<BucketFs>,
    runtime: tokio::runtime::Handle,
}

impl Adapter {
    /// Serves `fs`, with what has to wait on `runtime`.
    pub fn new(fs: Arc<BucketFs>, runtime: tokio::runtime::Handle) -> Self {
        Self { fs, runtime }
    }

    /// Runs `call` here as far as it goes without waiting, and the rest as a task.
    fn answer<T, F, C>(&self, call: F, reply: C)
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
        C: FnOnce(T) + Send + 'static,
    {
        let _within = self.runtime.enter();
        let mut call = Box::pin(call);
        // The task polls again with a waker of its own, so that nothing is missed by this one.
        match call.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(done) => reply(done),
            Poll::Pending => {
                self.runtime.spawn(async move { reply(call.await) });
            }
        }
    }

    /// As [`Adapter::answer`], for calls that fail: the error is logged here, once, and becomes an errno.
    fn try_answer<T, F, C>(&self, operation: &'static str, ino: INodeNo, call: F, reply: C)
    where
        T: Send + 'static,
        F: Future<Output = FsResult<T>> + Send + 'static,
        C: FnOnce(Result<T, Errno>) + Send + 'static,
    {
        let fs = self.fs.clone();
        self.answer(call, move |done| {
            reply(done.map_err(|error| {
                fs.note_error(operation, &fs.path_of(ino.0), &error);
                Errno::from_i32(error.errno())
            }));
        });
    }
}

/// What becomes of a call whose caller waits no longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum GivenUp {
    /// It only looked for something.
    Dropped,
    /// It changes something: it goes on behind the answer, which is given only where nobody is left to read it.
    GoesOn,
}

impl Adapter {
    /// As [`Adapter::try_answer`], with EINTR once a signal that is to end it reaches the waiting caller.
    fn answer_until_given_up<T, F, C>(
        &self,
        operation: &'static str,
        (request, ino): (&Request, INodeNo),
        given_up: GivenUp,
        call: F,
        reply: C,
    ) where
        T: Send + 'static,
        F: Future<Output = FsResult<T>> + Send + 'static,
        C: FnOnce(Result<T, Errno>) + Send + 'static,
    {
        let (fs, thread) = (self.fs.clone(), request.pid());
        let call = async move {
            let mut call = Box::pin(call);
            if let Poll::Ready(done) = futures::poll!(call.as_mut()) {
                return done;
            }
            if given_up == GivenUp::Dropped {
                return tokio::select! {
                    biased;
                    done = call => done,
                    () = waiting::given_up(thread, Signals::Ending) => Err(Posix::Interrupted.into()),
                };
            }
            let (tell, told) = oneshot::channel();
            tokio::spawn(async move {
                if let Err(Err(error)) = tell.send(call.await) {
                    fs.note_error(operation, &fs.path_of(ino.0), &error);
                }
            });
            tokio::select! {
                biased;
                done = told => done.unwrap_or_else(|_| Err(std::io::Error::other("the call was lost").into())),
                () = waiting::given_up(thread, Signals::Fatal) => Err(Posix::Interrupted.into()),
            }
        };
        self.try_answer(operation, ino, call, reply);
    }
}

fn file_attr(attr: &Attr) -> FileAttr {
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

fn reply_entry(reply: ReplyEntry, entry: Result<Entry, Errno>) {
    match entry {
        Ok(entry) => reply.entry(&entry.ttl, &file_attr(&entry.attr), Generation(0)),
        Err(errno) => reply.error(errno),
    }
}

fn reply_empty(reply: ReplyEmpty, done: Result<(), Errno>) {
    match done {
        Ok(()) => reply.ok(),
        Err(errno) => reply.error(errno),
    }
}

/// A lookup's "no": inode 0 lets the kernel remember it for `ttl`.
fn reply_absent(reply: ReplyEntry, ttl: Duration) {
    if ttl.is_zero() {
        return reply.error(Errno::ENOENT);
    }
    let nothing = Attr {
        ino: 0,
        kind: Kind::File,
        size: 0,
        mtime: SystemTime::UNIX_EPOCH,
        mode: 0,
        links: 1,
        uid: 0,
        gid: 0,
        ttl,
    };
    reply.entry(&ttl, &file_attr(&nothing), Generation(0));
}

fn open_flags(flags: i32) -> OpenFlags {
    let mode = fuser::OpenFlags(flags).acc_mode();
    OpenFlags {
        write: mode != OpenAccMode::O_RDONLY,
        truncate: flags & libc::O_TRUNC != 0,
        exclusive: flags & libc::O_EXCL != 0,
    }
}

/// The permission bits of a new file or directory.
fn permissions(mode: u32, umask: u32) -> Option<u16> {
    Some((mode & !umask & 0o7777) as u16)
}

fn fopen_flags(keep_cache: bool) -> FopenFlags {
    if keep_cache { FopenFlags::FOPEN_KEEP_CACHE } else { FopenFlags::empty() }
}

fn modification_time(time: Option<TimeOrNow>) -> Option<SystemTime> {
    time.map(|time| match time {
        TimeOrNow::SpecificTime(time) => time,
        TimeOrNow::Now => SystemTime::now(),
    })
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
        let (fs, name) = (self.fs.clone(), name.to_owned());
        let call = async move { fs.lookup(parent.0, &name).await };
        self.answer_until_given_up(
            "lookup",
            (request, parent),
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
        _handle: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let fs = self.fs.clone();
        let mode = mode.map(|mode| (mode & 0o7777) as u16);
        let change = SetAttr { size, mode, uid, gid, mtime: modification_time(mtime) };
        let call = async move { fs.setattr(ino.0, change).await };
        self.answer_until_given_up(
            "setattr",
            (request, ino),
            GivenUp::GoesOn,
            call,
            move |done| match done {
                Ok(attr) => reply.attr(&attr.ttl, &file_attr(&attr)),
                Err(errno) => reply.error(errno),
            },
        );
    }

    fn mknod(
        &self,
        _request: &Request,
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
        let (fs, name, mode) = (self.fs.clone(), name.to_owned(), permissions(mode, umask));
        let call = async move { fs.mknod(parent.0, &name, mode).await };
        self.try_answer("mknod", parent, call, move |done| reply_entry(reply, done));
    }

    fn mkdir(
        &self,
        _request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        reply: ReplyEntry,
    ) {
        let (fs, name, mode) = (self.fs.clone(), name.to_owned(), permissions(mode, umask));
        let call = async move { fs.mkdir(parent.0, &name, mode).await };
        self.try_answer("mkdir", parent, call, move |done| reply_entry(reply, done));
    }

    fn unlink(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let (fs, name) = (self.fs.clone(), name.to_owned());
        let call = async move { fs.unlink(parent.0, &name).await };
        self.answer_until_given_up("unlink", (request, parent), GivenUp::GoesOn, call, move |done| {
            reply_empty(reply, done)
        });
    }

    fn rmdir(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let (fs, name) = (self.fs.clone(), name.to_owned());
        let call = async move { fs.rmdir(parent.0, &name).await };
        self.answer_until_given_up("rmdir", (request, parent), GivenUp::GoesOn, call, move |done| {
            reply_empty(reply, done)
        });
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
        let mode = if flags.is_empty() {
            RenameMode::Replace
        } else if flags == RenameFlags::RENAME_NOREPLACE {
            RenameMode::KeepTarget
        } else {
            return reply.error(Errno::EINVAL);
        };
        let fs = self.fs.clone();
        let (from, to): (OsString, OsString) = (name.to_owned(), new_name.to_owned());
        let call = async move { fs.rename((parent.0, &from), (new_parent.0, &to), mode).await };
        self.answer_until_given_up("rename", (request, parent), GivenUp::GoesOn, call, move |done| {
            reply_empty(reply, done)
        });
    }

    fn open(&self, request: &Request, ino: INodeNo, flags: fuser::OpenFlags, reply: ReplyOpen) {
        let (fs, flags, thread) = (self.fs.clone(), open_flags(flags.0), request.pid());
        let call = async move { fs.open(ino.0, flags, thread).await };
        self.try_answer("open", ino, call, move |done| match done {
            Ok(opened) => reply.opened(FileHandle(opened.handle), fopen_flags(opened.keep_cache)),
            Err(errno) => reply.error(errno),
        });
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
        let (fs, name, thread) = (self.fs.clone(), name.to_owned(), request.pid());
        let mode = permissions(mode, umask);
        let call = async move { fs.create(parent.0, &name, mode, open_flags(flags), thread).await };
        self.try_answer("create", parent, call, move |done| match done {
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
        self.answer_until_given_up("close", (request, ino), GivenUp::GoesOn, call, move |done| {
            reply_empty(reply, done)
        });
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
        self.answer_until_given_up("fsync", (request, ino), GivenUp::GoesOn, call, move |done| {
            reply_empty(reply, done)
        });
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
        self.answer(async move { fs.release(handle.0).await }, move |()| reply.ok());
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
        let (fs, caller) = (self.fs.clone(), self.fs.clone());
        let call = async move { caller.readdir(handle.0, offset).await };
        self.answer_until_given_up(
            "readdir",
            (request, ino),
            GivenUp::Dropped,
            call,
            move |done| match done {
                Ok(entries) => {
                    for entry in entries {
                        let kind = if entry.is_dir { FileType::Directory } else { FileType::RegularFile };
                        let number = INodeNo(fs.entry_number(handle.0, &entry));
                        if reply.add(number, entry.next_offset, kind, &*entry.name) {
                            break;
                        }
                    }
                    reply.ok();
                }
                Err(errno) => reply.error(errno),
            },
        );
    }

    fn readdirplus(
        &self,
        request: &Request,
        ino: INodeNo,
        handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        let (fs, caller) = (self.fs.clone(), self.fs.clone());
        let call = async move { caller.readdir(handle.0, offset).await };
        self.answer_until_given_up(
            "readdir",
            (request, ino),
            GivenUp::Dropped,
            call,
            move |done| match done {
                Ok(entries) => {
                    for entry in entries {
                        if add_plus(&fs, handle.0, &mut reply, &entry) {
                            break;
                        }
                    }
                    reply.ok();
                }
                Err(errno) => reply.error(errno),
            },
        );
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

/// Adds one entry with its attributes; says whether it did not fit any more.
fn add_plus(fs: &BucketFs, handle: u64, reply: &mut ReplyDirectoryPlus, entry: &crate::fs::DirEntry) -> bool {
    let is_dot = matches!(&*entry.name, "." | "..");
    let (ttl, attr) = if is_dot {
        let ino = fs.entry_number(handle, entry);
        let attr = Attr {
            ino,
            kind: Kind::Dir,
            size: 0,
            mtime: SystemTime::UNIX_EPOCH,
            mode: 0,
            links: 1,
            uid: 0,
            gid: 0,
            ttl: Duration::ZERO,
        };
        (Duration::ZERO, attr)
    } else {
        // Gone since the listing: the name is left out.
        let Some(found) = fs.introduce_entry(handle, entry) else { return false };
        (found.ttl, found.attr)
    };
    let full =
        reply.add(INodeNo(attr.ino), entry.next_offset, &*entry.name, &ttl, &file_attr(&attr), Generation(0));
    if full && !is_dot {
        fs.forget(attr.ino, 1);
    }
    full
}

//! Making, removing and changing what names stand for.
//!
//! Owns: `mkdir`, `rmdir`, `mknod`, `unlink`, `setattr`.
//!
//! # Why a marker for a directory that lost its last file
//! A bucket has directories only as prefixes of keys: with the last file the directory would vanish, which no local file system
//! does. So when a listing has told that the last name went, the directory gets the marker that mkdir would have given it.

use super::BucketFs;
use super::attr::{Attr, Creator, Entry};
use super::dirty::DirtyFile;
use super::error::{FsError, FsResult, Posix};
use super::inode::{Content, FileState, Inode, Kind};
use super::name;
use super::namespace::Known;
use bytes::Bytes;
use pail_store::{Condition, ConditionedChange, ErrorKind, Payload, PutOptions, RawKey};
use parking_lot::Mutex;
use std::ffi::OsStr;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

/// What is kept of an open file that is removed is at most the disk budget of the cache, and this much where that is less.
const KEPT_BYTES_MAX_LEAST: u64 = 1 << 30;

/// How often a deletion looks anew at an object that others write meanwhile.
const DELETE_ATTEMPTS: usize = 8;

/// What `setattr` is to change.
#[derive(Debug, Clone, Default)]
pub struct SetAttr {
    /// A new length.
    pub size: Option<u64>,
    /// New permission bits.
    pub mode: Option<u16>,
    /// A new owner.
    pub uid: Option<u32>,
    /// A new group.
    pub gid: Option<u32>,
    /// A new modification time.
    pub mtime: Option<SystemTime>,
    /// By an open file, not by its name.
    pub is_open: bool,
}

/// An object that is about to be deleted or replaced.
pub(super) struct Going<'a>(&'a Mutex<FileState>);

impl Drop for Going<'_> {
    fn drop(&mut self) {
        self.0.lock().going = false;
    }
}

impl BucketFs {
    /// Makes a directory: a marker object `name/`. Without a creator it is shown with the mount's owner and mode. Errors: EEXIST,
    /// EROFS, the store's.
    pub async fn mkdir(&self, parent: u64, name: &OsStr, creator: Option<Creator>) -> FsResult<Entry> {
        self.counters.count("mkdir");
        let parent = self.writable_directory(parent)?;
        let name = name::parse(name)?;
        let dir = self.dir_prefix(&parent);
        self.check_absent(&parent, &dir, name).await?;
        let is_made = self.put_marker(&name::dir_prefix(&dir, name)).await?;
        if !is_made {
            // Somebody else has made it since this was looked at; what they put there stays.
            self.remember_name(&dir, name, Known::Dir);
            return Err(Posix::Exists.into());
        }
        self.namespace.lock().put_new_dir(&dir, name, Instant::now());
        let inode = self.inodes.introduce(|table| table.dir(&parent, name));
        self.set_creator(&inode, creator);
        self.touch_directory(&inode);
        self.touch_directory(&parent);
        Ok(self.entry(&inode, self.options.metadata_ttl))
    }

    pub(super) async fn check_absent(&self, parent: &Inode, dir: &str, name: &str) -> FsResult<()> {
        if self.written_here(parent, name).is_some() || self.resolve(dir, name).await?.0 != Known::Absent {
            return Err(Posix::Exists.into());
        }
        Ok(())
    }

    /// Makes the object that keeps an empty directory; false where there is one. Errors: the store's.
    async fn put_marker(&self, prefix: &str) -> FsResult<bool> {
        let key = RawKey::new(prefix).map_err(|_| Posix::NameTooLong)?;
        let options = PutOptions { condition: Condition::IfAbsent, ..PutOptions::default() };
        match self.store.put(&key, Payload::Bytes(Bytes::new()), options).await {
            Ok(_) => Ok(true),
            Err(error) if error.kind == ErrorKind::Precondition => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// A name came to a directory, or left it: that changes the directory. Python's imports and whoever looks for the newest
    /// checkpoint go by this time.
    pub(super) fn touch_directory(&self, dir: &Inode) {
        dir.attributes.lock().mtime = Some(SystemTime::now());
    }

    /// A directory has lost a name. Keeps it, if that was its last.
    pub(super) async fn lost_name(&self, dir: &Arc<Inode>) {
        self.touch_directory(dir);
        let prefix = self.dir_prefix(dir);
        let written =
            self.inodes.children(dir).iter().any(|(name, _)| self.written_here(dir, name).is_some());
        let vanishing =
            || self.oldest().is_some_and(|oldest| self.namespace.lock().is_vanishing(&prefix, oldest));
        if prefix == self.options.prefix || written || !vanishing() {
            return;
        }
        match self.put_marker(&prefix).await {
            Ok(_) => {
                self.namespace.lock().mark(&prefix);
                self.note_success("marker", || prefix.clone());
            }
            Err(error) => self.note_error("marker", &prefix, &error),
        }
    }

    /// Makes an empty file and publishes it. `creator` as of `create`. Errors: EEXIST, EROFS, the store's.
    pub async fn mknod(&self, parent: u64, name: &OsStr, creator: Option<Creator>) -> FsResult<Entry> {
        self.counters.count("mknod");
        let parent = self.writable_directory(parent)?;
        let name = name::parse(name)?;
        self.check_absent(&parent, &self.dir_prefix(&parent), name).await?;
        let inode = self.add_new(&parent, name, creator, true).await?;
        let done = match self.unpublished(&inode) {
            Some(dirty) => {
                let published = self.publish(&inode, &dirty).await;
                self.settle(&inode, &dirty).await;
                published
            }
            None => Ok(()),
        };
        if done.is_err() {
            // Where only the answer was lost there is an object.
            let may_be_there = self.dirty_content(&inode).is_some_and(|dirty| dirty.in_doubt().is_some());
            if !(may_be_there && self.remove_file(&inode, &parent, name).await.unwrap_or(false)) {
                self.drop_name(&inode).await;
            }
            self.inodes.forget(inode.ino, 1);
        }
        done.map(|()| self.entry(&inode, self.options.metadata_ttl))
    }

    /// Removes an empty directory. Errors: ENOENT, ENOTDIR, ENOTEMPTY, EROFS, the store's.
    pub async fn rmdir(&self, parent: u64, name: &OsStr) -> FsResult<()> {
        self.counters.count("rmdir");
        let parent = self.writable_directory(parent)?;
        let name = name::parse(name)?;
        let dir = self.dir_prefix(&parent);
        let inode = self.inodes.child(&parent, name);
        let inode = match inode {
            // Known to the kernel as a directory: it may have vanished from the bucket with its last file.
            Some(inode) if inode.kind == Kind::Dir => inode,
            _ if self.written_here(&parent, name).is_some() => return Err(Posix::NotDir.into()),
            _ => match self.resolve(&dir, name).await?.0 {
                Known::Dir => self.inodes.dir(&parent, name),
                Known::File(_) => return Err(Posix::NotDir.into()),
                Known::Absent => return Err(Posix::NotFound.into()),
            },
        };
        let prefix = name::dir_prefix(&dir, name);
        self.remove_empty(&inode).await?;
        {
            let mut namespace = self.namespace.lock();
            namespace.forget_tree(&prefix);
            namespace.put(&dir, name, Known::Absent, Instant::now());
        }
        self.inodes.unlink(&inode);
        self.inodes.release(&inode);
        self.lost_name(&parent).await;
        Ok(())
    }

    /// Removes the marker of a directory, where it has one, while the directory is empty. Errors: ENOTEMPTY, also where somebody puts bytes into the
    /// marker meanwhile; the store's.
    async fn remove_empty(&self, dir: &Arc<Inode>) -> FsResult<()> {
        let mut attempts = 0;
        loop {
            let Some(marker) = self.check_empty(dir).await? else { return Ok(()) };
            let condition = match marker.version.is_unknown() {
                true => Condition::None,
                false => Condition::IfVersion(marker.version),
            };
            attempts += 1;
            match self.store.delete(&marker.key, condition).await {
                Err(error) if error.kind == ErrorKind::Precondition && attempts < DELETE_ATTEMPTS => {}
                removed => return Ok(removed?),
            }
        }
    }

    /// Removes a file's name and its object. Who has it open goes on. Errors: ENOENT, EISDIR, EROFS, the store's.
    pub async fn unlink(&self, parent: u64, name: &OsStr) -> FsResult<()> {
        self.counters.count("unlink");
        let parent = self.writable_directory(parent)?;
        let name = name::parse(name)?;
        let dir = self.dir_prefix(&parent);
        loop {
            let inode = match self.written_here(&parent, name) {
                Some(inode) => inode,
                None => match self.resolve(&dir, name).await? {
                    (Known::Absent, _) => return Err(Posix::NotFound.into()),
                    (Known::Dir, _) => return Err(Posix::IsDir.into()),
                    (Known::File(stat), as_of) => self.inodes.file(&parent, name, stat, as_of),
                },
            };
            let removed = self.remove_file(&inode, &parent, name).await;
            if removed.is_err()
                && let Some(dirty) = self.dirty_content(&inode)
            {
                // It stays, and whoever closed it meanwhile left this to us.
                self.settle(&inode, &dirty).await;
            }
            self.inodes.release(&inode);
            if removed? {
                break;
            }
        }
        self.lost_name(&parent).await;
        Ok(())
    }

    /// Deletes an object, and takes the name from its inode. False if the inode had lost the name by the time that nobody else was
    /// changing it. Errors: the store's; then nothing has changed.
    async fn remove_file(&self, inode: &Arc<Inode>, parent: &Inode, name: &str) -> FsResult<bool> {
        let _first = self.dirty_content(inode).map(|dirty| dirty.removers.join());
        // No publish may put the object back after it was deleted.
        let _one = inode.changing.lock().await;
        if !self.inodes.has_name(inode, parent, name) {
            return Ok(false);
        }
        if let Some(dirty) = self.dirty_content(inode) {
            self.resolve_in_doubt(inode, &dirty).await?;
        }
        let _going = self.begin_removal(inode).await?;
        let dir = self.dir_prefix(parent);
        let dirty = self.dirty_content(inode);
        let key = name::key(&dir, name)?;
        let removed = match dirty.as_ref().map(|dirty| dirty.delete_condition()) {
            Some(Some(condition)) => self.store.delete(&key, condition).await,
            Some(None) => Ok(()),
            None => self.delete_clean(&key, inode).await,
        };
        match removed {
            // What may be there was not recognised as the file's own.
            Ok(()) if dirty.is_some_and(|dirty| dirty.in_doubt().is_some()) => {
                self.leave_to_others(&dir, name).await;
            }
            Ok(()) => self.remember_name(&dir, name, Known::Absent),
            Err(error) if error.kind == ErrorKind::Precondition => {
                self.leave_to_others(&dir, name).await;
            }
            Err(error) => return Err(error.into()),
        }
        self.drop_name(inode).await;
        Ok(true)
    }

    /// Deletes the object of a file that nothing was written to, whatever version it has by then. Where the store enforces conditions of deletions, each request
    /// is of the version that was seen last: one whose answer was lost, and that is repeated, leaves what somebody else has put there since. Errors: the
    /// store's; `Precondition`, where that happened.
    async fn delete_clean(&self, key: &RawKey, inode: &Inode) -> pail_store::Result<()> {
        let is_enforced =
            self.store.known_capabilities().is_some_and(|known| known.enforces(ConditionedChange::Deletions));
        let seen = inode.remote_stat().filter(|_| is_enforced).map(|stat| stat.version);
        let mut version = seen.filter(|version| !version.is_unknown());
        for _ in 0..DELETE_ATTEMPTS {
            let Some(seen) = version else { break };
            match self.store.delete(key, Condition::IfVersion(seen)).await {
                Err(error) if error.kind == ErrorKind::Precondition && !error.maybe_applied => {}
                deleted => return deleted,
            }
            version = match self.store.head(key).await {
                Ok(found) => Some(found.version).filter(|version| !version.is_unknown()),
                Err(error) if error.kind == ErrorKind::NotFound => return Ok(()),
                Err(error) => return Err(error),
            };
        }
        self.store.delete(key, Condition::None).await
    }

    /// Somebody else has replaced the object of a name that was removed or renamed: theirs stays, and is what the name shows.
    pub(super) async fn leave_to_others(&self, dir: &str, name: &str) {
        tracing::info!(mount = %self.options.mount_name, dir, name, "somebody else has replaced the object, which stays");
        if let Err(error) = self.look_again(dir, name).await {
            tracing::debug!(dir, name, error = %error, "it shows once a listing tells of it");
        }
    }

    /// Takes the name from an inode whose `changing` the caller holds. What was written to it and is not published will never be:
    /// who has it open goes on with a file that has no name on the local disk either, so that it goes with its last user.
    pub(super) async fn drop_name(&self, inode: &Arc<Inode>) {
        self.inodes.unlink(inode);
        if let Some(dirty) = self.dirty_content(inode) {
            dirty.upload().end();
            self.abort_upload(&dirty).await;
            dirty.replica.discard_waiting().await;
        }
        self.inodes.release(inode);
    }

    /// The dirty content of a file, if it has one.
    pub(super) fn dirty_content(&self, inode: &Inode) -> Option<Arc<DirtyFile>> {
        match &inode.file()?.lock().content {
            Content::Dirty(dirty) => Some(dirty.clone()),
            Content::Clean { .. } => None,
        }
    }

    /// Prepares a file, whose `changing` the caller holds, for its object being deleted or replaced: who has it open gets a local
    /// file of all its bytes, and who opens it until the guard is dropped waits. Errors: the store's.
    pub(super) async fn begin_removal<'a>(&self, inode: &'a Arc<Inode>) -> FsResult<Option<Going<'a>>> {
        let Some(file) = inode.file() else { return Ok(None) };
        let going = Going(file);
        let is_open = {
            let mut state = file.lock();
            state.going = true;
            state.opens > 0
        };
        if is_open && let Err(error) = self.make_local(inode).await {
            let unavoidable = error.is_version_gone() || matches!(error, FsError::Local(_));
            if !unavoidable {
                return Err(error);
            }
            // Gone already, or more than may be kept on the local disk: its readers have what is cached.
            tracing::warn!(mount = %self.options.mount_name, path = %inode.path(), error = %error,
                "an open file is removed that could not be kept whole for who has it open");
        }
        Ok(Some(going))
    }

    /// Makes a local file of all bytes of a file, so that it needs neither the bucket nor what the cache may give up. Errors: the
    /// store's, the local disk's; ENOSPC where it has more of the bucket than may be kept so.
    pub(super) async fn make_local(&self, inode: &Arc<Inode>) -> FsResult<()> {
        let bytes_max = self.cache.stats().disk_limit_bytes.max(KEPT_BYTES_MAX_LEAST);
        self.dirty_over(inode).await?.fetch_base(bytes_max).await
    }

    /// Changes a file's length, or a file's or directory's attributes. A new length is published at once unless somebody has the file
    /// open for writing. Mode, owner and times hold while the inode lives. Errors: EISDIR, EROFS, those of publishing; EFBIG beyond
    /// 5 TiB, or with more zeros that nobody wrote than may be; ESTALE, with nothing changed, where its name stands for another version
    /// by now.
    pub async fn setattr(&self, ino: u64, change: SetAttr) -> FsResult<Attr> {
        self.counters.count("setattr");
        self.check_writable()?;
        let inode = self.inode(ino)?;
        if let Some(size) = change.size {
            if size > 0 && !change.is_open {
                self.revalidate_name(&inode).await?;
            }
            self.set_size(&inode, size).await?;
        }
        {
            let mut set = inode.attributes.lock();
            set.mode = change.mode.or(set.mode);
            set.uid = change.uid.or(set.uid);
            set.gid = change.gid.or(set.gid);
            set.mtime = change.mtime.or(set.mtime);
        }
        Ok(self.attr(&inode))
    }

    async fn set_size(&self, inode: &Arc<Inode>, size: u64) -> FsResult<()> {
        self.check_holes(inode, size)?;
        let file = inode.file().ok_or(Posix::IsDir)?;
        // One that is cut to nothing replaces what is in the bucket, which may be longer by now.
        if size > 0 && matches!(&file.lock().content, Content::Clean { stat, .. } if stat.size == size) {
            return Ok(());
        }
        file.lock().writers += 1;
        let done = self.truncate_and_publish(inode, size).await;
        let last_writer = {
            let mut state = file.lock();
            state.writers -= 1;
            state.writers == 0
        };
        if last_writer && let Some(dirty) = self.dirty_content(inode) {
            // Another handle may have gone meanwhile and left the publishing to this one.
            self.after_last_writer(inode, &dirty).await;
        }
        done
    }

    async fn truncate_and_publish(&self, inode: &Arc<Inode>, size: u64) -> FsResult<()> {
        let dirty = self.dirty(inode).await?;
        dirty.truncate(size).await?;
        let only_writer = inode.file().is_some_and(|file| {
            let state = file.lock();
            state.writers - state.closing == 1
        });
        if only_writer { self.publish(inode, &dirty).await } else { Ok(()) }
    }

    /// Makes room: extends the file with zeros if `end` is beyond it. Errors: EBADF, the local disk's; EFBIG as of `setattr`.
    pub async fn allocate(&self, handle: u64, end: u64) -> FsResult<()> {
        let handle = self.handles.get(handle).filter(|handle| handle.writable).ok_or(Posix::BadHandle)?;
        self.check_holes(&handle.inode, end)?;
        self.dirty(&handle.inode).await?.extend(end).await
    }
}

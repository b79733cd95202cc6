//! Moving files to other names.
//!
//! Owns: `rename`. A file that is not in the bucket yet only changes its name. One that is gets copied on the server, and then the
//! old object is deleted: a crash in between leaves both, and nothing is lost. A store that moves objects by itself does so.
//!
//! A file that was made here and given nothing beside its bytes takes the name's: what the object carried that it replaces, or the type that the
//! name tells (`remake`).
//!
//! Directories answer EXDEV, upon which `mv` copies and removes file by file.

use super::dirty::{Base, DirtyFile};
use super::error::{FsError, FsResult, Posix};
use super::inode::{Content, Inode, Kind};
use super::name;
use super::namespace::Known;
use super::object_stat::ObjectStat;
use super::wait_group::WaitGuard;
use super::{BucketFs, Stale};
use pail_store::{Condition, ErrorKind, RawKey, Version};
use std::ffi::OsStr;
use std::sync::Arc;
use tokio::sync::MutexGuard;

/// How often a rename follows a file that other clients replace meanwhile.
const ATTEMPTS: usize = 4;

/// What to do about a file that has the new name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RenameMode {
    /// Replace it.
    Replace,
    /// Fail with EEXIST (`RENAME_NOREPLACE`).
    KeepTarget,
}

/// Both ends of a rename.
struct Move<'a> {
    from_parent: &'a Arc<Inode>,
    from_dir: String,
    from_name: &'a str,
    to_parent: &'a Arc<Inode>,
    to_dir: String,
    to_name: &'a str,
}

impl BucketFs {
    /// Gives a file another name. Errors: ENOENT, EEXIST, EISDIR, ENOTDIR, EXDEV for directories, EROFS, the store's.
    pub async fn rename(&self, from: (u64, &OsStr), to: (u64, &OsStr), mode: RenameMode) -> FsResult<()> {
        self.counters.count("rename");
        let (from_parent, to_parent) = (self.writable_directory(from.0)?, self.writable_directory(to.0)?);
        let step = Move {
            from_dir: self.dir_prefix(&from_parent),
            from_name: name::parse(from.1)?,
            from_parent: &from_parent,
            to_dir: self.dir_prefix(&to_parent),
            to_name: name::parse(to.1)?,
            to_parent: &to_parent,
        };
        let mut moves = 0;
        loop {
            let inode = self.source(&step).await?;
            let target = self.target(&step, mode).await?;
            if target.as_ref().is_some_and(|target| Arc::ptr_eq(target, &inode)) {
                return Ok(());
            }
            let mut moved = self.rename_locked(&step, &inode, target.as_ref(), mode).await;
            if matches!(moved, Err(FsError::Moved)) {
                moves += 1;
                moved = match moves < ATTEMPTS {
                    true => Ok(false),
                    false => Err(FsError::Stale(format!("{} is replaced again and again", inode.path()))),
                };
            }
            // Whoever closed one of them meanwhile left it to us, also where nothing was moved. What came to have an inode for this
            // needs it no longer.
            for file in target.iter().chain([&inode]) {
                if let Some(dirty) = self.dirty_content(file) {
                    self.settle(file, &dirty).await;
                }
                self.inodes.release(file);
            }
            if moved? {
                break;
            }
        }
        if moves > 0 {
            // The kernel moves what it had under the old name, which is another file.
            self.tell_stale(Stale::Name(to.0, step.to_name.into()));
        }
        self.lost_name(&from_parent).await;
        self.touch_directory(&to_parent);
        Ok(())
    }

    /// Keeps two files from being published, renamed or removed. In the order of their numbers, so that two renames never wait for
    /// each other. A publish of the target is to let go, but only once the source is free: it may be published for hours, and the rename
    /// come to nothing. Where the order makes it let go of the source again, no other publish of that comes in between.
    async fn lock_both<'a>(
        &self,
        source: &'a Arc<Inode>,
        target: Option<&'a Arc<Inode>>,
    ) -> ([Option<WaitGuard>; 2], [Option<MutexGuard<'a, ()>>; 2]) {
        let locked = source.changing.lock().await;
        let Some(target) = target else { return ([None, None], [Some(locked), None]) };
        let first = [source, target].map(|file| self.dirty_content(file).map(|dirty| dirty.removers.join()));
        if source.ino < target.ino {
            return (first, [Some(locked), Some(target.changing.lock().await)]);
        }
        drop(locked);
        let locked = target.changing.lock().await;
        (first, [Some(locked), Some(source.changing.lock().await)])
    }

    /// False if either name led elsewhere by the time that nobody else was changing the files.
    async fn rename_locked(
        &self,
        step: &Move<'_>,
        inode: &Arc<Inode>,
        target: Option<&Arc<Inode>>,
        mode: RenameMode,
    ) -> FsResult<bool> {
        let (_first, _both) = self.lock_both(inode, target).await;
        let same_target = match target {
            Some(target) => self.inodes.has_name(target, step.to_parent, step.to_name),
            None => {
                let child = self.inodes.child(step.to_parent, step.to_name);
                child.is_none_or(|child| child.kind == Kind::Dir)
            }
        };
        if !same_target || !self.inodes.has_name(inode, step.from_parent, step.from_name) {
            return Ok(false);
        }
        let _going = match target {
            Some(target) => self.begin_removal(target).await?,
            None => None,
        };
        let moved = match self.dirty_content(inode) {
            Some(dirty) => self.rename_dirty(step, inode, &dirty, target, mode).await,
            None => self.rename_clean(step, inode, target, mode).await,
        };
        self.record_place(inode).await;
        moved.map(|()| true)
    }

    /// What is kept of a written file says where it is now, and over which version.
    async fn record_place(&self, inode: &Inode) {
        let (Some(dirty), Ok(key)) = (self.dirty_content(inode), self.key_of(inode)) else { return };
        let intent = self.intent(key.as_str(), dirty.base().as_ref());
        if let Err(error) = dirty.set_intent(intent).await {
            tracing::warn!(mount = %self.options.mount_name, key = %key, error = %error,
                "what is kept of a renamed file names the place or the version that it had before");
        }
    }

    /// The file to move. Errors: ENOENT, EXDEV for a directory.
    async fn source(&self, step: &Move<'_>) -> FsResult<Arc<Inode>> {
        if let Some(inode) = self.written_here(step.from_parent, step.from_name) {
            return Ok(inode);
        }
        match self.resolve(&step.from_dir, step.from_name).await? {
            (Known::File(stat), as_of) => Ok(self.inodes.file(step.from_parent, step.from_name, stat, as_of)),
            (Known::Dir, _) => Err(Posix::CrossDevice.into()),
            (Known::Absent, _) => Err(Posix::NotFound.into()),
        }
    }

    /// The file that has the new name, if there is one. Errors: EEXIST, EISDIR.
    async fn target(&self, step: &Move<'_>, mode: RenameMode) -> FsResult<Option<Arc<Inode>>> {
        name::key(&step.to_dir, step.to_name)?;
        let existing = match self.written_here(step.to_parent, step.to_name) {
            Some(written) => Some(written),
            None => match self.resolve(&step.to_dir, step.to_name).await? {
                (Known::Dir, _) => return Err(Posix::IsDir.into()),
                (Known::File(stat), as_of) => {
                    Some(self.inodes.file(step.to_parent, step.to_name, stat, as_of))
                }
                (Known::Absent, _) => None,
            },
        };
        if existing.is_some() && mode == RenameMode::KeepTarget {
            existing.iter().for_each(|target| self.inodes.release(target));
            return Err(Posix::Exists.into());
        }
        // What the kernel still knows by that name is replaced, too.
        let child =
            || self.inodes.child(step.to_parent, step.to_name).filter(|child| child.kind == Kind::File);
        Ok(existing.or_else(child))
    }

    /// Moves a file whose content is clean, or was when it was looked at.
    async fn rename_clean(
        &self,
        step: &Move<'_>,
        inode: &Arc<Inode>,
        target: Option<&Arc<Inode>>,
        mode: RenameMode,
    ) -> FsResult<()> {
        let file = inode.file().ok_or(Posix::IsDir)?;
        // What a listing told no version of is moved as the version that it has now.
        self.learn_version(inode).await?;
        let stat = match &file.lock().content {
            Content::Clean { stat, .. } => stat.clone(),
            // Written to just now: what is in the bucket is its base.
            Content::Dirty(dirty) => dirty.published_stat().ok_or(Posix::NotFound)?,
        };
        let from = name::key(&step.from_dir, step.from_name)?;
        let copied = stat.version.clone();
        let moved = |stat: &ObjectStat, key: &RawKey, parent: &Arc<Inode>, name: &str| {
            self.inodes.rename(inode, parent, name);
            let mut state = file.lock();
            let state = &mut *state;
            match &mut state.content {
                Content::Clean { stat: old, replica } => {
                    // The bytes are the same, and so those cached under the old name serve on, unless somebody replaced the object
                    // while it was copied.
                    if old.version.is(&copied) {
                        replica.get_or_insert_with(|| self.replica(&from, old));
                    } else {
                        *replica = Some(self.replica(key, stat));
                    }
                    *old = stat.clone();
                }
                // Written to while the server copied: what it is based on has moved.
                Content::Dirty(dirty) => self.rebase(dirty, &copied, key, stat),
            }
        };
        let done = self.move_object(step, &stat, target, mode, moved).await;
        if matches!(done, Err(FsError::Moved)) {
            file.lock().outdate(&copied);
        }
        done
    }

    /// What is in the bucket of a written file is under another key now, where version `copied` of it was copied to.
    fn rebase(&self, dirty: &DirtyFile, copied: &Version, key: &RawKey, stat: &ObjectStat) {
        let kept = dirty.base().filter(|base| base.stat.version.is(copied)).map(|base| base.replica);
        let replica = kept.unwrap_or_else(|| self.replica(key, stat));
        dirty.rebase(Base { key: key.clone(), stat: stat.clone(), replica });
    }

    /// Moves the object, and tells `moved` what is under the new key. Unless the store does that in one step, it is copied first and deleted
    /// afterwards: a reader finds the bytes under the one key or the other at every moment. Where the old one cannot be deleted, `moved` is told
    /// to go back. What somebody else has put there since the copy stays, as a file that was made after the rename.
    async fn move_object(
        &self,
        step: &Move<'_>,
        stat: &ObjectStat,
        target: Option<&Arc<Inode>>,
        mode: RenameMode,
        moved: impl Fn(&ObjectStat, &RawKey, &Arc<Inode>, &str),
    ) -> FsResult<()> {
        let (from, to) = (name::key(&step.from_dir, step.from_name)?, name::key(&step.to_dir, step.to_name)?);
        let condition = match mode {
            RenameMode::KeepTarget => Condition::IfAbsent,
            RenameMode::Replace => Condition::None,
        };
        let replaced = target.and_then(|target| target.remote_stat());
        let made = match self.transfer((&from, stat), (&to, replaced), condition).await {
            Ok(made) => made,
            Err(error) if error.is_version_gone() => {
                return Err(self.why_not_copied(step, stat, mode, error).await);
            }
            Err(error) => {
                if matches!(&error, FsError::Store(error) if error.maybe_applied) {
                    // What the names show is what is there, if that can be told.
                    let _ = self.look_again(&step.to_dir, step.to_name).await;
                    let _ = self.look_again(&step.from_dir, step.from_name).await;
                }
                return Err(error);
            }
        };
        if let Some(target) = target {
            self.drop_name(target).await;
        }
        self.remember_name(&step.to_dir, step.to_name, Known::File(made.stat.clone()));
        moved(&made.stat, &to, step.to_parent, step.to_name);
        if made.is_move {
            self.remember_name(&step.from_dir, step.from_name, Known::Absent);
            return Ok(());
        }
        // A store that tells no versions at all can check none.
        let condition = match stat.version.is_unknown() {
            true => Condition::None,
            false => Condition::IfVersion(stat.version.clone()),
        };
        match self.store.delete(&from, condition).await {
            Ok(()) => self.remember_name(&step.from_dir, step.from_name, Known::Absent),
            Err(error) if error.kind == ErrorKind::Precondition => {
                self.leave_to_others(&step.from_dir, step.from_name).await;
            }
            Err(error) => {
                // The file stays what it was under its old name, which a program that is told of an error goes on using; the copy is
                // another.
                moved(stat, &from, step.from_parent, step.from_name);
                return Err(error.into());
            }
        }
        Ok(())
    }

    /// Why the store refused to copy: the source, which is to have the version of `stat`, or the target has changed.
    async fn why_not_copied(
        &self,
        step: &Move<'_>,
        stat: &ObjectStat,
        mode: RenameMode,
        refused: FsError,
    ) -> FsError {
        match self.look_again(&step.from_dir, step.from_name).await {
            Err(error) => error,
            Ok((Known::File(now), _)) if now.is_same(stat) => match mode {
                RenameMode::KeepTarget => Posix::Exists.into(),
                RenameMode::Replace => refused,
            },
            // Replaced or deleted by another client since it was looked at.
            Ok(_) => FsError::Moved,
        }
    }

    async fn rename_dirty(
        &self,
        step: &Move<'_>,
        inode: &Arc<Inode>,
        dirty: &Arc<DirtyFile>,
        target: Option<&Arc<Inode>>,
        mode: RenameMode,
    ) -> FsResult<()> {
        self.resolve_in_doubt(inode, dirty).await?;
        self.abort_upload(dirty).await;
        // First what can fail on a full disk: nothing has moved yet.
        let to = name::key(&step.to_dir, step.to_name)?;
        dirty.set_intent(self.intent(to.as_str(), dirty.base().as_ref())).await?;
        match dirty.published_stat() {
            Some(mut stat) => {
                if stat.version.is_unknown()
                    && let Known::File(now) = self.look_again(&step.from_dir, step.from_name).await?.0
                {
                    stat = now;
                }
                // Who reads meanwhile waits for where the bytes are then.
                let _moving = dirty.completing.join();
                let copied = stat.version.clone();
                let moved = |stat: &ObjectStat, key: &RawKey, parent: &Arc<Inode>, name: &str| {
                    self.rebase(dirty, &copied, key, stat);
                    self.inodes.rename(inode, parent, name);
                };
                let moved = self.move_object(step, &stat, target, mode, moved).await;
                // What was written is a change of a version that is gone.
                moved.map_err(|error| match error {
                    FsError::Moved => FsError::Stale(format!(
                        "{} was changed by somebody else since version {} was opened",
                        inode.path(),
                        stat.version
                    )),
                    error => error,
                })
            }
            None => self.rename_unpublished(step, inode, dirty, target, mode).await,
        }
    }

    /// Nothing of the file is in the bucket: what it replaces stays there until this file is published over it. What it had replaced
    /// under its old name goes now, for nothing has that name any more.
    async fn rename_unpublished(
        &self,
        step: &Move<'_>,
        inode: &Arc<Inode>,
        dirty: &Arc<DirtyFile>,
        target: Option<&Arc<Inode>>,
        mode: RenameMode,
    ) -> FsResult<()> {
        // What the target may have made of its name in a write in doubt stays there, too, until this file is published over it.
        if let Some(target) = target
            && let Some(written) = self.dirty_content(target)
        {
            self.resolve_in_doubt(target, &written).await?;
        }
        // What is replaced is told apart from what others put there later by its version, which some listings do not tell.
        if let Some(target) = target {
            self.learn_version(target).await?;
        }
        if let Some(condition) = dirty.delete_condition() {
            let from = name::key(&step.from_dir, step.from_name)?;
            match self.store.delete(&from, condition).await {
                Ok(()) => self.remember_name(&step.from_dir, step.from_name, Known::Absent),
                Err(error) if error.kind == ErrorKind::Precondition => {
                    self.leave_to_others(&step.from_dir, step.from_name).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
        let mut replaced = None;
        if let Some(target) = target {
            replaced = target.remote_stat();
            self.drop_name(target).await;
        }
        self.inodes.rename(inode, step.to_parent, step.to_name);
        let key = name::key(&step.to_dir, step.to_name)?;
        dirty.set_renamed(mode == RenameMode::KeepTarget, &key, replaced);
        Ok(())
    }
}

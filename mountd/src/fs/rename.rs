//! Moving files to other names.
//!
//! Owns: `rename`. A file that is not in the bucket yet only changes its name. One that is gets copied on the server, and then the
//! old object is deleted: a crash in between leaves both, and nothing is lost.
//!
//! Directories answer EXDEV, upon which `mv` copies and removes file by file.

use super::BucketFs;
use super::dirty::{Base, DirtyFile};
use super::error::{FsResult, Posix};
use super::inode::{Content, Inode, Kind};
use super::name;
use super::namespace::{Facts, Known};
use pail_store::{Condition, RawKey};
use std::ffi::OsStr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

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
        let inode = self.source(&step).await?;
        let target = self.target(&step, &inode, mode).await?;
        if target.as_ref().is_some_and(|target| Arc::ptr_eq(target, &inode)) {
            return Ok(());
        }
        let moved = self.rename_clean(&step, &inode, target.as_ref(), mode).await?;
        if !moved && let Some(dirty) = self.dirty_content(&inode) {
            self.rename_dirty(&step, &inode, &dirty, target.as_ref(), mode).await?;
        }
        self.keep_directory(&from_parent).await;
        Ok(())
    }

    /// The file to move. Errors: ENOENT, EXDEV for a directory.
    async fn source(&self, step: &Move<'_>) -> FsResult<Arc<Inode>> {
        if let Some(inode) = self.written_here(step.from_parent, step.from_name) {
            return Ok(inode);
        }
        match self.resolve(&step.from_dir, step.from_name).await? {
            (Known::File(facts), as_of) => {
                Ok(self.inodes.file(step.from_parent, step.from_name, facts, as_of))
            }
            (Known::Dir, _) => Err(Posix::CrossDevice.into()),
            (Known::Absent, _) => Err(Posix::NotFound.into()),
        }
    }

    /// The file that has the new name, if this mount knows it as an inode. Errors: EEXIST, EISDIR.
    async fn target(
        &self,
        step: &Move<'_>,
        inode: &Arc<Inode>,
        mode: RenameMode,
    ) -> FsResult<Option<Arc<Inode>>> {
        name::key(&step.to_dir, step.to_name)?;
        let written = self.written_here(step.to_parent, step.to_name);
        let exists = match &written {
            Some(_) => true,
            None => match self.resolve(&step.to_dir, step.to_name).await?.0 {
                Known::Dir => return Err(Posix::IsDir.into()),
                Known::File(_) => true,
                Known::Absent => false,
            },
        };
        if exists && mode == RenameMode::KeepTarget {
            return Err(Posix::Exists.into());
        }
        let child = self.inodes.child(step.to_parent, step.to_name);
        Ok(written.or(child).filter(|target| target.kind == Kind::File || Arc::ptr_eq(target, inode)))
    }

    /// Moves a file whose content is clean. Returns false, with nothing done, where it is not.
    async fn rename_clean(
        &self,
        step: &Move<'_>,
        inode: &Arc<Inode>,
        target: Option<&Arc<Inode>>,
        mode: RenameMode,
    ) -> FsResult<bool> {
        let file = inode.file().ok_or(Posix::IsDir)?;
        let facts = match &file.lock().content {
            Content::Clean { facts, .. } => facts.clone(),
            Content::Dirty(_) => return Ok(false),
        };
        let moved = |facts: &Facts, key: &RawKey| {
            self.inodes.rename(inode, step.to_parent, step.to_name);
            let mut state = file.lock();
            let state = &mut *state;
            match &mut state.content {
                Content::Clean { facts: old, replica } => {
                    *replica = replica.is_some().then(|| self.replica(key, facts));
                    *old = facts.clone();
                    state.kernel_version = state.kernel_version.take().map(|_| facts.version.clone());
                }
                // Written to while the server copied: what it is based on has moved.
                Content::Dirty(dirty) => {
                    let replica = self.replica(key, facts);
                    dirty.rebase(Base { key: key.clone(), facts: facts.clone(), replica });
                }
            }
        };
        self.move_object(step, &facts, target, mode, moved).await?;
        Ok(true)
    }

    /// Copies the object, tells `moved` what is under the new key, and deletes the old object: a reader finds the bytes under the
    /// one key or the other at every moment.
    async fn move_object(
        &self,
        step: &Move<'_>,
        facts: &Facts,
        target: Option<&Arc<Inode>>,
        mode: RenameMode,
        moved: impl FnOnce(&Facts, &RawKey),
    ) -> FsResult<()> {
        let (from, to) = (name::key(&step.from_dir, step.from_name)?, name::key(&step.to_dir, step.to_name)?);
        let condition = match mode {
            RenameMode::KeepTarget => Condition::IfAbsent,
            RenameMode::Replace => Condition::None,
        };
        let replaced = target.and_then(|target| self.dirty_content(target));
        // The target's own publish must not come after the copy.
        let _one = match &replaced {
            Some(dirty) => Some(dirty.publishing.lock().await),
            None => None,
        };
        if let Some(target) = target {
            self.complete_for_readers(target, &to).await?;
        }
        let version = self.store.copy(&from, &facts.version, &to, condition).await?;
        if let Some(target) = target {
            self.inodes.unlink(target);
        }
        if let Some(dirty) = &replaced {
            self.abort_upload(dirty).await;
        }
        let facts = Facts { version, ..facts.clone() };
        self.remember_name(&step.to_dir, step.to_name, Known::File(facts.clone()));
        moved(&facts, &to);
        self.store.delete(&from, Condition::None).await?;
        self.remember_name(&step.from_dir, step.from_name, Known::Absent);
        Ok(())
    }

    async fn rename_dirty(
        &self,
        step: &Move<'_>,
        inode: &Arc<Inode>,
        dirty: &Arc<DirtyFile>,
        target: Option<&Arc<Inode>>,
        mode: RenameMode,
    ) -> FsResult<()> {
        let _one = dirty.publishing.lock().await;
        self.abort_upload(dirty).await;
        match dirty.base().map(|base| base.facts).or_else(|| dirty.published_facts()) {
            Some(facts) if dirty.in_bucket.load(Ordering::Acquire) => {
                let moved = |facts: &Facts, key: &RawKey| {
                    let replica = self.replica(key, facts);
                    dirty.rebase(Base { key: key.clone(), facts: facts.clone(), replica });
                    self.inodes.rename(inode, step.to_parent, step.to_name);
                };
                self.move_object(step, &facts, target, mode, moved).await?;
            }
            _ => {
                // Nothing of it is in the bucket, but what it replaces may be.
                self.remove_file(target, &step.to_dir, step.to_name).await?;
                self.inodes.rename(inode, step.to_parent, step.to_name);
            }
        }
        dirty.must_be_absent.store(false, Ordering::Release);
        let key = name::key(&step.to_dir, step.to_name)?;
        let intent = self.intent(key.as_str(), dirty.base().as_ref());
        dirty.replica.set_intent(intent)?;
        Ok(())
    }
}

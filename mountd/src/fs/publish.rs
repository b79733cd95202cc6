//! Publishing: when a written file becomes a version of its object, and what it is afterwards.
//!
//! Owns: `publish`, what a failed one leaves, and `settle`. How the bytes are sent is `sending`'s.
//!
//! Invariant: a failed publish leaves the local bytes and the parts sent; the next one goes on from there.

use super::dirty::{Base, DirtyFile};
use super::error::{FsError, FsResult, Posix};
use super::inode::{Belief, Content, Inode};
use super::namespace::Known;
use super::object_stat::ObjectStat;
use super::sending::Published;
use super::{BucketFs, Stale};
use pail_store::{Condition, RawKey};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

impl BucketFs {
    /// Makes the file's present state an object version, if it is not one already, and unless the file is removed before that. Errors: the
    /// store's, ESTALE when somebody else changed the object, EEXIST when it had to be absent; the local bytes are kept. Who waits
    /// while another tries the same fails with them: one after the other, each would wait for the retries' deadline.
    pub(super) async fn publish(&self, inode: &Arc<Inode>, dirty: &Arc<DirtyFile>) -> FsResult<()> {
        let asked = Instant::now();
        loop {
            dirty.removers.wait_zero().await;
            let _one = inode.changing.lock().await;
            if dirty.removers.any() {
                continue;
            }
            if dirty.needs_publishing()
                && let Some(error) = dirty.failed_since(asked)
            {
                return Err(error);
            }
            let (began, generation) = (Instant::now(), dirty.generation());
            match self.publish_alone(inode, dirty).await {
                // For somebody who removes the file, and who may fail to.
                Err(FsError::Posix(Posix::Interrupted)) => {}
                Err(error) => {
                    dirty.set_attempt_failed(began, generation, error.clone());
                    self.log_ways_out(inode, dirty);
                    return Err(error);
                }
                Ok(()) => return Ok(()),
            }
        }
    }

    /// As `publish`, for who holds `changing`. Errors: EINTR too, where it was given up for who removes the file.
    async fn publish_alone(&self, inode: &Arc<Inode>, dirty: &Arc<DirtyFile>) -> FsResult<()> {
        if !dirty.needs_publishing() || inode.is_unlinked() {
            return Ok(());
        }
        if inode.is_superseded() {
            if matches!(dirty.condition(), Condition::IfAbsent) {
                // Its name was given up when that was found out, and why is on record.
                return Err(Posix::Exists.into());
            }
            let error = FsError::Stale(format!(
                "{} was replaced by somebody else since it was opened; {}",
                inode.path(),
                kept_of(dirty)
            ));
            dirty.set_failed(dirty.generation(), error.to_string());
            return Err(error);
        }
        let key = self.key_of(inode)?;
        let _publishing = dirty.begin_publishing();
        let (started, generation) = (Instant::now(), dirty.generation());
        // Without a condition the publish replaces whatever is there.
        let looked = match dirty.condition() {
            Condition::None => Ok(()),
            _ => self.resolve_in_doubt(inode, dirty).await,
        };
        let sent = match looked {
            Ok(()) if !dirty.needs_publishing() => return Ok(()),
            Ok(()) => self.send(dirty, &key).await,
            Err(error) => Err(error),
        };
        let sent = match sent {
            // The upload is gone in the store: aborted by a lifecycle rule, or by somebody. What was sent of it is gone with it.
            Err(error) if error.is_absent() && dirty.upload().active().is_some() => {
                self.abort_upload(dirty).await;
                self.send(dirty, &key).await
            }
            sent => sent,
        };
        let published = match sent {
            Ok(published) => published,
            Err(FsError::Posix(Posix::Interrupted)) => return Err(Posix::Interrupted.into()),
            Err(error) => {
                let error = self.publish_failed(dirty, generation, &key, error);
                if matches!(error, FsError::Posix(Posix::Exists)) {
                    self.give_up_name(inode).await;
                }
                return Err(error);
            }
        };
        tracing::info!(mount = %self.options.mount_name, key = %key, bytes = published.len, version = %published.version,
            ms = started.elapsed().as_millis() as u64, "published");
        self.set_published(inode, dirty, published)
    }

    /// A state of the file, whose `changing` the caller holds, is in the bucket.
    pub(super) fn set_published(
        &self,
        inode: &Inode,
        dirty: &DirtyFile,
        published: Published,
    ) -> FsResult<()> {
        let (dir, name) = self.dir_and_name(inode)?;
        let key = super::name::key(&dir, &name)?;
        let stat = ObjectStat {
            size: published.len,
            version: published.version,
            mtime: dirty.mtime(),
            store_time: None,
            carried: dirty.kept().as_carried(),
        };
        self.remember_name(&dir, &name, Known::File(stat.clone()));
        let replica = self.replica(&key, &stat);
        dirty.set_published(published.generation, Base { key, stat, replica });
        drop(published.completing);
        self.counters.published.fetch_add(1, Ordering::Relaxed);
        // The calls that publish.
        for operation in ["close", "fsync", "release"] {
            self.note_success(operation, || inode.path());
        }
        Ok(())
    }

    fn publish_failed(&self, dirty: &DirtyFile, generation: u64, key: &RawKey, error: FsError) -> FsError {
        let error = match dirty.condition() {
            Condition::IfAbsent if error.is_version_gone() => Posix::Exists.into(),
            Condition::IfVersion(version) if error.is_version_gone() => FsError::Stale(format!(
                "{key} was changed by somebody else since version {version} was opened; {}",
                kept_of(dirty)
            )),
            _ => error,
        };
        tracing::error!(mount = %self.options.mount_name, key = %key, error = %error,
            local = %dirty.replica.path().display(), whole = dirty.replica.is_whole(), "publishing failed; the local bytes are kept");
        let reason = match error {
            FsError::Posix(Posix::Exists) => format!("{key} was created by somebody else meanwhile"),
            _ => error.to_string(),
        };
        dirty.set_failed(generation, reason);
        error
    }

    /// Somebody else created the object of a file that had to be the first (`O_EXCL`): the name leads to theirs from here on, and this
    /// file goes on without one, its bytes kept for whoever wants them.
    async fn give_up_name(&self, inode: &Arc<Inode>) {
        // Where the other's object cannot be looked at, or is gone again, the name stays this file's until the next attempt.
        let Ok((dir, name)) = self.dir_and_name(inode) else { return };
        let Ok((Known::File(_), _)) = self.look_again(&dir, &name).await else { return };
        self.inodes.supersede(inode);
        if let Some(parent) = inode.place().parent {
            self.tell_stale(Stale::Name(parent.ino, name));
        }
    }

    /// Replaces the dirty content by the clean replica of what was published, once nobody may write any more.
    pub(super) async fn settle(&self, inode: &Arc<Inode>, dirty: &Arc<DirtyFile>) {
        if dirty.needs_publishing() {
            return;
        }
        self.cache.room_to_adopt().await;
        let Some(file) = inode.file() else { return };
        // Whoever is changing it settles it afterwards.
        let Ok(_one) = inode.changing.try_lock() else { return };
        let mut state = file.lock();
        let is_current = matches!(&state.content, Content::Dirty(current) if Arc::ptr_eq(current, dirty));
        if !is_current || state.writers > 0 || dirty.needs_publishing() || inode.is_unlinked() {
            return;
        }
        let Some(stat) = dirty.published_stat() else { return };
        if stat.version.is_unknown() {
            // The store tells no versions: what is here cannot be told from what somebody else may put there.
            if state.opens == 0 {
                state.content = Content::Clean { stat, replica: None };
                state.as_of = Instant::now();
                dirty.replica.discard_behind();
            }
            return;
        }
        let Ok(id) = self.key_of(inode).map(|key| self.replica_id(&key, &stat.version)) else { return };
        let replica = self.cache.adopt(&dirty.replica, id);
        state.content = Content::Clean { stat, replica: Some(replica) };
        (state.as_of, state.belief) = (Instant::now(), Belief::Told);
    }
}

/// What the local disk has of a file whose version in the bucket is no longer there.
fn kept_of(dirty: &DirtyFile) -> String {
    let which = match dirty.replica.is_whole() {
        true => "the local bytes are kept",
        false => "only what was written of it is kept",
    };
    format!("{which} in {}", dirty.replica.path().display())
}

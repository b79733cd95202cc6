//! Revalidation: whether the version that an open file is to have still stands.
//!
//! Owns: [`BucketFs::revalidate`], which every open of a clean file goes through, and `look_again`, the question what a name stands for
//! now, for whoever found that it is not what was remembered.
//!
//! # Why at open, and never later
//! A name is believed for `metadata_ttl`, and the kernel has the length from the same listing. An object that another client replaced
//! meanwhile shows when the first byte is fetched. Were that in a READ, it would be too late: the kernel, which learns no length by
//! a READ, would show the new bytes cut or filled up to the old length, and append at the old end. An open can be refused with ESTALE
//! instead, upon which the kernel looks the name up anew, learns the new length, and opens what it finds (`do_filp_open` in fs/namei.c
//! tries once more with LOOKUP_REVAL); the program notices nothing. So the first fetch is made when the file is opened and waited for
//! there. Of a file that is not cached it costs no request more than a read would have.
//!
//! A file all of which is cached is opened for reading without a request, as `metadata_ttl` allows; of a large one that is cached in part a
//! HEAD is enough. One that is opened for writing is always asked for: what is written would be a change of the version that it is
//! believed to have.
//!
//! Invariant: from open to close the version of a handle that is not written stays the same.

use super::error::{FsError, FsResult, Posix};
use super::fetch::{ObjectFetch, Told};
use super::handle::Handle;
use super::inode::{Belief, Content, FileState, Inode};
use super::namespace::Known;
use super::object_stat::ObjectStat;
use super::{BucketFs, Stale, name};
use pail_cache::{BLOCK_SIZE_BYTES, Fetch, Presence, Replica};
use pail_store::{ErrorKind, RawKey, Version};
use std::sync::Arc;
use std::time::Instant;

/// What is fetched by opening a file, from the first byte that is missing on: what a program that reads in order asks for first.
const OPEN_FETCH_BYTES: u64 = 2 << 20;
/// How often one open follows an object that is replaced meanwhile.
const ATTEMPTS: usize = 4;

impl BucketFs {
    /// Asks for the version of a clean file of which a listing told none; gives whether it was asked for. Errors: [`FsError::Moved`] where the
    /// name stands for something else; the store's.
    pub(super) async fn learn_version(&self, inode: &Inode) -> FsResult<bool> {
        let Some(file) = inode.file() else { return Ok(false) };
        let is_unknown =
            matches!(&file.lock().content, Content::Clean { stat, .. } if stat.version.is_unknown());
        if !is_unknown {
            return Ok(false);
        }
        let (dir, name) = self.dir_and_name(inode)?;
        match self.look_again(&dir, &name).await? {
            (Known::File(now), as_of) if file.lock().learn_version(&now, as_of) => Ok(true),
            _ => Err(FsError::Moved),
        }
    }

    /// Makes sure that the version of a file which was just opened, and whose replica is there, still stands. Where it does not, the
    /// inode is rebound to the present one, if its length is the same and nobody else has it open. `was_asked` says that the store has
    /// just told it. Errors: [`FsError::Moved`]: the name is to be looked up anew, what it stands for now is remembered; the store's.
    pub(super) async fn revalidate(&self, handle: &Handle, was_asked: bool) -> FsResult<()> {
        let inode = &handle.inode;
        for _ in 0..ATTEMPTS {
            let Some((stat, replica)) = clean_content(inode) else { return Ok(()) };
            if stat.version.is_unknown() {
                // Also a HEAD tells no version here: nothing can be pinned.
                return Ok(());
            }
            let key = self.key_of(inode)?;
            match self.ask_for_version(handle, &key, &stat, &replica, was_asked).await {
                Err(error) if error.is_version_gone() => {}
                asked => return asked,
            }
            if self.key_of(inode)? != key
                || clean_content(inode).is_none_or(|(now, _)| now.version != stat.version)
            {
                // Renamed or published by this mount meanwhile: it is asked for as what it is now.
                continue;
            }
            let (dir, name) = self.dir_and_name(inode)?;
            let (known, as_of) = self.look_again(&dir, &name).await?;
            match known {
                Known::File(now) if rebind_in_place(inode, &stat.version, &now, as_of) => {
                    tracing::debug!(mount = %self.options.mount_name, key = %key, from = %stat.version, to = %now.version,
                        "replaced since it was listed; opened as it is now");
                    self.pin(inode)?;
                    // The kernel still has the old time.
                    self.tell_stale(Stale::Attributes(inode.ino));
                }
                _ => return Err(FsError::Moved),
            }
        }
        Err(FsError::Moved)
    }

    /// Asks for the version: by the first bytes that are missing of it, where the program will most likely want them, else by a HEAD, unless
    /// the store was asked just now. Errors: it is gone; the store's.
    async fn ask_for_version(
        &self,
        handle: &Handle,
        key: &RawKey,
        stat: &ObjectStat,
        replica: &Arc<Replica>,
        was_asked: bool,
    ) -> FsResult<()> {
        let inode = &handle.inode;
        let is_believed = inode.file().is_some_and(|file| file.lock().belief == Belief::Told);
        match replica.presence() {
            Presence::Complete if !handle.changes && is_believed => Ok(()),
            // Of a small file that is changed all bytes are sent, and so needed. Who opens a larger one that is here in part may want
            // nothing else of it.
            Presence::MissingFrom(start)
                if start == 0 && !handle.changes || stat.size <= self.sent_whole_bytes_max() =>
            {
                let told = Told::default();
                let fetch: Arc<dyn Fetch> = ObjectFetch::paced(
                    self.store.clone(),
                    key.clone(),
                    stat,
                    self.pace.clone(),
                    Some(told.clone()),
                );
                let end = stat.size.min(start + OPEN_FETCH_BYTES);
                handle.prefetcher.opened(replica.prefetch(start..end, &fetch));
                replica.read(start..end.min(start + BLOCK_SIZE_BYTES), &fetch).await?;
                // Where another fetches these bytes already, nothing is told here.
                if let (Some(attributes), Some(file)) = (told.get(), inode.file()) {
                    let carried = self.told_by_read(attributes, handle.changes);
                    file.lock().confirm(&stat.version, &carried, key.as_str());
                }
                Ok(())
            }
            _ if was_asked => Ok(()),
            // Also where all is being fetched: that was asked for earlier.
            Presence::MissingFrom(0) | Presence::UnderWay | Presence::Complete => {
                self.check_version(inode, &stat.version).await
            }
            Presence::MissingFrom(_) => match self.check_version(inode, &stat.version).await {
                // What is cached can be read all the same, and is of one version.
                Err(error) if !handle.changes && error.is_unreachable() => Ok(()),
                checked => checked,
            },
        }
    }

    /// Makes sure that the version of a clean file which nobody has open for writing, and which is about to be changed by its name,
    /// still stands. Errors: [`FsError::Moved`], as of `revalidate`; the store's.
    pub(super) async fn revalidate_name(&self, inode: &Inode) -> FsResult<()> {
        let Some(file) = inode.file() else { return Ok(()) };
        if self.learn_version(inode).await? {
            return Ok(());
        }
        let version = match &*file.lock() {
            FileState { content: Content::Clean { stat, .. }, writers: 0, .. } => stat.version.clone(),
            _ => return Ok(()),
        };
        self.check_version(inode, &version).await
    }

    /// Asks whether a version of a file still stands. Errors: [`FsError::Moved`] where it does not; the store's.
    async fn check_version(&self, inode: &Inode, version: &Version) -> FsResult<()> {
        let (dir, name) = self.dir_and_name(inode)?;
        let now = self.look_again(&dir, &name).await?.0;
        let mut state = inode.file().ok_or(Posix::IsDir)?.lock();
        match now {
            Known::File(now) if now.version.is(version) => {
                state.confirm(version, &now.carried, &name);
                Ok(())
            }
            _ => {
                state.outdate(version);
                Err(FsError::Moved)
            }
        }
    }

    /// Asks the bucket what a name stands for now, and remembers that; with when it was asked. Errors: the store's.
    pub(super) async fn look_again(&self, dir: &str, name: &str) -> FsResult<(Known, Instant)> {
        let key = name::key(dir, name)?;
        let sent = Instant::now();
        match self.store.head(&key).await {
            Ok(mut meta) => {
                meta.attributes = meta.attributes.map(|attributes| self.attributes.share(attributes));
                let known = Known::File(ObjectStat::from(&meta));
                self.namespace.lock().put(dir, name, known.clone(), sent);
                Ok((known, sent))
            }
            // A directory may have taken its place; or the server knows no HEAD.
            Err(error) if matches!(error.kind, ErrorKind::NotFound | ErrorKind::Unsupported) => {
                self.ask_for_name(dir, name).await
            }
            Err(error) => Err(error.into()),
        }
    }

    /// What a read finds out whose version is gone: whether the file merely has another content by now, so that the read is to begin
    /// anew. Errors: it has not, ESTALE; who opens its name from now on finds what is there.
    pub(super) async fn check_gone(
        &self,
        inode: &Arc<Inode>,
        read: &Content,
        error: FsError,
    ) -> FsResult<()> {
        let file = inode.file().ok_or(Posix::IsDir)?;
        if matches!(read, Content::Clean { .. }) {
            // Who is renaming it may have moved the object, and not said so yet.
            drop(inode.changing.lock().await);
        }
        let asked = match &error {
            FsError::Store(error) => error.key.clone(),
            _ => None,
        };
        if !inode.is_unlinked() && asked.is_some_and(|asked| self.key_of(inode).is_ok_and(|key| key != asked))
        {
            // Renamed while it was read: under its new name it has the same bytes.
            return Ok(());
        }
        let gone = match (read, &file.lock().content) {
            (Content::Clean { stat: read, .. }, Content::Clean { stat: now, .. }) if read.is_same(now) => {
                read.version.clone()
            }
            (Content::Dirty(read), Content::Dirty(now)) if Arc::ptr_eq(read, now) => {
                // Truncated to nothing meanwhile, it needs no base.
                let Some(base) = read.base() else { return Ok(()) };
                return Err(FsError::Stale(format!("{error}: version {} was opened", base.stat.version)));
            }
            // It is another content by now, which may well have the bytes.
            _ => return Ok(()),
        };
        if !inode.is_unlinked()
            && let Ok((dir, name)) = self.dir_and_name(inode)
            && self.look_again(&dir, &name).await.is_ok()
            && let Some(parent) = inode.place().parent
        {
            self.tell_stale(Stale::Name(parent.ino, name));
        }
        Err(FsError::Stale(format!("{error}: version {gone} was opened and is gone")))
    }
}

/// What a clean file is, and its replica; `None` where it was written.
fn clean_content(inode: &Inode) -> Option<(ObjectStat, Arc<Replica>)> {
    match &inode.file()?.lock().content {
        Content::Clean { stat, replica } => Some((stat.clone(), replica.clone()?)),
        Content::Dirty(_) => None,
    }
}

/// Rebinds a file from version `from` to `now`, where the kernel has the right length of that and nobody has seen a byte of the other:
/// whoever opened it is the only one.
fn rebind_in_place(inode: &Inode, from: &Version, now: &ObjectStat, as_of: Instant) -> bool {
    let Some(file) = inode.file() else { return false };
    let mut state = file.lock();
    let is_alone = state.opens == 1;
    match &mut state.content {
        Content::Clean { stat, replica } if is_alone && stat.version == *from && stat.size == now.size => {
            (*stat, *replica) = (now.clone(), None);
            (state.as_of, state.belief) = (as_of, Belief::Told);
            state.kernel.has_stale_pages = true;
            true
        }
        _ => false,
    }
}

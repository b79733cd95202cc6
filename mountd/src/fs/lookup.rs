//! Finding names: from what was written here, from listings, from the bucket.
//!
//! Owns: `lookup`, `getattr`, `forget`, and how a name is asked for.
//!
//! # Why a flat listing for each unknown name
//! `HEAD name` and `LIST name/` are two requests, and tell one name. `LIST` of the prefix `dir/name`, without a
//! delimiter, is one: it tells whether `name` is an object, whether it is a directory, and up to 1,000 keys below it, which is
//! all there is in most directories. So a path is walked in about one request, and the files found in a directory cost none.

use super::BucketFs;
use super::attr::{Attr, Entry};
use super::error::{FsError, FsResult, Posix};
use super::inode::{Content, Inode, Kind, ROOT};
use super::name;
use super::namespace::Known;
use pail_store::{KEY_LEN_BYTES_MAX, ListPage, ListRequest, ObjectMeta};
use std::ffi::OsStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

impl BucketFs {
    /// Takes a page of the flat listing of everything, asked for at `sent`, so that the first lookups are answered.
    pub fn prime(&self, page: &ListPage, sent: Instant) {
        let mut page = page.clone();
        self.keep_within(&self.options.prefix, &mut page);
        self.namespace.lock().absorb_flat(&self.options.prefix, &page, sent);
    }

    /// The inode of `name` in a directory; the kernel holds one more reference to it. `Ok(None)` says that there is none, for
    /// as long as the duration says. Errors: ENOTDIR, EILSEQ, ENAMETOOLONG, the store's.
    pub async fn lookup(&self, parent: u64, name: &OsStr) -> FsResult<Result<Entry, Duration>> {
        self.counters.count("lookup");
        let found = self.find(parent, name).await?;
        Ok(found.map(|(inode, ttl)| self.entry(&inode, ttl)))
    }

    /// The inode of a name with one more reference, and how long that may be believed; how long, where there is none. Errors: as of
    /// `lookup`.
    async fn find(&self, parent: u64, name: &OsStr) -> FsResult<Result<(Arc<Inode>, Duration), Duration>> {
        let name = name::parse(name)?;
        let parent = self.directory(parent)?;
        if let Some(inode) = self.inodes.introduce_found(|_| self.written_here(&parent, name)) {
            return Ok(Ok((inode, self.options.metadata_ttl)));
        }
        let dir = self.dir_prefix(&parent);
        name::key(&dir, name)?;
        let (known, as_of) = self.resolve(&dir, name).await?;
        let ttl = self.options.metadata_ttl.saturating_sub(as_of.elapsed());
        if let Some(inode) = self.inodes.introduce_found(|_| self.written_here(&parent, name)) {
            // Made while the store was asked.
            return Ok(Ok((inode, ttl)));
        }
        Ok(self.introduce(&parent, name, known, as_of).map(|inode| (inode, ttl)).ok_or(ttl))
    }

    /// Whether a path, relative to the mount, leads to anything. Errors: EILSEQ, the store's. Cut off in between it leaves
    /// an inode in the table.
    pub async fn is_there(&self, path: &str) -> FsResult<bool> {
        let mut ino = ROOT;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            // The kernel hears nothing of it.
            let found = self.find(ino, OsStr::new(name)).await;
            self.forget(ino, 1);
            ino = match found {
                Ok(Ok((inode, _))) => inode.ino,
                Ok(Err(_)) | Err(FsError::Posix(Posix::NotFound | Posix::NotDir | Posix::NameTooLong)) => {
                    return Ok(false);
                }
                Err(error) => return Err(error),
            };
        }
        self.forget(ino, 1);
        Ok(true)
    }

    /// An inode for what is known of a name, with one more reference of the kernel.
    pub(super) fn introduce(
        &self,
        parent: &Arc<Inode>,
        name: &str,
        known: Known,
        as_of: Instant,
    ) -> Option<Arc<Inode>> {
        match known {
            Known::Absent => None,
            Known::Dir => Some(self.inodes.introduce(|table| table.dir(parent, name))),
            Known::File(stat) => Some(self.inodes.introduce(|table| table.file(parent, name, stat, as_of))),
        }
    }

    pub(super) fn entry(&self, inode: &Inode, ttl: Duration) -> Entry {
        Entry { attr: Attr { ttl, ..self.attr(inode) }, ttl }
    }

    /// The inode of a name that this mount knows better than the bucket: it was written and is not published.
    pub(super) fn written_here(&self, parent: &Inode, name: &str) -> Option<Arc<Inode>> {
        let inode = self.inodes.child(parent, name)?;
        let dirty = inode.file().is_some_and(|file| matches!(file.lock().content, Content::Dirty(_)));
        dirty.then_some(inode)
    }

    /// What `name` in `dir` is, and when the request was sent that told so. Errors: the store's.
    pub(super) async fn resolve(&self, dir: &str, name: &str) -> FsResult<(Known, Instant)> {
        if let Some(oldest) = self.oldest()
            && let Some(known) = self.namespace.lock().lookup(dir, name, oldest)
        {
            return Ok(known);
        }
        self.ask_for_name(dir, name).await
    }

    /// Asks the bucket what `name` in `dir` is, whatever is remembered; when the request was sent that told so. Errors: the store's.
    pub(super) async fn ask_for_name(&self, dir: &str, name: &str) -> FsResult<(Known, Instant)> {
        let sent = Instant::now();
        let path = format!("{dir}{name}");
        let page = self.list(ListRequest { prefix: path.clone(), ..ListRequest::default() }).await?;
        {
            let mut namespace = self.namespace.lock();
            namespace.absorb_flat(&path, &page, sent);
            if let Some(known) = namespace.lookup(dir, name, sent) {
                return Ok(known);
            }
        }
        // A thousand siblings stand before `name/`. The object `name` would have come first.
        let object = page.objects.first().filter(|object| object.key.as_str() == path);
        let file = object.map_or(Known::Absent, |object| Known::File(object.into()));
        let below = format!("{path}/");
        let page = self.list(ListRequest { prefix: below.clone(), ..ListRequest::default() }).await?;
        let known = match page.objects.is_empty() && page.names_too_long.is_empty() {
            true => file,
            false => Known::Dir,
        };
        let mut namespace = self.namespace.lock();
        namespace.absorb_flat(&below, &page, sent);
        namespace.put(dir, name, known.clone(), sent);
        Ok(namespace.lookup(dir, name, sent).unwrap_or((known, sent)))
    }

    /// The attributes of an inode. Errors: ENOENT when it is gone, the store's.
    pub async fn getattr(&self, ino: u64) -> FsResult<Attr> {
        self.counters.count("getattr");
        let inode = self.inode(ino)?;
        self.refresh(&inode).await?;
        Ok(self.attr(&inode))
    }

    /// Asks the bucket again for a file that nobody has open, once what is known of it is too old.
    async fn refresh(&self, inode: &Arc<Inode>) -> FsResult<()> {
        let Some(file) = inode.file() else { return Ok(()) };
        let is_current = |as_of: Instant| self.oldest().is_some_and(|oldest| as_of >= oldest);
        {
            let state = file.lock();
            let pinned = state.opens > 0 || matches!(state.content, Content::Dirty(_));
            if pinned || is_current(state.as_of) || inode.is_unlinked() {
                return Ok(());
            }
        }
        let place = inode.place();
        let parent = place.parent.ok_or(Posix::Invalid)?;
        match self.resolve(&self.dir_prefix(&parent), &place.name).await? {
            (Known::File(stat), as_of) => {
                // Opened meanwhile, it keeps its version, and the name got an inode that nobody may come to ask for.
                let found = self.inodes.file(&parent, &place.name, stat, as_of);
                self.inodes.release(&found);
                Ok(())
            }
            _ => Err(FsError::from(Posix::NotFound)),
        }
    }

    /// The kernel dropped `count` references to an inode.
    pub fn forget(&self, ino: u64, count: u64) {
        if ino != ROOT {
            self.inodes.forget(ino, count);
        }
    }

    /// An entry of a directory was given up before the kernel was told of it.
    pub fn forget_untold(&self, ino: u64) {
        if let Some(file) = self.inodes.get(ino).as_ref().and_then(|inode| inode.file()) {
            file.lock().kernel.has_stale_length = true;
        }
        self.forget(ino, 1);
    }

    /// Looks whether a directory holds anything, published or not; its marker, where it has one. Errors: ENOTEMPTY, with a key where all that it
    /// holds is hidden; the store's.
    pub(super) async fn check_empty(&self, dir: &Arc<Inode>) -> FsResult<Option<ObjectMeta>> {
        let prefix = self.dir_prefix(dir);
        let written = |(name, _): &(Arc<str>, Arc<Inode>)| self.written_here(dir, name).is_some();
        if self.inodes.children(dir).iter().any(written) {
            return Err(Posix::NotEmpty.into());
        }
        let request = ListRequest { prefix: prefix.clone(), max_keys: Some(2), ..ListRequest::default() };
        let mut page = self.list(request).await?;
        let holds = |page: &ListPage| {
            let held = page.objects.iter().filter(|object| object.key.as_str() != prefix || object.size > 0);
            let held = held.map(|object| object.key.as_str());
            held.chain(page.names_too_long.iter().map(String::as_str)).map(str::to_owned).collect::<Vec<_>>()
        };
        let is_shown = |key: &String| {
            let rest = &key[prefix.len()..];
            let first = rest.split('/').next().unwrap_or_default();
            name::is_showable(first) && (key.len() <= KEY_LEN_BYTES_MAX || first.len() < rest.len())
        };
        if page.next.is_some() && !holds(&page).iter().any(is_shown) {
            // Behind hidden keys there may be others: a page of them tells enough for the reason that is given.
            page = self.list(ListRequest { prefix: prefix.clone(), ..ListRequest::default() }).await?;
        }
        let held = holds(&page);
        match held.first() {
            None => Ok(page.objects.into_iter().find(|object| object.key.as_str() == prefix)),
            Some(hidden) if !held.iter().any(is_shown) => Err(FsError::OnlyHidden(hidden.clone())),
            Some(_) => Err(Posix::NotEmpty.into()),
        }
    }

    /// The directory of a kind that callers may change things in.
    pub(super) fn writable_directory(&self, ino: u64) -> FsResult<Arc<Inode>> {
        self.check_writable()?;
        let inode = self.directory(ino)?;
        debug_assert_eq!(inode.kind, Kind::Dir);
        Ok(inode)
    }
}

//! Listing directories while the pages of the listing still arrive.
//!
//! Owns: `opendir`, `readdir`, `releasedir`, and [`DirCursor`], how far one open directory's listing has come.
//!
//! Invariants:
//! - An entry's offset is its place in the handle's own sequence: reading from an offset gives the same entries again.
//! - A name is shown once. Where `x` and `x/` both exist, the directory is shown; a file is held back until the listing has passed
//!   the place where its directory would be.
//! - What was written here and is not in the bucket is shown; what was removed here is not.

use super::BucketFs;
use super::attr::Entry;
use super::error::{FsResult, Posix};
use super::handle::DirHandle;
use super::inode::Inode;
use super::name;
use super::namespace::{Known, page_end};
use pail_store::ListRequest;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

/// Entries handed to the adapter at a time.
const BATCH_ENTRIES: usize = 512;

/// One name of a directory.
#[derive(Debug, Clone)]
pub struct DirEntry {
    /// The name; `.` and `..` among them.
    pub name: Arc<str>,
    /// Whether it is a directory.
    pub is_dir: bool,
    /// Where the next entry is.
    pub next_offset: u64,
    known: Listed,
}

#[derive(Debug, Clone)]
enum Listed {
    /// `.` and `..`.
    Dots,
    /// From the bucket, as of a moment.
    Bucket(Known, Instant),
    /// Written here.
    Local(u64),
}

/// Where the next page comes from.
enum Next {
    Start,
    Token(String),
    End,
}

/// How far one open directory's listing has come.
pub struct DirCursor {
    entries: Vec<DirEntry>,
    next: Next,
    /// Where the last page ended, relative to the directory.
    after: String,
    /// Files whose directory may still turn up.
    held_back: Vec<(Arc<str>, Known)>,
    sent: Instant,
}

impl DirCursor {
    fn new() -> Self {
        let mut cursor = Self {
            entries: Vec::new(),
            next: Next::Start,
            after: String::new(),
            held_back: Vec::new(),
            sent: Instant::now(),
        };
        cursor.push(".".into(), true, Listed::Dots);
        cursor.push("..".into(), true, Listed::Dots);
        cursor
    }

    fn push(&mut self, name: Arc<str>, is_dir: bool, known: Listed) {
        let next_offset = self.entries.len() as u64 + 1;
        self.entries.push(DirEntry { name, is_dir, next_offset, known });
    }

    fn push_known(&mut self, name: Arc<str>, known: Known) {
        let sent = self.sent;
        match known {
            Known::Absent => {}
            Known::Dir => self.push(name, true, Listed::Bucket(known, sent)),
            Known::File(_) => self.push(name, false, Listed::Bucket(known, sent)),
        }
    }
}

impl BucketFs {
    /// Opens a directory. Errors: ENOTDIR, ENOENT.
    pub fn opendir(&self, ino: u64) -> FsResult<u64> {
        self.counters.count("opendir");
        let inode = self.directory(ino)?;
        Ok(self.handles.add_dir(DirHandle { inode, cursor: tokio::sync::Mutex::new(DirCursor::new()) }))
    }

    /// Closes a directory.
    pub fn releasedir(&self, handle: u64) {
        self.handles.remove_dir(handle);
    }

    /// Some of the entries from `offset` on; none at the end. Offset 0 begins anew. Errors: EBADF, the store's.
    pub async fn readdir(&self, handle: u64, offset: u64) -> FsResult<Vec<DirEntry>> {
        self.counters.count("readdir");
        let handle = self.handles.get_dir(handle).ok_or(Posix::BadHandle)?;
        let mut cursor = handle.cursor.lock().await;
        if offset == 0 && !matches!(cursor.next, Next::Start) {
            *cursor = DirCursor::new();
        }
        let offset = usize::try_from(offset).map_err(|_| Posix::Invalid)?;
        // The dots alone do not make a batch: with them comes the first page.
        while cursor.entries.len() <= offset.max(2) && !matches!(cursor.next, Next::End) {
            self.next_page(&handle.inode, &mut cursor).await?;
        }
        Ok(cursor.entries.iter().skip(offset).take(BATCH_ENTRIES).cloned().collect())
    }

    async fn next_page(&self, inode: &Arc<Inode>, cursor: &mut DirCursor) -> FsResult<()> {
        let dir = self.dir_prefix(inode);
        // Where it goes on changes only once the page is here: the call may fail, or be given up while it waits.
        let token = match &cursor.next {
            Next::End => return Ok(()),
            Next::Token(token) => Some(token.clone()),
            Next::Start => {
                if let Some(names) =
                    self.oldest().and_then(|oldest| self.namespace.lock().complete(&dir, oldest))
                {
                    let local = self.local_names(inode);
                    for (name, known) in names {
                        if !local.iter().any(|(local, _)| *local == name) {
                            cursor.push_known(name, known);
                        }
                    }
                    self.finish(cursor, local, HashSet::new());
                    return Ok(());
                }
                cursor.sent = Instant::now();
                None
            }
        };
        let request = ListRequest { prefix: dir.clone(), delimiter: true, token, ..ListRequest::default() };
        let page = self.list(request).await?;
        self.take_page(inode, cursor, &dir, page);
        Ok(())
    }

    fn take_page(&self, inode: &Arc<Inode>, cursor: &mut DirCursor, dir: &str, page: pail_store::ListPage) {
        let (sent, after) = (cursor.sent, std::mem::take(&mut cursor.after));
        let mut namespace = self.namespace.lock();
        let end = namespace.absorb_page(dir, &after, &page, sent);
        let names =
            page.objects.iter().map(|o| o.key.as_str()).chain(page.prefixes.iter().map(String::as_str));
        let names: HashSet<&str> = names
            .filter_map(|key| key.strip_prefix(dir))
            .map(|name| name.strip_suffix('/').unwrap_or(name))
            .filter(|name| name::is_showable(name))
            .collect();
        let mut found: Vec<(Arc<str>, Known)> = std::mem::take(&mut cursor.held_back);
        found.retain(|(name, _)| !names.contains(&**name));
        // The namespace knows what was changed here since the request was sent.
        found.extend(
            names.iter().filter_map(|name| Some((Arc::from(*name), namespace.listed(dir, name, sent)?))),
        );
        drop(namespace);
        found.sort_by(|a, b| a.0.cmp(&b.0));
        let local = self.local_names(inode);
        let passed = end.as_ref().map(|_| page_end(dir, &page));
        for (name, known) in found {
            let may_be_dir = matches!(known, Known::File(_))
                && passed.as_ref().is_some_and(|passed| passed.as_str() < format!("{name}/").as_str());
            if local.iter().any(|(local, _)| *local == name) {
                continue;
            }
            if may_be_dir {
                cursor.held_back.push((name, known));
            } else {
                cursor.push_known(name, known);
            }
        }
        match (end, page.next) {
            (Some(end), Some(token)) => (cursor.after, cursor.next) = (end, Next::Token(token)),
            _ => {
                let shown: HashSet<Arc<str>> =
                    cursor.entries.iter().map(|entry| entry.name.clone()).collect();
                // Published while the pages arrived: neither in a page that was asked for before, nor local any more.
                for (name, known) in self.namespace.lock().newer(dir, sent) {
                    if !shown.contains(&name) {
                        cursor.push_known(name, known);
                    }
                }
                let shown = cursor.entries.iter().map(|entry| entry.name.clone()).collect();
                self.finish(cursor, local, shown);
            }
        }
    }

    /// The names below a directory that this mount knows better than the bucket.
    fn local_names(&self, inode: &Inode) -> Vec<(Arc<str>, u64)> {
        let children = self.inodes.children(inode).into_iter();
        children
            .filter(|(name, _)| self.written_here(inode, name).is_some())
            .map(|(name, inode)| (name, inode.ino))
            .collect()
    }

    fn finish(&self, cursor: &mut DirCursor, local: Vec<(Arc<str>, u64)>, shown: HashSet<Arc<str>>) {
        for (name, ino) in local {
            if !shown.contains(&name) {
                cursor.push(name, false, Listed::Local(ino));
            }
        }
        cursor.next = Next::End;
    }

    /// The inode number that stands for a listed name, without making an inode.
    pub fn entry_number(&self, dir_handle: u64, entry: &DirEntry) -> u64 {
        let Some(handle) = self.handles.get_dir(dir_handle) else { return 0 };
        match (&entry.known, &*entry.name) {
            (Listed::Local(ino), _) => *ino,
            (Listed::Dots, ".") => handle.inode.ino,
            (Listed::Dots, _) => handle.inode.place().parent.map_or(handle.inode.ino, |parent| parent.ino),
            (Listed::Bucket(..), name) => self.inodes.number(&handle.inode, name),
        }
    }

    /// The inode of a listed name, with one more reference of the kernel; `None` for the dots, and for what has gone since.
    pub fn introduce_entry(&self, dir_handle: u64, entry: &DirEntry) -> Option<Entry> {
        let handle = self.handles.get_dir(dir_handle)?;
        let (dir, name) = (&handle.inode, &entry.name);
        let ttl = self.options.metadata_ttl;
        if let Some(inode) = self.inodes.introduce_found(|_| self.written_here(dir, name)) {
            return Some(self.entry(&inode, ttl));
        }
        let Listed::Bucket(known, as_of) = &entry.known else { return None };
        // Removed or published since the page arrived?
        let newer = self.namespace.lock().lookup(&self.dir_prefix(dir), name, *as_of);
        let (known, as_of) = newer.unwrap_or_else(|| (known.clone(), *as_of));
        let inode = self.introduce(dir, name, known, as_of)?;
        Some(self.entry(&inode, ttl.saturating_sub(as_of.elapsed())))
    }
}

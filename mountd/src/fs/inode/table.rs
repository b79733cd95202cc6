//! The inodes of a mount, by number and by name.
//!
//! Owns: [`InodeTable`]: which inode a name leads to, and how long each lives. The order of its locks is in the header of `inode`.

use super::{Content, FileState, Inode, Kind, Place, ROOT};
use crate::fs::object_stat::ObjectStat;
use parking_lot::{Mutex, RwLock};
use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

#[derive(Default)]
struct Inner {
    by_ino: HashMap<u64, Arc<Inode>>,
    /// The children that have inodes, by directory and name.
    children: HashMap<u64, BTreeMap<Arc<str>, Arc<Inode>>>,
}

/// All inodes of one mount.
pub struct InodeTable {
    /// Guards the maps. After `Inode::file`.
    inner: Mutex<Inner>,
    /// Held shared while an inode is looked up and the kernel's reference to it is counted, and alone while one is dropped:
    /// so none is dropped in between. Before all others in the lock order.
    introducing: RwLock<()>,
}

impl Default for InodeTable {
    fn default() -> Self {
        let root = Arc::new(Inode {
            ino: ROOT,
            kind: Kind::Dir,
            place: Mutex::new(Place { parent: None, name: "".into(), unlinked: false, superseded: false }),
            file: None,
            attributes: Mutex::default(),
            lookups: AtomicU64::new(1),
            changing: tokio::sync::Mutex::new(()),
        });
        let inner = Inner { by_ino: HashMap::from([(ROOT, root)]), ..Inner::default() };
        Self { inner: Mutex::new(inner), introducing: RwLock::new(()) }
    }
}

impl InodeTable {
    /// The inode of a number, if it is alive.
    pub fn get(&self, ino: u64) -> Option<Arc<Inode>> {
        self.inner.lock().by_ino.get(&ino).cloned()
    }

    /// The inode of a name, if it has one.
    pub fn child(&self, parent: &Inode, name: &str) -> Option<Arc<Inode>> {
        self.inner.lock().children.get(&parent.ino)?.get(name).cloned()
    }

    /// The number that a name has, or would get.
    pub fn number(&self, parent: &Inode, name: &str) -> u64 {
        let inner = self.inner.lock();
        let child = inner.children.get(&parent.ino).and_then(|c| c.get(name));
        child.map_or_else(|| inner.free_number(parent.ino, name), |child| child.ino)
    }

    /// The inodes below a directory that are alive.
    pub fn children(&self, parent: &Inode) -> Vec<(Arc<str>, Arc<Inode>)> {
        let inner = self.inner.lock();
        let children = inner.children.get(&parent.ino);
        children.map(|c| c.iter().map(|(n, i)| (n.clone(), i.clone())).collect()).unwrap_or_default()
    }

    /// Every inode that is alive.
    pub fn all(&self) -> Vec<Arc<Inode>> {
        self.inner.lock().by_ino.values().cloned().collect()
    }

    /// How many inodes are alive.
    pub fn len(&self) -> usize {
        self.inner.lock().by_ino.len()
    }

    /// The directory `name` in `parent`, made if it has no inode. What another kind had the name is unlinked.
    pub fn dir(&self, parent: &Arc<Inode>, name: &str) -> Arc<Inode> {
        let mut inner = self.inner.lock();
        if let Some(child) = inner.children.get(&parent.ino).and_then(|c| c.get(name))
            && child.kind == Kind::Dir
        {
            return child.clone();
        }
        inner.add(parent, name, Kind::Dir, None)
    }

    /// The inode of the object `stat` under `name`, rebound to that version or made anew (see the header). A dirty
    /// inode stays what it is.
    pub fn file(&self, parent: &Arc<Inode>, name: &str, stat: ObjectStat, as_of: Instant) -> Arc<Inode> {
        loop {
            let child = self.child(parent, name);
            let mut state = child.as_ref().and_then(|child| child.file()).map(Mutex::lock);
            if let (Some(child), Some(state)) = (&child, &mut state)
                && state.rebind(&stat, as_of, &child.attributes)
            {
                return child.clone();
            }
            // Still locked: what was decided on holds until the new inode has the name.
            let mut inner = self.inner.lock();
            let now = inner.children.get(&parent.ino).and_then(|c| c.get(name));
            if now.map(Arc::as_ptr) == child.as_ref().map(Arc::as_ptr) {
                let content = Content::Clean { stat, replica: None };
                return inner.add(parent, name, Kind::File, Some(FileState::new(content, as_of)));
            }
        }
    }

    /// A new inode for a file; an inode that had the name is superseded.
    pub fn add_file(&self, parent: &Arc<Inode>, name: &str, content: Content, as_of: Instant) -> Arc<Inode> {
        let state = FileState::new(content, as_of);
        self.inner.lock().add(parent, name, Kind::File, Some(state))
    }

    /// Takes the name from an inode, if it still has it.
    pub fn unlink(&self, inode: &Arc<Inode>) {
        self.inner.lock().unlink(inode);
    }

    /// Takes the name from an inode because it leads to what somebody else put there.
    pub fn supersede(&self, inode: &Arc<Inode>) {
        let mut inner = self.inner.lock();
        inner.detach(inode);
        inode.place.lock().superseded = true;
    }

    /// Whether a name leads to this inode.
    pub fn has_name(&self, inode: &Arc<Inode>, parent: &Inode, name: &str) -> bool {
        self.child(parent, name).is_some_and(|child| Arc::ptr_eq(&child, inode))
    }

    /// Gives an inode another place; what had the name there is unlinked.
    pub fn rename(&self, inode: &Arc<Inode>, parent: &Arc<Inode>, name: &str) {
        let mut inner = self.inner.lock();
        inner.detach(inode);
        if let Some(old) = inner.children.get(&parent.ino).and_then(|c| c.get(name)).cloned() {
            inner.unlink(&old);
        }
        let name: Arc<str> = name.into();
        inner.children.entry(parent.ino).or_default().insert(name.clone(), inode.clone());
        *inode.place.lock() =
            Place { parent: Some(parent.clone()), name, unlinked: false, superseded: false };
    }

    /// Finds or makes an inode that the kernel is about to be told of, and counts its reference.
    pub fn introduce(&self, find: impl FnOnce(&Self) -> Arc<Inode>) -> Arc<Inode> {
        let _dropping_none = self.introducing.read();
        let inode = find(self);
        inode.lookups.fetch_add(1, Ordering::AcqRel);
        inode
    }

    /// As `introduce`, for an inode that may not be there.
    pub fn introduce_found(&self, find: impl FnOnce(&Self) -> Option<Arc<Inode>>) -> Option<Arc<Inode>> {
        let _dropping_none = self.introducing.read();
        let inode = find(self)?;
        inode.lookups.fetch_add(1, Ordering::AcqRel);
        Some(inode)
    }

    /// The kernel forgot `count` of its references.
    pub fn forget(&self, ino: u64, count: u64) {
        let Some(inode) = self.get(ino) else { return };
        let before = inode.lookups.fetch_sub(count, Ordering::AcqRel);
        debug_assert!(before >= count, "the kernel forgot more than it was told");
        if before <= count {
            self.release(&inode);
        }
    }

    /// Drops the inode from the table unless the kernel, an open handle or unpublished bytes still need it.
    pub fn release(&self, inode: &Arc<Inode>) {
        if inode.ino == ROOT {
            return;
        }
        let _introducing_none = self.introducing.write();
        let file = inode.file().map(Mutex::lock);
        if let Some(state) = &file {
            let dirty = matches!(&state.content, Content::Dirty(dirty) if dirty.needs_publishing());
            if state.opens > 0 || (dirty && !inode.is_unlinked()) {
                return;
            }
        }
        let mut inner = self.inner.lock();
        if inode.lookups.load(Ordering::Acquire) == 0 {
            inner.detach(inode);
            inner.by_ino.remove(&inode.ino);
            if inner.children.get(&inode.ino).is_some_and(BTreeMap::is_empty) {
                inner.children.remove(&inode.ino);
            }
        }
    }
}

impl Inner {
    fn add(&mut self, parent: &Arc<Inode>, name: &str, kind: Kind, file: Option<FileState>) -> Arc<Inode> {
        if let Some(old) = self.children.get(&parent.ino).and_then(|c| c.get(name)).cloned() {
            self.detach(&old);
            old.place.lock().superseded = true;
        }
        let name: Arc<str> = name.into();
        let inode = Arc::new(Inode {
            ino: self.free_number(parent.ino, &name),
            kind,
            place: Mutex::new(Place {
                parent: Some(parent.clone()),
                name: name.clone(),
                unlinked: false,
                superseded: false,
            }),
            file: file.map(Mutex::new),
            attributes: Mutex::default(),
            lookups: AtomicU64::new(0),
            changing: tokio::sync::Mutex::new(()),
        });
        self.by_ino.insert(inode.ino, inode.clone());
        self.children.entry(parent.ino).or_default().insert(name, inode.clone());
        inode
    }

    fn free_number(&self, parent: u64, name: &str) -> u64 {
        let mut hasher = DefaultHasher::new();
        (parent, name).hash(&mut hasher);
        // Programs built for 32-bit inode numbers aside, only 0 and the root's are taken.
        let mut ino = hasher.finish();
        while ino <= ROOT || self.by_ino.contains_key(&ino) {
            ino = ino.wrapping_add(1);
        }
        ino
    }

    fn unlink(&mut self, inode: &Arc<Inode>) {
        self.detach(inode);
        inode.place.lock().unlinked = true;
    }

    fn detach(&mut self, inode: &Arc<Inode>) {
        let place = inode.place.lock();
        let Some(parent) = &place.parent else { return };
        if let Some(children) = self.children.get_mut(&parent.ino)
            && children.get(&place.name).is_some_and(|child| Arc::ptr_eq(child, inode))
        {
            children.remove(&place.name);
            if children.is_empty() {
                self.children.remove(&parent.ino);
            }
        }
    }
}

//! What is on record of a dirty replica, beside its file.
//!
//! Owns: the record's changes: the intent, which bytes are here, and that it is published; and the removal of both.
//!
//! Invariant: the record is changed under `record`, after `shape`, on disk first: where that fails the old one stands.

use super::{DirtyReplica, RECORD_BYTES, Stage, check_open};
use crate::journal::{self, Intent, Published, Record};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl DirtyReplica {
    /// Has it recorded, behind the caller, which of its bytes are here: whoever finds it left behind then knows whether it is whole.
    pub fn record_local(self: &Arc<Self>) {
        if self.extent.lock().base_len > 0 {
            let dirty = self.clone();
            // What cannot be recorded is told as a part.
            self.shared.journal.push(move || _ = dirty.sync());
        }
    }

    /// What is to become of it.
    pub fn intent(&self) -> Intent {
        self.record.lock().intent.clone()
    }

    /// Records what is to become of it now; as safely as the record was before. Errors: the local disk's; the old record then stands.
    pub fn set_intent(&self, intent: Intent) -> io::Result<()> {
        let stage = self.shape.read();
        check_open(*stage)?;
        let mut record = self.record.lock();
        let next = Record { intent, ..record.clone() };
        self.write_record(*stage, &next, next.local.is_some())?;
        *record = next;
        Ok(())
    }

    /// Makes bytes and record safe from a power failure. Errors: the local disk's.
    pub fn sync(&self) -> io::Result<()> {
        let stage = self.shape.read();
        check_open(*stage)?;
        // Ranges before data: what is recorded as local then is on disk.
        let mut local = self.extent.lock().local.clone();
        self.data.sync_all()?;
        let mut record = self.record.lock();
        // Another may have synced more meanwhile; nothing was cut off, which `shape` excludes.
        record.local.iter().flatten().for_each(|range| local.insert(range.clone()));
        let next = Record { local: Some(local.iter().collect()), ..record.clone() };
        self.write_record(*stage, &next, true)?;
        *record = next;
        Ok(())
    }

    /// All of it, as it is now, is in the bucket: should the process end before it is given away or changed, nothing of it is left behind.
    /// Nobody may be writing meanwhile. A disk that does not take the note, or hangs, costs no more than the note.
    pub async fn set_published(self: &Arc<Self>) {
        let Ok(published) = self.data.metadata().and_then(|data| Published::of(&data)) else { return };
        self.record.lock().published = Some(published);
        // Also where writing it fails: it may be on disk all the same.
        self.may_be_published.store(true, Ordering::Release);
        let dirty = self.clone();
        self.shared.journal.carry_out(move || dirty.note_published(published)).await;
    }

    /// Records that it is published, unless it was changed since.
    fn note_published(&self, published: Published) {
        let record = self.record.lock();
        // Not to be had where it is being cut, given away or removed: it then has another record, or none. And not held: giving
        // it away waits for no disk.
        let stage = self.shape.try_read().map(|stage| *stage);
        if stage == Some(Stage::Open) && record.published == Some(published) {
            // It is tried once.
            let _ = journal::write_record(&self.path, &record, record.local.is_some());
        }
    }

    /// Takes back that it is published, before it is changed. Errors: the local disk's; it must not be changed then.
    pub(super) fn clear_published(&self, stage: Stage) -> io::Result<()> {
        if !self.may_be_published.load(Ordering::Acquire) {
            return Ok(());
        }
        let mut record = self.record.lock();
        if record.published.is_none() {
            // Another writer has done it.
            return Ok(());
        }
        let next = Record { published: None, ..record.clone() };
        while let Err(error) = self.write_record(stage, &next, next.local.is_some()) {
            if error.kind() != io::ErrorKind::StorageFull || !self.make_room(RECORD_BYTES) {
                return Err(error);
            }
        }
        *record = next;
        self.may_be_published.store(false, Ordering::Release);
        Ok(())
    }

    /// Has it removed as by [`DirtyReplica::discard`], and waits for that, but for no disk that hangs: it is then removed when the disk goes
    /// on.
    pub async fn discard_waiting(self: &Arc<Self>) {
        let dirty = self.clone();
        self.shared.journal.carry_out_removal(move || dirty.discard()).await;
    }

    /// The same, waiting for nothing.
    pub fn discard_behind(self: &Arc<Self>) {
        let dirty = self.clone();
        self.shared.journal.push_removal(move || dirty.discard());
    }

    /// Removes it from disk. It can be read and written as before while it is held, and its bytes count until then. Blocks.
    pub fn discard(&self) {
        let mut stage = self.shape.write();
        if *stage == Stage::Open {
            *stage = Stage::Discarded;
            self.remove_files();
        }
    }

    /// Removes what has its names in the journal. A record without data is removed by the next process, should this one end here.
    fn remove_files(&self) {
        let _record = self.record.lock();
        journal::remove(&self.path);
    }

    /// It was given away and has its place, or is not kept: nothing of it is left in the journal.
    pub(crate) fn leave_journal(&self) {
        self.remove_files();
        self.uncount();
    }

    /// What has no name on disk needs no record.
    pub(super) fn write_record(&self, stage: Stage, record: &Record, durable: bool) -> io::Result<()> {
        if stage == Stage::Discarded { Ok(()) } else { journal::write_record(&self.path, record, durable) }
    }
}

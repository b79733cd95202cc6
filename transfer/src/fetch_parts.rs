//! One large object, to one file.
//!
//! Owns: how it is fetched in parts at the same time, each written at its offset as it arrives (`part_writer`) and then noted in the file's journal; which parts, and what of them, a run that was interrupted
//! has left to do; and how the parts' checksums, those of earlier runs among them, are compared with the one that the store has of the whole.
//!
//! An object of one part is fetched by a request for all of it, whose bytes the store's own reader checks; it has no journal.

use crate::buffers::BUFFER_BYTES;
use crate::connections::Connection;
use crate::copy_error::CopyError;
use crate::fetch::{Attempt, Fetcher, OTHER_MD5, Placed, SHORT, is_checked_by_store};
use crate::part_journal::{ObjectIdentity, PartJournal, Written};
use crate::part_sizes::parts;
use crate::part_writer::PartWriter;
use crate::sums::{KIND_DEFAULT, Sum, agree};
use crate::temporary::Temporary;
use crate::work::lost;
use futures::FutureExt;
use futures::future::{BoxFuture, Shared, ready};
use pail_store::{Attributes, Checksum, ObjectMeta};
use std::mem::discriminant;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

const DAMAGED: &str =
    "what arrived is not what is stored: its checksum is not the one that the store has of it";

const UNPROVEN: &str = "what a killed run has left of it cannot be compared with what is stored";

/// So long bytes wait for a store that does not say what checksum it has of them.
const TOLD_TIMEOUT: Duration = Duration::from_secs(10);

/// The checksum that the store has, once it is told.
type StoredChecksum = Shared<BoxFuture<'static, Option<Checksum>>>;

/// One part that is to be fetched.
struct PartTask {
    object: ObjectMeta,
    index: usize,
    range: Range<u64>,
    /// What an earlier run has written of it.
    there: Option<Written>,
    /// It is all of the object.
    is_all: bool,
    temporary: Arc<Temporary>,
    told: StoredChecksum,
    moved: Arc<AtomicU64>,
}

/// One part that was fetched.
struct PartDone {
    index: usize,
    sum: Option<Checksum>,
    is_checked: bool,
    attributes: Option<Arc<Attributes>>,
}

/// All parts.
struct Fetched {
    attributes: Option<Arc<Attributes>>,
    is_verified: bool,
    resumed_bytes: u64,
}

impl Fetcher {
    /// In parts at the same time, but for a version that cannot be asked for.
    pub(super) async fn fetch_parts(self: &Arc<Self>, attempt: &Attempt<'_>) -> Result<Placed, CopyError> {
        let object = attempt.object;
        let temporary = Arc::new(self.temporary(attempt).await?);
        let mut tasks = JoinSet::new();
        let fetched = self.fetch_missing(attempt, &temporary, &mut tasks).await;
        if let Err(error) = &fetched {
            tasks.shutdown().await;
            if !error.is_resumable() {
                temporary.discard();
            }
        }
        let Fetched { attributes, is_verified, resumed_bytes } = fetched?;
        let attributes = self.attributes(object, attributes);
        let (root, place) = (self.root.clone(), attempt.place.clone());
        // Every part is written, and so nobody else has the file any more.
        let temporary =
            Arc::into_inner(temporary).ok_or_else(|| CopyError::Item("a part of it was lost".to_owned()))?;
        let local = self.on_disk(move || temporary.place(&root, &place, &attributes)).await?;
        Ok(Placed { local, is_verified, resumed_bytes })
    }

    /// The file to write to, with what an earlier run has written of this version.
    async fn temporary(&self, attempt: &Attempt<'_>) -> Result<Temporary, CopyError> {
        let (root, place, orphan_files) =
            (self.root.clone(), attempt.place.clone(), self.orphan_files.clone());
        let (len, part_size) = (attempt.object.size, self.part_size_of(attempt.object));
        let what = ObjectIdentity::of(self.store.identity(), attempt.object, place.path.as_bytes());
        let stop = self.work.stop().clone();
        let _opening = self.openings.acquire().await;
        let open = move || {
            let temporary = match len <= part_size {
                true => Temporary::create(&root, &place, &orphan_files)?,
                false => Temporary::resume(&root, &place, &orphan_files, &what, part_size, &stop)?,
            };
            // No room is found out before anything is sent; what is there already is on the disk.
            temporary.reserve(len).inspect_err(|_| temporary.discard())?;
            Ok(temporary)
        };
        self.on_disk(open).await
    }

    fn part_size_of(&self, object: &ObjectMeta) -> u64 {
        if object.version.is_unknown() { object.size } else { self.part_size_bytes }
    }

    /// Fetches the parts that are not there, and compares the whole with what the store has.
    async fn fetch_missing(
        self: &Arc<Self>,
        attempt: &Attempt<'_>,
        temporary: &Arc<Temporary>,
        tasks: &mut JoinSet<Result<PartDone, CopyError>>,
    ) -> Result<Fetched, CopyError> {
        let object = attempt.object;
        let journal = temporary.parts();
        let part_size = journal.map_or_else(|| self.part_size_of(object), PartJournal::part_size);
        let ranges: Vec<Range<u64>> = parts(object.size, part_size).collect();
        let there = journal.map_or_else(|| vec![None; ranges.len()], PartJournal::written);
        let resumed_bytes = self.count_resumed(attempt, &there);
        let len = |range: &Range<u64>| range.end - range.start;
        let is_all =
            |(there, range): (&Option<Written>, &Range<u64>)| there.filter(|it| it.len == len(range));
        let mut sums: Vec<Option<Checksum>> =
            there.iter().zip(&ranges).map(|part| is_all(part).map(|it| it.sum)).collect();
        let told = self.told(object, ranges.len());
        let (mut attributes, mut is_checked, mut is_any) = (None, false, false);
        let mut take = |done: PartDone, sums: &mut Vec<Option<Checksum>>| {
            sums[done.index] = done.sum;
            is_checked |= done.is_checked;
            is_any = true;
            attributes = done.attributes;
        };
        for (index, range) in ranges.iter().enumerate() {
            if sums[index].is_some() {
                continue;
            }
            let connection = self.connection().await?;
            while let Some(done) = tasks.try_join_next() {
                take(done.map_err(|error| CopyError::Fatal(lost(&error)))??, &mut sums);
            }
            let task = PartTask {
                object: object.clone(),
                index,
                range: range.clone(),
                there: there[index],
                is_all: ranges.len() == 1,
                temporary: temporary.clone(),
                told: told.clone(),
                moved: attempt.moved.clone(),
            };
            let fetcher = self.clone();
            tasks.spawn(self.work.tracked(async move { fetcher.fetch_part(task, connection).await }));
        }
        while let Some(done) = tasks.join_next().await {
            take(done.map_err(|error| CopyError::Fatal(lost(&error)))??, &mut sums);
        }
        if !is_any {
            attributes = self.attributes_of_current(object).await?;
        }
        let agrees = if is_checked { Some(true) } else { agree(told.await, &sums, &ranges) };
        match agrees {
            Some(false) => Err(CopyError::Corrupt(DAMAGED.to_owned())),
            Some(true) => Ok(Fetched { attributes, is_verified: true, resumed_bytes }),
            None => {
                let meta = ObjectMeta { attributes: attributes.clone(), ..object.clone() };
                let is_verified = self.is_verified_by_md5(&meta, temporary).await?;
                if !is_verified && journal.is_some_and(|journal| !journal.is_noted()) {
                    return Err(CopyError::Corrupt(UNPROVEN.to_owned()));
                }
                Ok(Fetched { attributes, is_verified, resumed_bytes })
            }
        }
    }

    /// Whether the file has the MD5 that the store has, which is not made of the parts': it is read again. False where the store has none. Errors: it has another one.
    async fn is_verified_by_md5(
        &self,
        meta: &ObjectMeta,
        temporary: &Arc<Temporary>,
    ) -> Result<bool, CopyError> {
        let Some(md5) = self.md5(meta) else { return Ok(false) };
        let (file, len, stop) = (temporary.clone(), meta.size, self.work.stop().clone());
        match self.on_disk(move || file.md5(len, &stop)).await? == md5 {
            true => Ok(true),
            false => Err(CopyError::Corrupt(OTHER_MD5.to_owned())),
        }
    }

    /// Counts what is there as moved.
    fn count_resumed(&self, attempt: &Attempt<'_>, there: &[Option<Written>]) -> u64 {
        let bytes = there.iter().flatten().map(|written| written.len).sum();
        if bytes > 0 {
            tracing::debug!(key = %attempt.object.key, bytes, "going on where an earlier run ended");
            self.count(&attempt.moved, bytes as usize);
        }
        bytes
    }

    /// What the store has of the whole: as the listing or the HEAD told, or asked for beside the first parts.
    fn told(self: &Arc<Self>, object: &ObjectMeta, parts: usize) -> StoredChecksum {
        if object.checksum.is_some() || parts == 1 {
            return ready(object.checksum).boxed().shared();
        }
        let (fetcher, key, version) = (self.clone(), object.key.clone(), object.version.clone());
        let asking = async move {
            let told = tokio::time::timeout(TOLD_TIMEOUT, fetcher.store.checksum(&key, &version)).await;
            // Who may read and not look is given the bytes all the same.
            let told =
                told.ok()?.inspect_err(|error| tracing::debug!(%key, %error, "no checksum to verify by"));
            told.ok().flatten()
        };
        asking.boxed().shared()
    }

    /// The attributes of an object of which no part had to be fetched. Errors: `Changed`.
    async fn attributes_of_current(&self, object: &ObjectMeta) -> Result<Option<Arc<Attributes>>, CopyError> {
        let current = self.head(&object.key).await?;
        if current.version.is(&object.version) { Ok(current.attributes) } else { Err(CopyError::Changed) }
    }

    async fn fetch_part(&self, task: PartTask, _connection: Connection) -> Result<PartDone, CopyError> {
        let PartTask { object, index, range, there, is_all, temporary, told, moved } = task;
        let buffer = self.buffer(BUFFER_BYTES).await?;
        let offset = range.start + there.map_or(0, |there| there.len);
        let opening = self.open(&object, (!is_all).then_some(offset..range.end));
        // Whichever part is the first asks for the checksum at the same time.
        let (got, kind) = tokio::join!(opening, told);
        let mut got = got?;
        let sum = match there {
            Some(there) => Some(self.sum_so_far(there, kind, &temporary, range.start).await?),
            None => (!is_all).then(|| Sum::like(kind.unwrap_or(KIND_DEFAULT))),
        };
        let mut writer = PartWriter::new(temporary, index, range, offset, sum, buffer);
        while !writer.is_done() {
            let room = writer.room(&self.piece_size);
            let (len, began) = (room.len(), Instant::now());
            let filled = got.body.fill(room).await.map_err(|error| self.of_key(&object, error))?;
            if filled != len {
                return Err(CopyError::Item(SHORT.to_owned()));
            }
            self.piece_size.look(len, began.elapsed());
            if writer.add(len) {
                let written;
                (writer, written) = self
                    .on_disk(move || {
                        let written = writer.write()?;
                        Ok((writer, written))
                    })
                    .await?;
                self.count(&moved, written);
            }
        }
        let is_checked = is_all && is_checked_by_store(&got.meta);
        let sum = writer.sum().map(|sum| sum.value());
        Ok(PartDone { index, sum, is_checked, attributes: got.meta.attributes })
    }

    /// The checksum of the bytes that an earlier run has written of a part, of the kind that the whole has.
    async fn sum_so_far(
        &self,
        there: Written,
        kind: Option<Checksum>,
        temporary: &Arc<Temporary>,
        start: u64,
    ) -> Result<Sum, CopyError> {
        // That run may not have been told which.
        let Some(kind) = kind.filter(|kind| discriminant(kind) != discriminant(&there.sum)) else {
            return Ok(Sum::after(there.sum));
        };
        let (file, stop) = (temporary.clone(), self.work.stop().clone());
        let sum = self.on_disk(move || file.sum_of(kind, start..start + there.len, &stop)).await?;
        Ok(Sum::after(sum))
    }
}

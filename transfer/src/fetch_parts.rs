//! One large object, to one file.
//!
//! Owns: how it is fetched in parts at the same time, each written at its offset as it arrives and then noted in the file's journal; which parts a run that was interrupted
//! has left to do; and how the parts' checksums, those of earlier runs among them, are compared with the one that the store has of the whole.
//!
//! An object of one part is fetched by a request for all of it, whose bytes the store's own reader checks; it has no journal.

use crate::buffers::BUFFER_BYTES;
use crate::connections::Connection;
use crate::fetch::{Attempt, Fetcher, OTHER_MD5, Placed, SHORT, is_checked_by_store};
use crate::part_journal::{ObjectIdentity, PartJournal};
use crate::part_sizes::parts;
use crate::sums::{KIND_DEFAULT, Sum, agree};
use crate::temporary::Temporary;
use crate::trouble::Trouble;
use crate::work::lost;
use futures::FutureExt;
use futures::future::{BoxFuture, Shared, ready};
use pail_store::{Attributes, Checksum, ObjectMeta};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use tokio::task::JoinSet;

const DAMAGED: &str =
    "what arrived is not what is stored: its checksum is not the one that the store has of it";

/// So long bytes wait for a store that does not say what checksum it has of them.
const TOLD_TIMEOUT: Duration = Duration::from_secs(10);

/// The checksum that the store has, once it is told.
type Told = Shared<BoxFuture<'static, Option<Checksum>>>;

/// One part that is to be fetched.
struct PartTask {
    object: ObjectMeta,
    index: usize,
    range: Range<u64>,
    /// It is all of the object.
    is_all: bool,
    temporary: Arc<Temporary>,
    told: Told,
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
    pub(super) async fn fetch_parts(self: &Arc<Self>, attempt: &Attempt<'_>) -> Result<Placed, Trouble> {
        let object = attempt.object;
        let temporary = Arc::new(self.temporary(attempt).await?);
        let mut tasks = JoinSet::new();
        let fetched = self.fetch_missing(attempt, &temporary, &mut tasks).await;
        if let Err(trouble) = &fetched {
            tasks.shutdown().await;
            if !trouble.is_resumable() {
                temporary.discard();
            }
        }
        let Fetched { attributes, is_verified, resumed_bytes } = fetched?;
        let attributes = self.attributes(object, attributes);
        let path = attempt.path.clone();
        // Every part is written, and so nobody else has the file any more.
        let temporary =
            Arc::into_inner(temporary).ok_or_else(|| Trouble::Alone("a part of it was lost".to_owned()))?;
        let local = self.on_disk(move || temporary.place(&path, &attributes)).await?;
        Ok(Placed { local, is_verified, resumed_bytes })
    }

    /// The file to write to, with what an earlier run has written of this version.
    async fn temporary(&self, attempt: &Attempt<'_>) -> Result<Temporary, Trouble> {
        let (root, path, leftovers) = (self.root.clone(), attempt.path.clone(), self.leftovers.clone());
        let (len, part_size) = (attempt.object.size, self.part_size_of(attempt.object));
        let what = ObjectIdentity::of(self.store.identity(), attempt.object, path.as_bytes());
        let open = move || {
            let temporary = match len <= part_size {
                true => Temporary::create(&root, &path, &leftovers)?,
                false => Temporary::resume(&root, &path, &leftovers, &what, part_size)?,
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
        tasks: &mut JoinSet<Result<PartDone, Trouble>>,
    ) -> Result<Fetched, Trouble> {
        let object = attempt.object;
        let journal = temporary.parts();
        let part_size = journal.map_or_else(|| self.part_size_of(object), PartJournal::part_size);
        let ranges: Vec<Range<u64>> = parts(object.size, part_size).collect();
        let mut sums = journal.map_or_else(|| vec![None; ranges.len()], PartJournal::sums);
        let resumed_bytes = self.count_resumed(attempt, &sums, &ranges);
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
                take(done.map_err(|error| Trouble::Fatal(lost(&error)))??, &mut sums);
            }
            let task = PartTask {
                object: object.clone(),
                index,
                range: range.clone(),
                is_all: ranges.len() == 1,
                temporary: temporary.clone(),
                told: told.clone(),
                moved: attempt.moved.clone(),
            };
            let fetcher = self.clone();
            tasks.spawn(self.work.tracked(async move { fetcher.fetch_part(task, connection).await }));
        }
        while let Some(done) = tasks.join_next().await {
            take(done.map_err(|error| Trouble::Fatal(lost(&error)))??, &mut sums);
        }
        if !is_any {
            attributes = self.attributes_of_current(object).await?;
        }
        let agrees = if is_checked { Some(true) } else { agree(told.await, &sums, &ranges) };
        match agrees {
            Some(false) => Err(Trouble::Corrupt(DAMAGED.to_owned())),
            Some(true) => Ok(Fetched { attributes, is_verified: true, resumed_bytes }),
            None => {
                let meta = ObjectMeta { attributes: attributes.clone(), ..object.clone() };
                let is_verified = self.is_verified_by_md5(&meta, temporary).await?;
                Ok(Fetched { attributes, is_verified, resumed_bytes })
            }
        }
    }

    /// Whether the file has the MD5 that the store has, which is not made of the parts': it is read again. False where the store has none. Errors: it has another one.
    async fn is_verified_by_md5(
        &self,
        meta: &ObjectMeta,
        temporary: &Arc<Temporary>,
    ) -> Result<bool, Trouble> {
        let Some(md5) = self.md5(meta) else { return Ok(false) };
        let (file, len) = (temporary.clone(), meta.size);
        match self.on_disk(move || file.md5(len)).await? == md5 {
            true => Ok(true),
            false => Err(Trouble::Corrupt(OTHER_MD5.to_owned())),
        }
    }

    /// Counts the parts that are there as moved.
    fn count_resumed(&self, attempt: &Attempt<'_>, sums: &[Option<Checksum>], ranges: &[Range<u64>]) -> u64 {
        let there = sums.iter().zip(ranges).filter(|(sum, _)| sum.is_some());
        let bytes = there.map(|(_, range)| range.end - range.start).sum();
        if bytes > 0 {
            tracing::debug!(key = %attempt.object.key, bytes, "going on where an earlier run ended");
            self.count(&attempt.moved, bytes as usize);
        }
        bytes
    }

    /// What the store has of the whole: as the listing or the HEAD told, or asked for beside the first parts.
    fn told(self: &Arc<Self>, object: &ObjectMeta, parts: usize) -> Told {
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
    async fn attributes_of_current(&self, object: &ObjectMeta) -> Result<Option<Arc<Attributes>>, Trouble> {
        let current = self.head(&object.key).await?;
        if current.version.is(&object.version) { Ok(current.attributes) } else { Err(Trouble::Changed) }
    }

    async fn fetch_part(&self, task: PartTask, _connection: Connection) -> Result<PartDone, Trouble> {
        let PartTask { object, index, range, is_all, temporary, told, moved } = task;
        let mut buffer = self.buffer(BUFFER_BYTES).await?;
        let opening = self.open(&object, (!is_all).then(|| range.clone()));
        // Whichever part is the first asks for the checksum at the same time.
        let (got, kind) = tokio::join!(opening, told);
        let mut got = got?;
        let mut sum = (!is_all).then(|| Sum::like(kind.unwrap_or(KIND_DEFAULT)));
        let mut offset = range.start;
        while offset < range.end {
            let len = usize::try_from(range.end - offset).unwrap_or(usize::MAX).min(BUFFER_BYTES);
            let filled =
                got.body.fill(buffer.part(len)).await.map_err(|error| self.of_key(&object, error))?;
            if filled != len {
                return Err(Trouble::Alone(SHORT.to_owned()));
            }
            let (file, is_last) = (temporary.clone(), offset + len as u64 == range.end);
            let write = move || {
                if let Some(sum) = &mut sum {
                    sum.update(buffer.part(len));
                }
                file.write_at(buffer.part(len), offset)?;
                if let Some(sum) = sum.filter(|_| is_last).map(|sum| sum.value()) {
                    file.mark(index, sum)?;
                }
                Ok((buffer, sum))
            };
            (buffer, sum) = self.on_disk(write).await?;
            self.count(&moved, len);
            offset += len as u64;
        }
        let is_checked = is_all && is_checked_by_store(&got.meta);
        let sum = sum.map(|sum| sum.value());
        Ok(PartDone { index, sum, is_checked, attributes: got.meta.attributes })
    }
}

//! Objects that are to go.
//!
//! Owns: [`remove`], which deletes an object or all that is below a prefix, and [`Remover`], which deletes many objects at a time, each of the version that
//! was listed where the store enforces that, so that what somebody replaces meanwhile stays and is told.
//!
//! # Where the store does not enforce it
//! It can only be looked at each object just before its deletion, which takes twice the requests and leaves a gap all the same. What is deleted since a source has it
//! not is looked at: nobody named it. What was named goes without.
//!
//! # Many in one request
//! Where the store deletes many objects in one request, that is what is sent, as the listing fills it; a condition goes with each object where the store enforces it there, and takes a request of its own for the object where not.
//! A whole request that is refused is done again object by object.
//!
//! Bounds: twice [`Options::connections`] requests, at most [`SINGLE_REQUESTS_MAX`], and [`BULK_REQUESTS_MAX`] of them for many objects, and the pages of `listing`.

use crate::change::{Action, Reason};
use crate::copy_error::CopyError;
use crate::listing::{Found, Pages, look};
use crate::refusals::Refusals;
use crate::report::Removals;
use crate::work::{Work, lost};
use crate::{Error, Options, Source};
use pail_store::{Condition, ConditionedChange, ErrorKind, ListPage, ObjectMeta, RawKey, Store, Version};
use std::sync::Arc;
use tokio::task::JoinSet;

/// At 1,000 objects each, a store that takes 3,500 deletions in a second (Amazon S3 User Guide, "Best practices design patterns") is busy with far fewer.
const BULK_REQUESTS_MAX: usize = 8;
/// Requests for one object each.
const SINGLE_REQUESTS_MAX: usize = 128;
const BESIDE: &str =
    "other objects are below its name, and those were meant; it is deleted by its name alone";
const REPLACED: &str = "it was replaced since it was listed, and stays";

/// Deletes what `source` is: an object, or all that is below a prefix and that the filters take. Where a prefix and an object of its name are there, the
/// object stays and is named.
///
/// Errors: nothing is there; the store cannot be reached or refuses everything. What concerns single objects is in the result.
pub async fn remove(store: Arc<dyn Store>, source: &Source, options: &Options) -> Result<Removals, Error> {
    let work = Work::new(options.stop.clone());
    let removing = async {
        match (look(&store, source).await?, source) {
            // Nothing was listed: it is this object that is meant, in whatever version.
            // The filters choose from what is below.
            (Found::Object(_), Source::Either(name)) if !options.filters.is_empty() => {
                Err(Error::NothingThere { uri: format!("{}/{name}/", store.uri()) })
            }
            (Found::Object(object), _) => {
                let mut remover = Remover::unpinned(store.clone(), options, &work);
                remover.remove(&object.key, Version::Unknown, object.size, Reason::Named).await?;
                remover.end().await
            }
            (Found::Prefix { prefix, first, beside }, _) => {
                remove_prefix(store.clone(), prefix, first, beside, options, &work).await
            }
        }
    };
    let done = tokio::select! {
        done = removing => done,
        () = options.stop.cancelled() => Err(Error::Stopped),
    };
    work.ended().await;
    done
}

async fn remove_prefix(
    store: Arc<dyn Store>,
    prefix: String,
    first: ListPage,
    beside: Option<ObjectMeta>,
    options: &Options,
    work: &Work,
) -> Result<Removals, Error> {
    let doing = format!("list {}/{prefix}", store.uri());
    // Which goes on while the store is asked.
    let mut pages = Pages::after(store.clone(), prefix.clone(), first);
    let mut remover = Remover::new(store, options, work).await;
    while let Some(page) = pages.next().await {
        let page = page.map_err(|error| Error::Store { doing: doing.clone(), source: Box::new(error) })?;
        for object in page.objects {
            // A store that lists what is not below the prefix is not believed.
            let Some(rest) = object.key.as_str().strip_prefix(prefix.as_str()) else { continue };
            if options.filters.take(rest.as_bytes()) {
                remover.remove(&object.key, object.version, object.size, Reason::Named).await?;
            }
        }
        for name in page.names_too_long {
            remover.removals.failed.add(name, "its name is longer than any that can be asked for");
        }
    }
    // Globs choose from what is below.
    if let Some(object) = beside.filter(|_| options.filters.is_empty()) {
        remover.removals.failed.add(object.key.as_str(), BESIDE);
    }
    remover.end().await
}

/// Deletes one object.
async fn delete(store: &Arc<dyn Store>, deletion: &Deletion) -> pail_store::Result<()> {
    let condition = match deletion.is_unseen {
        false => deletion.condition.clone(),
        true => match seen_now(store, &deletion.key, deletion.size).await? {
            Version::Unknown => Condition::None,
            version => Condition::IfVersion(version),
        },
    };
    store.delete(&deletion.key, condition).await
}

/// The version of an object whose listing had none. Errors: `Precondition`, where it has another size than was listed; the store's.
async fn seen_now(store: &Arc<dyn Store>, key: &RawKey, size: u64) -> pail_store::Result<Version> {
    let found = store.head(key).await?;
    if found.size != size {
        return Err(pail_store::Error::new(
            ErrorKind::Precondition,
            "HeadObject",
            store.uri(),
            Some(key),
            REPLACED,
        ));
    }
    Ok(found.version)
}

/// An object that is to go.
#[derive(Debug, Clone)]
struct Deletion {
    key: RawKey,
    size: u64,
    condition: Condition,
    /// Nothing names its version, which is to be looked up first.
    is_unseen: bool,
}

/// What became of one request, or of those for one object.
enum Done {
    One(Deletion, pail_store::Result<()>),
    Many(Vec<Deletion>, pail_store::Result<Vec<pail_store::Result<()>>>),
}

/// Deletes objects of one bucket. Dropped, it gives up what is under way.
pub(crate) struct Remover {
    store: Arc<dyn Store>,
    options: Options,
    work: Work,
    is_pinned: bool,
    tasks: JoinSet<Done>,
    /// Those of `tasks` that delete many.
    bulk_requests: usize,
    /// What the next request deletes.
    batch: Vec<Deletion>,
    /// What a request was refused for, and takes requests of its own.
    alone: Vec<Deletion>,
    pub removals: Removals,
    refusals: Refusals,
}

impl Remover {
    /// Asks what the store enforces, where that is not known.
    pub async fn new(store: Arc<dyn Store>, options: &Options, work: &Work) -> Self {
        // Nothing is asked by writes where nothing is to be written.
        let capabilities = match options.dry_run {
            Some(_) => None,
            None => work.capabilities(&store).await,
        };
        let is_pinned = capabilities.is_some_and(|known| known.enforces(ConditionedChange::Deletions));
        Self { is_pinned, ..Self::unpinned(store, options, work) }
    }

    fn unpinned(store: Arc<dyn Store>, options: &Options, work: &Work) -> Self {
        Self {
            store,
            options: options.clone(),
            work: work.clone(),
            is_pinned: false,
            tasks: JoinSet::new(),
            bulk_requests: 0,
            batch: Vec::new(),
            alone: Vec::new(),
            removals: Removals::default(),
            refusals: Refusals::default(),
        }
    }

    /// Deletes an object as soon as there is room for it. Errors: what ends the run.
    pub async fn remove(
        &mut self,
        key: &RawKey,
        version: Version,
        size: u64,
        why: Reason,
    ) -> Result<(), Error> {
        if let Some(changes) = &self.options.dry_run {
            changes.tell(Action::Delete, key.as_str(), size, why);
            self.removals.deleted += 1;
            self.removals.deleted_bytes += size;
            return Ok(());
        }
        let is_extra = why == Reason::Extra;
        let is_unseen = version.is_unknown() && is_extra;
        let condition = match (self.is_pinned || is_extra) && !version.is_unknown() {
            true => Condition::IfVersion(version),
            false => Condition::None,
        };
        let deletion = Deletion { key: key.clone(), size, condition, is_unseen };
        match self.batch_len_max(&deletion) {
            Some(len_max) => {
                self.batch.push(deletion);
                if self.batch.len() >= len_max { self.send_batch().await } else { Ok(()) }
            }
            None => self.send(deletion).await,
        }
    }

    /// How many the request may delete that deletes this one; `None` where it takes one of its own: for want of such requests, or of conditions in them.
    fn batch_len_max(&self, deletion: &Deletion) -> Option<usize> {
        let bulk = self.store.bulk_deletion()?;
        let is_held = deletion.condition == Condition::None || bulk.is_conditional;
        (is_held && !deletion.is_unseen).then_some(bulk.keys_max)
    }

    async fn send(&mut self, deletion: Deletion) -> Result<(), Error> {
        // Twice as many as of requests that carry bytes: a deletion is over in a round trip.
        while self.tasks.len() >= self.options.connections().saturating_mul(2).min(SINGLE_REQUESTS_MAX) {
            self.finish_one().await?;
        }
        let store = self.store.clone();
        self.tasks.spawn(self.work.tracked(async move {
            let deleted = delete(&store, &deletion).await;
            Done::One(deletion, deleted)
        }));
        Ok(())
    }

    async fn send_batch(&mut self) -> Result<(), Error> {
        while self.bulk_requests >= BULK_REQUESTS_MAX.min(self.options.connections()) {
            self.finish_one().await?;
        }
        let mut batch = std::mem::take(&mut self.batch);
        if batch.len() == 1
            && let Some(deletion) = batch.pop()
        {
            return self.send(deletion).await;
        }
        // What was refused meanwhile is refused to these, too.
        if self.store.bulk_deletion().is_none() {
            self.alone.extend(batch);
            return self.send_those_alone().await;
        }
        let store = self.store.clone();
        self.bulk_requests += 1;
        self.tasks.spawn(self.work.tracked(async move {
            let objects: Vec<_> =
                batch.iter().map(|deletion| (deletion.key.clone(), deletion.condition.clone())).collect();
            let deleted = store.delete_many(&objects).await;
            Done::Many(batch, deleted)
        }));
        self.send_those_alone().await
    }

    async fn send_those_alone(&mut self) -> Result<(), Error> {
        while let Some(deletion) = self.alone.pop() {
            self.send(deletion).await?;
        }
        Ok(())
    }

    /// Waits for the rest. Errors: what ends the run; every deletion was refused.
    pub async fn end(mut self) -> Result<Removals, Error> {
        if !self.batch.is_empty() {
            self.send_batch().await?;
        }
        while !self.tasks.is_empty() || !self.alone.is_empty() {
            self.send_those_alone().await?;
            self.finish_one().await?;
        }
        self.check_refusals()?;
        Ok(self.removals)
    }

    async fn finish_one(&mut self) -> Result<(), Error> {
        let Some(done) = self.tasks.join_next().await else { return Ok(()) };
        match done.map_err(|error| lost(&error))? {
            Done::One(deletion, deleted) => self.note(&deletion, deleted),
            Done::Many(batch, deleted) => {
                self.bulk_requests -= 1;
                match deleted {
                    Ok(deleted) => {
                        // What was deleted first: by that it is told whether all is refused.
                        let (gone, kept): (Vec<_>, Vec<_>) =
                            batch.iter().zip(deleted).partition(|(_, deleted)| deleted.is_ok());
                        gone.into_iter()
                            .chain(kept)
                            .try_for_each(|(deletion, deleted)| self.note(deletion, deleted))
                    }
                    Err(error) => self.note_whole(batch, error),
                }
            }
        }
    }

    /// A request failed that was to delete all of these. What it was not for want of the store is tried by itself: of a refusal it is to be known whom it concerns.
    fn note_whole(&mut self, batch: Vec<Deletion>, error: pail_store::Error) -> Result<(), Error> {
        tracing::debug!(%error, count = batch.len(), "deleting one by one");
        match CopyError::of_store(&format!("delete in {}", self.store.uri()), error) {
            CopyError::Fatal(error) => Err(error),
            _ => {
                self.alone.extend(batch);
                Ok(())
            }
        }
    }

    fn note(&mut self, deletion: &Deletion, deleted: pail_store::Result<()>) -> Result<(), Error> {
        let key = &deletion.key;
        let Err(error) = deleted else {
            self.removals.deleted += 1;
            self.removals.deleted_bytes += deletion.size;
            return Ok(());
        };
        match CopyError::of_store(&format!("delete {}/{key}", self.store.uri()), error) {
            CopyError::Fatal(error) => return Err(error),
            CopyError::Item(why) | CopyError::Corrupt(why) => self.removals.failed.add(key.as_str(), why),
            CopyError::Changed => self.removals.failed.add(key.as_str(), REPLACED),
            CopyError::Denied(error) => {
                self.removals.failed.add(key.as_str(), error.to_string());
                self.refusals.add(error);
                if self.refusals.are_enough() {
                    return self.check_refusals();
                }
            }
        }
        Ok(())
    }

    fn check_refusals(&mut self) -> Result<(), Error> {
        let Removals { deleted: 0, failed, .. } = &self.removals else { return Ok(()) };
        let uri = self.store.uri();
        self.refusals.check_all(failed.count, || format!("delete in {uri}, for every deletion is refused"))
    }
}

//! What a bucket has where a copy goes to.
//!
//! Owns: [`TargetListing`], the objects that the source's files may be the same as, and the extra ones, as one listing has them; and [`Before`], by which what another client writes during a run is neither.
//!
//! Bounds: objects that no file is meant by are forgotten, but for [`EXTRA_MAX`] that are to be deleted, about 200 bytes of memory each.

use crate::change::Reason;
use crate::keep_set::KeepSet;
use crate::listing::Pages;
use crate::removal::Remover;
use crate::report::Removals;
use crate::work::Work;
use crate::{Error, Filters, Options};
use pail_store::{ListPage, ListRequest, ObjectMeta, Store};
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

/// So many objects are deleted by one run.
const EXTRA_MAX: usize = 1_000_000;

/// What was below a prefix before a run: eight bytes of each object's key and version, by a keyed hash.
pub(crate) struct Before {
    hasher: RandomState,
    objects: HashSet<u64>,
}

impl Before {
    /// Lists it. Errors: the store's.
    pub async fn list(store: &Arc<dyn Store>, prefix: &str) -> Result<Self, Error> {
        let mut before = Self { hasher: RandomState::new(), objects: HashSet::new() };
        each_page(store, prefix, false, |page| {
            let hashes: Vec<u64> = page.objects.iter().map(|object| before.hash_of(object)).collect();
            before.objects.extend(hashes);
        })
        .await?;
        Ok(before)
    }

    fn has(&self, object: &ObjectMeta) -> bool {
        self.objects.contains(&self.hash_of(object))
    }

    fn hash_of(&self, object: &ObjectMeta) -> u64 {
        self.hasher.hash_one((object.key.as_str(), object.version.to_text()))
    }
}

async fn each_page(
    store: &Arc<dyn Store>,
    prefix: &str,
    attributes: bool,
    mut take: impl FnMut(ListPage),
) -> Result<(), Error> {
    let failed =
        |error| Error::Store { doing: format!("list {}/{prefix}", store.uri()), source: Box::new(error) };
    let request = ListRequest { prefix: prefix.to_owned(), attributes, ..ListRequest::default() };
    let first = store.list(request).await.map_err(failed)?;
    let mut pages = Pages::after(store.clone(), prefix.to_owned(), first);
    while let Some(page) = pages.next().await {
        take(page.map_err(failed)?);
    }
    Ok(())
}

/// Objects below a prefix.
#[derive(Debug, Default)]
pub(crate) struct TargetListing {
    /// By key.
    pub wanted: HashMap<String, ObjectMeta>,
    /// What the source has not.
    pub extra: Vec<ObjectMeta>,
    /// More of them, which are not remembered.
    pub extra_more: u64,
}

impl TargetListing {
    /// Lists everything below `prefix`. With `kept`, the keys relative to it that stay, the rest is extra as far as the filters take it. Errors: the store's.
    pub async fn read(
        store: &Arc<dyn Store>,
        prefix: &str,
        wanted: &HashSet<&str>,
        kept: Option<&KeepSet>,
        filters: &Filters,
    ) -> Result<Self, Error> {
        let mut found = Self::default();
        each_page(store, prefix, true, |page| {
            for object in page.objects {
                let key = object.key.as_str();
                if wanted.contains(key) {
                    found.wanted.insert(key.to_owned(), object);
                    continue;
                }
                let (Some(kept), Some(rest)) = (kept, key.strip_prefix(prefix)) else { continue };
                // The prefix's own object is the target.
                if rest.is_empty() || kept.keeps(rest.as_bytes()) || !filters.take(rest.as_bytes()) {
                    continue;
                }
                match found.extra.len() < EXTRA_MAX {
                    true => found.extra.push(object),
                    false => found.extra_more += 1,
                }
            }
        })
        .await?;
        Ok(found)
    }

    /// The same of what was there `before`, in the same version.
    pub fn only(mut self, before: &Before) -> Self {
        self.extra.retain(|object| before.has(object));
        self
    }

    /// Deletes what is extra. Errors: as of [`Remover`].
    pub async fn remove_extra(
        self,
        store: Arc<dyn Store>,
        options: &Options,
        work: &Work,
    ) -> Result<Removals, Error> {
        if self.extra.is_empty() {
            return Ok(Removals::default());
        }
        let mut remover = Remover::new(store, options, work).await;
        for object in self.extra {
            remover.remove(&object.key, object.version, object.size, Reason::Extra).await?;
        }
        let mut removals = remover.end().await?;
        if self.extra_more > 0 {
            let name = format!("{} objects", self.extra_more);
            removals.failed.add(name, "more are not in the source than one run deletes; run it again");
        }
        Ok(removals)
    }
}

//! What a bucket has where a copy goes to.
//!
//! Owns: [`TargetListing`], the objects that the source's files may be the same as, and the extra ones, as one listing has them: what another client writes later is neither.
//!
//! Bounds: objects that no file is meant by are forgotten, but for [`EXTRA_MAX`] that are to be deleted, about 200 bytes of memory each.

use crate::change::Reason;
use crate::kept::Kept;
use crate::removal::Remover;
use crate::report::Removals;
use crate::{Error, Filters, Options};
use pail_store::{ListRequest, ObjectMeta, Store};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// So many objects are deleted by one run.
const EXTRA_MAX: usize = 1_000_000;

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
        kept: Option<&Kept>,
        filters: &Filters,
    ) -> Result<Self, Error> {
        let mut found = Self::default();
        let mut request =
            ListRequest { prefix: prefix.to_owned(), attributes: true, ..ListRequest::default() };
        loop {
            let page = store.list(request.clone()).await.map_err(|error| Error::Store {
                doing: format!("list {}/{prefix}", store.uri()),
                source: Box::new(error),
            })?;
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
            match page.next {
                Some(next) => request.token = Some(next),
                None => return Ok(found),
            }
        }
    }

    /// Deletes what is extra. Errors: as of [`Remover`].
    pub async fn remove_extra(self, store: Arc<dyn Store>, options: &Options) -> Result<Removals, Error> {
        if self.extra.is_empty() {
            return Ok(Removals::default());
        }
        let mut remover = Remover::new(store, options).await;
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

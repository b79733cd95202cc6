//! Objects of a download whose places are taken.
//!
//! Owns: what a [`Run`] does about them once everything else is in place: what is in the way goes, where it may, and they are fetched; and [`Extra`], by which what is extra is looked for.

use super::Run;
use crate::change::Reason;
use crate::copy_error::CopyError;
use crate::extra_files::ExtraFiles;
use crate::keep_set::KeepSet;
use crate::obstacles::{Awaited, MayGo, Waiting};
use crate::plan::Step;
use crate::report::{Problems, Removals};
use crate::{Error, Options};
use std::sync::Arc;

impl Run {
    /// Puts in place what waited for it, where everything else is there and what is extra is to go.
    pub(super) async fn place_blocked(&mut self, kept: Option<&Arc<KeepSet>>) -> Result<(), Error> {
        let may_go = match kept {
            None => MayGo::NotAsked,
            Some(_) if self.engine.builder.report.failed.count > 0 => MayGo::NotNow,
            Some(_) => MayGo::Yes,
        };
        let waiting = self.blocked.take(may_go, &mut self.engine.builder.report.failed);
        let Some(kept) = kept else { return Ok(()) };
        for one in waiting {
            let one = if self.options.dry_run.is_some() {
                one
            } else {
                match self.make_way(one, kept.clone()).await? {
                    Some(one) => one,
                    None => continue,
                }
            };
            match one.what {
                Awaited::File(object) => self.take(vec![Step::Fetch(*object, one.path, Reason::New)]).await?,
                Awaited::Directory(key) => self.take(vec![Step::MakeDirectory(key, one.path)]).await?,
            }
        }
        self.engine.join_all(Ok(())).await?;
        // A directory that others have blocked anew meanwhile.
        self.blocked.take(MayGo::NotNow, &mut self.engine.builder.report.failed);
        Ok(())
    }

    /// Removes what has its place; `None` where that stays, which is told.
    async fn make_way(&mut self, waiting: Waiting, kept: Arc<KeepSet>) -> Result<Option<Waiting>, Error> {
        let removals = std::mem::take(&mut self.engine.builder.report.removed);
        let (extra, root) = (self.extra(kept, removals), self.fetcher.root.clone());
        let make_way = move || {
            let (mut removals, made) = extra.with(|mut extra| {
                let made = extra.make_way(&root, &waiting);
                (extra.removals, made)
            });
            // It is told with what could not take its place.
            removals.failed = Problems::default();
            made.map(|made| (removals, made, waiting))
        };
        let (removals, made, waiting) =
            self.fetcher.work.blocking(make_way).await.map_err(CopyError::into_error)??;
        self.engine.builder.report.removed = removals;
        match made {
            Ok(()) => Ok(Some(waiting)),
            Err(why) => {
                self.engine.builder.report.failed.add(waiting.key(), why);
                Ok(None)
            }
        }
    }

    pub(super) fn extra(&self, kept: Arc<KeepSet>, removals: Removals) -> Extra {
        let (options, prefix, began) = (self.options.clone(), self.prefix.clone(), self.target.began);
        Extra { kept, options, prefix, began, removals }
    }
}

/// What is known of what is extra, on its way to a thread that may wait for the disk.
pub(super) struct Extra {
    kept: Arc<KeepSet>,
    options: Options,
    prefix: String,
    began: Option<(i64, i64)>,
    pub removals: Removals,
}

impl Extra {
    pub fn with<T>(self, remove: impl FnOnce(ExtraFiles<'_>) -> T) -> T {
        remove(ExtraFiles {
            kept: &self.kept,
            filters: &self.options.filters,
            prefix: &self.prefix,
            dry_run: self.options.dry_run.as_ref(),
            stop: &self.options.stop,
            began: self.began,
            takes_empty: false,
            removals: self.removals,
        })
    }
}

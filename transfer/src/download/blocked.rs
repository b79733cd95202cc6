//! Objects of a download whose places are taken.
//!
//! Owns: what a [`Run`] does about them once everything else is in place: what is in the way goes, where it may, and they are fetched; and [`Extra`], by which what is extra is looked for.

use super::{Run, fetch};
use crate::change::Reason;
use crate::copy_error::CopyError;
use crate::extra_files::ExtraFiles;
use crate::file_name::RelativePath;
use crate::keep_set::KeepSet;
use crate::obstacles::{Awaited, MayGo, Waiting};
use crate::orphan_files::OrphanFiles;
use crate::plan::Step;
use crate::report::{Problems, Removals};
use crate::temporary::FilePlace;
use crate::{Error, Options};
use pail_store::{ObjectMeta, RawKey};
use std::io;
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
            if let Some(why) = self.why_no_way(&one, kept).await? {
                self.engine.builder.report.failed.add(one.key(), why);
                continue;
            }
            match one.what {
                Awaited::File(object) => self.fetch_blocked(*object, one.path, kept).await?,
                Awaited::Directory(key) => self.make_blocked(key, one.path, kept).await?,
            }
        }
        self.engine.join_all(Ok(())).await?;
        // A directory that others have blocked anew meanwhile.
        self.blocked.take(MayGo::NotNow, &mut self.engine.builder.report.failed);
        Ok(())
    }

    async fn why_no_way(&self, waiting: &Waiting, kept: &Arc<KeepSet>) -> Result<Option<String>, Error> {
        let (extra, root, path) = (self.extra(kept.clone()), self.fetcher.root.clone(), waiting.path.clone());
        let is_directory = matches!(waiting.what, Awaited::Directory(_));
        let look =
            move || extra.with(Removals::default(), |extra| extra.why_no_way(&root, &path, is_directory));
        self.fetcher.work.blocking(look).await.map_err(CopyError::into_error)?
    }

    /// Fetches an object whose place is taken: what has it goes once all of the object is here.
    async fn fetch_blocked(
        &mut self,
        object: ObjectMeta,
        path: RelativePath,
        kept: &Arc<KeepSet>,
    ) -> Result<(), Error> {
        if self.engine.announces(object.key.as_str(), object.size, Reason::New) {
            let make_way = Arc::new(self.way_to(path.clone(), false, kept));
            let place = FilePlace { path, make_way: Some(make_way) };
            let (key, fetcher) = (object.key.clone(), self.fetcher.clone());
            let fetching = async move { fetch(&fetcher, object, &place).await };
            self.engine.spawn(key.clone(), key.as_str().to_owned(), fetching).await?;
        }
        Ok(())
    }

    async fn make_blocked(
        &mut self,
        key: RawKey,
        path: RelativePath,
        kept: &Arc<KeepSet>,
    ) -> Result<(), Error> {
        if self.engine.announcer.is_dry() {
            return Ok(());
        }
        let made = self.fetcher.work.blocking(self.way_to(path.clone(), true, kept)).await;
        match made.map_err(CopyError::into_error)? {
            Ok(()) => self.take(vec![Step::MakeDirectory(key, path)]).await,
            Err(why) => {
                self.engine.builder.report.failed.add(key.as_str(), why.to_string());
                Ok(())
            }
        }
    }

    /// What removes what has a place, and counts that.
    fn way_to(
        &self,
        path: RelativePath,
        is_directory: bool,
        kept: &Arc<KeepSet>,
    ) -> impl Fn() -> io::Result<()> + Send + Sync + use<> {
        let (extra, root) = (self.extra(kept.clone()), self.fetcher.root.clone());
        let removed = self.made_way.clone();
        move || {
            let mut removed = removed.lock();
            let before = std::mem::take(&mut *removed);
            let made = extra.with(before, |extra| {
                let made = extra.make_way(&root, &path, is_directory);
                *removed = std::mem::take(&mut extra.removals);
                made
            });
            // It is told with what could not take its place.
            removed.failed = Problems::default();
            made.map_err(|error| io::Error::other(error.to_string()))?.map_err(io::Error::other)
        }
    }

    pub(super) fn extra(&self, kept: Arc<KeepSet>) -> Extra {
        let (options, prefix, began) = (self.options.clone(), self.prefix.clone(), self.target.began);
        let orphan_files = self.fetcher.orphan_files.clone();
        Extra { kept, orphan_files, options, prefix, began }
    }
}

/// What is known of what is extra, on its way to a thread that may wait for the disk.
pub(super) struct Extra {
    kept: Arc<KeepSet>,
    orphan_files: Arc<OrphanFiles>,
    options: Options,
    prefix: String,
    began: Option<(i64, i64)>,
}

impl Extra {
    /// A look for it, after which so much was removed already.
    pub fn with<T>(&self, removals: Removals, look: impl FnOnce(&mut ExtraFiles<'_>) -> T) -> T {
        look(&mut ExtraFiles {
            kept: &self.kept,
            orphan_files: &self.orphan_files,
            filters: &self.options.filters,
            prefix: &self.prefix,
            dry_run: self.options.dry_run.as_ref(),
            stop: &self.options.stop,
            began: self.began,
            removals,
        })
    }
}

//! From a bucket to local files.
//!
//! Owns: [`download`], which puts walk, plan and engine together: the listing runs ahead, its pages are planned in order, and what is to be
//! fetched is spawned as soon as it is known, so that the first bytes come before the last key.
//!
//! Bounds: [`Options::connections`] requests and as many objects again that wait for one; [`Options::memory_bytes`] of buffers; the pages of `listing`.

mod blocked;

use crate::buffers::Buffers;
use crate::comparison::{Compared, Comparer};
use crate::connections::Connections;
use crate::copy_error::CopyError;
use crate::directory::{LocalState, Root};
use crate::engine::{Copied, Engine, Outcome};
use crate::fetch::{Fetched, Fetcher, OPENINGS_MAX, Placed};
use crate::file_name::RelativePath;
use crate::keep_set::KeepSet;
use crate::listing::{Found, Pages, look};
use crate::manifest::{Entry, Manifest};
use crate::obstacles::{Awaited, Blocked, Obstacle};
use crate::orphan_files::OrphanFiles;
use crate::part_journal::CopyId;
use crate::plan::{COLLIDES, Planner, Step, step_of_file};
use crate::report::{Removals, Report};
use crate::room::Room;
use crate::target_probe::TargetProbe;
use crate::temporary::FilePlace;
use crate::work::Work;
use crate::{Error, Options, Progress, Source, attributes, disk};
use pail_store::{ListPage, ObjectMeta, RawKey, Store};
use parking_lot::Mutex;
use std::path::Path;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Copies `source` of `store` to `target`: an object to the file of that path, a prefix to the directory, whose content it joins. Missing directories are
/// made; nothing is deleted but by [`Options::delete`]. What is there as it was left is not sent again. Dropped or stopped, it
/// removes its temporary files, but for those in parts: what of them has arrived the next run does not fetch again, and removes what it has no use for.
///
/// Errors: nothing is there; the store cannot be reached or refuses everything; the disk is full. What concerns single objects is in the report.
pub async fn download(
    store: Arc<dyn Store>,
    source: &Source,
    target: &Path,
    options: &Options,
    progress: &Arc<Progress>,
) -> Result<Report, Error> {
    let work = Work::new(options.stop.clone());
    let copying = copy(options.limited(store), source, target, options, progress, &work);
    let done = tokio::select! {
        done = copying => done,
        () = options.stop.cancelled() => Err(Error::Stopped),
    };
    work.ended().await;
    done
}

async fn copy(
    store: Arc<dyn Store>,
    source: &Source,
    target: &Path,
    options: &Options,
    progress: &Arc<Progress>,
    work: &Work,
) -> Result<Report, Error> {
    let found = look(&store, source).await?;
    let (options, progress, work) = (options.clone(), progress.clone(), work.clone());
    let opening = Opening { store, source: source.clone(), options, progress, work };
    match found {
        Found::Object(object) => download_object(opening, object, target).await,
        Found::Prefix { prefix, first, beside } => {
            let mut report = download_prefix(opening, prefix, first, target).await?;
            if let Some(object) = beside {
                report.skipped.add(object.key.as_str(), COLLIDES);
            }
            Ok(report)
        }
    }
}

/// What a run is made of.
struct Opening {
    store: Arc<dyn Store>,
    source: Source,
    options: Options,
    progress: Arc<Progress>,
    work: Work,
}

/// A download under way.
struct Run {
    fetcher: Arc<Fetcher>,
    comparer: Arc<Comparer>,
    engine: Engine,
    options: Options,
    /// What keys begin with whose rest is a name below the target.
    prefix: String,
    /// What waits for others to be in place.
    blocked: Blocked,
    /// What was in the place of others, and went; guards a removal as a whole.
    made_way: Arc<Mutex<Removals>>,
    /// As it was when the walk began.
    target: TargetProbe,
}

impl Opening {
    /// Opens the directory to write to, and what is known of the last run.
    async fn open(self, directory: &Path, name: Option<&Path>) -> Result<Run, Error> {
        let (dir, name) = (directory.to_owned(), name.map(Path::to_owned));
        let what = format!("download {} {}", self.store.identity(), self.source.identity());
        let (state_dir, is_dry) = (self.options.state_dir.clone(), self.options.dry_run.is_some());
        let open = move || {
            let opened = if is_dry { Root::look_at(&dir) } else { Root::create(&dir) };
            let root = opened.map_err(|error| match disk::is_full(&error) {
                true => disk::full(dir.ancestors().find(|dir| dir.exists()).unwrap_or(&dir), "it is full"),
                false => Error::Local { doing: "create", path: dir.clone(), source: error },
            })?;
            let place = std::fs::canonicalize(&dir).unwrap_or(dir);
            let place = name.map_or(place.clone(), |name| place.join(name));
            let load = if is_dry { Manifest::look_at } else { Manifest::load };
            let what = format!("{what} {place:?}");
            let copy = CopyId::of(&what);
            let manifest = load(state_dir.as_deref(), what);
            Ok((Arc::new(root), Arc::new(manifest), copy, attributes::umask()))
        };
        let opened = self.work.blocking(open).await.map_err(CopyError::into_error)?;
        let (root, manifest, copy, umask) = opened?;
        let connections =
            Connections::new(vec![self.store.clone()], self.progress.clone(), self.options.connections());
        let engine = Engine::new(manifest.clone(), &self.options, self.progress.clone(), self.work.clone());
        let comparer = Comparer::new(self.store.clone(), &self.options, self.work.clone());
        let fetcher = Fetcher {
            store: self.store,
            root,
            orphan_files: Arc::new(OrphanFiles::new(manifest.run(), manifest.dead(), copy)),
            buffers: Buffers::new(self.options.memory_bytes),
            connections,
            part_size_bytes: self.options.part_size_bytes(),
            openings: Semaphore::new(OPENINGS_MAX),
            piece_size: Default::default(),
            umask,
            verifies_by_md5: self.options.verifies_by_md5,
            progress: self.progress,
            work: self.work,
        };
        Ok(Run {
            fetcher: Arc::new(fetcher),
            comparer: Arc::new(comparer),
            engine,
            options: self.options,
            prefix: String::new(),
            blocked: Blocked::default(),
            made_way: Arc::default(),
            target: TargetProbe::default(),
        })
    }
}

async fn download_object(opening: Opening, object: ObjectMeta, target: &Path) -> Result<Report, Error> {
    let unusable =
        || Error::Unusable { path: target.to_owned(), why: "it cannot be a file's name".to_owned() };
    let path = RelativePath::last_of(target).ok_or_else(unusable)?;
    let directory = target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut run = opening.open(directory, target.file_name().map(Path::new)).await?;
    let (root, manifest, mut room) = (run.fetcher.root.clone(), run.engine.manifest.clone(), run.room());
    let comparison = run.options.comparison;
    let plan = move || {
        let steps = vec![step_of_file(&root, &manifest, comparison, object, path)];
        room.as_mut().map_or(Ok(()), |room| room.take(&steps))?;
        Ok(steps)
    };
    let planned = run.fetcher.work.blocking(plan).await;
    let steps: Vec<Step> = planned.map_err(CopyError::into_error)??;
    run.fetcher.progress.walk_ended();
    let taken = run.take(steps).await;
    run.end(taken.map(|()| None), false).await
}

async fn download_prefix(
    opening: Opening,
    prefix: String,
    first: ListPage,
    target: &Path,
) -> Result<Report, Error> {
    let mut run = opening.open(target, None).await?;
    run.prefix.clone_from(&prefix);
    let walked = run.walk(prefix, first).await;
    run.end(walked, true).await
}

impl Run {
    /// Takes the listing to its end. Gives what must stay in the target, where the rest is to go.
    async fn walk(&mut self, prefix: String, first: ListPage) -> Result<Option<Arc<KeepSet>>, Error> {
        let store = self.fetcher.store.clone();
        let (root, manifest) = (self.fetcher.root.clone(), self.engine.manifest.clone());
        let mut planner = Planner::new(prefix.clone(), root.clone(), manifest, &self.options);
        if self.options.dry_run.is_none() {
            let orphan_files = self.fetcher.orphan_files.clone();
            let probing = self.fetcher.work.blocking(move || TargetProbe::of(&root, &orphan_files)).await;
            self.target = probing.map_err(CopyError::into_error)?;
            if self.target.folds_case {
                planner.fold_case();
            }
        }
        let mut room = self.room();
        let source = format!("{}/{prefix}", store.uri());
        let doing = format!("list {source}");
        let mut pages = Pages::after(store, prefix, first);
        while let Some(page) = pages.next().await {
            let page =
                page.map_err(|error| Error::Store { doing: doing.clone(), source: Box::new(error) })?;
            let is_last = page.next.is_none();
            let plan = move || {
                let mut steps = planner.take(page.objects);
                steps.extend(page.names_too_long.into_iter().filter_map(|name| planner.take_too_long(name)));
                if is_last {
                    steps.extend(planner.end());
                }
                room.as_mut().map_or(Ok(()), |room: &mut Room| room.take(&steps))?;
                Ok((planner, room, steps))
            };
            let planned = self.fetcher.work.blocking(plan).await.map_err(CopyError::into_error)?;
            let steps;
            (planner, room, steps) = planned?;
            self.take(steps).await?;
        }
        self.fetcher.progress.walk_ended();
        if self.options.delete && !planner.has_any() {
            return Err(Error::NothingToKeep { path: source.into() });
        }
        Ok(planner.into_kept().map(Arc::new))
    }

    /// What is counted before anything is fetched; a dry run needs none.
    fn room(&self) -> Option<Room> {
        let Fetcher { store, root, orphan_files, part_size_bytes, .. } = &*self.fetcher;
        let is_dry = self.engine.announcer.is_dry();
        (!is_dry).then(|| Room::new(root.clone(), orphan_files.clone(), store.identity(), *part_size_bytes))
    }

    /// Does what is quick, and spawns what is to be fetched as there is room for it.
    async fn take(&mut self, steps: Vec<Step>) -> Result<(), Error> {
        for step in steps {
            match step {
                Step::Skip { key, why } => self.engine.builder.report.skipped.add(key, why),
                Step::Unchanged(object, entry) => {
                    let key = object.key.as_str();
                    self.engine.note(key, key, Ok(Outcome::Unchanged(entry)))?;
                }
                Step::Blocked(object, path, obstacle) => {
                    self.blocked.add(Awaited::File(Box::new(object)), path, obstacle);
                }
                Step::MakeDirectory(..) if self.options.dry_run.is_some() => {}
                Step::MakeDirectory(key, path) => self.make_directory(key, path).await?,
                Step::Fetch(object, path, reason) => {
                    if self.engine.announces(object.key.as_str(), object.size, reason) {
                        let (key, fetcher) = (object.key.clone(), self.fetcher.clone());
                        let place = FilePlace::free(path);
                        let fetching = async move { fetch(&fetcher, object, &place).await };
                        self.engine.spawn(key.clone(), key.as_str().to_owned(), fetching).await?;
                    }
                }
                Step::Compare(object, path, local) => {
                    let key = object.key.clone();
                    let comparing = self.compare(object, path, local);
                    self.engine.spawn(key.clone(), key.as_str().to_owned(), comparing).await?;
                }
            }
        }
        Ok(())
    }

    /// Looks more closely, and fetches what differs.
    fn compare(
        &self,
        object: ObjectMeta,
        path: RelativePath,
        local: LocalState,
    ) -> impl Future<Output = Result<Outcome, CopyError>> + Send + use<> {
        let (comparer, fetcher) = (self.comparer.clone(), self.fetcher.clone());
        let entry = self.engine.manifest.entry(object.key.as_str(), self.options.comparison);
        let announcer = self.engine.announcer.clone();
        async move {
            let (root, place) = (fetcher.root.clone(), path.clone());
            let open = move || root.open_file(&place);
            let compared = comparer.compare(&object, entry.as_ref(), local, open).await;
            match compared.inspect_err(|_| announcer.skips())? {
                Compared::Same { version, is_by_time } => {
                    announcer.skips();
                    Ok(Outcome::Unchanged(Entry { version, local, is_by_time }))
                }
                Compared::Differs(reason) if announcer.copies(object.key.as_str(), object.size, reason) => {
                    fetch(&fetcher, object, &FilePlace::free(path)).await
                }
                Compared::Differs(_) => Ok(Outcome::Announced { size: object.size }),
            }
        }
    }

    async fn make_directory(&mut self, key: RawKey, path: RelativePath) -> Result<(), Error> {
        let (root, place) = (self.fetcher.root.clone(), path.clone());
        let made = self.fetcher.work.blocking(move || root.make(place.as_bytes()).map(drop)).await;
        let error = match made {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => error,
            Err(error) => return self.engine.builder.add(key.as_str(), error),
        };
        match Obstacle::of(&error) {
            Some(obstacle) => self.blocked.add(Awaited::Directory(key), path, obstacle),
            None => {
                let error = CopyError::of_target(self.fetcher.root.path(), &error);
                self.engine.builder.add(key.as_str(), error)?;
            }
        }
        Ok(())
    }

    /// Waits for the rest, or gives it up where the walk failed. `is_all_below`: the run is of all that is below a prefix, and not of one object. What is
    /// extra goes last.
    async fn end(
        mut self,
        walked: Result<Option<Arc<KeepSet>>, Error>,
        is_all_below: bool,
    ) -> Result<Report, Error> {
        let mut ended = self.engine.join_all(walked).await;
        if let Ok(kept) = &ended {
            let placed = self.place_blocked(kept.clone().as_ref()).await;
            ended = self.engine.join_all(placed).await.and(ended);
        }
        if ended.is_ok() && self.engine.builder.report.failed.count == 0 {
            let fetcher = self.fetcher.clone();
            let is_everything = is_all_below && self.options.filters.is_empty();
            let clear = move || fetcher.orphan_files.clear_at_end(&fetcher.root, is_everything);
            self.fetcher.work.blocking(clear).await.map_err(CopyError::into_error)?;
        }
        let (prefix, filters) = (&self.prefix, &self.options.filters);
        let is_left_out =
            |key: &str| key.strip_prefix(prefix.as_str()).is_some_and(|rest| !filters.take(rest.as_bytes()));
        let saved = self.engine.save_manifest(ended.is_ok(), is_left_out).await;
        let kept = ended.and_then(|kept| saved.map(|()| kept))?;
        self.engine.builder.report.not_comparable = self.comparer.not_comparable();
        self.engine.builder.report.touched = self.comparer.touched();
        let made_way = std::mem::take(&mut *self.made_way.lock());
        let extra = kept.map(|kept| self.extra(kept));
        let mut report = self.engine.into_report()?;
        match extra {
            Some(_) if report.failed.count > 0 => {
                report.removed = Removals { is_withheld: true, ..made_way };
            }
            Some(extra) => {
                let root = self.fetcher.root.clone();
                let remove = move || extra.with(made_way, |extra| extra.remove(&root));
                report.removed =
                    self.fetcher.work.blocking(remove).await.map_err(CopyError::into_error)??;
            }
            None => {}
        }
        Ok(report)
    }
}

async fn fetch(fetcher: &Arc<Fetcher>, object: ObjectMeta, place: &FilePlace) -> Result<Outcome, CopyError> {
    let Fetched { version, placed } = fetcher.fetch(object, place).await?;
    let Placed { local, is_verified, resumed_bytes } = placed;
    let entry = Entry { version, local, is_by_time: false };
    Ok(Outcome::Copied(Copied { entry, resumed_bytes, is_verified: Some(is_verified) }))
}

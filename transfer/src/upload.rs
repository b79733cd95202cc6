//! From local files to a bucket.
//!
//! Owns: [`upload`]. The local walk comes first, since it is quick and says how much there is; then the store is asked which of the objects are as the files
//! are, and everything else is sent; last goes what is extra in the bucket, where that was asked for.
//!
//! # What is unchanged
//! A file with the size and time that the manifest has for it, whose object still has the version that was made of it. Without a manifest everything is sent:
//! of an object that somebody else wrote, equal sizes say nothing. Where more is to be compared (see [`Comparison`](crate::Comparison)), the target is listed, and
//! `comparison` decides.
//!
//! Bounds: [`Options::connections`] requests and as many files again that wait for one; [`Options::memory_bytes`] of files that are sent in one request.

use crate::change::Reason;
use crate::comparison::{Compared, Comparer, Comparison, Judgement, is_touched, judge};
use crate::copy_error::CopyError;
use crate::directory::LocalState;
use crate::engine::{Copied, Engine, Outcome};
use crate::file_name::beginning_of;
use crate::keep_set::KeepSet;
use crate::local_file::OpenFile;
use crate::local_walk::{LocalFile, Walked, walk};
use crate::manifest::{Entry, Manifest};
use crate::report::Report;
use crate::send::{Sender, Sent};
use crate::target_listing::{Before, TargetListing};
use crate::upload_journal::UploadJournals;
use crate::work::Work;
use crate::{Error, Options, Progress, UploadSource};
use futures::StreamExt;
use futures::stream;
use pail_store::{ErrorKind, ListRequest, ObjectMeta, Store, Version};
use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

/// So many objects are looked at one by one; more, by a listing.
const LOOKED_AT_SINGLY_MAX: usize = 32;
/// So many sources name the manifest by themselves; more, by what their keys have in common.
const SOURCES_NAMED_MAX: usize = 16;

/// Sends files, and all files below directories, to objects of `store`. Nothing is deleted but by [`Options::delete`]. What was sent before and is as it was on both sides is not sent
/// again. Dropped, stopped or killed, it leaves no object that is not whole, and its uploads in parts to the next run of the same sources and keys, which goes on with
/// those of files that are as they were, and aborts the others; without a state directory, stopped, it aborts them.
///
/// Errors: a source that is not there; the store cannot be reached or refuses everything. What concerns single files is in the report.
pub async fn upload(
    store: Arc<dyn Store>,
    sources: &[UploadSource],
    options: &Options,
    progress: &Arc<Progress>,
) -> Result<Report, Error> {
    let (store, work) = (options.limited(store), Work::new(options.stop.clone()));
    let what = format!("upload {} {}", store.identity(), scope_of(sources, options));
    let journals = UploadJournals::of(options.state_dir.as_deref(), &what);
    let sender = Sender::new(store.clone(), options, journals, progress.clone(), work.clone());
    let sender = Arc::new(sender);
    let sending = send_all(store, sources, what, options, progress, &sender, &work);
    let done = tokio::select! {
        done = sending => done,
        () = options.stop.cancelled() => Err(Error::Stopped),
    };
    work.ended().await;
    sender.abort_orphans().await;
    done
}

async fn send_all(
    store: Arc<dyn Store>,
    sources: &[UploadSource],
    what: String,
    options: &Options,
    progress: &Arc<Progress>,
    sender: &Arc<Sender>,
    work: &Work,
) -> Result<Report, Error> {
    let prefix = prefix_of(sources, options)?;
    if options.comparison == Comparison::Content && options.dry_run.is_none() {
        // An endpoint that is known is sent checksums of whole objects, which the next run can compare.
        let _ = work.capabilities(&store).await;
    }
    // What others write during the walk, however long that takes, is not extra.
    let before = if options.delete { Some(Before::list(&store, &prefix).await?) } else { None };
    let (walked, manifest) = prepare(sources, what, options, work).await?;
    let Walked { files, skipped, failed, kept, .. } = walked;
    if let (true, [source]) = (options.delete, sources)
        && files.is_empty()
    {
        return Err(Error::NothingToKeep { path: source.path.clone() });
    }
    let mut extra = TargetListing::default();
    let decided = match options.comparison == Comparison::Manifest && !options.delete {
        true => decide_by_manifest(&store, files, &manifest, options.connections()).await?,
        false => {
            let wanted: HashSet<&str> = files.iter().map(|file| file.key.as_str()).collect();
            let filters = &options.filters;
            extra = TargetListing::read(&store, &prefix, &wanted, kept.as_ref(), filters).await?;
            if let Some(before) = before {
                extra = extra.only(&before);
            }
            decide_by_listing(options.comparison, files, &manifest, std::mem::take(&mut extra.wanted))
        }
    };
    let comparer = Comparer::new(store.clone(), options, work.clone());
    let mut run = Run {
        engine: Engine::new(Arc::new(manifest), options, progress.clone(), work.clone()),
        sender: sender.clone(),
        comparer: Arc::new(comparer),
        comparison: options.comparison,
    };
    (run.engine.builder.report.skipped, run.engine.builder.report.failed) = (skipped, failed);
    let sent = run.send_all(decided).await;
    let Run { mut engine, comparer, .. } = run;
    let ended = engine.join_all(sent).await;
    if ended.is_ok() && options.dry_run.is_none() && engine.builder.report.failed.count == 0 {
        sender.abort_dead().await;
    }
    let is_left_out = |key: &str| {
        key.strip_prefix(prefix.as_str()).is_some_and(|rest| !options.filters.take(rest.as_bytes()))
    };
    let saved = engine.save_manifest(ended.is_ok(), is_left_out).await;
    ended.and(saved)?;
    engine.builder.report.not_comparable = comparer.not_comparable();
    engine.builder.report.touched = comparer.touched();
    let mut report = engine.into_report()?;
    if options.delete && report.failed.count > 0 {
        report.removed.is_withheld = true;
    } else if options.delete {
        report.removed = extra.remove_extra(store, options, work).await?;
    }
    Ok(report)
}

async fn prepare(
    sources: &[UploadSource],
    what: String,
    options: &Options,
    work: &Work,
) -> Result<(Walked, Manifest), Error> {
    let (sources, options) = (sources.to_vec(), options.clone());
    let prepare = move || {
        let walked = walk(&sources, &options, options.delete.then(KeepSet::default))?;
        let load = if options.dry_run.is_some() { Manifest::look_at } else { Manifest::load };
        Ok((walked, load(options.state_dir.as_deref(), what)))
    };
    work.blocking(prepare).await.map_err(CopyError::into_error)?
}

/// What all keys of a run begin with. Errors: what is extra is to be deleted where that cannot be told.
fn prefix_of(sources: &[UploadSource], options: &Options) -> Result<String, Error> {
    match sources {
        [source] if source.key.is_empty() || source.key.ends_with('/') => Ok(source.key.clone()),
        [source, ..] if options.delete => Err(Error::Unusable {
            path: source.path.clone(),
            why: "what is extra can be told of one directory alone".to_owned(),
        }),
        _ => Ok(common_prefix(sources.iter().map(|source| source.key.as_str())).to_owned()),
    }
}

/// What is to become of a file.
enum Decision {
    /// The object has this version; `is_by_time` as in [`Entry`].
    Unchanged(Version, bool),
    Send(Reason),
    /// It takes a closer look at this object.
    Compare(Box<ObjectMeta>),
}

/// By what the last run did, and what the store has of that.
async fn decide_by_manifest(
    store: &Arc<dyn Store>,
    files: Vec<LocalFile>,
    manifest: &Manifest,
    connections: usize,
) -> Result<Vec<(LocalFile, Decision)>, Error> {
    let mut known = versions_of(store, &files, manifest, connections).await?;
    let mut decide = |file: &LocalFile| {
        let Some(entry) = manifest.entry(file.key.as_str(), Comparison::Manifest) else {
            return Decision::Send(Reason::NotSentBefore);
        };
        if entry.local.size != file.size {
            return Decision::Send(Reason::SizeDiffers);
        }
        if entry.local.mtime_ns != file.mtime_ns {
            return Decision::Send(Reason::TimeDiffers);
        }
        match known.remove(file.key.as_str()) {
            None => Decision::Send(Reason::New),
            Some(version) if version == entry.version => {
                let object = looked_at(file, version);
                match is_touched(&entry, &object, state_of(file)) {
                    true => Decision::Compare(Box::new(object)),
                    false => Decision::Unchanged(object.version, false),
                }
            }
            Some(_) => Decision::Send(Reason::VersionDiffers),
        }
    };
    Ok(files
        .into_iter()
        .map(|file| {
            let decision = decide(&file);
            (file, decision)
        })
        .collect())
}

/// By what the target has.
fn decide_by_listing(
    comparison: Comparison,
    files: Vec<LocalFile>,
    manifest: &Manifest,
    mut listed: HashMap<String, ObjectMeta>,
) -> Vec<(LocalFile, Decision)> {
    let mut decide = |file: &LocalFile| {
        let key = file.key.as_str();
        let Some(object) = listed.remove(key) else { return Decision::Send(Reason::New) };
        match judge(comparison, manifest.entry(key, comparison).as_ref(), &object, state_of(file)) {
            Judgement::Same { is_by_time } => Decision::Unchanged(object.version, is_by_time),
            Judgement::Differs(reason) => Decision::Send(reason),
            Judgement::Undecided => Decision::Compare(Box::new(object)),
        }
    };
    files
        .into_iter()
        .map(|file| {
            let decision = decide(&file);
            (file, decision)
        })
        .collect()
}

/// An upload under way.
struct Run {
    engine: Engine,
    sender: Arc<Sender>,
    comparer: Arc<Comparer>,
    comparison: Comparison,
}

impl Run {
    /// Begins to send what is to be sent.
    async fn send_all(&mut self, decided: Vec<(LocalFile, Decision)>) -> Result<(), Error> {
        let mut to_do = Vec::new();
        for (file, decision) in decided {
            let key = file.key.as_str();
            match decision {
                Decision::Unchanged(version, is_by_time) => {
                    let entry = Entry { version, local: state_of(&file), is_by_time };
                    self.engine.note(key, key, Ok(Outcome::Unchanged(entry)))?;
                }
                Decision::Send(reason) => {
                    if self.engine.announces(key, file.size, reason) {
                        to_do.push((file, None));
                    }
                }
                Decision::Compare(object) => to_do.push((file, Some(object))),
            }
        }
        self.engine.announcer.progress.walk_ended();
        for (file, object) in to_do {
            let (key, name) = (file.key.clone(), file.path.to_string_lossy().into_owned());
            match object {
                None => {
                    let sender = self.sender.clone();
                    self.engine.spawn(key, name, async move { send(&sender, &file).await }).await?;
                }
                Some(object) => {
                    let comparing = self.compare(file, *object);
                    self.engine.spawn(key, name, comparing).await?;
                }
            }
        }
        Ok(())
    }

    /// Looks more closely, and sends what differs.
    fn compare(
        &self,
        file: LocalFile,
        object: ObjectMeta,
    ) -> impl Future<Output = Result<Outcome, CopyError>> + Send + use<> {
        let (comparer, sender) = (self.comparer.clone(), self.sender.clone());
        let entry = self.engine.manifest.entry(file.key.as_str(), self.comparison);
        let announcer = self.engine.announcer.clone();
        async move {
            let path = file.path.clone();
            let open = move || OpenFile::open(&path).map(OpenFile::into_file);
            let compared = comparer.compare(&object, entry.as_ref(), state_of(&file), open).await;
            match compared.inspect_err(|_| announcer.skips())? {
                Compared::Same { version, is_by_time } => {
                    announcer.skips();
                    Ok(Outcome::Unchanged(Entry { version, local: state_of(&file), is_by_time }))
                }
                Compared::Differs(reason) if announcer.copies(file.key.as_str(), file.size, reason) => {
                    send(&sender, &file).await
                }
                Compared::Differs(_) => Ok(Outcome::Announced { size: file.size }),
            }
        }
    }
}

async fn send(sender: &Arc<Sender>, file: &LocalFile) -> Result<Outcome, CopyError> {
    let Sent { version, local, resumed_bytes } = sender.send(file).await?;
    let entry = Entry { version, local, is_by_time: false };
    Ok(Outcome::Copied(Copied { entry, resumed_bytes, is_verified: None }))
}

fn state_of(file: &LocalFile) -> LocalState {
    LocalState { size: file.size, mtime_ns: file.mtime_ns, ctime_ns: Some(file.ctime_ns) }
}

/// The object of a file, of which nothing is known but that it has this version, and by that the file's size.
fn looked_at(file: &LocalFile, version: Version) -> ObjectMeta {
    ObjectMeta {
        key: file.key.clone(),
        size: file.size,
        version,
        last_modified: std::time::SystemTime::UNIX_EPOCH,
        attributes: None,
        checksum: None,
        md5: None,
    }
}

fn scope_of(sources: &[UploadSource], options: &Options) -> String {
    if let Some(scope) = &options.scope {
        return scope.clone();
    }
    let named = |source: &UploadSource| {
        let path = std::path::absolute(&source.path).unwrap_or_else(|_| source.path.clone());
        // Without a slash at the end.
        let path: PathBuf = path.components().collect();
        format!("{path:?} {}", source.key)
    };
    match sources.len() <= SOURCES_NAMED_MAX {
        true => sources.iter().map(named).collect::<Vec<_>>().join("\n"),
        false => format!("list {}", common_prefix(sources.iter().map(|source| source.key.as_str()))),
    }
}

/// What the store has of the objects that might be as they were left.
async fn versions_of(
    store: &Arc<dyn Store>,
    files: &[LocalFile],
    manifest: &Manifest,
    connections: usize,
) -> Result<HashMap<String, Version>, Error> {
    let is_candidate = |file: &&LocalFile| {
        let entry = manifest.entry(file.key.as_str(), Comparison::Manifest);
        entry.is_some_and(|entry| entry.local.is_like(&state_of(file)))
    };
    let mut singly: Vec<&LocalFile> = files.iter().filter(is_candidate).collect();
    let failed = |error| Error::Store { doing: format!("look at {}", store.uri()), source: Box::new(error) };
    let mut known = HashMap::new();
    if singly.len() > LOOKED_AT_SINGLY_MAX {
        known = versions_by_listing(store, &singly).await.map_err(failed)?;
        // Some servers leave the versions out.
        singly.retain(|file| known.get(file.key.as_str()).is_some_and(Version::is_unknown));
    }
    let mut looked = stream::iter(singly)
        .map(|file| async move { (file, store.head(&file.key).await) })
        .buffer_unordered(connections);
    while let Some((file, head)) = looked.next().await {
        match head {
            Ok(object) => drop(known.insert(file.key.as_str().to_owned(), object.version)),
            // Who may write and not read sends again.
            Err(error) if matches!(error.kind, ErrorKind::NotFound | ErrorKind::Denied) => {}
            Err(error) => return Err(failed(error)),
        }
    }
    Ok(known)
}

async fn versions_by_listing(
    store: &Arc<dyn Store>,
    candidates: &[&LocalFile],
) -> pail_store::Result<HashMap<String, Version>> {
    let wanted: HashSet<&str> = candidates.iter().map(|file| file.key.as_str()).collect();
    let prefix = common_prefix(wanted.iter().copied());
    let mut known = HashMap::new();
    let mut request = ListRequest { prefix, ..ListRequest::default() };
    loop {
        let page = match store.list(request.clone()).await {
            Ok(page) => page,
            Err(error) if matches!(error.kind, ErrorKind::Denied) => return Ok(HashMap::new()),
            Err(error) => return Err(error),
        };
        let listed = page.objects.into_iter().filter(|object| wanted.contains(object.key.as_str()));
        known.extend(listed.map(|object| (object.key.as_str().to_owned(), object.version)));
        match page.next {
            Some(next) => request.token = Some(next),
            None => return Ok(known),
        }
    }
}

/// The longest beginning that all have, in whole characters.
fn common_prefix<'a>(mut texts: impl Iterator<Item = &'a str>) -> String {
    let Some(first) = texts.next() else { return String::new() };
    let common = texts.fold(first, |common, text| {
        let len = common.bytes().zip(text.bytes()).take_while(|(a, b)| a == b).count();
        beginning_of(common, len)
    });
    common.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_common_prefix_never_cuts_a_character() {
        assert_eq!(common_prefix(["data/ü", "data/ä", "data/x"].into_iter()), "data/");
        assert_eq!(common_prefix(["a"].into_iter()), "a");
        assert_eq!(common_prefix(["a", "b"].into_iter()), "");
    }
}

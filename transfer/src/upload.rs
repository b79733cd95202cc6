//! From local files to a bucket.
//!
//! Owns: [`upload`]. The local walk comes first, since it is quick and says how much there is; then the store is asked which of the objects that the last run
//! made are still there as they were, and everything else is sent.
//!
//! # What is unchanged
//! A file with the size and time that the manifest has for it, whose object still has the version that was made of it. Without a manifest everything is sent:
//! of an object that somebody else wrote, equal sizes say nothing.
//!
//! Bounds: [`Options::connections`] requests and as many files again that wait for one; [`Options::memory_bytes`] of files that are sent in one request.

use crate::directory::LocalState;
use crate::file_name::beginning_of;
use crate::local_walk::{LocalFile, Walked, walk};
use crate::manifest::{Entry, Manifest};
use crate::report::Report;
use crate::run_log::FLUSH_INTERVAL;
use crate::send::{Sender, Sent};
use crate::tally::Tally;
use crate::trouble::Trouble;
use crate::upload_journal::UploadJournals;
use crate::work::{Work, lost};
use crate::{Error, Options, Progress, UploadSource};
use futures::StreamExt;
use futures::stream;
use pail_store::{ErrorKind, ListRequest, Store, Version};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use tokio::task::JoinSet;

/// So many objects are looked at one by one; more, by a listing.
const LOOKED_AT_SINGLY_MAX: usize = 32;
/// So many sources name the manifest by themselves; more, by what their keys have in common.
const SOURCES_NAMED_MAX: usize = 16;

/// Sends files, and all files below directories, to objects of `store`. Nothing is deleted. What was sent before and is as it was on both sides is not sent
/// again. Dropped or stopped, it leaves no object that is not whole, and no upload in parts. One
/// that was killed leaves its uploads to the next run of the same sources and keys, which goes on with those of files that are as they were, and aborts the others.
///
/// Errors: a source that is not there; the store cannot be reached or refuses everything. What concerns single files is in the report.
pub async fn upload(
    store: Arc<dyn Store>,
    sources: &[UploadSource],
    options: &Options,
    progress: &Arc<Progress>,
) -> Result<Report, Error> {
    let work = Work::default();
    let what = format!("upload {} {}", store.identity(), scope_of(sources, options));
    let sender = Arc::new(Sender::new(
        store.clone(),
        options.connections,
        options.memory_bytes,
        options.part_size_bytes(),
        progress.clone(),
        work.clone(),
        UploadJournals::of(options.state_dir.as_deref(), &what),
    ));
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
    let (sources, state_dir) = (sources.to_vec(), options.state_dir.clone());
    let prepare = move || walk(&sources).map(|found| (found, Manifest::load(state_dir.as_deref(), what)));
    let prepared = work.blocking(prepare).await.map_err(Trouble::into_error)?;
    let (Walked { files, skipped, failed }, manifest) = prepared?;
    let known = versions_of(&store, &files, &manifest, options.connections.max(1)).await?;

    let manifest = Arc::new(manifest);
    let mut run = Run {
        manifest,
        work: work.clone(),
        tasks: JoinSet::new(),
        tally: Tally::default(),
        progress: progress.clone(),
    };
    (run.tally.report.skipped, run.tally.report.failed) = (skipped, failed);
    let (sent, unchanged): (Vec<_>, Vec<_>) = files.into_iter().partition(|file| {
        let Some(entry) = run.manifest.entry(file.key.as_str()) else { return true };
        entry.local != state_of(file) || known.get(file.key.as_str()) != Some(&entry.version)
    });
    for file in unchanged {
        run.tally.report.unchanged += 1;
        let Some(version) = known.get(file.key.as_str()) else { continue };
        run.manifest.record(file.key.as_str(), Entry { version: version.clone(), local: state_of(&file) });
    }
    sent.iter().for_each(|file| progress.find(file.size));
    progress.walk_ended();
    for file in sent {
        while run.tasks.len() >= options.connections.max(1).saturating_mul(2) {
            run.finish_one().await?;
        }
        let sender = sender.clone();
        run.tasks.spawn(work.tracked(async move {
            let sent = sender.send(&file).await;
            (file, sent)
        }));
    }
    while !run.tasks.is_empty() {
        run.finish_one().await?;
    }
    sender.abort_dead().await;
    run.manifest.forget_unseen();
    let manifest = run.manifest;
    work.blocking(move || manifest.save()).await.map_err(Trouble::into_error)?;
    run.tally.into_report()
}

/// An upload under way.
struct Run {
    manifest: Arc<Manifest>,
    work: Work,
    tasks: JoinSet<(LocalFile, Result<Sent, Trouble>)>,
    tally: Tally,
    progress: Arc<Progress>,
}

impl Run {
    async fn finish_one(&mut self) -> Result<(), Error> {
        let done = loop {
            match tokio::time::timeout(FLUSH_INTERVAL, self.tasks.join_next()).await {
                Ok(Some(done)) => break done,
                Ok(None) => return Ok(()),
                Err(_) => self.manifest.flush_if_due(&self.work),
            }
        };
        let (file, sent) = done.map_err(|error| lost(&error))?;
        self.progress.finish_one();
        match sent {
            Ok(Sent { version, local, resumed_bytes }) => {
                self.tally.report.resumed_bytes += resumed_bytes;
                self.tally.report.copied += 1;
                self.tally.report.copied_bytes += local.size;
                self.manifest.record(file.key.as_str(), Entry { version, local });
                self.manifest.flush_if_due(&self.work);
                Ok(())
            }
            Err(trouble) => self.tally.add(&file.path.to_string_lossy(), trouble),
        }
    }
}

fn state_of(file: &LocalFile) -> LocalState {
    LocalState { size: file.size, mtime_ns: file.mtime_ns }
}

fn scope_of(sources: &[UploadSource], options: &Options) -> String {
    if let Some(scope) = &options.scope {
        return scope.clone();
    }
    let named = |source: &UploadSource| {
        let path = std::path::absolute(&source.path).unwrap_or_else(|_| source.path.clone());
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
        manifest.entry(file.key.as_str()).is_some_and(|entry| entry.local == state_of(file))
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

//! From a bucket to a bucket.
//!
//! Owns: [`copy_between`]. The store copies by itself where it can: within a bucket, and between buckets of one endpoint, if the target's credentials
//! may read the source. Otherwise the bytes go through this process ([`relay`](crate::relay)), and are kept in no file.
//!
//! Keys below the prefix are taken over as they are: `a//b`, `../x` and `a` beside `a/b` are keys like others.
//!
//! # What is unchanged
//! An object whose version is the one that was copied, where the target's still has the version that was made of it, by the manifest. Without one everything is
//! copied: of an object that somebody else wrote, equal sizes say nothing. Where more is to be compared (see [`Comparison`]), two ETags that are made of MD5s, or two
//! checksums of one kind, tell whether the bytes are the same.
//!
//! Bounds: [`Options::connections`] objects or parts under way and as many objects again that wait; [`Options::memory_bytes`] of objects that are sent in one
//! request, and up to 2 MiB for each part; the pages of `listing`; with [`Options::delete`] 8 bytes of every name, and what `target_listing` has.

use crate::change::Reason;
use crate::comparison::Comparison;
use crate::connections::Connections;
use crate::copier::Copier;
use crate::copy_error::CopyError;
use crate::directory::LocalState;
use crate::engine::{Copied, Engine, Outcome};
use crate::keep_set::KeepSet;
use crate::listing::{Found, Pages, look};
use crate::manifest::{Entry, Manifest};
use crate::memory::Memory;
use crate::orphan_uploads::OrphanUploads;
use crate::part_uploads::PartUploads;
use crate::relay::Relay;
use crate::target_listing::{Before, TargetListing};
use crate::target_objects::TargetObjects;
use crate::upload_journal::UploadJournals;
use crate::work::Work;
use crate::{Error, Options, Progress, Report, Source};
use pail_store::{ErrorKind, ListPage, ObjectMeta, RawKey, Store, Version};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

const AMONG_SOURCES: &str = "its copy would be one of the objects that are copied";
const BESIDE: &str = "it is beside the prefix, not below it";

/// Where copies between buckets go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// One object, to exactly this key.
    Object(RawKey),
    /// Below this prefix, which is empty or ends in `/`: what is below a prefix under the rest of its key, one object under the name behind its last `/`.
    Prefix(String),
}

/// Copies `source` of one store to `destination` in another, or in the same. Nothing is deleted but by [`Options::delete`], and what is there as it was left is not copied again. Dropped,
/// stopped or killed, it leaves no object that is not whole, and its uploads in parts to the next run of the same source and target, which goes on with those
/// of versions that are there, and aborts the others; without a state directory, stopped, it aborts them.
///
/// Errors: nothing is there; `Unusable`, where something would be copied onto itself or below itself; a store cannot be reached or refuses
/// everything. What concerns single objects is in the report.
pub async fn copy_between(
    source: Arc<dyn Store>,
    from: &Source,
    target: Arc<dyn Store>,
    destination: &Destination,
    options: &Options,
    progress: &Arc<Progress>,
) -> Result<Report, Error> {
    let work = Work::new(options.stop.clone());
    let source = options.limited(source);
    let what =
        format!("between {} {} {} {destination:?}", source.identity(), from.identity(), target.identity());
    let stores = vec![source.clone(), target.clone()];
    let connections = Connections::new(stores, progress.clone(), options.connections());
    let uploads = Arc::new(PartUploads {
        store: target.clone(),
        connections: connections.clone(),
        journals: Arc::new(UploadJournals::of(options.state_dir.as_deref(), &what)),
        new_objects: options.new_objects.clone(),
        orphans: OrphanUploads::new(target.clone()),
        work: work.clone(),
    });
    let relay = Relay {
        source,
        target,
        connections,
        memory: Memory::new(options.memory_bytes, options.part_size_bytes()),
        part_size_bytes: options.part_size_bytes(),
        server_copy_bytes_max: options.server_copy_bytes_max,
        verifies_by_md5: options.verifies_by_md5,
        progress: progress.clone(),
        uploads: uploads.clone(),
        work: work.clone(),
    };
    let copying = copy(relay, what, from, destination, options);
    let done = tokio::select! {
        done = copying => done,
        () = options.stop.cancelled() => Err(Error::Stopped),
    };
    work.ended().await;
    uploads.orphans.abort_all().await;
    done
}

async fn copy(
    relay: Relay,
    what: String,
    from: &Source,
    destination: &Destination,
    options: &Options,
) -> Result<Report, Error> {
    let found = look(&relay.source, from).await?;
    let (source, target) = (relay.source.clone(), relay.target.clone());
    let is_within = source.identity() == target.identity();
    let state_dir = options.state_dir.clone();
    let load = if options.dry_run.is_some() { Manifest::look_at } else { Manifest::load };
    let load = move || load(state_dir.as_deref(), what);
    let manifest = relay.work.blocking(load).await.map_err(CopyError::into_error)?;
    let work = relay.work.clone();
    let engine = Engine::new(Arc::new(manifest), options, relay.progress.clone(), work.clone());
    let mut run = Run {
        copier: Arc::new(Copier::new(relay, is_within)),
        engine,
        options: options.clone(),
        // Set below, where it is a prefix.
        prefix: String::new(),
        is_within: false,
    };
    let walked = run.walk(found, destination).await;
    let Run { copier, mut engine, prefix, .. } = run;
    let ended = engine.join_all(walked).await;
    if ended.is_ok() && options.dry_run.is_none() && engine.builder.report.failed.count == 0 {
        copier.relay.uploads.abort_dead().await;
    }
    let is_left_out = |key: &str| {
        key.strip_prefix(prefix.as_str()).is_some_and(|rest| !options.filters.take(rest.as_bytes()))
    };
    let saved = engine.save_manifest(ended.is_ok(), is_left_out).await;
    let extra = ended.and_then(|extra| saved.map(|()| extra))?;
    engine.builder.report.not_comparable = copier.not_comparable();
    let mut report = engine.into_report()?;
    match extra {
        Some(_) if report.failed.count > 0 => report.removed.is_withheld = true,
        Some(Extra { kept, before, below }) => {
            let nothing = HashSet::new();
            let found = TargetListing::read(&target, &below, &nothing, Some(&kept), &options.filters).await?;
            report.removed = found.only(&before).remove_extra(target, options, &work).await?;
        }
        None => {}
    }
    Ok(report)
}

/// Whether both are one bucket that is reached in two ways: the first object of the source is in the target, the same version, written in the same second.
async fn is_one_bucket(
    source: &Arc<dyn Store>,
    target: &Arc<dyn Store>,
    first: &ListPage,
) -> Result<bool, Error> {
    let Some(object) = first.objects.first() else { return Ok(false) };
    let of = async |store: &Arc<dyn Store>| match store.head(&object.key).await {
        Ok(found) => Ok(Some(found)),
        Err(error) if matches!(error.kind, ErrorKind::NotFound | ErrorKind::Denied) => Ok(None),
        Err(error) => {
            let doing = format!("look at {}/{}", store.uri(), object.key);
            Err(Error::Store { doing, source: Box::new(error) })
        }
    };
    let (one, other) = tokio::join!(of(source), of(target));
    let (Some(one), Some(other)) = (one?, other?) else { return Ok(false) };
    let second =
        |object: &ObjectMeta| object.last_modified.duration_since(UNIX_EPOCH).map(|time| time.as_secs()).ok();
    // By two APIs, a bucket has versions of two kinds.
    let is_one_version = match (one.version.etag(), other.version.etag()) {
        (Some(one), Some(other)) => one == other,
        _ => true,
    };
    Ok(is_one_version && one.size == other.size && second(&one) == second(&other))
}

fn onto_itself(from: &str, to: &str) -> Error {
    Error::Unusable { path: from.into(), why: format!("it cannot be copied onto or below itself, to {to}") }
}

/// A copy under way.
struct Run {
    copier: Arc<Copier>,
    engine: Engine,
    options: Options,
    /// What is copied is below this, where it is not one object.
    prefix: String,
    /// The copies are in the same bucket.
    is_within: bool,
}

/// What tells what is extra in the target.
struct Extra {
    /// What must stay.
    kept: KeepSet,
    before: Before,
    /// The prefix below which it is.
    below: String,
}

/// What is to become of an object.
enum Decision {
    Unchanged(Entry),
    Copy(Reason),
    /// It takes a closer look at this object of the target.
    Compare(ObjectMeta),
}

impl Run {
    /// Begins to copy all that was found. Gives what tells what is extra, where that is to go.
    async fn walk(&mut self, found: Found, destination: &Destination) -> Result<Option<Extra>, Error> {
        let Relay { source, target, .. } = &*self.copier.relay;
        let is_within = source.identity() == target.identity();
        match (found, destination) {
            (Found::Object(object), destination) => {
                self.copy_object(object, destination).await?;
                Ok(None)
            }
            (Found::Prefix { prefix, first, beside }, Destination::Prefix(below)) => {
                let uris = (format!("{}/{prefix}", source.uri()), format!("{}/{below}", target.uri()));
                if is_within && below.starts_with(&prefix) {
                    return Err(onto_itself(&uris.0, &uris.1));
                }
                let is_deleted = self.options.delete;
                if is_deleted
                    && prefix.starts_with(below)
                    && (is_within || (prefix != *below && is_one_bucket(source, target, &first).await?))
                {
                    let why =
                        format!("what it has not is to be deleted below {}, and it is there itself", uris.1);
                    return Err(Error::Unusable { path: uris.0.into(), why });
                }
                let before = if is_deleted { Some(Before::list(target, below).await?) } else { None };
                (self.prefix, self.is_within) = (prefix, is_within);
                if let Some(object) = beside {
                    self.engine.builder.report.skipped.add(object.key.as_str(), BESIDE);
                }
                let kept = self.copy_prefix(first, below).await?;
                Ok(kept.zip(before).map(|(kept, before)| Extra { kept, before, below: below.clone() }))
            }
            (Found::Prefix { prefix, .. }, Destination::Object(_)) => {
                Err(Error::IsPrefix { uri: format!("{}/{prefix}", source.uri()) })
            }
        }
    }

    async fn copy_object(&mut self, object: ObjectMeta, destination: &Destination) -> Result<(), Error> {
        let to = match destination {
            Destination::Object(key) => key.clone(),
            Destination::Prefix(prefix) => {
                let name = object.key.as_str().rsplit('/').next().unwrap_or_default();
                let unusable =
                    |why: &str| Error::Unusable { path: object.key.as_str().into(), why: why.to_owned() };
                if name.is_empty() {
                    return Err(unusable("nothing is behind its last /; give the new key as the target"));
                }
                RawKey::new(format!("{prefix}{name}")).map_err(|error| unusable(&error.to_string()))?
            }
        };
        let Relay { source, target, progress, .. } = &*self.copier.relay;
        if source.identity() == target.identity() && object.key == to {
            let uri = format!("{}/{to}", target.uri());
            return Err(onto_itself(&uri, &uri));
        }
        progress.walk_ended();
        let mut there = TargetObjects::new(target.clone(), to.as_str().to_owned());
        self.take(object, to, &mut there).await
    }

    /// Takes the listing to its end. Gives what must stay below `below`, where the rest is to go.
    async fn copy_prefix(&mut self, first: ListPage, below: &str) -> Result<Option<KeepSet>, Error> {
        let mut kept = self.options.delete.then(KeepSet::default);
        let prefix = self.prefix.clone();
        let (source, target) = (self.copier.relay.source.clone(), self.copier.relay.target.clone());
        let doing = format!("list {}/{prefix}", source.uri());
        let mut there = TargetObjects::new(target, below.to_owned());
        let mut has_any = false;
        let mut pages = Pages::after(source, prefix.clone(), first);
        while let Some(page) = pages.next().await {
            let page =
                page.map_err(|error| Error::Store { doing: doing.clone(), source: Box::new(error) })?;
            for name in page.names_too_long {
                kept.iter_mut().zip(name.strip_prefix(&prefix)).for_each(|(kept, rest)| kept.keep(rest));
                self.engine.builder.report.skipped.add(name, "its name is longer than a key can be");
            }
            for object in page.objects {
                // A store that lists what is not below the prefix is not believed.
                let Some(rest) = object.key.as_str().strip_prefix(&prefix) else { continue };
                kept.iter_mut().for_each(|kept| kept.keep(rest));
                if !self.options.filters.take(rest.as_bytes()) {
                    continue;
                }
                let key = match RawKey::new(format!("{below}{rest}")) {
                    Ok(key) => key,
                    // The prefix's own marker, and no prefix to mark.
                    Err(_) if rest.is_empty() && object.size == 0 => continue,
                    Err(error) => {
                        self.engine.builder.report.skipped.add(object.key.as_str(), error.to_string());
                        continue;
                    }
                };
                if self.is_within && key.as_str().starts_with(&prefix) {
                    self.engine.builder.report.skipped.add(object.key.as_str(), AMONG_SOURCES);
                    continue;
                }
                has_any |= !rest.is_empty();
                self.take(object, key, &mut there).await?;
            }
        }
        self.copier.relay.progress.walk_ended();
        if kept.is_some() && !has_any {
            return Err(Error::NothingToKeep {
                path: format!("{}/{prefix}", self.copier.relay.source.uri()).into(),
            });
        }
        Ok(kept)
    }

    /// Begins to copy one object, unless its copy is as it was left. Errors: the target cannot be looked at; those that end the run.
    async fn take(&mut self, object: ObjectMeta, to: RawKey, there: &mut TargetObjects) -> Result<(), Error> {
        let (key, size) = (object.key.clone(), object.size);
        let made = match self.decide(&object, &to, there).await? {
            Decision::Unchanged(entry) => {
                return self.engine.note(key.as_str(), key.as_str(), Ok(Outcome::Unchanged(entry)));
            }
            Decision::Copy(reason) if !self.engine.announces(key.as_str(), size, reason) => return Ok(()),
            Decision::Copy(_) => None,
            Decision::Compare(made) => Some(made),
        };
        let (copier, announcer) = (self.copier.clone(), self.engine.announcer.clone());
        let is_compared = self.options.comparison == Comparison::Content;
        let copying = async move {
            if let Some(made) = made {
                let compared = copier.compare(&object, &made, is_compared).await;
                let Some(reason) = compared.inspect_err(|_| announcer.skips())? else {
                    announcer.skips();
                    let entry = entry_of((&object.version, &made.version), size);
                    return Ok(Outcome::Unchanged(entry));
                };
                if !announcer.copies(object.key.as_str(), size, reason) {
                    return Ok(Outcome::Announced { size });
                }
            }
            let copied = copier.copy(object, &to).await?;
            let entry = entry_of((&copied.versions.0, &copied.versions.1), copied.size);
            let (resumed_bytes, is_verified) = (copied.resumed_bytes, copied.is_verified);
            Ok(Outcome::Copied(Copied { entry, resumed_bytes, is_verified }))
        };
        self.engine.spawn(key.clone(), key.as_str().to_owned(), copying).await
    }

    async fn decide(
        &self,
        object: &ObjectMeta,
        to: &RawKey,
        there: &mut TargetObjects,
    ) -> Result<Decision, Error> {
        let comparison = self.options.comparison;
        let entry = self.engine.manifest.entry(object.key.as_str(), comparison);
        if comparison == Comparison::Manifest && entry.is_none() && self.options.dry_run.is_none() {
            // It is copied whatever the target has.
            return Ok(Decision::Copy(Reason::NotSentBefore));
        }
        let Some(made) = there.of(to).await? else { return Ok(Decision::Copy(Reason::New)) };
        if made.size != object.size {
            return Ok(Decision::Copy(Reason::SizeDiffers));
        }
        if comparison == Comparison::Content {
            return Ok(Decision::Compare(made));
        }
        let now = entry_of((&object.version, &made.version), object.size);
        Ok(match entry {
            Some(entry) if entry == now && !now.version.is_unknown() => Decision::Unchanged(now),
            Some(_) => Decision::Copy(Reason::VersionDiffers),
            None if comparison == Comparison::Manifest => Decision::Copy(Reason::NotSentBefore),
            None => Decision::Compare(made),
        })
    }
}

/// What the manifest keeps of a copy: both versions as one, with a space between, which an ETag cannot have (RFC 9110, section 8.8.3).
fn entry_of((source, made): (&Version, &Version), size: u64) -> Entry {
    let version = match source.is_unknown() || made.is_unknown() {
        true => Version::Unknown,
        false => Version::from_etag(&format!("{} {}", source.to_text(), made.to_text())),
    };
    Entry { version, local: LocalState { size, mtime_ns: 0, ctime_ns: None }, is_by_time: false }
}

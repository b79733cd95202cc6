//! The node's side of a sync: before the transfer, and after it.
//!
//! Owns: [`begin`], which makes the places, removes what the last sync sent and this one lacks, and tells what is there already; [`commit`];
//! and what they are asked and answer. On this machine they are called directly. What is between them, the node's rsync, is `serving`'s.
//!
//! # The order of a sync
//! `begin` records old and new names, removes, and records the new names with what could not be removed. Then rsync runs, and `commit`
//! ends it. A kill in between loses no knowledge of what was sent; the next `begin` takes up from what is there.
//!
//! # Two syncs of one place
//! Each has a session, a random name. Who changes the place holds its lock: `begin` while it works, rsync while it runs. A rsync of the
//! same session is one whose link was lost, and is ended so that what it got of a large file is kept for the next; another's is waited for,
//! unless nothing comes to it: rsync itself does not notice a client that went without a word, and one that is there sends at least every
//! half of its timeout.
//! A rsync whose session is not the last to have begun is refused, and its client begins again.

use super::beneath::Beneath;
use super::manifest::{Manifest, Record};
use super::names::{Kind, Name, Names, group_digests};
use super::removal::{Removed, decoded, remove, remove_asked, remove_by_sudo};
use super::serving::lock;
use crate::place::{self, PlaceKind};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use pail_control::{Failure, mountinfo};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::fs::File;
use std::path::Path;
use std::time::SystemTime;

/// What is to be synced to a node.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BeginRequest {
    /// Which sync this is.
    pub session: String,
    /// Its destinations, in order.
    pub items: Vec<BeginItem>,
}

/// One destination.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BeginItem {
    /// As the task has it.
    pub destination: String,
    /// What comes there.
    pub content: Content,
}

/// What comes to a destination.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Content {
    /// One file.
    File {
        /// Its name at the source, which it keeps where the destination is a directory.
        name: String,
    },
    /// What is in a directory.
    Directory {
        /// Of its names: `Names::digest`.
        digest: String,
        /// `Names::encoded`, in base 64; left out until the node asks for it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        names: Option<String>,
    },
}

/// For each destination that was asked about.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BeginAnswer {
    /// In the request's order.
    pub items: Vec<BegunItem>,
}

/// What a node has at a destination.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BegunItem {
    /// It was not given the names, and has others: nothing was done yet.
    NeedsNames,
    /// It is ready for the transfer.
    Ready(Box<Ready>),
}

/// A destination that is ready for the transfer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Ready {
    /// The directory, or the file, that is sent to: an absolute path.
    pub path: String,
    /// Of the record that [`serve`](super::serving::serve) takes.
    pub key: String,
    /// Of what is there under the names: `group_digests`, in base 64.
    pub digests: String,
    /// How many names were removed.
    pub removed: u64,
    /// Why others could not be.
    pub not_removed: Vec<String>,
    /// Only root may write there: the transfer needs sudo.
    pub by_sudo: bool,
    /// What the user should know.
    pub note: Option<String>,
}

/// Ends a sync.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CommitRequest {
    /// Which one it is.
    pub session: String,
    /// `Ready::key` of the destinations to which something was sent.
    pub keys: Vec<String>,
}

/// Makes places ready for a transfer. Blocks. Errors: a place cannot be made or read, another sync of it does not end, a full disk.
pub fn begin(request: BeginRequest, home: &Path) -> Result<BeginAnswer, Failure> {
    let items =
        request.items.iter().map(|item| begin_item(item, &request.session, home).map(|(item, _)| item));
    Ok(BeginAnswer { items: items.collect::<Result<_, _>>()? })
}

/// Removes what syncs have sent to a destination, where nobody changed it: something else is to be there. Blocks. Errors: as of [`begin`].
pub fn clear(destination: &str, home: &Path) -> Result<Option<String>, Failure> {
    let record = Record::of(&place::resolve(destination, home)?, home)?;
    if record.manifest()?.sent == Names::default() {
        return Ok(None);
    }
    let nothing = Names::default();
    let content =
        Content::Directory { digest: nothing.digest(), names: Some(BASE64.encode(nothing.encoded())) };
    let item = BeginItem { destination: destination.to_owned(), content };
    let (begun, _lock) = begin_item(&item, "clear", home)?;
    Ok(match begun {
        BegunItem::Ready(ready) => ready.note,
        BegunItem::NeedsNames => None,
    })
}

/// Ends a sync: forgets who served it. Blocks.
pub fn commit(request: CommitRequest, home: &Path) -> Result<(), Failure> {
    for key in &request.keys {
        let record = Record::by_key(key, home);
        // Another sync has it: it is that one's to end.
        let Some(_lock) = record.try_lock()? else { continue };
        if record.session().as_deref() == Some(&request.session) {
            record.clear_serving();
            record.set_ended()?;
        }
    }
    Ok(())
}

/// [`begin`] for one destination; also its lock.
pub(super) fn begin_item(item: &BeginItem, session: &str, home: &Path) -> Result<(BegunItem, File), Failure> {
    let path = place::resolve(&item.destination, home)?;
    let record = Record::of(&path, home)?;
    let ended = record.ended();
    let lock = lock(&record, session, &path)?;
    let old = record.manifest()?;
    let begun = match &item.content {
        Content::File { name } => Some(begin_file(&record, old, &path, name, ended)?),
        Content::Directory { digest, names } => {
            begin_directory(&record, old, &path, digest, names.as_deref(), ended)?
        }
    };
    if begun.is_some() {
        record.set_session(session)?;
    }
    Ok((begun.map_or(BegunItem::NeedsNames, |ready| BegunItem::Ready(Box::new(ready))), lock))
}

fn begin_directory(
    record: &Record,
    old: Manifest,
    path: &Path,
    digest: &str,
    names: Option<&str>,
    ended: Option<SystemTime>,
) -> Result<Option<Ready>, Failure> {
    let is_known = !old.is_file && old.digest == digest && path.is_dir();
    let new = match (is_known, names) {
        (true, _) => None,
        (false, None) => return Ok(None),
        (false, Some(names)) => Some(decoded(names)?),
    };
    refuse_mounted(path, new.as_ref().unwrap_or(&old.sent))?;
    if old.is_file && path.symlink_metadata().is_ok_and(|meta| meta.is_file()) {
        std::fs::remove_file(path)
            .map_err(|err| Failure::from_io(format!("cannot remove the file {}", path.display()), &err))?;
    }
    let is_made = old.is_made || !path.exists();
    place::make_place(path, PlaceKind::Directory)?;
    let by_sudo = needs_sudo(path)?;
    let (sent, removed) = match new {
        None => (old.sent, Removed::default()),
        Some(new) => {
            let old = if old.is_file { Manifest::default() } else { old };
            let removed =
                replace_names(record, path, &old, &new, digest, is_made, Removal { by_sudo, ended })?;
            (new, removed)
        }
    };
    ready(record, path, path, &sent, removed, by_sudo).map(Some)
}

fn begin_file(
    record: &Record,
    old: Manifest,
    path: &Path,
    name: &str,
    ended: Option<SystemTime>,
) -> Result<Ready, Failure> {
    let mut removed = Removed::default();
    if !old.is_file && path.symlink_metadata().is_ok_and(|meta| meta.is_dir()) {
        let removal = Removal { by_sudo: needs_sudo(path)?, ended };
        removed = replace_names(record, path, &old, &Names::default(), "", old.is_made, removal)?;
        if old.is_made {
            // Where something is left in it, the file comes into it.
            let _ = std::fs::remove_dir(path);
        }
    }
    let target = if path.is_dir() { path.join(name) } else { path.to_owned() };
    if target.is_dir() {
        let why = "a directory is there under the name of the file";
        return Err(Failure::other(format!("cannot write {}", target.display()))
            .because(why)
            .with_hint("remove it, or name another place"));
    }
    place::make_place(&target, PlaceKind::ParentOf)?;
    let (Some(parent), Some(file)) = (target.parent(), target.file_name()) else {
        return Err(Failure::usage(format!("{} is no place for a file", target.display())));
    };
    let names = Names::of_file(file);
    let manifest = Manifest { is_file: true, sent: names.clone(), ..Manifest::default() };
    if target == path && old != manifest {
        record.write(&manifest)?;
    }
    let mut ready = ready(record, parent, &target, &names, removed, needs_sudo(parent)?)?;
    if target != path {
        ready.note = Some(format!("{} is a directory: the file is {}", path.display(), target.display()));
    }
    Ok(ready)
}

fn ready(
    record: &Record,
    root: &Path,
    target: &Path,
    names: &Names,
    removed: Removed,
    by_sudo: bool,
) -> Result<Ready, Failure> {
    let stamps = Beneath::open(root).and_then(|mut root| names.stamps(&mut root));
    let stamps =
        stamps.map_err(|err| Failure::from_io(format!("cannot look into {}", root.display()), &err))?;
    let path = target.to_str().ok_or_else(|| {
        Failure::usage(format!("{} is not UTF-8", target.display())).with_hint("name another place")
    })?;
    Ok(Ready {
        path: path.to_owned(),
        key: record.key(),
        digests: BASE64.encode(group_digests(&stamps)),
        removed: removed.removed,
        not_removed: removed.failed,
        by_sudo,
        note: note_of_changed(root, &removed.changed),
    })
}

/// Whether only root may write to `dir`. Errors: so it is, and sudo asks for a password.
fn needs_sudo(dir: &Path) -> Result<bool, Failure> {
    if place::is_writable(dir) {
        return Ok(false);
    }
    if place::may_use_sudo() {
        return Ok(true);
    }
    Err(Failure::other(format!("cannot write to {}", dir.display()))
        .because("you may not write there, and sudo asks for a password")
        .with_hint("make it yours once as root, or name a place below your home directory"))
}

/// How names are removed.
#[derive(Clone, Copy)]
struct Removal {
    /// Only root may.
    by_sudo: bool,
    /// When the last transfer ended: what was changed later is another's.
    ended: Option<SystemTime>,
}

/// Removes what `old` has of ours and `new` has not, and records what is ours then.
fn replace_names(
    record: &Record,
    path: &Path,
    old: &Manifest,
    new: &Names,
    digest: &str,
    is_made: bool,
    removal: Removal,
) -> Result<Removed, Failure> {
    let others: HashSet<&Name> = old.others.all().iter().collect();
    let ours = || old.sent.all().iter().chain(old.kept.all()).filter(|name| !others.contains(name));
    let wanted: HashSet<&Name> = new.all().iter().collect();
    let obsolete: Vec<Name> = ours().filter(|name| !wanted.contains(name)).cloned().collect();
    let ours: HashSet<&Name> = ours().collect();
    let failed = |err: &std::io::Error| Failure::from_io(format!("cannot look into {}", path.display()), err);
    let mut root = Beneath::open(path).map_err(|err| failed(&err))?;
    let mut found = Vec::new();
    for name in new.all().iter().filter(|name| name.kind == Kind::Directory && !ours.contains(name)) {
        let stamp = root.stamp(&name.path).map_err(|err| failed(&err))?;
        if stamp.is_some_and(|stamp| stamp.kind == Some(Kind::Directory)) {
            found.push(name.clone());
        }
    }
    let mut manifest = Manifest {
        digest: String::new(),
        is_file: false,
        is_made,
        sent: new.clone(),
        kept: Names::sorted(obsolete),
        others: Names::sorted(found),
    };
    let removed = if manifest.kept.all().is_empty() {
        Removed::default()
    } else {
        record.write(&manifest)?;
        match removal.by_sudo {
            true => remove_by_sudo(path, &manifest.kept, removal.ended)?,
            false => remove(path, &manifest.kept, removal.ended).map_err(|err| failed(&err))?,
        }
    };
    manifest.kept = decoded(&removed.kept)?;
    manifest.digest = digest.to_owned();
    record.write(&manifest)?;
    Ok(removed)
}

/// Refuses names that lie in something that is mounted below the place: they would come into a bucket, and later go from it.
fn refuse_mounted(path: &Path, names: &Names) -> Result<(), Failure> {
    let mounts = mountinfo::read().unwrap_or_default();
    for mount in mounts.iter().filter(|mount| mount.mount_point != path) {
        let Ok(below) = mount.mount_point.strip_prefix(path) else { continue };
        let within =
            |name: &&Name| Path::new(&name.path).strip_prefix(below).is_ok_and(|rest| rest != Path::new(""));
        if let Some(name) = names.all().iter().find(within) {
            let (name, place) = (Path::new(&name.path).display(), mount.mount_point.display());
            return Err(Failure::usage(format!("{name} would come into what is mounted at {place}"))
                .with_hint(format!(
                    "leave {}/ out by .skyignore or .gitignore, or remove it here",
                    below.display()
                )));
        }
    }
    Ok(())
}

fn note_of_changed(root: &Path, changed: &[String]) -> Option<String> {
    const SHOWN_MAX: usize = 5;
    let more = match changed.len().saturating_sub(SHOWN_MAX) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let shown = changed.iter().take(SHOWN_MAX).cloned().collect::<Vec<_>>().join(", ");
    (!changed.is_empty()).then(|| {
        format!(
            "not sent any more, and changed in {} since it was: {shown}{more} stays there",
            root.display()
        )
    })
}

/// The steps that a client asks for by `pail node STEP`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// [`begin`].
    Begin,
    /// [`commit`].
    Commit,
    /// A removal by root, which [`begin`] asks for.
    Remove,
}

/// Runs a step: a request in JSON to an answer in JSON, one line. Blocks.
pub fn run_step(step: Step, request: &[u8], home: &Path) -> Result<String, Failure> {
    let answer = match step {
        Step::Begin => serde_json::to_string(&begin(parsed(request)?, home)?),
        Step::Commit => serde_json::to_string(&commit(parsed(request)?, home)?),
        Step::Remove => serde_json::to_string(&remove_asked(&parsed(request)?)?),
    };
    answer.map_err(|err| Failure::other("cannot write the answer as JSON").because(err.to_string()))
}

fn parsed<'a, T: Deserialize<'a>>(request: &'a [u8]) -> Result<T, Failure> {
    serde_json::from_slice(request)
        .map_err(|err| Failure::usage("the request is not one of this version").because(err.to_string()))
}

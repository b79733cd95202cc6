//! Code and files to the nodes, and to this machine's own places.
//!
//! Owns: `ignore`, which files of a source are sent; [`SyncPlan`], what goes where; [`to_nodes`], by the system's rsync over ssh;
//! [`to_here`], by reflink or copy; `agent`, what runs on the node before and after, `serving`, the rsync there, and `removal`, of what is no longer sent; `names`, `beneath` and `manifest`, by which both
//! sides know what is there and whose it is; `rsync`, one run of it; `trouble`, what its failures mean; `progress`; `fan_out`, by which workers
//! get from the head what it got already, with `relay` on the head and `pull` on the worker.
//!
//! Invariants: what the last sync sent to a place and this one lacks is removed there, nothing else; nothing outside of the place is touched,
//! whatever symlinks are in it; a file is replaced as a whole, by a rename.

pub mod agent;
mod beneath;
mod fan_out;
mod here;
pub mod ignore;
mod manifest;
mod names;
mod nodes;
mod peer;
pub mod progress;
pub mod pull;
pub mod relay;
mod removal;
mod rsync;
pub mod serving;
mod trouble;

pub use fan_out::FanOut;
pub use here::to_here;
pub use nodes::{SyncOutcome, to_nodes};
pub use peer::Peer;
pub use progress::SyncProgress;

use agent::{BeginItem, Content};
use base64::Engine as _;
use beneath::Beneath;
use ignore::FileList;
use names::{Kind, Name, Names, Stamp, differing, group_digests};
use pail_control::{Failure, FailureKind};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What is sent.
#[derive(Debug, Clone)]
pub enum Source {
    /// What is in a directory.
    Directory {
        /// Absolute.
        path: PathBuf,
        /// What of it.
        list: FileList,
    },
    /// One file; a symlink to one is followed.
    File {
        /// Absolute.
        path: PathBuf,
    },
}

/// A source and where it goes.
#[derive(Debug, Clone)]
pub struct SyncItem {
    /// What is sent.
    pub source: Source,
    /// As the node sees it: `~/…`, absolute, or below `~/sky_workdir`.
    pub destination: String,
}

/// What goes where, the same for every node.
#[derive(Debug)]
pub struct SyncPlan {
    items: Vec<Planned>,
    /// Of all files together.
    pub bytes: u64,
    /// How many there are, symlinks with them.
    pub files: u64,
}

/// An item as it was when the plan was made.
#[derive(Debug)]
struct Planned {
    /// The directory, or the file.
    source: PathBuf,
    is_file: bool,
    destination: String,
    names: Names,
    stamps: Vec<Option<Stamp>>,
    digest: String,
    group_digests: Vec<u8>,
}

/// How a sync to nodes is done.
#[derive(Debug, Clone)]
pub struct SyncOptions {
    /// Nodes that are sent to at a time.
    pub parallel_max: NonZeroUsize,
    /// For each node; without, as fast as it goes.
    pub bandwidth_kib_per_s: Option<u64>,
    /// Whether workers fetch from the head what it has got; without a limit of their rate.
    pub fan_out: FanOut,
    /// After this long without a byte a link counts as lost.
    pub idle_timeout: Duration,
    /// Before each new attempt after a lost link; as many as there are, from anew whenever one got something across.
    pub retry_pauses: Vec<Duration>,
}

impl Default for SyncOptions {
    fn default() -> Self {
        Self {
            parallel_max: NonZeroUsize::new(16).unwrap_or(NonZeroUsize::MIN),
            bandwidth_kib_per_s: None,
            fan_out: FanOut::Auto,
            idle_timeout: Duration::from_secs(60),
            retry_pauses: [2, 5, 15].map(Duration::from_secs).to_vec(),
        }
    }
}

/// What a sync to one node came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    /// Files of which something was sent.
    pub files: u64,
    /// What of their content was sent: less than they have, where the node had a part already.
    pub bytes: u64,
    /// Of these, what came from the head and not over the link of this machine.
    pub head_bytes: u64,
    /// Names that were removed from the node.
    pub deleted: u64,
    /// Names that were listed to rsync; 0 where all was there already.
    pub listed: u64,
    /// What could not be sent or removed, by name; the rest was.
    pub not_done: Vec<NotDone>,
    /// What the user should know.
    pub notes: Vec<String>,
}

/// A name of which something could not be done.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct NotDone {
    /// Its path, here or on the node.
    pub path: String,
    /// Why.
    pub why: String,
}

impl Stats {
    /// Takes out of what is not done the files that changed or vanished meanwhile, a line each.
    pub fn take_restless(&mut self) -> Vec<String> {
        let is_restless = |one: &NotDone| [trouble::CHANGES, trouble::VANISHED].contains(&one.why.as_str());
        let (restless, not_done) = std::mem::take(&mut self.not_done).into_iter().partition(is_restless);
        self.not_done = not_done;
        let restless: Vec<NotDone> = restless;
        restless.into_iter().map(|one| format!("{}: {}", one.path, one.why)).collect()
    }
}

impl SyncPlan {
    /// Whether there is nothing to bring anywhere.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Looks at all sources. Errors: a source is not there, is of the wrong kind, or cannot be looked into.
    pub fn new(items: Vec<SyncItem>) -> Result<Self, Failure> {
        let items = items.into_iter().map(Planned::new).collect::<Result<Vec<_>, _>>()?;
        let stamps = || items.iter().flat_map(|item| &item.stamps).flatten();
        Ok(Self {
            bytes: stamps().map(|stamp| stamp.size).sum(),
            files: stamps().filter(|stamp| stamp.kind != Some(Kind::Directory)).count() as u64,
            items,
        })
    }
}

impl Planned {
    fn new(item: SyncItem) -> Result<Self, Failure> {
        let (source, is_file, (names, stamps)) = match item.source {
            Source::Directory { path, list } => {
                let looked = look_into(&path, &list);
                let looked = looked.map_err(|err| Failure::unreadable(&path, &err))?;
                (path, false, looked)
            }
            Source::File { path } => {
                let looked = look_at(&path)?;
                (path, true, looked)
            }
        };
        let digest = names.digest();
        let group_digests = group_digests(&stamps);
        Ok(Self { source, is_file, destination: item.destination, names, stamps, digest, group_digests })
    }

    /// What the node is asked at first, and where it asks for the names.
    fn asked(&self, with_names: bool) -> BeginItem {
        let content = match self.is_file {
            true => Content::File {
                name: self.names.all().iter().map(|name| name.path.to_string_lossy().into_owned()).collect(),
            },
            false => {
                let encode = || base64::engine::general_purpose::STANDARD.encode(self.names.encoded());
                Content::Directory { digest: self.digest.clone(), names: with_names.then(encode) }
            }
        };
        BeginItem { destination: self.destination.clone(), content }
    }

    /// The indices of names that are not, or may not be, on the node as they are here.
    fn differing(&self, there: &[u8]) -> Vec<usize> {
        differing(&self.group_digests, there, self.names.all().len())
    }

    /// The path of a name at the source.
    fn path_of(&self, name: &Name) -> PathBuf {
        if self.is_file { self.source.clone() } else { self.source.join(&name.path) }
    }

    /// What is at the source now under these names, by their indices.
    fn stamps_now(&self, indices: &[usize]) -> std::io::Result<Vec<Option<Stamp>>> {
        if self.is_file {
            return Ok(vec![rustix::fs::stat(&self.source).ok().map(|stat| Stamp::new(&stat, None))]);
        }
        let mut root = Beneath::open(&self.source)?;
        indices.iter().map(|index| root.stamp(&self.names.all()[*index].path)).collect()
    }
}

/// What a directory has of a list now: what is gone, or became something that is not sent, is left out.
fn look_into(path: &Path, list: &FileList) -> std::io::Result<(Names, Vec<Option<Stamp>>)> {
    let listed = Names::of_list(list);
    let mut root = Beneath::open(path)?;
    let stamps = listed.stamps(&mut root)?;
    let mut kept = Vec::with_capacity(stamps.len());
    let mut kept_stamps = Vec::with_capacity(stamps.len());
    for (name, stamp) in listed.all().iter().zip(stamps) {
        if let Some(Stamp { kind: Some(kind), .. }) = stamp {
            kept.push(Name { path: name.path.clone(), kind });
            kept_stamps.push(stamp);
        }
    }
    Ok((Names::sorted(kept), kept_stamps))
}

fn look_at(path: &Path) -> Result<(Names, Vec<Option<Stamp>>), Failure> {
    let stat = rustix::fs::stat(path).map_err(|errno| Failure::unreadable(path, &errno.into()))?;
    let stamp = Stamp::new(&stat, None);
    match (stamp.kind, path.file_name()) {
        (Some(Kind::File), Some(name)) => Ok((Names::of_file(name), vec![Some(stamp)])),
        _ => Err(Failure::new(FailureKind::Usage, format!("{} is not a file", path.display()))),
    }
}

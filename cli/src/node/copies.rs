//! The copies that a task has made out of buckets before setup and run.
//!
//! Owns: [`make`], which makes them one after the other, each as fast as the network and the disk allow; [`CopiesState`], how far all of them
//! are; and [`Copied`], what each came to. What a person sees of it is up to the caller: on a node that is the client, which sees the other nodes, too.

use crate::copying::{self, Choices, Copying};
use crate::place::{self, PlaceKind};
use pail_control::opening::{self, Address};
use pail_control::{BucketSettings, CallerEnvironment, Failure, FailureKind};
use pail_transfer::{CancellationToken, ProgressSnapshot, Report, Source};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// Told how far the copies are, a few times a second.
pub type Watch<'a> = dyn Fn(CopiesState) + Sync + 'a;

/// A prefix, or an object, that is copied to the node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BucketCopy {
    /// Where, as the task says it.
    pub destination: String,
    /// The URI of a bucket, or of a prefix in one.
    pub uri: String,
    /// The endpoint, where the task names one.
    pub endpoint_url: Option<String>,
    /// The region, where the task names one.
    pub region: Option<String>,
    /// How the bucket is asked.
    pub settings: BucketSettings,
}

/// How far the copies of one node are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopiesState {
    /// How many there are.
    pub count: u64,
    /// How many of them have ended.
    pub ended: u64,
    /// Of all that have begun together; `walked` is of the last of them.
    pub progress: ProgressSnapshot,
}

/// What a copy came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Copied {
    /// From where.
    pub uri: String,
    /// To where, as the task says it.
    pub destination: String,
    /// `None`: the bucket is empty.
    pub report: Option<Report>,
}

impl BucketCopy {
    /// How its bucket is reached.
    pub fn address(&self) -> Address<'_> {
        Address {
            source: &self.uri,
            endpoint_url: self.endpoint_url.as_deref(),
            region: self.region.as_deref(),
            profile: None,
            settings: Some(&self.settings),
        }
    }
}

impl CopiesState {
    /// Whether copies follow the one that is made.
    pub fn has_more(&self) -> bool {
        self.ended + 1 < self.count
    }

    /// The sum of two nodes' copies.
    pub fn with(self, other: Self) -> Self {
        Self {
            count: self.count + other.count,
            ended: self.ended + other.ended,
            progress: sum(self.progress, other.progress),
        }
    }
}

/// The sum; `walked` where both are.
fn sum(one: ProgressSnapshot, other: ProgressSnapshot) -> ProgressSnapshot {
    ProgressSnapshot {
        found: one.found + other.found,
        found_bytes: one.found_bytes + other.found_bytes,
        finished: one.finished + other.finished,
        moved_bytes: one.moved_bytes + other.moved_bytes,
        walked: one.walked && other.walked,
    }
}

/// Makes the copies in their order. Errors: what could not be copied of the first that failed; `Interrupted`, by `stop`.
pub async fn make(
    copies: &[BucketCopy],
    home: &Path,
    environment: &CallerEnvironment,
    stop: &CancellationToken,
    watch: &Watch<'_>,
) -> Result<Vec<Copied>, Failure> {
    let mut made = Vec::with_capacity(copies.len());
    let mut state = CopiesState { count: copies.len() as u64, ..CopiesState::default() };
    state.progress.walked = true;
    for copy in copies {
        let before = CopiesState { progress: ProgressSnapshot { walked: true, ..state.progress }, ..state };
        let last = Mutex::new(ProgressSnapshot::default());
        let report = |progress| {
            *last.lock().unwrap_or_else(PoisonError::into_inner) = progress;
            watch(CopiesState { progress: sum(before.progress, progress), ..before });
        };
        report(ProgressSnapshot::default());
        let copying =
            Copying { environment, report: &report, stop: stop.clone(), choices: Choices::default() };
        made.push(copy_out(copy, home, &copying).await?);
        let last = last.into_inner().unwrap_or_else(PoisonError::into_inner);
        let progress = sum(before.progress, ProgressSnapshot { walked: true, ..last });
        state = CopiesState { ended: before.ended + 1, progress, ..before };
        watch(state);
    }
    Ok(made)
}

async fn copy_out(copy: &BucketCopy, home: &Path, copying: &Copying<'_>) -> Result<Copied, Failure> {
    let destination = place::resolve(&copy.destination, home)?;
    let options = opening::OpeningOptions::for_copy(false);
    let bucket = tokio::select! {
        opened = opening::open_bucket(copy.address(), copying.environment, options) => opened?,
        () = copying.stop.cancelled() => return Err(copying::failure_of(pail_transfer::Error::Stopped)),
    };
    // One object becomes a file, and everything below a prefix a directory.
    let kind = if bucket.has_empty_prefix() { PlaceKind::ParentOf } else { PlaceKind::Directory };
    let (place, parent) = (destination.clone(), destination.parent().unwrap_or(&destination));
    if kind == PlaceKind::ParentOf || !parent.is_dir() || !place::is_writable(parent) {
        let made = tokio::task::spawn_blocking(move || place::make_place(&place, kind)).await;
        made.map_err(|err| Failure::other("making the place was cut short").because(err.to_string()))??;
    }
    let source = Source::of_uri_path(&opening::parse_source(&copy.uri)?.prefix);
    let copied = |report| Copied { uri: copy.uri.clone(), destination: copy.destination.clone(), report };
    match copying.download(&bucket, &source, &destination).await {
        // A bucket that is yet to be filled is an empty directory.
        Err(failure) if failure.kind == FailureKind::NotFound && source == Source::Prefix(String::new()) => {
            Ok(copied(None))
        }
        Err(failure) => Err(failure),
        // What can be no file does not keep the task from running; what could be one, and is not there, does.
        Ok(report) => match copying::left_out(&report) {
            Ok(_) => Ok(copied(Some(report))),
            Err(failure) => Err(Failure { message: format!("{}: {}", copy.uri, failure.message), ..failure }),
        },
    }
}

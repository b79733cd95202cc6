//! What a task needs on a node before setup and run.
//!
//! Owns: [`prepare`]: the working directory, mounts, and copies out of buckets, all of which is idempotent.

use super::mounts::{self, BucketMount};
use crate::copy_progress::CopyProgress;
use crate::copying::{self, Choices, Copying};
use crate::git::{self, Access, CheckoutOptions, Resolved, Secret};
use crate::place::{self, PlaceKind};
use crate::sync::agent;
use crate::terminal;
use pail_control::opening::{self, Address};
use pail_control::{BucketSettings, CallerEnvironment, Failure, FailureKind};
use pail_transfer::{CancellationToken, Source};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// What is to be there.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct PrepareRequest {
    /// Buckets to mount.
    pub mounts: Vec<BucketMount>,
    /// Objects and prefixes to copy.
    pub copies: Vec<BucketCopy>,
    /// Nothing is mounted or copied: the mounts must be there, by an earlier launch, and are the job's. So it is for an `exec`.
    pub existing: bool,
    /// The client's credentials, as variables; those of the node itself go before them.
    pub lent: CallerEnvironment,
}

impl PrepareRequest {
    /// How the buckets that are mounted or copied are reached.
    pub fn addresses(&self) -> Vec<Address<'_>> {
        let mounts = self.mounts.iter().map(|mount| Address {
            source: &mount.uri,
            endpoint_url: mount.endpoint_url.as_deref(),
            region: mount.region.as_deref(),
            profile: None,
            settings: Some(&mount.settings),
        });
        let copies = self.copies.iter().map(|copy| Address {
            source: &copy.uri,
            endpoint_url: copy.endpoint_url.as_deref(),
            region: copy.region.as_deref(),
            profile: None,
            settings: Some(&copy.settings),
        });
        mounts.chain(copies).collect()
    }
}

/// A commit to be checked out.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CheckOutRequest {
    /// Which, and where from.
    pub resolved: Resolved,
    /// What opens the repository, where it is a token.
    pub token: Option<Secret>,
    /// With its submodules.
    pub submodules: bool,
    /// With its LFS objects.
    pub lfs: bool,
}

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

/// What is there now.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Prepared {
    /// The directory that setup and run run in.
    pub dir: PathBuf,
    /// Mount points that the task may write to.
    pub mounts: Vec<PathBuf>,
    /// Keys that no file can have, a line each.
    pub skipped: Vec<String>,
}

/// Makes the working directory, mounts, and copies. Errors: the first of what failed; `Interrupted`, by `stop`.
pub async fn prepare(
    request: &PrepareRequest,
    home: &Path,
    environment: &CallerEnvironment,
    stop: &CancellationToken,
) -> Result<Prepared, Failure> {
    let dir = home.join(place::WORKDIR);
    std::fs::create_dir_all(&dir)
        .map_err(|err| Failure::from_io(format!("cannot create {}", dir.display()), &err))?;
    let mut prepared = Prepared { dir, ..Prepared::default() };
    if request.existing {
        let destinations: Result<Vec<_>, _> =
            request.mounts.iter().map(|mount| place::resolve(&mount.destination, home)).collect();
        prepared.mounts = mounts::existing(&destinations?).await?;
        return Ok(prepared);
    }
    for mount in &request.mounts {
        let destination = place::resolve(&mount.destination, home)?;
        let mounted = mounts::mount(mount, &destination, environment).await?;
        if !mount.read_only {
            prepared.mounts.push(mounted);
        }
    }
    for copy in &request.copies {
        let destination = place::resolve(&copy.destination, home)?;
        prepared.skipped.extend(copy_out(copy, &destination, environment, stop).await?);
    }
    Ok(prepared)
}

/// Makes the working directory a checkout of the commit. What a person should know is told on standard error.
pub async fn check_out(request: &CheckOutRequest, access: &Access, home: &Path) -> Result<(), Failure> {
    let options = CheckoutOptions { submodules: request.submodules, lfs: request.lfs };
    let dir = home.join(place::WORKDIR);
    // What a directory of the client has brought is not the commit's.
    let owned_home = home.to_owned();
    let cleared =
        tokio::task::spawn_blocking(move || agent::clear(&format!("~/{}", place::WORKDIR), &owned_home))
            .await;
    let cleared = cleared.map_err(|err| Failure::other(err.to_string()))??;
    cleared.iter().for_each(|note| terminal::note(note));
    git::check_out(&dir, &request.resolved, access, &options, &mut |note| terminal::note(&note)).await?;
    Ok(())
}

/// Takes a checkout off the working directory, which a directory of the client is to fill.
pub async fn leave_checkout(home: &Path) -> Result<(), Failure> {
    let kept = git::leave(&home.join(place::WORKDIR)).await?;
    kept.iter().for_each(|note| terminal::note(note));
    Ok(())
}

async fn copy_out(
    copy: &BucketCopy,
    destination: &Path,
    environment: &CallerEnvironment,
    stop: &CancellationToken,
) -> Result<Vec<String>, Failure> {
    let progress = CopyProgress::new();
    let report = |snapshot| progress.show(snapshot);
    let copying = Copying { environment, report: &report, stop: stop.clone(), choices: Choices::default() };
    let address = Address {
        source: &copy.uri,
        endpoint_url: copy.endpoint_url.as_deref(),
        region: copy.region.as_deref(),
        profile: None,
        settings: Some(&copy.settings),
    };
    let bucket = opening::open_bucket(address, environment, opening::OpeningOptions::for_copy(false)).await?;
    // One object becomes a file, and everything below a prefix a directory.
    let kind = if bucket.has_empty_prefix() { PlaceKind::ParentOf } else { PlaceKind::Directory };
    let (place, parent) = (destination.to_owned(), destination.parent().unwrap_or(destination));
    if kind == PlaceKind::ParentOf || !parent.is_dir() || !place::is_writable(parent) {
        let made = tokio::task::spawn_blocking(move || place::make_place(&place, kind)).await;
        made.map_err(|err| Failure::other("making the place was cut short").because(err.to_string()))??;
    }
    let source = Source::of_uri_path(&opening::parse_source(&copy.uri)?.prefix);
    let report = match copying.download(&bucket, &source, destination).await {
        // A bucket that is yet to be filled is an empty directory.
        Err(failure) if failure.kind == FailureKind::NotFound && source == Source::Prefix(String::new()) => {
            terminal::note(&format!("{}: it is empty", copy.uri));
            return Ok(Vec::new());
        }
        copied => copied?,
    };
    terminal::note(&format!("{}: {} to {}", copy.uri, copying::summary(&report), destination.display()));
    copying::left_out(&report)
}

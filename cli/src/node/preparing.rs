//! What a task needs on a node before setup and run.
//!
//! Owns: [`prepare`]: the working directory, mounts, and copies out of buckets, all of which is idempotent.

use super::copies::{self, BucketCopy, Copied, Watch};
use super::mounts::{self, BucketMount};
use crate::git::{self, Access, CheckoutOptions, Resolved, Secret};
use crate::place;
use crate::sync::agent;
use crate::terminal;
use pail_control::opening::Address;
use pail_control::{CallerEnvironment, Failure};
use pail_transfer::CancellationToken;
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
        mounts.chain(self.copies.iter().map(BucketCopy::address)).collect()
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

/// What is there now.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Prepared {
    /// The directory that setup and run run in.
    pub dir: PathBuf,
    /// Mount points that the task may write to.
    pub mounts: Vec<PathBuf>,
    /// What each copy came to, in the task's order.
    pub copied: Vec<Copied>,
}

/// Makes the working directory, mounts, and copies, of which `watch` is told how far they are. Errors: the first of what failed; `Interrupted`, by `stop`.
pub async fn prepare(
    request: &PrepareRequest,
    home: &Path,
    environment: &CallerEnvironment,
    stop: &CancellationToken,
    watch: &Watch<'_>,
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
    prepared.copied = copies::make(&request.copies, home, environment, stop, watch).await?;
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

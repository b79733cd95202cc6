//! The mounts of a task on its node.
//!
//! Owns: [`mount`], which asks the node's own daemon for one.

use crate::buckets::record;
use crate::place::{self, PlaceKind, make_place};
use crate::{daemon, notices, terminal};
use pail_control::mountinfo::{self, MountInfo};
use pail_control::opening;
use pail_control::opening::Address;
use pail_control::quantity::Permissions;
use pail_control::settings::{Limits, process_environment};
use pail_control::types::{MountRequest, MountSpec, MountState};
use pail_control::{BucketSettings, CallerEnvironment, Failure, FailureKind};
use pail_store::StoreKind;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// A bucket to be mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BucketMount {
    /// Where, as the task says it: `~/x`, absolute, or relative to the working directory.
    pub destination: String,
    /// The URI of a bucket, or of a prefix in one.
    pub uri: String,
    /// Create the bucket where it is missing.
    pub create: bool,
    /// The endpoint, where the task names one.
    pub endpoint_url: Option<String>,
    /// The region, where the task names one.
    pub region: Option<String>,
    /// How the bucket is asked, and what new objects get.
    pub settings: BucketSettings,
    /// Refuse every change.
    pub read_only: bool,
}

/// Mounts at `destination`, which is made where it is missing, with sudo where this user may not. Notes are told on standard error.
/// Errors: the daemon's; the place cannot be made.
pub async fn mount(
    bucket: &BucketMount,
    destination: &Path,
    environment: &CallerEnvironment,
) -> Result<PathBuf, Failure> {
    // Made here and not by the daemon, which would remove it when it is unmounted: a directory that hosts share may be another's mount point.
    if place::is_missing(destination) {
        let place = destination.to_owned();
        let made = tokio::task::spawn_blocking(move || make_place(&place, PlaceKind::Directory)).await;
        made.map_err(|err| Failure::other("making the place was cut short").because(err.to_string()))??;
    }
    let request = MountRequest {
        spec: spec(bucket, destination, environment),
        create_bucket: bucket.create,
        environment: environment.clone(),
        limits: Limits::default().or_environment(&process_environment)?,
    };
    let outcome = daemon::mount(&request).await?;
    let place = outcome.spec.mount_point.clone();
    if outcome.already_mounted {
        existing(std::slice::from_ref(&place)).await.map_err(|failure| {
            let unmount = format!("`pail umount {}`, and launch again", place.display());
            Failure::other(failure.message).because("somebody else has unmounted it").with_hint(unmount)
        })?;
    }
    let source = &outcome.spec.source;
    if outcome.created_bucket {
        terminal::note(&format!("created the bucket of {source}"));
        record::note(Address::from(&outcome.spec), environment).await;
    }
    terminal::notes(&notices::of_mount(&outcome).await);
    match outcome.already_mounted {
        true => terminal::note(&format!("{source} is mounted at {} already", place.display())),
        false => terminal::note(&format!("mounted {source} at {}", place.display())),
    }
    Ok(place)
}

/// Of the mounts of an earlier launch at `destinations`, by this user's daemon, those that may be written to; without any destination all of those. Errors: which is
/// not mounted, or has no daemon any more.
pub async fn existing(destinations: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let mounts = match daemon::running().await {
        Ok((client, _)) => client.mounts().await?,
        Err(failure) if failure.kind == FailureKind::NotRunning => Vec::new(),
        Err(failure) => return Err(failure),
    };
    let table = mountinfo::read().unwrap_or_default();
    let is_there = |place: &Path| {
        let mounted =
            mounts.iter().any(|mount| mount.state == MountState::Mounted && mount.spec.mount_point == place);
        mounted && mountinfo::at(&table, place).is_some_and(MountInfo::is_pail)
    };
    let mut wanted = Vec::new();
    for destination in destinations {
        let place = pail_control::place::resolve(destination).unwrap_or_else(|_| destination.clone());
        if !is_there(&place) {
            return Err(Failure::new(
                FailureKind::NotFound,
                format!("{} is not mounted", destination.display()),
            )
            .because("what the task writes there would stay on this disk")
            .with_hint("`pail launch` mounts it"));
        }
        wanted.push(place);
    }
    let is_wanted = |place: &PathBuf| wanted.is_empty() || wanted.contains(place);
    let writable = mounts.iter().filter(|mount| !mount.spec.read_only).map(|mount| &mount.spec.mount_point);
    Ok(writable.filter(|place| is_wanted(place) && is_there(place)).cloned().collect())
}

/// The defaults of `pail mount`, but for what the task says: the same wish in other words is the same mount.
fn spec(bucket: &BucketMount, mount_point: &Path, environment: &CallerEnvironment) -> MountSpec {
    let kind = opening::parse_source(&bucket.uri).map_or(StoreKind::S3, |uri| uri.kind);
    let endpoint_url =
        bucket.endpoint_url.clone().or_else(|| opening::endpoint_to_keep(&bucket.uri, environment));
    MountSpec {
        source: bucket.uri.trim_end_matches('/').to_owned(),
        mount_point: mount_point.to_owned(),
        endpoint_url,
        region: bucket.region.clone().or_else(|| opening::region_of(kind, environment).map(str::to_owned)),
        profile: None,
        read_only: bucket.read_only,
        metadata_ttl: MountSpec::default_ttl(bucket.read_only),
        uid: rustix::process::getuid().as_raw(),
        gid: rustix::process::getgid().as_raw(),
        file_mode: Permissions(0o644),
        dir_mode: Permissions(0o755),
        new_file_mode: None,
        new_dir_mode: None,
        allow_other: false,
        settings: bucket.settings.clone(),
    }
}

//! The mounts of a task on its node.
//!
//! Owns: [`mount`], which asks the node's own daemon for one.

use crate::place;
use crate::{daemon, notices, terminal};
use pail_control::quantity::Permissions;
use pail_control::settings::{Limits, process_environment};
use pail_control::types::{MountRequest, MountSpec};
use pail_control::{CallerEnvironment, Failure};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// A bucket to be mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BucketMount {
    /// Where, as the task says it: `~/x`, absolute, or relative to the working directory.
    pub destination: String,
    /// `s3://bucket[/prefix]`.
    pub uri: String,
    /// Create the bucket where it is missing.
    pub create: bool,
    /// The S3 endpoint, where the task names one.
    pub endpoint_url: Option<String>,
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
    let place = destination.to_owned();
    let made = tokio::task::spawn_blocking(move || place::make_mount_point(&place)).await;
    made.map_err(|err| Failure::other("making the place was cut short").because(err.to_string()))??;
    let request = MountRequest {
        spec: spec(bucket, destination, environment),
        create_bucket: bucket.create,
        environment: environment.clone(),
        limits: Limits::default().or_environment(&process_environment)?,
    };
    let outcome = daemon::mount(&request).await?;
    let place = outcome.spec.mount_point.clone();
    let source = &outcome.spec.source;
    if outcome.created_bucket {
        terminal::note(&format!("created the bucket of {source}"));
    }
    terminal::notes(&notices::of_mount(&outcome).await);
    match outcome.already_mounted {
        true => terminal::note(&format!("{source} is mounted at {} already", place.display())),
        false => terminal::note(&format!("mounted {source} at {}", place.display())),
    }
    Ok(place)
}

/// The defaults of `pail mount`, but for what the task says: the same wish in other words is the same mount.
fn spec(bucket: &BucketMount, mount_point: &Path, environment: &CallerEnvironment) -> MountSpec {
    let first = |names: &[&str]| names.iter().find_map(|name| environment.get(name)).map(str::to_owned);
    let endpoint_url = bucket.endpoint_url.clone();
    MountSpec {
        source: bucket.uri.trim_end_matches('/').to_owned(),
        mount_point: mount_point.to_owned(),
        endpoint_url: endpoint_url.or_else(|| first(&["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"])),
        region: first(&["AWS_REGION", "AWS_DEFAULT_REGION"]),
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
    }
}

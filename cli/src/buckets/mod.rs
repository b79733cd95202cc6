//! Buckets as a whole.
//!
//! Owns: the record of those that Pail created ([`record`]), who uses them ([`lease`]), and their deletion ([`deleting`]).

pub mod deleting;
pub mod lease;
pub mod record;

use crate::daemon;
use pail_control::{Failure, FailureKind, opening};
use std::path::PathBuf;

/// Where this user's daemon has a bucket mounted, or something in it. The endpoint counts where one is named. Errors: the daemon does not answer.
pub async fn mounted_at(uri: &str, endpoint_url: Option<&str>) -> Result<Option<PathBuf>, Failure> {
    let mounts = match daemon::running().await {
        Ok((client, _)) => client.mounts().await?,
        Err(failure) if failure.kind == FailureKind::NotRunning => return Ok(None),
        Err(failure) => return Err(failure),
    };
    let is_of = |source: &str| opening::parse_source(source).is_ok_and(|source| source.bucket_uri() == uri);
    let is_there = |at: Option<&str>| endpoint_url.is_none() || at == endpoint_url;
    let mut specs = mounts.into_iter().map(|mount| mount.spec);
    let mounted = specs.find(|spec| is_of(&spec.source) && is_there(spec.endpoint_url.as_deref()));
    Ok(mounted.map(|spec| spec.mount_point))
}

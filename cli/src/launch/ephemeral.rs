//! Buckets that end with their task (`persistent: false`).
//!
//! Owns: [`Ephemeral`]: those of a launch, and their end. Invariants: only a bucket that is on record as created by this launch is deleted; none is
//! while anything of the task is not in it yet, for then it is not known what a person wants of it.

use super::Launch;
use crate::buckets::{deleting, record};
use crate::task::{Bucket, Content};
use crate::terminal;
use jiff::Timestamp;
use pail_control::opening::{self, Address};
use pail_control::{CallerEnvironment, Failure, FailureKind};

/// The buckets of a launch that are to be deleted when it has ended.
#[derive(Debug, Default)]
pub struct Ephemeral {
    buckets: Vec<Bucket>,
    /// Where they are mounted, as the task says it.
    pub destinations: Vec<String>,
    since: Timestamp,
}

impl Ephemeral {
    /// Those of a launch. Where nobody waits for its end they stay, which is told.
    pub fn of(launch: &Launch) -> Self {
        let mut found = Self { since: Timestamp::now(), ..Self::default() };
        for file_mount in launch.task.file_mounts.iter().filter(|_| launch.with_file_mounts) {
            let Some(bucket) = file_mount.content.bucket().filter(|bucket| !bucket.persistent) else {
                continue;
            };
            if launch.detach {
                terminal::note(&format!(
                    "note: {} stays, for nobody waits for the end of a detached run; `pail storage delete` deletes it",
                    bucket.uri
                ));
                continue;
            }
            if matches!(file_mount.content, Content::Mount { .. }) {
                found.destinations.push(file_mount.destination.clone());
            }
            found.buckets.push(bucket.clone());
        }
        found
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.buckets.is_empty()
    }

    /// Deletes them, once they are mounted nowhere. Those that this launch did not create stay, which is told. Errors: those of the stores.
    pub async fn delete(&self, environment: &CallerEnvironment) -> Result<(), Failure> {
        let created = record::all()?;
        for bucket in &self.buckets {
            let uri = opening::parse_source(&bucket.uri)?.bucket_uri();
            let address = Address {
                source: &uri,
                endpoint_url: bucket.endpoint_url.as_deref(),
                region: bucket.region.as_deref(),
                profile: None,
                settings: Some(&bucket.settings),
            };
            let identity = opening::identity_of(address, environment).await?;
            if !created.iter().any(|one| one.is(&identity) && one.created >= self.since) {
                terminal::note(&format!(
                    "note: {uri} stays, for this launch did not create it; `pail storage delete` deletes it"
                ));
                continue;
            }
            match opening::open_bucket(address, environment, false, false).await {
                Ok(open) => {
                    let count = deleting::delete(&open, &uri, true).await?;
                    let objects = if count == 1 { "object" } else { "objects" };
                    terminal::note(&format!("deleted {uri} (persistent: false), with {count} {objects}"));
                }
                Err(failure) if failure.kind == FailureKind::NotFound => {}
                Err(failure) => return Err(failure),
            }
            record::remove(&identity)?;
        }
        Ok(())
    }

    /// Tells that they stay, since not all that the task wrote is in them.
    pub fn keep(&self) {
        for bucket in &self.buckets {
            terminal::note(&format!(
                "note: {} stays (persistent: false), since not all that the task wrote is in it; `pail storage delete` deletes it",
                bucket.uri
            ));
        }
    }
}

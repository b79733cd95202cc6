//! Which buckets Pail created.
//!
//! Owns: `buckets.json` in the state directory, a list of [`Created`]. It is for people and for `pail storage`; nothing else depends on it,
//! so that a bucket whose record is lost is only a bucket that Pail deletes by its URI alone.
//!
//! Invariants: the file is replaced at once, under a lock; it holds no secret.

use crate::terminal;
use jiff::Timestamp;
use pail_control::opening::{self, Address};
use pail_control::settings::{Directories, process_environment};
use pail_control::{CallerEnvironment, Failure};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

const FILE: &str = "buckets.json";
const LOCK: &str = "buckets.lock";

/// A bucket that Pail created, and how it was reached then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Created {
    /// Its URI, without a prefix.
    pub uri: String,
    /// What tells it from buckets of that name at other endpoints ([`opening::identity_of`]).
    pub identity: String,
    /// The endpoint, where one was named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint_url: Option<String>,
    /// The region, where one was named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// The profile, where one was named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// When, by this machine's clock.
    pub created: Timestamp,
    /// A launch created it for which it was not to stay (`persistent: false`), and has ended: the last one that uses it deletes it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ending: bool,
}

impl Created {
    /// Whether it is that bucket.
    pub fn is(&self, identity: &str) -> bool {
        self.identity == identity
    }
}

/// Those that are on record, oldest first. Errors: the record cannot be read.
pub fn all() -> Result<Vec<Created>, Failure> {
    all_in(&state_dir()?)
}

/// Takes down a bucket that was created just now. Errors: the record cannot be written.
pub fn add(created: Created) -> Result<(), Failure> {
    change(&state_dir()?, |buckets| {
        buckets.retain(|other| !other.is(&created.identity));
        buckets.push(created);
    })
}

/// As [`add`], for a bucket that was created on the way to something else: where it cannot be taken down, that is told.
pub async fn note(address: Address<'_>, environment: &CallerEnvironment) {
    let Ok(uri) = opening::parse_source(address.source) else { return };
    let Ok(identity) = opening::identity_of(address, environment).await else { return };
    let created = Created {
        uri: uri.bucket_uri(),
        identity,
        endpoint_url: address
            .endpoint_url
            .or_else(|| opening::endpoint_url_of(uri.kind, environment))
            .map(str::to_owned),
        region: address.region.map(str::to_owned),
        profile: address.profile.map(str::to_owned),
        created: Timestamp::now(),
        ending: false,
    };
    if let Err(failure) = add(created) {
        terminal::note(&format!(
            "warning: {} was created and could not be taken down; `pail storage` knows it by its URI alone",
            uri.bucket_uri()
        ));
        terminal::notes(&failure.causes);
    }
}

/// Notes whether a bucket is deleted by the last launch that uses it. Errors: the record cannot be written.
pub fn set_ending(identity: &str, ending: bool) -> Result<(), Failure> {
    change(&state_dir()?, |buckets| {
        let of_bucket = buckets.iter_mut().filter(|bucket| bucket.is(identity));
        of_bucket.for_each(|bucket| bucket.ending = ending);
    })
}

/// Strikes a bucket that is gone. Errors: the record cannot be written.
pub fn remove(identity: &str) -> Result<(), Failure> {
    change(&state_dir()?, |buckets| buckets.retain(|other| !other.is(identity)))
}

fn state_dir() -> Result<PathBuf, Failure> {
    let uid = rustix::process::geteuid().as_raw();
    Ok(Directories::from_environment(&process_environment, uid)?.state)
}

fn all_in(dir: &Path) -> Result<Vec<Created>, Failure> {
    let path = dir.join(FILE);
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(err) => return Err(Failure::from_io(format!("cannot read {}", path.display()), &err)),
    };
    serde_json::from_slice(&text).map_err(|err| {
        Failure::other(format!("cannot read {}", path.display()))
            .because(err.to_string())
            .with_hint("move it away; buckets can still be deleted by their URIs")
    })
}

fn change(dir: &Path, change: impl FnOnce(&mut Vec<Created>)) -> Result<(), Failure> {
    let failed = |err: &std::io::Error| Failure::from_io(format!("cannot write in {}", dir.display()), err);
    let _lock = locked(dir).map_err(|err| failed(&err))?;
    let mut buckets = all_in(dir)?;
    change(&mut buckets);
    replace(dir, &buckets).map_err(|err| failed(&err))
}

fn locked(dir: &Path) -> std::io::Result<File> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let lock =
        OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(dir.join(LOCK))?;
    flock(&lock, FlockOperation::LockExclusive)?;
    Ok(lock)
}

/// Called by the holder of the lock.
fn replace(dir: &Path, buckets: &[Created]) -> std::io::Result<()> {
    let temporary = dir.join(format!("{FILE}.new"));
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&temporary)?;
    serde_json::to_writer_pretty(&mut file, buckets)?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    std::fs::rename(temporary, dir.join(FILE))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(identity: &str) -> Created {
        let (uri, identity) = ("s3://a".to_owned(), identity.to_owned());
        let created = Timestamp::now();
        Created { uri, identity, endpoint_url: None, region: None, profile: None, created, ending: false }
    }

    #[test]
    fn buckets_are_taken_down_once_and_struck() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().join("state");
        assert_eq!(all_in(&at).unwrap(), []);
        let (here, there) = (bucket("http://h a"), bucket("s3://a"));
        for one in [&here, &there, &here] {
            let one = one.clone();
            change(&at, |all| {
                all.retain(|other| !other.is(&one.identity));
                all.push(one);
            })
            .unwrap();
        }
        assert_eq!(all_in(&at).unwrap(), [there.clone(), here], "one of each place");
        change(&at, |all| all.retain(|other| !other.is("http://h a"))).unwrap();
        assert_eq!(all_in(&at).unwrap(), [there]);
    }

    #[test]
    fn a_record_that_cannot_be_read_is_not_written_over() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(FILE), "{").unwrap();
        assert!(change(dir.path(), |all| all.clear()).is_err());
        assert_eq!(std::fs::read_to_string(dir.path().join(FILE)).unwrap(), "{");
    }
}

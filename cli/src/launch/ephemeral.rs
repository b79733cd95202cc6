//! Buckets that end with their task (`persistent: false`).
//!
//! Owns: [`Buckets`], those that a launch uses, and [`Ending`], those that end with it. Invariants:
//! - A bucket is deleted that is on record as created by this launch, or by one that left it to the last, and no other.
//! - None is while another launch of this machine uses it (its [`Lease`] says so), nor where one used it meanwhile for which it is to stay or of
//!   whose end nothing is known, nor while it is mounted on this machine. The last of those that use it deletes it.
//! - None is while anything of the task is not in it yet, for then it is not known what a person wants of it.

use super::Launch;
use crate::buckets::lease::{LastLease, Lease};
use crate::buckets::{deleting, mounted_at, record};
use crate::task::{Bucket, Content};
use crate::terminal;
use jiff::Timestamp;
use pail_control::opening::{self, Address};
use pail_control::{CallerEnvironment, Failure, FailureKind};

/// The buckets of a launch, which it uses until its end.
#[derive(Debug)]
pub struct Buckets {
    uses: Vec<(Use, Lease)>,
    since: Timestamp,
    /// It makes what is not there; an `exec` does not.
    creates: bool,
}

/// The buckets that end with a launch, now that nobody else uses them.
#[derive(Debug)]
pub struct Ending(Vec<(Use, LastLease)>);

/// A bucket, wherever in the task it is.
#[derive(Debug)]
struct Use {
    bucket: Bucket,
    /// Its URI, without a prefix.
    uri: String,
    identity: String,
    /// Where it is mounted, as the task says it.
    destinations: Vec<String>,
    /// It is to stay when the launch has ended.
    stays: bool,
}

impl Buckets {
    /// Those of a launch, from now on in use. Where nobody waits for its end they stay, which is told. Waits for a bucket that is being deleted.
    /// Errors: the state directory cannot be written; how a bucket that is not to stay is reached is not known.
    pub async fn of(launch: &Launch, environment: &CallerEnvironment) -> Result<Self, Failure> {
        let mut all = Self { uses: Vec::new(), since: Timestamp::now(), creates: launch.with_file_mounts };
        for file_mount in &launch.task.file_mounts {
            let Some(bucket) = file_mount.content.bucket() else { continue };
            let mut used = match Use::of(bucket, environment).await {
                Ok(used) => used,
                // It is told by who opens it.
                Err(_) if bucket.persistent => continue,
                Err(failure) => return Err(failure),
            };
            if matches!(file_mount.content, Content::Mount { .. }) {
                used.destinations.push(file_mount.destination.clone());
            }
            if launch.detach && !bucket.persistent && all.creates {
                terminal::note(&format!(
                    "note: {} stays, for nobody waits for the end of a detached run; `pail storage delete` deletes it",
                    bucket.uri
                ));
            }
            used.stays |= launch.detach;
            all.add(used).await?;
        }
        Ok(all)
    }

    /// The task begins: whatever becomes of this process, the buckets stay until it is known that the task has ended. Errors: the state directory
    /// cannot be written.
    pub fn begin(&self) -> Result<(), Failure> {
        self.uses.iter().try_for_each(|(used, lease)| lease.mark().map_err(|err| used.cannot_note(&err)))
    }

    async fn add(&mut self, used: Use) -> Result<(), Failure> {
        match self.uses.iter_mut().find(|(other, _)| other.identity == used.identity) {
            Some((other, _)) => {
                other.stays |= used.stays;
                other.destinations.extend(used.destinations);
            }
            None => {
                let lease = Lease::take(&used.identity, &used.uri).await?;
                self.uses.push((used, lease));
            }
        }
        Ok(())
    }

    /// Ends the use of all, and hands over those that are to be deleted. Of those that stay although they were not to, it is told why. Errors: the
    /// state directory cannot be read or written.
    pub fn end(self) -> Result<Ending, Failure> {
        let mut ending = Vec::new();
        for (used, lease) in self.uses {
            let is_own = |created: &record::Created| self.creates && created.created >= self.since;
            if !used.stays && used.on_record()?.as_ref().is_some_and(is_own) {
                // Before the lease ends: whoever is the last then knows of it.
                record::set_ending(&used.identity, true)?;
            }
            let last = lease.into_last(used.stays).map_err(|err| used.cannot_note(&err))?;
            let Some(last) = last else {
                if !used.stays {
                    used.note_stays("while another launch on this machine uses it");
                }
                continue;
            };
            let is_ending = used.on_record()?.is_some_and(|created| created.ending);
            let is_kept = used.stays || last.is_kept().map_err(|err| used.cannot_note(&err))?;
            match (is_ending, is_kept) {
                (true, false) => ending.push((used, last)),
                (true, true) => {
                    record::set_ending(&used.identity, false)?;
                    if !used.stays {
                        used.note_stays("for another launch used it meanwhile and wants it to stay, or was killed; `pail storage delete` deletes it");
                    }
                }
                (false, _) if !used.stays && self.creates => {
                    used.note_stays("for this launch did not create it; `pail storage delete` deletes it");
                }
                (false, _) => {}
            }
        }
        Ok(Ending(ending))
    }

    /// Ends the use of all, which stay, since not all that the task wrote is in them; that is told. Errors: as of [`Buckets::end`].
    pub fn keep(mut self) -> Result<(), Failure> {
        for (used, _) in self.uses.iter_mut().filter(|(used, _)| !used.stays) {
            used.note_unfinished();
            used.stays = true;
        }
        self.end().map(|_| ())
    }
}

impl Ending {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Where they are mounted, as the task says it.
    pub fn destinations(&self) -> Vec<String> {
        self.0.iter().flat_map(|(used, _)| used.destinations.iter().cloned()).collect()
    }

    /// Leaves them, since not all that the task wrote is in them; that is told. Errors: the record cannot be written.
    pub fn keep(self) -> Result<(), Failure> {
        for (used, _last) in self.0 {
            used.note_unfinished();
            record::set_ending(&used.identity, false)?;
        }
        Ok(())
    }

    /// Deletes them, once the launch has them mounted nowhere. What somebody else has mounted on this machine stays, which is told. Errors: those of
    /// the stores.
    pub async fn delete(self, environment: &CallerEnvironment) -> Result<(), Failure> {
        for (used, _last) in self.0 {
            if let Some(place) = mounted_at(&used.uri, used.bucket.endpoint_url.as_deref()).await? {
                used.note_stays(&format!(
                    "for it is mounted at {}; `pail storage delete` deletes it",
                    place.display()
                ));
                record::set_ending(&used.identity, false)?;
                continue;
            }
            let uri = &used.uri;
            match opening::open_bucket(used.address(), environment, opening::OpeningOptions::default()).await
            {
                Ok(open) => {
                    let count = deleting::delete(&open, uri, true).await?;
                    let objects = if count == 1 { "object" } else { "objects" };
                    terminal::note(&format!("deleted {uri} (persistent: false), with {count} {objects}"));
                }
                Err(failure) if failure.kind == FailureKind::NotFound => {}
                Err(failure) => return Err(failure),
            }
            record::remove(&used.identity)?;
        }
        Ok(())
    }
}

impl Use {
    async fn of(bucket: &Bucket, environment: &CallerEnvironment) -> Result<Self, Failure> {
        let uri = opening::parse_source(&bucket.uri)?.bucket_uri();
        let (bucket, stays) = (bucket.clone(), bucket.persistent);
        let mut used = Self { bucket, uri, identity: String::new(), destinations: Vec::new(), stays };
        used.identity = opening::identity_of(used.address(), environment).await?;
        Ok(used)
    }

    fn address(&self) -> Address<'_> {
        Address {
            source: &self.uri,
            endpoint_url: self.bucket.endpoint_url.as_deref(),
            region: self.bucket.region.as_deref(),
            profile: None,
            settings: Some(&self.bucket.settings),
        }
    }

    fn on_record(&self) -> Result<Option<record::Created>, Failure> {
        Ok(record::all()?.into_iter().find(|created| created.is(&self.identity)))
    }

    fn note_stays(&self, why: &str) {
        terminal::note(&format!("note: {} stays (persistent: false), {why}", self.uri));
    }

    fn note_unfinished(&self) {
        self.note_stays("since not all that the task wrote is in it; `pail storage delete` deletes it");
    }

    fn cannot_note(&self, err: &std::io::Error) -> Failure {
        Failure::from_io(format!("cannot note that {} is in use", self.uri), err)
    }
}

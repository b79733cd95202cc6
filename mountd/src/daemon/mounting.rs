//! Making mounts.
//!
//! Owns: `Daemon::mount` and the steps that restoring shares with it. Invariant: a mount that fails leaves nothing mounted or
//! created, and the list as it was: an entry that waits to be restored goes on waiting.

use super::mount::{Live, Mount, State};
use super::mount_point::{self, MountPoint};
use super::{Daemon, host};
use crate::disk_work::{DiskCall, on_disk};
use crate::fs::{BucketFs, FsOptions};
use crate::fuse::{FuseMount, FuseOptions};
use pail_control::Failure;
use pail_control::command_line::word;
use pail_control::saved_mount::SavedMount;
use pail_control::types::{MountOutcome, MountRequest, MountSpec};
use pail_control::{opening, place};
use pail_store::ConditionedChange;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Threads that take requests from the kernel, for each mount.
const FUSE_THREADS: usize = 4;

/// What was done on the way to a mount.
#[derive(Debug, Clone, Default)]
pub(super) struct Made {
    directory: bool,
    bucket: bool,
    recovered: bool,
    empty_prefix: bool,
    writes_refused: bool,
    ignored_conditions: Vec<ConditionedChange>,
    conditions_unknown: bool,
}

/// A place on the table that is given back unless the mount succeeds.
struct Reservation {
    daemon: Arc<Daemon>,
    mount: Arc<Mount>,
    succeeded: bool,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if !self.succeeded {
            self.daemon.forget(&self.mount);
        }
    }
}

/// Whether there is something to do.
enum Place {
    Reserved(Arc<Mount>),
    AlreadyMounted(Arc<Mount>),
}

impl Daemon {
    /// Mounts; returns when the mount is usable. The same mount at the same place is a no-op.
    pub async fn mount(self: &Arc<Self>, mut request: MountRequest) -> Result<MountOutcome, Failure> {
        self.refuse_other_limits(&request)?;
        opening::parse_source(&request.spec.source)?;
        let asked = request.spec.mount_point.clone();
        request.spec.mount_point = blocking(move || place::resolve(&asked)).await?;
        let mount = match self.reserve(&request).await? {
            Place::Reserved(mount) => mount,
            Place::AlreadyMounted(mount) => return Ok(outcome(&mount, Made::default(), true)),
        };
        let mut reservation = Reservation { daemon: self.clone(), mount: mount.clone(), succeeded: false };
        let established = self.establish(&mount, request.create_bucket).await;
        reservation.succeeded = established.is_ok();
        drop(reservation);
        match established {
            Ok(made) => Ok(outcome(&mount, made, false)),
            Err(failure) => {
                tracing::warn!(mount = %mount.spec.mount_point.display(), source = %mount.spec.source, error = %failure, "not mounted");
                // It may have taken the place of a mount that waits to be restored: that goes on waiting.
                self.restore_place(&mount.spec.mount_point);
                Err(failure)
            }
        }
    }

    fn refuse_other_limits(&self, request: &MountRequest) -> Result<(), Failure> {
        let settings = &self.settings;
        let conflicts = request.limits.conflicts(
            &settings.directories.cache,
            settings.cache_bytes,
            settings.memory_bytes,
        );
        if conflicts.is_empty() {
            return Ok(());
        }
        Err(Failure::usage(format!(
            "the running daemon has other budgets or directories: {}",
            conflicts.join(", ")
        ))
        .with_hint("leave them out, or end the daemon first: `pail shutdown`, after which this mount starts one with yours"))
    }

    /// Takes the place on the table. Waits for another request on the same place to finish.
    async fn reserve(&self, request: &MountRequest) -> Result<Place, Failure> {
        loop {
            let busy = {
                let mut mounts = self.mounts.lock();
                self.refuse_when_stopping()?;
                let place = &request.spec.mount_point;
                if let Some(other) = mounts.keys().find(|other| *other != place && overlap(other, place)) {
                    return Err(Failure::usage(format!(
                        "{} and the mount at {} lie one within the other",
                        place.display(),
                        other.display()
                    ))
                    .with_hint("mount at a directory outside of it"));
                }
                match mounts.get(place).map(|mount| (mount.clone(), mount.state())) {
                    None | Some((_, State::Failed(_) | State::Gone)) => {
                        let mount = Mount::starting(request.spec.clone(), request.environment.clone());
                        mounts.insert(place.clone(), mount.clone());
                        return Ok(Place::Reserved(mount));
                    }
                    Some((mount, State::Live(_))) => {
                        refuse_other_target(&mount.spec, &request.spec)?;
                        return Ok(Place::AlreadyMounted(mount));
                    }
                    Some((mount, State::Starting | State::Unmounting(_))) => mount,
                }
            };
            busy.settled().await;
        }
    }

    /// Does the mounting of `mount`, which is in state `Starting`, and moves it to `Live`.
    pub(super) async fn establish(
        self: &Arc<Self>,
        mount: &Arc<Mount>,
        create_bucket: bool,
    ) -> Result<Made, Failure> {
        // What the list has at its place: the same mount, or another, of an earlier daemon.
        let earlier = self.list.at(&mount.spec.mount_point);
        // Made again by hand it is the same mount, whatever has got into its directory.
        let restores = mount.restored || earlier.as_ref().is_some_and(|saved| saved.spec == mount.spec);
        let spec = mount.spec.clone();
        mount.dead.store(false, Ordering::Relaxed);
        let point = blocking(move || {
            host::check(spec.allow_other)?;
            MountPoint::check(&spec.mount_point, restores)
        })
        .await?;
        mount.dead.store(point.dead, Ordering::Relaxed);
        let bucket = opening::open_bucket(
            (&mount.spec).into(),
            &mount.environment,
            opening::OpeningOptions { create: create_bucket, ..Default::default() },
        )
        .await?;
        let writes = opening::WriteCheck::begin(&bucket, mount.spec.read_only);
        // Of a mount that comes back by itself nobody reads what is told.
        let conditions = opening::ConditionCheck::begin(&bucket, mount.spec.read_only || mount.restored);
        if !mount.restored {
            bucket.refuse_object(&mount.spec.source).await?;
        }
        let recovered = point.dead;
        let (created, point) = blocking(move || Ok((point.create()?, point))).await?;
        let mut made = Made {
            directory: !created.is_empty(),
            bucket: bucket.created,
            recovered,
            empty_prefix: bucket.has_empty_prefix(),
            ..Made::default()
        };
        // Those that were made at this place earlier are to go with this mount too.
        let mut created_directories =
            earlier.as_ref().map_or_else(Vec::new, |saved| saved.created_directories.clone());
        created_directories.retain(|dir| !created.contains(dir));
        created_directories.extend(created.iter().cloned());
        let saved = SavedMount {
            spec: mount.spec.clone(),
            environment: mount.environment.without_secrets(),
            keys_were_given: mount.keys_were_given,
            proxy_user_was_given: mount.proxy_user_was_given,
            created_directories,
        };
        // Listed before it is mounted: a crash in between is repaired at the next start, the other way round it is not.
        let list = self.list.clone();
        let started = match on_disk(DiskCall::Write, move || list.put(saved)).await {
            Ok(()) => self.start_session(mount, &bucket, point).await,
            Err(failure) => Err(failure),
        };
        match started {
            Ok(live) => {
                mount.set(State::Live(live.clone()));
                if !mount.spec.read_only {
                    tokio::spawn(self.clone().abort_left_uploads(mount.clone(), live.store.clone()));
                }
                tokio::spawn(self.clone().watch_session(mount.clone(), live));
                tracing::info!(mount = %mount.spec.mount_point.display(), source = %mount.spec.source, read_only = mount.spec.read_only, "mounted");
                made.writes_refused = writes.are_refused().await;
                if made.writes_refused {
                    tracing::warn!(mount = %mount.spec.mount_point.display(), source = %mount.spec.source, "these credentials may not write");
                }
                if let Some(found) = conditions.outcome().await {
                    made.conditions_unknown = found.is_assumed && !made.writes_refused;
                    made.ignored_conditions = found.ignored_conditions;
                }
                Ok(made)
            }
            Err(failure) => {
                // What went wrong with the mount says more than what goes wrong with the list.
                let _ = match earlier {
                    Some(earlier) => {
                        let list = self.list.clone();
                        on_disk(DiskCall::Write, move || list.put(earlier)).await
                    }
                    None => self.unlist(&mount.spec.mount_point).await.map(drop),
                };
                // Without root the dead mount may be off by now, and programs write into the directory.
                let place = mount.spec.mount_point.clone();
                let dead = blocking(move || Ok(place::is_dead(&place))).await.unwrap_or(false);
                mount.dead.store(dead, Ordering::Relaxed);
                mount_point::remove_created(&created);
                Err(failure)
            }
        }
    }

    async fn start_session(
        &self,
        mount: &Arc<Mount>,
        bucket: &opening::OpenBucket,
        point: MountPoint,
    ) -> Result<Live, Failure> {
        let spec = &mount.spec;
        let fs =
            BucketFs::new(bucket.store.clone(), self.cache.clone(), self.fs_options(spec, &bucket.prefix));
        fs.prime(&bucket.first_page, bucket.listed_at);
        let mut options = FuseOptions {
            replaces_dead: false,
            fs_name: spec.source.clone(),
            read_only: spec.read_only,
            allow_other: spec.allow_other,
            threads: FUSE_THREADS,
        };
        let (session_fs, place, runtime) = (fs.clone(), spec.mount_point.clone(), self.runtime.clone());
        let (fuse, beneath) = blocking(move || {
            let prepared = point.prepare()?;
            options.replaces_dead = prepared.replaces_dead;
            let started = FuseMount::start(session_fs, &place, &options, runtime);
            Ok((started.map_err(|err| host::explain(&place, &err))?, prepared.beneath()))
        })
        .await?;
        if let Some(beneath) = beneath {
            tracing::warn!(mount = %spec.mount_point.display(), names = ?beneath.names, count = beneath.count,
                "mounted over what got into the directory meanwhile; it is on this machine's disk, and not in the bucket");
            // It is mounted once.
            let _ = mount.beneath.set(beneath);
        }
        Ok(Live { store: bucket.store.clone(), fs, fuse: Arc::new(fuse) })
    }

    fn fs_options(&self, spec: &MountSpec, prefix: &str) -> FsOptions {
        FsOptions {
            prefix: prefix.to_owned(),
            read_only: spec.read_only,
            metadata_ttl: spec.metadata_ttl.0,
            uid: spec.uid,
            gid: spec.gid,
            file_mode: spec.file_mode.0,
            dir_mode: spec.dir_mode.0,
            new_file_mode: spec.new_file_mode.map(|mode| mode.0),
            new_dir_mode: spec.new_dir_mode.map(|mode| mode.0),
            hole_bytes_max: self.settings.hole_bytes_max,
            mount_name: spec.mount_point.display().to_string(),
        }
    }
}

/// Runs `work`, which blocks, off the runtime's workers.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|err| Err(Failure::other("an internal task broke off").because(err.to_string())))
}

fn overlap(a: &Path, b: &Path) -> bool {
    a.starts_with(b) || b.starts_with(a)
}

fn refuse_other_target(there: &MountSpec, asked: &MountSpec) -> Result<(), Failure> {
    if there == asked {
        return Ok(());
    }
    let place = there.mount_point.display();
    let what = if there.source == asked.source {
        format!(
            "{} is mounted at {place} with other options: {}",
            there.source,
            differences(there, asked).join(", ")
        )
    } else {
        format!("{} is mounted at {place}, not {}", there.source, asked.source)
    };
    Err(Failure::usage(what).with_hint(format!("unmount it first: pail umount {}", word(&place.to_string()))))
}

/// The options that differ, as `name in-force (asked: wanted)`.
fn differences(there: &MountSpec, asked: &MountSpec) -> Vec<String> {
    let (Ok(serde_json::Value::Object(there)), Ok(serde_json::Value::Object(asked))) =
        (serde_json::to_value(there), serde_json::to_value(asked))
    else {
        return Vec::new();
    };
    let differ = there.iter().filter(|(name, value)| asked.get(*name) != Some(value));
    let shown = |value: Option<&serde_json::Value>| match value {
        None | Some(serde_json::Value::Null) => "unset".to_owned(),
        Some(serde_json::Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    differ
        .map(|(name, value)| {
            format!("{} {} (asked: {})", name.replace('_', "-"), shown(Some(value)), shown(asked.get(name)))
        })
        .collect()
}

fn outcome(mount: &Mount, made: Made, already_mounted: bool) -> MountOutcome {
    MountOutcome {
        spec: mount.spec.clone(),
        already_mounted,
        created_directory: made.directory,
        created_bucket: made.bucket,
        recovered: made.recovered,
        beneath: mount.beneath.get().cloned(),
        empty_prefix: made.empty_prefix,
        writes_refused: made.writes_refused,
        conditions_ignored: made.ignored_conditions.contains(&ConditionedChange::Writes),
        ignored_conditions: made.ignored_conditions,
        conditions_unknown: made.conditions_unknown,
    }
}

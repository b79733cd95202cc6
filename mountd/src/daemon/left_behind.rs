//! Files that were written here, are not in the bucket, and belong to no mount any more.
//!
//! Owns: the list of them and their removal, in a running daemon and without one, and the removal of what a mount in service could not publish. They come from a daemon that was killed, and from
//! mounts that were given up by force. Invariant: nothing is removed that was not named by its file, and nothing that is in use.

use super::mount::Mount;
use super::mounting::blocking;
use super::{Daemon, process};
use crate::fs::{BucketFs, Discarded};
use pail_cache::{Orphan, UploadNote};
use pail_control::command_line::word;
use pail_control::opening;
use pail_control::settings::Directories;
use pail_control::types::{DiscardReport, LeftBehind, StillOpen, Unpublished};
use pail_control::{Failure, FailureKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

/// A mount that was given up by force while programs had files open in it, which may still be published.
pub(super) struct Detached {
    mount: Arc<Mount>,
    fs: Weak<BucketFs>,
}

impl Daemon {
    /// All that is left behind, by mount point and key. Errors: looking broke off.
    pub async fn left_behind(&self) -> Result<Vec<LeftBehind>, Failure> {
        let cache = self.cache.clone();
        let orphans = blocking(move || Ok(cache.orphans())).await?;
        let mut left: Vec<_> = orphans.into_iter().map(row_of_orphan).collect();
        let detached = {
            let mut detached = self.detached.lock();
            detached.retain(|one| one.fs.strong_count() > 0);
            detached.iter().map(|one| (one.mount.clone(), one.fs.clone())).collect::<Vec<_>>()
        };
        for (mount, fs) in detached {
            left.extend(fs.upgrade().iter().flat_map(|fs| still_open(&mount, fs)));
        }
        Ok(in_order(left))
    }

    /// Goes on telling of the files of a mount that is off the table.
    pub(super) fn watch_detached(&self, mount: &Arc<Mount>, fs: &Arc<BucketFs>) {
        self.detached.lock().push(Detached { mount: mount.clone(), fs: Arc::downgrade(fs) });
    }

    /// Gives up files that are left behind, and those of mounts in service that could not be published, each named by its local path.
    /// Errors: removing broke off.
    pub async fn discard(&self, files: Vec<PathBuf>) -> Result<DiscardReport, Failure> {
        let (mut report, mut left) = (DiscardReport::default(), Vec::new());
        for file in files {
            match self.discard_of_mount(&file).await {
                Some(Ok(discarded)) => report.discarded.push(discarded),
                Some(Err(failure)) => report.failures.push(failure),
                None => left.push(file),
            }
        }
        let orphans = self.discard_orphans(left).await?;
        report.discarded.extend(orphans.discarded);
        report.uploads.extend(orphans.uploads);
        report.failures.extend(orphans.failures);
        Ok(report)
    }

    /// Gives up files that are left behind. Errors: removing broke off.
    async fn discard_orphans(&self, files: Vec<PathBuf>) -> Result<DiscardReport, Failure> {
        // Where the bucket is mounted, its uploads are aborted already, or tried again and again.
        let mounted: Vec<_> =
            self.all_mounts().iter().filter_map(|mount| mount.live()).map(|live| live.store).collect();
        let cache = self.cache.clone();
        blocking(move || {
            let open =
                |orphan: &Orphan| match mounted.iter().any(|store| store.identity() == orphan.intent.store) {
                    true => Vec::new(),
                    false => cache.left_uploads_of(&orphan.intent.store, &orphan.intent.key),
                };
            Ok(discard_each(&files, |file| cache.discard_orphan(file), open))
        })
        .await
    }

    /// Gives up a file of a mount in service; `None` where it is none.
    async fn discard_of_mount(&self, file: &Path) -> Option<Result<LeftBehind, Failure>> {
        for mount in self.all_mounts() {
            let Some(live) = mount.live() else { continue };
            let discarded = match live.fs.discard_unpublished(file).await {
                None => continue,
                Some(Discarded::Done(row)) => Ok(row_of(&mount, &live.fs, row, false)),
                Some(Discarded::Published) => {
                    Err(Failure::other(format!("{} was published meanwhile", file.display())))
                }
                Some(Discarded::Open(row)) => {
                    let shown = mount.spec.mount_point.join(row.path);
                    Err(Failure::usage(format!(
                        "{} is open in a program, and what that writes next would be lost",
                        shown.display()
                    ))
                    .with_hint(format!(
                        "end the program first (`fuser {}` names it), then run the command again",
                        word(&shown.display().to_string())
                    )))
                }
                Some(Discarded::NotFailed(row)) => {
                    let shown = mount.spec.mount_point.join(row.path);
                    Err(Failure::new(
                        FailureKind::NotFound,
                        format!("{} has not failed to be published", shown.display()),
                    )
                    .with_hint(format!("`rm {}` removes it", word(&shown.display().to_string()))))
                }
            };
            return Some(discarded);
        }
        None
    }
}

/// What is left behind, for commands that find no daemon. Nobody must use the state directory meanwhile: what is in use looks the same.
/// Errors: the state directory cannot be read.
pub fn read(directories: &Directories) -> Result<Vec<LeftBehind>, Failure> {
    Ok(in_order(orphans(directories)?.into_iter().map(row_of_orphan).collect()))
}

fn in_order(mut left: Vec<LeftBehind>) -> Vec<LeftBehind> {
    left.sort_by(|a, b| (&a.mount_point, &a.key).cmp(&(&b.mount_point, &b.key)));
    left
}

/// As [`Daemon::discard`], for commands that find no daemon. Errors: one has started meanwhile, or uses the state directory from elsewhere.
pub fn discard(directories: &Directories, files: &[PathBuf]) -> Result<DiscardReport, Failure> {
    directories.prepare(rustix::process::geteuid().as_raw())?;
    let Some(_daemon) = process::take_lock(directories)? else {
        return Err(Failure::new(FailureKind::Stopping, "a daemon has just started, or is about to end")
            .with_hint("try again"));
    };
    let _state = pail_cache::lock_dirty(&directories.state).map_err(|err| Failure::other(err.to_string()))?;
    let left = orphans(directories)?;
    // A note that cannot be read is the next mount's to tell of.
    let uploads = pail_cache::left_uploads(&directories.state).unwrap_or_default();
    let open = |orphan: &Orphan| {
        let notes = uploads.iter().map(|left| &left.note);
        notes
            .filter(|note| note.store == orphan.intent.store && note.key == orphan.intent.key)
            .cloned()
            .collect()
    };
    let discard = |file: &Path| {
        let named = left.iter().find(|orphan| orphan.data_path == file).cloned();
        named.map(|orphan| orphan.discard().map(|()| orphan)).transpose()
    };
    Ok(discard_each(files, discard, open))
}

fn orphans(directories: &Directories) -> Result<Vec<Orphan>, Failure> {
    match pail_cache::orphans(&directories.state) {
        // Where the directory is not there nothing was ever written.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        found => found.map_err(|error| {
            let dir = directories.state.display();
            Failure::from_io(format!("cannot read what is left behind in {dir}"), &error)
                .with_hint(format!("see that `ls -ld` shows rwx for you of {dir} and {dir}/dirty"))
        }),
    }
}

fn discard_each(
    files: &[PathBuf],
    discard: impl Fn(&Path) -> std::io::Result<Option<Orphan>>,
    open_uploads: impl Fn(&Orphan) -> Vec<UploadNote>,
) -> DiscardReport {
    let mut report = DiscardReport::default();
    for file in files {
        match discard(file) {
            Ok(Some(orphan)) => {
                tracing::info!(file = %file.display(), key = %orphan.intent.key, bytes = orphan.len, "discarded unpublished bytes");
                let notes = open_uploads(&orphan);
                let discarded = row_of_orphan(orphan);
                report.uploads.extend(notes.into_iter().map(|note| StillOpen {
                    object: discarded.object.clone(),
                    endpoint_url: discarded.endpoint_url.clone(),
                    upload_id: note.id,
                }));
                report.discarded.push(discarded);
            }
            Ok(None) => report.failures.push(
                Failure::new(FailureKind::NotFound, format!("{} holds no file that could not be published, or a program still has it open", file.display()))
                    .with_hint("name it as `pail status` shows it: a file in the state directory, not the one in the mount"),
            ),
            Err(err) => {
                report.failures.push(Failure::from_io(format!("cannot remove {}", file.display()), &err));
            }
        }
    }
    report
}

fn row_of_orphan(orphan: Orphan) -> LeftBehind {
    // As the store identifies itself: `ENDPOINT BUCKET`, where the bucket of an S3 endpoint is its name alone, or its URI.
    let (endpoint_url, bucket) = match orphan.intent.store.split_once(' ') {
        Some((url, bucket)) => (Some(url.to_owned()), bucket),
        None => (None, orphan.intent.store.as_str()),
    };
    let scheme = if bucket.contains("://") { "" } else { "s3://" };
    LeftBehind {
        object: format!("{scheme}{bucket}/{}", orphan.intent.key),
        endpoint_url,
        whole: orphan.is_whole(),
        mount_point: orphan.intent.mount.into(),
        key: orphan.intent.key,
        size_bytes: orphan.len,
        local_path: orphan.data_path,
        in_use: false,
    }
}

/// Files of a detached mount that are not in the bucket.
fn still_open(mount: &Mount, fs: &BucketFs) -> Vec<LeftBehind> {
    fs.status().unpublished.into_iter().map(|file| row_of(mount, fs, file, true)).collect()
}

fn row_of(mount: &Mount, fs: &BucketFs, file: Unpublished, in_use: bool) -> LeftBehind {
    let bucket = opening::parse_source(&mount.spec.source).map(|uri| uri.bucket_uri()).unwrap_or_default();
    let key = format!("{}{}", fs.options().prefix, file.path);
    LeftBehind {
        mount_point: mount.spec.mount_point.clone(),
        object: format!("{bucket}/{key}"),
        key,
        endpoint_url: mount.spec.endpoint_url.clone(),
        size_bytes: file.size_bytes,
        local_path: file.local_path.into(),
        whole: file.whole,
        in_use,
    }
}

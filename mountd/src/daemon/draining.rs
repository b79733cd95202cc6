//! Ending mounts, and waiting for what is not in the bucket yet.
//!
//! Owns: flush, unmount, and the drain of a daemon that is told to stop.
//!
//! Invariants:
//! - Without force nothing is unmounted while a file of it is not in the bucket.
//! - With force, and when the daemon stops, what remains is named, and its bytes stay in the journal.
//! - What is closed while an unmount flushes is flushed too, also where only a RELEASE tells of it, which unmounting may cut off.
//! - A drain that is cancelled leaves its mount as it was.

use super::mount::{Live, Mount, State};
use super::mounting::blocking;
use super::{Daemon, dead, mount_point, open_files};
use crate::disk_work::{DiskCall, on_disk};
use futures::future::{join, join_all};
use pail_control::command_line::{self, word};
use pail_control::mountinfo::{self, MountInfo};
use pail_control::place;
use pail_control::saved_mount::SavedMount;
use pail_control::types::{
    DrainProgress, DrainReport, FlushRequest, LeftBehind, Remaining, UnmountRequest, Unpublished,
};
use pail_control::{Failure, FailureKind};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::{Instant, timeout, timeout_at};

/// How long uploads that came to nothing may take to be aborted.
const ABORT_TIMEOUT: Duration = Duration::from_secs(2);
/// How often an unmount looks for what was closed while it flushed; who goes on writing has the file open, and keeps the mount busy.
const FLUSH_ROUNDS: usize = 4;
/// How long to wait for a session's threads once the kernel has let go of it.
const SESSION_END_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest deadline that is understood; a longer one is cut to it.
const DEADLINE_MAX: Duration = Duration::from_secs(7 * 86_400);

/// How an unmount is to be done.
#[derive(Debug, Clone, Copy)]
struct Manner {
    deadline: Instant,
    /// Go on although something remains, or the mount is busy.
    force: bool,
    /// Take it off the list that the next daemon restores.
    unlist: bool,
}

/// Moves a mount back to `Live` unless its unmount went through. Where the kernel's part was done already,
/// `Daemon::watch_session` sees a live mount without a session and does the rest.
struct Unmounting<'a> {
    mount: &'a Arc<Mount>,
    live: Live,
    done: bool,
}

impl Drop for Unmounting<'_> {
    fn drop(&mut self) {
        if !self.done {
            self.mount.set(State::Live(self.live.clone()));
        }
    }
}

impl Daemon {
    /// Drains and unmounts one mount or all. Errors: nothing is mounted there. What could not be done is in the report.
    pub async fn unmount(self: &Arc<Self>, request: &UnmountRequest) -> Result<DrainReport, Failure> {
        let manner = Manner { deadline: deadline(request.timeout_ms), force: request.force, unlist: true };
        let mounts = match &request.mount_point {
            None => self.all_mounts(),
            Some(place) => match self.mount_at(place).await? {
                Some(mount) => vec![mount],
                None => return self.unmount_dead(place.clone()).await,
            },
        };
        Ok(self.unmount_each(&mounts, manner).await)
    }

    /// Waits until what is dirty under a path, or in all mounts, is in the bucket. Errors: the path is in no mount, or leads to nothing.
    pub async fn flush(&self, request: &FlushRequest) -> Result<DrainReport, Failure> {
        let deadline = deadline(request.timeout_ms);
        let is_all = request.path.is_none();
        let targets: Vec<(Arc<Mount>, String)> = match &request.path {
            None => self.all_mounts().into_iter().map(|mount| (mount, String::new())).collect(),
            Some(path) => vec![self.mount_over(path).await?],
        };
        let flushes = targets.iter().filter_map(|(mount, path)| Some((mount, mount.live()?, path)));
        let reports = join_all(flushes.map(|(mount, live, path)| async move {
            let (published, remaining) = flush_until(&live, path, deadline).await;
            let remaining = name_remaining(mount, remaining);
            let failures = left_calls(mount, &live).into_iter().chain(unmounted_by_others(mount));
            let failures = failures.chain(hides(mount, path)).collect();
            DrainReport { published, remaining, failures, ..DrainReport::default() }
        }));
        let mut report = merge(reports.await);
        report.failures.extend(targets.iter().filter_map(|(mount, _)| not_in_service(mount)));
        report.left_behind = self.left_behind().await?;
        report
            .left_behind
            .retain(|left| is_all || targets.iter().any(|(mount, path)| was_below(left, mount, path)));
        match &targets[..] {
            [(mount, path)] if !is_all && has_nothing(&report) => {
                refuse_missing(mount, path, deadline).await?
            }
            _ => {}
        }
        Ok(report)
    }

    /// How far the publishing of all mounts is.
    pub fn drain_progress(&self) -> DrainProgress {
        let mut progress = DrainProgress::default();
        for live in self.all_mounts().iter().filter_map(|mount| mount.live()) {
            let status = live.fs.status();
            progress.files_left += (status.unpublished.len() as u64).max(status.publishing);
            progress.bytes_done += status.publishing_bytes.0;
            progress.bytes_total += status.publishing_bytes.1;
        }
        progress
    }

    /// Drains and unmounts everything because the daemon ends; the list keeps what `unlist` does not take off it.
    pub(super) async fn drain_to_stop(self: &Arc<Self>, unlist: bool) -> DrainReport {
        let deadline = Instant::now() + self.settings.drain_timeout;
        self.unmount_each(&self.all_mounts(), Manner { deadline, force: true, unlist }).await
    }

    async fn unmount_each(self: &Arc<Self>, mounts: &[Arc<Mount>], manner: Manner) -> DrainReport {
        merge(join_all(mounts.iter().map(|mount| self.unmount_one(mount, manner))).await)
    }

    async fn unmount_one(self: &Arc<Self>, mount: &Arc<Mount>, manner: Manner) -> DrainReport {
        let mut report = DrainReport::default();
        let place = &mount.spec.mount_point;
        let live = loop {
            match timeout_at(manner.deadline, mount.settled()).await {
                Ok(State::Gone) => return report,
                Ok(State::Failed(_)) => {
                    // Nothing is mounted, but for what a daemon that is gone has left: that stays for the next one, unless it is given up.
                    if manner.unlist {
                        report.failures.extend(clear_dead(place).await);
                    }
                    report.failures.extend(self.leave(mount, manner).await);
                    report.unmounted.push(place.clone());
                    return report;
                }
                Ok(_) => {}
                Err(_) => {
                    report.failures.push(
                        Failure::other(format!("{} is still being mounted or unmounted", place.display()))
                            .with_hint("try again with a longer --timeout"),
                    );
                    return report;
                }
            }
            if let Some(live) = mount.begin_unmount() {
                break live;
            }
        };
        let mut unmounting = Unmounting { mount, live: live.clone(), done: false };
        report.published = flush_until(&live, "", manner.deadline).await.0;
        report.published += flush_new(&live, manner.deadline).await;
        let remaining = live.fs.status().unpublished;
        let left = left_calls(mount, &live);
        if !manner.force && (!remaining.is_empty() || left.is_some()) {
            report.remaining = name_remaining(mount, remaining);
            report.failures.extend(left);
            return report;
        }
        if let Err(failure) = detach(&live, place, manner).await {
            report.failures.push(failure);
            report.remaining = name_remaining(mount, live.fs.status().unpublished);
            return report;
        }
        // A file that a child of its opener closed last is published by its RELEASE alone, which the kernel sends when it likes, and
        // drops when it unmounts. Now nobody can close anything any more.
        report.published += flush_new(&live, manner.deadline).await;
        tidy(&live).await;
        report.remaining = name_remaining(mount, live.fs.status().unpublished);
        for left in &report.remaining {
            tracing::error!(mount = %place.display(), file = %left.file.path, size_bytes = left.file.size_bytes, journal = %left.file.local_path, "unmounted with a file that is not in the bucket");
        }
        report.failures.extend(left_calls(mount, &live));
        // It may have covered one that a daemon before this one left.
        report.failures.extend(clear_dead(place).await);
        report.failures.extend(self.leave(mount, manner).await);
        if !report.remaining.is_empty() {
            self.watch_detached(mount, &live.fs);
        }
        unmounting.done = true;
        tracing::info!(mount = %place.display(), source = %mount.spec.source, published = report.published, "unmounted");
        report.unmounted.push(place.clone());
        report
    }

    /// Takes a mount that is not mounted any more off the table, and off the list. Returns why it is still on the list.
    async fn leave(&self, mount: &Arc<Mount>, manner: Manner) -> Option<Failure> {
        let listed = match manner.unlist {
            true => self.unlist_and_clean(&mount.spec.mount_point).await.err(),
            false => None,
        };
        self.forget(mount);
        listed
    }

    /// Takes a mount off the list and removes the directories that were made for it. Errors: it is still on the list.
    async fn unlist_and_clean(&self, place: &Path) -> Result<(), Failure> {
        if let Some(saved) = self.unlist(place).await? {
            let created = saved.created_directories;
            // Removing is a courtesy: a failure is in the log, and there is nothing else to do about it.
            let _ = blocking(move || {
                mount_point::remove_created(&created);
                Ok(())
            })
            .await;
        }
        Ok(())
    }

    /// Errors: the list could not be written, so that the next daemon mounts it again.
    pub(super) async fn unlist(&self, place: &Path) -> Result<Option<SavedMount>, Failure> {
        let (list, unlisted) = (self.list.clone(), place.to_owned());
        let removed = on_disk(DiskCall::Write, move || list.remove(&unlisted)).await;
        removed.map_err(|failure| {
            tracing::error!(mount = %place.display(), error = %failure, "the list of mounts could not be changed");
            let message = format!("{} is still on the list that the next daemon mounts again", place.display());
            let cause = failure.message;
            Failure { message, causes: [vec![cause], failure.causes].concat(), ..failure }
        })
    }

    /// Waits for the end of a session that the kernel may end at any time (`umount`, `fusermount3 -u`), and tidies up
    /// after one that nobody here has ended.
    pub(super) async fn watch_session(self: Arc<Self>, mount: Arc<Mount>, live: Live) {
        live.fuse.ended().await;
        // An unmount of our own is let finish; it may also have been cancelled after the kernel's part was done.
        if !matches!(mount.settled().await, State::Live(_)) || mount.begin_unmount().is_none() {
            return;
        }
        let place = &mount.spec.mount_point;
        tracing::warn!(mount = %place.display(), "was unmounted by somebody else");
        let deadline = Instant::now() + self.settings.drain_timeout;
        let (_, remaining) = flush_until(&live, "", deadline).await;
        for file in &remaining {
            tracing::error!(mount = %place.display(), file = %file.path, size_bytes = file.size_bytes, journal = %file.local_path, "is not in the bucket");
        }
        left_calls(&mount, &live);
        tidy(&live).await;
        if let Some(failure) = clear_dead(place).await {
            tracing::warn!(mount = %place.display(), error = %failure, "a dead mount stays");
        }
        if !remaining.is_empty() {
            self.watch_detached(&mount, &live.fs);
        }
        // Nobody waits for the answer; what went wrong is in the log.
        let _ = self.leave(&mount, Manner { deadline, force: true, unlist: !self.is_stopping() }).await;
    }

    /// The mount at exactly `place`, which need not be resolved.
    async fn mount_at(&self, place: &Path) -> Result<Option<Arc<Mount>>, Failure> {
        // Compared as it is first: resolving asks the file system, which may be the mount itself.
        if let Some(mount) = self.mounts.lock().get(place) {
            return Ok(Some(mount.clone()));
        }
        let asked = place.to_owned();
        let resolved = blocking(move || place::resolve(&asked)).await?;
        Ok(self.mounts.lock().get(&resolved).cloned())
    }

    /// The mount that `path` lies in, and the path within it.
    async fn mount_over(&self, path: &Path) -> Result<(Arc<Mount>, String), Failure> {
        let within = |path: &Path| {
            let mounts = self.mounts.lock();
            mounts.iter().find_map(|(place, mount)| {
                let rest = path.strip_prefix(place).ok()?;
                Some((mount.clone(), rest.to_string_lossy().into_owned()))
            })
        };
        // What `..` leads to only the file system knows.
        let is_plain = !path.components().any(|component| component == Component::ParentDir);
        if let Some(found) = within(path).filter(|_| is_plain) {
            return Ok(found);
        }
        let asked = path.to_owned();
        let resolved = blocking(move || place::resolve(&asked)).await?;
        within(&resolved).ok_or_else(|| {
            Failure::new(FailureKind::NotFound, format!("{} is in no mount", path.display()))
                .with_hint("`pail status` lists the mounts")
        })
    }

    /// Clears what an earlier daemon left at `place`. Errors: there is no Pail mount.
    async fn unmount_dead(&self, place: PathBuf) -> Result<DrainReport, Failure> {
        let asked = place.clone();
        let place = blocking(move || {
            let place = place::resolve(&asked)?;
            if !dead::clear_at(&place)? {
                return Err(Failure::new(
                    FailureKind::NotFound,
                    format!("nothing is mounted at {}", place.display()),
                )
                .with_hint("`pail status` lists the mounts"));
            }
            Ok(place)
        })
        .await?;
        let failures = self.unlist_and_clean(&place).await.err().into_iter().collect();
        Ok(DrainReport { unmounted: vec![place], failures, ..DrainReport::default() })
    }
}

/// Publishes what is dirty under `path`, and waits for the calls that killed programs left, until the deadline; how many files it
/// published, and what remains.
async fn flush_until(live: &Live, path: &str, deadline: Instant) -> (u64, Vec<Unpublished>) {
    let (flushed, _) = join(
        timeout_at(deadline, live.fs.flush(path)),
        // `left_calls` tells what is left of them.
        timeout_at(deadline, live.fs.left_calls_done()),
    )
    .await;
    match flushed {
        Ok(report) => (report.published, report.remaining),
        Err(_) => {
            let mut remaining = live.fs.status().unpublished;
            remaining.retain(|file| Path::new(&file.path).starts_with(path));
            (0, remaining)
        }
    }
}

/// Publishes what was written and closed while others were published: all of which no publish has failed. In rounds, since each takes
/// its time. How many files it published.
async fn flush_new(live: &Live, deadline: Instant) -> u64 {
    let mut published = 0;
    for _ in 0..FLUSH_ROUNDS {
        let mut new = live.fs.status().unpublished;
        new.retain(|file| file.error.is_none());
        if new.is_empty() || Instant::now() >= deadline {
            break;
        }
        let flushes = new.iter().map(|file| flush_until(live, &file.path, deadline));
        published += join_all(flushes).await.into_iter().map(|(count, _)| count).sum::<u64>();
    }
    published
}

fn has_nothing(report: &DrainReport) -> bool {
    report.published == 0
        && report.remaining.is_empty()
        && report.failures.is_empty()
        && report.left_behind.is_empty()
}

/// A name of which nothing was dirty, and that leads to nothing in the bucket either, is a slip: "everything is in the bucket" would be
/// taken for a word about the file that was meant. Where the bucket does not answer nobody can tell, and nothing is refused.
async fn refuse_missing(mount: &Mount, path: &str, deadline: Instant) -> Result<(), Failure> {
    let Some(live) = mount.live() else { return Ok(()) };
    let asked = path.to_owned();
    // A task of its own: what is given up here still gives its inodes back.
    let looked = tokio::spawn(async move { live.fs.is_there(&asked).await });
    match timeout_at(deadline, looked).await {
        Ok(Ok(Ok(false))) => {
            let place = &mount.spec.mount_point;
            let message = format!("there is nothing at {}", place.join(path).display());
            Err(Failure::new(FailureKind::NotFound, message).with_hint(format!(
                "check the name; `pail flush {}` waits for all that was written in the mount",
                word(&place.display().to_string())
            )))
        }
        _ => Ok(()),
    }
}

/// A mount that could not be made: what programs wrote below its mount point meanwhile is nowhere but there.
fn not_in_service(mount: &Mount) -> Option<Failure> {
    let State::Failed(failure) = mount.state() else { return None };
    let message = format!("{} is not mounted", mount.spec.mount_point.display());
    let place = word(&mount.spec.mount_point.display().to_string());
    let again = command_line::mount(&mount.spec);
    let written = match mount.dead.load(Ordering::Relaxed) {
        true => "programs cannot read or write there until it is mounted again",
        false => "what was written below it is on this machine's disk, and not in the bucket",
    };
    let hint = format!("{written}; `{again}` mounts it again, `pail umount {place}` gives it up");
    Some(Failure::new(FailureKind::Partial, message).because(failure.message).with_hint(hint))
}

/// What was written at `path` of a mount while it was not mounted, and is beneath it now.
fn hides(mount: &Mount, path: &str) -> Option<Failure> {
    let (place, beneath) = (mount.spec.mount_point.display(), mount.beneath.get()?);
    let first = path.split('/').next().unwrap_or_default();
    let may_be_hidden = beneath.count > beneath.names.len() as u64;
    if !path.is_empty() && !may_be_hidden && !beneath.names.iter().any(|name| name == first) {
        return None;
    }
    let message = format!(
        "{place} hides what was written to its directory while it was not mounted: {}{}",
        beneath.names.join(", "),
        if may_be_hidden { ", …" } else { "" }
    );
    Some(Failure::new(FailureKind::Partial, message).with_hint(format!(
        "it is on this machine's disk, and not in the bucket: `pail umount {}` shows it; move it away and mount again",
        word(&place.to_string())
    )))
}

/// Takes off what a daemon that is gone has left at `place`. Returns why it is still there.
async fn clear_dead(place: &Path) -> Option<Failure> {
    let place = place.to_owned();
    blocking(move || dead::clear_at(&place)).await.err()
}

/// A mount that the kernel has no longer, or not on top, though nobody has told this daemon yet: what programs write there goes elsewhere.
fn unmounted_by_others(mount: &Mount) -> Option<Failure> {
    let place = &mount.spec.mount_point;
    let mounts = mountinfo::read().ok()?;
    if mountinfo::at(&mounts, place).is_some_and(MountInfo::is_pail) {
        return None;
    }
    let message = format!("{} was unmounted, or covered, by somebody else", place.display());
    let hint = "what was written below it since is not in the bucket, but where it was written: most likely on this machine's disk";
    Some(Failure::new(FailureKind::Partial, message).with_hint(hint))
}

/// The calls that killed programs left and that still go on, as a failure.
fn left_calls(mount: &Mount, live: &Live) -> Option<Failure> {
    let (place, count) = (mount.spec.mount_point.display(), live.fs.left_calls());
    if count == 0 {
        return None;
    }
    tracing::error!(mount = %place, count, "removals, renames or closes of killed programs still go on");
    let message = format!("{place}: {count} removals, renames or closes of killed programs still go on");
    Some(
        Failure::new(FailureKind::Partial, message)
            .with_hint("the bucket does not answer; give it more time"),
    )
}

/// Takes the mount away from the kernel. Errors: busy, with who keeps it so, unless forced.
async fn detach(live: &Live, place: &Path, manner: Manner) -> Result<(), Failure> {
    let (fuse, dir) = (live.fuse.clone(), place.to_owned());
    blocking(move || match fuse.unmount(false) {
        Ok(()) => Ok(()),
        Err(_) if manner.force => fuse
            .unmount(true)
            .map_err(|err| Failure::from_io(format!("cannot unmount {}", dir.display()), &err)),
        Err(err) => Err(busy(&dir, &err)),
    })
    .await?;
    if timeout(SESSION_END_TIMEOUT, live.fuse.ended()).await.is_err() {
        // Programs still have files open there: what they wrote since is published with the rest of the time.
        flush_until(live, "", manner.deadline).await;
    }
    Ok(())
}

/// The last of a file system that the kernel has let go of, once all is published that can be.
async fn tidy(live: &Live) {
    live.fs.discard_published().await;
    // What is not in the bucket by now is named; its parts would only cost storage.
    let _ = timeout(ABORT_TIMEOUT, live.fs.abort_idle_uploads()).await;
}

fn busy(place: &Path, err: &std::io::Error) -> Failure {
    let failure = Failure::from_io(format!("cannot unmount {}", place.display()), err);
    let users = open_files::users_of(place);
    let hint = "end the programs that use it, or detach it with --force";
    match users.is_empty() {
        true => failure.with_hint(hint),
        false => failure.because(format!("in use by {}", users.join(", "))).with_hint(hint),
    }
}

/// Whether a file that was left behind lay at `path` of a mount, or below it.
fn was_below(left: &LeftBehind, mount: &Mount, path: &str) -> bool {
    let within = || {
        let live = mount.live()?;
        Some(Path::new(left.key.strip_prefix(&live.fs.options().prefix)?).starts_with(path))
    };
    left.mount_point == mount.spec.mount_point && (path.is_empty() || within().unwrap_or(false))
}

fn name_remaining(mount: &Mount, files: Vec<Unpublished>) -> Vec<Remaining> {
    let named = |file| Remaining { mount_point: mount.spec.mount_point.clone(), file };
    files.into_iter().map(named).collect()
}

fn merge(reports: Vec<DrainReport>) -> DrainReport {
    reports.into_iter().fold(DrainReport::default(), |mut all, report| {
        all.unmounted.extend(report.unmounted);
        all.published += report.published;
        all.remaining.extend(report.remaining);
        all.failures.extend(report.failures);
        all
    })
}

fn deadline(timeout_ms: u64) -> Instant {
    Instant::now() + Duration::from_millis(timeout_ms).min(DEADLINE_MAX)
}

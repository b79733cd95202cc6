//! The ways out of a write conflict, and giving up what could not be published.
//!
//! Owns: the commands of [`WaysOut`], which are told to people, and `discard_unpublished`.
//!
//! Invariant: nothing here changes or deletes an object, nor does a command that keeps theirs.

use super::dirty::DirtyFile;
use super::inode::Inode;
use super::name::NAME_LEN_BYTES_MAX;
use super::namespace::Known;
use super::{BucketFs, Stale};
use pail_control::command_line::word;
use pail_control::types::{Unpublished, WaysOut};
use std::path::Path;
use std::time::Duration;

/// How long the kernel may take to tell of a close.
const RELEASE_TIME_MAX: Duration = Duration::from_millis(500);

/// What became of a file that was to be given up.
#[derive(Debug)]
pub enum Discarded {
    /// It is gone from the local disk, and its name leads to what the bucket has.
    Done(Unpublished),
    /// Its bytes are in the bucket by now.
    Published,
    /// Nothing says that it cannot be published.
    NotFailed(Unpublished),
    /// A program has it open: what it writes from then on would be acknowledged, and lost.
    Open(Unpublished),
}

impl BucketFs {
    /// How a conflict of this file can be ended; `None` where there is none.
    pub(super) fn ways_out(&self, inode: &Inode, dirty: &DirtyFile) -> Option<WaysOut> {
        if !dirty.is_in_conflict() {
            return None;
        }
        let local = dirty.replica.path().display().to_string();
        let shown = self.shown_path(inode);
        let beside = beside(&shown, &local);
        let discard = format!("pail discard {}", word(&local));
        let (local, shown, beside) = (word(&local), word(&shown), word(&beside));
        let has_name = !inode.is_superseded();
        let copy = match (dirty.replica.is_whole(), has_name) {
            (true, _) => Some(format!("cp {local} {beside}")),
            // The rest is read through the mount, as long as it is cached: all of it, before any of it is copied.
            (false, true) => Some(format!("cat {shown} > /dev/null && cp {shown} {beside}")),
            (false, false) => None,
        };
        let keep_both = copy.map(|copy| format!("{copy} && {discard}"));
        let keep_ours = match has_name {
            true => keep_both.as_ref().map(|both| format!("{both} && mv -fT {beside} {shown}")),
            // The name is theirs already.
            false => keep_both.as_ref().map(|_| format!("cp {local} {shown} && {discard}")),
        };
        Some(WaysOut { keep_theirs: discard, keep_ours, keep_both })
    }

    /// Tells the log how a conflict can be ended.
    pub(super) fn log_ways_out(&self, inode: &Inode, dirty: &DirtyFile) {
        if let Some(ways) = self.ways_out(inode, dirty) {
            let told =
                |way: &Option<String>| way.as_ref().map(|command| tracing::field::display(command.clone()));
            tracing::warn!(mount = %self.options.mount_name, path = %inode.path().escape_debug(), keep_theirs = %ways.keep_theirs,
                keep_ours = told(&ways.keep_ours), keep_both = told(&ways.keep_both), "a write conflict waits to be ended by one of these commands");
        }
    }

    /// Gives up the file whose bytes are at `local`, if it is one that could not be published; `None` where it is none of this mount's.
    /// The object stays, and is what the name leads to from then on.
    pub async fn discard_unpublished(&self, local: &Path) -> Option<Discarded> {
        let (inode, dirty) = self.inodes.all().into_iter().find_map(|inode| {
            let dirty = self.unpublished(&inode).filter(|dirty| dirty.replica.path() == local)?;
            (!inode.is_unlinked()).then_some((inode, dirty))
        })?;
        if self.stays_open(&inode).await
            && let Some(row) = self.unpublished_row(&inode).filter(|row| row.error.is_some())
        {
            return Some(Discarded::Open(row));
        }
        // Its publish is not waited for.
        let _first = dirty.removers.join();
        let _one = inode.changing.lock().await;
        let Some(row) = self.unpublished_row(&inode) else { return Some(Discarded::Published) };
        if row.error.is_none() {
            return Some(Discarded::NotFailed(row));
        }
        tracing::info!(mount = %self.options.mount_name, path = %row.path, bytes = row.size_bytes, "discarded unpublished bytes");
        let had_name = !inode.is_superseded();
        let place = inode.place();
        self.drop_name(&inode).await;
        if let Some(parent) = place.parent.filter(|_| had_name) {
            let dir = self.dir_prefix(&parent);
            // Where that cannot be told now, a listing tells it later.
            if let Ok((Known::Absent, _)) = self.look_again(&dir, &place.name).await {
                self.lost_name(&parent).await;
            }
            self.tell_stale(Stale::Name(parent.ino, place.name));
        }
        Some(Discarded::Done(row))
    }
}

impl BucketFs {
    /// Whether a program has the file open. The kernel tells of the last close behind it, which is waited for a little.
    async fn stays_open(&self, inode: &Inode) -> bool {
        let is_open = || inode.file().is_some_and(|file| file.lock().opens > 0);
        let end = tokio::time::Instant::now() + RELEASE_TIME_MAX;
        while is_open() && tokio::time::Instant::now() < end {
            tokio::time::sleep(RELEASE_TIME_MAX / 20).await;
        }
        is_open()
    }
}

/// A name beside `shown` that nothing has, made of the local file's, which is random.
fn beside(shown: &str, local: &str) -> String {
    let random = Path::new(local).file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    let suffix = format!("ours-{}", random.get(..8).unwrap_or(random));
    let (dir, name) = shown.rsplit_once('/').unwrap_or(("", shown));
    match name.len() + 1 + suffix.len() <= NAME_LEN_BYTES_MAX {
        true => format!("{dir}/{name}.{suffix}"),
        false => format!("{dir}/{suffix}"),
    }
}

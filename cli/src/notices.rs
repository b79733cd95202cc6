//! What people are told of files that are not in their bucket, and of mounts that are not as they may expect.
//!
//! Owns: the sentences, as lines. They are printed by the commands, and kept with a job that runs where nobody looks.

use crate::{daemon, terminal};
use pail_control::command_line::{self, word};
use pail_control::quantity::ByteSize;
use pail_control::types::{Beneath, DrainReport, LeftBehind, MountOutcome, MountSpec, Unpublished};
use pail_store::{BucketUri, ConditionedChange};

/// How many files are named one by one.
const NAMED_MAX: usize = 10;

/// What was left by a flush or an unmount, and where it is.
pub fn left(report: &DrainReport) -> Vec<String> {
    let mut lines = Vec::new();
    for failure in &report.failures {
        lines.extend(terminal::failure_lines(failure));
    }
    if !report.remaining.is_empty() {
        lines.extend(remaining(report));
    }
    lines.extend(left_behind(&report.left_behind));
    lines
}

fn remaining(report: &DrainReport) -> Vec<String> {
    let mut lines = Vec::new();
    let count = report.remaining.len();
    lines.push(format!(
        "error: {count} {} not in the bucket:",
        if count == 1 { "file is" } else { "files are" }
    ));
    for left in report.remaining.iter().take(NAMED_MAX) {
        let path = left.mount_point.join(&left.file.path);
        let size = ByteSize(left.file.size_bytes).human();
        let why = match (&left.file.error, left.file.open) {
            (Some(error), _) => error.clone(),
            (None, true) => "still open".to_owned(),
            (None, false) => "not sent yet".to_owned(),
        };
        lines.push(format!("  {} ({size}): {why}; {}", path.display(), where_kept(&left.file)));
        lines.extend(ways_out(&left.file));
    }
    if count > NAMED_MAX {
        lines.push(format!("  and {} more: `pail status --json` lists them", count - NAMED_MAX));
    }
    let mut staying: Vec<_> = report.remaining.iter().map(|left| &left.mount_point).collect();
    staying.retain(|place| !report.unmounted.contains(place));
    staying.dedup();
    let staying: Vec<_> = staying.into_iter().map(|place| word(&place.display().to_string())).collect();
    lines.push(match staying.is_empty() {
        false => format!(
            "hint: mend the cause and try again, with a longer timeout where it only takes time; `pail umount --force {}` unmounts in any case, and the bytes stay on this disk",
            staying.join(" ")
        ),
        true => "hint: the bytes stay on this disk: `pail status` names them until `pail discard FILE` gives them up"
            .to_owned(),
    });
    lines
}

/// The files of mounts that are gone.
pub fn left_behind(left: &[LeftBehind]) -> Vec<String> {
    let mut lines = Vec::new();
    if left.is_empty() {
        return lines;
    }
    let files = if left.len() == 1 { "1 file" } else { &format!("{} files", left.len()) };
    lines.push(format!("{files} of mounts that are gone, not in the bucket:"));
    for file in left.iter().take(NAMED_MAX) {
        let is = match (file.in_use, file.whole) {
            (true, _) => "still open; its bytes are in",
            (false, true) => "left behind; its bytes are in",
            (false, false) => "left behind; only what was written of it is here, the rest reads as zeros, in",
        };
        lines.push(format!(
            "  {} ({}): {is} {}",
            terminal::escaped(&file.object),
            ByteSize(file.size_bytes).human(),
            file.local_path.display()
        ));
    }
    if left.len() > NAMED_MAX {
        lines.push(format!("  and {} more: `pail status --json` lists them", left.len() - NAMED_MAX));
    }
    if left.iter().any(|file| file.whole) {
        lines.push("hint: a file of which all bytes are here is kept by copying it to its place in a mount, where it replaces what others wrote since: look at that first, or copy it beside".to_owned());
    }
    if left.iter().any(|file| !file.whole && !file.in_use) {
        lines.push("hint: do not copy one of which only a part is here over its object: take what is needed out of it".to_owned());
    }
    lines.push("hint: `pail discard FILE` gives a file up".to_owned());
    lines
}

/// Where the bytes of a file that is not in the bucket are, and which.
pub fn where_kept(file: &Unpublished) -> String {
    let which = if file.whole { "its bytes are" } else { "only what was written of it is" };
    format!("{which} in {}", file.local_path)
}

/// How the write conflict of a file can be ended, where it has one.
pub fn ways_out(file: &Unpublished) -> Vec<String> {
    let mut lines = Vec::new();
    let Some(ways) = &file.conflict else { return lines };
    lines.push(format!("hint: keep theirs: {}", ways.keep_theirs));
    match (&ways.keep_ours, &ways.keep_both) {
        (Some(ours), Some(both)) => {
            lines.push(format!("hint: keep ours:   {ours}"));
            lines.push(format!("hint: keep both:   {both}"));
        }
        _ => lines.push(
            "hint: do not copy the local file over the object: take what is needed out of it".to_owned(),
        ),
    }
    if !file.whole && ways.keep_both.is_some() {
        lines.push("hint: the rest of it is of its earlier version: where that is not cached any more, only theirs can be kept, and the other two do nothing".to_owned());
    }
    lines
}

/// What a mount hides.
pub fn beneath(spec: &MountSpec, beneath: &Beneath) -> Vec<String> {
    let mut lines = Vec::new();
    let place = spec.mount_point.display();
    let names: Vec<_> = beneath.names.iter().map(|name| terminal::escaped(name).to_string()).collect();
    let more = match beneath.count - names.len() as u64 {
        0 => String::new(),
        count => format!(" and {count} more"),
    };
    lines.push(format!(
        "{place}: hides what was written to its directory while it was not mounted: {}{more}",
        names.join(", ")
    ));
    lines.push(format!(
        "hint: it is on this machine's disk, and not in the bucket: `pail umount {}` shows it; move it away and mount again",
        command_line::word(&place.to_string())
    ));
    lines
}

/// What an earlier mount at the same place could not publish is told while somebody is looking.
pub async fn left_behind_of(outcome: &MountOutcome) -> Vec<String> {
    let left = async { daemon::running().await?.0.left_behind().await };
    // Where that cannot be had now, `pail status` tells it.
    let mut left = left.await.unwrap_or_default();
    left.retain(|file| file.mount_point == outcome.spec.mount_point);
    left_behind(&left)
}

/// A slip in a prefix shows as an empty directory.
pub fn empty_prefix(outcome: &MountOutcome) -> Vec<String> {
    let mut lines = Vec::new();
    if outcome.empty_prefix {
        let source = &outcome.spec.source;
        let bucket = source.parse::<BucketUri>().map_or_else(|_| source.clone(), |uri| uri.bucket_uri());
        let all = command_line::ls(&MountSpec { source: bucket, ..outcome.spec.clone() });
        lines.push(format!("note: nothing is below {source}/ yet; `{all}` shows what the bucket holds"));
    }
    lines
}

/// Who means to write learns it now, and not at the end of the first long job.
pub fn refused_writes(outcome: &MountOutcome) -> Vec<String> {
    let mut lines = Vec::new();
    if outcome.writes_refused {
        let source = &outcome.spec.source;
        lines.push(format!(
            "warning: these credentials may not write to {source}: what programs write there fails with EACCES"
        ));
        lines.push("hint: mount it with --read-only, or with credentials that may write".to_owned());
    }
    lines
}

/// What a weak endpoint means for whoever shares its bucket.
pub fn ignored_conditions(source: &str, ignored: &[ConditionedChange]) -> Vec<String> {
    let names: Vec<_> = ignored
        .iter()
        .map(|change| match change {
            ConditionedChange::Writes => "writes",
            ConditionedChange::LargeWrites => "writes in parts (large files)",
            ConditionedChange::Deletions => "deletions",
        })
        .collect();
    let Some((last, others)) = names.split_last() else { return Vec::new() };
    let listed = if others.is_empty() { String::new() } else { format!("{} and ", others.join(", ")) };
    // What all files meet is a warning.
    let level = if ignored.contains(&ConditionedChange::Writes) { "warning" } else { "note" };
    vec![format!(
        "{level}: the server of {source} ignores the conditions of {listed}{last}: of two clients that change one file so in the same moment, one may lose its version unnoticed"
    )]
}

/// The same of a mount that was just made.
pub fn conditions(outcome: &MountOutcome) -> Vec<String> {
    let source = &outcome.spec.source;
    let mut lines = ignored_conditions(source, &outcome.ignored_conditions);
    if outcome.conditions_unknown {
        lines.push(format!(
            "note: whether the server of {source} enforces the conditions of writes was not asked, since these credentials may not write and delete a file: they are checked just before each write, which another client's may overtake"
        ));
    }
    lines
}

/// Files of an archive class are there, and cannot be read. A program that only leaves its files may want that, so it is no error.
pub fn archived(outcome: &MountOutcome) -> Vec<String> {
    let MountSpec { source, settings, read_only, .. } = &outcome.spec;
    let kind = source.parse::<BucketUri>().ok().map(|uri| uri.kind);
    let class = kind.and_then(|kind| settings.archive_class(kind)).filter(|_| !read_only);
    let Some(class) = class else { return Vec::new() };
    vec![
        format!(
            "warning: files that are written to {source} get the storage class {class}: they cannot be read, appended to or edited before they are restored, which takes hours"
        ),
        "hint: to read them at once, choose a class that is not an archive's (GLACIER_IR on S3, Cold on Azure)"
            .to_owned(),
    ]
}

/// What a new mount's user should know of it: nothing below its prefix, writes that its credentials may not make, files of an earlier one.
pub async fn of_mount(outcome: &MountOutcome) -> Vec<String> {
    let mut lines = empty_prefix(outcome);
    lines.extend(refused_writes(outcome));
    lines.extend(conditions(outcome));
    lines.extend(archived(outcome));
    lines.extend(left_behind_of(outcome).await);
    lines
}

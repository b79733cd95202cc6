//! Copies between buckets and local files, and between buckets, as `pail cp` and tasks ask for them.
//!
//! Owns: [`Copying`], which opens the bucket with a caller's environment, runs the copy and reports how far it is; where its manifests are; and the
//! [`Failure`]s that errors and incomplete reports of `pail_transfer` become.

use crate::buckets::record;
use crate::copy_flags::CopyFlags;
use crate::copy_progress;
use crate::open_files::RaisedLimit;
use crate::{progress, terminal};
use pail_control::opening::{self, Address, OpenBucket};
use pail_control::quantity::ByteSize;
use pail_control::settings::{Directories, process_environment};
use pail_control::{BucketSettings, CallerEnvironment, Failure, FailureKind};
use pail_store::RawKey;
use pail_transfer::{
    Action, CancellationToken, Change, Changes, Comparison, Destination, Error, Filters, Options, Problems,
    Progress, ProgressSnapshot, Report, Source, UploadSource,
};
use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// Between two reports of how far a copy is.
const REPORT_INTERVAL: Duration = Duration::from_millis(200);
/// How many objects or files a failure names.
const NAMED_MAX: usize = 20;

/// How copies are made for one caller.
pub struct Copying<'a> {
    /// Whose credentials and endpoints hold.
    pub environment: &'a CallerEnvironment,
    /// Called now and then with how far it is.
    pub report: &'a (dyn Fn(ProgressSnapshot) + Sync),
    /// Cancelled, it ends the copy in good order.
    pub stop: CancellationToken,
    /// What is copied, and what else is done.
    pub choices: Choices,
}

/// What a copy is about; see [`Options`].
#[derive(Debug, Clone, Default)]
pub struct Choices {
    /// Which files are meant.
    pub filters: Filters,
    /// By what they are compared.
    pub comparison: Comparison,
    /// Whether what is extra in the target is deleted.
    pub delete: bool,
    /// Where changes are told in place of being made.
    pub dry_run: Option<Changes>,
    /// What of network and store it may use.
    pub flags: CopyFlags,
}

impl Copying<'_> {
    /// Opens the bucket at `address`, and creates it where that is wished and it is not there. Errors: as of [`opening::open_bucket`];
    /// `Interrupted`.
    pub async fn open(&self, address: Address<'_>, create: bool) -> Result<OpenBucket, Failure> {
        let opening =
            opening::open_bucket(address, self.environment, opening::OpeningOptions::for_copy(create));
        let what = format!("opening {}", address.source);
        let opening = progress::while_waiting(&what, opening);
        tokio::select! {
            opened = opening => {
                let opened = opened?;
                if opened.created {
                    record::note(address, self.environment).await;
                }
                Ok(opened)
            }
            () = self.stop.cancelled() => Err(failure_of(Error::Stopped)),
        }
    }

    /// Copies `source` of an open bucket.
    pub async fn download(
        &self,
        bucket: &OpenBucket,
        source: &Source,
        target: &Path,
    ) -> Result<Report, Failure> {
        let (options, progress) = (self.options(), Arc::new(Progress::default()));
        let copying = pail_transfer::download(bucket.store.clone(), source, target, &options, &progress);
        self.while_reporting(&progress, copying).await.map_err(failure_of)
    }

    /// Copies `source` of one open bucket to another, which makes objects as [`new_objects_of`] its settings has it.
    pub async fn between(
        &self,
        bucket: &OpenBucket,
        source: &Source,
        target: &OpenBucket,
        destination: &Destination,
        new_objects: &str,
    ) -> Result<Report, Failure> {
        let options = Options { new_objects: new_objects.to_owned(), ..self.options() };
        let progress = Arc::new(Progress::default());
        let (from, to) = (bucket.store.clone(), target.store.clone());
        let copying = pail_transfer::copy_between(from, source, to, destination, &options, &progress);
        self.while_reporting(&progress, copying).await.map_err(failure_of)
    }

    /// Sends local files to the bucket at `address`, which is created where that is wished and it is not there. The keys are those of
    /// `sources`, whatever prefix the address has; `scope` names them together, where they may be others the next time. Errors: as of [`opening::open_bucket`] and [`pail_transfer::upload`].
    pub async fn upload_sources(
        &self,
        address: Address<'_>,
        create: bool,
        sources: &[UploadSource],
        scope: Option<String>,
    ) -> Result<Report, Failure> {
        let bucket = self.open(address, create).await?;
        let new_objects = new_objects_of(&address.settings.cloned().unwrap_or_default());
        let options = Options { scope, new_objects, ..self.options() };
        let progress = Arc::new(Progress::default());
        let copying = pail_transfer::upload(bucket.store.clone(), sources, &options, &progress);
        self.while_reporting(&progress, copying).await.map_err(failure_of)
    }

    /// Sends what standard input has to one object.
    pub async fn upload_input(&self, bucket: &OpenBucket, key: &RawKey) -> Result<Report, Failure> {
        let (options, progress) = (self.options(), Arc::new(Progress::default()));
        let input = terminal::input()?;
        let copying = pail_transfer::upload_stream(bucket.store.clone(), key, input, &options, &progress);
        self.while_reporting(&progress, copying).await.map_err(|error| match error {
            Error::Stopped => {
                Failure::new(FailureKind::Interrupted, "stopped; nothing was made of what was sent")
            }
            error => failure_of(error),
        })
    }

    /// Writes one object to standard output.
    pub async fn download_output(&self, bucket: &OpenBucket, key: &RawKey) -> Result<Report, Failure> {
        let (options, progress) = (self.options(), Arc::new(Progress::default()));
        // Past the buffer of lines that the library's own has.
        let output = std::io::stdout().as_fd().try_clone_to_owned();
        let output = output.map_err(|err| terminal::output_lost(&err))?;
        let copying = pail_transfer::download_stream(
            bucket.store.clone(),
            key,
            File::from(output),
            &options,
            &progress,
        );
        self.while_reporting(&progress, copying).await.map_err(|error| match error {
            Error::Local { source, .. } => terminal::output_lost(&source),
            Error::Stopped => Failure::new(FailureKind::Interrupted, "stopped"),
            error => failure_of(error),
        })
    }

    fn options(&self) -> Options {
        let Choices { filters, comparison, delete, dry_run, flags } = self.choices.clone();
        let (state_dir, stop) = (manifests(), self.stop.clone());
        flags.on(Options { state_dir, stop, filters, comparison, delete, dry_run, ..Options::default() })
    }

    async fn while_reporting<T>(&self, progress: &Progress, copying: impl Future<Output = T>) -> T {
        let _raised = RaisedLimit::raise();
        tokio::pin!(copying);
        loop {
            match tokio::time::timeout(REPORT_INTERVAL, &mut copying).await {
                Ok(done) => {
                    (self.report)(progress.snapshot());
                    return done;
                }
                Err(_) => (self.report)(progress.snapshot()),
            }
        }
    }
}

/// The keys of one local path in a task: a directory's content, or a file by its name, right below `prefix`.
pub fn content_of(path: &Path, prefix: &str) -> Result<Vec<UploadSource>, Failure> {
    UploadSource::content_of(path, prefix).map_err(failure_of)
}

/// The one key of a path of a bucket. Errors: none can be so long.
pub fn key_of(path: &str) -> Result<RawKey, Failure> {
    RawKey::new(path).map_err(|err| Failure::usage("this cannot be an object's key").because(err.to_string()))
}

/// Where manifests are kept; none are, where no state directory is known.
fn manifests() -> Option<PathBuf> {
    let uid = rustix::process::geteuid().as_raw();
    let directories = Directories::from_environment(&process_environment, uid).ok()?;
    Some(directories.state.join("transfers"))
}

/// In words, how a bucket of these settings makes new objects: an upload in parts that began otherwise is not gone on with.
pub fn new_objects_of(settings: &BucketSettings) -> String {
    let BucketSettings { content_type_by_name, storage_class, sse, sse_kms_key_id, .. } = settings;
    format!("{content_type_by_name} {storage_class:?} {sse:?} {sse_kms_key_id:?}")
}

/// A run's error as a person needs it.
pub fn failure_of(error: Error) -> Failure {
    let message = error.to_string();
    match error {
        Error::NothingThere { .. } => Failure::new(FailureKind::NotFound, message),
        Error::NothingToKeep { .. } => Failure::new(FailureKind::NotFound, message)
            .with_hint("if that is meant, `pail rm -r` deletes what is there"),
        Error::IsPrefix { .. } => Failure::usage(message).with_hint("copy all that is below it with -r"),
        Error::Store { source, .. } => Failure::from_store(message, &source),
        Error::Local { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
            Failure::new(FailureKind::NotFound, message).because(source.to_string())
        }
        Error::Local { source, .. } => Failure::from_io(message, &source),
        Error::NoSpace { .. } => {
            Failure::new(FailureKind::NoSpace, message).with_hint("free some space on that disk")
        }
        Error::SameName { .. } | Error::Unusable { .. } => Failure::usage(message),
        Error::Stopped => Failure::new(FailureKind::Interrupted, message)
            .with_hint("the same command goes on with what is missing"),
        Error::TooMany { .. } | Error::Worker(_) => Failure::other(message),
    }
}

/// The failure of a copy that is not complete, which names what is missing. `None` where everything was copied.
pub fn incomplete(report: &Report) -> Option<Failure> {
    let (missing, extra) = (report.failed.count + report.skipped.count, report.removed.failed.count);
    if missing + extra == 0 {
        return None;
    }
    let were = |count: u64| if count == 1 { "was" } else { "were" };
    let message = match (missing, extra) {
        (0, _) => {
            format!("{extra} of {} {} not deleted", extra + report.removed.deleted, were(extra))
        }
        (_, 0) => {
            let all = missing + report.copied + report.unchanged;
            format!("{missing} of {all} {} not copied", were(missing))
        }
        _ => format!("{missing} {} not copied, and {extra} not deleted", were(missing)),
    };
    let kind = if report.corrupt > 0 { FailureKind::Verification } else { FailureKind::Partial };
    let mut failure = Failure::new(kind, message);
    let problems = [&report.failed, &report.skipped, &report.removed.failed];
    let named = problems.into_iter().flat_map(|problems: &Problems| &problems.named);
    for problem in named.take(NAMED_MAX) {
        failure = failure.because(format!("{}: {}", terminal::escaped(&problem.name), problem.why));
    }
    let more = (missing + extra).saturating_sub(NAMED_MAX as u64);
    if more > 0 {
        failure = failure.because(format!("{more} more; --json names up to 1,000"));
    }
    if report.removed.is_withheld {
        failure = failure.with_hint(match report.removed.deleted {
            0 => "nothing was deleted, since not everything could be copied",
            _ => "nothing else was deleted, since not everything could be copied",
        });
    }
    Some(failure)
}

/// What a task's copy leaves out because it can be none, a line each. Errors: something of it could be, and was not copied.
pub fn left_out(report: &Report) -> Result<Vec<String>, Failure> {
    match incomplete(report) {
        Some(failure) if report.failed.count > 0 => Err(failure),
        Some(failure) => Ok(failure.causes),
        None => Ok(Vec::new()),
    }
}

/// What a copy did, in a line.
pub fn summary(report: &Report) -> String {
    told(report, "copied", "deleted")
}

/// Prints what a copy did, or would do.
pub fn print_report(report: &Report, is_json: bool, is_dry: bool) -> Result<(), Failure> {
    match (is_json, is_dry) {
        (true, _) => return copy_progress::print_summary(report, is_dry),
        (false, true) => terminal::note(&told(report, "would copy", "would delete")),
        (false, false) => terminal::note(&summary(report)),
    }
    if report.not_comparable > 0 {
        terminal::note(&format!(
            "note: the store has no checksum of {} of them that their content could be compared by, and so they were not taken for the same",
            report.not_comparable
        ));
    }
    Ok(())
}

fn told(report: &Report, copied: &str, deleted: &str) -> String {
    let files = |count: u64| format!("{count} {}", if count == 1 { "file" } else { "files" });
    let sized = |count: u64, bytes: u64| format!("{} ({})", files(count), ByteSize(bytes).human());
    let mut said = vec![format!("{copied} {}", sized(report.copied, report.copied_bytes))];
    if report.resumed_bytes > 0 {
        let (bytes, resumed) =
            (ByteSize(report.copied_bytes).human(), ByteSize(report.resumed_bytes).human());
        said[0] = format!("{copied} {} ({bytes}, {resumed} of it by an earlier run)", files(report.copied));
    }
    if report.removed.deleted > 0 {
        let removed = &report.removed;
        said.push(format!("{deleted} {}", sized(removed.deleted, removed.deleted_bytes)));
    }
    if report.unchanged > 0 {
        said.push(format!("{} unchanged", files(report.unchanged)));
    }
    if report.touched > 0 {
        said.push(format!(
            "{} of these touched since, and taken for the same by size and time, for want of a checksum in the store (sync --checksum copies them)",
            report.touched
        ));
    }
    if report.verified > 0 {
        said.push(format!("{} verified", report.verified));
    }
    if report.unverified > 0 {
        said.push(format!("{} without a checksum in the store to verify by", report.unverified));
    }
    said.join("; ")
}

/// Changes of a dry run, printed as they are told: a line each.
pub fn printed_changes(is_json: bool) -> Changes {
    Changes::new(move |change: Change| {
        let printed = match is_json {
            true => copy_progress::print_change(&change),
            false => terminal::line(&line_of(&change)),
        };
        // Nothing was begun that would have to end in good order.
        if let Err(failure) = printed {
            terminal::print_failure(&failure);
            std::process::exit(failure.kind.exit_code().into());
        }
    })
}

fn line_of(change: &Change) -> String {
    let did = match change.action {
        Action::Copy => "copy",
        Action::Delete => "delete",
    };
    let (key, size) = (terminal::shown(&change.key), ByteSize(change.size).human());
    format!("{did:6}  {key} ({size}): {}", change.why)
}

/// The first Ctrl-C or SIGTERM ends the copy in good order, a second one at once.
pub fn stop_on_signals() -> Result<CancellationToken, Failure> {
    let stop = CancellationToken::new();
    for kind in [SignalKind::interrupt(), SignalKind::terminate()] {
        let mut signals = signal(kind).map_err(|err| Failure::from_io("cannot wait for signals", &err))?;
        let stop = stop.clone();
        tokio::spawn(async move {
            signals.recv().await;
            stop.cancel();
            signals.recv().await;
            std::process::exit(FailureKind::Interrupted.exit_code().into());
        });
    }
    Ok(stop)
}

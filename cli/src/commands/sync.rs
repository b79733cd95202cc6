//! `pail sync`.

use super::copy_arguments::CopyArguments;
use super::two_buckets::TwoBuckets;
use super::uris::{hint_at_globs, prefix_of, uri_of};
use crate::copy_progress::CopyProgress;
use crate::copying::{self, Choices, Copying};
use crate::{block_on, filter_flags};
use pail_control::opening::{self, OpenBucket};
use pail_control::{CallerEnvironment, Failure, FailureKind};
use pail_transfer::{Comparison, Destination, Report, Source, UploadSource};
use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

fn examples() -> String {
    format!(
        "\
Examples:
  pail sync s3://bucket/run data                  what is below run/, to data/…
  pail sync data s3://bucket/run --delete         the other way, and what data has not is deleted below run/
  pail sync s3://bucket/run gs://other/run        from a bucket to another
  pail sync data s3://bucket/run --exclude \"*.tmp\" --dry-run

Names are as with `pail cp -r`: the content is copied, and s3://bucket/run never means runner.

A file is copied if it is not as the last run between the two places left it: its object has another version, or the file \
another size or time. Without such a run, sizes and times are compared (an object's is the one that Pail or rclone \
stored with it, else when it was written: two prefixes that were written in one second are told apart by --checksum alone). Times are the same or not; no clock is asked which is later. --checksum compares contents \
instead: local files are read, and their CRC64NVME, CRC32C, CRC32 or MD5 is compared with what the store has; what it has none of is \
copied, and counted. Between buckets, without a last run, objects are the same whose ETags are one MD5; --checksum asks both \
stores for their checksums.

--delete deletes, after everything that can be copied was copied without a failure, what the target has and the source has not, a directory that is in the place of a file among it (whole, or not at all), \
and a file in the place of a directory: nothing that the globs leave out, nor what the source has under a name that could not be copied. In a directory, symbolic links that are extra are \
deleted themselves, never what they lead to, and directories that became empty go, too; what was made or changed since the sync \
began stays. A source with nothing to copy is an error.

{}",
        filter_flags::RULES
    )
}

/// Make a directory what a prefix of a bucket is, or the other way round, or one prefix what another is
#[derive(Debug, clap::Args)]
#[command(after_help = examples())]
pub struct Arguments {
    /// s3://bucket/prefix, or its like for another store, or a directory
    source: OsString,

    /// Where to: a directory, or a URI
    target: OsString,

    /// Delete what is in the target and not in the source
    #[arg(long)]
    delete: bool,

    /// Compare contents, not sizes and times
    #[arg(long)]
    checksum: bool,

    #[command(flatten)]
    common: CopyArguments,
}

pub fn run(arguments: Arguments) -> Result<ExitCode, Failure> {
    let report = block_on(sync(&arguments))?;
    arguments.common.end(&report)
}

async fn sync(arguments: &Arguments) -> Result<Report, Failure> {
    let environment = CallerEnvironment::of_this_process();
    let shown = match (arguments.common.json, arguments.common.quiet) {
        (true, _) => CopyProgress::for_programs(),
        (_, true) => CopyProgress::quiet(),
        _ => CopyProgress::new(),
    };
    let report = |snapshot| shown.show(snapshot);
    let comparison = if arguments.checksum { Comparison::Content } else { Comparison::SizeAndTime };
    let choices = Choices { comparison, delete: arguments.delete, ..arguments.common.choices() };
    let copying =
        Copying { environment: &environment, report: &report, stop: copying::stop_on_signals()?, choices };
    match (uri_of(&arguments.source)?, uri_of(&arguments.target)?) {
        (Some(uri), None) => {
            arguments.common.source_reach.check_unused()?;
            download(arguments, &copying, uri).await
        }
        (None, Some(uri)) => {
            arguments.common.source_reach.check_unused()?;
            upload(arguments, &copying, uri).await
        }
        (Some(from), Some(to)) => between(arguments, &copying, from, to).await,
        (None, None) => Err(Failure::usage("neither the source nor the target is in a bucket")
            .with_hint("write s3://bucket/prefix for one of them; rsync syncs local directories")),
    }
}

async fn download(arguments: &Arguments, copying: &Copying<'_>, uri: &str) -> Result<Report, Failure> {
    let target = Path::new(&arguments.target);
    if target.exists() && !target.is_dir() {
        return Err(Failure::usage(format!("{} is no directory", target.display())));
    }
    let bucket = arguments.common.open_source(copying, uri).await?;
    let copied = copying.download(&bucket, &Source::Prefix(bucket.prefix.clone()), target).await;
    said_of_prefix(copied, &bucket, uri).await
}

async fn between(
    arguments: &Arguments,
    copying: &Copying<'_>,
    from: &str,
    to: &str,
) -> Result<Report, Failure> {
    let both = TwoBuckets::open(copying, (from, to), &arguments.common).await?;
    let TwoBuckets { source, target, target_path, new_objects, .. } = both;
    let (below, destination) =
        (Source::Prefix(source.prefix.clone()), Destination::Prefix(prefix_of(target_path)));
    let copied = copying.between(&source, &below, &target, &destination, &new_objects).await;
    said_of_prefix(copied, &source, from).await
}

/// What came of a copy of a prefix, told with the URI that was meant.
async fn said_of_prefix(
    copied: Result<Report, Failure>,
    bucket: &OpenBucket,
    uri: &str,
) -> Result<Report, Failure> {
    match copied {
        Err(failure) if failure.kind == FailureKind::NotFound => match bucket.object_of_that_name().await {
            Ok(Some(_)) => Err(Failure::usage(format!("{uri} is an object, not a prefix"))
                .with_hint("`pail cp` copies one object")),
            _ => {
                let failure = Failure { message: format!("nothing is below {uri}"), ..failure };
                Err(hint_at_globs(failure, uri, |prefix, glob| {
                    format!(
                        "`pail sync {prefix} TARGET --exclude \"*\" --include {glob}` syncs what it would match"
                    )
                }))
            }
        },
        copied => copied,
    }
}

async fn upload(arguments: &Arguments, copying: &Copying<'_>, uri: &str) -> Result<Report, Failure> {
    let path = opening::parse_source(uri)?.prefix;
    let source = Path::new(&arguments.source);
    let metadata = std::fs::metadata(source).map_err(|err| Failure::unreadable(source, &err))?;
    if !metadata.is_dir() {
        return Err(Failure::usage(format!("{} is no directory", source.display()))
            .with_hint("`pail cp` copies one file"));
    }
    let sources = [UploadSource { path: source.to_owned(), key: prefix_of(path) }];
    arguments.common.upload(copying, uri, &sources).await
}

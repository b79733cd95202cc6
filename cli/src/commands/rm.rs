//! `pail rm`.

use super::uris::{hint_at_globs, uri_of};
use crate::bucket_flags::Reach;
use crate::filter_flags::{self, FilterFlags};
use crate::{block_on, copying, progress, terminal};
use pail_control::opening::{self, OpenBucket};
use pail_control::quantity::ByteSize;
use pail_control::{CallerEnvironment, Failure, FailureKind};
use pail_transfer::{CancellationToken, Options, Problems, Removals, Source};
use serde::Serialize;
use std::ffi::{OsStr, OsString};
use std::io::IsTerminal;
use std::process::ExitCode;

/// How many objects a failure names.
const NAMED_MAX: usize = 20;

fn examples() -> String {
    format!(
        "\
Examples:
  pail rm s3://bucket/run/model.bin               the object
  pail rm -r s3://bucket/run                      all below run/; runner stays
  pail rm -r s3://bucket/run --exclude \"*\" --include \"*.tmp\" --dry-run

With -r it asks on a terminal, and elsewhere it refuses to empty a bucket; -y does without. What is replaced \
between the listing and the deletion stays and is named, where the store can tell. There is no way back, unless the bucket keeps versions.

{}",
        filter_flags::RULES
    )
}

/// Delete objects
#[derive(Debug, clap::Args)]
#[command(after_help = examples())]
pub struct Arguments {
    /// s3://bucket/key, or its like for another store; with -r s3://bucket/prefix
    #[arg(required = true, value_name = "URI")]
    uris: Vec<OsString>,

    /// Delete all that is below a prefix
    #[arg(short, long)]
    recursive: bool,

    /// Do not ask
    #[arg(short, long)]
    yes: bool,

    #[command(flatten)]
    filters: FilterFlags,

    /// Say what would be deleted, and delete nothing
    #[arg(short = 'n', long)]
    dry_run: bool,

    /// Print what was deleted, and what was not, as JSON; with --dry-run a line for each object, and the counts last
    #[arg(long)]
    json: bool,

    /// Print nothing but errors and the question
    #[arg(short, long, conflicts_with_all = ["json", "dry_run"])]
    quiet: bool,

    #[command(flatten)]
    reach: Reach,
}

/// One of the URIs.
struct Doomed<'a> {
    uri: &'a str,
    source: Source,
}

pub fn run(arguments: Arguments) -> Result<ExitCode, Failure> {
    let doomed = arguments.uris.iter().map(|uri| doomed(&arguments, uri)).collect::<Result<Vec<_>, _>>()?;
    if !arguments.recursive && !arguments.filters.0.is_empty() {
        return Err(Failure::usage("--include and --exclude choose from what is below a prefix")
            .with_hint("delete what is below one with -r"));
    }
    if arguments.recursive && !arguments.yes && !arguments.dry_run && !confirmed(&arguments, &doomed)? {
        terminal::note("nothing was deleted");
        return Ok(ExitCode::from(FailureKind::Other.exit_code()));
    }
    block_on(remove_all(&arguments, &doomed))
}

fn doomed<'a>(arguments: &Arguments, uri: &'a OsStr) -> Result<Doomed<'a>, Failure> {
    let Some(uri) = uri_of(uri)? else {
        return Err(Failure::usage(format!("{} is not in a bucket", uri.display()))
            .with_hint("write s3://bucket/key; rm deletes local files"));
    };
    let path = opening::parse_source(uri)?.prefix;
    if arguments.recursive {
        return Ok(Doomed { uri, source: Source::of_uri_path(&path) });
    }
    if path.is_empty() || path.ends_with('/') {
        return Err(Failure::usage(format!("{uri} is a prefix, not an object"))
            .with_hint("delete all that is below it with -r"));
    }
    Ok(Doomed { uri, source: Source::Object(copying::key_of(&path)?) })
}

/// Asks. Errors: nobody is there to answer, and a whole bucket is meant.
fn confirmed(arguments: &Arguments, doomed: &[Doomed<'_>]) -> Result<bool, Failure> {
    if !std::io::stdin().is_terminal() {
        let is_bucket = |doomed: &&Doomed<'_>| doomed.source == Source::Prefix(String::new());
        return match doomed.iter().find(is_bucket) {
            None => Ok(true),
            Some(bucket) => {
                let message = format!("{} is a whole bucket, and there is no terminal to ask on", bucket.uri);
                Err(Failure::usage(message).with_hint("-y deletes all that is in it without asking"))
            }
        };
    }
    let names: Vec<_> = doomed.iter().map(|doomed| terminal::escaped(doomed.uri)).collect();
    let all = if arguments.filters.0.is_empty() { "all that is below" } else { "what matches below" };
    terminal::confirmed(&format!("delete {all} {}? There is no way back.", names.join(", ")))
}

async fn remove_all(arguments: &Arguments, doomed: &[Doomed<'_>]) -> Result<ExitCode, Failure> {
    let environment = CallerEnvironment::of_this_process();
    let stop = copying::stop_on_signals()?;
    let (mut all, mut failures, mut missed) = (Removals::default(), Vec::new(), Problems::default());
    for one in doomed {
        let removing = remove_one(arguments, one, &environment, &stop);
        let removed = match arguments.quiet {
            true => removing.await,
            false => {
                progress::while_waiting(&format!("deleting {}", terminal::escaped(one.uri)), removing).await
            }
        };
        match removed {
            Ok(removals) => all.extend(removals),
            Err(failure) if failure.kind == FailureKind::Interrupted => return Err(failure),
            Err(failure) => {
                missed.add(terminal::escaped(one.uri), failure.message.clone());
                failures.push(failure);
            }
        }
    }
    if failures.is_empty() || all.deleted > 0 || arguments.json {
        print(arguments, &all, missed)?;
    }
    failures.extend(not_deleted(&all));
    // The last one is printed by who called.
    let Some(last) = failures.pop() else { return Ok(ExitCode::SUCCESS) };
    if failures.is_empty() && (doomed.len() == 1 || all.deleted == 0) {
        return Err(last);
    }
    let kind = failures.first().map_or(last.kind, |first| first.kind);
    failures.iter().for_each(terminal::print_failure);
    let kind = if all.deleted > 0 { FailureKind::Partial } else { kind };
    Err(Failure { kind, ..last })
}

async fn remove_one(
    arguments: &Arguments,
    doomed: &Doomed<'_>,
    environment: &CallerEnvironment,
    stop: &CancellationToken,
) -> Result<Removals, Failure> {
    let settings = arguments.reach.settings();
    let address = arguments.reach.address(doomed.uri, &settings);
    let open: OpenBucket = tokio::select! {
        opened = opening::open_bucket(address, environment, opening::OpeningOptions::for_copy(false)) => opened?,
        () = stop.cancelled() => return Err(copying::failure_of(pail_transfer::Error::Stopped)),
    };
    let options = Options {
        filters: arguments.filters.0.clone(),
        dry_run: arguments.dry_run.then(|| copying::printed_changes(arguments.json)),
        stop: stop.clone(),
        ..Options::default()
    };
    pail_transfer::remove(open.store.clone(), &doomed.source, &options).await.map_err(|error| {
        let is_prefix = matches!(error, pail_transfer::Error::IsPrefix { .. });
        let failure = copying::failure_of(error);
        if is_prefix {
            return failure.with_hint("delete all that is below it with -r");
        }
        hint_at_globs(failure, doomed.uri, |prefix, glob| {
            format!("`pail rm -r {prefix} --exclude \"*\" --include {glob}` deletes what it would match, and says so first with --dry-run")
        })
    })
}

/// `--json`.
#[derive(Serialize)]
struct Printed {
    dry_run: bool,
    deleted: u64,
    deleted_bytes: u64,
    failed: Problems,
}

/// `missed`: what of the arguments came to nothing at all.
fn print(arguments: &Arguments, removals: &Removals, missed: Problems) -> Result<(), Failure> {
    let (deleted, deleted_bytes) = (removals.deleted, removals.deleted_bytes);
    if arguments.json {
        let mut failed = missed;
        failed.extend(removals.failed.clone());
        return terminal::json_line(&Printed { dry_run: arguments.dry_run, deleted, deleted_bytes, failed });
    }
    let did = if arguments.dry_run { "would delete" } else { "deleted" };
    if arguments.quiet {
        return Ok(());
    }
    let objects = if deleted == 1 { "object" } else { "objects" };
    terminal::note(&format!("{did} {deleted} {objects} ({})", ByteSize(deleted_bytes).human()));
    Ok(())
}

fn not_deleted(removals: &Removals) -> Option<Failure> {
    let count = removals.failed.count;
    if count == 0 {
        return None;
    }
    let were = if count == 1 { "was" } else { "were" };
    let message = format!("{count} of {} {were} not deleted", count + removals.deleted);
    let mut failure = Failure::new(FailureKind::Partial, message);
    for problem in removals.failed.named.iter().take(NAMED_MAX) {
        failure = failure.because(format!("{}: {}", terminal::escaped(&problem.name), problem.why));
    }
    let more = count.saturating_sub(NAMED_MAX as u64);
    Some(if more > 0 { failure.because(format!("{more} more; --json names up to 1,000")) } else { failure })
}

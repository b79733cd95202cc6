//! `pail cp`.

mod between;
mod streams;

use super::copy_arguments::CopyArguments;
use super::uris::{hint_at_globs, is_directory_s, prefix_of, uri_of};
use crate::copy_progress::CopyProgress;
use crate::copying::{self, Copying};
use crate::{block_on, filter_flags, terminal};
use pail_control::opening;
use pail_control::{CallerEnvironment, Failure, FailureKind};
use pail_transfer::{Report, Source, UploadSource};
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// How many symbolic links Linux follows (path_resolution(7)).
const LINKS_MAX: usize = 40;

/// The rules by which names are made, below `pail cp --help`.
fn examples() -> String {
    format!("{EXAMPLES}\n\n{}", filter_flags::RULES)
}

const EXAMPLES: &str = "\
Examples:
  pail cp s3://bucket/run/model.bin .            the object, to ./model.bin
  pail cp s3://bucket/run/model.bin other.bin    the object, to that file
  pail cp -r s3://bucket/run data                what is below run/, to data/…
  pail cp model.bin s3://bucket/run/             to run/model.bin
  pail cp model.bin s3://bucket/run              to the object run
  pail cp -r data s3://bucket/run                what is in data, to run/…
  pail cp -r s3://bucket/run gs://other/run      what is below run/, to run/… there
  pail cp -r s3://bucket/logs . --exclude \"*\" --include \"*.gz\"   some of it: a * in a URI is a character like others
  tar c data | pail cp - s3://bucket/data.tar    standard input, to the object
  pail cp s3://bucket/data.tar - | tar x         the object, to standard output

A file goes to the name that is given, or under its own into a directory: one that exists, or a name that ends \
in /. With -r it is the content that is copied, without the directory's own name, whether the target is there or \
not and whether names end in / or not; repeated, it copies to the same place. s3://bucket/foo never means \
foobar.

What is interrupted is gone on with by the same command, within a file, too: files in parts stay beside their place \
as .NAME.pail-parts-…, until then. Bytes are compared with the checksum that the store has of the object, where it \
has one; what is damaged twice gets no name, and the exit code is 7.

What was copied before is not sent again while the object has its version, and the file its size and time. Nothing is deleted. Keys that cannot be \
files (a//b, ../x, a beside a/b) and files that cannot be objects are named; the rest is copied, and the exit \
code is 5. Symbolic links in a directory that is sent are followed (--no-follow-symlinks leaves them out); those in a directory that is written are not. \
Empty directories have no object. Times and permissions are kept in the objects' metadata (mtime, mode).

Standard input is sent in parts as it comes, up to 156 GiB, and becomes an object at its end: what ends early by a failure of its writer is taken for all of it (bash's pipefail tells). \
An object on its way to standard output is compared with its checksum at the end; where that is another, the exit code is 7, and what reads it has had wrong bytes.

Between buckets every key is taken over as it is, with content type, metadata and the like. A store copies by itself within a bucket, \
and between buckets of one endpoint where the target's credentials may read the source; else the bytes pass through this machine, in no file.";

/// Copy files from a bucket, to one, or between two
#[derive(Debug, clap::Args)]
#[command(after_help = examples())]
pub struct Arguments {
    /// s3://bucket/key, or its like for another store, a local file, or - for standard input; with -r s3://bucket/prefix, or a directory
    source: OsString,

    /// Where to: a local file or directory, a URI, or - for standard output
    target: OsString,

    /// Copy all that is below a prefix, or in a directory
    #[arg(short, long)]
    recursive: bool,

    #[command(flatten)]
    common: CopyArguments,
}

pub fn run(arguments: Arguments) -> Result<ExitCode, Failure> {
    if !arguments.recursive && !arguments.common.filters.0.is_empty() {
        return Err(Failure::usage(
            "--include and --exclude choose from what is below a prefix, or in a directory",
        )
        .with_hint("copy all of it with -r"));
    }
    let report = block_on(copy(&arguments))?;
    arguments.common.end(&report)
}

impl Arguments {
    /// For what is one object. Errors: it cannot be chosen from.
    fn check_no_filters(&self, uri: &str) -> Result<(), Failure> {
        match self.common.filters.0.is_empty() {
            true => Ok(()),
            false => Err(Failure::new(FailureKind::NotFound, format!("nothing is below {uri}"))
                .with_hint("--include and --exclude choose from what is below a prefix")),
        }
    }
}

async fn copy(arguments: &Arguments) -> Result<Report, Failure> {
    let environment = CallerEnvironment::of_this_process();
    let is_stream = [&arguments.source, &arguments.target].map(|it| it == "-");
    let shown = match (arguments.common.json, arguments.common.quiet, is_stream[1]) {
        (true, _, _) => CopyProgress::for_programs(),
        (_, true, _) => CopyProgress::quiet(),
        (_, _, true) => CopyProgress::beside_bytes(),
        _ => CopyProgress::new(),
    };
    let report = |snapshot| shown.show(snapshot);
    let choices = arguments.common.choices();
    let copying =
        Copying { environment: &environment, report: &report, stop: copying::stop_on_signals()?, choices };
    if is_stream.contains(&true) {
        return streams::copy(arguments, &copying).await;
    }
    match (uri_of(&arguments.source)?, uri_of(&arguments.target)?) {
        (Some(uri), None) => {
            arguments.common.source_reach.check_unused()?;
            download(arguments, &copying, uri).await
        }
        (None, Some(uri)) => {
            arguments.common.source_reach.check_unused()?;
            upload(arguments, &copying, uri).await
        }
        (Some(from), Some(to)) => between::copy(arguments, &copying, from, to).await,
        (None, None) => Err(Failure::usage("neither the source nor the target is in a bucket")
            .with_hint("write s3://bucket/key for one of them; cp copies local files")),
    }
}

async fn download(arguments: &Arguments, copying: &Copying<'_>, uri: &str) -> Result<Report, Failure> {
    let path = opening::parse_source(uri)?.prefix;
    let is_directory_s = is_directory_s(&path);
    if is_directory_s && !arguments.recursive {
        return Err(Failure::usage(format!("{uri} is a prefix, not an object"))
            .with_hint("copy all that is below it with -r"));
    }
    let bucket = arguments.common.open_source(copying, uri).await?;
    let target = Path::new(&arguments.target);
    let has_content = !bucket.first_page.objects.is_empty() || !bucket.first_page.prefixes.is_empty();
    if arguments.recursive && (has_content || is_directory_s) {
        if target.exists() && !target.is_dir() {
            return Err(Failure::usage(format!("{} is no directory", target.display())));
        }
        let copied = copying.download(&bucket, &Source::of_uri_path(&path), target).await;
        return copied.map_err(|failure| nothing_below(failure, uri));
    }
    arguments.check_no_filters(uri)?;
    let key = copying::key_of(&path)?;
    let target = file_target(target, key.as_str())?;
    let copied = copying.download(&bucket, &Source::Object(key), &target).await;
    copied.map_err(|failure| with_hint_at_globs(failure, uri))
}

fn nothing_below(failure: Failure, uri: &str) -> Failure {
    match failure.kind {
        FailureKind::NotFound => {
            with_hint_at_globs(Failure { message: format!("nothing is below {uri}"), ..failure }, uri)
        }
        _ => failure,
    }
}

/// What is not there may have been meant as a glob.
fn with_hint_at_globs(failure: Failure, uri: &str) -> Failure {
    hint_at_globs(failure, uri, |prefix, glob| {
        format!("`pail cp -r {prefix} TARGET --exclude \"*\" --include {glob}` copies what it would match")
    })
}

/// Whether a path leads through a descriptor of a process, as /dev/stdout and /dev/fd/3 do.
fn is_descriptor(path: &Path) -> bool {
    let mut path = path.to_owned();
    for _ in 0..LINKS_MAX {
        let Some((parent, name)) = path.parent().zip(path.file_name()) else { return false };
        let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        let Ok(parent) = std::fs::canonicalize(parent) else { return false };
        if parent.starts_with("/proc") && parent.ends_with("fd") {
            return true;
        }
        match std::fs::read_link(parent.join(name)) {
            Ok(link) => path = parent.join(link),
            Err(_) => return false,
        }
    }
    false
}

/// The file that an object becomes. Errors: its key's last component cannot be a file's name.
fn file_target(target: &Path, key: &str) -> Result<PathBuf, Failure> {
    if !target.as_os_str().as_bytes().ends_with(b"/") && !target.is_dir() {
        if is_descriptor(target) {
            return Err(Failure::usage(format!(
                "{} is a file that this process has open, and would be replaced",
                target.display()
            ))
            .with_hint("- is standard output"));
        }
        // A link that was named is written through; those below a directory are not followed.
        let target = std::fs::canonicalize(target).unwrap_or_else(|_| target.to_owned());
        return match target.metadata() {
            Ok(found) if !found.is_file() => Err(Failure::usage(format!(
                "{} is a device, a pipe or a socket, and not a file",
                target.display()
            ))),
            _ => Ok(target),
        };
    }
    let name = pail_transfer::base_name(key).map_err(|err| {
        Failure::usage(format!("{} cannot be a file's name", terminal::escaped(key)))
            .because(err.to_string())
            .with_hint("give the file's name as the target")
    })?;
    Ok(target.join(name))
}

async fn upload(arguments: &Arguments, copying: &Copying<'_>, uri: &str) -> Result<Report, Failure> {
    let path = opening::parse_source(uri)?.prefix;
    let source = Path::new(&arguments.source);
    let metadata = std::fs::metadata(source).map_err(|err| Failure::unreadable(source, &err))?;
    let is_directory_s = is_directory_s(&path);
    let sources = if metadata.is_dir() {
        if !arguments.recursive {
            return Err(Failure::usage(format!("{} is a directory", source.display()))
                .with_hint("copy what is in it with -r"));
        }
        copying::content_of(source, &prefix_of(path))?
    } else if is_directory_s {
        copying::content_of(source, &path)?
    } else {
        vec![UploadSource { path: source.to_owned(), key: path }]
    };
    arguments.common.upload(copying, uri, &sources).await
}

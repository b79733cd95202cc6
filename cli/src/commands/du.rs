//! `pail du`.

use super::uris::{hint_at_globs, uri_of};
use crate::bucket_flags::Reach;
use crate::{block_on, copying, progress, terminal};
use pail_control::opening;
use pail_control::quantity::ByteSize;
use pail_control::{CallerEnvironment, Failure};
use pail_transfer::{Measured, Source, Usage};
use serde::Serialize;
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::ExitCode;

/// Count objects and bytes, by a listing
///
/// Of a local directory, what `pail cp -r` would send of it. Uploads that are not complete, and old versions, are not counted.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// A bucket, such as s3://BUCKET, gs://BUCKET, r2://BUCKET, cos://REGION/BUCKET or az://ACCOUNT/CONTAINER; a directory in it, or an object; or a local path
    #[arg(required = true, value_name = "URI")]
    uris: Vec<OsString>,

    /// Count each directory, too, down to this depth
    #[arg(short, long, value_name = "N", default_value_t = 0)]
    depth: usize,

    /// Bytes, in place of sizes like 1.5 MiB
    #[arg(short, long)]
    bytes: bool,

    /// Print a JSON object for each line
    #[arg(long, conflicts_with = "bytes")]
    json: bool,

    #[command(flatten)]
    reach: Reach,
}

/// A line of `--json`.
#[derive(Debug, Serialize)]
struct Row<'a> {
    uri: &'a str,
    #[serde(flatten)]
    usage: Usage,
}

pub fn run(arguments: Arguments) -> Result<ExitCode, Failure> {
    for uri in &arguments.uris {
        let measured = block_on(measure(&arguments, uri))?;
        print(&arguments, &uri.to_string_lossy(), &measured)?;
    }
    terminal::flush()?;
    Ok(ExitCode::SUCCESS)
}

async fn measure(arguments: &Arguments, named: &OsStr) -> Result<Measured, Failure> {
    let Some(uri) = uri_of(named)? else {
        return pail_transfer::measure_local(Path::new(named), arguments.depth)
            .await
            .map_err(copying::failure_of);
    };
    // As in `pail ls`, a slash at the end says nothing.
    let path = opening::parse_source(uri)?.prefix;
    let source = Source::of_uri_path(path.trim_end_matches('/'));
    let environment = CallerEnvironment::of_this_process();
    let settings = arguments.reach.settings();
    let address = arguments.reach.address(uri, &settings);
    let measuring = async {
        let bucket =
            opening::open_bucket(address, &environment, opening::OpeningOptions::listing(true)).await?;
        let measured = pail_transfer::measure(bucket.store.clone(), &source, arguments.depth).await;
        measured.map_err(|error| {
            hint_at_globs(copying::failure_of(error), uri, |prefix, glob| {
                format!("`pail cp -r {prefix} . --exclude \"*\" --include {glob} --dry-run` counts what it would match")
            })
        })
    };
    progress::while_waiting(&format!("listing {}", terminal::escaped(uri)), measuring).await
}

fn print(arguments: &Arguments, uri: &str, measured: &Measured) -> Result<(), Failure> {
    let base = uri.trim_end_matches('/');
    for (name, usage) in &measured.below {
        print_row(arguments, &format!("{base}/{name}"), *usage)?;
    }
    print_row(arguments, uri, measured.total)?;
    if measured.names_too_long > 0 {
        terminal::note(&format!(
            "note: {} more in {uri} have names that are longer than any that can be asked for, and are not counted",
            measured.names_too_long
        ));
    }
    if measured.not_counted > 0 {
        terminal::note(&format!(
            "note: {} in {uri} cannot be read, or cannot be objects, and are not counted",
            measured.not_counted
        ));
    }
    Ok(())
}

fn print_row(arguments: &Arguments, uri: &str, usage: Usage) -> Result<(), Failure> {
    if arguments.json {
        return terminal::json_line(&Row { uri, usage });
    }
    let Usage { objects, bytes } = usage;
    let size = if arguments.bytes { bytes.to_string() } else { ByteSize(bytes).human() };
    let count = format!("{objects} {}", if objects == 1 { "object" } else { "objects" });
    terminal::line(&format!("{size:>14}  {count:>16}  {}", terminal::shown(uri)))
}

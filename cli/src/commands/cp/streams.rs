//! `pail cp` from standard input and to standard output.

use super::{Arguments, with_hint_at_globs};
use crate::commands::uris::{is_directory_s, uri_of};
use crate::copying::{self, Copying};
use pail_control::Failure;
use pail_control::opening;
use pail_store::RawKey;
use pail_transfer::Report;

/// Copies between an object and the stream that `-` is.
pub(super) async fn copy(arguments: &Arguments, copying: &Copying<'_>) -> Result<Report, Failure> {
    arguments.common.source_reach.check_unused()?;
    if arguments.recursive || arguments.common.dry_run {
        return Err(Failure::usage("a stream is one object: -r and --dry-run are for files"));
    }
    let is_input = arguments.source == "-";
    let named = if is_input { &arguments.target } else { &arguments.source };
    let uri = match named == "-" {
        true => None,
        false => uri_of(named)?,
    };
    let uri = uri.ok_or_else(|| {
        Failure::usage("- is standard input or output, and the other side must be an object")
            .with_hint("write s3://bucket/key; a file of that name is ./-")
    })?;
    if !is_input && arguments.common.json {
        return Err(Failure::usage("standard output cannot have the object's bytes and JSON"));
    }
    let key = key_of(uri)?;
    if is_input {
        let bucket = arguments.common.open_target(copying, uri).await?;
        return copying.upload_input(&bucket, &key).await;
    }
    let bucket = arguments.common.open_source(copying, uri).await?;
    let copied = copying.download_output(&bucket, &key).await;
    copied.map_err(|failure| with_hint_at_globs(failure, uri))
}

fn key_of(uri: &str) -> Result<RawKey, Failure> {
    let path = opening::parse_source(uri)?.prefix;
    match is_directory_s(&path) {
        true => Err(Failure::usage(format!("{uri} is a prefix, not an object"))
            .with_hint("a stream has no name: write that of the object")),
        false => copying::key_of(&path),
    }
}

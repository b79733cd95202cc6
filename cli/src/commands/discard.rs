//! `pail discard`.

use super::mount::absolute;
use crate::{block_on, daemon, terminal};
use pail_control::command_line::word;
use pail_control::once;
use pail_control::quantity::ByteSize;
use pail_control::types::{DiscardReport, DiscardRequest, StillOpen};
use pail_control::{Failure, FailureKind};
use pail_store::{BucketUri, StoreKind};
use std::path::PathBuf;
use std::process::ExitCode;

/// Give up files that could not be published, or were left behind by a mount that is gone
///
/// `pail status` names them, and where they are on this node's disk. Their bytes are nowhere else; what the bucket has stays, and is what
/// the mount shows then. A daemon that was killed, or a mount that was given up by force, leaves files behind. A file of which all bytes are there is kept by copying it to its place in a mount first; of one of which only a part
/// is there, take what is needed out of it.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The local file, as `pail status` shows it
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,

    /// Print what was done as JSON
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: Arguments) -> Result<ExitCode, Failure> {
    let files = arguments.files.iter().map(|file| absolute(file)).collect::<Result<_, _>>()?;
    let report = block_on(discard(DiscardRequest { files }))?;
    if arguments.json {
        terminal::json(&report)?;
    } else {
        for file in &report.discarded {
            let size = ByteSize(file.size_bytes).human();
            terminal::line(&format!("discarded {size} of {}", terminal::shown(&file.object)))?;
        }
        report.uploads.iter().for_each(print_open);
        report.failures.iter().for_each(terminal::print_failure);
    }
    Ok(match report.failures.first() {
        None => ExitCode::SUCCESS,
        Some(_) if !report.discarded.is_empty() => ExitCode::from(FailureKind::Partial.exit_code()),
        Some(failure) => ExitCode::from(failure.kind.exit_code()),
    })
}

/// Tells of an upload whose parts cost storage, and which nobody here may abort without the bucket's keys.
fn print_open(upload: &StillOpen) {
    let object = terminal::escaped(&upload.object);
    terminal::note(&format!(
        "note: an upload of {object} may still be open in the bucket; the next mount of it aborts it"
    ));
    let object = upload.object.parse::<BucketUri>().ok().filter(|object| object.kind == StoreKind::S3);
    if let (Some(id), Some(BucketUri { bucket, prefix: key, .. })) = (&upload.upload_id, object) {
        let endpoint = upload.endpoint_url.as_ref().map(|url| format!(" --endpoint-url {}", word(url)));
        terminal::note(&format!(
            "hint: without a mount: aws s3api abort-multipart-upload --bucket {bucket} --key {} --upload-id {}{}",
            word(&key),
            word(id),
            endpoint.unwrap_or_default()
        ));
    }
}

async fn discard(request: DiscardRequest) -> Result<DiscardReport, Failure> {
    match daemon::running().await {
        Ok((client, _)) => client.discard(&request).await,
        Err(failure) if failure.kind == FailureKind::NotRunning => once::discard(&request),
        Err(failure) => Err(failure),
    }
}

//! What `pail cp` and `pail sync` take alike.
//!
//! Owns: [`CopyArguments`]: which files, how they are reached and made, what is shown meanwhile, and what the command ends with.

use crate::bucket_flags::{NewObjectFlags, Reach, SourceReach};
use crate::copy_flags::CopyFlags;
use crate::copying::{self, Choices, Copying};
use crate::filter_flags::FilterFlags;
use pail_control::Failure;
use pail_control::opening::OpenBucket;
use pail_transfer::{Report, UploadSource};
use std::process::ExitCode;

/// The options after those that a command has by itself.
#[derive(Debug, clap::Args)]
pub(super) struct CopyArguments {
    #[command(flatten)]
    pub filters: FilterFlags,

    /// Say what would be done, and why, and change nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,

    /// Print JSON objects, a line each: how far it is every second ({"event":"progress",…}), with --dry-run each change ({"event":"change",…}),
    /// and at the end what was done and what was not ({"event":"summary",…})
    #[arg(long)]
    pub json: bool,

    /// Print nothing but errors
    #[arg(short, long, conflicts_with_all = ["json", "dry_run"])]
    pub quiet: bool,

    #[command(flatten)]
    pub flags: CopyFlags,

    #[command(flatten)]
    pub reach: Reach,

    #[command(flatten)]
    pub source_reach: SourceReach,

    #[command(flatten)]
    pub new_objects: NewObjectFlags,

    /// Create the target's bucket where it is missing
    #[arg(long)]
    pub create: bool,
}

impl CopyArguments {
    /// What of the source is copied, and how.
    pub fn choices(&self) -> Choices {
        Choices {
            filters: self.filters.0.clone(),
            dry_run: self.dry_run.then(|| copying::printed_changes(self.json)),
            flags: self.flags,
            ..Choices::default()
        }
    }

    /// Opens the bucket that is read.
    pub async fn open_source(&self, copying: &Copying<'_>, uri: &str) -> Result<OpenBucket, Failure> {
        copying.open(self.reach.address(uri, &self.reach.settings()), false).await
    }

    /// Opens the bucket that new objects are made in.
    pub async fn open_target(&self, copying: &Copying<'_>, uri: &str) -> Result<OpenBucket, Failure> {
        let settings = self.new_objects.on(self.reach.settings());
        copying.open(self.reach.address(uri, &settings), self.create).await
    }

    /// Sends local files to the bucket of a URI.
    pub async fn upload(
        &self,
        copying: &Copying<'_>,
        uri: &str,
        sources: &[UploadSource],
    ) -> Result<Report, Failure> {
        let settings = self.new_objects.on(self.reach.settings());
        copying.upload_sources(self.reach.address(uri, &settings), self.create, sources, None).await
    }

    /// Prints what came of it. Errors: some of it was not done.
    pub fn end(&self, report: &Report) -> Result<ExitCode, Failure> {
        if !self.quiet {
            copying::print_report(report, self.json, self.dry_run)?;
        }
        match copying::incomplete(report) {
            Some(failure) => Err(failure),
            None => Ok(ExitCode::SUCCESS),
        }
    }
}

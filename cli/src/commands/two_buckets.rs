//! Two buckets, where objects of one are copied to the other.
//!
//! Owns: [`TwoBuckets`], both open, each reached by its own options.

use super::copy_arguments::CopyArguments;
use crate::copying::{Copying, new_objects_of};
use pail_control::Failure;
use pail_control::opening::{self, OpenBucket};

/// The buckets of a copy, and the paths in their URIs.
pub(super) struct TwoBuckets {
    pub source: OpenBucket,
    pub source_path: String,
    pub target: OpenBucket,
    pub target_path: String,
    /// How the target makes new objects.
    pub new_objects: String,
}

impl TwoBuckets {
    /// Opens both; `create` makes the target's where it is missing. Errors: a URI that is none; as of [`Copying::open`].
    pub async fn open(
        copying: &Copying<'_>,
        (from, to): (&str, &str),
        arguments: &CopyArguments,
    ) -> Result<Self, Failure> {
        let (from_parsed, to_parsed) = (opening::parse_source(from)?, opening::parse_source(to)?);
        let source_reach =
            arguments.source_reach.beside(&arguments.reach, from_parsed.kind == to_parsed.kind);
        let settings = source_reach.settings();
        let source = copying.open(source_reach.address(from, &settings), false).await?;
        let settings = arguments.new_objects.on(arguments.reach.settings());
        let target = copying.open(arguments.reach.address(to, &settings), arguments.create).await?;
        let new_objects = new_objects_of(&settings);
        let (source_path, target_path) = (from_parsed.prefix, to_parsed.prefix);
        Ok(Self { source, source_path, target, target_path, new_objects })
    }
}

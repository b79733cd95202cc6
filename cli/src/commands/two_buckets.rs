//! Two buckets, where objects of one are copied to the other.
//!
//! Owns: [`TwoBuckets`], both open, each reached by its own options.

use crate::bucket_flags::{NewObjectFlags, Reach, SourceReach};
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
        (source_reach, reach): (&SourceReach, &Reach),
        (new_objects, create): (&NewObjectFlags, bool),
    ) -> Result<Self, Failure> {
        let (from_parsed, to_parsed) = (opening::parse_source(from)?, opening::parse_source(to)?);
        let source_reach = source_reach.beside(reach, from_parsed.kind == to_parsed.kind);
        let settings = source_reach.settings();
        let source = copying.open(source_reach.address(from, &settings), false).await?;
        let settings = new_objects.on(reach.settings());
        let target = copying.open(reach.address(to, &settings), create).await?;
        let new_objects = new_objects_of(&settings);
        let (source_path, target_path) = (from_parsed.prefix, to_parsed.prefix);
        Ok(Self { source, source_path, target, target_path, new_objects })
    }
}

/// Whether a URI's path is one of a directory: a bucket's root, or one that ends in `/`.
pub(super) fn is_directory_s(path: &str) -> bool {
    path.is_empty() || path.ends_with('/')
}

/// What keys begin with that are below a path.
pub(super) fn prefix_of(path: String) -> String {
    if is_directory_s(&path) { path } else { format!("{path}/") }
}

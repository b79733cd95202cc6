//! `pail cp` from a bucket to a bucket.

use super::{Arguments, nothing_below};
use crate::commands::two_buckets::TwoBuckets;
use crate::commands::uris::{is_directory_s, prefix_of};
use crate::copying::{self, Copying};
use pail_control::Failure;
use pail_control::opening;
use pail_transfer::{Destination, Report, Source};

/// Copies what is at one URI to another.
pub(super) async fn copy(
    arguments: &Arguments,
    copying: &Copying<'_>,
    from: &str,
    to: &str,
) -> Result<Report, Failure> {
    if is_directory_s(&opening::parse_source(from)?.prefix) && !arguments.recursive {
        return Err(Failure::usage(format!("{from} is a prefix, not an object"))
            .with_hint("copy all that is below it with -r"));
    }
    let both = TwoBuckets::open(copying, (from, to), &arguments.common).await?;
    let TwoBuckets { source, source_path, target, target_path, new_objects } = both;
    let has_content = !source.first_page.objects.is_empty() || !source.first_page.prefixes.is_empty();
    if arguments.recursive && (has_content || is_directory_s(&source_path)) {
        let destination = Destination::Prefix(prefix_of(target_path));
        let below = Source::of_uri_path(&source_path);
        let copied = copying.between(&source, &below, &target, &destination, &new_objects).await;
        return copied.map_err(|failure| nothing_below(failure, from));
    }
    arguments.check_no_filters(from)?;
    let destination = match is_directory_s(&target_path) {
        true => Destination::Prefix(target_path),
        false => Destination::Object(copying::key_of(&target_path)?),
    };
    let object = Source::Object(copying::key_of(&source_path)?);
    copying.between(&source, &object, &target, &destination, &new_objects).await
}

//! What Cloudflare R2 does in its own way, with the quirk [`r2`](crate::Quirks::r2).
//!
//! Owns: its regions, and what it refuses because it does not have it.
//! Source: Cloudflare R2 documentation, "S3 API compatibility", "Multipart upload", "Extensions"; the messages are those that clients were seen
//! to report.

use crate::call::Call;
use crate::error::S3Error;
use crate::operation::Operation;

/// What a signature may name; `us-east-1` and nothing stand for `auto`.
const REGIONS: [&str; 9] = ["auto", "us-east-1", "", "wnam", "enam", "weur", "eeur", "apac", "oc"];

/// Headers whose presence is refused.
const HEADERS_REFUSED: [&str; 7] = [
    "x-amz-tagging",
    "x-amz-tagging-directive",
    "x-amz-acl",
    "x-amz-grant-full-control",
    "x-amz-grant-read",
    "x-amz-server-side-encryption-aws-kms-key-id",
    "x-amz-website-redirect-location",
];

/// Errors: `InvalidRegionName`.
pub(crate) fn check_region(signed: &str) -> Result<(), S3Error> {
    if REGIONS.contains(&signed) {
        return Ok(());
    }
    Err(S3Error::new(
        400,
        "InvalidRegionName",
        format!(
            "The region name '{signed}' is not valid. Must be one of: wnam, enam, weur, eeur, apac, oc, auto"
        ),
    ))
}

/// The error of what it does not have.
pub(crate) fn missing(call: &Call, operation: Operation) -> Option<S3Error> {
    let tagging = matches!(
        operation,
        Operation::GetObjectTagging
            | Operation::PutObjectTagging
            | Operation::DeleteObjectTagging
            | Operation::RestoreObject
    );
    if tagging {
        return Some(S3Error::not_implemented(format!("{} not implemented", operation.name())));
    }
    let header = HEADERS_REFUSED.into_iter().find_map(|name| Some((name, call.header(name)?)));
    let class = call
        .header("x-amz-storage-class")
        .filter(|class| !matches!(*class, "STANDARD" | "STANDARD_IA"))
        .map(|class| ("x-amz-storage-class", class));
    let (name, value) = header.or(class)?;
    Some(S3Error::not_implemented(format!("Header '{name}' with value '{value}' not implemented")))
}

//! Checksums as they stand in headers.
//!
//! Owns: [`checksum_in`], what an answer says of a whole object, and which checksum a write is sent with.
//!
//! # What is checked
//! - PutObject of bytes in memory carries their checksum: CRC64NVME where the endpoint knows it, else CRC32C, which others ignore. One that
//!   refuses it gets the object once more without, and no checksum any more.
//! - A part's CRC64NVME is made while it is sent, at no second read, and compared with what the server says it got, where it says so (Amazon
//!   S3 does: CRC64NVME is what it adds to what came without). Where all parts have one, the completion carries that of the whole.
//! - Reads of whole objects ask for what is stored and check it (`http::reading`). A range has no checksum: what is read in pieces is not
//!   checked here, but by who puts the pieces together, as copies do.
//!
//! Source: Amazon S3 User Guide, "Checking object integrity in Amazon S3".

use super::Pipeline;
use super::etag::version_in;
use super::meta::text;
use crate::contract::{Checksum, Error, ErrorKind, RawKey, Result};
use crate::http::pipeline::Answer;
use http::HeaderMap;

pub(super) const CRC64NVME: &str = "x-amz-checksum-crc64nvme";
pub(super) const CRC32C: &str = "x-amz-checksum-crc32c";
const CRC32: &str = "x-amz-checksum-crc32";

/// The checksum of the whole object; `None` for one of its parts' checksums ("composite"). A value of that kind ends in their count, but servers leave that and the
/// type away: of an object in parts, what is not called one of the whole is none, but for CRC64NVME, which has no other.
pub(super) fn checksum_in(headers: &HeaderMap) -> Option<Checksum> {
    let read = |name, parse: fn(&str) -> Option<Checksum>| text(headers, name).and_then(parse);
    let crc32 =
        || read(CRC32C, Checksum::crc32c_from_base64).or_else(|| read(CRC32, Checksum::crc32_from_base64));
    match text(headers, "x-amz-checksum-type") {
        Some(kind) if kind.eq_ignore_ascii_case("COMPOSITE") => None,
        None if is_of_parts(headers) => read(CRC64NVME, Checksum::crc64_from_base64),
        _ => read(CRC64NVME, Checksum::crc64_from_base64).or_else(crc32),
    }
}

/// Whether the ETag ends in a count of parts.
fn is_of_parts(headers: &HeaderMap) -> bool {
    let version = version_in(headers);
    let count = version.etag().and_then(|etag| etag.rsplit_once('-')).map(|(_, count)| count);
    count.is_some_and(|count| !count.is_empty() && count.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The header for bytes that are sent at once.
pub(super) fn header_of(bytes: &[u8], knows_crc64: bool) -> (&'static str, String) {
    match knows_crc64 {
        true => (CRC64NVME, Checksum::crc64_of(bytes).to_base64()),
        false => (CRC32C, Checksum::crc32c_of(bytes).to_base64()),
    }
}

/// Whether a write was refused for the checksum that it came with: what the server does not know it calls a request that is wrong, or lacks.
pub(super) fn is_about_checksum(error: &Error) -> bool {
    error.kind == ErrorKind::Unsupported
        && match error.code.as_deref() {
            None | Some("InvalidRequest" | "InvalidArgument" | "NotImplemented" | "InvalidHeader") => true,
            Some(_) => error.message.to_ascii_lowercase().contains("checksum"),
        }
}

/// Compares what the server says it got with what was sent; gives the checksum of that, where it was made. Errors: `Corrupt`.
pub(super) fn check_sent(
    pipeline: &Pipeline,
    operation: &'static str,
    key: &RawKey,
    answer: &Answer,
) -> Result<Option<Checksum>> {
    let sent = answer.sent_crc64.map(Checksum::Crc64Nvme);
    let got = text(&answer.headers, CRC64NVME).and_then(Checksum::crc64_from_base64);
    match (sent, got) {
        (Some(sent), Some(got)) if sent != got => {
            let message = format!(
                "it was damaged on its way: the server got bytes of the CRC64NVME {}, and {} was sent",
                got.to_base64(),
                sent.to_base64()
            );
            Err(Error {
                maybe_applied: true,
                ..pipeline.error(operation, Some(key), ErrorKind::Corrupt, message)
            })
        }
        _ => Ok(sent),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn a_checksum_of_checksums_is_none_of_the_whole() {
        let of = |headers: &[(&'static str, &'static str)]| {
            let values =
                headers.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)));
            checksum_in(&values.collect())
        };
        let crc32 = ("x-amz-checksum-crc32", "4waSgw==");
        let crc64 = (CRC64NVME, "AAAAAAAAAAc=");
        let (whole, in_parts) = (("etag", "\"0cc175b9\""), ("etag", "\"0cc175b9-2\""));
        let full = ("x-amz-checksum-type", "FULL_OBJECT");
        assert_eq!(of(&[whole, crc32]), Some(Checksum::Crc32(0xe306_9283)));
        assert_eq!(of(&[in_parts, crc32, full]), Some(Checksum::Crc32(0xe306_9283)));
        assert_eq!(of(&[in_parts, crc64]), Some(Checksum::Crc64Nvme(7)));
        assert_eq!(of(&[in_parts, crc32]), None);
        assert_eq!(of(&[in_parts, ("x-amz-checksum-crc32", "4waSgw==-2")]), None);
        assert_eq!(of(&[in_parts, crc32, ("x-amz-checksum-type", "COMPOSITE")]), None);
    }
}

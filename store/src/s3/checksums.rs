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
//!   checked, only TLS and TCP guard it.
//!
//! Source: Amazon S3 User Guide, "Checking object integrity in Amazon S3".

use super::Pipeline;
use super::meta::text;
use crate::contract::{Checksum, Error, ErrorKind, RawKey, Result};
use crate::http::pipeline::Answer;
use http::HeaderMap;

pub(super) const CRC64NVME: &str = "x-amz-checksum-crc64nvme";
pub(super) const CRC32C: &str = "x-amz-checksum-crc32c";
const CRC32: &str = "x-amz-checksum-crc32";

/// The checksum of the whole object; `None` for one of its parts' checksums ("composite"), whose value ends in their count.
pub(super) fn checksum_in(headers: &HeaderMap) -> Option<Checksum> {
    if text(headers, "x-amz-checksum-type").is_some_and(|kind| kind.eq_ignore_ascii_case("COMPOSITE")) {
        return None;
    }
    let read = |name, parse: fn(&str) -> Option<Checksum>| text(headers, name).and_then(parse);
    read(CRC64NVME, Checksum::crc64_from_base64)
        .or_else(|| read(CRC32C, Checksum::crc32c_from_base64))
        .or_else(|| read(CRC32, Checksum::crc32_from_base64))
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

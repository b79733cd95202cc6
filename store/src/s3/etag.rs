//! ETags between headers and [`Version`]s.
//!
//! Owns: [`version_in`] and [`quoted`], each the other's inverse. An ETag is opaque bytes, beyond ASCII too (RFC 9110, section 8.8.3: `obs-text`),
//! and a [`Version`] is text. A byte that is part of no UTF-8 becomes a character of Unicode's private use, one for each byte, and so goes back
//! as it came; characters of that range that do come are taken apart into bytes too, so that no two ETags become one version.
//!
//! # Why not drop what is odd
//! A condition that went missing would make a write unconditional, and a read one of any version.

use crate::contract::Version;
use http::{HeaderMap, header};

/// The byte 0x80 is the character U+F780, and so on.
const BYTES_FROM: u32 = 0xF700;

/// The version in an answer; unknown where the server sent none.
pub(super) fn version_in(headers: &HeaderMap) -> Version {
    headers.get(header::ETAG).map_or(Version::Unknown, |etag| match std::str::from_utf8(etag.as_bytes()) {
        Ok(etag) if !etag.contains(stands_for_byte) => Version::from_etag(etag),
        _ => Version::from_etag(&text_of(etag.as_bytes())),
    })
}

/// An ETag as HTTP wants it, byte for byte as it came.
pub(super) fn quoted(version: &Version) -> Vec<u8> {
    [b"\"", unquoted(version).as_slice(), b"\""].concat()
}

/// The same without the quotes.
pub(super) fn unquoted(version: &Version) -> Vec<u8> {
    let text = version.etag().unwrap_or_default();
    let mut bytes = Vec::with_capacity(text.len());
    for character in text.chars() {
        match stands_for_byte(character) {
            true => bytes.push((u32::from(character) - BYTES_FROM) as u8),
            false => bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    bytes
}

fn stands_for_byte(character: char) -> bool {
    (BYTES_FROM + 0x80..=BYTES_FROM + 0xFF).contains(&u32::from(character))
}

fn text_of(etag: &[u8]) -> String {
    let mut text = String::new();
    let push_bytes = |text: &mut String, bytes: &[u8]| {
        text.extend(bytes.iter().filter_map(|byte| char::from_u32(BYTES_FROM + u32::from(*byte))));
    };
    for chunk in etag.utf8_chunks() {
        for character in chunk.valid().chars() {
            match stands_for_byte(character) {
                true => push_bytes(&mut text, character.encode_utf8(&mut [0; 4]).as_bytes()),
                false => text.push(character),
            }
        }
        push_bytes(&mut text, chunk.invalid());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn version_of(etag: &[u8]) -> Version {
        version_in(&HeaderMap::from_iter([(header::ETAG, HeaderValue::from_bytes(etag).unwrap())]))
    }

    #[test]
    fn etags_go_back_as_they_came() {
        let etags: &[&[u8]] = &[
            b"\"0cc175b9c0f1b6a831c399e269772661-2\"",
            b"\"\xE9\"",
            "\"é\"".as_bytes(),
            b"\"a\xFF\xC3b\"",
            "\"\u{F7E9}\"".as_bytes(),
            b"\"generation=7\xE9\"",
        ];
        for etag in etags {
            assert_eq!(quoted(&version_of(etag)), *etag);
        }
        let versions: std::collections::BTreeSet<Version> =
            etags.iter().map(|etag| version_of(etag)).collect();
        assert_eq!(versions.len(), etags.len(), "no two are one version");
        assert!(version_of(b"\"\"").is_unknown());
    }
}

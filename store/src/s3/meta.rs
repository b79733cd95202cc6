//! Metadata as it stands in headers.
//!
//! Owns: the way from an answer's headers to [`ObjectMeta`] and back from [`PutOptions`] to a request's. Values that are not
//! ASCII come back from Amazon S3 as RFC 2047 words; they are decoded.

use super::Pipeline;
use crate::contract::{Attributes, Error, ErrorKind, ObjectMeta, PutOptions, Result, UserMetadata, Version};
use crate::http::request::ApiRequest;
use base64::Engine;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use std::ops::Range;
use std::sync::Arc;
use std::time::SystemTime;

const PREFIX: &str = "x-amz-meta-";

/// An ETag as HTTP wants it.
pub(super) fn quoted(version: &Version) -> String {
    format!("\"{}\"", version.to_text())
}

/// The version in an answer to a write; unknown where the server sent none.
pub(super) fn version_in(headers: &HeaderMap) -> Version {
    let etag = headers.get(header::ETAG).and_then(|etag| std::str::from_utf8(etag.as_bytes()).ok());
    etag.map_or(Version::Unknown, Version::from_etag)
}

/// The length of an answer's body; unknown where it comes in chunks, or until the connection ends (RFC 9112, section 6.3).
pub(super) fn length_in(headers: &HeaderMap) -> Option<u64> {
    match headers.contains_key(header::TRANSFER_ENCODING) {
        true => None,
        false => text(headers, "content-length")?.parse().ok(),
    }
}

/// The metadata in an answer to HEAD. Errors: `Corrupt`, when there is no length.
pub(super) fn meta_of(
    pipeline: &Pipeline,
    request: &ApiRequest<'_>,
    headers: &HeaderMap,
) -> Result<ObjectMeta> {
    meta_of_size(pipeline, request, headers, text(headers, "content-length").and_then(|len| len.parse().ok()))
}

/// The metadata in an answer about an object of `size`. Errors: `Corrupt`, when that is unknown.
pub(super) fn meta_of_size(
    pipeline: &Pipeline,
    request: &ApiRequest<'_>,
    headers: &HeaderMap,
    size: Option<u64>,
) -> Result<ObjectMeta> {
    let (Some(key), Some(size)) = (request.key, size) else {
        let message = "the answer does not say the object's length".to_owned();
        return Err(pipeline.error(request.operation, request.key, ErrorKind::Corrupt, message));
    };
    let written = text(headers, "last-modified").and_then(|date| httpdate::parse_http_date(date).ok());
    Ok(ObjectMeta {
        key: key.clone(),
        size,
        version: version_in(headers),
        last_modified: written.unwrap_or(SystemTime::UNIX_EPOCH),
        attributes: Some(Arc::new(attributes_in(headers))),
        checksum: None,
    })
}

/// Which bytes an answer holds, and how many the object has.
pub(super) struct Served {
    pub range: Range<u64>,
    pub size: u64,
}

/// Reads `Content-Range: bytes 0-9/100`; without it the answer holds the whole object, of `content_length` bytes. `None` where the two
/// make no sense, or are both not there.
pub(super) fn served_range(headers: &HeaderMap, content_length: Option<u64>) -> Option<Served> {
    let Some(value) = headers.get(header::CONTENT_RANGE) else {
        return content_length.map(|size| Served { range: 0..size, size });
    };
    let (range, size) = value.to_str().ok()?.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last, size): (u64, u64, u64) = (first.parse().ok()?, last.parse().ok()?, size.parse().ok()?);
    let range = first..last.checked_add(1)?;
    let len = range.end.checked_sub(range.start)?;
    (range.end <= size && content_length.is_none_or(|promised| promised == len))
        .then_some(Served { range, size })
}

/// Adds what a new version is to carry. Errors: `Unsupported`, for what no header can hold.
pub(super) fn add_options(
    pipeline: &Pipeline,
    request: &mut ApiRequest<'_>,
    options: &PutOptions,
) -> Result<()> {
    let invalid = |operation, key, what: &str| -> Error {
        let message = format!("{what} cannot be sent in a header");
        pipeline.error(operation, key, ErrorKind::Unsupported, message)
    };
    for (name, value) in &options.attributes.metadata {
        let header = HeaderName::try_from(format!("{PREFIX}{name}"));
        let encoded = HeaderValue::from_bytes(value.as_bytes());
        let (Ok(header), Ok(encoded)) = (header, encoded) else {
            return Err(invalid(request.operation, request.key, &format!("the metadata {name:?}")));
        };
        request.headers.insert(header, encoded);
    }
    if let Some(content_type) = &options.attributes.content_type {
        let value = HeaderValue::from_str(content_type)
            .map_err(|_| invalid(request.operation, request.key, "the content type"))?;
        request.headers.insert(header::CONTENT_TYPE, value);
    }
    Ok(())
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn attributes_in(headers: &HeaderMap) -> Attributes {
    Attributes {
        metadata: user_metadata(headers),
        content_type: text(headers, "content-type").map(str::to_owned),
        ..Attributes::default()
    }
}

fn user_metadata(headers: &HeaderMap) -> UserMetadata {
    let mut found = UserMetadata::new();
    for (name, value) in headers {
        if let Some(name) = name.as_str().strip_prefix(PREFIX) {
            let value = String::from_utf8_lossy(value.as_bytes());
            found.insert(name.to_owned(), decoded_word(&value).unwrap_or_else(|| value.into_owned()));
        }
    }
    found
}

/// `=?UTF-8?B?…?=` or `=?UTF-8?Q?…?=` as text.
fn decoded_word(value: &str) -> Option<String> {
    let inner = value.strip_prefix("=?")?.strip_suffix("?=")?;
    let (charset, rest) = inner.split_once('?')?;
    let (encoding, text) = rest.split_once('?')?;
    if !charset.eq_ignore_ascii_case("utf-8") || text.contains('?') {
        return None;
    }
    let bytes = match encoding {
        "B" | "b" => base64::engine::general_purpose::STANDARD.decode(text).ok()?,
        "Q" | "q" => percent_encoding::percent_decode_str(
            &text.replace('%', "%25").replace('=', "%").replace('_', " "),
        )
        .collect(),
        _ => return None,
    };
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_and_checked() {
        let served = |value: &str, length| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_RANGE, value.parse().unwrap());
            served_range(&headers, length).map(|served| (served.range, served.size))
        };
        assert_eq!(served("bytes 2-4/10", Some(3)), Some((2..5, 10)));
        assert_eq!(served("bytes 2-4/10", None), Some((2..5, 10)));
        assert_eq!(served("bytes 2-4/10", Some(4)), None);
        assert_eq!(served("bytes 4-2/10", Some(3)), None);
        assert_eq!(served("bytes 4-2/10", None), None);
        assert_eq!(served("bytes 2-10/10", Some(9)), None);
        assert_eq!(served("bytes */10", Some(3)), None);
        assert_eq!(served_range(&HeaderMap::new(), Some(7)).map(|served| served.range), Some(0..7));
    }

    #[test]
    fn encoded_words_are_text() {
        assert_eq!(decoded_word("=?UTF-8?B?w6Q=?=").as_deref(), Some("ä"));
        assert_eq!(decoded_word("=?UTF-8?Q?=C3=A4_50%?=").as_deref(), Some("ä 50%"));
        assert_eq!(decoded_word("plain"), None);
        assert_eq!(decoded_word("=?UTF-8?B?!?="), None);
    }
}

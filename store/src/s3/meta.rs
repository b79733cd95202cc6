//! Metadata as it stands in an answer's headers.
//!
//! Owns: the way from them to [`ObjectMeta`], and to the range of bytes that the answer holds.

use super::Pipeline;
use super::attributes::attributes_in;
use super::checksums::checksum_in;
use super::etag::version_in;
use crate::contract::{ErrorKind, ObjectMeta, Result};
use crate::http::request::ApiRequest;
use http::{HeaderMap, header};
use std::ops::Range;
use std::sync::Arc;
use std::time::SystemTime;

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
        checksum: checksum_in(headers),
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

pub(super) fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
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
}

//! Which bytes an answer holds.
//!
//! Owns: [`Served`], as `Content-Range` and `Content-Length` tell it (RFC 9110, section 14.4; RFC 9112, section 6.3).

use http::{HeaderMap, header};
use std::ops::Range;

/// Which bytes an answer holds, and how many the object has.
pub(crate) struct Served {
    pub range: Range<u64>,
    pub size: u64,
}

impl Served {
    /// Whether these are bytes of the range that was `asked` for, from its start on; of the whole object, where no range was.
    pub fn is_of(&self, asked: Option<&Range<u64>>) -> bool {
        match asked {
            Some(asked) => self.range.start == asked.start && self.range.end <= asked.end,
            None => self.range == (0..self.size),
        }
    }
}

/// The length of an answer's body; unknown where it comes in chunks, or until the connection ends (RFC 9112, section 6.3).
pub(crate) fn length_in(headers: &HeaderMap) -> Option<u64> {
    match headers.contains_key(header::TRANSFER_ENCODING) {
        true => None,
        false => headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok(),
    }
}

/// Reads `Content-Range: bytes 0-9/100`; without it the answer holds the whole object, of `content_length` bytes. `None` where the two
/// make no sense, or are both not there.
pub(crate) fn served_range(headers: &HeaderMap, content_length: Option<u64>) -> Option<Served> {
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

//! The MD5 that a blob keeps.
//!
//! Owns: which MD5 is believed. Azure makes that of a blob which comes in one request (Put Blob); that of one made of blocks is what its writer said of it (Put Block List,
//! `x-ms-blob-content-md5`), which is nothing where the blocks were sent at the same time, as here: an MD5 is made of bytes in their order, and would cost a second read of
//! them all. Append and page blobs change and keep the MD5 that was set once, so that none of theirs is believed.
//! Source: Azure, "Put Blob", "Put Block List", "Get Blob", "List Blobs" (Storage REST API).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, header};

/// That of a blob of this kind and with this property.
pub(super) fn kept(kind: Option<&str>, content_md5: Option<&str>) -> Option<[u8; 16]> {
    let content_md5 = content_md5.filter(|_| kind == Some("BlockBlob"))?;
    STANDARD.decode(content_md5.trim()).ok()?.try_into().ok()
}

/// That of the blob that an answer is about. Of a range, `Content-MD5` is the range's.
pub(super) fn of_answer(headers: &HeaderMap) -> Option<[u8; 16]> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let is_range = headers.contains_key(header::CONTENT_RANGE);
    let of_whole = text("x-ms-blob-content-md5").or_else(|| text("content-md5").filter(|_| !is_range));
    kept(text("x-ms-blob-type"), of_whole)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn an_md5_is_of_a_whole_block_blob_or_is_none() {
        let of = |headers: &[(&'static str, &'static str)]| {
            let values =
                headers.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)));
            of_answer(&values.collect())
        };
        let (whole, part) = ("rvr3UC1SmUw7AZV2NqPN0g==", "1B2M2Y8AsgTpgAmY7PhCfg==");
        let expected = kept(Some("BlockBlob"), Some(whole));
        assert_eq!(expected.map(|md5| md5[0]), Some(0xae));
        let block = ("x-ms-blob-type", "BlockBlob");
        let range = ("content-range", "bytes 0-3/15");
        assert_eq!(of(&[block, ("content-md5", whole)]), expected);
        assert_eq!(of(&[block, range, ("content-md5", part), ("x-ms-blob-content-md5", whole)]), expected);
        assert_eq!(of(&[block, range, ("content-md5", part)]), None);
        assert_eq!(of(&[block]), None);
        assert_eq!(of(&[block, ("content-md5", "no md5")]), None);
        assert_eq!(of(&[("x-ms-blob-type", "AppendBlob"), ("content-md5", whole)]), None);
        assert_eq!(of(&[("content-md5", whole)]), None);
        assert_eq!(kept(Some("BlockBlob"), Some("")), None);
    }
}

//! What an object carries beside its bytes, as it stands in headers.
//!
//! Owns: the way from an answer's headers to [`Attributes`] and back to a request's, with the attributes of new objects put in.
//! Values of user metadata that are not ASCII come back from Amazon S3 as RFC 2047 words; they are decoded.
//! Source: Amazon S3 API Reference, "HeadObject", "PutObject", "CreateMultipartUpload", "CopyObject".

use super::Pipeline;
use super::endpoint::encoded_query;
use super::meta::text;
use crate::contract::{Attributes, Encryption, ErrorKind, RawKey, Result, UserMetadata};
use crate::http::request::ApiRequest;
use base64::Engine;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use std::collections::BTreeMap;

const PREFIX: &str = "x-amz-meta-";
const STORAGE_CLASS: HeaderName = HeaderName::from_static("x-amz-storage-class");
const ALGORITHM: HeaderName = HeaderName::from_static("x-amz-server-side-encryption");
const KMS_KEY: HeaderName = HeaderName::from_static("x-amz-server-side-encryption-aws-kms-key-id");
const BUCKET_KEY: HeaderName = HeaderName::from_static("x-amz-server-side-encryption-bucket-key-enabled");
const TAGS: HeaderName = HeaderName::from_static("x-amz-tagging");

/// All that an answer says of an object, but for the names of its tags.
pub(super) fn attributes_in(headers: &HeaderMap) -> Attributes {
    let value = |name: HeaderName| headers.get(name).map(any_text);
    Attributes {
        metadata: user_metadata(headers),
        content_type: value(header::CONTENT_TYPE),
        content_encoding: value(header::CONTENT_ENCODING).and_then(|encoding| encoding_of_object(&encoding)),
        content_language: value(header::CONTENT_LANGUAGE),
        content_disposition: value(header::CONTENT_DISPOSITION),
        cache_control: value(header::CACHE_CONTROL),
        storage_class: value(STORAGE_CLASS),
        encryption: value(ALGORITHM).map(|algorithm| Encryption {
            algorithm,
            key_id: value(KMS_KEY),
            bucket_key: value(BUCKET_KEY).is_some_and(|enabled| enabled.eq_ignore_ascii_case("true")),
        }),
        tags: BTreeMap::new(),
        tag_count: text(headers, "x-amz-tagging-count").and_then(|count| count.parse().ok()).unwrap_or(0),
        uneditable: None,
    }
}

/// Adds what a new version of the request's object is to carry: `attributes`, and what new objects get where these say nothing. Errors:
/// `Unsupported`, for what no header can hold.
pub(super) fn add_attributes(
    pipeline: &Pipeline,
    request: &mut ApiRequest<'_>,
    key: &RawKey,
    attributes: &Attributes,
) -> Result<()> {
    let attributes = pipeline.options.new_objects.applied(key, attributes);
    let mut set = |name: HeaderName, value: &str, what: &str| match HeaderValue::from_bytes(value.as_bytes())
    {
        Ok(value) => {
            request.headers.insert(name, value);
            Ok(())
        }
        Err(_) => Err(refused(pipeline, request.operation, key, what)),
    };
    for (name, value) in &attributes.metadata {
        let what = format!("the metadata {name:?}");
        let header = HeaderName::try_from(format!("{PREFIX}{name}"));
        set(header.map_err(|_| refused(pipeline, "PutObject", key, &what))?, value, &what)?;
    }
    for (name, value, what) in [
        (header::CONTENT_TYPE, &attributes.content_type, "the content type"),
        (header::CONTENT_ENCODING, &attributes.content_encoding, "the content encoding"),
        (header::CONTENT_LANGUAGE, &attributes.content_language, "the content language"),
        (header::CONTENT_DISPOSITION, &attributes.content_disposition, "the content disposition"),
        (header::CACHE_CONTROL, &attributes.cache_control, "the cache control"),
    ] {
        if let Some(value) = value {
            set(name, value, what)?;
        }
    }
    if !attributes.tags.is_empty() {
        let tags = attributes.tags.iter();
        let tags: Vec<_> =
            tags.map(|(name, value)| format!("{}={}", encoded_query(name), encoded_query(value))).collect();
        set(TAGS, &tags.join("&"), "the tags")?;
    }
    add_class_and_encryption(pipeline, request, key, &attributes)
}

/// Adds what a copy on the server does not take from its source by itself (API Reference, "CopyObject": the storage class is STANDARD and the
/// encryption the bucket's default, where the request names none). Errors: as [`add_attributes`].
pub(super) fn add_class_and_encryption(
    pipeline: &Pipeline,
    request: &mut ApiRequest<'_>,
    key: &RawKey,
    attributes: &Attributes,
) -> Result<()> {
    let class = attributes.storage_class.as_deref().filter(|_| pipeline.service.takes_storage_class());
    let mut values = vec![(STORAGE_CLASS, class, "the storage class")];
    let own_encryption = attributes.encryption.as_ref().filter(|_| pipeline.service.takes_encryption());
    if let Some(encryption) = own_encryption {
        values.extend([
            (ALGORITHM, Some(encryption.algorithm.as_str()), "the encryption"),
            (KMS_KEY, encryption.key_id.as_deref(), "the key's name"),
            (BUCKET_KEY, encryption.bucket_key.then_some("true"), "the bucket key"),
        ]);
    }
    for (name, value, what) in values {
        let Some(value) = value else { continue };
        let value = HeaderValue::from_bytes(value.as_bytes());
        let value = value.map_err(|_| refused(pipeline, request.operation, key, what))?;
        request.headers.insert(name, value);
    }
    Ok(())
}

fn refused(pipeline: &Pipeline, operation: &'static str, key: &RawKey, what: &str) -> crate::contract::Error {
    pipeline.error(operation, Some(key), ErrorKind::Unsupported, format!("{what} cannot be sent in a header"))
}

/// A value that need not be ASCII. What is no UTF-8 is taken for Latin-1, as HTTP once had it.
fn any_text(value: &HeaderValue) -> String {
    match std::str::from_utf8(value.as_bytes()) {
        Ok(text) => text.to_owned(),
        Err(_) => value.as_bytes().iter().copied().map(char::from).collect(),
    }
}

/// `aws-chunked` is how an object was sent, and some servers keep it as if it were the object's.
fn encoding_of_object(encoding: &str) -> Option<String> {
    let own = encoding.split(',').map(str::trim).filter(|coding| !coding.eq_ignore_ascii_case("aws-chunked"));
    let own: Vec<_> = own.filter(|coding| !coding.is_empty()).collect();
    (!own.is_empty()).then(|| own.join(","))
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
    fn encoded_words_are_text() {
        assert_eq!(decoded_word("=?UTF-8?B?w6Q=?=").as_deref(), Some("ä"));
        assert_eq!(decoded_word("=?UTF-8?Q?=C3=A4_50%?=").as_deref(), Some("ä 50%"));
        assert_eq!(decoded_word("plain"), None);
        assert_eq!(decoded_word("=?UTF-8?B?!?="), None);
    }

    #[test]
    fn what_an_answer_says_is_read() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("content-type", "text/plain"),
            ("content-encoding", "aws-chunked,gzip"),
            ("cache-control", "no-store"),
            ("x-amz-storage-class", "STANDARD_IA"),
            ("x-amz-server-side-encryption", "aws:kms"),
            ("x-amz-server-side-encryption-aws-kms-key-id", "arn:aws:kms:r:1:key/k"),
            ("x-amz-server-side-encryption-bucket-key-enabled", "true"),
            ("x-amz-tagging-count", "2"),
        ] {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        headers
            .insert(header::CONTENT_DISPOSITION, HeaderValue::from_bytes(b"x; filename=\"\xE9\"").unwrap());
        let read = attributes_in(&headers);
        assert_eq!(read.content_encoding.as_deref(), Some("gzip"));
        assert_eq!(read.content_disposition.as_deref(), Some("x; filename=\"é\""));
        let encryption = read.encryption.unwrap();
        assert_eq!(encryption.key_id.as_deref(), Some("arn:aws:kms:r:1:key/k"));
        assert!(encryption.bucket_key);
        assert_eq!((read.storage_class.as_deref(), read.tag_count), (Some("STANDARD_IA"), 2));
    }
}

//! What is stored with an object beside its bytes.
//!
//! Owns: [`Attributes`], of a shape that every API of this server can fill, and how the S3 API's headers set them, show them and carry them
//! over to a copy.
//! Source: Amazon S3 API Reference, PutObject and CopyObject; User Guide, "Working with object metadata".

use crate::encryption::Encryption;
use crate::error::S3Error;
use crate::reply::Reply;
use crate::tags::{self, Tags};
use http::header::{
    CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_TYPE, EXPIRES,
};
use http::{HeaderMap, HeaderName};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The type of an object that was given none.
pub(crate) const CONTENT_TYPE_DEFAULT: &str = "binary/octet-stream";

/// User metadata takes at most this many bytes, names and values together.
const METADATA_LEN_BYTES_MAX: usize = 2048;

/// What the names of headers of user metadata begin with.
const METADATA_PREFIX: &str = "x-amz-meta-";

const STORAGE_CLASS: HeaderName = HeaderName::from_static("x-amz-storage-class");
const WEBSITE_REDIRECT: HeaderName = HeaderName::from_static("x-amz-website-redirect-location");

/// The classes that an upload may name.
const STORAGE_CLASSES: [&str; 9] = [
    "STANDARD",
    "REDUCED_REDUNDANCY",
    "STANDARD_IA",
    "ONEZONE_IA",
    "INTELLIGENT_TIERING",
    "GLACIER",
    "DEEP_ARCHIVE",
    "GLACIER_IR",
    "EXPRESS_ONEZONE",
];

/// What is stored with an object. `None` is what was not given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Attributes {
    pub(crate) content_type: Option<String>,
    pub(crate) content_encoding: Option<String>,
    pub(crate) content_language: Option<String>,
    pub(crate) content_disposition: Option<String>,
    pub(crate) cache_control: Option<String>,
    pub(crate) expires: Option<String>,
    pub(crate) website_redirect: Option<String>,
    /// User metadata, by lower-case name without the prefix of its header.
    pub(crate) metadata: BTreeMap<String, String>,
    /// By the name that the API has for it; `STANDARD`, if `None`.
    pub(crate) storage_class: Option<String>,
    pub(crate) encryption: Encryption,
    pub(crate) tags: Tags,
}

impl Attributes {
    /// Those that an upload's headers ask for; `defaults` are the bucket's own, for what is not asked for. Errors: `MetadataTooLarge`,
    /// `InvalidStorageClass`, those of encryption and of tags.
    pub(crate) fn of(headers: &HeaderMap, defaults: Self) -> Result<Self, S3Error> {
        let mut attributes = defaults;
        let mut metadata_len = 0;
        for name in headers.keys() {
            let values: Vec<_> =
                headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
            let value = values.join(",");
            if let Some(user) = name.as_str().strip_prefix(METADATA_PREFIX) {
                metadata_len += user.len() + value.len();
                attributes.metadata.insert(user.to_owned(), value);
            } else if let Some(field) = attributes.field(name.as_str()) {
                *field = Some(value);
            }
        }
        if metadata_len > METADATA_LEN_BYTES_MAX {
            return Err(S3Error::new(
                400,
                "MetadataTooLarge",
                "Your metadata headers exceed the maximum allowed metadata size",
            ));
        }
        if attributes.storage_class.as_deref().is_some_and(|class| !STORAGE_CLASSES.contains(&class)) {
            return Err(S3Error::new(
                400,
                "InvalidStorageClass",
                "The storage class you specified is not valid",
            ));
        }
        attributes.content_encoding = attributes.content_encoding.and_then(without_framing);
        if let Some(encryption) = Encryption::of(headers)? {
            attributes.encryption = encryption;
        }
        attributes.tags = tags::of_header(headers)?;
        Ok(attributes)
    }

    /// Those of a copy of an object that has these, by the headers of the request. As on S3, a copy has the storage class, the encryption
    /// and the redirect of the request, whatever the source has. Errors: those of [`of`](Self::of), `InvalidArgument`.
    pub(crate) fn copied(&self, headers: &HeaderMap, defaults: Self) -> Result<Self, S3Error> {
        let asked = Self::of(headers, defaults)?;
        let mut copied = if replaces(headers, "x-amz-metadata-directive")? {
            asked.clone()
        } else {
            Self {
                storage_class: asked.storage_class.clone(),
                encryption: asked.encryption.clone(),
                website_redirect: asked.website_redirect.clone(),
                ..self.clone()
            }
        };
        let new_tags = replaces(headers, "x-amz-tagging-directive")?;
        copied.tags = if new_tags { asked.tags } else { self.tags.clone() };
        Ok(copied)
    }

    /// The class that listings name.
    pub(crate) fn storage_class(&self) -> &str {
        self.storage_class.as_deref().unwrap_or("STANDARD")
    }

    /// Whether the bytes must be restored before they can be read.
    pub(crate) fn is_archived(&self) -> bool {
        matches!(self.storage_class(), "GLACIER" | "DEEP_ARCHIVE")
    }

    /// Those that are headers of HTTP itself and were given.
    pub(crate) fn content_headers(&self) -> impl Iterator<Item = (HeaderName, &str)> {
        let headers = [
            (CONTENT_TYPE, &self.content_type),
            (CONTENT_ENCODING, &self.content_encoding),
            (CONTENT_LANGUAGE, &self.content_language),
            (CONTENT_DISPOSITION, &self.content_disposition),
            (CACHE_CONTROL, &self.cache_control),
            (EXPIRES, &self.expires),
        ];
        headers.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?)))
    }

    /// Sets the headers of GET and HEAD.
    pub(crate) fn describe(&self, reply: &mut Reply) {
        reply.set(CONTENT_TYPE, CONTENT_TYPE_DEFAULT);
        for (name, value) in self.content_headers() {
            reply.set(name, value);
        }
        if let Some(place) = &self.website_redirect {
            reply.set(WEBSITE_REDIRECT, place);
        }
        if self.storage_class() != "STANDARD" {
            reply.set(STORAGE_CLASS, self.storage_class());
        }
        if !self.tags.is_empty() {
            reply.set(HeaderName::from_static("x-amz-tagging-count"), &self.tags.len().to_string());
        }
        for (name, value) in &self.metadata {
            if let Ok(name) = HeaderName::try_from(format!("{METADATA_PREFIX}{name}")) {
                reply.set(name, value);
            }
        }
        self.encryption.describe(reply);
    }

    /// The field that a header of this name, in lower case, sets.
    pub(crate) fn field(&mut self, name: &str) -> Option<&mut Option<String>> {
        match name {
            "content-type" => Some(&mut self.content_type),
            "content-encoding" => Some(&mut self.content_encoding),
            "content-language" => Some(&mut self.content_language),
            "content-disposition" => Some(&mut self.content_disposition),
            "cache-control" => Some(&mut self.cache_control),
            "expires" => Some(&mut self.expires),
            "x-amz-website-redirect-location" => Some(&mut self.website_redirect),
            "x-amz-storage-class" => Some(&mut self.storage_class),
            _ => None,
        }
    }
}

/// Whether a copy's headers ask for something that makes a copy onto itself a change.
pub(crate) fn changes_itself(headers: &HeaderMap) -> Result<bool, S3Error> {
    let asks = |name: &str| headers.contains_key(name);
    Ok(replaces(headers, "x-amz-metadata-directive")?
        || asks(STORAGE_CLASS.as_str())
        || asks(WEBSITE_REDIRECT.as_str())
        || asks("x-amz-server-side-encryption")
        || asks("x-amz-server-side-encryption-customer-algorithm"))
}

/// What a directive of CopyObject says. Errors: `InvalidArgument`.
fn replaces(headers: &HeaderMap, directive: &str) -> Result<bool, S3Error> {
    match headers.get(directive).map(|value| value.as_bytes()) {
        None | Some(b"COPY") => Ok(false),
        Some(b"REPLACE") => Ok(true),
        Some(_) => Err(S3Error::invalid_argument(format!("Unknown {directive}."))),
    }
}

/// A content encoding without the framing of the upload, which is not part of the object.
fn without_framing(value: String) -> Option<String> {
    let kept: Vec<&str> = value.split(',').map(str::trim).filter(|coding| *coding != "aws-chunked").collect();
    let kept = kept.join(",");
    (!kept.is_empty()).then_some(kept)
}

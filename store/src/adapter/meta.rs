//! Metadata and attributes between the library's terms and this crate's.

use super::listing::time_of;
use crate::contract::{Attributes, ObjectMeta, RawKey, Version};
use http::HeaderValue;
use object_store::Attribute;
use std::sync::Arc;

/// What the library says of an object.
pub(super) fn meta_of(
    key: &RawKey,
    object: &object_store::ObjectMeta,
    attributes: Option<Attributes>,
) -> ObjectMeta {
    ObjectMeta {
        key: key.clone(),
        size: object.size,
        version: version_of(object.e_tag.as_deref()),
        last_modified: time_of(&object.last_modified),
        attributes: attributes.map(Arc::new),
        checksum: None,
        md5: None,
    }
}

pub(crate) fn version_of(etag: Option<&str>) -> Version {
    etag.map_or(Version::Unknown, Version::from_etag)
}

/// What an object carries beside its bytes. Its metadata gets `names` in their case.
pub(super) fn attributes_of(from: &object_store::Attributes, names: &[String]) -> Attributes {
    let mut attributes = Attributes::default();
    for (attribute, value) in from {
        let value = value.as_ref().to_owned();
        match attribute {
            Attribute::CacheControl => attributes.cache_control = Some(value),
            Attribute::ContentDisposition => attributes.content_disposition = Some(value),
            Attribute::ContentEncoding => attributes.content_encoding = Some(value),
            Attribute::ContentLanguage => attributes.content_language = Some(value),
            Attribute::ContentType => attributes.content_type = Some(value),
            Attribute::StorageClass => attributes.storage_class = Some(value),
            Attribute::Metadata(name) => {
                let kept = names.iter().find(|kept| kept.eq_ignore_ascii_case(name));
                attributes.metadata.insert(kept.cloned().unwrap_or_else(|| name.to_ascii_lowercase()), value);
            }
            _ => {}
        }
    }
    attributes
}

/// The same for the library. Errors: what cannot be sent in a header, or not asked of the library.
pub(crate) fn library_attributes(from: &Attributes) -> Result<object_store::Attributes, String> {
    if from.encryption.is_some() {
        return Err(
            "this store takes no encryption with an object; it is set where the account is".to_owned()
        );
    }
    let named = [
        (Attribute::CacheControl, &from.cache_control),
        (Attribute::ContentDisposition, &from.content_disposition),
        (Attribute::ContentEncoding, &from.content_encoding),
        (Attribute::ContentLanguage, &from.content_language),
        (Attribute::ContentType, &from.content_type),
        (Attribute::StorageClass, &from.storage_class),
    ];
    let mut attributes = object_store::Attributes::new();
    for (attribute, value) in named.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?))) {
        sendable(&format!("{attribute:?}"), value)?;
        attributes.insert(attribute, value.clone().into());
    }
    for (name, value) in &from.metadata {
        sendable(&format!("metadata {name:?}"), value)?;
        if http::HeaderName::try_from(name).is_err() {
            return Err(format!("the metadata {name:?} cannot be a header's name"));
        }
        attributes.insert(Attribute::Metadata(name.clone().into()), value.clone().into());
    }
    Ok(attributes)
}

/// Tags for the library.
pub(crate) fn library_tags(from: &Attributes) -> object_store::TagSet {
    let mut tags = object_store::TagSet::default();
    from.tags.iter().for_each(|(name, value)| tags.push(name, value));
    tags
}

/// The library panics on a header that cannot be.
fn sendable(what: &str, value: &str) -> Result<(), String> {
    HeaderValue::from_str(value).map(drop).map_err(|_| format!("the {what} cannot be sent in a header"))
}

//! The tags of an object.
//!
//! Owns: [`Tags`], how requests give them, and GetObjectTagging, PutObjectTagging, DeleteObjectTagging.
//! Source: Amazon S3 User Guide, "Categorizing your objects using tags"; API Reference, the pages of those names.

use crate::call::Call;
use crate::error::S3Error;
use crate::payload::receive_document;
use crate::reply::Reply;
use crate::target::decode_query;
use crate::xml::{Element, XmlWriter};
use http::{HeaderMap, StatusCode};
use std::collections::BTreeMap;

/// The most tags of an object.
const TAGS_LEN_MAX: usize = 10;

/// The longest key of a tag, in characters.
const KEY_CHARS_MAX: usize = 128;

/// The longest value of a tag, in characters.
const VALUE_CHARS_MAX: usize = 256;

/// Values by keys.
pub(crate) type Tags = BTreeMap<String, String>;

/// Those of `x-amz-tagging`. Errors: `InvalidArgument`, `InvalidTag`, `BadRequest`.
pub(crate) fn of_header(headers: &HeaderMap) -> Result<Tags, S3Error> {
    let text = headers.get("x-amz-tagging").map(|value| String::from_utf8_lossy(value.as_bytes()));
    let mut pairs = Vec::new();
    for pair in text.as_deref().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let wrong = |_| {
            S3Error::invalid_argument(
                "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query parameters without tag name duplicates.",
            )
        };
        pairs.push((decode_query(key).map_err(wrong)?, decode_query(value).map_err(wrong)?));
    }
    checked(pairs)
}

fn checked(pairs: Vec<(String, String)>) -> Result<Tags, S3Error> {
    let invalid = |message: &'static str| S3Error::new(400, "InvalidTag", message);
    if pairs.len() > TAGS_LEN_MAX {
        return Err(S3Error::new(400, "BadRequest", "Object tags cannot be greater than 10"));
    }
    let mut tags = Tags::new();
    for (key, value) in pairs {
        if key.is_empty() || key.chars().count() > KEY_CHARS_MAX {
            return Err(invalid("The TagKey you have provided is invalid"));
        }
        if value.chars().count() > VALUE_CHARS_MAX {
            return Err(invalid("The TagValue you have provided is invalid"));
        }
        if tags.insert(key, value).is_some() {
            return Err(invalid("Cannot provide multiple Tags with the same key"));
        }
    }
    Ok(tags)
}

pub(crate) fn get_tagging(call: &Call) -> Result<Reply, S3Error> {
    let object = call.bucket()?.get(&call.target.key)?;
    let mut xml = XmlWriter::root("Tagging");
    xml.open("TagSet");
    for (key, value) in &object.attributes.tags {
        xml.open("Tag");
        xml.leaf("Key", key);
        xml.leaf("Value", value);
        xml.close("Tag");
    }
    xml.close("TagSet");
    Ok(Reply::xml(xml.finish_root("Tagging")))
}

/// The object keeps its ETag and its time.
pub(crate) async fn put_tagging(call: &mut Call) -> Result<Reply, S3Error> {
    let bucket = call.bucket()?;
    let root = Element::parse(&receive_document(call).await?)?;
    let set = root.children_named("TagSet").next().filter(|_| root.name == "Tagging");
    let pairs = set
        .ok_or_else(S3Error::malformed_xml)?
        .children_named("Tag")
        .map(|tag| Some((tag.child_text("Key")?.to_owned(), tag.child_text("Value")?.to_owned())))
        .collect::<Option<Vec<_>>>()
        .ok_or_else(S3Error::malformed_xml)?;
    let tags = checked(pairs)?;
    bucket.amend(&call.target.key, |object| {
        object.attributes.tags = tags;
        Ok(())
    })?;
    Ok(Reply::ok())
}

pub(crate) fn delete_tagging(call: &Call) -> Result<Reply, S3Error> {
    call.bucket()?.amend(&call.target.key, |object| {
        object.attributes.tags.clear();
        Ok(())
    })?;
    Ok(Reply::empty(StatusCode::NO_CONTENT))
}

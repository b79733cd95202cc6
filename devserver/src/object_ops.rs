//! The operations on objects.
//!
//! Owns: PutObject, GetObject, HeadObject, CopyObject, DeleteObject, DeleteObjects.
//! Source: Amazon S3 API Reference, the pages of those names.

use crate::access::check_payer;
use crate::archive::check_readable;
use crate::attributes::{Attributes, changes_itself};
use crate::call::Call;
use crate::checksum::{Algorithm, Checksum, ChecksumHasher, ChecksumType, EtagHasher};
use crate::condition::{Conditions, names};
use crate::config::Settings;
use crate::content::Content;
use crate::encryption;
use crate::error::S3Error;
use crate::fault::{FaultAction, error_of};
use crate::object::{Object, iso_date};
use crate::operation::Operation;
use crate::payload::{receive, receive_document, require_hash};
use crate::reply::Reply;
use crate::target::decode;
use crate::xml::{Element, XmlWriter};
use http::header::{CONTENT_RANGE, ETAG};
use http::{HeaderName, StatusCode};
use std::ops::Range;
use std::sync::Arc;

/// The most bytes that CopyObject and UploadPartCopy copy: 5 GiB.
pub(crate) const COPY_LEN_BYTES_MAX: u64 = 5 << 30;

/// The checksum of what comes without one, as S3 has it since December 2024.
pub(crate) const CHECKSUM_DEFAULT: Algorithm = Algorithm::Crc64Nvme;

/// The most keys of one DeleteObjects.
const DELETE_LEN_MAX: usize = 1000;

/// Query parameters of GetObject that replace a header of the answer.
const OVERRIDES: [&str; 6] = [
    "content-type",
    "content-language",
    "expires",
    "cache-control",
    "content-disposition",
    "content-encoding",
];

pub(crate) async fn put_object(call: &mut Call) -> Result<Reply, S3Error> {
    let bucket = call.bucket()?;
    let attributes = Attributes::of(&call.parts.headers, bucket.defaults())?;
    let received = receive(call, CHECKSUM_DEFAULT).await?;
    let mut object = Object::new(received.content, received.etag, attributes);
    object.checksum = received.checksum.filter(|_| !call.settings.quirks.no_checksums);
    let object = bucket.insert(&call.target.key, object, |current| check_write(call, current))?;
    let mut reply = Reply::ok();
    reply.set(ETAG, &object.quoted_etag());
    object.describe_checksum(&mut reply);
    object.attributes.encryption.describe(&mut reply);
    Ok(reply)
}

/// The conditions of a write, as far as the settings honour them.
fn check_write(call: &Call, current: Option<&Object>) -> Result<(), S3Error> {
    let quirks = &call.settings.quirks;
    if quirks.ignore_write_conditions {
        return Ok(());
    }
    if quirks.r2 && call.header("x-amz-copy-source").is_some() {
        return Conditions::of_copy_destination(&call.parts.headers).check_write(current, false);
    }
    Conditions::of(&call.parts.headers).check_write(current, quirks.unquoted_if_match)
}

pub(crate) fn get_object(call: &Call) -> Result<Reply, S3Error> {
    read(call, true)
}

pub(crate) fn head_object(call: &Call) -> Result<Reply, S3Error> {
    read(call, false)
}

fn read(call: &Call, with_body: bool) -> Result<Reply, S3Error> {
    let object = call.bucket()?.get(&call.target.key)?;
    object.attributes.encryption.check(&call.parts.headers, encryption::ITSELF)?;
    Conditions::of(&call.parts.headers).check_read(&object)?;
    if with_body {
        check_readable(&object)?;
    }
    let len = object.content.len();
    let part = call.target.number("partNumber")?;
    let range = match part {
        Some(number) => Some(part_range(&object, number)?),
        None => call.header("range").map(|text| parse_range(text, len)).transpose()?.flatten(),
    };
    let mut reply = Reply::ok();
    let wants_checksum =
        call.header("x-amz-checksum-mode").is_some_and(|mode| mode.eq_ignore_ascii_case("enabled"));
    object.describe(&mut reply, wants_checksum && range.is_none());
    if part.is_some() && !object.part_lens.is_empty() {
        reply.set(HeaderName::from_static("x-amz-mp-parts-count"), &object.part_lens.len().to_string());
    }
    for name in OVERRIDES {
        if let Some(value) = call.target.param(&format!("response-{name}")) {
            reply.set(HeaderName::from_static(name), value);
        }
    }
    let sent = range.clone().unwrap_or(0..len);
    if range.is_some() && len > 0 {
        reply.status = StatusCode::PARTIAL_CONTENT;
        reply.set(CONTENT_RANGE, &format!("bytes {}-{}/{len}", sent.start, sent.end - 1));
    }
    if with_body {
        reply.body = object.content.slice(sent);
    } else {
        reply.announced_len = Some(sent.end - sent.start);
    }
    Ok(reply)
}

/// The bytes that a Range header asks for, or `None` where it is to be ignored (no single range of bytes).
/// Errors: `InvalidRange`.
pub(crate) fn parse_range(text: &str, len: u64) -> Result<Option<Range<u64>>, S3Error> {
    let Some((first, last)) = text.trim().strip_prefix("bytes=").and_then(|spec| spec.split_once('-')) else {
        return Ok(None);
    };
    let range = match (first.trim().parse::<u64>(), last.trim().parse::<u64>()) {
        (Ok(first), Ok(last)) if first <= last => first..len.min(last.saturating_add(1)),
        (Ok(first), Err(_)) if last.trim().is_empty() => first..len,
        (Err(_), Ok(suffix)) if first.trim().is_empty() => len.saturating_sub(suffix)..len,
        _ => return Ok(None),
    };
    if range.start >= range.end {
        let error = S3Error::new(416, "InvalidRange", "The requested range is not satisfiable");
        return Err(error.with_header(CONTENT_RANGE, &format!("bytes */{len}")));
    }
    Ok(Some(range))
}

/// The bytes of one part of an object that was uploaded in parts; any other object is its own first part.
fn part_range(object: &Object, number: u64) -> Result<Range<u64>, S3Error> {
    let whole = [object.content.len()];
    let lens = if object.part_lens.is_empty() { &whole[..] } else { &object.part_lens[..] };
    let index = number.checked_sub(1).map_or(usize::MAX, |index| index as usize);
    let len = lens.get(index).ok_or_else(|| {
        S3Error::new(416, "InvalidPartNumber", "The requested partnumber is not satisfiable")
    })?;
    let start: u64 = lens[..index].iter().sum();
    Ok(start..start + len)
}

/// The object that `x-amz-copy-source` names, if its conditions hold. Errors: `InvalidArgument`, `NoSuchKey`, 412.
pub(crate) fn copy_source(call: &Call) -> Result<Arc<Object>, S3Error> {
    let (bucket, key) = copy_source_name(call)?;
    let bucket = call.bucket_named(&bucket)?;
    check_payer(call, &bucket)?;
    let object = bucket.get(&key)?;
    object.attributes.encryption.check(&call.parts.headers, encryption::COPY_SOURCE)?;
    Conditions::of_copy_source(&call.parts.headers).check_copy_source(&object)?;
    check_readable(&object)?;
    Ok(object)
}

/// Bucket and key that `x-amz-copy-source` names. Errors: `InvalidArgument`.
pub(crate) fn copy_source_name(call: &Call) -> Result<(String, String), S3Error> {
    let source = call.header("x-amz-copy-source").unwrap_or_default();
    let source = source.split_once("?versionId=").map_or(source, |(name, _version)| name);
    // Either slash may be encoded: the whole value is.
    let source = decode(source)?;
    let source = source.strip_prefix('/').unwrap_or(&source);
    match source.split_once('/') {
        Some((bucket, key)) if !key.is_empty() => Ok((bucket.to_owned(), key.to_owned())),
        _ => Err(S3Error::invalid_argument(
            "Copy Source must mention the source bucket and key: sourcebucket/sourcekey",
        )),
    }
}

pub(crate) async fn copy_object(call: &mut Call) -> Result<Reply, S3Error> {
    let bucket = call.bucket()?;
    let source = copy_source(call)?;
    if source.content.len() > COPY_LEN_BYTES_MAX {
        return Err(S3Error::invalid_request(
            "The specified copy source is larger than the maximum allowable size for a copy source: 5368709120",
        ));
    }
    let onto_itself = copy_source_name(call)? == (call.target.bucket.clone(), call.target.key.clone());
    if onto_itself && !changes_itself(&call.parts.headers)? {
        return Err(S3Error::invalid_request(
            "This copy request is illegal because it is trying to copy an object to itself without changing the object's metadata, storage class, website redirect location or encryption attributes.",
        ));
    }
    let attributes = source.attributes.copied(&call.parts.headers, bucket.defaults())?;
    let asked = call.header("x-amz-checksum-algorithm").map(Algorithm::by_name).transpose()?;
    let kept = source.checksum.clone().filter(|checksum| {
        checksum.of == ChecksumType::FullObject && asked.is_none_or(|asked| asked == checksum.algorithm)
    });
    let (etag, checksum) = match kept {
        Some(checksum) if !source.etag.contains('-') => (source.etag.clone(), checksum),
        _ => {
            let algorithm = source.checksum.as_ref().map(|checksum| checksum.algorithm);
            let algorithm = asked.or(algorithm).unwrap_or(CHECKSUM_DEFAULT);
            hashes_of(&source.content, &call.settings, algorithm).await?
        }
    };
    let mut object = Object::new(source.content.clone(), etag, attributes);
    object.checksum = Some(checksum).filter(|_| !call.settings.quirks.no_checksums);
    let object = bucket.insert(&call.target.key, object, |current| check_write(call, current))?;
    let mut reply = copy_result(
        "CopyObjectResult",
        &object.quoted_etag(),
        &iso_date(object.modified),
        object.checksum.as_ref(),
    );
    object.attributes.encryption.describe(&mut reply);
    Ok(reply)
}

/// The answer to CopyObject and UploadPartCopy.
pub(crate) fn copy_result(
    root: &str,
    quoted_etag: &str,
    modified: &str,
    checksum: Option<&Checksum>,
) -> Reply {
    let mut xml = XmlWriter::root(root);
    xml.leaf("LastModified", modified);
    xml.leaf("ETag", quoted_etag);
    if let Some(checksum) = checksum {
        checksum.write(&mut xml);
    }
    Reply::xml(xml.finish_root(root))
}

/// The ETag and the checksum that an upload of these bytes in one request would have.
pub(crate) async fn hashes_of(
    content: &Content,
    settings: &Settings,
    algorithm: Algorithm,
) -> Result<(String, Checksum), S3Error> {
    let mut etag = EtagHasher::new(settings);
    let mut checksum = ChecksumHasher::new(algorithm);
    for segment in content.segments() {
        let mut segment = segment.clone();
        while segment.len > 0 {
            let bytes = segment.read_front(crate::content::FRAME_BYTES_MAX).await?;
            etag.update(&bytes);
            checksum.update(&bytes);
            segment.advance(bytes.len() as u64);
            tokio::task::consume_budget().await;
        }
    }
    Ok((etag.finish(), checksum.finish()))
}

pub(crate) fn delete_object(call: &Call) -> Result<Reply, S3Error> {
    let quirks = &call.settings.quirks;
    let ignored = quirks.ignore_write_conditions || quirks.ignore_delete_conditions || quirks.r2;
    call.bucket()?.remove(&call.target.key, |current| {
        if ignored { Ok(()) } else { Conditions::of(&call.parts.headers).check_write(current, false) }
    })?;
    Ok(Reply::empty(StatusCode::NO_CONTENT))
}

pub(crate) async fn delete_objects(call: &mut Call) -> Result<Reply, S3Error> {
    let bucket = call.bucket()?;
    require_hash(&call.parts.headers)?;
    let root = Element::parse(&receive_document(call).await?)?;
    let quiet = root.child_text("Quiet").is_some_and(|text| text.trim() == "true");
    let named: Vec<&Element> = root.children_named("Object").collect();
    if root.name != "Delete" || named.is_empty() || named.len() > DELETE_LEN_MAX {
        return Err(S3Error::malformed_xml());
    }
    let quirks = &call.settings.quirks;
    let ignored = quirks.ignore_write_conditions
        || quirks.ignore_delete_conditions
        || quirks.ignore_bulk_delete_conditions
        || quirks.r2;
    let mut xml = XmlWriter::root("DeleteResult");
    for object in named {
        let key = object.child_text("Key").ok_or_else(S3Error::malformed_xml)?;
        let etag = object.child_text("ETag").filter(|_| !ignored);
        let fault = call.shared.faults.take_by_key(Operation::DeleteObjects.name(), key);
        if fault == Some(FaultAction::Disconnect) {
            continue;
        }
        let removed = match fault.as_ref().and_then(error_of) {
            Some(error) => Err(error),
            None => bucket.remove(key, |current| match (etag, current) {
                (Some(_), None) => Err(S3Error::no_such_key()),
                (Some(etag), Some(current)) if !names(etag, &current.etag) => {
                    Err(S3Error::precondition_failed())
                }
                _ => Ok(()),
            }),
        };
        match removed {
            _ if fault == Some(FaultAction::ApplyThenDisconnect) => {}
            Ok(()) if quiet => {}
            Ok(()) => {
                xml.open("Deleted");
                xml.leaf("Key", key);
                xml.close("Deleted");
            }
            Err(error) => {
                xml.open("Error");
                xml.leaf("Key", key);
                xml.leaf("Code", error.code);
                xml.leaf("Message", &error.message);
                xml.close("Error");
            }
        }
    }
    Ok(Reply::xml(xml.finish_root("DeleteResult")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_s3_reads_them() {
        for (text, range) in [
            ("bytes=0-4", Some(0..5)),
            ("bytes=5-", Some(5..10)),
            ("bytes=-3", Some(7..10)),
            ("bytes=-30", Some(0..10)),
            ("bytes=8-99", Some(8..10)),
            ("bytes=5-4", None),
            ("bytes=0-1,4-5", None),
            ("items=0-1", None),
            ("bytes=a-b", None),
        ] {
            assert_eq!(parse_range(text, 10).unwrap(), range, "{text}");
        }
        for text in ["bytes=10-", "bytes=10-12", "bytes=-0"] {
            assert_eq!(parse_range(text, 10).unwrap_err().status, 416, "{text}");
        }
        assert_eq!(parse_range("bytes=0-", 0).unwrap_err().status, 416);
    }
}

//! The operations on multipart uploads.
//!
//! Owns: CreateMultipartUpload, UploadPart, UploadPartCopy, CompleteMultipartUpload, AbortMultipartUpload, ListParts,
//! ListMultipartUploads.
//! Source: Amazon S3 API Reference, the pages of those names.

use crate::attributes::Attributes;
use crate::bucket::Bucket;
use crate::call::Call;
use crate::condition::Conditions;
use crate::encryption::{self, Encryption};
use crate::error::S3Error;
use crate::express;
use crate::object::{iso_date, now};
use crate::object_ops::{COPY_LEN_BYTES_MAX, copy_result, copy_source, hashes_of};
use crate::payload::{algorithm_sent, receive, receive_document};
use crate::reply::Reply;
use crate::upload::{PART_NUMBER_MAX, Part, Upload, named_parts};
use crate::upload_checksum::UploadChecksum;
use crate::xml::XmlWriter;
use http::StatusCode;
use http::header::ETAG;
use std::ops::Range;
use std::sync::Arc;

/// The most entries of a page of parts or uploads.
const PAGE_LEN_MAX: u64 = 1000;

pub(crate) fn create(call: &Call) -> Result<Reply, S3Error> {
    let bucket = call.bucket()?;
    let attributes = Attributes::of(&call.parts.headers, bucket.defaults())?;
    let encryption = attributes.encryption.clone();
    let checksum = UploadChecksum::of(call)?;
    let upload = Upload::new(&call.target.key, attributes, checksum);
    let id = hex::encode(rand::random::<[u8; 16]>());
    bucket.uploads.lock().insert(id.clone(), upload);
    let mut xml = XmlWriter::root("InitiateMultipartUploadResult");
    xml.leaf("Bucket", &call.target.bucket);
    xml.leaf("Key", &call.target.key);
    xml.leaf("UploadId", &id);
    let mut reply = Reply::xml(xml.finish_root("InitiateMultipartUploadResult"));
    encryption.describe(&mut reply);
    checksum.describe(&mut reply);
    Ok(reply)
}

fn part_number(call: &Call) -> Result<u16, S3Error> {
    call.target
        .number("partNumber")?
        .filter(|number| (1..=PART_NUMBER_MAX).contains(number))
        .and_then(|number| u16::try_from(number).ok())
        .ok_or_else(|| {
            S3Error::invalid_argument("Part number must be an integer between 1 and 10000, inclusive")
        })
}

/// Looks at the upload that the request names. Errors: `NoSuchUpload`.
fn with_upload<T>(
    call: &Call,
    bucket: &Bucket,
    look: impl FnOnce(&mut Upload) -> Result<T, S3Error>,
) -> Result<T, S3Error> {
    let mut uploads = bucket.uploads.lock();
    match uploads.get_mut(call.target.required("uploadId")?) {
        Some(upload) if *upload.key == *call.target.key => look(upload),
        _ => Err(S3Error::no_such_upload()),
    }
}

/// How the upload's bytes are encrypted and hashed, if the request brings the key that adds to them. Errors: `NoSuchUpload`,
/// `InvalidRequest`.
fn manner_of_upload(call: &Call, bucket: &Bucket) -> Result<(Encryption, UploadChecksum), S3Error> {
    with_upload(call, bucket, |upload| {
        let encryption = &upload.attributes.encryption;
        encryption.check(&call.parts.headers, encryption::ITSELF)?;
        Ok((encryption.clone(), upload.checksum))
    })
}

fn keep(call: &Call, bucket: &Bucket, number: u16, part: Part) -> Result<(), S3Error> {
    with_upload(call, bucket, |upload| {
        upload.parts.insert(number, part);
        Ok(())
    })
}

pub(crate) async fn upload_part(call: &mut Call) -> Result<Reply, S3Error> {
    let bucket = call.bucket()?;
    let number = part_number(call)?;
    let (encryption, checksum) = manner_of_upload(call, &bucket)?;
    checksum.check_part(algorithm_sent(call)?)?;
    let received = receive(call, checksum.algorithm).await?;
    let mut reply = Reply::ok();
    reply.set(ETAG, &format!("\"{}\"", received.etag));
    let checksum = received.checksum.ok_or_else(|| S3Error::internal("A part was not hashed."))?;
    if received.checksum_sent {
        checksum.describe(&mut reply);
    }
    let part = Part { content: received.content, etag: received.etag, modified: now(), checksum };
    keep(call, &bucket, number, part)?;
    encryption.describe(&mut reply);
    Ok(reply)
}

pub(crate) async fn upload_part_copy(call: &mut Call) -> Result<Reply, S3Error> {
    if call.settings.quirks.no_part_copy {
        return Err(S3Error::not_implemented("UploadPartCopy is not implemented"));
    }
    if call.settings.quirks.part_copy_is_upload {
        return upload_part(call).await;
    }
    let bucket = call.bucket()?;
    let number = part_number(call)?;
    let (encryption, checksum) = manner_of_upload(call, &bucket)?;
    let source = copy_source(call)?;
    let len = source.content.len();
    let range = match call.header("x-amz-copy-source-range") {
        Some(text) => copy_range(text, len)?,
        None => 0..len,
    };
    if range.end - range.start > COPY_LEN_BYTES_MAX {
        return Err(S3Error::invalid_request(
            "The specified copy source is larger than the maximum allowable size for a copy source: 5368709120",
        ));
    }
    let content = source.content.slice(range);
    let (etag, checksum) = hashes_of(&content, &call.settings, checksum.algorithm).await?;
    let part = Part { content, etag: etag.clone(), modified: now(), checksum: checksum.clone() };
    let modified = iso_date(part.modified);
    keep(call, &bucket, number, part)?;
    let mut reply = copy_result("CopyPartResult", &format!("\"{etag}\""), &modified, Some(&checksum));
    encryption.describe(&mut reply);
    Ok(reply)
}

/// `bytes=first-last`, both given and within the source, as UploadPartCopy wants it. Errors: `InvalidArgument`.
fn copy_range(text: &str, len: u64) -> Result<Range<u64>, S3Error> {
    let parsed = text.strip_prefix("bytes=").and_then(|spec| {
        let (first, last) = spec.split_once('-')?;
        Some((first.parse::<u64>().ok()?, last.parse::<u64>().ok()?))
    });
    match parsed {
        Some((first, last)) if first <= last && last < len => Ok(first..last + 1),
        Some(_) => Err(S3Error::invalid_argument(format!(
            "Range specified is not valid for source object of size: {len}"
        ))),
        None => Err(S3Error::invalid_argument(
            "The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are the zero-based offsets of the first and last bytes to copy",
        )),
    }
}

pub(crate) async fn complete(call: &mut Call) -> Result<Reply, S3Error> {
    let bucket = call.bucket()?;
    let named = named_parts(&receive_document(call).await?)?;
    if express::is_directory_bucket(&bucket.name) {
        express::check_part_numbers(named.iter().map(|part| part.number))?;
    }
    let id = call.target.required("uploadId")?;
    let quirks = &call.settings.quirks;
    let ignored = quirks.ignore_write_conditions || quirks.ignore_complete_conditions || quirks.r2;
    let object = {
        let mut uploads = bucket.uploads.lock();
        let upload = uploads
            .get(id)
            .filter(|upload| *upload.key == *call.target.key)
            .ok_or_else(S3Error::no_such_upload)?;
        let mut object = upload.assemble(&named, &call.settings)?;
        if quirks.no_checksums {
            object.checksum = None;
        }
        let claimed_len = call.header("x-amz-mp-object-size").and_then(|len| len.parse().ok());
        if claimed_len.is_some_and(|len: u64| len != object.content.len()) {
            return Err(S3Error::invalid_request(
                "The provided 'x-amz-mp-object-size' header does not match what was computed.",
            ));
        }
        if let Some(checksum) = &object.checksum {
            upload.checksum.check_completed(&call.parts.headers, checksum)?;
        }
        let object = bucket.insert(&call.target.key, object, |current| {
            if ignored { Ok(()) } else { Conditions::of(&call.parts.headers).check_write(current, false) }
        })?;
        uploads.remove(id);
        object
    };
    let mut xml = XmlWriter::root("CompleteMultipartUploadResult");
    let host = call.header("host").unwrap_or("localhost");
    xml.leaf("Location", &format!("http://{host}{}", call.parts.uri.path()));
    xml.leaf("Bucket", &call.target.bucket);
    xml.leaf("Key", &call.target.key);
    xml.leaf("ETag", &if quirks.no_complete_etag { String::new() } else { object.quoted_etag() });
    if let Some(checksum) = &object.checksum {
        checksum.write(&mut xml);
    }
    let mut reply = Reply::xml(xml.finish_root("CompleteMultipartUploadResult"));
    object.attributes.encryption.describe(&mut reply);
    Ok(reply)
}

pub(crate) fn abort(call: &Call) -> Result<Reply, S3Error> {
    let bucket = call.bucket()?;
    with_upload(call, &bucket, |_| Ok(()))?;
    let removed = bucket.uploads.lock().remove(call.target.required("uploadId")?);
    // Parts in files are removed here, outside of the lock.
    drop(removed);
    Ok(Reply::empty(StatusCode::NO_CONTENT))
}

pub(crate) fn list_parts(call: &Call) -> Result<Reply, S3Error> {
    let bucket = call.bucket()?;
    let after = call.target.number("part-number-marker")?.unwrap_or(0);
    let max = call.target.number("max-parts")?.unwrap_or(PAGE_LEN_MAX).min(PAGE_LEN_MAX);
    let (class, mut parts): (String, Vec<(u16, Part)>) = with_upload(call, &bucket, |upload| {
        let class = upload.attributes.storage_class().to_owned();
        let later = upload.parts.iter().filter(|(number, _)| u64::from(**number) > after);
        Ok((class, later.take(max as usize + 1).map(|(number, part)| (*number, part.clone())).collect()))
    })?;
    let truncated = parts.len() as u64 > max;
    parts.truncate(max as usize);
    let mut xml = XmlWriter::root("ListPartsResult");
    xml.leaf("Bucket", &call.target.bucket);
    xml.leaf("Key", &call.target.key);
    xml.leaf("UploadId", call.target.required("uploadId")?);
    xml.number("PartNumberMarker", after);
    xml.number("NextPartNumberMarker", parts.last().map_or(after, |(number, _)| u64::from(*number)));
    xml.number("MaxParts", max);
    xml.flag("IsTruncated", truncated);
    xml.leaf("StorageClass", &class);
    for (number, part) in parts {
        xml.open("Part");
        xml.number("PartNumber", u64::from(number));
        xml.leaf("LastModified", &iso_date(part.modified));
        xml.leaf("ETag", &format!("\"{}\"", part.etag));
        xml.number("Size", part.content.len());
        xml.leaf(part.checksum.algorithm.element(), &part.checksum.value);
        xml.close("Part");
    }
    Ok(Reply::xml(xml.finish_root("ListPartsResult")))
}

pub(crate) fn list_uploads(call: &Call) -> Result<Reply, S3Error> {
    let bucket = call.bucket()?;
    let prefix = call.target.param("prefix").unwrap_or_default();
    let key_marker = call.target.param("key-marker").unwrap_or_default();
    let id_marker = call.target.param("upload-id-marker").unwrap_or_default();
    let max = call.target.number("max-uploads")?.unwrap_or(PAGE_LEN_MAX).min(PAGE_LEN_MAX) as usize;
    let mut found: Vec<(Arc<str>, String, String)> = bucket
        .uploads
        .lock()
        .iter()
        .filter(|(_, upload)| upload.key.starts_with(prefix))
        .map(|(id, upload)| (upload.key.clone(), id.clone(), iso_date(upload.initiated)))
        .collect();
    found.sort();
    found.retain(|(key, id, _)| {
        &**key > key_marker || (&**key == key_marker && !id_marker.is_empty() && id.as_str() > id_marker)
    });
    let truncated = found.len() > max;
    found.truncate(max);
    let mut xml = XmlWriter::root("ListMultipartUploadsResult");
    xml.leaf("Bucket", &call.target.bucket);
    xml.leaf("KeyMarker", key_marker);
    xml.leaf("UploadIdMarker", id_marker);
    if let Some((key, id, _)) = found.last().filter(|_| truncated) {
        xml.leaf("NextKeyMarker", key);
        xml.leaf("NextUploadIdMarker", id);
    }
    xml.leaf("Prefix", prefix);
    xml.number("MaxUploads", max as u64);
    xml.flag("IsTruncated", truncated);
    for (key, id, initiated) in found {
        xml.open("Upload");
        xml.leaf("Key", &key);
        xml.leaf("UploadId", &id);
        xml.leaf("StorageClass", "STANDARD");
        xml.leaf("Initiated", &initiated);
        xml.close("Upload");
    }
    Ok(Reply::xml(xml.finish_root("ListMultipartUploadsResult")))
}

//! How objects and buckets look in answers.
//!
//! Owns: the JSON resources, and the headers of `alt=media`.
//! Source: Cloud Storage documentation, "Objects: resource representation", "Buckets: resource representation", "HTTP headers".

use crate::bucket::Bucket;
use crate::checksum::{Algorithm, ChecksumHasher};
use crate::content::{Content, FRAME_BYTES_MAX};
use crate::gcs::attributes::Editable;
use crate::object::{Object, http_date};
use crate::reply::Reply;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::HeaderName;
use http::header::{ACCEPT_RANGES, CONTENT_TYPE, ETAG, LAST_MODIFIED};
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use std::io;

/// The storage class of what names none.
pub(crate) const STORAGE_CLASS: &str = "STANDARD";

/// The project number in answers.
const PROJECT_NUMBER: &str = "123456789012";

/// As in resources: RFC 3339 with milliseconds.
pub(crate) fn rfc3339(time: Timestamp) -> String {
    format!("{time:.3}")
}

/// The version as an opaque tag: the generation and the metageneration as a protocol buffer in base64, as the service's own are.
pub(crate) fn etag(generation: u64, metageneration: u64) -> String {
    let mut bytes = Vec::with_capacity(16);
    for (tag, number) in [(0x08, generation), (0x10, metageneration)] {
        bytes.push(tag);
        let mut rest = number;
        while rest >= 0x80 {
            bytes.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        bytes.push(rest as u8);
    }
    BASE64.encode(bytes)
}

/// In base64, big-endian, as everywhere in the API.
pub(crate) fn crc32c_text(value: u32) -> String {
    BASE64.encode(value.to_be_bytes())
}

/// Errors: those of reading a data file.
pub(crate) async fn crc32c_of(content: &Content) -> io::Result<u32> {
    let mut hasher = ChecksumHasher::new(Algorithm::Crc32c);
    for segment in content.segments() {
        let mut segment = segment.clone();
        while segment.len > 0 {
            let bytes = segment.read_front(FRAME_BYTES_MAX).await?;
            hasher.update(&bytes);
            segment.advance(bytes.len() as u64);
            tokio::task::consume_budget().await;
        }
    }
    Ok(hasher.finish_u32())
}

/// The object's CRC32C, which is computed here if it was written through the other API. Errors: those of reading a data file.
pub(crate) async fn object_crc32c(object: &Object) -> io::Result<u32> {
    if let Some(value) = object.gcs.crc32c.get() {
        return Ok(value);
    }
    let value = crc32c_of(&object.content).await?;
    object.gcs.crc32c.set(value);
    Ok(value)
}

/// An object's resource. Errors: those of reading a data file for its checksum.
pub(crate) async fn object_resource(
    endpoint: &str,
    bucket: &Bucket,
    name: &str,
    object: &Object,
) -> io::Result<Value> {
    let attributes = &object.gcs;
    let generation = attributes.generation.to_string();
    let encoded = percent_encoding::utf8_percent_encode(name, percent_encoding::NON_ALPHANUMERIC);
    let link = format!("{endpoint}/storage/v1/b/{}/o/{encoded}", bucket.name);
    let created = rfc3339(attributes.created());
    let updated = rfc3339(updated(object));
    let class = attributes.storage_class.clone().unwrap_or_else(|| bucket.gcs.lock().storage_class.clone());
    let mut resource = json!({
        "kind": "storage#object",
        "id": format!("{}/{name}/{generation}", bucket.name),
        "selfLink": link,
        "mediaLink": format!(
            "{endpoint}/download/storage/v1/b/{}/o/{encoded}?generation={generation}&alt=media", bucket.name
        ),
        "name": name,
        "bucket": bucket.name,
        "generation": generation,
        "metageneration": attributes.metageneration.to_string(),
        "storageClass": class,
        "size": object.content.len().to_string(),
        "crc32c": crc32c_text(object_crc32c(object).await?),
        "etag": etag(attributes.generation, attributes.metageneration),
        "timeCreated": created,
        "updated": updated,
        "timeStorageClassUpdated": created,
        "timeFinalized": created,
    });
    if let Some(fields) = resource.as_object_mut() {
        add_attributes(fields, object);
    }
    Ok(resource)
}

fn add_attributes(fields: &mut Map<String, Value>, object: &Object) {
    let attributes = &object.gcs;
    let editable = Editable::of(&object.attributes, attributes);
    for (field, value) in editable.fields() {
        fields.insert(field.into(), value.into());
    }
    if !editable.metadata.is_empty() {
        fields.insert("metadata".into(), json!(editable.metadata));
    }
    let optional = [
        ("md5Hash", attributes.md5.as_deref()),
        ("kmsKeyName", attributes.kms_key_name.as_deref()),
        ("customTime", attributes.custom_time.as_deref()),
    ];
    for (field, value) in optional {
        if let Some(value) = value {
            fields.insert(field.into(), value.into());
        }
    }
    if let Some(count) = attributes.component_count {
        fields.insert("componentCount".into(), count.into());
    }
}

fn updated(object: &Object) -> Timestamp {
    let created = object.gcs.created();
    if object.gcs.metageneration == 1 { created } else { object.modified.max(created) }
}

/// Sets the headers of `alt=media`, but for those of ranges. Errors: those of reading a data file for the checksum.
pub(crate) async fn describe(object: &Object, bucket: &Bucket, reply: &mut Reply) -> io::Result<()> {
    let attributes = &object.gcs;
    reply.set(ETAG, &etag(attributes.generation, attributes.metageneration));
    reply.set(LAST_MODIFIED, &http_date(updated(object)));
    reply.set(ACCEPT_RANGES, "bytes");
    reply.set(CONTENT_TYPE, "application/octet-stream");
    for (name, value) in object.attributes.content_headers() {
        reply.set(name, value);
    }
    for (key, value) in &object.attributes.metadata {
        if let Ok(name) = HeaderName::try_from(format!("x-goog-meta-{key}")) {
            reply.set(name, value);
        }
    }
    let encoding = object.attributes.content_encoding.as_deref();
    let mut goog = |name: &'static str, value: &str| reply.set(HeaderName::from_static(name), value);
    goog("x-goog-generation", &attributes.generation.to_string());
    goog("x-goog-metageneration", &attributes.metageneration.to_string());
    goog("x-goog-stored-content-length", &object.content.len().to_string());
    goog("x-goog-stored-content-encoding", encoding.unwrap_or("identity"));
    let class = attributes.storage_class.clone().unwrap_or_else(|| bucket.gcs.lock().storage_class.clone());
    goog("x-goog-storage-class", &class);
    if let Some(count) = attributes.component_count {
        goog("x-goog-component-count", &count.to_string());
    }
    let mut hash = format!("crc32c={}", crc32c_text(object_crc32c(object).await?));
    if let Some(md5) = &attributes.md5 {
        hash = format!("{hash},md5={md5}");
    }
    goog("x-goog-hash", &hash);
    Ok(())
}

/// A bucket's resource.
pub(crate) fn bucket_resource(endpoint: &str, bucket: &Bucket, requester_pays: bool) -> Value {
    let gcs = bucket.gcs.lock().clone();
    let created = rfc3339(bucket.created);
    let public = bucket.settings().public;
    let mut resource = json!({
        "kind": "storage#bucket",
        "id": bucket.name,
        "selfLink": format!("{endpoint}/storage/v1/b/{}", bucket.name),
        "name": bucket.name,
        "projectNumber": PROJECT_NUMBER,
        "metageneration": gcs.metageneration.to_string(),
        "generation": "1",
        "location": gcs.location,
        "locationType": gcs.location_type(),
        "storageClass": gcs.storage_class,
        "etag": etag(1, gcs.metageneration),
        "timeCreated": created,
        "updated": created,
        "iamConfiguration": {
            "uniformBucketLevelAccess": {"enabled": gcs.uniform_access},
            "bucketPolicyOnly": {"enabled": gcs.uniform_access},
            "publicAccessPrevention": if public { "inherited" } else { gcs.public_access_prevention.as_str() },
        },
    });
    if requester_pays {
        resource["billing"] = json!({"requesterPays": true});
    }
    if !gcs.labels.is_empty() {
        resource["labels"] = json!(gcs.labels);
    }
    resource
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tag that the service itself gave.
    #[test]
    fn a_tag_is_a_message_of_both_numbers() {
        assert_eq!(etag(1_418_688_703_353_000, 1), "CKih16GjycICEAE=");
    }
}

//! What Google Cloud Storage knows of an object beside its bytes and headers.
//!
//! Owns: [`GcsAttributes`], kept with each object whichever API wrote it, the clock of generations, and [`Editable`], the part of
//! an object that a client of the JSON API sets.
//!
//! Invariants: generations rise strictly over all objects of a process; a change of metadata keeps the generation and raises the
//! metageneration. Content type, encoding and metadata are kept as the [`Attributes`] of an object, so that both
//! APIs see the same ones; the case of a metadata key survives.
//! Source: Cloud Storage documentation, "Object metadata" and "Objects: resource representation".

use crate::attributes::Attributes;
use crate::gcs::error::GcsError;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// The most bytes of custom metadata, names and values together. Source: "Quotas and limits", "Maximum combined size of all custom
/// metadata keys and values".
const METADATA_LEN_BYTES_MAX: usize = 8 * 1024;

/// The highest generation that was given out.
static LAST_GENERATION: AtomicU64 = AtomicU64::new(0);

/// A new generation: microseconds since the epoch, or one more than the last.
pub(crate) fn next_generation() -> u64 {
    let now = u64::try_from(Timestamp::now().as_microsecond()).unwrap_or(1);
    let last = LAST_GENERATION.fetch_max(now, Ordering::Relaxed);
    if last < now { now } else { LAST_GENERATION.fetch_add(1, Ordering::Relaxed) + 1 }
}

/// Generations from now on are above this one, which was found in a folder.
pub(crate) fn raise_generations(found: u64) {
    LAST_GENERATION.fetch_max(found, Ordering::Relaxed);
}

/// A CRC32C that is computed when it is first asked for; an upload through the GCS API computes it as it goes.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(from = "Option<u32>", into = "Option<u32>")]
pub(crate) struct Crc32c(OnceLock<u32>);

impl Crc32c {
    pub(crate) fn get(&self) -> Option<u32> {
        self.0.get().copied()
    }

    pub(crate) fn set(&self, value: u32) {
        // The same bytes have the same checksum: who comes first does not matter.
        let _ = self.0.set(value);
    }
}

impl From<Option<u32>> for Crc32c {
    fn from(value: Option<u32>) -> Self {
        let this = Self::default();
        if let Some(value) = value {
            this.set(value);
        }
        this
    }
}

impl From<Crc32c> for Option<u32> {
    fn from(crc: Crc32c) -> Self {
        crc.get()
    }
}

/// What GCS knows of an object.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct GcsAttributes {
    /// 0 until the object is put into a bucket.
    pub(crate) generation: u64,
    pub(crate) metageneration: u64,
    /// Of a composite object.
    pub(crate) component_count: Option<u32>,
    pub(crate) storage_class: Option<String>,
    pub(crate) kms_key_name: Option<String>,
    pub(crate) custom_time: Option<String>,
    /// Base64; `None` where it was neither claimed nor to be computed, and of composite objects.
    pub(crate) md5: Option<String>,
    pub(crate) crc32c: Crc32c,
}

impl Default for GcsAttributes {
    fn default() -> Self {
        Self {
            generation: 0,
            metageneration: 1,
            component_count: None,
            storage_class: None,
            kms_key_name: None,
            custom_time: None,
            md5: None,
            crc32c: Crc32c::default(),
        }
    }
}

impl GcsAttributes {
    /// When this generation was written.
    pub(crate) fn created(&self) -> Timestamp {
        i64::try_from(self.generation)
            .ok()
            .and_then(|us| Timestamp::from_microsecond(us).ok())
            .unwrap_or_default()
    }
}

/// Fields of the JSON resource that are headers of the object.
const FIELDS: [(&str, &str); 5] = [
    ("contentType", "content-type"),
    ("contentEncoding", "content-encoding"),
    ("contentLanguage", "content-language"),
    ("contentDisposition", "content-disposition"),
    ("cacheControl", "cache-control"),
];

/// What a client sets on an object: the editable fields of its resource.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Editable {
    /// By the name of the header, in lower case.
    pub(crate) headers: BTreeMap<&'static str, String>,
    pub(crate) metadata: BTreeMap<String, String>,
    pub(crate) storage_class: Option<String>,
    pub(crate) kms_key_name: Option<String>,
    pub(crate) custom_time: Option<String>,
}

impl Editable {
    /// What an object has.
    pub(crate) fn of(object: &Attributes, attributes: &GcsAttributes) -> Self {
        let mut editable = Self {
            storage_class: attributes.storage_class.clone(),
            kms_key_name: attributes.kms_key_name.clone(),
            custom_time: attributes.custom_time.clone(),
            metadata: object.metadata.clone(),
            ..Self::default()
        };
        for (name, value) in object.content_headers() {
            if let Some((_, header)) = FIELDS.iter().find(|(_, header)| *header == name.as_str()) {
                editable.headers.insert(header, value.to_owned());
            }
        }
        editable
    }

    /// What a resource sets. Errors: 400 for a field of another type, too much metadata, an unknown storage class.
    pub(crate) fn of_resource(resource: &Map<String, Value>) -> Result<Self, GcsError> {
        let mut editable = Self::default();
        editable.merge(resource)?;
        Ok(editable)
    }

    /// Whether a resource sets none of the fields.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Sets the fields that are there, and removes those that are null. Errors: as [`of_resource`](Self::of_resource).
    pub(crate) fn merge(&mut self, resource: &Map<String, Value>) -> Result<(), GcsError> {
        for (field, header) in FIELDS {
            match resource.get(field) {
                None => {}
                Some(Value::Null) => {
                    self.headers.remove(header);
                }
                Some(Value::String(value)) => {
                    self.headers.insert(header, value.clone());
                }
                Some(_) => return Err(GcsError::invalid(format!("Invalid value for: {field}"))),
            }
        }
        merge_text(resource, "storageClass", &mut self.storage_class)?;
        merge_text(resource, "kmsKeyName", &mut self.kms_key_name)?;
        merge_text(resource, "customTime", &mut self.custom_time)?;
        if let Some(class) = &self.storage_class {
            check_storage_class(class)?;
        }
        self.merge_metadata(resource.get("metadata"))
    }

    fn merge_metadata(&mut self, metadata: Option<&Value>) -> Result<(), GcsError> {
        match metadata {
            None => return Ok(()),
            Some(Value::Null) => self.metadata.clear(),
            Some(Value::Object(map)) => {
                for (key, value) in map {
                    match value {
                        Value::Null => self.metadata.remove(key),
                        Value::String(value) => self.metadata.insert(key.clone(), value.clone()),
                        Value::Bool(_) | Value::Number(_) => {
                            self.metadata.insert(key.clone(), value.to_string())
                        }
                        _ => return Err(GcsError::invalid("Invalid value for: metadata")),
                    };
                }
            }
            Some(_) => return Err(GcsError::invalid("Invalid value for: metadata")),
        }
        let len: usize = self.metadata.iter().map(|(key, value)| key.len() + value.len()).sum();
        if len > METADATA_LEN_BYTES_MAX {
            return Err(GcsError::invalid(format!(
                "Custom metadata is too large: {len} bytes, at most {METADATA_LEN_BYTES_MAX}"
            )));
        }
        Ok(())
    }

    /// As the attributes of an object; those of `others` that are not of this API stay.
    pub(crate) fn into_attributes(mut self, others: &Attributes) -> Attributes {
        let mut attributes = Attributes { metadata: self.metadata, ..others.clone() };
        for (_, header) in FIELDS {
            if let Some(field) = attributes.field(header) {
                *field = self.headers.remove(header);
            }
        }
        attributes
    }

    /// The JSON fields that are headers, with their values.
    pub(crate) fn fields(&self) -> impl Iterator<Item = (&'static str, &str)> {
        FIELDS
            .iter()
            .filter_map(|(field, header)| Some((*field, self.headers.get(header).map(String::as_str)?)))
    }
}

fn merge_text(
    resource: &Map<String, Value>,
    field: &str,
    target: &mut Option<String>,
) -> Result<(), GcsError> {
    match resource.get(field) {
        None => {}
        Some(Value::Null) => *target = None,
        Some(Value::String(value)) => *target = Some(value.clone()),
        Some(_) => return Err(GcsError::invalid(format!("Invalid value for: {field}"))),
    }
    Ok(())
}

/// Errors: 400 for a class that is none. Source: "Storage classes", with the legacy names.
pub(crate) fn check_storage_class(class: &str) -> Result<(), GcsError> {
    const CLASSES: [&str; 8] = [
        "STANDARD",
        "NEARLINE",
        "COLDLINE",
        "ARCHIVE",
        "RAPID",
        "MULTI_REGIONAL",
        "REGIONAL",
        "DURABLE_REDUCED_AVAILABILITY",
    ];
    if CLASSES.contains(&class) {
        return Ok(());
    }
    Err(GcsError::invalid(format!("The storage class you specified is not valid: {class}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generations_rise_strictly() {
        let mut last = 0;
        for _ in 0..10_000 {
            let next = next_generation();
            assert!(next > last);
            last = next;
        }
        raise_generations(last + 1_000_000_000_000);
        assert!(next_generation() > last + 1_000_000_000_000);
    }

    #[test]
    fn a_merge_sets_removes_and_leaves() {
        let resource = |text: &str| serde_json::from_str::<Map<String, Value>>(text).unwrap();
        let set = resource(r#"{"contentType":"a/b","cacheControl":"c","metadata":{"Key":"1","other":"2"}}"#);
        let mut editable = Editable::of_resource(&set).unwrap();
        editable.merge(&resource(r#"{"cacheControl":null,"metadata":{"other":null,"n":"3"}}"#)).unwrap();
        let text = |text: &str| Some(text.to_owned());
        let old = Attributes { expires: text("e"), content_type: text("old"), ..Attributes::default() };
        let pairs = [("Key", "1"), ("n", "3")];
        let metadata = pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        let expected = Attributes { expires: text("e"), content_type: text("a/b"), metadata, ..old.clone() };
        assert_eq!(editable.into_attributes(&old), expected);
    }
}

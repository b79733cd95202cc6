//! Objects as the JSON API writes them.
//!
//! Owns: [`ObjectResource`], the way from it to [`ObjectMeta`] and from [`Attributes`] back to a resource.
//! Source: Cloud Storage JSON API, "Objects". 64-bit numbers are strings there.

use crate::contract::{Attributes, Checksum, Encryption, ObjectMeta, RawKey, UserMetadata, Version};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};
use std::sync::Arc;
use std::time::SystemTime;

/// The fields that [`ObjectResource`] takes of an object, as `fields=` wants them.
pub(super) const FIELDS: &str = "name,size,generation,timeCreated,crc32c,contentType,contentEncoding,contentLanguage,\
     contentDisposition,cacheControl,storageClass,kmsKeyName,customTime,metadata";
/// The same of one in a listing or in the answer to a write.
pub(super) const FACTS: &str = "name,size,generation,timeCreated,crc32c";

/// An object without its bytes. What an answer leaves out is empty.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ObjectResource {
    pub name: String,
    #[serde(deserialize_with = "number")]
    pub size: Option<u64>,
    #[serde(deserialize_with = "number")]
    pub generation: Option<u64>,
    pub time_created: Option<String>,
    pub crc32c: Option<String>,
    pub content_type: Option<String>,
    pub content_encoding: Option<String>,
    pub content_language: Option<String>,
    pub content_disposition: Option<String>,
    pub cache_control: Option<String>,
    pub storage_class: Option<String>,
    pub kms_key_name: Option<String>,
    pub custom_time: Option<String>,
    pub metadata: Option<UserMetadata>,
}

/// A number, or a string that is one.
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Number(u64),
        Text(String),
    }
    Ok(match Option::<Written>::deserialize(deserializer)? {
        Some(Written::Number(number)) => Some(number),
        Some(Written::Text(text)) => Some(text.parse().map_err(serde::de::Error::custom)?),
        None => None,
    })
}

impl ObjectResource {
    /// The generation; unknown where the answer has none.
    pub fn version(&self) -> Version {
        self.generation.map_or(Version::Unknown, Version::Generation)
    }

    /// When this generation was written.
    pub fn written(&self) -> SystemTime {
        time_of(self.time_created.as_deref())
    }

    /// The CRC32C of its bytes.
    pub fn checksum(&self) -> Option<Checksum> {
        Checksum::crc32c_from_base64(self.crc32c.as_deref()?)
    }

    /// What a listing tells of it, with attributes where it was asked for [`FIELDS`]; `None` where its name can be no key.
    pub fn listed(&self, attributes: bool) -> Option<ObjectMeta> {
        let meta = self.meta(&RawKey::new(self.name.as_str()).ok()?);
        Some(ObjectMeta { attributes: meta.attributes.filter(|_| attributes), ..meta })
    }

    /// All of it, of an object that was asked for with [`FIELDS`].
    pub fn meta(&self, key: &RawKey) -> ObjectMeta {
        ObjectMeta {
            key: key.clone(),
            size: self.size.unwrap_or(0),
            version: self.version(),
            last_modified: self.written(),
            attributes: Some(Arc::new(self.attributes())),
            checksum: self.checksum(),
            md5: None,
        }
    }

    fn attributes(&self) -> Attributes {
        let encryption = self.kms_key().map(|key| Encryption {
            algorithm: "kms".to_owned(),
            key_id: Some(key.to_owned()),
            bucket_key: false,
        });
        Attributes {
            metadata: self.metadata.clone().unwrap_or_default(),
            content_type: self.content_type.clone(),
            content_encoding: filled(&self.content_encoding),
            content_language: filled(&self.content_language),
            content_disposition: filled(&self.content_disposition),
            cache_control: filled(&self.cache_control),
            // Named even where it is the standard one: another is the default of many buckets.
            storage_class: filled(&self.storage_class),
            encryption,
            ..Attributes::default()
        }
    }

    /// The key that encrypts it, as a request names it: without the key's version.
    pub fn kms_key(&self) -> Option<&str> {
        let key = self.kms_key_name.as_deref().filter(|key| !key.is_empty())?;
        Some(key.split_once("/cryptoKeyVersions/").map_or(key, |(key, _)| key))
    }

    /// A resource that carries the same, for a copy.
    pub fn copied(&self) -> Map<String, Value> {
        let mut resource = resource_of(&self.attributes());
        if let Some(time) = filled(&self.custom_time) {
            resource.insert("customTime".to_owned(), time.into());
        }
        resource
    }
}

fn filled(field: &Option<String>) -> Option<String> {
    field.clone().filter(|value| !value.is_empty())
}

/// The key that `attributes` name for encryption, which a request names in its query.
pub(super) fn kms_key_of(attributes: &Attributes) -> Option<&str> {
    let key = attributes.encryption.as_ref()?.key_id.as_deref()?;
    Some(key.split_once("/cryptoKeyVersions/").map_or(key, |(key, _)| key))
}

/// The resource of a new object that carries `attributes`.
pub(super) fn resource_of(attributes: &Attributes) -> Map<String, Value> {
    let mut resource = Map::new();
    for (field, value) in [
        ("contentType", &attributes.content_type),
        ("contentEncoding", &attributes.content_encoding),
        ("contentLanguage", &attributes.content_language),
        ("contentDisposition", &attributes.content_disposition),
        ("cacheControl", &attributes.cache_control),
        ("storageClass", &attributes.storage_class),
    ] {
        if let Some(value) = value {
            resource.insert(field.to_owned(), value.as_str().into());
        }
    }
    if !attributes.metadata.is_empty() {
        let metadata = attributes.metadata.iter();
        let metadata: Map<String, Value> =
            metadata.map(|(name, value)| (name.clone(), value.as_str().into())).collect();
        resource.insert("metadata".to_owned(), metadata.into());
    }
    resource
}

/// A time as RFC 3339 writes it; the epoch where it cannot be read.
pub(super) fn time_of(text: Option<&str>) -> SystemTime {
    let written = text.and_then(|text| text.parse::<jiff::Timestamp>().ok());
    written.and_then(|time| SystemTime::try_from(time).ok()).unwrap_or(SystemTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_read() {
        let text = r#"{"name":"a//b","size":"12","generation":"1700000000000001","crc32c":"4waSgw==",
            "timeCreated":"2024-01-02T03:04:05.678Z","contentType":"text/plain","storageClass":"NEARLINE",
            "kmsKeyName":"projects/p/locations/l/keyRings/r/cryptoKeys/k/cryptoKeyVersions/3",
            "metadata":{"mtime":"1.5"},"unknown":{"a":[]}}"#;
        let object: ObjectResource = serde_json::from_str(text).unwrap();
        assert_eq!(object.listed(false).unwrap().attributes, None);
        let meta = object.listed(true).unwrap();
        assert_eq!(meta.attributes.as_ref().unwrap().metadata["mtime"], "1.5");
        assert_eq!((meta.key.as_str(), meta.size), ("a//b", 12));
        assert_eq!(meta.version, Version::Generation(1_700_000_000_000_001));
        assert_eq!(meta.checksum, Some(Checksum::Crc32c(0xe306_9283)));
        let attributes = object.attributes();
        assert_eq!(attributes.metadata["mtime"], "1.5");
        assert_eq!(kms_key_of(&attributes), Some("projects/p/locations/l/keyRings/r/cryptoKeys/k"));
        let copied = Value::Object(object.copied());
        assert_eq!(
            (&copied["storageClass"], &copied["metadata"]["mtime"]),
            (&"NEARLINE".into(), &"1.5".into())
        );
        assert!(copied.get("cacheControl").is_none());
    }

    #[test]
    fn what_an_answer_leaves_out_is_unknown() {
        let object: ObjectResource = serde_json::from_str(r#"{"name":"a","size":3}"#).unwrap();
        assert!(object.version().is_unknown());
        assert_eq!(object.listed(true).unwrap().size, 3);
        assert!(serde_json::from_str::<ObjectResource>(r#"{"name":"a","generation":"x"}"#).is_err());
    }
}

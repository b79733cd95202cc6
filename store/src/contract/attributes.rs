//! What an object carries beside its bytes.
//!
//! Owns: [`Attributes`], which an edit or a rename keeps, and [`NewObjects`], what objects get that had none before. Names are those of the
//! S3 API; other stores have the same under other names, or not at all, and then leave it out.

use std::collections::BTreeMap;

/// User metadata of an object: names without the store's prefix (such as `x-amz-meta-`), and their values. Names are in the
/// store's own case: the S3 family has them in lower case, Azure and Google Cloud Storage as they were given.
pub type UserMetadata = BTreeMap<String, String>;

/// What an object carries beside its bytes. `None` is what the store chooses by itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attributes {
    /// User metadata.
    pub metadata: UserMetadata,
    /// `Content-Type`.
    pub content_type: Option<String>,
    /// `Content-Encoding`.
    pub content_encoding: Option<String>,
    /// `Content-Language`.
    pub content_language: Option<String>,
    /// `Content-Disposition`.
    pub content_disposition: Option<String>,
    /// `Cache-Control`.
    pub cache_control: Option<String>,
    /// The storage class, in the store's own word; `None` is the standard one.
    pub storage_class: Option<String>,
    /// How the store encrypts it with a key that is not the store's own default.
    pub encryption: Option<Encryption>,
    /// Tags, as far as they were asked for ([`Store::attributes`](crate::Store::attributes)).
    pub tags: BTreeMap<String, String>,
    /// How many tags there are.
    pub tag_count: u32,
    /// What kind of object it is, such as `an append blob`, where a write would make it one of another kind. No write with these attributes is sent
    /// ([`ErrorKind::Uneditable`](crate::ErrorKind::Uneditable)).
    pub uneditable: Option<&'static str>,
}

/// How a store encrypts an object at rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encryption {
    /// In the store's own word: `AES256`, `aws:kms`, `aws:kms:dsse`; for Google Cloud Storage `kms`.
    pub algorithm: String,
    /// The key's name or ARN; `None` is the account's default key.
    pub key_id: Option<String>,
    /// An S3 Bucket Key is used.
    pub bucket_key: bool,
}

/// What objects are given that had no attributes before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewObjects {
    /// A content type by the name's extension; else the store's default.
    pub content_type_by_name: bool,
    /// The storage class, in the store's own word.
    pub storage_class: Option<String>,
    /// The encryption.
    pub encryption: Option<Encryption>,
}

impl Default for NewObjects {
    fn default() -> Self {
        Self { content_type_by_name: true, storage_class: None, encryption: None }
    }
}

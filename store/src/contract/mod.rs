//! What a bucket is to the rest of Pail.
//!
//! Owns: [`Store`], and all that goes into it and comes out. It knows of no store in particular.

mod attributes;
mod bucket_name;
mod capabilities;
mod checksum;
mod content_type;
mod counters;
mod error;
mod foreign_uri;
mod key;
mod neighbour;
mod options;
mod storage_class;
mod store;
mod types;
mod uri;
mod version;

pub use attributes::{Attributes, Encryption, NewObjects, UserMetadata};
pub use capabilities::{Capabilities, ConditionedChange, PartCopy};
pub use checksum::Checksum;
pub(crate) use checksum::Crc;
pub use content_type::content_type_of;
pub use counters::CounterSnapshot;
pub use error::{Error, ErrorKind, Result};
pub use key::{InvalidKey, KEY_LEN_BYTES_MAX, RawKey};
pub(crate) use neighbour::bucket_beside;
pub use options::{CallerVariables, StoreOptions};
pub use storage_class::{check_storage_class, needs_restoring, storage_classes};
pub use store::Store;
pub use types::*;
pub use uri::{
    BucketUri, IBM_REGIONS, InvalidUri, StoreKind, UriPart, check_account, check_bucket_name, check_region,
};
pub use version::Version;

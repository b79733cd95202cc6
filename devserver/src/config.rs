//! What a server is started with, and what can be changed while it runs.
//!
//! Owns: [`ServerConfig`] (fixed at the start; one field per command-line flag), [`BucketSettings`], and [`Settings`] (timing and quirks,
//! replaced as a whole through [`Server::set_settings`](crate::Server::set_settings) or `POST /_pail/settings`).

use crate::gcs::GcsSettings;
use serde::{Deserialize, Serialize};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

/// What a server is started with.
#[derive(Clone)]
pub struct ServerConfig {
    /// Where to listen. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where to keep the objects, or `None` for memory. The folder is created if it is missing.
    pub folder: Option<PathBuf>,
    /// The access key that is accepted to begin with; see [`Server::set_credentials`](crate::Server::set_credentials).
    pub access_key: String,
    /// Its secret.
    pub secret_key: String,
    /// Timing and quirks to begin with.
    pub settings: Settings,
}

/// `127.0.0.1`, a free port, in memory, the credentials `test` and `testtest`.
impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            folder: None,
            access_key: "test".into(),
            secret_key: "testtest".into(),
            settings: Settings::default(),
        }
    }
}

/// The secret is left out.
impl std::fmt::Debug for ServerConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerConfig")
            .field("listen", &self.listen)
            .field("folder", &self.folder)
            .field("access_key", &self.access_key)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

/// What can be changed while the server runs. Absent JSON fields take their defaults.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Time from a request's last byte to the answer's first, in milliseconds.
    pub first_byte_ms: u64,
    /// A uniformly random time of 0 to this many milliseconds is added to `first_byte_ms`.
    pub jitter_ms: u64,
    /// Bytes per second of bodies, for each connection and each direction. 0 is unlimited.
    pub bandwidth_bytes_per_s: u64,
    /// Whether ETags are the MD5 of the bytes (1.5 CPU seconds per GiB). The default is a hash of the same shape that is
    /// as stable and costs next to nothing, as on buckets with KMS encryption, where ETags are no MD5 either.
    pub md5_etags: bool,
    /// The least size of a multipart upload's parts but the last, in bytes. S3 has 5 MiB.
    pub part_size_bytes_min: u64,
    /// The most entries of a listing page. S3 has 1,000.
    pub list_page_max: u64,
    /// Buckets that belong to somebody else: creating one is `BucketAlreadyExists`, using one is `AccessDenied`.
    pub foreign_buckets: Vec<String>,
    /// How long the session of a directory bucket lives, in seconds. S3 has five minutes.
    pub session_lifetime_s: u64,
    /// How long a bearer token lives, in seconds. IBM has an hour.
    pub token_lifetime_s: u64,
    /// Ways in which other servers differ from S3.
    pub quirks: Quirks,
    /// How it behaves as Google Cloud Storage.
    pub gcs: GcsSettings,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            first_byte_ms: 0,
            jitter_ms: 0,
            bandwidth_bytes_per_s: 0,
            md5_etags: false,
            part_size_bytes_min: 5 * 1024 * 1024,
            list_page_max: 1000,
            foreign_buckets: Vec::new(),
            session_lifetime_s: 300,
            token_lifetime_s: 3600,
            quirks: Quirks::default(),
            gcs: GcsSettings::default(),
        }
    }
}

/// What can be changed of one bucket, through [`Server::set_bucket`](crate::Server::set_bucket) or `POST /_pail/buckets/NAME`.
/// Absent JSON fields take their defaults.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BucketSettings {
    /// Whether it is read and listed without a signature.
    pub public: bool,
    /// Whether only those who say that they pay (`x-amz-request-payer: requester`) may use it.
    pub requester_pays: bool,
    /// Where it is. Requests that are signed for another region are sent there; for `None` every region is right.
    pub region: Option<String>,
    /// The KMS key of objects that are written without asking for an encryption; the store's own keys, if `None`.
    pub kms_key_id: Option<String>,
}

/// Ways in which other servers differ from S3, imitated so that a client's probing can be tested.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Quirks {
    /// Conditions on PutObject, CompleteMultipartUpload, CopyObject and DeleteObject are ignored: all answer 200 (as Garage does).
    pub ignore_write_conditions: bool,
    /// Conditions on CompleteMultipartUpload alone are ignored (as Ceph RGW does).
    pub ignore_complete_conditions: bool,
    /// Conditions on DeleteObject alone are ignored (as MinIO does).
    pub ignore_delete_conditions: bool,
    /// The ETags in DeleteObjects alone are ignored (as moto does).
    pub ignore_bulk_delete_conditions: bool,
    /// Of the preconditions of Cloud Storage's API those of inserts and reads alone hold; of other changes they are ignored (as fake-gcs-server
    /// does).
    pub insert_conditions_alone: bool,
    /// `If-Match` on PutObject holds only when its ETag has no quotes (as with Ceph RGW).
    pub unquoted_if_match: bool,
    /// CompleteMultipartUpload answers with an empty ETag (as Ceph RGW does).
    pub no_complete_etag: bool,
    /// CompleteMultipartUpload refuses parts of unequal size, but for the last (as R2 does).
    pub equal_parts: bool,
    /// UploadPartCopy is not there: 501.
    pub no_part_copy: bool,
    /// UploadPartCopy is taken for an UploadPart: the part is what the body has, which is nothing, and so is the answer's, a 200.
    pub part_copy_is_upload: bool,
    /// CreateMultipartUpload is not there: 501.
    pub no_multipart: bool,
    /// DeleteObjects is not there: 501.
    pub no_bulk_delete: bool,
    /// AbortMultipartUpload is not there: 405. Uploads stay.
    pub no_abort: bool,
    /// HeadObject is not there: 405.
    pub no_head: bool,
    /// A write with a condition fails: 500, as often as it is tried.
    pub failing_conditions: bool,
    /// PutObject, CopyObject, DeleteObject and CompleteMultipartUpload lock their key from their head to their answer: what reads it waits
    /// (as MinIO does).
    pub lock_while_written: bool,
    /// As Cloudflare R2: equal parts, its regions, no tags and ACLs, conditions on PutObject and, by headers of its own, on CopyObject alone.
    pub r2: bool,
    /// As IBM Cloud Object Storage: bearer tokens beside signatures, `POST /identity/token` (on this server), the service instance with
    /// creating and listing buckets, location constraints with a storage class.
    pub ibm: bool,
    /// Checksums are taken for headers that nobody knows: neither verified nor given back (as Ceph RGW does).
    pub no_checksums: bool,
    /// Requests with a checksum are refused: 501 (as R2 did before 2025).
    pub refuses_checksums: bool,
    /// Listings have no ETags.
    pub no_list_etags: bool,
    /// A prefix with several slashes in a row is taken for one with one: listings hold keys outside of the prefix that was asked for.
    pub folds_slashes: bool,
    /// ETags have a byte beyond ASCII, in headers as it is and in XML as UTF-8.
    pub etag_not_ascii: bool,
}

impl Quirks {
    /// Those of these names, which are the fields' own. Errors: a name that no quirk has, in words that list those there are.
    pub fn named<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        let named = names.into_iter().map(|name| (name.to_owned(), true.into())).collect();
        serde_json::from_value(serde_json::Value::Object(named)).map_err(|error| error.to_string())
    }
}

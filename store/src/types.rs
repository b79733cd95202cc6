//! What goes into and comes out of a [`Store`](crate::Store): versions, metadata, options, pages, bodies.

use crate::{RawKey, Result};
use async_trait::async_trait;
use bytes::{Buf, Bytes};
use md5::{Digest, Md5};
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::SystemTime;

/// One version of an object: the ETag of the S3 family, without its quotes. Equal versions have equal bytes.
///
/// Some servers leave the ETag out of listings: such a version [is unknown](Version::is_unknown). To a read it pins
/// nothing, and a write on condition of it fails; HEAD the object to learn its version.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Version(Arc<str>);

impl Version {
    /// Takes an ETag with or without quotes.
    pub fn from_etag(etag: &str) -> Self {
        Self(etag.trim().trim_matches('"').into())
    }

    /// What Amazon S3 and most others make an object of these parts: the MD5 of the parts' MD5s, and their count. `None` where the parts'
    /// ETags are no MD5s. Others make it otherwise, so that only what is equal tells something.
    pub fn of_parts(parts: &[Part]) -> Option<Self> {
        let mut hasher = Md5::new();
        for part in parts {
            let digest = hex::decode(&part.etag).ok().filter(|digest| digest.len() == 16)?;
            hasher.update(digest);
        }
        Some(Self::from_etag(&format!("{}-{}", hex::encode(hasher.finalize()), parts.len())))
    }

    /// The version of an object whose ETag the store did not say.
    pub fn unknown() -> Self {
        Self("".into())
    }

    /// Whether the store did not say which version it is.
    pub fn is_unknown(&self) -> bool {
        self.0.is_empty()
    }

    /// The ETag without quotes.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// User metadata of an object: lower-case names without the `x-amz-meta-` prefix, and their values.
pub type UserMetadata = BTreeMap<String, String>;

/// What a store says of one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectMeta {
    /// The exact key.
    pub key: RawKey,
    /// The object's length in bytes.
    pub size: u64,
    /// The version that these facts are of.
    pub version: Version,
    /// When it was written, by the store's clock.
    pub last_modified: SystemTime,
    /// User metadata, or `None` where the answer did not carry it (listings).
    pub metadata: Option<Arc<UserMetadata>>,
}

/// How to read an object.
#[derive(Debug, Clone, Default)]
pub struct GetOptions {
    /// The bytes wanted; `None` is all of them. An end beyond the object's is cut to it.
    pub range: Option<Range<u64>>,
    /// Fail with [`ErrorKind::Precondition`](crate::ErrorKind::Precondition) unless this is the current version.
    pub if_version: Option<Version>,
}

/// What an object is, and its bytes as they arrive.
pub struct GetResult {
    /// The whole object's metadata, `size` included.
    pub meta: ObjectMeta,
    /// Which of its bytes `body` yields.
    pub range: Range<u64>,
    /// The bytes.
    pub body: Box<dyn ObjectBody>,
}

impl GetResult {
    /// All bytes of the range, in memory. Errors: those of the body.
    pub async fn bytes(mut self) -> Result<Bytes> {
        let mut bytes = vec![0; (self.range.end - self.range.start) as usize];
        let count = self.body.fill(&mut bytes).await?;
        bytes.truncate(count);
        Ok(bytes.into())
    }
}

/// Bytes of an object on their way. A broken body resumes by itself, from the same version or not at all, and ends only after exactly the
/// bytes of [`GetResult::range`] or with an error.
#[async_trait]
pub trait ObjectBody: Send {
    /// Fills `buffer` with the next bytes, straight from where they arrive. Returns how many came, which is less than `buffer` holds only at
    /// the body's end. Errors: the source cannot be reached any more, or another version took its place; another call tries again. Dropped
    /// halfway, it has lost the bytes that came.
    async fn fill(&mut self, buffer: &mut [u8]) -> Result<usize>;
}

/// Bytes in memory.
#[async_trait]
impl ObjectBody for Bytes {
    async fn fill(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let count = self.len().min(buffer.len());
        self.copy_to_slice(&mut buffer[..count]);
        Ok(count)
    }
}

/// On what condition a write takes effect. Where a store cannot check one atomically (see [`Capabilities`]) it is
/// checked by a HEAD just before the write.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Condition {
    /// Always.
    #[default]
    None,
    /// Only where no object of that key exists.
    IfAbsent,
    /// Only where this is still the current version.
    IfVersion(Version),
}

/// How to write an object.
#[derive(Debug, Clone, Default)]
pub struct PutOptions {
    /// When the write takes effect.
    pub condition: Condition,
    /// User metadata of the new version.
    pub metadata: UserMetadata,
    /// `Content-Type` of the new version; `None` leaves the store's default.
    pub content_type: Option<String>,
}

/// Where an upload's bytes come from. Read again when a request is retried, so its answers must not change while
/// the upload runs.
#[async_trait]
pub trait PayloadSource: Send + Sync + 'static {
    /// The bytes of `range`, which lies within the payload's length. Callers ask for at most 1 MiB at a time.
    async fn read(&self, range: Range<u64>) -> std::io::Result<Bytes>;
}

/// What to upload: its length and where the bytes are.
#[derive(Clone)]
pub enum Payload {
    /// In memory.
    Bytes(Bytes),
    /// Read piece by piece while it is sent, so that a part's size is no memory cost.
    Source {
        /// Bytes in all.
        len: u64,
        /// Where they are.
        source: Arc<dyn PayloadSource>,
    },
}

impl Payload {
    /// The length in bytes.
    pub fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Source { len, .. } => *len,
        }
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl From<Bytes> for Payload {
    fn from(bytes: Bytes) -> Self {
        Self::Bytes(bytes)
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({} bytes)", self.len())
    }
}

/// Which keys to list.
#[derive(Debug, Clone, Default)]
pub struct ListRequest {
    /// Only keys that begin with this; empty for all.
    pub prefix: String,
    /// Fold keys that have a `/` after the prefix into [`ListPage::prefixes`].
    pub delimiter: bool,
    /// Only keys after this one, in UTF-8 byte order. Ignored when `token` is set.
    pub start_after: Option<String>,
    /// Where the page before ended ([`ListPage::next`]).
    pub token: Option<String>,
    /// At most this many keys and prefixes; `None` is the store's own page size (1,000).
    pub max_keys: Option<u32>,
}

/// One page of a listing, in UTF-8 byte order.
#[derive(Debug, Clone, Default)]
pub struct ListPage {
    /// Objects, without user metadata.
    pub objects: Vec<ObjectMeta>,
    /// Common prefixes, each ending in `/`, when a delimiter was asked for.
    pub prefixes: Vec<String>,
    /// The token of the next page; `None` at the end.
    pub next: Option<String>,
}

/// A multipart upload that has begun. It costs the bucket's owner money until completed or aborted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
    /// The object it will become.
    pub key: RawKey,
    /// The store's name for it.
    pub id: String,
}

/// An upload that a store tells of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenUpload {
    /// Which it is.
    pub upload: Upload,
    /// When it was begun, by the store's clock.
    pub initiated: std::time::SystemTime,
}

/// A part that is in the store, as completion wants it named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// 1 to 10,000; gaps are allowed.
    pub number: u32,
    /// The part's ETag, without quotes.
    pub etag: String,
    /// The part's length in bytes.
    pub size: u64,
    /// The part's checksum as the store wants it again on completion, where one was sent.
    pub checksum: Option<String>,
}

/// What an endpoint can do. Known for the big ones, probed on others: some servers answer 200 to a condition that
/// they ignore.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Capabilities {
    /// `If-None-Match: *` and `If-Match` on PutObject are enforced.
    pub conditional_put: bool,
    /// The same on CompleteMultipartUpload.
    pub conditional_complete: bool,
    /// UploadPartCopy with a range works.
    pub part_copy: bool,
    /// All parts but the last must have one size (R2).
    pub equal_parts: bool,
    /// The smallest part but the last, in bytes.
    pub part_size_bytes_min: u64,
    /// The largest part, in bytes.
    pub part_size_bytes_max: u64,
    /// The most parts an upload can have.
    pub part_count_max: u32,
    /// The largest object one PutObject can make, in bytes.
    pub put_size_bytes_max: u64,
}

impl Capabilities {
    /// Everything, with the limits of Amazon S3 (User Guide, "Amazon S3 multipart upload limits").
    pub fn full() -> Self {
        Self {
            conditional_put: true,
            conditional_complete: true,
            part_copy: true,
            equal_parts: false,
            part_size_bytes_min: 5 * 1024 * 1024,
            part_size_bytes_max: 5 * 1024 * 1024 * 1024,
            part_count_max: 10_000,
            put_size_bytes_max: 5 * 1024 * 1024 * 1024,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upload_s_etag_is_that_of_its_parts() {
        let part = |etag: &str| Part { number: 1, etag: etag.into(), size: 1, checksum: None };
        let md5_of_a = "0cc175b9c0f1b6a831c399e269772661";
        let etag = Version::of_parts(&[part(md5_of_a), part(md5_of_a)]);
        assert_eq!(etag, Some(Version::from_etag("7b3c799ee8b11a11c798c8b41bed8502-2")));
        assert_eq!(Version::of_parts(&[part("opaque")]), None);
    }
}

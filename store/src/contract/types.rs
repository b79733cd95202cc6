//! What goes into and comes out of a [`Store`](crate::Store): metadata, options, pages, bodies.

use super::{Attributes, Checksum, RawKey, Result, Version};
use async_trait::async_trait;
use bytes::{Buf, Bytes};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::SystemTime;

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
    /// What it carries beside its bytes, or `None` where the answer did not tell (listings).
    pub attributes: Option<Arc<Attributes>>,
    /// A checksum of the whole object, where the store told one.
    pub checksum: Option<Checksum>,
    /// The MD5 of the whole object, where the store told one beside the version.
    pub md5: Option<[u8; 16]>,
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

/// On what condition a write takes effect. Where a store cannot check one atomically (see [`Capabilities`](crate::Capabilities)) it is
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

/// What one request deletes ([`Store::delete_many`](crate::Store::delete_many)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BulkDeletion {
    /// At most so many objects.
    pub keys_max: usize,
    /// Whether the endpoint is known to enforce the condition of each.
    pub is_conditional: bool,
}

/// How to write an object.
#[derive(Debug, Clone, Default)]
pub struct PutOptions {
    /// When the write takes effect.
    pub condition: Condition,
    /// What the new version carries beside its bytes. What is `None` there is the store's own choice (see [`NewObjects`](crate::NewObjects)).
    pub attributes: Attributes,
}

/// Where an upload's bytes come from. Read again when a request is retried, so its answers must not change while
/// the upload runs.
#[async_trait]
pub trait PayloadSource: Send + Sync + 'static {
    /// The bytes of `range`, which lies within the payload's length. Callers ask for at most 1 MiB at a time.
    async fn read(&self, range: Range<u64>) -> std::io::Result<Bytes>;

    /// All of them, where they are in memory: what a request says of them before they go, such as their checksum, needs no other read then.
    fn in_memory(&self) -> Option<&Bytes> {
        None
    }
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

    /// The bytes, where they are in memory.
    pub fn in_memory(&self) -> Option<&Bytes> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            Self::Source { source, .. } => source.in_memory(),
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
    /// What objects carry beside their bytes is wanted, too, where the store can list it: Google Cloud Storage can, which does not tell it with the bytes.
    pub attributes: bool,
}

/// One page of a listing, in UTF-8 byte order. Only the last one may be empty.
#[derive(Debug, Clone, Default)]
pub struct ListPage {
    /// Objects, without user metadata but where that was asked for ([`ListRequest::attributes`]).
    pub objects: Vec<ObjectMeta>,
    /// Common prefixes, each ending in `/`, when a delimiter was asked for.
    pub prefixes: Vec<String>,
    /// Names of objects that are longer than any [`RawKey`], and so can be counted and shown alone.
    pub names_too_long: Vec<String>,
    /// The token of the next page; `None` at the end.
    pub next: Option<String>,
}

/// What a look for a write found whose answer was lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// The write took effect, and made this version.
    Made(Version),
    /// Something else stands there.
    Other(Version),
    /// Nothing tells.
    Untold,
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
    /// The part's own checksum, where it is known.
    pub checksum: Option<Checksum>,
}

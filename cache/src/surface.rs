//! The surface of the cache, to be filled in.
#![allow(missing_docs, unused_variables, clippy::unimplemented)]

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use serde::{Deserialize, Serialize};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

pub const BLOCK_SIZE_BYTES: u64 = 128 * 1024;

#[derive(Debug, Clone)]
pub struct CacheConfig {
    pub clean_dir: PathBuf,
    pub dirty_dir: PathBuf,
    pub memory_bytes: u64,
    pub disk_bytes: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ReplicaId {
    pub store: Arc<str>,
    pub key: Arc<str>,
    pub version: Arc<str>,
}

pub type FetchError = Arc<dyn std::error::Error + Send + Sync>;

#[async_trait]
pub trait Fetch: Send + Sync + 'static {
    async fn fetch(
        &self,
        range: Range<u64>,
    ) -> Result<BoxStream<'static, Result<Bytes, FetchError>>, FetchError>;
}

#[derive(Debug, Clone, thiserror::Error)]
pub enum ReadError {
    #[error("{0}")]
    Fetch(FetchError),
    #[error("the store sent {got} of the {wanted} bytes asked for at offset {offset} of {key}")]
    Short { key: Arc<str>, offset: u64, wanted: u64, got: u64 },
    #[error("bytes {}..{} are beyond the {size} bytes of {key}", range.start, range.end)]
    OutOfRange { key: Arc<str>, range: Range<u64>, size: u64 },
}

#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    #[error("another daemon uses {}", dir.display())]
    InUse { dir: PathBuf },
    #[error("{action} {}: {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Base {
    pub version: String,
    pub size: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    pub store: String,
    pub key: String,
    pub base: Option<Base>,
    pub mount: String,
    pub created: SystemTime,
}

#[derive(Debug, Clone)]
pub struct Orphan {
    pub intent: Intent,
    pub len: u64,
    pub data_path: PathBuf,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheStats {
    pub memory_used_bytes: u64,
    pub memory_limit_bytes: u64,
    pub disk_used_bytes: u64,
    pub disk_limit_bytes: u64,
    pub dirty_bytes: u64,
    pub memory_hits: u64,
    pub disk_hits: u64,
    pub misses: u64,
    pub fetched_bytes: u64,
    pub fetches: u64,
    pub dropped_fills: u64,
    pub evicted_bytes: u64,
    pub checksum_failures: u64,
    pub disk_errors: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SegmentKind {
    Local,
    Base,
    Zero,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    pub range: Range<u64>,
    pub kind: SegmentKind,
}

pub struct Cache;
pub struct Replica;
pub struct DirtyReplica;

impl Cache {
    pub fn open(config: CacheConfig, runtime: tokio::runtime::Handle) -> Result<Arc<Self>, CacheError> {
        unimplemented!()
    }
    pub fn memory_bytes(&self) -> u64 {
        unimplemented!()
    }
    pub fn replica(self: &Arc<Self>, id: ReplicaId, size: u64) -> Arc<Replica> {
        unimplemented!()
    }
    pub fn create_dirty(self: &Arc<Self>, intent: Intent) -> Result<Arc<DirtyReplica>, CacheError> {
        unimplemented!()
    }
    pub fn adopt(self: &Arc<Self>, dirty: &DirtyReplica, id: ReplicaId) -> Arc<Replica> {
        unimplemented!()
    }
    pub fn orphans(&self) -> Vec<Orphan> {
        unimplemented!()
    }
    pub fn stats(&self) -> CacheStats {
        unimplemented!()
    }
    pub async fn drain(&self) {
        unimplemented!()
    }
}

impl Replica {
    pub fn id(&self) -> &ReplicaId {
        unimplemented!()
    }
    pub fn size(&self) -> u64 {
        unimplemented!()
    }
    pub async fn read(self: &Arc<Self>, range: Range<u64>, fetch: &Arc<dyn Fetch>) -> Result<Bytes, ReadError> {
        unimplemented!()
    }
    pub fn prefetch(self: &Arc<Self>, range: Range<u64>, fetch: &Arc<dyn Fetch>) -> u64 {
        unimplemented!()
    }
    pub fn insert(&self, offset: u64, bytes: Bytes) {
        unimplemented!()
    }
    pub fn is_complete(&self) -> bool {
        unimplemented!()
    }
    pub fn missing_bytes(&self, range: Range<u64>) -> u64 {
        unimplemented!()
    }
}

#[allow(clippy::len_without_is_empty)]
impl DirtyReplica {
    pub fn len(&self) -> u64 {
        unimplemented!()
    }
    pub fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        unimplemented!()
    }
    pub fn truncate(&self, len: u64) -> io::Result<()> {
        unimplemented!()
    }
    pub fn segments(&self, range: Range<u64>) -> Vec<Segment> {
        unimplemented!()
    }
    pub fn read_local(&self, range: Range<u64>) -> io::Result<Bytes> {
        unimplemented!()
    }
    pub fn fill_base(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        unimplemented!()
    }
    pub fn intent(&self) -> Intent {
        unimplemented!()
    }
    pub fn set_intent(&self, intent: Intent) -> io::Result<()> {
        unimplemented!()
    }
    pub fn sync(&self) -> io::Result<()> {
        unimplemented!()
    }
    pub fn discard(&self) {
        unimplemented!()
    }
    pub fn path(&self) -> &Path {
        unimplemented!()
    }
    pub fn bytes_on_disk(&self) -> u64 {
        unimplemented!()
    }
}

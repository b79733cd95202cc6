//! The file system without FUSE, used by path as a program would.
//!
//! Owns: [`Files`]: one `BucketFs` over a bucket in memory, whose calls follow the order in which the kernel makes them (lookup of
//! each component, then the operation, then the forget).

use crate::recorder::Recorder;
use bytes::{Bytes, BytesMut};
use pail_cache::{Cache, CacheConfig};
use pail_mountd::fs::{
    Attr, BucketFs, FsError, FsOptions, FsResult, OpenFlags, Posix, ROOT, RenameMode, SetAttr,
};
use pail_store::{
    Capabilities, Listings, LostAnswers, MemoryStore, PartCopy, Payload, PutOptions, RawKey, Store,
};
use std::ffi::OsStr;
use std::sync::Arc;
use tempfile::TempDir;

/// A file system and the bucket below it.
pub struct Files {
    /// The file system.
    pub fs: Arc<BucketFs>,
    /// The bucket, as another client sees it.
    pub bucket: Arc<MemoryStore>,
    /// What the file system asked of the bucket.
    pub requests: Arc<Recorder>,
    /// The cache.
    pub cache: Arc<Cache>,
    dir: TempDir,
}

/// For reading.
pub const READ: OpenFlags = OpenFlags { write: false, truncate: false, exclusive: false };
/// For writing.
pub const WRITE: OpenFlags = OpenFlags { write: true, truncate: false, exclusive: false };
/// For writing anew.
pub const TRUNCATE: OpenFlags = OpenFlags { write: true, truncate: true, exclusive: false };
/// For reading, once it is truncated.
pub const READ_TRUNCATED: OpenFlags = OpenFlags { write: false, truncate: true, exclusive: false };
/// For writing what must not exist.
pub const EXCLUSIVE: OpenFlags = OpenFlags { write: true, truncate: false, exclusive: true };

/// What the bucket of [`Files::new`] is like: as Google's (`gcs`), as one whose listings tell no versions (`no-listed-versions`), else as Amazon's.
fn bucket_kind() -> String {
    std::env::var("PAIL_TESTS_STORE").unwrap_or_default()
}

/// Whether the bucket of [`Files::new`] moves objects in one step, and copies them as a whole only.
pub fn is_like_gcs() -> bool {
    bucket_kind() == "gcs"
}

/// The request by which a rename makes the object of the new name. The one that removes the old name's is the same, or `delete`.
pub fn rename_request() -> &'static str {
    if is_like_gcs() { "rename" } else { "copy" }
}

/// An empty bucket: that of `PAIL_TESTS_STORE`, by default as Amazon S3's.
fn bucket() -> MemoryStore {
    let composing = Capabilities {
        part_copy: PartCopy::Whole,
        part_size_bytes_min: 1,
        atomic_rename: true,
        ..Capabilities::full()
    };
    match bucket_kind().as_str() {
        "gcs" => MemoryStore::with_capabilities("test", composing).with_generations(),
        "no-listed-versions" => {
            MemoryStore::new("test").with_listings(Listings { without_versions: true, ..Listings::default() })
        }
        _ => MemoryStore::new("test"),
    }
}

impl Files {
    /// An empty bucket, mounted with the default options.
    pub fn new() -> Self {
        Self::with(FsOptions::default())
    }

    /// An empty bucket, mounted with `options`.
    pub fn with(options: FsOptions) -> Self {
        Self::over(Arc::new(bucket()), options)
    }

    /// Another mount of a bucket, with a cache of its own.
    pub fn over(bucket: Arc<MemoryStore>, options: FsOptions) -> Self {
        Self::within(tempfile::tempdir().expect("a temporary directory"), bucket, options)
    }

    fn within(dir: TempDir, bucket: Arc<MemoryStore>, options: FsOptions) -> Self {
        let config = CacheConfig {
            clean_dir: dir.path().join("clean"),
            dirty_dir: dir.path().join("dirty"),
            memory_bytes: 64 << 20,
            disk_bytes: 1 << 30,
        };
        let cache = Cache::open(config, tokio::runtime::Handle::current()).expect("a cache");
        let requests = Recorder::new(bucket.clone());
        let fs = BucketFs::new(LostAnswers::resolved(requests.clone()), cache.clone(), options);
        Self { fs, bucket, requests, cache, dir }
    }

    /// Ends the file system and its cache as a crash would, and starts others in the same directories.
    pub fn restart(&mut self) {
        let options = self.fs.options().clone();
        // The new cache takes the lock of the old one's directories, which goes with its last owner.
        let idle = Self::over(self.bucket.clone(), options.clone());
        let old = std::mem::replace(self, idle);
        let Self { fs, requests, cache, dir, bucket } = old;
        drop((fs, requests, cache));
        *self = Self::within(dir, bucket, options);
    }

    /// Where the cache is.
    pub fn dir(&self) -> &std::path::Path {
        self.dir.path()
    }

    /// The attributes of a path, as after a lookup of each component. Errors: ENOENT among others.
    pub async fn lookup(&self, path: &str) -> FsResult<Attr> {
        let mut attr = self.fs.getattr(ROOT).await?;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            let found = self.fs.lookup(attr.ino, OsStr::new(name)).await?;
            attr = found.map_err(|_| FsError::from(Posix::NotFound))?.attr;
        }
        Ok(attr)
    }

    async fn parent<'p>(&self, path: &'p str) -> FsResult<(u64, &'p OsStr)> {
        let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
        Ok((self.lookup(dir).await?.ino, OsStr::new(name)))
    }

    /// Opens a path, making the file where it is not there and `flags` are for writing. Returns the handle.
    pub async fn open(&self, path: &str, flags: OpenFlags) -> FsResult<u64> {
        match self.try_open(path, flags).await {
            // As the kernel does: the name is looked up anew, once.
            Err(error) if error.errno() == libc::ESTALE => self.try_open(path, flags).await,
            opened => opened,
        }
    }

    async fn try_open(&self, path: &str, flags: OpenFlags) -> FsResult<u64> {
        let pid = std::process::id();
        match self.lookup(path).await {
            Ok(attr) if !flags.exclusive => Ok(self.fs.open(attr.ino, flags, pid).await?.handle),
            Ok(_) => Err(Posix::Exists.into()),
            Err(error) if error.errno() == libc::ENOENT && flags.write => {
                let (parent, name) = self.parent(path).await?;
                Ok(self.fs.create(parent, name, None, flags, pid).await?.1.handle)
            }
            Err(error) => Err(error),
        }
    }

    /// Closes a handle as close(2) of its last descriptor does: flush, whose result counts, and release.
    pub async fn close(&self, handle: u64) -> FsResult<()> {
        let done = self.fs.flush_handle(handle, std::process::id()).await;
        self.fs.release(handle).await;
        done
    }

    /// Writes a whole file.
    pub async fn write(&self, path: &str, bytes: &[u8]) -> FsResult<()> {
        let handle = self.open(path, TRUNCATE).await?;
        for (at, piece) in bytes.chunks(1 << 20).enumerate() {
            self.fs.write(handle, (at << 20) as u64, piece).await?;
        }
        self.close(handle).await
    }

    /// Reads a whole file.
    pub async fn read(&self, path: &str) -> FsResult<Bytes> {
        let handle = self.open(path, READ).await?;
        let bytes = self.read_handle(handle).await;
        self.close(handle).await?;
        bytes
    }

    /// Reads an open file from its beginning to its end.
    pub async fn read_handle(&self, handle: u64) -> FsResult<Bytes> {
        let mut all = BytesMut::new();
        loop {
            let piece = self.fs.read(handle, all.len() as u64, 1 << 20).await?;
            if piece.is_empty() {
                return Ok(all.freeze());
            }
            all.extend_from_slice(&piece);
        }
    }

    /// Sets a file's length.
    pub async fn truncate(&self, path: &str, size: u64) -> FsResult<()> {
        let ino = self.lookup(path).await?.ino;
        self.fs.setattr(ino, SetAttr { size: Some(size), ..SetAttr::default() }).await.map(drop)
    }

    /// Makes a directory.
    pub async fn mkdir(&self, path: &str) -> FsResult<()> {
        let (parent, name) = self.parent(path).await?;
        self.fs.mkdir(parent, name, None).await.map(drop)
    }

    /// Removes a directory.
    pub async fn rmdir(&self, path: &str) -> FsResult<()> {
        let (parent, name) = self.parent(path).await?;
        self.fs.rmdir(parent, name).await
    }

    /// Removes a file.
    pub async fn unlink(&self, path: &str) -> FsResult<()> {
        let (parent, name) = self.parent(path).await?;
        self.fs.unlink(parent, name).await
    }

    /// Renames a file.
    pub async fn rename(&self, from: &str, to: &str, mode: RenameMode) -> FsResult<()> {
        let (from, to) = (self.parent(from).await?, self.parent(to).await?);
        self.fs.rename(from, to, mode).await
    }

    /// The names in a directory, without the dots, in the order in which they come; directories end in `/`.
    pub async fn list(&self, path: &str) -> FsResult<Vec<String>> {
        let handle = self.fs.opendir(self.lookup(path).await?.ino)?;
        let mut names = Vec::new();
        let mut offset = 0;
        loop {
            let batch = self.fs.readdir(handle, offset).await?;
            let Some(last) = batch.last() else { break };
            offset = last.next_offset;
            for entry in &batch {
                if !matches!(&*entry.name, "." | "..") {
                    names.push(format!("{}{}", entry.name, if entry.is_dir { "/" } else { "" }));
                }
            }
        }
        self.fs.releasedir(handle);
        Ok(names)
    }

    /// Puts an object, as another client would.
    pub async fn put(&self, key: &str, bytes: impl Into<Bytes>) {
        let key = RawKey::new(key).expect("a key");
        self.bucket.put(&key, Payload::Bytes(bytes.into()), PutOptions::default()).await.expect("a put");
    }

    /// Gets an object, as another client would.
    pub async fn get(&self, key: &str) -> Option<Bytes> {
        let key = RawKey::new(key).expect("a key");
        self.bucket.get(&key, Default::default()).await.ok()?.bytes().await.ok()
    }
}

impl Default for Files {
    fn default() -> Self {
        Self::new()
    }
}

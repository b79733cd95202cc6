//! The contract between Pail and a bucket.
//!
//! # Why not a library's trait
//! `object_store` names objects by normalised paths, so that keys such as `a//b` or `d/` beside `d` cannot be
//! expressed; see ARCHITECTURE.md.

use super::*;
use async_trait::async_trait;
use std::fmt::Debug;

/// One bucket of an object store.
///
/// # Contract
/// - **Errors** carry operation, key and cause; retryable failures were retried until the deadline before they
///   are returned.
/// - **Bounded**: an implementation limits its requests in flight by itself; a [`GetResult::body`] holds its place until it is
///   read to its end or dropped.
/// - **Strong consistency**: what a write returned is seen by every read and listing that starts afterwards.
/// - **Cancel safety**: dropping a future stops the request. A write that was dropped may or may not have
///   taken effect.
#[async_trait]
pub trait Store: Debug + Send + Sync + 'static {
    /// The bucket as a URI without a key, such as `s3://bucket`.
    fn uri(&self) -> &str;

    /// What identifies the bucket's content for a cache: endpoint and bucket. Holds no secret.
    fn identity(&self) -> &str;

    /// What was sent and received since the store was opened; zeros where nobody counts.
    fn counters(&self) -> CounterSnapshot {
        CounterSnapshot::default()
    }

    /// What the endpoint can do. The first call may probe it, with objects of its own that it deletes again; it is
    /// the only operation that writes without being asked to, and only where it may delete. Errors: the endpoint cannot be reached, or does not
    /// know the credentials; what it answers oddly is not there.
    async fn capabilities(&self) -> Result<Capabilities>;

    /// What the endpoint can do, where that is known without asking it; `None` where it would have to be asked.
    fn known_capabilities(&self) -> Option<Capabilities> {
        None
    }

    /// Creates the bucket; it is no error if the caller owns it already. Errors: `BucketTaken` when somebody else does.
    async fn create_bucket(&self) -> Result<()>;

    /// Whether the bucket is there, and may be asked about. Errors: `NoSuchBucket`, `Denied` (it is there, and somebody else's, or the
    /// credentials do not reach).
    async fn look_up_bucket(&self) -> Result<()>;

    /// Whether the credentials may write objects below the store's probe prefix, found out without writing any; `None` where that cannot be asked.
    /// Errors: the endpoint cannot be asked now.
    async fn may_write(&self) -> Result<Option<bool>> {
        Ok(None)
    }

    /// Deletes the bucket, which must be empty; one that is gone is no error. Errors: `NotEmpty`, `Denied`.
    async fn delete_bucket(&self) -> Result<()>;

    /// Metadata of one object, attributes included, but for the names of its tags. Errors: `NotFound`.
    async fn head(&self, key: &RawKey) -> Result<ObjectMeta>;

    /// The checksum of all bytes of this version, where the store has one; some tell it only where it is asked for. At most one request. Errors:
    /// those of [`head`](Store::head).
    async fn checksum(&self, key: &RawKey, version: &Version) -> Result<Option<Checksum>> {
        let meta = self.head(key).await?;
        Ok(meta.checksum.filter(|_| meta.version.is(version)))
    }

    /// The MD5 of the bytes of an object, as far as what was told of it has one. Sends nothing.
    fn md5(&self, meta: &ObjectMeta) -> Option<[u8; 16]> {
        meta.md5
    }

    /// All that an edit of this version has to keep, tags included: one request, or two where there are tags. Errors: `NotFound`, `Precondition`
    /// (another version stands).
    async fn attributes(&self, key: &RawKey, version: &Version) -> Result<Attributes> {
        let meta = self.head(key).await?;
        if !version.is_unknown() && meta.version != *version {
            let message = "the object has another version now";
            return Err(Error::new(ErrorKind::Precondition, "HeadObject", self.uri(), Some(key), message));
        }
        Ok(meta.attributes.as_deref().cloned().unwrap_or_default())
    }

    /// Reads an object or a range of it. Resolves when the answer's head is there; the body follows as a stream.
    /// Errors: `NotFound`, `Precondition` (another version), `RangeNotSatisfiable`.
    async fn get(&self, key: &RawKey, options: GetOptions) -> Result<GetResult>;

    /// Writes an object in one request. Errors: `Precondition`, `Source`.
    async fn put(&self, key: &RawKey, payload: Payload, options: PutOptions) -> Result<Version>;

    /// Deletes one object; an absent one is no error. Errors: `Precondition` where a version was asked for and
    /// another stands.
    async fn delete(&self, key: &RawKey, condition: Condition) -> Result<()>;

    /// What one request deletes; `None` where each object takes a request of its own. Sends nothing: what an endpoint refuses is known when it has refused it.
    fn bulk_deletion(&self) -> Option<BulkDeletion> {
        None
    }

    /// Deletes up to [`BulkDeletion::keys_max`] objects, whose keys differ, in one request. Returns for each, in their order, what [`delete`](Store::delete) would;
    /// an object that the request cannot name, or whose condition the endpoint does not enforce in it, takes requests of its own. Errors, of the request as a whole, after
    /// which each object may be deleted by itself: `Unsupported` (there is no such request), `Denied`, `Corrupt` (its answer cannot be understood).
    async fn delete_many(&self, _objects: &[(RawKey, Condition)]) -> Result<Vec<Result<()>>> {
        let message = "this store deletes one object at a time";
        Err(Error::new(ErrorKind::Unsupported, "DeleteObjects", self.uri(), None, message))
    }

    /// Moves an object to another key in one step, attributes included, if `from` still has `version`. Returns the new version. Errors: those of
    /// [`copy`](Store::copy); `Unsupported` where [`Capabilities::atomic_rename`] is false.
    async fn rename(
        &self,
        from: &RawKey,
        _version: &Version,
        _to: &RawKey,
        _condition: Condition,
    ) -> Result<Version> {
        let message = "this store has no rename";
        Err(Error::new(ErrorKind::Unsupported, "rename", self.uri(), Some(from), message))
    }

    /// Copies an object of any size on the server, attributes included, if `from` still has `version`. Returns the new
    /// version. Errors: `NotFound`, `Precondition` (of the source, or of `condition` on the destination).
    async fn copy(
        &self,
        from: &RawKey,
        version: &Version,
        to: &RawKey,
        condition: Condition,
    ) -> Result<Version>;

    /// Copies `object` of another bucket, as its listing has it, on the server. It carries what it carried, but for storage class and encryption,
    /// which are this bucket's for new objects. Returns the new version. Errors: `Precondition` (the object is gone or another version);
    /// `Unsupported` where the buckets are not of one endpoint or the store has no such copy; `Denied` also where these credentials may not read `source`.
    async fn copy_from(
        &self,
        source: &dyn Store,
        _object: &ObjectMeta,
        to: &RawKey,
        _condition: Condition,
    ) -> Result<Version> {
        let message = format!("this store copies nothing from {}", source.uri());
        Err(Error::new(ErrorKind::Unsupported, "CopyObject", self.uri(), Some(to), message))
    }

    /// The largest object that one request copies on the server, in bytes. [`copy`](Store::copy) and [`copy_from`](Store::copy_from) take larger ones,
    /// too, by parts that nobody can go on with; who wants that has them copied one by one ([`copy_part_from`](Store::copy_part_from)).
    fn copy_size_bytes_max(&self) -> u64 {
        u64::MAX
    }

    /// One page of a listing. Errors: `NoSuchBucket`, `Denied`.
    async fn list(&self, request: ListRequest) -> Result<ListPage>;

    /// Begins a multipart upload. The same `options` are given to [`complete_upload`](Store::complete_upload): stores differ in where they
    /// take the attributes. The condition is checked at completion, not here.
    async fn start_upload(&self, key: &RawKey, options: &PutOptions) -> Result<Upload>;

    /// Sends part `number` (1 to 10,000); a part of the same number replaces it. Parts may go in any order and at the same
    /// time. Errors: `NotFound` (no such upload), `Source`.
    async fn put_part(&self, upload: &Upload, number: u32, payload: Payload) -> Result<Part>;

    /// Makes part `number` from `range` of `from`, on the server, if `from` still has `version`. Which ranges can be, [`Capabilities::part_copy`]
    /// says.
    async fn copy_part(
        &self,
        upload: &Upload,
        number: u32,
        from: &RawKey,
        version: &Version,
        range: std::ops::Range<u64>,
    ) -> Result<Part>;

    /// Makes part `number` from `range` of an object of another bucket, or of this one, as its listing has it, on the server. Errors: those of
    /// [`copy_from`](Store::copy_from); `NotFound` (no such upload).
    async fn copy_part_from(
        &self,
        source: &dyn Store,
        _object: &ObjectMeta,
        upload: &Upload,
        _number: u32,
        _range: std::ops::Range<u64>,
    ) -> Result<Part> {
        let message = format!("this store copies no parts from {}", source.uri());
        let (uri, key) = (self.uri(), Some(&upload.key));
        Err(Error::new(ErrorKind::Unsupported, "UploadPartCopy", uri, key, message))
    }

    /// Makes the object of its parts, which are given in ascending order. Errors: `Precondition`, `NotFound`. An error inside a
    /// 200 answer is an error here.
    async fn complete_upload(&self, upload: &Upload, parts: &[Part], options: &PutOptions)
    -> Result<Version>;

    /// Looks whether the object of `key` was made of exactly these parts, where the store keeps by what name each was sent. Errors: `NotFound`.
    async fn find_made_of(&self, _key: &RawKey, _parts: &[Part]) -> Result<Found> {
        Ok(Found::Untold)
    }

    /// Ends an upload and frees its parts; one that is gone is no error.
    async fn abort_upload(&self, upload: &Upload) -> Result<()>;

    /// Uploads to exactly `key` that are neither completed nor aborted, whoever began them: at most the first 1,000. Errors: `Denied`,
    /// `Unsupported`.
    async fn open_uploads(&self, key: &RawKey) -> Result<Vec<OpenUpload>>;

    /// Whether an upload has a part. Errors: `NotFound` (no such upload).
    async fn has_parts(&self, upload: &Upload) -> Result<bool>;
}

//! One object of a bucket, to another bucket.
//!
//! Owns: [`Copier`], which has the store copy by itself where it can and will, and relays the bytes otherwise; an object that was replaced meanwhile, or arrived damaged,
//! is copied over once. It also looks whether two objects of one size have the same bytes.

use crate::change::Reason;
use crate::comparison::is_md5s;
use crate::copy_error::{CopyError, StartOver, StartOvers};
use crate::options::PART_BYTES_MIN;
use crate::relay::Relay;
use crate::server_copy::{PARTS_IN_ONE_REQUEST, ServerCopy, is_refusal};
use pail_store::{Condition, ErrorKind, ObjectMeta, RawKey, Store, Version};
use std::mem::discriminant;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use tokio::sync::OnceCell;

/// How objects are copied, as far as that was found out.
#[repr(u8)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CopyMethod {
    /// Source and target are one bucket.
    WithinBucket,
    /// The store was not asked yet to copy from the other bucket.
    Untried,
    /// It did.
    OnServer,
    /// It refused the first one.
    Relayed,
}

/// Copies objects by the method that there is.
pub(crate) struct Copier {
    pub relay: Arc<Relay>,
    method: AtomicU8,
    /// Objects whose bytes could not be compared.
    not_comparable: AtomicU64,
    /// The target was asked what it can do, which a copy on the server depends on.
    is_asked: OnceCell<()>,
}

/// What a store made of the wish that it copy by itself.
enum OnServer {
    Made { version: Version, resumed_bytes: u64 },
    Refused(pail_store::Error),
}

/// An object that was copied.
pub(crate) struct Copied {
    /// Of the source and of what was made.
    pub versions: (Version, Version),
    pub size: u64,
    /// Whether its bytes, which passed through here, are those that the source has; `None` where the store copied.
    pub is_verified: Option<bool>,
    /// So many of its bytes the target had from an earlier run.
    pub resumed_bytes: u64,
}

impl Copier {
    /// Over this relay; `is_within`: source and target are one bucket.
    pub fn new(relay: Relay, is_within: bool) -> Self {
        let method = if is_within { CopyMethod::WithinBucket } else { CopyMethod::Untried };
        Self {
            relay: Arc::new(relay),
            method: AtomicU8::new(method as u8),
            not_comparable: AtomicU64::new(0),
            is_asked: OnceCell::new(),
        }
    }

    /// How many objects could not be compared.
    pub fn not_comparable(&self) -> u64 {
        self.not_comparable.load(Relaxed)
    }

    /// Copies `object`, as a listing has it, to `to`.
    pub async fn copy(&self, object: ObjectMeta, to: &RawKey) -> Result<Copied, CopyError> {
        let object = if object.version.is_unknown() { self.head(&object.key).await? } else { object };
        let (mut object, mut start_overs) = (object, StartOvers::default());
        loop {
            let error = match self.attempt(&object, to).await {
                Err(error) => error,
                done => return done,
            };
            if start_overs.after(&object.key, error)? == StartOver::Current {
                object = self.head(&object.key).await?;
            }
        }
    }

    /// Why `object` is to be copied, where its copy `made` has its size; `None` where both have the same bytes. Checksums are asked for where `by_checksum` says so.
    pub async fn compare(
        &self,
        object: &ObjectMeta,
        made: &ObjectMeta,
        by_checksum: bool,
    ) -> Result<Option<Reason>, CopyError> {
        if is_md5s(&object.version) && object.version.etag() == made.version.etag() {
            return Ok(None);
        }
        if !by_checksum {
            return Ok(Some(Reason::VersionDiffers));
        }
        let of = async |store: &Arc<dyn Store>, object: &ObjectMeta| match object.checksum {
            Some(checksum) => Ok(Some(checksum)),
            None => match store.checksum(&object.key, &object.version).await {
                // Replaced since, or not to be read: it is copied, or that fails by name.
                Err(error)
                    if matches!(
                        error.kind,
                        ErrorKind::NotFound | ErrorKind::Precondition | ErrorKind::Denied
                    ) =>
                {
                    Ok(None)
                }
                Err(error) => Err(CopyError::of_store(&format!("look at {}", object.key), error)),
                Ok(checksum) => Ok(checksum),
            },
        };
        let Relay { source, target, .. } = &*self.relay;
        let checksums = (of(source, object).await?, of(target, made).await?);
        Ok(match checksums {
            (Some(one), Some(other)) if one == other => None,
            (Some(one), Some(other)) if discriminant(&one) == discriminant(&other) => {
                Some(Reason::ContentDiffers)
            }
            _ => {
                self.not_comparable.fetch_add(1, Relaxed);
                Some(Reason::NotComparable)
            }
        })
    }

    async fn head(&self, key: &RawKey) -> Result<ObjectMeta, CopyError> {
        let found = self.relay.source.head(key).await;
        found.map_err(|error| CopyError::of_store(&format!("look at {key}"), error))
    }

    async fn attempt(&self, object: &ObjectMeta, to: &RawKey) -> Result<Copied, CopyError> {
        let (made, is_verified, resumed_bytes) = match self.on_server(object, to).await? {
            Some((made, resumed_bytes)) => (made, None, resumed_bytes),
            None => {
                let made = self.relay.copy(object, to).await?;
                (made.version, Some(made.is_verified), made.resumed_bytes)
            }
        };
        let versions = (object.version.clone(), made);
        Ok(Copied { versions, size: object.size, is_verified, resumed_bytes })
    }

    /// Has the store copy it: the version, and what it had of it from an earlier run; `None` where it does not.
    async fn on_server(&self, object: &ObjectMeta, to: &RawKey) -> Result<Option<(Version, u64)>, CopyError> {
        let method = self.method.load(Relaxed);
        if method == CopyMethod::Relayed as u8 {
            return Ok(None);
        }
        let Relay { target, work, server_copy_bytes_max, .. } = &*self.relay;
        self.is_asked.get_or_init(|| async { drop(work.capabilities(target).await) }).await;
        let is_within = method == CopyMethod::WithinBucket as u8;
        let size_max = target.copy_size_bytes_max().min(*server_copy_bytes_max);
        let copied = match object.size <= size_max {
            true => self.in_one_request(object, to, is_within).await?,
            false => self.in_parts(object, to, size_max / PARTS_IN_ONE_REQUEST).await?,
        };
        match copied {
            OnServer::Made { version, resumed_bytes } => {
                let _ = self.turn(CopyMethod::Untried, CopyMethod::OnServer);
                Ok(Some((version, resumed_bytes)))
            }
            OnServer::Refused(error) => {
                // What the store copied of others it may refuse of one; where it copied nothing yet, it is not asked again.
                if self.turn(CopyMethod::Untried, CopyMethod::Relayed).is_ok() {
                    tracing::debug!(%error, "the store does not copy from there; the bytes go through here");
                }
                Ok(None)
            }
        }
    }

    async fn in_one_request(
        &self,
        object: &ObjectMeta,
        to: &RawKey,
        is_within: bool,
    ) -> Result<OnServer, CopyError> {
        let Relay { source, target, progress, .. } = &*self.relay;
        let _connection = self.relay.connection().await?;
        let mut copied = target.copy_from(&**source, object, to, Condition::None).await;
        if is_within && copied.as_ref().is_err_and(|error| error.kind == ErrorKind::Unsupported) {
            copied = target.copy(&object.key, &object.version, to, Condition::None).await;
        }
        match copied {
            Ok(version) => {
                progress.add_bytes(object.size);
                Ok(OnServer::Made { version, resumed_bytes: 0 })
            }
            Err(error) if is_refusal(error.kind) && !is_within => Ok(OnServer::Refused(error)),
            Err(error) => {
                let doing = format!("copy {}/{} to {}/{to}", source.uri(), object.key, target.uri());
                Err(CopyError::of_store(&doing, error))
            }
        }
    }

    async fn in_parts(
        &self,
        object: &ObjectMeta,
        to: &RawKey,
        part_size: u64,
    ) -> Result<OnServer, CopyError> {
        let source = Arc::new(ServerCopy::of(self.relay.source.clone(), object.clone()));
        let part_size = part_size.max(PART_BYTES_MIN);
        match (self.relay.copy_on_server(object, to, part_size, source.clone()).await, source.refusal()) {
            (Ok(made), _) => Ok(OnServer::Made { version: made.version, resumed_bytes: made.resumed_bytes }),
            (Err(_), Some(refusal)) => Ok(OnServer::Refused(refusal)),
            (Err(error), None) => Err(error),
        }
    }

    fn turn(&self, from: CopyMethod, to: CopyMethod) -> Result<u8, u8> {
        self.method.compare_exchange(from as u8, to as u8, Relaxed, Relaxed)
    }
}

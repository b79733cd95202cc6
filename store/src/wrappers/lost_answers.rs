//! Writes whose answer was lost.
//!
//! Owns: [`LostAnswers`], which resolves them for any store as far as a look can tell, and [`Fingerprint`], by which a caller looks again later
//! ([`look_for`]) where the store did not answer then either.
//!
//! When an attempt's answer is lost, the next attempt of a conditional write meets what the first one wrote, and is refused. So a refusal
//! after such an attempt is checked before it is believed: if the object now holds exactly what was to be written, the write took effect.
//! (Another writer of the same bytes at the same moment cannot be told from ourselves.) The bytes of a completed upload are no longer at
//! hand: it is recognised by its version, where that follows from the parts, or by the checksum of the parts together. Where neither tells,
//! an unconditional completion is not believed: the object may be an older one of the same size.
//!
//! Invariant: an error that leaves here with `maybe_applied` is of a write of which nobody knows whether it took effect.

use super::wrapper::Wrapper;
use crate::contract::*;
use crate::http::deadline::within_call;
use std::sync::Arc;
use std::time::Duration;

/// How long a look is waited for after a deletion or a copy that nothing was heard of: who waits has waited the retries' deadline already.
const LOOK_TIME_MAX: Duration = Duration::from_secs(5);
/// The largest copy whose bytes are looked at.
const COMPARED_BYTES_MAX: u64 = 16 << 20;
/// How much of an object, or of a source, is read at a time.
const READ_SIZE_BYTES: usize = 1 << 20;

/// By what a write is recognised in the bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fingerprint {
    len: u64,
    checksum: Option<Checksum>,
    /// Where it follows from the parts.
    version: Option<Version>,
    /// What it was made of; nothing where it was sent whole.
    parts: Vec<Part>,
}

impl Fingerprint {
    /// Of an object of `len` bytes that was sent whole, by their CRC-64/NVME.
    pub fn of_bytes(len: u64, crc64_nvme: u64) -> Self {
        Self { len, checksum: Some(Checksum::Crc64Nvme(crc64_nvme)), version: None, parts: Vec::new() }
    }

    /// Of an object that was made of parts.
    pub fn of_parts(parts: &[Part]) -> Self {
        Self {
            len: parts.iter().map(|part| part.size).sum(),
            checksum: Checksum::of_parts(parts),
            version: Version::of_parts(parts),
            parts: parts.to_vec(),
        }
    }

    /// By metadata alone; `None` where that does not tell.
    fn is_of(&self, meta: &ObjectMeta) -> Option<bool> {
        if meta.size != self.len {
            return Some(false);
        }
        if self.version.as_ref().is_some_and(|version| version.is(&meta.version)) {
            return Some(true);
        }
        match (self.checksum, meta.checksum) {
            (Some(Checksum::Crc64Nvme(ours)), Some(Checksum::Crc64Nvme(theirs))) => Some(ours == theirs),
            (Some(Checksum::Crc32c(ours)), Some(Checksum::Crc32c(theirs))) => Some(ours == theirs),
            _ => None,
        }
    }
}

/// Looks whether a write took effect. Errors: the store's; `NotFound` where nothing stands there.
pub async fn look_for(store: &dyn Store, key: &RawKey, fingerprint: &Fingerprint) -> Result<Found> {
    if !fingerprint.parts.is_empty() {
        let told = store.find_made_of(key, &fingerprint.parts).await?;
        if told != Found::Untold || fingerprint.version.is_none() && fingerprint.checksum.is_none() {
            return Ok(told);
        }
        let meta = store.head(key).await?;
        return Ok(match fingerprint.is_of(&meta) {
            Some(true) => Found::Made(meta.version),
            Some(false) | None => Found::Other(meta.version),
        });
    }
    let mut current = store.get(key, GetOptions::default()).await?;
    let is_ours = match fingerprint.is_of(&current.meta) {
        Some(told) => told,
        None => fingerprint.checksum == Some(Checksum::Crc64Nvme(sum_of_body(&mut *current.body).await?)),
    };
    let version = current.meta.version;
    Ok(if is_ours { Found::Made(version) } else { Found::Other(version) })
}

/// A store that looks after a write whose answer was lost.
#[derive(Debug)]
pub struct LostAnswers {
    inner: Arc<dyn Store>,
}

impl LostAnswers {
    /// Of any store.
    pub fn resolved(inner: Arc<dyn Store>) -> Arc<dyn Store> {
        Arc::new(Self { inner })
    }

    /// A PUT was refused after an attempt whose outcome is unknown: its version, if the object holds its bytes.
    async fn own_earlier_put(&self, key: &RawKey, payload: &Payload, refused: Error) -> Result<Version> {
        let Some(sum) = sum_of(payload).await else { return Err(refused) };
        match look_for(&*self.inner, key, &Fingerprint::of_bytes(payload.len(), sum)).await {
            Ok(Found::Made(version)) => Ok(version),
            Ok(Found::Other(_)) => Err(of_others(refused)),
            Ok(Found::Untold) => Err(refused),
            Err(look) => Err(undecided(refused, look)),
        }
    }

    /// The same of a completion. Ceph RGW calls it an internal error to complete an upload again.
    async fn own_earlier_completion(
        &self,
        key: &RawKey,
        parts: &[Part],
        condition: &Condition,
        refused: Error,
    ) -> Result<Version> {
        let current = match self.inner.head(key).await {
            Ok(current) => current,
            Err(look) => return Err(undecided(refused, look)),
        };
        let fingerprint = Fingerprint::of_parts(parts);
        match fingerprint.is_of(&current) {
            Some(true) => return Ok(current.version),
            Some(false) => return Err(of_others(refused)),
            None => {}
        }
        let is_news = match condition {
            Condition::None => false,
            Condition::IfAbsent => true,
            Condition::IfVersion(base) => *base != current.version,
        };
        // An ETag that counts no parts is that of an object which was put whole.
        let etag = current.version.etag().and_then(|etag| etag.rsplit_once('-'));
        let has_count = etag.is_some_and(|(_, count)| count == parts.len().to_string());
        if is_news && has_count { Ok(current.version) } else { Err(refused) }
    }

    /// The version of `to`, if it has the bytes of a version of `from`: by its version or checksum. Small ones are compared, too.
    async fn find_copy(&self, from: &RawKey, version: &Version, to: &RawKey) -> Result<Option<Version>> {
        let found = self.inner.head(to).await?;
        if found.version.is(version) {
            return Ok(Some(found.version));
        }
        let source = self.inner.head(from).await?;
        if !source.version.is(version) || source.size != found.size {
            return Ok(None);
        }
        if source.checksum.is_some() && source.checksum == found.checksum {
            return Ok(Some(found.version));
        }
        if found.size > COMPARED_BYTES_MAX {
            return Ok(None);
        }
        let options = GetOptions { if_version: Some(version.clone()), ..GetOptions::default() };
        let mut source = self.inner.get(from, options).await?;
        let sum = sum_of_body(&mut *source.body).await?;
        match look_for(&*self.inner, to, &Fingerprint::of_bytes(source.meta.size, sum)).await? {
            Found::Made(version) => Ok(Some(version)),
            Found::Other(_) | Found::Untold => Ok(None),
        }
    }

    /// The version of `to`, if `from` is gone and what stands at `to` is newer than it: nothing is left of the source to compare with.
    async fn find_renamed(&self, from: &RawKey, version: &Version, to: &RawKey) -> Result<Option<Version>> {
        match self.inner.head(from).await {
            Err(error) if error.kind == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
            Ok(_) => return Ok(None),
        }
        let found = self.inner.head(to).await?.version;
        let is_newer = match (&found, version) {
            (Version::Generation(found), Version::Generation(source)) => found > source,
            (Version::Etag(_) | Version::Generation(_) | Version::Unknown, _) => false,
        };
        Ok(Some(found).filter(|_| is_newer))
    }
}

/// A refusal that is not of the write's own making: it did not take effect.
fn of_others(refused: Error) -> Error {
    Error { maybe_applied: false, ..refused }
}

/// A write was refused, and the look whether by what it made itself failed: where that passes, it is not known yet.
fn undecided(refused: Error, look: Error) -> Error {
    match look.kind {
        ErrorKind::Unreachable | ErrorKind::Exhausted => Error { maybe_applied: true, ..look },
        _ => refused,
    }
}

/// The sum of what was to be sent; `None` where the source cannot be read any more.
async fn sum_of(payload: &Payload) -> Option<u64> {
    let (source, len) = match payload {
        Payload::Bytes(bytes) => {
            let mut crc = Crc::crc64();
            crc.update(bytes);
            return Some(crc.value());
        }
        Payload::Source { source, len } => (source, *len),
    };
    let mut crc = Crc::crc64();
    for start in (0..len).step_by(READ_SIZE_BYTES) {
        crc.update(&source.read(start..len.min(start + READ_SIZE_BYTES as u64)).await.ok()?);
    }
    Some(crc.value())
}

async fn sum_of_body(body: &mut dyn ObjectBody) -> Result<u64> {
    let (mut crc, mut buffer) = (Crc::crc64(), vec![0; READ_SIZE_BYTES]);
    loop {
        match body.fill(&mut buffer).await? {
            0 => return Ok(crc.value()),
            count => crc.update(&buffer[..count]),
        }
    }
}

impl Wrapper for LostAnswers {
    type Inner = dyn Store;

    fn inner(&self) -> &dyn Store {
        &*self.inner
    }

    async fn on_put(&self, key: &RawKey, payload: Payload, options: PutOptions) -> Result<Version> {
        if options.condition == Condition::None {
            return self.inner.put(key, payload, options).await;
        }
        within_call(async {
            match self.inner.put(key, payload.clone(), options).await {
                Err(refused) if refused.maybe_applied && refused.kind == ErrorKind::Precondition => {
                    self.own_earlier_put(key, &payload, refused).await
                }
                put => put,
            }
        })
        .await
    }

    async fn on_delete(&self, key: &RawKey, condition: Condition) -> Result<()> {
        match self.inner.delete(key, condition).await {
            Err(error) if error.maybe_applied => {
                match tokio::time::timeout(LOOK_TIME_MAX, self.inner.head(key)).await {
                    Ok(Err(look)) if look.kind == ErrorKind::NotFound => Ok(()),
                    _ => Err(error),
                }
            }
            outcome => outcome,
        }
    }

    async fn on_copy(
        &self,
        from: &RawKey,
        version: &Version,
        to: &RawKey,
        condition: Condition,
    ) -> Result<Version> {
        match self.inner.copy(from, version, to, condition).await {
            Err(error) if error.maybe_applied => {
                match tokio::time::timeout(LOOK_TIME_MAX, self.find_copy(from, version, to)).await {
                    Ok(Ok(Some(copied))) => Ok(copied),
                    _ => Err(error),
                }
            }
            outcome => outcome,
        }
    }

    async fn on_rename(
        &self,
        from: &RawKey,
        version: &Version,
        to: &RawKey,
        condition: Condition,
    ) -> Result<Version> {
        match self.inner.rename(from, version, to, condition).await {
            Err(error) if error.maybe_applied => {
                match tokio::time::timeout(LOOK_TIME_MAX, self.find_renamed(from, version, to)).await {
                    Ok(Ok(Some(renamed))) => Ok(renamed),
                    _ => Err(error),
                }
            }
            outcome => outcome,
        }
    }

    async fn on_complete_upload(
        &self,
        upload: &Upload,
        parts: &[Part],
        options: &PutOptions,
    ) -> Result<Version> {
        within_call(async {
            match self.inner.complete_upload(upload, parts, options).await {
                Err(refused) if refused.maybe_applied && may_be_own(refused.kind) => {
                    let version =
                        self.own_earlier_completion(&upload.key, parts, &options.condition, refused).await?;
                    // Where parts are objects, those that the lost answer's request took would stay.
                    if let Err(error) = self.inner.abort_upload(upload).await {
                        tracing::warn!(%error, "what was left of an upload could not be freed");
                    }
                    Ok(version)
                }
                completed => completed,
            }
        })
        .await
    }
}

/// Whether a completion that was refused so may have been by itself.
fn may_be_own(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::Precondition | ErrorKind::NotFound | ErrorKind::Exhausted)
}

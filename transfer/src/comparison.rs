//! Whether a file and an object that have the same size are the same.
//!
//! Owns: [`Comparison`], by what that is decided; [`judge`], which decides what needs neither a request nor the file's bytes; and [`Comparer`], which asks
//! the store, and reads the file.
//!
//! # What is compared
//! - With an entry in the manifest: the object has the version and the file the size and time that are noted there. Where its change time alone is another, contents are compared: a program may have written to it and set its time
//!   back, but `chmod`, `ln` and a restored backup change that as well, and what they did is not to send everything again. What has no checksum to be compared by goes by size and time.
//! - Without, for a sync: sizes, and the file's time with the one that the store says of the object, to the nanosecond that it names. A HEAD tells the time that
//!   Pail and others store with an object; a listing does not.
//! - Contents, where they are asked for, and without an entry for a plain copy, to which nobody said that times tell: a checksum of the whole object that the store keeps (CRC64NVME, CRC32C, CRC32), or its ETag where that is the MD5 of the bytes. It is not
//!   where the object was sent in parts, or is encrypted by a key of one's own or KMS (Amazon S3 API Reference, "Object"), which ETags do not tell:
//!   an equal MD5 is believed, another one only where the store has no checksum either.
//!
//! All of them are questions of equality: no clock is asked, so that one that is wrong hides no change.

use crate::Options;
use crate::attributes::FileAttributes;
use crate::change::Reason;
use crate::copy_error::CopyError;
use crate::directory::LocalState;
use crate::file_reading::each_piece;
use crate::manifest::Entry;
use crate::sums::Sum;
use crate::work::Work;
use md5::{Digest, Md5};
use pail_store::{Checksum, ErrorKind, ObjectMeta, Store, Version};
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// By what it is decided that a file is as it was.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Comparison {
    /// By the manifest. Without an entry a download compares the bytes of a file of the object's size, and an upload sends the file.
    #[default]
    Manifest,
    /// By the manifest; without one, by size and time in both directions, which may take a request for each object of the file's size.
    SizeAndTime,
    /// By the bytes, whatever the manifest says: every file of its object's size is read.
    Content,
}

/// What is known of a file and an object without a closer look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Judgement {
    /// `is_by_time`: nobody sent or compared the bytes; see [`Entry`].
    Same {
        is_by_time: bool,
    },
    Differs(Reason),
    /// They have one size, and the rest takes a [`Comparer`].
    Undecided,
}

/// Decides by what is at hand.
pub(crate) fn judge(
    comparison: Comparison,
    entry: Option<&Entry>,
    object: &ObjectMeta,
    local: LocalState,
) -> Judgement {
    if local.size != object.size {
        return Judgement::Differs(Reason::SizeDiffers);
    }
    match (comparison, entry) {
        (Comparison::Content, _) => Judgement::Undecided,
        (_, Some(entry)) if entry.local.mtime_ns != local.mtime_ns => Judgement::Differs(Reason::TimeDiffers),
        (_, Some(entry)) if is_touched(entry, object, local) => Judgement::Undecided,
        (_, Some(entry)) if entry.local.is_like(&local) && entry.version == object.version => {
            Judgement::Same { is_by_time: entry.is_by_time }
        }
        // Some servers leave the versions out of listings.
        (_, Some(_)) if object.version.is_unknown() => Judgement::Undecided,
        (_, Some(_)) => Judgement::Differs(Reason::VersionDiffers),
        (Comparison::Manifest, None) => Judgement::Undecided,
        (_, None) if FileAttributes::of_object(object, 0).mtime_ns() == local.mtime_ns => {
            Judgement::Same { is_by_time: true }
        }
        (Comparison::SizeAndTime, None) if object.attributes.is_none() => Judgement::Undecided,
        (_, None) => Judgement::Differs(Reason::TimeDiffers),
    }
}

/// Whether all is as it was noted but for the file's change time: its mode was changed, or it was linked, or somebody wrote to it and set its time back.
pub(crate) fn is_touched(entry: &Entry, object: &ObjectMeta, local: LocalState) -> bool {
    entry.local.is_like(&local)
        && entry.version == object.version
        && !object.version.is_unknown()
        && local.is_touched_since(&entry.local)
}

/// What a closer look found.
#[derive(Debug)]
pub(crate) enum Compared {
    /// They are the same, and this is the object's version; `is_by_time`: nobody sent or compared the bytes.
    Same {
        version: Version,
        is_by_time: bool,
    },
    Differs(Reason),
}

/// Looks more closely. Bounds: the files that are read at the same time are as many as there are processors.
pub(crate) struct Comparer {
    store: Arc<dyn Store>,
    comparison: Comparison,
    compares_md5s: bool,
    work: Work,
    readers: Semaphore,
    not_comparable: AtomicU64,
    touched: AtomicU64,
}

impl Comparer {
    pub fn new(store: Arc<dyn Store>, options: &Options, work: Work) -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let readers = Semaphore::new(processors);
        let (comparison, compares_md5s) = (options.comparison, options.verifies_by_md5);
        Self {
            store,
            comparison,
            compares_md5s,
            work,
            readers,
            not_comparable: AtomicU64::new(0),
            touched: AtomicU64::new(0),
        }
    }

    /// How many could not be compared.
    pub fn not_comparable(&self) -> u64 {
        self.not_comparable.load(Relaxed)
    }

    /// How many were touched, and taken for what they were by size and time.
    pub fn touched(&self) -> u64 {
        self.touched.load(Relaxed)
    }

    /// Compares `object`, as a listing has it, with a file of its size; `open` opens that.
    pub async fn compare(
        &self,
        object: &ObjectMeta,
        entry: Option<&Entry>,
        local: LocalState,
        open: impl FnOnce() -> io::Result<File> + Send + 'static,
    ) -> Result<Compared, CopyError> {
        let compared = match (self.comparison, entry) {
            (Comparison::Manifest | Comparison::SizeAndTime, Some(entry))
                if is_touched(entry, object, local) =>
            {
                match self.by_content(object, local, open).await? {
                    // Size and time are what is left to go by.
                    Compared::Differs(Reason::NotComparable) => {
                        self.touched.fetch_add(1, Relaxed);
                        let version = object.version.clone();
                        Compared::Same { version, is_by_time: entry.is_by_time }
                    }
                    compared => compared,
                }
            }
            (Comparison::Content, _) | (Comparison::Manifest, None) => {
                self.by_content(object, local, open).await?
            }
            _ => self.by_time(object, entry, local).await?,
        };
        if self.comparison == Comparison::Content
            && matches!(compared, Compared::Differs(Reason::NotComparable))
        {
            self.not_comparable.fetch_add(1, Relaxed);
        }
        Ok(compared)
    }

    async fn by_time(
        &self,
        listed: &ObjectMeta,
        entry: Option<&Entry>,
        local: LocalState,
    ) -> Result<Compared, CopyError> {
        let found = match self.head(listed).await? {
            Head::Found(found) => found,
            Head::Differs(reason) => return Ok(Compared::Differs(reason)),
        };
        if found.size != local.size {
            return Ok(Compared::Differs(Reason::SizeDiffers));
        }
        let (is_same, reason) = match entry {
            Some(entry) => (found.version.is(&entry.version), Reason::VersionDiffers),
            None => {
                // The time of a listing is finer than that of an answer's head.
                let found = ObjectMeta { last_modified: listed.last_modified, ..found.clone() };
                let time = FileAttributes::of_object(&found, 0).mtime_ns();
                (time == local.mtime_ns, Reason::TimeDiffers)
            }
        };
        let is_by_time = entry.is_none_or(|entry| entry.is_by_time);
        Ok(match is_same {
            true => Compared::Same { version: found.version, is_by_time },
            false => Compared::Differs(reason),
        })
    }

    async fn by_content(
        &self,
        listed: &ObjectMeta,
        local: LocalState,
        open: impl FnOnce() -> io::Result<File> + Send + 'static,
    ) -> Result<Compared, CopyError> {
        let file = match self.read(open).await? {
            Ok(file) => Arc::new(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Compared::Differs(Reason::New));
            }
            Err(error) => return Err(CopyError::Item(error.to_string())),
        };
        if let Some(checksum) = listed.checksum {
            return self.by_checksum(&file, checksum, &listed.version, local).await;
        }
        let md5 = listed.md5.or_else(|| md5_in(&listed.version)).filter(|_| self.compares_md5s);
        if let Some(md5) = md5
            && self
                .is_equal(&file, local, move |file, stop| {
                    file_md5(file, u64::MAX, stop).map(|found| found == md5)
                })
                .await?
        {
            return Ok(Compared::Same { version: listed.version.clone(), is_by_time: false });
        }
        let version = match listed.version.is_unknown() {
            false => listed.version.clone(),
            true => match self.head(listed).await? {
                Head::Found(found) => found.version,
                Head::Differs(reason) => return Ok(Compared::Differs(reason)),
            },
        };
        let checksum = match self.store.checksum(&listed.key, &version).await {
            Ok(checksum) => checksum,
            Err(error) if error.kind == ErrorKind::NotFound => return Ok(Compared::Differs(Reason::New)),
            // Who may write, and not read.
            Err(error) if error.kind == ErrorKind::Denied => None,
            Err(error) => return Err(CopyError::of_store(&format!("look at {}", listed.key), error)),
        };
        match (checksum, md5) {
            (Some(checksum), _) => self.by_checksum(&file, checksum, &version, local).await,
            (None, Some(_)) => Ok(Compared::Differs(Reason::ContentDiffers)),
            (None, None) => Ok(Compared::Differs(Reason::NotComparable)),
        }
    }

    async fn by_checksum(
        &self,
        file: &Arc<File>,
        checksum: Checksum,
        version: &Version,
        local: LocalState,
    ) -> Result<Compared, CopyError> {
        let is_equal = self.is_equal(file, local, move |file, stop| file_has(file, checksum, stop)).await?;
        Ok(match is_equal {
            true => Compared::Same { version: version.clone(), is_by_time: false },
            false => Compared::Differs(Reason::ContentDiffers),
        })
    }

    /// Whether the bytes are equal, of a file that is still what it was.
    async fn is_equal(
        &self,
        file: &Arc<File>,
        local: LocalState,
        sum: impl FnOnce(&File, &CancellationToken) -> io::Result<bool> + Send + 'static,
    ) -> Result<bool, CopyError> {
        let _reader =
            self.readers.acquire().await.map_err(|_| CopyError::Item("the run is over".to_owned()))?;
        let (file, stop) = (file.clone(), self.work.stop().clone());
        let look = move || Ok(sum(&file, &stop)? && LocalState::of(&rustix::fs::fstat(&*file)?) == local);
        self.read(look).await?.map_err(|error| CopyError::Item(error.to_string()))
    }

    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> Result<io::Result<T>, CopyError> {
        self.work.blocking(work).await
    }

    /// The object as it is now, where that is still what was listed.
    async fn head(&self, listed: &ObjectMeta) -> Result<Head, CopyError> {
        let found = match self.store.head(&listed.key).await {
            Ok(found) => found,
            Err(error) if error.kind == ErrorKind::NotFound => return Ok(Head::Differs(Reason::New)),
            // Who may write, and not read.
            Err(error) if error.kind == ErrorKind::Denied => return Ok(Head::Differs(Reason::NotComparable)),
            Err(error) => return Err(CopyError::of_store(&format!("look at {}", listed.key), error)),
        };
        let is_replaced = !listed.version.is_unknown() && listed.version != found.version;
        Ok(if is_replaced { Head::Differs(Reason::VersionDiffers) } else { Head::Found(found) })
    }
}

/// What a HEAD says of a listed object.
enum Head {
    Found(ObjectMeta),
    Differs(Reason),
}

/// Whether an ETag is made of the bytes: their MD5, or the MD5 of the MD5s of parts with their count. Two such are equal where the bytes are.
pub(crate) fn is_md5s(version: &Version) -> bool {
    let Some(etag) = version.etag() else { return false };
    let (digest, parts) = etag.split_once('-').unwrap_or((etag, "1"));
    digest.len() == 32
        && digest.bytes().all(|byte| byte.is_ascii_hexdigit())
        && !parts.is_empty()
        && parts.bytes().all(|byte| byte.is_ascii_digit())
}

/// The MD5 that an ETag may be.
fn md5_in(version: &Version) -> Option<[u8; 16]> {
    hex::decode(version.etag()?).ok()?.try_into().ok()
}

/// The MD5 of the first `len` bytes of a file, or of all where it is shorter.
pub(crate) fn file_md5(file: &File, len: u64, stop: &CancellationToken) -> io::Result<[u8; 16]> {
    let mut md5 = Md5::new();
    each_piece(file, 0..len, stop, |bytes| md5.update(bytes))?;
    Ok(md5.finalize().into())
}

/// Whether a file has this checksum.
fn file_has(file: &File, checksum: Checksum, stop: &CancellationToken) -> io::Result<bool> {
    let mut sum = Sum::like(checksum);
    each_piece(file, 0..u64::MAX, stop, |bytes| sum.update(bytes))?;
    Ok(sum.value() == checksum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use pail_store::RawKey;
    use std::io::Write;
    use std::time::{Duration, UNIX_EPOCH};

    fn object(size: u64, version: Version) -> ObjectMeta {
        ObjectMeta {
            key: RawKey::new("k").unwrap(),
            size,
            version,
            last_modified: UNIX_EPOCH + Duration::from_secs(7),
            attributes: None,
            checksum: None,
            md5: None,
        }
    }

    #[test]
    fn every_way_to_differ_has_its_name() {
        let etag = Version::from_etag;
        let at = |size, secs: i64| LocalState { size, mtime_ns: secs * 1_000_000_000, ctime_ns: Some(1) };
        let entry = |version, local| Some(Entry { version, local, is_by_time: false });
        let by = |comparison, entry: Option<Entry>, version, local| {
            judge(comparison, entry.as_ref(), &object(3, version), local)
        };
        use Comparison::{Content, Manifest, SizeAndTime};
        let known = || entry(etag("a"), at(3, 9));
        assert_eq!(by(Manifest, known(), etag("a"), at(3, 9)), Judgement::Same { is_by_time: false });
        let touched = LocalState { ctime_ns: Some(2), ..at(3, 9) };
        assert_eq!(by(Manifest, known(), etag("a"), touched), Judgement::Undecided);
        assert_eq!(by(Manifest, known(), etag("b"), touched), Judgement::Differs(Reason::VersionDiffers));
        let of_old = entry(etag("a"), LocalState { ctime_ns: None, ..at(3, 9) });
        assert_eq!(by(SizeAndTime, of_old, etag("a"), touched), Judgement::Same { is_by_time: false });
        assert_eq!(by(Manifest, known(), etag("b"), at(3, 9)), Judgement::Differs(Reason::VersionDiffers));
        assert_eq!(by(Manifest, known(), etag("a"), at(4, 9)), Judgement::Differs(Reason::SizeDiffers));
        // Earlier is another time, as later is; and the store's time does not matter where an entry says what it was.
        assert_eq!(by(Manifest, known(), etag("a"), at(3, 8)), Judgement::Differs(Reason::TimeDiffers));
        assert_eq!(by(Manifest, known(), etag("a"), at(3, 7)), Judgement::Differs(Reason::TimeDiffers));
        let unknown = || Version::Unknown;
        assert_eq!(by(Manifest, known(), unknown(), at(3, 9)), Judgement::Undecided);
        assert_eq!(by(SizeAndTime, known(), unknown(), at(3, 9)), Judgement::Undecided);
        assert_eq!(by(SizeAndTime, None, etag("a"), at(3, 7)), Judgement::Same { is_by_time: true });
        assert_eq!(by(SizeAndTime, None, etag("a"), at(3, 8)), Judgement::Undecided);
        assert_eq!(by(Manifest, None, etag("a"), at(3, 8)), Judgement::Undecided);
        assert_eq!(by(Manifest, None, etag("a"), at(3, 7)), Judgement::Undecided, "times of two may be one");
        assert_eq!(by(Content, known(), etag("a"), at(3, 9)), Judgement::Undecided);
        assert_eq!(by(Content, known(), etag("a"), at(4, 9)), Judgement::Differs(Reason::SizeDiffers));
    }

    #[test]
    fn checksums_of_files_are_those_of_their_bytes() {
        let mut file = tempfile::tempfile().unwrap();
        let bytes: Vec<u8> = (0..100_000).map(|index| (index / 7) as u8).collect();
        file.write_all(&bytes).unwrap();
        let stop = CancellationToken::new();
        assert!(file_has(&file, Checksum::crc64_of(&bytes), &stop).unwrap());
        assert!(file_has(&file, Checksum::crc32c_of(&bytes), &stop).unwrap());
        assert!(!file_has(&file, Checksum::crc64_of(&bytes[1..]), &stop).unwrap());
        let md5: [u8; 16] = Md5::digest(&bytes).into();
        assert_eq!(file_md5(&file, u64::MAX, &stop).unwrap(), md5);
        assert_eq!(file_md5(&file, 5, &stop).unwrap(), <[u8; 16]>::from(Md5::digest(&bytes[..5])));
        assert_eq!(md5_in(&Version::from_etag(&hex::encode(md5))), Some(md5));
        assert_eq!(md5_in(&Version::from_etag("0cc175b9c0f1b6a831c399e269772661-2")), None);
        assert_eq!(md5_in(&Version::Generation(1)), None);
        assert!(is_md5s(&Version::from_etag("0cc175b9c0f1b6a831c399e269772661")));
        assert!(is_md5s(&Version::from_etag("0cc175b9c0f1b6a831c399e269772661-2")));
        for other in ["0x8DEADBEEF", "0cc175b9c0f1b6a831c399e269772661-", "0cc175b9c0f1b6a831c399e26977266g"]
        {
            assert!(!is_md5s(&Version::from_etag(other)), "{other}");
        }
        assert!(!is_md5s(&Version::Generation(1)));
    }
}

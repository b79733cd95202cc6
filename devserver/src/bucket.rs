//! Buckets and what is in them.
//!
//! Owns: [`Buckets`], [`Bucket`], and that a conditional write is atomic: the condition is checked and the object
//! replaced under one lock.
//!
//! Lock order: `Buckets::by_name`, then `Bucket::uploads`, then `Bucket::objects`. None is held across an await. With a
//! folder, an object's record (a small file) is written under `Bucket::objects`.

use crate::attributes::Attributes;
use crate::config::BucketSettings;
use crate::encryption::Encryption;
use crate::error::S3Error;
use crate::express::{self, is_directory_bucket};
use crate::folder::{BucketRecord, Folder};
use crate::gcs::{GcsBucket, next_generation};
use crate::object::{Object, now};
use crate::upload::Upload;
use jiff::Timestamp;
use parking_lot::{Mutex, RwLock};
use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// An object's key. It is looked up by bytes, because the end of a range of keys need not be UTF-8; the order of bytes
/// is the order of the API's listings.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key(pub(crate) Arc<str>);

impl Borrow<[u8]> for Key {
    fn borrow(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// Objects in the order of a listing.
pub(crate) type ObjectMap = BTreeMap<Key, Arc<Object>>;

/// One bucket.
#[derive(Debug)]
pub(crate) struct Bucket {
    pub(crate) name: String,
    pub(crate) created: Timestamp,
    /// Guards what can be changed of it. A leaf.
    settings: RwLock<BucketSettings>,
    /// Guards which version each key has. See the lock order above.
    objects: RwLock<ObjectMap>,
    /// Guards the uploads in progress by id. See the lock order above.
    pub(crate) uploads: Mutex<BTreeMap<String, Upload>>,
    /// Guards what the GCS API sets of the bucket. A leaf.
    pub(crate) gcs: Mutex<GcsBucket>,
    folder: Option<Arc<Folder>>,
}

impl Bucket {
    fn new(name: &str, created: Timestamp, folder: Option<Arc<Folder>>) -> Self {
        Self {
            name: name.to_owned(),
            created,
            settings: RwLock::default(),
            objects: RwLock::default(),
            uploads: Mutex::default(),
            gcs: Mutex::default(),
            folder,
        }
    }

    /// Errors: `NoSuchKey`.
    pub(crate) fn get(&self, key: &str) -> Result<Arc<Object>, S3Error> {
        self.objects.read().get(key.as_bytes()).cloned().ok_or_else(S3Error::no_such_key)
    }

    /// Puts an object in place if `check` agrees to what is there. Errors: those of `check`, and of the folder.
    pub(crate) fn insert<E: From<io::Error>>(
        &self,
        key: &str,
        object: Object,
        check: impl FnOnce(Option<&Object>) -> Result<(), E>,
    ) -> Result<Arc<Object>, E> {
        self.replace(key, |current| check(current).map(|()| object))
    }

    /// Puts in place what `make` makes of what is there. Errors: those of `make`, and of the folder.
    pub(crate) fn replace<E: From<io::Error>>(
        &self,
        key: &str,
        make: impl FnOnce(Option<&Object>) -> Result<Object, E>,
    ) -> Result<Arc<Object>, E> {
        let mut objects = self.objects.write();
        let object = make(objects.get(key.as_bytes()).map(Arc::as_ref))?;
        Ok(self.place(&mut objects, key, object)?)
    }

    /// Changes what is stored with an object: its bytes, its ETag, its time and its generation stay. Errors: `NoSuchKey`, those of `change`,
    /// and of the folder.
    pub(crate) fn amend(
        &self,
        key: &str,
        change: impl FnOnce(&mut Object) -> Result<(), S3Error>,
    ) -> Result<Arc<Object>, S3Error> {
        self.replace(key, |current| {
            let mut object = current.ok_or_else(S3Error::no_such_key)?.duplicate();
            change(&mut object)?;
            Ok(object)
        })
    }

    /// Puts what `make` makes of the objects at `from` and `to` at `to`, and removes the one at `from`, at one moment. `make` refuses
    /// where they are one. Errors: those of `make`, and of the folder.
    pub(crate) fn relocate<E: From<io::Error>>(
        &self,
        from: &str,
        to: &str,
        make: impl FnOnce(Option<&Object>, Option<&Object>) -> Result<Object, E>,
    ) -> Result<Arc<Object>, E> {
        let mut objects = self.objects.write();
        let at = |key: &str| objects.get(key.as_bytes()).map(Arc::as_ref);
        let object = make(at(from), at(to))?;
        let object = self.place(&mut objects, to, object)?;
        if let Some(sidecar) =
            objects.remove(from.as_bytes()).as_ref().and_then(|moved| moved.sidecar.as_ref())
        {
            sidecar.remove();
        }
        Ok(object)
    }

    /// A new object gets its generation here, whichever API wrote it.
    fn place(&self, objects: &mut ObjectMap, key: &str, mut object: Object) -> io::Result<Arc<Object>> {
        if object.gcs.generation == 0 {
            object.gcs.generation = next_generation();
        }
        if let Some(folder) = &self.folder {
            object.sidecar = Some(folder.write_object(&self.name, key, &object)?);
        }
        let object = Arc::new(object);
        let replaced = objects.insert(Key(key.into()), object.clone());
        if let Some(sidecar) = replaced.as_ref().and_then(|object| object.sidecar.as_ref()) {
            sidecar.remove();
        }
        Ok(object)
    }

    /// Removes an object if `check` agrees; an absent one is no error unless `check` says so.
    pub(crate) fn remove<E>(
        &self,
        key: &str,
        check: impl FnOnce(Option<&Object>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut objects = self.objects.write();
        check(objects.get(key.as_bytes()).map(Arc::as_ref))?;
        if let Some(removed) = objects.remove(key.as_bytes())
            && let Some(sidecar) = &removed.sidecar
        {
            sidecar.remove();
        }
        Ok(())
    }

    /// Looks at all objects at one moment.
    pub(crate) fn with_objects<T>(&self, look: impl FnOnce(&ObjectMap) -> T) -> T {
        look(&self.objects.read())
    }

    pub(crate) fn settings(&self) -> BucketSettings {
        self.settings.read().clone()
    }

    /// Errors: those of the folder.
    pub(crate) fn change_settings(&self, change: impl FnOnce(&mut BucketSettings)) -> io::Result<()> {
        change(&mut self.settings.write());
        self.record()
    }

    /// What objects have that are written without asking for something else.
    pub(crate) fn defaults(&self) -> Attributes {
        let settings = self.settings.read();
        let encryption = settings.kms_key_id.as_ref().map(|key| Encryption::kms(key, true));
        let storage_class = is_directory_bucket(&self.name).then(|| express::STORAGE_CLASS.to_owned());
        Attributes { encryption: encryption.unwrap_or_default(), storage_class, ..Attributes::default() }
    }

    /// Writes the bucket's own record, if there is a folder. Errors: those of the folder.
    pub(crate) fn record(&self) -> io::Result<()> {
        let Some(folder) = &self.folder else { return Ok(()) };
        let (settings, gcs) = (self.settings(), self.gcs.lock().clone());
        let record = BucketRecord { created_s: self.created.as_second(), settings, gcs };
        folder.write_bucket(&self.name, &record)
    }
}

/// All buckets of a server.
#[derive(Debug)]
pub(crate) struct Buckets {
    /// Guards which buckets there are. First in the lock order above.
    by_name: RwLock<BTreeMap<String, Arc<Bucket>>>,
    folder: Option<Arc<Folder>>,
}

impl Buckets {
    /// With what is in `folder`, if there is one. Errors: see [`Folder::open`].
    pub(crate) fn open(folder: Option<PathBuf>) -> io::Result<Self> {
        let Some(root) = folder else { return Ok(Self { by_name: RwLock::default(), folder: None }) };
        let (folder, loaded) = Folder::open(root)?;
        let mut by_name = BTreeMap::new();
        for found in loaded {
            let created = Timestamp::from_second(found.record.created_s).unwrap_or_default();
            let bucket = Bucket::new(&found.name, created, Some(folder.clone()));
            *bucket.settings.write() = found.record.settings;
            *bucket.gcs.lock() = found.record.gcs;
            *bucket.objects.write() =
                found.objects.into_iter().map(|(key, object)| (Key(key.into()), Arc::new(object))).collect();
            by_name.insert(found.name, Arc::new(bucket));
        }
        Ok(Self { by_name: RwLock::new(by_name), folder: Some(folder) })
    }

    pub(crate) fn folder(&self) -> Option<&Arc<Folder>> {
        self.folder.as_ref()
    }

    /// Errors: `NoSuchBucket`.
    pub(crate) fn get(&self, name: &str) -> Result<Arc<Bucket>, S3Error> {
        self.by_name.read().get(name).cloned().ok_or_else(S3Error::no_such_bucket)
    }

    pub(crate) fn all(&self) -> Vec<Arc<Bucket>> {
        self.by_name.read().values().cloned().collect()
    }

    /// Errors: `InvalidBucketName`, `BucketAlreadyOwnedByYou`, and those of the folder.
    pub(crate) fn create(&self, name: &str, region: Option<&str>) -> Result<(), S3Error> {
        if !is_bucket_name(name) {
            return Err(S3Error::new(400, "InvalidBucketName", "The specified bucket is not valid."));
        }
        let settings = BucketSettings { region: region.map(str::to_owned), ..BucketSettings::default() };
        self.create_with(name, GcsBucket::default(), settings).map(|_| ())
    }

    /// A bucket whose name was checked: it is no path. Errors: `BucketAlreadyOwnedByYou`, and those of the folder.
    pub(crate) fn create_with(
        &self,
        name: &str,
        gcs: GcsBucket,
        settings: BucketSettings,
    ) -> Result<Arc<Bucket>, S3Error> {
        let mut by_name = self.by_name.write();
        if by_name.contains_key(name) {
            return Err(S3Error::new(
                409,
                "BucketAlreadyOwnedByYou",
                "Your previous request to create the named bucket succeeded and you already own it.",
            ));
        }
        let bucket = Arc::new(Bucket::new(name, now(), self.folder.clone()));
        *bucket.gcs.lock() = gcs;
        *bucket.settings.write() = settings;
        bucket.record()?;
        by_name.insert(name.to_owned(), bucket.clone());
        Ok(bucket)
    }

    /// Errors: `NoSuchBucket`, `BucketNotEmpty`, and those of the folder.
    pub(crate) fn delete(&self, name: &str) -> Result<(), S3Error> {
        let mut by_name = self.by_name.write();
        let bucket = by_name.get(name).ok_or_else(S3Error::no_such_bucket)?;
        if bucket.with_objects(|objects| !objects.is_empty()) {
            return Err(S3Error::new(409, "BucketNotEmpty", "The bucket you tried to delete is not empty"));
        }
        if let Some(folder) = &self.folder {
            folder.remove_bucket(name)?;
        }
        by_name.remove(name);
        Ok(())
    }
}

/// Amazon S3 User Guide, "General purpose bucket naming rules". It also keeps names from being paths.
fn is_bucket_name(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'.' || b == b'-';
    let edge = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let bytes = name.as_bytes();
    (3..=63).contains(&bytes.len())
        && bytes.iter().all(|b| allowed(*b))
        && edge(bytes.first())
        && edge(bytes.last())
        && !name.contains("..")
        && name.parse::<std::net::Ipv4Addr>().is_err()
}

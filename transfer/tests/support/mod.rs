//! What the tests of copies share: a server in this process, a store on it that soon takes an answer for stalled, and directories.

// Each test program uses its own part of this.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use bytes::Bytes;
use pail_devserver::{Fault, FaultAction, Server, ServerConfig, Settings};
use pail_store::{BucketUri, CallerVariables, GcsStore, RawKey, S3Store, Store, StoreKind, StoreOptions};
use pail_transfer::{Action, Changes, Error, Options, Progress, Reason, Report, Source, UploadSource};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tempfile::TempDir;

pub const BUCKET: &str = "bucket";
/// How long anything may take that a test waits for.
const PATIENCE: Duration = Duration::from_secs(60);
pub const MIB: usize = 1 << 20;

pub struct Place {
    pub server: Server,
    pub store: Arc<dyn Store>,
    pub dir: TempDir,
    pub options: Options,
    pub progress: Arc<Progress>,
}

impl Place {
    pub async fn new() -> Self {
        Self::with(Settings::default()).await
    }

    pub async fn with(settings: Settings) -> Self {
        let server = Server::start(ServerConfig { settings, ..ServerConfig::default() }).await.unwrap();
        server.create_bucket(BUCKET).await.unwrap();
        let keys = [("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "testtest")];
        let options = StoreOptions {
            endpoint_url: Some(server.endpoint_url()),
            environment: Some(CallerVariables(keys.map(|(n, v)| (n.to_owned(), v.to_owned())).into())),
            stall_timeout: Duration::from_secs(1),
            ..StoreOptions::s3(BUCKET)
        };
        let store = S3Store::open(options).await.unwrap();
        let dir = tempfile::tempdir().unwrap();
        let options =
            Options { state_dir: Some(dir.path().join("state")), part_bytes: 5 << 20, ..Options::default() };
        Self { server, store, dir, options, progress: Arc::default() }
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub async fn put(&self, key: &str, bytes: impl Into<Bytes>) {
        self.server.put_object(BUCKET, key, bytes.into()).await.unwrap();
    }

    /// Copies what is below a prefix to `target`.
    pub async fn download(&self, prefix: &str, target: &str) -> Result<Report, Error> {
        self.download_of(&Source::Prefix(prefix.to_owned()), target).await
    }

    pub async fn download_of(&self, source: &Source, target: &str) -> Result<Report, Error> {
        let progress = Arc::default();
        let target = self.at(target);
        pail_transfer::download(self.store.clone(), source, &target, &self.options, &progress).await
    }

    /// Sends the content of a directory to what is below a prefix.
    pub async fn upload(&self, source: &str, prefix: &str) -> Result<Report, Error> {
        let sources = UploadSource::content_of(&self.at(source), prefix).unwrap();
        pail_transfer::upload(self.store.clone(), &sources, &self.options, &Arc::default()).await
    }

    pub fn strike(&self, operation: &str, action: FaultAction) {
        self.server.inject(Fault::once(Some(operation), action));
    }

    pub fn count(&self, operation: &str) -> u64 {
        self.server.counters().count(operation)
    }

    /// Waits until the server was asked so often.
    pub async fn wait_for(&self, operation: &str, count: u64) {
        let what = format!("{count} {operation}");
        wait_until(&what, || self.count(operation) >= count).await;
    }

    pub async fn object(&self, key: &str) -> Option<Bytes> {
        let key = RawKey::new(key).unwrap();
        Some(self.store.get(&key, Default::default()).await.ok()?.bytes().await.unwrap())
    }

    /// Every file below a directory of the test, with its bytes.
    pub fn files(&self, dir: &str) -> BTreeMap<String, Vec<u8>> {
        let mut found = BTreeMap::new();
        collect(&self.at(dir), "", &mut found);
        found
    }
}

/// Another bucket of a server, by its S3 API or that of Google Cloud Storage.
pub async fn bucket(place: &Place, kind: StoreKind, name: &str) -> Arc<dyn Store> {
    let keys = [("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "testtest")];
    let uri = BucketUri { kind, scope: None, bucket: name.to_owned(), prefix: String::new() };
    let options = StoreOptions {
        endpoint_url: Some(place.server.endpoint_url()),
        environment: Some(CallerVariables(keys.map(|(n, v)| (n.to_owned(), v.to_owned())).into())),
        anonymous: kind == StoreKind::Gcs,
        stall_timeout: Duration::from_secs(1),
        ..StoreOptions::new(uri)
    };
    if name != BUCKET {
        place.server.create_bucket(name).await.unwrap();
    }
    match kind {
        StoreKind::Gcs => GcsStore::open(options).await.unwrap(),
        _ => S3Store::open(options).await.unwrap(),
    }
}

fn collect(dir: &Path, prefix: &str, found: &mut BTreeMap<String, Vec<u8>>) {
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    for entry in entries {
        let entry = entry.unwrap();
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        match entry.file_type().unwrap().is_dir() {
            true => collect(&entry.path(), &format!("{name}/"), found),
            false => drop(found.insert(name, std::fs::read(entry.path()).unwrap_or_default())),
        }
    }
}

pub async fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Bytes that differ by `seed` everywhere.
pub fn noise(seed: u64, len: usize) -> Bytes {
    let byte = |index: u64| (index.wrapping_add(seed << 32).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8;
    (0..len as u64).map(byte).collect()
}

/// All keys of the bucket, in their order.
pub async fn keys(place: &Place) -> Vec<String> {
    let (mut keys, mut request) = (Vec::new(), pail_store::ListRequest::default());
    loop {
        let page = place.store.list(request.clone()).await.unwrap();
        keys.extend(page.objects.into_iter().map(|object| object.key.as_str().to_owned()));
        match page.next {
            Some(next) => request.token = Some(next),
            None => return keys,
        }
    }
}

/// The names of problems.
pub fn names(problems: &pail_transfer::Problems) -> Vec<&str> {
    let mut names: Vec<_> = problems.named.iter().map(|problem| problem.name.as_str()).collect();
    assert_eq!(names.len() as u64, problems.count);
    names.sort();
    names
}

/// Writes a local file, with the directories that lead there.
pub fn write(place: &Place, name: &str, bytes: impl AsRef<[u8]>) {
    let path = place.at(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// Makes every run a dry one, and collects what it tells.
pub fn dry(place: &mut Place) -> Arc<Mutex<BTreeMap<String, (Action, Reason)>>> {
    let told: Arc<Mutex<BTreeMap<_, _>>> = Arc::default();
    let changes = told.clone();
    place.options.dry_run = Some(Changes::new(move |change| {
        let before = changes.lock().unwrap().insert(change.key, (change.action, change.why));
        assert_eq!(before, None, "a change is told once");
    }));
    told
}

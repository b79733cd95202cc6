//! A store in front of another that records what is asked, and fails on demand.
//!
//! Owns: [`Recorder`]. Requests are named by operation and key, in the order in which they began.

use async_trait::async_trait;
use pail_store::*;
use parking_lot::Mutex;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::Semaphore;

/// One rule of failing: the next `times` requests of `operation` whose key holds `key` fail with `kind`.
struct Rule {
    /// They are carried out, and only their answers are lost.
    is_applied: bool,
    operation: &'static str,
    key: String,
    kind: ErrorKind,
    times: u32,
}

/// Answers that are held back until this is dropped.
#[derive(Debug)]
pub struct Held {
    /// Permits stand for released answers.
    gate: Arc<Semaphore>,
    /// Permits stand for requests that wait.
    waiting: Arc<Semaphore>,
}

impl Held {
    /// Waits until a request whose answer is held back was carried out; each is waited for once.
    pub async fn reached(&self) {
        self.waiting.acquire().await.expect("never closed").forget();
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.gate.close();
    }
}

#[derive(Debug)]
struct Hold {
    operation: &'static str,
    key: String,
    gate: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
}

/// A store that records.
#[derive(Debug)]
pub struct Recorder {
    inner: Arc<dyn Store>,
    /// Guards the log only.
    requests: Mutex<Vec<String>>,
    /// Bytes of content that were sent.
    bytes_sent: AtomicU64,
    /// Guards the rules only.
    rules: Mutex<Vec<Rule>>,
    /// Guards the list only.
    holds: Mutex<Vec<Hold>>,
}

impl std::fmt::Debug for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} fails {} times", self.operation, self.key, self.times)
    }
}

impl Recorder {
    /// Records what is asked of `inner`.
    pub fn new(inner: Arc<dyn Store>) -> Arc<Self> {
        Arc::new(Self {
            inner,
            requests: Mutex::default(),
            bytes_sent: AtomicU64::new(0),
            rules: Mutex::default(),
            holds: Mutex::default(),
        })
    }

    /// The requests since the last call, as `operation key`.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.requests.lock())
    }

    /// The bytes of content that were sent since the last call.
    pub fn take_bytes_sent(&self) -> u64 {
        self.bytes_sent.swap(0, Ordering::Relaxed)
    }

    /// Lets the next `times` requests of `operation` on keys that hold `key` fail.
    pub fn fail(&self, operation: &'static str, key: &str, kind: ErrorKind, times: u32) {
        self.rules.lock().push(Rule { is_applied: false, operation, key: key.to_owned(), kind, times });
    }

    /// Carries out the next request of `operation` on a key that holds `key`, whose answers are lost until the deadline.
    pub fn lose_answer(&self, operation: &'static str, key: &str) {
        let (key, kind) = (key.to_owned(), ErrorKind::Unreachable);
        self.rules.lock().push(Rule { is_applied: true, operation, key, kind, times: 1 });
    }

    /// Holds back the answers to requests of `operation` on keys that hold `key`, which the store below carries out at once.
    pub fn hold(&self, operation: &'static str, key: &str) -> Held {
        let (gate, waiting) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        let hold = Hold { operation, key: key.to_owned(), gate: gate.clone(), waiting: waiting.clone() };
        self.holds.lock().push(hold);
        Held { gate, waiting }
    }

    async fn leave<T>(&self, operation: &'static str, key: &str, answer: Result<T>) -> Result<T> {
        let held = {
            let holds = self.holds.lock();
            let held = holds.iter().find(|hold| {
                hold.operation == operation && key.contains(&hold.key) && !hold.gate.is_closed()
            });
            held.map(|hold| (hold.gate.clone(), hold.waiting.clone()))
        };
        if let Some((gate, waiting)) = held {
            waiting.add_permits(1);
            // Closed when it is let go.
            drop(gate.acquire().await);
        }
        self.obey_rules(operation, key, true)?;
        answer
    }

    fn enter(&self, operation: &'static str, key: &str) -> Result<()> {
        self.requests.lock().push(format!("{operation} {key}"));
        self.obey_rules(operation, key, false)
    }

    fn obey_rules(&self, operation: &'static str, key: &str, is_applied: bool) -> Result<()> {
        let mut rules = self.rules.lock();
        let hit = rules.iter_mut().find(|rule| {
            rule.is_applied == is_applied
                && rule.times > 0
                && rule.operation == operation
                && key.contains(&rule.key)
        });
        match hit {
            None => Ok(()),
            Some(rule) => {
                rule.times -= 1;
                let key = RawKey::new(key).ok();
                let failed = Error::new(rule.kind, operation, "test", key.as_ref(), "failed on demand");
                Err(Error { maybe_applied: is_applied, ..failed })
            }
        }
    }
}

#[async_trait]
impl Store for Recorder {
    fn uri(&self) -> &str {
        self.inner.uri()
    }
    fn identity(&self) -> &str {
        self.inner.identity()
    }
    async fn capabilities(&self) -> Result<Capabilities> {
        self.inner.capabilities().await
    }
    async fn create_bucket(&self) -> Result<()> {
        self.inner.create_bucket().await
    }
    async fn look_up_bucket(&self) -> Result<()> {
        self.inner.look_up_bucket().await
    }
    async fn delete_bucket(&self) -> Result<()> {
        self.inner.delete_bucket().await
    }
    async fn head(&self, key: &RawKey) -> Result<ObjectMeta> {
        self.enter("head", key.as_str())?;
        let answer = self.inner.head(key).await;
        self.leave("head", key.as_str(), answer).await
    }
    fn md5(&self, meta: &ObjectMeta) -> Option<[u8; 16]> {
        self.inner.md5(meta)
    }
    async fn checksum(&self, key: &RawKey, version: &Version) -> Result<Option<Checksum>> {
        self.enter("checksum", key.as_str())?;
        let answer = self.inner.checksum(key, version).await;
        self.leave("checksum", key.as_str(), answer).await
    }
    async fn attributes(&self, key: &RawKey, version: &Version) -> Result<Attributes> {
        self.enter("attributes", key.as_str())?;
        let answer = self.inner.attributes(key, version).await;
        self.leave("attributes", key.as_str(), answer).await
    }
    async fn get(&self, key: &RawKey, options: GetOptions) -> Result<GetResult> {
        self.enter("get", key.as_str())?;
        let answer = self.inner.get(key, options).await;
        self.leave("get", key.as_str(), answer).await
    }
    async fn put(&self, key: &RawKey, payload: Payload, options: PutOptions) -> Result<Version> {
        self.enter("put", key.as_str())?;
        self.bytes_sent.fetch_add(payload.len(), Ordering::Relaxed);
        let answer = self.inner.put(key, payload, options).await;
        self.leave("put", key.as_str(), answer).await
    }
    async fn delete(&self, key: &RawKey, condition: Condition) -> Result<()> {
        self.enter("delete", key.as_str())?;
        let answer = self.inner.delete(key, condition).await;
        self.leave("delete", key.as_str(), answer).await
    }
    fn bulk_deletion(&self) -> Option<BulkDeletion> {
        self.inner.bulk_deletion()
    }
    async fn delete_many(&self, objects: &[(RawKey, Condition)]) -> Result<Vec<Result<()>>> {
        self.enter("delete_many", "")?;
        let answer = self.inner.delete_many(objects).await;
        self.leave("delete_many", "", answer).await
    }
    async fn rename(
        &self,
        from: &RawKey,
        version: &Version,
        to: &RawKey,
        condition: Condition,
    ) -> Result<Version> {
        // One that is not there costs no request.
        if self.inner.capabilities().await?.atomic_rename {
            self.enter("rename", from.as_str())?;
        }
        let answer = self.inner.rename(from, version, to, condition).await;
        self.leave("rename", from.as_str(), answer).await
    }
    async fn copy(
        &self,
        from: &RawKey,
        version: &Version,
        to: &RawKey,
        condition: Condition,
    ) -> Result<Version> {
        self.enter("copy", from.as_str())?;
        let answer = self.inner.copy(from, version, to, condition).await;
        self.leave("copy", from.as_str(), answer).await
    }
    async fn list(&self, request: ListRequest) -> Result<ListPage> {
        self.enter("list", &request.prefix)?;
        let prefix = request.prefix.clone();
        let answer = self.inner.list(request).await;
        self.leave("list", &prefix, answer).await
    }
    async fn start_upload(&self, key: &RawKey, options: &PutOptions) -> Result<Upload> {
        self.enter("start_upload", key.as_str())?;
        let answer = self.inner.start_upload(key, options).await;
        self.leave("start_upload", key.as_str(), answer).await
    }
    async fn put_part(&self, upload: &Upload, number: u32, payload: Payload) -> Result<Part> {
        self.enter("put_part", upload.key.as_str())?;
        self.bytes_sent.fetch_add(payload.len(), Ordering::Relaxed);
        let answer = self.inner.put_part(upload, number, payload).await;
        self.leave("put_part", upload.key.as_str(), answer).await
    }
    async fn copy_part(
        &self,
        upload: &Upload,
        number: u32,
        from: &RawKey,
        version: &Version,
        range: Range<u64>,
    ) -> Result<Part> {
        self.enter("copy_part", upload.key.as_str())?;
        let answer = self.inner.copy_part(upload, number, from, version, range).await;
        self.leave("copy_part", upload.key.as_str(), answer).await
    }
    async fn complete_upload(
        &self,
        upload: &Upload,
        parts: &[Part],
        options: &PutOptions,
    ) -> Result<Version> {
        self.enter("complete_upload", upload.key.as_str())?;
        let answer = self.inner.complete_upload(upload, parts, options).await;
        self.leave("complete_upload", upload.key.as_str(), answer).await
    }
    async fn abort_upload(&self, upload: &Upload) -> Result<()> {
        self.enter("abort_upload", upload.key.as_str())?;
        let answer = self.inner.abort_upload(upload).await;
        self.leave("abort_upload", upload.key.as_str(), answer).await
    }
    async fn open_uploads(&self, key: &RawKey) -> Result<Vec<OpenUpload>> {
        self.enter("open_uploads", key.as_str())?;
        let answer = self.inner.open_uploads(key).await;
        self.leave("open_uploads", key.as_str(), answer).await
    }
    async fn has_parts(&self, upload: &Upload) -> Result<bool> {
        self.enter("has_parts", upload.key.as_str())?;
        let answer = self.inner.has_parts(upload).await;
        self.leave("has_parts", upload.key.as_str(), answer).await
    }
}

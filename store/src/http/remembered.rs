//! What endpoints answered when they were asked what they can do.
//!
//! Owns: [`Memory`], what a store knows of its endpoint, from whatever side: it is documented, it was asked here, another store of this process
//! asked ([`Endpoints`]: all buckets of one endpoint and of one access key share an answer while one of them is open), or an earlier process
//! did ([`AnswerFile`], in which answers outlive the process for a week).
//!
//! Invariants:
//! - An endpoint is asked by one at a time; who waits meanwhile takes that answer, or that failure.
//! - Only what is about the endpoint is kept, not what a bucket's policy refused ([`Answer::is_of_endpoint`]).
//! - A loopback address is kept in no file: its port belongs to another server tomorrow.
//! - A file that cannot be read, or is of another version, is asked over. One that cannot be written is no error.

use super::environment::Environment;
use crate::contract::Error;
use async_trait::async_trait;
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::OnceCell;

/// An endpoint that could not be asked is left alone for so long.
const ASKED_AGAIN_AFTER: Duration = Duration::from_secs(60);
/// How long a file's answer counts: servers are updated.
const AGE_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
/// How many endpoints a file keeps; the oldest go.
const ENDPOINT_COUNT_MAX: usize = 64;
const FILE_SIZE_BYTES_MAX: u64 = 256 * 1024;
const VERSION: u32 = 1;

/// What an endpoint answered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Answer<T> {
    pub value: T,
    /// All questions were put to the endpoint: the answers are about it, not about what these credentials may do to this bucket.
    pub is_of_endpoint: bool,
}

/// Who asks an endpoint.
#[async_trait]
pub(crate) trait Asker: Send + Sync {
    type Value: Copy + Serialize + DeserializeOwned + Send + Sync + 'static;

    /// Whose the credentials are: who differs may be answered otherwise.
    async fn id(&self) -> String;

    /// What the endpoint calls itself, as far as that is known by now.
    fn server(&self) -> Option<String>;

    /// Puts the questions. Errors: the endpoint could not be reached, has no time, or does not know the credentials.
    async fn ask(&self) -> Result<Answer<Self::Value>, Error>;

    /// The error of one that could not be asked `ago`.
    fn asked_in_vain(&self, ago: Duration) -> Error;
}

/// The answer of one endpoint to one who asks. Held across the questions: others wait for the same answer.
type SharedAnswer<T> = tokio::sync::Mutex<Option<T>>;

/// The name of an endpoint, and the id of who asks it.
type Asked = (String, String);

/// The endpoints that stores of this process are open to. A leaf, held for a look.
pub(crate) struct Endpoints<T>(Mutex<HashMap<Asked, Weak<SharedAnswer<T>>>>);

impl<T> Default for Endpoints<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Copy> Endpoints<T> {
    /// The answer that the endpoint of that name gives to whoever has this id, as long as somebody holds it.
    fn shared(&self, name: &str, id: String) -> Arc<SharedAnswer<T>> {
        let mut endpoints = self.0.lock();
        endpoints.retain(|_, answer| answer.strong_count() > 0);
        let known = endpoints.entry((name.to_owned(), id)).or_default();
        known.upgrade().unwrap_or_else(|| {
            let fresh = Arc::new(SharedAnswer::new(None));
            *known = Arc::downgrade(&fresh);
            fresh
        })
    }

    /// What it answered to anybody.
    fn answer_of(&self, name: &str) -> Option<T> {
        let endpoints = self.0.lock();
        let mut asked = endpoints.iter().filter(|((asked, _), _)| asked == name);
        asked.find_map(|(_, answer)| *answer.upgrade()?.try_lock().ok()?)
    }
}

/// What one store knows of its endpoint.
pub(crate) struct Memory<T: 'static> {
    endpoints: &'static Endpoints<T>,
    /// The endpoint, as it is remembered.
    name: String,
    /// Filled once, by the first who asks; others wait for it.
    known: OnceCell<T>,
    /// The answer that is shared with others who ask; filled by the first who asks here.
    shared: OnceCell<Arc<SharedAnswer<T>>>,
    /// Where answers outlive the process; `None` where they may not.
    file: Option<AnswerFile>,
    /// What it had of this endpoint when the store was opened.
    kept: Option<Kept>,
    /// When the endpoint could not be asked. A leaf.
    asked_in_vain: Mutex<Option<Instant>>,
}

impl<T: Copy + Serialize + DeserializeOwned + Send + Sync + 'static> Memory<T> {
    /// Of the endpoint `name`. `documented` is what need not be asked; `file`, where the answer is kept.
    pub fn new(
        endpoints: &'static Endpoints<T>,
        name: String,
        documented: Option<T>,
        file: Option<AnswerFile>,
    ) -> Self {
        let file = file.filter(|_| documented.is_none());
        Self {
            endpoints,
            kept: file.as_ref().and_then(|file| file.read(&name)),
            name,
            known: documented.map_or_else(OnceCell::new, |known| OnceCell::new_with(Some(known))),
            shared: OnceCell::new(),
            file,
            asked_in_vain: Mutex::default(),
        }
    }

    /// What is documented, or was answered here.
    pub fn known(&self) -> Option<T> {
        self.known.get().copied()
    }

    /// The same, or what another store was answered, whoever asked, or an earlier process, if the endpoint still calls itself as it did.
    pub fn remembered(&self, server: Option<&str>) -> Option<T> {
        let shared = || self.endpoints.answer_of(&self.name);
        self.known().or_else(shared).or_else(|| self.kept.as_ref()?.answer_of(server))
    }

    /// The answer; asks at the first call, and again some time after the endpoint could not be asked. Errors: it could not.
    pub async fn answer(&self, asker: &dyn Asker<Value = T>) -> Result<T, Error> {
        self.known.get_or_try_init(|| self.ask(asker)).await.copied()
    }

    /// Asks the endpoint, unless another store has, or an earlier process.
    async fn ask(&self, asker: &dyn Asker<Value = T>) -> Result<T, Error> {
        // Who waited while another asked does not begin anew behind it.
        let asked_at = *self.asked_in_vain.lock();
        if let Some(ago) = asked_at.map(|at| at.elapsed()).filter(|ago| *ago < ASKED_AGAIN_AFTER) {
            return Err(asker.asked_in_vain(ago));
        }
        let shared =
            self.shared.get_or_init(|| async { self.endpoints.shared(&self.name, asker.id().await) });
        // Held across the questions, so that they are asked once; none of their requests takes it.
        let mut shared = shared.await.lock().await;
        if let Some(known) = *shared {
            return Ok(known);
        }
        if let Some(known) = self.kept.as_ref().and_then(|kept| kept.answer_of(asker.server().as_deref())) {
            return Ok(*shared.insert(known));
        }
        let answer = asker.ask().await.inspect_err(|error| {
            tracing::warn!(%error, "the endpoint could not be asked what it enforces; conditions are checked just before each write");
            *self.asked_in_vain.lock() = Some(Instant::now());
        })?;
        if answer.is_of_endpoint {
            *shared = Some(answer.value);
            self.keep(asker.server(), answer.value).await;
        }
        Ok(answer.value)
    }

    async fn keep(&self, server: Option<String>, value: T) {
        let Some(file) = self.file.clone() else { return };
        let Ok(value) = serde_json::to_value(value) else { return };
        let name = self.name.clone();
        let write = move || {
            if let Err(error) = file.write(&name, server, value) {
                tracing::debug!(%error, path = %file.path.display(), "what the endpoint enforces cannot be kept");
            }
        };
        let _ = tokio::task::spawn_blocking(write).await;
    }
}

/// A file of answers.
#[derive(Debug, Clone)]
pub(crate) struct AnswerFile {
    path: PathBuf,
}

#[derive(Default, Serialize, Deserialize)]
struct Content {
    version: u32,
    endpoints: BTreeMap<String, Kept>,
}

/// What one endpoint answered once.
#[derive(Clone, Serialize, Deserialize)]
struct Kept {
    /// What the endpoint calls itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    server: Option<String>,
    asked_unix_s: u64,
    enforcement: Value,
}

impl Kept {
    /// The answer, if the endpoint called itself then as it does now, as far as that is known.
    fn answer_of<T: DeserializeOwned>(&self, server: Option<&str>) -> Option<T> {
        let is_same = server.is_none() || self.server.as_deref() == server;
        is_same.then(|| serde_json::from_value(self.enforcement.clone()).ok())?
    }
}

fn unix_s(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

impl AnswerFile {
    /// Where the answers of endpoints are kept, as the XDG Base Directory Specification has it; `None` without a home.
    pub fn of(environment: Environment<'_>) -> Option<Self> {
        let named = environment.get("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
        let of_home = || Some(PathBuf::from(environment.get("HOME")?).join(".cache"));
        let folder = named.or_else(of_home)?;
        Some(Self { path: folder.join("pail/endpoints.json") })
    }

    /// What the endpoint of that name answered in the last week.
    fn read(&self, name: &str) -> Option<Kept> {
        let kept = self.content().endpoints.remove(name)?;
        let age = unix_s(SystemTime::now()).checked_sub(kept.asked_unix_s)?;
        (age <= AGE_MAX.as_secs()).then_some(kept)
    }

    /// Keeps an answer, in one step: whoever reads meanwhile sees the old file or the new one. Errors: the file cannot be written.
    fn write(&self, name: &str, server: Option<String>, enforcement: Value) -> io::Result<()> {
        let mut content = Content { version: VERSION, ..self.content() };
        let asked_unix_s = unix_s(SystemTime::now());
        content.endpoints.insert(name.to_owned(), Kept { server, asked_unix_s, enforcement });
        while content.endpoints.len() > ENDPOINT_COUNT_MAX {
            let oldest = content.endpoints.iter().min_by_key(|(_, kept)| kept.asked_unix_s);
            let Some(oldest) = oldest.map(|(url, _)| url.clone()) else { break };
            content.endpoints.remove(&oldest);
        }
        let folder = self.path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder)?;
        let draft = self.path.with_extension(format!("{:016x}", rand::random::<u64>()));
        let text = serde_json::to_vec_pretty(&content).map_err(io::Error::other)?;
        let written = std::fs::write(&draft, text).and_then(|()| std::fs::rename(&draft, &self.path));
        if written.is_err() {
            let _ = std::fs::remove_file(&draft);
        }
        written
    }

    fn content(&self) -> Content {
        let read = || -> Option<Content> {
            let len = std::fs::metadata(&self.path).ok()?.len();
            let text = (len <= FILE_SIZE_BYTES_MAX).then(|| std::fs::read(&self.path).ok())??;
            serde_json::from_slice(&text).ok()
        };
        read().filter(|content| content.version == VERSION).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn file(folder: &tempfile::TempDir) -> AnswerFile {
        AnswerFile { path: folder.path().join("cache/pail/endpoints.json") }
    }

    #[test]
    fn an_answer_is_kept_for_the_server_that_gave_it() {
        let folder = tempfile::tempdir().unwrap();
        let (file, answer) = (file(&folder), json!({"put": true}));
        let answer = Some(answer);
        let read = |url: &str, server: Option<&str>| file.read(url)?.answer_of::<Value>(server);
        assert_eq!(read("https://a", None), None);
        file.write("https://a", Some("MinIO".into()), json!({"put": true})).unwrap();
        assert_eq!(read("https://a", None), answer);
        assert_eq!(read("https://a", Some("MinIO")), answer);
        assert_eq!(read("https://a", Some("MinIO/2")), None, "another server, or another version of it");
        assert_eq!(read("https://b", None), None);
        let names: Vec<_> = std::fs::read_dir(file.path.parent().unwrap()).unwrap().collect();
        assert_eq!(names.len(), 1, "no draft stays: {names:?}");
    }

    #[test]
    fn what_is_old_or_of_another_form_is_asked_for_again() {
        let folder = tempfile::tempdir().unwrap();
        let file = file(&folder);
        file.write("https://a", None, Value::Null).unwrap();
        let text = std::fs::read_to_string(&file.path).unwrap();
        let now = unix_s(SystemTime::now());
        let dated = |at: u64| {
            let mut content: serde_json::Value = serde_json::from_str(&text).unwrap();
            content["endpoints"]["https://a"]["asked_unix_s"] = at.into();
            content.to_string()
        };
        let week = AGE_MAX.as_secs();
        for (text, is_kept) in [
            (dated(now - week + 60), true),
            (dated(now - week - 60), false),
            (dated(now + 3600), false),
            (text.replace("\"version\": 1", "\"version\": 2"), false),
            (text[..text.len() / 2].to_owned(), false),
            (String::new(), false),
        ] {
            std::fs::write(&file.path, &text).unwrap();
            assert_eq!(file.read("https://a").is_some(), is_kept, "{text}");
        }
        file.write("https://a", None, Value::Null).unwrap();
        assert!(file.read("https://a").is_some(), "it is mended");
    }

    #[test]
    fn a_file_keeps_so_many_endpoints() {
        let folder = tempfile::tempdir().unwrap();
        let file = file(&folder);
        for number in 0..ENDPOINT_COUNT_MAX + 3 {
            file.write(&format!("https://{number:03}"), None, Value::Null).unwrap();
        }
        assert_eq!(file.content().endpoints.len(), ENDPOINT_COUNT_MAX);
    }

    #[test]
    fn who_asks_the_same_endpoint_shares_its_answer_while_it_is_held() {
        let endpoints = Endpoints::<u32>::default();
        let of = |name: &str, id: &str| endpoints.shared(name, id.to_owned());
        let held = of("https://shared", "me");
        assert!(Arc::ptr_eq(&held, &of("https://shared", "me")));
        assert!(!Arc::ptr_eq(&held, &of("https://shared", "you")));
        assert_eq!(endpoints.answer_of("https://shared"), None);
        *held.try_lock().unwrap() = Some(1);
        assert_eq!(endpoints.answer_of("https://shared"), Some(1));
        drop(held);
        assert!(of("https://shared", "me").try_lock().unwrap().is_none());
    }
}

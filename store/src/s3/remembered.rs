//! What endpoints answered when they were asked what they enforce.
//!
//! Owns: [`Endpoints`] of this process, where all buckets of one endpoint and of one access key share an answer while one of them is open, and
//! [`AnswerFile`], in which answers outlive the process for a week.
//!
//! Invariants:
//! - Only what is about the endpoint is kept, not what a bucket's policy refused (`probe`).
//! - A loopback address is kept in no file: its port belongs to another server tomorrow.
//! - A file that cannot be read, or is of another version, is asked over. One that cannot be written is no error.

use super::probe::Enforcement;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How long a file's answer counts: servers are updated.
const AGE_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
/// How many endpoints a file keeps; the oldest go.
const ENDPOINT_COUNT_MAX: usize = 64;
const FILE_SIZE_BYTES_MAX: u64 = 256 * 1024;
const VERSION: u32 = 1;

/// An endpoint and the id of who asks it.
type Asker = (String, String);

/// The answer of one endpoint to one who asks. Held across the questions: others wait for the same answer.
pub(super) type SharedAnswer = tokio::sync::Mutex<Option<Enforcement>>;

/// The endpoints that stores of this process are open to. A leaf, held for a look.
static ENDPOINTS: LazyLock<Mutex<HashMap<Asker, Weak<SharedAnswer>>>> = LazyLock::new(Mutex::default);

/// The answer that `url` gives to whoever has this id, as long as somebody holds it.
pub(super) fn shared(url: String, id: String) -> Arc<SharedAnswer> {
    let mut endpoints = ENDPOINTS.lock();
    endpoints.retain(|_, answer| answer.strong_count() > 0);
    let known = endpoints.entry((url, id)).or_default();
    known.upgrade().unwrap_or_else(|| {
        let fresh = Arc::default();
        *known = Arc::downgrade(&fresh);
        fresh
    })
}

/// What `url` answered to anybody.
pub(super) fn answer_of(url: &str) -> Option<Enforcement> {
    let endpoints = ENDPOINTS.lock();
    let mut asked = endpoints.iter().filter(|((asked, _), _)| asked == url);
    asked.find_map(|(_, answer)| *answer.upgrade()?.try_lock().ok()?)
}

/// A file of answers.
#[derive(Debug, Clone)]
pub(super) struct AnswerFile {
    pub path: PathBuf,
}

#[derive(Default, Serialize, Deserialize)]
struct Content {
    version: u32,
    endpoints: BTreeMap<String, Kept>,
}

/// What one endpoint answered once.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Kept {
    /// What the endpoint calls itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    server: Option<String>,
    asked_unix_s: u64,
    enforcement: Enforcement,
}

impl Kept {
    /// The answer, if the endpoint called itself then as it does now, as far as that is known.
    pub fn answer_of(&self, server: Option<&str>) -> Option<Enforcement> {
        let is_same = server.is_none() || self.server.as_deref() == server;
        is_same.then_some(self.enforcement)
    }
}

fn unix_s(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

impl AnswerFile {
    /// What `url` answered in the last week.
    pub fn read(&self, url: &str) -> Option<Kept> {
        let kept = self.content().endpoints.remove(url)?;
        let age = unix_s(SystemTime::now()).checked_sub(kept.asked_unix_s)?;
        (age <= AGE_MAX.as_secs()).then_some(kept)
    }

    /// Keeps an answer, in one step: whoever reads meanwhile sees the old file or the new one. Errors: the file cannot be written.
    pub fn write(&self, url: &str, server: Option<String>, enforcement: Enforcement) -> io::Result<()> {
        let mut content = Content { version: VERSION, ..self.content() };
        let asked_unix_s = unix_s(SystemTime::now());
        content.endpoints.insert(url.to_owned(), Kept { server, asked_unix_s, enforcement });
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

    fn file(folder: &tempfile::TempDir) -> AnswerFile {
        AnswerFile { path: folder.path().join("cache/pail/endpoints.json") }
    }

    #[test]
    fn an_answer_is_kept_for_the_server_that_gave_it() {
        let folder = tempfile::tempdir().unwrap();
        let (file, answer) = (file(&folder), Enforcement { put: true, ..Enforcement::default() });
        let read = |url: &str, server: Option<&str>| file.read(url).and_then(|kept| kept.answer_of(server));
        assert_eq!(read("https://a", None), None);
        file.write("https://a", Some("MinIO".into()), answer).unwrap();
        assert_eq!(read("https://a", None), Some(answer));
        assert_eq!(read("https://a", Some("MinIO")), Some(answer));
        assert_eq!(read("https://a", Some("MinIO/2")), None, "another server, or another version of it");
        assert_eq!(read("https://b", None), None);
        let names: Vec<_> = std::fs::read_dir(file.path.parent().unwrap()).unwrap().collect();
        assert_eq!(names.len(), 1, "no draft stays: {names:?}");
    }

    #[test]
    fn what_is_old_or_of_another_form_is_asked_for_again() {
        let folder = tempfile::tempdir().unwrap();
        let file = file(&folder);
        file.write("https://a", None, Enforcement::default()).unwrap();
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
        file.write("https://a", None, Enforcement::default()).unwrap();
        assert!(file.read("https://a").is_some(), "it is mended");
    }

    #[test]
    fn a_file_keeps_so_many_endpoints() {
        let folder = tempfile::tempdir().unwrap();
        let file = file(&folder);
        for number in 0..ENDPOINT_COUNT_MAX + 3 {
            file.write(&format!("https://{number:03}"), None, Enforcement::default()).unwrap();
        }
        assert_eq!(file.content().endpoints.len(), ENDPOINT_COUNT_MAX);
    }

    #[test]
    fn who_asks_the_same_endpoint_shares_its_answer_while_it_is_held() {
        let of = |url: &str, id: &str| shared(url.to_owned(), id.to_owned());
        let held = of("https://shared", "me");
        assert!(Arc::ptr_eq(&held, &of("https://shared", "me")));
        assert!(!Arc::ptr_eq(&held, &of("https://shared", "you")));
        *held.try_lock().unwrap() = Some(Enforcement::default());
        drop(held);
        assert!(of("https://shared", "me").try_lock().unwrap().is_none());
    }
}

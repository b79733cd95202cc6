//! Multipart uploads that a killed daemon left open in a bucket: their parts cost storage, and nobody goes on with them.
//!
//! Owns: `Daemon::abort_left_uploads`, which a mount begins once it is in service, and its retries. It aborts what the journal has of the mount's
//! own endpoint and bucket, and nothing else. One that was completed meanwhile is gone, which is no error.
//!
//! # An upload of which the journal has no name
//! Between a server's answer and the record of it the daemon may be killed; then only the key, and when it asked, are on record. The uploads
//! to that key are listed, and one is aborted if it is the only one that was begun in that time and, half a minute later, has no part: a daemon
//! that lives sends the first part at once, and so does every other client that has bytes to send. Of several none is aborted, since
//! one of them may be another client's.

use super::Daemon;
use super::mount::{Mount, State};
use pail_cache::UploadNote;
use pail_store::{ErrorKind, OpenUpload, RawKey, Store, Upload};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// The pause after the first failure; it doubles with each.
const PAUSE_MIN: Duration = Duration::from_secs(5);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(300);
/// How long after it was asked for an upload without a name is looked for.
const NAMELESS_AGE_MIN: Duration = Duration::from_secs(30);
/// How far the clocks of node and store may be apart.
const CLOCK_SKEW_MAX: Duration = Duration::from_secs(5);
/// How long a request that begins an upload is tried, at most.
const ASKING_TIME_MAX: Duration = Duration::from_secs(70);

impl Daemon {
    /// Aborts the uploads to the bucket of `mount` that nobody goes on with, for as long as the mount is in service.
    pub(super) async fn abort_left_uploads(self: Arc<Self>, mount: Arc<Mount>, store: Arc<dyn Store>) {
        let mut pause = PAUSE_MIN;
        loop {
            let mut waits: Option<Duration> = None;
            let mut has_failed = false;
            for left in self.cache.take_left_uploads(store.identity()) {
                match end(&*store, &left.note).await {
                    Ok(Ended::Gone) => {
                        // A local disk may block.
                        let _ = tokio::task::spawn_blocking(move || left.forget()).await;
                    }
                    Ok(Ended::TooYoung(age)) => {
                        waits = Some(waits.map_or(age, |before| before.min(age)));
                        self.cache.leave_upload(left);
                    }
                    Err(error) => {
                        tracing::warn!(mount = %mount.spec.mount_point.display(), key = left.note.key, %error,
                            "an upload that nobody goes on with could not be aborted");
                        // Who may not abort it now may not a moment later; the next mount of the bucket tries again.
                        let is_refused = matches!(error.kind, ErrorKind::Denied | ErrorKind::Unsupported);
                        if !is_refused {
                            waits = Some(waits.map_or(pause, |before| before.min(pause)));
                        }
                        has_failed |= !is_refused;
                        self.cache.leave_upload(left);
                    }
                }
            }
            if has_failed {
                pause = (pause * 2).min(PAUSE_MAX);
            }
            let Some(waits) = waits else { return };
            tokio::time::sleep(waits).await;
            if self.is_stopping() || !matches!(mount.state(), State::Live(_)) {
                return;
            }
        }
    }
}

/// What became of an upload.
enum Ended {
    /// It is not open any more, or not known to be ours.
    Gone,
    /// It is looked for in so long.
    TooYoung(Duration),
}

/// Errors: the store's; it may still be open.
async fn end(store: &dyn Store, note: &UploadNote) -> pail_store::Result<Ended> {
    let Ok(key) = RawKey::new(note.key.as_str()) else { return Ok(Ended::Gone) };
    if let Some(id) = &note.id {
        store.abort_upload(&Upload { key: key.clone(), id: id.clone() }).await?;
        tracing::info!(%key, "aborted an upload that nobody goes on with");
        return Ok(Ended::Gone);
    }
    // A clock that was set back makes it no older.
    let age = note.asked.elapsed().unwrap_or_default();
    if age < NAMELESS_AGE_MIN {
        return Ok(Ended::TooYoung(NAMELESS_AGE_MIN - age));
    }
    let open = match store.open_uploads(&key).await {
        // A store that does not tell of uploads frees them by itself (Azure), or nobody can.
        Err(error) if error.kind == ErrorKind::Unsupported => return Ok(Ended::Gone),
        open => open?,
    };
    let candidates: Vec<_> = open.iter().filter(|open| may_be_ours(open, note.asked)).collect();
    match candidates[..] {
        [one] if !has_parts(store, &one.upload).await? => {
            store.abort_upload(&one.upload).await?;
            tracing::info!(%key, "aborted an upload that nobody goes on with");
        }
        [] => {}
        _ => tracing::warn!(%key, count = candidates.len(),
            "an upload may have been left open; it is not told from another client's, and stays"),
    }
    Ok(Ended::Gone)
}

fn may_be_ours(open: &OpenUpload, asked: SystemTime) -> bool {
    (asked - CLOCK_SKEW_MAX..asked + ASKING_TIME_MAX + CLOCK_SKEW_MAX).contains(&open.initiated)
}

/// Whether it has a part; one that is gone counts as if.
async fn has_parts(store: &dyn Store, upload: &Upload) -> pail_store::Result<bool> {
    match store.has_parts(upload).await {
        Err(error) if error.kind == ErrorKind::NotFound => Ok(true),
        has => has,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use pail_store::{MemoryStore, PutOptions};

    async fn begun(store: &MemoryStore, key: &str) -> Upload {
        store.start_upload(&RawKey::new(key).unwrap(), &PutOptions::default()).await.unwrap()
    }

    fn note(key: &str, id: Option<&str>, age: Duration) -> UploadNote {
        let asked = SystemTime::now() - age;
        UploadNote { store: "s".into(), key: key.into(), id: id.map(str::to_owned), asked }
    }

    async fn open(store: &MemoryStore, key: &str) -> usize {
        store.open_uploads(&RawKey::new(key).unwrap()).await.unwrap().len()
    }

    #[tokio::test]
    async fn what_may_be_another_clients_stays() {
        let store = MemoryStore::new("b");
        let old = NAMELESS_AGE_MIN + Duration::from_secs(1);
        let ended = |note: UploadNote| {
            let store = &store;
            async move { matches!(end(store, &note).await.unwrap(), Ended::Gone) }
        };
        let named = begun(&store, "k").await;
        begun(&store, "k").await;
        assert!(ended(note("k", Some(&named.id), Duration::ZERO)).await);
        assert_eq!(open(&store, "k").await, 1, "the one that was named is gone");
        assert!(ended(note("k", Some(&named.id), Duration::ZERO)).await, "also where it was gone before");
        assert!(!ended(note("k", None, Duration::ZERO)).await, "it may get its first part yet");
        assert!(ended(note("k", None, Duration::from_secs(600))).await);
        assert_eq!(open(&store, "k").await, 1, "begun long after it was asked for");
        begun(&store, "k").await;
        assert!(ended(note("k", None, old)).await);
        assert_eq!(open(&store, "k").await, 2, "which of them nobody knows");

        let with_part = begun(&store, "p").await;
        store.put_part(&with_part, 1, Bytes::from_static(b"x").into()).await.unwrap();
        assert!(ended(note("p", None, old)).await);
        assert_eq!(open(&store, "p").await, 1, "somebody goes on with it");

        begun(&store, "x").await;
        begun(&store, "x/y").await;
        assert!(ended(note("x", None, old)).await);
        assert_eq!((open(&store, "x").await, open(&store, "x/y").await), (0, 1));
    }
}

//! Logs, at the finest level, in which no secret may be. A program of its own, since it listens to all that is logged.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

#[path = "credentials/caller.rs"]
#[allow(dead_code, reason = "of the other tests")]
mod caller;

use bytes::Bytes;
use caller::{Caller, KEY, SECRET, URIS, profile, read, server};
use pail_store::{PutOptions, RawKey, S3Store, Store, StoreOptions};
use std::io::Write;
use std::sync::{Arc, Mutex};
use tracing_subscriber::fmt::MakeWriter;

/// All that was logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

async fn work(store: &S3Store) -> String {
    let mut told = format!("{store:?}");
    if let Err(error) = read(store).await {
        told += &format!("{error} {error:?}");
    }
    let key = RawKey::new("p").unwrap();
    let put = store.put(&key, Bytes::from_static(b"p").into(), PutOptions::default());
    if let Err(error) = put.await {
        told += &format!("{error} {error:?}");
    }
    let _ = store.capabilities().await;
    told
}

#[tokio::test]
async fn no_log_has_a_secret() {
    let log = Log::default();
    tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(log.clone()).init();
    let server = server().await;
    let iam = server.endpoint_url();
    let (wrong, session) = ("mistyped-secret-1", "session-token-2");
    let yaml = |secret: &str| format!("access_key_id: {KEY}\nsecret_access_key: {secret}\n");
    let api_key = |key: &str| {
        Caller::new()
            .file(".ibm/credentials.yaml", &format!("iam_api_key: {key}\n"))
            .variable("IBM_AUTH_ENDPOINT", &iam)
    };
    let process = |secret: &str| {
        let config = format!(
            "[default]\ncredential_process = echo '{{\"Version\": 1, \"AccessKeyId\": \"{KEY}\", \"SecretAccessKey\": \"{secret}\"}}'\n"
        );
        Caller::new().file(".aws/config", &config)
    };
    let mut told = String::new();
    for secret in [SECRET, wrong] {
        let aws = Caller::new()
            .variable("AWS_ACCESS_KEY_ID", KEY)
            .variable("AWS_SECRET_ACCESS_KEY", secret)
            .variable("AWS_SESSION_TOKEN", session);
        let r2 = Caller::new().file(".cloudflare/r2.credentials", &profile("r2", KEY, secret));
        let r2_variables =
            Caller::new().variable("R2_ACCESS_KEY_ID", KEY).variable("R2_SECRET_ACCESS_KEY", secret);
        let files = Caller::new().file(".aws/credentials", &profile("default", KEY, secret));
        let ibm = Caller::new().file(".ibm/credentials.yaml", &yaml(secret));
        let callers = [
            (URIS[0], aws),
            (URIS[0], files),
            (URIS[0], process(secret)),
            (URIS[1], r2),
            (URIS[1], r2_variables),
            (URIS[2], ibm),
            (URIS[2], api_key(secret)),
            (URIS[2], Caller::new().variable("IBM_IAM_TOKEN", secret)),
        ];
        for (uri, caller) in callers {
            let options = caller.options(uri, &server);
            told += &format!("{options:?}");
            told += &work(&S3Store::open(options).await.unwrap()).await;
        }
    }
    let anonymous = StoreOptions { anonymous: true, ..Caller::new().options(URIS[0], &server) };
    told += &work(&S3Store::open(anonymous).await.unwrap()).await;
    let lent = pail_store::lend(&api_key(SECRET).options(URIS[2], &server)).await.unwrap();
    told += &format!("{lent:?}");
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(log.contains("GetObject") && log.contains("TRACE"), "it listens");
    for (what, text) in [("the log", &log), ("an error or Debug", &told)] {
        for secret in [SECRET, wrong, session, "Signature=", "Bearer "] {
            let line = text.lines().find(|line| line.contains(secret));
            assert!(line.is_none(), "{what} has {secret:?}: {}", line.unwrap_or_default());
        }
    }
}

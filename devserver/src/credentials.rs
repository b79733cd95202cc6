//! Who may ask.
//!
//! Owns: [`Credential`], a key that is accepted, and [`Credentials`], all of them with what was issued on their strength: sessions of directory
//! buckets and bearer tokens. The keys can be replaced while the server runs; what was issued before goes with those that go.
//! Invariant: no secret is in any output but the answer that issues it.

use crate::error::S3Error;
use jiff::{SignedDuration, Timestamp};
use parking_lot::{Mutex, RwLock};
use serde::Deserialize;
use std::collections::HashMap;

/// The most sessions and the most tokens that are remembered; with more, all of them are forgotten.
const ISSUED_LEN_MAX: usize = 10_000;

/// An access key that is accepted.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Credential {
    /// What requests name.
    pub access_key: String,
    /// What they sign with; also the API key that bearer tokens are issued for.
    pub secret_key: String,
    /// What must come with it, if it is a temporary one.
    #[serde(default)]
    pub session_token: Option<String>,
    /// When it expires, in seconds since 1970. Requests are answered `ExpiredToken` from then on.
    #[serde(default)]
    pub expires_at_s: Option<i64>,
}

impl Credential {
    /// One that does not expire.
    pub fn new(access_key: impl Into<String>, secret_key: impl Into<String>) -> Self {
        Self {
            access_key: access_key.into(),
            secret_key: secret_key.into(),
            session_token: None,
            expires_at_s: None,
        }
    }
}

/// The secrets are left out.
impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credential")
            .field("access_key", &self.access_key)
            .field("expires_at_s", &self.expires_at_s)
            .finish_non_exhaustive()
    }
}

/// Who sent a request.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) enum Identity {
    Owner,
    /// Who opened a session of this directory bucket.
    Session(String),
    #[default]
    Anonymous,
}

/// A session of a directory bucket.
struct Session {
    bucket: String,
    credential: Credential,
}

/// All that is accepted.
pub(crate) struct Credentials {
    /// Guards the keys. A leaf, as are the two below.
    accepted: RwLock<Vec<Credential>>,
    /// Guards sessions, by access key.
    sessions: Mutex<HashMap<String, Session>>,
    /// Guards bearer tokens and when they expire.
    tokens: Mutex<HashMap<String, Timestamp>>,
}

impl Credentials {
    pub(crate) fn new(accepted: Vec<Credential>) -> Self {
        Self { accepted: RwLock::new(accepted), sessions: Mutex::default(), tokens: Mutex::default() }
    }

    /// Accepts these and no others from now on.
    pub(crate) fn replace(&self, accepted: Vec<Credential>) {
        *self.accepted.write() = accepted;
        self.sessions.lock().clear();
        self.tokens.lock().clear();
    }

    pub(crate) fn access_keys(&self) -> Vec<String> {
        self.accepted.read().iter().map(|accepted| accepted.access_key.clone()).collect()
    }

    /// The secret of an access key, and whose it is. `token` is what came with the request. Errors: `InvalidAccessKeyId`, `InvalidToken`,
    /// `ExpiredToken`.
    pub(crate) fn find(&self, access_key: &str, token: Option<&str>) -> Result<(String, Identity), S3Error> {
        let session = self
            .sessions
            .lock()
            .get(access_key)
            .map(|session| (session.credential.clone(), Identity::Session(session.bucket.clone())));
        let (credential, identity) = session
            .or_else(|| {
                let accepted = self.accepted.read();
                let found = accepted.iter().find(|accepted| accepted.access_key == access_key)?;
                Some((found.clone(), Identity::Owner))
            })
            .ok_or_else(unknown)?;
        match (&credential.session_token, token) {
            (None, None) => {}
            (Some(own), Some(token)) if own == token => {}
            (Some(_), None) => return Err(unknown()),
            (_, Some(_)) => {
                return Err(S3Error::new(
                    400,
                    "InvalidToken",
                    "The provided token is malformed or otherwise invalid.",
                ));
            }
        }
        if credential.expires_at_s.is_some_and(|expires_at_s| expires_at_s <= Timestamp::now().as_second()) {
            return Err(S3Error::new(400, "ExpiredToken", "The provided token has expired."));
        }
        Ok((credential.secret_key, identity))
    }

    /// Opens a session of a directory bucket, for so many seconds.
    pub(crate) fn open_session(&self, bucket: &str, lifetime_s: u64) -> (Credential, Timestamp) {
        let expires = after(lifetime_s);
        let credential = Credential {
            access_key: format!("SESSION{:016X}", rand::random::<u64>()),
            secret_key: hex::encode(rand::random::<[u8; 20]>()),
            session_token: Some(hex::encode(rand::random::<[u8; 32]>())),
            expires_at_s: Some(expires.as_second()),
        };
        let mut sessions = self.sessions.lock();
        if sessions.len() >= ISSUED_LEN_MAX {
            sessions.clear();
        }
        let session = Session { bucket: bucket.to_owned(), credential: credential.clone() };
        sessions.insert(credential.access_key.clone(), session);
        (credential, expires)
    }

    /// Issues a bearer token for an API key, which is the secret of an accepted key, for so many seconds. `None` for any other.
    pub(crate) fn issue_token(&self, api_key: &str, lifetime_s: u64) -> Option<(String, Timestamp)> {
        self.accepted.read().iter().find(|accepted| accepted.secret_key == api_key)?;
        let (token, expires) = (hex::encode(rand::random::<[u8; 32]>()), after(lifetime_s));
        let mut tokens = self.tokens.lock();
        if tokens.len() >= ISSUED_LEN_MAX {
            tokens.clear();
        }
        tokens.insert(token.clone(), expires);
        Some((token, expires))
    }

    /// Whether a bearer token was issued and has not expired.
    pub(crate) fn has_token(&self, token: &str) -> bool {
        self.tokens.lock().get(token).is_some_and(|expires| *expires > Timestamp::now())
    }
}

fn unknown() -> S3Error {
    S3Error::new(
        403,
        "InvalidAccessKeyId",
        "The AWS Access Key Id you provided does not exist in our records.",
    )
}

fn after(lifetime_s: u64) -> Timestamp {
    let lifetime = SignedDuration::from_secs(i64::try_from(lifetime_s).unwrap_or(i64::MAX));
    Timestamp::now().checked_add(lifetime).unwrap_or(Timestamp::MAX)
}

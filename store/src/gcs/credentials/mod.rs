//! Who asks.
//!
//! Owns: [`CredentialCache`]: the access token of one store, from the source that [`found`] chose.
//!
//! # Why not google-cloud-auth
//! Its providers make their own HTTP clients, which take neither the proxies nor the certificates of the caller whom a daemon opens a store
//! for, and read some variables from the daemon's own environment. What it does is a few requests of a page each (AIP-4110 to 4117).
//!
//! Invariants:
//! - One renewal at a time; a token is renewed in the background while it is still valid, and no more often than a backoff allows.
//! - A failed renewal is an error only once the old token has expired.
//! - No token, key or secret is in an error, a log or a `Debug`.

mod client;
mod external;
mod file;
pub(super) mod found;
mod service_account;
mod source;

pub(super) use client::TokenClient;
pub(super) use found::Found;
pub(super) use source::Source;

use http::HeaderValue;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// A token is renewed when less than this is left of it, or a quarter of its life.
const RENEWAL_LEAD_MAX: Duration = Duration::from_secs(300);
/// All requests that one token takes.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(20);
/// How long after a renewal failed the next one waits, while the old token is valid; twice as long each time.
const RENEWAL_PAUSE: Duration = Duration::from_secs(2);
const RENEWAL_PAUSE_MAX: Duration = Duration::from_secs(60);
/// Who waited for a lookup that failed gets its error, and begins none of its own.
const FAILURE_SHARED: Duration = Duration::from_secs(1);
/// A token that replaced one which was refused is not forgotten within this time: refusals of the old one arrive late.
const REPLACEMENT_KEPT: Duration = Duration::from_secs(1);
/// How long it is taken for granted that there are no credentials, before the machine is asked again.
const ABSENCE_LASTS: Duration = Duration::from_secs(300);

/// An access token, and until when it lasts by this machine's clock.
pub(super) struct Token {
    pub value: String,
    pub until: Option<SystemTime>,
}

/// The credentials of one store.
pub(super) struct CredentialCache(Arc<Inner>);

struct Inner {
    found: Found,
    client: TokenClient,
    /// A leaf, held for a load or a store.
    state: Mutex<State>,
    /// Held by the one who renews, across the requests to the tokens' services (never the store): that is what makes it one at a time.
    /// Before `state` in the order.
    renewal: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    current: Option<Held>,
    /// The token before was refused.
    was_refused: bool,
    is_renewing: bool,
    failures: u32,
    renewed_not_before: Option<Instant>,
    last_failure: Option<(Instant, String)>,
}

/// What the last lookup found.
#[derive(Clone)]
struct Held {
    /// `None` is anonymous.
    header: Option<HeaderValue>,
    until: Option<SystemTime>,
    /// When it is to be renewed.
    renew_at: Option<SystemTime>,
    since: Instant,
    replaces_refused: bool,
}

impl Held {
    fn is_valid(&self) -> bool {
        self.until.is_none_or(|until| until > SystemTime::now())
    }

    fn is_fresh(&self) -> bool {
        self.renew_at.is_none_or(|at| at > SystemTime::now())
    }
}

impl CredentialCache {
    /// Of what was found, whose services `client` reaches.
    pub fn new(found: Found, client: TokenClient) -> Self {
        Self(Arc::new(Inner { found, client, state: Mutex::default(), renewal: Default::default() }))
    }

    /// Whether requests go without a token.
    pub fn is_anonymous(&self) -> bool {
        self.0.found.source.is_none()
            || self.0.state.lock().current.as_ref().is_some_and(|held| held.header.is_none())
    }

    /// The header of a request now; `None` is anonymous. Errors: a sentence without any secret.
    pub async fn get(&self) -> Result<Option<HeaderValue>, String> {
        let Some(source) = &self.0.found.source else { return Ok(None) };
        if let Some(held) = self.0.valid() {
            if !held.is_fresh() {
                self.renew_in_background();
            }
            return Ok(held.header);
        }
        let _renewing = self.0.renewal.lock().await;
        if let Some(held) = self.0.valid() {
            return Ok(held.header);
        }
        let shared = self.0.state.lock().last_failure.clone();
        if let Some((at, cause)) = shared
            && at.elapsed() < FAILURE_SHARED
        {
            return Err(cause);
        }
        self.0.look_up(source).await
    }

    fn renew_in_background(&self) {
        {
            let mut state = self.0.state.lock();
            let is_early = state.renewed_not_before.is_some_and(|at| at > Instant::now());
            if is_early || std::mem::replace(&mut state.is_renewing, true) {
                return;
            }
        }
        let inner = self.0.clone();
        tokio::spawn(async move {
            let _renewing = inner.renewal.lock().await;
            if let Some(source) = &inner.found.source
                && let Err(cause) = inner.look_up(source).await
            {
                tracing::warn!(cause, "the access token could not be renewed; the old one is still valid");
            }
            inner.state.lock().is_renewing = false;
        });
    }

    /// The server refused the token, whatever its date.
    pub fn forget(&self) {
        let mut state = self.0.state.lock();
        let is_replaced = state
            .current
            .as_ref()
            .is_some_and(|held| held.replaces_refused && held.since.elapsed() < REPLACEMENT_KEPT);
        if !is_replaced && state.current.take().is_some() {
            state.was_refused = true;
        }
    }

    /// The project in which buckets are created, and which pays where that is wanted.
    pub async fn project(&self) -> Option<String> {
        if let Some(project) = &self.0.found.project {
            return Some(project.clone());
        }
        match &self.0.found.source {
            Some(Source::Metadata { host, .. }) => {
                let project = self.0.client.metadata(host, "project/project-id").await.ok()?;
                Some(project.trim().to_owned()).filter(|project| !project.is_empty())
            }
            _ => None,
        }
    }

    /// What the JSON of the credentials is, for another machine that has not its file; `None` where other files or machines stand behind it.
    pub fn json(&self) -> Option<&str> {
        self.0.found.json.as_deref()
    }

    /// The token as it is now, and until when it lasts. Errors: a sentence without any secret.
    pub async fn token(&self) -> Result<Option<(String, Option<SystemTime>)>, String> {
        let header = self.get().await?;
        let until = self.0.state.lock().current.as_ref().and_then(|held| held.until);
        let token = header.as_ref().and_then(|header| header.to_str().ok()?.strip_prefix("Bearer "));
        Ok(token.map(|token| (token.to_owned(), until)))
    }

    /// With whose credentials the last requests were sent.
    pub fn describe(&self) -> String {
        match self.is_anonymous() {
            true => format!("without credentials ({})", self.0.found.absence),
            false => format!("using {}", self.0.found.description),
        }
    }
}

impl Inner {
    fn valid(&self) -> Option<Held> {
        self.state.lock().current.clone().filter(Held::is_valid)
    }

    async fn look_up(&self, source: &Source) -> Result<Option<HeaderValue>, String> {
        let fetched = tokio::time::timeout(LOOKUP_TIMEOUT, source.token(&self.client)).await;
        let fetched = fetched
            .unwrap_or_else(|_| Err(format!("the lookup took longer than {} s", LOOKUP_TIMEOUT.as_secs())));
        let held = fetched.and_then(|token| self.held(token));
        let mut state = self.state.lock();
        match held {
            Ok(mut held) => {
                held.replaces_refused = std::mem::take(&mut state.was_refused);
                (state.failures, state.renewed_not_before, state.last_failure) = (0, None, None);
                let header = held.header.clone();
                state.current = Some(held);
                Ok(header)
            }
            Err(cause) => {
                let cause = format!("{}: {cause}", self.found.description);
                let pause = RENEWAL_PAUSE * 2_u32.saturating_pow(state.failures.min(8));
                state.failures += 1;
                state.renewed_not_before = Some(Instant::now() + pause.min(RENEWAL_PAUSE_MAX));
                state.last_failure = Some((Instant::now(), cause.clone()));
                Err(cause)
            }
        }
    }

    /// `None` is that the machine has no credentials.
    fn held(&self, token: Option<Token>) -> Result<Held, String> {
        let now = SystemTime::now();
        let (header, until, renew_at) = match token {
            Some(token) => {
                let header = HeaderValue::try_from(format!("Bearer {}", token.value));
                let mut header = header.map_err(|_| "the token cannot be sent in a header".to_owned())?;
                header.set_sensitive(true);
                let renew_at = token.until.map(|until| {
                    let life = until.duration_since(now).unwrap_or_default();
                    until - (life / 4).min(RENEWAL_LEAD_MAX)
                });
                (Some(header), token.until, renew_at)
            }
            None => (None, None, Some(now + ABSENCE_LASTS)),
        };
        Ok(Held { header, until, renew_at, since: Instant::now(), replaces_refused: false })
    }
}

impl std::fmt::Debug for CredentialCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CredentialCache")
    }
}

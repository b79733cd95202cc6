//! Who asks.
//!
//! Owns: [`CredentialCache`]: the access token of one store, from the source that [`found`] chose.
//!
//! # Why not google-cloud-auth
//! Its providers make their own HTTP clients, which take neither the proxies nor the certificates of the caller whom a daemon opens a store
//! for, and read some variables from the daemon's own environment. What it does is a few requests of a page each (AIP-4110 to 4117).
//!
//! Invariant: no token, key or secret is in an error, a log or a `Debug`. How tokens are renewed: [`Renewed`].

mod client;
mod external;
mod file;
pub(super) mod found;
mod service_account;
mod source;

pub(super) use client::TokenClient;
pub(super) use found::Found;
pub(super) use source::Source;

use crate::http::renewal::{Issued, Issuer, Renewed};
use async_trait::async_trait;
use http::HeaderValue;
use std::time::{Duration, SystemTime};

/// All requests that one token takes.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(20);
/// How long it is taken for granted that there are no credentials, before the machine is asked again.
const ABSENCE_LASTS: Duration = Duration::from_secs(300);

/// An access token, and until when it lasts by this machine's clock.
pub(super) struct Token {
    pub value: String,
    pub until: Option<SystemTime>,
}

/// The credentials of one store.
pub(super) struct CredentialCache(Renewed<Tokens>);

/// The tokens of one source.
struct Tokens {
    found: Found,
    client: TokenClient,
}

#[async_trait]
impl Issuer for Tokens {
    /// The header of a request; `None` is anonymous.
    type Value = Option<HeaderValue>;

    async fn issue(&self) -> Result<Issued<Option<HeaderValue>>, String> {
        let Some(source) = &self.found.source else { return Ok(Issued { value: None, expiry: None }) };
        let fetched = tokio::time::timeout(LOOKUP_TIMEOUT, source.token(&self.client)).await;
        let fetched = fetched
            .unwrap_or_else(|_| Err(format!("the lookup took longer than {} s", LOOKUP_TIMEOUT.as_secs())));
        match fetched.map_err(|cause| format!("{}: {cause}", self.found.description))? {
            Some(token) => {
                let header = HeaderValue::try_from(format!("Bearer {}", token.value));
                let mut header = header.map_err(|_| {
                    format!("{}: the token cannot be sent in a header", self.found.description)
                })?;
                header.set_sensitive(true);
                Ok(Issued { value: Some(header), expiry: token.until })
            }
            None => Ok(Issued { value: None, expiry: Some(SystemTime::now() + ABSENCE_LASTS) }),
        }
    }
}

impl CredentialCache {
    /// Of what was found, whose services `client` reaches.
    pub fn new(found: Found, client: TokenClient) -> Self {
        Self(Renewed::new(Tokens { found, client }))
    }

    fn found(&self) -> &Found {
        &self.0.issuer().found
    }

    /// Whether requests go without a token.
    pub fn is_anonymous(&self) -> bool {
        self.found().source.is_none() || self.0.last().is_some_and(|header| header.is_none())
    }

    /// The header of a request now; `None` is anonymous. Errors: a sentence without any secret.
    pub async fn get(&self) -> Result<Option<HeaderValue>, String> {
        self.0.get().await
    }

    /// The server refused the token, whatever its date.
    pub fn forget(&self) {
        self.0.forget();
    }

    /// The project in which buckets are created, and which pays where that is wanted.
    pub async fn project(&self) -> Option<String> {
        if let Some(project) = &self.found().project {
            return Some(project.clone());
        }
        match &self.found().source {
            Some(Source::Metadata { host, .. }) => {
                let project = self.0.issuer().client.metadata(host, "project/project-id").await.ok()?;
                Some(project.trim().to_owned()).filter(|project| !project.is_empty())
            }
            _ => None,
        }
    }

    /// What the JSON of the credentials is, for another machine that has not its file; `None` where other files or machines stand behind it.
    pub fn json(&self) -> Option<&str> {
        self.found().json.as_deref()
    }

    /// The token as it is now, and until when it lasts. Errors: a sentence without any secret.
    pub async fn token(&self) -> Result<Option<(String, Option<SystemTime>)>, String> {
        let header = self.get().await?;
        let token = header.as_ref().and_then(|header| header.to_str().ok()?.strip_prefix("Bearer "));
        Ok(token.map(|token| (token.to_owned(), self.0.expiry())))
    }

    /// With whose credentials the last requests were sent.
    pub fn describe(&self) -> String {
        match self.is_anonymous() {
            true => format!("without credentials ({})", self.found().absence),
            false => format!("using {}", self.found().description),
        }
    }
}

impl std::fmt::Debug for CredentialCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CredentialCache")
    }
}

//! Who signs.
//!
//! Owns: [`CredentialCache`]: the [`Source`]s that a dialect looks in, one after the other, and what the first that has any gave, kept to its
//! expiry ([`Renewed`]). Where none has any, requests go unsigned: public buckets work without.
//!
//! Invariants:
//! - Sources are asked anew at each renewal: a file that was changed meanwhile counts as it is now.
//! - A source that has credentials which cannot be loaded ends the search with an error that names it: the next one's would be another's.

use super::authorization::Authorization;
use crate::http::renewal::{Issued, Issuer, Renewed};
use async_trait::async_trait;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// The whole search: a process that hangs, or a metadata address that swallows packets, must not hang a mount.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(15);
/// How old credentials are that are looked for again when a server does not know them.
const LOOKED_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// The same where the refusal may as well be about what was asked.
const LOOKED_AGAIN_UNSAID_AFTER: Duration = Duration::from_secs(60);

/// A place that credentials may be in.
#[async_trait]
pub(super) trait Source: Send + Sync {
    /// The place in words, as after "from" or "in".
    fn name(&self) -> &str;

    /// What is there now; `None` where nothing is. Errors: a sentence without any secret.
    async fn look_up(&self) -> Result<Option<Issued<Authorization>>, String>;
}

/// The credentials of one store.
pub(super) struct CredentialCache {
    renewed: Renewed<Search>,
}

/// What was found, and where.
#[derive(Clone)]
pub(super) struct Found {
    pub authorization: Authorization,
    /// `None` where no source has any.
    from: Option<String>,
    pub expiry: Option<SystemTime>,
}

struct Search {
    sources: Vec<Arc<dyn Source>>,
    /// Whether a request may go unsigned where no source has any credentials.
    may_be_anonymous: bool,
}

impl Search {
    fn places(&self) -> String {
        let names: Vec<&str> = self.sources.iter().map(|source| source.name()).collect();
        match names.split_last() {
            None => "no place".to_owned(),
            Some((last, [])) => (*last).to_owned(),
            Some((last, others)) => format!("{} or {last}", others.join(", ")),
        }
    }

    async fn search(&self) -> Result<Issued<Found>, String> {
        for source in &self.sources {
            let issued =
                source.look_up().await.map_err(|cause| format!("from {}: {cause}", source.name()))?;
            if let Some(Issued { value: authorization, expiry }) = issued {
                tracing::debug!(from = source.name(), ?authorization, "credentials were found");
                let found = Found { authorization, from: Some(source.name().to_owned()), expiry };
                return Ok(Issued { value: found, expiry });
            }
        }
        match self.may_be_anonymous {
            true => {
                let found = Found { authorization: Authorization::Anonymous, from: None, expiry: None };
                Ok(Issued { value: found, expiry: None })
            }
            false => Err(format!("none were found in {}", self.places())),
        }
    }
}

#[async_trait]
impl Issuer for Search {
    type Value = Found;

    async fn issue(&self) -> Result<Issued<Found>, String> {
        match tokio::time::timeout(LOOKUP_TIMEOUT, self.search()).await {
            Ok(found) => found,
            Err(_) => Err(format!("the lookup took longer than {} s", LOOKUP_TIMEOUT.as_secs())),
        }
    }
}

impl CredentialCache {
    /// Signs nothing.
    pub fn anonymous() -> Self {
        Self::of(Vec::new(), true)
    }

    /// What the first of `sources` has. With `may_be_anonymous`, requests go unsigned where none has any.
    pub fn of(sources: Vec<Arc<dyn Source>>, may_be_anonymous: bool) -> Self {
        Self { renewed: Renewed::new(Search { sources, may_be_anonymous }) }
    }

    /// What to send requests with now. Errors: a sentence without any secret.
    pub async fn get(&self) -> Result<Found, String> {
        self.renewed.get().await
    }

    /// The server says that they expired, whatever their date, or does not know them any more.
    pub fn forget(&self) {
        self.renewed.forget();
    }

    /// Whether a refusal may be for credentials that were replaced meanwhile, so that another look at their source helps. What servers say of
    /// keys that are not valid any more tells; of tokens, and where an answer has no body, they say no more than that access is denied.
    pub fn may_be_replaced(&self, code: Option<&str>) -> bool {
        let Some((found, age)) = self.renewed.last().zip(self.renewed.age()) else { return false };
        let is_unsaid = match found.authorization {
            Authorization::Anonymous => return false,
            Authorization::Keys(_) | Authorization::Session(_) => code.is_none(),
            Authorization::Bearer(_) => true,
        };
        match code {
            Some("InvalidAccessKeyId" | "SignatureDoesNotMatch") => age >= LOOKED_AGAIN_AFTER,
            _ => is_unsaid && age >= LOOKED_AGAIN_UNSAID_AFTER,
        }
    }

    /// Whose credentials the last requests were sent with, and where they are from.
    pub fn describe(&self) -> String {
        let Some(found) = self.renewed.last() else { return "without credentials".to_owned() };
        let whose = found.authorization.describe();
        let search = self.renewed.issuer();
        match found.from {
            Some(from) => format!("{whose} from {from}"),
            None if search.sources.is_empty() => whose,
            None => format!("{whose}: none were found in {}", search.places()),
        }
    }
}

impl std::fmt::Debug for CredentialCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CredentialCache")
    }
}

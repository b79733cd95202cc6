//! Where access tokens come from.
//!
//! Owns: [`Source`], a kind of credentials each, and how a token is got of it.
//! Source: AIP-4112 (service accounts), 4113 (users), 4115 (metadata server), 4117 (external accounts); Google Cloud documentation,
//! "projects.serviceAccounts.generateAccessToken".

use super::Token;
use super::client::{Ask, TokenClient};
use super::external::External;
use super::service_account::ServiceAccount;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::FutureExt;
use futures::future::BoxFuture;
use http::header;
use serde_json::{Value, json};
use std::time::{Duration, SystemTime};

/// What tokens are for: all of the cloud's APIs; what may be done, the roles say.
pub(super) const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
/// How long an impersonated account's token is to last.
const IMPERSONATION_LIFETIME: &str = "3600s";

/// A kind of credentials.
pub(in crate::gcs) enum Source {
    /// A token by itself, which nobody renews.
    Given(String),
    ServiceAccount(ServiceAccount),
    User(User),
    /// The machine's own account. Where nobody `named` the server, there may be none.
    Metadata {
        host: String,
        is_named: bool,
    },
    External(Box<External>),
    Impersonated {
        source: Box<Source>,
        url: String,
        delegates: Vec<String>,
    },
}

/// A person, who has logged in once.
pub(in crate::gcs) struct User {
    pub token_url: String,
    pub client_id: String,
    pub client_secret: String,
    pub refresh_token: String,
    /// The client says who it is in a header (workforce identities), not in the form.
    pub is_workforce: bool,
}

impl Source {
    /// Whether a service that gives out its tokens speaks TLS.
    pub fn needs_tls(&self) -> bool {
        match self {
            Self::Given(_) | Self::Metadata { .. } => false,
            Self::ServiceAccount(account) => is_https(&account.token_url),
            Self::User(user) => is_https(&user.token_url),
            Self::External(external) => external.needs_tls(),
            Self::Impersonated { source, url, .. } => is_https(url) || source.needs_tls(),
        }
    }

    /// A new token; `None` where the machine has no credentials. Errors: a sentence without any secret.
    pub fn token<'a>(&'a self, client: &'a TokenClient) -> BoxFuture<'a, Result<Option<Token>, String>> {
        async move {
            match self {
                Self::Given(token) => Ok(Some(Token { value: token.clone(), until: None })),
                Self::ServiceAccount(account) => account.token(client).await.map(Some),
                Self::User(user) => user.token(client).await.map(Some),
                Self::Metadata { host, is_named } => of_machine(client, host, *is_named).await,
                Self::External(external) => external.token(client).await.map(Some),
                Self::Impersonated { source, url, delegates } => {
                    let token = source.token(client).await?;
                    let token = token.ok_or("there are no credentials to impersonate the account with")?;
                    impersonated(client, &token.value, url, delegates).await.map(Some)
                }
            }
        }
        .boxed()
    }
}

impl User {
    async fn token(&self, client: &TokenClient) -> Result<Token, String> {
        let mut fields =
            vec![("grant_type", "refresh_token"), ("refresh_token", self.refresh_token.as_str())];
        if !self.is_workforce {
            fields.extend([
                ("client_id", self.client_id.as_str()),
                ("client_secret", self.client_secret.as_str()),
            ]);
        }
        let mut ask = Ask::form(&self.token_url, &fields);
        if self.is_workforce {
            let basic = STANDARD.encode(format!("{}:{}", self.client_id, self.client_secret));
            ask = ask.header(header::AUTHORIZATION, &format!("Basic {basic}"));
        }
        let answer =
            client.ask(ask).await.map_err(|refusal| match refusal.message.contains("invalid_grant") {
                true => format!("{}; log in again: gcloud auth application-default login", refusal.message),
                false => refusal.message,
            })?;
        token_in(&answer)
    }
}

async fn of_machine(client: &TokenClient, host: &str, is_named: bool) -> Result<Option<Token>, String> {
    let answer = match client.metadata(host, "instance/service-accounts/default/token").await {
        Ok(answer) => answer,
        // No such server, or a machine without an account.
        Err(refusal) if !is_named && refusal.status.is_none_or(|status| status == 404) => return Ok(None),
        Err(refusal) => return Err(refusal.message),
    };
    let answer = serde_json::from_str(&answer).map_err(|_| "the metadata server's answer is no JSON")?;
    token_in(&answer).map(Some)
}

/// A token of the service account that `url` names, which who has `token` may act for.
pub(super) async fn impersonated(
    client: &TokenClient,
    token: &str,
    url: &str,
    delegates: &[String],
) -> Result<Token, String> {
    let body = json!({"scope": [SCOPE], "lifetime": IMPERSONATION_LIFETIME, "delegates": delegates});
    let ask = Ask::json(url, &body).header(header::AUTHORIZATION, &format!("Bearer {token}"));
    let answer = client.ask(ask).await?;
    let value = answer["accessToken"].as_str().ok_or("the answer has no access token")?;
    let until = answer["expireTime"].as_str().and_then(|time| time.parse::<jiff::Timestamp>().ok());
    let until = until.and_then(|time| SystemTime::try_from(time).ok());
    Ok(Token { value: value.to_owned(), until })
}

pub(super) fn is_https(url: &str) -> bool {
    url.starts_with("https:")
}

/// The token in an answer of OAuth. Errors: there is none.
pub(super) fn token_in(answer: &Value) -> Result<Token, String> {
    let value = answer["access_token"].as_str().ok_or("the answer has no access token")?;
    let lifetime = answer["expires_in"].as_u64().map(Duration::from_secs);
    let until = lifetime.and_then(|lifetime| SystemTime::now().checked_add(lifetime));
    Ok(Token { value: value.to_owned(), until })
}

//! Workload identity federation.
//!
//! Owns: [`External`]: a token of another identity provider, from a file or a URL, is exchanged for one of Google's, which may then stand
//! for a service account. Source: AIP-4117; RFC 8693.
//!
//! # What is left out
//! The sources `aws` (a signed request of that cloud) and `executable` (a program of the machine): they are refused by name.

use super::Token;
use super::client::{Ask, TokenClient};
use super::source::{SCOPE, impersonated, is_https, token_in};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderName, header};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;

const GRANT: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

/// The JSON of such credentials.
#[derive(Deserialize)]
pub(in crate::gcs) struct External {
    audience: String,
    subject_token_type: String,
    token_url: String,
    service_account_impersonation_url: Option<String>,
    credential_source: CredentialSource,
    client_id: Option<String>,
    client_secret: Option<String>,
    workforce_pool_user_project: Option<String>,
}

#[derive(Deserialize)]
struct CredentialSource {
    file: Option<PathBuf>,
    url: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    format: Format,
    environment_id: Option<String>,
    executable: Option<Value>,
}

#[derive(Default, Deserialize)]
struct Format {
    #[serde(rename = "type")]
    kind: Option<String>,
    subject_token_field_name: Option<String>,
}

impl External {
    /// Errors: the source of its tokens is of a kind that is not known here.
    pub fn check(&self) -> Result<(), String> {
        let source = &self.credential_source;
        if source.file.is_some() || (source.url.is_some() && source.environment_id.is_none()) {
            return Ok(());
        }
        let kind = match (&source.environment_id, &source.executable) {
            (Some(_), _) => "of AWS (environment_id)",
            (None, Some(_)) => "of a program (executable)",
            (None, None) => "neither of a file nor of a URL",
        };
        Err(format!("its credential_source is {kind}, which Pail does not know; use a file or a URL"))
    }

    /// Whether one of the services that are asked speaks TLS.
    pub fn needs_tls(&self) -> bool {
        let urls = [
            Some(&self.token_url),
            self.service_account_impersonation_url.as_ref(),
            self.credential_source.url.as_ref(),
        ];
        urls.into_iter().flatten().any(|url| is_https(url))
    }

    /// A new token. Errors: a sentence without any secret.
    pub async fn token(&self, client: &TokenClient) -> Result<Token, String> {
        let subject = self.subject_token(client).await?;
        let project = self.workforce_pool_user_project.as_ref();
        let options = project.map(|project| json!({"userProject": project}).to_string());
        let mut fields = vec![
            ("grant_type", GRANT),
            ("audience", self.audience.as_str()),
            ("scope", SCOPE),
            ("requested_token_type", ACCESS_TOKEN),
            ("subject_token", subject.as_str()),
            ("subject_token_type", self.subject_token_type.as_str()),
        ];
        if let Some(options) = &options {
            fields.push(("options", options));
        }
        let mut ask = Ask::form(&self.token_url, &fields);
        if let (Some(id), Some(secret)) = (&self.client_id, &self.client_secret) {
            let basic = STANDARD.encode(format!("{id}:{secret}"));
            ask = ask.header(header::AUTHORIZATION, &format!("Basic {basic}"));
        }
        let token = token_in(&client.ask(ask).await?)?;
        match &self.service_account_impersonation_url {
            Some(url) => impersonated(client, &token.value, url, &[]).await,
            None => Ok(token),
        }
    }

    /// The other provider's token, which is read anew each time: it is replaced while it is still valid.
    async fn subject_token(&self, client: &TokenClient) -> Result<String, String> {
        let source = &self.credential_source;
        let (text, from) = match (&source.file, &source.url) {
            (Some(file), _) => {
                let text = tokio::fs::read_to_string(file).await;
                (text.map_err(|err| format!("{}: {err}", file.display()))?, file.display().to_string())
            }
            (None, Some(url)) => {
                let mut ask = Ask::get(url);
                for (name, value) in &source.headers {
                    if let Ok(name) = HeaderName::try_from(name.as_str()) {
                        ask = ask.header(name, value);
                    }
                }
                let answer = client.ask_text(&ask).await?;
                (String::from_utf8_lossy(&answer).into_owned(), "its URL".to_owned())
            }
            (None, None) => return self.check().map(|()| String::new()),
        };
        if source.format.kind.as_deref() != Some("json") {
            return Ok(text.trim().to_owned());
        }
        let field = source.format.subject_token_field_name.as_deref().unwrap_or("access_token");
        let answer: Value =
            serde_json::from_str(&text).map_err(|_| format!("the token of {from} is no JSON"))?;
        let token = answer[field].as_str().map(str::to_owned);
        token.ok_or_else(|| format!("the token of {from} has no field {field:?}"))
    }
}

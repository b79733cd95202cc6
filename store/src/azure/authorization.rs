//! What requests are authorized with.
//!
//! Owns: [`Credentials`]: what was found, as the library authorizes with it. A token is asked of one of the library's providers, which is made
//! anew for each: the library's own cache would ask at every request once five minutes are left, and knows nothing of a token that the
//! server refuses. It is kept and renewed as every store's are ([`Renewed`]).

use super::cli;
use super::credentials::{Found, Source};
use super::tokens::{TokenConnector, expiry_of};
use crate::contract::CallerVariables;
use crate::http::environment::Environment;
use crate::http::failure::innermost;
use crate::http::renewal::{Issued, Issuer, Renewed};
use async_trait::async_trait;
use object_store::azure::{
    AzureAccessKey, AzureConfigKey, AzureCredential, AzureCredentialProvider, MicrosoftAzureBuilder,
    split_sas,
};
use object_store::{RetryConfig, StaticCredentialProvider};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// The whole lookup: a metadata address that swallows packets, or an `az` that hangs, must not hang a mount.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a token is used whose end cannot be read.
const LIFE_UNKNOWN: Duration = Duration::from_secs(600);

/// What requests are authorized with.
pub(super) struct Credentials(Renewed<Provider>);

/// Gives out what was found.
struct Provider {
    found: Found,
    caller: Option<CallerVariables>,
    tokens: Option<TokenConnector>,
}

impl Credentials {
    /// `tokens` is the way to services that give out tokens, where [`Found::needs_http`].
    pub fn new(found: Found, caller: Option<CallerVariables>, tokens: Option<TokenConnector>) -> Self {
        Self(Renewed::new(Provider { found, caller, tokens }))
    }

    /// What to authorize with now; `None` is anonymous. Errors: a sentence without any secret.
    pub async fn get(&self) -> Result<Option<Arc<AzureCredential>>, String> {
        self.0.get().await
    }

    /// The server says that it has expired.
    pub fn forget(&self) {
        self.0.forget();
    }

    /// Whose credentials requests are sent with, as the end of a sentence.
    pub fn describe(&self) -> String {
        self.0.issuer().found.describe()
    }
}

#[async_trait]
impl Issuer for Provider {
    type Value = Option<Arc<AzureCredential>>;

    async fn issue(&self) -> Result<Issued<Self::Value>, String> {
        let asked = async {
            Ok(match &self.found.source {
                Source::Anonymous => None,
                Source::Cli => {
                    let token = cli::token(self.caller.as_ref()).await?;
                    Some(Arc::new(AzureCredential::BearerToken(token)))
                }
                _ => Some(self.provider()?.get_credential().await.map_err(|cause| told_of(&cause))?),
            })
        };
        let told = self.found.told.as_str();
        let credential = match tokio::time::timeout(LOOKUP_TIMEOUT, asked).await {
            Ok(asked) => asked.map_err(|why: String| format!("{told} could not be had: {why}"))?,
            Err(_) => return Err(format!("{told} could not be had within {} s", LOOKUP_TIMEOUT.as_secs())),
        };
        let expiry = match (&self.found.source, credential.as_deref()) {
            // Nobody could renew it.
            (Source::Bearer(_), _) => None,
            (_, Some(AzureCredential::BearerToken(token))) => {
                Some(expiry_of(token).unwrap_or_else(|| SystemTime::now() + LIFE_UNKNOWN))
            }
            _ => None,
        };
        Ok(Issued { value: credential, expiry })
    }
}

impl Provider {
    fn provider(&self) -> Result<AzureCredentialProvider, String> {
        let fixed =
            |credential| Arc::new(StaticCredentialProvider::new(credential)) as AzureCredentialProvider;
        let unusable = |what: &str| format!("the {what} is none");
        Ok(match &self.found.source {
            Source::Anonymous | Source::Cli => return Err("no provider of the library has them".to_owned()),
            Source::Key(key) => fixed(AzureCredential::AccessKey(
                AzureAccessKey::try_new(key).map_err(|_| unusable("account key"))?,
            )),
            Source::Sas(sas) => {
                fixed(AzureCredential::SASToken(split_sas(sas).map_err(|_| unusable("SAS token"))?))
            }
            Source::Bearer(token) => fixed(AzureCredential::BearerToken(token.clone())),
            Source::Secret { tenant, client, secret } => {
                let builder =
                    self.token_builder("client_secret")?.with_client_id(client).with_tenant_id(tenant);
                provider_of(builder.with_client_secret(secret))?
            }
            Source::Federated { tenant, client, file } => {
                let builder = self.token_builder("workload_identity")?.with_client_id(client);
                provider_of(builder.with_tenant_id(tenant).with_federated_token_file(file))?
            }
            Source::ManagedIdentity => {
                let environment = Environment(self.caller.as_ref());
                let mut builder = self.token_builder("managed_identity")?;
                let endpoint =
                    environment.get("IDENTITY_ENDPOINT").or_else(|| environment.get("MSI_ENDPOINT"));
                if let Some(endpoint) = endpoint {
                    builder = builder.with_msi_endpoint(endpoint);
                }
                if let Some(client) = environment.get("AZURE_CLIENT_ID") {
                    builder = builder.with_client_id(client);
                }
                provider_of(builder)?
            }
        })
    }

    fn token_builder(&self, kind: &str) -> Result<MicrosoftAzureBuilder, String> {
        let tokens = self.tokens.clone().ok_or("there is no way to where tokens are")?;
        let retry = RetryConfig { max_retries: 2, retry_timeout: LOOKUP_TIMEOUT, ..RetryConfig::default() };
        let builder = MicrosoftAzureBuilder::new()
            .with_account("account")
            .with_container_name("container")
            .with_credential_type(kind)
            .with_retry(retry)
            .with_http_connector(tokens);
        Ok(match Environment(self.caller.as_ref()).get("AZURE_AUTHORITY_HOST") {
            Some(host) => builder.with_config(AzureConfigKey::AuthorityHost, host.trim_end_matches('/')),
            None => builder,
        })
    }
}

fn provider_of(builder: MicrosoftAzureBuilder) -> Result<AzureCredentialProvider, String> {
    Ok(builder.build().map_err(|cause| innermost(&cause))?.credentials().clone())
}

/// What a service of tokens said, in its own words and one line: they hold no secret, but its documents may be long.
fn told_of(cause: &object_store::Error) -> String {
    const TOLD_LEN_MAX: usize = 300;
    let told = innermost(cause);
    let described = told
        .find('{')
        .and_then(|at| serde_json::from_str::<serde_json::Value>(&told[at..]).ok())
        .and_then(|body| Some(body.get("error_description")?.as_str()?.to_owned()));
    let line = described.unwrap_or(told).lines().next().unwrap_or_default().to_owned();
    line.chars().take(TOLD_LEN_MAX).collect()
}

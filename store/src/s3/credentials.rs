//! Who signs.
//!
//! Owns: [`CredentialCache`]. Credentials come from the chain that every AWS tool uses (environment, profile with SSO,
//! process and assumed roles, web identity, container, instance role), are kept to their expiry and renewed before it,
//! while the store lives. Where the chain holds none at all, requests go unsigned: public buckets work without any.
//!
//! Invariants:
//! - One renewal at a time; others go on with what is valid, or wait for it.
//! - A failed renewal is an error only once the old credentials have expired.
//! - The instance metadata service is asked on AWS alone: elsewhere its address does not answer, and asking takes seconds.

use super::aws_files::AwsSurroundings;
use crate::http::failure::innermost;
use crate::http::surroundings::Surroundings;
use aws_config::meta::credentials::CredentialsProviderChain;
use aws_config::provider_config::ProviderConfig;
use aws_config::web_identity_token::{StaticConfiguration, WebIdentityTokenCredentialsProvider};
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use parking_lot::RwLock;
use std::time::{Duration, SystemTime};

/// Credentials are renewed when less than this is left of them.
const RENEWAL_LEAD: Duration = Duration::from_secs(300);
/// The whole chain: a process that hangs, or a metadata address that swallows packets, must not hang a mount.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(15);
const METADATA_TIMEOUT: Duration = Duration::from_secs(1);

/// The credentials of one store.
pub(super) struct CredentialCache {
    provider: Option<SharedCredentialsProvider>,
    /// What the last lookup found. A leaf, held for a load or a store.
    current: RwLock<Option<Found>>,
    /// Held by the one who renews, across the request to the credentials' service (never the store): that is what
    /// makes it one at a time. Before `current` in the order.
    renewal: tokio::sync::Mutex<()>,
}

#[derive(Clone)]
struct Found {
    /// `None` is anonymous.
    credentials: Option<Credentials>,
}

impl Found {
    fn expires_within(&self, lead: Duration) -> bool {
        let expiry = self.credentials.as_ref().and_then(Credentials::expiry);
        expiry.is_some_and(|expiry| expiry <= SystemTime::now() + lead)
    }
}

impl CredentialCache {
    /// Signs nothing.
    pub fn anonymous() -> Self {
        Self {
            provider: None,
            current: RwLock::new(Some(Found { credentials: None })),
            renewal: Default::default(),
        }
    }

    /// The chain for `profile`. With `instance_role`, the EC2 metadata service is asked last.
    pub fn chain(
        profile: Option<&str>,
        surroundings: Surroundings<'_>,
        config: &ProviderConfig,
        instance_role: bool,
    ) -> Self {
        let mut from_profile = aws_config::profile::ProfileFileCredentialsProvider::builder()
            .configure(config)
            .profile_files(surroundings.profile_files());
        let named = profile.map(str::to_owned).or_else(|| surroundings.get("AWS_PROFILE"));
        // The library's own fallback is this process's AWS_PROFILE, which is not a caller's.
        if let Some(profile) = named.or_else(|| surroundings.are_given().then(|| "default".to_owned())) {
            from_profile = from_profile.profile_name(profile);
        }
        // A profile that was asked for by name goes before the environment, as it does in the AWS CLI.
        let mut chain = match (profile, surroundings.static_keys()) {
            (Some(_), _) => CredentialsProviderChain::first_try("Profile", from_profile.build()),
            (None, Some(keys)) => CredentialsProviderChain::first_try("Environment", keys),
            (None, None) => {
                let mut chain = CredentialsProviderChain::first_try("Profile", from_profile.build());
                if let Some(web_identity) = web_identity(surroundings, config) {
                    chain = chain.or_else("WebIdentityToken", web_identity);
                }
                chain.or_else(
                    "EcsContainer",
                    aws_config::ecs::EcsCredentialsProvider::builder().configure(config).build(),
                )
            }
        };
        let is_disabled = surroundings
            .get("AWS_EC2_METADATA_DISABLED")
            .is_some_and(|value| value.eq_ignore_ascii_case("true"));
        if instance_role && profile.is_none() && !is_disabled {
            let metadata = aws_config::imds::Client::builder()
                .configure(config)
                .connect_timeout(METADATA_TIMEOUT)
                .read_timeout(METADATA_TIMEOUT)
                .max_attempts(2)
                .build();
            let provider =
                aws_config::imds::credentials::ImdsCredentialsProvider::builder().configure(config);
            chain = chain.or_else("Ec2InstanceMetadata", provider.imds_client(metadata).build());
        }
        Self::with_provider(SharedCredentialsProvider::new(chain))
    }

    fn with_provider(provider: SharedCredentialsProvider) -> Self {
        Self { provider: Some(provider), current: RwLock::new(None), renewal: Default::default() }
    }

    /// What to sign with now; `None` is anonymous. Errors: a sentence without any secret.
    pub async fn get(&self) -> Result<Option<Credentials>, String> {
        let current = self.current.read().clone();
        match current {
            Some(found) if !found.expires_within(RENEWAL_LEAD) => Ok(found.credentials),
            Some(found) if !found.expires_within(Duration::ZERO) => match self.renewal.try_lock() {
                Ok(_renewing) => match self.look_up().await {
                    Ok(renewed) => Ok(renewed),
                    Err(cause) => {
                        tracing::warn!(%cause, "credentials could not be renewed; the old ones are still valid");
                        Ok(found.credentials)
                    }
                },
                Err(_) => Ok(found.credentials),
            },
            _ => {
                let _renewing = self.renewal.lock().await;
                let current = self.current.read().clone();
                match current.filter(|found| !found.expires_within(Duration::ZERO)) {
                    Some(found) => Ok(found.credentials),
                    None => self.look_up().await,
                }
            }
        }
    }

    /// The server says that they expired, whatever their date.
    pub fn forget(&self) {
        if self.provider.is_some() {
            *self.current.write() = None;
        }
    }

    /// Whose credentials the last requests were signed with: the end of the access key's id, where that leaves enough unsaid.
    pub fn describe(&self) -> String {
        let current = self.current.read().clone();
        match current.and_then(|found| found.credentials) {
            None => "without credentials".to_owned(),
            Some(credentials) => {
                let id = credentials.access_key_id();
                let end = id.char_indices().rev().nth(3).map_or(0, |(index, _)| index);
                match id.len() >= 12 {
                    true => format!("with the access key …{}", &id[end..]),
                    false => "with an access key".to_owned(),
                }
            }
        }
    }

    async fn look_up(&self) -> Result<Option<Credentials>, String> {
        let Some(provider) = &self.provider else { return Ok(None) };
        let found = match tokio::time::timeout(LOOKUP_TIMEOUT, provider.provide_credentials()).await {
            Ok(Ok(credentials)) => Some(credentials),
            Ok(Err(CredentialsError::CredentialsNotLoaded(_))) => None,
            Ok(Err(error)) => return Err(innermost(&error)),
            Err(_) => return Err(format!("the lookup took longer than {} s", LOOKUP_TIMEOUT.as_secs())),
        };
        *self.current.write() = Some(Found { credentials: found.clone() });
        Ok(found)
    }
}

/// A role that a token in a file stands for, as on Kubernetes; `None` where a caller's variables name none.
fn web_identity(
    surroundings: Surroundings<'_>,
    config: &ProviderConfig,
) -> Option<WebIdentityTokenCredentialsProvider> {
    let provider = WebIdentityTokenCredentialsProvider::builder().configure(config);
    if !surroundings.are_given() {
        return Some(provider.build());
    }
    let configuration = StaticConfiguration {
        web_identity_token_file: surroundings.get("AWS_WEB_IDENTITY_TOKEN_FILE")?.into(),
        role_arn: surroundings.get("AWS_ROLE_ARN")?,
        session_name: surroundings.get("AWS_ROLE_SESSION_NAME").unwrap_or_else(|| "pail".to_owned()),
    };
    Some(provider.static_configuration(configuration).build())
}

impl std::fmt::Debug for CredentialCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CredentialCache")
    }
}

//! Where AWS's tools look for credentials.
//!
//! Owns: the [`Source`]s that are not one provider's alone: [`EnvironmentKeys`], and the providers of the AWS library, each with its name in
//! words ([`aws_chain`]).
//!
//! Invariant: the instance metadata service is asked on AWS alone: elsewhere its address does not answer, and asking takes seconds.

use super::authorization::Authorization;
use super::aws_files::AwsEnvironment;
use super::container::ContainerRole;
use super::credentials::Source;
use super::dialect::{Opening, Reach};
use crate::contract::CallerVariables;
use crate::http::environment::Environment;
use crate::http::failure::innermost;
use crate::http::renewal::Issued;
use async_trait::async_trait;
use aws_config::provider_config::ProviderConfig;
use aws_config::web_identity_token::{StaticConfiguration, WebIdentityTokenCredentialsProvider};
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_runtime::env_config::file::EnvConfigFiles;
use std::sync::Arc;
use std::time::Duration;

const METADATA_TIMEOUT: Duration = Duration::from_secs(1);

/// The variables of AWS's keys.
pub(super) const AWS_KEYS: KeyVariables = KeyVariables {
    access_key_id: "AWS_ACCESS_KEY_ID",
    secret_access_key: "AWS_SECRET_ACCESS_KEY",
    session_token: Some("AWS_SESSION_TOKEN"),
};

/// The names of three variables.
#[derive(Clone, Copy)]
pub(super) struct KeyVariables {
    pub access_key_id: &'static str,
    pub secret_access_key: &'static str,
    pub session_token: Option<&'static str>,
}

/// Keys that stand in variables.
pub(super) struct EnvironmentKeys {
    name: String,
    keys: Result<Option<Credentials>, String>,
}

impl EnvironmentKeys {
    pub fn source(variables: KeyVariables, environment: Environment<'_>) -> Arc<dyn Source> {
        let KeyVariables { access_key_id, secret_access_key, session_token } = variables;
        let token = session_token.and_then(|name| environment.get(name));
        let half = |there: &str, absent: &str| Err(format!("{there} is set, and {absent} is not"));
        let keys = match (environment.get(access_key_id), environment.get(secret_access_key)) {
            (Some(id), Some(secret)) => Ok(Some(Credentials::new(id, secret, token, None, "Environment"))),
            (Some(_), None) => half(access_key_id, secret_access_key),
            (None, Some(_)) => half(secret_access_key, access_key_id),
            (None, None) => Ok(None),
        };
        Arc::new(Self { name: format!("the environment ({access_key_id})"), keys })
    }
}

#[async_trait]
impl Source for EnvironmentKeys {
    fn name(&self) -> &str {
        &self.name
    }

    async fn look_up(&self) -> Result<Option<Issued<Authorization>>, String> {
        let keys = self.keys.clone()?;
        Ok(keys.map(|keys| Issued { value: Authorization::Keys(keys), expiry: None }))
    }
}

/// A provider of the AWS library, which is made anew for each search, since it reads files once.
pub(super) struct Provider<F> {
    name: String,
    make: F,
}

impl<F: Fn() -> SharedCredentialsProvider + Send + Sync + 'static> Provider<F> {
    pub fn source(name: impl Into<String>, make: F) -> Arc<dyn Source> {
        Arc::new(Self { name: name.into(), make })
    }
}

#[async_trait]
impl<F: Fn() -> SharedCredentialsProvider + Send + Sync> Source for Provider<F> {
    fn name(&self) -> &str {
        &self.name
    }

    async fn look_up(&self) -> Result<Option<Issued<Authorization>>, String> {
        match (self.make)().provide_credentials().await {
            Ok(keys) => {
                let expiry = keys.expiry();
                Ok(Some(Issued { value: Authorization::Keys(keys), expiry }))
            }
            Err(CredentialsError::CredentialsNotLoaded(_)) => Ok(None),
            Err(error) => Err(innermost(&error)),
        }
    }
}

/// The profile `name` of the files that `files` names at the time. `place` says in words which those are.
pub(super) fn profile(
    name: Option<String>,
    place: &str,
    config: &ProviderConfig,
    files: impl Fn() -> EnvConfigFiles + Send + Sync + 'static,
) -> Arc<dyn Source> {
    let config = config.clone();
    let told = format!("the profile {} of {place}", name.as_deref().unwrap_or("default"));
    Provider::source(told, move || {
        let mut provider = aws_config::profile::ProfileFileCredentialsProvider::builder()
            .configure(&config)
            .profile_files(files());
        if let Some(name) = &name {
            provider = provider.profile_name(name);
        }
        SharedCredentialsProvider::new(provider.build())
    })
}

/// Where an instance asks for its role.
const METADATA_SERVICE: &str = "http://169.254.169.254";

/// The chain that every AWS tool uses: environment, profile with SSO, process and assumed roles, web identity, container, instance role. With
/// `instance_role`, the EC2 metadata service is asked last.
pub(super) fn aws_chain(
    opening: &Opening<'_>,
    reach: &Reach<'_>,
    instance_role: bool,
) -> Vec<Arc<dyn Source>> {
    let config = &reach.aws;
    let environment = opening.environment;
    let from_profile = aws_profile(opening, config);
    // A profile that was asked for by name goes before the environment, as it does in the AWS CLI.
    if opening.options.profile.is_some() {
        return vec![from_profile];
    }
    let mut chain = vec![EnvironmentKeys::source(AWS_KEYS, environment), from_profile];
    chain.extend(web_identity(environment, config));
    chain.extend(ContainerRole::source(opening.options, environment, reach));
    let is_disabled =
        environment.get("AWS_EC2_METADATA_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"));
    if instance_role && !is_disabled {
        let config = config.clone();
        let service = environment.get("AWS_EC2_METADATA_SERVICE_ENDPOINT");
        let service = service.or_else(|| environment.are_given().then(|| METADATA_SERVICE.to_owned()));
        chain.push(Provider::source("the instance's role", move || {
            instance_metadata(&config, service.as_deref())
        }));
    }
    chain
}

/// The profile of the AWS configuration files that applies.
pub(super) fn aws_profile(opening: &Opening<'_>, config: &ProviderConfig) -> Arc<dyn Source> {
    let environment = opening.environment;
    let named = opening.options.profile.clone().or_else(|| environment.get("AWS_PROFILE"));
    // The library's own fallback is this process's AWS_PROFILE, which is not a caller's.
    let named = named.or_else(|| environment.are_given().then(|| "default".to_owned()));
    let variables: Option<CallerVariables> = opening.options.environment.clone();
    profile(named, &environment.profile_places(), config, move || {
        Environment(variables.as_ref()).profile_files()
    })
}

/// `service` is where it is asked; `None` leaves that to this process's variables.
fn instance_metadata(config: &ProviderConfig, service: Option<&str>) -> SharedCredentialsProvider {
    let mut metadata = aws_config::imds::Client::builder();
    if let Some(service) = service {
        // One that is no URL is left out: what is asked then is the machine's own.
        metadata = metadata.clone().endpoint(service).unwrap_or(metadata);
    }
    let metadata = metadata
        .configure(config)
        .connect_timeout(METADATA_TIMEOUT)
        .read_timeout(METADATA_TIMEOUT)
        .max_attempts(2)
        .build();
    let provider = aws_config::imds::credentials::ImdsCredentialsProvider::builder().configure(config);
    SharedCredentialsProvider::new(provider.imds_client(metadata).build())
}

/// A role that a token in a file stands for, as on Kubernetes; `None` where a caller's variables name none.
fn web_identity(environment: Environment<'_>, config: &ProviderConfig) -> Option<Arc<dyn Source>> {
    let named = match environment.are_given() {
        false => None,
        true => Some((
            environment.get("AWS_WEB_IDENTITY_TOKEN_FILE")?,
            environment.get("AWS_ROLE_ARN")?,
            environment.get("AWS_ROLE_SESSION_NAME").unwrap_or_else(|| "pail".to_owned()),
        )),
    };
    let config = config.clone();
    Some(Provider::source("the web identity (AWS_WEB_IDENTITY_TOKEN_FILE)", move || {
        let mut provider = WebIdentityTokenCredentialsProvider::builder().configure(&config);
        if let Some((file, role_arn, session_name)) = named.clone() {
            provider = provider.static_configuration(StaticConfiguration {
                web_identity_token_file: file.into(),
                role_arn,
                session_name,
            });
        }
        SharedCredentialsProvider::new(provider.build())
    }))
}

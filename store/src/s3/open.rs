//! From wishes and surroundings to a store.
//!
//! Owns: the order in which options, environment and AWS configuration files decide on endpoint, region and credentials.
//! It is resolved once, here; nothing later reads the environment.

use super::Pipeline;
use super::S3Store;
use super::aws_files::AwsSurroundings;
use super::credential_client;
use super::credentials::CredentialCache;
use super::customer_key::{self, CustomerKey};
use super::endpoint::Endpoint;
use super::extras::Extras;
use super::probe::Enforcement;
use super::service::S3Service;
use crate::contract::{CallerVariables, Error, ErrorKind, Result, StoreOptions};
use crate::http::authorities::Authorities;
use crate::http::proxy::Proxies;
use crate::http::surroundings::Surroundings;
use crate::http::transport;
use aws_config::profile::ProfileSet;
use aws_config::provider_config::ProviderConfig;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;
use tokio::sync::OnceCell;

const REGION_DEFAULT: &str = "us-east-1";

pub(super) async fn open(options: StoreOptions) -> Result<Arc<S3Store>> {
    let bucket = options.bucket.bucket.clone();
    let surroundings = Surroundings(options.environment.as_ref());
    let refuse = |kind, message| Error {
        kind,
        operation: "open",
        bucket: bucket.clone(),
        key: None,
        status: None,
        code: None,
        message,
        attempts: 1,
        maybe_applied: false,
    };
    let profile = Profile::load(options.profile.as_deref(), surroundings)
        .await
        .map_err(|e| refuse(ErrorKind::Credentials, e))?;
    let endpoint =
        endpoint_of(&options, surroundings, &profile).map_err(|e| refuse(ErrorKind::Configuration, e))?;
    let proxies = Proxies::of(surroundings).map_err(|e| refuse(ErrorKind::Configuration, e))?;
    let authorities = authorities_of(surroundings, &profile, endpoint.is_tls())
        .map_err(|e| refuse(ErrorKind::Configuration, e))?;
    let client = transport::connect(&options, endpoint.is_tls(), proxies.clone(), authorities.as_ref())
        .map_err(|e| refuse(ErrorKind::Configuration, e))?;
    let credentials = credentials_of(&options, &endpoint, &proxies, authorities.as_ref())
        .map_err(|e| refuse(ErrorKind::Configuration, e))?;
    let extras =
        extras_of(&options, surroundings, &endpoint).map_err(|e| refuse(ErrorKind::Configuration, e))?;
    let identity = match endpoint.is_aws() {
        true => format!("s3://{bucket}"),
        false => format!("{} {bucket}", endpoint.url()),
    };
    let enforcement =
        Enforcement::known(&endpoint).map_or_else(OnceCell::new, |known| OnceCell::new_with(Some(known)));
    Ok(Arc::new(S3Store {
        uri: format!("s3://{bucket}"),
        identity,
        enforcement,
        asked_in_vain: Mutex::default(),
        pipeline: Arc::new(Pipeline::new(options, S3Service::new(endpoint, credentials, extras), client)),
    }))
}

/// Errors: the customer's key cannot be read, or would be sent in the clear.
fn extras_of(
    options: &StoreOptions,
    surroundings: Surroundings<'_>,
    endpoint: &Endpoint,
) -> std::result::Result<Extras, String> {
    let file = surroundings.get(customer_key::VARIABLE);
    let customer_key = file.map(|file| CustomerKey::read(&surroundings.path(&file))).transpose()?;
    if customer_key.is_some() && !endpoint.is_tls() && !endpoint.is_loopback() {
        return Err(format!(
            "{} names a key, and {} has no TLS: the key would be sent in the clear; write https:// in the endpoint's URL",
            customer_key::VARIABLE,
            endpoint.url()
        ));
    }
    Ok(Extras { requester_pays: options.requester_pays, customer_key })
}

fn credentials_of(
    options: &StoreOptions,
    endpoint: &Endpoint,
    proxies: &Proxies,
    authorities: Option<&Authorities>,
) -> std::result::Result<CredentialCache, String> {
    if options.anonymous {
        return Ok(CredentialCache::anonymous());
    }
    let region = aws_config::Region::new(endpoint.region.clone());
    let config = ProviderConfig::default().with_region(Some(region));
    let config = credential_client::with_client(config, proxies, authorities)?;
    let surroundings = Surroundings(options.environment.as_ref());
    Ok(CredentialCache::chain(options.profile.as_deref(), surroundings, &config, endpoint.is_aws()))
}

/// What `options` come to for another machine that has neither this one's files nor its instance role: keys, region and endpoint as
/// `AWS_*` variables, which the store of that machine takes from its caller's environment. Keys that expire are lent as they are now; when they do is told.
/// A region is among them only where one was named. Errors: a sentence without any secret.
pub async fn lend(
    options: &StoreOptions,
) -> std::result::Result<(CallerVariables, Option<SystemTime>), String> {
    let surroundings = Surroundings(options.environment.as_ref());
    let profile = Profile::load(options.profile.as_deref(), surroundings).await?;
    let endpoint = endpoint_of(options, surroundings, &profile)?;
    let proxies = Proxies::of(surroundings)?;
    let authorities = authorities_of(surroundings, &profile, true).unwrap_or_default();
    let credentials = credentials_of(options, &endpoint, &proxies, authorities.as_ref())?.get().await?;
    let mut lent = BTreeMap::new();
    let mut put = |name: &str, value: Option<String>| {
        lent.extend(value.map(|value| (name.to_owned(), value)));
    };
    let expiry = credentials.as_ref().and_then(|keys| keys.expiry());
    if let Some(keys) = credentials {
        put("AWS_ACCESS_KEY_ID", Some(keys.access_key_id().to_owned()));
        put("AWS_SECRET_ACCESS_KEY", Some(keys.secret_access_key().to_owned()));
        put("AWS_SESSION_TOKEN", keys.session_token().map(str::to_owned));
    }
    put("AWS_REGION", region_of(options, surroundings, &profile));
    put("AWS_ENDPOINT_URL_S3", endpoint_url_of(options, surroundings, &profile));
    Ok((CallerVariables(lent), expiry))
}

/// The certificates to trust in place of the system's, if any are named. Errors: they cannot be had, and the endpoint needs them.
fn authorities_of(
    surroundings: Surroundings<'_>,
    profile: &Profile,
    tls: bool,
) -> Result<Option<Authorities>, String> {
    let of_profile = || Some(("ca_bundle", profile.get("ca_bundle")?));
    let named = surroundings.get("AWS_CA_BUNDLE").map(|file| ("AWS_CA_BUNDLE", file)).or_else(of_profile);
    let Some((setting, file)) = named else { return Ok(None) };
    match Authorities::read(setting, &surroundings.path(&file)) {
        Err(cause) if !tls => {
            tracing::warn!(
                cause,
                "certificates that are named, and that this endpoint does not need, are left out"
            );
            Ok(None)
        }
        read => read.map(Some),
    }
}

fn endpoint_of(
    options: &StoreOptions,
    surroundings: Surroundings<'_>,
    profile: &Profile,
) -> Result<Endpoint, String> {
    let region = region_of(options, surroundings, profile).unwrap_or_else(|| REGION_DEFAULT.to_owned());
    match endpoint_url_of(options, surroundings, profile) {
        Some(url) => {
            Endpoint::custom(&url, &options.bucket.bucket, &region, options.virtual_host.unwrap_or(false))
        }
        // The certificate's wildcard covers one label, so a dotted name must stay in the path.
        None => {
            let virtual_host = options.virtual_host.unwrap_or(!options.bucket.bucket.contains('.'));
            Ok(Endpoint::aws(&options.bucket.bucket, &region, virtual_host))
        }
    }
}

fn region_of(options: &StoreOptions, surroundings: Surroundings<'_>, profile: &Profile) -> Option<String> {
    let named = options.region.clone();
    named
        .or_else(|| surroundings.get("AWS_REGION"))
        .or_else(|| surroundings.get("AWS_DEFAULT_REGION"))
        .or_else(|| profile.get("region"))
}

fn endpoint_url_of(
    options: &StoreOptions,
    surroundings: Surroundings<'_>,
    profile: &Profile,
) -> Option<String> {
    let named = options.endpoint_url.clone();
    named
        .or_else(|| surroundings.get("AWS_ENDPOINT_URL_S3"))
        .or_else(|| surroundings.get("AWS_ENDPOINT_URL"))
        .or_else(|| profile.get("endpoint_url"))
}

/// The profile of the AWS configuration files that applies.
struct Profile {
    files: Option<ProfileSet>,
    name: String,
}

impl Profile {
    /// Errors: a profile that was asked for is not there. Unreadable files are no error here: nothing may need them.
    async fn load(wanted: Option<&str>, surroundings: Surroundings<'_>) -> Result<Self, String> {
        let files = aws_config::profile::load(
            &Default::default(),
            &Default::default(),
            &surroundings.profile_files(),
            wanted.map(|name| name.to_owned().into()),
        )
        .await;
        let files = match files {
            Ok(files) => Some(files),
            Err(error) => {
                tracing::warn!(%error, "the AWS configuration files cannot be read");
                None
            }
        };
        let name = wanted
            .map(str::to_owned)
            .or_else(|| surroundings.get("AWS_PROFILE"))
            .unwrap_or_else(|| "default".to_owned());
        match (&files, wanted) {
            (Some(files), Some(wanted)) if files.get_profile(wanted).is_none() => {
                let mut names: Vec<_> = files.profiles().collect();
                names.sort_unstable();
                let there = if names.is_empty() { "none at all".to_owned() } else { names.join(", ") };
                Err(format!("the AWS configuration files have no profile {wanted:?}; they have {there}"))
            }
            _ => Ok(Self { files, name }),
        }
    }

    fn get(&self, setting: &str) -> Option<String> {
        Some(self.files.as_ref()?.get_profile(&self.name)?.get(setting)?.to_owned())
    }
}

//! From wishes and environment to a store.
//!
//! Owns: the order of it: the [`dialect`] is found, and says where the bucket is and where its credentials are. It is resolved once, here;
//! nothing later reads the environment.

use super::Pipeline;
use super::authorization::Authorization;
use super::credential_client;
use super::credentials::CredentialCache;
use super::customer_key::{self, CustomerKey};
use super::dialect::{self, Dialect, Opening, Reach};
use super::endpoint::Endpoint;
use super::express::{SessionIssuer, Sessions};
use super::extras::Extras;
use super::profile::Profile;
use super::service::S3Service;
use super::{ENDPOINTS, S3Store};
use crate::contract::{CallerVariables, Error, ErrorKind, Result, StoreKind, StoreOptions};
use crate::http::ca_bundle::CaBundle;
use crate::http::environment::Environment;
use crate::http::proxy::Proxies;
use crate::http::remembered::{AnswerFile, Memory};
use crate::http::transport;
use aws_config::provider_config::ProviderConfig;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

pub(super) async fn open(options: StoreOptions) -> Result<Arc<S3Store>> {
    let bucket = options.bucket.bucket.clone();
    let configuration = |message| refused(&bucket, ErrorKind::Configuration, message);
    let environment = Environment(options.environment.as_ref());
    let profile = Profile::load(options.profile.as_deref(), environment).await;
    let opening = Opening { options: &options, environment, profile: &profile };
    let dialect = dialect::of(&opening);
    dialect.check_profile(&opening).await.map_err(|cause| refused(&bucket, ErrorKind::Credentials, cause))?;
    let endpoint = dialect.endpoint(&opening).map_err(configuration)?;
    let creation = dialect.creation(&opening, &endpoint).map_err(configuration)?;
    let proxies = Proxies::of(environment).map_err(configuration)?;
    let ca_bundle = ca_bundle_of(environment, &profile, endpoint.is_tls()).map_err(configuration)?;
    let client = transport::connect(&options, endpoint.is_tls(), proxies.clone(), ca_bundle.as_ref())
        .map_err(configuration)?;
    let may_be_anonymous = dialect.has_public_buckets();
    let credentials =
        credentials_of(&opening, dialect, &endpoint, &proxies, ca_bundle.as_ref(), may_be_anonymous)
            .map_err(configuration)?;
    let extras = extras_of(&opening, &endpoint).map_err(configuration)?;
    let identity = match endpoint.is_aws() {
        true => format!("s3://{bucket}"),
        false => format!("{} {bucket}", endpoint.url()),
    };
    let answers = AnswerFile::of(environment).filter(|_| !endpoint.is_loopback());
    let memory = Memory::new(&ENDPOINTS, endpoint.url(), dialect.enforcement(&endpoint), answers);
    let credentials = Arc::new(credentials);
    let sessions = sessions_of(&opening, &endpoint, &credentials, &proxies, ca_bundle.as_ref())
        .map_err(configuration)?;
    let service = S3Service::new(endpoint, credentials, sessions, dialect, extras);
    let mut options = options;
    dialect.restrict_new(&mut options.new_objects);
    Ok(Arc::new(S3Store {
        uri: options.bucket.bucket_uri(),
        identity,
        memory,
        creation,
        pipeline: Arc::new(Pipeline::new(options, service, client)),
    }))
}

fn refused(bucket: &str, kind: ErrorKind, message: String) -> Error {
    Error::new(kind, "open", bucket, None, message)
}

/// Errors: the customer's key cannot be read, or would be sent in the clear.
fn extras_of(opening: &Opening<'_>, endpoint: &Endpoint) -> std::result::Result<Extras, String> {
    let environment = opening.environment;
    let file = environment.get(customer_key::VARIABLE);
    let customer_key = file.map(|file| CustomerKey::read(&environment.path(&file))).transpose()?;
    if customer_key.is_some() && !endpoint.is_tls() && !endpoint.is_loopback() {
        return Err(format!(
            "{} names a key, and {} has no TLS: the key would be sent in the clear; write https:// in the endpoint's URL",
            customer_key::VARIABLE,
            endpoint.url()
        ));
    }
    // AWS SDKs and Tools Reference Guide, "Data Integrity Protections for Amazon S3".
    let only_required = |variable: &str, setting: &str| {
        let value = environment.get(variable).or_else(|| opening.profile.get(setting));
        value.is_some_and(|value| value.trim().eq_ignore_ascii_case("when_required"))
    };
    Ok(Extras {
        requester_pays: opening.options.requester_pays,
        customer_key,
        sums_no_writes: only_required("AWS_REQUEST_CHECKSUM_CALCULATION", "request_checksum_calculation"),
        checks_no_reads: only_required("AWS_RESPONSE_CHECKSUM_VALIDATION", "response_checksum_validation"),
    })
}

/// The sessions of a directory bucket; `None` for others, and where they are switched off (AWS SDKs and Tools Reference Guide, "S3 Express One
/// Zone session authentication").
fn sessions_of(
    opening: &Opening<'_>,
    endpoint: &Endpoint,
    credentials: &Arc<CredentialCache>,
    proxies: &Proxies,
    ca_bundle: Option<&CaBundle>,
) -> std::result::Result<Option<Sessions>, String> {
    let is_off = opening.flag("AWS_S3_DISABLE_EXPRESS_SESSION_AUTH", "s3_disable_express_session_auth");
    if !endpoint.is_directory || is_off || opening.options.anonymous {
        return Ok(None);
    }
    let client = transport::connect(opening.options, endpoint.is_tls(), proxies.clone(), ca_bundle)?;
    let patience = opening.options.head_timeout;
    Ok(Some(Sessions::new(SessionIssuer {
        client,
        endpoint: endpoint.clone(),
        credentials: credentials.clone(),
        patience,
    })))
}

fn credentials_of(
    opening: &Opening<'_>,
    dialect: &dyn Dialect,
    endpoint: &Endpoint,
    proxies: &Proxies,
    ca_bundle: Option<&CaBundle>,
    may_be_anonymous: bool,
) -> std::result::Result<CredentialCache, String> {
    if opening.options.anonymous {
        return Ok(CredentialCache::anonymous());
    }
    let region = aws_config::Region::new(endpoint.region.clone());
    let config = ProviderConfig::default().with_region(Some(region));
    let aws = credential_client::with_client(config, proxies, ca_bundle)?;
    let sources = dialect.sources(opening, &Reach { aws, proxies, ca_bundle })?;
    Ok(CredentialCache::of(sources, may_be_anonymous))
}

/// What `options` come to for another machine that has neither this one's files nor its instance role: keys, region and endpoint as
/// variables, which the store of that machine takes from its caller's environment. Where there is something that makes tokens it is lent in
/// their place; what expires is lent as it is now, and when it does is told. Region and endpoint are among them only where this machine's
/// environment name them: those of `options` are one bucket's, and whoever opens it there has them. Errors: a sentence without any secret.
pub async fn lend(
    options: &StoreOptions,
) -> std::result::Result<(CallerVariables, Option<SystemTime>), String> {
    let environment = Environment(options.environment.as_ref());
    let profile = Profile::load(options.profile.as_deref(), environment).await;
    let opening = Opening { options, environment, profile: &profile };
    let dialect = dialect::of(&opening);
    dialect.check_profile(&opening).await?;
    let endpoint = dialect.endpoint(&opening)?;
    let proxies = Proxies::of(environment)?;
    let ca_bundle = ca_bundle_of(environment, &profile, true).unwrap_or_default();
    // Who has no credentials lends none: the other machine may have its own.
    let credentials = credentials_of(&opening, dialect, &endpoint, &proxies, ca_bundle.as_ref(), true)?;
    let found = credentials.get().await?;
    let (mut lent, mut expiry) = (BTreeMap::new(), found.expiry);
    let mut put = |name: Option<&str>, value: Option<String>| {
        lent.extend(name.zip(value).map(|(name, value)| (name.to_owned(), value)));
    };
    let names = dialect.lending();
    match &found.authorization {
        Authorization::Anonymous => {}
        Authorization::Keys(keys) | Authorization::Session(keys) => {
            put(Some(names.keys.access_key_id), Some(keys.access_key_id().to_owned()));
            put(Some(names.keys.secret_access_key), Some(keys.secret_access_key().to_owned()));
            put(names.keys.session_token, keys.session_token().map(str::to_owned));
        }
        Authorization::Bearer(token) => match dialect.lends_renewal(&opening) {
            Some((name, value)) => {
                put(Some(name), Some(value));
                expiry = None;
            }
            None => put(names.token, Some(token.secret())),
        },
    }
    let bucket_free = StoreOptions { endpoint_url: None, region: None, ..options.clone() };
    let surrounding = Opening { options: &bucket_free, ..opening };
    let (url, region) = dialect.named(&surrounding);
    match options.bucket.kind {
        // Whoever's endpoint it is, it is that of `s3://`.
        StoreKind::S3 => {
            put(Some("AWS_ENDPOINT_URL_S3"), url);
            put(Some("AWS_REGION"), region);
        }
        StoreKind::R2 | StoreKind::Ibm | StoreKind::Gcs | StoreKind::Azure => {
            put(names.region, region);
            put(Some(names.endpoint_url), url);
        }
    }
    for (name, value) in dialect.lends_beside(&surrounding) {
        put(Some(name), Some(value));
    }
    for (variable, is_set) in [
        ("AWS_USE_DUALSTACK_ENDPOINT", opening.flag("AWS_USE_DUALSTACK_ENDPOINT", "use_dualstack_endpoint")),
        ("AWS_USE_FIPS_ENDPOINT", opening.flag("AWS_USE_FIPS_ENDPOINT", "use_fips_endpoint")),
        ("AWS_S3_USE_ACCELERATE_ENDPOINT", opening.accelerates()),
    ] {
        put(Some(variable), (is_set && endpoint.is_aws()).then(|| "true".to_owned()));
    }
    Ok((CallerVariables(lent), expiry))
}

/// The certificates to trust in place of the system's, if any are named. Errors: they cannot be had, and the endpoint needs them.
fn ca_bundle_of(
    environment: Environment<'_>,
    profile: &Profile,
    tls: bool,
) -> Result<Option<CaBundle>, String> {
    let settings =
        [("AWS_CA_BUNDLE", environment.get("AWS_CA_BUNDLE")), ("ca_bundle", profile.get("ca_bundle"))];
    CaBundle::named(environment, settings, tls)
}

//! From wishes and environment to a store.
//!
//! Owns: the order in which options and environment decide on endpoint, certificates and credentials. It is resolved once, here; nothing
//! later reads the environment.

use super::credentials::found::Places;
use super::credentials::{CredentialCache, Found, Source, TokenClient};
use super::endpoint::{Endpoint, EndpointKind};
use super::enforcement::Enforcement;
use super::service::GcsService;
use super::{ENDPOINTS, GcsStore, Pipeline};
use crate::contract::{
    CallerVariables, Error, ErrorKind, Result, StoreKind, StoreOptions, check_storage_class,
};
use crate::http::ca_bundle::CaBundle;
use crate::http::environment::Environment;
use crate::http::proxy::Proxies;
use crate::http::remembered::{AnswerFile, Memory};
use crate::http::transport::{self, HttpClient};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::SystemTime;

/// Variables that name certificates to trust in place of the system's, the first that is set: gcloud's own, and the one of most TLS stacks.
const CA_BUNDLE_VARIABLES: [&str; 2] = ["CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE", "SSL_CERT_FILE"];

pub(super) async fn open(options: StoreOptions) -> Result<Arc<GcsStore>> {
    let bucket = options.bucket.bucket.clone();
    let environment = Environment(options.environment.as_ref());
    let refuse = |kind, message: String| Error::new(kind, "open", bucket.as_str(), None, message);
    let misconfigured = |message| refuse(ErrorKind::Configuration, message);
    let endpoint = endpoint_of(&options, environment).map_err(misconfigured)?;
    if let Some(class) = options.new_objects.storage_class.as_deref().filter(|_| endpoint.is_google_s()) {
        check_storage_class(StoreKind::Gcs, class).map_err(misconfigured)?;
    }
    let found = Found::of(environment, places_of(&options, &endpoint));
    let found = found.map_err(|cause| refuse(ErrorKind::Credentials, cause))?;
    let (client, credentials) = clients(&options, environment, &endpoint, found).map_err(misconfigured)?;
    let paying_project = match options.requester_pays {
        true => Some(credentials.project().await.ok_or_else(|| {
            misconfigured(
                "whoever asks is to pay, and no project is known that could; set GOOGLE_CLOUD_PROJECT".into(),
            )
        })?),
        false => None,
    };
    let identity = match endpoint.kind() {
        EndpointKind::Google => format!("gs://{bucket}"),
        EndpointKind::Named | EndpointKind::Emulator => format!("{} gs://{bucket}", endpoint.url()),
    };
    let documented = endpoint.is_google_s().then_some(Enforcement::FULL);
    let answers = AnswerFile::of(environment).filter(|_| !endpoint.is_loopback());
    // Beside the answers that the same servers may give to requests of the S3 API.
    let memory = Memory::new(&ENDPOINTS, format!("gs {}", endpoint.url()), documented, answers);
    let service = GcsService { endpoint, credentials, paying_project };
    Ok(Arc::new(GcsStore {
        uri: format!("gs://{bucket}"),
        identity,
        memory,
        refused_rename: AtomicBool::new(false),
        pipeline: Arc::new(Pipeline::new(options, service, client)),
    }))
}

/// The client of the bucket, and the credentials, whose services are reached by the same one. Errors: a sentence.
fn clients(
    options: &StoreOptions,
    environment: Environment<'_>,
    endpoint: &Endpoint,
    found: Found,
) -> std::result::Result<(HttpClient, CredentialCache), String> {
    let proxies = Proxies::of(environment)?;
    let settings = CA_BUNDLE_VARIABLES.map(|name| (name, environment.get(name)));
    let ca_bundle = CaBundle::named(environment, settings, true)?;
    let tls = endpoint.is_tls() || found.source.as_ref().is_some_and(Source::needs_tls);
    let client = transport::connect(options, tls, proxies, ca_bundle.as_ref())?;
    let direct = transport::connect_directly(options)?;
    Ok((client.clone(), CredentialCache::new(found, TokenClient::new(client, direct))))
}

/// Where credentials are looked for. Nobody's own are sent to a server of tests, and none at all where others could read them.
fn places_of(options: &StoreOptions, endpoint: &Endpoint) -> Places {
    match endpoint.kind() {
        _ if options.anonymous => Places::None("as was asked for"),
        EndpointKind::Emulator => Places::None("STORAGE_EMULATOR_HOST is set"),
        EndpointKind::Google | EndpointKind::Named if endpoint.is_tls() => Places::All,
        _ if endpoint.is_private() => Places::Named,
        _ => Places::None("the endpoint is plain HTTP"),
    }
}

fn endpoint_of(
    options: &StoreOptions,
    environment: Environment<'_>,
) -> std::result::Result<Endpoint, String> {
    let bucket = &options.bucket.bucket;
    match (&options.endpoint_url, environment.get("STORAGE_EMULATOR_HOST")) {
        (Some(url), _) => Endpoint::named(url, bucket, EndpointKind::Named),
        (None, Some(host)) => Endpoint::named(&host, bucket, EndpointKind::Emulator)
            .map_err(|cause| format!("STORAGE_EMULATOR_HOST: {cause}")),
        (None, None) => Ok(Endpoint::google(bucket)),
    }
}

/// What `options` come to for another machine that has neither this one's files nor its account: the JSON of the credentials, which last there
/// as they do here, or else a token as it is now, and until when that lasts.
pub async fn lend(
    options: &StoreOptions,
) -> std::result::Result<(CallerVariables, Option<SystemTime>), String> {
    let environment = Environment(options.environment.as_ref());
    let endpoint = endpoint_of(options, environment)?;
    let found = Found::of(environment, places_of(options, &endpoint))?;
    let (_, credentials) = clients(options, environment, &endpoint, found)?;
    let mut lent = BTreeMap::new();
    let mut until = None;
    if let Some(json) = credentials.json() {
        lent.insert("GOOGLE_CREDENTIALS".to_owned(), json.to_owned());
    } else if let Some((token, lasts)) = credentials.token().await? {
        lent.insert("GOOGLE_OAUTH_ACCESS_TOKEN".to_owned(), token);
        until = lasts;
    }
    if let Some(project) = credentials.project().await {
        lent.insert("GOOGLE_CLOUD_PROJECT".to_owned(), project);
    }
    if let Some(host) =
        environment.get("STORAGE_EMULATOR_HOST").filter(|_| endpoint.kind() == EndpointKind::Emulator)
    {
        lent.insert("STORAGE_EMULATOR_HOST".to_owned(), host);
    }
    Ok((CallerVariables(lent), until))
}

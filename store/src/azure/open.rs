//! From wishes and environment to a store.
//!
//! Owns: the order in which options, the URI and the caller's variables decide on account, endpoint and credentials. It is resolved once, here.

use super::authorization::Credentials;
use super::connector::PipelineConnector;
use super::credentials::{ConnectionString, EMULATOR_ACCOUNT, Found, account_in, wants_emulator};
use super::endpoint::Endpoint;
use super::service::AzureService;
use super::tokens::{TokenConnector, expiry_of};
use super::{Azure, AzureStore, Pipeline};
use crate::adapter::ObjectStoreAdapter;
use crate::contract::{CallerVariables, ErrorKind, Result, StoreKind, StoreOptions, check_storage_class};
use crate::http::ca_bundle::CaBundle;
use crate::http::environment::Environment;
use crate::http::proxy::Proxies;
use crate::http::transport;
use object_store::RetryConfig;
use object_store::azure::{AzureCredential, MicrosoftAzureBuilder};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

const EMULATOR_URL: &str = "http://127.0.0.1:10000";
const SUFFIX_DEFAULT: &str = "core.windows.net";

/// Prepares the store of a container; nothing is sent yet. Errors: `Configuration`, `Credentials`.
pub(super) async fn open(options: StoreOptions) -> Result<Arc<AzureStore>> {
    let bucket = options.bucket.bucket.clone();
    let refuse = |kind, message| crate::adapter::failure::error(&bucket, "open", None, kind, message);
    let Resolved { account, endpoint, found, is_own_domain } =
        resolve(&options).map_err(|(kind, message)| refuse(kind, message))?;
    if let Some(class) = options.new_objects.storage_class.as_deref().filter(|_| is_own_domain) {
        check_storage_class(StoreKind::Azure, class)
            .map_err(|message| refuse(ErrorKind::Configuration, message))?;
    }
    let environment = Environment(options.environment.as_ref());
    let connected = || -> std::result::Result<_, String> {
        let proxies = Proxies::of(environment)?;
        let is_tls = endpoint.is_tls() || found.needs_http();
        let ca_bundle = ca_bundle_of(environment, is_tls)?;
        let connect = |tls| transport::connect(&options, tls, proxies.clone(), ca_bundle.as_ref());
        let tokens = match found.needs_http() {
            true => {
                let machine = transport::connect_directly(&options)?;
                let identity = environment.get("IDENTITY_HEADER");
                Some(TokenConnector::new(connect(true)?, machine, identity))
            }
            false => None,
        };
        Ok((connect(endpoint.is_tls())?, tokens))
    };
    let (client, tokens) = connected().map_err(|message| refuse(ErrorKind::Configuration, message))?;
    let credentials = Credentials::new(found, options.environment.clone(), tokens);
    let uri = format!("az://{account}/{bucket}");
    let identity = match is_own_domain {
        true => uri.clone(),
        false => format!("{} {bucket}", endpoint.url()),
    };
    let url = endpoint.url();
    let service = AzureService { endpoint, account: account.clone(), credentials };
    let pipeline = Arc::new(Pipeline::new(options, service, client));
    // It neither signs nor tries again: both is the pipeline's.
    let library = MicrosoftAzureBuilder::new()
        .with_account(account)
        .with_container_name(&bucket)
        .with_endpoint(url)
        .with_allow_http(true)
        .with_skip_signature(true)
        .with_retry(RetryConfig { max_retries: 0, retry_timeout: Duration::ZERO, ..RetryConfig::default() })
        .with_http_connector(PipelineConnector(pipeline.clone()))
        .build()
        .map_err(|cause| refuse(ErrorKind::Configuration, cause.to_string()))?;
    Ok(Arc::new(ObjectStoreAdapter::new(Azure::new(uri, identity, pipeline, library))))
}

/// See [`lend`](crate::lend).
pub(crate) async fn lend(
    options: &StoreOptions,
) -> std::result::Result<(CallerVariables, Option<SystemTime>), String> {
    let Resolved { account, endpoint, found, .. } = resolve(options).map_err(|(_, message)| message)?;
    let environment = Environment(options.environment.as_ref());
    let (mut lent, mut expiry) = (found.lendable().unwrap_or_default(), None);
    if found.lendable().is_none() {
        let proxies = Proxies::of(environment)?;
        let ca_bundle = ca_bundle_of(environment, true).unwrap_or_default();
        let client = transport::connect(options, true, proxies, ca_bundle.as_ref())?;
        let machine = transport::connect_directly(options)?;
        let tokens = TokenConnector::new(client, machine, environment.get("IDENTITY_HEADER"));
        let credentials = Credentials::new(found, options.environment.clone(), Some(tokens));
        if let Some(AzureCredential::BearerToken(token)) = credentials.get().await?.as_deref() {
            expiry = expiry_of(token);
            lent.insert("AZURE_STORAGE_TOKEN".to_owned(), token.clone());
        }
    }
    // One that the options name is this container's, and whoever opens it there has it.
    let is_the_default_s = endpoint.url() == Endpoint::azure(&account, SUFFIX_DEFAULT, "").url();
    if !is_the_default_s && options.endpoint_url.is_none() {
        lent.insert("AZURE_STORAGE_ENDPOINT".to_owned(), endpoint.url());
    }
    lent.insert("AZURE_STORAGE_ACCOUNT".to_owned(), account);
    lent.extend(
        environment.get("AZURE_AUTHORITY_HOST").map(|host| ("AZURE_AUTHORITY_HOST".to_owned(), host)),
    );
    Ok((CallerVariables(lent), expiry))
}

/// The endpoint of `account` that a connection string in `variables` names, where no variable does that is no secret: for who keeps where a
/// container is without keeping the keys. Its key is no part of it.
pub(crate) fn endpoint_in_connection_string(account: &str, variables: &CallerVariables) -> Option<String> {
    let environment = Environment(Some(variables));
    let string = ConnectionString::of(environment);
    if environment.get("AZURE_STORAGE_ENDPOINT").is_some() {
        return None;
    }
    let of_suffix = || {
        let suffix = string.get("EndpointSuffix").filter(|suffix| suffix != SUFFIX_DEFAULT)?;
        Some(Endpoint::azure(account, &suffix, "").url())
    };
    let named = named_in(&string, account).or_else(of_suffix);
    // What could be a password or a signature is not handed on; the store refuses it.
    named.filter(|url| !url.contains(['@', '?']))
}

/// The endpoint that a connection string names for `account` itself.
fn named_in(string: &ConnectionString, account: &str) -> Option<String> {
    let is_of_account = string.get("AccountName").is_none_or(|name| name == account);
    let of_emulator = || string.means_emulator() && account == EMULATOR_ACCOUNT;
    let named = string.get("BlobEndpoint").filter(|_| is_of_account);
    named.or_else(|| of_emulator().then(|| EMULATOR_URL.to_owned()))
}

struct Resolved {
    account: String,
    endpoint: Endpoint,
    found: Found,
    /// The endpoint is the account's own on Azure.
    is_own_domain: bool,
}

fn resolve(options: &StoreOptions) -> std::result::Result<Resolved, (ErrorKind, String)> {
    let environment = Environment(options.environment.as_ref());
    let container = &options.bucket.bucket;
    let of_emulator = || wants_emulator(environment).then(|| EMULATOR_ACCOUNT.to_owned());
    let account = options.bucket.scope.clone();
    let account =
        account.or_else(|| Some(account_in(environment)?.1)).or_else(of_emulator).ok_or_else(|| {
            let message = format!(
                "no storage account is named; write az://ACCOUNT/{container}, or set AZURE_STORAGE_ACCOUNT"
            );
            (ErrorKind::Configuration, message)
        })?;
    let string = ConnectionString::of(environment);
    let named = options
        .endpoint_url
        .clone()
        .or_else(|| environment.get("AZURE_STORAGE_ENDPOINT"))
        .or_else(|| named_in(&string, &account))
        .or_else(|| {
            (wants_emulator(environment) && account == EMULATOR_ACCOUNT).then(|| EMULATOR_URL.to_owned())
        });
    // In another cloud than the public one, too, whichever way that was said.
    let own = format!("https://{account}.blob.core.");
    let is_own_domain = named.as_ref().is_none_or(|url| url.trim_end_matches('/').starts_with(&own));
    let endpoint = match named {
        Some(url) => {
            Endpoint::custom(&url, &account, container).map_err(|why| (ErrorKind::Configuration, why))?
        }
        None => {
            let suffix = string.get("EndpointSuffix").unwrap_or_else(|| SUFFIX_DEFAULT.to_owned());
            Endpoint::azure(&account, &suffix, container)
        }
    };
    let found =
        Found::of(environment, &account, options.anonymous).map_err(|why| (ErrorKind::Credentials, why))?;
    Ok(Resolved { account, endpoint, found, is_own_domain })
}

/// The certificates to trust in place of the system's, by the variable that Azure's command line takes. Errors: they cannot be had, and are
/// needed.
fn ca_bundle_of(
    environment: Environment<'_>,
    is_needed: bool,
) -> std::result::Result<Option<CaBundle>, String> {
    const SETTING: &str = "REQUESTS_CA_BUNDLE";
    CaBundle::named(environment, [(SETTING, environment.get(SETTING))], is_needed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::BucketUri;

    fn options(scope: Option<&str>, variables: &[(&str, &str)]) -> StoreOptions {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let bucket = BucketUri {
            kind: StoreKind::Azure,
            scope: scope.map(str::to_owned),
            bucket: "data".to_owned(),
            prefix: String::new(),
        };
        StoreOptions { environment: Some(CallerVariables(variables.collect())), ..StoreOptions::new(bucket) }
    }

    #[test]
    fn the_uri_s_account_wins_and_the_endpoint_follows() {
        let string = "AccountName=acc;AccountKey=c2VjcmV0;EndpointSuffix=core.chinacloudapi.cn";
        for (scope, variables, url) in [
            (Some("acc"), &[("AZURE_STORAGE_ACCOUNT", "other")][..], "https://acc.blob.core.windows.net"),
            (None, &[("AZURE_STORAGE_ACCOUNT", "other")], "https://other.blob.core.windows.net"),
            (None, &[("AZURE_STORAGE_CONNECTION_STRING", string)], "https://acc.blob.core.chinacloudapi.cn"),
            (None, &[("AZURE_STORAGE_USE_EMULATOR", "true")], "http://127.0.0.1:10000/devstoreaccount1"),
            (
                None,
                &[("AZURE_STORAGE_CONNECTION_STRING", "UseDevelopmentStorage=true")],
                "http://127.0.0.1:10000/devstoreaccount1",
            ),
            (Some("acc"), &[("AZURE_STORAGE_ENDPOINT", "http://localhost:1")], "http://localhost:1/acc"),
        ] {
            let resolved = resolve(&options(scope, variables)).map_err(|(_, why)| why).unwrap();
            assert_eq!(resolved.endpoint.url(), url, "{variables:?}");
        }
        let (kind, message) = resolve(&options(None, &[])).map(drop).unwrap_err();
        assert!(kind == ErrorKind::Configuration && message.contains("az://ACCOUNT/data"), "{message}");
    }

    #[test]
    fn what_a_connection_string_says_of_the_place_can_be_kept_without_its_key() {
        for (string, url, is_own_domain) in [
            (
                "AccountName=acc;AccountKey=c2VjcmV0;BlobEndpoint=http://127.0.0.1:7/acc",
                Some("http://127.0.0.1:7/acc"),
                false,
            ),
            (
                "AccountName=acc;AccountKey=c2VjcmV0;EndpointSuffix=core.chinacloudapi.cn",
                Some("https://acc.blob.core.chinacloudapi.cn"),
                true,
            ),
            ("AccountName=acc;AccountKey=c2VjcmV0;EndpointSuffix=core.windows.net", None, true),
        ] {
            let there = options(Some("acc"), &[("AZURE_STORAGE_CONNECTION_STRING", string)]);
            let found = endpoint_in_connection_string("acc", there.environment.as_ref().unwrap());
            assert_eq!(found.as_deref(), url, "{string}");
            let first = resolve(&there).map_err(|(_, why)| why).unwrap();
            let kept = StoreOptions { endpoint_url: found, ..options(Some("acc"), &[]) };
            let again = resolve(&kept).map_err(|(_, why)| why).unwrap();
            assert_eq!(first.endpoint.url(), again.endpoint.url(), "{string}");
            assert_eq!(
                (first.is_own_domain, again.is_own_domain),
                (is_own_domain, is_own_domain),
                "{string}"
            );
        }
        for string in
            ["BlobEndpoint=http://h?sig=hunter2", "AccountName=other;BlobEndpoint=http://127.0.0.1:7/other"]
        {
            let variables = [("AZURE_STORAGE_CONNECTION_STRING".to_owned(), string.to_owned())];
            assert_eq!(endpoint_in_connection_string("acc", &CallerVariables(variables.into())), None);
        }
    }

    #[tokio::test]
    async fn what_is_lent_opens_the_same_store_elsewhere() {
        let variables = [("AZURE_STORAGE_KEY", "c2VjcmV0"), ("AZURE_STORAGE_ENDPOINT", "http://127.0.0.1:7")];
        let (lent, expiry) = lend(&options(Some("acc"), &variables)).await.unwrap();
        assert_eq!(expiry, None);
        let there = StoreOptions { environment: Some(lent), ..options(None, &[]) };
        let resolved = resolve(&there).map_err(|(_, why)| why).unwrap();
        assert_eq!(
            (resolved.account.as_str(), resolved.endpoint.url().as_str()),
            ("acc", "http://127.0.0.1:7/acc")
        );
        assert!(resolved.found.lendable().unwrap().contains_key("AZURE_STORAGE_KEY"));
    }
}

//! HTTP under the credentials.
//!
//! Owns: how the services that give out credentials (SSO, STS, those of machines and containers) are reached: by the AWS library's client,
//! through the same proxies and with the same certificates as the bucket.

use crate::http::ca_bundle::CaBundle;
use crate::http::proxy::Proxies;
use aws_config::provider_config::ProviderConfig;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode};
use aws_smithy_http_client::{Builder, Connector};

/// `config` with that client. Errors: a sentence.
pub(super) fn with_client(
    config: ProviderConfig,
    proxies: &Proxies,
    ca_bundle: Option<&CaBundle>,
) -> Result<ProviderConfig, String> {
    let proxy = proxies.for_tls_alone()?;
    let trust = match ca_bundle {
        Some(ca_bundle) => TrustStore::empty().with_pem_certificate(ca_bundle.pem.clone()),
        None => TrustStore::default(),
    };
    let tls = TlsContext::builder()
        .with_trust_store(trust)
        .build()
        .map_err(|err| format!("TLS cannot be set up: {err}"))?;
    let client = Builder::new().build_with_connector_fn(move |settings, components| {
        let mut connector = Connector::builder();
        connector.set_connector_settings(settings.cloned());
        connector.set_sleep_impl(components.and_then(|components| components.sleep_impl()));
        let connector =
            connector.proxy_config(proxy.clone()).tls_provider(Provider::Rustls(CryptoMode::Ring));
        connector.tls_context(tls.clone()).build()
    });
    Ok(config.with_http_client(client))
}

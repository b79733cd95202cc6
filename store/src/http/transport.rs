//! HTTP under the pipeline.
//!
//! Owns: [`HttpClient`], which finds a connection for a request, to the endpoint or to a proxy on the way. HTTP/1.1 only: a parallel reader
//! wants many connections, and one HTTP/2 connection is one TCP window. One TLS stack (rustls, ring) with the system's certificates, read
//! only where the endpoint speaks TLS.

use super::body::RequestBody;
use super::ca_bundle::CaBundle;
use super::connections::{Connections, Destination};
use super::environment::Environment;
use super::exchange::{AnswerBody, ExchangeError, exchange};
use super::proxy::{Proxies, Route};
use crate::contract::{CallerVariables, StoreOptions};
use http::{Request, Response, Uri, header};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::connect::{Connection, HttpConnector};
use rustls::{ClientConfig, RootCertStore};
use std::sync::Arc;
use std::time::Duration;

/// Sends requests, over connections that are kept for the next ones. Clones share them.
#[derive(Clone)]
pub(crate) struct HttpClient {
    connections: Arc<Connections>,
    proxies: Proxies,
}

impl HttpClient {
    /// Sends a request, which is signed, and waits for the answer's head.
    pub async fn request(
        &self,
        mut request: Request<RequestBody>,
    ) -> Result<Response<AnswerBody>, ExchangeError> {
        // For the proxy alone, which takes it off: no part of what is signed.
        if let Some(authorization) = self.proxies.authorization(request.uri()) {
            request.headers_mut().insert(header::PROXY_AUTHORIZATION, authorization);
        }
        let uri = request.uri().clone();
        let destination = Destination::from(&uri);
        loop {
            let idle = self.connections.take(&destination);
            let is_new = idle.is_none();
            let io = match idle {
                Some(io) => io,
                None => self.connections.open(uri.clone()).await.map_err(ExchangeError::Connect)?,
            };
            *request.uri_mut() = if io.connected().is_proxied() { uri.clone() } else { origin_form(&uri) };
            match exchange(io, request, destination.clone(), &self.connections).await {
                // Closed as it was taken up.
                Err(ExchangeError::Unsent(unsent, _)) if !is_new => request = *unsent,
                // A server that greets.
                Err(ExchangeError::Unsent(_, said)) if !said.is_empty() => {
                    return Err(ExchangeError::strange(said));
                }
                outcome => return outcome,
            }
        }
    }
}

/// What a server that is not a proxy wants to be asked for (RFC 9112, section 3.2.1).
fn origin_form(uri: &Uri) -> Uri {
    uri.path_and_query().map_or_else(Uri::default, |path| Uri::from(path.clone()))
}

/// A client for the machine's own services over plain HTTP: no proxy can reach them, and none is to see what they are asked with. Errors: a
/// sentence.
pub(crate) fn connect_directly(options: &StoreOptions) -> Result<HttpClient, String> {
    let nothing = CallerVariables::default();
    connect(options, false, Proxies::of(Environment(Some(&nothing)))?, None)
}

/// A client for one store. Errors: a sentence, when TLS is wanted and there are no certificates to trust.
pub(crate) fn connect(
    options: &StoreOptions,
    tls: bool,
    proxies: Proxies,
    ca_bundle: Option<&CaBundle>,
) -> Result<HttpClient, String> {
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    http.set_nodelay(true);
    http.set_connect_timeout(Some(options.connect_timeout));
    http.set_keepalive(Some(Duration::from_secs(30)));
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(tls_config(tls, ca_bundle)?)
        .https_or_http()
        .enable_http1()
        .wrap_connector(Route { http, proxies: proxies.clone() });
    let connections = Connections::new(connector, options.requests_in_flight_max);
    Ok(HttpClient { connections, proxies })
}

/// The certificates of `ca_bundle` are trusted in place of the system's.
fn tls_config(tls: bool, ca_bundle: Option<&CaBundle>) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    if let Some(ca_bundle) = ca_bundle {
        roots = ca_bundle.roots.clone();
    } else if tls {
        let found = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(found.certs);
        if roots.is_empty() {
            return Err(
                "no CA certificates were found on this system; install ca-certificates, or set SSL_CERT_FILE"
                    .to_owned(),
            );
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| format!("TLS cannot be set up: {e}"))?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

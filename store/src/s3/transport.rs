//! HTTP under the pipeline.
//!
//! Owns: [`HttpClient`] and its connections, to the endpoint or to a proxy on the way. HTTP/1.1 only: a parallel reader wants many
//! connections, and one HTTP/2 connection is one TCP window. One TLS stack (rustls, ring) with the system's certificates, read only where the
//! endpoint speaks TLS.

use super::authorities::Authorities;
use super::body::RequestBody;
use super::options::S3Options;
use super::proxy::{Proxies, Route};
use http::{Request, header};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client, ResponseFuture};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::{ClientConfig, RootCertStore};
use std::sync::Arc;
use std::time::Duration;

/// Sends requests, over connections that are kept for the next ones.
pub(super) struct HttpClient {
    client: Client<HttpsConnector<Route>, RequestBody>,
    proxies: Proxies,
}

impl HttpClient {
    /// Sends a request, which is signed.
    pub fn request(&self, mut request: Request<RequestBody>) -> ResponseFuture {
        // For the proxy alone, which takes it off: no part of what is signed.
        if let Some(authorization) = self.proxies.authorization(request.uri()) {
            request.headers_mut().insert(header::PROXY_AUTHORIZATION, authorization);
        }
        self.client.request(request)
    }
}

/// Below the idle timeouts of servers and load balancers, so that a connection is rarely taken up as it closes.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(15);
/// hyper grows a connection's buffer up to this while reads fill it. `examples/stream_get.rs` takes 0.15 to 0.17 CPU seconds
/// per GiB with anything from 128 KiB to 1 MiB, and more with less or more; it is memory for each connection, so it is small.
const READ_BUFFER_SIZE_BYTES_MAX: usize = 128 * 1024;

/// A client for one store. Errors: a sentence, when TLS is wanted and there are no certificates to trust.
pub(super) fn connect(
    options: &S3Options,
    tls: bool,
    proxies: Proxies,
    authorities: Option<&Authorities>,
) -> Result<HttpClient, String> {
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    http.set_nodelay(true);
    http.set_connect_timeout(Some(options.connect_timeout));
    http.set_keepalive(Some(Duration::from_secs(30)));
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(tls_config(tls, authorities)?)
        .https_or_http()
        .enable_http1()
        .wrap_connector(Route { http, proxies: proxies.clone() });
    let client = Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(POOL_IDLE_TIMEOUT)
        .pool_max_idle_per_host(options.requests_in_flight_max)
        .http1_max_buf_size(READ_BUFFER_SIZE_BYTES_MAX)
        .build(connector);
    Ok(HttpClient { client, proxies })
}

/// `authorities` are trusted in place of the system's.
fn tls_config(tls: bool, authorities: Option<&Authorities>) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    if let Some(authorities) = authorities {
        roots = authorities.roots.clone();
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

//! HTTP to the services that give out tokens.
//!
//! Owns: [`TokenConnector`], over which the library's providers ask Microsoft's login service and the identity endpoints of machines: by the
//! same proxies and certificates as the bucket. [`expiry_of`] reads when a token ends.

use crate::contract::Payload;
use crate::http::body::{Progress, RequestBody};
use crate::http::deadline::{Movement, Waiting};
use crate::http::failure::innermost;
use crate::http::transport::HttpClient as Transport;
use async_trait::async_trait;
use base64::Engine;
use bytes::BytesMut;
use http::{HeaderValue, Request, Response, header};
use http_body_util::BodyExt;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// The longest answer that is read.
const ANSWER_SIZE_BYTES_MAX: usize = 1024 * 1024;
const TIMEOUT: Duration = Duration::from_secs(10);
/// What App Service wants in requests to its identity endpoint.
const IDENTITY_HEADER: &str = "x-identity-header";

/// Gives the library's providers our transport.
#[derive(Clone)]
pub(super) struct TokenConnector {
    client: Arc<Transport>,
    /// Knows no proxies.
    machine: Arc<Transport>,
    /// `IDENTITY_HEADER` of the caller; the library would send this process's.
    identity: Option<HeaderValue>,
}

impl std::fmt::Debug for TokenConnector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenConnector")
    }
}

impl TokenConnector {
    /// `machine` reaches what is asked over plain HTTP, which is the machine's own.
    pub fn new(client: Transport, machine: Transport, identity: Option<String>) -> Self {
        let identity = identity.and_then(|value| HeaderValue::from_str(&value).ok());
        Self { client: Arc::new(client), machine: Arc::new(machine), identity }
    }
}

impl HttpConnector for TokenConnector {
    fn connect(&self, _options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

#[async_trait]
impl HttpService for TokenConnector {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let exchange = self.exchange(request);
        tokio::time::timeout(TIMEOUT, exchange).await.unwrap_or_else(|_| Err(failed("no answer in time")))
    }
}

impl TokenConnector {
    async fn exchange(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let (mut parts, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        let host = parts.uri.authority().and_then(|authority| HeaderValue::from_str(authority.as_str()).ok());
        parts.headers.insert(header::HOST, host.ok_or_else(|| failed("the address names no host"))?);
        parts.headers.insert(header::CONTENT_LENGTH, body.len().into());
        parts.headers.remove(IDENTITY_HEADER);
        if let Some(identity) = &self.identity
            && parts.headers.contains_key("metadata")
        {
            parts.headers.insert(IDENTITY_HEADER, identity.clone());
        }
        let progress = Progress::new(&Waiting::begin(&Movement::new(), TIMEOUT), false);
        let request = Request::from_parts(parts, RequestBody::new(&Payload::Bytes(body), progress));
        let client = if request.uri().scheme_str() == Some("http") { &self.machine } else { &self.client };
        let answer = client.request(request).await.map_err(|cause| failed(&innermost(&cause)))?;
        let (parts, mut body) = answer.into_parts();
        let (mut bytes, mut buffer) = (BytesMut::new(), [0; 8 * 1024]);
        loop {
            match body.read(&mut buffer).await.map_err(|cause| failed(&innermost(&cause)))? {
                0 => break,
                count => bytes.extend_from_slice(&buffer[..count]),
            }
            if bytes.len() > ANSWER_SIZE_BYTES_MAX {
                return Err(failed("the answer is longer than any can be"));
            }
        }
        Ok(Response::from_parts(parts, bytes.freeze().into()))
    }
}

fn failed(cause: &str) -> HttpError {
    HttpError::new_boxed(HttpErrorKind::Connect, cause.into())
}

/// When a token (a JWT, RFC 7519) ends, as it says itself.
pub(super) fn expiry_of(token: &str) -> Option<SystemTime> {
    let claims = token.split('.').nth(1)?.trim_end_matches('=');
    let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(claims).ok()?;
    let claims: serde_json::Value = serde_json::from_slice(&claims).ok()?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(claims.get("exp")?.as_u64()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_says_when_it_ends() {
        let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(r#"{"exp":1700000000}"#);
        let ends = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        assert_eq!(expiry_of(&format!("h.{claims}.s")), Some(ends));
        assert_eq!(expiry_of("opaque"), None);
        assert_eq!(expiry_of("a.!.c"), None);
    }
}

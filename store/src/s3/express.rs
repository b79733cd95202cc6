//! Sessions of directory buckets (S3 Express One Zone).
//!
//! Owns: [`Sessions`]: the credentials that CreateSession gives out for five minutes, renewed before they end, and which operations take them.
//! CreateSession is not sent through the store's pipeline, whose requests wait for it, but by a client of its own.
//!
//! Source: Amazon S3 API Reference, "CreateSession"; User Guide, "Authorizing Zonal endpoint API operations with CreateSession".

use super::authorization::Authorization;
use super::credentials::CredentialCache;
use super::endpoint::Endpoint;
use super::sign::{Scope, sign};
use super::{listing, xml};
use crate::contract::Payload;
use crate::http::body::{Progress, RequestBody};
use crate::http::deadline::{Movement, Waiting};
use crate::http::failure::innermost;
use crate::http::renewal::{Issued, Issuer, Renewed};
use crate::http::transport::HttpClient;
use async_trait::async_trait;
use aws_credential_types::Credentials;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, StatusCode, header};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// The sessions of one bucket.
pub(super) type Sessions = Renewed<SessionIssuer>;

/// The longest answer: a few hundred bytes, and a token of a few thousand.
const ANSWER_SIZE_BYTES_MAX: usize = 64 * 1024;

/// Whether an operation takes a session's credentials; the others are authorized as without directory buckets.
pub(super) fn takes_session(operation: &str) -> bool {
    !matches!(operation, "CopyObject" | "HeadBucket" | "CreateBucket" | "DeleteBucket")
}

/// Asks for sessions.
pub(super) struct SessionIssuer {
    pub client: HttpClient,
    pub endpoint: Endpoint,
    pub credentials: Arc<CredentialCache>,
    /// How long an answer is waited for.
    pub patience: Duration,
}

/// Why there is no session.
enum Refused {
    Denied(String),
    Other(String),
}

#[async_trait]
impl Issuer for SessionIssuer {
    type Value = Credentials;

    async fn issue(&self) -> Result<Issued<Credentials>, String> {
        let asked = async {
            match self.ask("ReadWrite").await {
                // Who may only read gets a session for that.
                Err(Refused::Denied(cause)) => self.ask("ReadOnly").await.map_err(|_| Refused::Denied(cause)),
                asked => asked,
            }
        };
        let outcome = tokio::time::timeout(self.patience, asked).await;
        let outcome = outcome.unwrap_or_else(|_| {
            Err(Refused::Other(format!("no answer within {} s", self.patience.as_secs())))
        });
        outcome.map_err(|(Refused::Denied(cause) | Refused::Other(cause))| {
            format!("no session for the directory bucket at {}: {cause}", self.endpoint.url())
        })
    }
}

impl SessionIssuer {
    async fn ask(&self, mode: &'static str) -> Result<Issued<Credentials>, Refused> {
        let request = self.request(mode).await.map_err(Refused::Other)?;
        let answer = self.client.request(request).await;
        let answer = answer.map_err(|error| Refused::Other(innermost(&error)))?;
        let (head, mut body) = answer.into_parts();
        let (mut document, mut buffer) = (Vec::new(), [0; 4096]);
        loop {
            match body.read(&mut buffer).await.map_err(|error| Refused::Other(error.to_string()))? {
                0 => break,
                count => document.extend_from_slice(&buffer[..count]),
            }
            if document.len() > ANSWER_SIZE_BYTES_MAX {
                return Err(Refused::Other("the answer is longer than any can be".to_owned()));
            }
        }
        if !head.status.is_success() {
            let told = xml::error_in(&document).unwrap_or_default();
            let cause = format!("{} ({} {})", told.message, head.status.as_u16(), told.code);
            return Err(match head.status {
                StatusCode::FORBIDDEN => {
                    Refused::Denied(format!("{cause}; it was asked for {}", self.credentials.describe()))
                }
                _ => Refused::Other(cause),
            });
        }
        // What the parser says may show what it read, which is secret.
        let answer: xml::SessionAnswer = xml::parse(&document)
            .map_err(|_| Refused::Other("the answer is not the XML that was expected".to_owned()))?;
        let session = answer.credentials;
        let expiry = listing::time_of(&session.expiration);
        let value = Credentials::new(
            session.access_key_id,
            session.secret_access_key,
            Some(session.session_token),
            Some(expiry),
            "CreateSession",
        );
        Ok(Issued { value, expiry: Some(expiry) })
    }

    async fn request(&self, mode: &'static str) -> Result<Request<RequestBody>, String> {
        const MODE: HeaderName = HeaderName::from_static("x-amz-create-session-mode");
        let Authorization::Keys(keys) = self.credentials.get().await?.authorization else {
            return Err("it needs access keys, and none were found".to_owned());
        };
        let uri =
            self.endpoint.uri(None, &[("session", String::new())]).map_err(|error| error.to_string())?;
        let waiting = Waiting::begin(&Movement::new(), self.patience);
        let body = RequestBody::new(&Payload::Bytes(Bytes::new()), Progress::new(&waiting, false));
        let mut request = Request::new(body);
        *request.method_mut() = Method::GET;
        *request.uri_mut() = uri;
        let host = HeaderValue::try_from(self.endpoint.authority.as_str());
        let headers = request.headers_mut();
        headers.insert(header::HOST, host.map_err(|_| "the endpoint's host is not valid".to_owned())?);
        headers.insert(MODE, HeaderValue::from_static(mode));
        let scope =
            Scope { region: &self.endpoint.region, service: self.endpoint.signing_name(), is_session: false };
        sign(&mut request, &keys, scope, SystemTime::now())?;
        Ok(request)
    }
}

impl std::fmt::Debug for SessionIssuer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SessionIssuer({})", self.endpoint.url())
    }
}

//! The S3 API as the pipeline needs to know it.
//!
//! Owns: [`S3Service`]: where the bucket is, and who signs.

use super::authorization::Authorization;
use super::bulk_deletion::BulkDeletions;
use super::credentials::CredentialCache;
use super::dialect::Dialect;
use super::endpoint::Endpoint;
use super::express::{Sessions, takes_session};
use super::extras::Extras;
use super::failure::failure_in;
use super::sign::{Scope, sign};
use crate::contract::ErrorKind;
use crate::http::body::RequestBody;
use crate::http::failure::{Failure, RetryAction};
use crate::http::request::ApiRequest;
use crate::http::service::Service;
use async_trait::async_trait;
use http::{HeaderMap, Request, StatusCode, Uri, header};
use parking_lot::RwLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

/// How much is kept of what an endpoint calls itself, in characters.
const SERVER_LEN_MAX: usize = 100;

/// A bucket's endpoint and credentials.
pub(super) struct S3Service {
    /// Where requests go; replaced when the server names another region. A leaf, held for a load or a store.
    endpoint: RwLock<Arc<Endpoint>>,
    credentials: Arc<CredentialCache>,
    /// Of a directory bucket.
    sessions: Option<Sessions>,
    /// What the provider has of its own.
    pub dialect: &'static dyn Dialect,
    /// What every request has beside what it is for.
    extras: Extras,
    /// The endpoint refuses the checksums of writes.
    refuses_checksums: AtomicBool,
    /// Whether the endpoint takes DeleteObjects.
    pub bulk_deletions: BulkDeletions,
    /// What the endpoint calls itself, as its first answer had it.
    server: OnceLock<Option<String>>,
}

impl S3Service {
    pub fn new(
        endpoint: Endpoint,
        credentials: Arc<CredentialCache>,
        sessions: Option<Sessions>,
        dialect: &'static dyn Dialect,
        extras: Extras,
    ) -> Self {
        Self {
            endpoint: RwLock::new(Arc::new(endpoint)),
            credentials,
            sessions,
            dialect,
            refuses_checksums: AtomicBool::new(extras.sums_no_writes),
            extras,
            bulk_deletions: BulkDeletions::default(),
            server: OnceLock::new(),
        }
    }

    fn note_server(&self, headers: &HeaderMap) {
        self.server.get_or_init(|| {
            let named = headers.get(header::SERVER)?;
            named.to_str().ok().map(|name| name.chars().take(SERVER_LEN_MAX).collect())
        });
    }

    /// What the endpoint calls itself; `None` before it has answered, too.
    pub fn server(&self) -> Option<String> {
        self.server.get().cloned().flatten()
    }

    /// Whether writes are sent with a checksum.
    pub fn sends_checksums(&self) -> bool {
        !self.refuses_checksums.load(Ordering::Relaxed)
    }

    /// The endpoint takes a write only without.
    pub fn send_no_checksums(&self) {
        self.refuses_checksums.store(true, Ordering::Relaxed);
    }

    /// Whether a write may say in which class it is to be. All objects of a directory bucket are in one.
    pub fn takes_storage_class(&self) -> bool {
        !self.endpoint.read().is_directory
    }

    /// Whether a write may say how it is to be encrypted. A directory bucket encrypts as it is configured, and a customer's key is sent with
    /// every request.
    pub fn takes_encryption(&self) -> bool {
        self.extras.customer_key.is_none() && !self.endpoint.read().is_directory
    }

    /// Whether the ETags of objects in one piece are MD5s. Those of directory buckets, and of objects that a customer's key encrypts, are not
    /// (Amazon S3 API Reference, "Object").
    pub fn makes_md5s(&self) -> bool {
        self.extras.customer_key.is_none() && !self.endpoint.read().is_directory
    }

    /// Whether what is read may be compared with checksums of the store.
    pub fn checks_reads(&self) -> bool {
        !self.extras.checks_no_reads
    }

    /// Whether requests carry a token. Where that is not known, the next request will say why.
    pub async fn is_by_token(&self) -> bool {
        matches!(self.authorization().await, Ok(Authorization::Bearer(_)))
    }

    pub fn endpoint(&self) -> Arc<Endpoint> {
        self.endpoint.read().clone()
    }
}

#[async_trait]
impl Service for S3Service {
    type Authorization = Authorization;

    async fn authorization(&self) -> Result<Authorization, String> {
        Ok(self.credentials.get().await?.authorization)
    }

    async fn authorization_for(&self, request: &ApiRequest<'_>) -> Result<Authorization, String> {
        match &self.sessions {
            Some(sessions) if takes_session(request.operation) => {
                Ok(Authorization::Session(sessions.get().await?))
            }
            _ => self.authorization().await,
        }
    }

    fn uri(&self, request: &ApiRequest<'_>) -> Result<Uri, String> {
        let endpoint = self.endpoint();
        let control = match request.operation {
            "CreateBucket" | "DeleteBucket" => endpoint.control(),
            _ => None,
        };
        let uri = control.as_ref().unwrap_or(&*endpoint).uri(request.key, &request.query);
        uri.map_err(|err| format!("the key cannot be sent in a request: {err}"))
    }

    fn add_headers(&self, request: &ApiRequest<'_>, headers: &mut HeaderMap) {
        self.extras.add(request, headers);
    }

    fn authorize(
        &self,
        request: &mut Request<RequestBody>,
        authorization: &Authorization,
        now: SystemTime,
    ) -> Result<(), String> {
        match authorization {
            Authorization::Anonymous => Ok(()),
            Authorization::Keys(keys) | Authorization::Session(keys) => {
                let endpoint = self.endpoint();
                let is_session = matches!(authorization, Authorization::Session(_));
                let scope = Scope { region: &endpoint.region, service: endpoint.signing_name(), is_session };
                sign(request, keys, scope, now)
            }
            Authorization::Bearer(token) => {
                let endpoint = self.endpoint();
                if !endpoint.is_tls() && !endpoint.is_loopback() {
                    return Err(format!(
                        "a token may not be sent to {} without TLS; write https:// in its URL",
                        endpoint.url()
                    ));
                }
                request.headers_mut().insert(header::AUTHORIZATION, token.header());
                Ok(())
            }
        }
    }

    fn failure_in(
        &self,
        request: &ApiRequest<'_>,
        status: StatusCode,
        headers: &HeaderMap,
        body: &[u8],
        our_time: SystemTime,
    ) -> Option<Failure> {
        self.note_server(headers);
        let mut failure = failure_in(request, status, headers, body, our_time)?;
        // HEAD has no body to say in that the region is wrong. Where it is right, the refusal is one.
        if matches!(status.as_u16(), 400 | 403) && failure.retry == RetryAction::None {
            let endpoint = self.endpoint();
            let named = headers.get("x-amz-bucket-region").and_then(|region| region.to_str().ok());
            if let Some(region) = named.filter(|region| endpoint.is_aws() && *region != endpoint.region) {
                failure.retry = RetryAction::Region(region.to_owned());
            }
        }
        if failure.kind == ErrorKind::Denied
            && failure.retry == RetryAction::None
            && self.credentials.may_be_replaced(failure.code.as_deref())
        {
            failure.retry = RetryAction::Credentials;
        }
        Some(failure)
    }

    fn move_to(&self, region: &str) -> bool {
        let mut endpoint = self.endpoint.write();
        tracing::info!(from = endpoint.region, to = region, "the bucket is in another region");
        *endpoint = Arc::new(endpoint.in_region(region));
        true
    }

    fn forget_credentials(&self) {
        if let Some(sessions) = &self.sessions {
            sessions.forget();
        }
        self.credentials.forget();
    }

    fn explained(&self, failure: &Failure) -> String {
        let mut message = failure.message.clone();
        match failure.kind {
            ErrorKind::Denied => {
                message = format!("{message}; the request was sent {}", self.credentials.describe());
                if failure.code.as_deref() == Some("SignatureDoesNotMatch") {
                    message.push_str(", whose secret is another; check it there");
                }
            }
            _ if matches!(failure.retry, RetryAction::Region(_)) => {
                message = format!("{message}; the region {} is wrong", self.endpoint().region);
            }
            _ => {}
        }
        message
    }

    fn url(&self) -> String {
        self.endpoint().url()
    }
}

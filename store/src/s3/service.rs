//! The S3 API as the pipeline needs to know it.
//!
//! Owns: [`S3Service`]: where the bucket is, and who signs.

use super::credentials::CredentialCache;
use super::endpoint::Endpoint;
use super::extras::Extras;
use super::failure::failure_in;
use super::sign::sign;
use crate::contract::ErrorKind;
use crate::http::body::RequestBody;
use crate::http::failure::{Failure, Remedy};
use crate::http::request::ApiRequest;
use crate::http::service::Service;
use async_trait::async_trait;
use aws_credential_types::Credentials;
use http::{HeaderMap, Request, StatusCode, Uri};
use parking_lot::RwLock;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

/// A bucket's endpoint and credentials.
pub(super) struct S3Service {
    /// Where requests go; replaced when the server names another region. A leaf, held for a load or a store.
    endpoint: RwLock<Arc<Endpoint>>,
    credentials: CredentialCache,
    /// What every request has beside what it is for.
    extras: Extras,
    /// The endpoint refuses the checksums of writes.
    refuses_checksums: AtomicBool,
}

impl S3Service {
    pub fn new(endpoint: Endpoint, credentials: CredentialCache, extras: Extras) -> Self {
        Self {
            endpoint: RwLock::new(Arc::new(endpoint)),
            credentials,
            extras,
            refuses_checksums: AtomicBool::new(false),
        }
    }

    /// Whether writes are sent with a checksum.
    pub fn sends_checksums(&self) -> bool {
        !self.refuses_checksums.load(Ordering::Relaxed)
    }

    /// The endpoint takes a write only without.
    pub fn send_no_checksums(&self) {
        self.refuses_checksums.store(true, Ordering::Relaxed);
    }

    /// Whether a write may say how it is to be encrypted.
    pub fn takes_encryption(&self) -> bool {
        self.extras.customer_key.is_none()
    }

    pub fn endpoint(&self) -> Arc<Endpoint> {
        self.endpoint.read().clone()
    }
}

#[async_trait]
impl Service for S3Service {
    /// `None` is anonymous.
    type Authorization = Option<Credentials>;

    async fn authorization(&self) -> Result<Option<Credentials>, String> {
        self.credentials.get().await
    }

    fn uri(&self, request: &ApiRequest<'_>) -> Result<Uri, String> {
        let uri = self.endpoint().uri(request.key, &request.query);
        uri.map_err(|err| format!("the key cannot be sent in a request: {err}"))
    }

    fn add_headers(&self, request: &ApiRequest<'_>, headers: &mut HeaderMap) {
        self.extras.add(request, headers);
    }

    fn authorize(
        &self,
        request: &mut Request<RequestBody>,
        credentials: &Option<Credentials>,
        now: SystemTime,
    ) -> Result<(), String> {
        match credentials {
            Some(credentials) => sign(request, credentials, &self.endpoint().region, now),
            None => Ok(()),
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
        failure_in(request, status, headers, body, our_time)
    }

    fn move_to(&self, region: &str) -> bool {
        let mut endpoint = self.endpoint.write();
        tracing::info!(from = endpoint.region, to = region, "the bucket is in another region");
        *endpoint = Arc::new(endpoint.in_region(region));
        true
    }

    fn forget_credentials(&self) {
        self.credentials.forget();
    }

    fn explained(&self, failure: &Failure) -> String {
        let mut message = failure.message.clone();
        match failure.kind {
            ErrorKind::Denied => {
                message = format!("{message}; the request was sent {}", self.credentials.describe());
                if failure.code.as_deref() == Some("SignatureDoesNotMatch") {
                    message.push_str(", whose secret is another; check AWS_SECRET_ACCESS_KEY or the profile");
                }
            }
            _ if matches!(failure.remedy, Remedy::Region(_)) => {
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

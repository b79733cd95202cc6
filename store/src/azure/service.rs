//! Azure's API as the pipeline needs to know it.
//!
//! Owns: [`AzureService`]: where the container is, and who asks. Requests are authorized by the library's [`AzureAuthorizer`], each attempt
//! anew.

use super::authorization::Credentials;
use super::endpoint::Endpoint;
use super::failure::failure_in;
use crate::contract::ErrorKind;
use crate::http::body::RequestBody;
use crate::http::failure::{Failure, innermost};
use crate::http::request::ApiRequest;
use crate::http::service::Service;
use async_trait::async_trait;
use http::{HeaderMap, HeaderValue, Request, StatusCode, Uri};
use object_store::azure::{AzureAuthorizer, AzureCredential};
use object_store::client::{HttpRequest, HttpRequestBody};
use std::sync::Arc;
use std::time::SystemTime;

/// What requests speak that nobody authorizes; else the authorizer says it, and the same.
const API_VERSION: HeaderValue = HeaderValue::from_static("2023-11-03");

/// A container's endpoint and credentials.
pub(super) struct AzureService {
    pub endpoint: Endpoint,
    pub account: String,
    pub credentials: Credentials,
}

#[async_trait]
impl Service for AzureService {
    /// `None` is anonymous.
    type Authorization = Option<Arc<AzureCredential>>;

    async fn authorization(&self) -> Result<Option<Arc<AzureCredential>>, String> {
        self.credentials.get().await
    }

    fn uri(&self, request: &ApiRequest<'_>) -> Result<Uri, String> {
        self.endpoint.uri(request.key, &request.query)
    }

    fn authorize(
        &self,
        request: &mut Request<RequestBody>,
        credential: &Option<Arc<AzureCredential>>,
        _now: SystemTime,
    ) -> Result<(), String> {
        let Some(credential) = credential else {
            request.headers_mut().entry("x-ms-version").or_insert(API_VERSION);
            return Ok(());
        };
        // The body is no part of what is signed.
        let mut signed = HttpRequest::new(HttpRequestBody::empty());
        *signed.method_mut() = request.method().clone();
        *signed.uri_mut() = request.uri().clone();
        *signed.headers_mut() = std::mem::take(request.headers_mut());
        // Of a copy's source, what authorizes the request itself must be in its URL too.
        AzureAuthorizer::new(credential, &self.account)
            .try_authorize(&mut signed)
            .map_err(|err| format!("the request cannot be signed: {}", innermost(&err)))?;
        *request.uri_mut() = std::mem::take(signed.uri_mut());
        *request.headers_mut() = std::mem::take(signed.headers_mut());
        Ok(())
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

    fn forget_credentials(&self) {
        self.credentials.forget();
    }

    fn explained(&self, failure: &Failure) -> String {
        match failure.kind {
            ErrorKind::Denied => {
                format!("{}; the request was sent {}", failure.message, self.credentials.describe())
            }
            _ => failure.message.clone(),
        }
    }

    fn url(&self) -> String {
        self.endpoint.url()
    }
}

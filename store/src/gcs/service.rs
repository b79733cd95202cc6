//! The JSON API as the pipeline needs to know it.
//!
//! Owns: [`GcsService`]: where the bucket is, who asks, and who pays.

use super::credentials::CredentialCache;
use super::endpoint::Endpoint;
use super::failure::failure_in;
use crate::contract::ErrorKind;
use crate::http::body::RequestBody;
use crate::http::failure::Failure;
use crate::http::request::ApiRequest;
use crate::http::service::Service;
use async_trait::async_trait;
use http::{HeaderMap, HeaderValue, Request, StatusCode, Uri, header};
use std::time::SystemTime;

/// A bucket's endpoint and credentials.
pub(super) struct GcsService {
    pub endpoint: Endpoint,
    pub credentials: CredentialCache,
    /// The project that pays for what is asked, where not the bucket's owner does.
    pub paying_project: Option<String>,
}

#[async_trait]
impl Service for GcsService {
    /// The header; `None` is anonymous.
    type Authorization = Option<HeaderValue>;

    async fn authorization(&self) -> Result<Option<HeaderValue>, String> {
        self.credentials.get().await
    }

    fn uri(&self, request: &ApiRequest<'_>) -> Result<Uri, String> {
        let path = request.path.as_deref().ok_or("the request has no path")?;
        let mut query: Vec<(&str, &str)> =
            request.query.iter().map(|(name, value)| (*name, value.as_str())).collect();
        if let Some(project) = &self.paying_project {
            query.push(("userProject", project));
        }
        self.endpoint.uri(path, &query)
    }

    fn authorize(
        &self,
        request: &mut Request<RequestBody>,
        authorization: &Option<HeaderValue>,
        _now: SystemTime,
    ) -> Result<(), String> {
        if let Some(value) = authorization {
            request.headers_mut().insert(header::AUTHORIZATION, value.clone());
        }
        Ok(())
    }

    fn failure_in(
        &self,
        request: &ApiRequest<'_>,
        status: StatusCode,
        headers: &HeaderMap,
        body: &[u8],
        _our_time: SystemTime,
    ) -> Option<Failure> {
        failure_in(request, status, headers, body, !self.credentials.is_anonymous())
    }

    /// Names are resolved by the service: it has one endpoint for all locations.
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

//! What the pipeline asks of an API.
//!
//! Owns: [`Service`]: one implementation for each family of stores, and for each service that gives out credentials.

use super::body::RequestBody;
use super::failure::Failure;
use super::request::ApiRequest;
use async_trait::async_trait;
use http::{HeaderMap, Request, StatusCode, Uri};
use std::time::SystemTime;

/// An API over HTTP: where its requests go, who sends them, and what its answers mean.
#[async_trait]
pub(crate) trait Service: Send + Sync + 'static {
    /// By what a request is authorized: keys, a token, nothing.
    type Authorization: Send + Sync;

    /// What requests are authorized by now; it is looked up or renewed where it has to be. Errors: a sentence without any secret.
    async fn authorization(&self) -> Result<Self::Authorization, String>;

    /// The same for one request, where that matters.
    async fn authorization_for(&self, _request: &ApiRequest<'_>) -> Result<Self::Authorization, String> {
        self.authorization().await
    }

    /// Where a request goes. Errors: a sentence.
    fn uri(&self, request: &ApiRequest<'_>) -> Result<Uri, String>;

    /// Adds the headers that every request of its operation has, whatever it is for.
    fn add_headers(&self, _request: &ApiRequest<'_>, _headers: &mut HeaderMap) {}

    /// Adds what authorizes a request that is complete but for that. `now` is by the server's clock. Errors: a sentence without any secret.
    fn authorize(
        &self,
        request: &mut Request<RequestBody>,
        authorization: &Self::Authorization,
        now: SystemTime,
    ) -> Result<(), String>;

    /// Reads an answer, whose body is empty where it is still on its way. `None` is success.
    fn failure_in(
        &self,
        request: &ApiRequest<'_>,
        status: StatusCode,
        headers: &HeaderMap,
        body: &[u8],
        our_time: SystemTime,
    ) -> Option<Failure>;

    /// The server names the region that the bucket is in. Whether another attempt makes sense.
    fn move_to(&self, _region: &str) -> bool {
        false
    }

    /// The server says that the credentials have expired, whatever their date.
    fn forget_credentials(&self) {}

    /// What is told of a failure: its message, and what this service knows about its cause (whose credentials were refused).
    fn explained(&self, failure: &Failure) -> String {
        failure.message.clone()
    }

    /// The endpoint as a person would write it, without a query.
    fn url(&self) -> String;
}

//! The errors of the JSON API.
//!
//! Owns: [`GcsError`], how errors of the shared layers become ones, and how one becomes an answer.
//! Source: Cloud Storage documentation, "HTTP status and error codes for JSON".

use crate::error::S3Error;
use crate::reply::Reply;
use http::header::{CONTENT_RANGE, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, StatusCode};
use serde_json::json;
use std::borrow::Cow;

/// The status of an upload that the client has cancelled; it is registered nowhere.
const CLIENT_CLOSED_REQUEST: u16 = 499;

/// An error as a client sees it.
#[derive(Debug)]
pub(crate) struct GcsError {
    pub(crate) status: u16,
    pub(crate) reason: &'static str,
    pub(crate) message: Cow<'static, str>,
    header: Option<(HeaderName, String)>,
}

/// How an error is written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ErrorFormat {
    Json,
    /// As answers to `alt=media` and to uploads are: the message alone.
    Text,
    /// As the token endpoints answer: RFC 6749 section 5.2.
    OAuth,
}

impl GcsError {
    pub(crate) fn new(status: u16, reason: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self { status, reason, message: message.into(), header: None }
    }

    pub(crate) fn no_such_object(bucket: &str, name: &str) -> Self {
        Self::new(404, "notFound", format!("No such object: {bucket}/{name}"))
    }

    pub(crate) fn no_such_bucket() -> Self {
        Self::new(404, "notFound", "The specified bucket does not exist.")
    }

    pub(crate) fn not_found() -> Self {
        Self::new(404, "notFound", "Not Found")
    }

    pub(crate) fn condition_not_met() -> Self {
        Self::new(412, "conditionNotMet", "At least one of the pre-conditions you specified did not hold.")
    }

    pub(crate) fn not_modified() -> Self {
        Self::new(304, "notModified", "Not Modified")
    }

    pub(crate) fn invalid(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(400, "invalid", message)
    }

    pub(crate) fn required(what: &str) -> Self {
        Self::new(400, "required", format!("Required parameter: {what}"))
    }

    pub(crate) fn forbidden(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(403, "forbidden", message)
    }

    pub(crate) fn unauthorized(message: &'static str) -> Self {
        let mut error = Self::new(401, "authError", message);
        error.header = Some((WWW_AUTHENTICATE, "Bearer realm=\"https://accounts.google.com/\"".into()));
        error
    }

    pub(crate) fn cancelled() -> Self {
        Self::new(CLIENT_CLOSED_REQUEST, "cancelled", "Client Closed Request")
    }

    pub(crate) fn rate_limit() -> Self {
        Self::new(
            429,
            "rateLimitExceeded",
            "The object exceeded the rate limit for object mutation operations. Please reduce your request rate.",
        )
    }

    pub(crate) fn backend() -> Self {
        Self::new(500, "backendError", "We encountered an internal error. Please try again.")
    }

    /// The body ended before its announced length, or the connection did.
    pub(crate) fn broken_upload() -> Self {
        Self::new(503, "uploadBrokenConnection", "The connection ended before the upload did.")
    }

    /// The whole answer.
    pub(crate) fn into_reply(self, format: ErrorFormat) -> Reply {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut reply = if status == StatusCode::NOT_MODIFIED {
            Reply::empty(status)
        } else {
            let document = match format {
                ErrorFormat::Json => self.document().to_string(),
                ErrorFormat::OAuth => {
                    json!({"error": self.reason, "error_description": self.message}).to_string()
                }
                ErrorFormat::Text => self.message.into_owned(),
            };
            Reply::json(document).with_status(status)
        };
        if format == ErrorFormat::Text {
            reply.headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=UTF-8"));
        }
        if let Some((name, value)) = &self.header {
            reply.set(name.clone(), value);
        }
        reply
    }

    /// The error document, also a part of a batch.
    pub(crate) fn document(&self) -> serde_json::Value {
        let error = json!({"message": self.message, "domain": "global", "reason": self.reason});
        json!({"error": {"code": self.status, "message": self.message, "errors": [error]}})
    }
}

/// From the layers that both APIs share.
impl From<S3Error> for GcsError {
    fn from(error: S3Error) -> Self {
        let message = error.message.clone();
        match (error.status.as_u16(), error.code) {
            (_, "NoSuchBucket") => Self::no_such_bucket(),
            (404, _) => Self::not_found(),
            (403, _) => Self::forbidden(message),
            (409, _) => Self::new(409, "conflict", message),
            (412, _) => Self::condition_not_met(),
            (416, _) => {
                let mut error_416 = Self::new(
                    416,
                    "requestedRangeNotSatisfiable",
                    "The requested range cannot be satisfied.",
                );
                error_416.header = error.header(&CONTENT_RANGE).map(|value| (CONTENT_RANGE, value));
                error_416
            }
            (400, _) => Self::invalid(message),
            _ => Self::new(500, "backendError", message),
        }
    }
}

impl From<std::io::Error> for GcsError {
    fn from(error: std::io::Error) -> Self {
        Self::new(500, "backendError", format!("The server's folder could not be read or written: {error}"))
    }
}

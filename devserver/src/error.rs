//! The errors of the S3 API.
//!
//! Owns: [`S3Error`] and how it becomes an answer. Invariant: an answer to HEAD and a 304 have no body.
//! Source: Amazon S3 API Reference, "Error responses".

use crate::reply::Reply;
use crate::xml::XmlWriter;
use http::{HeaderName, HeaderValue, Method, StatusCode};
use std::borrow::Cow;

/// An error as a client sees it.
#[derive(Debug)]
pub(crate) struct S3Error {
    pub(crate) status: StatusCode,
    pub(crate) code: &'static str,
    pub(crate) message: Cow<'static, str>,
    /// Beside those of every answer.
    headers: Vec<(HeaderName, HeaderValue)>,
    /// Elements of the document, beside those of every error.
    elements: Vec<(&'static str, String)>,
}

impl S3Error {
    pub(crate) fn new(status: u16, code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status: StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            code,
            message: message.into(),
            headers: Vec::new(),
            elements: Vec::new(),
        }
    }

    pub(crate) fn with_header(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
            self.headers.push((name, value));
        }
        self
    }

    pub(crate) fn with_element(mut self, name: &'static str, text: &str) -> Self {
        self.elements.push((name, text.to_owned()));
        self
    }

    /// The text of a header of the answer.
    pub(crate) fn header(&self, name: &HeaderName) -> Option<String> {
        let (_, value) = self.headers.iter().find(|(known, _)| known == name)?;
        Some(value.to_str().ok()?.to_owned())
    }

    pub(crate) fn no_such_key() -> Self {
        Self::new(404, "NoSuchKey", "The specified key does not exist.")
    }

    pub(crate) fn no_such_bucket() -> Self {
        Self::new(404, "NoSuchBucket", "The specified bucket does not exist")
    }

    pub(crate) fn no_such_upload() -> Self {
        Self::new(
            404,
            "NoSuchUpload",
            "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed.",
        )
    }

    pub(crate) fn precondition_failed() -> Self {
        Self::new(412, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold")
    }

    pub(crate) fn access_denied() -> Self {
        Self::new(403, "AccessDenied", "Access Denied")
    }

    pub(crate) fn malformed_xml() -> Self {
        Self::new(
            400,
            "MalformedXML",
            "The XML you provided was not well-formed or did not validate against our published schema",
        )
    }

    pub(crate) fn invalid_argument(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(400, "InvalidArgument", message)
    }

    pub(crate) fn invalid_request(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(400, "InvalidRequest", message)
    }

    pub(crate) fn not_implemented(what: impl Into<Cow<'static, str>>) -> Self {
        Self::new(501, "NotImplemented", what)
    }

    pub(crate) fn slow_down() -> Self {
        Self::new(503, "SlowDown", "Please reduce your request rate.")
    }

    pub(crate) fn conflict() -> Self {
        Self::new(
            409,
            "ConditionalRequestConflict",
            "A conflicting operation is in progress against this resource.",
        )
    }

    pub(crate) fn internal(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(500, "InternalError", message)
    }

    /// The error document, also used inside a 200 answer.
    pub(crate) fn document(&self, resource: &str, request_id: &str) -> String {
        let mut xml = XmlWriter::document();
        xml.open("Error");
        xml.leaf("Code", self.code);
        xml.leaf("Message", &self.message);
        for (name, text) in &self.elements {
            xml.leaf(name, text);
        }
        xml.leaf("Resource", resource);
        xml.leaf("RequestId", request_id);
        xml.close("Error");
        xml.finish()
    }

    /// The whole answer.
    pub(crate) fn into_reply(self, method: &Method, resource: &str, request_id: &str) -> Reply {
        let bodiless = method == Method::HEAD || self.status == StatusCode::NOT_MODIFIED;
        let mut reply = if bodiless {
            Reply::empty(self.status)
        } else {
            Reply::xml(self.document(resource, request_id)).with_status(self.status)
        };
        for (name, value) in self.headers {
            reply.headers.insert(name, value);
        }
        reply
    }
}

impl From<std::io::Error> for S3Error {
    fn from(error: std::io::Error) -> Self {
        Self::internal(format!("The server's folder could not be read or written: {error}"))
    }
}

//! One operation of the S3 API before it is signed.
//!
//! Owns: [`S3Request`]. It is built once and sent as often as retries need: every attempt makes its own HTTP
//! request of it, with its own signature and its own body.

use crate::{Payload, RawKey};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};

/// An operation, its object and what goes with it.
#[derive(Debug, Clone)]
pub(super) struct S3Request<'a> {
    /// The API's own word, for errors, logs and counters.
    pub operation: &'static str,
    pub method: Method,
    pub key: Option<&'a RawKey>,
    pub query: Vec<(&'static str, String)>,
    pub headers: HeaderMap,
    pub payload: Payload,
    /// The server works long before it answers (it copies or assembles data), and may report a failure inside a 200.
    pub long_running: bool,
}

impl<'a> S3Request<'a> {
    pub fn new(operation: &'static str, method: Method) -> Self {
        Self {
            operation,
            method,
            key: None,
            query: Vec::new(),
            headers: HeaderMap::new(),
            payload: Payload::Bytes(Bytes::new()),
            long_running: false,
        }
    }

    pub fn on(operation: &'static str, method: Method, key: &'a RawKey) -> Self {
        Self { key: Some(key), ..Self::new(operation, method) }
    }

    pub fn query(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.query.push((name, value.into()));
        self
    }

    /// Adds a header whose value is known to be one: numbers, dates, what is percent-encoded.
    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(HeaderName::from_static(name), value);
        }
        self
    }

    pub fn payload(mut self, payload: Payload) -> Self {
        self.payload = payload;
        self
    }

    pub fn long_running(mut self) -> Self {
        self.long_running = true;
        self
    }

    /// Whether sending it twice could show.
    pub fn writes(&self) -> bool {
        !matches!(self.method, Method::GET | Method::HEAD)
    }
}

//! One operation of a store's API before it is authorized.
//!
//! Owns: [`ApiRequest`]. It is built once and sent as often as retries need: every attempt makes its own HTTP
//! request of it, with its own signature and its own body.

use crate::contract::{Payload, RawKey};
use bytes::Bytes;
use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Method};

/// An operation, its object and what goes with it.
#[derive(Debug, Clone)]
pub(crate) struct ApiRequest<'a> {
    /// The API's own word, for errors, logs and counters.
    pub operation: &'static str,
    pub method: Method,
    pub key: Option<&'a RawKey>,
    /// The path at the endpoint, percent-encoded, where operation and key alone do not say it.
    pub path: Option<String>,
    pub query: Vec<(&'static str, String)>,
    pub headers: HeaderMap,
    /// How headers are written, and told of the answer (`header_case`).
    pub extensions: Extensions,
    pub payload: Payload,
    /// A header whose value cannot be sent.
    pub unsendable: Option<&'static str>,
    /// The CRC-64/NVME of what is sent is made on the way ([`Answer::sent_crc64`](super::pipeline::Answer::sent_crc64)).
    pub summed: bool,
    /// The server works long before it answers (it copies or assembles data), and may report a failure inside a 200.
    pub long_running: bool,
}

impl<'a> ApiRequest<'a> {
    pub fn new(operation: &'static str, method: Method) -> Self {
        Self {
            operation,
            method,
            key: None,
            path: None,
            query: Vec::new(),
            headers: HeaderMap::new(),
            extensions: Extensions::new(),
            payload: Payload::Bytes(Bytes::new()),
            unsendable: None,
            summed: false,
            long_running: false,
        }
    }

    pub fn on(operation: &'static str, method: Method, key: &'a RawKey) -> Self {
        Self { key: Some(key), ..Self::new(operation, method) }
    }

    pub fn path(mut self, path: impl Into<String>) -> Self {
        self.path = Some(path.into());
        self
    }

    pub fn query(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.query.push((name, value.into()));
        self
    }

    /// Adds a header, as bytes where it is not ASCII. What no header can hold fails the request when it is sent: a condition that went
    /// missing would make it another one.
    pub fn header(self, name: &'static str, value: &str) -> Self {
        self.header_bytes(name, value.as_bytes())
    }

    /// As [`ApiRequest::header`], of what need be no text.
    pub fn header_bytes(mut self, name: &'static str, value: &[u8]) -> Self {
        match HeaderValue::from_bytes(value) {
            Ok(value) => drop(self.headers.insert(HeaderName::from_static(name), value)),
            Err(_) => self.unsendable = Some(name),
        }
        self
    }

    pub fn payload(mut self, payload: Payload) -> Self {
        self.payload = payload;
        self
    }

    pub fn summed(mut self, summed: bool) -> Self {
        self.summed = summed;
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

//! What one attempt ran into, and what helps.
//!
//! Owns: [`Failure`], and the reading of every transport error. [`RetryAction`] says whether and how another attempt makes sense; the pipeline
//! applies it. Answers are read by the service that gave them.

use super::exchange::ExchangeError;
use crate::contract::ErrorKind;
use http::StatusCode;
use std::time::{Duration, SystemTime};

/// What another attempt needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RetryAction {
    /// Nothing helps.
    None,
    /// Time, at least so much where the server said.
    Wait(Option<Duration>),
    /// Another try, in case that this was an accident. Helps twice.
    Again,
    /// Another region, which the server named. Helps once.
    Region(String),
    /// The server's clock. Helps once.
    Clock(SystemTime),
    /// Fresh credentials. Helps once.
    Credentials,
}

/// A failed attempt.
#[derive(Debug)]
pub(crate) struct Failure {
    pub kind: ErrorKind,
    pub status: Option<u16>,
    pub code: Option<String>,
    pub message: String,
    pub retry: RetryAction,
    /// The server may have done what was asked before it failed to say so.
    pub maybe_applied: bool,
}

impl Failure {
    /// A failure that no attempt can mend.
    pub fn last(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            status: None,
            code: None,
            message: message.into(),
            retry: RetryAction::None,
            maybe_applied: false,
        }
    }

    /// A service refused to give out credentials: `status` is no success, `told` says so in words.
    pub fn of_issuer(status: StatusCode, code: Option<String>, message: Option<String>, told: &str) -> Self {
        let passes = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
        let (kind, retry) = match passes {
            true => (ErrorKind::Exhausted, RetryAction::Wait(None)),
            false => (ErrorKind::Denied, RetryAction::None),
        };
        let said = message.unwrap_or_else(|| status.canonical_reason().unwrap_or("no reason").to_owned());
        let code_told = code.as_ref().map(|code| format!(" ({code})")).unwrap_or_default();
        let message = format!("{told}: {said}{code_told}");
        Self { status: Some(status.as_u16()), code, retry, ..Self::last(kind, message) }
    }

    /// The connection failed, before or after the request was sent.
    pub fn transport(message: String, was_sent: bool) -> Self {
        Self {
            retry: RetryAction::Wait(None),
            maybe_applied: was_sent,
            ..Self::last(ErrorKind::Unreachable, message)
        }
    }

    /// Why there is no answer, in words. `endpoint` is a URL without a query.
    pub fn of_exchange(error: &ExchangeError, endpoint: &str) -> Self {
        let (verb, was_sent) = match error {
            ExchangeError::Malformed(_) => return Self::no_http(endpoint, &innermost(error)),
            ExchangeError::Strange(beginning) => {
                let speaks_tls = beginning.starts_with(b"\x15\x03") && endpoint.starts_with("http:");
                let told =
                    if speaks_tls { "it speaks TLS; write https:// in its URL" } else { &error.to_string() };
                return Self::no_http(endpoint, told);
            }
            ExchangeError::Connect(_) => ("cannot connect to", false),
            ExchangeError::Broken(_) => ("the connection broke to", true),
            ExchangeError::Unsent(..) => ("the connection broke to", false),
        };
        Self::transport(format!("{verb} {endpoint}: {}", innermost(error)), was_sent)
    }

    /// What came is no answer that can be understood.
    fn no_http(endpoint: &str, told: &str) -> Self {
        let message = format!("what answers at {endpoint} does not speak HTTP as it should: {told}");
        Self { retry: RetryAction::Again, ..Self::transport(message, true) }
    }
}

/// The innermost cause, which is the one that says something: "Connection refused", "invalid peer certificate".
pub(crate) fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

//! What the JSON API's errors mean.
//!
//! Owns: the way from an answer to a [`Failure`]. Sources: Cloud Storage documentation, "HTTP status and error codes for JSON" and "Retry
//! strategy": 408, 429, 5xx and the two rate limits among the 403s pass; a 401 asks for a new token.

use crate::contract::ErrorKind;
use crate::http::failure::{Failure, RetryAction};
use crate::http::request::ApiRequest;
use http::{HeaderMap, StatusCode, header};
use serde::Deserialize;
use std::time::Duration;

/// The longest message that is told of an answer that is no JSON.
const PLAIN_MESSAGE_CHARS_MAX: usize = 200;

/// An error as the API writes it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ErrorAnswer {
    message: String,
    errors: Vec<ErrorDetail>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ErrorDetail {
    reason: String,
    message: String,
}

impl ErrorAnswer {
    /// Reads a body; an emulator's may be text, or an object in which `error` is a string.
    fn read(body: &[u8]) -> Self {
        #[derive(Deserialize)]
        struct Envelope {
            error: ErrorAnswer,
        }
        if let Ok(envelope) = serde_json::from_slice::<Envelope>(body) {
            return envelope.error;
        }
        let text = String::from_utf8_lossy(body);
        let is_page = text.trim_start().starts_with('<');
        let message = text.trim().chars().take(PLAIN_MESSAGE_CHARS_MAX).collect::<String>();
        let message = if is_page { String::new() } else { message.escape_debug().to_string() };
        Self { message, errors: Vec::new() }
    }

    fn reason(&self) -> &str {
        self.errors.first().map_or("", |detail| detail.reason.as_str())
    }

    fn message(&self) -> &str {
        match (self.message.as_str(), self.errors.first()) {
            ("", Some(detail)) => &detail.message,
            (message, _) => message,
        }
    }
}

/// Reads an answer. `None` is success. With `is_signed`, it is the answer to a request with a token.
pub(super) fn failure_in(
    request: &ApiRequest<'_>,
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
    is_signed: bool,
) -> Option<Failure> {
    if status.is_success() {
        return None;
    }
    let answer = ErrorAnswer::read(body);
    let reason = answer.reason();
    let kind = kind_of(request, status, reason, answer.message());
    let retry = match (status.as_u16(), kind) {
        (401, _) if is_signed => RetryAction::Credentials,
        (_, ErrorKind::Exhausted) => RetryAction::Wait(retry_after(headers)),
        _ => RetryAction::None,
    };
    let is_throttling = status == StatusCode::TOO_MANY_REQUESTS || is_rate_limit(reason);
    Some(Failure {
        kind,
        status: Some(status.as_u16()),
        code: (!reason.is_empty()).then(|| reason.to_owned()),
        message: message_of(kind, status, reason, answer.message()),
        retry,
        // Throttling is said before the work begins; other failures of the server may come after it.
        maybe_applied: kind == ErrorKind::Exhausted && !is_throttling,
    })
}

fn is_rate_limit(reason: &str) -> bool {
    matches!(reason, "rateLimitExceeded" | "userRateLimitExceeded" | "usageLimits.rateLimitExceeded")
}

fn kind_of(request: &ApiRequest<'_>, status: StatusCode, reason: &str, message: &str) -> ErrorKind {
    let is_conditional = request
        .query
        .iter()
        .any(|(name, _)| matches!(*name, "ifGenerationMatch" | "ifSourceGenerationMatch"));
    match status.as_u16() {
        _ if is_rate_limit(reason) => ErrorKind::Exhausted,
        _ if is_requester_pays(reason, message) => ErrorKind::Denied,
        401 | 403 => ErrorKind::Denied,
        404 if is_about_bucket(request, message) => ErrorKind::NoSuchBucket,
        404 => ErrorKind::NotFound,
        304 | 412 => ErrorKind::Precondition,
        409 if request.operation == "CreateBucket" => ErrorKind::BucketTaken,
        409 if request.operation == "DeleteBucket" => ErrorKind::NotEmpty,
        409 if is_conditional => ErrorKind::Precondition,
        416 => ErrorKind::RangeNotSatisfiable,
        408 | 429 => ErrorKind::Exhausted,
        400 | 405 | 411 | 413 | 501 | 505 => ErrorKind::Unsupported,
        500..=599 => ErrorKind::Exhausted,
        _ => ErrorKind::Other,
    }
}

/// Both a bucket and an object that are not there are `notFound`; the words tell.
fn is_about_bucket(request: &ApiRequest<'_>, message: &str) -> bool {
    request.key.is_none() || message.contains("bucket does not exist")
}

fn is_requester_pays(reason: &str, message: &str) -> bool {
    reason == "userProjectMissing"
        || reason == "authenticationRequiredRequesterPays"
        || message.contains("requester pays bucket but no user project")
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

fn message_of(kind: ErrorKind, status: StatusCode, reason: &str, said: &str) -> String {
    if is_requester_pays(reason, said) {
        return "whoever reads this bucket pays for it (requester pays): ask for that, and name the project that pays \
                in GOOGLE_CLOUD_PROJECT"
            .to_owned();
    }
    match kind {
        ErrorKind::Precondition => return "the object has another version now".to_owned(),
        ErrorKind::RangeNotSatisfiable => return "the range starts beyond the object's end".to_owned(),
        ErrorKind::NotFound => return "no such object".to_owned(),
        ErrorKind::NoSuchBucket => return "no such bucket".to_owned(),
        _ if !said.is_empty() => return said.to_owned(),
        ErrorKind::Denied => "access denied",
        _ => status.canonical_reason().unwrap_or("unexpected answer"),
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::RawKey;
    use http::Method;

    fn read(request: &ApiRequest<'_>, status: u16, reason: &str, message: &str) -> Failure {
        let body = serde_json::json!({"error": {"code": status, "message": message,
            "errors": [{"domain": "global", "reason": reason, "message": message}]}});
        let status = StatusCode::from_u16(status).unwrap();
        failure_in(request, status, &HeaderMap::new(), body.to_string().as_bytes(), true).unwrap()
    }

    #[test]
    fn errors_are_told_apart() {
        let key = RawKey::new("k").unwrap();
        let get = || ApiRequest::on("GetObject", Method::GET, &key);
        let kind = |status, reason: &str, message: &str| read(&get(), status, reason, message).kind;
        assert_eq!(kind(404, "notFound", "No such object: b/k"), ErrorKind::NotFound);
        assert_eq!(kind(404, "notFound", "The specified bucket does not exist."), ErrorKind::NoSuchBucket);
        assert_eq!(kind(412, "conditionNotMet", "At least one…"), ErrorKind::Precondition);
        assert_eq!(kind(403, "forbidden", "x does not have storage.objects.get"), ErrorKind::Denied);
        assert_eq!(kind(503, "backendError", ""), ErrorKind::Exhausted);
        let list = ApiRequest::new("ListObjectsV2", Method::GET);
        assert_eq!(read(&list, 404, "notFound", "Not Found").kind, ErrorKind::NoSuchBucket);
        let create = ApiRequest::new("CreateBucket", Method::POST);
        assert_eq!(read(&create, 409, "conflict", "").kind, ErrorKind::BucketTaken);
    }

    #[test]
    fn what_passes_is_tried_again() {
        let key = RawKey::new("k").unwrap();
        let put = ApiRequest::on("PutObject", Method::POST, &key);
        let limited = read(&put, 403, "rateLimitExceeded", "slow down");
        assert_eq!((limited.retry, limited.maybe_applied), (RetryAction::Wait(None), false));
        let failed = read(&put, 500, "internalError", "");
        assert_eq!((failed.retry, failed.maybe_applied), (RetryAction::Wait(None), true));
        assert_eq!(read(&put, 401, "authError", "Invalid Credentials").retry, RetryAction::Credentials);
        assert_eq!(read(&put, 403, "forbidden", "no").retry, RetryAction::None);
    }

    #[test]
    fn who_pays_is_told() {
        let key = RawKey::new("k").unwrap();
        let get = ApiRequest::on("GetObject", Method::GET, &key);
        let refused =
            read(&get, 400, "required", "Bucket is a requester pays bucket but no user project provided.");
        assert_eq!(refused.kind, ErrorKind::Denied);
        assert!(refused.message.contains("GOOGLE_CLOUD_PROJECT"), "{}", refused.message);
    }

    #[test]
    fn answers_that_are_no_json_are_read() {
        let request = ApiRequest::new("ListObjectsV2", Method::GET);
        let read =
            |body: &[u8]| failure_in(&request, StatusCode::BAD_GATEWAY, &HeaderMap::new(), body, false);
        assert_eq!(read(b"<html>oops</html>").unwrap().message, "Bad Gateway");
        assert_eq!(read(b"down\x1b[31m\n").unwrap().message, "down\\u{1b}[31m");
        assert_eq!(read(&[0xff; 9]).unwrap().kind, ErrorKind::Exhausted);
    }
}

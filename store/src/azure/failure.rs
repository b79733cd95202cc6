//! What Azure's answers mean.
//!
//! Owns: [`failure_in`]. Source: Azure, "Blob Storage error codes" and "Status and error codes" (Storage REST API); a HEAD has its code in
//! `x-ms-error-code` alone.

use super::xml;
use crate::adapter::MAKE_ROOM;
use crate::contract::ErrorKind;
use crate::http::failure::{Failure, RetryAction};
use crate::http::request::ApiRequest;
use http::{HeaderMap, StatusCode, header};
use std::time::{Duration, SystemTime};

/// Reads an answer; `None` is success.
pub(super) fn failure_in(
    request: &ApiRequest<'_>,
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
    our_time: SystemTime,
) -> Option<Failure> {
    if status.is_success() {
        return None;
    }
    let answer = xml::error(body);
    let named = headers.get("x-ms-error-code").and_then(|code| code.to_str().ok());
    let code = named.unwrap_or(&answer.code).to_owned();
    let kind = kind_of(request, status, &code);
    let mut message = message_of(kind, status, &code, answer.message);
    if let Some(skew) = skew_in(headers, our_time).filter(|_| kind == ErrorKind::Denied) {
        message.push_str(&format!("; this machine's clock is {} s off the server's", skew.as_secs()));
    }
    Some(Failure {
        kind,
        status: Some(status.as_u16()),
        retry: retry_for(kind, status, &code, headers),
        // Who is busy has not begun.
        maybe_applied: kind == ErrorKind::Exhausted && !is_throttling(status, &code),
        code: (!code.is_empty()).then_some(code),
        message,
    })
}

fn kind_of(request: &ApiRequest<'_>, status: StatusCode, code: &str) -> ErrorKind {
    let creates_container = request.key.is_none() && request.writes();
    match code {
        "ContainerNotFound" | "ResourceNotFound" | "ContainerDisabled" => return ErrorKind::NoSuchBucket,
        "ContainerBeingDeleted" if !creates_container => return ErrorKind::NoSuchBucket,
        "ContainerBeingDeleted" | "PendingCopyOperation" => return ErrorKind::Exhausted,
        "ContainerAlreadyExists" => return ErrorKind::BucketTaken,
        // The blocks are gone: another upload of the key was completed, or they lay for a week.
        "BlobNotFound" | "InvalidBlockList" => return ErrorKind::NotFound,
        "BlobAlreadyExists" => return ErrorKind::Precondition,
        "BlobArchived" | "BlobBeingRehydrated" => return ErrorKind::Archived,
        "PublicAccessNotPermitted"
        | "BlobImmutableDueToPolicy"
        | "LeaseIdMissing"
        | "LeaseIdMismatchWithBlobOperation" => {
            return ErrorKind::Denied;
        }
        // Another kind of blob has the name.
        "InvalidBlobType" => return ErrorKind::Uneditable,
        "InvalidMetadata" | "EmptyMetadataKey" | "SnapshotsPresent" => {
            return ErrorKind::Unsupported;
        }
        "Md5Mismatch" | "Crc64Mismatch" => return ErrorKind::Corrupt,
        "InternalError" | "OperationTimedOut" | "ServerBusy" => return ErrorKind::Exhausted,
        _ => {}
    }
    match status.as_u16() {
        401 | 403 => ErrorKind::Denied,
        404 if request.key.is_none() => ErrorKind::NoSuchBucket,
        404 => ErrorKind::NotFound,
        304 | 412 => ErrorKind::Precondition,
        416 => ErrorKind::RangeNotSatisfiable,
        408 | 429 | 500..=599 if status.as_u16() != 501 && status.as_u16() != 505 => ErrorKind::Exhausted,
        400 | 405 | 411 | 413 | 501 | 505 => ErrorKind::Unsupported,
        _ => ErrorKind::Other,
    }
}

fn is_throttling(status: StatusCode, code: &str) -> bool {
    code == "ServerBusy" || status == StatusCode::TOO_MANY_REQUESTS
}

fn retry_for(kind: ErrorKind, status: StatusCode, code: &str, headers: &HeaderMap) -> RetryAction {
    match (kind, status.as_u16(), code) {
        // A token that expired, whatever its date said.
        (_, 401, code) if code != "NoAuthenticationInformation" => RetryAction::Credentials,
        (ErrorKind::Exhausted, ..) => {
            let seconds =
                headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
            RetryAction::Wait(seconds.map(Duration::from_secs))
        }
        _ => RetryAction::None,
    }
}

fn message_of(kind: ErrorKind, status: StatusCode, code: &str, said: String) -> String {
    match code {
        "BlobArchived" => {
            return "the blob is in the archive tier; rehydrate it to hot or cool before it can be read"
                .to_owned();
        }
        "BlobBeingRehydrated" => {
            return "the blob is being brought back from the archive tier, which takes hours".to_owned();
        }
        "InvalidBlobType" => {
            return format!(
                "an append or a page blob has the name, which can be read, renamed and deleted here, not changed; {MAKE_ROOM}"
            );
        }
        "LeaseIdMissing" => return "somebody holds a lease on it".to_owned(),
        "SnapshotsPresent" => {
            return "it has snapshots, which would be lost with it; delete them first".to_owned();
        }
        _ => {}
    }
    if !said.is_empty() {
        return said;
    }
    match kind {
        ErrorKind::NotFound => "no such object".to_owned(),
        ErrorKind::NoSuchBucket => "no such container".to_owned(),
        ErrorKind::Denied => "access denied".to_owned(),
        ErrorKind::Precondition => "the object has another version now".to_owned(),
        ErrorKind::RangeNotSatisfiable => "the range starts beyond the object's end".to_owned(),
        _ => status.canonical_reason().unwrap_or("unexpected answer").to_owned(),
    }
}

/// How far the clocks are apart, where that is enough for signatures to be refused (15 minutes).
fn skew_in(headers: &HeaderMap, our_time: SystemTime) -> Option<Duration> {
    let theirs = httpdate::parse_http_date(headers.get(header::DATE)?.to_str().ok()?).ok()?;
    let skew = theirs.duration_since(our_time).unwrap_or_else(|behind| behind.duration());
    (skew > Duration::from_secs(600)).then_some(skew)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::RawKey;
    use http::Method;

    fn told(key: bool, method: Method, status: u16, code: &'static str) -> Failure {
        let key = key.then(|| RawKey::new("k").unwrap());
        let request = match &key {
            Some(key) => ApiRequest::on("x", method, key),
            None => ApiRequest::new("x", method),
        };
        let headers = [(http::HeaderName::from_static("x-ms-error-code"), code.parse().unwrap())];
        let status = StatusCode::from_u16(status).unwrap();
        failure_in(&request, status, &HeaderMap::from_iter(headers), b"", SystemTime::now()).unwrap()
    }

    #[test]
    fn codes_mean_what_they_say() {
        for (key, method, status, code, kind) in [
            (true, Method::HEAD, 404, "BlobNotFound", ErrorKind::NotFound),
            (true, Method::GET, 404, "ContainerNotFound", ErrorKind::NoSuchBucket),
            (true, Method::GET, 404, "ResourceNotFound", ErrorKind::NoSuchBucket),
            (false, Method::PUT, 409, "ContainerAlreadyExists", ErrorKind::BucketTaken),
            (false, Method::PUT, 409, "ContainerBeingDeleted", ErrorKind::Exhausted),
            (true, Method::GET, 409, "ContainerBeingDeleted", ErrorKind::NoSuchBucket),
            (true, Method::PUT, 409, "BlobAlreadyExists", ErrorKind::Precondition),
            (true, Method::PUT, 412, "ConditionNotMet", ErrorKind::Precondition),
            (true, Method::PUT, 412, "SourceConditionNotMet", ErrorKind::Precondition),
            (true, Method::PUT, 412, "LeaseIdMissing", ErrorKind::Denied),
            (true, Method::GET, 409, "BlobArchived", ErrorKind::Archived),
            (true, Method::GET, 416, "InvalidRange", ErrorKind::RangeNotSatisfiable),
            (true, Method::PUT, 400, "InvalidBlockList", ErrorKind::NotFound),
            (true, Method::PUT, 409, "InvalidBlobType", ErrorKind::Uneditable),
            (true, Method::PUT, 413, "RequestBodyTooLarge", ErrorKind::Unsupported),
            (true, Method::GET, 403, "AuthenticationFailed", ErrorKind::Denied),
            (true, Method::GET, 409, "PublicAccessNotPermitted", ErrorKind::Denied),
            (true, Method::PUT, 503, "ServerBusy", ErrorKind::Exhausted),
            (true, Method::PUT, 500, "OperationTimedOut", ErrorKind::Exhausted),
            (true, Method::PUT, 501, "", ErrorKind::Unsupported),
        ] {
            assert_eq!(told(key, method, status, code).kind, kind, "{status} {code}");
        }
    }

    #[test]
    fn what_may_have_happened_is_told_from_what_has_not_begun() {
        let failed = told(true, Method::PUT, 500, "InternalError");
        assert!(failed.maybe_applied && matches!(failed.retry, RetryAction::Wait(None)));
        assert!(!told(true, Method::PUT, 503, "ServerBusy").maybe_applied);
        assert!(matches!(
            told(true, Method::GET, 401, "InvalidAuthenticationInfo").retry,
            RetryAction::Credentials
        ));
        assert!(matches!(told(true, Method::GET, 403, "AuthenticationFailed").retry, RetryAction::None));
    }
}

//! What an answer of the S3 API says that is not the one hoped for.

use super::xml;
use crate::contract::ErrorKind;
use crate::http::failure::{Failure, RetryAction};
use crate::http::request::ApiRequest;
use http::{HeaderMap, StatusCode, header};
use std::time::{Duration, SystemTime};

/// Reads an answer. `None` is success.
pub(super) fn failure_in(
    request: &ApiRequest<'_>,
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
    our_time: SystemTime,
) -> Option<Failure> {
    if status.is_success() {
        let inside = if request.long_running { xml::error_in(body)? } else { return None };
        return Some(of_code(request, StatusCode::OK, headers, inside, our_time));
    }
    let answer = xml::error_in(body).unwrap_or_default();
    Some(of_code(request, status, headers, answer, our_time))
}

/// What the answer to DeleteObjects says of one key, for which it has a code and no status. Whether it passes, [`Failure::retry`] tells.
pub(super) fn failure_of_key(
    request: &ApiRequest<'_>,
    answer: xml::ErrorAnswer,
    our_time: SystemTime,
) -> Failure {
    let status = match answer.code.as_str() {
        "AccessDenied" | "AllAccessDisabled" | "Forbidden" => StatusCode::FORBIDDEN,
        "MethodNotAllowed" => StatusCode::METHOD_NOT_ALLOWED,
        "NotImplemented" => StatusCode::NOT_IMPLEMENTED,
        code if code.starts_with("Invalid") => StatusCode::BAD_REQUEST,
        _ => StatusCode::OK,
    };
    let failure = of_code(request, status, &HeaderMap::new(), answer, our_time);
    Failure { status: failure.status.filter(|_| status != StatusCode::OK), ..failure }
}

fn of_code(
    request: &ApiRequest<'_>,
    status: StatusCode,
    headers: &HeaderMap,
    answer: xml::ErrorAnswer,
    our_time: SystemTime,
) -> Failure {
    let code = answer.code.as_str();
    let retry = retry_for(request, status, headers, &answer, our_time);
    let kind = kind_of(request, status, code);
    // Throttling is said before the work begins; other failures of the server may come after it.
    let is_throttling = status == StatusCode::TOO_MANY_REQUESTS || is_throttling_code(code);
    let maybe_applied = kind == ErrorKind::Exhausted && !is_throttling;
    Failure {
        kind,
        status: Some(status.as_u16()),
        code: (!code.is_empty()).then(|| code.to_owned()),
        message: match kind {
            ErrorKind::Archived => archived(&answer),
            _ => message_of(kind, status, &answer.message),
        },
        retry,
        maybe_applied,
    }
}

fn is_throttling_code(code: &str) -> bool {
    matches!(
        code,
        "SlowDown" | "TooManyRequests" | "Throttling" | "ThrottlingException" | "RequestLimitExceeded"
    )
}

/// Codes of passing failures, whatever the status they come with.
fn is_transient_code(code: &str) -> bool {
    is_throttling_code(code)
        || matches!(
            code,
            "InternalError" | "ServiceUnavailable" | "RequestTimeout" | "OperationAborted" | "IncompleteBody"
        )
}

fn kind_of(request: &ApiRequest<'_>, status: StatusCode, code: &str) -> ErrorKind {
    let is_conditional =
        [header::IF_MATCH, header::IF_NONE_MATCH].iter().any(|name| request.headers.contains_key(name));
    match code {
        "NoSuchBucket" => return ErrorKind::NoSuchBucket,
        "NoSuchKey" | "NoSuchUpload" => return ErrorKind::NotFound,
        "BucketAlreadyExists" | "BucketAlreadyOwnedByYou" => return ErrorKind::BucketTaken,
        "PreconditionFailed" | "ConditionalRequestConflict" => return ErrorKind::Precondition,
        "InvalidObjectState" => return ErrorKind::Archived,
        "BucketNotEmpty" => return ErrorKind::NotEmpty,
        "BadDigest" | "XAmzContentSHA256Mismatch" | "InvalidDigest" => return ErrorKind::Corrupt,
        "ExpiredToken" | "RequestTimeTooSkewed" | "InvalidToken" => return ErrorKind::Denied,
        code if is_transient_code(code) => return ErrorKind::Exhausted,
        _ => {}
    }
    match status.as_u16() {
        401 | 403 => ErrorKind::Denied,
        404 if request.key.is_none() => ErrorKind::NoSuchBucket,
        404 => ErrorKind::NotFound,
        304 | 412 => ErrorKind::Precondition,
        409 if is_conditional => ErrorKind::Precondition,
        416 => ErrorKind::RangeNotSatisfiable,
        408 | 429 => ErrorKind::Exhausted,
        400 | 405 | 501 | 505 => ErrorKind::Unsupported,
        500..=599 => ErrorKind::Exhausted,
        _ => ErrorKind::Other,
    }
}

fn retry_for(
    request: &ApiRequest<'_>,
    status: StatusCode,
    headers: &HeaderMap,
    answer: &xml::ErrorAnswer,
    our_time: SystemTime,
) -> RetryAction {
    let named_region =
        headers.get("x-amz-bucket-region").and_then(|value| value.to_str().ok()).map(str::to_owned);
    match (status.as_u16(), answer.code.as_str()) {
        (301 | 307 | 400, _) | (_, "AuthorizationHeaderMalformed" | "PermanentRedirect")
            if named_region.is_some() || answer.region.is_some() =>
        {
            return named_region
                .or_else(|| answer.region.clone())
                .map_or(RetryAction::None, RetryAction::Region);
        }
        // Damaged on the way, or made wrong here.
        (_, "BadDigest") => return RetryAction::Again,
        (_, "ExpiredToken" | "TokenRefreshRequired") => return RetryAction::Credentials,
        // Another request was under way, whatever came of it; the condition may hold still. An upload cannot be completed any more.
        (_, "ConditionalRequestConflict") if request.operation != "CompleteMultipartUpload" => {
            return RetryAction::Wait(None);
        }
        (_, "RequestTimeTooSkewed") | (403, "") => {
            if let Some(theirs) = skewed_clock(headers, our_time) {
                return RetryAction::Clock(theirs);
            }
        }
        _ => {}
    }
    if kind_of(request, status, &answer.code) == ErrorKind::Exhausted || is_transient_code(&answer.code) {
        let seconds =
            headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
        return RetryAction::Wait(seconds.map(Duration::from_secs));
    }
    RetryAction::None
}

/// The server's time where it is far from ours. A HEAD has no body to say RequestTimeTooSkewed in, so the `Date` tells.
fn skewed_clock(headers: &HeaderMap, our_time: SystemTime) -> Option<SystemTime> {
    const SKEW_TOLERATED: Duration = Duration::from_secs(240);
    let theirs = httpdate::parse_http_date(headers.get(header::DATE)?.to_str().ok()?).ok()?;
    let skew = theirs.duration_since(our_time).unwrap_or_else(|behind| behind.duration());
    (skew > SKEW_TOLERATED).then_some(theirs)
}

/// Of an object that must be restored first (Amazon S3 User Guide, "Working with archived objects").
fn archived(answer: &xml::ErrorAnswer) -> String {
    let tier = answer.access_tier.as_deref().map(|tier| format!(", access tier {tier}")).unwrap_or_default();
    let place = match answer.storage_class.as_deref() {
        Some(class) => format!(" (storage class {class}{tier})"),
        None => String::new(),
    };
    format!(
        "the object is archived{place} and cannot be read before it is restored: ask for that with `aws s3api restore-object` or in the \
         console, and try again when the restore is done, which takes minutes to days by the class"
    )
}

fn message_of(kind: ErrorKind, status: StatusCode, said: &str) -> String {
    if !said.is_empty() {
        return said.to_owned();
    }
    match kind {
        ErrorKind::NotFound => "no such object".to_owned(),
        ErrorKind::NoSuchBucket => "no such bucket".to_owned(),
        ErrorKind::Denied => "access denied".to_owned(),
        ErrorKind::Precondition => "the object has another version now".to_owned(),
        ErrorKind::RangeNotSatisfiable => "the range starts beyond the object's end".to_owned(),
        _ => status.canonical_reason().unwrap_or("unexpected answer").to_owned(),
    }
}

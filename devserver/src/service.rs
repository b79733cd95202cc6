//! From a request to its answer.
//!
//! Owns: the order of things: route, count, strike with a fault, authenticate, work, wait for the first byte, answer.

use crate::call::{Call, Shared};
use crate::config::Settings;
use crate::counters::{RequestRecord, Tally};
use crate::error::S3Error;
use crate::fault::{BodyFault, FaultAction, error_of};
use crate::key_locks::lock_key;
use crate::operation::Operation;
use crate::pace::Link;
use crate::reply::{Cut, Reply, ReplyBody};
use crate::sigv4::Caller;
use crate::target::Target;
use crate::{
    access, archive, bucket_ops, control, express, gcs, ibm, listing, object_ops, r2, tags, upload_ops,
};
use http::header::{ETAG, EXPECT};
use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use std::sync::Arc;
use std::time::Duration;

/// How much of a body that nobody wants is read before the answer, in bytes, so that a client that sends first and
/// reads afterwards gets its answer instead of a reset.
const DRAINED_LEN_BYTES_MAX: usize = 64 << 20;

/// An ETag that no object has.
const WRONG_ETAG: &str = "\"00000000000000000000000000000bad\"";

/// Answers one request. Errors: [`Cut`], after which the connection is closed without an answer.
pub(crate) async fn serve(
    shared: Arc<Shared>,
    link: Arc<Link>,
    request: Request<Incoming>,
) -> Result<Response<ReplyBody>, Cut> {
    if request.uri().path().starts_with(control::PATH) {
        let reply = control::serve(&shared, request).await;
        return Ok(reply.into_response(link, 0, None, Tally::uncounted()));
    }
    if gcs::is_gcs(request.method(), request.uri().path(), request.headers()) {
        return gcs::serve(shared, link, request).await;
    }
    let settings = shared.settings();
    let (parts, body) = request.into_parts();
    let request_id = format!("{:016X}", rand::random::<u64>());
    let target = match Target::of(&parts) {
        Ok(target) => target,
        Err(error) => {
            let reply =
                identified(error.into_reply(&parts.method, parts.uri.path(), &request_id), &request_id);
            return Ok(reply.into_response(link, 0, None, Tally::uncounted()));
        }
    };
    let operation = if settings.quirks.ibm && ibm::asks_for_token(&parts) {
        Operation::IssueToken
    } else {
        Operation::of(&parts, &target)
    };
    let open = shared.tally.begin(operation.name(), record(operation, &target, &parts.headers));
    let fault = shared.faults.take(operation.name(), &target.key);
    let caller = Caller::default();
    let mut call = Call { shared, settings, link, parts, target, fault, open, caller, body: Some(body) };
    let reply = answer(&mut call, operation, &request_id).await?;
    call.open.answered();
    let body_fault = BodyFault::of(call.fault.as_ref());
    let bandwidth = call.settings.bandwidth_bytes_per_s;
    Ok(reply.into_response(call.link, bandwidth, body_fault, call.open))
}

async fn answer(call: &mut Call, operation: Operation, request_id: &str) -> Result<Reply, Cut> {
    if call.fault == Some(FaultAction::Disconnect) {
        return Err(Cut);
    }
    let authorized = access::admit(call, operation);
    let _locked = if authorized.is_ok() { lock_key(call, operation).await } else { None };
    let result = match authorized {
        Ok(()) => match fault_before(call).or_else(|| missing(call, operation)) {
            Some(error) => Err(error),
            None => dispatch(call, operation).await,
        },
        Err(error) => Err(error),
    };
    if call.link.is_reset() {
        return Err(Cut);
    }
    drain(call).await;
    let method = call.parts.method.clone();
    let resource = call.parts.uri.path().to_owned();
    let mut reply = match (result, &call.fault) {
        (Err(error), Some(FaultAction::ErrorInsideOk))
            if error.status == StatusCode::INTERNAL_SERVER_ERROR =>
        {
            Reply::xml(error.document(&resource, request_id))
        }
        (Ok(reply), _) => reply,
        (Err(error), _) => error.into_reply(&method, &resource, request_id),
    };
    access::describe(call, operation, &mut reply);
    match call.fault {
        Some(FaultAction::ApplyThenDisconnect) => return Err(Cut),
        Some(FaultAction::WrongEtag) => reply.set(ETAG, WRONG_ETAG),
        Some(FaultAction::NoEtag) => {
            reply.headers.remove(ETAG);
        }
        Some(FaultAction::Delay { ms }) => tokio::time::sleep(Duration::from_millis(ms)).await,
        _ => {}
    }
    wait_for_first_byte(&call.settings).await;
    Ok(identified(reply, request_id))
}

/// The error that a fault asks for before anything takes effect.
fn fault_before(call: &Call) -> Option<S3Error> {
    error_of(call.fault.as_ref()?)
}

/// The error of what the settings say is not there.
fn missing(call: &Call, operation: Operation) -> Option<S3Error> {
    let quirks = &call.settings.quirks;
    let not_allowed = || {
        S3Error::new(405, "MethodNotAllowed", "The specified method is not allowed against this resource.")
    };
    let is_condition = |name: &str| call.parts.headers.contains_key(name);
    match operation {
        Operation::CreateMultipartUpload if quirks.no_multipart => {
            Some(S3Error::not_implemented("CreateMultipartUpload is not implemented"))
        }
        Operation::DeleteObjects if quirks.no_bulk_delete => {
            Some(S3Error::not_implemented("DeleteObjects is not implemented"))
        }
        Operation::AbortMultipartUpload if quirks.no_abort => Some(not_allowed()),
        Operation::HeadObject if quirks.no_head => Some(not_allowed()),
        Operation::PutObject | Operation::CompleteMultipartUpload | Operation::DeleteObject
            if quirks.failing_conditions && (is_condition("if-match") || is_condition("if-none-match")) =>
        {
            Some(S3Error::internal("The condition cannot be evaluated."))
        }
        _ if quirks.refuses_checksums
            && let Some((name, value)) = checksum_header(call) =>
        {
            Some(S3Error::not_implemented(format!("Header '{name}' with value '{value}' not implemented")))
        }
        _ if quirks.r2 => r2::missing(call, operation),
        _ => express::missing(call, operation),
    }
}

/// A header by which a request speaks of checksums of the API's own kind.
fn checksum_header(call: &Call) -> Option<(&str, &str)> {
    let named = call.parts.headers.iter().find(|(name, _)| {
        let name = name.as_str();
        (name.starts_with("x-amz-checksum-") && name != "x-amz-checksum-mode")
            || name == "x-amz-sdk-checksum-algorithm"
            || name == "x-amz-trailer"
    });
    named.map(|(name, value)| (name.as_str(), value.to_str().unwrap_or_default()))
}

async fn dispatch(call: &mut Call, operation: Operation) -> Result<Reply, S3Error> {
    match operation {
        Operation::IssueToken => ibm::issue_token(call).await,
        Operation::ListBuckets => bucket_ops::list_buckets(call),
        Operation::CreateSession => express::create_session(call),
        Operation::CreateBucket => bucket_ops::create_bucket(call).await,
        Operation::HeadBucket => bucket_ops::head_bucket(call),
        Operation::DeleteBucket => bucket_ops::delete_bucket(call),
        Operation::GetBucketLocation => bucket_ops::get_location(call),
        Operation::GetBucketVersioning => bucket_ops::get_versioning(call),
        Operation::GetObjectTagging => tags::get_tagging(call),
        Operation::PutObjectTagging => tags::put_tagging(call).await,
        Operation::DeleteObjectTagging => tags::delete_tagging(call),
        Operation::RestoreObject => archive::restore_object(call).await,
        Operation::ListObjects => listing::list_v1(call),
        Operation::ListObjectsV2 => listing::list_v2(call),
        Operation::GetObject => object_ops::get_object(call),
        Operation::HeadObject => object_ops::head_object(call),
        Operation::PutObject => object_ops::put_object(call).await,
        Operation::CopyObject => object_ops::copy_object(call).await,
        Operation::DeleteObject => object_ops::delete_object(call),
        Operation::DeleteObjects => object_ops::delete_objects(call).await,
        Operation::CreateMultipartUpload => upload_ops::create(call),
        Operation::UploadPart => upload_ops::upload_part(call).await,
        Operation::UploadPartCopy => upload_ops::upload_part_copy(call).await,
        Operation::CompleteMultipartUpload => upload_ops::complete(call).await,
        Operation::AbortMultipartUpload => upload_ops::abort(call),
        Operation::ListParts => upload_ops::list_parts(call),
        Operation::ListMultipartUploads => upload_ops::list_uploads(call),
        Operation::Unsupported => Err(S3Error::not_implemented(
            "A header or query you provided implies functionality that is not implemented",
        )),
    }
}

/// Reads what is left of a refused body, unless the client waits for a 100 before it sends one.
pub(crate) async fn drain(call: &mut Call) {
    let Some(mut body) = call.body.take() else { return };
    if call.parts.headers.contains_key(EXPECT) {
        return;
    }
    let mut drained = 0;
    while let Some(Ok(frame)) = body.frame().await {
        drained += frame.data_ref().map_or(0, |data| data.len());
        if drained > DRAINED_LEN_BYTES_MAX {
            return;
        }
    }
}

pub(crate) async fn wait_for_first_byte(settings: &Settings) {
    let jitter = if settings.jitter_ms == 0 { 0 } else { rand::random_range(0..=settings.jitter_ms) };
    let ms = settings.first_byte_ms + jitter;
    if ms > 0 {
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }
}

fn identified(mut reply: Reply, request_id: &str) -> Reply {
    reply.set(HeaderName::from_static("x-amz-request-id"), request_id);
    reply.headers.insert(http::header::SERVER, HeaderValue::from_static("PailDevServer"));
    reply
}

fn record(operation: Operation, target: &Target, headers: &http::HeaderMap) -> RequestRecord {
    let range = headers.get("range").or_else(|| headers.get("x-amz-copy-source-range"));
    RequestRecord {
        operation: operation.name().to_owned(),
        bucket: target.bucket.clone(),
        key: target.key.clone(),
        range: range.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()),
        query: target.query.iter().filter(|(name, _)| !name.starts_with("X-Amz-")).cloned().collect(),
        round: 0,
    }
}

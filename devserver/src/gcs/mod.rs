//! The JSON API of Google Cloud Storage, of the same objects and on the same port as S3.
//!
//! Owns: the order of things for its requests: route, count, strike with a fault, authorize, work, wait for the first byte, answer; and
//! [`GcsState`], what its requests share.
//!
//! Generations and preconditions, uploads in one request, in two parts and resumable, compose, rewrite, move, listings, buckets, batches,
//! and the token endpoints that credentials come from.
//!
//! # What is left out
//! Object versioning and soft delete (a generation that was replaced is gone), ACLs and IAM policies, folders and managed folders,
//! notifications, retention and holds, customer-supplied encryption keys, the XML API, gRPC, and decompressive transcoding (an object with
//! `contentEncoding: gzip` comes as it is stored, whatever the client accepts). MD5 is computed where the client claims one or the
//! setting `md5_etags` is on; other objects have none, as composite ones do at the service.

mod attributes;
mod batch;
mod buckets;
mod compose;
mod condition;
mod copy;
mod credentials;
mod error;
mod insert;
mod list;
mod objects;
mod receive;
mod related;
mod resource;
mod resumable;
mod route;
mod settings;
mod tokens;

pub(crate) use attributes::{GcsAttributes, next_generation, raise_generations};
pub(crate) use buckets::GcsBucket;
pub(crate) use route::is_gcs;
pub use settings::GcsSettings;

use crate::bucket::Bucket;
use crate::call::{Call, Shared};
use crate::counters::{RequestRecord, Tally};
use crate::fault::{BodyFault, FaultAction};
use crate::pace::Link;
use crate::reply::{Cut, Reply, ReplyBody};
use crate::service::{drain, wait_for_first_byte};
use crate::sigv4::Caller;
use error::{ErrorFormat, GcsError};
use http::header::{ETAG, SERVER};
use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;
use route::{Operation, Route};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

/// What the requests of this API share.
#[derive(Debug, Default)]
pub(crate) struct GcsState {
    pub(crate) tokens: tokens::Tokens,
    sessions: resumable::Sessions,
    rewrites: copy::Rewrites,
}

/// Answers one request. Errors: [`Cut`], after which the connection is closed without an answer.
pub(crate) async fn serve(
    shared: Arc<Shared>,
    link: Arc<Link>,
    request: Request<Incoming>,
) -> Result<Response<ReplyBody>, Cut> {
    let settings = shared.settings();
    let (parts, body) = request.into_parts();
    let route = match Route::of(&parts.method, parts.uri.path(), parts.uri.query(), &parts.headers) {
        Ok(route) => route,
        Err(error) => {
            let reply = identified(error.into_reply(ErrorFormat::Json));
            return Ok(reply.into_response(link, 0, None, Tally::uncounted()));
        }
    };
    let operation = route.operation;
    let open = shared.tally.begin(operation.name(), record(&route, &parts.headers));
    let fault = shared.faults.take(operation.name(), &route.target.key);
    let Route { target, source, .. } = route;
    let caller = Caller::default();
    let mut call = Call { shared, settings, link, parts, target, fault, open, caller, body: Some(body) };
    let reply = answer(&mut call, operation, source).await?;
    call.open.answered();
    let body_fault = BodyFault::of(call.fault.as_ref());
    let bandwidth = call.settings.bandwidth_bytes_per_s;
    Ok(reply.into_response(call.link, bandwidth, body_fault, call.open))
}

async fn answer(
    call: &mut Call,
    operation: Operation,
    source: Option<(String, String)>,
) -> Result<Reply, Cut> {
    if call.fault == Some(FaultAction::Disconnect) {
        // Before anything takes effect.
        return Err(Cut);
    }
    let allowed = authorize(call, operation)
        .and_then(|()| permit(call, operation))
        .and_then(|()| fault_before(call).map_or(Ok(()), Err));
    let result = match allowed {
        Ok(()) => dispatch(call, operation, source).await,
        Err(error) => Err(error),
    };
    if call.link.is_reset() || call.fault == Some(FaultAction::Disconnect) {
        return Err(Cut);
    }
    drain(call).await;
    let mut reply = result.unwrap_or_else(|error| error.into_reply(error_format(call, operation)));
    match call.fault {
        Some(FaultAction::ApplyThenDisconnect) => return Err(Cut),
        Some(FaultAction::NoEtag) => {
            reply.headers.remove(ETAG);
        }
        Some(FaultAction::Delay { ms }) => tokio::time::sleep(Duration::from_millis(ms)).await,
        _ => {}
    }
    wait_for_first_byte(&call.settings).await;
    Ok(identified(reply))
}

/// Call when the name of an upload was found in its resource: the log gets it, and faults that ask for it strike now. Errors: those of the
/// fault.
fn found_name(call: &mut Call, operation: Operation, name: &str) -> Result<(), GcsError> {
    if !call.target.key.is_empty() {
        return Ok(());
    }
    call.target.key = name.to_owned();
    call.open.set_key(operation.name(), &call.target.bucket, name);
    if call.fault.is_none() {
        call.fault = call.shared.faults.take_by_key(operation.name(), name);
    }
    match call.fault {
        Some(FaultAction::CutRequest { .. }) => {
            call.link.reset_when_closed();
            Err(GcsError::broken_upload())
        }
        Some(FaultAction::Disconnect) => Err(GcsError::broken_upload()),
        _ => fault_before(call).map_or(Ok(()), Err),
    }
}

/// The service's own: answers to media requests have no JSON.
fn error_format(call: &Call, operation: Operation) -> ErrorFormat {
    match operation {
        Operation::ObjectsGet if call.target.param("alt") == Some("media") => ErrorFormat::Text,
        Operation::OauthToken | Operation::StsToken => ErrorFormat::OAuth,
        _ => ErrorFormat::Json,
    }
}

/// The error that a fault asks for before anything takes effect.
fn fault_before(call: &Call) -> Option<GcsError> {
    match call.fault.as_ref()? {
        FaultAction::SlowDown => Some(GcsError::rate_limit()),
        FaultAction::AccessDenied => Some(GcsError::forbidden("Access denied.")),
        FaultAction::Conflict => {
            Some(GcsError::new(409, "conflict", "A conflicting operation is in progress."))
        }
        FaultAction::InternalError | FaultAction::ErrorInsideOk => Some(GcsError::backend()),
        _ => None,
    }
}

/// Errors: 401. A resumable upload's address is a credential by itself.
fn authorize(call: &Call, operation: Operation) -> Result<(), GcsError> {
    if operation.is_token_endpoint() {
        return Ok(());
    }
    let token = call.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
    let accepted = call.settings.gcs.tokens.as_ref();
    match token {
        Some(token) => match call.shared.gcs.tokens.lasts(token) {
            Some(true) => Ok(()),
            None if accepted.is_none_or(|tokens| tokens.contains(token)) => Ok(()),
            _ => Err(GcsError::unauthorized("Invalid Credentials")),
        },
        None if accepted.is_none() || operation.needs_no_token() => Ok(()),
        None if operation.is_public_read() && is_public(call) => Ok(()),
        None => Err(GcsError::unauthorized(
            "Anonymous caller does not have access to the resource, or it may not exist.",
        )),
    }
}

/// Errors: 403, for what takes a permission that nobody has.
fn permit(call: &Call, operation: Operation) -> Result<(), GcsError> {
    let needed = match operation {
        Operation::ObjectsInsert
        | Operation::ObjectsStartResumable
        | Operation::ObjectsCompose
        | Operation::ObjectsCopy
        | Operation::ObjectsRewrite
        | Operation::ObjectsMove => "storage.objects.create",
        Operation::ObjectsDelete => "storage.objects.delete",
        _ => return Ok(()),
    };
    match call.settings.gcs.refused_permissions.contains(needed) {
        true => Err(GcsError::forbidden(format!("The caller does not have {needed} access."))),
        false => Ok(()),
    }
}

fn is_public(call: &Call) -> bool {
    call.bucket().is_ok_and(|bucket| bucket.settings().public)
}

async fn dispatch(
    call: &mut Call,
    operation: Operation,
    source: Option<(String, String)>,
) -> Result<Reply, GcsError> {
    match operation {
        Operation::ObjectsInsert => insert::insert(call).await,
        Operation::ObjectsStartResumable => resumable::start(call).await,
        Operation::ObjectsResume | Operation::ObjectsQueryResumable => resumable::resume(call).await,
        Operation::ObjectsCancelResumable => resumable::cancel(call),
        Operation::Batch => batch::batch(call).await,
        Operation::OauthToken => credentials::oauth_token(call).await,
        Operation::StsToken => credentials::sts_token(call).await,
        Operation::GenerateAccessToken => credentials::generate_access_token(call).await,
        Operation::MetadataToken => credentials::metadata_token(call),
        Operation::MetadataProject | Operation::MetadataAccount => credentials::metadata(call),
        _ => {
            let document = receive::receive_document(call).await?;
            dispatch_resource(call, operation, source, document).await
        }
    }
}

/// The operations whose body, if any, is a small JSON document; those that a batch may hold.
async fn dispatch_resource(
    call: &Call,
    operation: Operation,
    source: Option<(String, String)>,
    document: Option<serde_json::Map<String, Value>>,
) -> Result<Reply, GcsError> {
    match operation {
        Operation::BucketsList => buckets::list(call),
        Operation::BucketsInsert => buckets::insert(call, document),
        Operation::BucketsGet => buckets::get(call),
        Operation::BucketsPatch => buckets::patch(call, document),
        Operation::BucketsDelete => buckets::delete(call),
        Operation::BucketsStorageLayout => buckets::storage_layout(call),
        Operation::BucketsTestPermissions => buckets::test_permissions(call),
        Operation::ObjectsList => list::list(call).await,
        Operation::ObjectsGet => objects::get(call).await,
        Operation::ObjectsInsert => insert::insert_metadata(call, document).await,
        Operation::ObjectsPatch => objects::change(call, document, objects::Change::Patch).await,
        Operation::ObjectsUpdate => objects::change(call, document, objects::Change::Update).await,
        Operation::ObjectsDelete => objects::delete(call),
        Operation::ObjectsCompose => compose::compose(call, document).await,
        Operation::ObjectsCopy => copy::copy(call, source, document).await,
        Operation::ObjectsRewrite => copy::rewrite(call, source, document).await,
        Operation::ObjectsMove => copy::move_to(call, source).await,
        _ => Err(GcsError::not_found()),
    }
}

/// A bucket that the caller may use. Errors: 404, 403 for somebody else's, 400 where the requester pays and names no project.
fn bucket_named(call: &Call, name: &str) -> Result<Arc<Bucket>, GcsError> {
    if call.is_foreign(name) {
        return Err(GcsError::forbidden(format!(
            "The caller does not have access to the Google Cloud Storage bucket {name}. Permission denied on resource (or it may not exist)."
        )));
    }
    let bucket = call.shared.buckets.get(name)?;
    if is_requester_pays(call, &bucket) && !names_project(call) {
        return Err(GcsError::new(
            400,
            "userProjectMissing",
            "Bucket is a requester pays bucket but no user project provided.",
        ));
    }
    Ok(bucket)
}

fn bucket_of(call: &Call) -> Result<Arc<Bucket>, GcsError> {
    bucket_named(call, &call.target.bucket)
}

fn is_requester_pays(call: &Call, bucket: &Bucket) -> bool {
    bucket.gcs.lock().requester_pays || call.settings.gcs.requester_pays.contains(&bucket.name)
}

fn names_project(call: &Call) -> bool {
    call.target
        .param("userProject")
        .or(call.header("x-goog-user-project"))
        .is_some_and(|name| !name.is_empty())
}

/// What links in answers begin with.
fn endpoint(call: &Call) -> String {
    format!("http://{}", call.header("host").unwrap_or("localhost"))
}

fn json_reply(value: &Value) -> Reply {
    let mut reply = Reply::json(value.to_string());
    reply.set(http::header::CONTENT_TYPE, "application/json; charset=UTF-8");
    reply
}

/// The answer that tells of an object. Errors: those of reading a data file for its checksum.
async fn object_reply(
    call: &Call,
    bucket: &Bucket,
    name: &str,
    object: &crate::object::Object,
) -> Result<Reply, GcsError> {
    let resource = resource::object_resource(&endpoint(call), bucket, name, object).await?;
    let mut reply = json_reply(&resource);
    reply.set(ETAG, &resource::etag(object.gcs.generation, object.gcs.metageneration));
    Ok(reply)
}

fn identified(mut reply: Reply) -> Reply {
    reply.set(HeaderName::from_static("x-guploader-uploadid"), &format!("{:032X}", rand::random::<u128>()));
    reply.headers.insert(SERVER, HeaderValue::from_static("PailDevServer"));
    if reply.status == StatusCode::UNAUTHORIZED || reply.status == StatusCode::FORBIDDEN {
        reply.set(http::header::CACHE_CONTROL, "private, max-age=0");
    }
    reply
}

fn record(route: &Route, headers: &http::HeaderMap) -> RequestRecord {
    let range = headers.get("range").or_else(|| headers.get("content-range"));
    RequestRecord {
        operation: route.operation.name().to_owned(),
        bucket: route.target.bucket.clone(),
        key: route.target.key.clone(),
        range: range.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()),
        query: route.target.query.iter().cloned().collect(),
        round: 0,
    }
}

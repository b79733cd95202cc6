//! Whether a request may be answered.
//!
//! Owns: what is checked before any operation works (signature, region, session, payer), and the headers by which answers tell of it.
//! Source: Amazon S3 User Guide, "Request redirection and the REST API", "Using Requester Pays buckets"; API Reference, "Error
//! responses", HeadBucket.

use crate::bucket::Bucket;
use crate::call::Call;
use crate::credentials::Identity;
use crate::error::S3Error;
use crate::operation::Operation;
use crate::reply::Reply;
use crate::{express, r2};
use http::{HeaderName, StatusCode};
use std::sync::Arc;

/// The region of buckets that have none.
pub(crate) const REGION_DEFAULT: &str = "us-east-1";

const BUCKET_REGION: HeaderName = HeaderName::from_static("x-amz-bucket-region");

/// Errors: those of the signature, `AccessDenied`, and 301 or 400 for a request that is signed for another region.
pub(crate) fn admit(call: &mut Call, operation: Operation) -> Result<(), S3Error> {
    if operation == Operation::IssueToken {
        return Ok(());
    }
    let takes_tokens = call.settings.quirks.ibm;
    call.caller = call.shared.authenticator.check(&call.parts, &call.target, takes_tokens)?;
    check_region(call, operation)?;
    let bucket = &call.target.bucket;
    let in_session = express::needs_session(bucket, operation);
    let allowed = match &call.caller.identity {
        Identity::Owner => !in_session,
        Identity::Session(of) => in_session && of == bucket,
        Identity::Anonymous => {
            operation.is_public_read() && call.bucket().is_ok_and(|bucket| bucket.settings().public)
        }
    };
    if !allowed {
        return Err(S3Error::access_denied());
    }
    match call.bucket() {
        Ok(bucket) if operation != Operation::DeleteBucket => check_payer(call, &bucket),
        _ => Ok(()),
    }
}

/// Errors: `AccessDenied` where the requester pays and does not say so.
pub(crate) fn check_payer(call: &Call, bucket: &Arc<Bucket>) -> Result<(), S3Error> {
    let says = call.header("x-amz-request-payer").or_else(|| call.target.param("x-amz-request-payer"));
    if bucket.settings().requester_pays && says != Some("requester") {
        return Err(S3Error::access_denied());
    }
    Ok(())
}

/// A bucket that is asked by its host name is found where it is, whatever the request is signed for; by its path, the endpoint is that of the
/// signature's region, which sends elsewhere.
fn check_region(call: &Call, operation: Operation) -> Result<(), S3Error> {
    let Some(signed) = call.caller.region.as_deref() else { return Ok(()) };
    let quirks = &call.settings.quirks;
    if quirks.r2 {
        return r2::check_region(signed);
    }
    if quirks.ibm || matches!(operation, Operation::GetBucketLocation | Operation::CreateBucket) {
        return Ok(());
    }
    let bucket = &call.target.bucket;
    let region = call.bucket().ok().and_then(|bucket| bucket.settings().region);
    match region {
        Some(region) if region != signed && call.target.by_host => Err(S3Error::new(
            400,
            "AuthorizationHeaderMalformed",
            format!("The authorization header is malformed; the region '{signed}' is wrong; expecting '{region}'"),
        )
        .with_element("Region", &region)),
        Some(region) if region != signed => Err(S3Error::new(
            301,
            "PermanentRedirect",
            "The bucket you are attempting to access must be addressed using the specified endpoint. Please send all future requests to this endpoint.",
        )
        .with_element("Endpoint", &format!("{bucket}.s3.{region}.amazonaws.com"))
        .with_element("Bucket", bucket)),
        _ => Ok(()),
    }
}

/// Sets the headers that say where the bucket is and who was charged.
pub(crate) fn describe(call: &Call, operation: Operation, reply: &mut Reply) {
    let Ok(bucket) = call.shared.buckets.get(&call.target.bucket) else { return };
    let settings = bucket.settings();
    let tells_region = matches!(
        reply.status,
        StatusCode::MOVED_PERMANENTLY | StatusCode::BAD_REQUEST | StatusCode::FORBIDDEN
    );
    let has_regions = !call.settings.quirks.ibm && !call.settings.quirks.r2;
    let tells_region = operation == Operation::HeadBucket || (tells_region && settings.region.is_some());
    if has_regions && tells_region {
        reply.set(BUCKET_REGION, settings.region.as_deref().unwrap_or(REGION_DEFAULT));
    }
    if settings.requester_pays && reply.status.is_success() {
        reply.set(HeaderName::from_static("x-amz-request-charged"), "requester");
    }
}

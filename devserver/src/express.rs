//! Directory buckets, whose names end in `--x-s3`.
//!
//! Owns: CreateSession, which operations need a session, and what these buckets do not have. Their listings are not ordered: see
//! [`mod@crate::listing`].
//! Source: Amazon S3 User Guide, "Directory buckets" and "Differences for directory buckets"; API Reference, CreateSession.

use crate::call::Call;
use crate::error::S3Error;
use crate::object::iso_date;
use crate::operation::Operation;
use crate::reply::Reply;
use crate::xml::XmlWriter;

/// The class of all objects in them.
pub(crate) const STORAGE_CLASS: &str = "EXPRESS_ONEZONE";

pub(crate) fn is_directory_bucket(name: &str) -> bool {
    name.ends_with("--x-s3")
}

/// Whether a request must be signed with the keys of a session. Buckets are made, looked up and removed with the caller's own, and objects are
/// copied so.
pub(crate) fn needs_session(bucket: &str, operation: Operation) -> bool {
    let with_own_keys = matches!(
        operation,
        Operation::CreateSession
            | Operation::CreateBucket
            | Operation::DeleteBucket
            | Operation::HeadBucket
            | Operation::CopyObject
    );
    is_directory_bucket(bucket) && !with_own_keys
}

/// The error of an operation that these buckets do not have.
pub(crate) fn missing(call: &Call, operation: Operation) -> Option<S3Error> {
    let lacks = match operation {
        Operation::ListObjects
        | Operation::GetBucketVersioning
        | Operation::GetObjectTagging
        | Operation::PutObjectTagging
        | Operation::DeleteObjectTagging
        | Operation::RestoreObject => true,
        _ => call.header("x-amz-tagging").is_some(),
    };
    (lacks && is_directory_bucket(&call.target.bucket)).then(|| {
        S3Error::not_implemented(
            "A header or query you provided implies functionality that is not implemented",
        )
    })
}

/// Errors: `InvalidRequest` for a bucket of another kind.
pub(crate) fn create_session(call: &Call) -> Result<Reply, S3Error> {
    call.bucket()?;
    if !is_directory_bucket(&call.target.bucket) {
        return Err(S3Error::invalid_request("CreateSession is for directory buckets only."));
    }
    let lifetime_s = call.settings.session_lifetime_s;
    let credentials = call.shared.authenticator.credentials();
    let (session, expires) = credentials.open_session(&call.target.bucket, lifetime_s);
    let mut xml = XmlWriter::root("CreateSessionResult");
    xml.open("Credentials");
    xml.leaf("SessionToken", session.session_token.as_deref().unwrap_or_default());
    xml.leaf("SecretAccessKey", &session.secret_key);
    xml.leaf("AccessKeyId", &session.access_key);
    xml.leaf("Expiration", &iso_date(expires));
    xml.close("Credentials");
    Ok(Reply::xml(xml.finish_root("CreateSessionResult")))
}

/// What a listing may ask for. Errors: `InvalidRequest`.
pub(crate) fn check_listing(call: &Call) -> Result<(), S3Error> {
    let param = |name: &str| call.target.param(name).unwrap_or_default();
    let (prefix, delimiter) = (param("prefix"), param("delimiter"));
    if !prefix.is_empty() && !prefix.ends_with('/') {
        return Err(S3Error::invalid_request(
            "This bucket does not support a prefix that does not end in a delimiter. Specify a prefix path ending with a delimiter and try again.",
        ));
    }
    if !delimiter.is_empty() && delimiter != "/" {
        return Err(S3Error::invalid_request("This bucket does not support a delimiter other than \"/\"."));
    }
    if !param("start-after").is_empty() {
        return Err(S3Error::invalid_request("This bucket does not support start-after."));
    }
    Ok(())
}

/// Parts are numbered without gaps, from 1. Errors: `InvalidPartOrder`.
pub(crate) fn check_part_numbers(numbers: impl Iterator<Item = u64>) -> Result<(), S3Error> {
    if numbers.zip(1..).all(|(number, expected)| number == expected) {
        return Ok(());
    }
    Err(S3Error::new(
        400,
        "InvalidPartOrder",
        "The part numbers of an upload to this bucket must be consecutive and begin with 1.",
    ))
}

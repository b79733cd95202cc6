//! The operations on buckets.
//!
//! Owns: ListBuckets, CreateBucket, HeadBucket, DeleteBucket, GetBucketLocation, and the fixed answer of
//! GetBucketVersioning (never enabled), which clients ask for on their way.

use crate::call::Call;
use crate::error::S3Error;
use crate::object::iso_date;
use crate::payload::receive_document;
use crate::reply::Reply;
use crate::xml::XmlWriter;
use http::header::LOCATION;
use http::{HeaderName, StatusCode};

/// The region in answers. Signatures for any region are accepted.
const REGION: &str = "us-east-1";

pub(crate) fn list_buckets(call: &Call) -> Reply {
    let mut xml = XmlWriter::root("ListAllMyBucketsResult");
    xml.open("Owner");
    xml.leaf("ID", "pail");
    xml.leaf("DisplayName", "pail");
    xml.close("Owner");
    xml.open("Buckets");
    for bucket in call.shared.buckets.all() {
        xml.open("Bucket");
        xml.leaf("Name", &bucket.name);
        xml.leaf("CreationDate", &iso_date(bucket.created));
        xml.close("Bucket");
    }
    xml.close("Buckets");
    Reply::xml(xml.finish_root("ListAllMyBucketsResult"))
}

/// Errors: `BucketAlreadyExists` for somebody else's, `BucketAlreadyOwnedByYou`, `InvalidBucketName`.
pub(crate) async fn create_bucket(call: &mut Call) -> Result<Reply, S3Error> {
    // The document names a region, and there is but one.
    receive_document(call).await?;
    if call.is_foreign(&call.target.bucket) {
        return Err(S3Error::new(
            409,
            "BucketAlreadyExists",
            "The requested bucket name is not available. The bucket namespace is shared by all users of the system. Please select a different name and try again.",
        ));
    }
    call.shared.buckets.create(&call.target.bucket)?;
    let mut reply = Reply::ok();
    reply.set(LOCATION, &format!("/{}", call.target.bucket));
    Ok(reply)
}

pub(crate) fn head_bucket(call: &Call) -> Result<Reply, S3Error> {
    call.bucket()?;
    let mut reply = Reply::ok();
    reply.set(HeaderName::from_static("x-amz-bucket-region"), REGION);
    Ok(reply)
}

pub(crate) fn delete_bucket(call: &Call) -> Result<Reply, S3Error> {
    call.bucket()?;
    call.shared.buckets.delete(&call.target.bucket)?;
    Ok(Reply::empty(StatusCode::NO_CONTENT))
}

/// An empty constraint is how the API says us-east-1.
pub(crate) fn get_location(call: &Call) -> Result<Reply, S3Error> {
    call.bucket()?;
    Ok(Reply::xml(XmlWriter::root("LocationConstraint").finish_root("LocationConstraint")))
}

pub(crate) fn get_versioning(call: &Call) -> Result<Reply, S3Error> {
    call.bucket()?;
    Ok(Reply::xml(XmlWriter::root("VersioningConfiguration").finish_root("VersioningConfiguration")))
}

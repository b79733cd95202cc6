//! The operations on buckets.
//!
//! Owns: ListBuckets, CreateBucket, HeadBucket, DeleteBucket, GetBucketLocation, and the fixed answer of
//! GetBucketVersioning (never enabled), which clients ask for on their way.

use crate::access::REGION_DEFAULT;
use crate::call::Call;
use crate::error::S3Error;
use crate::express::is_directory_bucket;
use crate::ibm;
use crate::object::iso_date;
use crate::payload::receive_document;
use crate::reply::Reply;
use crate::xml::{Element, XmlWriter};
use http::StatusCode;
use http::header::LOCATION;

pub(crate) fn list_buckets(call: &Call) -> Result<Reply, S3Error> {
    let ibm = call.settings.quirks.ibm;
    if ibm {
        ibm::check_instance(call)?;
    }
    let prefix = call.target.param("prefix").unwrap_or_default();
    let mut xml = XmlWriter::root("ListAllMyBucketsResult");
    xml.open("Owner");
    xml.leaf("ID", "pail");
    xml.leaf("DisplayName", "pail");
    xml.close("Owner");
    xml.open("Buckets");
    for bucket in call.shared.buckets.all() {
        if !bucket.name.starts_with(prefix) || is_directory_bucket(&bucket.name) {
            continue;
        }
        let region = bucket.settings().region;
        xml.open("Bucket");
        xml.leaf("Name", &bucket.name);
        xml.leaf("CreationDate", &iso_date(bucket.created));
        match region {
            Some(region) if ibm && call.target.has("extended") => xml.leaf("LocationConstraint", &region),
            Some(region) if !ibm => xml.leaf("BucketRegion", &region),
            _ => {}
        }
        xml.close("Bucket");
    }
    xml.close("Buckets");
    Ok(Reply::xml(xml.finish_root("ListAllMyBucketsResult")))
}

/// Errors: `BucketAlreadyExists` for somebody else's, `BucketAlreadyOwnedByYou`, `InvalidBucketName`, `MalformedXML`; on IBM, those of
/// the service instance and of the location.
pub(crate) async fn create_bucket(call: &mut Call) -> Result<Reply, S3Error> {
    let document = receive_document(call).await?;
    let location = if document.is_empty() { None } else { location_in(&Element::parse(&document)?) };
    if call.settings.quirks.ibm {
        ibm::check_instance(call)?;
        location.as_deref().map_or(Ok(()), ibm::check_location)?;
    }
    if call.is_foreign(&call.target.bucket) {
        return Err(S3Error::new(
            409,
            "BucketAlreadyExists",
            "The requested bucket name is not available. The bucket namespace is shared by all users of the system. Please select a different name and try again.",
        ));
    }
    call.shared.buckets.create(&call.target.bucket, location.as_deref())?;
    let mut reply = Reply::ok();
    reply.set(LOCATION, &format!("/{}", call.target.bucket));
    Ok(reply)
}

/// The region that the document asks for, if it does. A directory bucket's zone is no region.
fn location_in(document: &Element) -> Option<String> {
    match document.child_text("LocationConstraint")?.trim() {
        "" => None,
        "EU" => Some("eu-west-1".to_owned()),
        location => Some(location.to_owned()),
    }
}

/// Its region is said by the headers that all answers have.
pub(crate) fn head_bucket(call: &Call) -> Result<Reply, S3Error> {
    call.bucket()?;
    Ok(Reply::ok())
}

pub(crate) fn delete_bucket(call: &Call) -> Result<Reply, S3Error> {
    call.bucket()?;
    call.shared.buckets.delete(&call.target.bucket)?;
    Ok(Reply::empty(StatusCode::NO_CONTENT))
}

/// An empty constraint is how the API says us-east-1.
pub(crate) fn get_location(call: &Call) -> Result<Reply, S3Error> {
    let region = call.bucket()?.settings().region.filter(|region| region != REGION_DEFAULT);
    let mut xml = XmlWriter::root("LocationConstraint");
    xml.text(region.as_deref().unwrap_or_default());
    Ok(Reply::xml(xml.finish_root("LocationConstraint")))
}

pub(crate) fn get_versioning(call: &Call) -> Result<Reply, S3Error> {
    call.bucket()?;
    Ok(Reply::xml(XmlWriter::root("VersioningConfiguration").finish_root("VersioningConfiguration")))
}

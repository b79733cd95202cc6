//! Objects whose storage class keeps them from being read.
//!
//! Owns: the refusal of their bytes, and RestoreObject, after which there is a copy that can be read for some days. On S3 it takes hours until
//! the copy is there; here it is there when the request is answered.
//! Source: Amazon S3 User Guide, "Working with archived objects"; API Reference, RestoreObject.

use crate::call::Call;
use crate::error::S3Error;
use crate::object::{Object, http_date, now};
use crate::payload::receive_document;
use crate::reply::Reply;
use crate::xml::Element;
use http::{HeaderName, StatusCode};
use jiff::{SignedDuration, Timestamp};

/// The longest that a restored copy is kept, in days.
const DAYS_MAX: i64 = 36_500;

const SECONDS_PER_DAY: i64 = 24 * 60 * 60;

/// Errors: `InvalidObjectState` for an archived object of which there is no restored copy.
pub(crate) fn check_readable(object: &Object) -> Result<(), S3Error> {
    if !object.attributes.is_archived() || object.restored_until.is_some_and(|until| until > now()) {
        return Ok(());
    }
    let error =
        S3Error::new(403, "InvalidObjectState", "The operation is not valid for the object's storage class");
    Err(error.with_element("StorageClass", object.attributes.storage_class()))
}

/// Sets the header that says until when there is a restored copy.
pub(crate) fn describe(object: &Object, reply: &mut Reply) {
    if let Some(until) = object.restored_until.filter(|until| *until > now()) {
        let state = format!("ongoing-request=\"false\", expiry-date=\"{}\"", http_date(until));
        reply.set(HeaderName::from_static("x-amz-restore"), &state);
    }
}

/// Answers 202 for the first restoration and 200 for one that only extends it. Errors: `MalformedXML`, `InvalidObjectState` for an
/// object that is not archived.
pub(crate) async fn restore_object(call: &mut Call) -> Result<Reply, S3Error> {
    let bucket = call.bucket()?;
    let root = Element::parse(&receive_document(call).await?)?;
    let days = root.child_text("Days").and_then(|text| text.trim().parse::<i64>().ok());
    let days = days.filter(|days| (1..=DAYS_MAX).contains(days)).ok_or_else(S3Error::malformed_xml)?;
    let until = Timestamp::now()
        .checked_add(SignedDuration::from_secs(days * SECONDS_PER_DAY))
        .map_err(|_| S3Error::malformed_xml())?;
    let mut status = StatusCode::ACCEPTED;
    bucket.amend(&call.target.key, |object| {
        if !object.attributes.is_archived() {
            return Err(S3Error::new(
                403,
                "InvalidObjectState",
                "Restore is not allowed for the object's current storage class",
            ));
        }
        if check_readable(object).is_ok() {
            status = StatusCode::OK;
        }
        object.restored_until = Some(until);
        Ok(())
    })?;
    Ok(Reply::empty(status))
}

//! ListMultipartUploads and ListParts, as far as they tell which uploads of a key are open, and whether one has parts.
//!
//! Source: Amazon S3 API Reference. Uploads are listed by key, so those of the key itself come before those of longer ones with the same
//! beginning: the first page has all that is asked for, but for more than 1,000 of one key.

use super::Pipeline;
use super::{listing, xml};
use crate::contract::{ErrorKind, OpenUpload, RawKey, Result, Upload};
use crate::http::request::ApiRequest;
use http::Method;

/// See [`Store::open_uploads`](crate::Store::open_uploads).
pub(super) async fn open_uploads(pipeline: &Pipeline, key: &RawKey) -> Result<Vec<OpenUpload>> {
    const OPERATION: &str = "ListMultipartUploads";
    let mut request =
        ApiRequest::new(OPERATION, Method::GET).query("uploads", "").query("encoding-type", "url");
    // A directory bucket takes no prefix but a folder's.
    let prefix = match pipeline.service.endpoint().is_directory {
        true => &key.as_str()[..key.as_str().rfind('/').map_or(0, |slash| slash + 1)],
        false => key.as_str(),
    };
    if !prefix.is_empty() {
        request = request.query("prefix", prefix);
    }
    let answer = pipeline.send(&request).await?;
    let listed: xml::UploadsAnswer = xml::parse(&answer.body)
        .map_err(|cause| pipeline.error(OPERATION, Some(key), ErrorKind::Corrupt, cause))?;
    let is_encoded = listing::is_encoded(listed.encoding_type.as_deref());
    // Ceph RGW encodes keys here, as it was asked to, and does not say so. An upload of another key that reads like ours is none that the
    // requests which follow could name.
    let of_key = listed.upload.into_iter().filter(|upload| {
        let is_plain = !is_encoded && upload.key == key.as_str();
        is_plain || listing::decoded(&upload.key).as_deref() == Some(key.as_str())
    });
    let open = of_key.map(|upload| OpenUpload {
        upload: Upload { key: key.clone(), id: upload.upload_id },
        initiated: listing::time_of(&upload.initiated),
    });
    Ok(open.collect())
}

/// See [`Store::has_parts`](crate::Store::has_parts).
pub(super) async fn has_parts(pipeline: &Pipeline, upload: &Upload) -> Result<bool> {
    const OPERATION: &str = "ListParts";
    let request = ApiRequest::on(OPERATION, Method::GET, &upload.key)
        .query("uploadId", upload.id.as_str())
        .query("max-parts", "1");
    let answer = pipeline.send(&request).await?;
    let listed: xml::PartsAnswer = xml::parse(&answer.body)
        .map_err(|cause| pipeline.error(OPERATION, Some(&upload.key), ErrorKind::Corrupt, cause))?;
    Ok(!listed.part.is_empty())
}

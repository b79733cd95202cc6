//! Copies from another bucket of the same endpoint.
//!
//! Owns: [`Neighbour`], an object of such a bucket, and its copy: one CopyObject, which takes metadata, content type and tags along and is not preceded by a
//! look, since the listing told size and version; or parts, where it is larger than one request copies.
//! Storage class and encryption are those of new objects: a class may not be there in the other bucket, and a key not be usable.
//!
//! Source: Amazon S3 API Reference, "CopyObject", "UploadPartCopy".

use super::attributes::add_class_and_encryption;
use super::copying::{COPY_PART_SIZE_BYTES, PART_COPIES_MAX, of_source};
use super::endpoint::encoded_copy_source;
use super::etag::quoted;
use super::open_copy::OpenCopy;
use super::uploads::part_request;
use super::writing::Writer;
use super::xml;
use crate::contract::{
    Attributes, Capabilities, Checksum, Condition, ErrorKind, ObjectMeta, Part, PutOptions, RawKey, Result,
    Store, Upload, Version,
};
use crate::http::request::ApiRequest;
use futures::{StreamExt, TryStreamExt};
use std::ops::Range;

/// An object of another bucket.
pub(super) struct Neighbour<'a> {
    pub store: &'a dyn Store,
    /// The bucket's name, as copy sources have it.
    pub bucket: &'a str,
    pub object: &'a ObjectMeta,
}

impl Writer<'_> {
    /// Copies it, whatever its size.
    pub async fn copy_from(
        &self,
        from: &Neighbour<'_>,
        to: &RawKey,
        condition: &Condition,
    ) -> Result<Version> {
        if from.object.size > Capabilities::full().put_size_bytes_max {
            return self.copy_parts_from(from, to, condition).await;
        }
        let mut request = self.copy_on(condition, to).await?;
        let none = Attributes::default();
        let applied = self.pipeline.options.new_objects.applied(to, &none);
        add_class_and_encryption(self.pipeline, &mut request, to, &applied)?;
        let copied = self.send_copy_from(request, from).await?;
        self.or_by_head(to, Version::from_etag(&copied.etag)).await
    }

    async fn copy_parts_from(
        &self,
        from: &Neighbour<'_>,
        to: &RawKey,
        condition: &Condition,
    ) -> Result<Version> {
        let object = from.object;
        let mut attributes = from.store.attributes(&object.key, &object.version).await?;
        (attributes.storage_class, attributes.encryption) = (None, None);
        self.pipeline.service.dialect.restrict(&mut attributes);
        let options = PutOptions { attributes, condition: condition.clone() };
        let open = OpenCopy::of(self, self.start_upload(to, &options).await?);
        let starts = (0..object.size).step_by(COPY_PART_SIZE_BYTES as usize);
        let copies = starts.zip(1..).map(|(start, number)| {
            let range = start..object.size.min(start + COPY_PART_SIZE_BYTES);
            self.copy_part_from(from, open.upload(), number, range)
        });
        let copied = async {
            let parts: Vec<Part> =
                futures::stream::iter(copies).buffered(PART_COPIES_MAX).try_collect().await?;
            self.complete_upload(open.upload(), &parts, condition).await
        }
        .await;
        open.end(copied).await
    }

    /// Makes a part of a range of it.
    pub async fn copy_part_from(
        &self,
        from: &Neighbour<'_>,
        upload: &Upload,
        number: u32,
        range: Range<u64>,
    ) -> Result<Part> {
        const OPERATION: &str = "UploadPartCopy";
        let bytes = format!("bytes={}-{}", range.start, range.end - 1);
        let request = part_request(OPERATION, upload, number).header("x-amz-copy-source-range", &bytes);
        let copied = self.send_copy_from(request, from).await?;
        let checksum = copied.checksum_crc64nvme.as_deref().and_then(Checksum::crc64_from_base64);
        let etag = Version::from_etag(&copied.etag);
        self.part(upload, OPERATION, number, range.end - range.start, etag, checksum)
    }

    async fn send_copy_from<'k>(
        &self,
        request: ApiRequest<'k>,
        from: &Neighbour<'_>,
    ) -> Result<xml::EtagAnswer> {
        let (key, version) = (&from.object.key, &from.object.version);
        let mut request =
            request.long_running().header("x-amz-copy-source", &encoded_copy_source(from.bucket, key));
        if !version.is_unknown() {
            request = request.header_bytes("x-amz-copy-source-if-match", &quoted(version));
        }
        let sent = self.pipeline.send(&request).await;
        let answer = sent.map_err(|error| of_source(error, key))?;
        let copied: xml::EtagAnswer = self.parsed(&request, &answer.body)?;
        if !self.enforcement.copy_source && !version.is_unknown() {
            let current = from.store.head(key).await.map_err(|error| of_source(error, key))?;
            if current.version != *version {
                let message = "the object has another version now".to_owned();
                let error =
                    self.pipeline.error(request.operation, Some(key), ErrorKind::Precondition, message);
                return Err(of_source(error, key));
            }
        }
        Ok(copied)
    }
}

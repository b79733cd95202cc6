//! Copies on the server.
//!
//! Owns: CopyObject, for what one request can copy, and copies by parts, for what it cannot; and what an edit or a copy has to keep
//! ([`attributes`]).
//!
//! # What a copy keeps
//! All that the source carries. CopyObject takes metadata, content type and the like, and tags from the source by itself, and leaves storage
//! class and encryption to the bucket's defaults where the request does not name them. So the source is always looked at first, by a HEAD:
//! its class and its key are named, and its size decides whether one request can copy it. A copy by parts is a new object to the server, and is
//! given everything anew, tags included.
//!
//! Source: Amazon S3 API Reference, "CopyObject", "UploadPartCopy".

use super::Pipeline;
use super::attributes::add_class_and_encryption;
use super::endpoint::encoded_copy_source;
use super::etag::quoted;
use super::open_copy::OpenCopy;
use super::service::S3Service;
use super::writing::Writer;
use super::xml;
use crate::contract::{
    Attributes, Capabilities, Condition, Error, ErrorKind, ObjectMeta, Part, PutOptions, RawKey, Result,
    Version,
};
use crate::http::reading::Readable;
use crate::http::request::ApiRequest;
use futures::{StreamExt, TryStreamExt};
use http::Method;
use std::collections::BTreeMap;

/// Parts of a copy that are under way at a time.
pub(super) const PART_COPIES_MAX: usize = 16;
/// The size of a copied part: 10,000 of them are more than the largest object, and one takes about a second.
pub(super) const COPY_PART_SIZE_BYTES: u64 = 1024 * 1024 * 1024;

/// All that an edit of `version` has to keep. Errors: `NotFound`, `Precondition`.
pub(super) async fn attributes(pipeline: &Pipeline, key: &RawKey, version: &Version) -> Result<Attributes> {
    let meta = S3Service::head(pipeline, key).await?;
    if !version.is_unknown() && meta.version != *version {
        let message = "the object has another version now".to_owned();
        return Err(pipeline.error("HeadObject", Some(key), ErrorKind::Precondition, message));
    }
    let mut attributes = with_tags(pipeline, &meta).await?;
    // The standard class goes without saying, and would get lost to the one that new objects get.
    if pipeline.options.new_objects.storage_class.is_some() {
        attributes.storage_class.get_or_insert_with(|| "STANDARD".to_owned());
    }
    Ok(attributes)
}

async fn with_tags(pipeline: &Pipeline, meta: &ObjectMeta) -> Result<Attributes> {
    let mut attributes = meta.attributes.as_deref().cloned().unwrap_or_default();
    if attributes.tag_count > 0 {
        attributes.tags = tags(pipeline, &meta.key).await?;
    }
    Ok(attributes)
}

async fn tags(pipeline: &Pipeline, key: &RawKey) -> Result<BTreeMap<String, String>> {
    const OPERATION: &str = "GetObjectTagging";
    let answer = pipeline.send(&ApiRequest::on(OPERATION, Method::GET, key).query("tagging", "")).await?;
    let told: xml::TaggingAnswer = xml::parse(&answer.body)
        .map_err(|cause| pipeline.error(OPERATION, Some(key), ErrorKind::Corrupt, cause))?;
    Ok(told.tag_set.tag.into_iter().map(|tag| (tag.key, tag.value)).collect())
}

impl Writer<'_> {
    /// Copies an object of any size, with all that it carries. Where one request copies it, the condition on the destination is checked by a
    /// HEAD, but on R2.
    pub async fn copy(
        &self,
        from: &RawKey,
        version: &Version,
        to: &RawKey,
        condition: &Condition,
    ) -> Result<Version> {
        let source = self.head(from).await.map_err(|error| of_source(error, from))?;
        if !version.is_unknown() && source.version != *version {
            return Err(self.changed_source("CopyObject", from));
        }
        if source.size > Capabilities::full().put_size_bytes_max {
            return self.copy_by_parts(&source, to, condition).await;
        }
        let mut request = self.copy_on(condition, to).await?;
        let mut attributes = source.attributes.as_deref().cloned().unwrap_or_default();
        self.pipeline.service.dialect.restrict(&mut attributes);
        add_class_and_encryption(self.pipeline, &mut request, to, &attributes)?;
        let copied = self.send_copy(request, from, version).await?;
        self.or_by_head(to, Version::from_etag(&copied.etag)).await
    }

    /// A CopyObject that replaces only what `condition` says.
    pub async fn copy_on<'k>(&self, condition: &Condition, to: &'k RawKey) -> Result<ApiRequest<'k>> {
        let request = ApiRequest::on("CopyObject", Method::PUT, to);
        match condition {
            Condition::IfAbsent if self.enforcement.cloudflare_copy => {
                Ok(request.header("cf-copy-destination-if-none-match", "*"))
            }
            Condition::IfVersion(version) if self.enforcement.cloudflare_copy && !version.is_unknown() => {
                Ok(request.header_bytes("cf-copy-destination-if-match", &quoted(version)))
            }
            _ => self.check_by_head("CopyObject", to, condition).await.map(|()| request),
        }
    }

    /// Copies what one CopyObject cannot, part by part.
    async fn copy_by_parts(
        &self,
        source: &ObjectMeta,
        to: &RawKey,
        condition: &Condition,
    ) -> Result<Version> {
        let options =
            PutOptions { attributes: with_tags(self.pipeline, source).await?, condition: condition.clone() };
        let open = OpenCopy::of(self, self.start_upload(to, &options).await?);
        let starts = (0..source.size).step_by(COPY_PART_SIZE_BYTES as usize);
        let copies = starts.zip(1..).map(|(start, number)| {
            let range = start..source.size.min(start + COPY_PART_SIZE_BYTES);
            self.copy_part(open.upload(), number, &source.key, &source.version, range)
        });
        let copied = async {
            let parts: Vec<Part> =
                futures::stream::iter(copies).buffered(PART_COPIES_MAX).try_collect().await?;
            self.complete_upload(open.upload(), &parts, condition).await
        }
        .await;
        open.end(copied).await
    }

    /// Sends a request whose body is (a part of) `version` of another object; gives what is told of what was made. Where the endpoint
    /// does not enforce the condition on the source, that is looked at afterwards, and was before.
    pub async fn send_copy<'k>(
        &self,
        request: ApiRequest<'k>,
        from: &RawKey,
        version: &Version,
    ) -> Result<xml::EtagAnswer> {
        let request = self.with_source(request.long_running(), from, version);
        let sent = self.pipeline.send(&request).await;
        let answer = sent.map_err(|error| of_source(error, from))?;
        let copied: xml::EtagAnswer = self.parsed(&request, &answer.body)?;
        self.check_source(request.operation, from, version).await?;
        Ok(copied)
    }

    fn with_source<'k>(&self, request: ApiRequest<'k>, from: &RawKey, version: &Version) -> ApiRequest<'k> {
        let request = request.header("x-amz-copy-source", &encoded_copy_source(&self.pipeline.bucket, from));
        match version.is_unknown() {
            true => request,
            false => request.header_bytes("x-amz-copy-source-if-match", &quoted(version)),
        }
    }

    /// Whether the source of a copy still has `version`, where the endpoint does not look.
    pub async fn check_source(
        &self,
        operation: &'static str,
        from: &RawKey,
        version: &Version,
    ) -> Result<()> {
        if self.enforcement.copy_source || version.is_unknown() {
            return Ok(());
        }
        let current = self.head(from).await.map_err(|error| of_source(error, from))?;
        if current.version == *version {
            return Ok(());
        }
        Err(self.changed_source(operation, from))
    }

    fn changed_source(&self, operation: &'static str, from: &RawKey) -> Error {
        let message = "the object has another version now".to_owned();
        of_source(self.pipeline.error(operation, Some(from), ErrorKind::Precondition, message), from)
    }
}

/// Names the source in an error that is about it.
pub(super) fn of_source(mut error: Error, from: &RawKey) -> Error {
    if matches!(error.kind, ErrorKind::NotFound | ErrorKind::Precondition) {
        error.message = format!("{} (copied from {from})", error.message);
    }
    error
}

//! Uploads in one request.
//!
//! Owns: objects.insert with `uploadType=media` and `multipart`, [`Plan`], what an upload is to become, and [`Plan::finish`], which puts it
//! in place; resumable uploads end there, too.
//! Source: Cloud Storage documentation, "Objects: insert" and "Uploads and downloads".

use crate::attributes::Attributes;
use crate::bucket::Bucket;
use crate::call::Call;
use crate::content::Content;
use crate::gcs::attributes::{Editable, GcsAttributes};
use crate::gcs::condition::Preconditions;
use crate::gcs::error::GcsError;
use crate::gcs::receive::{
    Claims, Digested, Digests, OBJECT_LEN_BYTES_MAX, RelatedUpload, Upload, body_len, parse_document,
    receive, sink,
};
use crate::gcs::related::RelatedDecoder;
use crate::gcs::route::{self, Operation};
use crate::gcs::{bucket_of, found_name, object_reply};
use crate::object::Object;
use crate::reply::Reply;
use serde_json::{Map, Value};

/// What an upload is to become.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) name: String,
    pub(crate) claims: Claims,
    editable: Editable,
    conditions: Preconditions,
}

impl Plan {
    /// From the query, the resource, and the content type that counts where the resource has none. Errors: 400 without a name, or for a field
    /// or a parameter of another type.
    pub(crate) fn of(
        call: &Call,
        resource: &Map<String, Value>,
        content_type: Option<&str>,
    ) -> Result<Self, GcsError> {
        let in_query = call.target.param("name").filter(|name| !name.is_empty());
        let in_resource = resource.get("name").and_then(Value::as_str).filter(|name| !name.is_empty());
        let name = in_query.or(in_resource).ok_or_else(|| GcsError::required("name"))?;
        route::check_name(name)?;
        let mut editable = Editable::of_resource(resource)?;
        if let Some(content_type) = content_type {
            editable.headers.entry("content-type").or_insert_with(|| content_type.to_owned());
        }
        if let Some(encoding) = call.target.param("contentEncoding") {
            editable.headers.insert("content-encoding", encoding.to_owned());
        }
        if let Some(key) = call.target.param("kmsKeyName") {
            editable.kms_key_name = Some(key.to_owned());
        }
        let mut claims = Claims::of_headers(&call.parts.headers);
        claims.add_resource(resource);
        Ok(Self { name: name.to_owned(), claims, editable, conditions: Preconditions::of(&call.target)? })
    }

    /// Errors: 412.
    pub(crate) fn check(&self, bucket: &Bucket) -> Result<(), GcsError> {
        self.conditions.check_write(bucket.get(&self.name).ok().as_deref())
    }

    /// Puts the object in place and tells of it. Errors: 400 where the bytes are not those that the client means, 412, those of the folder.
    pub(crate) async fn finish(
        self,
        call: &Call,
        bucket: &Bucket,
        content: Content,
        digested: Digested,
    ) -> Result<Reply, GcsError> {
        self.claims.prove(&digested)?;
        let mut object = new_object(content, digested.etag, self.editable, &Attributes::default());
        object.gcs.md5 = digested.md5;
        object.gcs.crc32c.set(digested.crc32c);
        let object = bucket.insert(&self.name, object, |current| self.conditions.check_write(current))?;
        object_reply(call, bucket, &self.name, &object).await
    }
}

/// An object with these attributes; those of `others` that are no attributes of this API stay.
pub(crate) fn new_object(content: Content, etag: String, editable: Editable, others: &Attributes) -> Object {
    let attributes = GcsAttributes {
        storage_class: editable.storage_class.clone(),
        kms_key_name: editable.kms_key_name.clone(),
        custom_time: editable.custom_time.clone(),
        ..GcsAttributes::default()
    };
    let mut object = Object::new(content, etag, editable.into_attributes(others));
    object.gcs = attributes;
    object
}

/// Whether a client's claims want an MD5.
pub(crate) fn wants_md5(claims: &Claims) -> bool {
    claims.md5.is_some()
}

/// Errors: 400 for what is longer than an object can be.
pub(crate) fn check_len(len: Option<u64>) -> Result<(), GcsError> {
    if len.is_some_and(|len| len > OBJECT_LEN_BYTES_MAX) {
        return Err(GcsError::new(413, "uploadTooLarge", "The object is larger than 5 TiB."));
    }
    Ok(())
}

/// objects.insert by the upload path, in one request.
pub(crate) async fn insert(call: &mut Call) -> Result<Reply, GcsError> {
    match call.target.param("uploadType") {
        Some("multipart") => insert_related(call).await,
        Some("media") => insert_media(call).await,
        // The metadata path, whose body is a resource.
        None if call.parts.uri.path().starts_with("/storage/") => {
            let document = crate::gcs::receive::receive_document(call).await?;
            insert_metadata(call, document).await
        }
        _ => Err(GcsError::invalid("Invalid upload type: uploadType is media, multipart or resumable.")),
    }
}

async fn insert_media(call: &mut Call) -> Result<Reply, GcsError> {
    let bucket = bucket_of(call)?;
    let content_type = call.header("content-type").map(str::to_owned);
    let plan = Plan::of(call, &Map::new(), content_type.as_deref())?;
    let len = body_len(call);
    check_len(len)?;
    let digests = Digests::new(&call.settings, wants_md5(&plan.claims));
    let mut upload = Upload { sink: sink(call, len).await?, digests };
    receive(call, &mut upload).await?;
    let content = upload.sink.finish().await?;
    plan.finish(call, &bucket, content, upload.digests.finish()).await
}

async fn insert_related(call: &mut Call) -> Result<Reply, GcsError> {
    let bucket = bucket_of(call)?;
    let len = body_len(call);
    check_len(len)?;
    let decoder = RelatedDecoder::new(call.header("content-type").unwrap_or_default(), len)?;
    let digests = Digests::new(&call.settings, wants_md5(&Claims::of_headers(&call.parts.headers)));
    let mut related = RelatedUpload::new(decoder, Upload { sink: sink(call, len).await?, digests });
    receive(call, &mut related).await?;
    let (head, upload) = related.finish().await?;
    let resource = parse_document(&head.document)?.unwrap_or_default();
    let plan = Plan::of(call, &resource, head.content_type.as_deref())?;
    found_name(call, Operation::ObjectsInsert, &plan.name)?;
    let content = upload.sink.finish().await?;
    plan.finish(call, &bucket, content, upload.digests.finish()).await
}

/// objects.insert of an object without bytes. Errors: 400 without a resource.
pub(crate) async fn insert_metadata(
    call: &Call,
    document: Option<Map<String, Value>>,
) -> Result<Reply, GcsError> {
    let bucket = bucket_of(call)?;
    let resource = document.ok_or_else(|| GcsError::required("name"))?;
    let plan = Plan::of(call, &resource, None)?;
    let digests = Digests::new(&call.settings, true);
    plan.finish(call, &bucket, Content::default(), digests.finish()).await
}

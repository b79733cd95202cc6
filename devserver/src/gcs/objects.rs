//! The operations on one object.
//!
//! Owns: objects.get (the resource, and `alt=media` with ranges), objects.patch and objects.update, objects.delete.
//! Source: Cloud Storage documentation, the pages of those names.

use crate::bucket::Bucket;
use crate::call::Call;
use crate::condition::names;
use crate::gcs::attributes::Editable;
use crate::gcs::condition::{Preconditions, number};
use crate::gcs::error::GcsError;
use crate::gcs::insert::new_object;
use crate::gcs::{bucket_of, object_reply, resource};
use crate::object::Object;
use crate::object_ops::parse_range;
use crate::reply::Reply;
use http::StatusCode;
use http::header::CONTENT_RANGE;
use serde_json::{Map, Value};
use std::sync::Arc;

/// Whether a change of metadata leaves what it does not name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    Patch,
    Update,
}

/// The live object, if it is of the generation that the request asks for. Errors: 404.
pub(crate) fn live(bucket: &Bucket, name: &str, generation: Option<u64>) -> Result<Arc<Object>, GcsError> {
    bucket
        .get(name)
        .ok()
        .filter(|object| generation.is_none_or(|wanted| wanted == object.gcs.generation))
        .ok_or_else(|| GcsError::no_such_object(&bucket.name, name))
}

pub(crate) async fn get(call: &Call) -> Result<Reply, GcsError> {
    let bucket = bucket_of(call)?;
    let name = &call.target.key;
    let object = live(&bucket, name, number(&call.target, "generation")?)?;
    Preconditions::of(&call.target)?.check_read(&object)?;
    check_tag(call, &object)?;
    match call.target.param("alt") {
        Some("media") => media(call, &bucket, &object).await,
        None | Some("json") => object_reply(call, &bucket, name, &object).await,
        Some(_) => Err(GcsError::new(400, "invalidAltValue", "alt is json or media.")),
    }
}

/// Conditions by tag, as HTTP has them. Errors: 412, 304.
fn check_tag(call: &Call, object: &Object) -> Result<(), GcsError> {
    let tag = resource::etag(object.gcs.generation, object.gcs.metageneration);
    if call.header("if-match").is_some_and(|tags| !names(tags, &tag)) {
        return Err(GcsError::condition_not_met());
    }
    if call.header("if-none-match").is_some_and(|tags| names(tags, &tag)) {
        return Err(GcsError::not_modified());
    }
    Ok(())
}

async fn media(call: &Call, bucket: &Bucket, object: &Object) -> Result<Reply, GcsError> {
    let len = object.content.len();
    let range = call.header("range").map(|text| parse_range(text, len)).transpose()?.flatten();
    let mut reply = Reply::ok();
    resource::describe(object, bucket, &mut reply).await?;
    if let Some(range) = range {
        reply.status = StatusCode::PARTIAL_CONTENT;
        reply.set(CONTENT_RANGE, &format!("bytes {}-{}/{len}", range.start, range.end - 1));
        reply.body = object.content.slice(range);
    } else {
        reply.body = object.content.clone();
    }
    Ok(reply)
}

/// objects.patch and objects.update: the generation stays, the metageneration rises. Errors: 404, 412, 400 for a field of another type.
pub(crate) async fn change(
    call: &Call,
    document: Option<Map<String, Value>>,
    change: Change,
) -> Result<Reply, GcsError> {
    let bucket = bucket_of(call)?;
    let name = &call.target.key;
    let conditions = Preconditions::of(&call.target)?;
    let generation = number(&call.target, "generation")?;
    let resource = document.unwrap_or_default();
    let object = bucket.replace(name, |current| {
        let current = current
            .filter(|object| generation.is_none_or(|wanted| wanted == object.gcs.generation))
            .ok_or_else(|| GcsError::no_such_object(&bucket.name, name))?;
        conditions.check_write(Some(current))?;
        changed(current, &resource, change)
    })?;
    object_reply(call, &bucket, name, &object).await
}

fn changed(current: &Object, resource: &Map<String, Value>, change: Change) -> Result<Object, GcsError> {
    let before = Editable::of(&current.attributes, &current.gcs);
    let mut editable = match change {
        Change::Patch => before.clone(),
        Change::Update => Editable::default(),
    };
    editable.merge(resource)?;
    // Both are changed by a rewrite alone.
    editable.storage_class = before.storage_class;
    editable.kms_key_name = before.kms_key_name;
    let custom_time = editable.custom_time.clone();
    let mut object = new_object(current.content.clone(), current.etag.clone(), editable, &current.attributes);
    object.checksum = current.checksum.clone();
    object.part_lens = current.part_lens.clone();
    object.gcs = current.gcs.clone();
    object.gcs.metageneration += 1;
    object.gcs.custom_time = custom_time;
    Ok(object)
}

/// Errors: 404 for what is not there, 412.
pub(crate) fn delete(call: &Call) -> Result<Reply, GcsError> {
    let bucket = bucket_of(call)?;
    let name = &call.target.key;
    let conditions = Preconditions::of_change(call)?;
    let generation = number(&call.target, "generation")?;
    bucket.remove(name, |current| {
        let current = current
            .filter(|object| generation.is_none_or(|wanted| wanted == object.gcs.generation))
            .ok_or_else(|| GcsError::no_such_object(&bucket.name, name))?;
        conditions.check_write(Some(current))
    })?;
    Ok(Reply::empty(StatusCode::NO_CONTENT))
}

//! Objects made of others.
//!
//! Owns: objects.compose. No byte is moved: the new object shares the segments of its components, and its CRC32C is computed from
//! theirs.
//! Source: Cloud Storage documentation, "Objects: compose" and "Composite objects".

use crate::attributes::Attributes;
use crate::call::Call;
use crate::checksum::multipart_etag;
use crate::config::Settings;
use crate::content::Content;
use crate::gcs::attributes::Editable;
use crate::gcs::condition::Preconditions;
use crate::gcs::error::GcsError;
use crate::gcs::insert::new_object;
use crate::gcs::objects::live;
use crate::gcs::{bucket_of, object_reply, resource};
use crate::object::Object;
use crate::reply::Reply;
use crc_fast::{CrcAlgorithm, checksum_combine};
use serde_json::{Map, Value};
use std::sync::Arc;

/// The most components of one request.
const COMPONENTS_LEN_MAX: usize = 32;

/// A component as the request names it.
struct Component<'a> {
    name: &'a str,
    generation: Option<u64>,
    conditions: Preconditions,
}

impl<'a> Component<'a> {
    fn of(value: &'a Value) -> Result<Self, GcsError> {
        let name = value.get("name").and_then(Value::as_str).filter(|name| !name.is_empty());
        let condition = value.get("objectPreconditions").and_then(|all| all.get("ifGenerationMatch"));
        Ok(Self {
            name: name.ok_or_else(|| GcsError::required("sourceObjects.name"))?,
            generation: int64(value.get("generation"), "sourceObjects.generation")?,
            conditions: Preconditions::of_generation(int64(condition, "sourceObjects.objectPreconditions")?),
        })
    }
}

/// An int64 of the API is a string in JSON, but a number is taken as well. Errors: 400.
fn int64(value: Option<&Value>, what: &str) -> Result<Option<u64>, GcsError> {
    let invalid = || GcsError::invalid(format!("Invalid value for: {what}"));
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => text.parse().map(Some).map_err(|_| invalid()),
        Some(value) => value.as_u64().map(Some).ok_or_else(invalid),
    }
}

/// Errors: 400 for none or more than 32 components, 404 where one is not there, 412.
pub(crate) async fn compose(call: &Call, document: Option<Map<String, Value>>) -> Result<Reply, GcsError> {
    let bucket = bucket_of(call)?;
    let name = &call.target.key;
    let document = document.ok_or_else(|| GcsError::required("sourceObjects"))?;
    let named = document.get("sourceObjects").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    if named.is_empty() {
        return Err(GcsError::new(400, "required", "You must provide at least one source component."));
    }
    if named.len() > COMPONENTS_LEN_MAX {
        return Err(GcsError::invalid(format!(
            "The number of source components provided ({}) exceeds the maximum ({COMPONENTS_LEN_MAX}).",
            named.len()
        )));
    }
    let mut sources = Vec::with_capacity(named.len());
    for value in named {
        let component = Component::of(value)?;
        let source = live(&bucket, component.name, component.generation)?;
        component.conditions.check_read(&source)?;
        sources.push(source);
    }
    let mut editable = match document.get("destination").and_then(Value::as_object) {
        Some(destination) => Editable::of_resource(destination)?,
        None => Editable::default(),
    };
    if let Some(key) = call.target.param("kmsKeyName") {
        editable.kms_key_name = Some(key.to_owned());
    }
    let object = composed(&sources, editable, &call.settings).await?;
    let conditions = Preconditions::of_change(call)?;
    let object = bucket.insert(name, object, |current| conditions.check_write(current))?;
    if document.get("deleteSourceObjects").and_then(Value::as_bool) == Some(true) {
        for (value, source) in named.iter().zip(&sources) {
            let component = Component::of(value)?;
            let is_source = |current: Option<&Object>| {
                let is_same = current.is_some_and(|current| current.gcs.generation == source.gcs.generation);
                if is_same { Ok(()) } else { Err(GcsError::not_found()) }
            };
            // One that was replaced meanwhile is not the source any more.
            let _ = bucket.remove(component.name, is_source);
        }
    }
    object_reply(call, &bucket, name, &object).await
}

async fn composed(
    sources: &[Arc<Object>],
    editable: Editable,
    settings: &Settings,
) -> Result<Object, GcsError> {
    let mut content = Content::default();
    let mut crc32c: Option<u32> = None;
    let mut count = 0;
    for source in sources {
        let next = resource::object_crc32c(source).await?;
        let len = source.content.len();
        crc32c = Some(match crc32c {
            None => next,
            Some(before) => {
                let combined = checksum_combine(CrcAlgorithm::Crc32Iscsi, before.into(), next.into(), len);
                combined as u32
            }
        });
        content.append(&source.content);
        count += source.gcs.component_count.unwrap_or(1);
    }
    let etag = multipart_etag(sources.iter().map(|source| source.etag.as_str()), settings);
    let mut object = new_object(content, etag, editable, &Attributes::default());
    object.gcs.component_count = Some(count);
    if let Some(crc32c) = crc32c {
        object.gcs.crc32c.set(crc32c);
    }
    Ok(object)
}

//! Objects under other names.
//!
//! Owns: objects.copy, objects.rewrite with [`Rewrites`], those in progress, and objects.move. No byte is moved.
//! Source: Cloud Storage documentation, the pages of those names.

use crate::call::Call;
use crate::gcs::attributes::Editable;
use crate::gcs::condition::{Preconditions, number};
use crate::gcs::error::GcsError;
use crate::gcs::insert::new_object;
use crate::gcs::objects::live;
use crate::gcs::{bucket_named, bucket_of, endpoint, json_reply, object_reply, resource};
use crate::object::Object;
use crate::reply::Reply;
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// `maxBytesRewrittenPerCall` is a multiple of this, in bytes.
const REWRITE_UNIT_BYTES: u64 = 1 << 20;

/// How many rewrites are remembered; the service forgets them after a week.
const REWRITES_LEN_MAX: usize = 1000;

/// The rewrites in progress.
#[derive(Debug, Default)]
pub(crate) struct Rewrites {
    /// Guards which there are. A leaf.
    by_token: Mutex<ByToken>,
}

#[derive(Debug, Default)]
struct ByToken {
    rewrites: HashMap<String, Rewrite>,
    in_order: VecDeque<String>,
}

/// One rewrite in progress: what it is of, and how far.
#[derive(Debug)]
struct Rewrite {
    source: (String, String),
    generation: u64,
    target: (String, String),
    rewritten: u64,
}

impl Rewrites {
    fn add(&self, rewrite: Rewrite) -> String {
        let token = hex::encode(rand::random::<[u8; 32]>());
        let mut by_token = self.by_token.lock();
        while by_token.rewrites.len() >= REWRITES_LEN_MAX
            && let Some(oldest) = by_token.in_order.pop_front()
        {
            by_token.rewrites.remove(&oldest);
        }
        by_token.in_order.push_back(token.clone());
        by_token.rewrites.insert(token.clone(), rewrite);
        token
    }

    /// How many bytes of a rewrite are done. A token lasts, so that a call whose answer was lost can be made again. Errors: 400 for a token of
    /// another rewrite, or of none.
    fn find(
        &self,
        token: &str,
        source: &(String, String),
        target: &(String, String),
    ) -> Result<(u64, u64), GcsError> {
        let by_token = self.by_token.lock();
        let rewrite = by_token.rewrites.get(token);
        let rewrite = rewrite.filter(|rewrite| rewrite.source == *source && rewrite.target == *target);
        let rewrite = rewrite.ok_or_else(|| GcsError::invalid("Invalid rewrite token."))?;
        Ok((rewrite.generation, rewrite.rewritten))
    }
}

/// The source that the request names, if its conditions hold. Errors: 404, 412.
fn source_of(call: &Call, source: &(String, String)) -> Result<Arc<Object>, GcsError> {
    let bucket = bucket_named(call, &source.0)?;
    let object = live(&bucket, &source.1, number(&call.target, "sourceGeneration")?)?;
    // A source that has not changed is 412 here, as no copy is made.
    Preconditions::of_source(call)?.check_write(Some(&object))?;
    Ok(object)
}

/// The copy of an object: with the attributes that the request gives, or else with the source's but for its storage class, which is the
/// bucket's.
fn copied(call: &Call, source: &Object, document: Option<&Map<String, Value>>) -> Result<Object, GcsError> {
    let given = document.map(Editable::of_resource).transpose()?.filter(|given| !given.is_empty());
    let mut editable = given.unwrap_or_else(|| {
        let mut kept = Editable::of(&source.attributes, &source.gcs);
        (kept.storage_class, kept.kms_key_name) = (None, None);
        kept
    });
    if let Some(key) = call.target.param("destinationKmsKeyName") {
        editable.kms_key_name = Some(key.to_owned());
    }
    let mut object = new_object(source.content.clone(), source.etag.clone(), editable, &source.attributes);
    object.checksum = source.checksum.clone();
    object.part_lens = source.part_lens.clone();
    object.gcs.crc32c = source.gcs.crc32c.clone();
    object.gcs.md5 = source.gcs.md5.clone();
    object.gcs.component_count = source.gcs.component_count;
    Ok(object)
}

fn source_name(source: Option<(String, String)>) -> Result<(String, String), GcsError> {
    source.ok_or_else(GcsError::not_found)
}

/// Errors: 404, 412.
pub(crate) async fn copy(
    call: &Call,
    source: Option<(String, String)>,
    document: Option<Map<String, Value>>,
) -> Result<Reply, GcsError> {
    let bucket = bucket_of(call)?;
    let object = source_of(call, &source_name(source)?)?;
    let copy = copied(call, &object, document.as_ref())?;
    let conditions = Preconditions::of_change(call)?;
    let copy = bucket.insert(&call.target.key, copy, |current| conditions.check_write(current))?;
    object_reply(call, &bucket, &call.target.key, &copy).await
}

/// One call of a rewrite. Errors: 404, 412 (also where the source has changed since the first call), 400 for a token of another rewrite.
pub(crate) async fn rewrite(
    call: &Call,
    source: Option<(String, String)>,
    document: Option<Map<String, Value>>,
) -> Result<Reply, GcsError> {
    let bucket = bucket_of(call)?;
    let source = source_name(source)?;
    let object = source_of(call, &source)?;
    let conditions = Preconditions::of_change(call)?;
    let target = (call.target.bucket.clone(), call.target.key.clone());
    let len = object.content.len();
    let mut rewritten = 0;
    if let Some(token) = call.target.param("rewriteToken").filter(|token| !token.is_empty()) {
        let (generation, done) = call.shared.gcs.rewrites.find(token, &source, &target)?;
        if generation != object.gcs.generation {
            return Err(GcsError::condition_not_met());
        }
        rewritten = done;
    }
    rewritten += per_call(call)?.unwrap_or(len).min(len - rewritten);
    if rewritten < len {
        conditions.check_write(bucket.get(&target.1).ok().as_deref())?;
        let generation = object.gcs.generation;
        let token = call.shared.gcs.rewrites.add(Rewrite { source, generation, target, rewritten });
        return Ok(json_reply(&json!({
            "kind": "storage#rewriteResponse",
            "totalBytesRewritten": rewritten.to_string(),
            "objectSize": len.to_string(),
            "done": false,
            "rewriteToken": token,
        })));
    }
    let copy = copied(call, &object, document.as_ref())?;
    let copy = bucket.insert(&target.1, copy, |current| conditions.check_write(current))?;
    let resource = resource::object_resource(&endpoint(call), &bucket, &target.1, &copy).await?;
    Ok(json_reply(&json!({
        "kind": "storage#rewriteResponse",
        "totalBytesRewritten": len.to_string(),
        "objectSize": len.to_string(),
        "done": true,
        "resource": resource,
    })))
}

/// The most bytes of this call. Errors: 400 for what is no multiple of 1 MiB.
fn per_call(call: &Call) -> Result<Option<u64>, GcsError> {
    let asked = number(&call.target, "maxBytesRewrittenPerCall")?;
    if asked.is_some_and(|asked| asked == 0 || asked % REWRITE_UNIT_BYTES != 0) {
        return Err(GcsError::invalid("maxBytesRewrittenPerCall is a multiple of 1048576."));
    }
    let set = Some(call.settings.gcs.rewrite_bytes_per_call_max).filter(|max| *max > 0);
    Ok(asked.into_iter().chain(set).min())
}

/// At one moment. Errors: 404, 412, 400 for a move onto itself.
pub(crate) async fn move_to(call: &Call, source: Option<(String, String)>) -> Result<Reply, GcsError> {
    let bucket = bucket_of(call)?;
    let (_, from) = source_name(source)?;
    let to = &call.target.key;
    if from == *to {
        return Err(GcsError::invalid("The source and destination object names must be different."));
    }
    let of_source = Preconditions::of_source(call)?;
    let conditions = Preconditions::of_change(call)?;
    let moved = bucket.relocate(&from, to, |source, target| {
        let source = source.ok_or_else(|| GcsError::no_such_object(&bucket.name, &from))?;
        of_source.check_write(Some(source))?;
        conditions.check_write(target)?;
        let editable = Editable::of(&source.attributes, &source.gcs);
        let mut object =
            new_object(source.content.clone(), source.etag.clone(), editable, &source.attributes);
        object.checksum = source.checksum.clone();
        object.part_lens = source.part_lens.clone();
        object.gcs = source.gcs.clone();
        (object.gcs.generation, object.gcs.metageneration) = (0, 1);
        Ok::<Object, GcsError>(object)
    })?;
    object_reply(call, &bucket, to, &moved).await
}

//! What the credentials may do.
//!
//! Owns: [`may_write`], which asks without writing. Source: Cloud Storage JSON API, "Buckets: testIamPermissions".

use super::Pipeline;
use super::enforcement::{BOGUS_GENERATION, Enforcement};
use crate::contract::{Error, ErrorKind, Result};
use crate::http::remembered::Memory;
use crate::http::request::ApiRequest;
use bytes::Bytes;
use http::Method;
use serde::Deserialize;
use std::sync::Arc;

/// The right to write a new object.
const CREATE: &str = "storage.objects.create";
/// What an answer calls itself; an emulator may answer anything with 200.
const ANSWER: &str = "storage#testIamPermissionsResponse";

#[derive(Deserialize)]
struct Answer {
    kind: String,
    #[serde(default)]
    permissions: Vec<String>,
}

/// Whether the credentials may write below the probe prefix; `None` where the endpoint knows no such question. Errors: it was not reached.
pub(super) async fn may_write(
    pipeline: &Arc<Pipeline>,
    memory: &Memory<Enforcement>,
) -> Result<Option<bool>> {
    let request = ApiRequest::new("TestPermissions", Method::GET)
        .path(format!("{}/iam/testPermissions", pipeline.service.endpoint.bucket_path()))
        .query("permissions", CREATE);
    let answer = match pipeline.send(&request).await {
        Ok(answer) => serde_json::from_slice::<Answer>(&answer.body).ok(),
        Err(error) if error.kind == ErrorKind::Unreachable => return Err(error),
        Err(_) => None,
    };
    match answer.filter(|answer| answer.kind == ANSWER) {
        None => Ok(None),
        Some(answer) if answer.permissions.iter().any(|permission| permission == CREATE) => Ok(Some(true)),
        // What is asked of is the bucket as a whole; a condition of its policy, or a managed folder, may give the right to a prefix alone.
        Some(_) if pipeline.options.probe_prefix.is_empty() => Ok(Some(false)),
        Some(_) => may_write_below(pipeline, memory).await,
    }
}

/// The same by a write whose condition never holds, where it is known that the endpoint minds it.
async fn may_write_below(pipeline: &Arc<Pipeline>, memory: &Memory<Enforcement>) -> Result<Option<bool>> {
    if !memory.known().is_some_and(|known| known.insert) {
        return Ok(None);
    }
    let name = format!("{}.pail-probe-{:016x}", pipeline.options.probe_prefix, rand::random::<u64>());
    let request = ApiRequest::new("PutObject", Method::POST)
        .path(pipeline.service.endpoint.upload_path())
        .query("uploadType", "media")
        .query("name", name)
        .query("ifGenerationMatch", BOGUS_GENERATION)
        .header("content-type", "text/plain")
        .payload(Bytes::from_static(b"pail probe").into());
    match pipeline.send(&request).await {
        Err(Error { kind: ErrorKind::Denied, .. }) => Ok(Some(false)),
        Err(error) if error.kind == ErrorKind::Unreachable => Err(error),
        Err(Error { kind: ErrorKind::Precondition, .. }) => Ok(Some(true)),
        _ => Ok(None),
    }
}

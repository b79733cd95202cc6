//! What a store of the library does where its backend has no better way.
//!
//! Owns: the defaults of [`Backend`]. Conditions that the library has no word for are checked by a HEAD just before.

use super::backend::Backend;
use super::call::{AnswerHead, Call};
use super::failure::{error, of_library};
use super::meta::{attributes_of, library_attributes, meta_of, version_of};
use crate::contract::*;
use bytes::Bytes;
use object_store::multipart::PartId;
use object_store::path::Path;
use object_store::{CopyMode, CopyOptions, ObjectStoreExt, PutMultipartOptions, PutPayload};
use std::sync::Arc;

/// That there is no such operation.
pub(crate) fn unsupported(
    bucket: &str,
    operation: &'static str,
    key: Option<&RawKey>,
    message: &str,
) -> Error {
    error(bucket, operation, key, ErrorKind::Unsupported, message)
}

/// Calls the library. Returns what it says, and the head of the answer where its backend tells it.
pub(crate) async fn run<T>(
    bucket: &str,
    call: Call,
    work: impl Future<Output = object_store::Result<T>>,
) -> Result<(T, AnswerHead)> {
    let call = Arc::new(call);
    match call.run(work).await {
        Ok(value) => Ok((value, call.take_answer())),
        Err(cause) => {
            let (operation, key) = (call.operation, Some(&call.key));
            Err(call.take_error().unwrap_or_else(|| of_library(bucket, operation, key, &cause)))
        }
    }
}

/// See [`Store::head`].
pub(crate) async fn head<B: Backend + ?Sized>(backend: &B, key: &RawKey, path: &Path) -> Result<ObjectMeta> {
    let options = object_store::GetOptions { head: true, ..Default::default() };
    let call = Call::new("HeadObject", key);
    let (got, head) = run(backend.bucket(), call, backend.objects().get_opts(path, options)).await?;
    let mut attributes = attributes_of(&got.attributes, &head.metadata_names);
    backend.add_attributes(&head.headers, &mut attributes);
    Ok(ObjectMeta { md5: backend.md5(&head.headers), ..meta_of(key, &got.meta, Some(attributes)) })
}

/// Checks a condition by a HEAD. Errors: `Precondition`, and those of the HEAD.
pub(super) async fn check<B: Backend + ?Sized>(
    backend: &B,
    operation: &'static str,
    (key, path): (&RawKey, &Path),
    condition: &Condition,
) -> Result<()> {
    if *condition == Condition::None {
        return Ok(());
    }
    let current = match head(backend, key, path).await {
        Ok(meta) => Some(meta.version),
        Err(error) if error.kind == ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    let (holds, message) = match (condition, &current) {
        (Condition::None, _) | (Condition::IfAbsent, None) => (true, ""),
        (Condition::IfVersion(wanted), Some(current)) => {
            (wanted.is(current), "the object has another version now")
        }
        (Condition::IfAbsent, Some(_)) => (false, "the object is there"),
        (Condition::IfVersion(_), None) => (false, "the object is gone"),
    };
    match holds {
        true => Ok(()),
        false => Err(error(backend.bucket(), operation, Some(key), ErrorKind::Precondition, message)),
    }
}

pub(super) async fn delete<B: Backend + ?Sized>(
    backend: &B,
    key: &RawKey,
    path: &Path,
    condition: &Condition,
) -> Result<()> {
    check(backend, "DeleteObject", (key, path), condition).await?;
    let call = Call::new("DeleteObject", key);
    run(backend.bucket(), call, backend.objects().delete(path)).await.map(drop)
}

/// Looks at the source's version before and after.
pub(super) async fn copy<B: Backend + ?Sized>(
    backend: &B,
    from: (&RawKey, &Path),
    version: &Version,
    to: (&RawKey, &Path),
    condition: &Condition,
) -> Result<Version> {
    const OPERATION: &str = "CopyObject";
    let of_source = match version.is_unknown() {
        true => Condition::None,
        false => Condition::IfVersion(version.clone()),
    };
    check(backend, OPERATION, from, &of_source).await?;
    let mode = match condition {
        Condition::IfAbsent => CopyMode::Create,
        Condition::None => CopyMode::Overwrite,
        Condition::IfVersion(_) => {
            check(backend, OPERATION, to, condition).await?;
            CopyMode::Overwrite
        }
    };
    let copying = backend.objects().copy_opts(from.1, to.1, CopyOptions { mode, ..Default::default() });
    run(backend.bucket(), Call::new(OPERATION, to.0), copying).await?;
    check(backend, OPERATION, from, &of_source).await?;
    Ok(head(backend, to.0, to.1).await?.version)
}

pub(super) async fn start_upload<B: Backend + ?Sized>(
    backend: &B,
    key: &RawKey,
    path: &Path,
    options: &PutOptions,
) -> Result<String> {
    const OPERATION: &str = "CreateMultipartUpload";
    let attributes = library_attributes(&options.attributes)
        .map_err(|why| unsupported(backend.bucket(), OPERATION, Some(key), &why))?;
    let options = PutMultipartOptions { attributes, ..Default::default() };
    let beginning = backend.uploads().create_multipart_opts(path, options);
    Ok(run(backend.bucket(), Call::new(OPERATION, key), beginning).await?.0)
}

pub(super) async fn complete_upload<B: Backend + ?Sized>(
    backend: &B,
    upload: &Upload,
    path: &Path,
    parts: &[Part],
    options: &PutOptions,
) -> Result<Version> {
    const OPERATION: &str = "CompleteMultipartUpload";
    check(backend, OPERATION, (&upload.key, path), &options.condition).await?;
    let completing = backend.uploads().complete_multipart(path, &upload.id, part_ids(parts));
    let (completed, _) = run(backend.bucket(), Call::new(OPERATION, &upload.key), completing).await?;
    Ok(version_of(completed.e_tag.as_deref()))
}

pub(super) async fn put_part<B: Backend + ?Sized>(
    backend: &B,
    upload: &Upload,
    path: &Path,
    number: u32,
    payload: Payload,
) -> Result<Part> {
    let (size, mut call) = (payload.len(), Call::new("UploadPart", &upload.key));
    let payload = payload_of(backend, &mut call, payload).await?;
    let index = number.saturating_sub(1) as usize;
    let sending = backend.uploads().put_part(path, &upload.id, index, payload);
    let (part, _) = run(backend.bucket(), call, sending).await?;
    Ok(Part { number, etag: part_etag(&part.content_id), size, checksum: None })
}

/// How much of a source is read at a time.
const SOURCE_READ_BYTES: u64 = 1024 * 1024;

/// A payload for the library: nothing where the backend takes it from the call.
pub(super) async fn payload_of<B: Backend + ?Sized>(
    backend: &B,
    call: &mut Call,
    payload: Payload,
) -> Result<PutPayload> {
    match payload {
        payload if backend.reads_payloads() => {
            call.payload = Some(payload);
            Ok(PutPayload::default())
        }
        Payload::Bytes(bytes) => Ok(bytes.into()),
        Payload::Source { len, source } => {
            let mut pieces: Vec<Bytes> = Vec::new();
            for start in (0..len).step_by(SOURCE_READ_BYTES as usize) {
                let end = len.min(start + SOURCE_READ_BYTES);
                let piece = source.read(start..end).await;
                let is_whole = piece.as_ref().is_ok_and(|piece| piece.len() as u64 == end - start);
                let why = piece.as_ref().map_or_else(ToString::to_string, |_| "it is shorter".to_owned());
                match piece {
                    Ok(piece) if is_whole => pieces.push(piece),
                    _ => {
                        let message = format!("what is to be uploaded cannot be read: {why}");
                        let (operation, key) = (call.operation, Some(&call.key));
                        return Err(error(backend.bucket(), operation, key, ErrorKind::Source, message));
                    }
                }
            }
            Ok(pieces.into_iter().collect())
        }
    }
}

/// What a part's ETag begins with: a store's name for a part is none, and may look like one.
const PART: &str = "part:";

/// A store's name for a part, as this crate keeps it.
pub(crate) fn part_etag(name: &str) -> String {
    format!("{PART}{name}")
}

/// The store's name for a part.
pub(crate) fn part_name(part: &Part) -> &str {
    part.etag.strip_prefix(PART).unwrap_or(&part.etag)
}

/// Parts in the library's terms.
fn part_ids(parts: &[Part]) -> Vec<PartId> {
    parts.iter().map(|part| PartId { content_id: part_name(part).to_owned() }).collect()
}

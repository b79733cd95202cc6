//! Uploads as blocks.
//!
//! Owns: [`Blocks`]: the blocks of an upload, the list that makes a blob of them, and the look whether a blob is made of them.
//!
//! An upload is blocks that nobody has committed. Azure gives it no name, does not list it, and frees its blocks after a week, or when another
//! write of the key is committed; an abort costs no request. All blocks of a blob that are not committed have names of one length: while
//! another client's lie there, ours get theirs. (Azure, "Put Block", "Put Block List", "Get Block List".)
//!
//! Invariant: no two blocks of ours have the same name, whoever else sends some to the same key: names are random, all but their number.

use super::{Azure, Pipeline, metadata_case, xml};
use crate::adapter::library::{part_etag, part_name};
use crate::adapter::meta::{library_attributes, library_tags, version_of};
use crate::contract::*;
use crate::http::request::ApiRequest;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderName, HeaderValue, Method, header};
use object_store::Attribute;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// How long a block's name is before it is encoded, where nobody else's lie there.
const NAME_LEN_BYTES: usize = 32;
const NAME_LEN_BYTES_MAX: usize = 64;
/// A part's number, and so much that is random that another client will not hit upon it.
const NAME_LEN_BYTES_MIN: usize = 6;
/// How many uploads are remembered whose blocks have other names; the oldest are forgotten, and find it out again.
const UPLOADS_MAX: usize = 64;
/// How long a look is waited for after a completion that nothing was heard of.
const LOOK_TIME_MAX: Duration = Duration::from_secs(5);

/// The uploads of a container.
pub(super) struct Blocks {
    pipeline: Arc<Pipeline>,
    /// How long the names of an upload's blocks are in bytes, where not [`NAME_LEN_BYTES`]. A leaf.
    name_lens: Mutex<VecDeque<(Upload, usize)>>,
}

impl Blocks {
    pub fn new(pipeline: Arc<Pipeline>) -> Self {
        Self { pipeline, name_lens: Mutex::default() }
    }

    /// See [`Store::put_part`].
    pub async fn put(&self, upload: &Upload, number: u32, payload: Payload) -> Result<Part> {
        let known = self.name_lens.lock().iter().find(|(known, _)| known == upload).map(|(_, len)| *len);
        match self.send(upload, number, &payload, known.unwrap_or(NAME_LEN_BYTES)).await {
            Err(refused) if is_of_length(&refused) => {
                let len = self.len_of_others(upload, refused).await?;
                {
                    let mut lens = self.name_lens.lock();
                    lens.retain(|(known, _)| known != upload);
                    if lens.len() == UPLOADS_MAX {
                        lens.pop_front();
                    }
                    lens.push_back((upload.clone(), len));
                }
                self.send(upload, number, &payload, len).await
            }
            sent => sent,
        }
    }

    async fn send(&self, upload: &Upload, number: u32, payload: &Payload, name_len: usize) -> Result<Part> {
        let name = new_name(number, name_len);
        let request = ApiRequest::on("UploadPart", Method::PUT, &upload.key)
            .query("comp", "block")
            .query("blockid", name.as_str())
            .payload(payload.clone());
        self.pipeline.send(&request).await?;
        Ok(Part { number, etag: part_etag(&name), size: payload.len(), checksum: None })
    }

    /// The length that the names of blocks must have to be taken beside those of another client. Errors: too short for ours, or the look's.
    async fn len_of_others(&self, upload: &Upload, refused: Error) -> Result<usize> {
        let request = ApiRequest::on("ListParts", Method::GET, &upload.key)
            .query("comp", "blocklist")
            .query("blocklisttype", "uncommitted");
        let answer = match self.pipeline.send(&request).await {
            Ok(answer) => answer,
            // They are gone by now.
            Err(error) if error.kind == ErrorKind::NotFound => return Ok(NAME_LEN_BYTES),
            Err(error) => return Err(error),
        };
        let uncommitted = match xml::blocks(&answer.body) {
            Ok(listed) => listed.uncommitted,
            Err(why) => return Err(Error { message: format!("{}; {why}", refused.message), ..refused }),
        };
        let Some(name) = uncommitted.first() else { return Ok(NAME_LEN_BYTES) };
        match STANDARD.decode(name).map(|name| name.len()) {
            Ok(len) if (NAME_LEN_BYTES_MIN..=NAME_LEN_BYTES_MAX).contains(&len) => Ok(len),
            _ => Err(Error {
                message: format!(
                    "another client has begun to write the blob, in blocks whose names are so short ({name}) that ours cannot be told from them; \
                     they go once it commits them, after a week, or when the blob is deleted"
                ),
                ..refused
            }),
        }
    }

    /// See [`Store::complete_upload`].
    pub async fn commit(&self, upload: &Upload, parts: &[Part], options: &PutOptions) -> Result<Version> {
        const OPERATION: &str = "CompleteMultipartUpload";
        let unsupported =
            |why: String| self.pipeline.error(OPERATION, Some(&upload.key), ErrorKind::Unsupported, why);
        let names = parts.iter().map(|part| format!("<Uncommitted>{}</Uncommitted>", part_name(part)));
        let list = format!(
            "<?xml version=\"1.0\" encoding=\"utf-8\"?><BlockList>{}</BlockList>",
            names.collect::<String>()
        );
        let mut request = ApiRequest::on(OPERATION, Method::PUT, &upload.key)
            .query("comp", "blocklist")
            .payload(Payload::Bytes(list.into()))
            .long_running();
        let attributes = library_attributes(&options.attributes).map_err(unsupported)?;
        for (attribute, value) in &attributes {
            let name = match attribute {
                Attribute::CacheControl => "x-ms-blob-cache-control".to_owned(),
                Attribute::ContentDisposition => "x-ms-blob-content-disposition".to_owned(),
                Attribute::ContentEncoding => "x-ms-blob-content-encoding".to_owned(),
                Attribute::ContentLanguage => "x-ms-blob-content-language".to_owned(),
                Attribute::ContentType => "x-ms-blob-content-type".to_owned(),
                Attribute::StorageClass => "x-ms-access-tier".to_owned(),
                Attribute::Metadata(name) => format!("x-ms-meta-{name}"),
                _ => continue,
            };
            if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_str(value)) {
                request.headers.insert(name, value);
            }
        }
        request.extensions = metadata_case(options.attributes.metadata.keys()).await;
        if let Some((name, value)) =
            Azure::conditions(&self.pipeline, OPERATION, &upload.key, &options.condition)?
        {
            request = request.header(name, &value);
        }
        let tags = library_tags(&options.attributes);
        if !tags.encoded().is_empty() {
            request = request.header("x-ms-tags", tags.encoded());
        }
        match self.pipeline.send(&request).await {
            Ok(answer) => {
                Ok(version_of(answer.headers.get(header::ETAG).and_then(|etag| etag.to_str().ok())))
            }
            Err(refused) if refused.maybe_applied => self.own_earlier_commit(upload, parts, refused).await,
            Err(refused) => Err(refused),
        }
    }

    /// A completion was refused, or nothing was heard of it, after an attempt whose outcome is unknown: the version, if it was that one.
    async fn own_earlier_commit(&self, upload: &Upload, parts: &[Part], refused: Error) -> Result<Version> {
        match tokio::time::timeout(LOOK_TIME_MAX, self.find_made_of(&upload.key, parts)).await {
            Ok(Ok(Found::Made(version))) => Ok(version),
            // What nothing was heard of may be done yet.
            Ok(Ok(Found::Other(_)))
                if !matches!(refused.kind, ErrorKind::Unreachable | ErrorKind::Exhausted) =>
            {
                Err(Error { maybe_applied: false, ..refused })
            }
            _ => Err(refused),
        }
    }

    /// See [`Store::find_made_of`]. The names of blocks are of our own making and nobody else's, so this tells for certain, which no version or
    /// checksum does here.
    pub async fn find_made_of(&self, key: &RawKey, parts: &[Part]) -> Result<Found> {
        const OPERATION: &str = "ListParts";
        let request = ApiRequest::on(OPERATION, Method::GET, key)
            .query("comp", "blocklist")
            .query("blocklisttype", "committed");
        let answer = match self.pipeline.send(&request).await {
            Ok(answer) => answer,
            // It is made of no blocks.
            Err(error) if error.kind == ErrorKind::Uneditable => return Ok(Found::Other(Version::Unknown)),
            Err(error) => return Err(error),
        };
        let listed = xml::blocks(&answer.body)
            .map_err(|why| self.pipeline.error(OPERATION, Some(key), ErrorKind::Corrupt, why))?;
        let etag = answer.headers.get(header::ETAG).and_then(|etag| etag.to_str().ok());
        match etag {
            // A blob of which nothing was committed yet.
            None => {
                Err(self.pipeline.error(OPERATION, Some(key), ErrorKind::NotFound, "no such object".into()))
            }
            Some(etag) if listed.committed.iter().map(String::as_str).eq(parts.iter().map(part_name)) => {
                Ok(Found::Made(version_of(Some(etag))))
            }
            Some(etag) => Ok(Found::Other(version_of(Some(etag)))),
        }
    }
}

/// Whether a block was refused because of blocks of another client's, whose names are of another length.
fn is_of_length(refused: &Error) -> bool {
    refused.status == Some(400)
        && matches!(refused.code.as_deref(), Some("InvalidBlobOrBlock" | "InvalidBlockId"))
}

/// A name for a block that no other has.
fn new_name(number: u32, len: usize) -> String {
    let mut name: [u8; NAME_LEN_BYTES_MAX] = rand::random();
    // Numbers end at 10,000, or 50,000.
    name[..2].copy_from_slice(&(number as u16).to_be_bytes());
    STANDARD.encode(&name[..len])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_blocks_have_the_length_that_is_asked_for_and_differ() {
        for len in [NAME_LEN_BYTES_MIN, NAME_LEN_BYTES, NAME_LEN_BYTES_MAX] {
            let (one, other) = (new_name(1, len), new_name(1, len));
            assert_ne!(one, other);
            assert_eq!(STANDARD.decode(one).unwrap().len(), len);
        }
    }
}

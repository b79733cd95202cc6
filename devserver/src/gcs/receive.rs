//! Receiving the body of a request.
//!
//! Owns: [`Digests`], the running hashes of a body; [`Claims`], what a client says of the bytes; [`receive`], which takes an upload
//! in at the connection's bandwidth, and [`receive_document`], which takes a JSON document.
//!
//! Invariant: bytes go to the sink as the slices they arrived in.

use crate::call::Call;
use crate::checksum::{Algorithm, ChecksumHasher, EtagHasher};
use crate::config::Settings;
use crate::content::Content;
use crate::counters::Counted;
use crate::fault::FaultAction;
use crate::gcs::error::GcsError;
use crate::gcs::related::{Head, RelatedDecoder};
use crate::gcs::resource::crc32c_text;
use crate::sink::Sink;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http::HeaderMap;
use http_body_util::BodyExt;
use md5::Md5;
use serde_json::{Map, Value};
use sha2::Digest;

/// The most bytes of an object: 5 TiB. Source: "Quotas and limits", "Objects".
pub(crate) const OBJECT_LEN_BYTES_MAX: u64 = 5 << 40;

/// The longest JSON document of a request, in bytes.
const DOCUMENT_LEN_BYTES_MAX: usize = 1 << 20;

/// The running hashes of a body: the ETag of the S3 API, CRC32C, and MD5 where it is wanted.
pub(crate) struct Digests {
    etag: EtagHasher,
    crc32c: ChecksumHasher,
    md5: Option<Md5>,
}

/// What the hashes came to.
pub(crate) struct Digested {
    pub(crate) etag: String,
    pub(crate) crc32c: u32,
    /// Base64.
    pub(crate) md5: Option<String>,
}

impl Digests {
    pub(crate) fn new(settings: &Settings, md5: bool) -> Self {
        Self {
            etag: EtagHasher::new(settings),
            crc32c: ChecksumHasher::new(Algorithm::Crc32c),
            md5: (md5 && !settings.md5_etags).then(Md5::default),
        }
    }

    /// Whether an MD5 is computed.
    pub(crate) fn has_md5(&self) -> bool {
        self.md5.is_some() || self.etag.is_md5()
    }

    /// Call before the first bytes.
    fn add_md5(&mut self) {
        if self.md5.is_none() && !self.etag.is_md5() {
            self.md5 = Some(Md5::default());
        }
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.etag.update(bytes);
        self.crc32c.update(bytes);
        if let Some(md5) = &mut self.md5 {
            Digest::update(md5, bytes);
        }
    }

    pub(crate) fn finish(self) -> Digested {
        let md5_etag = self.etag.is_md5();
        let etag = self.etag.finish();
        let of_etag = md5_etag.then(|| hex::decode(&etag).map(|bytes| BASE64.encode(bytes)).ok()).flatten();
        let md5 = self.md5.map(|md5| BASE64.encode(md5.finalize())).or(of_etag);
        Digested { etag, crc32c: self.crc32c.finish_u32(), md5 }
    }

    /// Of bytes that are here already. Errors: those of reading a data file.
    pub(crate) async fn of(content: &Content, settings: &Settings, md5: bool) -> std::io::Result<Self> {
        let mut digests = Self::new(settings, md5);
        for segment in content.segments() {
            let mut segment = segment.clone();
            while segment.len > 0 {
                let bytes = segment.read_front(crate::content::FRAME_BYTES_MAX).await?;
                digests.update(&bytes);
                segment.advance(bytes.len() as u64);
                tokio::task::consume_budget().await;
            }
        }
        Ok(digests)
    }
}

/// What a client says of the bytes of an object, in base64.
#[derive(Debug, Default, Clone)]
pub(crate) struct Claims {
    pub(crate) crc32c: Option<String>,
    pub(crate) md5: Option<String>,
}

impl Claims {
    /// From `x-goog-hash` and `Content-MD5`.
    pub(crate) fn of_headers(headers: &HeaderMap) -> Self {
        let mut claims = Self::default();
        let md5 = headers.get("content-md5").and_then(|value| value.to_str().ok());
        claims.md5 = md5.map(|md5| md5.trim().to_owned());
        for value in headers.get_all("x-goog-hash").iter().filter_map(|value| value.to_str().ok()) {
            for one in value.split(',').map(str::trim) {
                match one.split_once('=') {
                    Some(("crc32c", value)) => claims.crc32c = Some(value.to_owned()),
                    Some(("md5", value)) => claims.md5 = Some(value.to_owned()),
                    _ => {}
                }
            }
        }
        claims
    }

    /// Adds what a resource says.
    pub(crate) fn add_resource(&mut self, resource: &Map<String, Value>) {
        let text = |field: &str| resource.get(field).and_then(Value::as_str).map(str::to_owned);
        self.crc32c = text("crc32c").or(self.crc32c.take());
        self.md5 = text("md5Hash").or(self.md5.take());
    }

    /// Adds what another set says.
    pub(crate) fn add(&mut self, other: Self) {
        self.crc32c = other.crc32c.or(self.crc32c.take());
        self.md5 = other.md5.or(self.md5.take());
    }

    /// Errors: 400 where the bytes are others.
    pub(crate) fn prove(&self, digested: &Digested) -> Result<(), GcsError> {
        let computed = crc32c_text(digested.crc32c);
        let wrong = |what: &str, claimed: &str, computed: &str| {
            GcsError::invalid(format!(
                "Provided {what} \"{claimed}\" doesn't match calculated {what} \"{computed}\"."
            ))
        };
        if let Some(claimed) = self.crc32c.as_deref().filter(|claimed| *claimed != computed) {
            return Err(wrong("CRC32C", claimed, &computed));
        }
        if let (Some(claimed), Some(computed)) = (&self.md5, &digested.md5)
            && claimed != computed
        {
            return Err(wrong("MD5 hash", claimed, computed));
        }
        Ok(())
    }
}

/// A sink for `len` bytes, in the server's folder if it has one. Errors: those of creating a file.
pub(crate) async fn sink(call: &Call, len: Option<u64>) -> std::io::Result<Sink> {
    match call.shared.buckets.folder() {
        Some(folder) if len != Some(0) => Sink::file(folder.new_data_file()).await,
        _ => Ok(Sink::memory(len.unwrap_or(0))),
    }
}

/// The announced length of the body, in bytes.
pub(crate) fn body_len(call: &Call) -> Option<u64> {
    call.header("content-length")?.parse().ok()
}

/// Where received bytes go.
pub(crate) trait Receiver {
    /// Takes the next bytes. Errors: those of the sink, and what is wrong with the bytes.
    async fn take(&mut self, bytes: Bytes) -> Result<(), GcsError>;
}

/// Takes the body of an upload in, frame by frame. Errors: 503 where it breaks off (what came until then was taken), those of `receiver`.
pub(crate) async fn receive(call: &mut Call, receiver: &mut impl Receiver) -> Result<(), GcsError> {
    let announced = body_len(call);
    let mut body = call.take_body()?;
    let cut_after = match call.fault {
        Some(FaultAction::CutRequest { after_bytes }) => Some(after_bytes),
        _ => None,
    };
    let mut received = 0u64;
    while let Some(frame) = body.frame().await {
        let Ok(mut data) = frame.map_err(|_| GcsError::broken_upload())?.into_data() else { continue };
        call.link.received.pass(data.len(), call.settings.bandwidth_bytes_per_s).await;
        let is_cut = cut_after.is_some_and(|after| received + data.len() as u64 >= after);
        if let Some(after) = cut_after.filter(|_| is_cut) {
            data.truncate(after.saturating_sub(received) as usize);
        }
        received += data.len() as u64;
        call.open.count(Counted::Received, data.len() as u64);
        receiver.take(data).await?;
        if is_cut {
            call.link.reset_when_closed();
            return Err(GcsError::broken_upload());
        }
    }
    if announced.is_some_and(|len| len != received) {
        return Err(GcsError::broken_upload());
    }
    Ok(())
}

/// Bytes of an object on their way to a sink.
pub(crate) struct Upload {
    pub(crate) sink: Sink,
    pub(crate) digests: Digests,
}

impl Receiver for Upload {
    async fn take(&mut self, bytes: Bytes) -> Result<(), GcsError> {
        self.digests.update(&bytes);
        Ok(self.sink.write(bytes).await?)
    }
}

/// A `multipart/related` body on its way to a sink.
pub(crate) struct RelatedUpload {
    decoder: RelatedDecoder,
    upload: Upload,
    /// Whether the resource was looked at for a claim that wants an MD5.
    is_begun: bool,
}

impl RelatedUpload {
    pub(crate) fn new(decoder: RelatedDecoder, upload: Upload) -> Self {
        Self { decoder, upload, is_begun: false }
    }

    /// What stood before the bytes, and the bytes. Errors: 400 where a part or the last boundary is missing.
    pub(crate) async fn finish(mut self) -> Result<(Head, Upload), GcsError> {
        let (head, last) = self.decoder.finish()?;
        if !last.is_empty() {
            self.upload.take(last).await?;
        }
        Ok((head, self.upload))
    }
}

impl Receiver for RelatedUpload {
    async fn take(&mut self, bytes: Bytes) -> Result<(), GcsError> {
        self.decoder.push(bytes)?;
        if !self.is_begun && self.decoder.document().is_some() {
            self.is_begun = true;
            if self.decoder.document().is_some_and(claims_md5) {
                self.upload.digests.add_md5();
            }
        }
        while let Some(data) = self.decoder.next() {
            self.upload.take(data).await?;
        }
        Ok(())
    }
}

/// Whether a resource says what the MD5 of the bytes is.
fn claims_md5(document: &[u8]) -> bool {
    document.windows(9).any(|window| window == b"\"md5Hash\"")
}

/// Takes a JSON document in; an absent body is an empty one. Errors: 400 when it is too long or is no JSON object, 503 when it breaks off.
pub(crate) async fn receive_document(call: &mut Call) -> Result<Option<Map<String, Value>>, GcsError> {
    let bytes = receive_bytes(call, DOCUMENT_LEN_BYTES_MAX).await?;
    parse_document(&bytes)
}

/// Takes a small body in. Errors: 413 when it is too long, 503 when it breaks off.
pub(crate) async fn receive_bytes(call: &mut Call, len_max: usize) -> Result<Vec<u8>, GcsError> {
    let mut document = Document { bytes: Vec::new(), len_max };
    receive(call, &mut document).await?;
    Ok(document.bytes)
}

struct Document {
    bytes: Vec<u8>,
    len_max: usize,
}

impl Receiver for Document {
    async fn take(&mut self, bytes: Bytes) -> Result<(), GcsError> {
        if self.bytes.len() + bytes.len() > self.len_max {
            return Err(GcsError::new(413, "uploadTooLarge", "The request's document is too large."));
        }
        self.bytes.extend_from_slice(&bytes);
        Ok(())
    }
}

/// Errors: 400 for what is no JSON object.
pub(crate) fn parse_document(bytes: &[u8]) -> Result<Option<Map<String, Value>>, GcsError> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Ok(None);
    }
    serde_json::from_slice(bytes)
        .map(Some)
        .map_err(|error| GcsError::new(400, "parseError", format!("Parse Error: {error}")))
}

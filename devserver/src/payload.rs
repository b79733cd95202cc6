//! Receiving the body of a request.
//!
//! Owns: [`Claims`], what the head says of the body, and [`receive`], which takes the body in, at the connection's
//! bandwidth, and proves the claims. Beside hashes that were claimed, the ETag and one checksum are computed.

use crate::aws_chunked::ChunkedDecoder;
use crate::call::Call;
use crate::checksum::{Algorithm, Checksum, ChecksumHasher, EtagHasher, bad_digest};
use crate::config::Quirks;
use crate::content::Content;
use crate::counters::Counted;
use crate::error::S3Error;
use crate::fault::FaultAction;
use crate::sink::Sink;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http::HeaderMap;
use http_body_util::BodyExt;
use md5::Md5;
use sha2::{Digest, Sha256};

/// The most bytes of one PutObject or UploadPart: 5 GiB.
const PUT_LEN_BYTES_MAX: u64 = 5 << 30;

/// The most bytes of a request document; 10,000 parts with checksums take about 2 MiB.
const DOCUMENT_LEN_BYTES_MAX: u64 = 8 << 20;

/// What a request's head says of its body.
#[derive(Debug)]
struct Claims {
    /// Hexadecimal.
    sha256: Option<String>,
    /// Base64.
    md5: Option<String>,
    checksum: Option<(Algorithm, String)>,
    /// Framed as aws-chunked.
    chunked: bool,
    trailer: Option<Algorithm>,
    /// Without framing, in bytes.
    len: Option<u64>,
}

impl Claims {
    /// Errors: those of [`receive`] that the head alone is enough for.
    fn of(headers: &HeaderMap, quirks: &Quirks) -> Result<Self, S3Error> {
        let claims = Self::all_of(headers)?;
        if quirks.no_checksums { Ok(Self { checksum: None, trailer: None, ..claims }) } else { Ok(claims) }
    }

    fn all_of(headers: &HeaderMap) -> Result<Self, S3Error> {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let payload = text("x-amz-content-sha256").unwrap_or("UNSIGNED-PAYLOAD");
        let chunked = payload.starts_with("STREAMING-");
        let signed = !chunked && payload != "UNSIGNED-PAYLOAD";
        if signed && (payload.len() != 64 || hex::decode(payload).is_err()) {
            return Err(S3Error::invalid_argument(
                "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-UNSIGNED-PAYLOAD-TRAILER, STREAMING-AWS4-HMAC-SHA256-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER, or a valid sha256 value.",
            ));
        }
        let md5 = text("content-md5").map(str::to_owned);
        if md5.as_deref().is_some_and(|md5| BASE64.decode(md5).map_or(0, |bytes| bytes.len()) != 16) {
            return Err(S3Error::new(400, "InvalidDigest", "The Content-MD5 you specified was invalid."));
        }
        let trailer = text("x-amz-trailer").and_then(Algorithm::by_header);
        let mut sent = Algorithm::ALL
            .into_iter()
            .filter_map(|algorithm| Some((algorithm, text(algorithm.header())?.to_owned())));
        let checksum = sent.next();
        if sent.next().is_some() {
            return Err(S3Error::invalid_request(
                "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.",
            ));
        }
        if let Some((algorithm, value)) = &checksum
            && !algorithm.takes(value)
        {
            let header = algorithm.header();
            return Err(S3Error::invalid_request(format!("Value for {header} header is invalid.")));
        }
        if text("x-amz-sdk-checksum-algorithm").is_some() && checksum.is_none() && trailer.is_none() {
            return Err(S3Error::invalid_request(
                "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or x-amz-trailer headers were found.",
            ));
        }
        let len_header = if chunked { "x-amz-decoded-content-length" } else { "content-length" };
        Ok(Self {
            sha256: signed.then(|| payload.to_ascii_lowercase()),
            md5,
            checksum,
            chunked,
            trailer,
            len: text(len_header).and_then(|len| len.parse().ok()),
        })
    }
}

/// A body that was received and proved.
pub(crate) struct Received {
    pub(crate) content: Content,
    pub(crate) etag: String,
    /// By the client's algorithm, and what it sent then, or else by the one that was asked for.
    pub(crate) checksum: Option<Checksum>,
    /// Whether the client sent it.
    pub(crate) checksum_sent: bool,
}

/// The running hashes of a body.
struct Hashes {
    etag: EtagHasher,
    md5: Option<Md5>,
    sha256: Option<Sha256>,
    checksum: Option<ChecksumHasher>,
}

impl Hashes {
    fn update(&mut self, bytes: &[u8]) {
        self.etag.update(bytes);
        if let Some(md5) = &mut self.md5 {
            Digest::update(md5, bytes);
        }
        if let Some(sha256) = &mut self.sha256 {
            Digest::update(sha256, bytes);
        }
        if let Some(checksum) = &mut self.checksum {
            checksum.update(bytes);
        }
    }

    /// Errors: `BadDigest`, `XAmzContentSHA256Mismatch`.
    fn prove(
        self,
        claims: &Claims,
        trailers: &[(String, String)],
    ) -> Result<(String, Option<Checksum>), S3Error> {
        if let (Some(hasher), Some(claimed)) = (self.sha256, &claims.sha256)
            && hex::encode(hasher.finalize()) != *claimed
        {
            return Err(S3Error::new(
                400,
                "XAmzContentSHA256Mismatch",
                "The provided 'x-amz-content-sha256' header does not match what was computed.",
            ));
        }
        if let (Some(hasher), Some(claimed)) = (self.md5, &claims.md5)
            && BASE64.encode(hasher.finalize()) != *claimed
        {
            return Err(bad_digest("Content-MD5"));
        }
        let mut checksum = None;
        if let Some(hasher) = self.checksum {
            let computed = hasher.finish();
            let header = computed.algorithm.header();
            let in_trailer = trailers.iter().find(|(name, _)| name == header).map(|(_, value)| value);
            match claims.checksum.as_ref().map(|(_, value)| value).or(in_trailer) {
                Some(claimed) if *claimed != computed.value => return Err(bad_digest(header)),
                None if claims.trailer.is_some() => {
                    return Err(S3Error::new(
                        400,
                        "MalformedTrailerError",
                        "The announced trailer is missing.",
                    ));
                }
                _ => checksum = Some(computed),
            }
        }
        Ok((self.etag.finish(), checksum))
    }
}

/// The algorithm of the checksum that a request brings. Errors: those of what its head says of its body.
pub(crate) fn algorithm_sent(call: &Call) -> Result<Option<Algorithm>, S3Error> {
    let claims = Claims::of(&call.parts.headers, &call.settings.quirks)?;
    Ok(claims.checksum.map(|(algorithm, _)| algorithm).or(claims.trailer))
}

/// Takes the body of an object or a part in; where the client sends no checksum, one by `algorithm` is computed. Errors: `MissingContentLength`, `EntityTooLarge`, `IncompleteBody`, `BadDigest`
/// and its kin.
pub(crate) async fn receive(call: &mut Call, algorithm: Algorithm) -> Result<Received, S3Error> {
    let claims = Claims::of(&call.parts.headers, &call.settings.quirks)?;
    let len = claims.len.ok_or_else(|| {
        S3Error::new(411, "MissingContentLength", "You must provide the Content-Length HTTP header.")
    })?;
    if len > PUT_LEN_BYTES_MAX {
        return Err(S3Error::new(
            400,
            "EntityTooLarge",
            "Your proposed upload exceeds the maximum allowed size",
        ));
    }
    let sink = match call.shared.buckets.folder() {
        Some(folder) if len > 0 => Sink::file(folder.new_data_file()).await?,
        _ => Sink::memory(len),
    };
    receive_into(call, &claims, Some(algorithm), sink, len).await
}

/// Takes a request document in. Errors: `MalformedXML` when it is too long, `IncompleteBody`, `BadDigest` and its kin.
pub(crate) async fn receive_document(call: &mut Call) -> Result<Bytes, S3Error> {
    let mut claims = Claims::of(&call.parts.headers, &call.settings.quirks)?;
    if call.target.has("uploadId") {
        // What completes an upload speaks of the object.
        claims.checksum = None;
    }
    let received = receive_into(call, &claims, None, Sink::memory(0), DOCUMENT_LEN_BYTES_MAX).await?;
    let mut document = Vec::with_capacity(received.content.len() as usize);
    for segment in received.content.segments() {
        document.extend_from_slice(&segment.read_front(segment.len).await?);
    }
    Ok(document.into())
}

async fn receive_into(
    call: &mut Call,
    claims: &Claims,
    algorithm: Option<Algorithm>,
    mut sink: Sink,
    len_max: u64,
) -> Result<Received, S3Error> {
    let mut body = call.take_body()?;
    let sent = claims.checksum.as_ref().map(|(algorithm, _)| *algorithm).or(claims.trailer);
    let mut hashes = Hashes {
        etag: EtagHasher::new(&call.settings),
        md5: claims.md5.as_ref().map(|_| Md5::default()),
        sha256: claims.sha256.as_ref().map(|_| Sha256::default()),
        checksum: sent.or(algorithm).map(ChecksumHasher::new),
    };
    let mut decoder = claims.chunked.then(ChunkedDecoder::new);
    let cut_after = match call.fault {
        Some(FaultAction::CutRequest { after_bytes }) => Some(after_bytes),
        _ => None,
    };
    let mut received = 0u64;
    while let Some(frame) = body.frame().await {
        let Ok(mut frame) = frame.map_err(|_| incomplete())?.into_data() else { continue };
        call.link.received.pass(frame.len(), call.settings.bandwidth_bytes_per_s).await;
        loop {
            let data = match &mut decoder {
                Some(decoder) => decoder.next(&mut frame)?,
                None => (!frame.is_empty()).then(|| std::mem::take(&mut frame)),
            };
            let Some(data) = data else { break };
            received += data.len() as u64;
            if received > len_max {
                return Err(incomplete());
            }
            call.open.count(Counted::Received, data.len() as u64);
            hashes.update(&data);
            sink.write(data).await?;
        }
        if cut_after.is_some_and(|after| received >= after) {
            call.link.reset_when_closed();
            return Err(incomplete());
        }
    }
    if claims.len.is_some_and(|len| len != received) {
        return Err(incomplete());
    }
    let trailers = decoder.map(ChunkedDecoder::finish).transpose()?.unwrap_or_default();
    let (etag, checksum) = hashes.prove(claims, &trailers)?;
    Ok(Received { content: sink.finish().await?, etag, checksum, checksum_sent: sent.is_some() })
}

fn incomplete() -> S3Error {
    S3Error::new(
        400,
        "IncompleteBody",
        "You did not provide the number of bytes specified by the Content-Length HTTP header",
    )
}

/// Whether a document that must carry a hash (DeleteObjects) does. Errors: `InvalidRequest`.
pub(crate) fn require_hash(headers: &HeaderMap) -> Result<(), S3Error> {
    let has_checksum = Algorithm::ALL.iter().any(|algorithm| headers.contains_key(algorithm.header()));
    if has_checksum || headers.contains_key("content-md5") || headers.contains_key("x-amz-trailer") {
        return Ok(());
    }
    Err(S3Error::invalid_request("Missing required header for this request: Content-MD5"))
}

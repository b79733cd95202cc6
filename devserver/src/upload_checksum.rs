//! The checksum of an upload in parts.
//!
//! Owns: [`UploadChecksum`], which says by what algorithm the parts are hashed and what the object's checksum is of, and the rules by which
//! parts and the completion must agree with it.
//! Source: Amazon S3 User Guide, "Checking object integrity for data uploads", its tables of types and algorithms.

use crate::call::Call;
use crate::checksum::{Algorithm, Checksum, ChecksumType, bad_digest};
use crate::error::S3Error;
use crate::object_ops::CHECKSUM_DEFAULT;
use crate::reply::Reply;
use http::{HeaderMap, HeaderName};

/// As it was settled when the upload began.
#[derive(Debug, Clone, Copy)]
pub(crate) struct UploadChecksum {
    pub(crate) algorithm: Algorithm,
    pub(crate) of: ChecksumType,
    /// Whether the client asked for it.
    asked: bool,
}

impl UploadChecksum {
    /// What the headers of CreateMultipartUpload ask for. Errors: `InvalidRequest` for what does not go together.
    pub(crate) fn of(call: &Call) -> Result<Self, S3Error> {
        let text = |name: &str| call.header(name).filter(|_| !call.settings.quirks.no_checksums);
        let of = type_named(text("x-amz-checksum-type"))?;
        let Some(name) = text("x-amz-checksum-algorithm") else {
            return match of {
                Some(_) => Err(S3Error::invalid_request(
                    "The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header.",
                )),
                None => Ok(Self { algorithm: CHECKSUM_DEFAULT, of: ChecksumType::FullObject, asked: false }),
            };
        };
        let algorithm = Algorithm::by_name(name)?;
        let only = match algorithm {
            Algorithm::Crc64Nvme => Some(ChecksumType::FullObject),
            Algorithm::Sha1 | Algorithm::Sha256 => Some(ChecksumType::Composite),
            Algorithm::Crc32 | Algorithm::Crc32c => None,
        };
        match (of, only) {
            (Some(of), Some(only)) if of != only => Err(S3Error::invalid_request(format!(
                "The {} checksum type cannot be used with the {} checksum algorithm.",
                of.name(),
                algorithm.name().to_ascii_lowercase()
            ))),
            _ => {
                let of = of.or(only).unwrap_or(ChecksumType::Composite);
                Ok(Self { algorithm, of, asked: true })
            }
        }
    }

    /// Sets the headers of the answer to CreateMultipartUpload.
    pub(crate) fn describe(&self, reply: &mut Reply) {
        if self.asked {
            reply.set(HeaderName::from_static("x-amz-checksum-algorithm"), self.algorithm.name());
            reply.set(HeaderName::from_static("x-amz-checksum-type"), self.of.name());
        }
    }

    /// Whether a part may come with the checksum `sent`, or without one. Errors: `InvalidRequest`.
    pub(crate) fn check_part(&self, sent: Option<Algorithm>) -> Result<(), S3Error> {
        let needed = self.asked && self.of == ChecksumType::Composite;
        if sent == Some(self.algorithm) || (sent.is_none() && !needed) {
            return Ok(());
        }
        let name = |algorithm: Option<Algorithm>| {
            algorithm.map_or_else(|| "null".to_owned(), |algorithm| algorithm.name().to_ascii_lowercase())
        };
        let expected = self.asked.then_some(self.algorithm);
        Err(S3Error::invalid_request(format!(
            "Checksum Type mismatch occurred, expected checksum Type: {}, actual checksum Type: {}",
            name(expected),
            name(sent)
        )))
    }

    /// Whether a part that the completion names comes with its checksum where it must. Errors: `InvalidRequest`.
    pub(crate) fn check_named(&self, number: u64, has_checksum: bool) -> Result<(), S3Error> {
        if has_checksum || !self.asked || self.of == ChecksumType::FullObject {
            return Ok(());
        }
        Err(S3Error::invalid_request(format!(
            "The upload was created using a {} checksum. The complete request must include the checksum for each part. It was missing for part {number} in the request.",
            self.algorithm.name().to_ascii_lowercase()
        )))
    }

    /// Whether the completion says of the object what is so. Errors: `InvalidRequest`, `BadDigest`.
    pub(crate) fn check_completed(&self, headers: &HeaderMap, checksum: &Checksum) -> Result<(), S3Error> {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        if type_named(text("x-amz-checksum-type"))?.is_some_and(|of| of != self.of) {
            return Err(S3Error::invalid_request(format!(
                "The upload was created using the {} checksum mode. The complete request must use the same checksum mode.",
                self.of.name()
            )));
        }
        match text(self.algorithm.header()) {
            Some(claimed) if claimed != checksum.value => Err(bad_digest(self.algorithm.name())),
            _ => Ok(()),
        }
    }
}

fn type_named(name: Option<&str>) -> Result<Option<ChecksumType>, S3Error> {
    match name {
        None => Ok(None),
        Some("FULL_OBJECT") => Ok(Some(ChecksumType::FullObject)),
        Some("COMPOSITE") => Ok(Some(ChecksumType::Composite)),
        Some(_) => Err(S3Error::invalid_request("Value for x-amz-checksum-type header is invalid.")),
    }
}

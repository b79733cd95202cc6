//! Hashes of what is received.
//!
//! Owns: [`EtagHasher`], which makes ETags, and [`Checksum`], which the client may send to be verified, and which is given back. One is
//! computed: hashes are most of what an upload costs.
//! Source: Amazon S3 User Guide, "Checking object integrity".

use crate::config::Settings;
use crate::error::S3Error;
use crate::reply::Reply;
use crate::xml::XmlWriter;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use crc_fast::{CrcAlgorithm, Digest as Crc};
use http::HeaderName;
use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha256};
use xxhash_rust::xxh3::Xxh3;

/// Stands before the digits of an ETag where the settings want one beyond ASCII.
const NOT_ASCII: &str = "é";

/// Makes an ETag: 32 hexadecimal digits.
pub(crate) struct EtagHasher {
    digits: Digits,
    not_ascii: bool,
}

enum Digits {
    /// XXH3 of 128 bits: equal for equal bytes, at a thirtieth of an MD5's cost; and nothing that a client could take for one.
    Fast(Box<Xxh3>),
    Md5(Box<Md5>),
}

impl EtagHasher {
    pub(crate) fn new(settings: &Settings) -> Self {
        let digits =
            if settings.md5_etags { Digits::Md5(Box::default()) } else { Digits::Fast(Box::default()) };
        Self { digits, not_ascii: settings.quirks.etag_not_ascii }
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match &mut self.digits {
            Digits::Fast(hasher) => hasher.update(bytes),
            Digits::Md5(hasher) => Digest::update(hasher.as_mut(), bytes),
        }
    }

    pub(crate) fn is_md5(&self) -> bool {
        matches!(self.digits, Digits::Md5(_))
    }

    pub(crate) fn finish(self) -> String {
        let digits = match self.digits {
            Digits::Fast(hasher) => format!("x{}", hex::encode(hasher.digest128().to_be_bytes())),
            Digits::Md5(hasher) => hex::encode(hasher.finalize()),
        };
        if self.not_ascii { format!("{NOT_ASCII}{digits}") } else { digits }
    }
}

/// The ETag of a multipart object: a hash of the parts' hashes, and their number.
pub(crate) fn multipart_etag<'a>(parts: impl Iterator<Item = &'a str>, settings: &Settings) -> String {
    let mut hasher = EtagHasher::new(settings);
    let mut count = 0;
    for etag in parts {
        hasher.update(&hex::decode(etag).unwrap_or_else(|_| etag.as_bytes().to_vec()));
        count += 1;
    }
    format!("{}-{count}", hasher.finish())
}

/// A checksum algorithm of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) enum Algorithm {
    #[serde(rename = "x-amz-checksum-crc32")]
    Crc32,
    #[serde(rename = "x-amz-checksum-crc32c")]
    Crc32c,
    #[serde(rename = "x-amz-checksum-crc64nvme")]
    Crc64Nvme,
    #[serde(rename = "x-amz-checksum-sha1")]
    Sha1,
    #[serde(rename = "x-amz-checksum-sha256")]
    Sha256,
}

impl Algorithm {
    pub(crate) const ALL: [Self; 5] = [Self::Crc32, Self::Crc32c, Self::Crc64Nvme, Self::Sha1, Self::Sha256];

    /// The header that carries it.
    pub(crate) fn header(self) -> &'static str {
        match self {
            Self::Crc32 => "x-amz-checksum-crc32",
            Self::Crc32c => "x-amz-checksum-crc32c",
            Self::Crc64Nvme => "x-amz-checksum-crc64nvme",
            Self::Sha1 => "x-amz-checksum-sha1",
            Self::Sha256 => "x-amz-checksum-sha256",
        }
    }

    /// The element that carries it.
    pub(crate) fn element(self) -> &'static str {
        match self {
            Self::Crc32 => "ChecksumCRC32",
            Self::Crc32c => "ChecksumCRC32C",
            Self::Crc64Nvme => "ChecksumCRC64NVME",
            Self::Sha1 => "ChecksumSHA1",
            Self::Sha256 => "ChecksumSHA256",
        }
    }

    /// As requests name it.
    pub(crate) fn name(self) -> &'static str {
        self.element().trim_start_matches("Checksum")
    }

    /// By header name, in any case.
    pub(crate) fn by_header(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.header().eq_ignore_ascii_case(name.trim()))
    }

    /// Errors: `InvalidRequest` for a name that no algorithm has.
    pub(crate) fn by_name(name: &str) -> Result<Self, S3Error> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name().eq_ignore_ascii_case(name)).ok_or_else(|| {
            S3Error::invalid_request(
                "Checksum algorithm provided is unsupported. Please try again with any of the valid types: [CRC32, CRC32C, CRC64NVME, SHA1, SHA256]",
            )
        })
    }

    /// The CRC it is, if it is one.
    fn crc(self) -> Option<CrcAlgorithm> {
        match self {
            Self::Crc32 => Some(CrcAlgorithm::Crc32IsoHdlc),
            Self::Crc32c => Some(CrcAlgorithm::Crc32Iscsi),
            Self::Crc64Nvme => Some(CrcAlgorithm::Crc64Nvme),
            Self::Sha1 | Self::Sha256 => None,
        }
    }

    /// The length of its values in bytes.
    fn width(self) -> usize {
        match self {
            Self::Crc32 | Self::Crc32c => 4,
            Self::Crc64Nvme => 8,
            Self::Sha1 => 20,
            Self::Sha256 => 32,
        }
    }

    /// Whether a value has the form of one.
    pub(crate) fn takes(self, value: &str) -> bool {
        BASE64.decode(value).is_ok_and(|bytes| bytes.len() == self.width())
    }
}

/// What the checksum of an object in parts is of.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) enum ChecksumType {
    /// Of all its bytes.
    #[default]
    FullObject,
    /// Of the checksums of its parts.
    Composite,
}

impl ChecksumType {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::FullObject => "FULL_OBJECT",
            Self::Composite => "COMPOSITE",
        }
    }
}

/// A checksum and its value as it is sent: in base64, and of a composite one with the number of parts behind it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Checksum {
    #[serde(rename = "header")]
    pub(crate) algorithm: Algorithm,
    pub(crate) value: String,
    #[serde(default)]
    pub(crate) of: ChecksumType,
}

impl Checksum {
    /// Of all bytes of something.
    pub(crate) fn full(algorithm: Algorithm, value: String) -> Self {
        Self { algorithm, value, of: ChecksumType::FullObject }
    }

    /// Of an object in parts, each with its checksum by this algorithm and its length in bytes. Hashes have no full checksum.
    pub(crate) fn of_parts<'a>(
        algorithm: Algorithm,
        of: ChecksumType,
        parts: impl Iterator<Item = (&'a str, u64)>,
    ) -> Self {
        let decoded = |value: &str| BASE64.decode(value).unwrap_or_default();
        match (of, algorithm.crc()) {
            (ChecksumType::FullObject, Some(crc)) => {
                let number =
                    |value: &str| decoded(value).iter().fold(0u64, |sum, byte| sum << 8 | u64::from(*byte));
                let whole = parts
                    .map(|(value, len)| (number(value), len))
                    .fold(0, |whole, (part, len)| crc_fast::checksum_combine(crc, whole, part, len));
                Self::full(algorithm, BASE64.encode(&whole.to_be_bytes()[8 - algorithm.width()..]))
            }
            _ => {
                let mut hasher = ChecksumHasher::new(algorithm);
                let mut count = 0;
                for (value, _) in parts {
                    hasher.update(&decoded(value));
                    count += 1;
                }
                let value = format!("{}-{count}", hasher.finish().value);
                Self { algorithm, value, of: ChecksumType::Composite }
            }
        }
    }

    /// Sets the header that carries it.
    pub(crate) fn describe(&self, reply: &mut Reply) {
        reply.set(HeaderName::from_static(self.algorithm.header()), &self.value);
    }

    /// Sets the header that carries it and the one that says what it is of.
    pub(crate) fn describe_with_type(&self, reply: &mut Reply) {
        self.describe(reply);
        reply.set(HeaderName::from_static("x-amz-checksum-type"), self.of.name());
    }

    /// The elements that say the same.
    pub(crate) fn write(&self, xml: &mut XmlWriter) {
        xml.leaf(self.algorithm.element(), &self.value);
        xml.leaf("ChecksumType", self.of.name());
    }
}

enum Hasher {
    Crc(Box<Crc>),
    Sha1(Box<Sha1>),
    Sha256(Box<Sha256>),
}

/// Computes one checksum.
pub(crate) struct ChecksumHasher {
    algorithm: Algorithm,
    hasher: Hasher,
}

impl ChecksumHasher {
    pub(crate) fn new(algorithm: Algorithm) -> Self {
        let hasher = match algorithm {
            Algorithm::Sha1 => Hasher::Sha1(Box::default()),
            Algorithm::Sha256 => Hasher::Sha256(Box::default()),
            Algorithm::Crc32 => Hasher::Crc(Box::new(Crc::new(CrcAlgorithm::Crc32IsoHdlc))),
            Algorithm::Crc32c => Hasher::Crc(Box::new(Crc::new(CrcAlgorithm::Crc32Iscsi))),
            Algorithm::Crc64Nvme => Hasher::Crc(Box::new(Crc::new(CrcAlgorithm::Crc64Nvme))),
        };
        Self { algorithm, hasher }
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match &mut self.hasher {
            Hasher::Crc(crc) => crc.update(bytes),
            Hasher::Sha1(sha) => Digest::update(sha.as_mut(), bytes),
            Hasher::Sha256(sha) => Digest::update(sha.as_mut(), bytes),
        }
    }

    /// The low 32 bits of a CRC; 0 for other algorithms.
    pub(crate) fn finish_u32(self) -> u32 {
        match self.hasher {
            Hasher::Crc(crc) => crc.finalize() as u32,
            Hasher::Sha1(_) | Hasher::Sha256(_) => 0,
        }
    }

    pub(crate) fn finish(self) -> Checksum {
        let value = match self.hasher {
            Hasher::Crc(crc) => BASE64.encode(&crc.finalize().to_be_bytes()[8 - self.algorithm.width()..]),
            Hasher::Sha1(sha) => BASE64.encode(sha.finalize()),
            Hasher::Sha256(sha) => BASE64.encode(sha.finalize()),
        };
        Checksum::full(self.algorithm, value)
    }
}

/// The error for bytes that do not match what the client said of them.
pub(crate) fn bad_digest(what: &str) -> S3Error {
    S3Error::new(400, "BadDigest", format!("The {what} you specified did not match the calculated checksum."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checksum(algorithm: Algorithm, bytes: &[u8]) -> String {
        let mut hasher = ChecksumHasher::new(algorithm);
        hasher.update(bytes);
        hasher.finish().value
    }

    /// The check values of the catalogue of parametrised CRC algorithms, for "123456789".
    #[test]
    fn checksums_have_their_published_check_values() {
        let hex_of = |algorithm| hex::encode(BASE64.decode(checksum(algorithm, b"123456789")).unwrap());
        assert_eq!(hex_of(Algorithm::Crc32), "cbf43926");
        assert_eq!(hex_of(Algorithm::Crc32c), "e3069283");
        assert_eq!(hex_of(Algorithm::Crc64Nvme), "ae8b14860a799888");
        assert_eq!(hex_of(Algorithm::Sha1), "f7c3bc1d808e04732adf679965ccc34ca7ae3441");
        assert_eq!(
            hex_of(Algorithm::Sha256),
            "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225"
        );
    }

    #[test]
    fn the_checksum_of_a_whole_follows_from_those_of_its_parts() {
        let bytes: Vec<u8> = (0..100_000u32).map(|n| ((n * n) >> 3) as u8).collect();
        for algorithm in [Algorithm::Crc32, Algorithm::Crc32c, Algorithm::Crc64Nvme] {
            for cuts in [vec![], vec![1], vec![40_000, 40_000, 70_001], vec![0, 99_999]] {
                let ends = cuts.iter().copied().chain([bytes.len()]);
                let mut start = 0;
                let parts: Vec<_> = ends
                    .map(|end| {
                        let part = &bytes[std::mem::replace(&mut start, end)..end];
                        (checksum(algorithm, part), part.len() as u64)
                    })
                    .collect();
                let parts = parts.iter().map(|(value, len)| (value.as_str(), *len));
                let whole = Checksum::of_parts(algorithm, ChecksumType::FullObject, parts);
                assert_eq!(whole, Checksum::full(algorithm, checksum(algorithm, &bytes)), "{cuts:?}");
            }
        }
    }

    #[test]
    fn etags_depend_on_the_bytes_alone() {
        for md5_etags in [false, true] {
            let settings = Settings { md5_etags, ..Settings::default() };
            let mut whole = EtagHasher::new(&settings);
            whole.update(b"hello world");
            let mut pieces = EtagHasher::new(&settings);
            pieces.update(b"hello ");
            pieces.update(b"world");
            let etag = whole.finish();
            assert_eq!(etag, pieces.finish());
            assert_eq!(etag.len(), if md5_etags { 32 } else { 33 });
        }
        let mut md5 = EtagHasher::new(&Settings { md5_etags: true, ..Settings::default() });
        md5.update(b"");
        assert_eq!(md5.finish(), "d41d8cd98f00b204e9800998ecf8427e");
    }
}

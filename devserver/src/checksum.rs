//! Hashes of what is received.
//!
//! Owns: [`EtagHasher`], which makes ETags, and [`Checksum`], which the client may send to be verified. Only what was asked
//! for is computed: hashes are most of what an upload costs.
//! Source: Amazon S3 User Guide, "Checking object integrity".

use crate::error::S3Error;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use crc_fast::{CrcAlgorithm, Digest as Crc};
use md5::Md5;
use sha2::{Digest, Sha256};
use xxhash_rust::xxh3::Xxh3;

/// Makes an ETag: 32 hexadecimal digits.
pub(crate) enum EtagHasher {
    /// XXH3 of 128 bits: the shape of an MD5, and equal for equal bytes, at a thirtieth of its cost.
    Fast(Box<Xxh3>),
    Md5(Box<Md5>),
}

impl EtagHasher {
    pub(crate) fn new(md5: bool) -> Self {
        if md5 { Self::Md5(Box::default()) } else { Self::Fast(Box::default()) }
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Fast(hasher) => hasher.update(bytes),
            Self::Md5(hasher) => Digest::update(hasher.as_mut(), bytes),
        }
    }

    pub(crate) fn is_md5(&self) -> bool {
        matches!(self, Self::Md5(_))
    }

    pub(crate) fn finish(self) -> String {
        match self {
            Self::Fast(hasher) => hex::encode(hasher.digest128().to_be_bytes()),
            Self::Md5(hasher) => hex::encode(hasher.finalize()),
        }
    }
}

/// The ETag of a multipart object: a hash of the parts' hashes, and their number.
pub(crate) fn multipart_etag<'a>(parts: impl Iterator<Item = &'a str>, md5: bool) -> String {
    let mut hasher = EtagHasher::new(md5);
    let mut count = 0;
    for etag in parts {
        hasher.update(&hex::decode(etag).unwrap_or_else(|_| etag.as_bytes().to_vec()));
        count += 1;
    }
    format!("{}-{count}", hasher.finish())
}

/// A checksum algorithm of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Algorithm {
    Crc32,
    Crc32c,
    Crc64Nvme,
    Sha256,
}

impl Algorithm {
    pub(crate) const ALL: [Self; 4] = [Self::Crc32, Self::Crc32c, Self::Crc64Nvme, Self::Sha256];

    /// The header that carries it.
    pub(crate) fn header(self) -> &'static str {
        match self {
            Self::Crc32 => "x-amz-checksum-crc32",
            Self::Crc32c => "x-amz-checksum-crc32c",
            Self::Crc64Nvme => "x-amz-checksum-crc64nvme",
            Self::Sha256 => "x-amz-checksum-sha256",
        }
    }

    /// The element that carries it.
    pub(crate) fn element(self) -> &'static str {
        match self {
            Self::Crc32 => "ChecksumCRC32",
            Self::Crc32c => "ChecksumCRC32C",
            Self::Crc64Nvme => "ChecksumCRC64NVME",
            Self::Sha256 => "ChecksumSHA256",
        }
    }

    /// By header name, in any case.
    pub(crate) fn by_header(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.header().eq_ignore_ascii_case(name.trim()))
    }
}

/// A checksum and its value in base64, as it is sent.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Checksum {
    pub(crate) header: String,
    pub(crate) value: String,
}

enum Hasher {
    Crc(Box<Crc>, usize),
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
            Algorithm::Crc32 => Hasher::Crc(Box::new(Crc::new(CrcAlgorithm::Crc32IsoHdlc)), 4),
            Algorithm::Crc32c => Hasher::Crc(Box::new(Crc::new(CrcAlgorithm::Crc32Iscsi)), 4),
            Algorithm::Crc64Nvme => Hasher::Crc(Box::new(Crc::new(CrcAlgorithm::Crc64Nvme)), 8),
            Algorithm::Sha256 => Hasher::Sha256(Box::default()),
        };
        Self { algorithm, hasher }
    }

    pub(crate) fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match &mut self.hasher {
            Hasher::Crc(crc, _) => crc.update(bytes),
            Hasher::Sha256(sha) => Digest::update(sha.as_mut(), bytes),
        }
    }

    /// The low 32 bits of a CRC; 0 for other algorithms.
    pub(crate) fn finish_u32(self) -> u32 {
        match self.hasher {
            Hasher::Crc(crc, _) => crc.finalize() as u32,
            Hasher::Sha256(_) => 0,
        }
    }

    /// In base64.
    pub(crate) fn finish(self) -> String {
        match self.hasher {
            Hasher::Crc(crc, width) => BASE64.encode(&crc.finalize().to_be_bytes()[8 - width..]),
            Hasher::Sha256(sha) => BASE64.encode(sha.finalize()),
        }
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
        hasher.finish()
    }

    /// The check values of the catalogue of parametrised CRC algorithms, for "123456789".
    #[test]
    fn checksums_have_their_published_check_values() {
        let hex_of = |algorithm| hex::encode(BASE64.decode(checksum(algorithm, b"123456789")).unwrap());
        assert_eq!(hex_of(Algorithm::Crc32), "cbf43926");
        assert_eq!(hex_of(Algorithm::Crc32c), "e3069283");
        assert_eq!(hex_of(Algorithm::Crc64Nvme), "ae8b14860a799888");
        assert_eq!(
            hex_of(Algorithm::Sha256),
            "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225"
        );
    }

    #[test]
    fn etags_depend_on_the_bytes_alone() {
        for md5 in [false, true] {
            let mut whole = EtagHasher::new(md5);
            whole.update(b"hello world");
            let mut pieces = EtagHasher::new(md5);
            pieces.update(b"hello ");
            pieces.update(b"world");
            let etag = whole.finish();
            assert_eq!(etag, pieces.finish());
            assert_eq!(etag.len(), 32);
        }
        let mut md5 = EtagHasher::new(true);
        md5.update(b"");
        assert_eq!(md5.finish(), "d41d8cd98f00b204e9800998ecf8427e");
    }
}

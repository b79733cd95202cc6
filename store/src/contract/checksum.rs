//! Checksums of whole objects.
//!
//! Owns: [`Checksum`], [`Crc`], which makes one of bytes as they pass, and how those of parts become that of the whole.

use super::Part;
use base64::Engine;
use crc_fast::CrcAlgorithm;

/// A checksum of a whole object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checksum {
    /// CRC-64/NVME.
    Crc64Nvme(u64),
    /// CRC-32C (Castagnoli).
    Crc32c(u32),
    /// CRC-32 (ISO-HDLC), which the AWS SDKs send by default.
    Crc32(u32),
}

impl Checksum {
    /// The CRC-64/NVME of bytes.
    pub fn crc64_of(bytes: &[u8]) -> Self {
        Self::Crc64Nvme(crc_fast::checksum(CrcAlgorithm::Crc64Nvme, bytes))
    }

    /// The CRC-32C of bytes.
    pub fn crc32c_of(bytes: &[u8]) -> Self {
        Self::Crc32c(crc_fast::checksum(CrcAlgorithm::Crc32Iscsi, bytes) as u32)
    }

    /// As the APIs of S3 and of Google Cloud Storage write it: base64 of its bytes, the first one highest.
    pub fn to_base64(self) -> String {
        let engine = base64::engine::general_purpose::STANDARD;
        match self {
            Self::Crc64Nvme(value) => engine.encode(value.to_be_bytes()),
            Self::Crc32c(value) | Self::Crc32(value) => engine.encode(value.to_be_bytes()),
        }
    }

    /// Reads a CRC-64/NVME as the APIs write it; `None` where it is none, as that of a composite.
    pub fn crc64_from_base64(text: &str) -> Option<Self> {
        Some(Self::Crc64Nvme(u64::from_be_bytes(bytes_in(text)?)))
    }

    /// Reads a CRC-32C likewise.
    pub fn crc32c_from_base64(text: &str) -> Option<Self> {
        Some(Self::Crc32c(u32::from_be_bytes(bytes_in(text)?)))
    }

    /// Reads a CRC-32 likewise.
    pub fn crc32_from_base64(text: &str) -> Option<Self> {
        Some(Self::Crc32(u32::from_be_bytes(bytes_in(text)?)))
    }

    /// Reads one of the kind of this [`name`](Self::name); `None` where it is none.
    pub fn named(kind: &str, base64: &str) -> Option<Self> {
        [Self::crc64_from_base64, Self::crc32c_from_base64, Self::crc32_from_base64]
            .into_iter()
            .filter_map(|read| read(base64))
            .find(|checksum| checksum.name() == kind)
    }

    /// The checksum of these bytes with `next_len` more behind them, whose checksum is `next`. `None` where they are of two kinds.
    pub fn followed_by(self, next: Self, next_len: u64) -> Option<Self> {
        let (algorithm, first) = self.parts();
        let (other, second) = next.parts();
        if algorithm != other {
            return None;
        }
        let combined = crc_fast::checksum_combine(algorithm, first, second, next_len);
        Some(match self {
            Self::Crc64Nvme(_) => Self::Crc64Nvme(combined),
            Self::Crc32c(_) => Self::Crc32c(combined as u32),
            Self::Crc32(_) => Self::Crc32(combined as u32),
        })
    }

    /// That of an object which is made of these parts, in this order; `None` where one of them has none, or one of another kind.
    pub fn of_parts(parts: &[Part]) -> Option<Self> {
        let (first, others) = parts.split_first()?;
        others.iter().try_fold(first.checksum?, |whole, part| whole.followed_by(part.checksum?, part.size))
    }

    /// Its name for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Crc64Nvme(_) => "CRC64NVME",
            Self::Crc32c(_) => "CRC32C",
            Self::Crc32(_) => "CRC32",
        }
    }

    fn parts(self) -> (CrcAlgorithm, u64) {
        match self {
            Self::Crc64Nvme(value) => (CrcAlgorithm::Crc64Nvme, value),
            Self::Crc32c(value) => (CrcAlgorithm::Crc32Iscsi, value.into()),
            Self::Crc32(value) => (CrcAlgorithm::Crc32IsoHdlc, value.into()),
        }
    }
}

fn bytes_in<const N: usize>(text: &str) -> Option<[u8; N]> {
    base64::engine::general_purpose::STANDARD.decode(text).ok()?.try_into().ok()
}

/// A checksum of bytes as they pass.
#[derive(Debug)]
pub(crate) struct Crc(crc_fast::Digest);

impl Crc {
    /// Of the same kind as `checksum`.
    pub fn like(checksum: Checksum) -> Self {
        Self(crc_fast::Digest::new(checksum.parts().0))
    }

    pub fn crc64() -> Self {
        Self(crc_fast::Digest::new(CrcAlgorithm::Crc64Nvme))
    }

    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The value so far, as a number.
    pub fn value(&self) -> u64 {
        self.0.finalize()
    }

    /// Whether the bytes so far have this checksum.
    pub fn is(&self, checksum: Checksum) -> bool {
        self.value() == checksum.parts().1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_those_of_the_standards() {
        // The check values of the catalogue of parametrised CRC algorithms, of "123456789".
        assert_eq!(Checksum::crc64_of(b"123456789"), Checksum::Crc64Nvme(0xae8b_1486_0a79_9888));
        assert_eq!(Checksum::crc32c_of(b"123456789").to_base64(), "4waSgw==");
        let mut crc = Crc::like(Checksum::Crc32(0));
        crc.update(b"1234");
        crc.update(b"56789");
        assert!(crc.is(Checksum::Crc32(0xcbf4_3926)));
    }

    #[test]
    fn parts_make_the_whole() {
        let whole = Checksum::crc64_of(b"123456789");
        let (first, second) = (Checksum::crc64_of(b"1234"), Checksum::crc64_of(b"56789"));
        assert_eq!(first.followed_by(second, 5), Some(whole));
        assert_eq!(first.followed_by(Checksum::Crc32c(1), 5), None);
        assert_eq!(Checksum::crc64_from_base64(&whole.to_base64()), Some(whole));
        assert_eq!(Checksum::crc64_from_base64("rosUhgp5mIg=-2"), None);
        for checksum in [whole, Checksum::Crc32c(7), Checksum::Crc32(7)] {
            assert_eq!(Checksum::named(checksum.name(), &checksum.to_base64()), Some(checksum));
        }
        assert_eq!(Checksum::named("CRC64NVME", &Checksum::Crc32(7).to_base64()), None);
    }

    #[test]
    fn the_checksum_of_the_whole_is_made_of_the_parts() {
        let part = |number, bytes: &[u8]| Part {
            number,
            etag: "e".to_owned(),
            size: bytes.len() as u64,
            checksum: Some(Checksum::crc64_of(bytes)),
        };
        let mut parts = vec![part(1, b"1234"), part(3, b"567"), part(4, b"89")];
        assert_eq!(Checksum::of_parts(&parts), Some(Checksum::crc64_of(b"123456789")));
        parts[1].checksum = None;
        assert_eq!(Checksum::of_parts(&parts), None);
    }
}

//! Sums of a file's bytes, by which what was sent of it is recognised.
//!
//! Owns: [`Sum`] of what is read piece by piece, [`sum_of`] what is in memory: CRC-64/NVME, as [`pail_store::Fingerprint`] takes it.

use crc_fast::{CrcAlgorithm, Digest};

/// The sum of what is read in order, as often as it begins anew.
pub(super) struct Sum {
    digest: Digest,
    end: u64,
    /// That of the longest beginning that was read, with its length.
    longest: Option<(u64, u64)>,
}

impl Default for Sum {
    fn default() -> Self {
        Self { digest: new_digest(), end: 0, longest: None }
    }
}

impl Sum {
    /// `bytes` were read at `start`.
    pub fn add(&mut self, start: u64, bytes: &[u8]) {
        if start == 0 {
            (self.digest, self.end) = (new_digest(), 0);
        }
        if start != self.end {
            return;
        }
        self.digest.update(bytes);
        self.end += bytes.len() as u64;
        if self.longest.is_none_or(|(len, _)| len < self.end) {
            self.longest = Some((self.end, self.digest.finalize()));
        }
    }

    /// The sum of all `len` bytes, if they were read.
    pub fn of_all(&self, len: u64) -> Option<u64> {
        self.longest.filter(|(longest, _)| *longest == len).map(|(_, sum)| sum)
    }
}

/// A sum of nothing yet.
fn new_digest() -> Digest {
    Digest::new(CrcAlgorithm::Crc64Nvme)
}

/// The sum of bytes in memory.
pub(super) fn sum_of(bytes: &[u8]) -> u64 {
    crc_fast::checksum(CrcAlgorithm::Crc64Nvme, bytes)
}

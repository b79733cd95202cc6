//! Checksums of what is fetched in pieces.
//!
//! Owns: [`Sum`], the checksum of bytes that come in order, of whatever kind the store has of the object, and [`agree`], how those of the parts become that of
//! the whole. What the store reads in one request it checks by itself; nothing of that is done twice.

use crate::file_reading::each_piece;
use crc_fast::{CrcAlgorithm, Digest, checksum_combine};
use pail_store::Checksum;
use std::fs::File;
use std::io;
use std::ops::Range;
use tokio_util::sync::CancellationToken;

/// The kind that is made where the store has none: the journal of a file in parts needs one.
pub(crate) const KIND_DEFAULT: Checksum = Checksum::Crc64Nvme(0);
/// For fewer parts it does not pay to prepare how they are put together.
const PREPARED_PARTS_MIN: usize = 64;

/// The checksum of the bytes so far.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sum {
    kind: Checksum,
    digest: Digest,
}

impl Sum {
    /// Of no bytes yet, of the kind of `kind`.
    pub fn like(kind: Checksum) -> Self {
        Self { kind, digest: Digest::new(algorithm_of(kind)) }
    }

    /// Of bytes whose checksum this is, to which others come.
    pub fn after(sum: Checksum) -> Self {
        let algorithm = algorithm_of(sum);
        // What is inverted at the end of all three kinds is so here, too.
        let state =
            number_of(sum) ^ if algorithm == CrcAlgorithm::Crc64Nvme { u64::MAX } else { u32::MAX.into() };
        Self { kind: sum, digest: Digest::new_with_init_state(algorithm, state) }
    }

    pub fn update(&mut self, bytes: &[u8]) {
        self.digest.update(bytes);
    }

    pub fn value(&self) -> Checksum {
        let value = self.digest.finalize();
        match self.kind {
            Checksum::Crc64Nvme(_) => Checksum::Crc64Nvme(value),
            Checksum::Crc32c(_) => Checksum::Crc32c(value as u32),
            Checksum::Crc32(_) => Checksum::Crc32(value as u32),
        }
    }
}

fn algorithm_of(kind: Checksum) -> CrcAlgorithm {
    match kind {
        Checksum::Crc64Nvme(_) => CrcAlgorithm::Crc64Nvme,
        Checksum::Crc32c(_) => CrcAlgorithm::Crc32Iscsi,
        Checksum::Crc32(_) => CrcAlgorithm::Crc32IsoHdlc,
    }
}

fn number_of(checksum: Checksum) -> u64 {
    match checksum {
        Checksum::Crc64Nvme(value) => value,
        Checksum::Crc32c(value) | Checksum::Crc32(value) => value.into(),
    }
}

/// What `stored`, the checksum of the whole, says of parts of these checksums and ranges, which but for the last are of one length: whether they are the object; `None` where that cannot
/// be told, for one of them has none, or one of another kind.
pub(crate) fn agree(
    stored: Option<Checksum>,
    sums: &[Option<Checksum>],
    ranges: &[Range<u64>],
) -> Option<bool> {
    let stored = stored?;
    let algorithm = algorithm_of(stored);
    let len = |range: &Range<u64>| range.end - range.start;
    let prepared = (sums.len() >= PREPARED_PARTS_MIN).then(|| Behind::of(algorithm, len(&ranges[0])));
    let mut whole = None;
    for (sum, range) in sums.iter().zip(ranges) {
        let sum = sum.filter(|sum| std::mem::discriminant(sum) == std::mem::discriminant(&stored))?;
        let next = number_of(sum);
        whole = Some(match (whole, &prepared) {
            (None, _) => next,
            (Some(whole), Some(behind)) if behind.len == len(range) => behind.after(whole) ^ next,
            (Some(whole), _) => checksum_combine(algorithm, whole, next, len(range)),
        });
    }
    whole.map(|whole| whole == number_of(stored))
}

/// What becomes of a checksum when zeros of one length come behind its bytes.
///
/// # Why
/// To combine two checksums takes a power of a matrix, tens of microseconds; a large object has hundreds of thousands of parts. The map is affine over GF(2), so that its images of zero and of single bits
/// say it all.
struct Behind {
    len: u64,
    of_zero: u64,
    /// By bit, what it adds.
    of_bits: [u64; 64],
}

impl Behind {
    fn of(algorithm: CrcAlgorithm, len: u64) -> Self {
        let of_zero = checksum_combine(algorithm, 0, 0, len);
        let width = if algorithm == CrcAlgorithm::Crc64Nvme { 64 } else { 32 };
        let mut of_bits = [0; 64];
        for (bit, added) in of_bits.iter_mut().enumerate().take(width) {
            *added = checksum_combine(algorithm, 1 << bit, 0, len) ^ of_zero;
        }
        Self { len, of_zero, of_bits }
    }

    fn after(&self, checksum: u64) -> u64 {
        let bits = self.of_bits.iter().enumerate().filter(|(bit, _)| checksum >> bit & 1 == 1);
        bits.fold(self.of_zero, |sum, (_, added)| sum ^ added)
    }
}

/// The checksum of a range of a file, of the kind of `kind`. Errors: those of reading; the file ends before the range does; the run is stopped.
pub(crate) fn of_file_range(
    file: &File,
    kind: Checksum,
    range: Range<u64>,
    stop: &CancellationToken,
) -> io::Result<Checksum> {
    let (mut sum, mut missing) = (Sum::like(kind), range.end.saturating_sub(range.start));
    each_piece(file, range, stop, |bytes| {
        sum.update(bytes);
        missing -= bytes.len() as u64;
    })?;
    if missing == 0 { Ok(sum.value()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::part_sizes::parts;

    fn of_bytes(kind: Checksum, bytes: &[u8]) -> Checksum {
        let mut sum = Sum::like(kind);
        bytes.chunks(7_000).for_each(|piece| sum.update(piece));
        sum.value()
    }

    #[test]
    fn parts_make_the_whole_whatever_the_kind_and_what_cannot_be_told_is_not() {
        let bytes: Vec<u8> = (0..100_000u32).map(|index| (index * 7) as u8).collect();
        assert_eq!(of_bytes(Checksum::Crc64Nvme(0), &bytes), Checksum::crc64_of(&bytes));
        assert_eq!(of_bytes(Checksum::Crc32c(0), &bytes), Checksum::crc32c_of(&bytes));
        for kind in [Checksum::Crc64Nvme(0), Checksum::Crc32c(0), Checksum::Crc32(0)] {
            let mut sum = Sum::after(of_bytes(kind, &bytes[..777]));
            sum.update(&bytes[777..]);
            assert_eq!(sum.value(), of_bytes(kind, &bytes));
        }
        // Three parts, and so many that they are put together by what was prepared.
        for part_size in [40_000, 700] {
            let ranges: Vec<_> = parts(100_000, part_size).collect();
            for kind in [Checksum::Crc64Nvme(0), Checksum::Crc32c(0), Checksum::Crc32(0)] {
                let whole = of_bytes(kind, &bytes);
                let of_range =
                    |range: &Range<u64>| of_bytes(kind, &bytes[range.start as usize..range.end as usize]);
                let mut sums: Vec<_> = ranges.iter().map(|range| Some(of_range(range))).collect();
                assert_eq!(agree(Some(whole), &sums, &ranges), Some(true), "{kind:?} {part_size}");
                assert_eq!(agree(None, &sums, &ranges), None);
                sums[1] = Some(of_bytes(kind, b"others"));
                assert_eq!(agree(Some(whole), &sums, &ranges), Some(false), "{kind:?} {part_size}");
                sums[1] = None;
                assert_eq!(agree(Some(whole), &sums, &ranges), None);
            }
        }
        let of_another_kind = [Some(Checksum::crc32c_of(&bytes))];
        let all = std::slice::from_ref(&(0..100_000));
        assert_eq!(agree(Some(Checksum::crc64_of(&bytes)), &of_another_kind, all), None);
    }
}

//! Checksums of what is fetched in pieces.
//!
//! Owns: [`Sum`], the checksum of bytes that come in order, of whatever kind the store has of the object, and [`agree`], how those of the parts become that of
//! the whole. What the store reads in one request it checks by itself; nothing of that is done twice.

use crc_fast::CrcAlgorithm;
use pail_store::Checksum;
use std::io;
use std::ops::Range;

/// The kind that is made where the store has none: the journal of a file in parts needs one.
pub(crate) const KIND_DEFAULT: Checksum = Checksum::Crc64Nvme(0);

/// The checksum of the bytes so far.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sum {
    kind: Checksum,
    so_far: Option<Checksum>,
}

impl Sum {
    /// Of no bytes yet, of the kind of `kind`.
    pub fn like(kind: Checksum) -> Self {
        Self { kind, so_far: None }
    }

    pub fn update(&mut self, bytes: &[u8]) {
        let next = of_bytes(self.kind, bytes);
        self.so_far = match self.so_far {
            None => Some(next),
            Some(sum) => sum.followed_by(next, bytes.len() as u64),
        };
    }

    /// `None` where no bytes came.
    pub fn value(&self) -> Option<Checksum> {
        self.so_far
    }
}

fn of_bytes(kind: Checksum, bytes: &[u8]) -> Checksum {
    match kind {
        Checksum::Crc64Nvme(_) => Checksum::crc64_of(bytes),
        Checksum::Crc32c(_) => Checksum::crc32c_of(bytes),
        Checksum::Crc32(_) => Checksum::Crc32(crc_fast::checksum(CrcAlgorithm::Crc32IsoHdlc, bytes) as u32),
    }
}

/// What `stored`, the checksum of the whole, says of parts of these ranges and checksums: whether they are the object; `None` where that cannot be told, for one of
/// them has none, or one of another kind.
pub(crate) fn agree(
    stored: Option<Checksum>,
    sums: &[Option<Checksum>],
    ranges: impl Iterator<Item = Range<u64>>,
) -> Option<bool> {
    let stored = stored?;
    let mut whole: Option<Checksum> = None;
    for (sum, range) in sums.iter().zip(ranges) {
        let sum = (*sum)?;
        whole = Some(match whole {
            None => sum,
            Some(whole) => whole.followed_by(sum, range.end - range.start)?,
        });
    }
    let whole = whole?;
    (std::mem::discriminant(&whole) == std::mem::discriminant(&stored)).then_some(whole == stored)
}

/// The checksum of a range of a file, which is read in pieces of `buffer`.
pub(crate) fn of_file_range(
    file: &std::fs::File,
    kind: Checksum,
    range: Range<u64>,
    buffer: &mut [u8],
) -> io::Result<Option<Checksum>> {
    use std::os::unix::fs::FileExt;
    let mut sum = Sum::like(kind);
    let mut offset = range.start;
    while offset < range.end {
        let len = usize::try_from(range.end - offset).unwrap_or(usize::MAX).min(buffer.len());
        file.read_exact_at(&mut buffer[..len], offset)?;
        sum.update(&buffer[..len]);
        offset += len as u64;
    }
    Ok(sum.value())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_make_the_whole_whatever_the_kind_and_what_cannot_be_told_is_not() {
        let bytes: Vec<u8> = (0..100_000u32).map(|index| (index * 7) as u8).collect();
        let ranges = || [0..60_000u64, 60_000..99_999, 99_999..100_000].into_iter();
        for kind in [Checksum::Crc64Nvme(0), Checksum::Crc32c(0), Checksum::Crc32(0)] {
            let whole = of_bytes(kind, &bytes);
            let mut sums: Vec<_> = ranges()
                .map(|range| {
                    let mut sum = Sum::like(kind);
                    bytes[range.start as usize..range.end as usize]
                        .chunks(7_000)
                        .for_each(|it| sum.update(it));
                    sum.value()
                })
                .collect();
            assert_eq!(agree(Some(whole), &sums, ranges()), Some(true), "{kind:?}");
            assert_eq!(agree(None, &sums, ranges()), None);
            sums[1] = Some(of_bytes(kind, b"others"));
            assert_eq!(agree(Some(whole), &sums, ranges()), Some(false), "{kind:?}");
            sums[1] = None;
            assert_eq!(agree(Some(whole), &sums, ranges()), None);
        }
        let of_another_kind = [Some(Checksum::crc32c_of(&bytes))];
        assert_eq!(
            agree(Some(Checksum::crc64_of(&bytes)), &of_another_kind, std::iter::once(0..100_000)),
            None
        );
    }
}

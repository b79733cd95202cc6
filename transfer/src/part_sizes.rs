//! Where parts begin and end.
//!
//! Owns: the cut of an object of known length into parts of one size, which every store takes (R2 wants them equal).

use std::ops::Range;

/// The most parts an upload can have.
const PARTS_MAX: u64 = 10_000;

/// The size of the parts of `len` bytes: `wanted`, or in whole MiB what 10,000 parts need.
pub(crate) fn part_size(len: u64, wanted: u64) -> u64 {
    wanted.max(len.div_ceil(PARTS_MAX).next_multiple_of(1 << 20))
}

/// The parts of `len` bytes, in order.
pub(crate) fn parts(len: u64, size: u64) -> impl Iterator<Item = Range<u64>> {
    (0..len.div_ceil(size)).map(move |index| index * size..len.min((index + 1) * size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_everything_once_and_are_never_too_many() {
        for (len, wanted, count) in
            [(0, 8 << 20, 0), (1, 8 << 20, 1), (16 << 20, 8 << 20, 2), (5 << 40, 8 << 20, 9_987)]
        {
            let size = part_size(len, wanted);
            let mut end = 0;
            let mut found = 0;
            for part in parts(len, size) {
                assert!(part.start == end && part.end > part.start && part.end - part.start <= size);
                (end, found) = (part.end, found + 1);
            }
            assert_eq!((end, found), (len, count));
        }
    }
}

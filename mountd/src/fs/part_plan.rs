//! Where an upload's parts begin and end.
//!
//! Owns: [`PartPlan`]. An upload has at most 10,000 parts and an object up to 5 TiB, and how long a file will be is not
//! known when its first part is sent. So sizes grow, twice as large after every 1,000 parts: small files are cut finely enough to
//! be sent in parallel, and the plan reaches far beyond 5 TiB. Stores that want equal parts (R2) get equal ones; a
//! file that outgrows 10,000 of them starts again with parts eight times as large. Stores that make a part of whole objects alone (GCS) get
//! all of the earlier version as the first part, where a file was only appended to.

use std::ops::Range;

/// The first parts' size in bytes.
pub const PART_SIZE_BYTES: u64 = 8 << 20;
/// Parts of one size before it doubles.
const TIER_PARTS: u64 = 1000;

/// The parts of one upload, numbered from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartPlan {
    /// The first part, where it has a length of its own; else 0.
    base_bytes: u64,
    size_bytes: u64,
    equal: bool,
}

impl PartPlan {
    /// A plan for a file of at least `len` bytes, with equal or growing parts.
    pub fn new(len: u64, equal: bool, part_count_max: u32) -> Self {
        let mut plan = Self { base_bytes: 0, size_bytes: PART_SIZE_BYTES, equal };
        while plan.count(len) > part_count_max {
            plan.size_bytes *= 8;
        }
        plan
    }

    /// A plan for a file of at least `len` bytes whose first part is the earlier version, of `base_bytes`.
    pub fn behind(base_bytes: u64, len: u64, part_count_max: u32) -> Self {
        let tail = Self::new(len.saturating_sub(base_bytes), false, part_count_max - 1);
        Self { base_bytes, ..tail }
    }

    /// The length of the first part, where that is the earlier version.
    pub fn base_bytes(&self) -> Option<u64> {
        (self.base_bytes > 0).then_some(self.base_bytes)
    }

    /// The bytes of part `number`, were the file endless.
    pub fn range(&self, number: u32) -> Range<u64> {
        let index = u64::from(number) - 1;
        if self.base_bytes == 0 {
            return self.range_of(index);
        }
        match index.checked_sub(1) {
            None => 0..self.base_bytes,
            Some(index) => {
                let range = self.range_of(index);
                self.base_bytes + range.start..self.base_bytes + range.end
            }
        }
    }

    /// Of the parts behind the earlier version, from 0.
    fn range_of(&self, index: u64) -> Range<u64> {
        if self.equal {
            return index * self.size_bytes..(index + 1) * self.size_bytes;
        }
        let (tier, within) = (index / TIER_PARTS, index % TIER_PARTS);
        let size = self.size_bytes << tier;
        // All tiers before this one: 1,000 parts of size, twice size, four times size…
        let start = ((1 << tier) - 1) * TIER_PARTS * self.size_bytes + within * size;
        start..start + size
    }

    /// Which part holds the byte at `offset`.
    pub fn number_at(&self, offset: u64) -> u32 {
        let Some(offset) = offset.checked_sub(self.base_bytes) else { return 1 };
        let (mut index, mut start, mut size) = (u64::from(self.base_bytes > 0), 0, self.size_bytes);
        while !self.equal && offset - start >= size * TIER_PARTS {
            (index, start, size) = (index + TIER_PARTS, start + size * TIER_PARTS, size * 2);
        }
        u32::try_from(index + (offset - start) / size + 1).unwrap_or(u32::MAX)
    }

    /// How many parts a file of `len` bytes has.
    pub fn count(&self, len: u64) -> u32 {
        if len == 0 { 0 } else { self.number_at(len - 1) }
    }

    /// Whether a file of `len` bytes can be sent by this plan.
    pub fn fits(&self, len: u64, part_count_max: u32) -> bool {
        self.count(len) <= part_count_max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_follow_each_other_without_gaps_and_are_found_by_offset() {
        for plan in
            [PartPlan::new(0, false, 10_000), PartPlan::new(0, true, 10_000), PartPlan::behind(7, 9, 10_000)]
        {
            let mut end = 0;
            for number in 1..=9_000 {
                let range = plan.range(number);
                assert_eq!(range.start, end);
                end = range.end;
                assert_eq!(plan.number_at(range.start), number);
                assert_eq!(plan.number_at(range.end - 1), number);
                assert_eq!(plan.count(range.end), number);
            }
        }
    }

    #[test]
    fn growing_parts_reach_the_largest_object_and_stay_below_the_largest_part() {
        let plan = PartPlan::new(0, false, 10_000);
        assert!(plan.fits(5 << 40, 10_000));
        let last = plan.range(10_000);
        assert!(last.end - last.start <= 5 << 30);
    }

    #[test]
    fn equal_parts_grow_with_what_is_known_of_the_length() {
        let plan = PartPlan::new(5 << 40, true, 10_000);
        assert!(plan.fits(5 << 40, 10_000));
        assert!(!PartPlan::new(1, true, 10_000).fits(100 << 30, 10_000));
    }
}

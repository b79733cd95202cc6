//! Sets of byte ranges.
//!
//! Owns: [`RangeSet`]: disjoint, not adjacent, not empty ranges in order.

use std::collections::BTreeMap;
use std::ops::Range;

/// A set of bytes, as ranges.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct RangeSet {
    /// End by start.
    ranges: BTreeMap<u64, u64>,
}

impl RangeSet {
    /// Adds `range`, joined with what it touches.
    pub fn insert(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let (mut start, mut end) = (range.start, range.end);
        if let Some((&first, &last)) = self.ranges.range(..=start).next_back()
            && last >= start
        {
            if last >= end {
                return;
            }
            start = first;
        }
        while let Some((&next, &last)) = self.ranges.range(start..=end).next() {
            end = end.max(last);
            self.ranges.remove(&next);
        }
        self.ranges.insert(start, end);
    }

    /// Removes everything from `len` on.
    pub fn truncate(&mut self, len: u64) {
        self.ranges.split_off(&len);
        if let Some(mut last) = self.ranges.last_entry()
            && *last.get() > len
        {
            *last.get_mut() = len;
        }
    }

    /// The ranges in order.
    pub fn iter(&self) -> impl Iterator<Item = Range<u64>> {
        self.ranges.iter().map(|(start, end)| *start..*end)
    }

    /// `range` in pieces, each with whether it is in the set.
    pub fn pieces(&self, range: Range<u64>) -> Vec<(Range<u64>, bool)> {
        let mut pieces = Vec::new();
        let mut at = range.start;
        let first = self.ranges.range(..=range.start).next_back().map_or(range.start, |(start, _)| *start);
        for (&start, &end) in self.ranges.range(first..range.end.max(first)) {
            if end <= at {
                continue;
            }
            if start > at {
                pieces.push((at..start, false));
            }
            let from = start.max(at);
            at = end.min(range.end);
            pieces.push((from..at, true));
        }
        if at < range.end {
            pieces.push((at..range.end, false));
        }
        pieces
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_set_of_ranges_is_a_set_of_bytes(steps in prop::collection::vec((0u8..3, 0u64..60, 0u64..20), 0..40)) {
            let (mut set, mut model) = (RangeSet::default(), [false; 100]);
            for (kind, start, len) in steps {
                if kind == 0 {
                    set.truncate(start);
                    model[start as usize..].fill(false);
                } else {
                    set.insert(start..start + len);
                    model[start as usize..(start + len) as usize].fill(true);
                }
                let pieces = set.pieces(start..100);
                let mut at = start;
                for (piece, inside) in pieces {
                    prop_assert_eq!(piece.start, at);
                    prop_assert!(!piece.is_empty());
                    prop_assert!(model[piece.start as usize..piece.end as usize].iter().all(|byte| *byte == inside));
                    at = piece.end;
                }
                prop_assert_eq!(at, 100);
                let ranges: Vec<_> = set.iter().collect();
                prop_assert!(ranges.windows(2).all(|pair| pair[0].end < pair[1].start));
            }
        }
    }
}

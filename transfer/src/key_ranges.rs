//! Where a listing can be cut.
//!
//! Owns: [`Levels`], which guesses from the keys seen what keys there may be far behind them, and learns from each guess. Names that programs make
//! count: `part-00017`, `2024/05/17`, `n01440764/…`, hexadecimal digests. A *level* is a position in a path's component; raising its digit leads to the next of
//! what is counted there. A guess that hits nothing costs one request, and its level is not tried again.
//!
//! A boundary belongs to the range before it: ranges are (after, until].

use std::collections::HashMap;

/// Which component behind the prefix, and which byte of it.
type Level = (usize, usize);

/// What is known of the levels.
#[derive(Debug, Default)]
pub(crate) struct Levels {
    /// `true` where raising it led to something.
    is_live: HashMap<Level, bool>,
    /// How many pages a step of it holds, as the last range told that was listed to its end.
    pages_per_step: HashMap<Level, f64>,
}

/// A range is worth so many pages: its end costs one that is not used.
const PAGES_WORTH: f64 = 4.0;

/// A guess: where a range is to begin, and of which level it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Boundary {
    pub key: String,
    level: Level,
    /// How much of the boundary all its siblings begin with.
    parent_len: usize,
    /// How many steps of its level the range has that begins with it; 0 where that is not known.
    steps: usize,
}

impl Levels {
    /// Up to `count` boundaries between `last` and `until`, ascending. `first` and `last` are the ends of a page: what differs between them is too fine
    /// to be a range. Of levels that are known to lead somewhere the coarsest is taken; else each that is not known is tried once.
    pub fn boundaries(
        &self,
        prefix_len: usize,
        first: &str,
        last: &str,
        until: Option<&str>,
        count: usize,
    ) -> Vec<Boundary> {
        let common = first.bytes().zip(last.bytes()).take_while(|(a, b)| a == b).count();
        let positions = || (prefix_len.min(common)..common).map(|at| (at, level_of(last, prefix_len, at)));
        let is_before_end = |boundary: &Boundary| until.is_none_or(|until| boundary.key.as_str() < until);
        let siblings = |at, level| siblings(last, prefix_len, at, level).filter(is_before_end);
        let live = positions().filter(|(_, level)| self.is_live.get(level) == Some(&true));
        for (at, level) in live {
            let all: Vec<_> = siblings(at, level).collect();
            if !all.is_empty() {
                let worth = PAGES_WORTH / self.pages_per_step.get(&level).copied().unwrap_or(PAGES_WORTH);
                let stride = all.len().div_ceil(count.max(1)).max(worth.ceil() as usize).max(1);
                let chosen = all.into_iter().step_by(stride).take(count);
                return chosen.map(|boundary| Boundary { steps: stride, ..boundary }).collect();
            }
        }
        let untried = positions().rev().filter(|(_, level)| !self.is_live.contains_key(level));
        untried.filter_map(|(at, level)| siblings(at, level).next()).take(count).collect()
    }

    /// A range that began with a boundary, and was not cut since, had so many pages.
    pub fn measure(&mut self, boundary: &Boundary, pages: usize) {
        if boundary.steps > 0 && pages > 0 {
            self.pages_per_step.insert(boundary.level, pages as f64 / boundary.steps as f64);
        }
    }

    /// What a listing that began at a boundary found first.
    pub fn learn(&mut self, boundary: &Boundary, found: Option<&str>) {
        let parent = &boundary.key[..boundary.parent_len];
        let is_live = found.is_some_and(|found| found.starts_with(parent));
        *self.is_live.entry(boundary.level).or_default() |= is_live;
    }
}

fn level_of(key: &str, prefix_len: usize, at: usize) -> Level {
    let before = &key.as_bytes()[prefix_len..at];
    let component = before.iter().filter(|byte| **byte == b'/').count();
    let start = before.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
    (component, before.len() - start)
}

/// The keys that `key` would be with a greater digit at a position, or behind its directory.
fn siblings(key: &str, prefix_len: usize, at: usize, level: Level) -> impl Iterator<Item = Boundary> + '_ {
    let byte = key.as_bytes()[at];
    let digits: &[u8] = match byte {
        b'0'..=b'9' | b'a'..=b'f' if is_hexadecimal(key, prefix_len, at) => b"0123456789abcdef",
        b'0'..=b'9' => b"0123456789",
        // What is behind everything in the directory.
        b'/' => b"0",
        _ => b"",
    };
    let greater = digits.iter().copied().filter(move |digit| *digit > byte);
    // An ASCII character is never within another: what is before it is whole.
    greater.map(move |byte| Boundary {
        key: format!("{}{}", &key[..at], char::from(byte)),
        level,
        parent_len: at,
        steps: 0,
    })
}

/// Whether the component at a position is written in hexadecimal digits, with letters among them.
fn is_hexadecimal(key: &str, prefix_len: usize, at: usize) -> bool {
    let start = key[prefix_len..at].rfind('/').map_or(prefix_len, |slash| prefix_len + slash + 1);
    let component = key[start..].split(['/', '.', '-', '_']).next().unwrap_or_default();
    component.bytes().all(|byte| byte.is_ascii_hexdigit() && !byte.is_ascii_uppercase())
        && component.bytes().any(|byte| byte.is_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(boundaries: &[Boundary]) -> Vec<&str> {
        boundaries.iter().map(|boundary| boundary.key.as_str()).collect()
    }

    #[test]
    fn each_level_is_tried_once_and_what_led_somewhere_is_cut_coarsely() {
        let mut levels = Levels::default();
        let (first, last) = ("p/x001/f1000", "p/x001/f1999");
        let tried = levels.boundaries(2, first, last, None, 10);
        assert_eq!(keys(&tried), ["p/x001/f2", "p/x0010", "p/x002", "p/x01", "p/x1"]);
        assert_eq!(keys(&levels.boundaries(2, first, last, Some("p/x01"), 2)), ["p/x001/f2", "p/x0010"]);
        for (boundary, found) in tried.iter().zip([
            Some("p/x002/f2000"),
            Some("p/x002/f2000"),
            Some("p/x002/f2000"),
            Some("p/x010/f"),
            None,
        ]) {
            levels.learn(boundary, found);
        }
        // Within the directory nothing is, nor are there a hundred more.
        let all = levels.boundaries(2, first, last, None, 100);
        assert_eq!(
            keys(&all),
            ["p/x01", "p/x02", "p/x03", "p/x04", "p/x05", "p/x06", "p/x07", "p/x08", "p/x09"]
        );
        assert_eq!(keys(&levels.boundaries(2, first, last, None, 3)), ["p/x01", "p/x04", "p/x07"]);
        let fine = levels.boundaries(2, first, last, Some("p/x01"), 100);
        assert_eq!((fine.len(), keys(&fine)[0]), (8, "p/x002"));
        // A page each is too little for a range.
        levels.measure(&fine[0], 1);
        let coarser = levels.boundaries(2, first, last, Some("p/x01"), 100);
        assert_eq!(keys(&coarser), ["p/x002", "p/x006"]);
        levels.measure(&coarser[0], 40);
        assert_eq!(levels.boundaries(2, first, last, Some("p/x01"), 100), fine);
    }

    #[test]
    fn digests_count_by_sixteen_and_words_do_not_count() {
        let levels = Levels::default();
        let tried = levels.boundaries(0, "9f00", "9fff", None, 10);
        assert_eq!(keys(&tried), ["a"]);
        assert_eq!(keys(&levels.boundaries(0, "90ab", "90cd", None, 10)), ["91", "a"]);
        assert_eq!(keys(&levels.boundaries(0, "cat", "cats", None, 10)), [""; 0]);
        assert_eq!(keys(&levels.boundaries(0, "cat/ü1", "cat/ü9", None, 10)), ["cat0"]);
        assert_eq!(keys(&levels.boundaries(4, "x", "y", None, 10)), [""; 0]);
    }
}

//! Hidden keys: those that no path can show, counted for `pail status`.
//!
//! Owns: [`HiddenKeys`]: the keys that listings named, each with the moment at which the request was sent that named it last. A common prefix
//! that no path can show stands for what is below it, until a key of that is named.
//!
//! Invariants:
//! - A listing that covers a key without naming it as hidden takes it from the count, unless a later one had named it.
//! - What is remembered is bounded in bytes; keys beyond that are not counted.

use pail_store::ListPage;
use std::collections::{BTreeMap, HashSet};
use std::ops::Bound;
use std::time::Instant;

/// The longest sum of keys that are remembered, in bytes.
const KEY_BYTES_MAX: usize = 8 << 20;

/// The hidden keys of one mount.
#[derive(Default)]
pub struct HiddenKeys {
    keys: BTreeMap<String, Instant>,
    bytes: usize,
}

impl HiddenKeys {
    /// How many there are, as far as listings told.
    pub fn count(&self) -> u64 {
        self.keys.len() as u64
    }

    /// Notes a key, or a common prefix that ends in `/`, that a request sent at `as_of` named.
    pub fn note(&mut self, key: &str, as_of: Instant) {
        if let Some(noted) = self.keys.get_mut(key) {
            *noted = as_of.max(*noted);
            return;
        }
        // Its keys say more than a prefix does.
        if key.ends_with('/') && self.below(key).next().is_some() {
            return;
        }
        for (end, _) in key.match_indices('/').filter(|(at, _)| at + 1 < key.len()) {
            self.forget(&key[..=end]);
        }
        if self.bytes + key.len() <= KEY_BYTES_MAX {
            tracing::debug!(key = %key.escape_debug(), "no path can show this key");
            self.bytes += key.len();
            self.keys.insert(key.to_owned(), as_of);
        }
    }

    /// A flat listing of `prefix` told all keys from its beginning to `last`, or to its end.
    pub fn cover_flat(&mut self, prefix: &str, last: Option<&str>, as_of: Instant) {
        let is_told = |key: &str| last.is_none_or(|last| key <= last);
        let gone =
            self.below(prefix).take_while(|(key, _)| is_told(key)).filter(|(_, noted)| **noted < as_of);
        let gone: Vec<String> = gone.map(|(key, _)| key.clone()).collect();
        gone.iter().for_each(|key| self.forget(key));
    }

    /// A page of a delimited listing of `dir` told all names after `after` up to `end`, or to the last.
    pub fn cover_page(
        &mut self,
        dir: &str,
        (after, end): (&str, Option<&str>),
        page: &ListPage,
        as_of: Instant,
    ) {
        if self.below(dir).next().is_none() {
            return;
        }
        let prefixes: HashSet<&str> = page.prefixes.iter().map(String::as_str).collect();
        let is_gone = |key: &str| {
            let rest = &key[dir.len()..];
            let name = rest.find('/').map_or(rest, |slash| &rest[..=slash]);
            let is_told =
                (name > after || rest.is_empty() && after.is_empty()) && end.is_none_or(|end| name <= end);
            // What lies below a name that is there is not told of here.
            is_told && !(name.len() < rest.len() && prefixes.contains(&key[..dir.len() + name.len()]))
        };
        let gone = self.below(dir).filter(|(key, noted)| **noted < as_of && is_gone(key));
        let gone: Vec<String> = gone.map(|(key, _)| key.clone()).collect();
        gone.iter().for_each(|key| self.forget(key));
    }

    fn below(&self, prefix: &str) -> impl Iterator<Item = (&String, &Instant)> {
        let from = (Bound::Included(prefix), Bound::Unbounded);
        self.keys.range::<str, _>(from).take_while(move |(key, _)| key.starts_with(prefix))
    }

    fn forget(&mut self, key: &str) {
        if self.keys.remove(key).is_some() {
            self.bytes -= key.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn page(prefixes: &[&str]) -> ListPage {
        ListPage {
            prefixes: prefixes.iter().map(|prefix| prefix.to_string()).collect(),
            ..ListPage::default()
        }
    }

    fn noted(keys: &[&str], at: Instant) -> HiddenKeys {
        let mut hidden = HiddenKeys::default();
        keys.iter().for_each(|key| hidden.note(key, at));
        hidden
    }

    fn left(hidden: &HiddenKeys) -> Vec<&str> {
        hidden.keys.keys().map(String::as_str).collect()
    }

    #[test]
    fn a_prefix_stands_for_its_keys_until_one_is_named() {
        let now = Instant::now();
        let mut hidden = noted(&["a//"], now);
        hidden.note("a//b", now);
        hidden.note("a//c", now);
        hidden.note("a//", now);
        assert_eq!(left(&hidden), ["a//b", "a//c"]);
        assert_eq!(hidden.bytes, 8);
    }

    #[test]
    fn a_flat_listing_forgets_what_it_passed_and_did_not_name() {
        let (then, now) = (Instant::now(), Instant::now() + Duration::from_secs(1));
        let mut hidden = noted(&["a//1", "a//2", "a//3", "b//1"], then);
        hidden.note("a//2", now);
        hidden.cover_flat("a/", Some("a//2"), now);
        assert_eq!(left(&hidden), ["a//2", "a//3", "b//1"]);
        hidden.cover_flat("", None, then);
        assert_eq!(hidden.count(), 3, "one that was asked for earlier takes nothing back");
        hidden.cover_flat("", None, now + Duration::from_secs(1));
        assert_eq!((hidden.count(), hidden.bytes), (0, 0));
    }

    #[test]
    fn a_page_of_a_directory_tells_of_its_own_names_and_of_what_was_below_those_that_are_gone() {
        let (then, now) = (Instant::now(), Instant::now() + Duration::from_secs(1));
        let keys = ["d/", "d/.", "d//x", "d/here//x", "d/gone//x", "d/z\0", "e//x"];
        let mut hidden = noted(&keys, then);
        hidden.cover_page("d/", ("", Some("m")), &page(&["d//", "d/here/"]), now);
        assert_eq!(left(&hidden), ["d//x", "d/here//x", "d/z\0", "e//x"]);
        hidden.cover_page("d/", ("m", None), &page(&[]), now);
        assert_eq!(left(&hidden), ["d//x", "d/here//x", "e//x"]);
    }
}
